"""Every chapter of the table of contents: its form, its saved outputs, and the page made of them."""

import ast
import re
from itertools import pairwise

import nbformat
import numpy as np
import pytest

from topo import book, parameters, spaces

CHAPTERS = book.chapters()
MOST_LINES, MOST_CHARACTERS = 15, 120  # of a code cell, and of a line; a parameter is one line, however long

TABLES_ONLY = {"stand-ins", "what-was-tried"}  # appendices to look things up in
each_chapter = pytest.mark.parametrize("name", CHAPTERS)


def cells(name, kind="code"):
    return [cell for cell in nbformat.read(CHAPTERS[name], 4).cells if cell.cell_type == kind]


def outputs(cell, *mimes):
    return [output.data[mime] for output in cell.outputs if "data" in output for mime in mimes if mime in output.data]


def figures(name):
    return [cell for cell in cells(name) if outputs(cell, "image/png")]


@each_chapter
def test_it_opens_with_a_title_a_question_and_its_source(name):
    first = nbformat.read(CHAPTERS[name], 4).cells[0]
    assert first.cell_type == "markdown" and re.match(r"# \S", first.source)
    assert "?" in first.source and re.search(r"\{cite\S*\}`\w+`", first.source)


@each_chapter
def test_what_you_will_see_matches_the_headings(name):
    text = "\n\n".join(cell.source for cell in cells(name, "markdown"))
    listed = text.split("What you will see", 1)[1].split("\n\n")[1].splitlines()
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings[-2:] == ["Discussion", "Exercises"]
    for item, heading in zip([line for line in listed if line.startswith("- ")], headings, strict=False):
        assert item.lower().startswith(f"- {heading.lower()}"), f"{item!r} is not about {heading!r}"


@pytest.mark.parametrize("name", ["intro", *CHAPTERS])
def test_no_line_of_its_text_begins_a_comment_or_a_list_by_accident(name):
    texts = (
        [cell.source for cell in cells(name, "markdown")]
        if name in CHAPTERS
        else [(book.ROOT / "book/intro.md").read_text()]
    )
    for text in texts:
        for before, line in pairwise(("", *text.splitlines())):
            assert not line.startswith("%"), f"{line!r} would not be shown"
            if re.match(r"\d+[.)] ", line):
                assert not before.strip() or re.match(r"\d+\. | {3}", before), f"{line!r} would begin a list"


@each_chapter
def test_its_parameters_are_declared_as_the_runner_reads_them(name):
    assert parameters.chapter_parameters(CHAPTERS[name])


def solutions(name):
    """The cells of a chapter from its exercises on."""
    all_cells = nbformat.read(CHAPTERS[name], 4).cells
    return all_cells[next(i for i, cell in enumerate(all_cells) if cell.source.startswith("## Exercises")) :]


@each_chapter
def test_its_code_is_short_and_plain(name):
    importing, solving = 0, {cell.id for cell in solutions(name)}
    for cell in cells(name):
        nodes = list(ast.walk(ast.parse(cell.source)))  # a magic or a shell command is no Python
        if cell.id not in solving:
            importing += any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in nodes)
        lines = cell.source.splitlines()
        if "parameters" not in cell.metadata.get("tags", ()):
            assert 1 <= len(lines) <= MOST_LINES and max(map(len, lines)) <= MOST_CHARACTERS, cell.source
        assert not cell.source.rstrip().endswith(";"), "nbval does not suppress what a semicolon suppresses"
    assert importing == 1


@each_chapter
def test_networks_that_parameters_name_are_loaded_first(name):
    """So that one that is not there, or not at this iteration, ends a run before it computes anything."""
    named = {each.name for each in parameters.chapter_parameters(CHAPTERS[name])}
    sources = [cell.source for cell in cells(name) if "parameters" not in cell.metadata.get("tags", ())]
    loading = [i for i, source in enumerate(sources) if re.search(r"archives?\.load\(|obtain_archive\(", source)]
    assert "archive" not in named or loading[:1] == [0]


@each_chapter
def test_every_exercise_has_a_solution_that_is_folded(pages, name):
    exercises, *solved = solutions(name)
    numbers = re.findall(r"^(\d+)\. ", exercises.source, re.MULTILINE)
    titles = [re.findall(r"^### (.*)$", cell.source, re.MULTILINE) for cell in solved if cell.cell_type == "markdown"]
    assert sum(titles, []) == [f"Solution {number}" for number in numbers]
    page = (pages / f"{name}.html").read_text("utf-8")
    folded = re.findall(r'<details class="solution"[^>]*>\s*<summary>(.*?)</summary>', page)
    assert folded == sum(titles, []) and 'href="#solution' not in page


@each_chapter
def test_its_figures_have_a_name_a_caption_and_alternative_text(name):
    assert bool(figures(name)) == (name not in TABLES_ONLY)
    for cell in figures(name):
        assert {"figure", "image"} <= set(cell.metadata.get("mystnb", ())), f"no mystnb metadata: {cell.source}"
        about = cell.metadata["mystnb"]
        assert about["figure"]["name"].startswith(f"fig-{name.split('-')[0]}-")
        assert len(about["figure"]["caption"]) > 20 and len(about["image"]["alt"]) > 20
        assert about["image"]["alt"] != about["figure"]["caption"]


def sliders(name):
    return [cell for cell in cells(name) if any('class="slides"' in html for html in outputs(cell, "text/html"))]


def test_no_two_figures_have_the_same_name_and_pictures_to_slide_through_are_figures():
    drawn = [cell for name in CHAPTERS for cell in figures(name) + sliders(name)]
    about = [cell.metadata["mystnb"]["figure"] for cell in drawn]
    assert len({each["name"] for each in about}) == len(about) and all(each["caption"] for each in about)
    assert len(about) > sum(len(figures(name)) for name in CHAPTERS)


@each_chapter
def test_its_outputs_are_those_of_one_run_without_errors(name):
    code = cells(name)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert {output.output_type for cell in code for output in cell.outputs} <= {
        "stream",
        "display_data",
        "execute_result",
    }
    assert not any(output.get("name") == "stderr" for cell in code for output in cell.outputs)
    assert set(nbformat.read(CHAPTERS[name], 4).metadata) == {"kernelspec", "language_info"}


@each_chapter
def test_nbval_has_numbers_to_compare(name):
    text = [str(text) for cell in cells(name) for text in outputs(cell, "text/html", "text/plain")]
    text += [output.text for cell in cells(name) for output in cell.outputs if output.output_type == "stream"]
    assert any(re.search(r"\d", shown) for shown in text if not re.match("<Figure|<IPython", shown))


@pytest.fixture
def pages(rendered):
    return rendered / "book"


@each_chapter
def test_its_page_shows_its_figures(pages, name):
    executed = nbformat.read(pages.parents[1] / "executed" / "book" / f"{name}.ipynb", 4)
    drawn = [cell for cell in executed.cells if cell.cell_type == "code" and outputs(cell, "image/png")]
    page = (pages / f"{name}.html").read_text("utf-8")
    shown = re.findall(r'<img [^>]*src="([^"]+)"', page)
    assert all(source.startswith("data:image/png;base64,") or (pages / source).exists() for source in shown)
    assert len([source for source in shown if "_images/" in source]) >= len(drawn)
    assert len(drawn) >= 2 or name in TABLES_ONLY, "a chapter has two figures or more"
    for cell in drawn:
        assert f'id="{cell.metadata["mystnb"]["figure"]["name"]}"' in page


def test_terms_are_linked_where_a_page_first_uses_them(pages):
    glossary, linked = (pages / "glossary.html").read_text("utf-8"), {}
    for name in CHAPTERS:
        page = (pages / f"{name}.html").read_text("utf-8")
        linked[name] = re.findall(r'<a class="term[^"]*" href="glossary.html#([^"]+)">([^<]+)</a>', page)
        anchors = [anchor for anchor, _ in linked[name]]
        assert len(set(anchors)) == len(anchors), "a term is linked once on a page"
        assert all(f'id="{anchor}"' in glossary for anchor in anchors)
    assert ("term-primary-circle", "primary circle") in linked["05-mnist"]
    assert "gains" not in {text for found in linked.values() for _, text in found}


def test_pages_bring_the_script_that_folds_their_code(pages):
    for page in sorted(pages.glob("*.html")):
        sources = re.findall(r'<script[^>]* src="([^"?]+code\.js)', page.read_text("utf-8"))
        assert [(page.parent / source).resolve() for source in sources] == [pages.parent / "_static" / "code.js"]
    assert (pages.parent / "_static" / "code.js").read_text() == (book.ROOT / "book/_extensions/code.js").read_text()


def test_a_chapter_runs_with_other_parameters(tmp_path):
    source = CHAPTERS["05-mnist"]
    before = source.read_bytes()
    out = book.run_chapter(source, {"k": 100, "p": 0.2, "draws": 19}, tmp_path / "05-mnist.ipynb")
    assert source.read_bytes() == before
    kept = {cell.id: cell for cell in cells("05-mnist")}
    ran = [cell for cell in nbformat.read(out, 4).cells if cell.id in kept and cell.cell_type == "code"]
    changed = [
        cell
        for cell in ran
        if outputs(cell, "text/html", "text/plain") != outputs(kept[cell.id], "text/html", "text/plain")
    ]
    assert len(ran) == len(kept) and changed


def test_ones_own_network_and_its_report_are_named_from_where_one_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    patches = spaces.primary_circle(np.random.default_rng(0).uniform(0, 2 * np.pi, 1000))
    np.savez(
        "mine.npz", conv=patches.T.reshape(3, 3, 10, 100).astype(np.float32), stem=np.ones((1, 7, 8, 8), np.float32)
    )
    out = book.run_chapter(
        CHAPTERS["your-own-network"], {"weights": "mine.npz", "out": "report", "draws": 1}, "out.ipynb"
    )
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["layers.csv", "report.html"]
    shown = "".join(
        text for cell in nbformat.read(out, 4).cells if cell.cell_type == "code" for text in outputs(cell, "text/plain")
    )
    assert re.search(r"conv +1,000 +5 +0.2 +1 ", shown)
    with pytest.raises(book.BookError, match="nowhere.npz is not there"):
        book.run_chapter(CHAPTERS["your-own-network"], {"weights": "nowhere.npz"}, "out.ipynb")


def test_a_chapter_trains_its_own_networks(tmp_path):
    scale = {"networks": 4, "iterations": 60, "networks_second": 2, "k": 8, "ks_second": [10, 20]}
    scale |= {"landmarks": 20, "draws": 19, "other_batch": ""}
    out = book.run_chapter(
        CHAPTERS["05-mnist"], {"source": "train", "dataset": "digits", "others": [], **scale}, tmp_path / "out.ipynb"
    )
    text = [
        text for cell in nbformat.read(out, 4).cells if cell.cell_type == "code" for text in outputs(cell, "text/plain")
    ]
    assert any(re.search(r"networks +100 +4 ", shown) for shown in text)
