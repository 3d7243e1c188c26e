"""What the filters of any convolutional network look like, layer by layer: numbers, pictures, and a report of both.

Knows weights and the measures of the other modules; must not know file formats, nor which network it is.
"""
import csv
import io
import os
from base64 import b64encode
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np

from topo import figures, models
from topo.archive import write_atomically
from topo.density import densest
from topo.evidence import count_loops, scaled_k
from topo.filters import check_whole, normalize, spatial_filters
from topo.mapper import graph_summary, mapper_graph
from topo.persistence import bar_lengths, lazy_witness_barcode

REFERENCE = 32_768  # filters of VGG19's fifth layer, at whose rho(100, 0.1) three loops were measured
_LEAST_CORE = 200  # points below which a barcode of 100 landmarks says little
FEWEST = 50  # filters below which a layer is skipped
MOST = 20_000  # filters of a layer that are looked at
COLUMNS = (
    "layer", "kernel", "in", "out", "filters", "looked_at", "constant", "k", "p", "core", "loops", "ratio", "p_value", "bars",
    "nodes", "components", "largest_share", "mapper_loops", "to_circle", "to_klein_bottle", "random_to_circle",
    "random_to_klein_bottle", "skipped",
)  # fmt: skip


class Finding(NamedTuple):
    """What `inspect` found in one layer.

    row: {column: value} of COLUMNS, what does not apply left out; core: (m, h*w), its dense core; barcode; graph: the
    Mapper graph of the core. The last three are None where the layer is skipped, and row["skipped"] says why.
    """

    row: dict
    core: np.ndarray = None
    barcode: dict = None
    graph: object = None


def scale(filters, k=100, p=0.1):
    """The density filtration for a layer of so many filters: (k, p).

    k: for 32,768 filters; the layer gets the same share of its own, 5 at least. p: the fraction kept; a layer of which
    it would keep fewer than 200 filters keeps those, or all. The defaults are ours: the paper's values for VGG are lost.
    Raises TypeError or ValueError for numbers out of range.
    """
    check_whole(filters, "filters", 2)
    check_whole(k, "k", 1)
    if not 0 < p <= 1:
        raise ValueError(f"p = {p!r} is outside (0, 1]")
    return min(filters - 1, max(5, scaled_k(k, filters, REFERENCE))), min(1.0, max(p, round(_LEAST_CORE / filters, 3)))


def inspect(weights, layers=None, *, k=100, p=0.1, landmarks=100, nu=1, resolution=30, gain=3, most=MOST, draws=19, report=None):
    """Look at the layers of a network: density, barcode, significance, Mapper, distance to the circle and the Klein bottle.

    Of a layer with more than `most` filters a random sample is looked at, the same each time. Loops are counted as
    `topo.evidence.count_loops` does. Their p-value compares the ratio with those of `draws` clouds of as many random
    filters, uniform among those of mean 0 and norm 1, at the same filtration: (1 + clouds with as large a ratio) /
    (1 + draws). Distances are medians over the core, beside those of random filters.

    weights: topo.pretrained.Weights; layers: names or numbers from 1, all where None; k, p: as for `scale`; the others
    as for `topo.persistence.lazy_witness_barcode` and `topo.mapper.mapper_graph`; report: called with each layer's name.
    Returns a list of Finding, one a layer. Kernels that are no square patches of 2x2 or more, and layers of few filters,
    are skipped with a reason.
    Raises TypeError or ValueError for arguments out of range, and as `Weights.kernel` does.
    """
    scale(REFERENCE, k, p)
    check_whole(most, "most", FEWEST)
    check_whole(draws, "draws", 1)
    chosen = [weights.layer(each) for each in (range(1, len(weights.layers) + 1) if layers is None else layers)]
    options = dict(k=k, p=p, landmarks=landmarks, nu=nu, resolution=resolution, gain=gain, most=most, draws=draws)
    findings = []
    for layer in chosen:
        if report:
            report(layer.name)
        findings.append(_look(weights, layer, **options))
    return findings


def _look(weights, layer, *, k, p, landmarks, nu, resolution, gain, most, draws):
    height, width, inputs, outputs = layer.shape
    row = {"layer": layer.name, "kernel": f"{height}x{width}", "in": inputs, "out": outputs, "filters": layer.filters}
    if height != width or height == 1:
        why = "a 1x1 kernel has no shape" if height == width == 1 else f"a {height}x{width} kernel is no square patch"
        return Finding({**row, "skipped": why})
    points = normalize(spatial_filters(weights.kernel(layer.name)))
    row |= {"constant": layer.filters - len(points), "looked_at": min(most, len(points))}
    if len(points) > most:
        points = points[np.sort(np.random.default_rng(0).choice(len(points), most, replace=False))]
    if len(points) < FEWEST:
        return Finding({**row, "skipped": f"{len(points)} filters that are not constant, of {FEWEST} at least"})
    k, p = scale(len(points), k, p)
    core = densest(points, k, p)
    held = min(landmarks, len(core))
    bars = lazy_witness_barcode(core, held, nu)
    loops, ratio = count_loops(bars)
    null = np.array(_random_ratios(*points.shape, k, p, landmarks, nu, draws))
    varying = np.ptp(core, axis=0) > 1e-6 * np.abs(core).max()  # such as a masked pixel's: VNE divides by the variance
    graph = mapper_graph(core[:, varying], resolution, gain)
    summary = graph_summary(graph)
    row |= {
        "k": k, "p": p, "core": len(core), "loops": loops, "ratio": round(ratio, 2),
        "p_value": round((1 + (null >= ratio).sum()) / (1 + draws), 3),
        "bars": " ".join(f"{each:.2f}" for each in bar_lengths(bars, 1)[:5]),
        "nodes": summary["nodes"], "components": summary["components"], "largest_share": round(summary["largest_share"], 3),
        "mapper_loops": summary["loops"],
    }  # fmt: skip
    by_chance = _random_distances(height)
    for name, each in _distances(core, height).items():
        row |= {f"to_{name}": round(each, 3), f"random_to_{name}": round(by_chance[name], 3)}
    return Finding(row, core, bars, graph)


@lru_cache
def _random_ratios(n, dim, k, p, landmarks, nu, draws):
    return [
        count_loops(lazy_witness_barcode(core, min(landmarks, len(core)), nu))[1]
        for core in (densest(_random_filters(n, dim, seed), k, p) for seed in range(draws))
    ]


def _random_filters(n, dim, seed):
    return normalize(np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32))


@lru_cache
def _spaces(side):
    spaces = {"circle": models.primary_circle(np.arange(720) * 2 * np.pi / 720, side)}
    if side > 2:
        angles = np.arange(120) * 2 * np.pi / 120
        spaces["klein_bottle"] = models.klein_bottle(*np.meshgrid(angles[:60], angles), side).reshape(-1, side * side)
    return spaces


def _distances(points, side):
    """Median distances to the primary circle and, but for 2x2 patches, to the Klein bottle, by name."""
    return {name: float(np.median(models.distance_to(points, space))) for name, space in _spaces(side).items()}


@lru_cache
def _random_distances(side):
    return _distances(_random_filters(2000, side * side, 0), side)


# The report

def check_folder(out):
    """`out` as a Path, if a report can be written into it; NotADirectoryError or PermissionError if not."""
    out = Path(out).expanduser()
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"{there} is a file: the report needs a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(f"the report cannot be written: {there} is not writable")
    return out


def write_report(weights, findings, out):
    """Write what `inspect` found: out/layers.csv, a row a layer, and out/report.html with a picture of each.

    The page is one file with everything in it. Both are written whole or not at all.
    weights: what was looked at; findings: list of Finding; out: a folder, made where it is not there.
    Returns the paths of the page and of the table. Raises as `check_folder` does.
    """
    out = check_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(finding.row for finding in findings)
    write_atomically(out / "layers.csv", table.getvalue().encode())
    write_atomically(out / "report.html", _page(weights, findings).encode())
    return out / "report.html", out / "layers.csv"


def picture(finding, thumbnails=16):
    """A layer's barcode, in dimension 1, and its Mapper graph beside it: a Figure. finding: one that is not skipped."""
    drawn = figures.Figure((10, 4), layout="constrained")
    left, right = drawn.subplots(1, 2, width_ratios=(1, 1.4))
    figures.barcode(finding.barcode, ax=left)
    figures.mapper(finding.graph, finding.core, thumbnails=thumbnails, side=0.1, colorbar=False, ax=right)
    return drawn


def summary(findings):
    """The layers that were not skipped as a topo.figures.Table, a row each, for a notebook."""
    columns = {
        "layer": "layer", "filters": "filters", "k": "k", "p": "p", "loops": "loops", "ratio": "ratio", "p-value": "p_value",
        "to circle": "to_circle", "to Klein bottle": "to_klein_bottle",
    }  # fmt: skip
    rows = [[finding.row.get(key, "") for key in columns.values()] for finding in findings if finding.core is not None]
    return figures.table(columns, rows)


def skipped(findings):
    """{layer: why it was skipped}, of the findings."""
    return {finding.row["layer"]: finding.row["skipped"] for finding in findings if finding.core is None}


_STYLE = "body{font:16px/1.5 system-ui,sans-serif;max-width:62em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}th,td{padding:.2em .7em;text-align:left;border-bottom:1px solid #ccc}img{max-width:100%}"


def _page(weights, findings):
    sections = []
    for finding in findings:
        row = finding.row
        if finding.core is None:
            continue
        alt = f"{row['loops']} loops with a ratio of {row['ratio']}; a Mapper graph of {row['nodes']} nodes in {row['components']} pieces"
        sample = f" (a sample of {row['looked_at']:,})" if row["looked_at"] < row["filters"] else ""
        text = (
            f"{row['filters']:,} filters of {row['kernel']}{sample}, {row['core']:,} in the dense core at k = {row['k']} and p = {row['p']:g}. "
            f"Loops: {row['loops']}; ratio {row['ratio']}, p-value {row['p_value']}. "
            f"Median distance to the primary circle {row['to_circle']} (random filters {row['random_to_circle']})"
        )
        if "to_klein_bottle" in row:
            text += f", to the Klein bottle {row['to_klein_bottle']} ({row['random_to_klein_bottle']})"
        image = b64encode(picture(finding)._repr_png_()).decode()
        sections.append(f'<h2>{escape(row["layer"])}</h2>\n<p>{escape(text)}.</p>\n<img alt="{escape(alt)}" src="data:image/png;base64,{image}">')
    missing = f"<p>Missing from the file: {escape(', '.join(weights.missing))}.</p>" if weights.missing else ""
    others = "".join(f"<li>{escape(name)}: {escape(why)}</li>" for name, why in {**skipped(findings), **weights.skipped}.items())
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(weights.path.name)}</title><style>{_STYLE}</style>\n'
        f"<h1>{escape(weights.path.name)}</h1>\n{summary(findings)._repr_html_()}\n{missing}"
        + (f"<p>Not looked at:</p><ul>{others}</ul>" if others else "")
        + "\n".join(sections)
        + "\n</html>\n"
    )
