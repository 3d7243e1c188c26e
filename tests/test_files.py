import os
import re

import pytest

from topo import book, campaign, files, populations


def test_a_folder_that_cannot_be_written_is_found_out_and_nothing_is_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file is a file, not a folder"):
        files.check_folder(tmp_path / "file" / "deeper")
    assert files.check_folder(tmp_path / "new" / "deeper") == tmp_path / "new" / "deeper"
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr(files.os, "access", lambda *arguments: False)
    with pytest.raises(PermissionError, match="is not writable"):
        files.check_folder(tmp_path / "new")


def test_it_is_found_out_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(campaign, "train", lambda *arguments, **how: pytest.fail("it was trained"))
    wanted = populations.plan("mnist-M-64-0-64", networks=1, iterations=1, dataset="digits")
    with pytest.raises(NotADirectoryError, match="not a folder"):
        campaign.complete("some", wanted, tmp_path / "file" / "archives")
    monkeypatch.setattr("papermill.execute_notebook", lambda *arguments, **how: pytest.fail("it was executed"))
    chapter = book.chapters()["02-persistent-homology"]
    with pytest.raises(NotADirectoryError, match="not a folder"):
        book.run_chapter(chapter, {}, tmp_path / "file" / "out.ipynb")
    with pytest.raises(NotADirectoryError, match="not a folder"):
        book.build(tmp_path / "file" / "html")


def test_a_brief_name_is_short_and_differs_where_the_whole_does():
    one, other = files.brief("x" * 300, "one"), files.brief("x" * 300, "other")
    assert len(one) == len(other) == 120 and one != other and one[:111] == "x" * 111
    assert files.brief("model", os.fsdecode(b"\xff")).startswith("model-")


def test_a_folder_is_replaced_whole(tmp_path, monkeypatch):
    out, made = tmp_path / "deeper" / "out", tmp_path / "made"
    for content in ("first", "second"):
        made.mkdir()
        (made / content).write_text(content)
        files.replace_folder(out, made)
        assert [path.name for path in out.iterdir()] == [content] and list(out.parent.iterdir()) == [out]
    made.mkdir()
    (made / "third").write_text("third")

    def killed(folder, ignore_errors):
        if folder.exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(files.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        files.replace_folder(out, made)
    assert [path.name for path in out.iterdir()] == ["third"]  # what is half removed is the old one, beside it


def test_every_file_of_the_package_is_in_its_wheel():
    folder, globs = re.search(r'"topo\.(\w+)" = \[(.*)\]', (book.ROOT / "pyproject.toml").read_text()).groups()
    packed = {path for each in globs.split(", ") for path in (book.ROOT / "topo" / folder).glob(each.strip('"'))}
    there = {path for path in (book.ROOT / "topo").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path for path in there if path.suffix != ".py"} == packed
