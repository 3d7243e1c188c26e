"""Inputs made at random, and what may become of them: `python tests/fuzzing.py` tries 100,000 of each kind.

A case passes that is read, or refused by a ValueError, TypeError or OSError of one line, within 2 s of computing time
and 512 MiB. Each kind runs in a process of its own. The counts are written to data/tried/inputs.json.
"""

import argparse
import gzip
import io
import json
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from datetime import date
from math import ceil
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from topo import constraints, datasets, inventory, parameters, pretrained
from topo.notation import Architecture

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "data" / "tried" / "inputs.json"
SECONDS, MEMORY = 2.0, 512  # of a case, in MiB
CHUNK = 1_000  # cases between two reports
ALLOWED = (ValueError, TypeError, OSError)


class TooLong(BaseException):
    """Raised within a case that is not done in time; no Exception, lest it be taken for an error of a file."""


def _stop(*_):
    raise TooLong


def tried(check, value, path):
    """Whether a case was "read" or "refused". Raises what is not allowed, and AssertionError where it took much."""
    signal.signal(signal.SIGPROF, _stop)
    signal.setitimer(signal.ITIMER_PROF, 5 * SECONDS)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        check(value, path)
        result = "read"
    except ALLOWED as error:
        assert "\n" not in str(error), f"an error of several lines: {error}"
        result = "refused"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    assert time.process_time() - start < SECONDS, "it took too long"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < MEMORY, f"it took {grown:.0f} MiB"
    return result


# What is read


def notation(text, path):
    parsed = Architecture.parse(text)
    assert Architecture.parse(str(parsed)) == parsed


KINDS = (int, float, bool, str, list[int], list[float], list[str], int | None, float | None)


def value(case, path):
    text, kind = case
    parsed = parameters.parse_value(text, kind)
    kinds = {int: "int", float: "float", bool: "bool", str: "str"}
    written = kinds.get(kind) or str(kind)
    defaults = {int: 1, float: 0.5, bool: True, str: "a", list[int]: [1], list[float]: [0.5], list[str]: ["a"]}
    known = parameters.Parameter("k", written, defaults.get(kind), "a", "k != 7" if kind in (int, float) else "")
    checked = parameters.check([known], {"k": parsed})
    assert list(checked) == ["k"] and not (known.constraint and checked["k"] == 7)


VALUES = {"k": 3, "p": 0.5, "ks": [3, 5], "name": "mnist", "none": None}


def constraint(text, path):
    tree = constraints.parse(text, VALUES)
    held = constraints.holds(tree, VALUES)
    try:
        python = eval(text.strip(), {"__builtins__": {}, **constraints._FUNCTIONS, **VALUES}) is True  # noqa: S307
    except Exception:
        python = False
    numbers = not {"ks", "name"} & constraints.names_of(tree).keys() and not set("'\"[{,") & set(text)
    assert python or not held
    assert held or not python or not numbers  # sums of texts and lists are False here


def notebook(text, path):
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": [text]}
    path.write_text(json.dumps({"cells": [cell]}))
    parameters.chapter_parameters(path)


def idx(content, path):
    path.write_bytes(content)
    datasets._idx(path)


def cifar(content, path):
    path.write_bytes(content)
    images, labels = datasets._cifar_batch(path)
    assert len(images) == len(labels)


def manifest(content, path):
    folder = path.parent / "manifest"
    folder.mkdir(exist_ok=True)
    (folder / inventory.MANIFEST).write_bytes(content)
    (folder / "a.safetensors").write_bytes(b"a")
    for name in inventory.entries(folder):
        found, _ = inventory.find(name, folder, "file", "make")
        assert found.parent == folder


def weights(content, path):
    path.write_bytes(content)
    found = pretrained.read(path)
    for number in range(1, min(3, len(found.layers)) + 1):
        found.draw(number, 100)


def sharded(content, path):
    from safetensors.numpy import save_file

    for name, array in _ARRAYS.items():
        beside = path.parent / f"{name}.safetensors"
        if not beside.exists():
            save_file({f"{name}.weight": array}, beside)
    weights(content, path)


# What is made


def kernel(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


_ARRAYS = {"conv": kernel(8, 3, 3, 3), "deep": kernel(8, 8, 3, 3)}


def _saved(save):
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder) / "a")
        return (Path(folder) / "a").read_bytes()


def _hdf5(path):
    import h5py

    with h5py.File(path, "w") as file:
        file["conv/conv/kernel:0"] = kernel(3, 3, 3, 8)
        file.create_dataset("deep/kernel:0", data=kernel(3, 3, 8, 8), compression="gzip", chunks=(3, 3, 4, 8))
        file.attrs["layer_names"], file.attrs["keras_version"] = ["conv", "deep"], "2.4.0"
        file.attrs["model_config"] = json.dumps(_CONFIG)


_LAYERS = [{"class_name": "Conv2D", "config": {"name": name, "groups": 1}} for name in ("conv", "deep")]
_CONFIG = {"config": {"layers": _LAYERS}}


def _zip(members, how):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", how) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def _onnx():
    import onnx

    make = onnx.helper
    nodes = [make.make_node("Conv", [data, f"{data}.weight"], [after], data, group=1) for data, after in ("xy", "yz")]
    arrays = [
        onnx.numpy_helper.from_array(kernel(8, size, 3, 3), f"{name}.weight") for name, size in (("x", 3), ("y", 8))
    ]
    ends = [make.make_tensor_value_info(name, 1, None) for name in "xz"]
    return make.make_model(make.make_graph(nodes, "g", ends[:1], ends[1:], arrays)).SerializeToString()


def seeds():
    """{format: files of it that are right}."""
    from flax.serialization import to_bytes
    from safetensors.numpy import save

    arrays = {f"{name}.weight": array for name, array in _ARRAYS.items()}
    index = {"weight_map": {f"{name}.weight": f"{name}.safetensors" for name in _ARRAYS}}
    inner, config = _saved(_hdf5), json.dumps(_CONFIG)
    npy = {f"{name}.npy": _npy(array) for name, array in arrays.items()}
    keras = {"config.json": config, "model.weights.h5": inner}
    found = {
        "safetensors": [save(arrays), save(arrays, {"format": "pt"})],
        "index.json": [json.dumps(index).encode()],
        "npz": [_zip(npy, how) for how in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)],
        "npy": [npy["conv.weight.npy"]],
        "h5": [inner],
        "keras": [_zip(keras, how) for how in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)],
        "msgpack": [to_bytes({"params": {"conv": {"kernel": kernel(3, 3, 3, 8)}}, "step": 3})],
        "pth": [_zip({"m/data.pkl": b"\x80\x02}q\x00."}, zipfile.ZIP_STORED), b"\x80\x02}q\x00.cos\nsystem\n."],
    }
    try:
        return {**found, "onnx": [_onnx()]}
    except ImportError:
        return found


def changed(files):
    """Files with some bytes replaced, left out or put in, cut off, or followed by others."""

    @st.composite
    def draw(case):
        content = bytearray(case(st.sampled_from(files)))
        # heads and tails of files have their structure, so that half of the changes fall there
        for _ in range(case(st.integers(0, 4))):
            at = case(st.one_of(st.integers(0, 255), st.integers(-255, -1), st.integers(0, max(0, len(content) - 1))))
            gone, put = case(st.integers(0, 8)), case(st.binary(max_size=8))
            at = at % len(content) if content else 0
            content[at : at + gone] = put
        end = case(st.sampled_from(["whole"] * 8 + ["cut", "longer"]))
        if end == "cut":
            content = content[: case(st.integers(0, len(content)))]
        return bytes(content) + (case(st.binary(max_size=40)) if end == "longer" else b"")

    return draw()


def _json_like():
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    names = st.sampled_from(
        ["file", "bytes", "sha256", "config", "layers", "class_name", "name", "Conv2D", "../a", "a"]
    )
    deeper = lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names | st.text(max_size=4), inner, max_size=4)
    return st.recursive(leaves | names, deeper, max_leaves=12)


_TOKENS = [
    *"k p ks name none and or not in is if else for each lambda < <= == != > >= + - * / // % ** ( ) [ ] { }".split(),
    *"= , : . ; 0 1 2.5 -1 1e9 'mnist' None True abs all any len max min set sum (ks) (k) f'{k}' # \\ \0".split(),
]
_PARTS = ["k", "p", "ks", "name", "3", "0.5", "'mnist'", "min(ks)", "len(ks)", "none", "(3, 5)", "[1]", "not k", "-p"]


def _expressions():
    pair = lambda inner: st.tuples(
        inner, st.sampled_from("< <= == != > >= + - * / // % and or in is".split()), inner
    ).map(lambda each: f"({each[0]} {each[1]} {each[2]})")
    nested = st.recursive(st.sampled_from(_PARTS), pair, max_leaves=8)
    every = nested.map(lambda inner: f"all({inner} for each in ks)")
    return nested | every | st.lists(st.sampled_from(_TOKENS), max_size=14).map(" ".join) | st.text(max_size=40)


_NUMBERS = st.integers(-9, 5000).map(str) | st.text("0123456789-+. _", max_size=6)
_NAMES = st.tuples(st.sampled_from(["M", "C", "D", "m", "X", " D"]), st.lists(_NUMBERS, max_size=4).map(",".join))
_DIGITS = st.text("0123456789eE+-._[]()'\"{}, jxTrueFalsnNo\n", max_size=30)
_LINE = st.tuples(
    st.sampled_from(
        ["k: int = 3", "k: float = 0.5", "k: list[int] = [3]", "k: int | None = None", "import os", "k = 1"]
    ),
    _expressions() | st.text(max_size=20),
).map(lambda each: f"{each[0]}  # what it is; {each[1]}")
_IDX = b"\0\0\x08\x03" + struct.pack(">3I", 2, 3, 4) + bytes(24)
_ENTRY = {
    "file": "a.safetensors",
    "bytes": 1,
    "sha256": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4f72b9807785afee48bb",
}
_BATCH = bytes(3073 * 2)


def targets():
    """{kind of input: (what is made, what is done with it)}."""
    entry = json.dumps({"a": _ENTRY}, indent=1).encode()
    found = {
        "notation": (st.text(max_size=30) | _NAMES.map(lambda each: f"{each[0]}({each[1]})"), notation),
        "parameter values": (st.tuples(_DIGITS | st.text(max_size=40), st.sampled_from(KINDS)), value),
        "constraints": (_expressions(), constraint),
        "parameters cells": (_LINE | st.text(max_size=80), notebook),
        "IDX": (changed([_IDX]).map(lambda raw: gzip.compress(raw, 1)) | changed([gzip.compress(_IDX)]), idx),
        "CIFAR binary": (changed([_BATCH, _BATCH[:3073]]) | st.binary(max_size=200), cifar),
        "manifest": (_json_like().map(lambda tree: json.dumps(tree).encode()) | changed([entry]), manifest),
    }
    config = _json_like().map(json.dumps)
    found |= {f"weights: {name}": (changed(files), weights) for name, files in seeds().items()}
    found["weights: index.json"] = (changed(seeds()["index.json"]), sharded)
    inner = _saved(_hdf5)
    of_config = config.map(lambda text: _zip({"config.json": text, "model.weights.h5": inner}, zipfile.ZIP_STORED))
    return {
        **found,
        "weights: config.json of a .keras": (of_config, weights),
        "weights: any bytes": (st.binary(), weights),
    }


def run(made, check, path, cases, start=0):
    """Try so many cases; {"read": how many, "refused": how many}. Raises the error of the smallest that fails.

    start: the seed.
    """
    counts = {"read": 0, "refused": 0}
    phases, checks = [Phase.generate, Phase.shrink], list(HealthCheck)

    @seed(start)
    @settings(max_examples=cases, database=None, deadline=None, phases=phases, suppress_health_check=checks)
    @given(made)
    def test(case):
        counts[tried(check, case, path)] += 1

    test()
    return counts


def _one(name, cases, start):
    """Print the counts of one kind, for every CHUNK cases."""
    made, check = targets()[name]
    with tempfile.TemporaryDirectory() as folder:
        for number in range(start, ceil(cases / CHUNK)):
            print(json.dumps(run(made, check, Path(folder) / "case", min(CHUNK, cases), number)), flush=True)


def main():
    """Try all kinds, or go on with them where the report has fewer cases; 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="kinds of input (default: all)")
    parser.add_argument("--cases", type=int, default=100_000, help="of each kind (default: 100,000)")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--start", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        return _one(arguments.one, arguments.cases, arguments.start)
    rows = {row["case"]: row for row in (json.loads(REPORT.read_text()) if REPORT.exists() else [])}
    failed = False
    for name in arguments.names or targets():
        row = rows.get(name, {"kind": "inputs", "case": name, "result": "", "count": 0, "read": 0, "refused": 0})
        start = str(row["count"] // CHUNK)
        command = [sys.executable, "-W", "ignore", __file__, "--one", name, "--start", start]
        with subprocess.Popen([*command, "--cases", str(arguments.cases)], cwd=ROOT, stdout=subprocess.PIPE) as process:
            for line in process.stdout:
                counts = json.loads(line)
                row["read"], row["refused"] = (row[each] + counts[each] for each in ("read", "refused"))
                row["count"] = row["read"] + row["refused"]
                row["result"] = f"{row['read']:,} read, {row['refused']:,} refused in one line"
                row["date"] = date.today().isoformat()
                rows[name] = row
                REPORT.write_text(json.dumps(list(rows.values()), indent=1) + "\n")
        failed |= bool(process.returncode)
        print(
            f"{name}: {row['result']}{f'; then it ended with {process.returncode}' * bool(process.returncode)}",
            flush=True,
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
