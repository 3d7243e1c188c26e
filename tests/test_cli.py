import os
import signal
import subprocess
import sys
import time

import nbformat
import pytest
from conftest import without_zeromq

from topo.__main__ import COMMANDS


def start(checkout, *words):
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TOPO_CHECKPOINTS")}
    return subprocess.Popen(
        [sys.executable, "-m", "topo", *words],
        cwd=checkout,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=_heed_interrupts,
    )


def _heed_interrupts():
    """A job in the background of a script ignores SIGINT, and so would all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def topo(checkout, *words):
    """Exit status, standard output and standard error of `python -m topo ...` in a checkout."""
    process = start(checkout, *words)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, without_zeromq(err)


@pytest.mark.parametrize(
    "words, message",
    [
        (
            "run 01-first -p kk 1",
            "there is no parameter 'kk' to set to 1 (did you mean k?); the parameters are k, networks, p,",
        ),
        (
            "run 01-first -p k 6400",
            "k = 6400 is not allowed: it must be int with 1 <= k < 64 * networks (where networks = 100)",
        ),
        ("run 01-first -p k 6400 -p networks 99", "(where networks = 99)"),
        ("run 01-first -p k -1", "k = -1 is not allowed"),
        ("run 01-first -p p -1e-3", "p = -0.001 is not allowed: it must be float with 0 < p <= 1"),
        ("run 01-first -p k 010", "k = '010' is not allowed"),
        ("run 01-first -p snapshots [1,2.5]", "snapshots = [1, 2.5] is not allowed: it must be list[int]"),
        ("run 01-first -p quiet 1", "quiet = 1 is not allowed: it must be bool"),
        ("run 01-first -p k", "argument -p/--parameter: expected 2 arguments"),
        ("run 01-fist", "there is no chapter '01-fist' (did you mean 01-first?); the chapters are 01-first, 02-second"),
        ("run ../../etc/passwd", "there is no chapter '../../etc/passwd'; the chapters are"),
        ("run 01-first -o book/01-first.ipynb", "is not allowed as output"),
        ("run 01-first -o out.txt", "is not allowed as output"),
        ("book --jobs 0", "jobs = 0 must be a whole number, 1 or more"),
        ("book --jobs many", "argument --jobs: invalid int value: 'many'"),
        ("run 01-first --workers many", "argument --workers: many is not allowed: a whole number, 1 or more"),
        ("book --chapters 3-third", "there is no chapter '3-third'"),
        ("book --out topo", "topo holds something other than a book"),
        ("train mnist-M-1-1-1", "population 'mnist-M-1-1-1' is not one of mnist-M-64-32-64, "),
        ("train mnist-M-64-0-64 --networks 0", "networks = 0 must be a whole number, 1 or more"),
        (
            "train mnist-M-64-0-64 --dataset fashion",
            "'fashion' is not one of mnist, fashion-mnist, digits, cifar10, cifar",
        ),
        (
            "train mnist-M-64-0-64 --seed 99999999999999999999",
            "seed = 99999999999999999999 must be a whole number from 0 to 4294967295",
        ),
        (
            "train mnist-M-64-0-64 cifar-gray-C-64-0-64 --dataset digits",
            "crop = 24 is not allowed: the images of digits are 8 x 8",
        ),
        ("train --list --networks 5", "--list goes with --workers and --out only"),
        ("train mnist-M-64-0-64 --workers 0", "argument --workers: 0 is not allowed: a whole number, 1 or more"),
        (
            "train --workers 2 --scheduler tcp://127.0.0.1:1",
            "argument --scheduler: not allowed with argument --workers",
        ),
        ("data cifar100", "data set 'cifar100' is not one of mnist, fashion-mnist, cifar10, natural-patches, vgg"),
        ("bok", "argument COMMAND: invalid choice: 'bok'"),
        ("", "the following arguments are required: COMMAND"),
    ],
)
def test_what_is_not_allowed_ends_in_one_line_and_status_2(checkout, words, message):
    status, out, err = topo(checkout, *words.split())
    assert (status, out) == (2, "")
    assert err.count("\n") == 1 and err.startswith("topo") and message in err
    assert not (checkout / "_build").exists()


def test_parameters_are_checked_before_anything_heavy_is_imported(checkout):
    watch = "import sys; from topo.__main__ import main; status = main(sys.argv[1:]); "
    report = "print(status, *sorted({'jax', 'papermill', 'nbformat', 'gtda', 'matplotlib'} & set(sys.modules)))"
    command = [sys.executable, "-c", watch + report, "run", "01-first", "-p", "k", "0"]
    assert subprocess.run(command, cwd=checkout, text=True, capture_output=True).stdout == "2\n"


def test_a_run_prints_where_its_copy_is(checkout):
    before = (checkout / "book" / "02-second.ipynb").read_bytes()
    status, out, err = topo(checkout, "run", "02-second", "-p", "n", "41")
    expected = checkout / "_build" / "runs" / "02-second-n=41.ipynb"
    assert (status, out, err) == (0, f"{expected}\n", "")
    assert nbformat.read(expected, 4).cells[-1].outputs[0].data["text/plain"] == "42"
    assert (checkout / "book" / "02-second.ipynb").read_bytes() == before

    status, out, err = topo(checkout, "run", "book/02-second.ipynb", "-p", "fail", "true", "-o", "elsewhere/out.ipynb")
    failed = checkout / "elsewhere" / "out.failed.ipynb"
    assert (status, out, err) == (
        1,
        "",
        f"02-second: cell 4, `if fail:`, raised RuntimeError: no luck with 1; see {failed}\n",
    )


def test_training_prints_a_table_and_resumes(checkout):
    words = ["train", "mnist-M-32-32-0", "--networks", "3", "--dataset", "digits", "--batch", "16", "--workers", "1"]
    status, out, err = topo(checkout, *words, "--iterations", "4")
    header, row = out.splitlines()
    assert status == 0 and "M(32,32,0):   0%" in err and "members 0-2 at 4, loss " in err
    path = str(checkout / "data" / "mnist-M-32-32-0.safetensors")
    assert header.split("  ")[0] == "archive" and row.startswith(path)
    assert row.removeprefix(path).split()[:3] == ["3", "4", "0"] and row.endswith("none")
    for held in "03":
        status, out, err = topo(checkout, *words, "--iterations", "6")
        assert status == 0 and out.splitlines()[1].removeprefix(path).split()[:3] == ["3", "6", held]
    assert "loss" not in err
    status, out, err = topo(checkout, *words, "--iterations", "2")
    assert (status, out) == (2, "") and "holds 3 networks x 6 iterations and would be lost" in err
    (checkpoint,) = (checkout / "data" / "cache" / "training").glob("*/members-*")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    status, out, err = topo(checkout, *words, "--iterations", "8")
    assert (status, out) == (2, "") and err.splitlines()[-1].startswith(f"topo: checkpoint {checkpoint} is damaged")


def test_the_campaign_is_listed(checkout):
    status, out, _ = topo(checkout, "train", "--list", "mnist-M-32-32-0", "--workers", "1")
    assert status == 0
    header, row = out.splitlines()
    assert header.split("  ")[0] == "population" and row.split()[:2] == ["mnist-M-32-32-0", "nothing"]


def test_an_interrupt_ends_a_run_with_its_kernel(checkout, tmp_path):
    source = checkout / "book" / "02-second.ipynb"
    mark = tmp_path / "kernel"
    wait = (
        f"import os, pathlib, time\\npathlib.Path({str(mark)!r}).write_text(str(os.getpid()))\\ntime.sleep(600)\\nn + 1"
    )
    source.write_text(source.read_text().replace('"n + 1"', '"' + wait + '"'))
    for words in (["run", "02-second"], ["book", "--chapters", "02-second"]):
        process = start(checkout, *words)
        while not (mark.exists() and mark.read_text()):
            assert process.poll() is None
            time.sleep(0.1)
        kernel = int(mark.read_text())
        mark.unlink()
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (130, "", "topo: interrupted\n")
        deadline = time.monotonic() + 20
        while _runs(kernel) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not _runs(kernel)


def _runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_every_command_explains_itself(checkout):
    status, out, err = topo(checkout, "--help")
    names = [add.__name__.removeprefix("add_") for add in COMMANDS]
    assert (status, err) == (0, "") and all(f"\n    {name} " in out for name in names)
    for name in names:
        assert topo(checkout, name, "--help")[0] == 0
