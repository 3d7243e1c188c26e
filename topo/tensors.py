"""Arrays of a weight file that are not read yet, and what goes wrong in reading them.

Knows the errors of the reading libraries; must not know any file format, nor which arrays are kernels.
"""

import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from safetensors import SafetensorError

MOST_TEXT = 2**24  # bytes of a description that are read
_PARSERS = ("ast", "json", "tokenize")  # which NumPy reads headers with, and others descriptions
_LIBRARIES = ("flax", "h5py", "msgpack", "numpy", "onnx", "safetensors", "tensorstore", "zipfile")


class Tensor(NamedTuple):
    """An array of a file that is not read yet: read() returns it.

    name, kind, groups: what the file says of its layer, where it says anything: its name; "convolution", "depthwise",
    "transposed" or "grouped"; the number of groups. why: why it cannot be used, "" where it can be.
    """

    key: str
    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], Any]
    name: str = ""
    kind: str = ""
    groups: int = 1
    why: str = ""


class Contents(NamedTuple):
    """The arrays of a file, in the network's order as far as the file has it.

    layout: how kernels lie, "HWIO" or "OIHW", where the file says which library wrote it; None where it does not.
    """

    tensors: list[Tensor]
    layout: str | None = None


class Refused(ValueError):
    """A file that is not read. The message names it and says why."""


SPARE = 160  # MiB that an array may take besides twice its bytes in the file; working with it takes less than 96 more


def expands(size: int, held: int) -> str:
    """Why an array is not read that takes `size` bytes of memory and `held` of the file; "" where it is read."""
    if size <= 2 * held + SPARE * 2**20:
        return ""
    return f"takes {size / 2**20:,.0f} MiB out of {held / 2**20:,.2f} MiB of the file, more than is unpacked"


def natural(key: str) -> list[tuple[int, str]]:
    """A key that sorts conv2 before conv10, by numbers of any length."""
    parts = (part.lstrip("0") if part.isdecimal() else part for part in re.split(r"(\d+)", key))
    return [(len(part), part) if i % 2 else (-1, part) for i, part in enumerate(parts)]


def unusable(key: str, why: str) -> Tensor:
    """What stands for an array that is never read, and why not."""
    return Tensor(key, (), np.dtype("V1"), lambda: None, why=why)


@contextmanager
def parsing(path: Path) -> Iterator[None]:
    """Turn what a reading library raises over a broken file, and want of memory, into one error each.

    Errors of our own stay what they are.
    """
    try:
        yield
    except MemoryError:
        raise Refused(f"{path} needs more memory than there is") from None
    except Exception as error:
        if isinstance(error, Refused) or not _of_a_library(error):
            raise
        said = " ".join(str(error).split())
        raise Refused(f"{path} cannot be read: {said}; it is truncated or corrupt") from None


def _of_a_library(error: Exception) -> bool:
    if isinstance(error, (SafetensorError, BadZipFile, zlib.error)):  # compiled code leaves no frame behind
        return True
    *_, (frame, _) = walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__", "").split(".")[0] in (*_LIBRARIES, *_PARSERS)
