"""A few inputs of each kind that `make fuzz` makes at random, and faults that it found."""

import gzip
import json
import zipfile

import fuzzing
import numpy as np
import pytest

from topo import inventory, keras, parameters, pretrained
from topo.tensors import Tensor, natural

KINDS = fuzzing.targets()


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_at_random_are_read_or_refused_in_one_line(kind, tmp_path):
    counts = fuzzing.run(*KINDS[kind], tmp_path / "case", 40)
    assert sum(counts.values()) >= 30


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("weights: ")])
def test_files_that_are_not_changed_are_read(kind, tmp_path):
    name = kind.removeprefix("weights: ")
    for content in fuzzing.seeds().get(name, ()):
        expected = "refused" if name == "pth" else "read"
        assert fuzzing.tried(KINDS[kind][1], content, tmp_path / "case") == expected


@pytest.mark.parametrize("harm", ["long", "large", "two lines", "another error"])
def test_what_is_not_allowed_is_found_out(harm, tmp_path, monkeypatch):
    def check(case, path):
        if harm == "long":
            while True:
                pass
        if harm == "large":
            assert bytes(200 * 2**20).count(1) == 0
        if harm == "two lines":
            raise ValueError("one\ntwo")
        raise KeyError("another")

    monkeypatch.setattr(fuzzing, "SECONDS", 0.1)
    monkeypatch.setattr(fuzzing, "MEMORY", 100)
    with pytest.raises((AssertionError, KeyError, fuzzing.TooLong)):
        fuzzing.tried(check, None, tmp_path / "case")


DEEP = "[" * 100_000
HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (8, , }"


@pytest.mark.parametrize(
    "content",
    [
        b"\x93NUMPY\x01\x00\x76\x00" + HEADER.ljust(118).encode() + bytes(99),  # NumPy's second reading of it failed
        ('{"weight_map": ' + DEEP).encode(),
        b"\x89HDF\r\n\x1a\n",
    ],
)
def test_what_only_a_reading_library_fails_at_is_refused(content, tmp_path):
    (tmp_path / "case").write_bytes(content)
    with pytest.raises(ValueError, match="truncated or corrupt"):
        pretrained.read(tmp_path / "case")


def test_an_idx_file_that_ends_within_its_first_four_bytes_is_refused(tmp_path):
    for length in range(4):
        with pytest.raises(ValueError, match="is not an IDX file"):
            fuzzing.idx(gzip.compress(b"\0\0\x08\x03"[:length]), tmp_path / "case")


@pytest.mark.parametrize("size", [0, 2**64 - 16, 2**64 - 8, 5000])
@pytest.mark.parametrize("name", ["a.h5", "stored.keras", "deflated.keras"])
def test_a_heap_of_hdf5_that_has_no_end_is_refused(name, size, tmp_path):
    content = bytearray(fuzzing.seeds()["h5"][0])
    heap = content.index(b"GCOL\x01\0\0\0")
    rest = next(
        at for at in range(heap + 16, heap + 4096, 8) if not any(content[at : at + 8])
    )  # the space that is free
    content[rest + 8 : rest + 16] = size.to_bytes(8, "little")
    if name.endswith(".keras"):
        how = zipfile.ZIP_STORED if name.startswith("stored") else zipfile.ZIP_DEFLATED
        content = fuzzing._zip({"config.json": "{}", "model.weights.h5": bytes(content)}, how)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="a heap of texts in it has no end"):
        pretrained.read(tmp_path / name)


def test_a_heap_of_hdf5_that_is_larger_than_its_file_is_refused(tmp_path):
    content = bytearray(fuzzing.seeds()["h5"][0])
    heap = content.index(b"GCOL\x01\0\0\0")
    content[heap + 8 : heap + 16] = len(content).to_bytes(8, "little")
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(ValueError, match=f"at byte {heap:,} declares {len(content):,} bytes"):
        pretrained.read(tmp_path / "a.h5")


@pytest.mark.parametrize("block", [1, 2, 3, 7, 100])
def test_a_heap_is_found_wherever_blocks_of_a_file_end(block, tmp_path):
    (tmp_path / "a").write_bytes(b"abcaabcabcab")
    with (tmp_path / "a").open("rb") as file:
        assert list(keras._places(file, b"abc", block)) == [0, 4, 7]


def test_text_that_is_nested_deeply_is_refused_wherever_it_is_read(tmp_path):
    (tmp_path / inventory.MANIFEST).write_text(DEEP)
    with pytest.raises(ValueError, match="is no manifest that can be read"):
        inventory.entries(tmp_path)
    (tmp_path / "a.ipynb").write_text(DEEP)
    with pytest.raises(ValueError, match="is no notebook"):
        parameters.chapter_parameters(tmp_path / "a.ipynb")


def test_names_with_numbers_of_any_length_are_sorted():
    names = ["c" + "9" * 5000, "c10", "c2", "c02", "c", "1c", "b3"]
    assert sorted(names, key=natural) == ["1c", "b3", "c", "c2", "c02", "c10", "c" + "9" * 5000]


def test_many_layers_of_a_configuration_are_not_each_compared_with_every_array(monkeypatch):
    layers = [{"class_name": "Conv2D", "config": {"name": f"c{i}"}} for i in range(2000)]
    tensors = [Tensor(f"layers/conv2d_{i}/vars/0", (), np.dtype("f4"), lambda: None) for i in range(1, 400)]
    compared, filed_as = [], keras._filed_as
    monkeypatch.setattr(keras, "_filed_as", lambda *each: compared.append(each) or filed_as(*each))
    found = keras._as_described(tensors, list(keras._described({"config": {"layers": layers}})), "classes")
    assert [each.name for each in found] == [f"c{i}" for i in range(1, 400)]
    assert len(compared) == len(tensors)


def test_the_counts_of_the_long_runs_are_those_of_kinds_that_there_are():
    rows = json.loads(fuzzing.REPORT.read_text())
    assert rows and all(row["case"] in KINDS and row["count"] >= 1000 for row in rows)
