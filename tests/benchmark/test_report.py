"""The report: what its pages say, that they are the same every time, and that nothing gets out or is lost."""

import random
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from benchmark import report
from benchmark.errors import UserError
from benchmark.registry import ARCHITECTURES, WEIGHTINGS
from benchmark.report import site
from benchmark.report.charts.marks import COLOURS, Marks, assign, markers
from benchmark.runs.store import Problem, Store
from tests.benchmark import records as made

pytestmark = pytest.mark.slow

SCRIPT = "<script>alert(1)</script>"
NASTY = f"{SCRIPT}</script>\"'><img src=x onerror=alert(1)>{{{{ 7919 * 7919 }}}}$\\frac"


class Held(Store):
    """A store whose records need no file names: hostile names may hold slashes."""

    def __init__(self, root, records, problems=()):
        super().__init__(root)
        self.records, self.problems = list(records), list(problems)

    def scan(self):
        return self.records, self.problems

    def path(self, spec):
        return self.root / "held" / f"{spec.id}.json"


class Page(HTMLParser):
    """The words, tags and attributes of a page; ``rows`` are the cells' words, row by row of every table."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.rows, self.inside = [], [], [], [], False
        self.feed(text)
        self.rows = [[" ".join(cell.split()) for cell in row] for row in self.rows]

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "tr":
            self.rows.append([])
            self.inside = True
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "tr"

    def handle_data(self, data):
        self.text.append(data)
        if self.inside and self.rows[-1]:
            self.rows[-1][-1] += data

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def read(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def board_page(folder, stem="scenes"):
    (found,) = [path for path in folder.glob("*.html") if re.fullmatch(rf"{stem}-[0-9a-f]{{6}}", path.stem)]
    return Page(found.read_text())


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A report of two boards, failures and an unreadable file among them."""
    base = tmp_path_factory.mktemp("full")
    records = made.grid((0, 1, 2))
    diverged = made.failed(records.pop(), "diverged", "the loss of task 'depth' is nan in epoch 3", epochs=2)
    gone = [r for r in records if r.spec.label.startswith("scenes dense dwa")]
    records = [r for r in records if r not in gone] + [made.failed(r, error="OSError: disk full") for r in gone]
    store = made.fill(base / "results", [*records, diverged, *made.fashion()])
    (base / "results/scenes/broken.json").write_text("{")
    report.build(store, base / "reports")
    return base


def test_every_row_is_on_the_board(full):
    page = board_page(full / "reports")
    rows = [row for row in page.rows if row and row[0].split(" ")[0] in made.ARCHITECTURES]
    assert len([row for row in rows if len(row) > 5]) == 16
    assert len([row for row in rows if row[2].startswith("failed OSError")]) == 1


def test_a_row_with_a_seed_that_diverged_is_marked_wherever_rows_are_compared(tmp_path):
    records = [record for record in made.grid(seeds=(0, 1, 2, 3)) if record.spec.architecture.name != "stan"]
    lost = next(r for r in records if r.spec.architecture.name == "mtan" and r.spec.weighting.name == "equal")
    records = [made.failed(r, status="diverged", epochs=1) if r is lost else r for r in records]
    report.build(Held(tmp_path, records), tmp_path / "out")
    page = board_page(tmp_path / "out")
    assert "1 diverged" in page.words
    lines = [line.split(",") for line in _lines(tmp_path / "out", "scenes-??????-rows.csv")]
    place = lines[0].index("diverged")
    assert {tuple(line[:2]) for line in lines[1:] if line[place] != "0"} == {("mtan", "equal")}
    words = {line[7] for line in lines if line[:2] == ["mtan", "equal"] and "against" in line[2]}
    assert words <= {"worse", "undecided"}
    (table,) = (tmp_path / "out").glob("scenes-??????.tex")
    marked = [line for line in table.read_text().splitlines() if "dagger" in line]
    assert len(marked) == 2  # the caption and the row
    assert "mtan & equal$^\\dagger$" in marked[1]


def test_failures_are_shown_with_their_reason(full):
    page = board_page(full / "reports")
    assert "OSError: disk full" in page.words
    assert "the loss of task 'depth' is nan in epoch 3" in page.words
    assert "1 diverged" in page.words  # of three seeds
    index = Page((full / "reports/index.html").read_text())
    assert "4 not ok" in index.words
    assert "scenes/broken.json" in index.words


def test_numbers_of_a_row(tmp_path):
    def flat(architecture, weighting, seed, miou):
        found = made.record(architecture, weighting, seed=seed, tasks=made.SCENES[:1], epochs=2)
        return made.edited(found, lambda e, s, t, m, v: {"miou": miou, "pixel_accuracy": 50.0}.get(m, v))

    records = [flat("single-task", None, s, 40.0) for s in (0, 1, 2)]
    records += [flat("mtan", "equal", s, m) for s, m in ((0, 42.0), (1, 44.0), (2, 46.0))]
    records += [flat("dense", "equal", 0, 38.0)]
    report.build(Held(tmp_path, records), tmp_path / "out")
    rows = {row[0].split(" ")[0]: row for row in board_page(tmp_path / "out").rows if len(row) > 5}
    # Δm of mtan: half of 5, 10 and 15 %, of dense: half of −5 %.
    assert rows["mtan"][4:6] == ["+5.0", "44.00"]
    assert rows["dense"][4:6] == ["−2.5", "38.00"]
    assert rows["dense"][2].startswith("? undecided 1 seed")
    assert rows["single-task"][2].startswith("the baseline")
    assert rows["single-task"][4] == "0.0"
    assert "reference" in rows["single-task"][0]
    assert rows["mtan"][7:] == ["44.40", "3"]
    csv = {
        tuple(line.split(",")[:3]): line.split(",")[3:] for line in _lines(tmp_path / "out", "scenes-??????-rows.csv")
    }
    n, mean, low, high = (float(number) for number in csv["mtan", "equal", "delta_m"][:4])
    assert (n, mean) == (3, 5.0)
    assert high - mean == pytest.approx(4.302653 * 2.5 / 3**0.5)  # Student's quantile of two degrees of freedom
    assert mean - low == pytest.approx(high - mean)


def _lines(folder, pattern):
    (path,) = folder.glob(pattern)
    return path.read_text().splitlines()


def test_the_reference_s_own_gain_is_none(full):
    page = board_page(full / "reports", "multi-fashion")
    assert next(row for row in page.rows if row and row[0].startswith("single-task"))[4] == "0.0"


def test_missing_reference_is_said(tmp_path):
    records = [r for r in made.grid() if not r.reference]
    report.build(made.fill(tmp_path / "results", records, pictures=False), tmp_path / "out")
    page = board_page(tmp_path / "out")
    assert "Δm is not defined" in page.words
    (mtan,) = [row for row in page.rows if row and row[0].startswith("mtan") and row[1] == "equal"]
    assert mtan[2] == "–"
    assert "last epoch" in mtan[0]
    (plot,) = (tmp_path / "out").glob("scenes-*-trade-offs.html")
    assert ("aria-label", "mIoU against parameters") in Page(plot.read_text()).attributes


def test_boards_on_other_bytes_of_their_data_are_told_apart(tmp_path):
    ours = made.record()
    provenance = ours.provenance.model_copy(update={"data_hash": "e" * 64})
    theirs = made.record(seed=1).model_copy(update={"provenance": provenance})

    def index(*records):
        report.build(Held(tmp_path / "store", records), tmp_path / "report")
        return (tmp_path / "report" / "index.html").read_text().replace("\u00a0", " ")

    both = index(ours, theirs)
    assert "data dddddddddddd" in both
    assert "data eeeeeeeeeeee" in both
    assert "data dddddddddddd" not in index(ours)


@pytest.mark.parametrize("value", [None, 0.0, -1.0, 1e308, 5e-324])
def test_strange_numbers_break_nothing(tmp_path, value):
    records = made.grid(tasks=made.SCENES[:2], epochs=2)[:4]
    records[0] = made.edited(records[0], lambda e, s, t, m, v: value if m == "miou" else v)
    records[3] = made.edited(records[3], lambda e, s, t, m, v: value if m == "abs_error" else v)
    cost = records[2].cost.model_copy(update={"parameters": 10**400, "train_seconds": value, "seconds_per_step": None})
    records[2] = records[2].model_copy(update={"cost": cost})
    report.build(Held(tmp_path, records), tmp_path / "out")
    if value is None:
        assert "–" in board_page(tmp_path / "out").words


@pytest.mark.parametrize(
    "records",
    [
        [made.record("mtan", epochs=1)],
        [made.record("single-task", None, epochs=1)],
        [made.record("mtan", None, tasks=(), epochs=1)],
        [made.record("mtan", tasks=(made.SCENES[0].model_copy(update={"kind": "telepathy"}),), epochs=1)],
        [made.record("mtan", epochs=1), made.failed(made.record("mtan", epochs=2))],
        [made.record("single-task", None, version=v, epochs=1) for v in (1, 2)] + [made.record("mtan", epochs=1)],
    ],
    ids=["one row", "one reference", "no task", "unknown kind", "a board of failures", "two references"],
)
def test_small_stores_make_a_report(tmp_path, records):
    assert report.build(Held(tmp_path, records), tmp_path / "out").is_file()


@pytest.mark.parametrize("fault", ["epoch twice", "epoch out of bounds", "task twice"])
def test_records_that_contradict_themselves_are_listed(tmp_path, fault):
    found = made.record("mtan", epochs=2)
    first, second = found.curves
    changes = {
        "epoch twice": {"curves": (first, first)},
        "epoch out of bounds": {"curves": (first, second.model_copy(update={"epoch": 10**30}))},
        "task twice": {"tasks": (made.SCENES[0], made.SCENES[0])},
    }
    records = [made.record("single-task", None, epochs=2), found.model_copy(update=changes[fault])]
    report.build(Held(tmp_path, records), tmp_path / "out")
    assert found.id in Page((tmp_path / "out/index.html").read_text()).words
    assert not [row for row in board_page(tmp_path / "out").rows if row[0].startswith("mtan")]


def hostile():
    """Records with markup in every field that holds text."""
    tasks = (
        made.SCENES[0].model_copy(update={"name": f"a{NASTY}", "classes": (NASTY,) * 13}),
        made.FASHION[0].model_copy(update={"name": f"b{NASTY}", "classes": (NASTY,) * 10}),
        made.SCENES[1].model_copy(update={"name": f"c{NASTY}", "kind": NASTY}),
    )
    changes = {
        "dataset": NASTY, "tasks": tasks, "epochs": 2, "data_options": {NASTY: NASTY}, "truth": NASTY,
        "place": {"device": NASTY},
    }  # fmt: skip
    records = [
        made.record("single-task", None, **changes),
        made.record(NASTY, NASTY, **changes, options={"width": 16, "backbone": "segnet", NASTY: NASTY}),
        made.record(NASTY, NASTY, **changes, options={"width": 16, "backbone": "segnet", NASTY: 2}),
        made.failed(made.record(f"f{NASTY}", NASTY, **changes), error=NASTY),
    ]
    places = [run.provenance.model_copy(update={"data_hash": NASTY}) for run in records]
    places[0] = places[0].model_copy(update={"suite_version": NASTY})
    return [run.model_copy(update={"provenance": where}) for run, where in zip(records, places, strict=True)]


class HostilePictures(Held):
    """A store whose picture files name their samples in markup."""

    def truth(self, record):
        first, second, _ = (task.name for task in record.tasks)
        return {"image": np.zeros((2, 1, 4, 4), np.uint8), "id": np.array([NASTY, NASTY]),
                first: np.zeros((2, 4, 4), np.int8), second: np.zeros(2, np.int16)}  # fmt: skip

    def predictions(self, record):
        return self.truth(record)


def test_markup_in_records_is_text(tmp_path):
    problems = [Problem(Path(tmp_path / NASTY), NASTY)]
    report.build(HostilePictures(tmp_path, hostile(), problems), tmp_path / "out")
    pages = {path.name: path.read_text() for path in (tmp_path / "out").rglob("*.html")}
    assert len([name for name in pages if name.startswith("script-alert")]) > 5
    for name, text in pages.items():
        page = Page(text)
        scripts = [value for key, value in page.attributes if key == "src" and value.endswith(".js")]
        data = page.attributes.count(("type", "application/json"))
        assert page.tags.count("script") == len(scripts) + data, name
        assert len(scripts) <= 2, name
        assert data <= 1, name
        assert not [key for key, _ in page.attributes if key.startswith("on")], name
        assert "62710561" not in page.words
        assert SCRIPT not in text
    assert NASTY in Page(pages["index.html"]).words


def test_broken_pictures_are_left_out(tmp_path):
    class Broken(Held):
        def truth(self, record):
            return made.truth()

        def predictions(self, record):
            return {
                "semantic": np.zeros((3, 2, 2, 2, 2)),
                "depth": np.array(["x"] * 3),
                "normals": np.zeros((3, 3, 0, 0)),
            }

    report.build(Broken(tmp_path, made.grid(epochs=1)[:2]), tmp_path / "out")
    (page,) = (tmp_path / "out").glob("*-pictures.html")
    rows = [row for row in Page(page.read_text()).rows if row and row[0] in ("semantic", "depth", "normals")]
    assert all(row[-2:] == ["–", "–"] for row in rows)


def test_classes_are_shown_in_words(full):
    (page,) = (full / "reports").glob("multi-fashion-*-pictures.html")
    words = Page(page.read_text()).words
    assert "trouser ✓ right" in words
    assert "sneaker ✗ wrong" in words
    assert "unknown" in words


def test_the_same_records_give_the_same_bytes(full, tmp_path):
    names = [path.relative_to(full / "results") for path in (full / "results").rglob("*") if path.is_file()]
    random.Random(0).shuffle(names)
    for name in names:
        (tmp_path / "elsewhere" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "elsewhere" / name).write_bytes((full / "results" / name).read_bytes())
    report.build(Store(tmp_path / "elsewhere"), tmp_path / "out")
    assert read(tmp_path / "out") == read(full / "reports")


def test_no_address_leads_outside(full):
    for name, content in read(full / "reports").items():
        if name.endswith(".png"):
            assert b"tEXt" not in content
            continue
        if not name.endswith((".html", ".bib", ".json")):
            for address in re.findall(rb"(?:https?:)?//[a-z0-9][^\s\"'<>]*", content):
                assert address.startswith(b"http://www.w3.org/"), (name, address)
        assert b"<!DOCTYPE svg" not in content
        assert str(full).encode() not in content
        if name.endswith(".html"):
            # What a page needs lies beside it; only links of the web lead there, and they say nothing of the reader.
            page = content.decode()
            outside = re.findall(r'<a href="(https?://[^"]*)" rel="noopener noreferrer">', page)
            targets = {v for k, v in Page(page).attributes if k in ("href", "src")} - {"data:,", *outside}
            assert not re.search(r"@import|url\(", page)
            for target in targets:
                path, _, place = target.partition("#")
                found = full / "reports" / name if not path else (full / "reports" / name).parent / path
                assert found.is_file(), (name, target)
                assert not place or f'id="{place}"' in found.read_text(), (name, target)


def test_papers_and_code_are_links(full):
    page = (full / "reports/architectures/mtan.html").read_text()
    address = ARCHITECTURES["mtan"].factory.card.url
    assert f'<a href="{address}" rel="noopener noreferrer">{address.removeprefix("https://")}</a>' in page


def test_ids_on_a_page_are_unique(full):
    for path in (full / "reports").rglob("*.html"):
        ids = [value for key, value in Page(path.read_text()).attributes if key == "id"]
        assert len(ids) == len(set(ids))


def test_pages_are_small(full):
    assert max(len(content) for name, content in read(full / "reports").items() if name.endswith(".html")) < 3e6


def test_an_empty_store_says_what_to_do(tmp_path):
    (tmp_path / "results").mkdir()
    with pytest.raises(UserError, match="mtbench run --grid quick"):
        report.build(Store(tmp_path / "results"), tmp_path / "out")
    runs = [made.failed(made.record(seed=s)) for s in (0, 1)]
    with pytest.raises(UserError, match=r"2 runs that did not finish and 1 unreadable file.*mtbench run --grid quick"):
        report.build(Held(tmp_path, runs, [Problem(Path("x"), "bad")]), tmp_path / "out")
    with pytest.raises(UserError, match="mtbench run"):
        report.build(Store(tmp_path / "nowhere"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def one(tmp_path):
    return Held(tmp_path, [made.record("single-task", None, epochs=1)])


def test_a_new_report_replaces_the_old_one_whole(tmp_path):
    out = tmp_path / "out"
    report.build(Held(tmp_path, [made.record("mtan", epochs=1, dataset="old")]), out)
    assert list(out.glob("old-*"))
    report.build(one(tmp_path), out)
    assert not list(out.glob("old-*"))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_empty_folder_may_become_a_report(tmp_path):
    (tmp_path / "out").mkdir()
    report.build(one(tmp_path), tmp_path / "out")


@pytest.mark.parametrize("rename", [0, 1])
def test_a_crash_leaves_the_old_report(tmp_path, monkeypatch, rename):
    out = tmp_path / "out"
    report.build(one(tmp_path), out)
    before = read(out)
    real, calls = Path.rename, []

    def crash(self, target):
        calls.append(self)
        if len(calls) == rename + 1:
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", crash)
    with pytest.raises(UserError, match="No space left"):
        report.build(Held(tmp_path, [made.record("mtan", epochs=1)]), out)
    assert read(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_is_no_report_is_never_replaced(tmp_path):
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter1.tex").write_text("...")
    with pytest.raises(UserError, match="holds no report"):
        report.build(one(tmp_path), precious)
    assert read(precious) == {"chapter1.tex": b"..."}
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        report.build(one(tmp_path), tmp_path / "file")


def test_foreign_files_in_a_report_are_not_deleted(tmp_path):
    out = tmp_path / "out"
    report.build(one(tmp_path), out)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"notes\.txt"):
        report.build(one(tmp_path), out)
    assert (out / "notes.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write the report folder"):
        report.build(one(tmp_path), tmp_path / "file" / "out")


def test_the_marker_lists_every_file(full):
    files = set(read(full / "reports")) - {site.MARKER}
    assert set((full / "reports" / site.MARKER).read_text().splitlines()[1:]) == files


def test_marks_are_stable_and_distinct():
    few = Marks.from_pairs([("single-task", "none"), ("mine", "equal")])
    many = Marks.from_pairs([("single-task", "none"), ("mine", "equal"), ("mtan", "dwa"), ("dense", "equal")])
    assert few.colour("mine") == many.colour("mine")
    assert few.colour("single-task") == many.colour("single-task")
    names = [f"plugin-{i}" for i in range(len(COLOURS))]
    places = assign(names, {"plugin-3": 0}, len(COLOURS))
    assert sorted(places.values()) == list(range(len(COLOURS)))
    assert assign(reversed(names), {"plugin-3": 0}, len(COLOURS)) == places
    assert set(assign([*names, "one more"], {}, len(COLOURS))) == {*names, "one more"}


def test_every_registered_weighting_has_a_marker_of_its_own():
    found = markers([*WEIGHTINGS, "none"])
    assert len(set(found.values())) == len(found)
    assert found["none"].letter == ""
