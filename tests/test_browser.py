"""The pages in a browser: Debian's Chromium, driven by Playwright. They show committed outputs; nothing is executed."""

import json
import re
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import pytest

from topo import book, inspection, pretrained, spaces, sweep
from topo.figures.style import MIMETYPE

reason = "Playwright is not installed: the pages are not tried in a browser"
sync_playwright = pytest.importorskip("playwright.sync_api", reason=reason).sync_playwright
Axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason=reason).Axe
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed (apt-get install chromium)")

DESKTOP, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}
PAGES = [*re.findall(r"(?:root|file): (book/\S+)", (book.ROOT / "_toc.yml").read_text("utf-8")), "search"]
PAGES += ["book/reference/evidence", "book/reference/figures"]  # two of those that are made of docstrings, large ones


@pytest.fixture(scope="module")
def browser():
    # quiet: Chromium's own calls home are not the pages'
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=[*quiet, "--disable-quic"])
        yield opened
        opened.close()


@pytest.fixture
def context(browser):
    """A visitor who has not been here before."""
    visitor = browser.new_context(viewport=DESKTOP)
    yield visitor
    visitor.close()


@pytest.fixture
def visit(rendered, context):
    """Open a page by its name. `complaints` is what its console has, `fetched` every address that it asked for."""

    def opened(name):
        page = context.new_page()
        page.complaints, page.fetched = [], []
        page.on(
            "console", lambda said: page.complaints.append(said.text) if said.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("request", lambda request: page.fetched.append(request.url))
        page.goto((rendered / f"{name}.html").as_uri())
        return page

    return opened


def accessibility(page):
    """What axe finds serious or critical, as text."""
    # the theme looks a moment after a change of width for what scrolls now, and lets the keyboard reach it
    page.wait_for_function(
        "() => [...document.querySelectorAll('.cell_output > .output')]"
        ".every(each => each.scrollWidth <= each.clientWidth || each.tabIndex === 0)"
    )
    # no preloading: it would fetch stylesheets, which a page that was opened as a file may not
    rules = {"label-content-name-mismatch": {"enabled": True}}
    found = Axe().run(page, options={"preload": False, "resultTypes": ["violations"], "rules": rules})
    return [
        f"{violation['id']}: {node['html']}"
        for violation in found.response["violations"]
        if violation["impact"] in ("serious", "critical") or violation["id"] == "empty-table-header"
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_needs_no_network_and_no_pardon(visit, name):
    page = visit(name)
    page.wait_for_load_state("networkidle")
    assert page.complaints == []
    assert [address for address in page.fetched if not address.startswith(("file:", "data:"))] == []
    files = {Path(unquote(urlparse(address).path)) for address in page.fetched if address.startswith("file:")}
    assert sum(file.stat().st_size for file in files) < 2.5e6
    assert page.locator('meta[name="description"]').count() == (name != "search")
    assert (
        page.locator('link[rel="icon"]').count() == 1 and "Version" in page.locator(".bd-footer-content").inner_text()
    )


def test_a_page_that_compares_two_hundred_runs(context, tmp_path):
    """The runs' copies are the chapter itself: what is tried is the page."""
    path = book.chapters()["performance"]
    values = [{"k": k, "p": p} for k in range(1, 21) for p in np.arange(1, 11) / 10]
    runs = [sweep.Run(each, path, "no core for k = 1" if each["k"] == 1 else "") for each in values]
    sweep._write(tmp_path, tmp_path, path, runs, ["k", "p"])
    page, complaints, fetched = context.new_page(), [], []
    page.on("console", lambda said: complaints.append(said.text))
    page.on("request", lambda request: fetched.append(request.url))
    page.goto((tmp_path / "index.html").as_uri())
    page.wait_for_load_state("networkidle")
    assert complaints == [] and all(address.startswith("file:") for address in fetched)
    assert page.locator("tbody tr").count() == 201 and page.get_by_text("no core for k = 1", exact=True).count() == 10
    figures, shown = len(list((tmp_path / "figures").iterdir())), sum(each.endswith(".png") for each in fetched)
    assert figures == page.locator("figure img").count() >= 190 > 2 * shown  # those that are far below come later
    assert accessibility(page) == []
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    page.locator("figure img").last.scroll_into_view_if_needed()
    page.wait_for_function("[...document.images].at(-1).naturalWidth > 100")


def test_the_index_leads_to_the_front_page(visit):
    page = visit("index")
    page.wait_for_url("**/book/intro.html")
    assert "topology" in page.title()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_a_phone(visit, name):
    page = visit(name)
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_accessible(visit, name):
    assert accessibility(visit(name)) == []


def test_a_dark_page_is_dark_and_accessible_on_a_phone(browser, rendered):
    visitor = browser.new_context(viewport=PHONE, color_scheme="dark")
    page = visitor.new_page()
    page.goto((rendered / "book" / "05-mnist.html").as_uri())
    brightness = lambda of: sum(
        map(int, re.findall(r"\d+", page.evaluate(f"getComputedStyle(document.body).{of}"))[:3])
    )
    assert brightness("backgroundColor") < 150 and brightness("color") > 500
    assert accessibility(page) == []
    visitor.close()


def test_the_switch_of_colours_is_remembered(visit):
    page = visit("book/05-mnist")
    theme = lambda page: page.evaluate("document.documentElement.dataset.theme")
    assert theme(page) == "light"
    for _ in range(3):
        page.locator(".theme-switch-button").first.click()
        if theme(page) == "dark":
            break
    assert theme(page) == "dark" == theme(visit("book/03-mapper"))


def test_code_unfolds_by_mouse_and_by_keyboard_and_stays_so(visit):
    page = visit("book/05-mnist")
    code, switch = page.locator("details.code"), page.locator("button.code-switch")
    unfolded = lambda page: page.locator("details.code[open]").count()
    assert unfolded(page) == 0 < code.count() and switch.inner_text() == "Show all code"
    code.nth(1).locator("summary").click()
    assert unfolded(page) == 1
    switch.click()
    assert unfolded(page) == code.count() and switch.inner_text() == "Fold all code"
    page.reload()
    assert unfolded(page) == code.count()
    another = visit("book/03-mapper")
    assert unfolded(another) == another.locator("details.code").count() > 0

    switch.focus()
    page.keyboard.press("Enter")
    assert unfolded(page) == 0 and switch.get_attribute("aria-pressed") == "false"
    code.first.locator("summary").focus()
    page.keyboard.press("Space")
    assert unfolded(page) == 1
    page.reload()
    assert unfolded(page) == 0


def test_without_scripts_the_code_is_there(browser, rendered):
    visitor = browser.new_context(java_script_enabled=False)
    page = visitor.new_page()
    page.goto((rendered / "book" / "05-mnist.html").as_uri())
    assert page.locator("div.cell_input").first.is_visible() and page.locator("details.code").count() == 0
    visitor.close()


def answers_of(chapter, figure):
    """The data of a figure as the committed chapter holds it."""
    (data,) = [
        output["data"][MIMETYPE]
        for cell in json.loads((book.ROOT / "book" / f"{chapter}.ipynb").read_text("utf-8"))["cells"]
        if cell["metadata"].get("mystnb", {}).get("figure", {}).get("name") == figure
        for output in cell["outputs"]
        if MIMETYPE in output.get("data", {})
    ]
    return json.loads("".join(data))


def unpacked(text, digits):
    signs = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return (np.array([signs.index(sign) for sign in text]).reshape(-1, digits) @ 64 ** np.arange(digits)[::-1]).tolist()


def in_pieces(numbers, size):
    return [numbers[i : i + size] for i in range(0, len(numbers), size)]


def shown_by(data, number=0):
    """A graph of the data: places, radii, shades of gray and values of its nodes."""
    frame = data["frames"][number]
    return {
        "nodes": in_pieces(unpacked(frame["nodes"], 2), 2),
        "radii": [share * frame["largest"] / 63 for share in unpacked(frame["radii"], 1)],
        "filters": in_pieces(unpacked(frame["filters"], 1), data["pixels"]),
        "networks": unpacked(frame["networks"], data["digits"]) if "networks" in frame else None,
        "values": [
            [each["base"] + each["step"] * value for value in unpacked(values, each["digits"])]
            for each, values in zip(data["measures"], frame["values"])
        ],
        **{name: data.get(name) for name in ("measures", "of")},
    }


@pytest.fixture(scope="module")
def graph():
    """Figure 5.1 as the committed chapter has it."""
    return shown_by(answers_of("05-mnist", "fig-05-mapper"))


def drawn_nodes(page, graph, figure="fig-05-mapper"):
    """What is drawn of each node: its colour, and its middle on the screen."""
    found = page.locator(f"#{figure} circle.node").evaluate_all(NODES)
    by_size = sorted(range(len(found)), key=lambda node: graph["radii"][node])  # as circles are drawn
    assert [[each["cx"], each["cy"]] for each in found] == [graph["nodes"][node] for node in by_size]
    return [each for _, each in sorted(zip(by_size, found), key=lambda pair: pair[0])]


def place_of(page, graph, node):
    box = drawn_nodes(page, graph)[node]
    return box["x"], box["y"]


NODES = """circles => circles.map(each => {
  const box = each.getBoundingClientRect();
  return {cx: +each.getAttribute("cx"), cy: +each.getAttribute("cy"), fill: each.getAttribute("fill"),
          x: box.x + box.width / 2, y: box.y + box.height / 2};
})"""


def told(page, figure="fig-05-mapper"):
    return page.locator(f"#{figure} [role=status]").inner_text().split("\n")


def expected(graph, node):
    numbers = [values[node] for values in graph["values"]]
    written = [f"{value:,}" if each["step"] == 1 else f"{value:.3g}" for each, value in zip(graph["measures"], numbers)]
    lines = [f"{each['label']}: {text}{each.get('unit', '')}" for each, text in zip(graph["measures"], written)]
    return (
        lines
        if graph["networks"] is None
        else [lines[0], f"from {graph['networks'][node]} of {graph['of']} networks", *lines[1:]]
    )


def lonely(graph):
    """The node of Figure 5.1 that is farthest from all others: no other is near the pointer."""
    places = np.array(graph["nodes"], float)
    away = np.hypot(*(places[:, None] - places).transpose(2, 0, 1)) + np.where(np.eye(len(places)), np.inf, 0)
    return int(away.min(axis=1).argmax())


def test_a_node_that_is_pointed_at_shows_what_is_in_it(visit, graph):
    page, node = visit("book/05-mnist"), lonely(graph)
    picture = page.locator("#fig-05-mapper svg").first
    assert told(page) == ["Point at a node, tap it, or go there by arrow keys."]
    assert page.locator("#fig-05-mapper img").is_hidden() and "ring" in picture.get_attribute("aria-label")
    picture.scroll_into_view_if_needed()
    page.mouse.move(*place_of(page, graph, node))
    assert told(page) == expected(graph, node)
    shown = page.locator("#fig-05-mapper .filter rect:not(.frame)")
    grays = [
        int(re.findall(r"\d+", fill)[0]) for fill in shown.evaluate_all("all => all.map(e => e.getAttribute('fill'))")
    ]
    np.testing.assert_allclose(grays, [255 * value / 63 for value in graph["filters"][node]], atol=1)
    box = picture.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)  # the hole of the ring
    assert told(page) == expected(graph, node)


def test_a_node_answers_to_a_finger(browser, rendered, graph):
    visitor = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    page, node = visitor.new_page(), lonely(graph)
    page.goto((rendered / "book" / "05-mnist.html").as_uri())
    page.locator("#fig-05-mapper svg").first.scroll_into_view_if_needed()
    page.touchscreen.tap(*place_of(page, graph, node))
    assert told(page) == expected(graph, node)
    visitor.close()


def test_arrow_keys_go_from_node_to_node(visit, graph):
    page = visit("book/05-mnist")
    page.locator("#fig-05-mapper-colours").focus()
    page.keyboard.press("Tab")
    fullest = max(range(len(graph["radii"])), key=lambda node: graph["radii"][node])
    assert told(page) == expected(graph, fullest)
    mark = page.locator("#fig-05-mapper .chosen")
    place = lambda: [int(mark.get_attribute(name)) for name in ("cx", "cy")]
    assert place() == graph["nodes"][fullest]
    for key, axis, sign in [("ArrowUp", 1, -1), ("ArrowDown", 1, 1), ("ArrowLeft", 0, -1), ("ArrowRight", 0, 1)]:
        before = place()
        page.keyboard.press(key)
        assert (place()[axis] - before[axis]) * sign > 0 and place() in graph["nodes"], key
    for _ in range(200):
        page.keyboard.press("ArrowRight")
    before = place()
    page.keyboard.press("ArrowRight")
    assert place() == before  # there is none farther right
    page.keyboard.press("Home")
    assert told(page) == expected(graph, fullest)


def test_nodes_are_coloured_by_what_is_chosen(visit, graph):
    page = visit("book/05-mnist")
    select = page.locator("#fig-05-mapper-colours")
    fills = lambda: [each["fill"] for each in drawn_nodes(page, graph)]
    assert select.locator("option").all_inner_texts() == [measure["label"] for measure in graph["measures"]]
    seen = set()
    for i, (measure, values) in enumerate(zip(graph["measures"], graph["values"])):
        select.select_option(str(i))
        colors, drawn = measure["colors"], fills()
        ends = {values.index(min(values)): 0, values.index(max(values)): -1}
        if "unit" not in measure:  # angles do not reach both ends of the circle
            for node, end in ends.items():
                if values[node] != pytest.approx(measure["high" if end else "low"]):
                    continue  # no node has a single point
                rgb = [int(colors[end][at : at + 2], 16) for at in (1, 3, 5)]
                assert [int(number) for number in re.findall(r"\d+", drawn[node])] == rgb
        by_value = dict(zip(values, drawn))
        assert all(by_value[value] == fill for value, fill in zip(values, drawn)) and len(set(drawn)) > 10
        legend = page.locator("#fig-05-mapper .legend").inner_text().split()
        written = [f"{measure[end]:.3g}" if measure["step"] != 1 else str(measure[end]) for end in ("low", "high")]
        assert legend == [f"{text}{measure.get('unit', '')}" for text in written]
        seen.add(tuple(drawn))
    assert len(seen) == len(graph["measures"]) >= 4


def test_without_scripts_the_picture_of_a_graph_is_there(browser, rendered):
    visitor = browser.new_context(java_script_enabled=False)
    page = visitor.new_page()
    page.goto((rendered / "book" / "05-mnist.html").as_uri())
    picture = page.locator("#fig-05-mapper img")
    assert picture.is_visible() and "ring" in picture.get_attribute("alt")
    assert page.locator("#fig-05-mapper svg").count() == 0
    visitor.close()


def test_a_report_of_inspect_answers_too(context, tmp_path):
    generator = np.random.default_rng(0)
    circle = spaces.primary_circle(generator.uniform(0, 2 * np.pi, 600)) + 0.05 * generator.normal(size=(600, 9))
    np.savez(tmp_path / "a.npz", kernel=circle.T.reshape(3, 3, 20, 30))
    weights = pretrained.read(tmp_path / "a.npz", layout="HWIO")
    report, _ = inspection.write_report(weights, inspection.inspect(weights, draws=1), tmp_path)
    page = context.new_page()
    complaints = []
    page.on("console", lambda said: complaints.append(said.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(report.as_uri())
    assert page.locator("img:visible").count() == 0 and page.locator(".explorer svg[role=application]").count() == 2
    bars, node = page.locator("[role=status]").all()
    page.locator(".explorer.bars svg[role=application]").focus()
    page.keyboard.press("Home")
    assert "bar 1 of dimension 1" in bars.inner_text()
    assert page.locator(".filters .filter").count() >= 8
    page.locator(".explorer select").focus()
    page.keyboard.press("Tab")
    assert "points in the node" in node.inner_text() and "distance to the Klein bottle" in node.inner_text()
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert complaints == [] == accessibility(page)


def test_a_slider_goes_through_the_iterations_on_one_scale(visit):
    data, figure = answers_of("07-learning-gray", "fig-07-first"), "fig-07-first"
    page = visit("book/07-learning-gray")
    slider, picture = page.locator(f"#{figure}-slider"), page.locator(f"#{figure} svg[role=application]")
    assert page.locator(f"#{figure} img").is_visible()  # the picture of all stays
    labels = [frame["label"] for frame in data["frames"]]
    assert len(labels) >= 5 and labels[0] == "iteration 0" == page.locator(f"#{figure} output").inner_text()
    slider.focus()
    seen = []
    for i, label in enumerate(labels):
        graph = shown_by(data, i)
        assert page.locator(f"#{figure} output").inner_text() == label == slider.get_attribute("aria-valuetext")
        assert (
            page.locator(f"#{figure} circle.node").count()
            == len(graph["nodes"])
            == len(drawn_nodes(page, graph, figure))
        )
        seen.append(page.locator(f"#{figure} .legend").inner_text())
        page.keyboard.press("ArrowRight")
    assert len(set(seen)) == 1

    picture.focus()
    page.keyboard.press("Home")
    fullest = max(range(len(graph["radii"])), key=lambda node: graph["radii"][node])
    assert told(page, figure) == expected(graph, fullest)
    before, (x, y) = shown_by(data, len(labels) - 2), graph["nodes"][fullest]
    slider.focus()
    page.keyboard.press("ArrowLeft")
    away = [max(0, np.hypot(u - x, v - y) - radius) for (u, v), radius in zip(before["nodes"], before["radii"])]
    assert told(page, figure) == expected(before, int(np.argmin(away)))  # the node nearest to the place of the last
    assert page.complaints == [] == accessibility(page)


def test_a_bar_shows_the_filters_along_its_loop(visit):
    data, figure = answers_of("05-mnist", "fig-05-barcodes"), "#fig-05-barcodes"
    page = visit("book/05-mnist")
    pictures = page.locator(f"{figure} svg[role=application]")
    status, shown = page.locator(f"{figure} [role=status]"), page.locator(f"{figure} .filters .filter")
    assert pictures.count() == 2 and page.locator(f"{figure} img").is_hidden() and shown.count() == 0

    def filters_of(panel, bar):
        return in_pieces(unpacked(data["panels"][panel]["groups"][1]["cycles"][bar], 1), data["pixels"])

    def drawn():
        fills = "all => all.map(e => [...e.querySelectorAll('rect:not(.frame)')].map(r => r.getAttribute('fill')))"
        return [[int(re.findall(r"\d+", fill)[0]) for fill in each] for each in shown.evaluate_all(fills)]

    for panel, keys, bar in [(0, ["Home"], 0), (0, ["Home", "ArrowDown", "ArrowDown", "ArrowUp"], 1), (1, ["End"], -1)]:
        pictures.nth(panel).focus()
        for key in keys:
            page.keyboard.press(key)
        expected = filters_of(panel, bar)
        np.testing.assert_allclose(drawn(), 255 * np.array(expected) / 63, atol=1)
        assert f"goes through {len(expected)} filters" in status.inner_text()
        assert status.inner_text().startswith(data["panels"][panel]["label"])
        assert page.locator(f"{figure} .chosen[visibility=visible]").count() == 1
    pictures.first.scroll_into_view_if_needed()
    long = (
        page.locator(f"{figure} svg[role=application]")
        .first.locator("rect:not(.chosen)")
        .nth(len(data["panels"][0]["groups"][0]["bars"]))
        .bounding_box()
    )
    page.mouse.move(long["x"] + long["width"] / 2, long["y"] + long["height"] / 2)
    np.testing.assert_allclose(drawn(), 255 * np.array(filters_of(0, 0)) / 63, atol=1)
    page.set_viewport_size(PHONE)
    tops = [each.bounding_box()["y"] for each in pictures.all()]
    assert tops[1] > tops[0] + 100  # panels stand below one another
    assert page.complaints == [] == accessibility(page)


def test_a_narrow_picture_needs_no_scrolling_on_a_phone(visit):
    page = visit("book/12-discussion")
    page.set_viewport_size(PHONE)
    for name in ("depth", "correlations"):
        boxes = page.locator(f"#fig-12-{name} .scrolling")
        assert boxes.count() == 1 and boxes.evaluate("box => box.scrollWidth <= box.clientWidth")


def test_a_wide_picture_scrolls_in_its_own_box_on_a_phone_where_it_has_words(visit):
    page = visit("book/01-introduction")
    page.set_viewport_size(PHONE)
    picture = page.locator("#fig-01-klein img")  # of one panel, so that there is nothing to stack
    declared = picture.evaluate("image => parseFloat(image.style.width || image.getAttribute('width'))")
    box = picture.locator("xpath=ancestor::div[contains(@class, 'scrolling')]")
    assert box.evaluate("box => box.scrollWidth <= box.clientWidth") and declared > 2 * PHONE["width"]
    picture.evaluate("image => delete image.dataset.wordless")  # as if it had
    assert 0.6 * declared < picture.bounding_box()["width"] <= declared
    assert box.evaluate("box => box.scrollWidth > box.clientWidth") and box.bounding_box()["width"] <= PHONE["width"]
    box.evaluate("box => box.scrollLeft = 100")
    assert box.evaluate("box => box.scrollLeft") == 100
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"] and accessibility(page) == []


@pytest.mark.parametrize("scripts", [True, False])
def test_panels_stand_below_one_another_on_a_phone(browser, rendered, scripts):
    visitor = browser.new_context(viewport=PHONE, java_script_enabled=scripts)
    page, fetched = visitor.new_page(), []
    page.on("request", lambda request: fetched.append(request.url))
    page.goto((rendered / "book" / "performance.html").as_uri())  # the chapter that is executed
    page.wait_for_load_state("networkidle")
    figure = page.locator("#fig-performance-training")
    picture, tiles = figure.locator("img"), figure.locator(".tiles > svg")
    boxes = [tile.bounding_box() for tile in tiles.all()]
    assert len(boxes) == 4
    for above, below in zip(boxes, boxes[1:]):
        assert below["y"] >= above["y"] + above["height"]
    for box in boxes:
        assert 0 <= box["x"] and box["x"] + box["width"] <= PHONE["width"] and box["width"] > 200
    assert picture.bounding_box()["width"] <= 1 and picture.get_attribute("alt")
    images = [address for address in fetched if address.endswith(".png")]
    assert len(images) == len(set(images)) > 0
    if scripts:
        address = picture.evaluate("image => image.src")
        assert address in images
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"] and accessibility(page) == []
        tiles.nth(1).click()
        enlarged = page.locator("dialog.enlarged img")
        assert enlarged.is_visible() and enlarged.evaluate("image => image.src") == address
    visitor.close()


def test_panels_are_one_picture_where_there_is_room_and_on_paper(visit):
    page = visit("book/performance")
    page.wait_for_load_state("networkidle")
    figure = page.locator("#fig-performance-training")
    assert figure.locator("img").bounding_box()["width"] > 700
    assert figure.locator(".tiles").count() == 1 and not figure.locator(".tiles").is_visible()
    images = [address for address in page.fetched if address.endswith(".png")]
    assert len(images) == len(set(images)) > 0
    page.set_viewport_size(PHONE)
    assert figure.locator(".tiles").is_visible()
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    shade = "each => getComputedStyle(each).filter"
    assert figure.locator(".tiles").evaluate(shade) == figure.locator("img").evaluate(shade) != "none"
    page.emulate_media(media="print")
    assert not figure.locator(".tiles").is_visible()


def test_pictures_are_slid_through_by_keyboard_and_played(visit):
    page = visit("book/07-learning-gray")
    figure = page.locator("#fig-07-slides")
    slider, shown = figure.locator("input[type=range]"), figure.locator("img:visible")
    labels = figure.locator("img").evaluate_all("images => images.map(image => image.alt)")
    slider.focus()
    for label in labels[1:3]:
        page.keyboard.press("ArrowRight")
        assert shown.count() == 1 and shown.get_attribute("alt") == label == figure.locator("output").inner_text()
    slider.press("End")
    figure.locator("button").click()  # from the end it begins anew
    page.wait_for_function("() => document.querySelector('#fig-07-slides input').value === '1'")
    assert shown.get_attribute("alt") == labels[1] and page.complaints == []
    page.emulate_media(media="print")
    assert shown.count() == 1 and not slider.is_visible()


def test_a_picture_is_enlarged_by_mouse_and_by_keyboard(visit):
    page = visit("book/05-mnist")
    button, dialog = page.locator("#fig-05-single .enlarge"), page.locator("dialog.enlarged")
    picture = button.locator("img")
    small = picture.bounding_box()["width"]
    assert not dialog.is_visible() and button.get_attribute("title") == "Enlarge"
    button.click()
    assert dialog.is_visible() and dialog.locator("img").get_attribute("alt") == picture.get_attribute("alt")
    assert dialog.locator("img").bounding_box()["width"] > 1.5 * small
    dialog.locator("img").click()
    assert not dialog.is_visible()

    focused = lambda: page.evaluate("document.activeElement.closest('figure')?.id")
    button.focus()
    page.keyboard.press("Enter")
    assert dialog.is_visible() and focused() is None and accessibility(page) == []
    page.keyboard.press("Escape")
    assert not dialog.is_visible() and focused() == "fig-05-single"
    page.set_viewport_size(PHONE)
    assert picture.evaluate("image => image.width / image.height") == pytest.approx(
        picture.evaluate("image => image.naturalWidth / image.naturalHeight"), rel=0.02
    )
    page.keyboard.press("Enter")
    assert dialog.locator("img").evaluate("image => image.width") > 2 * PHONE["width"]
    assert dialog.bounding_box()["width"] <= PHONE["width"]


def test_pictures_are_sharp_and_have_their_room_before_they_come(visit):
    page = visit("book/05-mnist")
    pictures = page.locator("figure img:visible")
    sizes = pictures.evaluate_all(
        "all => all.map(e => [e.naturalWidth, e.width, e.getAttribute('width') ?? e.style.width])"
    )
    assert len(sizes) >= 6 and all(natural >= 1.9 * shown and declared for natural, shown, declared in sizes)


def test_names_of_the_package_lead_to_their_descriptions(visit, rendered):
    page = visit("book/02-persistent-homology")
    page.locator("a", has_text="topo.persistence.LazyWitnessPersistence").click()
    page.wait_for_url("**/reference/persistence.html#topo.persistence.LazyWitnessPersistence")
    assert page.locator("dt:target").inner_text().startswith("class topo.persistence.LazyWitnessPersistence(")
    linked = 0
    for file in (rendered / "book").rglob("*.html"):
        for address in re.findall(r'href="([^"#]*#topo\.[\w.]+)"', file.read_text("utf-8")):
            target, anchor = address.split("#")
            assert f'id="{anchor}"' in ((file.parent / target) if target else file).read_text("utf-8"), address
            linked += 1
    assert linked > 500


def test_a_page_is_saved_as_a_notebook(rendered, context):
    """From a server: a page that was opened as a file may not save another one, and shows it."""
    page, serve = context.new_page(), partial(SimpleHTTPRequestHandler, directory=rendered)
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page.goto(f"http://127.0.0.1:{server.server_port}/book/05-mnist.html")
        page.locator(".dropdown-download-buttons > button").click()
        with page.expect_download() as saved:
            page.locator("a.btn-download-source-button").click()
        assert saved.value.suggested_filename == "05-mnist.ipynb"
        assert json.loads(saved.value.path().read_text("utf-8"))["nbformat"] == 4
        server.shutdown()


def test_a_solution_unfolds_without_scripts_too(browser, rendered):
    visitor = browser.new_context(java_script_enabled=False)
    page = visitor.new_page()
    page.goto((rendered / "book" / "02-persistent-homology.html").as_uri())
    solution = page.locator("details.solution").first
    text = solution.locator("p").first
    assert not text.is_visible()
    solution.locator("summary").click()
    assert text.is_visible()
    visitor.close()


def test_search_finds_klein(visit):
    page = visit("book/05-mnist")
    page.keyboard.press("Control+k")
    page.keyboard.type("Klein")
    page.keyboard.press("Enter")
    page.locator("#search-results ul.search li").first.wait_for()
    found = page.locator("#search-results ul.search li a").all_inner_texts()
    assert any("Introduction" in title or "Klein" in title for title in found), found


def test_every_icon_is_there(visit):
    page = visit("book/05-mnist")
    page.locator("svg.fa-magnifying-glass path").first.wait_for(state="attached")
    assert page.locator("svg.svg-inline--fa").count() >= 8
    assert page.locator("i[class*=fa-], span[class*=fa-]").count() == 0  # the script makes an svg of each
    assert page.locator("svg.svg-inline--fa .missing, svg.svg-inline--fa animate").count() == 0
