"""Formulas as MathML, which browsers show without JavaScript and so without a network: an extension of Sphinx.

Knows docutils' converter and Sphinx's nodes; must not know the book.
"""

import re

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number


def setup(app):
    """Register the renderer; `html_math_renderer: mathml` chooses it."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def mathml(latex, display=False):
    r"""A <math> element for a formula in LaTeX; `align` environments are aligned without numbers for their lines.

    Raises docutils.utils.math.MathError for a command that docutils cannot convert.

    >>> mathml(r"\rho").replace("\n", "")
    '<math xmlns="http://www.w3.org/1998/Math/MathML">  <mi>ρ</mi></math>'
    """
    latex = re.sub(r"\\(begin|end)\{align\*?\}", r"\\\1{aligned}", latex).strip()
    return latex2mathml.tex2mathml(latex, as_block=display)


def _convert(node, display):
    try:
        return mathml(node.astext(), display)
    except MathError as error:
        logging.getLogger(__name__).warning("formula %r: %s", node.astext(), error, location=node)
        return "<code></code>"


def _inline(writer, node):
    writer.body.append(_convert(node, display=False))
    raise nodes.SkipNode


def _display(writer, node):
    writer.body.append(writer.starttag(node, "div", CLASS="math notranslate nohighlight"))
    if node["number"]:
        writer.body.append(f'<span class="eqno">({get_node_equation_number(writer, node)})')
        writer.add_permalink_ref(node, "Link to this equation")
        writer.body.append("</span>")
    writer.body.append(_convert(node, display=True) + "</div>\n")
    raise nodes.SkipNode
