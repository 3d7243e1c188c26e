"""Filter archives: the kernels of a population at chosen iterations, in one safetensors file with a manifest.

Knows names, checksums and bytes on disk; must not know how a network was trained.
"""
import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from topo.filters import spatial_filters

DATA = Path(__file__).resolve().parent.parent / "data"
MANIFEST = "MANIFEST.json"


def write_atomically(path, content):
    """Write bytes to `path` so that it holds either the old content or all of the new, even after a power cut.

    Folders that are missing are made. Raises OSError, naming `path`, where it cannot be written.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    for left in path.parent.glob(f".{path.name}.*.part"):  # by a process that was killed
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > 3600:
                left.unlink()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except OSError as error:
        raise type(error)(f"{path} could not be written ({error.strerror or error}); what it held before is still there") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def manifest(folder=DATA):
    """What the archives in `folder` hold, as {name: entry}; {} where there is no manifest.

    An entry has the file's name, bytes and sha256, and what the trainer said of the population.
    """
    path = Path(folder) / MANIFEST
    return json.loads(path.read_text()) if path.exists() else {}


def _key(layer, iteration):
    return f"layer{layer}/iteration{iteration:06d}"


def write(name, kernels, description, folder=DATA):
    """Write an archive and its manifest entry; both atomically, the manifest last.

    name: letters, digits and hyphens.
    kernels: {layer: {iteration: (networks, h, w, in, out) float}}; stored as float16. Some may be of the first
        networks only.
    description: what can be said in JSON about the population; kept in the manifest.
    Returns the path. Raises ValueError where a kernel is not finite in float16.
    """
    folder = Path(folder)
    tensors = {}
    for layer, snapshots in sorted(kernels.items()):
        for iteration, kernel in sorted(snapshots.items()):
            half = np.ascontiguousarray(kernel, np.float16)
            if not np.isfinite(half).all():
                raise ValueError(f"archive {name}: layer {layer} at iteration {iteration} is not finite in float16")
            tensors[_key(layer, iteration)] = half
    # One key only: safetensors writes several in an order that changes from run to run.
    content = save(tensors, metadata={"topo": f"{name}: networks, height, width, in, out"})
    path = folder / f"{name}.safetensors"
    write_atomically(path, content)
    entry = {"file": path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), **description}
    entries = dict(sorted({**manifest(folder), name: entry}.items()))
    write_atomically(folder / MANIFEST, (json.dumps(entries, indent=1) + "\n").encode())
    return path


def load(name, folder=DATA):
    """The Archive called `name`, such as "mnist-M-64-32-64", its checksum verified.

    Raises FileNotFoundError for a name that is not in the manifest, naming those that are; ValueError where the
    file is not the one that the manifest describes.
    """
    folder = Path(folder)
    entries = manifest(folder)
    if name not in entries:
        raise FileNotFoundError(f"archive {name!r} is not in {folder / MANIFEST}; there are: {', '.join(entries) or 'none'}")
    path = folder / entries[name]["file"]
    if not path.exists():
        raise FileNotFoundError(f"archive {name!r}: {path} is missing; `python -m topo train {name}` makes it anew")
    if hashlib.sha256(path.read_bytes()).hexdigest() != entries[name]["sha256"]:
        raise ValueError(f"archive {name!r}: {path} is not the file that the manifest describes (sha256 differs)")
    return Archive(name, path, entries[name])


class Archive:
    """Kernels of a population at the iterations that were kept.

    name: str; description: the manifest's entry, a dict.
    """

    def __init__(self, name, path, description):
        self.name, self.description, self._path = name, description, path
        with safe_open(path, "numpy") as file:
            keys = [key.removeprefix("layer").split("/iteration") for key in file.keys()]
        self._iterations = {}
        for layer, iteration in sorted((int(a), int(b)) for a, b in keys):
            self._iterations.setdefault(layer, []).append(iteration)

    def __repr__(self):
        return f"<Archive {self.name}: {self.networks} networks, layers {self.layers}, iterations {self.iterations(self.layers[0])}>"

    @property
    def layers(self):
        """The convolutional layers kept, numbered from 1: a list of int."""
        return list(self._iterations)

    @property
    def networks(self):
        """How many networks the population has."""
        return len(self.description["members"])

    def iterations(self, layer=1):
        """The batch iterations at which this layer was kept, ascending: a list of int."""
        if layer not in self._iterations:
            raise ValueError(f"archive {self.name} has no layer {layer}; it has {self.layers}")
        return list(self._iterations[layer])

    def kernels(self, layer=1, iteration=None, networks=None):
        """Kernels (networks, h, w, in, out) float32 of one layer.

        iteration: one of `iterations(layer)`; the last where None. networks: only the first so many; where None, all
        that were kept, which of the deeper layers may be fewer than `networks`.
        Raises ValueError naming what there is.
        """
        kept = self.iterations(layer)
        iteration = kept[-1] if iteration is None else iteration
        if iteration not in kept:
            raise ValueError(f"archive {self.name} has no layer {layer} at iteration {iteration}; it has {kept}")
        with safe_open(self._path, "numpy") as file:
            stored = file.get_slice(_key(layer, iteration))
            held = stored.get_shape()[0]
            if networks is not None and not 1 <= networks <= held:
                raise ValueError(f"archive {self.name} has layer {layer} at iteration {iteration} of {held} networks; networks = {networks} is not within 1..{held}")
            return stored[: networks or held].astype(np.float32)

    def filters(self, layer=1, iteration=None, networks=None):
        """Spatial filters (networks * in * out, h * w) float32, network by network (section 1), as trained.

        Arguments and errors as in `kernels`.
        """
        return np.concatenate([spatial_filters(kernel) for kernel in self.kernels(layer, iteration, networks)])

    def accuracy(self, iteration=None):
        """Test accuracy of each network, (networks,) float64 in [0, 1], at the last iteration it was measured or at `iteration`."""
        measured = {int(key): value for key, value in self.description["accuracy"].items()}
        iteration = max(measured) if iteration is None else iteration
        if iteration not in measured:
            raise ValueError(f"archive {self.name} has no accuracy at iteration {iteration}; it has {sorted(measured)}")
        return np.array(measured[iteration])
