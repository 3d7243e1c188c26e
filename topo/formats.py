"""Weight files, as arrays that are read when they are asked for.

Keras .h5 and .keras, safetensors, ONNX, what Flax saves, NumPy .npz and .npy.

Knows file formats; must not know which arrays are kernels.
"""

import io
import json
import re
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from ml_dtypes import bfloat16

from topo import flax, keras, onnx, pickles
from topo.tensors import MOST_TEXT, Contents, Refused, Tensor, expands, natural

Reader = Callable[[Path], Contents]

BEGINNING = 512  # bytes of a file that tell its format


def recognise(path: Path, beginning: bytes) -> Reader:
    """The function that lists the arrays of a file, told by its first bytes. Raises Refused for any other file."""
    if beginning[4:9] == b"\0\0\0\0{":  # safetensors begin with a length, which may look like a pickle
        return _read_safetensors
    if beginning[:8] == b"\x89HDF\r\n\x1a\n":
        return keras.read_hdf5
    if beginning[:4] == b"PK\x03\x04":
        return _read_zip
    if beginning[:6] == b"\x93NUMPY":
        return _read_npy
    if beginning.startswith(b"version https://git-lfs"):
        raise Refused(f"{path} is a git-lfs pointer and not the file that it stands for: `git lfs pull` fetches that")
    if re.match(rb"\s*<(!doctype html|html|head)", beginning, re.IGNORECASE):
        raise Refused(f"{path} is an HTML page, such as a download leaves that asked for a login or failed")
    if beginning[:1] == b"{" and b"\0" not in beginning[:8]:
        return _read_index
    if onnx.is_onnx(path, beginning):
        return onnx.read
    if flax.is_msgpack(beginning):
        return flax.read_msgpack
    if beginning[:1] == b"\x80" or path.suffix in pickles.SUFFIXES:
        raise pickles.refusal(path)
    formats = "neither HDF5 (Keras .h5), .keras, safetensors, ONNX, Flax's msgpack, .npz nor .npy"
    raise Refused(f"{path} is no weight file that can be read: it is {formats}, or only a part of one")


# safetensors

_FLOATS: dict[str, np.dtype] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(bfloat16),
}
_LIBRARIES = {"pt": "OIHW", "flax": "HWIO", "jax": "HWIO", "tf": "HWIO"}  # what metadata call the writer


def _read_safetensors(path: Path) -> Contents:
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:  # which makes sure that the header is true of the file
        library = (file.metadata() or {}).get("format", "")
        slices = {key: file.get_slice(key) for key in sorted(file.keys(), key=natural)}
        kinds = {key: each.get_dtype() for key, each in slices.items()}
        shapes = {key: tuple(each.get_shape()) for key, each in slices.items()}
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))

    def read(key: str) -> np.ndarray:  # safetensors would take two to four times the memory
        first, end = (8 + length + each for each in header[key]["data_offsets"])
        dtype = _FLOATS[kinds[key]]
        return np.fromfile(path, dtype, (end - first) // dtype.itemsize, offset=first).reshape(shapes[key])

    tensors = []
    for key, kind in kinds.items():
        dtype = _FLOATS.get(kind, np.dtype("V1"))
        why = _no_weights(kind) if kind not in _FLOATS and len(shapes[key]) == 4 else ""
        tensors.append(Tensor(key, shapes[key], dtype, partial(read, key), why=why))
    return Contents(tensors, _LIBRARIES.get(library))


def _no_weights(kind: str) -> str:
    if kind.startswith(("F8", "F6", "F4")):
        return f"{kind}, floats of fewer than 16 bits, is not read: save it as float16 or float32"
    if kind.startswith(("I", "U")):
        return f"{kind} is no type of weights: integers need a scale, which the array does not have"
    return f"{kind} is no type of weights"


def _read_index(path: Path) -> Contents:
    """The arrays of a model.safetensors.index.json, which lie in files beside it."""
    if path.stat().st_size > MOST_TEXT:
        raise Refused(f"{path} is no weight file that can be read: it is text of {path.stat().st_size} bytes")
    index = json.loads(path.read_bytes())
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(isinstance(each, str) for each in places.values()):
        raise Refused(f'{path} is no weight file that can be read: it is JSON, without a "weight_map" of safetensors')
    parts: dict[str, dict[str, Tensor]] = {}
    layouts = set()
    for name in sorted(set(places.values())):
        part = path.parent / name
        if Path(name).name != name:
            raise Refused(f"{path} names {name!r}, which is not beside it and is not followed")
        if not part.is_file():
            raise Refused(f"{path} names {name!r}, which is not there: every part is needed")
        contents = _read_safetensors(part)
        parts[name] = {tensor.key: tensor for tensor in contents.tensors}
        layouts.add(contents.layout)
    for key, name in places.items():
        if key not in parts[name]:
            raise Refused(f"{path} names {key!r} in {name!r}, which does not hold it")
    tensors = [parts[places[key]][key] for key in sorted(places, key=natural)]
    return Contents(tensors, layouts.pop() if len(layouts) == 1 else None)


# NumPy

_MOST_HEADER = 2**16  # bytes of a .npy that hold its header


def _read_zip(path: Path) -> Contents:
    def read(name: str) -> np.ndarray:
        with zipfile.ZipFile(path) as archive, archive.open(name) as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    with zipfile.ZipFile(path) as archive:
        if pickles.is_pickle(archive):
            raise pickles.refusal(path)
        names = archive.namelist()
        if keras.WEIGHTS in names:
            return keras.read_zip(path)
        if names == sorted(names):  # they were sorted when they were written, and by letters
            names = sorted(names, key=natural)
        tensors = []
        for name in names:
            if name.endswith(".npy"):
                key = name.removesuffix(".npy")
                with archive.open(name) as file:
                    about = archive.getinfo(name)
                    tensor = _npy_header(file, about.file_size, key, path, partial(read, name))
                why = expands(about.file_size, about.compress_size) if len(tensor.shape) == 4 else ""
                tensors.append(tensor._replace(why=why))
        return Contents(tensors)


def _read_npy(path: Path) -> Contents:
    """One layer, named after the file."""
    with open(path, "rb") as file:
        read = partial(np.load, path, allow_pickle=False)
        return Contents([_npy_header(file, path.stat().st_size, path.stem, path, read)])


def _npy_header(
    file: IO[bytes] | io.BufferedIOBase, size: int, key: str, path: Path, read: Callable[[], Any]
) -> Tensor:
    """The Tensor that a .npy of `size` bytes declares. Raises Refused where it does not hold as much."""
    start = file.read(12)  # magic, version, and the length of the header, which may declare gigabytes
    length = int.from_bytes(start[8:10] if start[6:7] == b"\1" else start[8:], "little")
    beginning = io.BytesIO(start + file.read(min(length, _MOST_HEADER)))
    major, _ = np.lib.format.read_magic(beginning)
    header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(beginning)
    held = size - beginning.tell()
    if not dtype.hasobject and np.prod(shape, dtype=object) * dtype.itemsize != held:
        claim = f"{key} declares shape {shape} of {dtype}, but holds {held} bytes"
        raise Refused(f"{path}: {claim}; it is truncated or corrupt")
    return Tensor(key, shape, dtype, read)
