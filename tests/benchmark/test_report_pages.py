"""The pages of a report that holds everything: what stands on them, valid HTML, and what can be taken away."""

import csv
import hashlib
import json
import re
from html.parser import HTMLParser
from io import StringIO

import html5lib
import numpy as np
import pytest
from PIL import Image

from benchmark import report, speed, toyproblem
from benchmark.report.board import BoardPage
from benchmark.report.cards import about
from benchmark.report.charts.forest import points
from benchmark.report.exports import tex
from benchmark.report.rows import Variant, read
from benchmark.report.table import table
from benchmark.runs.artifacts import OfMasks
from benchmark.runs.record import record_bytes
from benchmark.runs.store import Store
from benchmark.runs.trust import Trust, trust_bytes
from tests.benchmark import records as made
from tests.benchmark import test_report as pages
from tests.benchmark.records import flat

pytestmark = pytest.mark.slow


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
    shades = arrays[OfMasks("depth")][0, 0].astype(float)
    light = pixels[:, :64, :3] @ [0.2126, 0.7152, 0.0722]
    assert np.corrcoef(shades.ravel(), light.ravel())[0, 1] > 0.99
    assert "Where its tasks attend" not in row_page(folder, "dense-dwa", (0, 1))


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


def test_csv_holds_every_run(folder):
    (path,) = folder.glob("scenes-??????.csv")
    lines = list(csv.DictReader(StringIO(path.read_text())))
    found = made.record("mtan", "dwa", seed=1)
    (line,) = [line for line in lines if line["run"] == found.id]
    assert float(line["parameters"]) == found.cost.parameters
    assert float(line["semantic.miou"]) in [e.metrics["test"]["semantic"]["miou"] for e in found.curves]
    (broken,) = [line for line in lines if line["status"] == "diverged"]
    assert broken["semantic.miou"] == ""


def test_latex_is_balanced_and_escaped(folder):
    (path,) = folder.glob("scenes-??????.tex")
    text = path.read_text()
    assert text.count("{") == text.count("}")
    rows = [line for line in text.splitlines() if line.endswith("\\tabularnewline")]
    # Names, verdict and interval, Δm, a metric of each of three tasks, parameters.
    assert {line.count("&") for line in rows} == {8}
    assert "\\endhead" in text
    assert tex("a_b & 50% #1 {x} \\y") == r"a\_b \& 50\% \#1 \{x\} \textbackslash{}y"


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
    assert page.below_in_words == "In semantic 1 of 3 rows"


def test_fixed_weights_fold_into_one_line(folder):
    text = next(folder.glob("scenes-??????.html")).read_text()
    (head,) = re.findall(r'<th scope="rowgroup"[^>]*>Fixed weights <span class="muted">([^<]*)</span>', text)
    rows = [r for r in numbers_of(folder, "scenes").rows if r.kind[1] == "constant"]
    gains = sorted(row.gain.mean for row in rows)
    assert head == f"5 rows of fixed weights: best Δm {points(gains[-1])}, median {points(gains[2])}"


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


def test_submitted_runs_say_who_vouches_for_them(tmp_path):
    def submit(record, level, **more):
        digest = hashlib.sha256(record_bytes(record)).hexdigest()
        note = Trust(run=record.id, level=level, record_sha256=digest, submitter="<b>A. Researcher</b>", **more)
        store.put(record, note=trust_bytes(note))

    store = made.fill(tmp_path / "results", made.grid((0, 1), epochs=2), pictures=False)
    mtan = [made.record("mtan", "dwa", seed=s, epochs=2) for s in (0, 1)]
    submit(mtan[0], "recomputed", epoch=2, deviation=1e-4, note="<script>alert(1)</script>")
    submit(mtan[1], "self-reported")
    for seed in (0, 1):
        submit(made.record("dense", "dwa", seed=seed, epochs=2), "recomputed", epoch=2)
    submit(made.record("dense", "equal", seed=2, epochs=2), "recomputed", epoch=2)
    stan = made.record("stan", None, seed=0, epochs=2)
    submit(stan, "rerun", epoch=2)
    for seed in (0, 1):
        store.put(made.record("split-wide", "dwa", seed=seed, epochs=2), note=b"{}")
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
    waiting = page(tmp_path / "out", "index.html").words
    assert "scenes dense equal seed 2" in waiting
    assert "a further seed of a row that was run here" in waiting
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
