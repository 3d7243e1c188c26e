"""Filter archives: the kernels of a population at chosen iterations, in one safetensors file with a manifest.

Knows names, checksums and bytes on disk; must not know how a network was trained.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64
from safetensors import safe_open
from safetensors.numpy import save

from topo import inventory
from topo.checks import check_whole
from topo.filters import normalize, spatial_filters
from topo.types import Kernels, Whole

DATA = Path(__file__).resolve().parent.parent / "data"


def manifest(folder: str | Path = DATA) -> dict[str, dict[str, Any]]:
    """What the archives in `folder` hold, as {name: entry}; {} where there is no manifest.

    An entry has the file's name, bytes and sha256, and what the trainer said of the population.
    """
    return inventory.entries(folder)


def _key(layer: Whole, iteration: Whole) -> str:
    return f"layer{layer}/iteration{iteration:06d}"


def write(name: str, kernels: Kernels, description: Mapping[str, Any], folder: str | Path = DATA) -> Path:
    """Write an archive and its manifest entry into `folder`; both atomically, the manifest last.

    name: letters, digits and hyphens.
    kernels: by layer and iteration, stored as float16; some may be of the first networks only.
    description: what can be said in JSON about the population; kept in the manifest.
    Returns the path. Raises ValueError where a kernel is not finite in float16, OSError where a file cannot be written.
    """
    tensors: dict[str, np.ndarray] = {}
    for layer, snapshots in sorted(kernels.items()):
        for iteration, kernel in sorted(snapshots.items()):
            half = np.ascontiguousarray(kernel, np.float16)
            if not np.isfinite(half).all():
                raise ValueError(f"archive {name}: layer {layer} at iteration {iteration} is not finite in float16")
            tensors[_key(layer, iteration)] = half
    # One key only: safetensors writes several in an order that changes from run to run.
    content = save(tensors, metadata={"topo": f"{name}: networks, height, width, in, out"})
    return inventory.put(name, content, description, folder)


def load(name: str, folder: str | Path = DATA) -> "Archive":
    """The Archive called `name`, such as "mnist-M-64-32-64", its checksum verified.

    Raises FileNotFoundError for a name that is not in the manifest, naming those that are; ValueError where the
    file is not the one that the manifest describes.
    """
    path, entry = inventory.find(name, folder, "archive", f".venv/bin/python -m topo train {name}")
    return Archive(name, path, entry)


class Archive:
    """Kernels of a population at the iterations that were kept.

    name: of the archive; path: of its file; description: the manifest's entry.
    """

    def __init__(self, name: str, path: Path, description: Mapping[str, Any]) -> None:
        self.name, self.description, self.path = name, description, path
        with safe_open(path, "numpy") as file:
            keys = [key.removeprefix("layer").split("/iteration") for key in file.keys()]
        self._iterations: dict[int, list[int]] = {}
        for layer, iteration in sorted((int(a), int(b)) for a, b in keys):
            self._iterations.setdefault(layer, []).append(iteration)

    def __repr__(self) -> str:
        kept = self.iterations(self.layers[0])
        return f"<Archive {self.name}: {self.networks} networks, layers {self.layers}, iterations {kept}>"

    @property
    def layers(self) -> list[int]:
        """The convolutional layers kept, numbered from 1."""
        return list(self._iterations)

    @property
    def networks(self) -> int:
        """How many networks the population has."""
        return len(self.description["members"])

    def iterations(self, layer: Whole = 1) -> list[int]:
        """The iterations at which this layer was kept, ascending. Raises ValueError for a layer that is not there."""
        if layer not in self._iterations:
            raise ValueError(f"archive {self.name} has no layer {layer}; it has {self.layers}")
        return list(self._iterations[int(layer)])

    def kernels(
        self, layer: Whole = 1, iteration: Whole | None = None, networks: Whole | None = None
    ) -> Float32[np.ndarray, "networks height width inputs outputs"]:
        """Kernels of one layer.

        iteration: one of `iterations(layer)`; the last where None. networks: only the first so many; where None, all
        that were kept. Of the deeper layers fewer networks may have been kept than the population has.
        Raises ValueError naming what there is.
        """
        kept = self.iterations(layer)
        iteration = kept[-1] if iteration is None else iteration
        if iteration not in kept:
            raise ValueError(f"archive {self.name} has no layer {layer} at iteration {iteration}; it has {kept}")
        with safe_open(self.path, "numpy") as file:
            stored = file.get_slice(_key(layer, iteration))
            held = stored.get_shape()[0]
            if networks is not None:
                why = f"archive {self.name} has layer {layer} at iteration {iteration} of so many"
                check_whole(networks, "networks", 1, held, why)
            return stored[: int(networks or held)].astype(np.float32)

    def filters(
        self, layer: Whole = 1, iteration: Whole | None = None, networks: Whole | None = None
    ) -> Float32[np.ndarray, "filters pixels"]:
        """Spatial filters, network by network (section 1), not normalised. Arguments and errors as in `kernels`."""
        return np.concatenate([spatial_filters(kernel) for kernel in self.kernels(layer, iteration, networks)])

    def clouds(
        self, layer: Whole = 1, iteration: Whole | None = None, networks: Whole | None = None
    ) -> list[Float32[np.ndarray, "_points dim"]]:
        """The point cloud of each network, so that networks can be drawn at random.

        A cloud holds the network's spatial filters, centred and normalised; constant filters are left out, so that
        clouds may differ in their number of points. Arguments and errors as in `kernels`.
        """
        return [normalize(spatial_filters(kernel)) for kernel in self.kernels(layer, iteration, networks)]

    def accuracy(self, iteration: Whole | None = None) -> Float64[np.ndarray, "networks"]:
        """Test accuracy of each network, from 0 to 1; of the images held out where the training has `hold_out`.

        iteration: one at which it was measured, the last of them where None. Raises ValueError naming those.
        """
        measured = {int(key): value for key, value in self.description["accuracy"].items()}
        iteration = max(measured) if iteration is None else iteration
        if iteration not in measured:
            raise ValueError(f"archive {self.name} has no accuracy at iteration {iteration}; it has {sorted(measured)}")
        return np.array(measured[int(iteration)])
