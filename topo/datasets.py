"""Data sets: which files they have, what is in them, how they are parsed.

Knows file formats, checksums and classes; must not know about networks or training, nor how a file is fetched.
"""

import gzip
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from topo import samples
from topo.checks import check_whole
from topo.remote import PackedFile, RemoteFile, find
from topo.types import Real, Seed, Whole

_GRAY = (0.2989, 0.5870, 0.1140)  # of red, green and blue; MATLAB's and TensorFlow's


class Dataset(NamedTuple):
    """Images whose values lie from 0 to 255, uint8 or float32, and their labels, which are numbers of classes.

    classes: how many there are; a label is a whole number from 0 to classes - 1. A network has as many outputs.
    """

    name: str
    train_images: Real[np.ndarray, "images height width channels"]
    train_labels: UInt8[np.ndarray, "images"]
    test_images: Real[np.ndarray, "tests height width channels"]
    test_labels: UInt8[np.ndarray, "tests"]
    classes: int = 10


def check_labels(data: Dataset) -> None:
    """Raise ValueError where a label of `data`, of training or testing, is no whole number from 0 to classes - 1.

    Raises TypeError or ValueError where `classes` is no whole number above 0.
    """
    check_whole(data.classes, "classes", 1)
    for part, labels in (("training", data.train_labels), ("test", data.test_labels)):
        outside = np.asarray(labels)[~np.isin(labels, np.arange(data.classes))]
        if len(outside):
            raise ValueError(
                f"label {outside[0]} among the {part} labels of data set {data.name!r} is not allowed: "
                f"it has {data.classes} classes, 0 to {data.classes - 1}"
            )


def _mnist(name: str, sha256: str, size: int) -> RemoteFile:
    homes = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
    return RemoteFile(f"mnist/{name}", sha256, tuple(home + name for home in homes), size=size)


def _fashion_mnist(name: str, md5: str, size: int) -> RemoteFile:
    homes = (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    )
    urls = tuple(home + name for home in homes)
    return RemoteFile(f"fashion-mnist/{name}", md5, urls, "md5", compressed=True, size=size)


def _patches(name: str, sha256: str, size: int) -> RemoteFile:
    home = "https://raw.githubusercontent.com/appliedtopology/javaplex/master/data/natural_images/"
    return RemoteFile(f"natural_patches/{name}", sha256, (home + name,), size=size)


_MNIST_FILES = {  # {name: (checksum, size)}
    "train-images-idx3-ubyte.gz": ("ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db", 9_912_422),
    "train-labels-idx1-ubyte.gz": ("65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5", 28_881),
    "t10k-images-idx3-ubyte.gz": ("0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7", 1_648_877),
    "t10k-labels-idx1-ubyte.gz": ("ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2", 4542),
}
MNIST = {
    part: _mnist(name, *known)
    for part, (name, known) in zip(("train_images", "train_labels", "test_images", "test_labels"), _MNIST_FILES.items())
}
FASHION_MNIST = {
    "train_images": _fashion_mnist("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26_421_880),
    "train_labels": _fashion_mnist("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe", 29_515),
    "test_images": _fashion_mnist("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79", 4_422_102),
    "test_labels": _fashion_mnist("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310", 5148),
}
NATURAL_PATCHES = {
    name: _patches(file, checksum, size)
    for name, file, checksum, size in (
        ("n50000", "n50000Dct.mat", "a9bc27a5fc8a1bb44ef97ebb839532f36e5f3cb3d68240e28a659a0b6a6997a7", 3_068_427),
        ("X(300,30)", "nk300c30Dct.mat", "ee1adca57b517a6655fe234a4ff0bf5edaddebf4d58d94ebd07f65bd3fa4cb82", 919_320),
        ("X(15,30)", "nk15c30Dct.mat", "12a49a644d0745b69eb4a921c08c7db2365a41823b0500764be3f1012a7d93fd", 919_815),
    )
}
_CIFAR10_ARCHIVE = RemoteFile(
    "cifar-10-binary.tar.gz",
    "c32a1d4ab5d03f1284b67883e8d87530",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
    "md5",
    size=170_052_171,
)
_CIFAR10_RECORD = 1 + 3 * 32 * 32
_CIFAR10_CHECKSUMS = {
    "data_batch_1": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
}
CIFAR10 = {
    # Of the test batch the labels are checked: its images only lend an accuracy, and the archive's own checksum
    # vouches for those that are downloaded.
    name: PackedFile(
        f"cifar-10-batches-bin/{name}.bin",
        checksum,
        archive=_CIFAR10_ARCHIVE,
        record=_CIFAR10_RECORD * (name == "test_batch"),
    )
    for name, checksum in _CIFAR10_CHECKSUMS.items()
}


def _vgg(name: str, md5: str, size: int) -> RemoteFile:
    file = f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    home = f"https://storage.googleapis.com/tensorflow/keras-applications/{name}/"
    return RemoteFile(f"vgg/{file}", md5, (home + file,), "md5", size=size)


VGG = {  # trained on ImageNet, without their dense layers
    "vgg16": _vgg("vgg16", "6d6bbae143d832006294945121d1f1fc", 58_889_256),
    "vgg19": _vgg("vgg19", "253f8cb515780f3b799900260a226db6", 80_134_624),
}


_LARGEST_IDX = 2**26  # bytes; MNIST's largest file has 47 million


def _idx(path: Path) -> UInt8[np.ndarray, "..."]:
    """An array of unsigned bytes out of a gzipped IDX file."""
    try:
        with gzip.open(path) as file:
            raw = file.read(_LARGEST_IDX + 1)
    except (EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be unpacked ({error})") from None
    whole = len(raw) >= 4 and len(raw) >= 4 + 4 * raw[3]
    if raw[:3] != b"\0\0\x08" or not whole or len(raw) > _LARGEST_IDX:
        raise ValueError(f"{path} is not an IDX file of unsigned bytes")
    rank = raw[3]
    shape = np.frombuffer(raw, ">u4", rank, offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def mnist(download: bool = True) -> Dataset:
    """MNIST: 60,000 training and 10,000 test images of 28x28 (LeCun, Cortes, Burges).

    download, errors: as for `topo.remote.find`.
    """
    return _idx_dataset("mnist", MNIST, download)


def fashion_mnist(download: bool = True) -> Dataset:
    """Fashion-MNIST: 60,000 training and 10,000 test images of 28x28, ten kinds of clothes (Xiao et al. 2017).

    download, errors: as for `topo.remote.find`.
    """
    return _idx_dataset("fashion-mnist", FASHION_MNIST, download)


def _idx_dataset(name: str, files: Mapping[str, RemoteFile], download: bool) -> Dataset:
    """A Dataset of gray images out of four IDX files; files: {field of Dataset: RemoteFile}."""
    parts = {part: _idx(find(file, download)) for part, file in files.items()}
    train, test = (parts[part][..., None] for part in ("train_images", "test_images"))
    return Dataset(name, train, parts["train_labels"], test, parts["test_labels"])


def digits() -> Dataset:
    """scikit-learn's bundled 8x8 digits, 1,500 for training and 297 for testing: the stand-in that needs no file.

    The 17 gray levels are stretched over 0..255.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.uint8)
    return Dataset("digits", images[:1500], labels[:1500], images[1500:], labels[1500:])


def cifar10(download: bool = True) -> Dataset:
    """CIFAR-10: 50,000 training and 10,000 test images of 32x32 in colour (Krizhevsky 2009), from the binary version.

    download, errors: as for `topo.remote.find`.
    """
    batches = [_cifar_batch(find(CIFAR10[name], download)) for name in CIFAR10]
    images, labels = (np.concatenate(parts) for parts in zip(*batches[:-1]))
    return Dataset("cifar10", images, labels, *batches[-1])


def _cifar_batch(path: Path) -> tuple[UInt8[np.ndarray, "images 32 32 3"], UInt8[np.ndarray, "images"]]:
    """Images and labels out of a file of the binary version: a label's byte, then red, green and blue planes."""
    records = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    return records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), records[:, 0]


def gray(images: Real[np.ndarray, "images height width 3"]) -> Float32[np.ndarray, "images height width 1"]:
    """Colour images in gray: 0.2989 red + 0.5870 green + 0.1140 blue, not rounded."""
    return (images @ np.array(_GRAY, np.float32))[..., None]


def cifar10_gray(download: bool = True) -> Dataset:
    """CIFAR-10 in gray, see `gray` (section 5.2.1). The images are float32.

    download, errors: as for `topo.remote.find`.
    """
    colour = cifar10(download)
    train, test = (gray(images) for images in (colour.train_images, colour.test_images))
    return Dataset("cifar10-gray", train, colour.train_labels, test, colour.test_labels)


@dataclass(frozen=True)
class Source:
    """A data set of images: how it is loaded, and what is known of it before its files are there.

    load: function without arguments that returns its Dataset; shape: of the training images, (count, height, width,
    channels); dtype: of the images; classes: how many, the labels are 0 to classes - 1;
    files: {name: RemoteFile}, what `.venv/bin/python -m topo data` finds or fetches for it.
    """

    load: Callable[[], Dataset]
    shape: tuple[int, int, int, int]
    dtype: type = np.uint8
    classes: int = 10
    files: Mapping[str, RemoteFile] = field(default_factory=dict)


# Adding a data set is one entry here; CONTRIBUTING.md has the steps.
SOURCES = {
    "mnist": Source(mnist, (60_000, 28, 28, 1), files=MNIST),
    "fashion-mnist": Source(fashion_mnist, (60_000, 28, 28, 1), files=FASHION_MNIST),
    "digits": Source(digits, (1500, 8, 8, 1)),
    "cifar10": Source(cifar10, (50_000, 32, 32, 3), files=CIFAR10),
    "cifar10-gray": Source(cifar10_gray, (50_000, 32, 32, 1), np.float32),  # of the files of cifar10
}
# What `.venv/bin/python -m topo data` finds or fetches: {name: {part: RemoteFile}}.
COLLECTIONS: dict[str, Mapping[str, RemoteFile]] = {
    **{name: each.files for name, each in SOURCES.items() if each.files},
    "natural-patches": NATURAL_PATCHES,
    "vgg": VGG,
}


def source(name: str) -> Source:
    """The Source called `name`, one of SOURCES. Raises ValueError for another name."""
    if name not in SOURCES:
        raise ValueError(f"data set {name!r} is not one of {', '.join(SOURCES)}")
    return SOURCES[name]


def load(name: str) -> Dataset:
    """The Dataset called `name`, one of SOURCES.

    Raises ValueError for another name or where a label is none of the classes, and as `topo.remote.find` does.
    """
    known = source(name)
    data = known.load()._replace(classes=known.classes)
    check_labels(data)
    return data


def stand_in(name: str) -> Dataset:
    """Noise in the shape and the dtype of the training images of a data set, to measure times without its files.

    500 random images are repeated; the test images are these 500. It has as many classes as the data set called `name`.
    Raises ValueError for a name that is not in SOURCES.
    """
    known = source(name)
    count, *shape = known.shape
    generator = np.random.default_rng(0)
    images: np.ndarray = np.resize(generator.integers(0, 256, (500, *shape)).astype(known.dtype), (count, *shape))
    labels = np.resize(generator.integers(0, known.classes, 500).astype(np.uint8), count)
    return Dataset(name, images, labels, images[:500], labels[:500], known.classes)


def natural_patches(name: str, download: bool = False) -> Float64[np.ndarray, "points 8"]:
    """3x3 patches of natural images (Carlsson, Ishkhanov, de Silva & Zomorodian 2008), of van Hateren's photographs.

    They are read from the published file where it is at hand, otherwise from the book's copy of it in float16.
    name: "n50000" (50,000 high-contrast patches), "X(300,30)" or "X(15,30)" (dense cores of 15,000).
    download: whether to fetch the published file where it is not at hand.
    Returns coordinates in the DCT basis of Lee, Pedersen and Mumford 2003, see `topo.spaces.dct_basis`.
    Raises ValueError for another name, and as `topo.remote.find` does.
    """
    if not download and natural_patches_origin(name) == COPY:
        return samples.load(PATCHES_SAMPLE).rows(name).astype(float)
    from scipy.io import loadmat

    content = loadmat(find(NATURAL_PATCHES[name], download))
    (points,) = (value for key, value in content.items() if not key.startswith("__"))
    return np.ascontiguousarray(points, float)


PUBLISHED, COPY = "published file", "book's copy, in float16"
PATCHES_SAMPLE = "natural-patches"  # what `topo.samples` calls the book's copy


def natural_patches_origin(name: str) -> str:
    """Where `natural_patches` reads a set from without fetching: PUBLISHED or COPY. Raises ValueError as it does."""
    if name not in NATURAL_PATCHES:
        raise ValueError(f"natural patches {name!r} are not one of {', '.join(NATURAL_PATCHES)}")
    try:
        find(NATURAL_PATCHES[name], download=False)
    except FileNotFoundError:
        return COPY
    return PUBLISHED


PHOTOGRAPHS = ("china", "flower")
_HIGH_CONTRAST = 5  # one patch in five is kept, as by Lee, Pedersen & Mumford


def photograph(name: str) -> Float64[np.ndarray, "427 640"]:
    """One of scikit-learn's two bundled photographs in gray: "china", a temple, or "flower", a dahlia.

    Returns values from 0 to 255, as stored. Raises ValueError for another name.
    """
    from sklearn.datasets import load_sample_image

    if name not in PHOTOGRAPHS:
        raise ValueError(f"photograph {name!r} is not one of {', '.join(PHOTOGRAPHS)}")
    return load_sample_image(f"{name}.jpg") @ np.array(_GRAY)


def photograph_patches(n: Whole, seed: Seed, names: Sequence[str] = PHOTOGRAPHS) -> Float64[np.ndarray, "points 9"]:
    """n random 3x3 patches of high contrast out of photographs, shared evenly (after Lee, Pedersen & Mumford 2003).

    From each photograph five times its share are drawn, no two from the same place, and the fifth of the largest D-norm
    is kept: |p|_D^2 is the sum of (p_i - p_j)^2 over horizontal and vertical neighbours i, j. Unlike theirs, the gray
    levels stay as they are stored: a photograph's 8 bits are no measurement of light, and their logarithm would
    mostly magnify how the dark ones were rounded.

    n: at least len(names); names: of `photograph`, without repetition.
    Returns gray levels, read row by row.
    Raises ValueError for other names or for an n that the photographs are too few or too small for.
    """
    names = list(names)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"names = {names!r} must be different photographs, at least one")
    windows = {
        name: np.lib.stride_tricks.sliding_window_view(photograph(name), (3, 3)).reshape(-1, 3, 3) for name in names
    }
    most = len(names) * min(len(patches) // _HIGH_CONTRAST for patches in windows.values())
    if not len(names) <= n <= most:
        raise ValueError(f"n = {n} patches must be from {len(names)} to {most} for {', '.join(names)}")
    generator = np.random.default_rng(seed)
    kept = []
    for i, patches in enumerate(windows.values()):
        share = (n + i) // len(names)
        drawn = patches[generator.choice(len(patches), _HIGH_CONTRAST * share, replace=False)]
        contrast = (np.diff(drawn, axis=1) ** 2).sum((1, 2)) + (np.diff(drawn, axis=2) ** 2).sum((1, 2))
        highest = np.argsort(-contrast, kind="stable")[:share]
        kept.append(drawn[np.sort(highest)].reshape(-1, 9))
    return np.concatenate(kept)
