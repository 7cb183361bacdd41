"""PIVRG: FairGrad's direction, in which tasks that are behind count more."""

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from baselines.gramians import ON_ORIGIN
from baselines.losses import shares
from baselines.weightings.solvers import SolvedWeighting, UnitRows, checked_number, clipped, fair_weights
from baselines.weightings.solvers.gramian import Array
from benchmark.errors import UsageError
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card

#: 1/α of FairGrad.
POWER = 0.5
#: Of ``bound``: a priority beyond it is so near 0 that the equation has no solution to rounding.
LARGEST_BOUND = 1e6


@WEIGHTINGS.register("pivrg")
class PIVRG(SolvedWeighting):
    """Performance-informed variance reduction gradient (Qin et al., CVPR 2025), with scores of training losses.

    FairGrad with α = 2, and a priority ω_k for each task: G w = (ω/w)^½, w > 0, entry by entry, so that
    ⟨g_k, d⟩ = (ω_k/w_k)^½. The priorities sum to K and follow how far a task is behind, its score s_k in per cent:

        ω = K softmax(s/T),   T = max((max s − min s)/log bound, min_temperature),

    so that the largest is at most ``bound`` times the smallest; scores that are closer than min_temperature · log bound
    give milder ones. Scores change at the end of an epoch, and are 0, which makes it FairGrad, until there are any.

    In the authors' experiments s_k is by how many per cent the last epoch's metrics are worse than a single-task
    network's: those on the training split for NYUv2 and Cityscapes, on the validation split for CelebA and QM9. A
    weighting sees no metrics here. So s_k = 100 (L_k/R_k − 1), L_k being the task's mean training loss over the epoch
    and R_k one of two references: the loss that ``references`` gives, such as the mean training loss of a single-task
    network at its end, or by default that of the task's own first epoch with a label. With the first, a task that is
    further from its single-task network counts more, as in the paper; with the second, one whose loss has fallen less.

    Solved as FairGrad is; where there is no solution, ``fallbacks`` counts the step. A task whose gradient is zero has
    the weight 0 and no part in the others' equation; its score is among those that the softmax sees. Absent tasks have
    none in either, and keep their scores. A reference that is not positive and finite, or a score that is not, makes
    the weights NaN, for the engine to see.

    State: the references, the scores and ``fallbacks``, in buffers.

    Args:
        tasks: the tasks, in the order of the losses.
        references: K positive losses in the order of the tasks; None for those of the first epoch.
        bound: of the ratio of two priorities, above 1 and up to 1e6.
        min_temperature: least T, in per cent.
        max_norm: largest length of d; 0 is no limit. With ``on`` at the representation, the length there is
            limited.
        on: where gradients are taken, ``parameters`` or ``representation``.

    Raises:
        UsageError: ``references`` is anything else, ``bound`` no number above 1 and up to 1e6, ``min_temperature`` no
            positive finite number, ``max_norm`` no finite number of at least 0, or ``on`` neither place.
    """

    card: ClassVar[Card] = Card(
        paper="Qin, Wang, Yan. Revisiting Fairness in Multitask Learning: A Performance-Driven Approach for Variance "
        "Reduction. CVPR 2025",
        url="https://openaccess.thecvf.com/content/CVPR2025/papers/Qin_Revisiting_Fairness_in_Multitask_Learning_A_"
        "Performance-Driven_Approach_for_Variance_CVPR_2025_paper.pdf",
        formula="G w = (ω/w)^½, w > 0, entry by entry; ω = K softmax(s/T), T = max((max s − min s)/log bound, "
        "min_temperature), s_k = 100 (L_k/R_k − 1) of the last epoch; d = Σ w_k g_k",
        hyperparameters={
            "references": "a choice of this suite: the first epoch's losses, which every run has",
            "bound": "the authors' commands for NYUv2 and CelebA; 1.8 for Cityscapes and QM9",
            "min_temperature": "the authors' commands for NYUv2 and CelebA; 20 for Cityscapes, 100 for QM9",
            "max_norm": "a choice of this suite, that of fairgrad: no limit; 1 in the authors' trainer",
            "on": ON_ORIGIN,
        },
        deviations=(
            "scores are of mean training losses, against given ones or the first epoch's; the authors' are of metrics, "
            "against a single-task network's",
            "solved by Newton's method; the authors' least-squares solver starts from 1/K and stops early "
            "where gradients are short",
            "d is not scaled; the authors' trainer multiplies it by K and clips it to length 1",
        ),
        sum_of_weights="free",
        bibtex="@inproceedings{qin2025revisiting, title={Revisiting Fairness in Multitask Learning: A Performance-"
        "Driven Approach for Variance Reduction}, author={Qin, Xiaohan and Wang, Xiaoxing and Yan, Junchi}, "
        "booktitle={IEEE/CVF Conference on Computer Vision and Pattern Recognition}, year={2025}}",
    )

    minds_absent: ClassVar[bool] = True
    reference: Tensor  # (K,) float64, R; NaN where there is none yet
    scores: Tensor  # (K,) float64, s in per cent

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        references: Sequence[float] | None = None,
        bound: float = 2.0,
        min_temperature: float = 10.0,
        max_norm: float = 0.0,
        on: str = "parameters",
    ) -> None:
        super().__init__(tasks, on=on)
        self.bound = checked_number("pivrg", "bound", bound, zero=False)
        if not 1 < self.bound <= LARGEST_BOUND:
            raise UsageError(
                f"'pivrg' needs a number above 1 and up to {LARGEST_BOUND:.0f} as 'bound', found {bound!r}"
            )
        self.min_temperature = checked_number("pivrg", "min_temperature", min_temperature, zero=False)
        self.max_norm = checked_number("pivrg", "max_norm", max_norm, zero=True)
        known = _checked_references(references, self.tasks)
        self.register_buffer("reference", torch.tensor(known, dtype=torch.float64))
        self.register_buffer("scores", torch.zeros(len(self.tasks), dtype=torch.float64))

    def epoch_end(self, train_losses: Tensor) -> None:
        """Set the next epoch's scores from (K,) mean training losses; a task without a label keeps its score."""
        means = train_losses.detach().to(self.reference)
        self.reference.copy_(torch.where(self.reference.isnan(), means, self.reference))
        usable = (self.reference > 0) & self.reference.isfinite()
        scores = 100 * (means / torch.where(usable, self.reference, torch.nan) - 1)
        self.scores.copy_(torch.where(means.isnan(), self.scores, scores))

    def priorities(self) -> Tensor:
        """(M,) ω of the present tasks in float64; NaN where a score is not finite."""
        scores = self.present.rows(self.scores)
        temperature = max(float(scores.max() - scores.min()) / math.log(self.bound), self.min_temperature)
        return len(scores) * shares(scores / temperature).double()

    def from_gramian(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """(K, K) Gramian -> (K,) weights, scaled down if the direction exceeds ``max_norm``."""
        if not self.present.rows(self.scores).isfinite().all():
            return torch.full_like(losses, torch.nan)
        weights = super().from_gramian(gramian, losses)
        return clipped(weights, gramian, self.max_norm) if weights.isfinite().all() else weights

    def solve(self, rows: UnitRows, losses: Array) -> tuple[Array, bool]:
        """(K,) weights that satisfy the equation."""
        priorities = self.priorities().numpy()[rows.present]
        # Of the unit gradients' coefficients x = w ‖g‖ it is U x = (ω/(‖g‖ x))^½.
        return fair_weights(rows, np.sqrt(priorities * rows.lengths.max() / rows.lengths), POWER)


def _checked_references(given: Sequence[float] | None, tasks: Sequence[Task]) -> list[float]:
    """K references, NaN where none are given.

    Raises:
        UsageError: it is neither None nor K positive finite numbers.
    """
    if given is None:
        return [math.nan] * len(tasks)
    if not isinstance(given, list | tuple) or len(given) != len(tasks) or not all(map(_is_loss, given)):
        names = ", ".join(task.name for task in tasks)
        raise UsageError(
            f"'pivrg' needs {len(tasks)} positive finite numbers as 'references' ({names}), found {given!r}"
        )
    return [float(loss) for loss in given]


def _is_loss(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
