"""What a notebook shows as HTML: tables, and pictures to slide through.

Knows texts, numbers and finished figures; must not draw.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from numbers import Integral, Real
from typing import Any

import matplotlib.figure
import numpy as np

from topo.archive import Archive
from topo.claims import CLAIMS, MIMETYPE, VERDICTS, Ruling, as_json
from topo.figures.style import Labelled, short_number, small_png, texts_and_values
from topo.recipes import in_words
from topo.types import Row, Whole


class Slides:
    """Pictures of which a page shows one at a time, with a slider and a button that plays them; `slides` makes it.

    The page holds all pictures and the script, and fetches nothing. Where scripts are off, it shows the first picture.

    texts: one for each picture; pictures: the bytes of PNG files.
    """

    _SHOW = (
        "const box = this.closest('.slides'), images = [...box.querySelectorAll('img')];"
        "images.forEach((image, i) => {image.hidden = i != this.value});"
        "box.querySelector('output').value = images[this.value].alt"
    )
    _PLAY = (
        "const slider = this.parentNode.querySelector('input'), last = Number(slider.max);"
        "const go = i => {slider.value = i; slider.oninput()};"
        "if (this.timer) {clearInterval(this.timer); this.timer = 0; return}"
        "if (slider.value == last) go(0);"
        "this.timer = setInterval(() => {"
        "if (slider.value == last || !this.isConnected) {clearInterval(this.timer); this.timer = 0; return}"
        "go(Number(slider.value) + 1)}, 700)"
    )

    def __init__(self, texts: Sequence[str], pictures: Sequence[bytes]) -> None:
        self.texts, self._pictures = texts, pictures

    def _repr_html_(self) -> str:
        images = "\n".join(
            f'<img alt="{escape(text)}" src="data:image/png;base64,{b64encode(picture).decode()}"{" hidden" * (i > 0)}>'
            for i, (text, picture) in enumerate(zip(self.texts, self._pictures))
        )
        return (
            f'<div class="slides">\n{images}\n<div style="display: flex; gap: 0.7em; align-items: center">'
            f'<button type="button" aria-label="play or stop" onclick="{escape(self._PLAY)}">▶</button>'
            f'<input type="range" min="0" max="{len(self.texts) - 1}" value="0" step="1" aria-label="picture" '
            f'style="flex: 1; max-width: 24em" oninput="{escape(self._SHOW)}">'
            f"<output>{escape(self.texts[0])}</output></div>\n</div>"
        )

    def __repr__(self) -> str:
        return f"{len(self.texts)} pictures: {', '.join(self.texts)}"


def slides(labelled: Labelled[matplotlib.figure.Figure]) -> Slides:
    """Pictures to slide through in the order given, such as one for each time of training.

    Raises ValueError where there is no picture.
    """
    texts, drawn = texts_and_values(labelled, "labelled")
    return Slides(texts, [small_png(figure, figure.dpi) for figure in drawn])  # not cut: all have one size


class Link(str):
    """The text of a cell that leads to another page; everywhere but in HTML it is that text.

    href: where it leads, from the page that shows the table.
    """

    href: str

    def __new__(cls, text: str, href: str) -> "Link":
        link = super().__new__(cls, text)
        link.href = href
        return link


class Table:
    """A table that a notebook shows as HTML and everything else as plain text; `table` makes it."""

    def __init__(self, header: list[str], rows: list[list[str]]) -> None:
        self.header, self.rows = header, rows

    def _repr_html_(self) -> str:
        def line(cells: Iterable[str], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{_in_html(cell)}</{tag}>" for cell in cells) + "</tr>"

        body = "\n".join(line(row, "td") for row in self.rows)
        head = line(self.header, "th")
        return f'<table class="dataframe">\n<thead>{head}</thead>\n<tbody>\n{body}\n</tbody>\n</table>'

    def __repr__(self) -> str:
        lines = [self.header, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines)]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _in_html(cell: str) -> str:
    parts = enumerate(re.split("`([^`]+)`", escape(cell)))  # every second one is code
    text = "".join(f"<code>{part}</code>" if i % 2 else _typeset(part) for i, part in parts)
    return f'<a href="{escape(cell.href)}">{text}</a>' if isinstance(cell, Link) else text


def _typeset(text: str) -> str:
    """Minus signs in the place of hyphens, and ranges that a browser does not break after their dash."""
    signed = re.sub(r"(?<![\w.-])-(?=\d)", "\N{MINUS SIGN}", text)
    return re.sub("(?<=\\d)\N{EN DASH}(?=\\d)", "\N{EN DASH}\N{WORD JOINER}", signed)


def table(header: Iterable[object], rows: Iterable[Iterable[object]]) -> Table:
    """A table, such as "paper / ours / difference".

    rows: each with as many cells as `header`, texts or numbers; a text may be a `Link`, and what stands between
    back quotes is code. Whole numbers are written with
    commas between thousands, other numbers with three significant digits.
    Raises ValueError where a row has another number of cells.
    """
    heads, lines = list(header), [list(row) for row in rows]
    for line in lines:
        if len(line) != len(heads):
            raise ValueError(f"row {line} has {len(line)} cells for {len(heads)} columns")
    return Table(list(map(_cell, heads)), [list(map(_cell, line)) for line in lines])


def comparison(rows: Iterable[Iterable[Any]], leading: Sequence[str] = ("quantity",)) -> Table:
    """The table "paper / ours / difference".

    rows: each has the cells under `leading`, the paper's value, ours and, where it is not ours minus the paper's, the
    difference. A row without a difference gets it; the cell is empty where one of the two values is no number.
    leading: the headers of the first columns. Raises ValueError where a row has another number of cells.
    """
    return table([*leading, "paper", "ours", "difference"], [_compared(list(row), len(leading)) for row in rows])


def _compared(row: list[Any], leading: int) -> list[Any]:
    if len(row) != leading + 2:
        return row
    paper, ours = row[leading:]
    numbers = all(isinstance(value, Real) and not isinstance(value, bool) for value in (paper, ours))
    return [*row, ours - paper if numbers else ""]


def trainings(populations: Mapping[str, Archive]) -> Table:
    """How populations were trained and how well: a row for each setting, a column for each population.

    populations: {text above the column: Archive}. All that is said comes out of the manifest.
    """
    columns = [_training_column(each) for each in populations.values()]
    settings = dict.fromkeys(setting for each in columns for setting in each)
    rows = [[setting, *(each.get(setting, "as usual") for each in columns)] for setting in settings]
    return table(["", *populations], rows)


def _training_column(population: Archive) -> dict[str, str]:
    known = population.description
    accuracy, hours = 100 * population.accuracy(), known.get("seconds", 0) / 3600
    where = "one processor" if "CPU" in known["hardware"] else "the accelerator"
    return {
        **in_words(known),
        "networks": f"{population.networks:,}{_of_paper(known, 'networks')}",
        "iterations": f"{known['iterations']:,}{_of_paper(known, 'iterations')}",
        "mean accuracy in %": spread(accuracy, mean=True),
        "accuracy of": known["accuracy_of"],
        "hours of training": f"{hours:,.{1 if hours >= 0.1 else 2}f}, on {where}" if hours else "not recorded",
        "trained by": known["hardware"],
        "archive": f"{population.name}, SHA-256 {known['sha256'][:12]}…",
    }


def _of_paper(known: Mapping[str, Any], what: str) -> str:
    return f" (paper: {known['paper'][what]:,})" if "paper" in known else ""


class Rulings(Table):
    """The table that `rulings` makes; a notebook's output holds the rulings, too, for `topo.claims.recorded`."""

    def __init__(self, given: Sequence[Ruling]) -> None:
        header = ["the paper says", "figure", "verdict", "because", "measured", "untrained", "p (corrected)"]
        rows = [[CLAIMS[each.claim].statement, CLAIMS[each.claim].figure, *_measured(each)] for each in given]
        super().__init__(header, rows)
        self.given = list(given)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        return {MIMETYPE: as_json(self.given)}  # IPython adds HTML and plain text


def rulings(given: Iterable[Ruling]) -> Rulings:
    """The verdicts on a chapter's claims, as `topo.claims.judge` returns them: a row for each claim."""
    return Rulings(list(given))


def all_claims(recorded: Mapping[str, Ruling]) -> Table:
    """The verdict on every claim of the paper, in its order; a claim that no chapter judged has none.

    recorded: as `topo.claims.recorded` returns them. A verdict leads to the chapter's own table.
    """
    rows: list[list[str]] = []
    for name, claim in CLAIMS.items():
        place = f"{claim.section}, Figure {claim.figure}" if claim.figure else claim.section
        rows.append([f"{place}: {claim.statement}"])
        if (given := recorded.get(name)) is None:
            rows[-1] += ["not judged", *[""] * 4]
            continue
        verdict, because, value, null, p_value = _measured(given)
        scale = f"{given.scale.ours} / {given.scale.paper}"
        measured = f"{value} ({null})" if null else value
        rows[-1] += [Link(verdict, f"{claim.chapter}.html#verdicts"), because, measured, p_value, scale]
    header = ["section and claim", "verdict", "because", "measured (untrained)", "p (corrected)", "ours / the paper's"]
    return table(header, rows)


def verdict_counts(recorded: Mapping[str, Ruling]) -> Table:
    """How many claims of each chapter have which verdict; the last row has the sums.

    recorded: as `topo.claims.recorded` returns them. Claims that no chapter judged are not counted.
    """
    counts = {claim.chapter: dict.fromkeys(VERDICTS, 0) for claim in CLAIMS.values()}
    for name, given in recorded.items():
        counts[CLAIMS[name].chapter][given.verdict] += 1
    rows = [[Link(chapter, f"{chapter}.html#verdicts"), *each.values()] for chapter, each in counts.items()]
    total = [sum(each[verdict] for each in counts.values()) for verdict in VERDICTS]
    return table(["chapter", *VERDICTS], [*rows, ["all", *total]])


def _measured(ruling: Ruling) -> list[str]:
    """Verdict, reason, statistic, null and p-values in a cell each."""
    value = "" if ruling.value is None else f"{ruling.statistic} {short_number(ruling.value)}"
    null = "" if ruling.low is None or ruling.high is None else f"{ruling.low:.1f}\N{EN DASH}{ruling.high:.1f}"
    p_value = "" if ruling.p_value is None else f"{ruling.p_value:.2g} ({ruling.p_corrected:.2g})"
    return [ruling.verdict, ruling.because, value, null, p_value]


def spread(values: Row, digits: Whole = 1, *, mean: bool = False) -> str:
    """Several values in one cell: the median, and in brackets the least and the largest, such as "2.1 (1.2–6.5)".

    values: one or more; digits: after the point. mean: give the mean in place of the median. A browser does not break
    the line inside the text.
    """
    all_of_them = np.asarray(values)
    centre = np.mean(all_of_them) if mean else np.median(all_of_them)
    least, middle, largest = (f"{value:.{digits}f}" for value in (all_of_them.min(), centre, all_of_them.max()))
    return f"{middle}\N{NO-BREAK SPACE}({least}\N{EN DASH}{largest})"


def bar_text(bar: tuple[float, float] | None) -> str:
    """A bar in one cell: its length and, in brackets, its birth, such as "0.37 (0.02)"; "none" where it has no length.

    bar: birth and length, as `topo.evidence.Loops.longest` returns them, or None.
    """
    if bar is None or not bar[1]:
        return "none"
    return f"{bar[1]:.2f}\N{NO-BREAK SPACE}({bar[0]:.2f})"


def listed(numbers: Iterable[Whole]) -> str:
    """Whole numbers in one cell: "200, 1,000", or "none" where there is none."""
    return ", ".join(f"{number:,}" for number in numbers) or "none"


def _cell(value: object) -> str:
    """The text of a cell: numbers are formatted, all else is written as it is."""
    if isinstance(value, Link):
        return value
    if isinstance(value, bool) or not isinstance(value, Real):
        return str(value)
    return f"{value:,}" if isinstance(value, Integral) else short_number(value)
