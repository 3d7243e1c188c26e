"""Pages of the package, made of its docstrings, and links to them from names in the chapters: an extension of Sphinx.

Knows syntax trees and how this project writes docstrings; must not know what the modules do. The source is read and
not imported, so that types have the names and axes that are written, and a page costs next to nothing.
"""

import ast
import re
from importlib.util import find_spec
from inspect import cleandoc
from pathlib import Path

from docutils import nodes
from sphinx.util.nodes import make_refnode

PACKAGE = Path(find_spec("topo").submodule_search_locations[0])
_NAME = re.compile(r"(?:topo\.)?([a-z_]+(?:\.\w+)+)(?:\(.*\))?")
_CODE = re.compile(r"(`+[^`]*`+)")


def setup(app):
    """Write the pages, and the table that `book/reference.md` includes, before Sphinx looks for any."""
    app.connect("config-inited", _write, priority=100)
    app.connect("missing-reference", _find)
    app.connect("doctree-resolved", _link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def modules():
    """{name: path} of the modules of topo, without the command line and with `figures` as one."""
    paths = {path.stem: path for path in PACKAGE.glob("*.py") if not path.name.startswith("_")}
    return dict(sorted({**paths, "figures": PACKAGE / "figures" / "__init__.py"}.items()))


def _write(app, config):
    front, folder = Path(app.srcdir) / "book" / "reference.md", Path(app.srcdir) / "book" / "reference"
    if not front.exists():
        return
    folder.mkdir(exist_ok=True)
    rows = ["| module | what it is for |", "|---|---|"]
    for name, path in modules().items():
        text = "\n".join(page(f"topo.{name}", path))
        (folder / f"{name}.md").write_text(f"# topo.{name}\n\n```{{eval-rst}}\n{text}\n```\n", "utf-8")
        purpose = ast.get_docstring(ast.parse(path.read_text("utf-8"))).splitlines()[0]
        rows.append(f"| [topo.{name}](reference/{name}.md) | {purpose} |")
    (folder / "modules.txt").write_text("\n".join(rows), "utf-8")


def page(module, path):
    """The lines, in reStructuredText, that describe a module: its docstring, its functions and its classes.

    Of a package it is what its `__init__` imports from its own modules.
    """
    tree = ast.parse(path.read_text("utf-8"))
    yield from (f".. py:module:: {module}", "", *_prose(ast.get_docstring(tree)))
    body = tree.body
    if path.name == "__init__.py":
        body = []
        for each in tree.body:
            if isinstance(each, ast.ImportFrom) and each.module.startswith(f"{module}."):
                home = ast.parse((path.parent / f"{each.module.split('.')[-1]}.py").read_text("utf-8"))
                names = {alias.name for alias in each.names}
                body += [node for node in home.body if getattr(node, "name", None) in names]
    for node in body:
        if isinstance(node, ast.Assign) and path.stem == "types":
            yield from _alias(node, path.read_text("utf-8"))
        yield from _described(node, "")


def _described(node, indent):
    """A function, or a class with its methods; nothing where it has no docstring or is not public."""
    inside = bool(indent)
    if (
        not isinstance(node, (ast.FunctionDef, ast.ClassDef))
        or node.name.startswith("_")
        or not ast.get_docstring(node)
    ):
        return
    decorators = {ast.unparse(each) for each in node.decorator_list}
    if isinstance(node, ast.ClassDef):
        kind, arguments = "class", _fields(node)
    elif "property" in decorators:
        kind, arguments = "property", ""
    else:
        kind = "method" if inside else "function"
        names = node.args.posonlyargs + node.args.args
        own = inside and "staticmethod" not in decorators and bool(names)
        arguments = (
            f"({ast.unparse(node.args).removeprefix(names[0].arg).lstrip(', ') if own else ast.unparse(node.args)})"
        )
        arguments += f" -> {ast.unparse(node.returns)}" if node.returns else ""
    yield f"{indent}.. py:{kind}:: {node.name}{arguments}"
    if kind == "property" and node.returns:
        yield f"{indent}   :type: {ast.unparse(node.returns)}"
    yield ""
    for line in _prose(ast.get_docstring(node)):
        yield f"{indent}   {line}" if line else ""
    for each in node.body if kind == "class" else ():
        yield from _described(each, indent + "   ")


def _fields(node):
    """What a class is made with: its `__init__`, or the fields of a dataclass or a named tuple."""
    for each in node.body:
        if isinstance(each, ast.FunctionDef) and each.name == "__init__":
            return f"({ast.unparse(each.args).removeprefix('self').lstrip(', ')})"
    fields = [ast.unparse(each) for each in node.body if isinstance(each, ast.AnnAssign)]
    return f"({', '.join(fields)})" if fields else ""


def _alias(node, source):
    """A type that annotations share has no docstring, but a definition and perhaps a comment."""
    said = source.splitlines()[node.end_lineno - 1].partition("  # ")[2]
    value = " ".join(ast.unparse(node.value).split())
    yield from (f".. py:data:: {node.targets[0].id}", f"   :value: {value}", "", f"   {said}", "")


def _prose(docstring):
    """Docstrings are plain sentences: nothing in them but names in backticks, lists and examples is markup."""
    for paragraph in re.split(r"\n\s*\n", cleandoc(docstring)):
        if paragraph.startswith(">>>"):
            yield from (*paragraph.splitlines(), "")
            continue
        parts = _CODE.split(paragraph)
        parts[::2] = [re.sub(r"([*|\\]|(?<=\w)_(?!\w))", r"\\\1", part) for part in parts[::2]]
        names = [re.fullmatch(r"`[\w.]+`", part) for part in parts[1::2]]
        parts[1::2] = [f":py:obj:{p}" if name else f"``{p.strip('`')}``" for name, p in zip(names, parts[1::2])]
        lines = "".join(parts).splitlines()
        if any(line.startswith(" ") for line in lines):  # what is explained at greater length is a list
            lines = [line if line.startswith(" ") else f"* {line}" for line in lines]
        yield from (*lines, "")


def _find(app, env, reference, content):
    """A type that a module imports is that of `topo.types`, or of the one module that defines it."""
    if reference.get("refdomain") != "py":
        return None
    last = "." + reference["reftarget"].removeprefix("topo.")
    objects = env.get_domain("py").objects
    found = [objects[name] for name in objects if name == f"topo.types{last}"]
    found = found or [entry for name, entry in objects.items() if name.endswith(last)]
    if len(found) != 1:
        return None
    return make_refnode(app.builder, reference["refdoc"], found[0].docname, found[0].node_id, content)


def _link(app, doctree, docname):
    """Names of the package in the text of a page lead to where they are described."""
    if app.builder.format != "html":
        return
    objects = app.env.get_domain("py").objects
    for literal in list(doctree.findall(nodes.literal)):
        match = _NAME.fullmatch(literal.astext())
        entry = objects.get(f"topo.{match[1]}") if match else None
        if entry and entry.docname != docname and not isinstance(literal.parent, (nodes.reference, nodes.title)):
            literal.replace_self(make_refnode(app.builder, docname, entry.docname, entry.node_id, literal.deepcopy()))
