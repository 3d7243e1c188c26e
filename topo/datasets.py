"""Data sets: find them, fetch them from their official homes, verify and parse them.

Knows file formats and checksums; must not know about networks or training.
"""
import gzip
import hashlib
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

REPOSITORY = Path(__file__).resolve().parent.parent
CACHE = REPOSITORY / "data" / "cache"


class Dataset(NamedTuple):
    """Images as (n, height, width, channels) uint8, labels as (n,) uint8."""

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


@dataclass(frozen=True)
class RemoteFile:
    """A file of a data set: where it lies below the data folder, and where it comes from.

    sha256: of the content, after decompression where the name ends in .gz (the header of a .gz holds a date).
    """

    path: str
    sha256: str
    urls: tuple

    def digest(self, path):
        """sha256 of the content at `path`. Raises OSError or EOFError where it is no complete gzip file."""
        with (gzip.open if self.path.endswith(".gz") else open)(path, "rb") as stream:
            digest = hashlib.sha256()
            for piece in iter(lambda: stream.read(1 << 20), b""):
                digest.update(piece)
        return digest.hexdigest()


def _mnist(name, sha256):
    homes = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
    return RemoteFile(f"mnist/{name}", sha256, tuple(home + name for home in homes))


def _patches(name, sha256):
    home = "https://raw.githubusercontent.com/appliedtopology/javaplex/master/data/natural_images/"
    return RemoteFile(f"natural_patches/{name}", sha256, (home + name,))


MNIST = {
    "train_images": _mnist("train-images-idx3-ubyte.gz", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    "train_labels": _mnist("train-labels-idx1-ubyte.gz", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    "test_images": _mnist("t10k-images-idx3-ubyte.gz", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    "test_labels": _mnist("t10k-labels-idx1-ubyte.gz", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
}
NATURAL_PATCHES = {
    "n50000": _patches("n50000Dct.mat", "a9bc27a5fc8a1bb44ef97ebb839532f36e5f3cb3d68240e28a659a0b6a6997a7"),
    "X(300,30)": _patches("nk300c30Dct.mat", "ee1adca57b517a6655fe234a4ff0bf5edaddebf4d58d94ebd07f65bd3fa4cb82"),
    "X(15,30)": _patches("nk15c30Dct.mat", "12a49a644d0745b69eb4a921c08c7db2365a41823b0500764be3f1012a7d93fd"),
}

COLLECTIONS = {"mnist": MNIST, "natural-patches": NATURAL_PATCHES}


def folders():
    """The folders searched for data sets, in order: $TOPO_DATA where it is set, then data/cache."""
    chosen = os.environ.get("TOPO_DATA")
    return [Path(chosen).expanduser(), CACHE] if chosen else [CACHE]


def find(file, download=True):
    """Path of a verified RemoteFile: from `folders()`, else downloaded into the first of them.

    Raises FileNotFoundError, saying how to get the file, where it is absent and cannot be downloaded, and
    ValueError where a file that is there has other content than the official one.
    """
    for folder in folders():
        path = folder / file.path
        if path.exists():
            _verify(file, path)
            return path
    if not download:
        raise FileNotFoundError(_how_to_get(file, "downloading is switched off"))
    return fetch(file, folders()[0] / file.path)


def _verify(file, path):
    try:
        found = file.digest(path)
    except (OSError, EOFError) as error:
        raise ValueError(f"{path} cannot be read ({error}); delete it and it will be fetched again") from None
    if found != file.sha256:
        raise ValueError(f"{path} is not the official file: sha256 {found} instead of {file.sha256}; delete it and it will be fetched again")


def _how_to_get(file, reason):
    places = " or ".join(str(folder / file.path) for folder in folders())
    return f"{file.path} is not here and could not be downloaded ({reason}). Get it from {file.urls[0]} and put it at {places}, or set TOPO_DATA to the folder that holds it."


def fetch(file, target, progress=True):
    """Download a RemoteFile to `target`, resuming what an earlier try left, and verify it before it takes its name.

    Returns the path. Raises FileNotFoundError where no home answers, ValueError where the content is wrong.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    reason = "no address"
    for url in file.urls:
        try:
            _download(url, part, progress)
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", error)
            continue
        try:
            _verify(file, part)
        except ValueError:
            part.unlink()
            reason = f"{url} sent other content than the official file"
            continue
        part.replace(target)
        return target
    raise FileNotFoundError(_how_to_get(file, reason))


def _download(url, part, progress):
    from tqdm import tqdm

    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left to send: the part is whole, or longer than the file
            return
        raise
    with response:
        resumed = response.status == 206
        length = response.headers.get("Content-Length")
        total = int(length) + have * resumed if length else None
        with open(part, "ab" if resumed else "wb") as out, tqdm(
            total=total, initial=have * resumed, unit="B", unit_scale=True, desc=part.stem, disable=not progress
        ) as bar:
            for piece in iter(lambda: response.read(1 << 16), b""):
                out.write(piece)
                bar.update(len(piece))
    if total is not None and part.stat().st_size < total:
        raise ConnectionError(f"{url} ended after {part.stat().st_size} of {total} bytes; the same call resumes")


def _idx(path):
    """An array of unsigned bytes out of a gzipped IDX file."""
    raw = gzip.decompress(path.read_bytes())
    if raw[:3] != b"\0\0\x08":
        raise ValueError(f"{path} is not an IDX file of unsigned bytes")
    rank = raw[3]
    shape = np.frombuffer(raw, ">u4", rank, offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def mnist(download=True):
    """MNIST: 60,000 training and 10,000 test images of 28x28 (LeCun, Cortes, Burges).

    Returns a Dataset. Raises as `find` does.
    """
    parts = {name: _idx(find(file, download)) for name, file in MNIST.items()}
    images = {name: part[..., None] if part.ndim == 3 else part for name, part in parts.items()}
    return Dataset("mnist", **images)


def digits():
    """scikit-learn's bundled 8x8 digits, 1,500 for training and 297 for testing: the stand-in that needs no file.

    Returns a Dataset; the 17 gray levels are stretched over 0..255.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.uint8)
    return Dataset("digits", images[:1500], labels[:1500], images[1500:], labels[1500:])


LOADERS = {"mnist": mnist, "digits": digits}


def load(name):
    """The Dataset called `name`: "mnist" or "digits". Raises ValueError for another name."""
    if name not in LOADERS:
        raise ValueError(f"data set {name!r} is not one of {', '.join(LOADERS)}")
    return LOADERS[name]()


def natural_patches(name, download=True):
    """3x3 patches of natural images (Carlsson, Ishkhanov, de Silva, Zomorodian 2008), after van Hateren.

    name: "n50000" (50,000 high-contrast patches), "X(300,30)" or "X(15,30)" (dense cores of 15,000).
    Returns (n, 8) float64: coordinates in the DCT basis of Lee, Pedersen and Mumford 2003.
    Raises ValueError for another name, and as `find` does.
    """
    from scipy.io import loadmat

    if name not in NATURAL_PATCHES:
        raise ValueError(f"natural patches {name!r} are not one of {', '.join(NATURAL_PATCHES)}")
    content = loadmat(find(NATURAL_PATCHES[name], download))
    (points,) = (value for key, value in content.items() if not key.startswith("__"))
    return np.ascontiguousarray(points, float)


PHOTOGRAPHS = ("china", "flower")
_GRAY = (0.2989, 0.5870, 0.1140)  # of red, green and blue
_HIGH_CONTRAST = 5  # one patch in five is kept, as by Lee, Pedersen & Mumford


def photograph(name):
    """One of scikit-learn's two bundled photographs in gray: "china", a temple, or "flower", a dahlia.

    Returns (427, 640) float64 from 0 to 255, as stored. Raises ValueError for another name.
    """
    from sklearn.datasets import load_sample_image

    if name not in PHOTOGRAPHS:
        raise ValueError(f"photograph {name!r} is not one of {', '.join(PHOTOGRAPHS)}")
    return load_sample_image(f"{name}.jpg") @ np.array(_GRAY)


def photograph_patches(n, seed, names=PHOTOGRAPHS):
    """n random 3x3 patches of high contrast out of photographs, as many of each (after Lee, Pedersen & Mumford 2003).

    From each photograph five times as many are drawn, no two from the same place, and the fifth of the largest D-norm
    is kept: |p|_D^2 is the sum of (p_i - p_j)^2 over horizontal and vertical neighbours i, j. Unlike theirs, the gray
    levels stay as they are stored: a photograph's 8 bits are no measurement of light, and their logarithm would
    mostly magnify how the dark ones were rounded.

    n: whole number, at least len(names); seed: int or numpy Generator; names: of `photograph`, without repetition.
    Returns (n, 9) float64 gray levels, read row by row.
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
