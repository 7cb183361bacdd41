"""Reports of few records each: what a page says of them."""

import csv
import json
import re
from io import StringIO

import numpy as np
import pytest

from benchmark import analysis, report
from benchmark.analysis import boards
from benchmark.report.links import row_link
from benchmark.report.rows import Variant, read
from tests.benchmark import records as made
from tests.benchmark import test_report as pages
from tests.benchmark.records import flat

pytestmark = pytest.mark.slow


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


def test_data_in_a_page_cannot_end_it(tmp_path):
    report.build(pages.Held(tmp_path, pages.hostile()), tmp_path / "out")
    (path,) = (tmp_path / "out").glob("*-trade-offs.html")
    raw = path.read_text().split('<script type="application/json" id="data">')[1].split("</script>")[0]
    assert "<" not in raw
    names = {row["a"] for row in json.loads(raw)["rows"]}
    assert pages.NASTY in names


def test_no_cell_of_the_csv_is_a_formula(tmp_path):
    records = [made.record("single-task", None, epochs=1), made.record("=cmd|' /C calc'!A0", "@x", epochs=1)]
    report.build(pages.Held(tmp_path, records), tmp_path / "out")
    (path,) = (tmp_path / "out").glob("scenes-??????.csv")
    cells = [cell for line in csv.reader(StringIO(path.read_text())) for cell in line]
    assert any("calc" in cell for cell in cells)
    assert not [cell for cell in cells if cell[:1] in "=@+" and cell]


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


def test_the_hypervolume_of_a_small_board_by_hand(tmp_path):
    """mIoU of 40, 50 and 60 at 74.9, 44.4 and 99.7 million parameters: Δm of 0, 12.5 and 25."""
    records = [flat("single-task", None, 0, 40.0), flat("mtan", "equal", 0, 50.0), flat("dense", "equal", 0, 60.0)]
    report.build(pages.Held(tmp_path, records), tmp_path / "out")
    (path,) = (tmp_path / "out").glob("scenes-*-trade-offs.html")
    shown = {row[0]: row[1] for row in pages.Page(path.read_text()).rows}
    # mtan: half the way up, all the way in parameters. dense: all the way up, none in parameters.
    assert (shown["mtan"], shown["dense"], shown["single-task"]) == ("50", "0", "0")


def test_a_board_of_500_rows_stays_small(tmp_path):
    records = [made.record("single-task", None, epochs=1, seed=s) for s in (0, 1)]
    records += [made.record(f"net-{i}", f"w-{j}", epochs=1) for i in range(20) for j in range(25)]
    report.build(pages.Held(tmp_path, records), tmp_path / "out")
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "out").rglob("*.html")}
    assert max(sizes.values()) < 3e6
    assert np.median([path.stat().st_size for path in (tmp_path / "out/rows").iterdir()]) < 20e3
