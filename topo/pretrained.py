"""Kernels of trained networks out of weight files, layer by layer: Keras .h5 and .keras, safetensors and NumPy .npz.

Knows file formats, layouts and the layers of VGG; must not know what is done with the filters.
"""

import io
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from topo import archive, datasets, remote
from topo.types import Whole

Shape = tuple[int, int, int, int]

MOST = 31  # the largest height or width of a kernel: larger axes are channels
_LAYER_BYTES = 4 * 2**30  # the largest single layer that is read
_PICKLES = (".pth", ".pt", ".pkl", ".pickle", ".ckpt", ".joblib")


class Layer(NamedTuple):
    """A convolutional layer of a weight file: `shape` is that of its kernel, (h, w, in, out)."""

    name: str
    shape: Shape

    @property
    def filters(self) -> int:
        """How many spatial filters it has."""
        return self.shape[2] * self.shape[3]


class _Tensor(NamedTuple):
    """An array of a file that is not read yet: read() returns it."""

    key: str
    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], Any]


class Weights:
    """The convolutional layers of a weight file, in the network's order; kernels are read when they are asked for.

    skipped: {name: why} of the arrays with four axes that are no kernels one can use; missing: names of the layers that
    the network has and the file has not, where the network is known.
    """

    def __init__(
        self,
        path: Path,
        layers: list[Layer],
        skipped: dict[str, str],
        tensors: Mapping[str, tuple[_Tensor, Shape]],
        missing: Iterable[str] = (),
    ) -> None:
        self.path, self.layers, self.skipped, self.missing = path, layers, skipped, list(missing)
        self._tensors = tensors

    def __repr__(self) -> str:
        counts = f"{len(self.layers)} convolutional layers, {len(self.skipped)} arrays skipped"
        return f"<Weights {self.path.name}: {counts}>"

    def layer(self, layer: str | Whole) -> Layer:
        """The Layer of that name, or of that number from 1. Raises ValueError for one that is not there."""
        for number, known in enumerate(self.layers, 1):
            if layer == known.name or (layer == number and not isinstance(layer, bool)):
                return known
        names = ", ".join(known.name for known in self.layers)
        raise ValueError(f"{self.path} has no layer {layer!r}; it has {len(self.layers)}: {names}")

    def kernel(self, layer: str | Whole) -> Float32[np.ndarray, "height width inputs outputs"]:
        """The kernel of a layer. layer: its name, or its number from 1.

        Raises ValueError for a layer that is not there, that is corrupt, or that holds NaN or infinity.
        """
        name = self.layer(layer).name
        tensor, axes = self._tensors[name]
        with _parsing(self.path):
            kernel = np.ascontiguousarray(np.transpose(np.asarray(tensor.read()), axes), np.float32)
        if not np.isfinite(kernel).all():
            bad = np.count_nonzero(~np.isfinite(kernel))
            raise ValueError(f"{self.path}: {bad} weights of layer {name} are NaN or infinite")
        return kernel


class _Refused(ValueError):
    """A file that is not read. The message names it and says why."""


@contextmanager
def _parsing(path: Path) -> Iterator[None]:
    """Turn whatever a parser raises over a broken file into one error."""
    try:
        yield
    except _Refused:
        raise
    except Exception as error:
        raise _Refused(f"{path} cannot be read: {' '.join(str(error).split())}; it is truncated or corrupt") from None


# Which axes of an array are the kernel's (h, w, in, out).
LAYOUTS: dict[str, Shape] = {"HWIO": (0, 1, 2, 3), "OIHW": (2, 3, 1, 0)}


def read(path: str | Path, layout: str | None = None) -> Weights:
    """The convolutional layers of a weight file.

    The content tells the format: HDF5 as Keras writes it, alone (.h5) or in a .keras, safetensors, or .npz. Arrays with
    four axes are kernels. Two layouts are in use: (h, w, in, out), as in Keras and Flax, and (out, in, h, w), as in
    PyTorch. A kernel is at most 31 high and wide. Where this allows both layouts, an array has the one in which its
    kernels are square, and where that does not decide either, the one that is usual in the format.

    layout: "HWIO" or "OIHW" for all arrays, or None to tell each by its shape.
    Raises FileNotFoundError, and ValueError for another layout, a folder, a pickle, a file that is truncated or of
    another format, one that declares more than it can hold, or one without any convolution.
    """
    if layout is not None and layout not in LAYOUTS:
        raise ValueError(f"layout = {layout!r} is not allowed: 'HWIO', 'OIHW' or None")
    path = Path(path).expanduser()
    if path.is_dir():
        raise ValueError(f"{path} is a folder, not a weight file")
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there")
    with open(path, "rb") as file:
        magic = file.read(9)
    reader, own = _format(path, magic)
    tensors: dict[str, tuple[_Tensor, Shape]] = {}
    skipped: dict[str, str] = {}
    with _parsing(path):
        every = [tensor for tensor in reader(path) if len(tensor.shape) == 4]
    names = _names([tensor.key for tensor in every])
    for name, tensor in zip(names, every):
        reading, why = _layout(tensor, layout, own, path)
        if reading:
            tensors[name] = tensor, LAYOUTS[reading]
        else:
            skipped[name] = why
    if not tensors:
        others = "; ".join(f"{name}: {why}" for name, why in skipped.items()) or "no array has four axes"
        raise ValueError(f"{path} holds no convolution ({others})")
    layers = [Layer(name, _reordered(tensor.shape, axes)) for name, (tensor, axes) in tensors.items()]
    return Weights(path, layers, skipped, tensors)


def _reordered(shape: tuple[int, ...], axes: Shape) -> Shape:
    height, width, inputs, outputs = (shape[axis] for axis in axes)
    return height, width, inputs, outputs


def _format(path: Path, magic: bytes) -> tuple[Callable[[Path], list[_Tensor]], str]:
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


def _pickle(path: Path) -> _Refused:
    stem = Path(path.name).stem
    convert = (
        f'python -c "import torch, safetensors.torch as s; s.save_file({{k: v.contiguous() for k, v in '
        f"torch.load('{path.name}', weights_only=True).items()}}, '{stem}.safetensors')\""
    )
    danger = "which may run any code when it is read, and is never read here"
    return _Refused(f"{path} is a pickle, {danger}. Convert it: {convert}")


def _layout(tensor: _Tensor, wanted: str | None, own: str, path: Path) -> tuple[str | None, str]:
    """Which order the axes have, "HWIO" or "OIHW"; otherwise None and why the array is no kernel."""
    if tensor.dtype.kind != "f":
        return None, f"{tensor.dtype} is no type of weights"
    if 0 in tensor.shape:
        return None, f"shape {tensor.shape} is empty"
    size = np.prod(tensor.shape, dtype=object) * tensor.dtype.itemsize
    if size > _LAYER_BYTES:
        raise ValueError(
            f"{path} declares {tensor.key} of shape {tensor.shape}, {size / 2**30:.0f} GiB, "
            f"more than the {_LAYER_BYTES / 2**30:.0f} GiB that are read"
        )
    spatial = {name: [tensor.shape[axis] for axis in axes[:2]] for name, axes in LAYOUTS.items()}
    fitting = [name for name in (own, *LAYOUTS) if max(spatial[name]) <= MOST]
    if wanted:
        why = f"shape {tensor.shape} is no {wanted} kernel of at most {MOST} x {MOST}"
        return (wanted, "") if wanted in fitting else (None, why)
    fitting.sort(key=lambda name: spatial[name][0] != spatial[name][1])  # stable: the format's own first among equals
    return (fitting[0], "") if fitting else (None, f"shape {tensor.shape} is no kernel of at most {MOST} x {MOST}")


def _natural(key: str) -> list[tuple[int, str]]:
    """A key that sorts conv2 before conv10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", key)]


_SCAFFOLDING = re.compile(
    r"^(model_weights|layers|params|vars|weight|weights|kernel|depthwise_kernel|kernel:0|.*_W(_1)?:0|\d+)$"
)


def _names(keys: list[str]) -> list[str]:
    """Short names of layers, such as block1_conv1, out of keys such as block1_conv1/block1_conv1_W_1:0."""

    def short(key: str) -> str:
        if "/" not in key:
            return re.sub(r"\.(weight|kernel)$", "", key)
        parts = [part for part in key.split("/") if not _SCAFFOLDING.match(part)]
        return "/".join(dict.fromkeys(parts)) or key

    names = [short(key) for key in keys]
    return names if len(set(names)) == len(names) else keys


def _read_safetensors(path: Path) -> list[_Tensor]:
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
    return [_Tensor(key, shapes[key], dtype, partial(read, key)) for key, dtype in dtypes.items()]


_IN_KERAS = "model.weights.h5"  # what a .keras, a zip file, holds its arrays in


def _read_zip(path: Path) -> list[_Tensor]:
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


def _npy_header(archive: zipfile.ZipFile, name: str, path: Path, read: Callable[[str], np.ndarray]) -> _Tensor:
    key = name.removesuffix(".npy")
    with archive.open(name) as file:
        major, _ = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
        held = archive.getinfo(name).file_size - file.tell()
    if not dtype.hasobject and np.prod(shape, dtype=object) * dtype.itemsize != held:
        claim = f"{key} declares shape {shape} of {dtype}, but holds {held} bytes"
        raise _Refused(f"{path}: {claim}; it is truncated or corrupt")
    return _Tensor(key, shape, dtype, partial(read, key))


def _hdf5_file(path: Path | IO[bytes] | io.BufferedIOBase) -> Any:
    import h5py

    return h5py.File(path, "r")


@contextmanager
def _keras_file(path: Path) -> Iterator[Any]:
    with zipfile.ZipFile(path) as archive, archive.open(_IN_KERAS) as member, _hdf5_file(member) as file:
        yield file


def _read_hdf5(path: Path, opened: Callable[[Path], AbstractContextManager[Any]] = _hdf5_file) -> list[_Tensor]:
    import h5py

    def read(key: str) -> np.ndarray:
        with opened(path) as file:
            return file[key][()]

    tensors: list[_Tensor] = []

    def visit(key: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or "optimizer" in key.split("/")[0]:
            return
        if item.external or item.is_virtual:
            raise _Refused(f"{path}: {key} is kept in another file, which is not followed")
        size = np.prod(item.shape or (), dtype=object) * item.dtype.itemsize
        held = item.id.get_storage_size()
        if item.dtype.kind == "f" and size > 1100 * max(1, held):  # deflate shrinks by 1,032 at most
            claim = f"{key} declares shape {item.shape}, but holds {held} bytes"
            raise _Refused(f"{path}: {claim}; it is truncated or corrupt")
        tensors.append(_Tensor(key, item.shape or (), item.dtype, partial(read, key)))

    with opened(path) as file:
        file.visititems(visit)
        root = file["model_weights"] if "model_weights" in file else file
        order = [name.decode() if isinstance(name, bytes) else str(name) for name in root.attrs.get("layer_names", ())]
    place = {name: i for i, name in enumerate(order)}

    def first(tensor: _Tensor) -> tuple[int, list[tuple[int, str]]]:
        parts = tensor.key.removeprefix("model_weights/").split("/")
        return place.get(parts[0], len(place)), _natural(tensor.key)

    return sorted(tensors, key=first)


def obtain(name: str, iteration: Whole | None = None, folder: str | Path = ".") -> Weights:
    """The Weights called `name`: those of VGG ("vgg16", "vgg19"), of an archive of the book, or of a file at that path.

    Of an archive, the first network is taken, at that iteration, or at the last that was kept of each layer. A relative
    path starts from `folder`.
    Raises ValueError where an iteration is given for anything else, or one that was not kept of every layer, and as
    `vgg`, `topo.archive.load` and `read` do.
    """
    if name not in datasets.VGG and name in archive.manifest():
        return _of_archive(archive.load(name), iteration)
    if iteration is not None:
        raise ValueError(f"iteration = {iteration!r}, but {name!r} is no archive of the book and has no iterations")
    return vgg(name) if name in datasets.VGG else read(Path(folder, Path(name).expanduser()))


def _of_archive(population: archive.Archive, iteration: Whole | None) -> Weights:
    tensors: dict[str, tuple[_Tensor, Shape]] = {}
    for number in population.layers:
        kernel = population.kernels(number, iteration, 1)[0]
        tensor = _Tensor(f"layer{number}", kernel.shape, kernel.dtype, partial(np.asarray, kernel))
        tensors[tensor.key] = tensor, LAYOUTS["HWIO"]
    layers = [Layer(name, _reordered(tensor.shape, axes)) for name, (tensor, axes) in tensors.items()]
    return Weights(Path(population.name), layers, {}, tensors)


# ImageNet

_WIDTHS = (64, 128, 256, 512, 512)
_BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}


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


def vgg(name: str, download: bool = True) -> Weights:
    """The weights of VGG16 or VGG19 for ImageNet without their dense layers, ported from its authors' Caffe weights.

    The official file is looked for where data sets are. Where it is not, a file vgg/NAME_*layers*.h5 that holds only
    some layers is used for those, and `missing` names the others; where there is no such file either, the official one
    is fetched.

    name: "vgg16" or "vgg19"; download: whether the official file may be fetched.
    Raises FileNotFoundError, saying how to get the file, where there is none, and ValueError for another name, or a
    file with other layers than the network has.
    """
    layers = vgg_layers(name)
    parts = [path for folder in remote.folders() for path in sorted((folder / "vgg").glob(f"{name}_*layers*.h5"))]
    try:
        path = remote.find(datasets.VGG[name], download and not parts)
    except FileNotFoundError:
        if not parts:
            raise
        path = parts[0]
    weights = read(path, "HWIO")
    known = {layer.name: layer for layer in layers}
    for layer in weights.layers:
        if known.get(layer.name) != layer:
            expected = f"there of shape {known[layer.name].shape}" if layer.name in known else "not there"
            raise ValueError(f"{path} has a layer {layer.name} of shape {layer.shape}, which in {name} is {expected}")
    weights.missing = [layer.name for layer in layers if layer not in weights.layers]
    return weights
