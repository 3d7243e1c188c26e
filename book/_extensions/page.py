"""What all pages share: style, scripts, where they are from, and markup that assistive software reads.

An extension of Sphinx. Knows the files beside it and the theme's files; must not know the book.
"""

import re
import subprocess
from html import escape, unescape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).parent
FILES = ("page.css", "code.js", "figures.js")

_ICON = re.compile(r'"?([a-z0-9-]+)"?:\[\d+,\d+,\[[^\]]*\],"[0-9a-f]+",(?:"[^"]*"|\["[^"]*","[^"]*"\])\],?')
_QUESTION = re.compile(r"<p><strong>Question\.</strong>(.*?)</p>|<p>(.*?)</p>", re.DOTALL)
_MENDED = (
    # a header without text heads nothing
    (re.compile(r"<th(?: [^>]*)?>(?:<p></p>)?</th>"), "<td></td>"),
    # docutils puts entries of a bibliography, whose role is deprecated, into a list
    (re.compile(r'role="doc-biblioentry"'), 'role="listitem"'),
    # the theme's buttons have names that differ from the text in them: that of the keys, and that of the icons
    (re.compile(r'(<button class="btn search-button-field[^>]*) aria-label="Search"'), r"\1"),
    (re.compile(r'(<i class="theme-switch [^>]*) title="[^"]*"'), r"\1"),
)


def setup(app):
    """Connect to what Sphinx does: files are added first, pages are mended when all are written."""
    for name in FILES:
        (app.add_css_file if name.endswith(".css") else app.add_js_file)(name)
    app.connect("builder-inited", _provide)
    app.connect("html-page-context", _describe)
    app.connect("build-finished", _finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _provide(app):
    app.config.html_static_path += [str(HERE / name) for name in FILES]
    app.config.html_theme_options["extra_footer"] = f"<p>{_edition(app.srcdir)}</p>"


def _edition(folder):
    """The version of topo, and the commit that `folder` is of where Git knows it."""
    try:
        said = f"Version {version('topo')}"
    except PackageNotFoundError:
        said = "Version unknown"
    try:
        command = "git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*"
        commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return said
    return f"{said}, commit {commit}"


def _describe(app, pagename, templatename, context, doctree):
    """Describe the page by the question in it, or by its first paragraph."""
    if asked := _QUESTION.search(context.get("body") or ""):
        words = unescape(" ".join(re.sub(r"<[^>]+>", "", asked[1] or asked[2]).split()))
        context["metatags"] = f'{context.get("metatags", "")}<meta name="description" content="{escape(words)}" />'


def _finish(app, exception):
    """Mend the markup of all pages; keep those icons that a page or a script names: of the script, a twentieth."""
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
        if text != before:
            path.write_text(text, "utf-8")
    text = icons.read_text("utf-8")
    icons.write_text(_ICON.sub(lambda icon: icon[0] if icon[1] in used else "", text), "utf-8")
    for source_map in (folder / "_static").rglob("*.map"):
        source_map.unlink()
