import os
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

from topo import archive, campaign, training
from topo.notation import Architecture

SMALL = dict(architecture="M(8,4,16)", iterations=20, snapshots=(0, 10), dataset="digits", batch=32)


@pytest.fixture(scope="module")
def population():
    return training.train_population(networks=4, **SMALL)


def test_a_population_has_its_snapshots_and_learns(population):
    assert list(population.members) == [0, 1, 2, 3]
    assert {layer: list(kept) for layer, kept in population.kernels.items()} == {1: [0, 10, 20], 2: [0, 10, 20]}
    assert population.kernels[2][20].shape == (4, 3, 3, 8, 4)
    assert population.filters(2).shape == (4 * 8 * 4, 9)
    longer = training.train_population("M(16,0,0)", 1, 150, dataset="digits", batch=32, learning_rate=3e-3)
    assert population.accuracy[20].shape == (4,) and longer.accuracy[150][0] > 0.7


def test_members_differ_and_the_same_seed_repeats_to_the_bit(population):
    again = training.train_population(networks=4, **SMALL)
    np.testing.assert_array_equal(again.kernels[1][20], population.kernels[1][20])
    kernels = population.kernels[1][0]
    assert not any(np.allclose(kernels[i], kernels[j]) for i in range(4) for j in range(i))
    other = training.train_population(networks=1, seed=1, **SMALL)
    assert not np.allclose(other.kernels[1][0], kernels[:1])


def test_one_member_alone_equals_its_slice_of_the_population(population):
    alone = training.train_population(members=[3], **SMALL)
    for layer in (1, 2):
        np.testing.assert_allclose(alone.kernels[layer][20][0], population.kernels[layer][20][3], rtol=0, atol=1e-6)


@pytest.mark.parametrize("chunk", [1, 3])
def test_any_chunking_in_worker_processes_gives_the_same_population(population, chunk, tmp_path):
    wanted = campaign.Population(training.Training(Architecture.parse("M(8,4,16)"), "digits", 32), 4, 20, (4, 20), (0, 10, 20))
    apart = campaign.train(wanted, workers=2, chunk=chunk, every=7, folder=tmp_path, progress=False)
    assert list(apart.members) == [0, 1, 2, 3]
    for layer in (1, 2):
        for iteration in (0, 10, 20):
            np.testing.assert_allclose(apart.kernels[layer][iteration], population.kernels[layer][iteration], rtol=0, atol=1e-5)


TRAIN = """
import sys
from topo import campaign, training
from topo.notation import Architecture
if __name__ == "__main__":
    wanted = campaign.Population(training.Training(Architecture.parse("M(8,4,16)"), "digits", 32), 4, 400, (4, 400), (0, 100, 400))
    trained = campaign.train(wanted, workers=2, chunk=2, every=20, folder=sys.argv[1], progress=False)
    campaign.keep("killed", wanted, trained, sys.argv[1])
"""


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def group_lives(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_killed_at_any_point_it_resumes_to_the_same_bytes(tmp_path):
    command = [sys.executable, "-c", TRAIN]
    subprocess.run([*command, tmp_path / "undisturbed"], check=True)
    process = subprocess.Popen([*command, tmp_path / "killed"], start_new_session=True, stderr=subprocess.DEVNULL)
    wait_for(lambda: list(tmp_path.glob("killed/*/members-*.safetensors")))
    process.kill()
    process.wait()
    wait_for(lambda: not group_lives(process.pid))
    checkpoints = list(tmp_path.glob("killed/*/members-*.safetensors"))
    assert checkpoints and all(int(load_file(path)["iteration"]) <= 400 for path in checkpoints)
    assert not (tmp_path / "killed" / "killed.safetensors").exists(), "it was killed too late to test anything"
    subprocess.run([*command, tmp_path / "killed"], check=True)
    first, second = ((tmp_path / name / "killed.safetensors").read_bytes() for name in ("undisturbed", "killed"))
    assert first == second


def chunk(path, **settings):
    wanted = training.Training(Architecture.parse("M(4,0,0)"), "digits", 32, **settings)
    return training.Chunk(training.Trainer(wanted), [0, 1], path)


def test_a_chunk_goes_on_from_its_checkpoint(tmp_path):
    path = tmp_path / "chunk.safetensors"
    chunk(path).run(10, (0, 10))
    resumed = chunk(path)
    assert resumed.iteration == 10 and resumed.lacks(30, (0, 10, 30)) == 20
    straight = chunk(None).run(30, (0, 10, 30))
    resumed.run(30, (0, 10, 30))
    for iteration in (0, 10, 30):
        np.testing.assert_array_equal(resumed.snapshots[iteration][1], straight.snapshots[iteration][1])


def test_a_snapshot_that_was_passed_is_trained_again(tmp_path):
    path = tmp_path / "chunk.safetensors"
    chunk(path).run(10, (10,))
    resumed = chunk(path).run(10, (5, 10))
    np.testing.assert_array_equal(resumed.snapshots[5][1], chunk(None).run(5, (5,)).snapshots[5][1])


def test_a_checkpoint_of_another_population_or_a_damaged_one_is_refused(tmp_path):
    path = tmp_path / "chunk.safetensors"
    chunk(path).run(2, (2,))
    with pytest.raises(ValueError, match="another population"):
        chunk(path, seed=5)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="damaged.*starts over"):
        chunk(path)


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(networks=0), "networks = 0"),
        (dict(iterations=-1, snapshots=()), "iterations = -1"),
        (dict(snapshots=(0, 21)), r"snapshots = \[21\]"),
        (dict(seed=-1), "seed = -1"),
        (dict(batch=0), "batch = 0"),
        (dict(batch=1501), "batch = 1501"),
        (dict(learning_rate=0.0), "learning_rate = 0.0"),
        (dict(dataset="fashion"), "'fashion' is not one of mnist"),
        (dict(architecture="M(8;4)"), "of the form"),
    ],
)
def test_what_is_out_of_range_is_named_before_anything_is_trained(changes, words):
    with pytest.raises(ValueError, match=words):
        training.train_population(**{"networks": 1, **SMALL, **changes})


def test_campaign_names_and_checkpoint_names():
    with pytest.raises(ValueError, match="mnist-M-64-32-64"):
        campaign.population("mnist-M-1-1-1")
    wanted = campaign.population("mnist-M-64-32-64", networks=7, iterations=250)
    assert wanted.snapshots == (0, 50, 100, 200, 250) and wanted.networks == 7
    names = {campaign.checkpoint(campaign.population("mnist-M-64-32-64", seed=s).training, range(5)) for s in (0, 1)}
    assert len(names) == 2


def test_kept_archives_hold_what_was_trained(population, tmp_path):
    wanted = campaign.Population(training.Training(Architecture.parse("M(8,4,16)"), "digits", 32), 4, 20, (100, 40_000), (0, 10, 20))
    campaign.keep("digits-M-8-4-16", wanted, population, tmp_path)
    kept = archive.load("digits-M-8-4-16", tmp_path)
    assert kept.networks == 4 and kept.iterations(1) == [0, 10, 20] and kept.iterations(2) == [0, 20]
    np.testing.assert_allclose(kept.filters(2, 20), population.filters(2, 20), rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(kept.accuracy(), population.accuracy[20], atol=1e-4)
    assert kept.description["paper"] == {"networks": 100, "iterations": 40_000}
    assert kept.description["hardware"] and kept.description["versions"]["jax"]
