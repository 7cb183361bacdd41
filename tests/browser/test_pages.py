"""The report's pages in headless Chromium, opened from the disk."""

import shutil
from collections import defaultdict

import pytest

from benchmark import report, speed, toyproblem
from benchmark.analysis import published
from tests.benchmark import records as made

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on the path"),
]


#: One page of every kind.
BOARD = "scenes-??????.html"
KINDS = [
    "index.html", "methods.html", "method.html", "published.html", "toy.html", "speed.html", BOARD,
    "scenes-*-legacy.html", "scenes-*-trade-offs.html", "scenes-*-training.html", "scenes-*-pictures.html",
    "multi-fashion-*-pictures.html", "architectures/mtan.html", "weightings/uncertainty.html", "datasets/scenes.html",
    "row of mtan",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A report of one board; one row failed, one has a name made of markup."""
    base = tmp_path_factory.mktemp("pages")
    report.build(made.fill(base / "results", odd(made.grid((0, 1)), failing=slice(6, 8))), base / "reports")
    return base / "reports"


def odd(records, failing):
    """The records with conflicts of gradients, of which some failed, and rows with odd names and with fixed weights."""
    records = [made.conflicting(r) if r.spec.weighting else r for r in records]
    records[failing] = [made.failed(r, "diverged", "<script>alert(1)</script>") for r in records[failing]]
    records += [made.record("<img src=x onerror=alert(1)>", "a&b", seed=s) for s in (0, 1)]
    return [
        *records,
        *(made.record("mtan", "constant", weighting_options={"weights": [i, 1 - i, 0]}) for i in (0.25, 0.75)),
    ]


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """A report with every kind of page and, on each, all that the kind may hold, in few rows: the checker takes long.

    Two boards, of which only one's tasks are those of a published table.
    """
    base = tmp_path_factory.mktemp("kinds")
    cells = [("single-task", None), ("split-wide", "equal"), *(("mtan", w) for w in ("uncertainty", "equal", "dwa"))]
    records = [made.record(a, w, seed=s) for a, w in cells for s in (0, 1)]
    fashion = [r for r in made.fashion() if r.spec.architecture.name in ("single-task", "mtan")]
    store = made.fill(base / "results", [*odd(records, failing=slice(2, 4)), *fashion])
    made.keep_card(store)
    toyproblem.save(made.toy(), store.root)
    for i, record in enumerate(made.speeds()):
        speed.save(record, store.root / f"speed-{i}.json")
    with pytest.MonkeyPatch.context() as patch:
        short = shortened(published.tables())
        patch.setattr(published, "tables", lambda: short)
        report.build(store, base / "reports")
    return base / "reports"


def shortened(tables):
    """Of published tables: two with claims, whose tasks a board has and none has; one that is open, one folded."""
    known = {table.key: table for table in tables}
    short, long = known["libmtl-segnet"], known["libmtl-resnet"]
    failed = [record for record in long.records if record.status != "ok"]
    return (
        known["mtan2019-nyuv2"],
        known["mtan2019-decathlon"],
        short.model_copy(update={"records": short.records[:3]}),
        long.model_copy(update={"records": (*failed[:1], *long.records[:20])}),
    )


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def left():
    """Pages that earlier tests left, by their options: a new one is a new process, which takes longer than a test."""
    return defaultdict(list)


@pytest.fixture
def visit(browser, left, request):
    """Open a page of the report; at the end, nothing may have been logged or asked for outside the folder.

    Each page is as a new one: it is blank before, and nothing is kept of earlier ones. The report is ``folder``, or the
    one of a fixture that is named ``within``.
    """
    opened, complaints = [], []

    def asked(request):
        if not request.url.startswith((*folders, "data:")):
            complaints.append(f"request {request.url}")

    def failed(request):
        if request.failure != "net::ERR_ABORTED":  # that is a page left before all of its pictures were there
            complaints.append(f"failed {request.url}: {request.failure}")

    folders = set()
    listeners = {
        "request": asked,
        "requestfailed": failed,
        "console": lambda message: complaints.append(f"console {message.text}"),
        "pageerror": lambda error: complaints.append(f"error {error}"),
        "dialog": lambda dialog: (complaints.append("dialog"), dialog.dismiss()),
    }

    def go(name, place="", *, within="folder", viewport=None, color_scheme="light", **options):
        kept = left[tuple(options.items())]
        page = kept.pop() if kept else browser.new_context(**options).new_page()
        opened.append((page, kept))
        page.set_viewport_size(viewport or {"width": 1280, "height": 720})
        page.emulate_media(media="null", color_scheme=color_scheme)
        for event, listener in listeners.items():
            page.on(event, listener)
        report = request.getfixturevalue(within)
        folders.add(report.as_uri())
        page.goto(find(report, name).as_uri() + place)
        return page

    yield go
    for page, kept in opened:
        page.evaluate("localStorage.clear()")
        for event, listener in listeners.items():
            page.remove_listener(event, listener)
        page.goto("about:blank")
        page.mouse.move(0, 0)
        kept.append(page)
    assert complaints == []


def find(folder, name):
    if name == "row of mtan":
        name = "rows/scenes-*-mtan-dwa-*.html"
    (path,) = folder.glob(name)
    return path


def column(page, name):
    """The place of a column."""
    heads = page.locator("#board thead tr").last.locator("th")
    return heads.evaluate_all("(heads, name) => heads.findIndex((head) => head.dataset.id === name)", name)


def shown(page, name, section="sharing"):
    """Sort keys of a column's visible cells, in the order on the page; unfinished rows are left out."""
    return page.locator(f"#board tbody[data-section={section}] tr:not(.unfinished, .group)").evaluate_all(
        "(rows, column) => rows.filter((row) => !row.hidden).map((row) => row.cells[column].dataset.value)",
        column(page, name),
    )


def head(page, name):
    return page.locator(f'#board thead th[data-id="{name}"]')


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_page_opens_without_complaint_on_a_phone_and_is_accessible(visit, name):
    """axe-core's rules of WCAG 2.1 A and AA, and its best practices; in the dark those of contrast."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    # The checker is a script put into the page.
    page = visit(name, within="kinds", viewport={"width": 390, "height": 844}, bypass_csp=True)
    assert page.locator("h1").is_visible()
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) == 0
    page.set_viewport_size({"width": 1280, "height": 720})
    page.evaluate(axe.axe_script)
    for scheme, rules in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
        page.emulate_media(color_scheme=scheme)
        # Without "preload" it reads style sheets where they are; from a file's page it may ask for none.
        options = {"resultTypes": ["violations"], "preload": False, **rules}
        found = page.evaluate("options => axe.run(document, options).then(results => results.violations)", options)
        assert [(v["id"], v["nodes"][0]["html"][:200], v["nodes"][0].get("failureSummary")) for v in found] == []


def test_links_lead_to_every_page(visit, folder):
    page = visit("index.html")
    page.get_by_role("link", name="scenes", exact=True).click()
    sections = page.get_by_role("navigation", name="Pages of this board")
    for section in ("Trade-offs", "Training", "Pictures", "Results"):
        sections.get_by_role("link", name=section).click()
        assert sections.locator("a[aria-current]").inner_text() == section
    page.get_by_role("link", name="2 seeds of mtan").first.click()
    assert "/rows/" in page.url
    page.get_by_role("region", name="Where each seed comes from").get_by_role("link", name="1", exact=True).click()
    assert page.url.endswith("#seed-1")
    assert page.locator("#seed-1").get_by_role("rowheader").inner_text() == "1"
    page.get_by_role("link", name="mtan", exact=True).click()
    assert page.url == (folder / "architectures/mtan.html").as_uri()
    page.get_by_role("link", name="mtbench").click()
    assert page.url == (folder / "index.html").as_uri()


def test_sorting_by_keyboard(visit):
    page = visit(BOARD)
    miou = head(page, "semantic.miou")
    miou.locator("button").focus()
    page.keyboard.press("Enter")
    assert miou.get_attribute("aria-sort") == "descending"
    assert page.locator("[aria-sort]").count() == 1
    values = [float(value) for value in shown(page, "semantic.miou")]
    assert len(values) == 15
    assert values == sorted(values, reverse=True)
    apart = [float(value) for value in shown(page, "semantic.miou", "apart")]
    assert len(apart) == 2
    assert apart == sorted(apart, reverse=True)
    page.keyboard.press("Enter")
    assert miou.get_attribute("aria-sort") == "ascending"
    assert [float(value) for value in shown(page, "semantic.miou")] == values[::-1]
    assert "unfinished" in page.locator("#board tbody[data-section=sharing] tr").last.get_attribute("class")


def test_errors_are_sorted_smallest_first_and_names_by_letter(visit):
    page = visit(BOARD)
    head(page, "depth.abs_error").locator("button").click()
    values = [float(value) for value in shown(page, "depth.abs_error")]
    assert values == sorted(values)
    head(page, "architecture").locator("button").click()
    names = shown(page, "architecture")
    assert names[-1] == "split-wide"
    assert [name for name in names if name[0].isalpha()] == sorted(name for name in names if name[0].isalpha())


def test_a_shared_address_shows_the_same_table(visit):
    page = visit(BOARD)
    assert page.locator("#count").inner_text() == "20 of 20 rows"
    page.locator("#filter").fill("mtan, dwa")
    assert page.locator("#count").inner_text() == "1 of 20 rows"
    page.locator("#filter").fill("nonesuch")
    assert "No row has all of: nonesuch" in page.locator("#nothing").inner_text()
    page.locator("#filter").fill("uncertainty")
    page.locator("summary", has_text="Columns").click()
    assert not head(page, "semantic.pixel_accuracy").is_visible()  # a table begins with one metric of each task
    page.get_by_role("checkbox", name="semantic: pixel accuracy").check()
    page.get_by_role("checkbox", name="semantic: mIoU").uncheck()
    head(page, "architecture").locator("button").click()
    assert set(shown(page, "weighting")) == {"uncertainty"}
    before = page.locator("#board tbody").first.inner_text()
    other = visit(BOARD, place=page.evaluate("location.hash"))
    assert other.locator("#board tbody").first.inner_text() == before
    assert not head(other, "semantic.miou").is_visible()
    assert head(other, "semantic.pixel_accuracy").is_visible()
    other.get_by_role("button", name="Reset").click()
    other.locator("#count", has_text="20 of 20 rows").wait_for()
    assert head(other, "semantic.miou").is_visible()
    assert not head(other, "semantic.pixel_accuracy").is_visible()


def test_a_reader_chooses_the_baseline(visit):
    page = visit(BOARD)
    assert head(page, "difference").inner_text().startswith("difference from single-task")
    page.get_by_text("equal", exact=True).first.click()
    assert head(page, "difference").inner_text().startswith("difference from equal")
    differences = page.locator("#board tbody[data-section=sharing] tr:not(.unfinished)").evaluate_all(
        "(rows, column) => rows.map((row) => row.cells[column].dataset.weighting).filter(Boolean).map(Number)",
        column(page, "difference"),
    )
    assert len(differences) == 9  # what has no counterpart under equal weights, and equal weights, have none
    assert differences == sorted(differences, reverse=True)
    other = visit(BOARD, place=page.evaluate("location.hash"))
    assert head(other, "difference").inner_text().startswith("difference from equal")


def test_fixed_weights_are_folded_until_they_are_asked_for(visit):
    page = visit(BOARD)
    assert shown(page, "architecture", "fixed") == []
    page.get_by_role("button", name="show", exact=True).click()
    assert shown(page, "architecture", "fixed") == ["mtan", "mtan"]
    page.get_by_role("button", name="hide", exact=True).click()
    page.locator("#filter").fill("constant")
    assert len(shown(page, "architecture", "fixed")) == 2  # who looks for them finds them


def test_the_table_begins_on_the_first_screen(visit):
    page = visit(BOARD, viewport={"width": 1280, "height": 800})
    rows = page.locator("#board tbody tr").evaluate_all("rows => rows.map((row) => row.getBoundingClientRect().bottom)")
    assert sum(bottom < 800 for bottom in rows) >= 5
    page.locator(".scroll.tall").evaluate("box => box.scrollTop = 200")
    box, top = page.locator(".scroll.tall").bounding_box(), page.locator("#board thead").bounding_box()
    assert abs(top["y"] - box["y"]) < 3  # the head stays


def test_few_steps_by_keyboard_lead_to_the_table(visit):
    page = visit(BOARD)
    steps = 0
    while not page.evaluate("document.activeElement.closest('#board thead') !== null"):
        page.keyboard.press("Tab")
        steps += 1
        assert steps < 22


def test_a_long_table_is_sorted_and_filtered(browser, tmp_path):
    records = [
        made.record(f"net-{a}", f"w{w:02}", tasks=made.SCENES[:1], epochs=1) for a in range(6) for w in range(15)
    ]
    report.build(made.fill(tmp_path / "results", records, pictures=False), tmp_path / "out")
    page = browser.new_page()
    page.goto(find(tmp_path / "out", BOARD).as_uri())
    head(page, "semantic.miou").locator("button").click()
    values = [float(value) for value in shown(page, "semantic.miou")]
    assert len(values) == 90
    assert values == sorted(values, reverse=True)
    page.locator("#filter").fill("w07")
    assert len(shown(page, "semantic.miou")) == 6
    page.close()


def test_a_wrong_address_shows_the_whole_table(visit):
    page = visit(BOARD, place="#sort=nothing:up&hide=column:&against=x&%%%")
    assert page.locator("#count").inner_text() == "20 of 20 rows"
    assert head(page, "difference").get_attribute("aria-sort") == "descending"


def test_the_page_is_complete_without_scripts(visit):
    page = visit(BOARD, java_script_enabled=False)
    assert page.locator("#board tbody tr:not(.group)").count() == 20
    page.get_by_text("equal", exact=True).first.click()  # the baseline is chosen without scripts
    assert head(page, "difference").inner_text().startswith("difference from equal")
    assert not page.locator("#filters").is_visible()
    assert page.locator("#board button:visible").count() == 0
    trade_offs = visit("scenes-*-trade-offs.html", java_script_enabled=False)
    assert trade_offs.locator("#plot svg a").count() == 19


def test_axes_can_be_picked_and_shared(visit):
    page = visit("scenes-*-trade-offs.html")
    assert page.locator("#plot svg a").count() == 19
    page.locator("#x").select_option("forward_flops")
    page.locator("#y").select_option("depth.abs_error")
    assert "depth: absolute error (m) ↓, better on top" in page.locator("#plot svg").text_content()
    other = visit("scenes-*-trade-offs.html", place=page.evaluate("location.hash"))
    assert other.locator("#plot").inner_html() == page.locator("#plot").inner_html()


def test_the_front_is_that_of_the_rows_shown(visit):
    page = visit("scenes-*-trade-offs.html")
    page.locator("#x").select_option("parameters")
    page.locator("#y").select_option("delta_m")
    data = page.evaluate(
        """() => {
          const data = JSON.parse(document.getElementById("data").textContent);
          const place = (id) => data.axes.findIndex((axis) => axis.id === id);
          const [x, y] = [place("parameters"), place("delta_m")];
          return data.rows.filter((row) => row.v[x] && row.v[y]).map((row) => [row.n, row.a, row.v[x][0], row.v[y][0]]);
        }"""
    )

    def front(rows):
        beaten = [a for a in rows for b in rows if b[2] <= a[2] and b[3] >= a[3] and (b[2], b[3]) != (a[2], a[3])]
        return [row[0] for row in rows if row not in beaten]

    assert page.locator("#front").inner_text() == f"Not dominated: {', '.join(front(data))}."
    page.get_by_role("checkbox", name="mtan").uncheck()
    page.get_by_role("checkbox", name="split-deep").uncheck()
    rest = [row for row in data if row[1] not in ("mtan", "split-deep")]
    assert page.locator("#plot svg a").count() == len(rest) < len(data)
    assert page.locator("#front").inner_text() == f"Not dominated: {', '.join(front(rest))}."


def test_a_mark_says_its_run_under_the_pointer_and_to_the_keyboard(visit):
    page = visit("scenes-*-trade-offs.html")
    page.locator("#y").select_option("delta_m")
    page.locator("#plot svg a").last.hover()
    assert "Δm (%): " in page.locator("#tip").inner_text()
    page.mouse.move(2, 2)
    assert not page.locator("#tip").is_visible()
    page.locator("#plot svg a").first.focus()
    assert page.locator("#tip").is_visible()
    page.keyboard.press("Enter")
    page.wait_for_url("**/rows/*.html")


def test_fitting_intervals_leaves_the_kind_of_axis_as_it_is(visit):
    page = visit("scenes-*-trade-offs.html")
    axes, rows, labels = page.evaluate(
        """() => {
          const data = JSON.parse(document.getElementById("data").textContent);
          const [x, fit] = [document.getElementById("x"), document.getElementById("fit")];
          const chosen = (element) => element.dispatchEvent(new Event("input", { bubbles: true }));
          return [data.axes, data.rows, data.axes.map((axis) => {
            x.value = axis.id;
            chosen(x);
            return [false, true].map((state) => {
              fit.checked = state;
              chosen(fit);
              return document.querySelector("#plot svg .te.al").textContent;
            });
          })];
        }"""
    )
    assert len(axes) > 10
    for place, axis in enumerate(axes):
        means = [row["v"][place][0] for row in rows if row["v"][place]]
        logarithmic = min(means) > 0 and max(means) > 12 * min(means)
        for label in labels[place]:
            assert label.startswith(axis["name"])
            assert ("logarithmic" in label) == logarithmic


def test_intervals_are_those_of_the_front_and_of_the_row_pointed_at(visit):
    page = visit("scenes-*-trade-offs.html")
    front = page.locator("#front").inner_text().removeprefix("Not dominated: ").split(".")[0].split(", ")
    marks = page.locator("#plot svg a")
    shown = marks.evaluate_all(
        "found => found.map(mark => [mark.getAttribute('aria-label').split('\\n')[0],"
        " getComputedStyle(mark.querySelector('.er')).visibility])"
    )
    assert {name for name, state in shown if state == "visible"} == set(front)
    names = page.locator("#plot svg .nm").all_text_contents()
    assert names
    assert set(names) <= set(front)
    other = marks.first
    assert other.locator(".er").evaluate(STYLE, "visibility") == "hidden"
    other.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    assert other.locator(".er").evaluate(STYLE, "visibility") == "visible"


def test_a_method_has_the_same_colour_in_both_themes(visit):
    found = []
    for scheme in ("light", "dark"):
        page = visit("scenes-*-trade-offs.html", color_scheme=scheme)
        found.append(styles(page.locator("#plot svg a path.mf"), "fill"))
    assert found[0] == found[1]
    assert len(set(found[0])) == 8  # as many as architectures


def test_parts_that_are_closed_on_the_screen_are_printed(visit):
    page = visit("scenes-*-training.html")
    closed = page.locator("details.part:not([open])").first
    assert not closed.locator("svg").first.is_visible()
    page.emulate_media(media="print")
    assert closed.locator("svg").first.is_visible()


def test_names_end_before_the_gradients_figure_begins(visit):
    page = visit("scenes-*-training.html")
    ends = page.locator("svg.wide .rn").evaluate_all(
        "found => found.map(text => text.getBBox()).map(b => b.x + b.width)"
    )
    starts = page.locator("svg.wide .er").evaluate_all("found => found.map(line => line.getBBox().x)")
    assert len(ends) > 10
    assert max(ends) < min(starts)


@pytest.mark.parametrize("scripted", [True, False])
def test_weightings_of_one_architecture_stand_side_by_side_when_they_are_chosen(visit, scripted):
    page = visit("scenes-*-pictures.html", java_script_enabled=scripted)
    heads = page.locator("table.gallery").first.locator("thead th:visible")
    assert heads.all_inner_texts()[7:9] == ["mtan\nequal, seed 0", "split-deep\nequal, seed 0"]
    masks = page.locator("h3:visible")
    assert masks.all_inner_texts() == ["mtan\u00a0·\u00a0equal seed 0"]
    page.locator("summary", has_text="Choose methods").click()
    mtan = page.get_by_role("group", name="mtan", exact=True)
    mtan.get_by_role("checkbox", name="dwa").check()
    page.get_by_role("group", name="stan", exact=True).get_by_role("checkbox").uncheck()
    names = [text.split()[0] for text in heads.all_inner_texts()]
    assert names.count("mtan") == 2
    assert "stan" not in names
    assert page.locator("table.gallery").first.locator("tbody tr").first.locator("td:visible").count() == len(names) - 1
    assert masks.count() == 2
    if not scripted:
        assert page.get_by_role("button", name="all").count() == 0
        return
    assert page.locator("[data-count]").inner_text() == f"{len(names) - 3} of 19"
    other = visit("scenes-*-pictures.html", place=page.evaluate("location.hash"))
    assert other.locator("thead").first.inner_text() == page.locator("thead").first.inner_text()
    mtan.get_by_role("button", name="all").click()
    assert masks.count() == 5
    page.get_by_role("button", name="Back to the start").click()
    page.wait_for_url(lambda url: "#" not in url)
    assert masks.count() == 1


def test_markup_in_names_is_text(visit):
    page = visit(BOARD)
    assert page.get_by_text("<img src=x onerror=alert(1)>").first.is_visible()
    assert page.get_by_text("<script>alert(1)</script>").first.is_visible()
    assert page.locator("img").count() == 0
    page = visit("scenes-*-trade-offs.html")
    page.locator('#plot svg a[aria-label^="<img"]').focus()
    assert "<img src=x onerror=alert(1)>" in page.locator("#tip").inner_text()


def contrast(first, second):
    """Contrast of two colours as browsers write them."""

    def light(colour):
        parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, bright = sorted((light(first), light(second)))
    return (bright + 0.05) / (dark + 0.05)


STYLE = "(element, name) => getComputedStyle(element)[name]"


def styles(found, name):
    """The style of every element, asked for at once."""
    return found.evaluate_all("(found, name) => found.map((element) => getComputedStyle(element)[name])", name)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_figures_are_legible_in_both_themes(visit, scheme):
    page = visit(BOARD, color_scheme=scheme)
    paper = page.locator("body").evaluate(STYLE, "backgroundColor")
    assert (contrast(paper, "rgb(0,0,0)") > 10) == (scheme == "light")
    marks = page.locator("#board .mk")
    fills = set(styles(marks, "backgroundColor"))
    assert len(fills) == 8
    assert all(contrast(fill, paper) >= 2.9 for fill in fills)
    curves = visit("scenes-*-training.html", color_scheme=scheme)
    assert contrast(curves.locator("svg.figure text").first.evaluate(STYLE, "fill"), paper) >= 4.5
    strokes = set(styles(curves.locator("svg.figure .ln"), "stroke"))
    assert strokes
    assert all(contrast(stroke, paper) >= 2.9 for stroke in strokes)


def test_the_theme_can_be_chosen_and_is_kept(visit):
    page = visit(BOARD, color_scheme="light")
    button = page.get_by_role("button", name="Theme")
    white = page.locator("body").evaluate(STYLE, "backgroundColor")
    assert button.inner_text() == "Theme: auto"
    button.click()
    assert button.inner_text() == "Theme: light"
    button.click()
    assert button.inner_text() == "Theme: dark"
    assert contrast(page.locator("body").evaluate(STYLE, "backgroundColor"), white) > 10
    page.reload()
    assert page.get_by_role("button", name="Theme").inner_text() == "Theme: dark"
    page.get_by_role("link", name="Boards").click()
    assert contrast(page.locator("body").evaluate(STYLE, "backgroundColor"), white) > 10


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
    # A head stands on every page where it is a group that may not break, with nothing in it that is a box of its own.
    assert page.locator("#board thead").evaluate(STYLE, "display") == "table-header-group"
    assert page.locator("#board thead").evaluate(STYLE, "breakInside") == "avoid"
    assert page.locator("#board thead button").first.evaluate(STYLE, "display") == "contents"


def test_downloads_are_files_of_the_folder(visit, folder):
    page = visit(BOARD)
    for name, suffix in (("CSV of rows", "csv"), ("CSV of all runs", "csv"), ("LaTeX table", "tex"), ("BibTeX", "bib")):
        target = page.get_by_role("link", name=name).get_attribute("href")
        assert target.endswith(suffix)
        assert (folder / target).stat().st_size > 100
