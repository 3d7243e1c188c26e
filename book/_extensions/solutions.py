"""Folds the solutions of exercises: an extension of Sphinx.

A section whose title begins with "Solution" becomes a <details>, which opens without scripts and is no entry of the
page's contents. Knows sections; must not know what is solved.
"""

from docutils import nodes
from sphinx.transforms import SphinxTransform


class solution(nodes.General, nodes.Element):
    """What a reader unfolds; `summary` is what is there before."""


class Fold(SphinxTransform):
    """Runs before labels and the page's contents are collected, so that neither knows the section."""

    default_priority = 400

    def apply(self, **_):
        """Replace each such section."""
        for section in list(self.document.findall(nodes.section)):
            title = section.next_node(nodes.title)
            if title is not None and title.astext().startswith("Solution"):
                folded = solution("", *section.children[1:], ids=section["ids"], summary=title.astext())
                section.replace_self(folded)


def setup(app):
    """Register the node, for pages only, and its transform."""
    app.add_node(solution, html=(_open, _close))
    app.add_transform(Fold)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _open(writer, node):
    summary = writer.encode(node["summary"])
    writer.body.append(writer.starttag(node, "details", CLASS="solution") + f"<summary>{summary}</summary>\n")


def _close(writer, node):
    writer.body.append("</details>\n")
