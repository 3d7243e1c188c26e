"""Weight files as others write them: how kernels lie, what is no kernel, in which order, and what is never opened."""

import csv
import json
import os
import pickle
import shlex
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from topo import formats, inspection, keras, pretrained
from topo.__main__ import main
from topo.kernels import Layer
from topo.pickles import quoted
from topo.pretrained import read
from topo.tensors import Refused, parsing

pytestmark = pytest.mark.tried("files")


def kernel(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def written(path, arrays, metadata=None):
    """A file of arrays, or of shapes, in the format that its suffix says."""
    arrays = {name: kernel(*each) if isinstance(each, tuple) else each for name, each in arrays.items()}
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".safetensors":
        save_file(arrays, path, metadata)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name.replace(".", "/")] = array
    return path


def found(weights):
    return {layer.name: (layer.shape[:2], *layer.channels, layer.filters) for layer in weights.layers}


# How kernels lie


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".h5"])
@pytest.mark.parametrize("equal", [16, 24])
@pytest.mark.parametrize("side", [1, 3, 5])
def test_arrays_that_allow_one_layout_decide_for_the_others(tmp_path, suffix, equal, side):
    for layout, first in [("HWIO", (3, 3, 3, equal)), ("OIHW", (equal, 3, 3, 3))]:
        second = (side, side, equal, equal) if layout == "HWIO" else (equal, equal, side, side)
        arrays = {"c1.weight": first, "c2.weight": second, "c3.weight": second}
        weights = read(written(tmp_path / f"{layout}{suffix}", arrays))
        expected = ((side, side), equal, equal, equal**2)
        assert found(weights) == {"c1": ((3, 3), 3, equal, 3 * equal), "c2": expected, "c3": expected}
        axes = (0, 1, 2, 3) if layout == "HWIO" else (2, 3, 1, 0)
        np.testing.assert_array_equal(weights.kernel("c2"), kernel(*second).transpose(axes))


def test_large_kernels_are_decided_by_what_is_too_large_for_one(tmp_path):
    weights = read(written(tmp_path / "a.npz", {"a.weight": (64, 3, 9, 9), "b.weight": (16, 16, 9, 9)}))
    assert found(weights) == {"a": ((9, 9), 3, 64, 192), "b": ((9, 9), 16, 16, 256)}


@pytest.mark.parametrize(
    "arrays",
    [
        {"a": (16, 16, 16, 16)},
        {"conv.weight": (24, 24, 3, 3)},
        {"kernel": (3, 3, 16, 16)},
        {"a.weight": (16, 16, 3, 3), "b.weight": (16, 16, 1, 7)},
        {"a.weight": (7, 1, 16, 16)},
        {"a.weight": (64, 3, 3, 3), "b.weight": (3, 3, 3, 64)},
        {"a.weight": (16, 3, 3, 3), "b.weight": (3, 3, 3, 16)},
    ],
)
@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".h5"])
def test_a_file_that_does_not_tell_its_layout_is_refused_with_the_option_that_decides(tmp_path, suffix, arrays, capsys):
    path = written(tmp_path / f"a{suffix}", arrays)
    with pytest.raises(ValueError, match="does not say which axes.*--layout HWIO .*--layout OIHW") as error:
        read(path)
    assert str(path) in str(error.value) and str(next(iter(arrays.values()))) in str(error.value)
    assert main(["inspect", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "--layout HWIO" in capsys.readouterr().err
    for layout in ("HWIO", "OIHW"):
        assert read(path, layout).layers and pretrained.obtain(str(path), layout=layout).layers


def test_the_layout_option_reads_what_was_refused(tmp_path):
    path = written(tmp_path / "a.npz", {"a": (16, 16, 16, 16)})
    assert main(["inspect", str(path), "--layout", "OIHW", "--layers", "1", "--out", str(tmp_path)]) == 0
    assert next(csv.DictReader((tmp_path / "layers.csv").open()))["kernel"] == "16x16"
    with pytest.raises(ValueError, match="layout = 'HWIO', but 'vgg16' is no file"):
        pretrained.obtain("vgg16", layout="HWIO")


@pytest.mark.parametrize("library, side", [("pt", 3), ("flax", 16), ("tf", 16)])
def test_the_library_that_a_file_names_decides_where_its_arrays_do_not(tmp_path, library, side):
    path = written(tmp_path / "a.safetensors", {"conv.weight": (16, 16, 3, 3)}, {"format": library})
    assert read(path).layers[0].shape[:2] == (side, side)
    path = written(tmp_path / "b.safetensors", {"conv.weight": (3, 3, 16, 64)}, {"format": library})
    assert read(path).layers[0].shape == (3, 3, 16, 64)  # which cannot lie otherwise


def test_keras_kernels_lie_as_keras_has_them_whatever_is_square(tmp_path):
    path = written(tmp_path / "a.h5", {"conv/kernel:0": (1, 8, 16, 16)})
    assert read(path).layers[0].shape[:2] == (16, 16)
    with h5py.File(path, "a") as file:
        file.attrs["keras_version"] = "2.15.0"
    assert read(path).layers[0].shape == (1, 8, 16, 16)


# Transposed, depthwise and grouped convolutions


def test_a_bias_tells_in_from_out(tmp_path):
    arrays = {"up.weight": (64, 32, 4, 4), "down.weight": (64, 32, 4, 4), "open.weight": (64, 32, 4, 4)}
    arrays |= {"plain.weight": (64, 32, 3, 3), "up.bias": (32,), "down.bias": (64,), "upconv.weight": (64, 32, 3, 3)}
    weights = read(written(tmp_path / "a.safetensors", arrays))
    kinds = {layer.name: (layer.kind, *layer.channels, layer.filters) for layer in weights.layers}
    assert kinds == {
        "up": ("transposed", 64, 32, 2048),
        "down": ("convolution", 32, 64, 2048),
        "open": ("convolution or transposed", "", "", 2048),
        "upconv": ("convolution or transposed", "", "", 2048),
        "plain": ("convolution", 32, 64, 2048),
    }
    np.testing.assert_array_equal(weights.kernel("up"), kernel(64, 32, 4, 4).transpose(2, 3, 0, 1))


def test_blobs_of_caffe_are_named_after_their_layer(tmp_path):
    path = written(tmp_path / "a.h5", {"data/up/0": (64, 32, 3, 3), "data/up/1": (32,), "data/conv/0": (16, 16, 3, 3)})
    assert found(read(path)) == {"data/conv": ((3, 3), 16, 16, 256), "data/up": ((3, 3), 64, 32, 2048)}


def test_depthwise_convolutions_are_counted_and_named(tmp_path):
    torch = read(written(tmp_path / "a.npz", {"a.weight": (64, 3, 3, 3), "b.weight": (64, 1, 3, 3)}))
    assert torch.layers[1] == Layer("b", (3, 3, 1, 64), "depthwise or of one channel", None)
    assert torch.layers[1].channels == ("", 64)
    named = read(written(tmp_path / "b.npz", {"a.weight": (64, 3, 3, 3), "dwconv.weight": (64, 1, 3, 3)}))
    assert named.layers[1] == Layer("dwconv", (3, 3, 1, 64), "depthwise", 64)
    of_keras = read(
        written(tmp_path / "c.h5", {"a/a/depthwise_kernel:0": (3, 3, 40, 2), "b/pointwise/kernel": (1, 1, 80, 8)})
    )
    assert of_keras.layers == [Layer("a", (3, 3, 1, 80), "depthwise", 40), Layer("b/pointwise", (1, 1, 80, 8))]
    assert of_keras.layers[0].channels == (40, 80) and of_keras.layers[0].filters == 80
    np.testing.assert_array_equal(of_keras.kernel("a")[:, :, 0, 3], kernel(3, 3, 40, 2)[:, :, 1, 1])


CONFIG = [
    ("InputLayer", "input", {}),
    ("Conv2D", "stem", {"groups": 1}),
    ("DepthwiseConv2D", "deep", {}),
    ("Conv2D", "apart", {"groups": 4}),
    ("Conv2DTranspose", "alpha", {}),
    ("SeparableConv2D", "both", {}),
]
SHAPES = {"stem": (3, 3, 3, 8), "deep": (3, 3, 8, 2), "apart": (3, 3, 4, 32), "alpha": (2, 2, 16, 32)}


def config(layers):
    return {"config": {"layers": [{"class_name": c, "config": {"name": n, **rest}} for c, n, rest in layers]}}


def test_a_configuration_that_is_too_long_is_not_read(tmp_path, monkeypatch):
    path = keras_file(tmp_path / "a.keras", config(CONFIG), {"layers/conv2d/vars/0": (3, 3, 3, 8)})
    monkeypatch.setattr(keras, "MOST_TEXT", 10)
    with pytest.raises(ValueError, match="config.json declares .* more than are read"):
        read(path)


def check_described(weights):
    assert [(layer.kind, *layer.channels, layer.filters) for layer in weights.layers] == [
        ("convolution", 3, 8, 24),
        ("depthwise", 8, 16, 16),
        ("grouped", 16, 32, 128),
        ("transposed", 32, 16, 512),
        ("depthwise", 16, 16, 16),
        ("convolution", 16, 8, 128),
    ]
    assert [layer.name for layer in weights.layers][:4] == list(SHAPES)
    np.testing.assert_array_equal(weights.kernel("alpha"), kernel(2, 2, 16, 32).transpose(0, 1, 3, 2))


def keras_file(path, configuration, arrays):
    inner = written(path.with_suffix(".h5"), arrays)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(configuration))
        archive.write(inner, "model.weights.h5")
    return path


@pytest.mark.parametrize("group", ["layers", "_layer_checkpoint_dependencies"])
def test_a_keras_file_is_read_by_its_configuration(tmp_path, group):
    filed = {"stem": "conv2d", "deep": "depthwise_conv2d", "apart": "conv2d_1", "alpha": "conv2d_transpose"}
    arrays = {f"{group}/{filed[name]}/vars/0": shape for name, shape in SHAPES.items()}
    arrays |= {f"{group}/separable_conv2d/vars/0": (3, 3, 16, 1), f"{group}/separable_conv2d/vars/1": (1, 1, 16, 8)}
    arrays |= {"optimizer/vars/3": (3, 3, 3, 8)}
    weights = read(keras_file(tmp_path / "a.keras", config(CONFIG), arrays))
    check_described(weights)
    assert weights.skipped == {"optimizer/vars/3": "the state of an optimizer"}


def test_an_h5_of_keras_is_read_by_its_configuration(tmp_path):
    arrays = {f"model_weights/{name}/{name}/kernel:0": shape for name, shape in SHAPES.items()}
    arrays["model_weights/both/both/depthwise_kernel:0"] = (3, 3, 16, 1)
    arrays["model_weights/both/both/pointwise_kernel:0"] = (1, 1, 16, 8)
    path = written(tmp_path / "a.h5", arrays)
    with h5py.File(path, "a") as file:
        file.attrs["model_config"], file.attrs["keras_version"] = json.dumps(config(CONFIG)), "2.4.0"
    check_described(read(path))


def test_a_model_within_a_model_comes_where_data_passes_it(tmp_path):
    inner = {"class_name": "Functional", **config([("Conv2D", "zeta", {}), ("Conv2D", "alpha", {})])}
    inner["config"]["name"] = "net"
    whole = config([("Conv2D", "pre", {})])
    whole["config"]["layers"] += [inner, *config([("Conv2D", "b", {})])["config"]["layers"]]
    nested, shape = "layers/functional/layers", (3, 3, 8, 8)
    keys = ["layers/conv2d/vars/0", f"{nested}/conv2d/vars/0", f"{nested}/conv2d_1/vars/0", "layers/conv2d_1/vars/0"]
    weights = read(keras_file(tmp_path / "a.keras", whole, {key: shape for key in keys}))
    assert [layer.name for layer in weights.layers] == ["pre", "zeta", "alpha", "b"]
    named = {f"model_weights/{key}/kernel:0": shape for key in ("b/b", "net/alpha", "net/zeta", "pre/pre")}
    path = written(tmp_path / "b.h5", named)
    with h5py.File(path, "a") as file:
        file.attrs["model_config"], file.attrs["keras_version"] = json.dumps(whole), "2.4.0"
    assert [layer.name for layer in read(path).layers] == ["pre", "zeta", "alpha", "b"]


def test_a_model_within_a_model_is_ordered_by_its_weight_names(tmp_path):
    path = written(tmp_path / "a.h5", {"pre/pre/kernel": (3, 3, 3, 8), "net/alpha/kernel": (3, 3, 16, 8)})
    with h5py.File(path, "a") as file:
        file["net/stem/kernel"] = kernel(3, 3, 8, 16)
        file.attrs["layer_names0"], file.attrs["layer_names1"] = ["pre"], ["net"]
        file["net"].attrs["weight_names"] = ["stem/kernel", "alpha/kernel"]
    weights = read(path)
    assert [layer.name for layer in weights.layers] == ["pre", "stem", "alpha"] and weights.layer(2).name == "stem"


def test_a_name_that_is_a_number_and_a_position_are_two_things(tmp_path, capsys):
    path = written(tmp_path / "a.safetensors", {f"{i}.weight": (16, 8, 3, 3) for i in (10, 6, 0, 3)})
    weights = read(path)
    assert [layer.name for layer in weights.layers] == ["0", "3", "6", "10"]
    assert (weights.layer(3).name, weights.layer("3").name) == ("6", "3")
    for words, name in [(["3"], "6"), (["name=3"], "3"), (["name=10"], "10")]:
        assert main(["inspect", str(path), "--layers", *words, "--out", str(tmp_path)]) == 0
        assert [row["layer"] for row in csv.DictReader((tmp_path / "layers.csv").open())] == [name]
    assert main(["inspect", str(path), "--layers", "6", "--out", str(tmp_path)]) == 2
    assert "has no layer 6 (name=6 is the layer of that name); it has 4: 0, 3, 6, 10" in capsys.readouterr().err


def test_layers_of_an_npz_come_as_they_were_written(tmp_path):
    shape = (64, 8, 3, 3)
    weights = read(written(tmp_path / "a.npz", {"stem.weight": shape, "body.weight": shape, "head.weight": shape}))
    assert [layer.name for layer in weights.layers] == ["stem", "body", "head"]
    weights = read(written(tmp_path / "b.npz", {"a1.weight": shape, "a10.weight": shape, "a2.weight": shape}))
    assert [layer.name for layer in weights.layers] == ["a1", "a2", "a10"]


# What is no kernel

OTHERS = {
    "optimizer.state.exp_avg.conv.weight": "optimizer",
    "net.optimizer_weights.m.kernel": "optimizer",
    "opt_state.0.mu.conv.kernel": "optimizer",
    "conv.weight.Adam_1": "optimizer",
    "a.b.momentum_buffer.conv.weight": "optimizer",
    "optimizer_g.state.0.conv.weight": "optimizer",
    "generator_optim.conv.weight": "optimizer",
    "params_ema.conv.weight": "average",
    "ema_model.conv.weight": "average",
    "state_dict.ema.conv.weight": "average",
    "deep.er.model_ema.conv.weight": "average",
    "net.pos_embed": "positions",
    "encoder.pos_embedding.weight": "positions",
    "input.const": "constant",
    "normed.weight_g": "constant",
    "relative_position_bias": "positions",
}


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".h5"])
def test_what_belongs_to_a_training_or_is_constant_is_listed_and_no_layer(tmp_path, suffix):
    layers = ["optimizer_branch_conv", "conv", "expo_net.ema_branch", "const_block", "pos_net"]
    arrays = {f"{name}.weight": (64, 8, 3, 3) for name in layers} | {name: (64, 8, 3, 3) for name in OTHERS}
    if suffix == ".h5":
        del arrays["conv.weight.Adam_1"]  # there conv.weight is no group
    weights = read(written(tmp_path / f"a{suffix}", arrays))
    assert sorted(layer.name for layer in weights.layers) == sorted(
        name.replace(".", "/") if suffix == ".h5" else name for name in layers
    )
    reasons = {name.replace("/", "."): why for name, why in weights.skipped.items()}
    assert set(reasons) == set(arrays) - {f"{name}.weight" for name in layers}
    assert all(OTHERS[name] in why for name, why in reasons.items())


def test_averages_that_are_alone_in_a_file_are_its_layers(tmp_path):
    weights = read(written(tmp_path / "a.npz", {"ema_model.conv.weight": (64, 8, 3, 3)}))
    assert list(found(weights)) == ["ema_model.conv"] and not weights.skipped


def test_numbers_of_eight_bits_have_a_sentence(tmp_path):
    header = {"conv.weight": {"dtype": "F8_E4M3", "shape": [64, 8, 3, 3], "data_offsets": [0, 4608]}}
    header["q.weight"] = {"dtype": "I8", "shape": [64, 8, 3, 3], "data_offsets": [4608, 9216]}
    header["count"] = {"dtype": "I8", "shape": [1], "data_offsets": [9216, 9217]}
    text = json.dumps(header).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(9217))
    with pytest.raises(ValueError, match="conv.weight: F8_E4M3, floats of fewer.*float16.*q.weight: I8 .*need a scale"):
        read(tmp_path / "a.safetensors")
    np.savez(tmp_path / "b.npz", conv=np.ones((3, 3, 8, 64), np.int8))
    with pytest.raises(ValueError, match="conv: int8 is no type of weights: integers need a scale"):
        read(tmp_path / "b.npz")


# Formats


def test_a_lone_npy_is_one_layer(tmp_path):
    np.save(tmp_path / "conv.npy", np.asfortranarray(kernel(3, 3, 8, 64)))
    weights = read(tmp_path / "conv.npy")
    assert found(weights) == {"conv": ((3, 3), 8, 64, 512)}
    np.testing.assert_array_equal(weights.kernel(1), kernel(3, 3, 8, 64))
    whole = (tmp_path / "conv.npy").read_bytes()
    for content in (whole[:-1], whole + b"\0", whole[:20], whole[:7]):
        (tmp_path / "conv.npy").write_bytes(content)
        with pytest.raises(ValueError, match="conv.npy.*truncated or corrupt"):
            read(tmp_path / "conv.npy")
    np.save(tmp_path / "objects.npy", np.full((3, 3, 8, 64), None))
    with pytest.raises(ValueError, match="holds no convolution .objects: object is no type of weights"):
        read(tmp_path / "objects.npy")


def test_safetensors_of_any_length_of_header_are_no_pickles(tmp_path):
    for length in range(0, 264, 8):
        written(tmp_path / "a.safetensors", {"conv.weight": (64, 8, 3, 3)}, {"text": "x" * length})
        assert len(read(tmp_path / "a.safetensors").layers) == 1


def index(folder, places, **arrays):
    for part in set(places.values()):
        written(folder / part, {key: (64, 8, 3, 3) for key, place in places.items() if place == part}, {"format": "pt"})
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return path


def test_safetensors_in_parts_are_one_network(tmp_path):
    places = {"c10.weight": "m-1-of-2.safetensors", "c2.weight": "m-2-of-2.safetensors"}
    path = index(tmp_path, places)
    weights = read(path)
    assert [layer.name for layer in weights.layers] == ["c2", "c10"]
    np.testing.assert_array_equal(weights.kernel(1), kernel(64, 8, 3, 3).transpose(2, 3, 1, 0))
    (tmp_path / "m-1-of-2.safetensors").unlink()
    for changes, message in [
        ({}, "names 'm-1-of-2.safetensors', which is not there"),
        ({"c10.weight": "../m.safetensors"}, "names '../m.safetensors', which is not beside it"),
        (
            {"c10.weight": "m-2-of-2.safetensors"},
            "names 'c10.weight' in 'm-2-of-2.safetensors', which does not hold it",
        ),
        ({"c10.weight": 3}, 'is JSON, without a "weight_map"'),
    ]:
        path.write_text(json.dumps({"weight_map": {**places, **changes}}))
        with pytest.raises(ValueError, match=message):
            read(path)
    path.write_text('{"weight_map": ')
    with pytest.raises(ValueError, match="truncated or corrupt"):
        read(path)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git-lfs pointer.*`git lfs pull`"),
        (b"\n  <!DOCTYPE html><html><body>login</body></html>", "is an HTML page"),
        (b"<html>404</html>", "is an HTML page"),
    ],
)
def test_what_a_download_may_leave_has_a_sentence(tmp_path, content, message):
    for name in ("model.safetensors", "model.pth"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read(tmp_path / name)


# Pickles


def conversion(path):
    with pytest.raises(ValueError, match="is a pickle") as error:
        read(path)
    assert "\n" not in str(error.value)
    said, command = str(error.value).split(": python -c ", 1)
    words = shlex.split(command)
    compile(words[0], "the conversion", "exec")
    return said, words


@pytest.mark.parametrize("name", ["x'$(touch PWNED)'.pth", 'a "b" `touch PWNED`;touch PWNED.pth', "$HOME & x\\.pth"])
def test_a_shell_runs_nothing_out_of_a_name(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x80\x02}q\x00.")
    _, (_, source, target) = conversion(tmp_path / name)
    assert (source, target) == (str(tmp_path / name), str(tmp_path / name)[:-4] + ".safetensors")


@pytest.mark.parametrize(
    "name", ["x'$(touch PWNED)'.pth", "two\nlines `touch PWNED`", "\x1b[31m'\\", b"\xff\xfe !'x.pt"]
)
def test_what_a_shell_gets_is_the_name(tmp_path, name):
    path = Path(os.fsdecode(name))
    assert quoted(path).isprintable()
    script = ["bash", "-c", f"printf %s {quoted(path)}"]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout == os.fsencode(path) and not list(tmp_path.iterdir())


class Network:
    """A class that is not part of a state dict."""


def test_the_conversion_is_that_of_what_the_file_holds(tmp_path):
    def saved(name, content, *others):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("m/data.pkl", pickle.dumps(content, 2))
            for other in others:
                archive.writestr(f"m/{other}", b"")
        return conversion(tmp_path / name)

    said, (script, *_) = saved("a.pt", OrderedDict(a=1))
    assert "weights_only=True" in script and "trust" not in said
    said, (script, *_) = saved("b.pt", {"model": Network()})
    assert (
        "weights_only=False" in script
        and "only if you trust its author" in said
        and "test_weight_files.Network" in said
    )
    said, (script, *_) = saved("c.pt", Network(), "constants.pkl")
    assert "torch.jit.load" in script and "torch.load" not in script
    # PyTorch before 1.6: a magic number, a protocol, a description, what was saved, the keys, then the numbers
    (tmp_path / "d.pth").write_bytes(
        b"".join(pickle.dumps(each, 2) for each in (1, 2, {}, Network(), [])) + b"cos\nsystem\n"
    )
    assert "weights_only=False" in conversion(tmp_path / "d.pth")[1][0]
    (tmp_path / "e.pth").write_bytes(b"".join(pickle.dumps(each, 2) for each in (1, 2, {}, {}, [])) + b"cos\nsystem\n")
    assert "weights_only=True" in conversion(tmp_path / "e.pth")[1][0]


FAKE_TORCH = """
import types
class Tensor:
    def __init__(self, steps=()): self.steps = steps
    def detach(self): return Tensor((*self.steps, "detach"))
    def clone(self): return Tensor((*self.steps, "clone"))
    def contiguous(self): return Tensor((*self.steps, "contiguous"))
class Module:
    def state_dict(self): return {"conv.weight": Tensor(), "extra": 3}
state = Module().state_dict()
held = {"a": state, "b": {"state_dict": state, "epoch": 3}, "c": {"model": state}}
held |= {"d": Module(), "e": {"model": Module()}}
def load(source, map_location, weights_only=None): return held[source[-5]]
jit = types.SimpleNamespace(load=load)
"""
FAKE_SAVING = """
def save_file(tensors, target, metadata):
    print({name: tensor.steps for name, tensor in tensors.items()}, target[-13:], metadata)
"""


@pytest.mark.parametrize("kind", "abcde")  # state dict, checkpoints, whole module, checkpoint with a module
def test_the_conversion_finds_the_state_in_what_pytorch_reads(tmp_path, kind):
    (tmp_path / "safetensors").mkdir()
    (tmp_path / "torch.py").write_text(FAKE_TORCH)
    (tmp_path / "safetensors" / "__init__.py").write_text("")
    (tmp_path / "safetensors" / "torch.py").write_text(FAKE_SAVING)
    (tmp_path / f"{kind}.pth").write_bytes(pickle.dumps({}, 2))
    _, words = conversion(tmp_path / f"{kind}.pth")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", *words], env=environment, capture_output=True, text=True)
    steps = ("detach", "clone", "contiguous")
    assert run.stdout == f"{dict([('conv.weight', steps)])} {kind}.safetensors {dict(format='pt')}\n", run.stderr


# One bad layer

SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32)
BAD = {
    "constant": (np.ones((64, 3, 3, 3), np.float32), "0 filters that are not constant"),
    "alike": (np.tile(np.abs(SOBEL), (64, 1, 1, 1)), "its filters have 1 of the 50 different shapes"),
    "line": (np.stack([SOBEL, -SOBEL] * 40)[:, None], "its filters have 2 of the 50 different shapes"),
    "nan": (np.where(kernel(64, 3, 3, 3) > 3, np.nan, kernel(64, 3, 3, 3)).astype(np.float32), "NaN or infinite"),
    "infinite": (np.where(kernel(64, 3, 3, 3) > 3, np.inf, kernel(64, 3, 3, 3)).astype(np.float32), "NaN or infinite"),
    "copies": (
        np.concatenate([np.tile(SOBEL, (600, 1, 1, 1)), kernel(400, 1, 3, 3)]),
        "its dense core has 1 of the 50 different shapes",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_layer_is_a_row_with_its_reason_and_ends_nothing(tmp_path, name):
    array, reason = BAD[name]
    weights = read(written(tmp_path / "a.safetensors", {"a.weight": (64, 3, 3, 3), "b.weight": array}))
    good, bad = inspection.inspect(weights, draws=1)
    assert good.row["loops"] >= 0 and good.core is not None and "skipped" not in good.row
    assert bad.core is None and reason in bad.row["skipped"] and bad.row["layer"] == "b"
    assert inspection.skipped([good, bad]) == {"b": bad.row["skipped"]}


def test_a_layer_that_is_corrupt_is_a_row_with_its_reason(tmp_path):
    path = written(tmp_path / "a.npz", {"a.weight": (64, 3, 3, 3), "b.weight": kernel(64, 3, 3, 3, seed=1)})
    whole = path.read_bytes()
    at = whole.index(kernel(64, 3, 3, 3, seed=1).tobytes())
    path.write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
    good, bad = inspection.inspect(read(path), draws=1)
    assert good.core is not None and "truncated or corrupt" in bad.row["skipped"]


def test_names_are_shown_escaped_and_are_no_formulas(tmp_path, capsys):
    names = ["=1+1", "+2", "-3", "@sum", "\tx", "red\x1b[31m", "line\nbreak", "\uff1d1", "\u202ertl"]
    path = written(tmp_path / "a.npz", {f"{name}.weight": (20, 8, 3, 3) for name in names})
    assert main(["inspect", str(path), "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err and r"red\x1b[31m" in shown.out and r"line\nbreak" in shown.out
    cells = [row["layer"] for row in csv.DictReader((tmp_path / "layers.csv").open())]
    assert cells == ["'=1+1", "'+2", "'-3", "'@sum", r"'\tx", r"red\x1b[31m", r"line\nbreak", "'\uff1d1", r"\u202ertl"]
    assert main(["inspect", str(path), "--layers", "\x1b[31m", "--out", str(tmp_path)]) == 2
    assert "\x1b" not in capsys.readouterr().err


# HDF5 that points elsewhere, or is odd but whole


@pytest.fixture
def waiting(tmp_path):
    """A FIFO: whoever opens it waits."""
    os.mkfifo(tmp_path / "fifo")
    return str(tmp_path / "fifo")


def test_no_other_file_is_opened(tmp_path, waiting):
    path = written(tmp_path / "a.h5", {"a/kernel:0": (3, 3, 8, 16)})
    with h5py.File(path, "a") as file:
        file["model_weights"] = h5py.ExternalLink(waiting, "/")
        file["deep/er"] = h5py.ExternalLink(waiting, "/x")
        file["soft"] = h5py.SoftLink("/model_weights/x")
        file.attrs["layer_names"], file["a"].attrs["weight_names"] = ["model_weights", "deep/er", "a"], ["kernel:0"]
        layout = h5py.VirtualLayout((3, 3, 8, 16), "f4", maxshape=(3, 3, 8, None))
        source = h5py.VirtualSource(waiting, "x", (3, 3, 8, 16), maxshape=(3, 3, 8, None))
        layout[:, :, :, : h5py.h5s.UNLIMITED] = source[:, :, :, : h5py.h5s.UNLIMITED]
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("raw", (3, 3, 8, 16), "f4", external=[(waiting, 0, 4608)])
    weights = read(path)
    assert found(weights) == {"a": ((3, 3), 8, 16, 128)}
    assert set(weights.skipped) == {"model_weights", "deep/er", "soft", "virtual", "raw"}
    assert all("not followed" in why for why in weights.skipped.values())
    with pytest.raises(ValueError, match="fifo is no regular file"):
        read(waiting)


def test_cycles_null_spaces_and_odd_attributes_name_themselves(tmp_path):
    path = written(tmp_path / "a.h5", {"a/kernel:0": (3, 3, 8, 16), "b/kernel:0": (3, 3, 16, 8)})
    with h5py.File(path, "a") as file:
        file["a/again"], file["b/root"], file["n"] = file["a"], file["/"], h5py.Empty("f4")
        h5py.h5d.create(file.id, b"bits", h5py.h5t.STD_B8LE, h5py.h5s.create_simple((3, 3, 8, 16)))
        file.attrs["layer_names"], file.attrs["model_config"] = h5py.Empty("f4"), "{"
        file["a"].attrs["weight_names"] = 3
    weights = read(path)
    assert list(found(weights)) == ["a", "b"]
    assert weights.skipped["a/again"] == "is the group a once more"
    assert weights.skipped["b/root"] == "is the group / once more"
    assert "null" in weights.skipped["n"] and "bits" in weights.skipped
    assert "no list of names" in weights.skipped["attribute layer_names of /"]
    assert "no JSON" in weights.skipped["attribute model_config of /"]


def test_errors_of_our_own_are_not_called_corrupt(tmp_path, monkeypatch):
    path = written(tmp_path / "a.npz", {"a.weight": (64, 8, 3, 3)})
    monkeypatch.setattr(formats, "_npy_header", lambda *arguments: {}["missing"])
    with pytest.raises(KeyError, match="missing"):
        read(path)
    with pytest.raises(ValueError, match="^ours$"), parsing(path):
        raise ValueError("ours")
    with pytest.raises(Refused, match="truncated or corrupt"), parsing(path):
        json.loads("{")
