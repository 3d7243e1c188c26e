"""Training that is killed, damaged, or spread over processes and machines: nothing is lost, the result is the same."""

import dataclasses
import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file

from topo import archive, campaign, checkpoints, populations, progress, training
from topo.notation import Architecture

TRAIN = """
import sys
from topo import campaign, populations, training
from topo.notation import Architecture
if __name__ == "__main__":
    chosen = training.Training(Architecture.parse("M(7,4,16)"), "digits", 32)
    wanted = populations.Plan(chosen, 4, 600, (4, 600), (0, 100, 600))
    trained = campaign.train(wanted, workers=2, chunk=2, every=20, folder=sys.argv[1], progress=False)
    populations.keep("killed", wanted, trained, sys.argv[1])
"""
COMMAND = [sys.executable, "-c", TRAIN]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    subprocess.run([*COMMAND, folder], check=True)
    return (folder / "killed.safetensors").read_bytes()


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


def disturbed(folder):
    """The training process in a session of its own, as soon as its first checkpoint is there."""
    process = subprocess.Popen([*COMMAND, folder], start_new_session=True, stderr=subprocess.DEVNULL)
    wait_for(lambda: list(folder.glob("*/members-*.safetensors")))
    return process


@pytest.mark.tried("faults")
def test_killed_at_any_point_it_resumes_to_the_same_bytes_even_twice_at_once(tmp_path, undisturbed):
    process = disturbed(tmp_path)
    process.kill()
    process.wait()
    wait_for(lambda: not group_lives(process.pid))
    checkpoints = list(tmp_path.glob("*/members-*.safetensors"))
    assert checkpoints and all(int(load_file(path)["iteration"]) <= 600 for path in checkpoints)
    assert not (tmp_path / "killed.safetensors").exists(), "it was killed too late to test anything"
    both = [subprocess.Popen([*COMMAND, tmp_path]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert (tmp_path / "killed.safetensors").read_bytes() == undisturbed


@pytest.mark.tried("faults")
def test_a_killed_worker_loses_nothing(tmp_path, undisturbed):
    process = disturbed(tmp_path)
    workers = [
        child for child in psutil.Process(process.pid).children(recursive=True) if child.memory_info().rss > 150e6
    ]
    assert len(workers) == 2
    workers[0].kill()
    assert not (tmp_path / "killed.safetensors").exists(), "it was killed too late to test anything"
    assert process.wait(timeout=300) == 0
    assert (tmp_path / "killed.safetensors").read_bytes() == undisturbed


@pytest.mark.tried("faults")
def test_a_worker_that_is_killed_while_it_prepares_is_replaced(tmp_path, monkeypatch):
    wanted = populations.plan("mnist-M-64-0-64", networks=2, iterations=1, dataset="digits")
    mark = tmp_path / "died"

    def prepare(_):
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return {"formulation": "fused"}, 10**9

    monkeypatch.setattr(campaign, "_prepare", prepare)
    part = checkpoints.Population(np.arange(1), {}, {}, {}, "this", 0.0)
    monkeypatch.setattr(campaign, "_advance_on_worker", lambda *_: (part, None))
    with campaign.dask_client(2, None) as client, progress.Bar(wanted, 0, False) as bar:
        parts = campaign._train_there(client, wanted, 0, 1, 200, tmp_path, bar, ship=False)
    assert [each.hardware for each in parts] == ["this"] * 2 and mark.exists()


@pytest.mark.tried("faults")
def test_a_cluster_that_shares_no_folder_trains_the_same_and_brings_the_checkpoints_back(
    tmp_path, undisturbed, monkeypatch
):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    (there / "checkpoints").mkdir(parents=True)
    shutil.copy(checkpoints.CHECKPOINTS / "measurements.json", there / "checkpoints")  # formulations round differently
    environment = {**os.environ, **campaign.WORKER_ENVIRONMENT, "TOPO_CHECKPOINTS": str(there / "checkpoints")}
    file = tmp_path / "scheduler.json"

    def dask(name, *words):
        command = [sys.executable, "-m", f"distributed.cli.dask_{name}", "--scheduler-file", file, "--no-dashboard"]
        silent = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return subprocess.Popen([*command, *words], cwd=there, env=environment, **silent)

    cluster = [dask("scheduler", "--host", "127.0.0.1", "--port", "0"), dask("worker", "--nthreads", "1", "--no-nanny")]
    try:
        wait_for(lambda: file.exists() and file.read_text())
        address = json.loads(file.read_text())["address"]
        wanted = populations.Plan(
            training.Training(Architecture.parse("M(7,4,16)"), "digits", 32), 4, 600, (4, 600), (0, 100, 600)
        )
        trained = campaign.train(wanted, scheduler=address, chunk=2, folder=here / "checkpoints", progress=False)
        archived = populations.keep("killed", wanted, trained, here)
        assert archived.read_bytes() == undisturbed
        names = [sorted(path.name for path in place.glob("checkpoints/*/members-*")) for place in (here, there)]
        assert names[0] == names[1] == ["members-0000-0001.safetensors", "members-0002-0003.safetensors"]
        cluster[1].terminate()
        monkeypatch.setattr(campaign, "_PATIENCE", 1)
        with pytest.raises(ValueError, match="the cluster has had no worker for 1 seconds"):
            campaign.train(wanted, scheduler=address, chunk=2, folder=tmp_path / "none", progress=False)
    finally:
        for process in cluster:
            process.terminate()
            process.wait()


def test_accelerators_train_in_this_process_to_the_same_population(tmp_path):
    wanted = populations.Plan(
        training.Training(Architecture.parse("M(8,4,16)"), "digits", 32), 4, 20, (4, 20), (0, 10, 20)
    )
    with progress.Bar(wanted, 0, False) as bar:
        here = checkpoints.join(campaign._train_here(wanted, 0, 3, 7, tmp_path / "here", bar))
    there = campaign.train(wanted, workers=1, chunk=3, every=7, folder=tmp_path / "there", progress=False)
    for layer in (1, 2):
        np.testing.assert_allclose(
            here.kernels[layer][20], there.kernels[layer][20], atol=1e-6
        )  # other threads, rounding
    assert list(here.accuracy) == [0, 10, 20]


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "notanaddress", "foo://host:1", "tcp://host"])
def test_a_scheduler_that_does_not_answer_is_named(address, tmp_path):
    wanted = populations.plan("mnist-M-64-0-64", networks=1, iterations=1, dataset="digits")
    with pytest.raises(ValueError, match=f"scheduler '{address}' does not answer"):
        campaign.train(wanted, scheduler=address, folder=tmp_path, progress=False)


def spoiled(chunk, member, weight=1e30):
    """A chunk one of whose members has weights that overflow."""
    place = chunk.members.index(member)
    chunk.states = chunk.states._replace(
        params=jax.tree.map(lambda leaf: leaf.at[place].set(weight), chunk.states.params)
    )
    return chunk


def test_a_member_that_loses_finite_weights_is_left_out_and_the_others_go_on(tmp_path):
    healthy = chunk(None).run(20, (0, 20)).population((0, 20))
    ill = spoiled(chunk(tmp_path / "chunk"), 1).run(10, (0, 10))
    assert ill.left_out == {1: 0}
    resumed = chunk(tmp_path / "chunk").run(20, (0, 20))
    assert resumed.left_out == {1: 0}
    population = checkpoints.join([resumed.population((0, 20))])
    assert list(population.members) == [0] and population.left_out == {1: 0}
    np.testing.assert_array_equal(population.kernels[1][20], healthy.kernels[1][20][:1])
    assert population.accuracy[20] == healthy.accuracy[20][:1]
    wanted = populations.Plan(resumed.trainer.training, 2, 20, (2, 20), (0, 20))
    populations.keep("one-left", wanted, population, tmp_path)
    kept = archive.load("one-left", tmp_path)
    assert kept.networks == 1 and kept.description["left_out"] == {"1": {"seed": 0, "iteration": 0}}
    populations.check_replaces("one-left", wanted, tmp_path)


def test_where_no_member_is_left_the_error_says_so():
    ill = spoiled(spoiled(chunk(None), 0), 1).run(10, (0, 10))
    with pytest.raises(ValueError, match="no network is left: all 2 lost their weights.*smaller learning_rate"):
        checkpoints.check_left(checkpoints.join([ill.population((0, 10))]))


@pytest.mark.tried("faults")
def test_a_disk_that_takes_no_more_ends_in_one_message_and_the_last_checkpoint_stays(tmp_path):
    path = tmp_path / "chunk.safetensors"
    chunk(path).run(4, (4,))
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(
            OSError, match=r"chunk\.safetensors could not be written \(.*\); what it held before is still there"
        ):
            chunk(path).run(8, (8,))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    assert chunk(path).iteration == 4


def chunk(path, **settings):
    wanted = training.Training(Architecture.parse("M(4,0,0)"), "digits", 32, **settings)
    return checkpoints.Chunk(training.Trainer(wanted), [0, 1], path)


def test_a_chunk_goes_on_from_its_checkpoint(tmp_path):
    path = tmp_path / "chunk.safetensors"
    chunk(path).run(10, (0, 10))
    resumed = chunk(path)
    assert resumed.iteration == 10 and resumed.missed((0, 5, 10, 30)) == [5]
    straight = chunk(None).run(30, (0, 10, 30))
    resumed.run(30, (0, 10, 30))
    for iteration in (0, 10, 30):
        np.testing.assert_array_equal(resumed.snapshots[iteration][1], straight.snapshots[iteration][1])


def test_the_seconds_of_training_are_summed_over_resumptions(tmp_path, monkeypatch):
    ticks = itertools.count(0, 2.5)
    monkeypatch.setattr(checkpoints, "accelerated", lambda: False)
    monkeypatch.setattr(time, "process_time", lambda: next(ticks))  # between two readings lie 2.5 seconds
    path = tmp_path / "chunk.safetensors"
    chunk(path).run(10, (0, 10))
    resumed = chunk(path).run(30, (0, 10, 30), every=20)
    assert resumed.seconds == {0: 2.5, 10: 5.0, 30: 10.0}
    assert [resumed.population((0, last)).seconds for last in (10, 30)] == [5.0, 10.0]


def test_a_shorter_run_takes_what_a_longer_one_left_and_never_sets_it_back(tmp_path):
    path = tmp_path / "chunk.safetensors"
    chunk(path).run(20, (0, 10, 20))
    shorter = chunk(path).run(7, (3, 7)).population((3, 7))
    alone = chunk(None).run(7, (3, 7)).population((3, 7))
    for iteration in (3, 7):
        np.testing.assert_array_equal(shorter.kernels[1][iteration], alone.kernels[1][iteration])
        np.testing.assert_array_equal(shorter.accuracy[iteration], alone.accuracy[iteration])
    assert list(shorter.accuracy) == [3, 7]
    assert chunk(path).iteration == 20 and list(tmp_path.iterdir()) == [path]
    written = path.stat().st_mtime_ns
    assert chunk(path).run(0, (0,)).iteration == 20 and path.stat().st_mtime_ns == written


def test_snapshots_that_were_passed_are_made_up_for_from_their_own_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "chunk.safetensors"
    chunk(path).run(20, (20,))
    interrupted = chunk(path)
    with pytest.raises(KeyboardInterrupt):
        interrupted.run(20, (16, 20), every=6, report=lambda iteration, loss: interrupt_after(12, iteration))
    again = path.with_suffix(".again.safetensors")
    assert int(load_file(again)["iteration"]) == 12 and int(load_file(path)["iteration"]) == 20
    resumed = chunk(path).run(20, (16, 20))
    np.testing.assert_array_equal(resumed.snapshots[16][1], chunk(None).run(16, (16,)).snapshots[16][1])
    assert not again.exists()


def interrupt_after(last, iteration):
    if iteration > last:
        raise KeyboardInterrupt


def test_a_member_that_failed_later_is_in_a_shorter_run(tmp_path):
    long = spoiled(chunk(None).run(10, (0, 10)), 1).run(20, (20,))
    assert long.left_out == {1: 20}
    assert list(long.population((0, 10)).members) == [0, 1] and list(long.population((0, 20)).members) == [0]


def test_weights_that_no_archive_can_hold_are_found_out():
    half = spoiled(chunk(None), 0, 7e4).run(1, (1,))
    assert half.left_out == {0: 1}


def test_a_checkpoint_decides_how_it_goes_on(tmp_path):
    wanted = training.Training(Architecture.parse("M(4,0,0)"), "digits", 32)
    begun = campaign._Unit(wanted, range(2), tmp_path / "chunk", 10, (10,), 5, "plain")
    campaign._advance(begun)
    assert checkpoints.formulation_of(tmp_path / "chunk") == "plain"
    gone_on, _ = campaign._advance(dataclasses.replace(begun, iterations=20, snapshots=(20,), formulation="fused"))
    straight = (
        checkpoints.Chunk(training.Trainer(wanted, formulation="plain"), range(2)).run(20, (20,)).population((20,))
    )
    np.testing.assert_array_equal(gone_on.kernels[1][20], straight.kernels[1][20])
    with pytest.raises(ValueError, match="formulation = 'plain' instead of 'fused'"):
        chunk(tmp_path / "chunk")


@pytest.mark.tried("faults")
def test_a_damaged_record_is_measured_again(tmp_path):
    (tmp_path / "measurements.json").write_text("{ half")
    wanted = training.Training(Architecture.parse("M(3,0,3)"), "digits", 16)
    assert training.read_measurement(wanted, tmp_path) is None
    assert training.cached_measurement(wanted, tmp_path) == training.read_measurement(wanted, tmp_path)


@pytest.mark.tried("faults")
def test_a_checkpoint_of_another_population_or_a_damaged_one_is_refused(tmp_path):
    path = tmp_path / "chunk.safetensors"
    chunk(path).run(2, (2,))
    with pytest.raises(ValueError, match=r"was written with seed = 0 instead of 5; move it away"):
        chunk(path, seed=5)
    with pytest.raises(ValueError, match=r"was written with anneal = None instead of 20; move it away"):
        chunk(path, anneal=20)
    whole = path.read_bytes()
    for damage in (whole[:-100], whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:], whole[:5], b""):
        path.write_bytes(damage)
        with pytest.raises(ValueError, match="damaged.*starts over"):
            chunk(path)
