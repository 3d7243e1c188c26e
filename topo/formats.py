"""Weight files: Keras .h5 and .keras, safetensors and NumPy .npz, as arrays that are read when they are asked for.

Knows file formats; must not know which arrays are kernels.
"""

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

_PICKLES = (".pth", ".pt", ".pkl", ".pickle", ".ckpt", ".joblib")


class Tensor(NamedTuple):
    """An array of a file that is not read yet: read() returns it."""

    key: str
    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], Any]


class Refused(ValueError):
    """A file that is not read. The message names it and says why."""


@contextmanager
def parsing(path: Path) -> Iterator[None]:
    """Turn whatever a parser raises over a broken file into one error."""
    try:
        yield
    except Refused:
        raise
    except Exception as error:
        raise Refused(f"{path} cannot be read: {' '.join(str(error).split())}; it is truncated or corrupt") from None


def recognise(path: Path, magic: bytes) -> tuple[Callable[[Path], list[Tensor]], str]:
    if path.suffix in _PICKLES or magic[:1] == b"\x80":
        raise _pickle(path)
    if magic[:8] == b"\x89HDF\r\n\x1a\n":
        return _read_hdf5, "HWIO"
    if magic[:4] == b"PK\x03\x04":
        return _read_zip, "HWIO"
    if magic[8:9] == b"{":
        return _read_safetensors, "OIHW"
    formats = "neither HDF5 (Keras .h5), .keras, safetensors nor .npz"
    raise ValueError(f"{path} is no weight file that can be read: it is {formats}, or only a part of one")


def _pickle(path: Path) -> Refused:
    stem = Path(path.name).stem
    convert = (
        f'python -c "import torch, safetensors.torch as s; s.save_file({{k: v.contiguous() for k, v in '
        f"torch.load('{path.name}', weights_only=True).items()}}, '{stem}.safetensors')\""
    )
    danger = "which may run any code when it is read, and is never read here"
    return Refused(f"{path} is a pickle, {danger}. Convert it: {convert}")


def _natural(key: str) -> list[tuple[int, str]]:
    """A key that sorts conv2 before conv10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", key)]


def _read_safetensors(path: Path) -> list[Tensor]:
    from safetensors import safe_open

    def read(key: str) -> Any:
        with safe_open(path, "flax") as file:  # knows bfloat16, which NumPy does not
            return file.get_tensor(key)

    with safe_open(path, "numpy") as file:
        slices = {key: file.get_slice(key) for key in sorted(file.keys(), key=_natural)}
        kinds = {key: each.get_dtype() for key, each in slices.items()}
        shapes = {key: tuple(each.get_shape()) for key, each in slices.items()}
    floats = {"F64": "f8", "F32": "f4", "F16": "f2", "BF16": "f2"}
    dtypes = {key: np.dtype(floats.get(kind, "V1")) for key, kind in kinds.items()}
    return [Tensor(key, shapes[key], dtype, partial(read, key)) for key, dtype in dtypes.items()]


_IN_KERAS = "model.weights.h5"  # what a .keras, a zip file, holds its arrays in


def _read_zip(path: Path) -> list[Tensor]:
    def read(key: str) -> np.ndarray:
        with np.load(path, allow_pickle=False) as file:
            return file[key]

    with zipfile.ZipFile(path) as archive:
        names = sorted(archive.namelist(), key=_natural)
        if any(name.endswith("data.pkl") for name in names):
            raise _pickle(path)
        if _IN_KERAS in names:
            return _read_hdf5(path, _keras_file)
        return [_npy_header(archive, name, path, read) for name in names if name.endswith(".npy")]


def _npy_header(archive: zipfile.ZipFile, name: str, path: Path, read: Callable[[str], np.ndarray]) -> Tensor:
    key = name.removesuffix(".npy")
    with archive.open(name) as file:
        major, _ = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
        held = archive.getinfo(name).file_size - file.tell()
    if not dtype.hasobject and np.prod(shape, dtype=object) * dtype.itemsize != held:
        claim = f"{key} declares shape {shape} of {dtype}, but holds {held} bytes"
        raise Refused(f"{path}: {claim}; it is truncated or corrupt")
    return Tensor(key, shape, dtype, partial(read, key))


def _hdf5_file(path: Path | IO[bytes] | io.BufferedIOBase) -> Any:
    import h5py

    return h5py.File(path, "r")


@contextmanager
def _keras_file(path: Path) -> Iterator[Any]:
    with zipfile.ZipFile(path) as archive, archive.open(_IN_KERAS) as member, _hdf5_file(member) as file:
        yield file


def _read_hdf5(path: Path, opened: Callable[[Path], AbstractContextManager[Any]] = _hdf5_file) -> list[Tensor]:
    import h5py

    def read(key: str) -> np.ndarray:
        with opened(path) as file:
            return file[key][()]

    tensors: list[Tensor] = []

    def visit(key: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or "optimizer" in key.split("/")[0]:
            return
        if item.external or item.is_virtual:
            raise Refused(f"{path}: {key} is kept in another file, which is not followed")
        size = np.prod(item.shape or (), dtype=object) * item.dtype.itemsize
        held = item.id.get_storage_size()
        if item.dtype.kind == "f" and size > 1100 * max(1, held):  # deflate shrinks by 1,032 at most
            claim = f"{key} declares shape {item.shape}, but holds {held} bytes"
            raise Refused(f"{path}: {claim}; it is truncated or corrupt")
        tensors.append(Tensor(key, item.shape or (), item.dtype, partial(read, key)))

    with opened(path) as file:
        file.visititems(visit)
        root = file["model_weights"] if "model_weights" in file else file
        order = [name.decode() if isinstance(name, bytes) else str(name) for name in root.attrs.get("layer_names", ())]
    place = {name: i for i, name in enumerate(order)}

    def first(tensor: Tensor) -> tuple[int, list[tuple[int, str]]]:
        parts = tensor.key.removeprefix("model_weights/").split("/")
        return place.get(parts[0], len(place)), _natural(tensor.key)

    return sorted(tensors, key=first)
