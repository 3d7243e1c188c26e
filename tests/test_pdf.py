"""The book as one PDF: what is put into it, and what Chromium makes of that."""

import re

import pytest

from topo import __main__, book, pdf

FRONT = """<html><body><article class="bd-article"><section id="a-book"><h1>A book<a class="headerlink">#</a></h1>
<p><a href="two.html#part">there</a>, <a href="#a-book">here</a>, <a href="https://example.org/x">away</a>,
<a href="other.html">gone</a></p><script>1</script></section></article>
<footer class="bd-footer-content">Version 7</footer></body></html>"""
SECOND = """<html><body><article class="bd-article"><h1>Two &amp; more</h1><h2 id="part">Part</h2>
<img src="../_images/a.png" alt="A"><span class="tiles"></span>
<details><summary>Solution</summary>It is.</details></article></body></html>"""
PAGES = ["book/intro", "book/two"]


@pytest.fixture
def html(tmp_path):
    folder = tmp_path / "html"
    for name, text in (("book/intro.html", FRONT), ("book/two.html", SECOND), ("_static/pygments.css", "")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (tmp_path / "print.css").write_text("article { break-before: page }")
    return folder


def test_pages_become_one_document_whose_links_stay_inside(html, tmp_path):
    text = pdf.one_document(html, PAGES, tmp_path / "print.css")
    assert '<a href="#book/two--part">there</a>' in text and '<h2 id="book/two--part">' in text
    assert '<a href="#book/intro--a-book">here</a>' in text and '<section id="book/intro--a-book">' in text
    assert '<a href="https://example.org/x">away</a>' in text and "<a>gone</a>" in text
    assert f'src="{(html / "_images" / "a.png").as_uri()}"' in text and '<details open="">' in text
    assert '<p class="title">A book</p><p>Version 7</p>' in text and "<script" not in text
    assert 'class="tiles"' not in text
    contents = '<li><a href="#book/intro">A book</a></li><li><a href="#book/two">Two &amp; more</a></li>'
    assert contents in text
    with pytest.raises(FileNotFoundError, match="there is no page .*three.html: make the book first"):
        pdf.one_document(html, [*PAGES, "book/three"], tmp_path / "print.css")


@pytest.mark.parametrize("size", ['style="width: 804px; height: 402px;"', 'height="402" width="804"'])
def test_pictures_keep_their_proportions_where_paper_has_less_room(html, tmp_path, size):
    page = html / "book" / "two.html"
    page.write_text(page.read_text().replace('alt="A"', f'alt="A" {size}'))
    text = pdf.one_document(html, PAGES, tmp_path / "print.css")
    style = re.search(r'<img [^>]*style="([^"]*)"', text)[1]
    assert "height: auto" in style and "max-height: none" in style and "height: 4" not in style
    assert "min(100%, 804px, 240.0mm)" in style  # no higher than 120 mm


def test_tall_pictures_take_more_of_the_paper(html, tmp_path):
    page = html / "book" / "two.html"
    known = page.read_text()
    widths = {}
    for height in (800, 1000, 2000):
        page.write_text(known.replace('alt="A"', f'alt="A" width="800" height="{height}"'))
        text = pdf.one_document(html, PAGES, tmp_path / "print.css")
        widths[height] = float(re.search(r"800px, ([\d.]+)mm", text)[1])
    assert widths[800] == 120 and widths[1000] == pytest.approx(0.7 * 170, abs=0.1) and widths[2000] == 220 / 2.5


def test_chromium_prints_pages_with_bookmarks(html, tmp_path):
    if not any(map(pdf.shutil.which, pdf.BROWSERS)):
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    out = pdf.write_pdf(html, PAGES, tmp_path / "print.css", tmp_path / "new" / "book.pdf")
    content = out.read_bytes()
    assert content.startswith(b"%PDF-") and len(re.findall(rb"/Type /Page\b", content)) == 3
    titles = re.findall(rb"/Title \((.*?)\)", content)
    assert {b"A book", b"Two & more", b"Part"} <= set(titles)
    assert [path.name for path in out.parent.iterdir()] == ["book.pdf"]


def test_a_chromium_that_fails_leaves_the_last_pdf(html, tmp_path, monkeypatch):
    monkeypatch.setattr(pdf, "BROWSERS", ("false",))
    (tmp_path / "book.pdf").write_text("the last one")
    with pytest.raises(OSError, match="false did not print the book: it ended with 1"):
        pdf.write_pdf(html, PAGES, tmp_path / "print.css", tmp_path / "book.pdf")
    assert (tmp_path / "book.pdf").read_text() == "the last one"


def test_without_chromium_nothing_is_executed(monkeypatch, capsys):
    monkeypatch.setattr(pdf.shutil, "which", lambda name: None)
    monkeypatch.setattr(book, "build", lambda *_: pytest.fail("the book was built"))
    assert __main__.main(["book", "--pdf"]) == 2
    assert capsys.readouterr().err == (
        "topo: the PDF is printed by Chromium, and none of chromium, chromium-browser, google-chrome is installed\n"
    )
