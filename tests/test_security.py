"""What SECURITY.md promises, as far as no other test shows it, and that every test it names is there."""

import ast
import json
import re

import pytest

from topo import datasets, inventory
from topo.book import ROOT

TEXT = (ROOT / "SECURITY.md").read_text("utf-8")


def test_every_promise_names_tests_that_exist():
    rows = [row.split("|")[1:3] for row in TEXT.splitlines() if row.startswith("| **")]
    assert len(rows) >= 8
    for promise, shown in rows:
        named = re.findall(r"`(test_\w+\.py)::(\w+)`", shown)
        assert named, promise
        for file, test in named:
            tree = ast.parse((ROOT / "tests" / file).read_text("utf-8"))
            assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{file}::{test}"


def test_no_module_evaluates_text_or_unpickles():
    seen = 0
    for path in [*(ROOT / "topo").rglob("*.py"), *(ROOT / "book" / "_extensions").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            name = called.id if isinstance(called, ast.Name) else None
            assert name not in ("eval", "exec", "__import__"), path
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve"} & set(modules), path
            options = {each.arg: each.value for each in node.keywords} if isinstance(node, ast.Call) else {}
            allowed = options.get("allow_pickle")
            if (
                isinstance(called, ast.Attribute)
                and called.attr in ("load", "read_array")
                and "np" in ast.unparse(called)
            ):
                seen += 1
                assert isinstance(allowed, ast.Constant) and allowed.value is False, ast.unparse(node)
    assert seen >= 1


def test_every_file_has_a_checksum_and_comes_by_tls():
    digits = {"md5": 32, "sha256": 64}
    plain = []
    for files in datasets.COLLECTIONS.values():
        for file in files.values():
            assert re.fullmatch(rf"[0-9a-f]{{{digits[file.algorithm]}}}", file.checksum), file.path
            archive = getattr(file, "archive", None)
            plain += [url for url in (archive or file).urls if not url.startswith("https://")]
    assert plain and all(url.startswith("http://fashion-mnist.s3-website.") for url in plain)


@pytest.mark.parametrize("file", ["../a", "/etc/passwd", "a/b", "..", "", "a\0"])
def test_a_manifest_names_no_file_outside_its_folder(tmp_path, file):
    (tmp_path / "a").write_bytes(b"")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / inventory.MANIFEST).write_text(json.dumps({"x": {"file": file, "bytes": 0, "sha256": "0" * 64}}))
    with pytest.raises(ValueError, match="is no manifest that can be read: x .*file"):
        inventory.find("x", folder, "archive", "make")


def test_workers_listen_on_loopback_only(monkeypatch):
    import distributed

    from topo import campaign

    asked = {}

    class Stopped(Exception):
        pass

    def cluster(**options):
        asked.update(options)
        raise Stopped

    monkeypatch.setattr(distributed, "LocalCluster", cluster)
    with pytest.raises(Stopped), campaign.dask_client(2, None):
        pass
    assert asked["host"] == "127.0.0.1" and asked["dashboard_address"].startswith("127.0.0.1:")
