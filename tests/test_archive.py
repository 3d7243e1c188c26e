import hashlib
import json

import numpy as np
import pytest

from topo import archive, files, populations
from topo.filters import normalize

NAMES = list(archive.manifest())


@pytest.fixture
def folder(tmp_path):
    kernels = np.random.default_rng(0).normal(size=(3, 3, 3, 1, 4)).astype(np.float32)
    description = {"members": [0, 1, 2], "accuracy": {"5": [0.1, 0.2, 0.3], "9": [0.7, 0.8, 0.9]}}
    archive.write("one", {1: {0: kernels, 9: 2 * kernels}, 2: {9: kernels}}, description, tmp_path)
    return tmp_path


def test_filters_are_network_by_network_slices_of_the_kernels(folder):
    one = archive.load("one", folder)
    kernels, filters = one.kernels(1, 0), one.filters(1, 0)
    assert filters.shape == (12, 9) and filters.dtype == np.float32
    np.testing.assert_array_equal(filters[4 * 2 + 3], kernels[2, :, :, 0, 3].ravel())
    np.testing.assert_allclose(one.filters(), 2 * filters, rtol=2e-3)
    np.testing.assert_array_equal(one.filters(1, 0, networks=2), filters[:8])


def test_an_archive_says_what_it_has(folder):
    one = archive.load("one", folder)
    assert (one.networks, one.layers, one.iterations(1), one.iterations(2)) == (3, [1, 2], [0, 9], [9])
    np.testing.assert_array_equal(one.accuracy(), [0.7, 0.8, 0.9])
    np.testing.assert_array_equal(one.accuracy(5), [0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda one: one.filters(3), r"no layer 3; it has \[1, 2\]"),
        (lambda one: one.filters(2, 0), r"no layer 2 at iteration 0; it has \[9\]"),
        (lambda one: one.filters(1, 0, 4), "networks = 4 must be a whole number from 1 to 3"),
        (lambda one: one.filters(1, 0, 0), "networks = 0"),
        (lambda one: one.accuracy(7), r"it has \[5, 9\]"),
    ],
)
def test_what_an_archive_lacks_is_named(folder, call, words):
    with pytest.raises(ValueError, match=words):
        call(archive.load("one", folder))


def test_unknown_missing_and_changed_archives_are_refused(folder):
    with pytest.raises(FileNotFoundError, match="'two' is not in .*there are: one"):
        archive.load("two", folder)
    path = folder / "one.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="sha256 differs"):
        archive.load("one", folder)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="topo train one"):
        archive.load("one", folder)


def test_what_float16_cannot_hold_is_refused_and_nothing_is_written(folder):
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(ValueError, match="not finite in float16"), np.errstate(over="ignore"):
        archive.write("huge", {1: {0: np.full((1, 3, 3, 1, 1), 1e6, np.float32)}}, {}, folder)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_second_archive_leaves_the_first_in_the_manifest(folder):
    archive.write("zero", {1: {0: np.ones((1, 3, 3, 1, 1), np.float32)}}, {"members": [0], "accuracy": {}}, folder)
    assert list(archive.manifest(folder)) == ["one", "zero"]
    assert not list(folder.glob(".*.part"))


def test_an_interrupted_write_keeps_the_old_content(folder, monkeypatch):
    path = folder / "one.safetensors"
    before = path.read_bytes()

    def fail(descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        files.write_atomically(path, b"half")
    assert path.read_bytes() == before and not list(folder.glob(".*.part"))


@pytest.mark.parametrize("name", NAMES)
def test_committed_archives_are_what_the_manifest_says(name):
    entry = archive.manifest()[name]
    path = archive.DATA / entry["file"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"] and path.stat().st_size == entry["bytes"]
    kept = archive.load(name)
    first = entry["iterations"] if populations.POPULATIONS[name].last_only else 0
    assert kept.iterations(1)[0] == first and kept.iterations(1)[-1] == entry["iterations"]
    assert len(kept.accuracy()) == kept.networks == len(set(entry["members"]))
    assert np.isfinite(kept.filters(1)).all()


def test_the_archives_fit_their_budget():
    files = [path for path in archive.DATA.iterdir() if path.is_file()]
    committed = [
        path for path in archive.DATA.rglob("*") if path.is_file() and archive.DATA / "cache" not in path.parents
    ]
    assert sum(path.stat().st_size for path in committed) <= 48 * 2**20
    assert {path.name for path in files if path.suffix == ".safetensors"} == {
        archive.manifest()[name]["file"] for name in NAMES
    }
    assert json.dumps(archive.manifest())


def test_clouds_are_the_normalised_filters_of_each_network(tmp_path):
    kernels = np.random.default_rng(0).standard_normal((3, 3, 3, 2, 4))
    kernels[1, :, :, 0, 0] = 0.5  # a constant filter, which has no direction
    archive.write("some", {1: {0: kernels}}, {"members": [0, 1, 2], "accuracy": {}}, tmp_path)
    clouds = archive.load("some", tmp_path).clouds(1, 0)
    assert [len(cloud) for cloud in clouds] == [8, 7, 8]
    np.testing.assert_array_equal(np.concatenate(clouds), normalize(archive.load("some", tmp_path).filters(1, 0)))
    assert len(archive.load("some", tmp_path).clouds(1, 0, 2)) == 2
