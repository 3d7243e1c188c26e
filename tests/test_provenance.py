"""The committed archives are what their manifests and their sources say, and what differs is named."""

import hashlib
import json
import shutil

import numpy as np
import pytest

from topo import archive, datasets, inventory, pretrained, provenance, remote, samples
from topo.__main__ import main
from topo.provenance import Checked, draw, verify


def available(name):
    try:
        return pretrained.vgg_file(name) if name in datasets.VGG else datasets.natural_patches(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))


def test_every_committed_archive_is_what_its_manifest_says_and_what_its_source_gives():
    found = list(verify())
    assert {path.name for path, *_ in found} == {path.name for path in archive.DATA.glob("**/*.safetensors")}
    assert [each for each in found if each.differs] == []
    folders = {path.parent.name for path, *_ in found}
    assert {"data", "samples"} <= folders


def test_the_samples_say_who_made_them_and_under_which_licence():
    entries = inventory.entries(samples.FOLDER)
    assert sorted(entries) == sorted(provenance.SAMPLES) == ["imagenet-vgg16", "imagenet-vgg19", "natural-patches"]
    for name, entry in entries.items():
        assert entry["authors"] and entry["home"].startswith("https://") and entry["changed"]
        assert ("CC BY" if "vgg" in name else "BSD") in entry["licence"]
        tables = samples.load(name)
        for part, about in entry["parts"].items():
            assert tables.rows(part).shape == (about["rows"], 10 if "vgg" in name else 8)
    for network in ("vgg16", "vgg19"):
        parts = entries[f"imagenet-{network}"]["parts"]
        known = {layer.name: layer for layer in pretrained.vgg_layers(network)}
        assert all(about["filters"] == known[name].filters for name, about in parts.items())
        assert all(about["rows"] == min(20_000, about["filters"]) for about in parts.values())


def test_drawing_again_gives_the_same_bytes(tmp_path):
    for name in ("vgg16", "vgg19", "X(300,30)"):
        available(name)
    remade = list(draw(tmp_path))
    assert [path.name for path in remade] == [f"{name}.safetensors" for name in provenance.SAMPLES]
    for path in (*remade, tmp_path / inventory.MANIFEST):
        assert path.read_bytes() == (samples.FOLDER / path.name).read_bytes()


def test_the_sha256_of_a_kernel_is_of_its_float32_numbers():
    weights = available("vgg19")
    about = samples.load("imagenet-vgg19").description["parts"]["block3_conv1"]
    kernel = np.ascontiguousarray(weights.kernel("block3_conv1"), "<f4")
    assert hashlib.sha256(kernel.tobytes()).hexdigest() == about["kernel_sha256"] and kernel.shape == (3, 3, 128, 256)


# What differs, on a data set of which everything is small


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder of data with a population, a sample of patches, and a source of them that is at hand."""
    monkeypatch.setenv("TOPO_DATA", str(tmp_path / "sets"))
    monkeypatch.setattr(remote, "CACHE", tmp_path / "cache")
    points = {"n50000": np.random.default_rng(0).normal(size=(30, 8))}
    source = tmp_path / "sets" / "natural_patches" / "some.mat"
    source.parent.mkdir(parents=True)
    from scipy.io import savemat

    savemat(source, {"some": points["n50000"]})
    file = remote.RemoteFile(
        "natural_patches/some.mat", hashlib.sha256(source.read_bytes()).hexdigest(), ("https://x",)
    )
    monkeypatch.setattr(datasets, "NATURAL_PATCHES", {"n50000": file})
    monkeypatch.setattr(provenance, "SAMPLES", {"natural-patches": provenance.SAMPLES["natural-patches"]})
    folder = tmp_path / "data"
    archive.write("one", {1: {0: np.ones((1, 3, 3, 1, 4))}}, {"members": [0], "accuracy": {}}, folder)
    assert len(list(draw(folder / "samples"))) == 1
    monkeypatch.setattr(archive, "DATA", folder)
    monkeypatch.setattr(samples, "FOLDER", folder / "samples")
    return folder


def found(data):
    return {path.stem: (differs, source) for path, differs, source in verify(data)}


def test_what_is_as_it_should_be_says_what_it_was_drawn_from(data):
    assert found(data) == {"one": ("", ""), "natural-patches": ("", "some.mat")}
    assert list(verify())[0] == Checked(data / "one.safetensors", "")


def test_without_the_source_only_the_manifest_is_compared(data):
    (data.parent / "sets" / "natural_patches" / "some.mat").unlink()
    assert found(data) == {"one": ("", ""), "natural-patches": ("", "")}


def test_a_file_that_is_missing_changed_or_unknown_is_named(data):
    path = data / "one.safetensors"
    content = path.read_bytes()
    shutil.copy(path, data / "two.safetensors")
    assert found(data)["two"] == ("no manifest describes it", "")
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert found(data)["one"] == ("sha256 differs", "")
    path.write_bytes(content[:-1])
    assert found(data)["one"][0] == f"sha256 differs, and it has {len(content) - 1} bytes instead of {len(content)}"
    path.unlink()
    assert found(data)["one"] == ("the file is missing", "")


def test_a_sample_that_its_source_does_not_give_is_named(data):
    sample = samples.load("natural-patches")
    rows = sample.rows("n50000").copy()
    rows[3, 4] += 1
    description = {key: value for key, value in sample.description.items() if key not in ("file", "bytes", "sha256")}
    samples.write("natural-patches", {"n50000": rows}, description)
    assert found(data)["natural-patches"] == ("n50000 is not what some.mat gives", "")
    parts = {"n50000": {**description["parts"]["n50000"], "rows": 31}}
    samples.write("natural-patches", {"n50000": rows}, {**description, "parts": parts})
    assert found(data)["natural-patches"][0] == "what the manifest says of n50000 is not what some.mat gives"
    (data.parent / "sets" / "natural_patches" / "some.mat").write_bytes(b"other")
    assert "is not the official file" in found(data)["natural-patches"][0]


def test_a_manifest_that_cannot_be_read_is_one_error(data):
    (data / "MANIFEST.json").write_text("{")
    with pytest.raises(ValueError, match="MANIFEST.json is no manifest that can be read"):
        list(verify(data))
    (data / "MANIFEST.json").write_text(json.dumps({"one": {"file": "one.safetensors"}}))
    with pytest.raises(ValueError, match="one lacks its file, bytes or sha256"):
        list(verify(data))


def test_a_source_that_is_not_at_hand_cannot_be_drawn_from(data):
    (data.parent / "sets" / "natural_patches" / "some.mat").unlink()
    with pytest.raises(FileNotFoundError, match="some.mat is not here"):
        list(draw(data / "samples"))


def test_on_the_command_line(data, capsys):
    assert main(["data", "verify"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"{data / 'one.safetensors'}: ok",
        f"{data / 'samples' / 'natural-patches.safetensors'}: ok, drawn from some.mat",
    ]
    assert main(["data", "sample"]) == 0
    assert capsys.readouterr().out.split() == [str(data / "samples" / "natural-patches.safetensors")]
    (data / "one.safetensors").unlink()
    assert main(["data", "verify"]) == 1
    assert "one.safetensors: the file is missing" in capsys.readouterr().out
    assert main(["data", "verify", "mnist"]) == 2
    assert "data set 'verify' is not one of mnist" in capsys.readouterr().err
