"""The pages in a browser: Debian's Chromium, driven by Playwright. They show committed outputs; nothing is executed."""

import re
import shutil
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

from topo import book

reason = "Playwright is not installed: the pages are not tried in a browser"
sync_playwright = pytest.importorskip("playwright.sync_api", reason=reason).sync_playwright
Axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason=reason).Axe
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed (apt-get install chromium)")

DESKTOP, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}
PAGES = [*re.findall(r"(?:root|file): (book/\S+)", (book.ROOT / "_toc.yml").read_text("utf-8")), "search"]


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    """The folder of the book's pages."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copytree(book.ROOT / "book", root / "book", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(book.ROOT / name, root)
    return book.build(names=[], root=root, report=lambda line: None)


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
def visit(html, context):
    """Open a page by its name. `complaints` is what its console has, `fetched` every address that it asked for."""

    def opened(name):
        page = context.new_page()
        page.complaints, page.fetched = [], []
        page.on(
            "console", lambda said: page.complaints.append(said.text) if said.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("request", lambda request: page.fetched.append(request.url))
        page.goto((html / f"{name}.html").as_uri())
        return page

    return opened


def accessibility(page):
    """What axe finds serious or critical, as text."""
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


def test_a_dark_page_is_dark_and_accessible_on_a_phone(browser, html):
    visitor = browser.new_context(viewport=PHONE, color_scheme="dark")
    page = visitor.new_page()
    page.goto((html / "book" / "05-mnist.html").as_uri())
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


def test_without_scripts_the_code_is_there(browser, html):
    visitor = browser.new_context(java_script_enabled=False)
    page = visitor.new_page()
    page.goto((html / "book" / "05-mnist.html").as_uri())
    assert page.locator("div.cell_input").first.is_visible() and page.locator("details.code").count() == 0
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
    icons = page.locator("svg.svg-inline--fa")
    assert icons.count() >= 8 and page.locator("i[class*=fa-], span[class*=fa-]").count() == 0
    assert all("fa-" in (icon.get_attribute("class") or "") and icon.locator("path").count() for icon in icons.all())
