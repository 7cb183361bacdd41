"""The report's pages in headless Chromium, opened from the disk."""

import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmark import report

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on the path"),
]

made = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "benchmark" / "records.py")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A report of two boards; one row failed, one has a name made of markup."""
    base = tmp_path_factory.mktemp("pages")
    records = made.grid()
    records[3] = made.failed(records[3], "diverged", "<script>alert(1)</script>")
    records += [made.record("<img src=x onerror=alert(1)>", "a&b"), *made.fashion()]
    report.build(made.fill(base / "results", records), base / "reports")
    return base / "reports"


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def visit(browser, folder):
    """Open a page of the report; at the end, nothing may have been logged or asked for outside the folder."""
    contexts, complaints = [], []

    def asked(request):
        if not request.url.startswith((folder.as_uri(), "data:")):
            complaints.append(f"request {request.url}")

    def go(name, **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("request", asked)
        page.on("requestfailed", lambda request: complaints.append(f"failed {request.url}"))
        page.on("console", lambda message: complaints.append(f"console {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error {error}"))
        page.on("dialog", lambda dialog: (complaints.append("dialog"), dialog.dismiss()))
        page.goto(find(folder, name).as_uri())
        return page

    yield go
    for context in contexts:
        context.close()
    assert complaints == []


def find(folder, name):
    (path,) = folder.glob(name)
    return path


BOARD = "scenes-??????.html"
ALL = ["index.html", *(f"{name}-??????{part}.html" for name in ("scenes", "multi-fashion") for part in (
    "", "-curves", "-weights", "-pictures"))]  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_pages_open_from_the_disk_and_fit_a_phone(visit, name):
    page = visit(name, viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for image in page.locator("img").all():
        image.scroll_into_view_if_needed()
    page.wait_for_function("[...document.images].every(image => image.complete)")
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")


def shown(page, column):
    """The words of a column's visible cells, from top to bottom, of rows that have numbers."""
    return page.evaluate(
        "column => [...document.querySelectorAll('#board tbody tr:not([hidden]):not(.unfinished)')]"
        ".map(row => row.cells[column].dataset.value)",
        column,
    )


def test_links_lead_to_every_page(visit, folder):
    page = visit("index.html")
    page.get_by_role("link", name="scenes", exact=True).click()
    for section in ("Curves", "Weights", "Pictures", "Table"):
        page.get_by_role("navigation").get_by_role("link", name=section).click()
        assert page.locator("nav a[aria-current]").inner_text() == section
    page.get_by_role("link", name="mtbench").click()
    assert page.url == (folder / "index.html").as_uri()


def test_sorting_by_keyboard(visit):
    page = visit(BOARD)
    head = page.locator("#board thead tr").last.locator("th").nth(3)  # mIoU
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert page.locator("[aria-sort]").count() == 1
    values = [float(value) for value in shown(page, 3)]
    assert len(values) == 17
    assert values == sorted(values, reverse=True)
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert [float(value) for value in shown(page, 3)] == values[::-1]
    assert "unfinished" in page.locator("#board tbody tr").last.get_attribute("class")


def test_errors_are_sorted_smallest_first_and_names_by_letter(visit):
    page = visit(BOARD)
    heads = page.locator("#board thead tr").last.locator("th")
    heads.nth(5).locator("button").click()  # absolute error
    values = [float(value) for value in shown(page, 5)]
    assert values == sorted(values)
    heads.nth(0).locator("button").click()
    names = shown(page, 0)
    assert names[-1] == "stan"
    assert [name for name in names if name[0].isalpha()] == sorted(name for name in names if name[0].isalpha())


def test_filtering_and_the_address_that_keeps_it(visit):
    page = visit(BOARD)
    assert page.locator("#count").inner_text() == "18 of 18 rows"
    page.locator("#filter").fill("mtan dwa")
    assert page.locator("#count").inner_text() == "1 of 18 rows"
    page.locator("#filter").fill("")
    page.get_by_role("checkbox", name="mtan").uncheck()
    page.get_by_role("checkbox", name="equal", exact=True).uncheck()
    assert not {"mtan"} & set(shown(page, 0))
    assert not {"equal"} & set(shown(page, 1))
    page.locator("#board thead button").first.click()
    before = shown(page, 0), shown(page, 1)
    page.reload()
    assert (shown(page, 0), shown(page, 1)) == before
    page.get_by_role("button", name="Show all").click()
    page.wait_for_function("document.querySelector('#count').textContent === '18 of 18 rows'")


def test_the_page_is_complete_without_scripts(visit):
    page = visit(BOARD, java_script_enabled=False)
    assert page.locator("#board tbody tr").count() == 18
    assert not page.locator("#filters").is_visible()
    assert page.locator("#board button").count() == 0


def test_markup_in_names_is_text(visit):
    page = visit(BOARD)
    assert page.get_by_text("<img src=x onerror=alert(1)>").first.is_visible()
    assert page.get_by_text("<script>alert(1)</script>").first.is_visible()
    assert page.locator("img").count() == 0


def contrast(first, second):
    """Contrast of two colours as browsers write them."""

    def light(colour):
        parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, bright = sorted((light(first), light(second)))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_figures_are_legible_in_both_themes(visit, scheme):
    page = visit(BOARD, color_scheme=scheme)
    style = "(element, name) => getComputedStyle(element)[name]"
    paper = page.locator("body").evaluate(style, "backgroundColor")
    assert (contrast(paper, "rgb(0,0,0)") > 10) == (scheme == "light")
    for selector, name, least in (
        ("body", "color", 7), (".muted >> nth=0", "color", 4.5), ("svg.figure text >> nth=0", "fill", 4.5),
        (".best .number >> nth=0", "color", 4.5), (".status >> nth=0", "color", 4.5), ("main a >> nth=0", "color", 4.5),
    ):  # fmt: skip
        assert contrast(page.locator(selector).evaluate(style, name), paper) >= least, selector
    marks = page.locator("#board .mark path")
    fills = {mark.evaluate(style, "fill") for mark in marks.all()}
    assert len(fills) == 8
    assert all(contrast(fill, paper) >= 2.9 for fill in fills)


def test_the_first_column_stays_in_sight(visit):
    page = visit(BOARD, viewport={"width": 390, "height": 844})
    box = page.locator(".scroll").first
    assert box.evaluate("box => box.scrollWidth > box.clientWidth")
    box.evaluate("box => box.scrollLeft = 300")
    name = page.locator("#board tbody th").first
    assert name.bounding_box()["x"] - box.bounding_box()["x"] < 3
    assert page.locator("#board tbody th .sub").first.is_visible()


def test_print_is_black_on_white_and_holds_the_whole_table(visit):
    page = visit(BOARD, color_scheme="dark", viewport={"width": 1030, "height": 728})  # A4 across, less its margins
    page.emulate_media(media="print")
    assert page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("#board").evaluate("table => table.getBoundingClientRect().right") <= 1030
    assert not page.locator("#filters").is_visible()
