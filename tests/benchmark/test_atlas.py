"""The atlas of weightings: relations that theory gives, what rules depend on, and foreign rules that lie about it."""

import json
import math

import pytest
import torch

import baselines  # noqa: F401 - registers the methods
from benchmark import atlas
from benchmark.analysis import boards
from benchmark.analysis.submitted import Counted
from benchmark.atlas.survey import Moment, angles, moments, orders, relation
from benchmark.errors import UserError
from benchmark.registry import WEIGHTINGS
from benchmark.report.pages import render
from benchmark.runs.store import Store
from benchmark.weighting import GramianWeighting, Weighting
from tests.benchmark import records as made

SMALL = atlas.Settings(matrices=6, sequences=2, steps=12, epoch=2, draws=40)
NAMES = ("equal", "si", "stch", "gls", "mgda", "mgda-ub", "config", "imtl-g", "pcgrad", "rlw", "nash-mtl")


@pytest.fixture(scope="module")
def record():
    return atlas.survey(NAMES, SMALL)


def pair(record, one, other):
    return next(found for name, found in record.pairs_of(one) if name == other)


def traits(record, name):
    return next(found for found in record.methods if found.weighting.name == name)


@pytest.mark.slow
def test_pairs_are_classed_as_theory_says(record):
    assert len(record.pairs) == len(NAMES) * (len(NAMES) - 1) / 2
    # One rule on two places, which here hold the same gradients.
    assert pair(record, "mgda", "mgda-ub").relation == "identical"
    # d Σ log L and d (Π L)^(1/K) differ by a factor; ConFIG and IMTL-G have equal projections on unit gradients.
    assert pair(record, "si", "gls").relation == pair(record, "config", "imtl-g").relation == "same direction"
    # STCH is SI while it warms up.
    assert (pair(record, "si", "stch").first, pair(record, "si", "stch").relation) == ("identical", "distinct")
    assert pair(record, "si", "stch").later > 0
    together = {frozenset((p.one, p.other)) for p in record.pairs if p.relation != "distinct"}
    assert together == {frozenset(p) for p in (("mgda", "mgda-ub"), ("si", "gls"), ("config", "imtl-g"))}
    assert record.alike("gls", "same direction") == ["si"]


@pytest.mark.slow
def test_scale_is_felt_as_formulas_say(record):
    # Directions of the logarithms of losses, and of unit gradients, feel no loss's scale.
    for name in ("si", "gls", "config", "imtl-g", "nash-mtl"):
        assert traits(record, name).turn == 0, name
    assert traits(record, "si").stretch == traits(record, "nash-mtl").stretch == 1
    assert traits(record, "gls").stretch == pytest.approx(10 ** (1 / 3), rel=1e-2)
    assert traits(record, "equal").turn > 10


@pytest.mark.slow
def test_drawing_is_seen_and_judged_by_means(record):
    assert {name for name in NAMES if traits(record, name).draws} == {"pcgrad", "rlw"}
    assert not any(traits(record, name).depends(trait) for name in NAMES for trait in ("order", "absent"))


def test_angles_and_relations_by_hand():
    one = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    turned = torch.tensor([[1.0, 1.0], [0.0, 2.0]], dtype=torch.float64)
    assert angles(one, turned).tolist() == pytest.approx([45, 0])
    assert angles(one, one + torch.tensor([0, 1e-9])).max() < 1e-6
    assert relation(one, one * (1 + 1e-8)) == "identical"
    assert relation(one, 3 * one) == "same direction"
    assert relation(one, turned) == "distinct"
    assert relation(one, -one) == "distinct"


def test_moments_move_tasks_together_and_scale_one():
    found = moments(3, SMALL, "here")
    again = moments(3, SMALL, "here")
    assert all(torch.equal(one.gradients, other.gradients) for one, other in zip(found, again, strict=True))
    moment = found[0]
    turned = moment.at((2, 0))
    assert turned.kinds == ("normals", "segmentation")
    assert torch.equal(turned.gradients, moment.gradients[[2, 0]])
    scaled = moment.scaled(1, 10.0)
    assert torch.equal(scaled.losses / moment.losses, torch.tensor([1.0, 10.0, 1.0], dtype=torch.float64))
    assert isinstance(scaled, Moment)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_the_orders_that_are_tried_make_all_others(count):
    reached, new = {tuple(range(count))}, {tuple(range(count))}
    while new:
        new = {tuple(one[k] for k in step) for one in new for step in orders(count)} - reached
        reached |= new
    assert len(reached) == math.factorial(count)


@pytest.mark.slow
def test_a_rule_on_neighbours_depends_on_the_order():
    """Which it would not if the order were only turned round."""
    assert traits(atlas.survey(("ldc-mtl",), SMALL), "ldc-mtl").depends("order")


class FirstCounts(GramianWeighting):
    """Depends on the order of the tasks."""

    def from_gramian(self, gramian, losses):
        return torch.tensor([2.0] + [1.0] * (len(losses) - 1), dtype=torch.float64)


class CountsTasks(Weighting):
    """Divides by the number of tasks that it was built for, present or not."""

    def __init__(self, tasks):
        super().__init__(tasks)
        self.share = 1 / len(tasks)

    def weights(self, losses):
        return torch.full_like(losses, self.share)


class Fails(Weighting):
    """Cannot be asked."""

    def weights(self, losses):
        raise RuntimeError("no idea")


@pytest.fixture
def liars(own_methods):
    """Their names, registered for one test."""
    factories = {"first-counts": FirstCounts, "counts-tasks": CountsTasks, "fails": Fails}
    for name, factory in factories.items():
        WEIGHTINGS.register(name)(factory)
    return tuple(factories)


@pytest.mark.slow
def test_rules_that_depend_on_what_they_should_not_are_told(liars):
    found = atlas.survey((*liars, "equal"), SMALL)
    assert traits(found, "first-counts").depends("order")
    assert not traits(found, "equal").depends("order")
    assert traits(found, "counts-tasks").absent == pytest.approx(1 / 3, rel=0.01)  # 1/3 in place of 1/2
    assert traits(found, "counts-tasks").depends("absent")
    assert traits(found, "fails").error == "RuntimeError: no idea"
    assert pair(found, "counts-tasks", "equal").relation == "same direction"
    assert not found.pairs_of("fails")


@pytest.mark.slow
def test_the_command_keeps_a_record_that_the_report_shows(tmp_path, mtbench):
    root = tmp_path / "results"
    said = mtbench("atlas", "--weighting", "mgda", "--weighting", "mgda-ub", "--matrices", "3", "--results", str(root))
    assert "atlas.json" in said.stdout
    record = atlas.load(root)
    assert [(p.one, p.other, p.relation) for p in record.pairs] == [("mgda", "mgda-ub", "identical")]
    runs = [made.record(*cell, epochs=2) for cell in (("single-task", None), ("split-wide", "equal"))]
    pages = dict(render(boards(runs), Counted(runs), [], Store(root), "val-delta-m"))
    page = pages["atlas.html"].decode()
    assert "identical to six digits" in page
    assert ">Atlas</a>" in pages["index.html"].decode()
    (root / atlas.FILE).write_text(json.dumps({"schema_version": 7}))
    with pytest.raises(UserError, match=r"has schema 7; this suite reads 1: make it again with 'mtbench atlas'"):
        atlas.load(root)
    assert "atlas.html" not in dict(render(boards(runs), Counted(runs), [], Store(root), "val-delta-m"))
