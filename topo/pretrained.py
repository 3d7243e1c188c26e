"""Kernels of trained networks, layer by layer: of any weight file, of VGG on ImageNet, and of the book's archives.

Knows the layers of VGG and of archives; must not know file formats, nor what is done with the filters.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from topo import archive, datasets, inventory, remote, samples
from topo.filters import blocks, from_half, to_half, varies
from topo.flax import read_folder
from topo.formats import BEGINNING, Reader, recognise
from topo.kernels import LAYOUTS, Kernel, Layer, kernels
from topo.samples import chosen
from topo.tensors import Refused, Tensor, parsing
from topo.types import Whole

_WHOLE = "`.venv/bin/python -m topo data vgg` fetches the whole file"


class Unusable(ValueError):
    """A layer whose numbers cannot be used. The message names it and says why."""


class Drawn(NamedTuple):
    """Filters of a layer, as trained. constant: how many of the whole layer are constant, and left out."""

    filters: Float32[np.ndarray, "filters pixels"]
    constant: int


class _Sampled(NamedTuple):
    """A layer of which only so many filters are here, which read() returns; of the whole layer, some are constant."""

    held: int
    constant: int
    read: Callable[[], np.ndarray]


class Weights:
    """The convolutional layers of a weight file, in the network's order; kernels are read when they are asked for.

    skipped: {key: why} of the arrays with four axes, and of links, that are no kernels one can use; missing: names of
    the layers that the network has and the file has not, where the network is known; sampled: {name: how many of its
    filters are here} of the layers of which only a sample is; note: a sentence on where such layers come from, "" where
    there are none; rounded: names of the layers that `draw` rounds as `topo.filters.to_half` does, to return what a
    sample has.
    """

    def __init__(
        self,
        path: Path,
        layers: list[Layer],
        skipped: dict[str, str],
        tensors: Mapping[str, Kernel],
        missing: Iterable[str] = (),
        samples: "Mapping[str, _Sampled] | None" = None,
        note: str = "",
        rounded: Iterable[str] = (),
    ) -> None:
        self.path, self.layers, self.skipped, self.missing = path, layers, skipped, list(missing)
        self.note, self.rounded, self._tensors, self._samples = note, set(rounded), tensors, dict(samples or {})
        self.sampled = {name: each.held for name, each in self._samples.items()}

    def __repr__(self) -> str:
        counts = f"{len(self.layers)} convolutional layers, {len(self.skipped)} arrays skipped"
        return f"<Weights {self.path.name}: {counts}{'. ' * bool(self.note)}{self.note}>"

    def layer(self, layer: str | Whole) -> Layer:
        """The Layer of that name, or of that number from 1. Raises ValueError for one that is not there."""
        for number, known in enumerate(self.layers, 1):
            if layer == known.name or (layer == number and not isinstance(layer, bool)):
                return known
        names = [known.name for known in self.layers]
        hint = f" (name={layer} is the layer of that name)" if str(layer) in names else ""
        raise ValueError(f"{self.path} has no layer {layer!r}{hint}; it has {len(names)}: {', '.join(names)}")

    def kernel(self, layer: str | Whole) -> Float32[np.ndarray, "height width inputs outputs"]:
        """The kernel of a layer. layer: its name, or its number from 1.

        Raises ValueError for a layer that is not there or of which only a sample is, and Unusable, which is a
        ValueError, for one that is corrupt or holds NaN or infinity.
        """
        name, shape, *_ = self.layer(layer)
        if name in self._samples:
            here = f"{self.sampled[name]:,} of the {shape[2] * shape[3]:,} filters of layer {name}"
            raise ValueError(f"{here} are here, and no whole kernel: `draw` returns these filters. {_WHOLE}")
        with np.errstate(over="ignore"):
            kernel = np.ascontiguousarray(self._stored(name), np.float32)
        self._check_finite(name, np.count_nonzero(~np.isfinite(kernel)))
        return kernel

    def _stored(self, name: str) -> np.ndarray:
        """The kernel of a layer that is whole here, (h, w, in, out), in the number format of its file."""
        tensor, axes = self._tensors[name]
        try:
            with parsing(self.path):
                return np.transpose(np.asarray(tensor.read()), axes).reshape(self.layer(name).shape)
        except Refused as error:
            raise Unusable(str(error)) from None

    def _check_finite(self, name: str, bad: int) -> None:
        if bad:
            raise Unusable(f"{self.path}: {bad} weights of layer {name} are NaN or infinite")

    def draw(self, layer: str | Whole, most: Whole | None = None) -> Drawn:
        """The spatial filters of a layer that are not constant, or a random sample of `most`, the same each time.

        layer: its name, or its number from 1; most: None for all that are here. A sample that `topo.samples` keeps has
        the 20,000 filters that are drawn out of the whole layer, too. It takes the memory of the layer as it is stored,
        that of what is drawn, and less than 100 MiB.
        Raises ValueError as `kernel` does, but for a layer of which a sample is here.
        """
        name = self.layer(layer).name
        if name in self._samples:
            sample = self._samples[name]
            return Drawn(from_half(sample.read()[chosen(sample.held, most)]), sample.constant)
        kernel, bad = self._stored(name), 0
        keeps: list[np.ndarray] = []
        for filters in blocks(kernel):
            bad += np.count_nonzero(~np.isfinite(filters))
            keeps += [] if bad else [varies(filters)]
        self._check_finite(name, bad)
        varying = sum(map(np.count_nonzero, keeps))
        rows = chosen(varying, most)
        drawn = np.empty((len(rows), filters.shape[1]), np.float32)
        passed = 0  # filters that vary, in the blocks before
        for filters, keep in zip(blocks(kernel), keeps):
            held = np.flatnonzero(keep)
            first, end = np.searchsorted(rows, (passed, passed + len(held)))
            drawn[first:end] = filters[held[rows[first:end] - passed]]
            passed += len(held)
        constant = self.layer(name).filters - varying
        return Drawn(from_half(to_half(drawn)) if name in self.rounded else drawn, constant)


def read(path: str | Path, layout: str | None = None) -> Weights:
    """The convolutional layers of a weight file.

    The content tells the format: HDF5 as Keras writes it, alone (.h5) or in a .keras, safetensors, alone or in parts
    with their .index.json, ONNX, which the optional package onnx reads, what `flax.serialization.to_bytes` writes, a
    folder that orbax wrote, .npz or .npy. Arrays with four axes are kernels, but for those whose names say otherwise,
    such as the state of an optimizer; in ONNX those that the graph convolves with. Layers are in the network's order
    where the file says it, as Keras and ONNX do, and otherwise in the order of their names, with numbers as numbers;
    those of an .npz as they were written.

    Two layouts are in use: (h, w, in, out), as in Keras and Flax, and (out, in, h, w), as in PyTorch. A kernel is at
    most 31 high and wide. All arrays of a file have one layout: the one that their sizes allow, or else the one of the
    library that the file names, or else the one in which the kernels are square.

    layout: "HWIO" or "OIHW" for all arrays, or None to tell it so.
    Raises FileNotFoundError, and ValueError for another layout, any other folder, a pickle, a file that is truncated or
    of another format, one that declares more than it can hold, one that does not tell its layout, or one without any
    convolution.
    """
    if layout is not None and layout not in LAYOUTS:
        raise ValueError(f"layout = {layout!r} is not allowed: 'HWIO', 'OIHW' or None")
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there")
    with parsing(path):
        contents = _reader(path)(path)
    found, skipped = kernels(contents, layout, path)
    if not found:
        others = "; ".join(f"{name}: {why}" for name, why in skipped.items()) or "no array has four axes"
        raise ValueError(f"{path} holds no convolution ({others})")
    return Weights(path, [layer for layer, _ in found], skipped, {layer.name: kernel for layer, kernel in found})


def _reader(path: Path) -> Reader:
    if path.is_dir():
        return read_folder
    if not path.is_file():  # opening a FIFO would wait for somebody to write into it
        raise ValueError(f"{path} is no regular file")
    with open(path, "rb") as file:
        return recognise(path, file.read(BEGINNING))


def obtain(
    name: str,
    iteration: Whole | None = None,
    folder: str | Path = ".",
    fetch: bool = False,
    layout: str | None = None,
) -> Weights:
    """The Weights called `name`: those of VGG ("vgg16", "vgg19"), of an archive of the book, or of a file at that path.

    Of an archive, the first network is taken, at that iteration, or at the last that was kept of each layer. A relative
    path starts from `folder`. fetch: whether to fetch the official file of VGG where it is not at hand; otherwise the
    sample that comes with the book takes its place, and `note` says so. layout: of a file, as for `read`.
    Raises ValueError where an iteration is given for anything else than an archive, or one that was not kept of every
    layer, or a layout for anything else than a file, and as `vgg`, `topo.archive.load` and `read` do.
    """
    if layout is not None and (name in datasets.VGG or name in archive.manifest()):
        raise ValueError(f"layout = {layout!r}, but {name!r} is no file: its layout is known")
    if name not in datasets.VGG and name in archive.manifest():
        return _of_archive(archive.load(name), iteration)
    if iteration is not None:
        raise ValueError(f"iteration = {iteration!r}, but {name!r} is no archive of the book and has no iterations")
    return vgg(name, fetch) if name in datasets.VGG else read(Path(folder, Path(name).expanduser()), layout)


def _of_archive(population: archive.Archive, iteration: Whole | None) -> Weights:
    layers, tensors = [], {}
    for number in population.layers:
        kernel = population.kernels(number, iteration, 1)[0]
        height, width, inputs, outputs = kernel.shape
        layers.append(Layer(f"layer{number}", (height, width, inputs, outputs)))
        tensor = Tensor(layers[-1].name, kernel.shape, kernel.dtype, partial(np.asarray, kernel))
        tensors[tensor.key] = Kernel(tensor, LAYOUTS["HWIO"])
    return Weights(Path(population.name), layers, {}, tensors)


# ImageNet

_WIDTHS = (64, 128, 256, 512, 512)
_BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
SAMPLES = {name: f"imagenet-{name}" for name in datasets.VGG}  # what `topo.samples` calls theirs


def vgg_layers(name: str) -> list[Layer]:
    """The convolutional layers of VGG16 or VGG19 (Simonyan & Zisserman 2015), with the names that Keras gives them.

    Raises ValueError for another name.
    """
    if name not in datasets.VGG:
        raise ValueError(f"network {name!r} is not one of {', '.join(datasets.VGG)}")
    layers, inputs = [], 3
    for block, (count, width) in enumerate(zip(_BLOCKS[name], _WIDTHS), 1):
        for conv in range(1, count + 1):
            layers.append(Layer(f"block{block}_conv{conv}", (3, 3, inputs, width)))
            inputs = width
    return layers


def vgg_file(name: str, download: bool = False) -> Weights:
    """The whole convolutional layers of VGG16 or VGG19 for ImageNet, ported from its authors' Caffe weights.

    The official file is looked for where data sets are. Where it is not, a file vgg/NAME_*layers*.h5 that holds only
    some layers is used for those, and `missing` names the others. download: whether to fetch the official file where
    layers are missing.

    Raises FileNotFoundError, saying how to get the file, where there is none, and ValueError for another name, or a
    file with other layers than the network has.
    """
    parts = [path for folder in remote.folders() for path in sorted((folder / "vgg").glob(f"{name}_*layers*.h5"))]
    layers = vgg_layers(name)
    try:
        weights = _of_vgg(remote.find(datasets.VGG[name], download and not parts), name, layers)
    except FileNotFoundError:
        if not parts:
            raise
        weights = _of_vgg(parts[0], name, layers)
    if download and weights.missing:
        return _of_vgg(remote.find(datasets.VGG[name]), name, layers)
    return weights


def _of_vgg(path: Path, name: str, layers: list[Layer]) -> Weights:
    weights = read(path, "HWIO")
    known = {layer.name: layer for layer in layers}
    for layer in weights.layers:
        if known.get(layer.name) != layer:
            expected = f"there of shape {known[layer.name].shape}" if layer.name in known else "not there"
            raise ValueError(f"{path} has a layer {layer.name} of shape {layer.shape}, which in {name} is {expected}")
    weights.missing = [layer.name for layer in layers if layer not in weights.layers]
    return weights


def vgg(name: str, download: bool = False) -> Weights:
    """The weights of VGG16 or VGG19: whole layers where `vgg_file` finds them, and others from the book's sample.

    The sample has all filters of a layer in float16, or 20,000 that were drawn at random; the `note` of what is
    returned says which layers are from it, `sampled` how many filters these have, and `missing` which are nowhere.
    `draw` rounds the filters of whole layers to float16 as well: it returns the same, whatever is at hand.
    download: whether to fetch the official file where it is not at hand.
    Raises as `vgg_file` does; FileNotFoundError only where there is no sample either, or fetching was asked for.
    """
    layers, kept = vgg_layers(name), SAMPLES[name] in inventory.entries(samples.FOLDER)
    try:
        whole = vgg_file(name, download)
    except FileNotFoundError:
        if download or not kept:
            raise
        whole = None
    if whole and not (whole.missing and kept):
        whole.rounded = {layer.name for layer in whole.layers}
        return whole
    return _with_sample(layers, whole, samples.load(SAMPLES[name]))


def _with_sample(layers: list[Layer], whole: Weights | None, sample: samples.Sample) -> Weights:
    """The layers that `whole` has, and the others as far as they are in the sample."""
    tensors = dict(whole._tensors) if whole else {}
    rounded = list(tensors)
    added = [layer for layer in layers if layer.name not in tensors and layer.name in sample.parts]
    drawn: dict[str, _Sampled] = {}
    for layer in added:
        about = sample.description["parts"][layer.name]
        if about["rows"] < layer.filters:
            drawn[layer.name] = _Sampled(about["rows"], about["constant"], partial(sample.rows, layer.name))
        else:
            read_kernel = partial(_kernel_of_rows, sample, layer)
            tensor = Tensor(layer.name, layer.shape, np.dtype(np.float32), read_kernel)
            tensors[layer.name] = Kernel(tensor, LAYOUTS["HWIO"])
    missing = [layer.name for layer in layers if layer.name not in tensors and layer.name not in drawn]
    here = [layer for layer in layers if layer.name not in missing]
    path, skipped = (whole.path, whole.skipped) if whole else (sample.path, {})
    return Weights(path, here, skipped, tensors, missing, drawn, _note(added, drawn), rounded)


def _kernel_of_rows(sample: samples.Sample, layer: Layer) -> np.ndarray:
    return from_half(sample.rows(layer.name)).T.reshape(layer.shape)


def _note(added: list[Layer], drawn: Mapping[str, _Sampled]) -> str:
    if not added:
        return ""
    which = f"{added[0].name} to {added[-1].name}: as committed with the book, in float16"
    if drawn:
        most, whole = (
            max(counts)
            for counts in zip(*((drawn[layer.name].held, layer.filters) for layer in added if layer.name in drawn))
        )
        which += f"; of each larger layer a seeded sample of {most:,} filters, of up to {whole:,}, of the others all"
    return f"{which}. {_WHOLE}"
