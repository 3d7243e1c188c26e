"""Pictures of barcodes, patches, clouds and Mapper graphs, and tables; the only package that plots.

Knows arrays, barcodes and graphs; must not know where they come from, nor compute the results that it shows.
"""

# Every function that draws one picture takes `ax`, the matplotlib Axes to draw on, and makes a Figure of its own where
# `ax` is None. Every one returns the Figure. The function `barcodes` hides the module of the same name here.
from topo.figures.barcodes import barcode, barcodes
from topo.figures.clouds import cloud, complex_at, complexes, cover, plane, planes
from topo.figures.graphs import layers, mapper, mappers
from topo.figures.numbers import costs, density_grid, density_grids, histogram, judgements, layer_grids, strip, timeline
from topo.figures.patches import circle_of_patches, patch, patch_row, rings, three_circles
from topo.figures.style import (
    AMBER,
    BLUE,
    GREEN,
    ORANGE,
    PALETTE,
    PURPLE,
    SKY,
    WIDTH,
    YELLOW,
    Figure,
    panels,
    use_style,
)
from topo.figures.tables import Slides, Table, bar_text, comparison, listed, slides, spread, table, trainings

__all__ = [
    "AMBER",
    "BLUE",
    "GREEN",
    "ORANGE",
    "PALETTE",
    "PURPLE",
    "SKY",
    "WIDTH",
    "YELLOW",
    "Figure",
    "panels",
    "use_style",
    "barcode",
    "barcodes",
    "circle_of_patches",
    "patch",
    "patch_row",
    "rings",
    "three_circles",
    "layers",
    "mapper",
    "mappers",
    "cloud",
    "complex_at",
    "complexes",
    "cover",
    "plane",
    "planes",
    "costs",
    "density_grid",
    "density_grids",
    "histogram",
    "judgements",
    "layer_grids",
    "strip",
    "timeline",
    "Slides",
    "Table",
    "bar_text",
    "comparison",
    "listed",
    "slides",
    "spread",
    "table",
    "trainings",
]
