import importlib.util
import json
import re
from io import BytesIO

import matplotlib
import numpy as np
import pytest
from matplotlib.lines import Line2D
from PIL import Image

from topo import book, datasets, figures

RED, BLUE, LIME = (255, 0, 0), (0, 0, 255), (0, 255, 0)


@pytest.fixture(autouse=True)
def style():
    with matplotlib.rc_context():
        matplotlib.style.use("default")
        figures.use_style()
        yield


def cut(figure):
    """The picture of a figure and its tiles as pictures, on a ground of a colour that nothing has, and their pieces."""
    picture = Image.open(BytesIO(figure.png()))
    tiles = json.loads(picture.info.get("tiles", "[]"))
    whole = picture.convert("RGB")
    drawn = []
    for tile in tiles:
        size = max(x + width for _, _, width, _, x, _ in tile), max(y + height for _, _, _, height, _, y in tile)
        drawn.append(Image.new("RGB", size, (1, 2, 3)))
        for left, top, width, height, x, y in tile:
            drawn[-1].paste(whole.crop((left, top, left + width, top + height)), (x, y))
    return whole, [np.asarray(each) for each in drawn], tiles


def count(picture, colour):
    return int((np.asarray(picture) == colour).all(axis=-1).sum())


def inked(picture, colour=(1, 2, 3)):
    """Pixels that are neither white nor of the ground."""
    return int((np.asarray(picture) != 255).any(axis=-1).sum()) - count(picture, colour)


def two_panels(**options):
    """A red panel and a blue one, which fill their axes."""
    figure, axes = figures.panels(1, 2, labels=["red", "blue"], **options)
    for ax, colour in zip(axes, ("red", "blue")):
        ax.set_facecolor(colour)
    return figure, axes


def test_a_panel_keeps_its_title_labels_legend_and_colour_bar():
    figure, axes = two_panels()
    axes[0].set(xlabel="x", ylabel="y")
    axes[0].plot([0, 1], [0, 1], label="line")
    axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, -0.6))
    colours = matplotlib.cm.ScalarMappable(cmap=matplotlib.colors.ListedColormap(["lime"]))
    axes[1].set(xlabel="x", ylabel="z")
    figure.colorbar(colours, ax=axes[1], label="of the blue one")
    whole, (red, blue), tiles = cut(figure)
    assert [len(tile) for tile in tiles] == [1, 1]
    assert count(red, RED) == count(whole, RED) > 10_000 and count(red, BLUE) == count(red, LIME) == 0
    assert count(blue, BLUE) == count(whole, BLUE) and count(blue, LIME) == count(whole, LIME) > 1000
    assert inked(red) + inked(blue) == inked(whole)  # nothing is cut off, nothing twice


def test_what_one_panel_shows_for_its_row_and_column_stands_beside_each():
    figure, axes = figures.panels(2, 2, share=True)
    for ax, title in zip(axes, ["left", "right"]):
        ax.set(title=title)
    axes[0].set_ylabel("above")
    axes[2].set(xlabel="time", ylabel="below")
    axes[3].set_xlabel("time")
    _, tiles, pieces = cut(figure)
    # the first has its own y axis and title, the last its own x axis; what is beside the others is lent
    assert [len(tile) for tile in pieces] == [2, 3, 2, 3]
    assert max(map(inked, tiles)) < 1.4 * min(map(inked, tiles))
    (_, _, _, height, x, y), (_, top, _, strip, strip_x, strip_y), (*_, below) = pieces[1]
    assert strip_x == 0 < x and top - pieces[1][0][1] == strip_y - y and below >= y + height


def test_a_label_or_title_is_lent_only_to_panels_that_are_alike():
    figure, axes = two_panels()
    axes[0].set(xlabel="x", ylabel="y")
    axes[1].set(xlabel="distance", title="")
    axes[1].set_title("blue", loc="right")
    assert [len(tile) for tile in cut(figure)[2]] == [1, 1]
    axes[1].set_xlabel("x")
    assert [len(tile) for tile in cut(figure)[2]] == [1, 2]

    figure = figures.Figure((7, 4), layout="constrained")
    axes = figure.subplot_mosaic("aa;bc")
    axes["a"].set_title("of the one above")
    assert [len(tile) for tile in cut(figure)[2]] == [1, 1, 1]


def test_labels_of_the_whole_figure_and_shared_bars_are_there():
    figure, axes = two_panels()
    figure.supxlabel("for both")
    colours = matplotlib.cm.ScalarMappable(cmap=matplotlib.colors.ListedColormap(["lime"]))
    figure.colorbar(colours, ax=axes, location="bottom")
    whole, (red, blue, bar), pieces = cut(figure)
    assert count(bar, LIME) == count(whole, LIME) > 1000 and [len(tile) for tile in pieces] == [2, 2, 1]
    assert pieces[0][1][:4] == pieces[1][1][:4]  # the same text under each
    assert all(tile[1][5] >= tile[0][3] for tile in pieces[:2])


def test_a_panel_without_title_stays_with_the_one_beside_it():
    figure, axes = figures.panels(2, 4)
    for i in (0, 2, 4, 6):
        axes[i].set_title(f"graph {i}")
    _, _, pieces = cut(figure)
    assert len(pieces) == 4 and all(len(tile) == 1 for tile in pieces)
    assert pieces[0][0][0] < 50 < pieces[1][0][0] and pieces[0][0][1] < pieces[2][0][1]


def test_axes_that_lie_on_others_are_not_torn_off():
    figure, axes = two_panels()
    axes[0].twinx().set_ylabel("on the right")
    axes[1].inset_axes((0.5, 0.5, 0.4, 0.4)).set_facecolor("lime")
    whole, (red, blue), _ = cut(figure)
    assert count(blue, LIME) == count(whole, LIME) > 100 and count(red, RED) == count(whole, RED)


def test_a_figure_is_not_cut_where_a_cut_would_spoil_it():
    one = figures.patch(np.arange(9))
    crossed, _ = two_panels()
    crossed.add_artist(Line2D([0.2, 0.8], [0.5, 0.5]))
    told, _ = two_panels()
    told.text(0.5, 1.1, "of both, and in no panel")
    for figure in (one, crossed, told):
        assert cut(figure)[2] == []


def test_a_picture_says_whether_there_is_nothing_in_it_to_read():
    def says(figure):
        return Image.open(BytesIO(figure.png())).info.get("wordless")

    assert says(figures.patch_row(np.eye(9))) == says(figures.patch(np.arange(9))) == "true"
    assert not any(
        map(says, [figures.patch_row(np.eye(9), range(9)), figures.three_circles(), figures.panels(1, 1)[0]])
    )
    figure = figures.patch_row(np.eye(9))
    figure.axes[0].set_title("patches", loc="right")
    assert not says(figure)


def test_the_ground_of_photographs_is_white():
    figure, axes = two_panels()
    for ax, name in zip(axes, datasets.PHOTOGRAPHS):
        ax.imshow(datasets.photograph(name), cmap="gray", vmin=0, vmax=255)
        ax.set_axis_off()
    whole, tiles, _ = cut(figure)
    assert whole.getpixel((0, 0)) == (255, 255, 255) and len(tiles) == 2


def test_a_picture_with_tiles_is_the_same_each_time_and_leaves_its_figure_as_it_was():
    figure, _ = two_panels()
    first = figure.png()
    assert figure.dpi == 110 and figure.png() == first == two_panels()[0].png()


@pytest.fixture(scope="module")
def page():
    spec = importlib.util.spec_from_file_location("page", book.ROOT / "book" / "_extensions" / "page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_page_has_tiles_beside_a_picture_that_a_phone_cannot_show(page, tmp_path):
    figure, _ = two_panels()
    figure.supxlabel("for both")
    (tmp_path / "a.png").write_bytes(figure.png())
    html = page._PICTURE.sub(lambda found: page._sized(tmp_path, found), '<img alt="A" src="a.png" />')
    size = Image.open(tmp_path / "a.png").size
    assert html.count("<image ") == 4 and html.count(f'href="a.png" width="{size[0]}" height="{size[1]}"') == 4
    shown, _ = figure._repr_png_()[1].values()
    assert re.search(r'^<img alt="A" src="a.png" width="(\d+)"', html)[1] in (str(shown), str(shown + 1))
    assert html.count('alt="A"') == 1 and 'class="tiles" aria-hidden="true"' in html
    widths = [int(width) for width in re.findall(r"--width: (\d+)px", html)]
    assert len(widths) == 2 and all(300 < width < size[0] / 4 for width in widths)
    assert page._PICTURE.sub(lambda found: page._sized(tmp_path, found), html) == html  # not twice


def test_a_page_shows_a_picture_without_words_at_any_width(page, tmp_path):
    for name, labels in (("bare", None), ("labelled", range(9))):
        (tmp_path / f"{name}.png").write_bytes(figures.patch_row(np.eye(9), labels).png())
        for width in ("", ' width="774"'):  # a notebook knows it
            bare = f'<img alt="A" src="{name}.png"{width} />'
            html = page._PICTURE.sub(lambda found: page._sized(tmp_path, found), bare)
            assert (
                html.count("data-wordless") == (labels is None) and html.count(" width=") == html.count('alt="A"') == 1
            )
            assert page._PICTURE.sub(lambda found: page._sized(tmp_path, found), html) == html  # not twice


def test_a_page_has_no_tiles_where_they_would_not_help(page):
    tile = [[0, 0, 400, 300, 0, 0]]
    assert page._tiles("a.png", (1600, 300), 0.5, []) == page._tiles("a.png", (900, 300), 0.5, [tile, tile]) == ""
    assert page._tiles("a.png", (1600, 300), 0.5, [tile, tile]).count("<image ") == 2
    wide = [[0, 0, 1600, 300, 0, 0]]
    assert page._tiles("a.png", (1600, 600), 0.5, [wide, tile]) == ""  # as small as the whole
