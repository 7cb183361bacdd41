"""Nash-MTL: the tasks bargain over the direction."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from baselines.gramians import ON_ORIGIN
from baselines.weightings.solvers import SolvedWeighting, UnitRows, checked_number, clipped, fair_point
from baselines.weightings.solvers.gramian import Array
from benchmark.errors import UsageError
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card


@WEIGHTINGS.register("nash-mtl")
class NashMTL(SolvedWeighting):
    """The Nash bargaining solution (Navon et al., ICML 2022).

    d maximises Σ log ⟨g_k, d⟩ up to its length: d = Σ α_k g_k with G α = 1/α, α > 0, entry by entry. Then ‖d‖ = √K,
    which is scaled down to ``max_norm``. No task's unit of loss matters. The weights are positive and have no fixed
    sum.

    Solved by a damped Newton method on ½ βᵀUβ − Σ log β, U being the Gramian of the unit gradients and α = β/‖g‖, until
    the equation holds to rounding. It has one solution unless a convex combination of the gradients is zero; then
    there is none, ``fallbacks`` counts the step, and the weights solve it for U + 1e-6 I. A task whose gradient is
    zero has nothing to bargain for: its weight is 0, and the others' solution is theirs alone.

    State: the last α before clipping and the number of steps, both in buffers, for ``update_weights_every`` > 1. A
    Gramian that is not finite gives NaN weights and leaves both as they were. Absent tasks keep their last α.

    Args:
        tasks: the tasks, in the order of the losses.
        max_norm: largest length of d; 0 is no limit. With ``on`` at the representation, the length there is
            limited.
        update_weights_every: steps between two solutions.
        on: where gradients are taken, ``parameters`` or ``representation``.

    Raises:
        UsageError: ``max_norm`` is no finite number of at least 0, ``update_weights_every`` no positive integer, or
            ``on`` neither place.
    """

    card: ClassVar[Card] = Card(
        paper="Navon, Shamsian, Achituve, Maron, Kawaguchi, Chechik, Fetaya. Multi-Task Learning as a Bargaining "
        "Game. ICML 2022",
        url="https://arxiv.org/abs/2202.01017",
        formula="G α = 1/α, α > 0, entry by entry; d = Σ α_k g_k, clipped to max_norm",
        hyperparameters={
            "max_norm": "the authors' code",
            "update_weights_every": "most of the authors' experiments; up to 20 to save time",
            "on": ON_ORIGIN,
        },
        deviations=(
            "solved by Newton's method; the authors' convex-concave steps from the last α fail silently under"
            " conflict and return that α",
            "before clipping ‖d‖ is √K, as in the paper; in the authors' code √(K ‖G‖_F), which clipping to 1"
            " makes the same unless gradients are very short",
            "task-specific parameters get their own task's plain gradient; in the authors' code the one weighted by α",
        ),
        sum_of_weights="free",
        bibtex="@inproceedings{navon2022multi, title={Multi-Task Learning as a Bargaining Game}, author={Navon, Aviv"
        " and Shamsian, Aviv and Achituve, Idan and Maron, Haggai and Kawaguchi, Kenji and Chechik, Gal and "
        "Fetaya, Ethan}, booktitle={International Conference on Machine Learning}, year={2022}}",
    )

    minds_absent: ClassVar[bool] = True
    last_alpha: Tensor  # (K,) float64
    steps: Tensor  # () integer

    def __init__(
        self, tasks: Sequence[Task], *, max_norm: float = 1.0, update_weights_every: int = 1, on: str = "parameters"
    ) -> None:
        super().__init__(tasks, on=on)
        self.max_norm = checked_number("nash-mtl", "max_norm", max_norm, zero=True)
        whole = isinstance(update_weights_every, int) and not isinstance(update_weights_every, bool)
        if not whole or update_weights_every < 1:
            raise UsageError(
                f"'nash-mtl' needs a positive integer as 'update_weights_every', found {update_weights_every!r}"
            )
        self.update_weights_every = self.period = update_weights_every
        self.register_buffer("last_alpha", torch.ones(len(self.tasks), dtype=torch.float64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def from_gramian(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """(K, K) Gramian -> (K,) weights, solved for in every ``update_weights_every``-th step."""
        if not gramian.isfinite().all():
            return torch.full_like(losses, torch.nan)
        if int(self.steps) % self.update_weights_every == 0:
            self.present.write(self.last_alpha, super().from_gramian(gramian, losses))
        self.steps.add_(1)
        return clipped(self.present.rows(self.last_alpha).to(gramian, copy=True), gramian, self.max_norm)

    def solve(self, rows: UnitRows, losses: Array) -> tuple[Array, bool]:
        """(K,) α."""
        beta, solved = fair_point(rows.cosines, rows.lengths**0, 1.0)
        return rows.weights(beta, 0.0), solved
