"""What all pages share: style, scripts, where they are from, and markup that assistive software reads.

An extension of Sphinx. Knows the files beside it, those of topo.figures and of the theme; must not know the book.
"""

import json
import re
import subprocess
from functools import partial
from html import escape, unescape
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

HERE, FIGURES = Path(__file__).parent, Path(find_spec("topo").submodule_search_locations[0]) / "figures"
ANSWERING = [FIGURES / name for name in ("answers.css", "answers.js", "graph.js", "bars.js")]
FILES = (HERE / "page.css", HERE / "code.js", *ANSWERING, HERE / "figures.js")
ANSWERS = "application/vnd.topo.answers"  # topo.figures.style.MIMETYPE, whose import would take a second

_ICON = re.compile(r'"?([a-z0-9-]+)"?:\[\d+,\d+,\[[^\]]*\],"[0-9a-f]+",(?:"[^"]*"|\["[^"]*","[^"]*"\])\],?')
_QUESTION = re.compile(r"<p><strong>Question\.</strong>(.*?)</p>|<p>(.*?)</p>", re.DOTALL)
_EXERCISES = re.compile(r'(<section id="exercises">\s*<h2>.*?</h2>)', re.DOTALL)
_PICTURE = re.compile(r'<img ([^>]*src="([^"]+\.png)"[^>]*?) ?/?>(?!<span class="tiles")')
_DPI = 110  # at which a page shows pictures that say their resolution, as topo.figures.use_style has it
_LEGIBLE = 515  # pixels of a page: letters of a wider picture are too small where a phone's 340 must do, see page.css
_MENDED = (
    # a header without text heads nothing
    (re.compile(r"<th(?: [^>]*)?>(?:<p></p>)?</th>"), "<td></td>"),
    # docutils puts entries of a bibliography, whose role is deprecated, into a list
    (re.compile(r'role="doc-biblioentry"'), 'role="listitem"'),
    # the theme's buttons have names that differ from the text in them: that of the keys, and that of the icons
    (re.compile(r'(<button class="btn search-button-field[^>]*) aria-label="Search"'), r"\1"),
    (re.compile(r'(<i class="theme-switch [^>]*) title="[^"]*"'), r"\1"),
    # what unfolds a part of the contents is an icon, and is named by nothing
    (re.compile(r'<summary>(?=<span class="toctree-toggle")'), '<summary aria-label="Pages of this part">'),
    # the source of a page is saved, not shown
    (re.compile(r'(<a href="[^"]*_sources/[^"]*") target="_blank"'), r"\1 download"),
)


def setup(app):
    """Connect to what Sphinx does: files are added first, pages are mended when all are written."""
    for file in FILES:
        (app.add_css_file if file.suffix == ".css" else app.add_js_file)(file.name)
    app.connect("config-inited", _offer)
    app.connect("builder-inited", _provide)
    app.connect("html-page-context", _describe)
    app.connect("html-page-context", _add_answers)
    app.connect("html-page-context", _say_how_long)
    app.connect("build-finished", _finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _offer(app, config):
    """Buttons to the repository, Binder and Colab, where `repository: url` of _config.yml gives an address."""
    options = config.html_theme_options
    if options.get("repository_url"):
        hosts = {"binderhub_url": "https://mybinder.org", "colab_url": "https://colab.research.google.com"}
        options.update(use_repository_button=True, launch_buttons={**options.get("launch_buttons", {}), **hosts})


def _provide(app):
    app.config.html_static_path += map(str, FILES)
    app.config.html_theme_options["extra_footer"] = f"<p>{_edition(app.srcdir)}</p>"


def _edition(folder):
    """The version of topo, and the commit that `folder` is of where Git knows it."""
    try:
        said = f"Version {version('topo')}"
    except PackageNotFoundError:
        said = "Version unknown"
    try:
        command = "git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*"
        asked = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 -- no shell reads it
        commit = asked.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return said
    return f"{said}, commit {commit}"


def _describe(app, pagename, templatename, context, doctree):
    """Describe the page by the question in it, or by its first paragraph."""
    if asked := _QUESTION.search(context.get("body") or ""):
        words = unescape(" ".join(re.sub(r"<[^>]+>", "", asked[1] or asked[2]).split()))
        context["metatags"] = f'{context.get("metatags", "")}<meta name="description" content="{escape(words)}" />'


def _notebook(app, pagename, doctree):
    """The notebook that a page is made of; one without anything for other pages."""
    source = Path(app.env.doc2path(pagename)) if doctree is not None else None
    if source is None or source.suffix != ".ipynb":
        return {"cells": [], "metadata": {}}
    return json.loads(source.read_text("utf-8"))


def _add_answers(app, pagename, templatename, context, doctree):
    """Put the data of pictures that answer, which a notebook's figures hold, where answers.js looks for them."""
    for cell in _notebook(app, pagename, doctree)["cells"]:
        name = cell["metadata"].get("mystnb", {}).get("figure", {}).get("name")
        for output in cell.get("outputs", ()):
            if name and ANSWERS in output.get("data", {}):
                data = "".join(output["data"][ANSWERS]).replace("<", "\\u003c")
                script = f'<script type="application/json" class="answers" data-picture="{name}">{data}</script>'
                context["body"] += script


def _say_how_long(app, pagename, templatename, context, doctree):
    """Above the exercises, whose commands run the chapter, say how long that took, as topo.book.TOOK has it."""
    took = _notebook(app, pagename, doctree)["metadata"].get("took")
    if took:
        time = f"{took['seconds']} seconds" if took["seconds"] < 100 else f"{took['seconds'] / 60:.1f} minutes"
        processors = "one processor" if took["processors"] == 1 else f"{took['processors']} processors"
        said = f"When this page was made, its code ran for about {time} on {processors}."
        context["body"] = _EXERCISES.sub(rf"\1\n<p>{said}</p>", context["body"], count=1)


def _sized(folder, picture):
    """The <img> with the size to show it at, so that a page does not jump when its picture comes, and its tiles."""
    file = folder / picture[2]
    if not file.exists():
        return picture[0]
    with Image.open(file) as image:
        scales = [_DPI / dpi for dpi in image.info.get("dpi", (_DPI, _DPI))]
        tiles = _tiles(picture[2], image.size, scales[0], json.loads(image.info.get("tiles", "[]")))
        sizes = [round(pixels * scale) for pixels, scale in zip(image.size, scales)]
        said = ' data-wordless=""' if "wordless" in image.info and "data-wordless" not in picture[1] else ""
    if "width" not in picture[1]:
        said += ' width="{}" height="{}"'.format(*sizes)
    return f"<img {picture[1]}{said} />{tiles}"


def _tiles(source, size, scale, tiles):
    """What a narrow page shows instead of a picture: its panels below one another, each a view of the same file.

    size: of the picture, in its pixels; scale: a page's pixels to one of them; tiles: as topo.tiles has them.
    Nothing where the picture is legible on a phone, or a tile is not, so that the picture scrolls.
    """
    sizes = [(max(x + w for _, _, w, _, x, _ in tile), max(y + h for _, _, _, h, _, y in tile)) for tile in tiles]
    if not tiles or max(width for width, _ in sizes) * scale > _LEGIBLE or size[0] * scale <= _LEGIBLE:
        return ""
    image = f'<image href="{source}" width="{size[0]}" height="{size[1]}" />'
    views = [
        f'<svg viewBox="0 0 {width} {height}" style="--width: {round(width * scale)}px">'
        + "".join(
            f'<svg x="{x}" y="{y}" width="{w}" height="{h}" viewBox="{left} {top} {w} {h}">{image}</svg>'
            for left, top, w, h, x, y in tile
        )
        + "</svg>"
        for tile, (width, height) in zip(tiles, sizes)
    ]
    return f'<span class="tiles" aria-hidden="true">{"".join(views)}</span>'


def _finish(app, exception):
    """Mend the markup of all pages and size their pictures; keep those icons that a page or a script names."""
    if exception or app.builder.format != "html":
        return
    folder = Path(app.outdir)
    icons = folder / "_static" / "scripts" / "fontawesome.js"
    used = set()
    for path in [*folder.rglob("*.html"), *folder.rglob("*.js")]:
        if path == icons:
            continue
        before = text = path.read_text("utf-8")
        used.update(re.findall(r"\bfa-([a-z0-9-]+)", text))
        if path.suffix == ".html":
            for pattern, replacement in _MENDED:
                text = pattern.sub(replacement, text)
            text = _PICTURE.sub(partial(_sized, path.parent), text)
        if text != before:
            path.write_text(text, "utf-8")
    text = icons.read_text("utf-8")
    icons.write_text(_ICON.sub(lambda icon: icon[0] if icon[1] in used else "", text), "utf-8")
    for source_map in (folder / "_static").rglob("*.map"):
        source_map.unlink()
