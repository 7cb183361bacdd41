"""The pages of a report one by one: what stands on them, that their HTML is valid, and what can be taken away."""

import csv
import hashlib
import json
import re
import runpy
import tomllib
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import html5lib
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmark import analysis, report, speed, toyproblem
from benchmark.analysis import boards
from benchmark.grid import Filters, Grid, expand
from benchmark.record import record_bytes
from benchmark.registry import ARCHITECTURES, DATASETS, WEIGHTINGS
from benchmark.report import conflict, titles
from benchmark.report.attention import look
from benchmark.report.board import BoardPage, notes
from benchmark.report.cards import about
from benchmark.report.exports import tex
from benchmark.report.forest import Forest, points
from benchmark.report.judged import Compared, Versus
from benchmark.report.links import Links, row_link
from benchmark.report.marks import Marks
from benchmark.report.pages import release
from benchmark.report.plot import Scale, limits
from benchmark.report.readings import readings
from benchmark.report.reproduce import command, grid_file
from benchmark.report.rows import Variant, read
from benchmark.report.table import formatter, table
from benchmark.spec import Component, Protocol, RunSpec
from benchmark.store import Store
from benchmark.trust import Trust, trust_bytes

HERE = Path(__file__).parent
made = SimpleNamespace(**runpy.run_path(str(HERE / "records.py")))
pages = SimpleNamespace(**runpy.run_path(str(HERE / "test_report.py")))


def flat(architecture, weighting, seed, miou, **changes):
    """A run of one task whose mIoU is given."""
    found = made.record(architecture, weighting, seed=seed, tasks=made.SCENES[:1], epochs=2, **changes)
    return made.edited(found, lambda e, s, t, m, v: {"miou": miou, "pixel_accuracy": 50.0}.get(m, v))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A report with everything: gradients, fixed weights, a failure, two boards, hostile names, an unreadable file."""
    base = tmp_path_factory.mktemp("pages")
    records = [made.conflicting(r) if r.spec.weighting else r for r in made.grid((0, 1))]
    records += [
        made.record("mtan", "constant", seed=s, weighting_options={"weights": [i / 4, 1 - i / 4, 0]})
        for i in range(5)
        for s in (0, 1)
    ]
    records[9] = made.failed(records[9], "diverged", "<script>alert(1)</script>")
    records[8] = records[8].model_copy(update={"cost": records[8].cost.model_copy(update={"spilled": True})})
    store = made.fill(base / "results", [*records, *made.fashion()])
    (base / "results/scenes/broken.json").write_text("{")
    report.build(store, base / "reports")
    return base / "reports"


def page(folder, pattern):
    (path,) = folder.glob(pattern)
    return pages.Page(path.read_text())


def test_every_page_is_valid_html(folder, tmp_path):
    report.build(pages.HostilePictures(tmp_path, pages.hostile()), tmp_path / "out")
    found = [*folder.rglob("*.html"), *(tmp_path / "out").rglob("*.html")]
    assert len(found) > 60
    for path in found:
        html5lib.HTMLParser(strict=True).parse(path.read_text())


def test_a_board_has_four_pages_and_of_them_what_its_records_fill(tmp_path, folder):
    def sections(where):
        return {path.name[len("scenes-abcdef-") :] for path in where.glob("scenes-*.html")} - {"html"}

    assert {"trade-offs.html", "training.html", "pictures.html"} < sections(folder)
    text = next(folder.glob("scenes-*-training.html")).read_text()
    assert [part in text for part in ('id="curves"', 'id="weights"', 'id="gradients"')] == [True] * 3
    records = [made.record("single-task", None, epochs=2), made.record("mtan", "equal", epochs=2)]
    report.build(made.fill(tmp_path / "results", records, pictures=False), tmp_path / "out")
    assert sections(tmp_path / "out") & {"trade-offs.html", "training.html", "pictures.html"} == {
        "trade-offs.html", "training.html",
    }  # fmt: skip
    text = next((tmp_path / "out").glob("scenes-*-training.html")).read_text()
    assert [part in text for part in ('id="curves"', 'id="weights"', 'id="gradients"')] == [True, False, False]
    assert 'id="fronts"' not in next((tmp_path / "out").glob("scenes-*-trade-offs.html")).read_text()


def slugs(records):
    (board,) = boards(records)
    return [numbers.variant.slug for numbers in readings(board, "val-delta-m") if not numbers.variant.legacy]


def test_a_reading_is_offered_where_it_says_something_else():
    def run(architecture, weighting, epochs, level):
        found = made.record(architecture, weighting, tasks=made.SCENES[:1], epochs=epochs)
        return made.edited(found, lambda e, s, t, m, v: level(e))

    def rising(epochs):
        return [run("single-task", None, epochs, lambda e: 40.0), run("mtan", "equal", epochs, lambda e: 40.0 + e)]

    # Best and last epoch are the same; the mean over ten epochs is another number, that over nine is none of ten.
    assert slugs(rising(9)) == [""]
    assert slugs(rising(10)) == ["", "last-10-mean"]
    falling = [run("single-task", None, 9, lambda e: 40.0), run("mtan", "equal", 9, lambda e: 60.0 - e)]
    assert slugs(falling) == ["", "last"]
    nearly = [run("single-task", None, 9, lambda e: 40.0), run("mtan", "equal", 9, lambda e: 60.0 - e / 1e4)]
    assert slugs(nearly) == [""]


def strips(text):
    """The attributes of every strip of masks."""
    found = []

    class Images(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.extend([dict(attrs)] if ("class", "strip") in attrs else [])

    Images().feed(text)
    return found


def test_masks_stand_by_task_and_level_in_the_gallery_and_on_the_row_s_page(folder):
    (path,) = folder.glob("scenes-*-pictures.html")
    text, words = path.read_text(), page(folder, "scenes-*-pictures.html").words
    # Three weightings and five points of a sweep, three tasks, three pictures.
    assert len(strips(text)) == 8 * 3 * 3
    assert "encoder 1 0.25–0.75 decoder <b>1</b> 0.40–0.46" in words
    record = made.conflicting(made.record("mtan", "dwa", seed=0))
    text = row_page(folder, "mtan-dwa", (0, 1))
    found = strips(text)
    assert len(found) == 3 * 2
    arrays = made.attention(record)
    with Image.open(folder / "rows" / found[2]["src"]) as picture:
        assert picture.size == (64 + 2 + 64, 48)
        assert (found[2]["width"], found[2]["height"]) == ("130", "48")
        pixels = np.asarray(picture.convert("RGBA"))
    assert (pixels[:, 64:66, 3] == 0).all()
    assert (pixels[:, :64, 3] == 255).all()
    # Lightness follows the mask: the second task's first picture.
    shades = arrays["masks-depth"][0, 0].astype(float)
    light = pixels[:, :64, :3] @ [0.2126, 0.7152, 0.0722]
    assert np.corrcoef(shades.ravel(), light.ravel())[0, 1] > 0.99
    assert "Where its tasks attend" not in row_page(folder, "dense-dwa", (0, 1))


@pytest.mark.parametrize(
    "change",
    [
        {"masks-depth": np.zeros((3, 2, 48, 64))},
        {"masks-depth": np.zeros((3, 2, 48, 640), np.uint8)},
        {"masks-depth": np.zeros((2, 2, 48, 64), np.uint8)},
        {"maskends-depth": np.zeros((3, 2), np.float32)},
        {"maskends-depth": np.array([["a", "b"]] * 2)},
        {"masklevels-depth": np.array(["one"])},
        {"masklevels-depth": np.zeros(2)},
    ],
    ids=["type", "size", "samples", "ends", "words for ends", "levels", "numbers for levels"],
)
def test_masks_that_are_none_are_left_out(change):
    record = made.record("mtan")
    found = look(record.tasks, made.attention(record) | change, made.truth(), 2)
    assert [task.task for task in found.tasks] == ["semantic", "normals"]
    assert look(record.tasks, {}, made.truth(), 2) is None
    assert look(record.tasks, made.attention(record), None, 2) is None
    endless = {f"maskends-{task.name}": np.full((2, 2), np.nan, np.float32) for task in record.tasks}
    endless = look(record.tasks, made.attention(record) | endless, made.truth(), 2)
    assert [ends for _, ends in endless.tasks[0].levels] == ["", ""]


def test_the_gallery_holds_every_method_and_shows_one_of_each_architecture(folder):
    (path,) = folder.glob("scenes-*-pictures.html")
    text = path.read_text()
    found = page(folder, "scenes-*-pictures.html")
    boxes = [
        dict(found.attributes[i : i + 4]) for i, (key, value) in enumerate(found.attributes) if value == "checkbox"
    ]
    assert len(boxes) == 17 + 5
    names = [box["value"] for box in boxes]
    assert {"mtan|dwa", "mtan|uncertainty", "single-task|none", "split-wide|equal"} <= set(names)
    assert [box["value"] for box in boxes if "checked" in box] == [
        "single-task|none", "cross-stitch|equal", "dense|equal", "mtan|equal", "split-deep|equal", "split-wide|equal",
        "stan|none",
    ]  # fmt: skip
    head = text[text.index("<thead>") : text.index("</thead>")]
    assert head.count("<th ") == 3 + len(names)
    for place in range(len(names)):
        assert f".m{place} {{ display: none; }}" in text


def test_only_so_many_methods_are_in_a_gallery(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.report.pictures.MOST_METHODS", 5)
    records = [r for r in made.grid(epochs=2) if r.spec.architecture.name in ("single-task", "stan", "mtan", "dense")]
    report.build(made.fill(tmp_path / "results", records), tmp_path / "out")
    found = page(tmp_path / "out", "scenes-*-pictures.html")
    values = [value for key, value in found.attributes if key == "value"]
    assert values[:2] + values[-1:] == ["single-task|none", "dense|equal", "stan|none"]
    assert values[2] == "mtan|equal"
    assert values[3].startswith("mtan|")  # the best Δm of what remains
    assert "The gallery holds 5 methods, the best by Δm of those that remain; 3 more kept pictures." in found.words


def test_an_architecture_whose_first_row_kept_no_pictures_shows_another(tmp_path):
    store = made.fill(tmp_path / "results", made.grid((0, 1), epochs=2))
    for weighting, seed in (("equal", 0), ("equal", 1), ("dwa", 0)):
        store.path(made.record("mtan", weighting, seed=seed, epochs=2).spec).with_suffix(".npz").unlink()
    report.build(store, tmp_path / "out")
    (path,) = (tmp_path / "out").glob("scenes-*-pictures.html")
    text = path.read_text()
    assert "mtan|equal" not in text
    assert 'value="mtan|dwa" checked' in text
    assert "dwa, seed 1" in text


def test_every_column_links_to_its_definition(folder):
    text = next(folder.glob("scenes-??????.html")).read_text()
    heads = text[text.index("<thead>") : text.index("</thead>")].split("<tr>")[1].split("<th ")[3:]
    method = (folder / "method.html").read_text()
    assert len(heads) > 10
    for head in (head for head in heads if 'data-id="difference"' not in head):  # the verdict's definition is its own
        place = head.split('href="method.html#')[1].split('"')[0]
        assert f'id="{place}"' in method


def row_page(folder, name, seeds):
    """The text of the page of a row of ``scenes`` with these seeds."""
    runs = [f'id="seed-{seed}"' for seed in seeds]
    found = [text for path in (folder / "rows").glob(f"scenes-*-{name}-????????.html") if (text := path.read_text())]
    (text,) = [text for text in found if all(run in text for run in runs)]
    return text


def test_a_row_s_page_shows_the_numbers_of_the_row_and_of_each_seed(folder):
    runs = [made.conflicting(made.record("mtan", "dwa", seed=seed)) for seed in (0, 1)]
    shown = pages.Page(row_page(folder, "mtan-dwa", (0, 1)))
    expected = ("Numbers", "Seeds", "Losses by epoch", "Weights", "Gradients over the shared parameters")
    assert all(title in shown.words for title in (*expected, "Run it again", "Where it comes from"))
    seeds = [row for row in shown.rows if row and row[0] in ("0", "1") and len(row) > 8]
    on_test, on_validation, last = seeds[:2], seeds[2:4], seeds[4:6]
    value = {}
    for found, test, validation, end in zip(runs, on_test, on_validation, last, strict=True):
        best = found.curves[int(test[-1]) - 1].metrics
        value[found.spec.seed] = best["test"]["semantic"]["miou"]
        assert float(test[2]) == pytest.approx(best["test"]["semantic"]["miou"], abs=5e-3)
        assert float(validation[1]) == pytest.approx(best["val"]["semantic"]["miou"], abs=5e-3)
        assert float(end[1]) == pytest.approx(found.curves[-1].metrics["test"]["semantic"]["miou"], abs=5e-3)
    (row,) = [row for row in shown.rows if row and row[0].startswith("semantic: mIoU")]
    mean, half = row[1].split(" ± ")
    assert float(mean) == pytest.approx(np.mean(list(value.values())), abs=5e-3)
    # Student's t with one degree of freedom: 12.706 standard errors, and those of two values are half their distance.
    assert float(half) == pytest.approx(12.706 * abs(value[0] - value[1]) / 2, abs=5e-3)


def test_a_row_s_page_draws_every_seed_and_marks_the_epochs_that_were_chosen(folder):
    text = row_page(folder, "mtan-dwa", (0, 1))
    assert len(re.findall(r"<title>seed \d+</title>", text)) == 2 * len(made.SCENES)
    dots = re.findall(r'<path class="dots [^"]*" d="([^"]*)"', text)
    assert [path.count("M") for path in dots] == [2] * len(made.SCENES)


def test_a_curve_does_not_leave_its_frame(tmp_path):
    records = [made.edited(r, lambda e, s, t, m, v: v * 1e4 if e == 5 else v) for r in made.grid((0, 1))]
    report.build(made.fill(tmp_path / "results", records, pictures=False), tmp_path / "out")
    text = next((tmp_path / "out/rows").glob("scenes-*-mtan-equal-*.html")).read_text()
    drawn = re.findall(r'<path class="ln[^"]* c\d+"[^>]* d="M([^"]*)"', text)
    heights = [float(point.split()[1]) for path in drawn for point in path.split("L")]
    assert heights
    assert min(heights) >= 20
    assert max(heights) <= 170 - 32


def test_the_page_of_a_row_says_once_what_its_runs_share_and_by_seed_what_differs(tmp_path):
    places = [{"device": "Xeon"}, {"device": "Xeon", "workers": 2}]
    records = [made.record(a, w, seed=s, place=places[s]) for s in (0, 1) for a, w in (("stan", None), ("mtan", "dwa"))]
    report.build(made.fill(tmp_path / "results", records, pictures=False), tmp_path / "out")
    text = next((tmp_path / "out/rows").glob("scenes-*-mtan-dwa-*.html")).read_text()
    words = pages.Page(text).words
    assert words.count("torch 2.13.0") == 1
    assert words.count("d" * 64) == 1
    assert "1 run at once" in words
    assert "2 runs at once" in words
    for record in (records[1], records[3]):
        seed = record.spec.seed
        assert record.id in words
        assert f"mtbench run --grid run.toml --seeds {seed} --device cuda --threads 4 --results again" in words


def test_a_row_keeps_its_address_as_seeds_and_rows_come_and_shares_it_with_none(tmp_path):
    cells = [("single-task", None), ("mtan", "equal")]
    sweep = [
        made.record("mtan", "constant", seed=s, weighting_options={"weights": [i / 4, 1 - i / 4, 0]})
        for i in range(5)
        for s in (0, 1)
    ]
    few = [made.record(*cell, seed=0) for cell in cells]
    many = [*few, *(made.record(*cell, seed=1) for cell in cells), *sweep]
    other = [made.record(*cell, seed=2, place={"precision": "fp32"}) for cell in cells]
    links = []
    for records in (few, many, [*many, *other]):
        rows = [row for board in boards(records) for row in read(board, [Variant("", "last")])[0].rows]
        links.append({row_link(row) for row in rows})
        assert len(links[-1]) == len(rows)
    assert [len(found) for found in links] == [2, 7, 9]
    assert links[0] < links[1] < links[2]


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ({"precision": "fp32", "device": "Intel(R) Xeon(R) Processor", "threads": 1}, "--device cpu"),
        ({"precision": "bf16"}, "--device cuda --threads 4"),
        ({"precision": "fp32", "threads": 1}, "--device cuda"),
        (
            {"precision": "bf16", "device": "Intel(R) Xeon(R) Processor", "device_type": "cpu", "threads": 2},
            "--device cpu --threads 2",
        ),
    ],
)
def test_the_command_of_a_run_names_the_device_that_it_was_made_on(place, words):
    found = made.record("mtan", place=place).provenance
    assert command(found, 7) == f"mtbench run --grid run.toml --seeds 7 {words} --results again"


@pytest.mark.parametrize("protocol", [{"precision": "bf16"}, {"arithmetic": "portable"}])
def test_runs_that_compute_in_another_way_have_a_board_of_their_own(protocol):
    place = {"device": "Xeon", "device_type": "cpu", "precision": "fp32"}
    ways = [(place, {}), ({**place, "precision": protocol.get("precision", "fp32")}, protocol)]
    cells = (("single-task", None), ("mtan", "equal"))
    records = [made.record(*cell, place=where, protocol=how) for cell in cells for where, how in ways]
    found = boards(records)
    assert [len(board.records) for board in found] == [2, 2]
    assert len({board.key for board in found}) == 2


def test_the_page_of_a_row_says_why_a_run_failed_and_at_which_seed(folder):
    (text,) = [t for path in (folder / "rows").glob("*.html") if "<b>diverged</b>" in (t := path.read_text())]
    shown = pages.Page(text)
    (row,) = [row for row in shown.rows if row and any("diverged" in cell for cell in row)]
    assert "<script>alert(1)</script>" in row[1]
    assert f'id="seed-{row[0]}"' in text


def test_the_page_of_a_row_of_which_no_run_finished_has_no_numbers_and_every_reason(tmp_path):
    lost = [made.failed(made.record("mtan", "equal", seed=s, epochs=2), error=f"gone {s}") for s in (0, 1)]
    store = made.fill(tmp_path / "results", [made.record("stan", None, epochs=2), *lost], pictures=False)
    report.build(store, tmp_path / "out")
    text = row_page(tmp_path / "out", "mtan-equal", (0, 1))
    html5lib.HTMLParser(strict=True).parse(text)
    shown = pages.Page(text)
    assert [row for row in shown.rows if row and "gone" in row[-1]] == [[f"{s}", f"failed: gone {s}"] for s in (0, 1)]
    assert "Numbers" not in shown.words
    assert "--seeds 1 " in shown.words


def test_the_page_of_a_row_says_that_activations_were_off_the_device(folder):
    (text,) = [t for path in (folder / "rows").glob("*.html") if "off the device" in (t := path.read_text())]
    assert "off the device for part of the seeds, which takes time and saves memory" in pages.Page(text).words


SPECS = [
    ("mtan", {"width": 8, "backbone": "segnet"}, ("dwa", {"temperature": 2.0}), "scenes", {"height": 36, "width": 48}),
    ("single-task", {"width": 16, "backbone": "wrn"}, None, "multi-fashion", {"train": 500}),
    ("split", {"width": 4, "backbone": "segnet"}, ("constant", {"weights": [0.2, 0.3, 0.5]}), "scenes", {}),
]


@pytest.mark.parametrize(("architecture", "options", "weighting", "dataset", "data"), SPECS)
def test_the_grid_file_of_a_run_makes_that_run(architecture, options, weighting, dataset, data):
    spec = RunSpec(
        dataset=Component.of(DATASETS, dataset, data),
        architecture=Component.of(ARCHITECTURES, architecture, options),
        weighting=Component.of(WEIGHTINGS, *weighting) if weighting else None,
        seed=7,
        protocol=Protocol(epochs=3, batch_size=4, learning_rate=2e-3),
    )
    grid = Grid.model_validate(tomllib.loads(grid_file(spec, [3, 7])))
    found = expand(grid)
    assert spec.id in {one.id for one in found}
    assert {one.seed for one in found} == {3, 7}
    assert spec.id in {one.id for one in expand(grid, Filters(seeds=(7,)))}


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@settings(max_examples=40)
@given(st.dictionaries(TEXT, st.one_of(TEXT, st.integers(-(2**60), 2**60), st.booleans()), max_size=4))
def test_a_grid_file_is_toml_whatever_the_options_hold(options):
    component = Component(name="x", version=1, options=options)
    spec = RunSpec(
        dataset=component,
        architecture=component,
        weighting=component,
        seed=0,
        protocol=Protocol(epochs=1, batch_size=1),
    )
    read_back = tomllib.loads(grid_file(spec, [0]))
    assert read_back["architectures"][0]["options"] == options
    assert read_back["datasets"]["x"]["options"] == options


def test_the_numbers_of_the_trade_off_page_are_the_table_s(folder):
    text = next(folder.glob("scenes-*-trade-offs.html")).read_text()
    raw = text.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    data = json.loads(raw)
    place = [axis["id"] for axis in data["axes"]].index("delta_m")
    values = {row["n"]: row["v"][place] for row in data["rows"]}
    table = {row[0].split(" ")[0]: row for row in page(folder, "scenes-??????.html").rows if len(row) > 8}
    stan = next(row for row in numbers_of(folder, "scenes").rows if row.architecture == "stan")
    assert values["stan"][:2] == pytest.approx([stan.gain.mean, stan.gain.half], abs=0.01)
    assert table["stan"][4] == points(stan.gain.mean)
    assert values["single-task"][0] == pytest.approx(0.0, abs=1e-9)


def test_data_in_a_page_cannot_end_it(tmp_path):
    report.build(pages.Held(tmp_path, pages.hostile()), tmp_path / "out")
    (path,) = (tmp_path / "out").glob("*-trade-offs.html")
    raw = path.read_text().split('<script type="application/json" id="data">')[1].split("</script>")[0]
    assert "<" not in raw
    names = {row["a"] for row in json.loads(raw)["rows"]}
    assert pages.NASTY in names


def test_csv_holds_every_run(folder):
    (path,) = folder.glob("scenes-??????.csv")
    lines = list(csv.DictReader(StringIO(path.read_text())))
    found = made.record("mtan", "dwa", seed=1)
    (line,) = [line for line in lines if line["run"] == found.id]
    assert float(line["parameters"]) == found.cost.parameters
    assert float(line["semantic.miou"]) in [e.metrics["test"]["semantic"]["miou"] for e in found.curves]
    (broken,) = [line for line in lines if line["status"] == "diverged"]
    assert broken["semantic.miou"] == ""


def test_no_cell_of_the_csv_is_a_formula(tmp_path):
    records = [made.record("single-task", None, epochs=1), made.record("=cmd|' /C calc'!A0", "@x", epochs=1)]
    report.build(pages.Held(tmp_path, records), tmp_path / "out")
    (path,) = (tmp_path / "out").glob("scenes-??????.csv")
    cells = [cell for line in csv.reader(StringIO(path.read_text())) for cell in line]
    assert any("calc" in cell for cell in cells)
    assert not [cell for cell in cells if cell[:1] in "=@+" and cell]


def test_latex_is_balanced_and_escaped(folder):
    (path,) = folder.glob("scenes-??????.tex")
    text = path.read_text()
    assert text.count("{") == text.count("}")
    rows = [line for line in text.splitlines() if line.endswith("\\tabularnewline")]
    # Names, verdict and interval, Δm, a metric of each of three tasks, parameters.
    assert {line.count("&") for line in rows} == {8}
    assert "\\endhead" in text
    assert tex("a_b & 50% #1 {x} \\y") == r"a\_b \& 50\% \#1 \{x\} \textbackslash{}y"


def test_the_first_screen_says_what_was_decided(tmp_path):
    rng = np.random.default_rng(3)
    means = {"single-task": 40.0, "mtan": 44.0, "dense": 40.1, "split-deep": 34.0}
    records = [
        flat(name, None if name == "single-task" else "equal", seed, mean + float(rng.normal(0, 0.2)))
        for name, mean in means.items()
        for seed in range(6)
    ]
    store = pages.Held(tmp_path, records)
    (board,) = report.boards(store.scan()[0])
    (numbers,) = read(board, [Variant("", "val-delta-m")])
    chosen = analysis.select(analysis.frame(board.records, board.labels), against="mean")
    frame = analysis.verdicts(chosen[chosen["split"] == "test"])
    frame = frame[frame["metric"] == "delta_m"].set_index("architecture")
    assert dict(frame["verdict"]) == {"mtan": "better", "dense": "equivalent", "split-deep": "worse"}
    (versus,) = numbers.versus
    for row, found in versus.by_row.items():
        told = frame.loc[row[0]]
        assert (found.verdict, found.low, found.high) == (told["verdict"], told["low"], told["high"])
        assert np.mean(found.seeds) == pytest.approx(found.difference)
    report.build(store, tmp_path / "out")
    words = "Of 3 rows, 1 is better than single-task (1 by ≥ 2 points), 1 worse, 1 equivalent; 6 seeds tell ±"
    board_file = pages.board_page(tmp_path / "out")
    assert words in board_file.words
    assert words in pages.Page((tmp_path / "out/index.html").read_text()).words
    by_name = {row[0].split(" ")[0]: row for row in board_file.rows if len(row) > 6}
    assert {name: by_name[name][2].split()[1] for name in ("mtan", "dense", "split-deep")} == dict(frame["verdict"])


@pytest.mark.parametrize(("more", "said"), [(0, False), (2, True)])
def test_seeds_that_differ_between_rows_are_told(more, said):
    records = [flat("single-task", None, s, 40.0 + s / 10) for s in range(3)]
    records += [flat("mtan", "equal", s, 44.0 + s / 10) for s in range(3)]
    records += [flat("dense", "equal", s, 41.0 + s / 10) for s in range(3 + more)]
    (board,) = report.boards(records)
    (numbers,) = read(board, [Variant("", "val-delta-m")])
    assert any("Rows have different numbers of seeds, 3 to 5," in note for note in notes(numbers)) == said


def test_a_forest_draws_the_numbers_of_its_comparisons():
    compared = Compared(("a", "w"), ("b", "w"), 3.0, 1.0, 5.0, (2.0, 4.0), 2, 2, False, "better")
    far = Compared(("c", "w"), ("b", "w"), -400.0, -600.0, -200.0, (), 3, 3, False, "worse")
    versus = Versus("reference", "b", "?", {compared.row: compared, far.row: far}, 2.0, 1.0)
    forest = Forest(versus, -10.0, 10.0)
    # The axis has 20 points on 250 − 2 · 9 pixels.
    x = {value: 9 + (value + 10) * 232 / 20 for value in (-2.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0)}
    drawn = forest.cell(compared, "c1")
    assert f'd="M{x[1.0]:.1f} 10.0H{x[5.0]:.1f}"' in drawn
    assert f'd="M{x[3.0]:.1f} 5.5l' in drawn
    assert [f"{x[2.0]:.1f}", f"{x[4.0]:.1f}"] == re.findall(r'<circle class="sd" cx="([\d.]+)"', drawn)
    assert "−400" in forest.cell(far, "c1")  # beyond the axis: an arrow and the number
    assert (
        forest.places
        == f"--zero-reference:{x[0.0]:.1f}px;--from-reference:{x[-2.0]:.1f}px;--to-reference:{x[2.0]:.1f}px"
    )


def test_rows_below_the_floor_are_counted_and_marked(tmp_path):
    records = [flat("single-task", None, s, 40.0) for s in (0, 1)]
    records += [flat("mtan", "equal", s, 5.0) for s in (0, 1)] + [flat("dense", "equal", s, 41.0) for s in (0, 1)]
    (board,) = report.boards(records)
    floor = {"test": {("semantic", "miou"): 6.0, ("semantic", "pixel_accuracy"): 25.0}}
    (numbers,) = read(board, [Variant("", "val-delta-m")], floor=floor)
    # 6 of 40 is −85 %, 25 of 50 is −50 %.
    assert numbers.floor["delta_m"] == pytest.approx(-67.5)
    laid = table(numbers, {})
    at = [column.id for column in laid.columns].index("semantic.miou")
    assert {line.row.architecture: line.cells[at].below for line in laid.lines} == {
        "mtan": True, "dense": False, "single-task": False,
    }  # fmt: skip
    assert laid.floor[at].text == "6.00"
    page = BoardPage((numbers,), "scenes", "", None, {})
    assert page.below == [("semantic", 1)]


def test_numbers_of_a_column_have_the_typical_one_s_decimals():
    write = formatter([0.0512, 0.0498, 8.754])
    assert [write(v) for v in (0.0512, 8.754, -0.00001, 0.0)] == ["0.0512", "8.7540", "−1e−05", "0.0000"]
    assert formatter([12.0, -0.04, -1385.2], signed=True)(-0.04) == "0.0"
    assert formatter([300e-6, 2.5])(0.0000003) == "3e−07"


def test_fixed_weights_fold_into_one_line(folder):
    text = next(folder.glob("scenes-??????.html")).read_text()
    (head,) = re.findall(r'<th scope="rowgroup"[^>]*>Fixed weights <span class="muted">([^<]*)</span>', text)
    rows = [r for r in numbers_of(folder, "scenes").rows if r.kind[1] == "constant"]
    gains = sorted(row.gain.mean for row in rows)
    assert head == f"5 rows of fixed weights: best Δm {points(gains[-1])}, median {points(gains[2])}"


def test_readings_do_not_mix(tmp_path):
    records = []
    for seed in (0, 1):
        for architecture, weighting in (("single-task", None), ("mtan", "equal")):
            found = made.record(architecture, weighting, seed=seed, tasks=made.SCENES[:1], epochs=3)
            values = {"miou": (30.0, 50.0, 40.0), "legacy_miou": (31.0, 51.0, 41.0)}
            records.append(made.edited(found, lambda e, s, t, m, v, values=values: values.get(m, (60.0,) * 3)[e - 1]))
    (board,) = report.boards(records)
    variants = [Variant("", "val-delta-m"), Variant("last", "last"), Variant("legacy", "val-delta-m", legacy=True)]
    best, last, legacy = read(board, variants)
    key = ("semantic", "miou")
    assert {row.estimate(key).mean for row in best.rows} == {50.0}
    assert {row.estimate(key).mean for row in last.rows} == {40.0}
    assert {row.estimate(("semantic", "legacy_miou")).mean for row in legacy.rows} == {51.0}
    assert not any(row.estimate(key).n for row in legacy.rows)


def test_many_seeds_are_read_in_parts_without_a_difference(monkeypatch):
    records = made.grid((0, 1, 2, 3), epochs=2)
    (board,) = report.boards(records)
    variants = [Variant("", "val-delta-m")]
    (whole,) = read(board, variants)
    monkeypatch.setattr("benchmark.report.rows.CHUNK", 1)
    (parts,) = read(board, variants)
    assert [row.samples for row in parts.rows] == [row.samples for row in whole.rows]
    assert [row.epochs for row in parts.rows] == [row.epochs for row in whole.rows]


def test_the_gradients_of_a_board_are_one_figure(folder):
    shown = page(folder, "scenes-*-training.html")
    assert "a = semantic with depth" in shown.words
    text = next(folder.glob("scenes-*-training.html")).read_text()
    figure = text.split('<svg class="figure wide"')[1].split("</svg>")[0]
    assert figure.count('class="rn"') == 15
    runs = [made.conflicting(made.record("dense", "dwa", seed=s)) for s in (0, 1)]
    share = np.mean([[epoch.gradients.conflicts for epoch in run.curves] for run in runs])
    assert f"dense\u00a0·\u00a0dwa: {100 * share:.0f} %" in figure


def test_fixed_weights_form_a_front_per_architecture_and_pair_of_tasks(folder):
    text = next(folder.glob("scenes-*-trade-offs.html")).read_text()
    assert text.count('class="panel"') == 3
    assert text.count("hollow") == 3 * 5
    standings = dict(re.findall(r"<dt>mtan, (.*?)</dt><dd>(.*?)</dd>", text))
    assert list(standings) == ["beyond it", "on it", "behind it"]
    assert sorted(", ".join(said for said in standings.values() if said != "–").split(", ")) == ["dwa", "uncertainty"]
    # A lower error is better: in the third panel both axes are turned, so that better is up and right.
    assert text.count("absolute error (m) ↓, better to the right") == text.count("mean angle (°) ↓, better on top") / 2


def test_the_toy_problem_has_a_page_where_it_has_a_record(tmp_path, folder):
    assert not (folder / "toy.html").exists()
    store = made.fill(tmp_path / "results", made.grid(epochs=1)[:4], pictures=False)
    toyproblem.save(made.toy(), store.root)
    report.build(store, tmp_path / "out")
    text = (tmp_path / "out/toy.html").read_text()
    html5lib.HTMLParser(strict=True).parse(text)
    assert ["equal", "✓ 0.00", "16.00"] in pages.Page(text).rows
    assert "1 of 2" in text
    assert text.count('<circle class="end"') == text.count('<path class="stuck"') == 2  # one each, and the legend's
    (store.root / "toy.json").write_text("{}")
    report.build(store, tmp_path / "out")
    assert not (tmp_path / "out/toy.html").exists()
    assert "toy.json" in pages.Page((tmp_path / "out/index.html").read_text()).words


def test_speed_has_a_page_where_it_has_records(tmp_path, folder):
    assert not (folder / "speed.html").exists()
    store = made.fill(tmp_path / "results", made.grid(epochs=1)[:4], pictures=False)
    for name, record in zip(("speed.json", "speed-growth.json"), made.speeds(), strict=True):
        speed.save(record, store.root / name)
    report.build(store, tmp_path / "out")
    text = (tmp_path / "out/speed.html").read_text()
    html5lib.HTMLParser(strict=True).parse(text)
    shown = pages.Page(text)
    assert ["mtan", "4.50", "4.05–4.95", "1000", "4500", "4.000", "1.000", "25", "2000", "3000"] in shown.rows
    assert ["geometric mean", "3.00", ""] in shown.rows  # √(2 · 4.5)
    assert ["a&b<i>", "not measured: OutOfMemoryError: <b>too much</b>"] in shown.rows
    weightings = {row[0]: row[3:5] for row in shown.rows if len(row) == 9}
    assert weightings == {
        "weighting": ["limit", "met"],
        "dwa": ["1.05", "✓"],
        "mgda": ["2.45", "no"],
        "famo": ["–", "–"],
    }
    assert ["mtan", "1.50", "1.00", "1.00"] in shown.rows
    assert "Worse than linear in time here: split (power 1.50, operations 1.00), mtan (power 1.50" in shown.words
    assert shown.words.count("Nowhere worse than linear in time here.") == 3
    assert "Not measured: split, 10⁶: the process was killed" in shown.words
    assert text.count("<svg") == 2 * 4
    assert text.count(">12288</text>") == 2  # what was measured is marked on the axes
    assert 'href="speed.html"' in (tmp_path / "out/index.html").read_text()
    (store.root / "speed-growth.json").write_text("{}")
    report.build(store, tmp_path / "out")
    assert "<svg" not in (tmp_path / "out/speed.html").read_text()
    assert "speed-growth.json" in pages.Page((tmp_path / "out/index.html").read_text()).words


def test_lists_of_a_description_are_lists(folder):
    text = (folder / "architectures" / "mtan.html").read_text()
    assert '<ul class="prose"><li>encoder: a ← shrink' in text
    assert "<li>the head reads the last a.</li></ul>" in text


def test_an_architecture_s_page_shows_its_flow_and_its_paper(folder):
    words = {
        "mtan": "task lane, shared lane, task lane; at every stage, each task&#x27;s lane takes the shared features",
        "dense": "after every stage, the shared lane feeds",
        "single-task": "task lane, task lane; nothing passes",
    }
    for name, said in words.items():
        text = (folder / "architectures" / f"{name}.html").read_text()
        assert said in text
        assert "End-to-End Multi-Task Learning with Attention" in text
        assert "@inproceedings{liu2019end" in text


@pytest.mark.parametrize("name", [n for n in ARCHITECTURES if ARCHITECTURES[n].factory.card])
def test_a_flow_is_that_of_the_parameters(name):
    # Shared lanes where parameters are shared, as many lanes of tasks as tasks have parameters of their own in stages.
    factory = ARCHITECTURES[name].factory
    flow = factory.card.flow
    assert factory.shares == ("shared" in flow.lanes or flow.links == "mixes")
    assert factory.has_representation == (flow.lanes == ("shared",))
    assert flow.lanes.count("task") in (0, 2)


def test_a_weighting_s_page_shows_its_card(folder):
    text = (folder / "weightings" / "dwa.html").read_text()
    shown = pages.Page(text)
    assert "temperature = 2.0" in shown.words
    assert "needs in a step" in shown.words
    assert "not registered" not in shown.words
    assert not about("weightings", "no-such").known


def test_published_numbers_stand_apart_and_as_printed(folder):
    shown = pages.Page((folder / "published.html").read_text())
    mtan = [row for row in shown.rows if row and row[0] == "MTAN" and row[1] == "Equal"]
    assert {"17.72", "53.04"} <= {cell for row in mtan for cell in row}
    assert any("out-of-memory" in row for row in shown.rows)
    assert "No Δm: the source prints no single-task row" in shown.words
    boards = [page(folder, name) for name in ("scenes-??????.html", "multi-fashion-??????.html")]
    assert not any("17.72" in cell for board in boards for row in board.rows for cell in row)


def test_a_claim_stands_beside_what_boards_measure(folder):
    shown = pages.Page((folder / "published.html").read_text())
    assert "The greatest Δm of all architectures under every weighting" in shown.words
    words = []
    for dataset in ("scenes", "multi-fashion"):
        rows = numbers_of(folder, dataset).rows
        gains = [row.gain.mean for row in rows if row.kind[0] == "mtan" and row.gain.n]
        words.append(f"{np.mean(gains):+.1f} ({min(gains):+.1f} to {max(gains):+.1f})")
    # Each published table stands beside the boards of its own kinds of task.
    measured = [[cell.replace("−", "-") for cell in row] for row in shown.rows if row and row[0] == "mtan"]
    assert len(measured) == 2
    assert all(word in row for word, row in zip(words, measured, strict=True))


def numbers_of(folder, dataset):
    records, _ = Store(folder.parent / "results").scan()
    (board,) = [board for board in report.boards(records) if board.dataset.name == dataset]
    return read(board, [Variant("", "val-delta-m")])[0]


def test_the_hypervolume_of_a_small_board_by_hand(tmp_path):
    """mIoU of 40, 50 and 60 at 74.9, 44.4 and 99.7 million parameters: Δm of 0, 12.5 and 25."""
    records = [flat("single-task", None, 0, 40.0), flat("mtan", "equal", 0, 50.0), flat("dense", "equal", 0, 60.0)]
    report.build(pages.Held(tmp_path, records), tmp_path / "out")
    (path,) = (tmp_path / "out").glob("scenes-*-trade-offs.html")
    shown = {row[0]: row[1] for row in pages.Page(path.read_text()).rows}
    # mtan: half the way up, all the way in parameters. dense: all the way up, none in parameters.
    assert (shown["mtan"], shown["dense"], shown["single-task"]) == ("50", "0", "0")


def test_names_that_look_alike_have_pages_of_their_own():
    links = Links.of({"weightings": ["a b", "a-b", "c"]})
    assert len(set(links.pages.values())) == 3
    assert links.to("weightings", "c") == "weightings/c.html"


@settings(max_examples=50)
@example(low=998999.0, width=1001.0, count=2)  # three digits would not tell 999000 from 999500
@given(low=st.floats(-1e9, 1e9), width=st.floats(1e-6, 1e9), count=st.integers(2, 9))
def test_ticks_are_few_in_order_and_told_apart(low, width, count):
    assume(width > 1e-4 * abs(low))
    scale = Scale(low, low + width, 0, 100)
    ticks = scale.ticks(count)
    values = [value for value, _ in ticks]
    assert values == sorted(values)
    assert len(values) <= 2 * count + 2
    assert all(low - 1e-6 * width <= value <= low + 1.000001 * width for value in values)
    assert len({text for _, text in ticks}) == len(ticks)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=6))
def test_limits_hold_every_drawable_value(values):
    known = [value for value in values if abs(value) < 1e12]
    found = limits(values)
    assert (found is None) == (not known)
    if found:
        assert found[0] < found[1]
        assert found[0] <= min(known) <= max(known) <= found[1]


def test_a_board_of_500_rows_stays_small(tmp_path):
    records = [made.record("single-task", None, epochs=1, seed=s) for s in (0, 1)]
    records += [made.record(f"net-{i}", f"w-{j}", epochs=1) for i in range(20) for j in range(25)]
    report.build(pages.Held(tmp_path, records), tmp_path / "out")
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "out").rglob("*.html")}
    assert max(sizes.values()) < 3e6
    assert np.median([path.stat().st_size for path in (tmp_path / "out/rows").iterdir()]) < 20e3


def test_long_names_end_before_the_gradients_figure_begins():
    tasks = ("weights", [0.1667, 0.1667, 0.3333]), ("of a very long option that nobody would read to its end", 12345)
    records = [made.conflicting(made.record("mtan", "dwa", weighting_options=dict(tasks[:i]))) for i in (0, 1, 2)]
    (board,) = boards(records)
    (numbers,) = read(board, [Variant("", "last")])
    names = [row.name for row in numbers.rows]
    marks = Marks.of([row.kind for row in numbers.rows])
    svg = conflict.overview(numbers, marks, lambda row: "there").svg
    shown = re.findall(r'class="rn">(.*?)</text>', svg)
    whole = [name for name in names if name in shown]
    assert len(whole) == 2
    (cut,) = (text for text in shown if text not in names)
    title, words = re.fullmatch("<title>(.*)</title>(.*)", cut).groups()
    assert title == max(names, key=len)
    head, tail = words.split("…")
    assert title.startswith(head)
    assert title.endswith(tail)
    assert len(words) <= 47


def test_submitted_runs_say_who_vouches_for_them(tmp_path):
    def submit(record, level, **more):
        digest = hashlib.sha256(record_bytes(record)).hexdigest()
        note = Trust(run=record.id, level=level, record_sha256=digest, submitter="<b>A. Researcher</b>", **more)
        store.put(record, note=trust_bytes(note))

    store = made.fill(tmp_path / "results", made.grid((0, 1), epochs=2), pictures=False)
    mtan = [made.record("mtan", "dwa", seed=s, epochs=2) for s in (0, 1)]
    submit(mtan[0], "recomputed", epoch=2, deviation=1e-4, note="<script>alert(1)</script>")
    submit(mtan[1], "self-reported")
    dense = made.record("dense", "dwa", seed=0, epochs=2)
    submit(dense, "recomputed", epoch=2)
    stan = made.record("stan", None, seed=0, epochs=2)
    submit(stan, "rerun", epoch=2)
    forged = made.record("split-wide", "dwa", seed=0, epochs=2)
    store.put(forged, note=b"{}")
    report.build(store, tmp_path / "out")
    rows = {tuple(row[:1]): row for row in page(tmp_path / "out", "scenes-??????.html").rows if len(row) > 5}
    said = {row[0] for row in rows.values()}
    assert any(text.startswith("mtan dwa") and text.endswith("self-reported") for text in said)
    assert any(text.startswith("dense dwa") and text.endswith("recomputed") for text in said)
    assert any(text.startswith("stan") and text.endswith("rerun here") for text in said)
    assert any(text.startswith("split-wide dwa") and text.endswith("self-reported") for text in said)
    assert not any("report" in text or "rerun" in text for text in said if text.startswith("mtan equal"))
    text = row_page(tmp_path / "out", "mtan-dwa", (0, 1))
    assert {"recomputed, epoch 2", "self-reported"} <= {cell for row in pages.Page(text).rows for cell in row}
    assert "&lt;b&gt;A. Researcher&lt;/b&gt;" in text
    assert "<script>alert" not in text
    assert "submitted by" not in row_page(tmp_path / "out", "mtan-equal", (0, 1))
    for found in (tmp_path / "out").rglob("*.html"):
        html5lib.HTMLParser(strict=True).parse(found.read_text())


def test_a_gallery_shows_the_seed_that_kept_pictures(tmp_path):
    """The page of its row says whose masks they are, and no picture is missing from the report."""
    records = [r for r in made.grid((0, 1), epochs=2) if r.spec.architecture.name in ("single-task", "mtan")]
    store = made.fill(tmp_path / "results", [r for r in records if r.spec.seed == 1])
    made.fill(tmp_path / "results", [r for r in records if r.spec.seed == 0], pictures=False)
    report.build(store, tmp_path / "out")
    found = page(tmp_path / "out", "scenes-*-pictures.html")
    values = [value for key, value in found.attributes if key == "value"]
    assert values == ["single-task|none", "mtan|equal", "mtan|dwa", "mtan|uncertainty"]
    sources = {value for key, value in found.attributes if key == "src"}
    assert sources
    assert all((tmp_path / "out" / source).is_file() for source in sources)
    assert "after the last epoch of seed 1," in pages.Page(row_page(tmp_path / "out", "mtan-equal", (0, 1))).words


def test_the_newest_version_is_no_matter_of_letters():
    found = ["0.9.0", "0.10.0", "0.10.0rc1", "mine", "0.2"]
    assert max(found, key=release) == "0.10.0"
    assert min(found, key=release) == "mine"


def test_a_cosines_board_does_not_tell_of_decays():
    [board] = boards([made.record(protocol={"schedule": "cosine", "warmup_steps": 3})])
    told = titles.settings(board)
    assert told["schedule"] == "cosine"
    assert not {"lr step", "lr decay"} & told.keys()
