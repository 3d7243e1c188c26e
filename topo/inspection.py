"""What the filters of any convolutional network look like, layer by layer: numbers, pictures, and a report of both.

Knows weights and the measures of the other modules; must not know file formats, nor which network it is.
"""

import csv
import io
from base64 import b64encode
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from html import escape
from math import ceil, isqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from igraph import Graph
from jaxtyping import Float, Int64

from topo import figures, spaces
from topo.checks import check_fraction, check_whole, shown, spreadsheet_cell
from topo.claims import SURE, holm
from topo.density import densest
from topo.evidence import STANDARD, Loops, scaled_k
from topo.figures.style import SCRIPTS, STYLE, shown_size
from topo.files import check_folder, write_atomically
from topo.filters import normalize
from topo.mapper import graph_summary, mapper_graph
from topo.persistence import bar_lengths
from topo.pretrained import Layer, Unusable, Weights
from topo.samples import ROWS
from topo.trials import Law, untrained_filters
from topo.types import Barcode, Number, Points, Whole

REFERENCE = 32_768  # filters of VGG19's fifth layer, at whose rho(100, 0.1) three loops were measured
_LEAST_CORE = 200  # points below which a barcode of 100 landmarks says little
FEWEST = 50  # filters below which a layer is skipped
MOST = ROWS  # filters of a layer that are looked at
MOST_UNTRAINED = 4096  # filters of a cloud that a layer is compared with
DRAWS = 99  # of such clouds, from each law
LAWS: dict[str, Law] = {"p_normal": "normal", "p_uniform": "uniform"}  # of the first weights of untrained networks
COLUMNS = (
    "layer", "kernel", "kind", "in", "out", "filters", "looked_at", "constant", "k", "p", "core", "loops", "ratio",
    "p_value", "p_corrected", *LAWS, "draws", "bars", "nodes", "components", "largest_share", "mapper_loops",
    "to_circle", "to_klein_bottle", "random_to_circle", "random_to_klein_bottle", "note", "skipped",
)  # fmt: skip


_STANDS_OUT = (
    "no loop, but a small p-value, after the correction, too: the longest bars stand out more than chance would have "
    "it, though by less than the factor of {least:g} from which the book speaks of a loop"
)
_ALONE = "no loop, but a small p-value by itself; not after the correction, so it may be chance among so many layers"


class Finding(NamedTuple):
    """What `inspect` found in one layer.

    row: {column: value} of COLUMNS, without what does not apply; core: its dense core; barcode, graph: the barcode and
    the Mapper graph of the core; cycles: where the loop of each bar runs, as `topo.evidence.Loops.cycles` has it. Core,
    barcode and graph are None where the layer is skipped, and row["skipped"] says why.
    """

    row: dict[str, Any]
    core: Points | None = None
    barcode: Barcode | None = None
    graph: Graph | None = None
    cycles: Sequence[Int64[np.ndarray, "_cycle"]] = ()


def scale(filters: Whole, k: Whole = 100, p: Number = 0.1) -> tuple[int, Number]:
    """The density filtration for a layer of so many filters, two or more: (k, p).

    k: for 32,768 filters; the layer gets the same share of its own number, 5 at least. p: the fraction kept; where it
    would keep fewer than 200 filters, 200 are kept, or all that there are. The defaults are ours: the paper's values
    for VGG are not in our copy of it. Raises TypeError or ValueError for numbers out of range.
    """
    check_whole(filters, "filters", 2)
    check_whole(k, "k", 1)
    check_fraction(p)
    share = min(1.0, max(p, round(_LEAST_CORE / int(filters), 3)))
    return int(min(filters - 1, max(5, scaled_k(k, filters, REFERENCE)))), share


def inspect(
    weights: Weights,
    layers: Sequence[str | Whole] | None = None,
    *,
    k: Whole = 100,
    p: Number = 0.1,
    loops: Loops = STANDARD,
    resolution: Whole = 30,
    gain: Number = 3,
    most: Whole = MOST,
    draws: Whole = DRAWS,
    report: Callable[[str], object] | None = None,
) -> list[Finding]:
    """Look at the layers of a network: barcode, significance, Mapper graph, distances to circle and Klein bottle.

    Of a layer with more than `most` filters a random sample is looked at, the same each time (`Weights.draw`); where
    only a sample of it is here, at most that. `loops` counts the loops; the ratio is the largest that it finds.
    Distances are medians over the core, beside those of random filters.

    The null is the ratio of an untrained layer, which is looked at in the same way: `draws` clouds of filters of each
    law in LAWS, which are those of He's and of Glorot's first weights. (Normal weights, once they are centred and of
    norm 1, are uniform among all filters that are.) A p-value is (1 + the number of clouds with as large a ratio) /
    (1 + draws). "p_value" is the larger of both laws', and "p_corrected" is corrected by the method of Holm for the
    layers that are looked at: the smallest of m layers is multiplied by m. Where a layer has no loop but a p-value of
    0.05 or less, "note" says whether it stands after the correction. A cloud has as many filters as the layer, rounded
    by `untrained_size`; it serves all layers of that size.

    layers: names or numbers from 1, all where None; k, p: as for `scale`; resolution, gain: as for
    `topo.mapper.mapper_graph`; most: 50 or more; draws: 1 or more, of each law; report: called with each layer's name.
    Returns what is found in each layer. Kernels that are no square patches of 2x2 or more, layers that cannot be read
    or that hold NaN, and layers whose filters, or whose dense core, have fewer than 50 different shapes are skipped
    with a reason.
    Raises TypeError or ValueError for arguments out of range, and ValueError for a layer that is not there.
    """
    scale(REFERENCE, k, p)
    check_whole(most, "most", FEWEST)
    check_whole(draws, "draws", 1)
    chosen = [weights.layer(each) for each in (range(1, len(weights.layers) + 1) if layers is None else layers)]
    findings = []
    for layer in chosen:
        if report:
            report(layer.name)
        findings.append(_look(weights, layer, k, p, loops, resolution, gain, most, draws))
    rows = [finding.row for finding in findings if finding.core is not None]
    for i, corrected in holm({str(i): row["p_value"] for i, row in enumerate(rows)}).items():
        row = rows[int(i)]
        row["p_corrected"] = round(corrected, 3)
        if not row["loops"] and row["p_value"] <= SURE:
            row["note"] = _STANDS_OUT.format(least=loops.least) if corrected <= SURE else _ALONE
    return findings


def untrained_size(filters: Whole) -> int:
    """How many filters the clouds have that a layer of so many filters, one or more, is compared with.

    It is the nearest power of the square root of 2, by their ratio, and no more than MOST_UNTRAINED: few sizes for any
    number of layers, each at most a factor of 1.19 from its layer's. The ratios of the untrained depend little on their
    number: the medians at 1,448, 2,048, 2,896, 4,096 and 10,000 filters are 1.26, 1.22, 1.18, 1.15 and 1.10, and 95 %
    are below 1.64, 1.52, 1.41, 1.31 and 1.30. So the p-value of a layer with more than MOST_UNTRAINED is a little too
    large, if anything.
    """
    check_whole(filters, "filters", 1)
    return min(MOST_UNTRAINED, round(2 ** (round(2 * np.log2(filters)) / 2)))


def _look(
    weights: Weights,
    layer: Layer,
    k: Whole,
    p: Number,
    loops: Loops,
    resolution: Whole,
    gain: Number,
    most: Whole,
    draws: Whole,
) -> Finding:
    height, width, *_ = layer.shape
    inputs, outputs = layer.channels
    row: dict[str, Any] = {
        "layer": layer.name, "kernel": f"{height}x{width}", "kind": layer.kind, "in": inputs, "out": outputs,
        "filters": layer.filters,
    }  # fmt: skip
    if height != width or height == 1:
        why = "a 1x1 kernel has no shape" if height == width == 1 else f"a {height}x{width} kernel is no square patch"
        return Finding({**row, "skipped": why})
    try:
        drawn = weights.draw(layer.name, most)
    except Unusable as error:
        return Finding({**row, "skipped": str(error)})
    looked_at = len(drawn.filters)
    row |= {"constant": drawn.constant, "looked_at": looked_at}
    if looked_at < FEWEST:
        return Finding({**row, "skipped": f"{looked_at} filters that are not constant, of {FEWEST} at least"})
    points = normalize(drawn.filters)
    if (different := _different(points)) < FEWEST:
        why = f"its filters have {different} of the {FEWEST} different shapes that are needed"
        return Finding({**row, "skipped": why})
    size = untrained_size(len(points))
    null_k, null_p = scale(size, k, p)
    k, p = scale(len(points), k, p)
    core = densest(points, k, p)
    if (different := _different(core)) < FEWEST:
        why = f"its dense core has {different} of the {FEWEST} different shapes that are needed"
        return Finding({**row, "skipped": why})
    bars = loops.barcode(core)
    count, ratio = loops.count(bars), loops.clearest(bars)[1]
    p_values = {
        name: _p_value(ratio, _untrained_ratios(law, size, points.shape[1], null_k, null_p, loops, draws))
        for name, law in LAWS.items()
    }
    p_value = max(p_values.values())
    varying = np.ptp(core, axis=0) > 1e-6 * np.abs(core).max()  # such as a masked pixel's: VNE divides by the variance
    graph = mapper_graph(core[:, varying], resolution, gain)
    summary = graph_summary(graph)
    row |= {
        "k": k, "p": p, "core": len(core), "loops": count, "ratio": round(ratio, 2),
        "p_value": p_value, **p_values, "draws": draws,
        "bars": " ".join(f"{each:.2f}" for each in bar_lengths(bars, 1)[:5]),
        "nodes": summary["nodes"], "components": summary["components"],
        "largest_share": round(summary["largest_share"], 3), "mapper_loops": summary["loops"],
    }  # fmt: skip
    by_chance = _random_distances(height)
    for name, each in _distances(core, height).items():
        row |= {f"to_{name}": round(each, 3), f"random_to_{name}": round(by_chance[name], 3)}
    return Finding(row, core, bars, graph, loops.cycles(core))


def _different(points: Points) -> int:
    """How many points remain where those that differ by rounding only are one."""
    return len(np.unique(np.round(points, 4) + 0.0, axis=0))  # -0.0 + 0.0 is 0.0


@cache
def _untrained_ratios(law: Law, n: int, dim: int, k: Whole, p: Number, loops: Loops, draws: Whole) -> list[float]:
    """The largest ratios of the dense cores of `draws` clouds of n filters of untrained networks."""
    return [loops.clearest(densest(untrained_filters(n, seed, law, dim), k, p))[1] for seed in range(draws)]


def _p_value(value: float, null: Sequence[float]) -> float:
    return round((1 + sum(each >= value for each in null)) / (1 + len(null)), 4)


_SPOKEN = {"circle": "primary circle", "klein_bottle": "Klein bottle"}


@lru_cache
def _spaces(side: int) -> dict[str, Float[np.ndarray, "_points pixels"]]:
    found = {"circle": spaces.primary_circle(np.arange(720) * 2 * np.pi / 720, side)}
    if side > 2:
        found["klein_bottle"] = spaces.klein_bottle_grid(side=side)
    return found


def _distances(points: Points, side: int) -> dict[str, float]:
    """Median distances to the primary circle and, but for 2x2 patches, to the Klein bottle, by name."""
    return {name: float(np.median(spaces.distance_to(points, space))) for name, space in _spaces(side).items()}


@lru_cache
def _random_distances(side: int) -> dict[str, float]:
    return _distances(untrained_filters(2000, 0, "normal", side * side), side)


# The report


def write_report(weights: Weights, findings: Sequence[Finding], out: str | Path) -> tuple[Path, Path]:
    """Write what `inspect` found: out/layers.csv with a row for each layer, and out/report.html with a picture of each.

    The page is one file with everything in it. Both are written whole or not at all.
    weights: what was looked at; out: a folder, made where it is not there.
    Returns the paths of the page and of the table. Raises as `topo.files.check_folder` does.
    """
    out = check_folder(out)
    page = _page(weights, findings).encode()
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({column: spreadsheet_cell(value) for column, value in finding.row.items()} for finding in findings)
    write_atomically(out / "layers.csv", table.getvalue().encode())
    write_atomically(out / "report.html", page)
    return out / "report.html", out / "layers.csv"


def picture(finding: Finding, thumbnails: Whole = 16) -> figures.Figure:
    """A layer's barcode and, beside it, its Mapper graph. Raises ValueError for a layer that was skipped.

    thumbnails: the most filters to draw beside the graph.
    """
    if finding.barcode is None or finding.graph is None or finding.core is None:
        raise ValueError(f"layer {finding.row['layer']} was skipped: there is nothing to draw")
    drawn = figures.Figure((10, 4), layout="constrained")
    left, right = drawn.subplots(1, 2, width_ratios=(1, 1.4))
    figures.barcode(finding.barcode, ax=left)
    figures.mapper(finding.graph, finding.core, thumbnails=thumbnails, side=0.1, colorbar=False, ax=right)
    return drawn


def summary(findings: Sequence[Finding]) -> figures.Table:
    """A table of the layers that were not skipped, with a row for each, for a notebook or a terminal.

    It has a column for the kinds of layers where not all are plain convolutions.
    """
    columns = {
        "layer": "layer", "filters": "filters", "k": "k", "p": "p",
        "loops": "loops", "ratio": "ratio", "p-value": "p_value", "corrected": "p_corrected",
        "to circle": "to_circle", "to Klein bottle": "to_klein_bottle",
    }  # fmt: skip
    looked_at = [finding.row for finding in findings if finding.core is not None]
    if any(row["kind"] != "convolution" for row in looked_at):
        columns["kind"] = "kind"
    values = ([row.get(key, "") for key in columns.values()] for row in looked_at)
    return figures.table(columns, [[shown(each) if isinstance(each, str) else each for each in row] for row in values])


def remarks(findings: Sequence[Finding]) -> list[str]:
    """What to know when reading the p-values of findings.

    Returns a sentence on all layers, then one for each note with the names of the layers that have it; none where no
    layer was looked at. They begin small and end without a stop.
    """
    rows = [finding.row for finding in findings if finding.core is not None]
    if not rows:
        return []
    draws, layers = rows[0]["draws"], len(rows)
    least, corrected = 1 / (1 + draws), min(1.0, layers / (1 + draws))
    all_layers = (
        f"p-values compare with {draws} clouds of untrained filters of each of two laws, normal and uniform, and are "
        f"{least:.2g} at least; corrected for {layers} layer{'s' * (layers > 1)} by the method of Holm they are "
        f"{corrected:.2g} at least"
    )
    if corrected > SURE:
        all_layers += f", so that {ceil(layers / SURE) - 1:,} draws or more are needed for {SURE:g}"
    noted: dict[str, list[str]] = {}
    for row in rows:
        if "note" in row:
            noted.setdefault(row["note"], []).append(row["layer"])
    return [all_layers, *(f"{', '.join(names)}: {note}" for note, names in noted.items())]


def skipped(findings: Sequence[Finding]) -> dict[str, str]:
    """{layer: why it was skipped}, of the findings."""
    return {finding.row["layer"]: finding.row["skipped"] for finding in findings if finding.core is None}


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:62em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}th,td{padding:.2em .7em;text-align:left;border-bottom:1px solid #ccc}"
    ".table{overflow-x:auto}img{height:auto;max-width:100%}"
    ".layer{display:grid;gap:1em;grid-template-columns:repeat(auto-fit,minmax(min(20em,100%),1fr))}"
)


def _image(figure: figures.Figure, alt: str) -> str:
    png = figure.png()
    width, height = shown_size(png)
    source = f"data:image/png;base64,{b64encode(png).decode()}"
    return f'<img alt="{escape(alt)}" width="{width}" height="{height}" src="{source}">'


def _page(weights: Weights, findings: Sequence[Finding]) -> str:
    sections: list[str] = []
    for finding in findings:
        row = finding.row
        if finding.core is None or finding.barcode is None or finding.graph is None:
            continue
        graph = f"A Mapper graph of {row['nodes']} nodes in {row['components']} pieces"
        loops = f"{row['loops']} loops with a ratio of {row['ratio']}"
        sample = f" (a sample of {row['looked_at']:,})" if row["looked_at"] < row["filters"] else ""
        kind = "" if row["kind"] == "convolution" else f" ({row['kind']})"
        text = (
            f"{row['filters']:,} filters of {row['kernel']}{sample}{kind}, "
            f"{row['core']:,} in the dense core at k = {row['k']} and p = {row['p']:g}. "
            f"Loops: {row['loops']}; ratio {row['ratio']}, p-value {row['p_value']}, corrected {row['p_corrected']}. "
            f"Median distance to the primary circle {row['to_circle']} (random filters {row['random_to_circle']})"
        )
        if "to_klein_bottle" in row:
            text += f", to the Klein bottle {row['to_klein_bottle']} ({row['random_to_klein_bottle']})"
        if "note" in row:
            text += f". {row['note'].capitalize()}"
        through = [finding.core[cycle] for cycle in finding.cycles]
        distances = {
            f"distance to the {_SPOKEN[name]}": spaces.distance_to(finding.core, space)
            for name, space in _spaces(isqrt(finding.core.shape[1])).items()
        }
        drawn = {
            f"Barcode: {loops}.": figures.loop_explorer({"dense core": (finding.barcode, through)}),
            f"{graph}.": figures.explorer(finding.graph, finding.core, thumbnails=16, measures=distances),
        }
        pictures = ""
        for i, (alt, figure) in enumerate(drawn.items()):
            place = f"picture-{len(sections) + 1}-{i + 1}"
            pictures += f'<div id="{place}">{_image(figure, alt)}</div>\n{figure.embedded(place)}'
        sections.append(
            f'<h2>{escape(shown(row["layer"]))}</h2>\n<p>{escape(text)}.</p>\n<div class="layer">{pictures}</div>'
        )
    note = f"<p>{escape(weights.note)}.</p>" if weights.note else ""
    missing = f"<p>Missing from the file: {escape(shown(', '.join(weights.missing)))}.</p>" if weights.missing else ""
    about = "".join(f"<p>{escape(shown(each[0].upper() + each[1:]))}.</p>" for each in remarks(findings)[:1])
    left_out = {**skipped(findings), **weights.skipped}
    others = "".join(f"<li>{escape(shown(name))}: {escape(shown(why))}</li>" for name, why in left_out.items())
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(shown(weights.path.name))}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}{STYLE.read_text("utf-8")}</style>\n'
        f"<h1>{escape(shown(weights.path.name))}</h1>\n{note}\n"
        f'<div class="table" tabindex="0">{summary(findings)._repr_html_()}</div>\n'
        f"{about}\n{missing}"
        + (f"<p>Not looked at:</p><ul>{others}</ul>" if others else "")
        + "\n".join(sections)
        + "".join(f"\n<script>{script.read_text('utf-8')}</script>" for script in SCRIPTS)
        + "\n</html>\n"
    )
