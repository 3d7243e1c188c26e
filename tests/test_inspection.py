import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy.stats import ks_2samp

from topo import inspection, pretrained, remote, spaces
from topo.__main__ import _report_name, main
from topo.density import densest
from topo.evidence import STANDARD, Loops
from topo.filters import normalize, spatial_filters
from topo.inspection import inspect, scale, write_report
from topo.trials import untrained_filters


def circle_kernel(filters, side=3, noise=0.05, seed=0):
    generator = np.random.default_rng(seed)
    patches = spaces.primary_circle(generator.uniform(0, 2 * np.pi, filters), side) + noise * generator.normal(
        size=(filters, side**2)
    )
    return patches.T.reshape(side, side, 1, filters).astype(np.float32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "network.safetensors"
    generator = np.random.default_rng(0)
    kernels = {
        "a": circle_kernel(1000),
        "b": generator.normal(size=(3, 3, 10, 100)),
        "c": circle_kernel(600, 5),
        "d": generator.normal(size=(1, 1, 64, 64)),
        "e": generator.normal(size=(1, 7, 16, 16)),
        "f": generator.normal(size=(3, 3, 3, 8)),
        "g": np.ones((3, 3, 20, 20)),
    }
    save_file({name: np.ascontiguousarray(kernel, np.float32) for name, kernel in kernels.items()}, path)
    return pretrained.read(path, "HWIO")


@pytest.fixture(scope="module")
def findings(weights):
    return inspect(weights)


def test_a_circle_is_one_loop_near_the_circle_and_random_filters_are_none(findings):
    circle, noise = findings[0].row, findings[1].row
    assert circle["loops"] == 1 and circle["ratio"] >= 3 and circle["p_value"] == 0.01
    assert noise["loops"] == 0 and noise["p_value"] > 0.05
    assert circle["to_circle"] < 0.2 < 0.8 < noise["to_circle"]
    assert circle["to_klein_bottle"] <= circle["to_circle"] and noise["to_klein_bottle"] < noise["to_circle"]
    assert abs(noise["to_circle"] - noise["random_to_circle"]) < 0.05
    assert circle["mapper_loops"] == 1 and circle["core"] == 200 == len(findings[0].core)


def test_a_random_cloud_with_as_large_a_ratio_counts_against_a_layer(weights):
    row = inspect(weights, ["a"], loops=Loops(landmarks=3), draws=3)[0].row
    assert row["ratio"] == 0  # three landmarks have no loop, in any cloud
    assert row["p_value"] == row["p_normal"] == row["p_uniform"] == row["p_corrected"] == 1 and row["draws"] == 3


def test_the_p_value_is_the_larger_of_two_laws_and_corrected_for_the_layers_looked_at(findings):
    a, b, c = (finding.row for finding in findings[:3])
    assert all(row["p_value"] == max(row["p_normal"], row["p_uniform"]) for row in (a, b, c))
    assert b["p_normal"] != b["p_uniform"]
    assert a["p_value"] == c["p_value"] == 0.01 and a["p_corrected"] == c["p_corrected"] == 0.03
    assert b["p_corrected"] == round(b["p_value"], 3)  # the largest of three is corrected by a factor of 1
    assert "p_value" not in findings[3].row and "p_corrected" not in findings[3].row
    first, *others = inspection.remarks(findings)
    assert "99 clouds" in first and "0.01 at least" in first and "corrected for 3 layers" in first
    assert "0.03 at least" in first and "draws or more" not in first and not others


def test_layers_of_nearly_one_size_share_their_null(tmp_path, monkeypatch):
    generator, drawn = np.random.default_rng(0), []
    sizes = (862, 1000, 1200)  # from 1024 filters down to 2**9.75, and up to 2**10.25
    np.savez(tmp_path / "a.npz", **{f"n{n}": generator.normal(size=(3, 3, 1, n)).astype(np.float32) for n in sizes})
    untrained = inspection.untrained_filters

    def counted(n, seed, law, size):
        drawn.append((n, law, size))
        return untrained(n, seed, law, size)

    monkeypatch.setattr(inspection, "untrained_filters", counted)
    inspection._untrained_ratios.cache_clear()
    inspect(pretrained.read(tmp_path / "a.npz"), draws=3)
    inspection._untrained_ratios.cache_clear()
    assert drawn == [(1024, "normal", 9)] * 3 + [(1024, "uniform", 9)] * 3


def test_untrained_sizes_are_few_near_and_none_too_large():
    found = {n: inspection.untrained_size(n) for n in range(inspection.FEWEST, 30_000)}
    assert len(set(found.values())) == 14 and max(found.values()) == inspection.MOST_UNTRAINED == 4096
    assert all(max(size / n, n / size) < 1.2 for n, size in found.items() if n < 4096)
    with pytest.raises(ValueError, match="filters = 0"):
        inspection.untrained_size(0)


def test_the_null_of_the_rounded_size_has_the_quantiles_of_that_of_the_size_itself():
    def ratios(n, seed):
        k, p = scale(n)
        clouds = (untrained_filters(n, 150 * seed + draw, "normal") for draw in range(150))
        return [STANDARD.clearest(densest(cloud, k, p))[1] for cloud in clouds]

    n = 862  # as far from the sizes beside it as can be
    own, rounded, far = ratios(n, 0), ratios(inspection.untrained_size(n), 1), ratios(128, 2)
    assert ks_2samp(own, rounded).pvalue > 0.01 > ks_2samp(own, far).pvalue
    assert abs(np.subtract(*np.quantile([own, rounded], 0.5, axis=1))) < 0.06


def test_a_small_p_value_without_a_loop_is_explained(weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(inspection, "_untrained_ratios", lambda *arguments: [1.0] * 99)
    found = inspect(weights, ["a", "b"])
    circle, noise = (finding.row for finding in found)
    assert noise["loops"] == 0 and noise["p_value"] == 0.01 and "note" not in circle
    assert noise["note"].startswith("no loop, but a small p-value") and "factor of 3 " in noise["note"]
    page, table = write_report(weights, found, tmp_path)
    assert page.read_text().count("No loop, but a small p-value") == 1
    assert [row["note"] for row in csv.DictReader(table.read_text().splitlines())] == ["", noise["note"]]
    assert main(["inspect", str(weights.path), "--layers", "b", "--layout", "HWIO", "--out", str(tmp_path)]) == 0
    assert f"b: {noise['note']}" in capsys.readouterr().out


def test_a_p_value_that_is_small_only_by_itself_is_said_to_be_so(weights, monkeypatch):
    monkeypatch.setattr(inspection, "_untrained_ratios", lambda *arguments: [1.0] * 24)
    circle, noise = (finding.row for finding in inspect(weights, ["a", "b"], draws=24))
    assert noise["p_value"] == 0.04 and noise["p_corrected"] == 0.08 and "note" not in circle
    assert "by itself; not after the correction" in noise["note"] and "more than chance" not in noise["note"]


def test_distances_are_medians_over_the_core(findings):
    circle = spaces.primary_circle(np.arange(720) * np.pi / 360)
    for finding in findings[:2]:
        distances = spaces.distance_to(finding.core, circle)
        assert finding.row["to_circle"] == round(float(np.median(distances)), 3) != round(float(distances.mean()), 3)


def test_larger_patches_have_a_circle_too(findings):
    row = findings[2].row
    assert row["kernel"] == "5x5" and row["loops"] == 1 and row["to_circle"] < 0.3 < 0.8 < row["random_to_circle"]


def test_patches_of_2x2_have_edges_but_no_lines(tmp_path):
    np.savez(tmp_path / "a.npz", a=circle_kernel(600, 2))
    weights = pretrained.read(tmp_path / "a.npz")
    (finding,) = findings = inspect(weights, draws=1)
    assert finding.row["to_circle"] < 0.2 and "to_klein_bottle" not in finding.row
    page, _ = write_report(weights, findings, tmp_path / "out")
    assert "Klein bottle " not in page.read_text().split("<h2>")[1] and "2x2" in repr(finding.row)
    assert repr(inspection.summary(findings)).splitlines()[1].startswith("a      600")


def test_a_pixel_that_is_the_same_in_every_filter_is_no_obstacle(tmp_path):
    np.savez(tmp_path / "a.npz", a=circle_kernel(1000, noise=0))  # edges are 0 in the middle
    (finding,) = inspect(pretrained.read(tmp_path / "a.npz"), draws=1)
    assert np.ptp(finding.core[:, 4]) < 1e-7 and finding.row["loops"] == 1 and finding.row["nodes"] > 10


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_looked_at(
    weights, tmp_path, monkeypatch, capsys
):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(inspection, "inspect", None)
    assert main(["inspect", str(weights.path), "--out", str(tmp_path / "file")]) == 2
    assert "file is a file, not a folder" in capsys.readouterr().err


def test_what_cannot_be_looked_at_is_skipped_with_a_reason(findings):
    reasons = {finding.row["layer"]: finding.row.get("skipped") for finding in findings}
    assert reasons["d"] == "a 1x1 kernel has no shape" and reasons["e"] == "a 1x7 kernel is no square patch"
    assert reasons["f"].startswith("24 filters that are not constant, of 50") and reasons["g"].startswith("0 filters")
    assert not any(reasons[name] for name in "abc") and all(finding.core is None for finding in findings[3:])


def test_layers_are_chosen_by_name_or_number(weights):
    assert [finding.row["layer"] for finding in inspect(weights, ["d", 1], draws=1)] == ["d", "a"]
    with pytest.raises(ValueError, match="no layer 'z'; it has 7: a, b"):
        inspect(weights, ["z"])


def test_a_large_layer_is_sampled_the_same_each_time(weights):
    one, two = (inspect(weights, ["a"], most=300, draws=2)[0] for _ in range(2))
    assert one.row == two.row and one.row["looked_at"] == 300 and one.row["filters"] == 1000


def test_the_sample_of_a_large_layer_is_drawn_from_all_of_it(weights):
    (finding,) = inspect(weights, ["a"], p=1.0, most=300, draws=1)
    points = normalize(spatial_filters(weights.kernel("a")))
    rows = {point.tobytes(): row for row, point in enumerate(points)}
    drawn = {rows[point.tobytes()] for point in finding.core}
    thirds = np.bincount([3 * row // 1000 for row in drawn])
    assert len(drawn) == 300 and len(thirds) == 3 and thirds.min() > 70 and len(set(np.diff(sorted(drawn)))) > 3


@pytest.mark.parametrize(
    "filters, k, p",
    [(32_768, 100, 0.1), (20_000, 61, 0.1), (4096, 12, 0.1), (192, 5, 1.0), (1000, 5, 0.2), (2, 1, 1.0)],
)
def test_the_filtration_is_scaled_to_the_layer(filters, k, p):
    assert scale(filters) == (k, p)


def test_a_given_filtration_is_kept_and_checked(weights):
    row = inspect(weights, ["a"], k=655, p=0.5, draws=1)[0].row
    assert (row["k"], row["p"], row["core"]) == (20, 0.5, 500)
    for wrong, message in [
        ({"k": 0}, "k = 0 must be"),
        ({"p": 2}, r"p = 2 is outside \(0, 1\]"),
        ({"most": 10}, "most = 10"),
        ({"draws": 0}, "draws = 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            inspect(weights, ["d"], **wrong)


def test_the_report_has_every_layer_and_needs_nothing_else(weights, findings, tmp_path):
    weights.missing = ["z"]
    page, table = write_report(weights, findings, tmp_path / "out")
    weights.missing = []
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["layer"] for row in rows] == list("abcdefg") and rows[0]["loops"] == "1" and rows[3]["skipped"]
    assert [rows[0][name] for name in ("p_value", "p_corrected", "draws")] == ["0.01", "0.03", "99"]
    html = page.read_text()
    assert html.count("<h2>") == 3 and html.count("data:image/png") == html.count('class="answers" data-picture') == 6
    assert "Missing from the file: z" in html
    assert "http" not in html.replace("http://www.w3.org/2000/svg", "") and "no square patch" in html
    assert "P-values compare with 99 clouds" in html and html.count("p-value 0.01, corrected 0.03") == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["layers.csv", "report.html"]


def test_half_a_report_is_never_written(weights, findings, tmp_path, monkeypatch):
    monkeypatch.setattr(inspection, "_page", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(weights, findings, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_out_of_a_file_are_text_in_the_report(tmp_path):
    save_file(
        {"<script>alert(1)</script>.weight": np.ascontiguousarray(circle_kernel(300).transpose(3, 2, 0, 1))},
        tmp_path / "a.safetensors",
    )
    weights = pretrained.read(tmp_path / "a.safetensors")
    page, _ = write_report(weights, inspect(weights, draws=1), tmp_path)
    assert "<script>alert" not in page.read_text() and "&lt;script&gt;alert" in page.read_text()


def test_a_sample_is_of_filters_that_are_not_constant(tmp_path):
    kernel = circle_kernel(3000)
    kernel[..., ::2] = 0
    np.savez(tmp_path / "a.npz", a=kernel)
    (finding,) = inspect(pretrained.read(tmp_path / "a.npz"), most=1000, draws=1)
    assert finding.row["filters"] == kernel[0, 0].size and finding.row["constant"] == kernel[0, 0].size // 2
    assert finding.row["looked_at"] == 1000 and finding.row["core"] == 200


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
def test_the_committed_sample_of_a_network_has_the_rows_of_the_whole_file(name, monkeypatch):
    try:
        pretrained.vgg_file(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    whole = inspect(pretrained.obtain(name), [3, 5, 7], draws=1)
    monkeypatch.setenv("TOPO_DATA", "/nonexistent")
    monkeypatch.setattr(remote, "CACHE", Path("/nonexistent"))
    weights = pretrained.obtain(name)
    sample = inspect(weights, [3, 5, 7], draws=1)
    assert weights.sampled and [each.row for each in sample] == [each.row for each in whole]
    assert [each.row["filters"] for each in sample] == [8192, 32_768, 65_536]
    assert [each.row["looked_at"] for each in sample] == [8192, 20_000, 20_000]


def test_all_filters_of_a_large_layer_are_looked_at_where_they_are_here(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.random.default_rng(0).normal(size=(3, 3, 210, 100)).astype(np.float32))
    weights = pretrained.read(tmp_path / "a.npz")
    rows = [inspect(weights, most=most, draws=1)[0].row for most in (inspection.MOST, 262_144)]
    assert [row["looked_at"] for row in rows] == [20_000, 21_000]


def test_without_a_file_of_vgg_the_sample_is_looked_at_and_that_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TOPO_DATA", "/nonexistent")
    monkeypatch.setattr(remote, "CACHE", Path("/nonexistent"))
    monkeypatch.setattr(remote, "fetch", None)
    assert main(["inspect", "vgg16", "--layers", "2", "13", "--most", "1000", "--out", str(tmp_path)]) == 0
    said = (
        "committed with the book, in float16; of each larger layer a seeded sample of 20,000 filters, of up to 262,144"
    )
    assert said in capsys.readouterr().out and said in (tmp_path / "report.html").read_text()
    rows = list(csv.DictReader((tmp_path / "layers.csv").read_text().splitlines()))
    assert [(row["filters"], row["looked_at"]) for row in rows] == [("4096", "1000"), ("262144", "1000")]


def test_on_the_command_line(weights, tmp_path, capsys):
    assert main(["inspect", str(weights.path), "--layers", "a", "4", "--draws", "3", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "corrected" in shown and "3 clouds" in shown and "0.25 at least" in shown and "19 draws or more" in shown
    assert "a 1x1 kernel has no shape" in shown and str(tmp_path / "layers.csv") in shown
    assert main(["inspect", str(tmp_path / "nowhere.h5")]) == 2
    assert "nowhere.h5 is not there" in capsys.readouterr().err


def test_an_archive_of_the_book_is_a_network_too():
    weights = pretrained.obtain("cifar-color-C-64-32-64-long")
    assert [layer.shape for layer in weights.layers] == [(3, 3, 3, 64), (3, 3, 64, 32)]
    (finding,) = inspect(weights, [2], draws=2)
    assert finding.row["filters"] == 2048 and finding.row["to_circle"] < finding.row["random_to_circle"]
    with pytest.raises(ValueError, match="iteration = 5, but 'vgg16' is no archive"):
        pretrained.obtain("vgg16", 5)
    before = pretrained.obtain("cifar-color-C-64-32-64-long", 0)
    assert not np.allclose(before.kernel(1), weights.kernel(1))


def test_files_of_one_name_keep_two_reports_and_the_report_survives_a_reader_that_has_gone(tmp_path):
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        np.savez(tmp_path / place / "model.npz", a=circle_kernel(300, noise=0.1))
    names = {_report_name(str(tmp_path / place / "model.npz")) for place in ("one", "two")}
    assert len(names) == 2 and all(re.fullmatch("model-[0-9a-f]{8}", name) for name in names)
    again = _report_name(str(tmp_path / "one" / ".." / "one" / "model.npz"))
    assert again in names and _report_name("vgg16") == "vgg16"
    command = [sys.executable, "-m", "topo", "inspect", str(tmp_path / "one" / "model.npz"), "--draws", "1"]
    for out, environment in (("closed", {}), ("ascii", {"PYTHONIOENCODING": "ascii:strict"})):
        reader, writer = os.pipe()
        if out == "closed":
            os.close(reader)
        run = [*command, "--out", str(tmp_path / out)]
        done = subprocess.run(run, stdout=writer, stderr=subprocess.PIPE, env={**os.environ, **environment}, text=True)
        os.close(writer)
        assert done.returncode == (out == "closed") and "Error" not in done.stderr, done.stderr
        assert {each.name for each in (tmp_path / out).iterdir()} == {"report.html", "layers.csv"}
