"""Multiple gradient descent: the shortest vector among the convex combinations of the gradients."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from baselines.gramians import ON_ORIGIN
from baselines.weightings.solvers import SolvedWeighting, UnitRows, minimise
from baselines.weightings.solvers.gramian import Array
from benchmark.errors import UsageError
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card

NORMALISATIONS = ("none", "l2", "loss", "loss+")


@WEIGHTINGS.register("mgda")
@WEIGHTINGS.register("mgda-ub", on="representation")
class MGDA(SolvedWeighting):
    """Multiple gradient descent algorithm (Désidéri 2012; Sener & Koltun, NeurIPS 2018).

    w minimises ‖Σ w_k g_k/m_k‖ over the simplex; the direction is d = Σ w_k g_k/m_k up to its length. With
    normalisation "none" m_k is 1, with "l2" ‖g_k‖, with "loss" L_k, with "loss+" L_k ‖g_k‖. No task gets worse to first
    order: ⟨d, g_k/m_k⟩ ≥ ‖d‖². The weights returned, w_k/m_k over their sum, are non-negative and sum to 1.

    ``mgda-ub`` is the same on the gradients at the shared representation, flattened with its batch axis as in the
    authors' code; LibMTL sums over the batch first, which gives another Gramian. ‖Σ w_k g_k‖ there bounds that over the
    shared parameters from above, up to a factor that does not depend on w.

    Solved exactly by active sets. Where gradients depend on each other the weights need not be unique; the direction
    is. A zero gradient is the shortest combination itself: all weight goes to it (evenly, if there are several), and
    the direction is zero. A loss of 0 or below counts as 0, the limit of small losses; if all do, they are left out of
    m. A loss that is not finite makes the weights NaN where m contains it.

    ``fallbacks`` counts the steps whose optimality conditions rounding left unmet; the weights are then those of
    another convex combination.

    Args:
        tasks: the tasks, in the order of the losses.
        normalisation: "none", "l2", "loss" or "loss+".
        on: where gradients are taken, ``parameters`` or ``representation``.

    Raises:
        UsageError: ``normalisation`` or ``on`` is none of these.
    """

    card: ClassVar[Card] = Card(
        paper="Sener, Koltun. Multi-Task Learning as Multi-Objective Optimization. NeurIPS 2018",
        url="https://arxiv.org/abs/1810.04650",
        formula="min ‖Σ w_k g_k/m_k‖ over the simplex; m_k is 1, ‖g_k‖, L_k or L_k ‖g_k‖; d = Σ w_k g_k/m_k up to its"
        " length",
        hyperparameters={
            "normalisation": "the paper; the authors have loss+ for CelebA and none for their other data sets",
            "on": ON_ORIGIN,
        },
        deviations=(
            "solved exactly; the Frank–Wolfe iteration of TorchJD stops up to 3e-3 away, the authors' solver at "
            "0.999 instead of 1 where one gradient alone is shortest",
            "the w found on g_k/m_k weigh these; in the authors' and Nash-MTL's code they weigh the raw g_k, "
            "which loses the common descent",
            "w_k/m_k are divided by their sum, so that the length of the step is that of the gradients; in "
            "LibMTL it is that of unit gradients",
            "task-specific parameters get their own task's plain gradient; in the authors' and Nash-MTL's "
            "code the weighted one",
        ),
        sum_of_weights="1",
        bibtex="@inproceedings{sener2018multi, title={Multi-Task Learning as Multi-Objective Optimization}, "
        "author={Sener, Ozan and Koltun, Vladlen}, booktitle={Advances in Neural Information Processing "
        "Systems}, year={2018}}",
    )

    def __init__(self, tasks: Sequence[Task], *, normalisation: str = "none", on: str = "parameters") -> None:
        super().__init__(tasks, on=on)
        if normalisation not in NORMALISATIONS:
            known = ", ".join(repr(name) for name in NORMALISATIONS)
            raise UsageError(f"'mgda' needs one of {known} as 'normalisation', found {normalisation!r}")
        self.normalisation = normalisation

    def solve(self, rows: UnitRows, losses: Array) -> tuple[Array, bool]:
        """(K,) weights that sum to 1."""
        if "loss" in self.normalisation and not np.isfinite(losses).all():
            return np.full(rows.count, np.nan), True
        if not rows.present.all():
            return ~rows.present / (~rows.present).sum(), True
        # On unit gradients w_k = x_k m_k/‖g_k‖: the simplex is x ≥ 0, nᵀx = 1 with n = m/‖g‖, up to a factor.
        normal = np.ones(rows.count) if self.normalisation in ("l2", "loss+") else rows.lengths.min() / rows.lengths
        known = np.maximum(losses, 0.0)
        if "loss" in self.normalisation and known.max() > 0:
            normal = normal * (known / known.max())
        found = minimise(rows.cosines, np.zeros(rows.count), normal / normal.max())
        # A positive factor on all the weights is free here: lengths relative to the shortest cannot overflow.
        weights = found.point / (rows.lengths / rows.lengths.min())
        return weights / weights.sum(), found.solved
