"""Every loader from raw files in its official format to a board, by one command each: run, and report."""

import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmark.cli import main
from benchmark.data import Storage, build_dataset
from benchmark.data.decathlon import chosen
from benchmark.data.measured import data_card
from benchmark.data.prepared import read_manifest
from benchmark.registry import DATASETS
from benchmark.runs.expansion import expand
from benchmark.runs.filters import Filters
from benchmark.runs.grid import load_grid
from benchmark.runs.store import Store
from tests.benchmark.data.archive import write_archive
from tests.benchmark.data.photographs import (
    write_camvid,
    write_celeba,
    write_grocery_store,
    write_office,
    write_pascal_context,
)

pytestmark = pytest.mark.slow

LOADERS = ("nyuv2", "nyuv2-npy", "cityscapes", "cityscapes-npy")
COUNT = 14
#: Their networks here, of a third of the layers of the grid's.
PHOTOGRAPHS = {
    "grocery-store": "wrn-10",
    "celeba": "wrn-10",
    "camvid": "unet-1-1-2",
    "office": "wrn-10",
    "pascal-context": "unet-1-1-2",
}


def write_sources(folder, labeled, cityscapes, arrays):
    draw = np.random.default_rng(0)

    def blocks(high, count, height, width, side, *channels):
        kind = np.uint8 if high <= 256 else np.uint16
        array = draw.integers(0, high, (count, height // side, width // side, *channels), dtype=kind)
        return array.repeat(side, 1).repeat(side, 2)

    depth = (1 + blocks(800, COUNT, 480, 640, 80) / 100).astype(np.float32)
    labeled(
        folder / "nyuv2",
        blocks(256, COUNT, 480, 640, 16, 3),
        blocks(895, COUNT, 480, 640, 40),
        depth,
        depth * (blocks(8, COUNT, 480, 640, 16) > 0),
        [f"office_{number // 2:04}" for number in range(COUNT)],
    )
    names = [("train", f"{town}_000001_{i:06}_000019") for town in ("bremen", "jena", "ulm") for i in range(4)]
    names += [("val", f"lindau_000001_{i:06}_000019") for i in range(3)]
    pictures = zip(
        blocks(256, len(names), 1024, 2048, 64, 3),
        blocks(34, len(names), 1024, 2048, 64),
        blocks(32000, len(names), 1024, 2048, 64),
        strict=True,
    )
    cityscapes(folder / "cityscapes", dict(zip(names, pictures, strict=True)))
    for name, height, width, classes in (("nyuv2-npy", 288, 384, 13), ("cityscapes-npy", 128, 256, 7)):
        fields = {}
        for half, count in (("train", 12), ("val", 4)):
            normal = draw.normal(size=(count, height, width, 3))
            fields[half] = {
                "image": blocks(256, count, height, width, 16, 3) / 255,
                "label" if classes == 13 else "label_7": blocks(classes + 1, count, height, width, 16) - 1.0,
                "depth": blocks(100, count, height, width, 16, 1) / 100,
            } | ({"normal": normal / np.linalg.norm(normal, axis=-1, keepdims=True)} if classes == 13 else {})
        arrays(folder / name, fields)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, labeled_writer, cityscapes_writer, arrays_writer, here_throughout):
    """A folder in which all loaders' grids were run and reported, and what was printed."""
    folder = tmp_path_factory.mktemp("smoke")
    write_sources(folder, labeled_writer, cityscapes_writer, arrays_writer)
    words = ["run", "--grid", "nyuv2", "--smoke", "--architecture", "split-wide", "--weighting", "equal"]
    words += ["--set", "architecture.backbone=unet-1-1-2"]  # a third of the layers
    for name in LOADERS:
        words += ["--dataset", name, "--source", f"{name}={folder / name}"]
    previous, cache = Path.cwd(), os.environ["MTBENCH_CACHE"]
    os.chdir(folder)
    os.environ["MTBENCH_CACHE"] = str(folder / "cache")
    try:
        ran = CliRunner().invoke(main, [*words, "--workers", "1"], catch_exceptions=False)
        reported = CliRunner().invoke(main, ["report"], catch_exceptions=False)
        checked = CliRunner().invoke(main, ["data", "check"], catch_exceptions=False)
    finally:
        os.chdir(previous)
        os.environ["MTBENCH_CACHE"] = cache
    return folder, ran, reported, checked


def test_decathlon_from_its_archive_to_a_board(here, tmp_path, monkeypatch):
    """Each of the nine sets with 36 pictures, by the paper's grid, with a network of a third of its layers."""
    write_archive(tmp_path / "files", chosen("nine"))
    monkeypatch.setenv("MTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    words = ["run", "--grid", "decathlon", "--smoke", "--architecture", "split", "--weighting", "equal"]
    words += ["--set", "architecture.backbone=wrn-10"]
    for command in ([*words, "--source", "files", "--workers", "1"], ["report"], ["data", "check"]):
        result = CliRunner().invoke(main, command, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    records, problems = Store(tmp_path / "results").scan()
    assert ([record.status for record in records], problems) == (["ok", "ok"], [])
    # The second phase is a part of the smallest run too.
    assert [epoch.learning_rate for epoch in records[0].curves] == [1e-3, 1e-4]
    assert list((tmp_path / "reports").glob("decathlon-*.html"))
    page = (tmp_path / "reports/datasets/decathlon.html").read_text()
    assert "No samples are shown: its licence does not let its pictures be passed on." in page
    assert "omniglot: shares of 1623 classes" in page


def test_photographs_from_their_files_to_boards(here, tmp_path, monkeypatch):
    """All of the grid of real photographs, CelebA with three of its attributes."""
    write_grocery_store(tmp_path / "grocery-store")
    write_celeba(tmp_path / "celeba", 24)
    write_camvid(tmp_path / "camvid")
    write_office(tmp_path / "office")
    write_pascal_context(tmp_path / "pascal-context")
    monkeypatch.setenv("MTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    words = ["run", "--grid", "real", "--smoke", "--architecture", "split", "--weighting", "equal", "--workers", "1"]
    words += ["--set", "datasets.celeba.options.attributes=Male,Smiling,Young"]
    for name, backbone in PHOTOGRAPHS.items():
        words += ["--dataset", name, "--source", f"{name}={tmp_path / name}"]
        words += ["--set", f"datasets.{name}.architecture.backbone={backbone}"]
    for command in (words, ["report"], ["data", "check"]):
        result = CliRunner().invoke(main, command, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    records, problems = Store(tmp_path / "results").scan()
    assert ([record.status for record in records], problems) == (["ok"] * 10, [])
    for name in PHOTOGRAPHS:
        (page,) = (page for page in tmp_path.glob(f"reports/{name}-??????.html"))
        assert "split" in page.read_text()
    pictures = next(tmp_path.glob("reports/celeba-*-pictures.html")).read_text()
    assert "Smiling" in pictures
    assert ">yes<" in pictures.replace("\n", "").replace(" ", "")
    card = (tmp_path / "reports/datasets/grocery-store.html").read_text()
    assert "fine: shares of 81 classes" in card
    assert "No samples are shown" not in card


def test_the_commands_succeed(finished):
    _, ran, reported, checked = finished
    assert ran.exit_code == 0, ran.output
    assert reported.exit_code == 0, reported.output
    assert checked.exit_code == 0, checked.output
    assert "8 of 8 runs went well" in ran.output


@pytest.mark.parametrize("name", LOADERS)
def test_a_loader_ends_on_a_board(finished, name):
    folder, *_ = finished
    records = [record for record in Store(folder / "results").scan()[0] if record.spec.dataset.name == name]
    assert sorted(record.spec.architecture.name for record in records) == ["single-task", "split-wide"]
    dataset = build_dataset(name, **records[0].spec.dataset.options)
    [manifest] = [m for f in folder.glob("cache/*/manifest.json") if (m := read_manifest(f))["dataset"] == name]
    assert manifest["options"] == dataset.options
    assert all(record.status == "ok" for record in records)
    assert {record.provenance.data_hash for record in records} == {manifest["content_hash"]}
    assert {task.kind for task in records[0].tasks} == {task.kind for task in dataset.tasks}
    pages = [page for page in folder.glob(f"reports/{name}-*.html") if "split-wide" in page.read_text()]
    assert pages


def test_small_options_are_options():
    for name in DATASETS:
        smoke = getattr(DATASETS[name].factory, "smoke", {})
        assert set(smoke) <= set(DATASETS[name].defaults)
        if DATASETS[name].factory.__module__.startswith("benchmark."):
            small, whole = build_dataset(name, **smoke).samples, build_dataset(name).samples
            assert smoke
            assert sum(small.values()) < sum(whole.values()) / 5


@pytest.mark.parametrize(
    ("name", "dataset", "steps", "batch"), [("nyuv2", "nyuv2", 80_000, 2), ("cityscapes", "cityscapes", 80_000, 8)]
)
def test_the_papers_grids_have_its_schedule(name, dataset, steps, batch):
    specs = expand(load_grid(name))
    protocol = specs[0].protocol
    epoch = build_dataset(dataset).samples["train"] // batch
    assert {spec.dataset.name for spec in specs} == {dataset}
    assert {spec.protocol for spec in specs} == {protocol}
    assert (protocol.batch_size, protocol.learning_rate, protocol.lr_decay) == (batch, 1e-4, 0.5)
    assert abs(protocol.epochs * epoch - steps) <= epoch
    assert abs(protocol.lr_step * epoch - steps / 2) <= epoch
    # One-task networks and STAN once, five patterns under three weightings; three seeds.
    assert len(specs) == 3 * (2 + 5 * 3)
    assert {(s.protocol.epochs, s.protocol.lr_step) for s in expand(load_grid(f"{name}-200"))} == {(200, 100)}


def test_decathlons_grid_has_the_authors_two_phases():
    [protocol] = {spec.protocol for spec in expand(load_grid("decathlon"))}
    assert (protocol.optimizer, protocol.learning_rate, protocol.batch_size) == ("sgd", 0.1, 128)
    assert (protocol.lr_step, protocol.lr_decay, protocol.weight_decay) == (50, 0.5, 5e-5)
    assert (protocol.epochs, protocol.restart_after, protocol.restart_learning_rate) == (300 + 100, 300, 0.01)


def test_smoke_keeps_the_cells_and_shrinks_them():
    whole, small = expand(load_grid("nyuv2"), Filters(seeds=(0,))), expand(load_grid("nyuv2"), Filters(smoke=True))
    cells = [[(s.architecture.name, s.weighting_name, s.seed) for s in specs] for specs in (whole, small)]
    assert cells[0] == cells[1]
    assert not {s.id for s in whole} & {s.id for s in small}
    assert {s.protocol.epochs for s in small} == {2}
    assert {s.architecture.options["width"] for s in small} == {4}
    assert {(s.dataset.options["height"], s.dataset.options["limit"]) for s in small} == {(36, 8)}
    assert {s.dataset.options["classes"] for s in small} == {13}


def test_a_card_says_what_is_in_the_files(finished, monkeypatch):
    folder, *_ = finished
    monkeypatch.setenv("MTBENCH_CACHE", str(folder / "cache"))
    dataset = build_dataset("cityscapes", classes=7, **DATASETS["cityscapes"].factory.smoke)
    options = next(s.dataset.options for s in expand(load_grid("nyuv2"), Filters(datasets=("cityscapes",), smoke=True)))
    assert options == dataset.options
    card = data_card(dataset, Storage.default())
    assert card["stated"]["licence"].startswith("Cityscapes terms of use")
    for split in card["splits"].values():
        classes = split["fields"]["semantic"]
        assert sum(entry["count"] for entry in classes["classes"]) == classes["known"]
        assert classes["known"] + classes["unknown"] == split["samples"] * 32 * 64
