"""Where the files of data/ are from: draws the samples out of their sources, and compares every file with both.

Knows which samples the book has, their sources, authors and licences; must not know what is computed with them.
"""

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from topo import archive, datasets, inventory, pretrained, remote, samples
from topo.filters import spatial_filters, to_half

_VGG = {
    "authors": "Karen Simonyan and Andrew Zisserman, Visual Geometry Group, University of Oxford",
    "home": "https://www.robots.ox.ac.uk/~vgg/research/very_deep/",
    "licence": "Creative Commons Attribution (CC BY)",
    "changed": "spatial filters of the kernels, drawn and rounded to float16",
    "rows": "spatial filters (in, out): 9 weights read row by row, less their mean, and the mean",
}
_PATCHES = {
    "what": "3x3 patches of high contrast out of van Hateren's photographs, and two dense cores of them",
    "authors": "Gunnar Carlsson, Tigran Ishkhanov, Vin de Silva and Afra Zomorodian, after Ann Lee, Kim Pedersen and "
    "David Mumford; photographs by J. H. van Hateren",
    "home": "https://github.com/appliedtopology/javaplex, data/natural_images",
    "licence": "BSD 3-Clause, copyright (c) 2014 Henry Adams, Mikael Vejdemo-Johansson, Andrew Tausz",
    "changed": "rounded to float16",
    "rows": "patches, of 8 coordinates in the DCT basis",
}
_LAYERS = {"vgg16": 13, "vgg19": 8}  # that a sample has, from the first

Tables = dict[str, Float[np.ndarray, "_rows _values"]]


class _Made(NamedTuple):
    """What a sample has, drawn anew. missing: parts of the sample whose sources are not at hand."""

    tables: Tables
    description: dict[str, Any]
    source: str
    missing: list[str]


def _imagenet(network: str) -> _Made:
    weights = pretrained.vgg_file(network)
    here = {layer.name for layer in weights.layers}
    tables: Tables = {}
    parts: dict[str, dict[str, Any]] = {}
    layers = pretrained.vgg_layers(network)[: _LAYERS[network]]
    for layer in layers:
        if layer.name not in here:
            continue
        kernel = weights.kernel(layer.name)
        whole, drawn = spatial_filters(kernel), weights.draw(layer.name, samples.ROWS)
        tables[layer.name] = to_half(whole if len(whole) <= samples.ROWS else drawn.filters)
        parts[layer.name] = {
            "shape": list(layer.shape), "filters": layer.filters, "constant": drawn.constant,
            "rows": len(tables[layer.name]),
            "kernel_sha256": hashlib.sha256(kernel.astype("<f4").tobytes()).hexdigest(),
        }  # fmt: skip
    official = datasets.VGG[network]
    description = {
        "what": f"filters of the first {len(layers)} convolutional layers of {network.upper()}, trained on ImageNet",
        **_VGG,
        "source": f"the kernels that Keras distributes in {Path(official.path).name}, {official.urls[0]}",
        "drawn": f"all filters of a layer, or {samples.ROWS} that are not constant: topo.pretrained.Weights.draw",
        "kernel_sha256": "of a layer's float32 kernel (h, w, in, out), little-endian, in C order",
        "parts": parts,
    }
    return _Made(tables, description, weights.path.name, [layer.name for layer in layers if layer.name not in here])


def _natural_patches() -> _Made:
    tables: Tables = {}
    parts: dict[str, dict[str, Any]] = {}
    for name, file in datasets.NATURAL_PATCHES.items():
        remote.find(file, download=False)
        tables[name] = datasets.natural_patches(name)
        parts[name] = {"file": Path(file.path).name, "file_sha256": file.checksum, "rows": len(tables[name])}
    sources = ", ".join(Path(file.path).name for file in datasets.NATURAL_PATCHES.values())
    return _Made(tables, {**_PATCHES, "parts": parts}, sources, [])


SAMPLES: dict[str, Callable[[], _Made]] = {
    **{name: partial(_imagenet, network) for network, name in pretrained.SAMPLES.items()},
    datasets.PATCHES_SAMPLE: _natural_patches,
}


def draw(folder: str | Path | None = None) -> Iterator[Path]:
    """Draw every sample out of its source and write it; the same bytes each time.

    folder: data/samples where None. Returns the paths, one by one.
    Raises FileNotFoundError, saying how to get the file, where a source or a layer of it is not at hand.
    """
    for name, make in SAMPLES.items():
        made = make()
        if made.missing:
            raise FileNotFoundError(f"sample {name}: {made.source} lacks {', '.join(made.missing)}")
        yield samples.write(name, made.tables, made.description, folder)


class Checked(NamedTuple):
    """A file of data/ that was compared. differs: what is wrong, "" where it is as it should be.

    source: the name of the file that it was drawn from, where that was at hand and compared; otherwise "".
    """

    path: Path
    differs: str
    source: str = ""


def verify(data: str | Path | None = None) -> Iterator[Checked]:
    """Compare every archive in `data` and its folders with its manifest, and every sample with its source, too.

    data: the folder, that of the book where None. A file that no manifest describes differs, too.
    Returns what was found, one by one. Raises ValueError for a manifest that cannot be read.
    """
    data = Path(data or archive.DATA)
    for folder in (data, *sorted(path.parent for path in data.glob(f"*/{inventory.MANIFEST}"))):
        entries = inventory.entries(folder)
        for name, entry in entries.items():
            path = folder / entry["file"]
            differs, source = inventory.difference(path, entry), ""
            if folder.name == samples.FOLDER.name and name in SAMPLES and not differs:
                differs, source = _against_source(name, samples.Sample(path, entry))
            yield Checked(path, differs, source)
        known = {entry["file"] for entry in entries.values()}
        for path in sorted(folder.glob("*.safetensors")):
            if path.name not in known:
                yield Checked(path, "no manifest describes it")


def _against_source(name: str, sample: samples.Sample) -> tuple[str, str]:
    """What differs between a sample and what its source gives, and the source; "" and "" where that is not at hand."""
    try:
        made = SAMPLES[name]()
    except FileNotFoundError:
        return "", ""
    except ValueError as error:
        return str(error), ""
    here = [part for part in sample.parts if part not in made.missing]
    for part in here:
        if part not in made.tables:
            return f"{part} is not drawn from {made.source}", ""
        if sample.description["parts"][part] != made.description["parts"][part]:
            return f"what the manifest says of {part} is not what {made.source} gives", ""
        if not np.array_equal(sample.rows(part), made.tables[part].astype(np.float16)):
            return f"{part} is not what {made.source} gives", ""
    return "", f"{made.source}" + f" (without {', '.join(made.missing)})" * bool(made.missing)
