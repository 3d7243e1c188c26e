"""Links each term of the glossary where a page first uses it: an extension of Sphinx.

Knows the terms that Sphinx has collected; must not know what they mean.
"""

import re

from docutils import nodes

# Words of everyday English that the glossary gives a meaning for one place only are not linked everywhere.
_EVERYDAY = {
    "near, on a circle",
    "half",
    "patch",
    "cloud",
    "region",
    "hole",
    "peak, depth",
    "resolution, gain",
    "null",
    "trial",
    "loop",
}
_NO_LINKS_IN = (
    nodes.reference, nodes.citation, nodes.literal, nodes.literal_block, nodes.title, nodes.math, nodes.raw, nodes.table
)  # fmt: skip


def setup(app):
    """Link the terms when a page is written, when all terms are known."""
    app.connect("doctree-resolved", _link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _patterns(app, docname):
    """{expression: address} of the terms of other pages, longest first."""
    found = {}
    for term, _, kind, page, anchor, _ in app.env.domains["std"].get_objects():
        if kind == "term" and page != docname and term.lower() not in _EVERYDAY:
            for word in term.split(", "):
                expression = re.compile(rf"\b{re.escape(word)}s?\b", re.IGNORECASE)
                found[expression] = f"{app.builder.get_relative_uri(docname, page)}#{anchor}"
    return dict(sorted(found.items(), key=lambda item: -len(item[0].pattern)))


def _link(app, doctree, docname):
    if app.builder.format != "html":
        return
    left = _patterns(app, docname)
    for text in list(doctree.findall(nodes.Text)):
        if text.parent is None or not _in_prose(text):
            continue
        parts = [text]
        for expression, address in list(left.items()):
            for i, part in enumerate(parts):
                match = expression.search(part.astext()) if isinstance(part, nodes.Text) else None
                if match:
                    whole, (start, end) = part.astext(), match.span()
                    link = nodes.reference("", match.group(), internal=True, refuri=address, classes=["term"])
                    parts[i : i + 1] = [nodes.Text(whole[:start]), link, nodes.Text(whole[end:])]
                    left = {known: place for known, place in left.items() if place != address}
                    break
        if len(parts) > 1:
            text.parent.replace(text, [part for part in parts if part.astext()])


def _in_prose(node):
    inside = False
    while node.parent is not None:
        node = node.parent
        if isinstance(node, _NO_LINKS_IN):
            return False
        inside = inside or isinstance(node, nodes.paragraph)
    return inside
