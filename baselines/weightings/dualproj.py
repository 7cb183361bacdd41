"""DualProj: the mean gradient projected off its conflicts."""

from typing import ClassVar

from baselines.gramians import ON_ORIGIN
from baselines.weightings.solvers import SolvedWeighting, UnitRows, minimise
from baselines.weightings.solvers.gramian import Array
from benchmark.registry import WEIGHTINGS
from benchmark.weighting import Card


@WEIGHTINGS.register("dualproj")
class DualProj(SolvedWeighting):
    """The mean gradient's projection on the dual cone (GEM, Lopez-Paz & Ranzato, NeurIPS 2017).

    d = Σ v_k g_k with v minimising vᵀGv over v ≥ 1/K: the vector closest to the mean gradient with ⟨g_k, d⟩ ≥ 0 for
    every task, so that none gets worse to first order. The weights are at least 1/K each and have no fixed sum; without
    conflict they are 1/K, the mean gradient. GEM projects the gradient of one task off those of earlier tasks; the mean
    of all tasks in its place is Quinton & Rey's (arXiv 2406.16232), who gave it this name.

    Solved exactly by active sets on the unit gradients. Where gradients depend on each other the weights need not be
    unique; the direction is. A zero gradient conflicts with none and gets weight 1/K. ``fallbacks`` counts the steps
    in which rounding left the optimality conditions unmet; the direction may then conflict a little.
    """

    card: ClassVar[Card] = Card(
        paper="Lopez-Paz, Ranzato. Gradient Episodic Memory for Continual Learning. NeurIPS 2017",
        url="https://arxiv.org/abs/1706.08840",
        formula="d = π(Σ g_k/K), π the projection on {d: ⟨g_i, d⟩ ≥ 0 for all i}",
        hyperparameters={
            "on": ON_ORIGIN,
        },
        deviations=(
            "the mean of all gradients is projected, as in Quinton & Rey (arXiv 2406.16232), who gave it this"
            " name; the paper projects one task's gradient off those of earlier tasks",
            "nothing is added: TorchJD adds 1e-4 of the trace to G, after which the direction conflicts where"
            " gradients differ in length, GEM's code a margin of 0.5 to the dual variables",
        ),
        sum_of_weights="free",
        bibtex="@inproceedings{lopezpaz2017gradient, title={Gradient Episodic Memory for Continual Learning}, "
        "author={Lopez-Paz, David and Ranzato, Marc'Aurelio}, booktitle={Advances in Neural Information "
        "Processing Systems}, year={2017}}",
    )

    def solve(self, rows: UnitRows, losses: Array) -> tuple[Array, bool]:
        """(K,) weights of at least 1/K."""
        relative = rows.lengths / rows.lengths.max()
        found = minimise(rows.cosines, rows.cosines @ relative)
        extra = rows.weights(found.point * rows.lengths.max(), 0.0)
        return (1 + extra) / rows.count, found.solved
