"""What an executed chapter holds: the values that its text is given, its verdicts and its figures.

Knows the outputs of notebooks; must not know how a chapter is executed or what it computes.
"""

import ast
import json
import re
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from topo.parameters import cells_of, one_line

_GLUED = "application/papermill.record/text/plain"  # as myst_nb.glue writes it
RULINGS = "application/vnd.topo.rulings+json"
_GIVEN = re.compile(r"\{glue:text\}`(\w+)(?::([^`]*))?`")


@dataclass(frozen=True)
class Picture:
    """A figure of a chapter: its name, its caption's first sentence, its alternative text, and a PNG file."""

    name: str
    caption: str
    alt: str
    png: bytes


@dataclass(frozen=True)
class Results:
    """The results of an executed chapter.

    values: what `topo.book.glue` was given, by name: numbers, texts, or else their text. formats: how the chapter's
    text writes a value, such as ".1f", by name. verdicts: by claim of `topo.claims.CLAIMS`. pictures: in order.
    """

    values: dict[str, Any]
    formats: dict[str, str]
    verdicts: dict[str, str]
    pictures: list[Picture]

    def shown(self, name: str) -> str:
        """The value `name` as the chapter's text writes it, in four digits where it does not, "" where there is none.

        >>> Results({"ratio": 11.0926, "share": 1 / 3}, {"ratio": ".1f"}, {}, []).shown("ratio")
        '11.1'
        """
        value = self.values.get(name, "")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            default = ".4g" if isinstance(value, float) else "d"
            return format(value, self.formats.get(name) or default)
        return one_line(value)


def results(path: str | Path) -> Results:
    """The Results that the notebook at `path` holds in its outputs. Raises as `topo.parameters.cells_of` does."""
    values: dict[str, Any] = {}
    formats: dict[str, str] = {}
    verdicts: dict[str, str] = {}
    pictures = []
    for cell in cells_of(Path(path)):
        if cell["cell_type"] == "markdown":
            for name, form in _GIVEN.findall("".join(cell["source"])):
                formats.setdefault(name, form)
        about = cell.get("metadata", {}).get("mystnb", {})
        for output in cell.get("outputs", ()):
            data, name = output.get("data", {}), about.get("figure", {}).get("name")
            if _GLUED in data:
                glued = output["metadata"]["scrapbook"]["name"]
                values[glued] = _value("".join(data[_GLUED]))
            verdicts.update({each["claim"]: each["verdict"] for each in data.get(RULINGS, ())})
            if name and "image/png" in data:
                caption = re.split(r"(?<=[.?!])\s", about["figure"].get("caption", ""), maxsplit=1)[0]
                png = b64decode("".join(data["image/png"]))
                pictures.append(Picture(name, caption, about.get("image", {}).get("alt", caption), png))
    return Results(values, formats, verdicts, pictures)


def ran_with(path: str | Path) -> dict[str, Any]:
    """The parameters that an executed chapter was given, by name, as papermill noted them in the notebook."""
    return json.loads(Path(path).read_text("utf-8"))["metadata"].get("papermill", {}).get("parameters", {})


def escaped(text: str) -> str:
    r"""A text in Markdown, in which nothing is markup.

    >>> escaped("M(64,32,64) | a_b")
    'M(64,32,64) \\| a\\_b'
    """
    return re.sub(r"([\\`*_{}\[\]<>$|#~])", r"\\\1", text)


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}.get(text, text)
