"""The rendered book as one PDF, printed by Chromium.

Knows the pages' markup and how Chromium is called; must not know how pages are made.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urljoin, urlparse
from urllib.request import url2pathname

from topo.files import check_folder, write_atomically

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_COLUMN = 170  # millimetres: the width of a page of print.css without its margins
_TALLEST, _WHOLE_PAGE = 120, 220  # millimetres: the height that pictures have, and that those have which need it
_DROPPED = "a.headerlink, script, .tiles, .toctree-wrapper, .tag_remove-cell"


def browser() -> str:
    """The path of an installed Chromium. Raises FileNotFoundError where there is none, with what to install."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        raise FileNotFoundError(f"the PDF is printed by Chromium, and none of {', '.join(BROWSERS)} is installed")
    return found


def write_pdf(html: str | Path, pages: Sequence[str], style: str | Path, out: str | Path) -> Path:
    """Print pages of a rendered book as one PDF, with links between them and a bookmark for each heading.

    html: folder of the book. pages: their names, in order, such as "book/intro"; the first one is the front page.
    style: a stylesheet for print. out: the file, written whole or not at all.
    Returns `out`. Raises FileNotFoundError where there is no Chromium or no such page, OSError where Chromium fails.
    """
    html, out, chromium = Path(html).resolve(), Path(out).resolve(), browser()
    check_folder(out.parent)
    with tempfile.TemporaryDirectory() as scratch:
        one, printed = Path(scratch) / "book.html", Path(scratch) / "book.pdf"
        one.write_text(one_document(html, pages, style), "utf-8")
        # as root Chromium needs to be told that it runs without a sandbox of its own; it opens our own pages only
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        options += [
            "--headless",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-sync",
        ]
        options += ["--disable-component-update", f"--user-data-dir={scratch}/profile", "--no-pdf-header-footer"]
        options += ["--generate-pdf-document-outline", f"--print-to-pdf={printed}", "--timeout=60000"]
        ended = subprocess.run([chromium, *options, one.as_uri()], capture_output=True, text=True)  # noqa: S603 -- a list
        if ended.returncode or not printed.exists():
            said = ended.stderr.strip().splitlines() or [f"it ended with {ended.returncode}"]
            raise OSError(f"{chromium} did not print the book: {said[-1]}")
        write_atomically(out, printed.read_bytes())
    return out


def one_document(html: Path, pages: Sequence[str], style: str | Path) -> str:
    """One HTML document of several pages: a title, a list of contents, and the pages with links among themselves.

    Arguments as for `write_pdf`. An id gets the name of its page before it. A link to a page that is not among them
    becomes plain text.
    """
    from bs4 import BeautifulSoup

    articles: list[str] = []
    contents: list[str] = []
    title = edition = ""
    for name in pages:
        path = html / f"{name}.html"
        if not path.exists():
            raise FileNotFoundError(f"there is no page {path}: make the book first")
        soup: Any = BeautifulSoup(path.read_text("utf-8"), "html.parser")
        article = soup.select_one("article.bd-article")
        for dropped in article.select(_DROPPED):
            dropped.decompose()
        heading = escape(" ".join(article.h1.get_text().split()))
        if not articles:
            title, edition = heading, escape(soup.select_one(".bd-footer-content").get_text(" ", strip=True))
        for each in article.select("[id]"):
            each["id"] = f"{name}--{each['id']}"
        for image in article.select("img[src]"):
            image["src"] = urljoin(path.as_uri(), image["src"])
            _fit(image)
        for link in article.select("a[href]"):
            _relink(link, path, html, pages)
        for folded in article.select("details"):
            folded["open"] = ""
        contents.append(f'<li><a href="#{name}">{heading}</a></li>')
        articles.append(f'<article id="{name}">{article.decode_contents()}</article>')
    colours = (html / "_static" / "pygments.css").read_text("utf-8")
    css = f"<style>{colours}</style><style>{Path(style).read_text('utf-8')}</style>"
    head = f'<meta charset="utf-8"><title>{title}</title>{css}'
    front = f'<header><p class="title">{title}</p><p>{edition}</p><ol>{"".join(contents)}</ol></header>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{front}{"".join(articles)}</body></html>'


def _fit(image: Any) -> None:
    """Let a picture of a known size be as large as on its page, or as the paper allows, and never out of shape.

    A tall one takes more of the paper than others, as its letters could not be read otherwise.
    """
    size = dict(re.findall(r"\b(width|height): *([\d.]+)px", image.get("style", "")))
    size |= {name: image[name] for name in ("width", "height") if image.get(name, "").isdigit()}
    if len(size) == 2:
        width, height = float(size["width"]), float(size["height"])
        across = min(width * 25.4 / 96, _COLUMN)  # a CSS pixel is a 96th of an inch
        tallest = min(_WHOLE_PAGE, max(_TALLEST, 0.7 * across * height / width))
        fits = f"min(100%, {width:g}px, {tallest * width / height:.1f}mm)"
        image["style"] = f"height: auto; max-height: none; width: {fits};"


def _relink(link: Any, path: Path, html: Path, pages: Sequence[str]) -> None:
    """Let a link lead to the same place within the one document."""
    address, anchor = urldefrag(urljoin(path.as_uri(), link["href"]))
    if not address.startswith("file:"):
        return
    name = os.path.relpath(url2pathname(urlparse(address).path), html).removesuffix(".html")
    if name in pages:
        link["href"] = f"#{name}--{anchor}" if anchor else f"#{name}"
    else:
        del link["href"]
