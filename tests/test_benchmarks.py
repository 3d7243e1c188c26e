import json
import subprocess
from functools import cache, partial
from pathlib import Path
from pkgutil import resolve_name

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import compression, earlier, flax_loop, multiplies_bfloat16, populations, step
from topo import campaign, checkpoints, datasets, machine, training
from topo.notation import Architecture
from topo.populations import Plan

# Architecture, and whether it pools. Of C wider than the nine channels that are normalised together.
NETWORKS = (("M(4,3,5)", True), ("C(12,11,5)", True), ("C(12,11,5)", False))
NAMES = {"conv1": "Conv_0", "conv2": "Conv_1", "dense": "Dense_0", "readout": "Dense_1"}


@cache
def engine(text, max_pooling):
    """A Training, weights, a minibatch, and what the engine's loss without dropout and its gradient are there."""
    architecture, generator = Architecture.parse(text), np.random.default_rng(0)
    side, channels, scale = (8, 1, 1) if architecture.family == "M" else (24, 3, 100)  # so that normalisation matters
    inputs = (scale * generator.normal(size=(6, side, side, channels))).astype(np.float32)
    labels = np.arange(6)
    trainer = training.Trainer(
        training.Training(architecture, batch=6, max_pooling=max_pooling),
        datasets.Dataset("noise", inputs, labels, inputs, labels),
    )
    if architecture.family == "M":
        trainer._network = trainer._network.clone(dropout=0.0)
    params = jax.tree.map(lambda leaf: leaf[0], trainer.initial([0]).params)
    value, gradient = jax.jit(jax.value_and_grad(trainer._loss))(params, inputs, jnp.asarray(labels), jax.random.key(0))
    return trainer.training, params["params"], inputs, labels, value, gradient["params"]


def assert_close(actual, desired):
    np.testing.assert_allclose(actual, desired, rtol=2e-4, atol=2e-5 * np.abs(desired).max())


@pytest.mark.parametrize(("text", "max_pooling"), NETWORKS)
def test_the_flax_loop_trains_the_same_network(text, max_pooling):
    chosen, params, inputs, labels, value, gradient = engine(text, max_pooling)
    settings = {"dropout": 0.0} if chosen.architecture.family == "M" else {"max_pooling": max_pooling}
    network = flax_loop.network(chosen.architecture, **settings)
    theirs = {NAMES[name]: leaves for name, leaves in params.items()}
    loss = partial(
        flax_loop.loss, apply=network.apply, inputs=inputs, labels=labels, l2=chosen.l2, key=jax.random.key(0)
    )
    their_value, their_gradient = jax.jit(jax.value_and_grad(loss))(theirs)
    assert_close(their_value, value)
    jax.tree.map(assert_close, their_gradient, {NAMES[name]: leaves for name, leaves in gradient.items()})


def in_torch_order(leaves, shape):
    """Kernels and biases of Flax as PyTorch has them; shape: (height, width, channels) before the dense layer."""
    dense = leaves["dense"]["kernel"]
    kernels = {name: np.transpose(leaves[name]["kernel"], (3, 2, 0, 1)) for name in ("conv1", "conv2")}
    kernels["dense"] = np.reshape(dense, (*shape, -1)).transpose(3, 2, 0, 1).reshape(dense.shape[::-1])
    kernels["readout"] = np.transpose(leaves["readout"]["kernel"])
    return [array for name in NAMES for array in (kernels[name], np.asarray(leaves[name]["bias"]))]


@pytest.mark.parametrize(("text", "max_pooling"), NETWORKS)
def test_the_torch_loop_trains_the_same_network(text, max_pooling):
    torch = pytest.importorskip("torch")
    from benchmarks import torch_loop

    chosen, params, inputs, labels, value, gradient = engine(text, max_pooling)
    side = inputs.shape[1] // (4 if chosen.architecture.family == "M" else 2 if max_pooling else 1)
    reorder = partial(in_torch_order, shape=(side, side, chosen.architecture.conv2))
    network = torch_loop.network(chosen.architecture, *inputs.shape[1:], dropout=0.0, max_pooling=max_pooling)
    for own, array in zip(network.parameters(), reorder(params), strict=True):
        own.data = torch.tensor(array)
    their_value = torch_loop.loss(network, torch.tensor(inputs.transpose(0, 3, 1, 2)), torch.tensor(labels), chosen.l2)
    their_value.backward()
    assert_close(their_value.item(), value)
    for own, array in zip(network.parameters(), reorder(gradient), strict=True):
        assert_close(own.grad.numpy(), array)


def flax_augment(images, side):
    return flax_loop.augment(images, side, jax.random.key(0))


def torch_augment(images, side):
    torch = pytest.importorskip("torch")
    from benchmarks import torch_loop

    torch.manual_seed(0)
    return torch_loop.augment(torch.tensor(images.transpose(0, 3, 1, 2)), side).numpy().transpose(0, 2, 3, 1)


@pytest.mark.parametrize("augment", (flax_augment, torch_augment))
def test_the_loops_crop_flip_and_standardise_as_the_engine_does(augment):
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    windows = [image[i : i + 3, j : j + 3] for i in range(2) for j in range(3)]
    every = np.stack([way for window in windows for way in (window, window[:, ::-1])])
    crops = np.asarray(augment(np.stack([image] * 200), 3))
    distance = abs(crops[:, None] - np.asarray(training.standardize(jnp.asarray(every)))).max((2, 3, 4))
    assert distance.min(1).max() < 1e-5
    assert set(distance.argmin(1)) == set(range(len(every)))


def test_the_ratio_is_taken_within_each_round_and_the_slope_by_least_squares():
    ours, other = ([{"rate": rate} for rate in rates] for rates in ((30, 10, 20), (10, 10, 1)))
    assert populations.ratio(ours, other) == 3
    assert populations.slope((1, 5, 20), (107, 135, 240)) == pytest.approx(7)


def test_a_measurement_has_a_process_of_its_own_and_says_why_it_failed():
    held = np.ones(50 << 20)  # 400 MiB, which are not the other process's
    assert populations.afresh("benchmarks.peak_memory") < held.nbytes
    assert populations.afresh("os.getenv", "COLOUR", COLOUR="red") == "red"
    with pytest.raises(RuntimeError, match="architecture 'X' is not of the form"):
        populations.afresh("benchmarks.populations.formulations", "X", "digits", True)


def test_an_earlier_engine_is_measured_by_these_benchmarks(tmp_path, monkeypatch):
    git = lambda *words: subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)
    (tmp_path / "topo").mkdir()
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "topo" / "__init__.py").write_text("def which(): return 'before'")
    git("init", "-q")
    git("add", "topo")
    git("-c", "user.name=N", "-c", "user.email=n@example.org", "commit", "-qm", "as it was")
    (tmp_path / "topo" / "__init__.py").write_text("def which(): return 'now'")
    (tmp_path / "benchmarks" / "which.py").write_text("from topo import which")
    monkeypatch.setattr("benchmarks.ROOT", tmp_path)
    with earlier("HEAD") as folder:
        assert populations.afresh("benchmarks.which.which", root=folder) == "before"
        assert populations.afresh("benchmarks.which.which", root=tmp_path) == "now"
    assert not Path(folder).exists()
    with earlier("0123456789") as folder:
        assert folder is None


@pytest.mark.parametrize(
    ("features", "expected"),
    (("fpu avx512f avx512_bf16", True), ("fpu amx_bf16", True), ("fpu avx512f", False), (None, False)),
)
def test_what_a_processor_can_multiply_is_read_from_its_features(features, expected, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.CPUINFO", tmp_path / "cpuinfo")
    if features is not None:
        (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : {features}\n")
    assert multiplies_bfloat16() is expected


def test_who_cannot_train_is_left_out_with_the_reason(monkeypatch):
    monkeypatch.setattr(populations, "multiplies_bfloat16", lambda: False)
    monkeypatch.setattr(populations, "find_spec", lambda name: name)
    assert populations.missing("a folder") == {"torch bfloat16": "not on this processor"}
    monkeypatch.setattr(populations, "find_spec", lambda name: None)
    reasons = {"ours before": "not in this copy", "torch": "not installed", "torch bfloat16": "not installed"}
    assert populations.missing(None) == reasons


def test_everybody_has_a_turn_in_every_round_with_what_it_is_told(monkeypatch):
    calls = []

    def noted(function, *arguments, root=None, **_):
        calls.append((function.removeprefix("benchmarks."), *arguments[3:], root))
        return {"formulation": "fused"}

    monkeypatch.setattr(populations, "_afresh", noted)
    populations._measured("unpooled", 2, 5.0, "the folder", {})
    turn = [
        ("populations.measure", 5.0, "fused", populations.ROOT),
        ("populations.measure", 5.0, "fused", "the folder"),
        ("flax_loop.measure", 5.0, populations.ROOT),
        ("torch_loop.measure", 5.0, populations.ROOT),
        ("torch_loop.measure", 5.0, True, populations.ROOT),
    ]
    assert calls[-10:] == turn * 2


def test_the_parts_of_a_step_add_up_to_it():
    found = step.measure("M(4,3,5)", "digits", True)
    assert list(found["parts"]) == ["crops", "block 1", "block 2", "update", "the rest"]
    assert min(found["parts"][part]["seconds"] for part in ("crops", "block 1", "block 2", "update")) > 0
    assert sum(part["seconds"] for part in found["parts"].values()) == pytest.approx(found["step"])
    # By hand: 128 images, 9 entries of a kernel, two products of the first block and three of the second.
    assert found["parts"]["block 1"]["operations"] == 2 * 2 * 128 * 8 * 8 * 9 * 1 * 4
    assert found["parts"]["block 2"]["operations"] == 3 * 2 * 128 * 4 * 4 * 9 * 4 * 3
    assert found["product"] > 1e9 and 0 < found["products"] < found["step"]


def test_a_run_ends_in_a_table_and_its_figures(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(populations, "CASES", {"tiny": ("M(4,3,5)", "digits", True)})
    monkeypatch.setattr(populations, "MEMBERS", (1, 40))
    monkeypatch.setattr(populations, "OUT", tmp_path)
    monkeypatch.setattr(populations, "find_spec", lambda name: None)
    monkeypatch.setattr(machine, "processors", lambda: 1)
    monkeypatch.setattr(
        training, "measure", lambda *_: {"seconds": {"fused": 0.002, "plain": 0.003}, "formulation": "fused"}
    )
    here = lambda function, *arguments, **_: resolve_name(function)(*arguments)
    part = {"parts": {"crops": {"seconds": 0.001}}, "step": 0.002, "products": 0.0005, "product": 5e9}
    monkeypatch.setattr(step, "measure", lambda *_: part)
    monkeypatch.setattr(populations, "_afresh", here)
    monkeypatch.setattr("benchmarks.afresh", here)
    populations.main(["--rounds", "1", "--seconds", "0.1", "--before", "0123456789"])
    measured = json.loads((tmp_path / "populations.json").read_text())
    result = measured["results"]["tiny"]
    assert measured["machine"] == machine.hardware() and measured["versions"]["jax"] == jax.__version__
    assert populations.slope(result["members"], result["memory"]["compiler"]) > 0
    (ours,), (flax,) = result["loops"]["ours"], result["loops"]["flax"]
    assert min(ours["rate"], flax["rate"], ours["memory"], flax["memory"]) > 0
    table, absent = capsys.readouterr().out, ["not", "installed"]
    assert "fused 2.0 ms, plain 3.0 ms a network-iteration, so fused" in table
    shown = [line.split() for line in table.splitlines() if line.startswith("M(4,3,5) digits ")]
    assert [line[2:] for line in shown[1::2]] == [["ours", "before", *"not in this copy".split()], ["torch", *absent]]
    assert shown[4][2:] == ["torch", "bfloat16", *absent]
    assert shown[0][2] == "ours" and shown[0][5] == "1.00" and shown[2][2] == "flax"
    assert shown[2][3] == f"{flax['rate']:.1f}" and shown[2][5] == f"{ours['rate'] / flax['rate']:.2f}"
    assert "one step of one network, in ms: crops 1.0; 0.5 of all in products; a large product does 5 GFLOP/s" in table


def test_an_unknown_network_is_refused_before_anything_runs(capsys):
    with pytest.raises(SystemExit):
        populations.main(["--only", "M,N"])
    assert "N: only M, gray, color, unpooled are measured" in capsys.readouterr().err


def test_jpeg_changes_images_the_more_the_lower_its_quality():
    smooth = np.linspace(0, 255, 32)[:, None, None] * np.ones((2, 1, 32, 3))
    images = (0.8 * smooth + 0.2 * np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3))).astype(np.uint8)
    fine, coarse = (compression.compressed(images, quality) for quality in (95, 20))
    assert fine.shape == coarse.shape == images.shape and fine.dtype == np.uint8
    errors = [np.abs(each.astype(float) - images).mean() for each in (fine, coarse)]
    assert 0 < errors[0] < errors[1] < 30


def test_networks_are_judged_on_what_was_held_out_as_it_is_and_compressed(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (60, 32, 32, 3)).astype(np.uint8)
    noise = datasets.Dataset("cifar10", images, np.arange(60) % 10, images[:9], np.arange(9))
    source = datasets.Source(lambda: noise, images.shape)
    monkeypatch.setitem(datasets.SOURCES, "cifar10", source)
    monkeypatch.setattr(datasets, "cifar10", lambda: noise)
    chosen = training.Training(Architecture.parse("C(4,0,4)"), "cifar10", batch=8, hold_out=20)
    monkeypatch.setattr(compression.populations, "plan", lambda name: Plan(chosen, 2, 3, (2, 3), (0, 3)))
    monkeypatch.setattr(campaign, "train", lambda plan, folder: None)  # so that they are trained in this process
    measured = compression.run(["recipe-some"], 20, tmp_path)
    (result,) = measured["results"].values()
    assert result["images"] == 20 and result["error"] > 5
    assert {text: len(values) for text, values in result["accuracy"].items()} == {"plain": 2, "jpeg": 2}
    kept = checkpoints.Chunk(
        training.Trainer(chosen), range(2), checkpoints.checkpoint_path(chosen, range(2), tmp_path)
    )
    assert result["accuracy"]["plain"] == kept.accuracies[3].tolist()
    line = compression.report(measured).splitlines()[-1]
    assert line.startswith("recipe-some") and f"{result['error']:.1f}" in line
