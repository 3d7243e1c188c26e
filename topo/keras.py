"""HDF5 as Keras writes it, alone or in a .keras: its arrays, and what its description says of their layers.

Knows links, attributes and configurations; must not know which arrays are kernels, and opens no second file.
"""

import io
import json
import re
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import count, takewhile
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple

import numpy as np

from topo.tensors import MOST_TEXT, Contents, Refused, Tensor, expands, natural, unusable

WEIGHTS = "model.weights.h5"  # what a .keras, a zip file, holds its arrays in
_CONFIG = "config.json"
_SIGNATURE = b"\x89HDF\r\n\x1a\n"  # at the beginning, or at byte 512, 1,024, 2,048, ...
_HEAP = b"GCOL\x01\0\0\0"
_MOST_HEAP = 2**26  # bytes
_NESTING = {"model_weights", "layers", "_layers", "_layer_checkpoint_dependencies"}  # groups that are no layers
_KINDS = {
    "Conv2D": "convolution", "Convolution2D": "convolution", "DepthwiseConv2D": "depthwise",
    "Conv2DTranspose": "transposed", "Deconvolution2D": "transposed", "SeparableConv2D": "separable",
}  # fmt: skip


class _Described(NamedTuple):
    """A layer of a configuration. path: its name, after those of the models that it is in; classes: so in Keras 3."""

    path: tuple[str, ...]
    classes: tuple[str, ...]
    kind: str
    groups: int


def _hdf5_file(path: Path | IO[bytes] | io.BufferedIOBase) -> Any:
    import h5py

    return h5py.File(path, "r")


def _unpacked(path: Path) -> IO[bytes]:
    """The HDF5 in a .keras as a temporary file, in which one can go back, as HDF5's library and we do."""
    with zipfile.ZipFile(path) as archive, archive.open(WEIGHTS) as member:
        about = archive.getinfo(WEIGHTS)
        if why := expands(about.file_size, about.compress_size):
            raise Refused(f"{path}: {WEIGHTS} {why}")
        copy = TemporaryFile()
        shutil.copyfileobj(member, copy)
    return copy


def _check_heaps(path: Path, file: IO[bytes]) -> None:
    """Raise Refused where HDF5's library would read a heap, in which texts of attributes are, for ever.

    It steps from object to object by the sizes that they have, and does not notice that one has none. (A heap begins
    with `_HEAP` and its size. An object has an index, a count, four bytes, its size and its content; one of index 0 is
    the space that is free, and its size includes its head: HDF5 File Format Specification, "Global Heap".)
    """
    end = file.seek(0, io.SEEK_END)
    starts = [at for at in [0, *(512 << i for i in range(40))] if at < end and _piece(file, at, 8) == _SIGNATURE]
    about = _piece(file, starts[0] + 8, 7) if starts else b""
    if len(about) < 7:
        return  # no HDF5, or cut off, which the library says
    length = about[6] if about[0] < 2 else about[2]  # of a size, in bytes
    head = 8 + -(-length // 8) * 8
    done = 0
    for at in _places(file, _HEAP):
        size = int.from_bytes(_piece(file, at + 8, length), "little")
        if at < done or size > min(end - at, _MOST_HEAP):
            raise Refused(f"{path} is truncated or corrupt: a heap of texts at byte {at:,} declares {size:,} bytes")
        heap, here = _piece(file, at, size), head
        while here + head <= size:
            own = int.from_bytes(heap[here + 8 : here + 8 + length], "little")
            step = head + -(-own // 8) * 8 if any(heap[here : here + 2]) else own
            if not 0 < step <= size - here:
                raise Refused(f"{path} is truncated or corrupt: a heap of texts in it has no end")
            here += step
        done = at + size


def _piece(file: IO[bytes], at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)


def _places(file: IO[bytes], wanted: bytes, block: int = 2**20) -> Iterator[int]:
    """Where `wanted` is in a file, in ascending order."""
    for start in range(0, file.seek(0, io.SEEK_END), block):
        piece = _piece(file, start, block + len(wanted) - 1)
        at = piece.find(wanted)
        while at >= 0:
            yield start + at
            at = piece.find(wanted, at + 1)


def read_zip(path: Path) -> Contents:
    """The arrays of a .keras, in the order of its config.json."""
    with zipfile.ZipFile(path) as archive:
        described = _CONFIG in archive.namelist()
        if described and archive.getinfo(_CONFIG).file_size > MOST_TEXT:
            raise Refused(f"{path}: {_CONFIG} declares {archive.getinfo(_CONFIG).file_size} bytes, more than are read")
        config = json.loads(archive.read(_CONFIG)) if described else None
    copy = _unpacked(path)
    _check_heaps(path, copy)
    contents = _read(partial(_hdf5_file, copy))
    return Contents(_as_described(contents.tensors, list(_described(config)), "classes"), "HWIO")


def read_hdf5(path: Path) -> Contents:
    """The arrays of an HDF5 file, in the order of what it says of its layers: model_config, layer_names, weight_names.

    External links and virtual data sets are listed as unusable, and never opened.
    """
    with path.open("rb") as file:
        _check_heaps(path, file)
    return _read(partial(_hdf5_file, path))


def _read(opened: Callable[[], AbstractContextManager[Any]]) -> Contents:
    def read(key: str) -> np.ndarray:
        with opened() as file:
            return file[key][()]

    with opened() as file:
        groups, tensors = _walk(file, read)
        prefix = "model_weights/" if "model_weights" in groups else ""
        odd: list[Tensor] = []
        places: dict[str, tuple[int, int]] = {}
        names: dict[str, str] = {}
        for i, layer in enumerate(_texts(groups[prefix.rstrip("/")], "layer_names", odd)):
            group = groups.get(prefix + layer)
            for j, weight in enumerate([] if group is None else _texts(group, "weight_names", odd)):
                key = f"{prefix}{layer}/{weight}"
                places[key], names[key] = (i, j), "/".join(dict.fromkeys(weight.split("/")[:-1])) or layer
            for tensor in tensors:
                if tensor.key.startswith(f"{prefix}{layer}/"):
                    places.setdefault(tensor.key, (i, len(tensors)))
        config = _text(file, "model_config", odd)
        version = _text(file, "keras_version", []) or _text(groups[prefix.rstrip("/")], "keras_version", [])
        try:
            layers = list(_described(json.loads(config or "null")))
        except ValueError:
            layers = []
            odd.append(_odd(file, "model_config", "is no JSON"))
    last = (len(tensors), 0)
    tensors = sorted(tensors, key=lambda each: (places.get(each.key, last), natural(each.key)))
    tensors = [each._replace(name=names.get(each.key, "")) for each in tensors]
    keras = bool(re.match(r"[2-9]|\d\d", version or "")) or any("/vars/" in tensor.key for tensor in tensors)
    return Contents(_as_described(tensors, layers, "path") + odd, "HWIO" if keras else None)


# Links and attributes


def _walk(file: Any, read: Callable[[str], np.ndarray]) -> tuple[dict[str, Any], list[Tensor]]:
    """The groups of an HDF5 file, by key, and its arrays, without following a link out of the file."""
    import h5py

    groups, tensors = {"": file}, []
    keys = {h5py.h5o.get_info(file.id).addr: "/"}
    waiting = [""]
    while waiting:
        above = waiting.pop()
        for name in groups[above]:
            key = f"{above}/{name}".lstrip("/")
            link = groups[above].get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                tensors.append(unusable(key, f"is a link into another file, {link.filename}, which is not followed"))
                continue
            if isinstance(link, h5py.SoftLink):
                tensors.append(unusable(key, f"is a link to {link.path}, which is not followed"))
                continue
            item = groups[above][name]
            if isinstance(item, h5py.Dataset):
                tensors.append(_tensor(key, item, read))
            elif isinstance(item, h5py.Group):
                address = h5py.h5o.get_info(item.id).addr
                if address in keys:
                    tensors.append(unusable(key, f"is the group {keys[address]} once more"))
                else:
                    keys[address], groups[key] = key, item
                    waiting.append(key)
    return groups, tensors


def _tensor(key: str, item: Any, read: Callable[[str], np.ndarray]) -> Tensor:
    if item.is_virtual or item.external:  # before its shape, which a virtual data set takes from other files
        return unusable(key, "is kept in another file, which is not followed")
    try:
        dtype = item.dtype
    except TypeError:
        return unusable(key, "has numbers of a type that NumPy does not know")
    if item.shape is None:
        return unusable(key, "has no numbers: its data space is null")
    size, held = np.prod(item.shape, dtype=object) * dtype.itemsize, item.id.get_storage_size()
    lies = dtype.kind == "f" and size > 1100 * max(1, held)  # deflate shrinks by 1,032 at most
    why = f"declares shape {item.shape}, but holds {held} bytes; it is truncated or corrupt" if lies else ""
    if len(item.shape) == 4 and item.id.get_create_plist().get_nfilters():  # a chunk is unpacked beside the array
        why = why or expands(size + np.prod(item.chunks, dtype=object) * dtype.itemsize, held)
    return Tensor(key, item.shape, dtype, partial(read, key), why=why)


def _odd(holder: Any, name: str, what: str) -> Tensor:
    return unusable(f"attribute {name} of {holder.name}", f"{what}, so that the order of layers may be another")


def _values(holder: Any, name: str, odd: list[Tensor]) -> Any:
    try:
        return holder.attrs[name] if name in holder.attrs else None
    except (LookupError, OSError, RuntimeError, TypeError, ValueError):
        odd.append(_odd(holder, name, "cannot be read"))
        return None


def _texts(holder: Any, name: str, odd: list[Tensor]) -> list[str]:
    """An attribute that is a list of names, [] where it is not there. Keras splits a long one into name0, name1, ..."""
    parts = [name] if name in holder.attrs else takewhile(holder.attrs.__contains__, (f"{name}{i}" for i in count()))
    texts: list[str] = []
    for part in parts:
        value = _values(holder, part, odd)
        if isinstance(value, np.ndarray) and value.ndim == 1 and all(isinstance(each, (bytes, str)) for each in value):
            texts += [each.decode("utf-8", "replace") if isinstance(each, bytes) else str(each) for each in value]
        elif value is not None and not (isinstance(value, np.ndarray) and value.size == 0):
            odd.append(_odd(holder, part, "is no list of names"))
    return texts


def _text(holder: Any, name: str, odd: list[Tensor]) -> str | None:
    value = _values(holder, name, odd)
    if value is not None and not isinstance(value, (bytes, str)):
        odd.append(_odd(holder, name, "is no text"))
        return None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


# Configurations


def _described(config: Any, path: tuple[str, ...] = (), classes: tuple[str, ...] = ()) -> Iterator[_Described]:
    """The layers of a model's configuration, in its order; those of a model within it in its place."""
    layers = _get(config, "config", "layers")
    used: Counter[str] = Counter()
    for layer in layers if isinstance(layers, list) else ():
        kind, name = _get(layer, "class_name"), _get(layer, "config", "name")
        if not isinstance(kind, str) or not isinstance(name, str):
            continue
        filed = _snake(kind)
        here, there = (*path, name), (*classes, f"{filed}_{used[filed]}" if used[filed] else filed)
        used[filed] += 1
        inner = _get(layer, "config", "layer")  # of a TimeDistributed
        about = inner if isinstance(inner, dict) else layer
        groups = _get(about, "config", "groups")
        known = _KINDS.get(str(_get(about, "class_name")), "")
        if known == "convolution" and isinstance(groups, int) and groups > 1:
            yield _Described(here, there, "grouped", groups)
        else:
            yield _Described(here, there, known, 1)
        yield from _described(layer, here, there)


def _get(tree: Any, *keys: str) -> Any:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _snake(name: str) -> str:
    """A class as Keras 3 files it: conv2d_transpose for Conv2DTranspose."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _as_described(tensors: Sequence[Tensor], layers: Sequence[_Described], by: str) -> list[Tensor]:
    """Tensors in the order of the layers, and with what is known of these.

    by: "path", where keys have the names of layers, or "classes", where they have classes, as in Keras 3.
    """
    groups = [_groups(tensor) for tensor in tensors]
    found = _layers_of(groups, layers, by)
    if by == "classes" and not any(each is not None for each in found):
        found = _layers_of(groups, layers, "path")
    ranked = []
    for tensor, number in zip(tensors, found):
        if number is not None:
            layer, kind = layers[number], layers[number].kind
            if kind == "separable":
                kind = "depthwise" if re.search(r"depthwise_kernel|vars/0$", tensor.key) else "convolution"
            tensor = tensor._replace(name=layer.path[-1], kind=kind, groups=layer.groups)
        ranked.append((len(layers) if number is None else number, tensor))
    return [tensor for _, tensor in sorted(ranked, key=lambda each: each[0])]


def _layers_of(every: Sequence[Sequence[str]], layers: Sequence[_Described], by: str) -> list[int | None]:
    """The number of the innermost layer that each list of groups is in; of two alike, the first."""
    within = _filed_as if by == "classes" else _named
    places: dict[tuple[str, str], dict[tuple[str, ...], int]] = {}  # by the first and the last name: layers are many
    for i, layer in enumerate(layers):
        path = getattr(layer, by)
        places.setdefault((path[0], path[-1]), {}).setdefault(path, i)
    found: list[int | None] = []
    for groups in every:
        near = [each for name in dict.fromkeys(groups) for each in places.get((groups[0], name), {}).items()]
        inside = [(len(path), -i) for path, i in near if within(path, groups)]
        found.append(-max(inside)[1] if inside else None)
    return found


def _groups(tensor: Tensor) -> list[str]:
    return [part for part in tensor.key.split("/") if part not in _NESTING]


def _filed_as(classes: Sequence[str], groups: Sequence[str]) -> bool:
    return list(groups[: len(classes)]) == list(classes)


def _named(path: Sequence[str], groups: Sequence[str]) -> bool:
    """Whether the groups begin with a layer, and have the names of layers within it, in this order."""
    rest = iter(groups)
    return groups[:1] == list(path[:1]) and all(name in rest for name in path)
