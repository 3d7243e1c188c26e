import json
import re

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from benchmarks import aligned, contestants, installed, load, populations, topology
from topo import book, parameters, sweep

OTHERS = [(kernel, name) for kernel, (_, _, every) in contestants.KERNELS.items() for name in every if name != "topo"]


def answer(kernel, name, points):
    prepare, essence, every = contestants.KERNELS[kernel]
    package, function = every[name]
    if package and not installed(package):
        pytest.skip(f"{package} is not installed")
    return essence(function(**({"points": points} if name == "topo" else prepare(points))))


def test_the_cloud_is_of_real_filters_and_a_smaller_one_is_part_of_it():
    large, small = contestants.cloud(250_000), contestants.cloud(1000)
    assert large.shape == (250_000, 9) and large.dtype == np.float32
    np.testing.assert_array_equal(large[:1000], small)
    np.testing.assert_allclose(np.linalg.norm(large, axis=1), 1, atol=1e-5)
    assert abs(large.mean(axis=1)).max() < 1e-6


@pytest.mark.parametrize("kernel, name", OTHERS)
def test_every_contestant_computes_the_same(kernel, name):
    points = contestants.cloud(600)
    theirs, ours = answer(kernel, name, points), answer(kernel, "topo", points)
    if name == "GUDHI (weak)":
        assert theirs is None and topology.difference([{"answer": theirs}], [{"answer": ours}]) is None
    else:
        assert topology.difference([{"answer": theirs}], [{"answer": ours}]) < 1e-5


def test_ours_is_what_brute_force_says():
    points = contestants.cloud(600)
    distances = np.sort(cdist(points, points), axis=1)[:, contestants.NEIGHBOR]
    np.testing.assert_allclose(answer("density", "topo", points), contestants.quantiles(distances), atol=1e-6)


def test_who_takes_too_long_is_stopped():
    with pytest.raises(TimeoutError, match="scikit-learn brute"):
        topology.afresh("benchmarks.contestants.measure", "density", "scikit-learn brute", 200_000, 1)


@pytest.fixture
def pretended(monkeypatch, tmp_path):
    """Runs of main in which nothing runs: `costs` maps a name to seconds for 1,000 points, or to an error."""

    def main(costs, *arguments):
        turns = []

        def afresh(function, *details):
            if function.endswith("hardware"):
                return "a machine"
            _, name, n, _ = details
            turns.append((name, n))
            if isinstance(costs[name], Exception):
                raise costs[name]
            return {"seconds": costs[name] * n / 1000, "memory": 2**20, "answer": [n, 1.0 if name == "topo" else 1.001]}

        every = {name: (None if name == "topo" else name, None) for name in costs}
        monkeypatch.setattr(topology, "KERNELS", {"density": (None, None, every)})
        monkeypatch.setattr(topology, "SIZES", (1000, 20_000, 50_000))
        monkeypatch.setattr(topology, "installed", lambda name: None if name == "absent" else "1.0")
        monkeypatch.setattr(
            topology,
            "circumstances",
            lambda *packages: {"date": "today", "machine": "here", "versions": {"python": "3"}},
        )
        monkeypatch.setattr(topology, "afresh", afresh)
        topology.main(["--out", str(tmp_path / "topology.json"), *arguments])
        return turns, json.loads((tmp_path / "topology.json").read_text()), tmp_path / "topology.svg"

    return main


def test_contestants_take_turns_and_are_spared_what_they_cannot_do(pretended, capsys):
    costs = {
        "topo": 0.001,
        "slow": 2.0,
        "stopped": TimeoutError(),
        "broken": RuntimeError("out of memory"),
        "absent": 1.0,
    }
    turns, measured, plot = pretended(costs, "--rounds", "2", "--limit", "60")
    first = [("topo", 1000), ("slow", 1000), ("stopped", 1000), ("broken", 1000)]
    assert turns == [*first, *[("topo", 20_000), ("slow", 20_000)] * 2, ("topo", 50_000)]
    results = measured["results"]["density"]["contestants"]
    assert results["slow"]["50000"] == "over 60 s"
    assert results["stopped"] == {"1000": "over 60 s", "20000": "not run", "50000": "not run"}
    assert results["broken"]["1000"] == "failed" and set(results["absent"].values()) <= {"not installed", "not run"}
    rows = {row[1]: row for row in measured["results"]["density"]["table"]["rows"]}
    assert rows["slow"] == ["20,000", "slow", "40.00 (40.00-40.00)", "2000.0", "1 MiB", "1e-03"]
    assert rows["topo"][3:] == ["1.0", "1 MiB", "0"] and rows["stopped"][2] == "not run"
    assert measured["results"]["density"]["curves"]["slow"] == [[1000, 20_000], [2.0, 40.0]]
    printed = capsys.readouterr()
    assert aligned(measured["results"]["density"]["table"], "<<>>>>") in printed.out and "out of memory" in printed.err
    assert plot.read_text().count("<svg") == 1


def test_small_runs_show_their_largest_size(pretended):
    _, measured, _ = pretended({"topo": 0.001, "slow": 2.0}, "--largest", "5000")
    assert [row[0] for row in measured["results"]["density"]["table"]["rows"]] == ["1,000", "1,000"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--largest", "10"], "the smallest cloud has 1000 points"),
        (["--only", "nerve"], "nerve: only density, lazy witness, Mapper are measured"),
        (["--limit", "0"], "0 is not allowed: it must be positive"),
    ],
)
def test_bad_options_are_refused_before_anything_runs(arguments, message, capsys):
    with pytest.raises(SystemExit):
        topology.main(arguments)
    assert message in capsys.readouterr().err


def test_loads_are_measured_in_time_and_memory_and_kept_beside_others(tmp_path, monkeypatch, capsys):
    def afresh(function, *arguments):
        if function == "benchmarks.load.sweep_chapters":
            return {"seconds": 3.0, "memory": 2**20, "note": "19 done"}
        assert arguments[-1] == 7 and (
            function == "benchmarks.load.inspect_sizes" or arguments[1:3] == ("topo", 1_000_000)
        )
        if arguments[0] == "Mapper":
            raise TimeoutError
        return {"seconds": 100.0, "memory": 2**30, "answer": []}

    monkeypatch.setattr(load, "afresh", afresh)
    monkeypatch.setattr(load, "circumstances", lambda *packages: {"date": "today", "machine": "here", "versions": {}})
    path = tmp_path / "loads.json"
    for only in ("filters", "sizes,runs"):
        load.main(["--only", only, "--limit", "7", "--out", str(path)])
    rows = {row["case"]: row for row in json.loads(path.read_text())}
    assert {name: row["result"] for name, row in rows.items()} == {
        "filters: density": "100 s, 1,024 MiB",
        "filters: lazy witness": "100 s, 1,024 MiB",
        "filters: Mapper": "not done within 7 s",
        "sizes of layers in one file, inspected": "100 s, 1,024 MiB",
        "runs of chapters, values at random": "3 s, 1 MiB; 19 done",
    }
    assert {row["count"] for row in rows.values()} == {1_000_000, 100, 200}
    assert all((row["kind"], row["date"], row["machine"]) == ("loads", "today", "here") for row in rows.values())
    assert "1,000,000 filters: density: 100 s, 1,024 MiB" in capsys.readouterr().out


def test_values_at_random_are_allowed_in_all_pairs():
    for name in load.SWEPT:
        declared = parameters.chapter_parameters(book.chapters()[name])
        choices = load.drawn(declared, np.random.default_rng(1))
        assert len(sweep.plan(declared, choices)) == 100
        assert all(len(set(map(repr, values))) == 10 for values in choices.values())
    fixed = [parameters.Parameter(name, "float", 0.5, "a share", f"{name} == 0.5") for name in "pq"]
    with pytest.raises(ValueError, match="no 10 values of two of p, q are allowed together"):
        load.drawn(fixed, np.random.default_rng(1))


def test_runs_are_counted_with_the_memory_of_their_sweep(monkeypatch):
    def swept(path, choices, out, report):
        for i in range(100):
            report(f"run {i}")
        report("3 of 103 runs were executed before")
        return out, [
            sweep.Run({}, out, f"no core at k = {i}; see a/{i}.ipynb" if i in (5, 60) else "") for i in range(103)
        ]

    monkeypatch.setattr(sweep, "sweep", swept)
    found = load.sweep_chapters(100)
    assert re.fullmatch(
        r"202 done, 4 refused \(4: no core at k = 5\); [\d,]+ MiB after a tenth of them, [\d,]+ at the end",
        found["note"],
    )
    assert found["memory"] > 2**20


def test_a_file_of_sizes_is_inspected(capsys):
    found = load.inspect_sizes(2, 100)
    assert found["seconds"] > 0 and found["memory"] > 2**20 and "layer1" in capsys.readouterr().out


def committed(name):
    return json.loads((book.ROOT / "data" / "benchmarks" / f"{name}.json").read_text())


def test_the_run_of_the_appendix_shows_what_it_says():
    kernels = committed("topology")["results"]
    cost = {
        (kernel, who): dict(zip(*curve)) for kernel, each in kernels.items() for who, curve in each["curves"].items()
    }
    ratio = lambda kernel, who, n: (
        cost[kernel, who].get(n, np.inf) / cost[kernel, "topo"][n]
    )  # who was stopped has no time
    assert ratio("density", "FAISS flat", 204_800) >= 3
    assert (
        min(ratio("density", who, 204_800) for who in ("SciPy cKDTree", "scikit-learn brute", "scikit-learn kd-tree"))
        >= 5
    )
    assert cost["lazy witness", "topo"][204_800] < 3
    assert cost["Mapper", "topo"][20_000] < 2 and cost["Mapper", "topo"][204_800] < 30
    assert (
        min(ratio("Mapper", who, n) for who in ("giotto-tda", "KeplerMapper", "tda-mapper") for n in (20_000, 204_800))
        > 1
    )
    held = lambda kernel: max(each["memory"] for each in kernels[kernel]["contestants"]["topo"]["204800"])
    assert held("density") < 2e9 and held("lazy witness") < 1e9
    loops = committed("populations")["results"]["M"]["loops"]
    assert (
        populations.ratio(loops["ours"], loops["flax"]) >= 3 and populations.ratio(loops["ours"], loops["torch"]) >= 1.5
    )
