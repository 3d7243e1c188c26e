"""A book is executed again where something that a chapter depends on has changed, and nowhere else."""

import json
import subprocess
import sys

import nbformat
import pytest
from conftest import make_checkout, write_chapter

from topo import book, freshness, remote

READS = """
from pathlib import Path
from topo import archive
print(archive.load("mnist-M-64-32-64-batch-124").networks, Path("images/note.txt").exists())
"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    root = make_checkout(tmp_path_factory.mktemp("fresh") / "checkout")
    (root / "requirements.txt").write_text("numpy==1\n")
    tagged = ("n: int = 1  # a number", {"tags": ["parameters"]})
    write_chapter(root / "book" / "02-second.ipynb", ["# Second", tagged, (READS, {})])
    assert sorted(build(root)) == ["01-first executed", "02-second executed"]
    return root


def build(root, **how):
    lines = []
    book.build(root=root, report=lines.append, **how)
    return [line.split(" in ")[0] for line in lines[:-1]]


def trace_of(root, name):
    kept = json.loads((root / "_build" / "fresh" / f"{name}.json").read_text())
    return [tuple(json.loads(key)) for key in kept if key != "chapter"]


def test_an_unchanged_book_is_not_executed_and_its_pages_are_the_same(executed):
    page = executed / "_build" / "html" / "book" / "01-first.html"
    before = page.stat()
    assert build(executed) == ["01-first has not changed", "02-second has not changed"]
    assert page.stat() == before
    assert sorted(build(executed, anew=True)) == ["01-first executed", "02-second executed"]
    assert page.stat() != before


def settings_of(root):
    with (root / "_config.yml").open("a") as file:
        file.write("# other\n")


def text_of(root):
    path = root / "book" / "01-first.ipynb"
    path.write_text(path.read_text().replace("# First", "# The first"))


def page_of(root):
    (root / "_build" / "html" / "index.html").unlink()


@pytest.mark.parametrize("change", [settings_of, text_of, page_of, None])
def test_pages_are_rendered_again_where_anything_that_they_are_made_of_has_changed(executed, monkeypatch, change):
    rendered, render = [], book._render
    monkeypatch.setattr(book, "_render", lambda *each: rendered.append(each) or render(*each))
    build(executed)
    rendered.clear()
    if change:
        change(executed)
    build(executed)
    assert len(rendered) == (change is not None)
    build(executed)
    assert len(rendered) == (change is not None)


def test_pages_are_made_of_the_book_its_settings_the_package_and_the_commit(tmp_path, monkeypatch):
    places = [
        tmp_path / name for name in ("staged/book/a.md", "_config.yml", "_toc.yml", "topo/a.py", "topo/part/a.js")
    ]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("1")
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "a.md").write_text("1")
    monkeypatch.setattr(book, "PACKAGE", tmp_path / "topo")
    git = lambda *arguments: subprocess.run(["git", "-C", tmp_path, *arguments], check=True, capture_output=True)
    commit = ("-c", "user.name=A", "-c", "user.email=a@b", "commit", "--allow-empty", "-m", "one")
    found = lambda always="pins": book._made_of(tmp_path / "staged", tmp_path, always)
    first = found()
    assert first == found() != found("other pins")
    for place in places:
        place.write_text("2")
        assert found() != first
        place.write_text("1")
        assert found() == first
    (tmp_path / "topo" / "__pycache__").mkdir()
    (tmp_path / "topo" / "__pycache__" / "a.pyc").write_text("1")
    assert found() == first
    git("init")
    git(*commit)
    assert found() != first


def test_what_a_chapter_depends_on_is_what_it_read(executed):
    depends = trace_of(executed, "02-second")
    assert ("module", "topo.archive") in depends and ("module", "topo.mapper") not in depends
    entries = [name.rpartition(":")[2] for kind, name in depends if kind == "entry"]
    files = [name.rpartition("/")[2] for kind, name in depends if kind == "file"]
    assert entries == ["mnist-M-64-32-64-batch-124"] and files == ["mnist-M-64-32-64-batch-124.safetensors"]


def parameters_of(root):
    path = root / "book" / "02-second.ipynb"
    path.write_text(path.read_text().replace("n: int = 1", "n: int = 2"))


def pins_of(root):
    (root / "requirements.txt").write_text("numpy==2\n")


def outputs_of(root):
    path = root / "book" / "02-second.ipynb"
    notebook = nbformat.read(path, 4)
    notebook.cells[-1].outputs = [nbformat.v4.new_output("stream", text="0")]
    nbformat.write(notebook, path)


@pytest.mark.parametrize(
    "change, again",
    [(parameters_of, {"02-second"}), (pins_of, {"01-first", "02-second"}), (outputs_of, set())],
)
def test_a_change_of_the_chapter_or_of_the_pins(executed, tmp_path, change, again):
    build(executed)
    change(executed)
    lines = build(executed)
    assert {line.split()[0] for line in lines if line.endswith("executed")} == again


def store(tmp_path, *depends):
    """A chapter that was executed, and depended on these."""
    (tmp_path / "book").mkdir()
    source = write_chapter(tmp_path / "book" / "a.ipynb", ["# A", ("1", {})])
    (tmp_path / "trace").write_text("".join(json.dumps(each) + "\n" for each in depends))
    kept = freshness.Store(tmp_path / "fresh", "pins", tmp_path / "beside")
    kept.remember(source, source, tmp_path / "trace", 2e9)
    assert kept.recall(source, tmp_path / "copy") and (tmp_path / "copy").read_bytes() == source.read_bytes()
    return kept, source


def test_a_chapter_that_reads_all_chapters_does_not_depend_on_its_own_outputs(tmp_path):
    own, other = tmp_path / "beside" / "a.ipynb", tmp_path / "beside" / "b.ipynb"
    own.parent.mkdir()
    own.write_text("as it was executed")
    other.write_text("1")
    kept, source = store(tmp_path, ["file", str(own)], ["file", str(other)])
    own.write_text("as it is committed")
    assert kept.recall(source, tmp_path / "copy")
    other.write_text("2")
    assert not kept.recall(source, tmp_path / "copy")


def test_a_change_of_a_module_a_file_or_an_entry(tmp_path, monkeypatch):
    (tmp_path / "topo" / "part").mkdir(parents=True)
    (tmp_path / "beside").mkdir()
    monkeypatch.setattr(freshness, "PACKAGE", tmp_path / "topo")
    manifest, places = (
        tmp_path / "MANIFEST.json",
        [tmp_path / "topo" / "a.py", tmp_path / "topo" / "part" / "__init__.py"],
    )
    places += [tmp_path / "data.bin", tmp_path / "beside" / "other.ipynb"]
    for place in places:
        place.write_text("1")
    manifest.write_text('{"one": 1, "other": 2}')
    depends = [["module", "topo.a"], ["module", "topo.part"], *(["file", str(place)] for place in places[2:])]
    kept, source = store(tmp_path, *depends, ["entry", f"{tmp_path}:one"])
    for place in places:
        place.write_text("2")
        assert not kept.recall(source, tmp_path / "copy"), place
        place.unlink()
        assert not kept.recall(source, tmp_path / "copy"), place
        place.write_text("1")
        assert kept.recall(source, tmp_path / "copy")
    manifest.write_text('{"one": 1, "other": 3}')
    assert kept.recall(source, tmp_path / "copy")
    manifest.write_text('{"one": 2, "other": 2}')
    assert not kept.recall(source, tmp_path / "copy")


def test_a_chapter_that_reads_the_whole_manifest_depends_on_all_of_it(tmp_path):
    (tmp_path / "MANIFEST.json").write_text('{"one": 1}')
    kept, source = store(tmp_path, ["entry", f"{tmp_path}:"])
    (tmp_path / "MANIFEST.json").write_text('{"one": 1, "other": 2}')
    assert not kept.recall(source, tmp_path / "copy")


def test_what_changed_while_a_chapter_ran_is_not_kept_and_damage_is_no_error(tmp_path):
    (tmp_path / "data.bin").write_text("1")
    kept, source = store(tmp_path, ["file", str(tmp_path / "data.bin")])
    (tmp_path / "fresh" / "a.json").write_text("{")
    assert not kept.recall(source, tmp_path / "copy")
    kept.remember(source, source, tmp_path / "trace", 0.0)
    assert not kept.recall(source, tmp_path / "copy")


def test_a_watched_process_tells_modules_and_files(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out.txt").write_text("")
    (tmp_path / "in" / "a.txt").write_text("")
    code = (
        f"from topo import freshness; freshness.watch({str(tmp_path / 'trace')!r}, [{str(tmp_path / 'in')!r}])\n"
        f"import os; os.chdir({str(tmp_path)!r})\n"
        "for _ in range(2): open('in/a.txt'); open('out.txt'); open('in/own', 'w'); open('in/own')\n"
        "from topo import notation, inventory; inventory.entries('in')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=book.ROOT)
    told = [tuple(json.loads(line)) for line in (tmp_path / "trace").read_text().splitlines()]
    assert ("module", "topo.notation") in told and ("entry", f"{tmp_path / 'in'}:") in told
    assert [name for kind, name in told if kind == "file"] == [str(tmp_path / "in" / "a.txt")]


def test_what_is_being_downloaded_is_not_at_hand(tmp_path):
    for name in ("set.gz", "other.gz.part"):
        (tmp_path / name).write_bytes(b"x")
    assert [stamp[0] for stamp in freshness.stamps([tmp_path])] == [str(tmp_path / "set.gz")]


def test_a_training_in_the_background_changes_no_chapter_and_a_data_set_does(tmp_path, monkeypatch):
    cache = tmp_path / "data" / "cache"
    (cache / "training").mkdir(parents=True)
    monkeypatch.setattr(remote, "folders", lambda: [cache])
    before = book._surroundings(tmp_path)
    (cache / "training" / "members-0000-0003.safetensors").write_bytes(b"state")
    assert book._surroundings(tmp_path) == before
    (cache / "training-set").write_bytes(b"images")
    assert book._surroundings(tmp_path) != before
