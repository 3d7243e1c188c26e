"""ONNX, Flax's msgpack and orbax's folders, each written by its own library, and each as it should not be."""

import os
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax.serialization import to_bytes

from topo.__main__ import main
from topo.kernels import Layer
from topo.pretrained import read


def kernel(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def refused(path, match):
    with pytest.raises(ValueError, match=match) as error:
        read(path)
    assert "\n" not in str(error.value)


# ONNX

NODES = [  # operation, layer, shape of its weight, groups
    ("Conv", "stem", (16, 3, 3, 3), 1),
    ("Conv", "const", (16, 1, 3, 3), 16),  # called as a constant is, and depthwise
    ("Conv", "apart", (32, 4, 3, 3), 4),
    ("ConvTranspose", "up", (32, 8, 4, 4), 1),
    ("ConvTranspose", "up.apart", (8, 6, 2, 2), 2),
    ("Conv", "large", (4, 12, 33, 33), 1),
]


def graph_file(path, nodes=NODES, others=(), extra=(), external=None):
    """An ONNX file. others: arrays that no node convolves with; extra: nodes before these."""
    onnx = pytest.importorskip("onnx", reason="the optional package onnx is not installed")
    arrays = {f"{name}.weight": kernel(*shape) for _, name, shape, _ in nodes}
    made, data = [*extra], "x"
    for number, (operation, name, _, groups) in enumerate(nodes):
        made.append(
            onnx.helper.make_node(operation, [data, f"{name}.weight"], [f"y{number}"], f"/{name}", group=groups)
        )
        data = f"y{number}"
    initializers = [onnx.numpy_helper.from_array(each, name) for name, each in {**arrays, **dict(others)}.items()]
    ends = [onnx.helper.make_tensor_value_info(name, 1, None) for name in ("x", data)]
    model = onnx.helper.make_model(onnx.helper.make_graph(made, "g", ends[:1], ends[1:], initializers))
    options = {"save_as_external_data": True, "location": external, "size_threshold": 0} if external else {}
    onnx.save(model, path, **options)
    return path


def test_the_graph_says_what_is_a_convolution_and_of_which_kind(tmp_path):
    others = {"pos": kernel(3, 3, 8, 8), "bias": kernel(16)}
    weights = read(graph_file(tmp_path / "a.onnx", others=others))
    assert weights.layers == [
        Layer("stem", (3, 3, 3, 16)),
        Layer("const", (3, 3, 1, 16), "depthwise", 16),
        Layer("apart", (3, 3, 4, 32), "grouped", 4),
        Layer("up", (4, 4, 32, 8), "transposed"),
        Layer("up.apart", (2, 2, 8, 6), "transposed", 2),
    ]
    channels = [(3, 16), (16, 16), (16, 32), (32, 8), (8, 12)]
    assert [layer.channels for layer in weights.layers] == channels
    assert weights.skipped["pos"] == "is the weight of no convolution, as the graph says"
    assert "no OIHW kernel of at most 31" in weights.skipped["large.weight"] and len(weights.skipped) == 2
    np.testing.assert_array_equal(weights.kernel("apart"), kernel(32, 4, 3, 3).transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(weights.kernel("up"), kernel(32, 8, 4, 4).transpose(2, 3, 0, 1))
    (tmp_path / "a.onnx").rename(tmp_path / "model")
    assert read(tmp_path / "model").layers == weights.layers  # told by the content


def test_weights_behind_other_nodes_are_found_and_computed_ones_named(tmp_path):
    onnx = pytest.importorskip("onnx")
    node, array = onnx.helper.make_node, onnx.numpy_helper.from_array
    body = onnx.helper.make_graph(
        [node("Conv", ["x", "within"], ["z"], "inner")], "b", [], [], [array(kernel(8, 3, 3, 3), "within")]
    )
    extra = [
        node("Constant", [], ["onnx::Conv_7"], value=array(kernel(8, 3, 5, 5))),
        node("Identity", ["onnx::Conv_7"], ["same"]),
        node("Conv", ["x", "same"], ["c"], "first"),
        node("Conv", ["x", "same"], ["d"], "again"),
        node("Mul", ["stem.weight", "two"], ["scaled"]),
        node("Conv", ["x", "scaled"], ["e"], "computed"),
        node("DequantizeLinear", ["bytes", "two"], ["floats"]),
        node("Conv", ["x", "floats"], ["f"], "quantised"),
        node("If", ["c"], ["h"], then_branch=body),
        node("Identity", ["round"], ["round"]),
        node("Conv", ["x", "round"], ["i"], "circle"),
    ]
    others = {"bytes": np.ones((8, 3, 3, 3), np.int8), "two": kernel(1)}
    weights = read(graph_file(tmp_path / "a.onnx", NODES[:1], others, extra))
    assert [layer.name for layer in weights.layers] == ["first", "stem", "within"]
    assert "the graph computes" in weights.skipped["computed"] and "the graph computes" in weights.skipped["circle"]
    assert "int8 is no type of weights" in weights.skipped["bytes"] and len(weights.skipped) == 3


def test_arrays_in_other_files_are_read_in_the_folder_of_the_model_only(tmp_path):
    onnx = pytest.importorskip("onnx")
    (tmp_path / "m").mkdir()
    path = graph_file(tmp_path / "m" / "a.onnx", NODES[:2], external="a.data")
    np.testing.assert_array_equal(read(path).kernel(1), kernel(16, 3, 3, 3).transpose(2, 3, 1, 0))
    (tmp_path / "m" / "a.data").rename(tmp_path / "a.data")
    os.mkfifo(tmp_path / "m" / "fifo")
    (tmp_path / "m" / "link").symlink_to(tmp_path / "a.data")
    (tmp_path / "m" / "short").write_bytes(bytes(99))
    for place, why in [
        ("../a.data", "outside the folder"), (str(tmp_path / "a.data"), "outside the folder"),
        ("link", "outside the folder"),
        ("fifo", "not there"), ("gone", "not there"), ("", "not there"), ("short", "too short"), ("\0", "no file"),
    ]:  # fmt: skip
        model = onnx.load(path, load_external_data=False)
        for array in model.graph.initializer:
            next(each for each in array.external_data if each.key == "location").value = place
        path.write_bytes(model.SerializeToString())
        refused(path, f"holds no convolution .*{why}")


def test_an_onnx_file_that_is_broken_or_lies_is_one_error(tmp_path):
    onnx = pytest.importorskip("onnx")
    path = graph_file(tmp_path / "a.onnx", NODES[:1])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "no ONNX, or truncated or corrupt")
    for dims in ([16, 3, 300, 3], [16, 3, -3, 3], [2**40, 2**40, 3, 3]):
        model = onnx.load_from_string(whole)
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend(dims)
        path.write_bytes(model.SerializeToString())
        refused(path, "declares shape")
    model = onnx.load_from_string(whole)
    model.graph.node[0].attribute[0].i = 5
    path.write_bytes(model.SerializeToString())
    refused(path, "5 groups of 16 channels, which cannot be")


def test_without_the_package_one_line_says_what_to_install(tmp_path, monkeypatch, capsys):
    (tmp_path / "a.onnx").write_bytes(b"\x08\x08\x12\x00")
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["inspect", str(tmp_path / "a.onnx"), "--out", str(tmp_path)]) == 2
    assert "`pip install onnx` installs it" in capsys.readouterr().err


# Flax

TREE = {
    "params": {
        "Conv_10": {"kernel": kernel(3, 3, 16, 8, seed=1)},
        "Conv_2": {"bias": kernel(16), "kernel": jnp.asarray(kernel(3, 3, 16, 16), jnp.bfloat16)},
    },
    "opt_state": {"0": {"mu": {"Conv_2": {"kernel": kernel(3, 3, 16, 16)}}}},
    "step": 3,
}


def check_tree(weights):
    assert weights.layers == [Layer("Conv_2", (3, 3, 16, 16)), Layer("Conv_10", (3, 3, 16, 8))]
    np.testing.assert_array_equal(weights.kernel("Conv_10"), kernel(3, 3, 16, 8, seed=1))
    rounded = np.asarray(TREE["params"]["Conv_2"]["kernel"]).astype(np.float32)
    np.testing.assert_array_equal(weights.kernel("Conv_2"), rounded)
    np.testing.assert_array_equal(weights.draw("Conv_2").filters, rounded.reshape(9, -1).T)
    assert weights.skipped == {"opt_state/0/mu/Conv_2/kernel": "the state of an optimizer"}


def test_what_flax_serialises_is_read(tmp_path):
    path = tmp_path / "a.msgpack"
    path.write_bytes(to_bytes(TREE))
    check_tree(read(path))
    whole = path.read_bytes()
    for content in (
        whole[:-9],
        whole + b"\x00",
        whole.replace(b"float32", b"float33"),
        whole.replace(b"float32", b"O      "),
    ):
        path.write_bytes(content)
        refused(path, "truncated or corrupt")


def test_chunks_of_a_large_array_are_put_together(tmp_path, monkeypatch):
    from flax import serialization

    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 4000)
    (tmp_path / "a").write_bytes(
        serialization.msgpack_serialize(dict(params=dict(conv=dict(kernel=kernel(3, 3, 16, 64)))))
    )
    monkeypatch.undo()
    np.testing.assert_array_equal(read(tmp_path / "a").kernel("conv"), kernel(3, 3, 16, 64))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders that orbax wrote: a checkpoint in its own database, one of plain files, and a manager's."""
    checkpoint = pytest.importorskip("orbax.checkpoint")
    folder = tmp_path_factory.mktemp("orbax")
    for name, options in [("database", {}), ("files", {"use_ocdbt": False})]:
        checkpoint.PyTreeCheckpointer(**options).save(folder / name, TREE)
    return folder


@pytest.mark.parametrize("name", ["database", "files"])
def test_a_folder_of_orbax_is_read(folders, name):
    check_tree(read(folders / name))
    refused(folders, f"is a folder without the _METADATA .* below it there are .*{name}")


def test_a_folder_with_a_link_or_a_fifo_is_refused_and_neither_is_opened(folders, tmp_path):
    for name, make in [("link", lambda path: path.symlink_to("/etc/passwd")), ("fifo", os.mkfifo)]:
        make(folders / "files" / name)
        refused(folders / "files", f"files/{name} is a link or no file")
        (folders / "files" / name).unlink()
    (tmp_path / "empty").mkdir()
    assert main(["inspect", str(tmp_path / "empty"), "--out", str(tmp_path)]) == 2


def test_a_folder_that_is_broken_is_one_error(folders, tmp_path):
    import json
    import shutil

    folder = Path(shutil.copytree(folders / "files", tmp_path / "copy"))
    about = folder / "params.Conv_10.kernel" / ".zarray"
    said = json.loads(about.read_text())
    about.write_text(json.dumps({**said, "shape": [3, 3, 16, 8_000_000], "chunks": [3, 3, 16, 8_000_000]}))
    assert "more than is unpacked" in read(folder).skipped["params/Conv_10/kernel"]
    about.write_text("{")
    weights = read(folder)
    assert "cannot be read" in weights.skipped["params/Conv_10/kernel"] and len(weights.layers) == 1
    (folder / "params.Conv_2.kernel" / "0.0.0.0").write_bytes(b"nothing")  # noqa: S104 -- the name of a chunk
    with pytest.raises(ValueError, match="Conv_2/kernel cannot be read.*truncated or corrupt"):
        weights.kernel(1)
    for content in (
        "[]",
        "{",
        '{"tree_metadata": []}',
        '{"tree_metadata": {"a": 3, "b": {"key_metadata": [{"key": ".."}]}}}',
    ):
        (folder / "_METADATA").write_text(content)
        refused(folder, "truncated or corrupt|a path")
