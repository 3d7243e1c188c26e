"""What a weight file may take: the memory of a layer as it is stored, and none for what is packed to become much."""

import gzip
import time
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest
from flax.serialization import to_bytes
from safetensors.numpy import save_file

from topo import filters, inspection, pretrained, tensors
from topo.__main__ import main
from topo.datasets import _idx
from topo.samples import chosen

KERNEL = np.random.default_rng(0).normal(size=(3, 3, 128, 512)).astype(np.float32)
KERNEL[:, :, 5, 100:110] = 0.25


def hdf5(path, **options):
    with h5py.File(path, "w") as file:
        file.create_dataset("conv/kernel:0", data=KERNEL, **options)


WRITERS = {
    "npy": lambda path: np.save(path, KERNEL),
    "npz": lambda path: np.savez(path, conv=KERNEL),
    "packed.npz": lambda path: np.savez_compressed(path, conv=KERNEL),
    "turned.npy": lambda path: np.save(path, np.asfortranarray(KERNEL)),
    "safetensors": lambda path: save_file({"conv": KERNEL}, path),
    "half.safetensors": lambda path: save_file({"conv": KERNEL.astype(np.float16)}, path),
    "h5": hdf5,
    "packed.h5": lambda path: hdf5(path, compression="gzip", compression_opts=1, chunks=(3, 3, 32, 64)),
    "msgpack": lambda path: path.write_bytes(to_bytes({"params": {"conv": {"kernel": KERNEL}}})),
}


def peak_of(work):
    tracemalloc.start()
    result = work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return result, peak


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_sample_takes_the_memory_of_the_layer_and_is_the_same_in_blocks_of_any_size(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"a.{suffix}"
    WRITERS[suffix](path)
    monkeypatch.setattr(filters, "_NUMBERS", 2**15)
    read = lambda: pretrained.read(path, "HWIO").draw(1, 500)
    read()  # what is imported at first is not counted
    drawn, peak = peak_of(read)
    whole = filters.spatial_filters(KERNEL.astype(np.float16).astype(np.float32) if suffix[:4] == "half" else KERNEL)
    varying = whole[filters.varies(whole)]
    assert drawn.constant == 10 and len(varying) == len(whole) - 10
    np.testing.assert_array_equal(drawn.filters, varying[chosen(len(varying), 500)])
    monkeypatch.undo()
    np.testing.assert_array_equal(pretrained.read(path, "HWIO").draw(1).filters, varying)
    stored = KERNEL.nbytes / (2 if suffix[:4] == "half" else 1)
    assert peak < (2.2 if suffix == "msgpack" else 1.5) * stored + 2**20


ZEROS = bytes(2**20)


@pytest.fixture(scope="module")
def bombs(tmp_path_factory):
    """A .keras, an .npz and an HDF5 file of less than a MiB with 200 MiB or more in each."""
    folder, count = tmp_path_factory.mktemp("bombs"), 200
    shape = (3, 3, 128, count * 2**20 // (9 * 128 * 4))
    with zipfile.ZipFile(folder / "a.keras", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("config.json", "{}")
        with archive.open("model.weights.h5", "w") as file:
            for _ in range(count):
                file.write(ZEROS)
    with zipfile.ZipFile(folder / "a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("conv.npy", "w") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
            left = 4 * int(np.prod(shape))
            while left:
                left -= file.write(ZEROS[: min(left, len(ZEROS))])
    with h5py.File(folder / "a.h5", "w") as file:
        options = dict(chunks=(3, 3, 128, 2000), compression="gzip", compression_opts=1)
        data = file.create_dataset("conv/kernel:0", shape, "f4", **options)
        for at in range(0, shape[3], 2000):
            data[:, :, :, at : at + 2000] = 0
    return folder


@pytest.mark.parametrize("suffix", ["keras", "npz", "h5"])
def test_a_small_file_that_unpacks_to_much_ends_in_one_line_at_once(bombs, suffix, capsys, tmp_path):
    path = bombs / f"a.{suffix}"
    assert path.stat().st_size < 2**20
    start = time.process_time()
    status, peak = peak_of(lambda: main(["inspect", str(path), "--layout", "HWIO", "--out", str(tmp_path)]))
    said = capsys.readouterr().err
    assert status == 2 and said.count("\n") == 1 and "more than is unpacked" in said
    assert peak < 20 * 2**20 and time.process_time() - start < 2


def test_a_keras_file_that_is_deflated_is_unpacked_once(tmp_path, monkeypatch):
    hdf5(tmp_path / "inner.h5")
    with zipfile.ZipFile(tmp_path / "a.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "inner.h5", "model.weights.h5")
    weights = pretrained.read(tmp_path / "a.keras")
    monkeypatch.setattr(zipfile, "ZipFile", None)
    np.testing.assert_array_equal(weights.kernel(1), KERNEL)


def test_a_header_of_gigabytes_is_not_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("conv.npy", b"\x93NUMPY\x02\x00" + (40 * 2**20).to_bytes(4, "little") + ZEROS * 40)

    def read():
        with pytest.raises(ValueError, match="truncated or corrupt"):
            pretrained.read(tmp_path / "a.npz")

    assert peak_of(read)[1] < 2**21


def test_want_of_memory_is_a_reason_and_never_called_corrupt(tmp_path, monkeypatch, capsys):
    np.savez(tmp_path / "a.npz", a=KERNEL[:, :, :8, :64], b=KERNEL[:, :, 8:16, :64])

    def read_array(file, allow_pickle):
        np.empty(2**50)

    monkeypatch.setattr(np.lib.format, "read_array", read_array)
    weights = pretrained.read(tmp_path / "a.npz", "HWIO")
    findings = inspection.inspect(weights, draws=1)
    assert [each.row["skipped"] for each in findings] == [f"{tmp_path / 'a.npz'} needs more memory than there is"] * 2
    monkeypatch.setattr(pretrained, "kernels", lambda *arguments: np.empty(2**50))
    assert main(["inspect", str(tmp_path / "a.npz"), "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "topo: this needs more memory than there is\n"


def test_an_idx_file_that_unpacks_to_much_is_refused(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"\0\0\x08\x01\x08\0\0\0" + ZEROS * 128, 1))
    with pytest.raises(ValueError, match="is not an IDX file"):
        _idx(tmp_path / "a.gz")


def test_a_file_is_unpacked_up_to_twice_its_bytes_and_what_is_spared():
    spare = tensors.SPARE * 2**20
    assert tensors.expands(spare + 200, 100) == "" and "more than is unpacked" in tensors.expands(spare + 201, 100)
