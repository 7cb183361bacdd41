"""What data measurably are: kept beside the records of runs on them, and shown on the pages of data sets."""

import json
import re

import html5lib
import numpy as np
import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from benchmark import report
from benchmark.cli import main
from benchmark.commands.datacard import keep_missing_card
from benchmark.data import Storage, build_dataset
from benchmark.data.measured import CARD_FILE, data_card
from benchmark.data.samples import samples
from benchmark.errors import UserError
from benchmark.registry import DATASETS
from benchmark.runs.datacards import MOST_BYTES, Histogram, keep_card, read_card, read_samples
from benchmark.runs.files import pack
from benchmark.runs.index import Index
from benchmark.runs.store import Store
from tests.benchmark import records as made

pytestmark = pytest.mark.slow

HASH = "d" * 64

GRID = """
seeds = [0]
architectures = ["tiny"]
weightings = ["equal"]
[architecture]
width = 4
backbone = "unet-1-1-2"
[protocol]
epochs = 1
batch_size = 4
[datasets.toy]
options = { train = 8 }
"""


@pytest.fixture(scope="module")
def storage(toy, tmp_path_factory):
    return Storage(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def dataset(storage):
    dataset = build_dataset("toy", size=20)
    dataset.prepare(storage)
    return dataset


# What is kept.


def test_a_card_comes_back_as_it_was_measured(dataset, storage, tmp_path):
    store, data_hash = Store(tmp_path), dataset.content_hash(storage)
    keep_card(store, dataset, storage, pictures=True)
    card = read_card(store, "toy", data_hash)
    assert card.content_hash == data_hash
    [piece] = card.pieces
    measured = data_card(dataset, storage)["splits"]
    for split, found in piece.splits.items():
        assert found.samples == measured[split]["samples"]
        for task, values in found.fields.items():
            said = measured[split]["fields"][task]
            assert (values.known, values.unknown, values.mean) == (said["known"], said["unknown"], said.get("mean"))
    assert piece.floor == data_card(dataset, storage)["floor"]
    assert piece.units == {"semantic": "class", "depth": "m", "normals": ""}
    [arrays] = read_samples(store, card)
    truth = dataset.load("train", storage)
    places = [truth.ids.tolist().index(name) for name in arrays["id"].tolist()]
    assert places == [0, 4, 7, 11]
    assert np.array_equal(arrays["image"], truth.images[places])
    assert np.array_equal(arrays["semantic"], truth.targets["semantic"][places])
    for name in ("depth", "normals"):  # 7 bits of a number are kept, and 0 stays 0: unknown
        assert np.allclose(arrays[name], truth.targets[name][places], rtol=2**-6)


def test_pictures_are_kept_only_where_they_may_be_passed_on(dataset, storage, tmp_path):
    allowed = {
        name for name in DATASETS if (card := getattr(DATASETS[name].factory, "card", None)) and card.redistribution
    }
    assert allowed == {"scenes", "multi-fashion", "grocery-store"}
    store = Store(tmp_path)
    path = keep_card(store, dataset, storage, pictures=True)
    assert path.with_suffix(".npz").exists()
    keep_card(store, dataset, storage)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    card = read_card(store, "toy", dataset.content_hash(storage))
    assert card.without_samples == "nobody has said that its pictures may be passed on"
    rooms = build_dataset("scenes", height=24, width=32, train=5, val=1, test=1)
    rooms.prepare(storage)
    assert keep_card(store, rooms, storage).with_suffix(".npz").exists()


def test_samples_are_small(toy, storage, tmp_path, monkeypatch):
    """Pictures larger than 96 pixels shrink; where even so they are too many bytes, fewer are kept."""
    large = build_dataset("toy", size=250, train=6, val=1, test=1)
    large.prepare(storage)
    found = samples(large, storage)
    assert {name: array.shape[1:] for name, array in found.items() if name != "id"} == {
        "image": (3, 96, 96), "semantic": (96, 96), "depth": (1, 96, 96), "normals": (3, 96, 96),
    }  # fmt: skip
    store = Store(tmp_path)
    path = keep_card(store, large, storage, pictures=True)
    whole = path.with_suffix(".npz").stat().st_size
    assert whole <= MOST_BYTES
    monkeypatch.setattr("benchmark.runs.datacards.MOST_BYTES", whole // 2)
    keep_card(store, large, storage, pictures=True)
    assert path.with_suffix(".npz").stat().st_size <= whole // 2
    [arrays] = read_samples(store, read_card(store, "toy", large.content_hash(storage)))
    assert 1 <= len(arrays["id"]) < 4


def test_grey_pictures_and_several_pieces(toy, storage, tmp_path):
    store = Store(tmp_path)
    for name, shapes in (("toy-words", [(1, 16, 16)]), ("toy-pair", [(3, 16, 16)] * 2)):
        dataset = build_dataset(name)
        dataset.prepare(storage)
        keep_card(store, dataset, storage, pictures=True)
        card = read_card(store, name, dataset.content_hash(storage))
        found = read_samples(store, card)
        assert [arrays["image"].shape[1:] for arrays in found] == shapes
        for piece, arrays in zip(card.pieces, found, strict=True):
            assert {task.name for task in piece.tasks} <= set(arrays)


def test_a_cache_that_may_only_be_read_is_measured_all_the_same(dataset, storage, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    (dataset.folder(storage) / CARD_FILE).unlink(missing_ok=True)
    with monkeypatch.context() as patched:
        patched.setattr("tempfile.NamedTemporaryFile", refuse)
        card = data_card(dataset, storage)
    assert not (dataset.folder(storage) / CARD_FILE).exists()
    assert data_card(dataset, storage) == card


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:100], "is no data card"),
        (lambda text: text.replace('"schema_version":1', '"schema_version":2'), "schema_version"),
        (lambda text: text.replace("d" * 64, "e" * 64), "card of other data"),
        (lambda text: text.replace('"samples":400', '"samples":-1'), "samples"),
        (lambda text: text.replace('"samples":400', '"samples":1' + 400 * "0"), "is no data card"),
        (lambda text: text.replace('"low":0.0', '"low":99'), "low must be less than high"),
        (lambda text: text.replace('"mean":2.3', '"mean":NaN'), "is no data card"),
    ],
)
def test_a_damaged_card_is_one_clear_line(tmp_path, damage, message):
    store = Store(tmp_path)
    path = made.keep_card(store)
    changed = damage(path.read_text())
    assert changed != path.read_text()
    path.write_text(changed)
    with pytest.raises(UserError, match=message) as caught:
        read_card(store, "scenes", HASH)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("arrays", [{}, {"0/image": np.array(3)}, {"0/image": np.zeros((2, 5, 4, 4), np.uint8)}])
def test_odd_samples_are_not_shown(tmp_path, arrays):
    store = made.fill(tmp_path / "results", [made.record()])
    made.keep_card(store).with_suffix(".npz").write_bytes(pack(arrays))
    assert "The kept samples cannot be read" in page_of(store, tmp_path / "reports")


def test_a_histogram_has_a_width():
    with pytest.raises(ValidationError):
        Histogram(low=1, high=1, counts=(1,))


def test_cards_and_notes_are_no_records(tmp_path):
    store = made.fill(tmp_path, [made.record()])
    made.keep_card(store)
    store.path(made.record().spec).with_suffix(".trust.json").write_text("{}")
    records, problems = store.scan()
    assert (len(records), problems) == (1, [])
    index = Index(store)
    assert (len(index.runs()), index.problems) == (1, [])


def test_a_hash_leads_nowhere_else(tmp_path):
    with pytest.raises(UserError, match="cannot be the name of a file"):
        Store(tmp_path).card_path("scenes", "../../etc")


# Commands.


@pytest.fixture
def mtbench(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("MTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.toml").write_text(GRID)

    def run(*words):
        return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)

    return run


def test_runs_keep_the_card_of_their_data_once(here, mtbench, tmp_path, toy):
    run = ("run", "--grid", "grid.toml", "--plugin", toy, "--workers", 1)
    result = mtbench(*run)
    assert result.exit_code == 0, result.output
    [file] = tmp_path.glob("results/toy/cards/*")
    assert json.loads(file.read_text())["options"]["train"] == 8
    before = file.stat().st_mtime_ns
    assert mtbench(*run, "--seeds", 1).exit_code == 0
    assert file.stat().st_mtime_ns == before
    file.unlink()
    result = mtbench("data", "card", "--pictures", "--plugin", toy)
    assert result.exit_code == 0, result.output
    assert f"✓ toy: {file.relative_to(tmp_path)}" in result.output.replace("\n", "")
    assert {path.suffix for path in file.parent.iterdir()} == {".json", ".npz"}
    assert mtbench("report").exit_code == 0
    assert "What the data hold" in (tmp_path / "reports/datasets/toy.html").read_text()


def test_what_cannot_be_measured_is_told(mtbench, tmp_path, toy):
    assert mtbench("data", "card").exit_code == 1
    assert "holds no finished run" in mtbench("data", "card", "toy").stderr
    assert "Did you mean 'toy'" in mtbench("data", "card", "tyo").stderr
    store = made.fill(tmp_path / "results", [made.record(data_options={"height": 48, "width": 64, "train": 400})])
    record, problems = store.scan()
    assert (len(record), problems) == (1, [])
    result = mtbench("data", "card")
    assert result.exit_code == 1
    again = "mtbench data prepare scenes --option height=48 --option width=64 --option train=400"
    assert f"✗ scenes is not prepared here with these options: {again}" in result.output
    record = made.record(dataset="toy", data_options={"size": 20, "train": 12, "val": 5, "test": 5})
    made.fill(tmp_path / "others", [record])
    assert mtbench("data", "prepare", "toy", "--option", "size=20").exit_code == 0
    result = mtbench("data", "card", "--results", "others")
    assert result.exit_code == 1
    assert re.search(
        r"toy: the data here have the content hash \w{12}, those of the records dddddddddddd", result.output
    )


# Pages.


def page_of(store, out, name="scenes"):
    report.build(store, out)
    text = (out / f"datasets/{name}.html").read_text()
    html5lib.HTMLParser(strict=True).parse(text)
    return text


def test_a_page_shows_shares_histograms_and_samples(tmp_path):
    store = made.fill(tmp_path / "results", made.grid()[:3])
    made.keep_card(store)
    text = page_of(store, tmp_path / "reports")
    section = text[text.index("What the data hold") :]
    # The last class is the commonest: 21 of the sum of 9 to 21, which is 195; the first one the rarest.
    assert section.index(made.CLASSES[-1]) < section.index(made.CLASSES[0])
    assert f"{100 * 21 / 195:.1f}" in section
    assert "width:100.0%" in section
    assert section.count('<svg class="figure"') == 4  # depth, and three components of normals
    assert 'aria-label="component y: histogram of the known values, train, val, test"' in section
    assert section.count("as a table") == 4
    pictures = re.findall(r'<img src="\.\./(pictures/\w+\.png)" alt="([^"]+)"', section)
    assert len(pictures) == 3 * 4
    assert all((tmp_path / "reports" / file).is_file() for file, _ in pictures)
    assert "depth, truth of sample room 1" in {words for _, words in pictures}
    again = report.build(store, tmp_path / "again").parent
    assert (again / "datasets/scenes.html").read_text() == text


@pytest.mark.parametrize("state", ["no card", "no pictures", "lost pictures", "a damaged card", "no hash"])
def test_what_is_missing_is_said(tmp_path, state):
    records = made.grid(epochs=1)[:2]
    if state == "no hash":
        records = [
            r.model_copy(update={"provenance": r.provenance.model_copy(update={"data_hash": None})}) for r in records
        ]
    store = made.fill(tmp_path / "results", records)
    if state not in ("no card", "no hash"):
        path = made.keep_card(store, reason="its licence says <no>" if state == "no pictures" else None)
        if state == "lost pictures":
            path.with_suffix(".npz").unlink()
        elif state == "a damaged card":
            path.write_text("{")
    text = page_of(store, tmp_path / "reports")
    said = {
        "no card": "mtbench data card scenes --results DIR",
        "no pictures": "No samples are shown: its licence says &lt;no&gt;.",
        "lost pictures": "The kept samples cannot be read",
        "a damaged card": "Nothing was measured of the data",
        "no hash": "How to read",
    }
    assert said[state] in text
    assert ("What the data hold" in text) == (state != "no hash")
    index = (tmp_path / "reports/index.html").read_text()
    assert ("is no data card" in index) == (state == "a damaged card")


def test_a_set_whose_plugin_is_not_loaded_is_known_by_its_card(tmp_path):
    store = made.fill(tmp_path / "results", [made.record(dataset="elsewhere")], pictures=False)
    path = made.keep_card(store, dataset="elsewhere", reason="it is made up")
    card = json.loads(path.read_text())
    card["stated"] = {"title": "A <set>", "targets": {"depth": "metres"}, "caveats": ["Old."], "redistribution": True}
    path.write_text(json.dumps(card))
    text = page_of(store, tmp_path / "reports", "elsewhere")
    assert "elsewhere is not registered here" in text
    assert "A &lt;set&gt;" in text
    assert "<b>depth</b>: metres" in text
    assert "<li>Old.</li>" in text
    assert "redistribution" not in text


def test_pages_with_pictures_that_may_not_be_passed_on_say_so(tmp_path):
    store = made.fill(tmp_path / "results", [made.record(dataset="nyuv2"), made.record()])
    report.build(store, tmp_path / "reports")
    [private] = (tmp_path / "reports").glob("nyuv2-*-pictures.html")
    [public] = (tmp_path / "reports").glob("scenes-*-pictures.html")
    words = "does not let its pictures be passed on"
    assert words in private.read_text()
    assert words not in public.read_text()


def test_many_classes_are_a_curve(tmp_path):
    tasks = tuple(
        task.model_copy(update={"channels": 300, "classes": tuple(f"kind {i}" for i in range(300))})
        for task in made.FASHION
    )
    changes = {"dataset": "multi-fashion", "data_options": {}, "options": {"width": 8, "backbone": "wrn"}}
    store = made.fill(tmp_path / "results", [made.record(tasks=tasks, **changes)], pictures=False)
    made.keep_card(store, tasks=tasks, dataset="multi-fashion", reason="it is made up")
    text = page_of(store, tmp_path / "reports", "multi-fashion")
    assert 'aria-label="left: shares of 300 classes, in the order of their frequency in train"' in text
    assert "100 rarer classes are not listed" in text
    assert "kind 299" in text
    assert "kind 3<" not in text


def test_classes_of_pictures_are_words(tmp_path):
    store = made.fill(tmp_path / "results", made.fashion()[:2])
    made.keep_card(store, tasks=made.FASHION, dataset="multi-fashion")
    text = page_of(store, tmp_path / "reports", "multi-fashion")
    assert '<span class="said">trouser</span>' in text
    assert '<span class="said">unknown</span>' in text


@pytest.mark.parametrize("error", [UserError("no room"), ValueError("autodetected range of [nan, nan] is not finite")])
def test_a_description_stops_no_run(dataset, storage, tmp_path, monkeypatch, capsys, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("benchmark.commands.datacard.keep_card", fail)
    keep_missing_card(Store(tmp_path), dataset, storage)
    said = capsys.readouterr().out
    assert said.startswith("No data card of toy: ")
    assert str(error) in said
