"""The suite's own grids: what they promise, and the studies' identities."""

import hashlib

from benchmark.runs.expansion import expand
from benchmark.runs.filters import Filters
from benchmark.runs.grid import Grid, grid_names, load_grid

#: By study a hash over the identities of seeds 0 and 5, taken when its first run began.
STUDIES = {
    "study-architectures": "f8c4eea33cd5ede9",
    "study-weightings": "eb218888761532cc",
    "study-patterns": "2ebf5c2b3c72491f",
    "study-methods": "5e6dce0fc5fd9449",
}


def test_the_suites_grids_hold_what_they_promise():
    assert set(grid_names()) >= {"quick", "paper", "full"}
    patterns = {"single-task", "stan", "split-wide", "split-deep", "dense", "cross-stitch", "mtan"}
    quick = expand(load_grid("quick"))
    assert len(quick) == 2 + 5 * 3
    assert {s.architecture.name for s in quick} == patterns
    assert {s.seed for s in quick} == {0}
    paper = expand(load_grid("paper"))
    assert {s.architecture.options["width"] for s in paper} == {64}
    assert len(paper) == 3 * len(quick)
    swept = expand(load_grid("scalarisation"))
    assert len(swept) == 3 * (1 + 2 * (1 + 9))
    assert {s.id for s in quick if s.weighting_name == "equal" and s.architecture.name == "mtan"} < {
        s.id for s in swept
    }
    full = expand(load_grid("full"), Filters(datasets=["scenes", "multi-fashion"]))
    assert {s.architecture.name for s in full} >= {*patterns, "split"}
    assert {s.seed for s in full} == {0, 1, 2}


def study(name, seed):
    specs = expand(load_grid(name), Filters(seeds=[seed]))
    return {(s.dataset.name, s.architecture.name, s.weighting_words): s.id for s in specs}


def test_the_studies_are_frozen():
    """Their runs are made over months on many machines: an identity that changes loses all of them."""
    found = {name: [study(name, seed) for seed in (0, 5)] for name in STUDIES}
    for first, last in found.values():
        assert first.keys() == last.keys()
        assert not set(first.values()) & set(last.values())
    digest = {
        name: hashlib.sha256("".join(sorted(i for cells in seeds for i in cells.values())).encode()).hexdigest()[:16]
        for name, seeds in found.items()
    }
    assert digest == STUDIES
    assert [len(seeds[0]) for seeds in found.values()] == [
        2 * (2 + 6 * 3),
        2 * (1 + 31) + 9 + 4,
        2 * (1 + 2 + 7),
        2 * (1 + 1 + 7),
    ]


def test_both_studies_stand_on_one_board():
    a, w = (study(name, 0) for name in ("study-architectures", "study-weightings"))
    common = {
        (dataset, *cell)
        for dataset in ("scenes", "multi-fashion")
        for cell in [("single-task", "none"), *(("split", name) for name in ("equal", "uncertainty", "dwa"))]
    }
    assert a.keys() & w.keys() == common
    assert all(a[cell] == w[cell] for cell in common)


def test_weightings_that_joined_later_stand_on_the_boards_of_the_studies():
    w, later = study("study-weightings", 0), study("study-methods", 0)
    common = {
        (dataset, *cell)
        for dataset in ("scenes", "multi-fashion")
        for cell in [("single-task", "none"), ("split", "equal")]
    }
    assert w.keys() & later.keys() == common
    assert all(w[cell] == later[cell] for cell in common)
    assert {cell[2] for cell in later.keys() - common} == {
        "uw-so",
        "igb",
        "go4align",
        "ldc-mtl",
        "ntkmtl",
        "cr-mogm",
        "cr-mogm (of mgda)",
    }
    specs = expand(load_grid("study-methods"))
    seeds = {s.seed for s in specs if s.architecture.name == "split"}
    assert (seeds, len(specs)) == ({0, 1, 2}, 2 * (8 + 3 * 8))
    frozen = expand(load_grid("study-weightings"), Filters(seeds=[0]))
    for dataset in ("scenes", "multi-fashion"):
        settings = [
            (s.dataset, s.protocol, s.architecture)
            for s in (*specs, *frozen)
            if s.dataset.name == dataset and s.architecture.name == "split"
        ]
        assert all(setting == settings[0] for setting in settings)


def test_all_means_everything_registered():
    everything = Grid(
        seeds=(0,),
        architectures="all",
        weightings="all",
        datasets={"scenes": {}},
        protocol={"epochs": 1, "batch_size": 2},
    )
    assert {"dense", "mtan", "split"} <= {s.architecture.name for s in expand(everything)}
    weightings = {s.weighting_name for s in expand(everything)}
    assert {"equal", "gls"} <= weightings
    assert "constant" not in weightings  # it has an option without default
