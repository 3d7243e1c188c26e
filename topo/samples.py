"""Samples of what others made, kept with the book: filters of ImageNet's networks, patches of photographs.

Knows tables of numbers, and which rows of a large one a sample has; must not know what a row is, nor where it is from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Integer
from safetensors import safe_open
from safetensors.numpy import save

from topo import inventory
from topo.types import Whole

FOLDER = Path(__file__).resolve().parent.parent / "data" / "samples"
ROWS = 20_000  # that a sample has of a larger table
_ANEW = ".venv/bin/python -m topo data sample"


def chosen(count: Whole, most: Whole | None = None) -> Integer[np.ndarray, "rows"]:
    """The rows of a random sample of `most` out of `count`, ascending; all where there are no more. The same each time.

    A sample of fewer than 20,000 is drawn out of that of 20,000, so that it is the same where only those are at hand.
    most: None for all.

    >>> chosen(5), chosen(30_000, 20_000).shape
    (array([0, 1, 2, 3, 4]), (20000,))
    """
    if most is None or count <= most:
        return np.arange(count)
    if most < ROWS < count:
        return chosen(count, ROWS)[chosen(ROWS, most)]
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


@dataclass(frozen=True)
class Sample:
    """Tables that are kept together in one file. description: the manifest's entry."""

    path: Path
    description: Mapping[str, Any]

    @property
    def parts(self) -> list[str]:
        """The names of the tables, in the order of the manifest."""
        return list(self.description["parts"])

    def rows(self, part: str) -> Float32[np.ndarray, "rows values"]:
        """A table, as it was rounded to float16. Raises ValueError for a name that is not one of `parts`."""
        if part not in self.parts:
            raise ValueError(f"{self.path} has no part {part!r}; it has: {', '.join(self.parts)}")
        with safe_open(self.path, "numpy") as file:
            return file.get_tensor(part).astype(np.float32)


def write(
    name: str,
    tables: Mapping[str, Float[np.ndarray, "_rows _values"]],
    description: Mapping[str, Any],
    folder: str | Path | None = None,
) -> Path:
    """Write tables as float16, and the entry of the manifest; both atomically, and the same bytes each time.

    description: what can be said in JSON; description["parts"] has an entry for each table, and their order. folder:
    data/samples where None. Returns the path. Raises ValueError where a number is not finite in float16.
    """
    halves = {}
    for part in description["parts"]:
        halves[part] = np.ascontiguousarray(tables[part], np.float16)
        if not np.isfinite(halves[part]).all():
            raise ValueError(f"sample {name}: {part} is not finite in float16")
    content = save(halves, metadata={"topo": f"{name}: rows, values"})  # one key only, as in `topo.archive.write`
    return inventory.put(name, content, description, folder or FOLDER)


def load(name: str, folder: str | Path | None = None) -> Sample:
    """The Sample called `name`, such as "imagenet-vgg16", its checksum verified.

    folder: data/samples where None. Raises FileNotFoundError for a name that is not in the manifest or a file that is
    missing, and ValueError where the file is not the one that the manifest describes.
    """
    return Sample(*inventory.find(name, folder or FOLDER, "sample", _ANEW))
