"""The toy problem: its losses against autograd, its front, and the paths that the papers show."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from benchmark import WEIGHTINGS, toyproblem
from benchmark.cli import main
from benchmark.errors import UserError
from benchmark.runs.store import Store
from benchmark.toyproblem import STARTS, Settings

pytestmark = pytest.mark.slow

#: Short paths, for what does not depend on where they end.
SHORT = Settings(learning_rate=0.02, steps=20, epoch=10)
#: Steps of fifty times the usual length: a path in less time, close enough to show where it leads.
COARSE = Settings(learning_rate=0.05, steps=2_000, epoch=50)


def with_autograd(x, y):
    """Both losses and their gradients, by torch."""
    p = torch.tensor([x, y], dtype=torch.float64, requires_grad=True)
    a, b = p
    logs = [
        torch.clamp(((-a - 7) / 2 + torch.tanh(b)).abs(), min=5e-6).log() + 6,
        torch.clamp(((3 - a) / 2 - torch.tanh(b) + 2).abs(), min=5e-6).log() + 6,
    ]
    bowls = [((a - 7) ** 2 + (b + 8) ** 2 / 10) / 10 - 20, ((a + 7) ** 2 + (b + 8) ** 2 / 10) / 10 - 20]
    upper, lower = (torch.clamp(torch.tanh(sign * b / 2), min=0) for sign in (1, -1))
    values = [upper * log + lower * bowl for log, bowl in zip(logs, bowls, strict=True)]
    return [v.item() for v in values], [torch.autograd.grad(v, p, retain_graph=True)[0].tolist() for v in values]


@given(st.floats(-12, 12), st.floats(-12, 12))
def test_losses_and_gradients_agree_with_autograd(x, y):
    losses, gradients = toyproblem.losses_and_gradients(x, y)
    expected, slopes = with_autograd(x, y)
    assert losses == pytest.approx(expected, rel=1e-9, abs=1e-9)
    for found, slope in zip(gradients, slopes, strict=True):
        assert found == pytest.approx(slope, rel=1e-6, abs=1e-9)


def test_losses_by_hand():
    # tanh 0 = 0: no side counts, but both slopes along y do: half of log 3.5 + 6 less 15.1, and so for the other.
    (first, second), gradients = toyproblem.losses_and_gradients(0.0, 0.0)
    assert (first, second) == (0, 0)
    assert gradients[0] == pytest.approx((0, (np.log(3.5) + 6 - (4.9 + 0.64 - 20)) / 2))
    # Far below, the factor is 1.
    assert toyproblem.losses(7, -50) == pytest.approx((42**2 / 100 - 20, 19.6 + 42**2 / 100 - 20))


def test_the_front_is_the_non_dominated_set_of_the_plane():
    front = toyproblem.front(141)
    x, y, first, second = front.T
    assert x[0], x[-1] == (-7, 7)
    assert ((y > -8.5) & (y < -8.3)).all()
    assert y[70] == pytest.approx(-8.3552, abs=1e-3)  # Liu et al.'s, who draw the whole front there
    assert (np.diff(first) < 0).all()
    assert (np.diff(second) > 0).all()
    anywhere = [toyproblem.losses(a, b) for a in np.linspace(-11, 11, 45) for b in np.linspace(-11, 11, 45)]
    assert min(toyproblem.gap(*point) for point in anywhere) > -0.02  # that much lies between two points of the front
    assert max(abs(toyproblem.gap(a, b)) for a, b in zip(first, second, strict=True)) < 1e-7
    assert toyproblem.gap(first[70] + 1, second[70] + 1) == pytest.approx(1, abs=0.01)
    assert min(*first, *second) > -21


def test_equal_weighting_gets_stuck_from_two_starts():
    # Not in coarse steps, which are longer than what it is stuck in; four times the usual ones are not.
    paths = toyproblem.solve("equal", settings=Settings(learning_rate=4e-3, steps=5_000)).paths
    assert [path.reached for path in paths] == [False, True, False, True, True]
    assert all(path.gap > 5 and path.points[-1][1] > 1 for path in paths if not path.reached)
    assert all(path.points[-1][:2] == pytest.approx((0, -8.36), abs=0.2) for path in paths if path.reached)


@pytest.mark.parametrize("name", ["mgda", "nash-mtl", "cagrad"])
def test_it_reaches_the_front_from_everywhere(name):
    for path in toyproblem.solve(name, settings=COARSE).paths:
        assert path.reached, path.points[-1]
        assert -7.1 < path.points[-1][0] < 7.1
        assert path.points[0][:2] == path.start


@pytest.mark.parametrize("name", [name for name in WEIGHTINGS if not WEIGHTINGS[name].required])
def test_every_weighting_has_paths_that_come_back(name):
    found = toyproblem.solve(name, settings=SHORT)
    assert [path.start for path in found.paths] == list(STARTS)
    for path in found.paths:
        assert path.error is None
        assert len(path.points) == 1 + -(-path.steps // SHORT.epoch)
        assert path.points[-1][:2] != path.start
        assert path.points[-1][2:] == pytest.approx(toyproblem.losses(*path.points[-1][:2]), rel=0.05, abs=0.05)
    assert toyproblem.solve(name, settings=SHORT) == found


def test_a_method_that_fails_says_why(toy):
    found = toyproblem.solve("runaway", settings=SHORT)
    assert [path.error for path in found.paths] == ["diverged within 10 steps"] * 5
    assert not any(path.reached for path in found.paths)


def mtbench(*words):
    return CliRunner().invoke(main, ["toy", *words], catch_exceptions=False)


def test_the_command_writes_a_record_and_keeps_what_is_there(tmp_path, toy):
    results = tmp_path / "results"
    words = ["--results", str(results), "--steps", "500", "--workers", "1"]
    assert mtbench(*words, "--weighting", "equal").exit_code == 0
    first = toyproblem.load(results)
    result = mtbench(*words, "--weighting", "runaway", "--weighting", "mgda", "--plugin", str(toy))
    assert result.exit_code == 0
    assert "diverged" in result.output
    record = toyproblem.load(results)
    assert [method.weighting.name for method in record.methods] == ["equal", "mgda", "runaway"]
    assert record.methods[0] == first.methods[0]
    assert all(method.provenance.precision == "fp64" for method in record.methods)
    assert len(record.front) == 141
    assert record.settings.steps == 500
    assert Store(results).scan() == ([], [])


def test_a_command_whose_every_path_failed_exits_with_1(tmp_path, toy):
    words = ["--results", str(tmp_path), "--steps", "500", "--workers", "1", "--plugin", str(toy)]
    result = mtbench(*words, "--weighting", "runaway")
    assert result.exit_code == 1
    assert "every path failed" in result.stderr.strip().splitlines()[-1]
    assert "diverged" in result.output
    assert mtbench(*words, "--weighting", "runaway", "--weighting", "equal").exit_code == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "cannot be read"), ('{"schema_version": 2}', "schema 2"), ('{"schema_version": 1}', "no valid record")],
)
def test_a_damaged_record_is_named(tmp_path, text, message):
    assert toyproblem.load(tmp_path) is None
    (tmp_path / toyproblem.FILE).write_text(text)
    with pytest.raises(UserError, match=f"{message}.*mtbench toy"):
        toyproblem.load(tmp_path)
    result = mtbench("--results", str(tmp_path))
    assert result.exit_code == 1
    assert len(result.stderr.strip().splitlines()) == 1


def test_the_committed_record_is_small_and_shows_what_the_papers_show():
    results = Path(__file__).parents[2] / "results"
    record = toyproblem.load(results)
    if record is None:
        pytest.skip("there is no committed record")
    assert (results / toyproblem.FILE).stat().st_size < 1_000_000
    reached = {m.weighting.name: [path.reached for path in m.paths] for m in record.methods}
    assert reached["equal"] == [False, True, False, True, True]
    for name in ("mgda", "nash-mtl", "cagrad"):
        assert all(reached[name])
    assert json.loads((results / toyproblem.FILE).read_text())["schema_version"] == 1


def test_a_method_takes_the_options_of_its_authors_toy_problem():
    assert toyproblem.solve("famo", settings=SHORT).weighting.options["weight_decay"] == 0
    assert toyproblem.solve("famo", {"weight_decay": 1e-3}, settings=SHORT).weighting.options["weight_decay"] == 1e-3
    assert toyproblem.chosen("mgda").options == {"normalisation": "none", "on": "parameters"}
