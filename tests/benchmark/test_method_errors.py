"""A method that breaks its contract is told so in one line, with its name, what was expected and what was found."""

from typing import Literal

import pytest
import torch

from benchmark.data import Storage
from benchmark.errors import UsageError, UserError
from benchmark.model import MultiTaskModel
from benchmark.registry import ARCHITECTURES, WEIGHTINGS, load_plugin_file
from benchmark.runs.spec import Component
from benchmark.training.run import execute
from benchmark.weighting import Direction, GramianWeighting, MatrixWeighting, SampledWeighting, Weighting
from tests import harness


@pytest.fixture(scope="module", autouse=True)
def _prepared(toy):
    harness.prepared()


@pytest.fixture(autouse=True)
def _registered(toy, own_methods):
    """Each test registers a method of its own by the same name."""


def error_of(architecture=None, weighting=None):
    """What the record says of a run with a method."""
    base, parts = harness.specs()[1], {}
    if architecture:
        ARCHITECTURES.register("mine")(architecture)
        parts["architecture"] = Component.from_registry(ARCHITECTURES, "mine")
    if weighting:
        WEIGHTINGS.register("mine")(weighting)
        parts["weighting"] = Component.from_registry(WEIGHTINGS, "mine")
    spec = base.model_validate(base.model_dump() | parts)
    record = execute(spec, storage=Storage.default(), hardware=harness.CPU).record
    assert record.status == "failed"
    assert "\n" not in record.error
    return record.error


WEIGHTS = "the weighting 'mine': '{}' must give a tensor of shape (3,), a weight for each task; found "


@pytest.mark.parametrize(
    ("give", "found"),
    [
        (lambda losses: [1.0, 1.0, 1.0], "a list of 3"),
        (lambda losses: None, "None: is there a 'return'?"),
        (lambda losses: 1.0, "a float"),
        (lambda losses: losses.mean(), "one of shape ()"),
        (lambda losses: torch.ones(2), "one of shape (2,)"),
        (lambda losses: torch.ones(3, 1), "one of shape (3, 1)"),
    ],
)
@pytest.mark.parametrize(
    ("base", "rule"),
    [(Weighting, "weights"), (GramianWeighting, "from_gramian"), (SampledWeighting, "from_products")],
)
def test_weights_of_another_form(base, rule, give, found):
    mine = type("Mine", (base,), {rule: lambda self, *given: give(given[-1])})
    assert error_of(weighting=mine) == WEIGHTS.format(rule) + found


@pytest.mark.parametrize(
    ("weights", "found"),
    [
        ([1.0, float("nan"), 1.0], "weights that are numbers; found NaN in [1, nan, 1]"),
        ([1.0, -0.5, 1.0], "weights that are at least 0, or a task's loss would be raised; found [1, -0.5, 1]"),
    ],
)
def test_weights_of_losses_that_are_none(weights, found):
    mine = type("Mine", (Weighting,), {"weights": lambda self, losses: torch.tensor(weights)})
    assert error_of(weighting=mine) == f"the weighting 'mine': 'weights' must give {found}"


def test_weights_of_gradients_may_be_negative():
    class Mine(GramianWeighting):
        """Some minimum-norm rules give such weights."""

        def from_gramian(self, gramian, losses):
            return torch.tensor([1.0, -0.1, 1.0], dtype=torch.float64)

    WEIGHTINGS.register("mine")(Mine)
    base = harness.specs()[1]
    spec = base.model_validate(base.model_dump() | {"weighting": Component.from_registry(WEIGHTINGS, "mine")})
    assert execute(spec, storage=Storage.default(), hardware=harness.CPU).record.status == "ok"


@pytest.mark.parametrize(
    ("give", "found"),
    [
        (lambda rows: rows.sum(0), "must give a Direction(vector, weights); found a tensor of shape"),
        (lambda rows: Direction(rows, torch.ones(3)), "whose vector is a tensor of shape"),
        (lambda rows: Direction(rows.sum(0), [1, 1, 1]), "whose weights is a tensor of shape (3,); found a list of 3"),
    ],
)
def test_directions(give, found):
    mine = type("Mine", (MatrixWeighting,), {"from_gradients": lambda self, rows, losses: give(rows)})
    assert found in error_of(weighting=mine)


@pytest.mark.parametrize(
    ("objective", "found"),
    [
        (lambda losses: losses, "found a tensor of shape (3,)"),
        (lambda losses: losses.sum().detach(), "found one without a graph: do not detach it"),
        (lambda losses: None, "found None"),
    ],
)
def test_objectives(objective, found):
    members = {
        "weights": lambda self, losses: torch.ones(3),
        "objective": lambda self, losses, weights: objective(losses),
    }
    error = error_of(weighting=type("Mine", (Weighting,), members))
    assert error.startswith("the weighting 'mine': 'objective' must give a scalar that depends on the losses; ")
    assert found in error


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda found: list(found.values()), "found a list of 3"),
        (lambda found: {name: found[name] for name in ("semantic", "depth")}, "found none for 'normals'"),
        (lambda found: found | {"depth": found["depth"][:, 0]}, "that of 'depth' a tensor of shape (4, 1, …)"),
        (lambda found: found | {"depth": None}, "found None"),
    ],
)
def test_predictions(change, found):
    tiny = ARCHITECTURES["tiny"].factory

    class Mine(tiny):
        """Gives something else in training."""

        def forward(self, images, tasks=None):
            given = super().forward(images, tasks)
            return change(given) if self.training else given

    error = error_of(architecture=Mine)
    assert error.startswith("the architecture 'mine': 'forward' must give a dict with a prediction for each task")
    assert found in error


def test_a_class_that_is_none_of_its_kind():
    with pytest.raises(UsageError, match="the weighting 'mine' must be a Weighting: derive Mine from Weighting"):
        WEIGHTINGS.register("mine")(type("Mine", (torch.nn.Module,), {}))
    with pytest.raises(UsageError, match="the architecture 'mine' must be a MultiTaskModel: derive"):
        ARCHITECTURES.register("mine")(type("Mine", (torch.nn.Module,), {}))
    with pytest.raises(UsageError, match="the weighting 'mine' lacks weights, which every Weighting defines"):
        WEIGHTINGS.register("mine")(type("Mine", (Weighting,), {}))
    with pytest.raises(UsageError, match="lacks forward, task_parameters, which"):
        ARCHITECTURES.register("mine")(type("Mine", (MultiTaskModel,), {}))
    WEIGHTINGS.register("mine")(lambda tasks: torch.nn.Identity())
    with pytest.raises(UsageError, match="'mine' must give a Weighting, found Identity"):
        WEIGHTINGS["mine"].build([])


class Positional(Weighting):
    """Has an option that nobody can set."""

    def __init__(self, tasks, temperature=2.0):
        super().__init__(tasks)

    def weights(self, losses):
        return torch.ones_like(losses)


def test_positional_options():
    with pytest.raises(UsageError, match=r"'mine' takes 'temperature' as positional argument, .*write '\*, ' before"):
        WEIGHTINGS.register("mine")(Positional)
    WEIGHTINGS.register("mine", temperature=1.0)(Positional)


def test_a_plugin_with_such_a_class_is_one_line(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("from benchmark import WEIGHTINGS\n@WEIGHTINGS.register('mine')\nclass Mine:\n    pass\n")
    with pytest.raises(UserError) as caught:
        load_plugin_file(file)
    expected = "cannot be imported: the weighting 'mine' must be a Weighting: derive Mine from Weighting"
    assert str(caught.value).endswith(expected)


@pytest.mark.parametrize(
    ("option", "value", "found"),
    [
        ("rate", "fast", "'mine' needs float as 'rate', found 'fast' (str)"),
        ("rate", True, "'mine' needs float as 'rate', found True (bool)"),
        ("steps", 1.5, "'mine' needs int | None as 'steps', found 1.5 (float)"),
        ("mode", "c", "'mine' needs Literal['a', 'b'] as 'mode', found 'c' (str)"),
        ("shares", 1.0, "'mine' needs list[float] as 'shares', found 1.0 (float)"),
        ("shares", [1.0, "x"], "'mine' needs list[float] as 'shares', found [1.0, 'x'] (list)"),
        ("plain", "x", "'mine' needs a number as 'plain', found 'x' (str)"),
        ("on", 1, "'mine' needs bool as 'on', found 1 (int)"),
    ],
)
def test_options_of_another_type(option, value, found):
    class Mine(Positional):
        """Has options of several types."""

        def __init__(
            self,
            tasks,
            *,
            rate: float = 1.0,
            steps: int | None = None,
            mode: Literal["a", "b"] = "a",
            shares: list[float] = (),
            plain=1,
            on=True,
        ):
            super().__init__(tasks)

    WEIGHTINGS.register("mine")(Mine)
    with pytest.raises(UsageError) as caught:
        Component.from_registry(WEIGHTINGS, "mine", {option: value})
    assert found in str(caught.value)
    fine = {"rate": 1, "steps": 2, "mode": "b", "shares": [1, 0.5], "plain": 0.5, "on": False}
    assert Component.from_registry(WEIGHTINGS, "mine", fine).options["steps"] == 2
