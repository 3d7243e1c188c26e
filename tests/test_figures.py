import json
import re
from collections import Counter
from functools import partial
from io import BytesIO
from itertools import combinations

import igraph
import matplotlib
import matplotlib.style
import numpy as np
import pytest
from conftest import ROOT, refused
from matplotlib.collections import EllipseCollection, LineCollection, PathCollection, PolyCollection
from PIL import Image

from topo import archive, figures, spaces
from topo.evidence import Loops
from topo.figures.packing import packed
from topo.learning import Judgement
from topo.mapper import IntervalCover, Lens, mapper_graph, node_means, node_sizes
from topo.notation import Architecture
from topo.persistence import lazy_witness_times, maxmin_landmarks
from topo.recipes import Training


@pytest.fixture(autouse=True)
def plain_style():
    """What other tests, or other files in the same process, chose by `figures.use_style` counts here no more."""
    with matplotlib.rc_context():
        matplotlib.style.use("default")
        yield


ENDED = np.array([[0.0, 1.0]])
CIRCLE_BARS = {0: np.array([[0, 0.1], [0, np.inf], [0, 0.2]]), 1: np.array([[0.1, 0.15], [0.2, 0.9], [0.3, 0.4]])}


def collections(ax, kind):
    return [each for each in ax.collections if type(each) is kind]


def test_pictures_are_sharp_small_and_shown_at_the_size_of_the_figure(ring):
    figure = figures.mapper(ring[1], ring[0])
    png, shown = figure._repr_png_()
    plain, picture = BytesIO(), Image.open(BytesIO(png))
    figure.savefig(plain, format="png", bbox_inches="tight")
    at_once = Image.open(plain).convert("RGB")
    assert abs(np.subtract(picture.size, (2 * shown["width"], 2 * shown["height"]))).max() <= 1
    assert abs(np.subtract(at_once.size, (shown["width"], shown["height"]))).max() <= 1
    assert picture.info["dpi"] == pytest.approx((2 * figure.dpi, 2 * figure.dpi), rel=0.01)
    assert len(png) < len(plain.getvalue()) and picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    halved = picture.convert("RGB").resize(at_once.size, Image.Resampling.BOX)
    assert np.abs(np.subtract(halved, at_once, dtype=int)).mean() < 4


def texts(ax):
    return [text.get_text() for text in ax.texts]


def patches_of(ax):
    """Centres (n, 2), sides (n,) and pixels (n, 9) of all patches drawn, the pixels row by row as one sees them."""
    centres, sides, pixels = [], [], []
    fills = [each for each in collections(ax, PolyCollection) if not each.get_antialiaseds()[0]]
    for fill in fills:
        corners = np.array([path.vertices[:4] for path in fill.get_paths()]).reshape(-1, 9, 4, 2)
        centres.append(corners.mean(axis=(1, 2)))
        sides.append(np.ptp(corners[..., 0], axis=(1, 2)))
        seen = np.lexsort((corners[..., 0].mean(-1).round(6), -corners[..., 1].mean(-1).round(6)), axis=-1)
        pixels.append(np.take_along_axis(fill.get_facecolors()[:, 0].reshape(-1, 9), seen, axis=1))
    return np.concatenate(centres), np.concatenate(sides), np.concatenate(pixels)


@pytest.fixture(scope="module")
def ring():
    """A noisy primary circle and its Mapper graph."""
    generator = np.random.default_rng(0)
    points = spaces.primary_circle(generator.uniform(0, 2 * np.pi, 700)) + 0.05 * generator.normal(size=(700, 9))
    return points, mapper_graph(points, 20, 3)


def graph_of(elements, edges):
    graph = igraph.Graph(len(elements), edges)
    graph.vs["node_elements"] = [np.array(rows) for rows in elements]
    return graph


def test_figures_are_pictures_that_pyplot_does_not_keep():
    from matplotlib import pyplot

    with matplotlib.rc_context():
        figures.use_style()
        figure = figures.patch(np.arange(9))
        assert figure.dpi == 110
        assert figure.png().startswith(b"\x89PNG")
    assert not pyplot.get_fignums()


def test_panels_are_in_reading_order():
    figure, axes = figures.panels(2, 3, labels="abcdef")
    assert [ax.get_title() or ax.get_title("left") for ax in axes] == list("abcdef")
    figure.canvas.draw()
    x, y = np.array([ax.get_position().p0 for ax in axes]).T
    np.testing.assert_array_equal(np.lexsort((x, -y)), range(6))
    with pytest.raises(ValueError, match="2 labels for 1 x 3"):
        figures.panels(1, 3, labels="ab")
    figure, (low, high) = figures.panels(2, 1, height=[1, 3])
    figure.canvas.draw()
    assert figure.get_figheight() == 4 and low.get_position().height < high.get_position().height / 2
    with pytest.raises(ValueError, match="1 heights for 2 rows"):
        figures.panels(2, 1, height=[1])


@pytest.mark.parametrize(
    "figure",
    [
        lambda _: figures.timeline([0, 1], {f"the networks of group {i}": [i, i + 1] for i in range(4)}, label="ratio"),
        lambda _: figures.strip({"a group with a long name": [0.9, 1], "other": [0.1]}, label="accuracy"),
        lambda _: figures.intervals({"a group with a long name": {"in time": (0.5, 0.4, 0.7)}}, label="correlation"),
        lambda _: figures.barcode({0: np.array([[0, np.inf]]), 1: np.array([[0.1, 0.5]])}),
        lambda _: figures.panels(3, 1, width=figures.NARROW)[0],
        lambda _: figures.patch_row(np.eye(9), list("abcdefghi"), columns=6, width=figures.NARROW),
        lambda _: figures.three_circles(),
        lambda ring: figures.mapper(ring[1], ring[0], thumbnails=24),
        lambda ring: figures.explorer(ring[1], ring[0]),
    ],
)
def test_a_phone_shows_panels_that_are_not_beside_others_whole(figure, ring):
    legible = int(re.search(r"_LEGIBLE = (\d+)", (ROOT / "book" / "_extensions" / "page.py").read_text())[1])
    figures.use_style()  # as in the book, whose letters are larger
    assert figure(ring)._repr_png_()[1]["width"] <= legible


# Barcodes


def bars_drawn(ax):
    """(births, ends) of each group, from the top."""
    return [np.array([(bar.get_x(), bar.get_x() + bar.get_width()) for bar in group]) for group in ax.containers]


def test_barcode_draws_every_bar_longest_first():
    ax = figures.barcode(CIRCLE_BARS).axes[0]
    components, loops = bars_drawn(ax)
    limit = ax.get_xlim()[1]
    np.testing.assert_allclose(components, [[0, limit], [0, 0.2], [0, 0.1]])
    np.testing.assert_allclose(loops, [[0.2, 0.9], [0.3, 0.4], [0.1, 0.15]])
    heights = [bar.get_y() for group in ax.containers for bar in group]
    assert heights == sorted(heights) and ax.yaxis_inverted()
    assert [label.get_text() for label in ax.get_yticklabels()] == ["$H_0$", "$H_1$"]
    assert ax.get_xlabel() == "lazy witness parameter $t$"


def test_endless_bars_and_no_others_end_in_an_arrow():
    ax = figures.barcode(CIRCLE_BARS).axes[0]
    arrows = [marks.get_offsets() for marks in collections(ax, PathCollection)]
    assert [len(places) for places in arrows] == [1, 0]
    np.testing.assert_allclose(arrows[0], [[ax.get_xlim()[1], 0]])


def test_bars_beyond_a_given_limit_are_cut_and_marked():
    ax = figures.barcode(CIRCLE_BARS, limit=0.25).axes[0]
    assert ax.get_xlim()[1] == 0.25
    np.testing.assert_allclose(bars_drawn(ax)[1], [[0.2, 0.25], [0.25, 0.25], [0.1, 0.15]])
    assert [len(marks.get_offsets()) for marks in collections(ax, PathCollection)] == [1, 2]


def test_lengths_and_bars_left_out_are_written_beside():
    many = {0: np.array([[0, np.inf]]), 1: np.column_stack([np.zeros(40), np.linspace(0.01, 1, 40)])}
    ax = figures.barcode(many, max_bars=20).axes[0]
    assert [len(group) for group in ax.containers] == [1, 20]
    assert "∞" in texts(ax) and "1.00" in texts(ax) and "20 not drawn" in texts(ax)
    assert "no bars" in texts(figures.barcode({0: np.zeros((0, 2))}, dimensions=(0,)).axes[0])


def test_lengths_of_few_bars_are_written_in_one_line_below_them():
    many = {1: np.column_stack([np.zeros(20), np.linspace(0.1, 1, 20)])}
    (text,) = figures.barcode(many, dimensions=(1,), max_bars=8).axes[0].texts
    assert text.get_text() == "longest: 1.00, 0.95, 0.91\n12 not drawn"
    figure = text.axes.figure
    figure.canvas.draw()
    last = text.axes.containers[0][-1].get_window_extent()
    assert text.get_window_extent().y1 < last.y0 and text.get_window_extent().x1 < text.axes.bbox.x1
    assert texts(figures.barcode({1: np.zeros((0, 2))}, dimensions=(1,), max_bars=8).axes[0]) == ["no bars"]


def test_barcodes_share_one_scale_and_one_order_of_rows():
    short = {0: np.array([[0, np.inf]]), 1: np.array([[0.1, 0.2]])}
    figure = figures.barcodes([("same", CIRCLE_BARS), ("same", short), ("other", short), ("last", short)], columns=3)
    assert len(figure.axes) == 4
    assert len({ax.get_xlim() for ax in figure.axes}) == 1
    assert len({ax.containers[1][0].get_y() for ax in figure.axes}) == 1


@pytest.mark.parametrize(
    "bars, message",
    [
        ({0: ENDED}, "dimension 1 is not in the barcode"),
        ({0: ENDED, 1: np.array([0.0, 1.0])}, r"must have shape \(b, 2\)"),
        ({0: ENDED, 1: np.array([[2.0, 1.0]])}, "die at or after"),
        ({0: ENDED, 1: np.array([[np.nan, 1.0]])}, "finite time"),
    ],
)
def test_bad_barcodes(bars, message):
    with refused(ValueError, match=message):
        figures.barcode(bars)


def test_other_bad_arguments_of_barcodes():
    with refused(TypeError, match="dict"):
        figures.barcode(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="limit = 0"):
        figures.barcode(CIRCLE_BARS, limit=0)
    with pytest.raises(ValueError, match="max_bars"):
        figures.barcode(CIRCLE_BARS, max_bars=0)
    with pytest.raises(ValueError, match="empty"):
        figures.barcodes({})


# Patches


def test_a_patch_is_dark_where_negative_and_lies_as_an_image():
    _, _, pixels = patches_of(figures.patch([-4, 0, 1, 2, 4, -2, 0, 0, 0]).axes[0])
    np.testing.assert_allclose(pixels, [[0, 0.5, 0.625, 0.75, 1, 0.25, 0.5, 0.5, 0.5]])


def test_limit_is_common_and_a_patch_of_zeros_is_gray():
    vectors = [np.full(9, 0.5), np.full(9, -3), np.zeros(9)]
    _, _, pixels = patches_of(figures.patch_row(vectors, limit=1).axes[0])
    np.testing.assert_allclose(pixels[:, 0], [0.75, 0, 0.5])
    _, _, pixels = patches_of(figures.patch_row(vectors).axes[0])
    np.testing.assert_allclose(pixels[:, 0], [1, 0, 0.5])


def test_patch_row_wraps_and_labels():
    ax = figures.patch_row(spaces.primary_circle(np.arange(5)), list("abcde"), columns=3).axes[0]
    centres, sides, _ = patches_of(ax)
    assert len(centres) == 5 and texts(ax) == list("abcde")
    np.testing.assert_allclose(centres[3:, 0], centres[:2, 0])
    assert len(np.unique(centres[:, 1].round(6))) == 2
    assert min(np.abs(a - b).max() for a, b in combinations(centres, 2)) > sides[0]


def test_bad_patches():
    with pytest.raises(ValueError, match=r"square.*\(2, 8\)"):
        figures.patch_row(np.zeros((2, 8)))
    with pytest.raises(ValueError, match="1 labels for 2"):
        figures.patch_row(np.ones((2, 9)), ["a"])
    with pytest.raises(ValueError, match="limit"):
        figures.patch(np.ones(9), limit=-1)
    with pytest.raises(ValueError, match="angles"):
        figures.circle_of_patches(np.ones((2, 9)), [0])


def bright_side(pixels):
    """Where each patch brightens to, in the picture: (n, 2) with y upwards."""
    down, right = np.mgrid[-1:2, -1:2].reshape(2, 9)
    return np.column_stack([pixels @ right, -pixels @ down])


@pytest.mark.parametrize("count", [8, 16, 40])
def test_edges_around_a_circle_brighten_outwards_and_do_not_overlap(count):
    angles = np.arange(count) * 2 * np.pi / count
    ax = figures.circle_of_patches(spaces.primary_circle(angles), angles, label="primary").axes[0]
    centres, sides, pixels = patches_of(ax)
    outwards = bright_side(pixels)
    np.testing.assert_allclose(outwards / np.linalg.norm(outwards, axis=1, keepdims=True), centres, atol=1e-9)
    assert min(np.abs(a - b).max() for a, b in combinations(centres, 2)) > sides[0]
    assert texts(ax) == ["primary"]


def test_patches_around_a_circle_are_as_large_as_asked_for():
    angles = [0, 0.4, 0.8]  # side by side, where patches with room all around would overlap
    ax = figures.circle_of_patches(spaces.primary_circle(angles), angles, side=0.2).axes[0]
    assert np.allclose(patches_of(ax)[1], 0.2)
    with pytest.raises(ValueError, match="side"):
        figures.circle_of_patches(spaces.primary_circle(angles), angles, side=0)


def test_secondary_circles_meet_the_primary_in_the_right_patches():
    ax = figures.three_circles(steps=8).axes[0]
    centres, sides, pixels = patches_of(ax)
    assert len(centres) == 8 + 6 + 6 + 3  # and the key
    inside = np.abs(centres).max(axis=1) < 1.2
    assert min(np.abs(a - b).max() for a, b in combinations(centres[inside], 2)) > sides.min()
    drawn = {line.get_color(): line.get_xydata() for line in ax.lines}
    vertical, horizontal = drawn[figures.ORANGE], drawn[figures.GREEN]
    for circle, meeting, patch in [
        (vertical, (1, 0), spaces.secondary_circles(np.pi / 2)[0]),
        (vertical, (-1, 0), spaces.secondary_circles(-np.pi / 2)[0]),
        (horizontal, (0, -1), spaces.secondary_circles(np.pi / 2)[1]),
        (horizontal, (0, 1), spaces.secondary_circles(-np.pi / 2)[1]),
    ]:
        assert np.linalg.norm(circle - meeting, axis=1).min() < 1e-9
        drawn = pixels[np.linalg.norm(centres - meeting, axis=1).argmin()]
        np.testing.assert_allclose(drawn, 0.5 + 0.5 * patch / np.abs(patch).max(), atol=1e-9)
    key = sorted((-y, text.get_text()) for text in ax.texts for _, y in [text.get_position()])
    assert [text.split(":")[0] for _, text in key] == ["primary circle"] + 2 * ["secondary circle"]
    assert "vertical" in key[1][1] and "horizontal" in key[2][1]
    with pytest.raises(ValueError, match="multiple of 4"):
        figures.three_circles(steps=10)


# Mapper graphs


def discs_of(ax):
    (discs,) = collections(ax, EllipseCollection)
    return discs.get_offsets(), discs.get_widths() / 2, discs.get_array()


def test_mapper_draws_every_node_and_edge(ring):
    points, graph = ring
    figure = figures.mapper(graph, points, smallest=0)
    positions, radii, counts = discs_of(figure.axes[0])
    np.testing.assert_array_equal(counts, np.sort(node_sizes(graph)))
    assert (np.diff(radii) >= 0).all() and radii[0] < radii[-1]
    assert len(collections(figure.axes[0], LineCollection)[0].get_segments()) == graph.ecount()
    assert figure.axes[1].get_xlabel() == "points in the node"
    assert len(figures.mapper(graph, points, colorbar=False).axes) == 1


def assert_nothing_overlaps(ax):
    centres, sides, _ = patches_of(ax)
    positions, radii, _ = discs_of(ax)
    assert all(np.abs(a - b).max() > 1.1 * sides[0] for a, b in combinations(centres, 2))  # a gap between
    beyond = np.maximum(np.abs(centres[:, None] - positions) - sides[0] / 2, 0)
    assert (np.linalg.norm(beyond, axis=2) > radii).all()
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    assert (centres - sides[0] / 2 > [left, bottom]).all() and (centres + sides[0] / 2 < [right, top]).all()


@pytest.mark.parametrize(
    "layout, side, fewest",
    [("force", 0.09, 10), ("lens", 0.05, 18), ("lens", 0.09, 10), ("lens", 0.25, 3), ("lens", 0.5, 1)],
)
def test_thumbnails_cover_neither_one_another_nor_the_graph(ring, layout, side, fewest):
    points, graph = ring
    ax = figures.mapper(graph, points, thumbnails=20, layout=layout, side=side).axes[0]
    assert fewest <= len(patches_of(ax)[0]) <= 20
    assert_nothing_overlaps(ax)


@pytest.mark.parametrize("seed", range(3))
def test_thumbnails_do_not_overlap_in_a_crowd(seed):
    places = np.random.default_rng(seed).uniform(size=(40, 2))
    graph, points = graph_of([[i] for i in range(40)], []), spaces.primary_circle(np.arange(40))
    ax = figures.mapper(graph, points, layout=places, smallest=0, side=0.1, thumbnails=40).axes[0]
    assert len(patches_of(ax)[0]) >= 12
    assert_nothing_overlaps(ax)


def test_thumbnails_are_the_means_of_adjacent_nodes_and_spread_around(ring):
    points, graph = ring
    places = node_means(graph, points) @ spaces.primary_circle([0, np.pi / 2]).T
    ax = figures.mapper(graph, points, layout=places).axes[0]
    centres, _, pixels = patches_of(ax)
    leaders = np.array(collections(ax, LineCollection)[1].get_segments())
    np.testing.assert_allclose(leaders[:, 1], centres)
    means = node_means(graph, points, hops=1)
    for (start, _), drawn in zip(leaders, pixels):
        mean = means[np.linalg.norm(places - start, axis=1).argmin()]
        np.testing.assert_allclose(drawn, 0.5 + 0.5 * mean / np.abs(mean).max(), atol=1e-9)
    assert (np.linalg.norm(leaders[:, 1], axis=1) > np.linalg.norm(leaders[:, 0], axis=1)).all()  # outside the ring
    around = np.sort(np.arctan2(*leaders[:, 0].T))
    assert np.diff(around, append=around[0] + 2 * np.pi).max() < 2.5 * 2 * np.pi / len(around)


def test_force_layout_is_the_same_every_time(ring):
    points, graph = ring
    first, second = (discs_of(figures.mapper(graph, points, layout="force").axes[0])[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_single_node_does_not_fill_the_picture():
    points = spaces.primary_circle(np.linspace(0, 6, 50))
    ax = figures.mapper(graph_of([range(50)], []), points).axes[0]
    assert np.ptp(ax.get_xlim()) > 10 * discs_of(ax)[1].max()


def test_small_components_are_counted_but_not_drawn():
    points = spaces.primary_circle(np.linspace(0, 6, 200))
    graph = graph_of([range(120), range(100, 197), [197, 198], [198], [199]], [(0, 1), (2, 3)])
    ax = figures.mapper(graph, points, smallest=0.02).axes[0]
    assert len(discs_of(ax)[0]) == 2
    assert texts(ax) == ["not drawn: 3 points in 2 small components"]
    lonely = graph_of([range(120), range(100, 199), [199]], [(0, 1)])
    assert texts(figures.mapper(lonely, points, smallest=0.02).axes[0]) == ["not drawn: 1 point in 1 small component"]
    assert not texts(figures.mapper(lonely, points, smallest=0.02, note=False).axes[0])
    assert len(discs_of(figures.mapper(graph, points, smallest=0.01).axes[0])[0]) == 4
    everything = figures.mapper(graph, points, smallest=0).axes[0]
    assert len(discs_of(everything)[0]) == 5 and texts(everything) == []


@pytest.mark.parametrize("elements, edges", [([[0, 1, 2]], []), ([[0, 1], [1, 2]], [(0, 1)]), ([[0], [5], [9]], [])])
def test_smallest_graphs(elements, edges):
    ax = figures.mapper(graph_of(elements, edges), spaces.primary_circle(np.arange(10)), smallest=0.5).axes[0]
    assert len(discs_of(ax)[0]) == len(elements)
    assert 1 <= len(patches_of(ax)[0]) <= len(elements)


def test_mappers_are_mapper_graphs_side_by_side(ring):
    points, graph = ring
    figure = figures.mappers({"one": (graph, points), "two": (graph, points)}, columns=2, smallest=0)
    assert [ax.get_title(loc="left") or ax.get_title() for ax in figure.axes][:2] == ["one", "two"]
    *panels, bar = figure.axes
    assert bar.get_xlabel() == "points in the node"
    for ax in panels:
        assert len(discs_of(ax)[0]) == graph.vcount() and len(patches_of(ax)[0]) <= 8
    with pytest.raises(ValueError, match="labelled must not be empty"):
        figures.mappers({})


def test_graphs_side_by_side_have_one_scale_of_colours_and_their_texts_at_one_height():
    points = spaces.primary_circle(np.arange(60) / 10)
    pairs = graph_of([range(20), range(20, 60)], []), graph_of([range(3), range(3, 5)], [(0, 1)])
    whole = graph_of([range(60)], [])  # its only node is the fullest of all
    labelled = {text: (graph, points) for text, graph in zip("abc", (*pairs, whole))}
    for figure in (
        figures.mappers(labelled, columns=3, thumbnails=2),
        figures.layers({text: (*each, CIRCLE_BARS) for text, each in labelled.items()}, columns=3),
    ):
        figure.canvas.draw()
        *axes, bar = figure.axes
        panels = [ax for ax in axes if collections(ax, EllipseCollection)]
        discs = [collections(ax, EllipseCollection)[0] for ax in panels]
        assert {(each.norm.vmin, each.norm.vmax) for each in discs} == {(1, 60)}
        assert (bar.get_xlabel() or bar.get_ylabel()) == "points in the node"
        np.testing.assert_array_equal(discs[2].to_rgba([60])[0], discs[0].cmap(1.0))
        heights = [(ax.title.get_window_extent().y0, ax.get_position().height) for ax in panels]
        np.testing.assert_allclose(heights, heights[:1] * 3, atol=0.5)


def test_layers_are_graphs_with_their_bars_on_one_scale(ring):
    points, graph = ring
    longer = {1: np.array([[0.0, 1.5]])}
    figure = figures.layers({name: (graph, points, bars) for name, bars in zip("abc", (CIRCLE_BARS, longer, longer))})
    assert [ax.get_title(loc="left") or ax.get_title() for ax in figure.axes][:6:2] == ["a", "b", "c"]
    assert figure.axes[6].get_xlabel() == "points in the node"
    for left, right in zip(figure.axes[:6:2], figure.axes[1:6:2]):
        assert len(discs_of(left)[0]) <= graph.vcount() and right.get_xlim() == (0, pytest.approx(1.05 * 1.5))
    with pytest.raises(ValueError, match="labelled must not be empty"):
        figures.layers({})


def test_mapper_over_a_cloud_keeps_the_cloud_in_view():
    points = spaces.sample_circle(200, seed=0, noise=0.1)
    graph = mapper_graph(points, 6, 2)
    figure = figures.cloud(points)
    view = figure.axes[0].get_xlim()
    means = node_means(graph, points)
    assert figures.mapper(graph, points, layout=means, thumbnails=0, ax=figure.axes[0]) is figure
    assert figure.axes[0].get_xlim()[0] <= view[0] and figure.axes[0].get_xlim()[1] >= view[1]
    np.testing.assert_allclose(sorted(discs_of(figure.axes[0])[0].tolist()), sorted(means.tolist()))


def test_bad_arguments_of_mapper(ring):
    points, graph = ring
    with pytest.raises(TypeError, match="node_elements"):
        figures.mapper(igraph.Graph(3), points)
    with pytest.raises(ValueError, match="layout = 'spring'"):
        figures.mapper(graph, points, layout="spring")
    with pytest.raises(ValueError, match="one position a node"):
        figures.mapper(graph, points, layout=np.zeros((3, 2)))
    with pytest.raises(ValueError, match="of another cloud"):
        figures.mapper(graph, points[:50])
    with pytest.raises(ValueError, match="square"):
        figures.mapper(graph, points[:, :8])
    for name, value in [("smallest", 2), ("side", 0), ("thumbnails", -1)]:
        with pytest.raises(ValueError, match=name):
            figures.mapper(graph, points, **{name: value})


def unpacked(text, digits=1):
    """Whole numbers to base 64, which `figures.packing.packed` wrote."""
    signs = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return np.array([signs.index(sign) for sign in text]).reshape(-1, digits) @ 64 ** np.arange(digits)[::-1]


def edges_of(text):
    """Edges as graph.js reads them."""
    edges, node, at = set(), 0, 0
    for step in unpacked(text):
        if step == 0:
            node = at = node + 1
        else:
            at += min(step, 62)
            if step < 63:
                edges.add((node, at))
    return edges


def values_of(data, frame=0):
    return {
        each["label"]: each["base"] + each["step"] * unpacked(values, each["digits"])
        for each, values in zip(data["measures"], data["frames"][frame]["values"])
    }


def test_numbers_are_packed_into_digits():
    numbers = np.random.default_rng(0).integers(0, 64**2, 50)
    np.testing.assert_array_equal(unpacked(packed(numbers, 2), 2), numbers)
    for wrong in (64, -1):
        with pytest.raises(ValueError, match="do not fit 1 digits"):
            packed([wrong], 1)


def test_an_explorer_is_the_picture_of_mapper_and_holds_what_it_shows(ring):
    points, graph = ring
    networks, distances, bright = np.arange(700) // 100, np.linspace(1, 2, 700), points[:, 0]
    style = {"smallest": 0, "thumbnails": 8}
    explorer = figures.explorer(
        graph, points, networks=networks, distances=distances, measures={"first pixel": bright}, **style
    )
    mapper = figures.mapper(graph, points, **style)
    assert explorer.png() == mapper.png() and mapper._repr_mimebundle_() == {}
    ((mimetype, text),) = explorer._repr_mimebundle_().items()
    data = json.loads(text)
    assert mimetype == "application/vnd.topo.answers" and len(text) < 50_000 and data == explorer.answers
    (frame,) = data["frames"]
    assert data["kind"] == "graph" and frame["note"] == "" and "stays" not in data
    positions, radii, _ = discs_of(mapper.axes[0])
    order = np.argsort(node_sizes(graph), kind="stable")
    placed = unpacked(frame["nodes"], 2).reshape(-1, 2)[order] * [1, -1]
    unit = np.ptp(placed[:, 0]) / np.ptp(positions[:, 0])
    drawn = unpacked(frame["radii"])[order] * frame["largest"] / 63
    np.testing.assert_allclose(drawn, radii * unit, atol=0.02 * radii.max() * unit)
    np.testing.assert_allclose(placed - placed[0], (positions - positions[0]) * unit, atol=1.5)
    assert edges_of(frame["neighbors"]) == {(min(edge), max(edge)) for edge in graph.get_edgelist()}
    beside = [len(frame[name]) / digits for name, digits in (("anchors", 3), ("beside", 4), ("thumbnails", 9))]
    assert len(set(beside)) == 1 and beside[0] > 4

    elements = graph.vs["node_elements"]
    assert unpacked(frame["networks"], data["digits"]).tolist() == [len(set(networks[rows])) for rows in elements]
    assert data["of"] == 7
    by_label = {label.split(",")[0]: values for label, values in values_of(data).items()}
    assert by_label["points in the node"].tolist() == [len(rows) for rows in elements]
    for label, row in {
        "distance to the k-th neighbour": distances,
        "distance to the primary circle": spaces.distance_to(points, spaces.primary_circle(np.arange(0, 6.3, 0.01))),
        "first pixel": bright,
    }.items():
        np.testing.assert_allclose(by_label[label], [row[rows].mean() for rows in elements], atol=0.002)
    means = np.array([points[rows].mean(axis=0) for rows in elements])
    shades = 2 * unpacked(frame["filters"]).reshape(-1, 9) / 63 - 1
    np.testing.assert_allclose(shades, means / np.abs(means).max(1, keepdims=True), atol=0.016)
    turned = np.radians(by_label["angle on the primary circle"]) - spaces.primary_angle(means)
    assert np.cos(turned).min() > np.cos(np.radians(1))


def test_an_explorer_shows_the_components_of_mapper_and_needs_square_patches(ring):
    points, graph = ring
    lonely = graph_of([*graph.vs["node_elements"], [0]], graph.get_edgelist())
    data = figures.explorer(lonely, points, smallest=0.02).answers
    (frame,) = data["frames"]
    assert frame["note"].startswith("not drawn: ") and len(frame["nodes"]) / 4 <= graph.vcount()
    assert len(frame["filters"]) / 9 == len(frame["nodes"]) / 4 and "networks" not in frame
    large = figures.explorer(graph, np.random.default_rng(0).normal(size=(700, 25))).answers
    assert [measure["label"] for measure in large["measures"]] == ["points in the node"]
    with pytest.raises(ValueError, match="no square patches"):
        figures.explorer(graph, points[:, :8], thumbnails=0)
    with pytest.raises(ValueError, match="699 distances for 700 points"):
        figures.explorer(graph, points, distances=np.ones(699))
    with pytest.raises(ValueError, match="1 networks for 700 points"):
        figures.explorer(graph, points, networks=[0])
    with pytest.raises(ValueError, match="2 values of 'depth' for 700 points"):
        figures.explorer(graph, points, measures={"depth": [0, 1]})


def test_steps_to_far_neighbours_take_several_digits():
    points = spaces.primary_circle(np.linspace(0, 6, 300))
    far = {(0, 62), (0, 63), (0, 124), (1, 63), (1, 299), (7, 8)}
    graph = graph_of([[i] for i in range(300)], sorted(far))
    (frame,) = figures.explorer(graph, points, smallest=0, thumbnails=0).answers["frames"]
    assert edges_of(frame["neighbors"]) == far


def test_explorers_are_the_picture_of_mappers_and_hold_all_graphs_on_one_scale(ring):
    points, graph = ring
    half = points[:, :] / 2
    lens = Lens().fit(points).transform
    labelled = {"one": (graph, points), "two": (mapper_graph(half, 6, 2, lens=lens), half)}
    style = {"columns": 2, "smallest": 0, "layout": lens}
    explorer, plain = figures.explorers(labelled, **style), figures.mappers(labelled, **style)
    assert explorer.png() == plain.png()
    data = explorer.answers
    assert data["stays"] and [frame["label"] for frame in data["frames"]] == ["one", "two"]
    first, second = (unpacked(frame["nodes"], 2).reshape(-1, 2) for frame in data["frames"])
    (positions, radii, counts), (others, _, more) = (discs_of(ax) for ax in plain.axes[:2])
    unit = np.ptp(first[:, 0]) / np.ptp(positions[:, 0])
    np.testing.assert_allclose(np.ptp(second, axis=0), np.ptp(others, axis=0) * unit, atol=2)
    assert plain.axes[0].get_xlim() == plain.axes[1].get_xlim() and np.ptp(second) < 0.7 * np.ptp(first)
    norms = {(each.norm.vmin, each.norm.vmax) for ax in plain.axes[:2] for each in collections(ax, EllipseCollection)}
    assert norms == {(1, max(counts.max(), more.max()))}
    assert all(len(values) == len(first) for values in values_of(data).values())
    assert all(len(values) == len(second) for values in values_of(data, 1).values())
    with pytest.raises(ValueError, match="no square patches"):
        figures.explorers({"one": (graph, points[:, :8])}, thumbnails=0)


def test_a_node_that_stands_alone_is_not_the_bluest():
    ax = figures.mapper(graph_of([range(600)], []), spaces.primary_circle(np.linspace(0, 6, 600)), thumbnails=0).axes[0]
    (discs,) = collections(ax, EllipseCollection)
    assert discs.norm(600) == 1


def test_the_data_of_an_explorer_ends_no_script(ring):
    explorer = figures.explorer(ring[1], ring[0])
    explorer.answers["frames"][0]["note"] = "</script><b>"
    embedded = explorer.embedded("fig-1")
    assert embedded.count("</script>") == 1 and 'data-picture="fig-1"' in embedded
    data = json.loads(embedded.split(">", 1)[1].removesuffix("</script>"))
    assert data["frames"][0]["note"] == "</script><b>"


def test_a_loop_explorer_is_the_picture_of_barcodes_and_holds_the_filters_along_each_loop(ring):
    points, _ = ring
    loops = Loops(landmarks=30)
    bars, cycles = loops.barcode(points), [points[rows] for rows in loops.cycles(points)]
    explorer = figures.loop_explorer({"ring": (bars, cycles), "none": (CIRCLE_BARS, [])})
    assert explorer.png() == figures.barcodes({"ring": bars, "none": CIRCLE_BARS}).png()
    data = explorer.answers
    assert data["kind"] == "bars" and data["pixels"] == 9 and data["ticks"][0] == 0
    ring_panel, none = data["panels"]
    for group, dimension in zip(ring_panel["groups"], (0, 1)):
        shown = np.array([[birth, np.inf if death is None else death] for birth, death in group["bars"]])
        np.testing.assert_allclose(shown, bars[dimension][:30], rtol=1e-3)
    told = ring_panel["groups"][1]["cycles"]
    assert len(told) == len(bars[1]) and none["groups"][1]["cycles"] == [None] * len(CIRCLE_BARS[1])
    shades = 2 * unpacked(told[0]).reshape(-1, 9) / 63 - 1
    np.testing.assert_allclose(shades, cycles[0] / np.abs(cycles[0]).max(1, keepdims=True), atol=0.016)
    with pytest.raises(ValueError, match="cycles for 0 bars"):
        figures.loop_explorer({"none": ({0: bars[0], 1: np.zeros((0, 2))}, cycles)})
    with pytest.raises(ValueError, match="no square patches"):
        figures.loop_explorer({"ring": (bars, [points[:3, :8]])})


# Clouds


def test_plane_puts_a_patch_where_it_brightens_to():
    bright_top = np.repeat([1.0, 0, -1], 3) / np.sqrt(6)
    ax = figures.plane(np.tile(bright_top, (50, 1)), rim=4).axes[0]
    cells = ax.collections[0]
    np.testing.assert_allclose(cells.get_offsets(), [[0, 1]], atol=0.06)
    np.testing.assert_allclose(cells.get_array(), [100])
    centres, _, pixels = patches_of(ax)
    assert len(centres) == 4
    assert ((bright_side(pixels) * centres).sum(axis=1) > 0).all()


def test_planes_share_one_colour_scale():
    figure = figures.planes({"one": spaces.primary_circle(np.zeros(9)), "all": spaces.sample_klein_bottle(300, 0)})
    cells = [ax.collections[0] for ax in figure.axes[:2]]
    assert cells[0].get_clim() == cells[1].get_clim() == (0, 100)
    assert cells[1].get_array().sum() == pytest.approx(100)
    assert len(figure.axes) == 3  # one colour bar
    assert figures.plane(spaces.sample_klein_bottle(300, 0), limit=2).axes[0].collections[0].get_clim() == (0, 2)
    with refused(ValueError, match="3x3"):
        figures.plane(np.ones((4, 8)))


def test_clusters_have_markers_and_small_ones_are_counted():
    points = np.random.default_rng(0).normal(size=(60, 2))
    clusters = np.r_[np.repeat(np.arange(7), 8), 7, 8, 9, 10]
    ax = figures.cloud(points, clusters=clusters).axes[0]
    dots = collections(ax, PathCollection)
    assert [len(each.get_offsets()) for each in dots] == [8] * 7 + [4]
    shapes = {each.get_paths()[0].vertices.tobytes() for each in dots}
    colours = {tuple(each.get_facecolors()[0]) for each in dots[:7]}
    assert len(shapes) == 8 and len(colours) == 7
    assert ax.get_title("right") == "× 4 smaller"


def test_cloud_coloured_by_values_and_bad_clouds():
    points = np.eye(2)
    figure = figures.cloud(points, values=[3.0, 5.0], label="lens")
    np.testing.assert_array_equal(figure.axes[0].collections[0].get_array(), [3, 5])
    assert figure.axes[1].get_ylabel() == "lens"
    with refused(ValueError, match=r"\(n, 2\)"):
        figures.cloud(np.eye(3))
    with pytest.raises(ValueError, match="values must have shape"):
        figures.cloud(points, values=[1])
    with pytest.raises(ValueError, match="not by two"):
        figures.cloud(points, values=[1, 2], clusters=[1, 2])


def test_cloud_draws_what_is_kept_over_all_points():
    points = np.random.default_rng(0).normal(size=(20, 2))
    every, kept = collections(figures.cloud(points, kept=[4, 7]).axes[0], PathCollection)
    np.testing.assert_array_equal(every.get_offsets(), points)
    np.testing.assert_array_equal(kept.get_offsets(), points[[4, 7]])
    assert kept.get_zorder() > every.get_zorder()
    assert len(collections(figures.cloud(points, kept=[]).axes[0], PathCollection)[1].get_offsets()) == 0


def test_cover_of_one_lens_writes_how_many_points_a_bin_has():
    lens = np.random.default_rng(0).normal(size=80)
    bins = IntervalCover(10, 3).fit(lens)
    ax = figures.cover(lens, bins.left_, bins.right_).axes[0]
    bars = ax.containers[0].patches
    inside = [int(((lens > low) & (lens < high)).sum()) for low, high in zip(bins.left_[0], bins.right_[0])]
    assert [int(text) for text in texts(ax)] == inside
    spans = [(bar.get_y(), bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars]
    assert np.isfinite(spans).all()
    assert all(a[2] <= b[1] or b[2] <= a[1] for a, b in combinations(spans, 2) if a[0] == b[0])


def test_cover_of_two_lenses_outlines_the_fullest_bin():
    lens = spaces.sample_circle(150, seed=1)
    bins = IntervalCover(6, 2).fit(lens)
    ax = figures.cover(lens, bins.left_, bins.right_).axes[0]
    rectangles, outline = collections(ax, PolyCollection)
    counts = {
        (i, j): int(((lens > [a, b]) & (lens < [c, d])).all(axis=1).sum())
        for i, (a, c) in enumerate(zip(bins.left_[0], bins.right_[0]))
        for j, (b, d) in enumerate(zip(bins.left_[1], bins.right_[1]))
    }
    assert len(rectangles.get_paths()) == sum(count > 0 for count in counts.values())
    assert texts(ax) == [f"in the outlined bin: {max(counts.values())} points"]
    (label,) = ax.texts
    assert label.get_transform() == ax.transAxes and label.get_position()[1] >= 1  # above the panel, over no point
    low, high = outline.get_paths()[0].vertices[[0, 2]]
    assert ((lens > low) & (lens < high)).all(axis=1).sum() == max(counts.values())


def test_bad_covers():
    with pytest.raises(ValueError, match="k = 1 or 2"):
        figures.cover(np.zeros((5, 3)), np.zeros((3, 2)), np.ones((3, 2)))
    with pytest.raises(ValueError, match="left end"):
        figures.cover(np.arange(5.0), [[1.0]], [[0.0]])


def test_complex_has_the_edges_and_triangles_of_its_parameter():
    points = spaces.sample_circle(120, seed=0, noise=0.1)
    landmarks = maxmin_landmarks(points, 15)
    times = lazy_witness_times(points, landmarks)
    t = np.quantile(times, 0.4)
    ax = figures.complex_at(points, landmarks, times, t).axes[0]
    edges = {(a, b) for a, b in combinations(range(15), 2) if times[a, b] <= t}
    triangles = [each for each in combinations(range(15), 3) if set(combinations(each, 2)) <= edges]
    assert len(collections(ax, LineCollection)[0].get_segments()) == len(edges) > 0
    drawn = [path.vertices[:3].tolist() for path in collections(ax, PolyCollection)[0].get_paths()]
    assert sorted(drawn) == sorted(points[landmarks[list(each)]].tolist() for each in triangles) and drawn
    figure = figures.complexes(points, landmarks, times, [0, t, 9], columns=2)
    assert len(figure.axes) == 3
    assert len(collections(figure.axes[2], LineCollection)[0].get_segments()) == 15 * 14 / 2
    with pytest.raises(ValueError, match=r"times must have shape \(15, 15\)"):
        figures.complex_at(points, landmarks, times[:3], t)


# Numbers


def test_density_grid_writes_every_number():
    figure = figures.density_grid([[1.234, np.inf], [np.nan, 12]], [5, 200], [0.1, 0.3], label="ratio", mark=(200, 0.3))
    ax = figure.axes[0]
    assert {text.get_position(): text.get_text() for text in ax.texts} == {(0, 0): "1.23", (1, 0): "∞", (1, 1): "12"}
    (outline,) = ax.patches
    assert outline.get_xy() == (0.5, 0.5)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0.1", "0.3"]
    assert figure.axes[1].get_ylabel() == "ratio"


def test_numbers_in_a_density_grid_stand_out_from_their_cells():
    values = np.linspace(0, 1, 12).reshape(3, 4)
    ax = figures.density_grid(values, [5, 10, 20], [0.1, 0.2, 0.3, 0.4], label="ratio").axes[0]
    (image,) = ax.images

    def luminance(colour):  # as the Web Content Accessibility Guidelines have it
        channels = np.array(matplotlib.colors.to_rgb(colour))
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    assert {text.get_color() for text in ax.texts} == {"black", "white"}
    for text in ax.texts:
        column, row = text.get_position()
        cell = image.cmap(image.norm(values[row, column]))[:3]
        dark, light = sorted((luminance(cell), luminance(text.get_color())))
        assert (light + 0.05) / (dark + 0.05) > 3.5


def test_density_grids_compare_on_common_limits():
    figure, axes = figures.panels(1, 2)
    for values, ax in zip(([[1.0, 2.0]], [[1.0, 9.0]]), axes):
        figures.density_grid(values, [5], [0.1, 0.2], label="ratio", limits=(1, 9), ax=ax)
    assert [ax.images[0].get_clim() for ax in axes] == [(1, 9)] * 2


def test_density_grid_of_nothing_finite_and_bad_grids():
    assert texts(figures.density_grid([[np.inf]], [5], [0.1], label="ratio").axes[0]) == ["∞"]
    with pytest.raises(ValueError, match=r"values must have shape \(2, 1\)"):
        figures.density_grid([[1.0, 2.0]], [5, 6], [0.1], label="ratio")
    with pytest.raises(ValueError, match="mark"):
        figures.density_grid([[1.0]], [5], [0.1], label="ratio", mark=(5, 0.2))


def test_share_grids_write_per_cent_on_one_scale():
    labelled = {"PCA": [[0, 0.125], [1, 0.5]], "Isomap": [[0.25, 0], [0, 0]], "other": [[0, 0], [0, 0]]}
    options = dict(label="one loop", axes=("resolution", "gain"))
    figure = figures.share_grids(labelled, [10, 30], ["2", "3"], mark=(30, "3"), across=2, **options)
    first, second, third, bar = figure.axes
    assert {text.get_position(): text.get_text() for text in first.texts} == {
        (0, 0): "0", (1, 0): "12", (0, 1): "100", (1, 1): "50"
    }  # fmt: skip
    assert [ax.get_title() for ax in (first, second, third)] == list(labelled)
    assert [ax.images[0].get_clim() for ax in (first, second, third)] == [(0, 100)] * 3
    assert [ax.patches[0].get_xy() for ax in (first, second, third)] == [(0.5, 0.5)] * 3
    assert [tick.get_text() for tick in first.get_yticklabels()] == ["10", "30"]
    assert bar.get_ylabel() == "one loop (%)"
    assert (figure.get_supylabel(), figure.get_supxlabel()) == ("resolution", "gain")


def test_share_grids_refuse_what_is_no_grid_of_shares():
    options = dict(rows=[10], columns=[2, 3], label="one loop", axes=("resolution", "gain"))
    with pytest.raises(ValueError, match=r"values of 'PCA' must have shape \(1, 2\), not \(1, 3\)"):
        figures.share_grids({"PCA": [[0, 0, 0]]}, **options)
    with pytest.raises(ValueError, match="values of 'PCA' must be shares from 0 to 1, not 0 to 12"):
        figures.share_grids({"PCA": [[0, 12]]}, **options)
    with pytest.raises(ValueError, match=r"mark = \(10, 4\) must be one of the pairs of rows = \[10\]"):
        figures.share_grids({"PCA": [[0, 1]]}, mark=(10, 4), **options)
    with pytest.raises(ValueError, match="labelled must not be empty"):
        figures.share_grids({}, **options)


def test_layer_grids_have_a_row_for_each_layer_and_outline_cells():
    values = {"loops": [[1, np.nan, 3], [0, 2, 5]], "share": [[0.0, 1.5, 2], [3, 4, 5]]}
    figure = figures.layer_grids(values, ["first", "second"], [0.1, 0.2, 0.4], marks={"share": {"second": 0.2}})
    left, right = figure.axes
    assert {text.get_position(): text.get_text() for text in left.texts} == {
        (0, 0): "1", (2, 0): "3", (0, 1): "0", (1, 1): "2", (2, 1): "5"
    }  # fmt: skip
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["first", "second"]
    assert [tick.get_text() for tick in right.get_xticklabels()] == ["0.1", "0.2", "0.4"]
    (outline,) = right.patches
    assert outline.get_xy() == (0.5, 0.5) and not left.patches
    with pytest.raises(ValueError, match=r"values of 'loops' must have shape \(1, 3\)"):
        figures.layer_grids(values, ["first"], [0.1, 0.2, 0.4])
    with pytest.raises(ValueError, match="marks of 'loops' must be cells of the grid, not 'third': 0.1"):
        figures.layer_grids(values, ["first", "second"], [0.1, 0.2, 0.4], marks={"loops": {"third": 0.1}})


def test_histogram_counts_and_marks():
    ax = figures.histogram([1, 1, 1, 2, 9], label="height", bins=8, mark=3, mark_label="threshold").axes[0]
    assert sum(bar.get_height() for bar in ax.patches) == 5
    assert list(ax.lines[0].get_xdata()) == [3, 3] and texts(ax) == ["threshold"]
    (mark,) = ax.texts
    assert mark.get_window_extent().y0 > max(bar.get_window_extent().y1 for bar in ax.patches)


def test_strip_draws_every_value_and_its_median():
    ax = figures.strip({"trained": [0.9, 0.95, 1], "untrained": [0.1, 0.2]}, label="accuracy").axes[0]
    assert [each.get_offsets()[:, 0].tolist() for each in ax.collections] == [[0.9, 0.95, 1], [0.1, 0.2]]
    assert [line.get_xdata()[0] for line in ax.lines] == pytest.approx([0.95, 0.15])
    assert texts(ax)[:2] == ["0.95", "0.15"]
    with pytest.raises(ValueError, match="groups must not be empty"):
        figures.strip({}, label="accuracy")


def test_timeline_draws_medians_bands_and_marks():
    bands = {"trained": [[1, 5, 2], [1, 7, 3], [1, 6, 9]], "untrained": [1, 1, 1]}
    ax = figures.timeline([0, 100, 200], bands, label="ratio", marks={"paper": 150}, line=3).axes[0]
    assert [list(line.get_ydata()) for line in ax.lines[:2]] == [[1, 6, 3], [1, 1, 1]]
    (band,) = ax.collections
    low, high = band.get_paths()[0].get_extents().intervaly
    assert (low, high) == (1, 9) and texts(ax) == ["paper"]
    assert list(ax.lines[2].get_ydata()) == [3, 3] and list(ax.lines[3].get_xdata()) == [150, 150]
    with pytest.raises(ValueError, match=r"bands\['trained'\] has 2 times, x has 3"):
        figures.timeline([0, 1, 2], {"trained": [1, 2]}, label="ratio")


def test_scatters_draw_a_dot_for_each_network_and_the_course_of_medians():
    y = np.array([[0, 10, 20], [2, 14, 22], [1, 30, 24]])
    at_one_time, in_time = figures.scatters(
        {"once": ([1, 2, 3], [4, 5, 7]), "in time": (y / 100, y)}, xlabel="accuracy", label="strength", line=0.25
    ).axes
    assert at_one_time.collections[0].get_offsets().tolist() == [[1, 4], [2, 5], [3, 7]]
    assert len(in_time.collections[0].get_offsets()) == 9 and in_time.get_title() == "in time"
    course, first, last = in_time.lines[:3]
    assert list(course.get_ydata()) == [1, 14, 22] and list(course.get_xdata()) == pytest.approx([0.01, 0.14, 0.22])
    assert first.get_markerfacecolor() == "white" != last.get_markerfacecolor() and list(last.get_ydata()) == [22]
    assert len(at_one_time.lines) == 1 and list(at_one_time.lines[0].get_ydata()) == [0.25, 0.25]
    with pytest.raises(ValueError, match=r"x and y of 'once' must have one shape, not \(3, 1\) and \(2, 1\)"):
        figures.scatters({"once": ([1, 2, 3], [1, 2])}, xlabel="accuracy", label="strength")


def test_intervals_draw_each_number_between_its_ends():
    rows = {"gray": {"in time": (0.5, 0.4, 0.7), "at a time": (0, -0.2, 0.1)}, "colour": {"at a time": (0.3, 0, 0.6)}}
    ax = figures.intervals(rows, label="correlation", line=0).axes[0]
    assert [line.get_xdata().tolist() for line in ax.lines[:2]] == [[0.5], [0, 0.3]]
    ends = [[path.get_extents().intervalx.tolist() for path in each.get_paths()] for each in ax.collections]
    assert ends == [[[0.4, 0.7]], [[-0.2, 0.1], [0, 0.6]]]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["gray", "colour"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["in time", "at a time"]
    assert figures.intervals(rows, label="correlation", legend=False).axes[0].get_legend() is None
    with pytest.raises(ValueError, match="'in time' has a value or an interval that is NaN"):
        figures.intervals({"gray": {"in time": (0.5, np.nan, 1)}}, label="correlation")


def legend(ax):
    """{name: colour of the line that stands for it}."""
    shown = ax.get_legend()
    return {text.get_text(): line.get_color() for text, line in zip(shown.get_texts(), shown.get_lines(), strict=True)}


def test_long_names_of_lines_stand_below_each_other():
    names = [f"a line with the number {i} and a long name" for i in range(4)]
    figure = figures.timeline([0, 1], {name: [0, i] for i, name in enumerate(names)}, label="value")
    (ax,) = figure.axes
    figure.draw_without_rendering()
    rows = [text.get_window_extent() for text in ax.get_legend().get_texts()]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == names
    assert all(above.y0 > below.y0 for above, below in zip(rows, rows[1:])) and ax.bbox.x1 >= max(
        row.x1 for row in rows
    )


def test_timeline_says_which_line_is_which_where_there_are_several():
    ax = figures.timeline([0, 100], {"trained": [1, 5], "untrained": [1, 1], "random": [2, 2]}, label="ratio").axes[0]
    assert legend(ax) == {name: line.get_color() for name, line in zip(("trained", "untrained", "random"), ax.lines)}
    assert len(set(legend(ax).values())) == 3 and ax.get_ylabel() == "ratio" and ax.get_xlabel() == "batch iteration"
    assert figures.timeline([0, 100], {"trained": [1, 5]}, label="ratio").axes[0].get_legend() is None
    bare = figures.timeline([0, 100], {"trained": [1, 5], "untrained": [1, 1]}, label="ratio", legend=False).axes[0]
    assert bare.get_legend() is None and bare.get_legend_handles_labels()[1] == ["trained", "untrained"]


def test_slides_hold_every_picture_and_show_the_first():
    drawn = {f"<{t}>": figures.patch(np.roll(np.arange(9.0), t)) for t in range(3)}
    slides = figures.slides(drawn)
    html = slides._repr_html_()
    assert html.count("<img ") == len(set(re.findall(r'base64,([^"]+)"', html))) == 3 and html.count(" hidden>") == 2
    assert 'alt="&lt;0&gt;"' in html and 'max="2"' in html and "http" not in html
    assert repr(slides) == "3 pictures: <0>, <1>, <2>"
    with pytest.raises(ValueError, match="labelled must not be empty"):
        figures.slides({})


def test_rings_go_on_in_the_next_row():
    circle = spaces.primary_circle(np.arange(4) * np.pi / 2)
    axes = figures.rings({str(i): circle for i in range(5)}, columns=2).axes
    corners = [ax.get_subplotspec().rowspan.start for ax in axes]
    assert corners == [0, 0, 1, 1, 2] and [ax.get_title() for ax in axes] == list("01234")


def test_the_klein_square_has_its_patches_where_its_axes_say():
    (ax,) = figures.klein_square(steps=4).axes
    frames = ax.collections[-1].get_paths()
    assert len(frames) == 4 * 8 == len(spaces.klein_bottle_grid(4))
    centres = np.array([path.vertices[:4].mean(axis=0) for path in frames])
    edge = centres[np.linalg.norm(spaces.klein_bottle_grid(4) - spaces.primary_circle(np.pi / 2), axis=1).argmin()]
    ticks = dict(zip([each.get_text() for each in ax.get_yticklabels()], ax.get_yticks()))
    assert edge[1] == ticks["π/2"] and edge[0] == ax.get_xticks()[1]
    of_circles = Counter(map(tuple, ax.collections[-1].get_edgecolor()))  # and of the others: frames of four colours
    assert sorted(of_circles.values()) == [6, 6, 2 * 4, 4 * 8 - 20]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        f"{name} circle" for name in ("primary", "vertical", "horizontal")
    ]
    with pytest.raises(ValueError, match="steps = 3 must be even"):
        figures.klein_square(steps=3)


def test_klein_squares_share_one_colour_scale():
    square = np.ones((8, 4))
    figure = figures.klein_squares({"even": square, "dense": 100 * square}, label="times", limits=(0.5, 16))
    *panels, bar = figure.axes
    images = [ax.images[0] for ax in panels]
    assert {(image.norm.vmin, image.norm.vmax) for image in images} == {(0.5, 16)}
    assert [image.get_array().max() for image in images] == [1, 16]
    assert list(bar.get_yticks()) == [0.5, 1, 2, 4, 8, 16] and bar.get_ylabel() == "times"
    with pytest.raises(ValueError, match=r"shape \(2 \* steps, steps\), not \(4, 4\)"):
        figures.klein_squares({"wrong": square[:4]}, label="times", limits=(0.5, 16))
    with pytest.raises(ValueError, match="must be positive and ascending"):
        figures.klein_squares({"even": square}, label="times", limits=(0, 16))


def test_angle_pairs_are_drawn_in_degrees_of_one_turn():
    figure = figures.angle_pairs({"one": ([0, np.pi], [-np.pi / 2, 3 * np.pi])}, xlabel="angle", ylabel="coordinate")
    (ax,) = figure.axes
    np.testing.assert_allclose(ax.collections[0].get_offsets(), [[0, 270], [180, 180]])
    many = figures.angle_pairs({"one": (np.zeros(500), np.zeros(500))}, xlabel="", ylabel="", most=50)
    assert len(many.axes[0].collections[0].get_offsets()) == 50
    with pytest.raises(ValueError, match="'one' has 2 angles and 1 others"):
        figures.angle_pairs({"one": ([0.0, 1.0], [0.0])}, xlabel="", ylabel="")


def test_rings_leave_holes_out_and_count_them():
    circle = spaces.primary_circle(np.arange(4) * np.pi / 2)
    holed = circle.copy()
    holed[1] = np.nan
    figure = figures.rings({"whole": circle, "holed": holed, "none": holed[1:2]}, starts=(0, np.pi / 2, 0))
    assert [texts(ax) for ax in figure.axes] == [["0 holes"], ["1 hole"], ["1 hole"]]
    whole, holed = (patches_of(ax)[0] for ax in figure.axes[:2])
    np.testing.assert_allclose(whole, [(1, 0), (0, -1), (-1, 0), (0, 1)], atol=1e-12)
    np.testing.assert_allclose(holed, [(0, -1), (0, 1), (1, 0)], atol=1e-12)
    with pytest.raises(ValueError, match="2 starts for 1 rings"):
        figures.rings({"whole": circle}, starts=(0, 1))


def test_costs_are_drawn_on_logarithmic_axes_ours_first_and_thick():
    curves = {"ours": ((10, 100), (0.1, 2.0)), "theirs": ((10, 100), (1.0, 90.0))}
    axes = figures.costs({"density": curves, "Mapper": {"ours": curves["ours"]}}).axes
    assert [ax.get_title() or ax.get_title("left") for ax in axes] == ["density", "Mapper"]
    assert {axes[0].get_xscale(), axes[0].get_yscale()} == {"log"}
    ours, theirs, proportion = axes[0].lines
    assert ours.get_linewidth() > theirs.get_linewidth() and list(theirs.get_ydata()) == [1, 90]
    assert list(proportion.get_ydata()) == pytest.approx([0.2, 2])
    assert [list(legend(ax)) for ax in axes] == [["ours", "theirs", "in proportion"], ["ours", "in proportion"]]
    assert list(legend(axes[0]).values()) == [line.get_color() for line in axes[0].lines]
    with pytest.raises(ValueError, match="least value of ours = 0 must be a number, finite and above 0"):
        figures.costs({"density": {"ours": ((10, 100), (0, 1))}})
    with pytest.raises(ValueError, match="curves must not be empty"):
        figures.costs({"density": {}})


def test_table_as_text_and_as_html():
    table = figures.table(["quantity", "ours"], [["points", 1920], ["<gap>", np.float64(3.14159)], ["none", np.inf]])
    assert repr(table).splitlines() == ["quantity  ours", "points    1,920", "<gap>     3.14", "none      ∞"]
    assert "<td>&lt;gap&gt;</td><td>3.14</td>" in table._repr_html_()
    assert "<td>by <code>a &lt; b</code></td>" in figures.table(["command"], [["by `a < b`"]])._repr_html_()
    signed = figures.table(
        ["a", "b"], [[-3, "-1.5 (-2 to +1)"], ["1e-07, 2026-11-27", "`-3` or 0.2 (0.1–0.3)"]]
    )._repr_html_()
    assert "<td>−3</td><td>−1.5 (−2 to +1)</td>" in signed and "<td>1e-07, 2026-11-27</td>" in signed
    assert "<td><code>-3</code> or 0.2 (0.1–\N{WORD JOINER}0.3)</td>" in signed  # no line breaks after the dash
    with pytest.raises(ValueError, match="3 cells for 2 columns"):
        figures.table(["a", "b"], [[1, 2, 3]])


def test_grids_share_their_colours_and_may_have_ks_of_their_own():
    labelled = {"trained": [[1.24, 5.0]], "untrained": [[1.0, np.inf]]}
    figure = figures.density_grids(labelled, {"trained": [10], "untrained": [20]}, [0.1, 0.2], label="ratio")
    panels = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title() for ax in panels] == ["trained", "untrained"]
    assert [ax.images[0].get_clim() for ax in panels] == [(1.0, 5.0)] * 2
    assert [label.get_text() for ax in panels for label in ax.get_yticklabels()] == ["10", "20"]
    assert {text.get_text() for text in panels[0].texts} == {"1.2", "5"}
    with pytest.raises(ValueError, match="labelled must not be empty"):
        figures.density_grids({}, [10], [0.1], label="ratio")


def test_each_grid_may_have_a_cell_of_its_own_outlined():
    labelled = dict.fromkeys(("first", "second", "third"), [[1.0, 2.0]])
    grids = partial(figures.density_grids, labelled, [10], [0.1, 0.2], label="ratio")
    for mark, corners in (
        ((10, 0.2), [[(0.5, -0.5)]] * 3),
        ({"first": (10, 0.1), "second": (10, 0.2)}, [[(-0.5, -0.5)], [(0.5, -0.5)], []]),
    ):
        panels = [ax for ax in grids(mark=mark).axes if ax.images]
        assert [[outline.get_xy() for outline in ax.patches] for ax in panels] == corners
    with pytest.raises(ValueError, match="marks are given for fourth"):
        grids(mark={"fourth": (10, 0.1)})


def test_a_table_of_trainings_says_what_the_manifest_says(tmp_path):
    kernels = {1: {0: np.zeros((3, 3, 3, 1, 4)), 20: np.ones((3, 3, 3, 1, 4))}}
    chosen = Training(Architecture.parse("C(4,0,8)"), "cifar10-gray", momentum=0.9, anneal=20, hold_out=500)
    known = {**chosen.describe(), "iterations": 20, "members": [0, 1, 2]}
    known |= {
        "paper": {"networks": 48, "iterations": 70_000},
        "accuracy": {"0": [0.1, 0.1, 0.1], "20": [0.2, 0.3, 0.7]},
        "accuracy_of": "some images",
        "hardware": "an abacus, CPU",
    }
    cases = {"timed": {"seconds": 9000}, "untimed": {}, "fast": {"seconds": 150, "hardware": "1 x GPU"}}
    for name, more in cases.items():
        archive.write(name, kernels, {**known, **more}, tmp_path)
    table = figures.trainings({text: archive.load(text, tmp_path) for text in cases})
    rows = dict(zip([row[0] for row in table.rows], [row[1:] for row in table.rows]))
    assert table.header == ["", *cases]
    assert rows["hours of training"] == ["2.5, on one processor", "not recorded", "0.04, on the accelerator"]
    assert rows["optimiser"][0] == "SGD, momentum 0.9" and rows["networks"][0] == "3 (paper: 48)"
    assert rows["learning rate"][0] == "0.1, along half a cosine to 0 at iteration 20"
    assert rows["mean accuracy in %"][0] == "40.0\N{NO-BREAK SPACE}(20.0–70.0)"
    assert rows["accuracy of"][0] == "some images"
    assert rows["trained by"][0] == "an abacus, CPU"
    assert rows["archive"][0] == f"timed, SHA-256 {archive.manifest(tmp_path)['timed']['sha256'][:12]}…"


def test_a_comparison_has_the_difference_of_numbers_and_what_is_given_for_the_rest():
    rows = [["networks", 100, 98], ["accuracy", "about 99 %", "98.5 %", "-0.5 points"], ["ratio", "not given", 7.25]]
    table = figures.comparison(rows)
    assert table.header == ["quantity", "paper", "ours", "difference"]
    assert [row[-1] for row in table.rows] == ["-2", "-0.5 points", ""]
    assert figures.comparison([["C", "loops", 1, 3]], ["network", "quantity"]).rows == [["C", "loops", "1", "3", "2"]]
    with pytest.raises(ValueError, match="cells"):
        figures.comparison([["networks", 100]])


def test_cells_of_several_numbers():
    assert (
        figures.spread([3.0, 1.0, 2.04]) == "2.0\u00a0(1.0\u20133.0)"
        and figures.spread([1, 2], 0) == "2\u00a0(1\u20132)"
    )
    assert figures.spread([3.0, 1.0, 2.0, 8.0], mean=True) == "3.5\u00a0(1.0\u20138.0)"
    assert figures.bar_text((0.02, 0.37)) == "0.37\u00a0(0.02)"
    assert figures.bar_text((np.inf, 0.0)) == figures.bar_text(None) == "none"
    assert figures.listed([200, 1000]) == "200, 1,000" and figures.listed(iter([])) == "none"


def test_judgements_have_a_column_a_layer_with_lengths_over_ratios():
    generator, times = np.random.default_rng(0), np.array([0, 100, 200])
    judged = {
        name: Judgement(times, generator.uniform(1, 6, (4, 3)), generator.uniform(0, 1, (2, 4, 3)))
        for name in ("first", "second")
    }
    beside = {"second": {"all filters": np.ones((4, 3))}}
    figure = figures.judgements(judged, marks={"first": {"paper: circle": 100}}, beside=beside)
    first, second, ratios_of_first, ratios_of_second = figure.axes
    assert [ax.get_title() for ax in figure.axes] == ["first", "second", "", ""]
    shown = first.lines[0].get_ydata()
    np.testing.assert_allclose(shown, np.median(judged["first"].lengths[0], axis=0))
    np.testing.assert_allclose(ratios_of_second.lines[0].get_ydata(), np.median(judged["second"].ratios, axis=0))
    assert [text.get_text() for text in ratios_of_second.get_legend().get_texts()] == ["dense core", "all filters"]
    assert ratios_of_first.get_legend() is None and "paper: circle" in [
        text.get_text() for text in ratios_of_first.texts
    ]
    assert all(
        3 in line.get_ydata()
        for ax in (ratios_of_first, ratios_of_second)
        for line in ax.lines
        if len(set(line.get_ydata())) == 1 and line.get_linestyle() == "--"
    )
