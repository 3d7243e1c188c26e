import dataclasses
import gzip
import hashlib

import numpy as np
import pytest

from topo import datasets, remote, training
from topo.__main__ import main


def test_records_of_cifar_are_a_label_and_three_planes(tmp_path):
    path = tmp_path / "batch.bin"
    planes = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), np.uint8)
    path.write_bytes(b"".join(bytes([label]) + image.tobytes() for label, image in zip((7, 2), planes)))
    images, labels = datasets._cifar_batch(path)
    assert labels.tolist() == [7, 2] and images.shape == (2, 32, 32, 3)
    np.testing.assert_array_equal(images[1, 5, 6], planes[1, :, 5, 6])


def test_cifar10_is_the_official_one_and_gray_is_its_luma():
    try:
        colour = datasets.cifar10(download=False)
    except FileNotFoundError:
        pytest.skip("CIFAR-10 is not in $TOPO_DATA or data/cache")
    assert colour.train_images.shape == (50_000, 32, 32, 3) and colour.test_images.shape == (10_000, 32, 32, 3)
    assert np.bincount(colour.train_labels).tolist() == [5000] * 10 == (5 * np.bincount(colour.test_labels)).tolist()
    gray = datasets.cifar10_gray(download=False)
    assert gray.train_images.shape == (50_000, 32, 32, 1) and gray.train_images.dtype == np.float32
    expected = colour.train_images[7].astype(float) @ [0.2989, 0.5870, 0.1140]
    np.testing.assert_allclose(gray.train_images[7, ..., 0], expected, rtol=1e-5)


def test_gray_is_0_2989_red_0_5870_green_and_0_1140_blue(tmp_path, monkeypatch):
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30]], np.uint8)
    planes = np.broadcast_to(colours[:, :, None], (4, 3, 1024)).reshape(4, -1)
    records = np.concatenate([np.arange(4, dtype=np.uint8)[:, None], planes], axis=1)
    (tmp_path / "batch.bin").write_bytes(records.tobytes())
    monkeypatch.setattr(datasets, "find", lambda file, download=True: tmp_path / "batch.bin")
    gray = datasets.cifar10_gray()
    assert gray.name == "cifar10-gray" and gray.train_images.shape == (20, 32, 32, 1)
    expected = [0.2989 * 255, 0.5870 * 255, 0.1140 * 255, 0.2989 * 10 + 0.5870 * 20 + 0.1140 * 30]
    for images in (gray.train_images[:4], gray.test_images):
        np.testing.assert_allclose(images, np.broadcast_to(np.reshape(expected, (4, 1, 1, 1)), images.shape), rtol=1e-6)
    assert gray.test_labels.tolist() == [0, 1, 2, 3]


def unreachable(file, target):
    raise FileNotFoundError(file.path)


@pytest.mark.parametrize("name", datasets.SOURCES)
def test_a_stand_in_has_the_shape_and_the_classes_of_its_data_set(name, monkeypatch):
    known, noise = datasets.SOURCES[name], datasets.stand_in(name)
    assert noise.train_images.shape == known.shape and noise.train_images.dtype == known.dtype
    monkeypatch.setattr(remote, "fetch", unreachable)
    try:
        real = datasets.load(name)
    except FileNotFoundError:
        pytest.skip(f"{name} is not in $TOPO_DATA or data/cache")
    assert noise.train_images.shape == real.train_images.shape and noise.train_images.dtype == real.train_images.dtype
    assert noise.train_labels.shape == real.train_labels.shape and set(noise.train_labels) == set(real.train_labels)
    assert noise.classes == real.classes == known.classes


def test_idx_files_are_parsed_and_others_refused(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(b"\0\0\x08\x03" + np.array([2, 3, 4], ">u4").tobytes() + bytes(range(24))))
    np.testing.assert_array_equal(datasets._idx(path), np.arange(24).reshape(2, 3, 4))
    path.write_bytes(gzip.compress(b"\0\0\x0d\x01" + bytes(8)))
    with pytest.raises(ValueError, match="not an IDX file"):
        datasets._idx(path)


def idx(values):
    """An array of unsigned bytes as a gzipped IDX file."""
    shape = np.array(values.shape, ">u4").tobytes()
    return gzip.compress(bytes([0, 0, 8, values.ndim]) + shape + values.astype(np.uint8).tobytes(), mtime=0)


@pytest.fixture
def fashion(tmp_path, monkeypatch):
    """Fashion-MNIST in small: 20 and 10 images of noise in files of the official names; returns their arrays."""
    generator = np.random.default_rng(0)
    parts = {
        f"{part}_{kind}": generator.integers(0, 256 if kind == "images" else 10, (count, *shape), np.uint8)
        for part, count in (("train", 20), ("test", 10))
        for kind, shape in (("images", (28, 28)), ("labels", ()))
    }
    monkeypatch.setattr(remote, "CACHE", tmp_path)
    monkeypatch.delenv("TOPO_DATA", raising=False)
    (tmp_path / "fashion-mnist").mkdir()
    for name, values in parts.items():
        file = datasets.FASHION_MNIST[name]
        (tmp_path / file.path).write_bytes(idx(values))
        digest = hashlib.md5(idx(values), usedforsecurity=False).hexdigest()
        monkeypatch.setitem(datasets.FASHION_MNIST, name, dataclasses.replace(file, checksum=digest))
    return parts


def test_fashion_mnist_comes_out_of_its_four_files(fashion):
    found = datasets.load("fashion-mnist")
    assert found.name == "fashion-mnist" and found.classes == 10
    for name, values in fashion.items():
        np.testing.assert_array_equal(getattr(found, name), values[..., None] if values.ndim == 3 else values)


def test_files_of_fashion_mnist_are_verified_as_they_are_stored(fashion, tmp_path):
    """Its home publishes checksums of the compressed files: the same content, compressed anew, is another file."""
    path = tmp_path / datasets.FASHION_MNIST["test_labels"].path
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content, mtime=1))
    with pytest.raises(ValueError, match="t10k-labels-idx1-ubyte.gz is not the official file: md5"):
        datasets.load("fashion-mnist")


def test_fashion_mnist_is_found_by_the_command_line_and_trained_on(fashion, capsys):
    assert main(["data", "fashion-mnist"]) == 0
    printed = [line.rpartition("fashion-mnist/")[2] for line in capsys.readouterr().out.splitlines()]
    names = ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"]
    assert printed == [f"{name}-ubyte.gz" for name in names]
    trained = training.train_population("M(2,0,4)", 1, 2, dataset="fashion-mnist", batch=8, formulation="fused")
    assert trained.filters().shape == (2, 9) and 0 <= trained.accuracy[2][0] <= 1


def test_without_fashion_mnist_the_error_names_its_official_home(tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "CACHE", tmp_path)
    monkeypatch.delenv("TOPO_DATA", raising=False)
    home = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
    with pytest.raises(FileNotFoundError, match=f"{home}train-images-idx3-ubyte.gz"):
        datasets.fashion_mnist(download=False)


@pytest.mark.parametrize("label", [10, 255, -1, 0.5, np.nan])
@pytest.mark.parametrize("part", ["training", "test"])
def test_labels_outside_the_classes_are_named(label, part):
    digits = datasets.digits()
    field = "train_labels" if part == "training" else "test_labels"
    labels = getattr(digits, field).astype(float if label % 1 else int)
    labels[7] = label
    message = f"label {label} among the {part} labels of data set 'digits' is not allowed: it has 10 classes, 0 to 9"
    with pytest.raises(ValueError, match=message):
        datasets.check_labels(digits._replace(**{field: labels}))
    with pytest.raises(ValueError, match="classes = 0 must be a whole number, 1 or more"):
        datasets.check_labels(digits._replace(classes=0))


def test_every_source_is_a_data_set_to_train_on_and_its_files_can_be_had():
    for name, known in datasets.SOURCES.items():
        assert len(known.shape) == 4 and known.classes >= 2
        assert (name in datasets.COLLECTIONS) == bool(known.files)
        assert all(file.urls or file.archive.urls for file in known.files.values())


def test_digits_need_no_file():
    digits = datasets.digits()
    assert digits.train_images.shape == (1500, 8, 8, 1) and digits.test_images.shape == (297, 8, 8, 1)
    assert (
        digits.train_images.dtype == np.uint8
        and digits.train_images.max() == 255
        and set(digits.test_labels) == set(range(10))
    )


def test_mnist_is_the_official_one():
    try:
        mnist = datasets.mnist(download=False)
    except FileNotFoundError:
        pytest.skip("MNIST is not in $TOPO_DATA or data/cache")
    assert mnist.train_images.shape == (60_000, 28, 28, 1) and mnist.test_images.shape == (10_000, 28, 28, 1)
    assert np.bincount(mnist.train_labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="'cifar' is not one of mnist, fashion-mnist, digits"):
        datasets.load("cifar")
    with pytest.raises(ValueError, match="not one of n50000"):
        datasets.natural_patches("X(1,1)", download=False)


def test_natural_patches_are_the_books_copy_unless_the_published_file_is_here_or_asked_for(monkeypatch):
    published = {name: datasets.natural_patches(name) for name in datasets.NATURAL_PATCHES}
    here = {datasets.natural_patches_origin(name) for name in published} == {datasets.PUBLISHED}
    monkeypatch.setenv("TOPO_DATA", "/nonexistent")
    monkeypatch.setattr(remote, "CACHE", remote.Path("/nonexistent"))
    monkeypatch.setattr(remote, "fetch", unreachable)
    for name, size in zip(datasets.NATURAL_PATCHES, (50_000, 15_000, 15_000)):
        copy = datasets.natural_patches(name)
        assert copy.shape == (size, 8) and copy.dtype == float
        assert datasets.natural_patches_origin(name) == datasets.COPY
        np.testing.assert_allclose(copy, published[name], atol=3e-4)
        assert not here or not np.array_equal(copy, published[name])
        with pytest.raises(FileNotFoundError, match="natural_patches/"):
            datasets.natural_patches(name, download=True)


def test_patches_of_photographs_are_windows_of_high_contrast():
    patches = datasets.photograph_patches(101, 3)
    assert patches.shape == (101, 9)
    np.testing.assert_array_equal(patches, datasets.photograph_patches(101, 3))
    assert not np.array_equal(patches, datasets.photograph_patches(101, 4))
    for name, part in zip(datasets.PHOTOGRAPHS, (patches[:50], patches[50:])):
        windows = np.lib.stride_tricks.sliding_window_view(datasets.photograph(name), (3, 3)).reshape(-1, 9)
        assert {tuple(patch) for patch in part} <= {tuple(window) for window in windows}
        contrast, all_contrast = (np.linalg.norm(x - x.mean(axis=1, keepdims=True), axis=1) for x in (part, windows))
        assert np.median(contrast) > np.quantile(all_contrast, 0.8)


def test_the_contrast_of_a_patch_is_its_d_norm(monkeypatch):
    """A bright pixel has 4 neighbours in the middle of a patch, 3 at a side, 2 in a corner; it has norm one."""
    picture = np.zeros((6, 7))
    picture[2, 3] = 9
    monkeypatch.setattr(datasets, "photograph", lambda name: picture)
    brightest = datasets.photograph_patches(4, 0, ["china"]).argmax(axis=1)  # four of all twenty
    assert 4 in brightest and set(brightest) <= {1, 3, 4, 5, 7}


@pytest.mark.parametrize("n", [1, 10**6])
def test_more_patches_than_photographs_have_are_refused(n):
    with pytest.raises(ValueError, match=f"n = {n} patches must be from 2 to 108460 for china, flower"):
        datasets.photograph_patches(n, 0)


def test_unknown_and_repeated_photographs_are_refused():
    with pytest.raises(ValueError, match="'dog' is not one of china, flower"):
        datasets.photograph_patches(10, 0, ["dog"])
    for names in ([], ["china", "china"]):
        with pytest.raises(ValueError, match="different photographs"):
            datasets.photograph_patches(10, 0, names)
