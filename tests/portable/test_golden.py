"""The committed digests of weightings are of their own rules: no one's steps are all another's."""

from collections import defaultdict
from itertools import permutations
from pathlib import Path

import baselines  # noqa: F401 - registers the methods
from benchmark.atlas.record import load
from benchmark.registry import WEIGHTINGS
from tests.portable import golden
from tests.portable.cells import of_the_suite

#: Steps in which no gradients are sampled: their digests of weights hold nothing else, whatever the network.
STEPS = ("2", "3", "1 of the next epoch")
PARAMETERS, REPRESENTATION = "parameters", "representation"
#: Of each place, whose steps are all among another's, and why.
CASES = {
    PARAMETERS: {
        ("equal", "dwa"): "in its first two epochs",
        **{("equal", name): "where no gradients conflict" for name in ("cr-mogm", "gradvac", "pcgrad")},
        **{("si", name): "during warm-up" for name in ("igb", "stch")},
    },
    REPRESENTATION: {
        ("mgda", "mgda-ub"): "the same rule there",
        ("mgda-ub", "mgda"): "the same rule there",
    },
}
#: What does not change from step to step.
CONSTANT = {"constant", "equal"}
#: Signs of gradients decide, not weights.
WITHOUT_WEIGHTS = {"graddrop"}


def steps(digests=None):
    """By place and name, of each cell the digests of its steps' weights and those of its gradients."""
    cells = defaultdict(lambda: ([], []))
    for name, value in (digests or golden.read()["digests"]).items():
        cell, _, part = name.partition(": ")
        kind, _, step = part.partition(" ")
        if cell.startswith("weighting ") and kind == "weights" and step in STEPS:
            cells[cell][0].append(value)
        if cell.startswith("weighting ") and kind == "gradients":
            cells[cell][1].append(value)
    found = {PARAMETERS: defaultdict(list), REPRESENTATION: defaultdict(list)}
    for cell, digests_of_steps in cells.items():
        _, name, *words = cell.split()
        there = words == [REPRESENTATION] or "on" in WEIGHTINGS[name].preset
        found[REPRESENTATION if there else PARAMETERS][name].append(digests_of_steps)
    return found


def same(one, other):
    """Whether two cells have the same weights in all steps, or the same gradients; GradDrop's have no weights."""
    return one[1] == other[1] or one[0] == other[0]


def among(cells):
    """Pairs of names of which each cell of the first has the steps of one of the second's."""
    return {
        (one, other)
        for one, other in permutations(cells, 2)
        if all(any(same(mine, theirs) for theirs in cells[other]) for mine in cells[one])
    }


def test_every_weighting_has_digests():
    found = steps()
    assert {name for cells in found.values() for name in cells} == set(of_the_suite(WEIGHTINGS))
    assert all(
        (len(weights), len(gradients)) == (3, 2)
        for cells in found.values()
        for several in cells.values()
        for weights, gradients in several
    )


def test_no_weighting_s_steps_are_all_another_s():
    found = steps()
    assert {place: among(cells) for place, cells in found.items()} == {p: set(cases) for p, cases in CASES.items()}


def test_what_has_the_same_steps_both_ways_is_what_the_atlas_calls_identical():
    both = {tuple(sorted(pair)) for cases in CASES.values() for pair in cases if pair[::-1] in cases}
    record = load(Path(__file__).parents[2] / "results")
    assert both == {(pair.one, pair.other) for pair in record.pairs if pair.relation == "identical"}


def test_every_weighting_that_weighs_anew_does_so_in_some_cell():
    found = steps()
    still = {
        name
        for cells in found.values()
        for name, several in cells.items()
        if all(len(set(weights)) == 1 for weights, _ in several)
    }
    assert still == CONSTANT | WITHOUT_WEIGHTS


def test_a_weighting_that_computes_another_is_found():
    digests = golden.read()["digests"]
    kept = {name: value for name, value in digests.items() if not name.startswith("weighting igb after")}
    assert ("igb", "si") in among(steps(kept)[PARAMETERS])
