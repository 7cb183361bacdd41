"""Parts of a grid: filters, smoke tests, pictures of the first seed."""

import pytest

from benchmark.errors import UsageError
from benchmark.runs.expansion import expand, undefined, unpictured
from benchmark.runs.filters import Filters
from benchmark.runs.grid import load_grid
from tests.benchmark.gridfiles import AXES, MINIMAL, cells, grid


def test_a_grid_whose_data_sets_are_all_to_be_named_says_so():
    with pytest.raises(
        UsageError,
        match="no data set unless --dataset names it: grocery-store, camvid, office, pascal-context, celeba",
    ):
        expand(load_grid("real"))
    assert {spec.dataset.name for spec in expand(load_grid("real"), Filters(datasets=["camvid"]))} == {"camvid"}


def test_smoke_takes_the_decays_from_a_cosine_wherever_it_is_said(tmp_path):
    cosine = MINIMAL.replace("batch_size = 2", 'batch_size = 2\nschedule = "cosine"')
    own = MINIMAL.replace("protocol = { epochs = 5 }", 'protocol = { epochs = 5, schedule = "cosine" }')
    for text, dataset in ((cosine, "scenes"), (cosine, "multi-fashion"), (own, "multi-fashion")):
        (protocol,) = {s.protocol for s in expand(grid(tmp_path, text), Filters(datasets=[dataset], smoke=True))}
        assert (protocol.epochs, protocol.schedule) == (2, "cosine")
    (plain,) = {s.protocol for s in expand(grid(tmp_path, own), Filters(datasets=["scenes"], smoke=True))}
    assert (plain.epochs, plain.schedule, plain.lr_step) == (2, "step", 1)


def test_filters_keep_the_references_and_may_name_anything_registered(tmp_path):
    filters = Filters(architectures=["dense"], weightings=["uncertainty"], seeds=[0, 1])
    assert cells(expand(grid(tmp_path), filters)) == [
        ("scenes", "single-task", "none", 0),
        ("scenes", "dense", "uncertainty", 0),
        ("scenes", "single-task", "none", 1),
        ("scenes", "dense", "uncertainty", 1),
    ]


def test_a_filter_keeps_the_grids_options(tmp_path):
    specs = expand(grid(tmp_path), Filters(architectures=["split"], weightings=["dwa"]))
    assert specs[-1].architecture.options["variant"] == "deep"
    assert specs[-1].weighting.options == {"temperature": 1.0}


def test_pictures_of_the_first_seed_are_the_same_runs_whatever_part_of_the_grid_is_run(tmp_path):
    text = MINIMAL.replace("seeds = [3]", 'seeds = [2, 1]\nreference_seeds = 2\npictures = "first-seed"')
    first = grid(tmp_path, text)
    specs = expand(first)
    without = unpictured(first, specs)
    shown = [(s.architecture.name, s.seed) for s in specs if s.id not in without]
    assert {seed for name, seed in shown if name == "single-task"} == {0}
    assert {seed for name, seed in shown if name != "single-task"} == {1}
    assert len(shown) == 6
    part = expand(first, Filters(seeds=[2]))
    assert unpictured(first, part) == {spec.id for spec in part}
    assert unpictured(grid(tmp_path), expand(grid(tmp_path))) == frozenset()


@pytest.mark.parametrize(
    "said", ['[axes]\n"architecture.variant" = ["deep", "wide"]', '[architecture]\nvariant = "deep"']
)
def test_a_part_of_a_grid_may_lack_an_option_that_the_rest_has(tmp_path, said):
    text = MINIMAL.replace("[architecture]\nwidth = 8\n", "").replace(', options = { variant = "deep" }', "")
    found = grid(tmp_path, f"{text}{said}\n")
    whole, part = expand(found), expand(found, Filters(architectures=["mtan"]))
    assert {s.id for s in part} == {s.id for s in whole if s.architecture.name in ("single-task", "mtan")}
    assert {s.architecture.options["variant"] for s in whole if s.architecture.name == "split"} >= {"deep"}


def test_a_smoke_test_of_axes_runs_and_cells_that_are_undefined_are_told_once(tmp_path):
    text = MINIMAL.replace('"equal", ', '"equal", { name = "mgda", options = { on = "representation" } }, ') + AXES
    found = grid(tmp_path, text)
    assert {s.architecture.options["width"] for s in expand(found, Filters(smoke=True))} == {4}
    assert [str(cell).partition(":")[0] for cell in undefined(found)] == ["mtan × mgda is undefined"]
