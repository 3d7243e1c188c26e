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

MOST_TEXT = 2**26  # bytes of a description that are read
_LIBRARIES = ("h5py", "json", "numpy", "safetensors", "zipfile")


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


def natural(key: str) -> list[tuple[int, str]]:
    """A key that sorts conv2 before conv10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", key)]


def unusable(key: str, why: str) -> Tensor:
    """What stands for an array that is never read, and why not."""
    return Tensor(key, (), np.dtype("V1"), lambda: None, why=why)


@contextmanager
def parsing(path: Path) -> Iterator[None]:
    """Turn what a reading library raises over a broken file into one error; errors of our own stay what they are."""
    try:
        yield
    except Exception as error:
        if isinstance(error, Refused) or not _of_a_library(error):
            raise
        said = " ".join(str(error).split())
        raise Refused(f"{path} cannot be read: {said}; it is truncated or corrupt") from None


def _of_a_library(error: Exception) -> bool:
    if isinstance(error, (SafetensorError, BadZipFile, zlib.error)):  # compiled code leaves no frame behind
        return True
    *_, (frame, _) = walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__", "").split(".")[0] in _LIBRARIES
