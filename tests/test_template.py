"""The notebook that a new chapter starts from has the form of a chapter, but is no chapter. nbval executes it."""

import nbformat
import pytest
import test_chapters
import yaml

from topo import book

FORM = [
    test_chapters.test_it_opens_with_a_title_a_question_and_its_source,
    test_chapters.test_what_you_will_see_matches_the_headings,
    test_chapters.test_no_line_of_its_text_begins_a_comment_or_a_list_by_accident,
    test_chapters.test_its_parameters_are_declared_as_the_runner_reads_them,
    test_chapters.test_its_code_is_short_and_plain,
    test_chapters.test_its_figures_have_a_name_a_caption_and_alternative_text,
    test_chapters.test_its_outputs_are_those_of_one_run_without_errors,
    test_chapters.test_nbval_has_numbers_to_compare,
]


@pytest.mark.parametrize("check", FORM)
def test_it_has_the_form_of_a_chapter(check, monkeypatch):
    monkeypatch.setitem(test_chapters.CHAPTERS, book.TEMPLATE, book.chapter(book.TEMPLATE))
    check(book.TEMPLATE)


def test_it_is_no_chapter_of_the_book():
    assert book.TEMPLATE not in book.chapters()
    configuration = yaml.safe_load((book.ROOT / "_config.yml").read_text("utf-8"))
    assert f"book/{book.TEMPLATE}.ipynb" in configuration["exclude_patterns"]
    assert configuration["only_build_toc_files"]


def test_it_runs_with_other_parameters(tmp_path):
    out = book.run_chapter(book.chapter(book.TEMPLATE), {"networks": 2, "k": 50}, tmp_path / "out.ipynb")
    assert "-98" in str(nbformat.read(out, 4))
