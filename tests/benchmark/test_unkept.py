"""A run says once that its method keeps state where no checkpoint holds it; registered methods do not."""

from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.data import Storage
from benchmark.registry import WEIGHTINGS
from benchmark.runs.spec import Component
from benchmark.training.progress import Watcher
from benchmark.training.run import execute
from benchmark.training.unkept import Unkept
from benchmark.weighting import Weighting
from tests import harness


class Plain(Weighting):
    """Holds what a test gives it."""

    def weights(self, losses):
        return torch.ones_like(losses)


class Held:
    """An object of a user."""

    def __init__(self):
        self.count = 0


def notes_after(prepare, change):
    """What is told where ``change`` happens to a weighting between two steps."""
    weighting, notes = Plain([]), []
    prepare(weighting)
    unkept = Unkept(SimpleNamespace(model=nn.Identity(), weighting=weighting, under_way=None), notes.append)
    unkept.check()
    assert notes == []
    change(weighting)
    unkept.check()
    unkept.check()
    return notes


def own(**values):
    return lambda weighting: vars(weighting).update(values)


CHANGES = {
    "number": (own(x=0), lambda w: own(x=1)(w)),
    "new": (own(), lambda w: own(x=torch.ones(2))(w)),
    "tensor in place": (own(x=torch.zeros(3)), lambda w: w.x.add_(1)),
    "list": (own(x=[]), lambda w: w.x.append(torch.zeros(()))),
    "deque": (own(x=deque([1.0], 1)), lambda w: w.x.append(2.0)),
    "nested": (own(x={"a": [0.0]}), lambda w: w.x["a"].append(1.0)),
    "array": (own(x=np.zeros(2)), lambda w: w.x.fill(1)),
    "object": (own(x=Held()), lambda w: setattr(w.x, "count", 1)),
    "generator": (own(x=torch.Generator()), lambda w: torch.rand(2, generator=w.x)),
    "numpy generator": (own(x=np.random.default_rng(0)), lambda w: w.x.random()),
    "modules in a list": (own(x=[nn.Linear(1, 1)]), lambda w: w.x[0].weight.data.add_(1)),
    "module inside": (lambda w: setattr(w, "x", nn.Linear(1, 1)), lambda w: setattr(w.x, "last", 1)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_state_that_no_checkpoint_holds_is_told_once(name):
    (note,) = notes_after(*CHANGES[name])
    assert "the weighting's 'x" in note
    assert "no checkpoint holds it" in note


def register(weighting):
    weighting.register_buffer("kept", torch.zeros(2))
    weighting.learned = nn.Parameter(torch.zeros(2))
    weighting.x = [weighting.learned, weighting.kept[:1]]


def test_what_checkpoints_hold_is_not_told():
    def change(weighting):
        weighting.kept.add_(1)
        weighting.learned.data.add_(1)
        weighting.eval()

    assert notes_after(register, change) == []


def test_scratch_is_not_told(monkeypatch):
    monkeypatch.setattr(Plain, "scratch", ("x",))
    assert notes_after(*CHANGES["number"]) == []


@pytest.fixture
def counting(toy, own_methods):
    """The name of a weighting that keeps a number of an epoch in a plain attribute."""
    harness.prepared()

    class Counting(Plain):
        seen = 0.0

        def weights(self, losses):
            return torch.ones_like(losses)

        def epoch_end(self, train_losses):
            self.seen = self.seen + 1

    WEIGHTINGS.register("counting")(Counting)
    return "counting"


def test_a_run_tells_its_watcher(counting):
    base, notes = harness.specs()[1], []
    spec = base.model_validate(base.model_dump() | {"weighting": Component.from_registry(WEIGHTINGS, counting)})
    outcome = execute(spec, storage=Storage.default(), hardware=harness.CPU, watcher=Watcher(note=notes.append))
    assert outcome.record.status == "ok"
    (note,) = notes
    assert "the weighting's 'seen'" in note
