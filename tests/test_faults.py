"""What goes wrong on a machine, caused on purpose: what exists stays valid, the same command completes."""

import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from functools import partial

import nbformat
import psutil
import pytest
from conftest import without_zeromq

from topo import book, campaign, populations, training
from topo.notation import Architecture

pytestmark = pytest.mark.tried("faults")

ROOT = book.ROOT
TINY = training.Training(Architecture.parse("M(4,0,0)"), "digits", 32)
LIMIT = 300  # seconds after which something has not happened


def wait_for(condition):
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def environment(**variables):
    return {**os.environ, "PYTHONPATH": str(ROOT), **{name: str(value) for name, value in variables.items()}}


def script(source, *words, before=(), **variables):
    """What a Python script prints, in a process of its own, started by the command `before`."""
    command = [*before, sys.executable, "-c", source, *map(str, words)]
    done = subprocess.run(command, env=environment(**variables), capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def topo(checkout, *words, before=(), **variables):
    """`python -m topo ...` in a checkout, as a process in a session of its own."""
    return subprocess.Popen(
        [*before, sys.executable, "-m", "topo", *map(str, words)],
        cwd=checkout,
        env={**environment(**variables), "PYTHONPATH": variables.get("PYTHONPATH", "")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process):
    """Exit status and error output of a process that has no traceback."""
    _, err = process.communicate(timeout=LIMIT)
    assert "Traceback" not in err
    return process.returncode, without_zeromq(err)


# Killed while something is written

AT_EVERY_WRITE = """
import itertools, os, signal, sys
import numpy as np
from topo import archive

folder, kernel = sys.argv[1], np.zeros((2, 3, 3, 1, 4), np.float32)

def write(name, value):
    archive.write(name, {1: {0: kernel + value}}, {"members": [0, 1]}, folder)

def dying(n):
    count = itertools.count(1)

    def hook(event, arguments):
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE
        if (writes or event in ("os.rename", "os.remove")) and folder in str(arguments[0]) and next(count) == n:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    write("one", 2)

write("one", 1)
write("other", 1)
for n in itertools.count(1):
    if not (child := os.fork()):
        dying(n)
        os._exit(0)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    found = {name: archive.load(name, folder).kernels().max() for name in ("one", "other")}
    write("one", 1)
    print(killed, found["one"], found["other"], archive.load("one", folder).kernels().max())
    if not killed:
        break
"""


def test_an_archive_whose_writing_is_killed_is_the_old_one_or_the_new_one_at_every_moment(tmp_path):
    *killed, whole = (line.split() for line in script(AT_EVERY_WRITE, tmp_path).splitlines())
    assert len(killed) >= 6 and whole == ["False", "2.0", "1.0", "1.0"]
    assert all(line[0] == "True" and line[1] in ("1.0", "2.0") and line[2:] == ["1.0", "1.0"] for line in killed)
    assert {line[1] for line in killed} == {"1.0", "2.0"}
    names = {"MANIFEST.json", "one.safetensors", "other.safetensors"}
    assert {name for name in os.listdir(tmp_path) if not name.endswith(".part")} == names  # parts go after an hour


AT_ONCE = """
import os, sys
import numpy as np
from topo import archive

children = []
for child in range(4):
    if not (pid := os.fork()):
        for i in range(10):
            archive.write(f"a-{child}-{i}", {1: {0: np.zeros((1, 3, 3, 1, 1))}}, {"members": [0]}, sys.argv[1])
        os._exit(0)
    children.append(pid)
print(*(os.waitpid(pid, 0)[1] for pid in children), len(archive.manifest(sys.argv[1])), len(os.listdir(sys.argv[1])))
"""


def test_processes_that_archive_into_one_folder_at_once_lose_no_entry(tmp_path):
    assert script(AT_ONCE, tmp_path).split() == ["0"] * 4 + ["40", "41"]


def sleeping(checkout, tmp_path):
    """Make the second chapter write the number of its kernel's process and wait while a file called wait is there."""
    source, mark, wait = checkout / "book" / "02-second.ipynb", tmp_path / "kernel", tmp_path / "wait"
    wait.touch()
    code = (
        f"import os, pathlib, time\\npathlib.Path({str(mark)!r}).write_text(str(os.getpid()))\\n"
        f"while os.path.exists({str(wait)!r}):\\n    time.sleep(0.1)\\nn + 1"
    )
    source.write_text(source.read_text().replace('"n + 1"', f'"{code}"'))
    return mark, wait


def killed_in_a_cell(process, mark):
    """Kill a process, and nothing that it started, while its kernel executes a cell; all of that ends by itself."""
    wait_for(lambda: (mark.exists() and mark.read_text()) or process.poll() is not None)
    started = psutil.Process(process.pid).children(recursive=True)
    assert int(mark.read_text()) in [child.pid for child in started]
    process.kill()
    process.communicate()
    wait_for(lambda: not any(child.is_running() and child.status() != "zombie" for child in started))
    mark.unlink()


def test_a_chapter_whose_run_is_killed_leaves_the_last_copy_and_runs_again_twice_at_once(checkout, tmp_path):
    mark, wait = sleeping(checkout, tmp_path)
    out = tmp_path / "out" / "run.ipynb"
    out.parent.mkdir()
    out.write_text("an earlier run")
    words = "run", "02-second", "-p", "n", "41", "-o", out
    killed_in_a_cell(topo(checkout, *words), mark)
    assert os.listdir(out.parent) == ["run.ipynb"] and out.read_text() == "an earlier run"
    wait.unlink()
    assert [ended(process) for process in [topo(checkout, *words) for _ in range(2)]] == [(0, "")] * 2
    assert nbformat.read(out, 4).cells[-1].outputs[0].data["text/plain"] == "42"
    assert os.listdir(out.parent) == ["run.ipynb"]


NO_LOCKS = """
import _multiprocessing, errno

class SemLock:
    SEM_VALUE_MAX = 2**31 - 1

    def __init__(self, *arguments):
        raise OSError(errno.ENOSYS, "Function not implemented")

_multiprocessing.SemLock = SemLock
"""


def test_a_book_whose_build_is_killed_leaves_the_last_pages_and_is_built_again_without_dev_shm(checkout, tmp_path):
    mark, wait = sleeping(checkout, tmp_path)
    html = checkout / "_build" / "html"
    html.mkdir(parents=True)
    for name in (".buildinfo", "index.html"):
        (html / name).write_text("an earlier build")
    killed_in_a_cell(topo(checkout, "book"), mark)
    assert {path.name: path.read_text() for path in html.iterdir()} == dict.fromkeys(
        (".buildinfo", "index.html"), "an earlier build"
    )
    wait.unlink()
    (tmp_path / "sitecustomize.py").write_text(NO_LOCKS)
    assert ended(topo(checkout, "book", PYTHONPATH=tmp_path)) == (0, "")
    assert "<h1>" in (html / "book" / "02-second.html").read_text() and mark.exists()


def test_without_dev_shm_a_population_is_trained_in_this_process(tmp_path, monkeypatch):
    monkeypatch.setattr(campaign, "shares_locks", lambda: False)
    monkeypatch.setattr(campaign, "_prepare", lambda wanted: ({"formulation": "fused", "bytes": [0, 1]}, 2**30))
    wanted = populations.Plan(TINY, 2, 3, (2, 3), (0, 3))
    trained = campaign.train(wanted, workers=2, folder=tmp_path, progress=False)
    assert list(trained.members) == [0, 1] and list(trained.accuracy) == [0, 3]
    with pytest.raises(OSError, match="no working /dev/shm, without which worker processes cannot be started"):
        campaign.listing(["mnist-M-64-0-64"], workers=1)


# A disk that is full

FULL = """
import os, subprocess, sys
import numpy as np
from topo import archive, remote

folder, home, digest = sys.argv[1:]

def write(filters):
    kernel = np.zeros((2, 3, 3, 1, filters), np.float32)
    archive.write("one", {1: {0: kernel}}, {"members": [0, 1]}, folder)
    return archive.load("one", folder).kernels().shape[-1]

def fetch():
    return len(remote.fetch(remote.RemoteFile("file", digest, (home,)), folder + "/file", progress=False).read_bytes())

print(write(10))
for work in (lambda: write(10_000), fetch):
    try:
        print("not full", work())
    except OSError as error:
        print(error)
print(archive.load("one", folder).kernels().shape[-1], *sorted(os.listdir(folder)))
subprocess.run(["mount", "-o", "remount,size=4m", folder], check=True)
print(write(10_000), fetch(), *sorted(os.listdir(folder)))
"""


def small_disk(folder, size):
    """The beginning of a command that sees, in `folder`, a disk of `size`."""
    folder.mkdir()
    mount = f'mount -t tmpfs -o size={size} tmpfs "$0" && exec "$@"'
    before = ["unshare", "--mount", "sh", "-c", mount, str(folder)]
    if not shutil.which("unshare") or subprocess.run([*before, "true"], capture_output=True).returncode:
        pytest.skip("only root may mount a small disk here")
    return before


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def test_on_a_full_disk_archives_and_downloads_end_in_one_line_and_complete_when_there_is_room(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "file").write_bytes(os.urandom(200_000))
    digest = hashlib.sha256((tmp_path / "home" / "file").read_bytes()).hexdigest()
    before = small_disk(tmp_path / "disk", "64k")
    handler = partial(Quiet, directory=tmp_path / "home")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        home = f"http://127.0.0.1:{server.server_port}/file"
        lines = script(FULL, tmp_path / "disk", home, digest, before=before).splitlines()
        server.shutdown()
    first, archived, fetched, left, after = lines
    assert first == "10" and "one.safetensors.next could not be written (No space left on device)" in archived
    assert "file.part could not be written (No space left on device); the same command goes on" in fetched
    assert left == "10 MANIFEST.json file.part one.safetensors"
    assert after == "10000 200000 MANIFEST.json file one.safetensors"


def test_where_temporary_files_do_not_fit_a_run_ends_in_one_line(checkout, tmp_path):
    before = small_disk(tmp_path / "disk", "8k")
    out = tmp_path / "out.ipynb"
    status, err = ended(topo(checkout, "run", "02-second", "-o", out, before=before, TMPDIR=tmp_path / "disk"))
    assert status in (1, 2) and err.count("\n") == 1 and "No space left on device" in err and not out.exists()


# Nowhere to write

UNPRIVILEGED = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE: permissions hold for root, too
os.execv(sys.argv[1], sys.argv[1:])
"""


def read_only(folder):
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)


def test_a_read_only_checkout_runs_its_chapters_without_a_home(checkout, tmp_path, monkeypatch):
    for name in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR", "IPYTHONDIR"):  # which topo sets where the tests have no home
        monkeypatch.delenv(name, raising=False)
    home, temporary, out = (tmp_path / name for name in ("home", "temporary", "out"))
    for folder in (home, temporary, out):
        folder.mkdir()
    read_only(checkout)
    read_only(home)
    before = [sys.executable, "-c", UNPRIVILEGED] if os.getuid() == 0 else []
    variables = dict(before=before, HOME=home, TMPDIR=temporary)
    status, err = ended(topo(checkout, "run", "01-first", **variables))
    assert (status, err.count("\n")) == (2, 1) and "nothing can be written into" in err
    assert ended(topo(checkout, "run", "01-first", "-o", out / "01-first.ipynb", **variables)) == (0, "")
    read = "from topo import compiled, figures, remote; print(compiled.__file__)"
    command = [*before, sys.executable, "-W", "error", "-c", read]
    done = subprocess.run(
        command, cwd=checkout, env=environment(HOME=home, TMPDIR=temporary, PYTHONPATH=checkout), capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"") and str(checkout).encode() in done.stdout
    assert os.listdir(home) == [] and [path.name for path in out.iterdir()] == ["01-first.ipynb"]
    assert os.listdir(temporary) == [f"topo-{os.getuid()}"]


# A cluster that goes


def test_a_scheduler_that_is_killed_ends_the_work_in_one_line_and_a_new_one_does_it(tmp_path, caplog):
    file, started = tmp_path / "scheduler.json", []

    def cluster():
        file.unlink(missing_ok=True)
        for name, *words in (("scheduler", "--host", "127.0.0.1", "--port", "0"), ("worker", "--no-nanny")):
            command = [sys.executable, "-m", f"distributed.cli.dask_{name}", "--scheduler-file", file, "--no-dashboard"]
            silent = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            started.append(subprocess.Popen([*command, *words], cwd=tmp_path, env=environment(), **silent))
        wait_for(lambda: file.exists() and file.read_text())
        return json.loads(file.read_text())["address"]

    try:
        with pytest.raises(ValueError, match="^the cluster has gone; the same command goes on$"):
            with campaign.dask_client(1, cluster()) as client:
                futures = {client.submit(time.sleep, 600)}
                wait_for(client.nthreads)
                started[0].kill()
                list(campaign._completed(client, futures))
        assert "Traceback" not in caplog.text
        with campaign.dask_client(1, cluster()) as client:
            futures = {client.submit(max, [1, 2])}
            assert [future.result() for future in campaign._completed(client, futures)] == [2]
    finally:
        for process in started:
            process.kill()
            process.wait()
