"""What Flax saves: nested dicts of arrays, as msgpack in a file or by orbax in a folder.

Knows both formats; must not know which arrays are kernels. Nothing of what a checkpoint says of its types is imported.
"""

import json
import math
import mmap
import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from topo.tensors import MOST_TEXT, Contents, Refused, Tensor, expands, natural, unusable

_METADATA = "_METADATA"  # the file of an orbax folder that lists its arrays
_MOST_FILES = 100_000


def is_msgpack(beginning: bytes) -> bool:
    """Whether a file begins as Flax's msgpack does: with a map whose first key is a text."""
    first, rest = beginning[:1], beginning[1:]
    rest = rest[2:] if first == b"\xde" else rest[4:] if first == b"\xdf" else rest
    is_map = b"\x81" <= first <= b"\x8f" or first in (b"\xde", b"\xdf")
    return is_map and (b"\xa0" <= rest[:1] <= b"\xbf" or rest[:1] in (b"\xd9", b"\xda"))


def read_msgpack(path: Path) -> Contents:
    """The arrays of a file that `flax.serialization.to_bytes` wrote."""
    from flax.serialization import msgpack_restore

    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        tree = msgpack_restore(cast(bytes, content))  # which would take the file's size of memory once more
    tensors = [Tensor(key, array.shape, array.dtype, partial(np.asarray, array)) for key, array in _leaves(tree)]
    return Contents(tensors, "HWIO")


def _leaves(tree: Any) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays in nested dicts, with the keys on the way, such as params/Conv_0/kernel.

    They come in the order of each dict; where its keys were sorted by letters, Conv_2 comes before Conv_10.
    """
    waiting = [("", tree)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            inner = {str(name): each for name, each in value.items()}
            names = list(inner) if list(inner) != sorted(inner) else sorted(inner, key=natural)
            waiting += [(f"{key}/{name}".lstrip("/"), inner[name]) for name in reversed(names)]
        elif isinstance(value, np.ndarray):
            yield key, value


def read_folder(path: Path) -> Contents:
    """The arrays of a folder that orbax wrote. Raises Refused for any other folder, and for one with links in it."""
    if not (path / _METADATA).is_file():
        found = [*path.glob(f"*/{_METADATA}"), *path.glob(f"*/*/{_METADATA}")]
        below = f"; below it there are {', '.join(sorted(str(each.parent) for each in found[:9]))}" if found else ""
        raise Refused(f"{path} is a folder without the {_METADATA} that checkpoints of orbax have{below}")
    size = _size(path)
    if (path / _METADATA).stat().st_size > MOST_TEXT:
        raise Refused(f"{path / _METADATA} is larger than the {MOST_TEXT} bytes that are read")
    said = json.loads((path / _METADATA).read_bytes())
    leaves = said.get("tree_metadata") if isinstance(said, dict) else None
    if not isinstance(leaves, dict):
        raise Refused(f"{path / _METADATA} lists no arrays; it is truncated or corrupt")
    opened = partial(_open, path, "zarr3" if said.get("use_zarr3") else "zarr")
    tensors = []
    for leaf in leaves.values():
        keys = leaf.get("key_metadata") if isinstance(leaf, dict) else None
        names = [each.get("key") for each in keys if isinstance(each, dict)] if isinstance(keys, list) else []
        if names and all(isinstance(each, (str, int)) for each in names):
            tensors.append(_tensor(path, opened, [str(each) for each in names], size))
    return Contents(sorted(tensors, key=lambda each: natural(each.key)), "HWIO")


def _size(folder: Path) -> int:
    """The bytes of all files in a folder. Raises Refused for one that has a link in it, or a FIFO."""
    total = number = 0
    for here, folders, files in os.walk(folder):
        for name in (*folders, *files):
            about = os.lstat(os.path.join(here, name))
            number += 1
            if not (stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode)):
                raise Refused(f"{os.path.join(here, name)} is a link or no file, and {folder} is not followed into it")
            total += about.st_size
        if number > _MOST_FILES:
            raise Refused(f"{folder} has more than the {_MOST_FILES:,} files that are looked at")
    return total


def _open(folder: Path, driver: str, key: str) -> Any:
    import tensorstore

    place = {"driver": "file", "path": f"{folder.resolve()}/"}
    if (folder / "manifest.ocdbt").exists():
        store: dict[str, Any] = {"driver": "ocdbt", "base": place, "path": f"{key}/"}
    else:
        store = {**place, "path": f"{folder.resolve()}/{key}/"}
    return tensorstore.open({"driver": driver, "kvstore": store}, open=True, read=True).result()


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _tensor(folder: Path, opened: Callable[[str], Any], names: list[str], size: int) -> Tensor:
    key = "/".join(names)
    if any("/" in name or name in (".", "..") for name in names):
        return unusable(key, "has a name that is a path")

    def read() -> np.ndarray:
        try:
            return np.asarray(opened(".".join(names)).read().result())
        except (OSError, ValueError) as error:
            raise Refused(f"{folder}: {key} cannot be read: {_said(error)}; it is truncated or corrupt") from None

    try:
        array = opened(".".join(names))
        shape, dtype = tuple(array.shape), np.dtype(array.dtype.numpy_dtype)
        chunk = array.chunk_layout.read_chunk.shape or ()  # of a number by itself, None
    except (OSError, TypeError, ValueError) as error:
        return unusable(key, f"cannot be read: {_said(error)}")
    taken = (math.prod(shape) + math.prod(chunk)) * dtype.itemsize
    return Tensor(key, shape, dtype, read, why=expands(taken, size) if len(shape) == 4 else "")
