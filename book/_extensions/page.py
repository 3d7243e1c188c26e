"""What all pages share: their style, and the switch that folds and unfolds code. An extension of Sphinx.

Knows the files beside it; must not know the book.
"""

from pathlib import Path


def setup(app):
    """Add page.css and code.js to every page."""
    app.add_css_file("page.css")
    app.add_js_file("code.js")
    app.connect("builder-inited", _provide)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _provide(app):
    here = Path(__file__).parent
    app.config.html_static_path += [str(here / name) for name in ("page.css", "code.js")]
