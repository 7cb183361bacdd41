"""UPGrad: every gradient projected off its conflicts, then averaged."""

from typing import ClassVar

import numpy as np

from baselines.gramians import ON_ORIGIN
from baselines.weightings.solvers import SolvedWeighting, UnitRows, minimise
from baselines.weightings.solvers.gramian import Array
from benchmark.registry import WEIGHTINGS
from benchmark.weighting import Card


@WEIGHTINGS.register("upgrad")
class UPGrad(SolvedWeighting):
    """Unconflicting projection of gradients (Quinton & Rey, arXiv 2406.16232).

    d = (1/K) Σ_k π(g_k), π being the projection on the dual cone {d: ⟨g_i, d⟩ ≥ 0 for all i}: no task gets worse to
    first order. π(g_k) = Σ v_i g_i with v minimising vᵀGv over v ≥ e_k. The weights are at least 1/K each and have no
    fixed sum; without conflict they are 1/K, the mean gradient.

    Solved exactly by active sets on the unit gradients. Where gradients depend on each other the weights need not be
    unique; the direction is. A zero gradient conflicts with none and gets weight 1/K. ``fallbacks`` counts the steps
    in which rounding left the optimality conditions of a projection unmet; that projection may then conflict a little.
    """

    card: ClassVar[Card] = Card(
        paper="Quinton, Rey. Jacobian Descent for Multi-Objective Optimization. arXiv 2406.16232, 2024",
        url="https://arxiv.org/abs/2406.16232",
        formula="d = Σ π(g_k)/K, π the projection on {d: ⟨g_i, d⟩ ≥ 0 for all i}",
        hyperparameters={
            "on": ON_ORIGIN,
        },
        deviations=(
            "solved exactly; the authors' library adds 1e-4 of the trace to G, after which the direction "
            "conflicts where gradients differ in length",
        ),
        sum_of_weights="free",
        bibtex="@article{quinton2024jacobian, title={Jacobian Descent for Multi-Objective Optimization}, "
        "author={Quinton, Pierre and Rey, Val{\\'e}rian}, journal={arXiv preprint arXiv:2406.16232}, "
        "year={2024}}",
    )

    def solve(self, rows: UnitRows, losses: Array) -> tuple[Array, bool]:
        """(K,) weights of at least 1/K."""
        total = np.zeros(len(rows.lengths))
        solved = True
        # In units of the longest gradient, so that no coefficient leaves the range of a float.
        for k, length in enumerate(rows.lengths / rows.lengths.max()):
            found = minimise(rows.cosines, rows.cosines[k])
            total += found.point * length
            solved = solved and found.solved
        extra = rows.weights(total * rows.lengths.max(), 0.0)
        return (1 + extra) / rows.count, solved
