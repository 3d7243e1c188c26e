import io
import json
import pickle
import struct
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from topo import datasets, kernels, pretrained, remote, samples
from topo.filters import from_half, normalize, spatial_filters, to_half
from topo.pretrained import Layer, read, vgg, vgg_layers


def kernel(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def keras(path, layers, prefix="", order=None, name="{0}/{0}_W_1:0"):
    with h5py.File(path, "w") as file:
        root = file.require_group(prefix) if prefix else file
        if order:
            root.attrs["layer_names"] = [each.encode() for each in order]
        for layer, array in layers.items():
            root[name.format(layer)] = array
            root[f"{layer}/{layer}_b_1:0"] = np.zeros(3, np.float32)
    return path


def shapes(weights):
    return {layer.name: layer.shape for layer in weights.layers}


# Formats


@pytest.mark.parametrize("prefix", ["", "model_weights"])
@pytest.mark.parametrize("name", ["{0}/{0}_W_1:0", "{0}/{0}/kernel:0", "{0}/vars/0"])
def test_keras_layers_come_in_the_order_of_the_network(tmp_path, prefix, name):
    layers = {"first": kernel(3, 3, 3, 8), "conv10": kernel(3, 3, 16, 4, seed=1), "conv2": kernel(3, 3, 8, 16, seed=2)}
    ordered = read(keras(tmp_path / "a.h5", layers, prefix, ["first", "conv2", "conv10"], name))
    assert list(shapes(ordered)) == ["first", "conv2", "conv10"]
    by_name = read(keras(tmp_path / "b.h5", layers, prefix, None, name))
    assert list(shapes(by_name)) == ["conv2", "conv10", "first"]
    for weights in (ordered, by_name):
        for layer, array in layers.items():
            assert shapes(weights)[layer] == array.shape
            np.testing.assert_array_equal(weights.kernel(layer), array)
    assert ordered.layers[0].filters == 24 and not ordered.skipped


def test_a_keras_file_is_a_zip_with_hdf5_in_it(tmp_path):
    layers = {"layers/conv2d": kernel(3, 3, 3, 8), "layers/conv2d_1": kernel(3, 3, 8, 8, seed=1)}
    inner = keras(tmp_path / "inner.h5", layers, name="{0}/vars/0")
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.write(inner, "model.weights.h5")
    weights = read(tmp_path / "model.keras")
    assert shapes(weights) == {"conv2d": (3, 3, 3, 8), "conv2d_1": (3, 3, 8, 8)}
    np.testing.assert_array_equal(weights.kernel("conv2d_1"), layers["layers/conv2d_1"])


def test_optimizer_states_are_no_layers(tmp_path):
    path = keras(tmp_path / "a.h5", {"conv": kernel(3, 3, 3, 8)}, "model_weights", ["conv"])
    with h5py.File(path, "a") as file:
        file["optimizer_weights/conv/m"] = kernel(3, 3, 3, 8)
    assert list(shapes(read(path))) == ["conv"]


def test_pytorch_kernels_are_turned(tmp_path):
    torch = {
        "features.10.weight": kernel(16, 8, 3, 3),
        "features.0.weight": kernel(8, 3, 3, 3, seed=1),
        "features.0.bias": kernel(8),
        "fc.weight": kernel(10, 16),
    }
    save_file(torch, tmp_path / "model.safetensors", {"format": "pt"})
    weights = read(tmp_path / "model.safetensors")
    assert shapes(weights) == {"features.0": (3, 3, 3, 8), "features.10": (3, 3, 8, 16)}
    np.testing.assert_array_equal(weights.kernel(2), torch["features.10.weight"].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(weights.kernel("features.0")[1, 2, 0, 5], torch["features.0.weight"][5, 0, 1, 2])


def test_npz_and_nested_flax_names(tmp_path):
    np.savez_compressed(
        tmp_path / "model.npz",
        **{
            "params/Conv_0/kernel": kernel(5, 5, 1, 6),
            "params/Conv_1/kernel": kernel(3, 3, 6, 16),
            "params/Dense_0/kernel": kernel(4, 5),
        },
    )
    weights = read(str(tmp_path / "model.npz"))
    assert shapes(weights) == {"Conv_0": (5, 5, 1, 6), "Conv_1": (3, 3, 6, 16)}
    np.testing.assert_array_equal(weights.kernel("Conv_0"), kernel(5, 5, 1, 6))


@pytest.mark.parametrize(
    "shape, suffix, turned",
    [
        ((5, 5, 1, 6), "safetensors", (5, 5, 1, 6)),  # square only as (h, w, in, out)
        ((6, 1, 5, 5), "npz", (5, 5, 1, 6)),
        ((64, 1, 3, 3), "safetensors", (3, 3, 1, 64)),  # depthwise
        ((192, 192, 1, 7), "safetensors", (1, 7, 192, 192)),
        ((1, 7, 192, 192), "npz", (1, 7, 192, 192)),
        ((64, 128, 1, 1), "safetensors", (1, 1, 128, 64)),
    ],
)
def test_the_layout_is_told_by_the_shape(tmp_path, shape, suffix, turned):
    path = tmp_path / f"a.{suffix}"
    (np.savez if suffix == "npz" else lambda path, conv: save_file({"conv": conv}, path))(path, conv=kernel(*shape))
    assert shapes(read(path)) == {"conv": turned}


def test_a_layout_can_be_given(tmp_path):
    save_file({"conv": kernel(3, 3, 3, 3)}, tmp_path / "a.safetensors")
    as_given = read(tmp_path / "a.safetensors", "HWIO").kernel(1)
    np.testing.assert_array_equal(as_given, kernel(3, 3, 3, 3))
    with pytest.raises(ValueError, match="layout = 'NCHW' is not allowed"):
        read(tmp_path / "a.safetensors", "NCHW")


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
def test_every_float_becomes_float32(tmp_path, dtype):
    import jax.numpy as jnp
    from safetensors.flax import save_file as save

    values = kernel(3, 3, 2, 2).astype(np.float16)
    save({"conv": jnp.asarray(values).astype(dtype)}, tmp_path / "a.safetensors")
    found = read(tmp_path / "a.safetensors", "HWIO").kernel("conv")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, values, rtol=1e-2)


def test_what_is_no_kernel_is_skipped_and_said(tmp_path):
    np.savez(
        tmp_path / "a.npz",
        conv=kernel(3, 3, 2, 2),
        ids=np.ones((3, 3, 2, 2), int),
        wide=kernel(40, 40, 50, 60),
        other=kernel(3, 3, 2, 40),
        empty=kernel(3, 3, 0, 2),
        odd=np.empty((3, 3, 2, 2), object),
    )
    weights = read(tmp_path / "a.npz")
    assert list(shapes(weights)) == ["conv", "other"]
    assert set(weights.skipped) == {"ids", "wide", "empty", "odd"} and "31 x 31" in weights.skipped["wide"]


# Files that cannot be used


def npz_that_says(path, shape, content=b"\0" * 64):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("conv.npy", header.getvalue() + content)
    return path


def not_read(path, match):
    with pytest.raises(ValueError, match=match) as error:
        read(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["model.pth", "model.pkl", "disguised.npz", "disguised.h5"])
def test_a_pickle_is_refused_unread_with_the_way_to_convert_it(tmp_path, name):
    class Bomb:
        def __reduce__(self):
            return (exit, (1,))

    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    not_read(tmp_path / name, "is a pickle.*never read.*save_file")


def test_a_pytorch_archive_is_a_pickle_under_any_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.npz", "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps({}))
    not_read(tmp_path / "model.npz", "is a pickle")


@pytest.mark.parametrize("suffix", ["h5", "safetensors", "npz"])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_truncated_file_is_one_error(tmp_path, suffix, share):
    path = tmp_path / f"a.{suffix}"
    arrays = {"conv": kernel(3, 3, 16, 16), "more": kernel(3, 3, 16, 16, seed=1)}
    {
        "h5": keras,
        "safetensors": lambda path, arrays: save_file(arrays, path),
        "npz": lambda path, arrays: np.savez(path, **arrays),
    }[suffix](path, arrays)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    not_read(path, "truncated or corrupt")


@pytest.mark.parametrize("suffix", ["h5", "safetensors", "npz"])
def test_a_file_that_is_corrupt_anywhere_is_read_or_one_error(tmp_path, suffix):
    path, arrays = tmp_path / f"a.{suffix}", {"conv": kernel(3, 3, 4, 4), "more": kernel(3, 3, 4, 4, seed=1)}
    if suffix == "h5":
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file.create_dataset(f"{name}/kernel:0", data=array, compression="gzip")
    else:
        (save_file if suffix == "safetensors" else lambda arrays, path: np.savez_compressed(path, **arrays))(
            arrays, path
        )
    whole, generator, errors = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(150):
        broken = np.frombuffer(whole, np.uint8).copy()
        at = generator.integers(8, len(whole), generator.choice([1, 10]))
        broken[at] = generator.integers(256, size=len(at))
        path.write_bytes(broken.tobytes())
        try:
            weights = read(path)
            for layer in weights.layers:
                weights.kernel(layer.name)
        except ValueError as error:
            errors += 1
            assert str(path) in str(error) and "\n" not in str(error)
    assert errors > 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"weights",
        b"\x89HDF\r\n\x1a\n" + bytes(50),
        b"PK\x03\x04" + bytes(50),
        struct.pack("<Q", 2**60) + b"{}",
        struct.pack("<Q", 2) + b"{]",
    ],
)
def test_what_is_no_weight_file_is_one_error(tmp_path, content):
    (tmp_path / "a.h5").write_bytes(content)
    not_read(tmp_path / "a.h5", "is no weight file|truncated or corrupt")


def test_a_file_that_is_not_there_or_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.h5 is not there"):
        read(tmp_path / "nowhere.h5")
    with pytest.raises(ValueError, match="is a folder"):
        read(tmp_path)


def test_a_file_without_convolutions_says_what_it_has(tmp_path):
    save_file({"fc.weight": kernel(10, 16)}, tmp_path / "a.safetensors")
    not_read(tmp_path / "a.safetensors", "holds no convolution.*no array has four axes")
    np.savez(tmp_path / "b.npz", attention=kernel(40, 40, 40, 40))
    not_read(tmp_path / "b.npz", r"holds no convolution.*attention: shape \(40, 40, 40, 40\)")


def test_a_file_that_declares_more_than_it_holds_allocates_nothing(tmp_path):
    not_read(npz_that_says(tmp_path / "a.npz", (3, 3, 100_000, 100_000)), "declares shape")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("conv/kernel:0", (3, 3, 20_000, 20_000), "f4", chunks=True)
    not_read(tmp_path / "b.h5", "declares shape.*holds 0 bytes")
    header = json.dumps(
        {"conv": {"dtype": "F32", "shape": [3, 3, 100_000, 100_000], "data_offsets": [0, 4 * 9 * 10**10]}}
    ).encode()
    (tmp_path / "c.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))
    not_read(tmp_path / "c.safetensors", "truncated or corrupt")


def test_a_layer_too_large_to_read_is_one_error(tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "LAYER_BYTES", 100)
    np.savez(tmp_path / "a.npz", conv=kernel(3, 3, 2, 2))
    not_read(tmp_path / "a.npz", r"conv: shape \(3, 3, 2, 2\).*more than")


def test_another_file_is_never_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(kernel(3, 3, 2, 2).tobytes())
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("conv/kernel:0", (3, 3, 2, 2), "f4", external=[(str(secret), 0, 144)])
    not_read(tmp_path / "a.h5", "kept in another file")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["conv"] = h5py.ExternalLink(str(tmp_path / "a.h5"), "conv")
    not_read(
        tmp_path / "b.h5", "holds no convolution .*conv: is a link into another file, .*a.h5, which is not followed"
    )


def test_weights_that_are_not_finite_and_layers_that_are_not_there(tmp_path):
    broken = kernel(3, 3, 2, 2)
    broken[0, 0, 0, 0] = np.nan
    np.savez(tmp_path / "a.npz", conv=broken, fine=kernel(3, 3, 2, 2))
    weights = read(tmp_path / "a.npz", "HWIO")
    with pytest.raises(ValueError, match="1 weights of layer conv are NaN or infinite"):
        weights.kernel("conv")
    assert np.isfinite(weights.kernel("fine")).all()
    for wrong in ("dense", 0, 3, True):
        with pytest.raises(ValueError, match="it has 2: conv, fine"):
            weights.kernel(wrong)


# VGG


@pytest.fixture
def data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TOPO_DATA", str(tmp_path))
    monkeypatch.setattr(remote, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(samples, "FOLDER", tmp_path / "samples")
    (tmp_path / "vgg").mkdir()
    return tmp_path / "vgg"


@pytest.fixture
def sample(data_folder):
    """A sample of VGG16: its first layer whole, its second one of 3,000 of 4,096 filters, with five constant ones."""
    layers, generator = vgg_layers("vgg16")[:2], np.random.default_rng(0)
    filters = {layer.name: generator.normal(size=(layer.filters, 9)).astype(np.float32) for layer in layers}
    filters["block1_conv2"] = filters["block1_conv2"][:3000]
    parts = {name: {"rows": len(rows), "constant": 5 * (len(rows) == 3000)} for name, rows in filters.items()}
    samples.write("imagenet-vgg16", {name: to_half(rows) for name, rows in filters.items()}, {"parts": parts})
    return {name: from_half(to_half(rows)) for name, rows in filters.items()}


def test_the_layers_of_vgg():
    assert [len(vgg_layers(name)) for name in ("vgg16", "vgg19")] == [13, 16]
    assert vgg_layers("vgg19")[4] == Layer("block3_conv1", (3, 3, 128, 256))
    assert sum(np.prod(layer.shape) for layer in vgg_layers("vgg16")) == 14_710_464
    with pytest.raises(ValueError, match="'resnet' is not one of vgg16, vgg19"):
        vgg("resnet")


def test_a_part_of_vgg_is_used_and_says_what_is_missing(data_folder):
    layers = vgg_layers("vgg16")[:3]
    keras(
        data_folder / "vgg16_notop_layers_1_to_3.h5",
        {layer.name: np.full(layer.shape, 0.5, np.float32) for layer in layers},
    )
    weights = vgg("vgg16")
    assert weights.layers == layers and weights.missing == [layer.name for layer in vgg_layers("vgg16")[3:]]
    assert not weights.note


def test_the_official_file_is_preferred_and_verified(data_folder, monkeypatch):
    official = data_folder.parent / datasets.VGG["vgg16"].path
    keras(official, {layer.name: np.zeros(layer.shape, np.float32) for layer in vgg_layers("vgg16")[:2]})
    with pytest.raises(ValueError, match="is not the official file: md5"):
        vgg("vgg16")
    found = datasets.VGG["vgg16"].digest(official)
    monkeypatch.setitem(
        datasets.VGG, "vgg16", remote.RemoteFile(datasets.VGG["vgg16"].path, found, ("https://example.org/x",), "md5")
    )
    keras(data_folder / "vgg16_notop_layers_1_to_1.h5", {"block1_conv1": np.zeros((3, 3, 3, 64), np.float32)})
    assert vgg("vgg16").path == official


def test_without_any_file_it_says_how_to_get_one(data_folder):
    with pytest.raises(FileNotFoundError, match="vgg19_weights.*not here.*Get it from https"):
        vgg("vgg19")


def test_where_no_file_is_the_sample_is_read_and_nothing_is_fetched(sample, monkeypatch):
    monkeypatch.setattr(remote, "fetch", None)
    weights = pretrained.obtain("vgg16")
    assert weights.layers == vgg_layers("vgg16")[:2] and len(weights.missing) == 11
    assert weights.sampled == {"block1_conv2": 3000} and weights.path.name == "imagenet-vgg16.safetensors"
    assert "a seeded sample of 3,000 filters, of up to 4,096" in weights.note and weights.note in repr(weights)
    assert "topo data vgg" in weights.note
    np.testing.assert_array_equal(spatial_filters(weights.kernel(1)), sample["block1_conv1"])
    np.testing.assert_array_equal(weights.draw(1).filters, sample["block1_conv1"])
    drawn = weights.draw("block1_conv2", 20_000)
    np.testing.assert_array_equal(drawn.filters, sample["block1_conv2"])
    assert drawn.constant == 5 and len(weights.draw(2, 100).filters) == 100
    with pytest.raises(
        ValueError, match="3,000 of the 4,096 filters of layer block1_conv2 are here.*`draw`.*topo data"
    ):
        weights.kernel(2)


def test_layers_that_a_file_lacks_come_from_the_sample(sample, data_folder):
    whole = kernel(3, 3, 64, 64)
    keras(data_folder / "vgg16_notop_layers_2_to_2.h5", {"block1_conv2": whole})
    weights = vgg("vgg16")
    assert weights.layers == vgg_layers("vgg16")[:2] and weights.sampled == {}
    assert weights.note.startswith("block1_conv1 to block1_conv1: as committed with the book")
    np.testing.assert_array_equal(weights.kernel("block1_conv2"), whole)
    np.testing.assert_array_equal(weights.draw(2).filters, from_half(to_half(spatial_filters(whole))))
    np.testing.assert_array_equal(weights.draw(1).filters, sample["block1_conv1"])


def test_the_official_file_is_fetched_only_where_that_is_asked_for(sample, data_folder, monkeypatch):
    layers = {layer.name: np.zeros(layer.shape, np.float32) for layer in vgg_layers("vgg16")}
    asked = []

    def fetch(file, target):
        asked.append(file.path)
        return keras(target, layers)

    monkeypatch.setattr(remote, "fetch", fetch)
    assert pretrained.obtain("vgg16").note and not asked
    keras(data_folder / "vgg16_notop_layers_1_to_1.h5", {"block1_conv1": layers["block1_conv1"]})
    assert vgg("vgg16").note and not asked
    weights = pretrained.obtain("vgg16", fetch=True)
    assert asked == [datasets.VGG["vgg16"].path] and not weights.note and not weights.missing

    def unreachable(file, target):
        raise FileNotFoundError(f"{file.path} is not here and could not be downloaded")

    weights.path.unlink()
    monkeypatch.setattr(remote, "fetch", unreachable)
    with pytest.raises(FileNotFoundError, match="could not be downloaded"):
        pretrained.obtain("vgg16", fetch=True)


@pytest.mark.parametrize("name, layers", [("vgg16", 13), ("vgg19", 8)])
def test_the_committed_sample_is_what_is_drawn_from_the_whole_file(name, layers, monkeypatch):
    try:
        whole = pretrained.vgg_file(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    here = vgg(name)
    monkeypatch.setenv("TOPO_DATA", "/nonexistent")
    monkeypatch.setattr(remote, "CACHE", Path("/nonexistent"))
    sample = vgg(name)
    assert not here.note and sample.layers == vgg_layers(name)[:layers]
    for layer in sample.layers:
        expected, found = here.draw(layer.name, 20_000), sample.draw(layer.name, 20_000)
        np.testing.assert_array_equal(found.filters, expected.filters)
        assert found.constant == expected.constant and len(found.filters) == min(layer.filters, 20_000)
        np.testing.assert_array_equal(sample.draw(layer.name, 700).filters, here.draw(layer.name, 700).filters)
        exact = normalize(whole.draw(layer.name, 20_000).filters)
        assert np.linalg.norm(normalize(found.filters) - exact, axis=1).max() < 1e-3


def test_a_draw_is_the_same_each_time_and_leaves_constant_filters_out(tmp_path):
    filters = np.random.default_rng(0).normal(size=(25_000, 9)).astype(np.float32)
    filters[::10] = 3
    np.savez(tmp_path / "a.npz", conv=filters.T.reshape(3, 3, 50, 500))
    weights = read(tmp_path / "a.npz")
    assert weights.draw(1).constant == 2500 and len(weights.draw(1).filters) == 22_500
    drawn = weights.draw("conv", 20_000).filters
    generator = np.random.default_rng(0)
    expected = np.delete(filters, np.s_[::10], axis=0)[np.sort(generator.choice(22_500, 20_000, replace=False))]
    np.testing.assert_array_equal(drawn, expected)  # not rounded: only VGG is
    rows = {row.tobytes() for row in drawn}
    assert all(row.tobytes() in rows for row in weights.draw(1, 300).filters)


@pytest.mark.parametrize(
    "name, shape, expected",
    [("block1_conv1", (3, 3, 3, 32), r"there of shape \(3, 3, 3, 64\)"), ("conv1", (3, 3, 3, 64), "not there")],
)
def test_another_networks_layers_are_an_error(data_folder, name, shape, expected):
    keras(data_folder / "vgg16_notop_layers_1_to_1.h5", {name: np.zeros(shape, np.float32)})
    with pytest.raises(ValueError, match=f"a layer {name} .*{expected}"):
        vgg("vgg16")
