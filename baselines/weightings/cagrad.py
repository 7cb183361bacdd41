"""Conflict-averse gradient descent: the best worst improvement near the mean gradient."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from baselines.gramians import ON_ORIGIN
from baselines.weightings.solvers import SolvedWeighting, UnitRows, checked_number, minimise, stationary
from baselines.weightings.solvers.gramian import Array
from benchmark.errors import UsageError
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card


@WEIGHTINGS.register("cagrad")
class CAGrad(SolvedWeighting):
    """Conflict-averse gradient descent (Liu et al., NeurIPS 2021).

    d maximises min_k ⟨g_k, d⟩ over the ball ‖d − g_0‖ ≤ c ‖g_0‖ around the mean gradient g_0 = Σ g_k / K. In its dual
    form, w minimises ⟨g_w, g_0⟩ + c ‖g_0‖ ‖g_w‖ over the simplex with g_w = Σ w_k g_k, and d = g_0 + c ‖g_0‖ g_w/‖g_w‖.
    The weight of g_k is 1/K + c ‖g_0‖ w_k/‖g_w‖, divided by 1 + c² where ``rescale`` is 1: at least 1/K before the
    division, with no fixed sum.

    Where g_w = 0 (a Pareto-stationary point) several d are best; this is the one closest to g_0, and its weights may be
    below 1/K. A task whose gradient is zero has no part in the minimum over k, which leaves a best d, and the best for
    the others; it counts in g_0. Where g_0 = 0, d = 0.

    Solved by a search for the length of g_w/(c ‖g_0‖), in which each value is a quadratic programme solved exactly, and
    which ends with a closed form on the right support. ``fallbacks`` counts the searches that did not end there; the
    weights are then those of the mean gradient.

    Args:
        tasks: the tasks, in the order of the losses.
        c: radius of the ball in lengths of the mean gradient; 0 is the mean gradient. The paper proves convergence to a
            minimum of the mean loss below 1.
        rescale: 0 for d itself, 1 for d/(1 + c²), 2 for d/(1 + c).
        on: where gradients are taken, ``parameters`` or ``representation``.

    Raises:
        UsageError: ``c`` is no finite number of at least 0, ``rescale`` none of 0, 1, 2, or ``on`` neither place.
    """

    card: ClassVar[Card] = Card(
        paper="Liu, Liu, Jin, Stone, Liu. Conflict-Averse Gradient Descent for Multi-task Learning. NeurIPS 2021",
        url="https://arxiv.org/abs/2110.14048",
        formula="max over d of min_k ⟨g_k, d⟩ with ‖d − g_0‖ ≤ c ‖g_0‖, g_0 = Σ g_k/K; then d/(1 + c²)",
        hyperparameters={
            "c": "the authors' runs on NYUv2 (0.4 and 0.6 on Cityscapes); default of their code and others 0.5",
            "rescale": "the authors' code and LibMTL; 0 in SamsungLabs' and TorchJD, which gives d as in the paper's "
            "formula",
            "on": ON_ORIGIN,
        },
        deviations=(
            "g_0 is the mean, as in the paper; the authors', Nash-MTL's and Auto-Lambda's code multiply d by "
            "K to match the sum of the losses",
            "the small constants that public code adds to norms are not needed",
        ),
        sum_of_weights="free",
        bibtex="@inproceedings{liu2021conflict, title={Conflict-Averse Gradient Descent for Multi-task Learning}, "
        "author={Liu, Bo and Liu, Xingchao and Jin, Xiaojie and Stone, Peter and Liu, Qiang}, "
        "booktitle={Advances in Neural Information Processing Systems}, year={2021}}",
    )

    def __init__(self, tasks: Sequence[Task], *, c: float = 0.4, rescale: int = 1, on: str = "parameters") -> None:
        super().__init__(tasks, on=on)
        self.c = checked_number("cagrad", "c", c, zero=True)
        if type(rescale) is not int or rescale not in (0, 1, 2):
            raise UsageError(f"'cagrad' needs 0, 1 or 2 as 'rescale', found {rescale!r}")
        self.divisor = (1.0, 1 + self.c**2, 1 + self.c)[rescale]

    def solve(self, rows: UnitRows, losses: Array) -> tuple[Array, bool]:
        """(K,) weights."""
        mean = np.full(rows.count, 1 / rows.count / self.divisor)
        lengths = rows.lengths / rows.lengths.max()
        along = rows.cosines @ lengths / rows.count  # (M,) ⟨u_k, g_0⟩
        square = float(along @ lengths) / rows.count
        if self.c == 0 or square <= 1e-15 * float(lengths @ lengths) / rows.count:
            return mean, True
        addition = _addition(rows.cosines, along / square**0.5, lengths.min() / lengths, self.c)
        if addition is None:
            return mean, False
        # In units of the longest gradient, as ``square`` is.
        share = rows.weights(addition * square**0.5 * rows.lengths.max(), 0.0)
        return mean + share / self.divisor, True


def _addition(cosines: Array, along: Array, normal: Array, radius: float) -> Array | None:
    """(M,) coefficients of the unit gradients in (d − g_0)/‖g_0‖, or None if the search failed.

    With s = ‖g_w‖/radius, the best w is that of ½ ‖g_w‖² + s ⟨g_w, g_0⟩ on the simplex, and the addition is g_w/s. On a
    given support g_w = a + s b with ⟨a, b⟩ = 0, hence s² (radius² − ‖b‖²) = ‖a‖².

    Args:
        cosines: (M, M) ⟨u_i, u_j⟩.
        along: (M,) ⟨u_k, g_0⟩/‖g_0‖.
        normal: (M,) shortest length over length; the simplex is normalᵀx = 1.
        radius: c.
    """
    low, high, s = 0.0, np.inf, 1 / radius
    for _ in range(100):
        found = minimise(cosines, s * along, normal)
        if not found.solved:
            return None
        support = np.flatnonzero(found.free)
        block = cosines[np.ix_(support, support)]
        try:
            fixed, _ = stationary(block, np.zeros(len(support)), normal[support])
            growing, _ = stationary(block, along[support], normal[support], 0.0)
        except np.linalg.LinAlgError:
            return None
        shortest, size = max(float(fixed @ block @ fixed), 0.0), float(np.abs(fixed).sum())
        vanishes = shortest <= 1e-14 * size**2
        margin = radius**2 - float(growing @ block @ growing)
        addition = np.zeros(len(along))
        if vanishes and margin >= 0 and s <= 1e-6 * size:  # zero is a combination of the gradients
            addition[support] = growing
            return addition
        ahead = (shortest / margin) ** 0.5 if margin > 0 else np.inf
        if abs(ahead - s) <= 1e-11 * s:
            addition[support] = fixed / ahead + growing
            return addition
        if float(found.point @ cosines @ found.point) > (radius * s) ** 2:
            low = s
        else:
            high = s
        s = ahead if low < ahead < high and not vanishes else _between(low, high)
    return None


def _between(low: float, high: float) -> float:
    if high == np.inf:
        return 4 * low
    return 1e-2 * high if low == 0 else (low * high) ** 0.5
