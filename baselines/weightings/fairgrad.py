"""FairGrad: alpha-fair improvement of the tasks."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from baselines.gramians import ON_ORIGIN
from baselines.weightings.solvers import SolvedWeighting, UnitRows, checked_number, clipped, fair_weights
from baselines.weightings.solvers.gramian import Array
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card


@WEIGHTINGS.register("fairgrad")
class FairGrad(SolvedWeighting):
    """Alpha-fair gradient (Ban & Ji, ICML 2024).

    d = Σ w_k g_k maximises Σ ⟨g_k, d⟩^{1−α}/(1−α) up to its length; G w = w^{−1/α}, w > 0, entry by entry. With α = 1
    it is Nash-MTL before clipping; the larger α, the more even are the improvements ⟨g_k, d⟩. The weights are positive
    and have no fixed sum: gradients s times as long give a direction s^{(1−α)/(1+α)} times as long.

    Solved by a damped Newton method on ½ xᵀUx − Σ c_k x_k^{1−1/α}/(1−1/α), U being the Gramian of the unit gradients, w
    = x/‖g‖ and c = ‖g‖^{1/α−1}, until the equation holds to rounding. It has one solution unless a convex combination
    of the gradients is zero; then there is none, ``fallbacks`` counts the step, and the weights solve it for U + 1e-6
    I. A task whose gradient is zero has nothing to gain: its weight is 0, and the others' solution is theirs alone.

    Args:
        tasks: the tasks, in the order of the losses.
        alpha: α, the exponent of fairness.
        max_norm: largest length of d; 0 is no limit. With ``on`` at the representation, the length there is
            limited.
        on: where gradients are taken, ``parameters`` or ``representation``.

    Raises:
        UsageError: ``alpha`` is no positive finite number, ``max_norm`` no finite number of at least 0, or ``on``
            neither place.
    """

    card: ClassVar[Card] = Card(
        paper="Ban, Ji. Fair Resource Allocation in Multi-Task Learning. ICML 2024",
        url="https://arxiv.org/abs/2402.15638",
        formula="G w = w^(−1/α), w > 0, entry by entry; d = Σ w_k g_k",
        hyperparameters={
            "alpha": "the commands of all the authors' experiments; default of their parser and of LibMTL 1",
            "max_norm": "the paper and LibMTL: no limit; 1 in the authors' trainer",
            "on": ON_ORIGIN,
        },
        deviations=(
            "solved by Newton's method; the authors' least-squares solver starts from 1/K and stops early "
            "where gradients are short (3 % of the right length at 3e-4)",
            "d is the paper's; the authors' trainer multiplies it by K and clips it to length 1",
            "task-specific parameters get their own task's plain gradient as in the authors' code; in LibMTL the "
            "weighted one",
        ),
        sum_of_weights="free",
        bibtex="@inproceedings{ban2024fair, title={Fair Resource Allocation in Multi-Task Learning}, author={Ban, "
        "Hao and Ji, Kaiyi}, booktitle={International Conference on Machine Learning}, year={2024}}",
    )

    def __init__(
        self, tasks: Sequence[Task], *, alpha: float = 2.0, max_norm: float = 0.0, on: str = "parameters"
    ) -> None:
        super().__init__(tasks, on=on)
        self.alpha = checked_number("fairgrad", "alpha", alpha, zero=False)
        self.max_norm = checked_number("fairgrad", "max_norm", max_norm, zero=True)

    def from_gramian(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """(K, K) Gramian -> (K,) weights, scaled down if the direction exceeds ``max_norm``."""
        weights = super().from_gramian(gramian, losses)
        return clipped(weights, gramian, self.max_norm) if weights.isfinite().all() else weights

    def solve(self, rows: UnitRows, losses: Array) -> tuple[Array, bool]:
        """(K,) weights that satisfy the equation."""
        power = 1 / self.alpha
        return fair_weights(rows, (rows.lengths / rows.lengths.max()) ** (power - 1), power)
