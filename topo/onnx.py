"""ONNX files: the weights of the convolutions of a graph, in the order in which data passes these.

Knows graphs and their nodes; must not know how kernels are looked at, and opens no file outside the model's folder.
"""

import math
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from topo.tensors import Contents, Refused, Tensor, unusable

_LARGEST = 2**31  # bytes of a message of protobuf
_PASSED = {"Identity", "Cast", "DequantizeLinear"}  # nodes whose result is what goes into them, in other numbers
_CONVOLUTIONS = {"Conv": 1, "FusedConv": 1, "ConvTranspose": 1, "ConvInteger": 1, "QLinearConv": 3}  # their weight


def is_onnx(path: Path, beginning: bytes) -> bool:
    """Whether a file begins as ONNX does: with the version, below 64, and another field. It has no other mark."""
    return beginning[:1] == b"\x08" and (path.suffix == ".onnx" or beginning[2:3] in (b"\x12", b"\x1a", b"B", b":"))


def read(path: Path) -> Contents:
    """The weights of all convolutions in the graph of an ONNX file, and the other arrays with four axes as unusable.

    Arrays that are kept in other files are read where these lie in the folder of the model.
    Raises Refused for a file that is none, and where the package onnx, which is optional, is not installed.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise Refused(f"{path} is ONNX, which the package onnx reads: `pip install onnx` installs it") from None
    if path.stat().st_size > _LARGEST:
        raise Refused(f"{path} is larger than the 2 GiB that an ONNX file can have")
    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
    except DecodeError:
        raise Refused(f"{path} cannot be read: it is no ONNX, or truncated or corrupt") from None
    tensors: dict[str, Tensor] = {}
    others: dict[str, Tensor] = {}
    for graph in _graphs(model.graph):
        arrays = {each.name: each for each in graph.initializer}
        sources: dict[str, str] = {}
        for node in graph.node:
            value = next((each.t for each in node.attribute if each.name == "value" and each.HasField("t")), None)
            if node.op_type == "Constant" and value is not None:
                arrays |= {name: value for name in node.output}
            elif node.op_type in _PASSED and node.input:
                sources |= {name: node.input[0] for name in node.output}
        for number, node in enumerate(graph.node):
            place = _CONVOLUTIONS.get(node.op_type, len(node.input))
            if place >= len(node.input):
                continue
            name = node.input[place]
            for _ in range(len(sources)):
                name = name if name in arrays else sources.get(name, name)
            if name in arrays:
                tensors.setdefault(name, _of_node(path, node, _tensor(path, name, arrays[name])))
            else:
                called = node.name or f"{node.op_type} {number + 1}"
                others[called] = unusable(called, "has a weight that the graph computes, or is given")
        for name, array in arrays.items():
            if len(array.dims) == 4:
                others[name] = unusable(name, "is the weight of no convolution, as the graph says")
    return Contents([*tensors.values(), *(each for name, each in others.items() if name not in tensors)], "OIHW")


def _graphs(graph: Any) -> Iterator[Any]:
    """A graph and those within it, such as the bodies of loops."""
    yield graph
    for node in graph.node:
        for each in node.attribute:
            for inner in ([each.g] if each.HasField("g") else []) + list(each.graphs):
                yield from _graphs(inner)


def _of_node(path: Path, node: Any, tensor: Tensor) -> Tensor:
    """A weight with what its node says of it."""
    groups = next((each.i for each in node.attribute if each.name == "group"), 1)
    if len(tensor.shape) != 4:
        return tensor
    outputs, inputs, *_ = tensor.shape
    transposed = node.op_type == "ConvTranspose"
    if groups < 1 or (inputs if transposed else outputs) < 1 or outputs % groups:
        return tensor._replace(why=f"has {groups} groups of {outputs} channels, which cannot be")
    kind = "transposed" if transposed else "convolution" if groups == 1 else "depthwise" if inputs == 1 else "grouped"
    numbered = re.fullmatch(r"(onnx::.*|\d+)", tensor.key) is not None  # by an exporter, which lost the layer's name
    return tensor._replace(kind=kind, groups=groups, name=node.name if numbered else "")


def _tensor(path: Path, name: str, array: Any) -> Tensor:
    import onnx

    shape = tuple(array.dims)
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(array.data_type))
    except (KeyError, TypeError):
        return unusable(name, f"has numbers of the type {array.data_type}, which is none of weights")
    if any(side < 0 for side in shape):
        return unusable(name, f"declares shape {shape}; it is truncated or corrupt")
    size = math.prod(shape) * dtype.itemsize
    if array.data_location == onnx.TensorProto.EXTERNAL:
        return _external(path, name, array, Tensor(name, shape, dtype, lambda: None), size)
    held = len(array.raw_data) if array.HasField("raw_data") else None
    if held is not None and held != size and dtype.itemsize > 1:  # numbers of 4 bits lie in half as many
        return unusable(name, f"declares shape {shape}, but holds {held} bytes; it is truncated or corrupt")
    return Tensor(name, shape, dtype, partial(onnx.numpy_helper.to_array, array))


def _external(path: Path, name: str, array: Any, tensor: Tensor, size: int) -> Tensor:
    """An array in a file beside the model."""
    said = {each.key: each.value for each in array.external_data}
    place, offset = said.get("location", ""), said.get("offset", "0")
    folder = path.parent.resolve()
    try:
        file = (folder / place).resolve()
    except (OSError, ValueError, RuntimeError):
        return unusable(name, f"is kept in {place!r}, which is no file")
    if not file.is_relative_to(folder):
        return unusable(name, f"is kept in {place!r}, outside the folder of the model, which is not followed")
    if not file.is_file():  # a FIFO would wait for somebody to write into it
        return unusable(name, f"is kept in {place!r}, which is not there")
    first = int(offset) if re.fullmatch(r"\d{1,15}", offset) else file.stat().st_size
    if first + size > file.stat().st_size:
        return unusable(name, f"is kept in {place!r}, which is too short for shape {tensor.shape}")

    def read() -> np.ndarray:
        count = math.prod(tensor.shape)
        return np.fromfile(file, tensor.dtype.newbyteorder("<"), count, offset=first).reshape(tensor.shape)

    return tensor._replace(read=read)
