"""Functions that are the same on every processor, against exact fractions; and that nothing takes torch's instead."""

import ast
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import ndtr

from benchmark import exact
from tests.portable import functions

ROOT = Path(__file__).parents[2]
#: Rooms whose numbers reach prepared data, losses, gradients, parameters, weights or metrics.
ROOMS = (
    "benchmark/data",
    "benchmark/tasks",
    "benchmark/training",
    "benchmark/model.py",
    "benchmark/weighting",
    "baselines",
)


@pytest.mark.parametrize(("dtype", "kind"), [(torch.float32, np.float32), (torch.float64, np.float64)])
def test_roots_are_the_nearest_numbers_there_are(dtype, kind):
    numbers = [5e-324, 1e-40, 1e-20, 2.0, 3.0, 1e20, *(torch.rand(300, dtype=torch.float64) * 100).tolist()]
    values = torch.tensor(numbers, dtype=dtype)
    for value, root in zip(values.tolist(), exact.sqrt(values).tolist(), strict=True):
        below, above = (Fraction(float(np.nextafter(kind(root), kind(end)))) for end in (0, math.inf))
        middle, square = Fraction(root), Fraction(value)
        assert ((below + middle) / 2) ** 2 <= square <= ((above + middle) / 2) ** 2


def test_roots_of_what_has_none_or_is_no_number():
    values = torch.tensor([0.0, -0.0, torch.inf, torch.nan])
    assert exact.sqrt(values)[:3].tolist() == [0.0, 0.0, torch.inf]
    assert exact.sqrt(torch.tensor([-1.0, torch.nan])).isnan().all()
    assert exact.sqrt_(torch.tensor([-1.0, torch.nan])).isnan().all()
    assert exact.log(torch.tensor([0.0, 1.0, torch.inf], dtype=torch.float64)).tolist() == [-torch.inf, 0.0, torch.inf]
    assert exact.log(torch.tensor([-1.0], dtype=torch.float64)).isnan().all()


@pytest.mark.parametrize("shape", [(), (0,), (3, 4)])
def test_shape_and_type_stay(shape):
    for dtype in (torch.float16, torch.float32, torch.float64):
        values = torch.full(shape, 9.0, dtype=dtype)
        assert torch.equal(exact.sqrt(values), torch.full(shape, 3.0, dtype=dtype))
        assert exact.sqrt(values).dtype == dtype


def test_roots_in_place_and_of_values_that_are_spread_in_memory():
    values = torch.arange(12.0).square().view(3, 4).T
    assert torch.equal(exact.sqrt(values), torch.arange(12.0).view(3, 4).T)
    assert exact.sqrt_(values) is values
    assert torch.equal(values, torch.arange(12.0).view(3, 4).T)


def test_a_graph_is_refused_rather_than_cut():
    with pytest.raises(RuntimeError, match="requires grad"):
        exact.sqrt(torch.ones(2, requires_grad=True))


def test_powers_are_powers_and_that_of_a_half_is_a_root():
    values = torch.tensor([0.25, 2.0, 9.0], dtype=torch.float64)
    assert torch.equal(exact.power(values, 0.5), exact.sqrt(values))
    assert exact.power(values, 1.5).tolist() == pytest.approx([0.125, 2**1.5, 27.0], rel=1e-15)
    assert torch.equal(exact.power(values, 0.0), torch.ones_like(values))


def test_logarithms_and_quantiles_undo_exponentials_and_distribution():
    points = torch.linspace(-6, 6, 101, dtype=torch.float64)
    assert torch.allclose(exact.log(points.exp()), points, rtol=1e-14, atol=1e-14)
    shares = torch.tensor([1e-300, 1e-9, 0.025, 0.5, 0.7, 0.999], dtype=torch.float64)
    assert ndtr(exact.normal_quantiles(shares).numpy()) == pytest.approx(shares.numpy(), rel=1e-12, abs=0)


def test_the_table_of_functions_gives_the_same_bytes_twice_and_notices_one_bit():
    names = ["torch.conv 3x3 float32", "torch.randn", "numpy.linalg.eigh 3", "pillow.jpeg", "torch.exact.sqrt float64"]
    assert functions.digests(names) == functions.digests(names)
    one = torch.tensor([1.0, math.nan])
    assert functions.digest([one]) != functions.digest([torch.nextafter(one, torch.tensor(2.0))])
    assert set(functions.table()) >= functions.APART


def forbidden():
    """Names of torch's functions that differ between processors in single precision; ``log`` does so in double only."""
    names = {name.removeprefix("torch.").split()[0] for name in functions.APART if name.endswith("float32")}
    return {name for name in names if name.isidentifier()}


def uses(tree):
    """Line numbers of calls of forbidden functions, of powers of a half and of optimisers that are not fused."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner, name = node.func.value, node.func.attr.removesuffix("_")
            ours = isinstance(owner, ast.Name) and owner.id in ("math", "np", "exact")
            plain = name in ("Adam", "AdamW") and not any(keyword.arg == "fused" for keyword in node.keywords)
            if (name in forbidden() and not ours) or plain:
                yield node.lineno, node.func.attr


def test_nothing_takes_torchs_own():
    files = [
        file for room in ROOMS for file in ([ROOT / room] if room.endswith(".py") else (ROOT / room).rglob("*.py"))
    ]
    found = [(file.name, *use) for file in files for use in uses(ast.parse(file.read_text()))]
    assert found == []


@pytest.mark.parametrize("line", ["x.sqrt()", "torch.sqrt(x)", "y = x.clamp(0).sqrt_()", "torch.optim.Adam(p, lr=1)"])
def test_such_a_use_is_found(line):
    assert len(list(uses(ast.parse(line)))) == 1


@pytest.mark.parametrize(
    "line", ["math.sqrt(2)", "np.sqrt(x)", "sqrt(x)", "torch.optim.Adam(p, fused=True)", "x.log()"]
)
def test_what_is_the_same_everywhere_is_let_through(line):
    assert not list(uses(ast.parse(line)))
