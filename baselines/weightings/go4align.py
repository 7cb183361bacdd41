"""GO4Align: tasks of like standing form groups, and a group shares one weight."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from baselines.losses import absent, defined, shares, without
from baselines.weightings.solvers import checked_number
from benchmark.errors import UsageError
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card, Weighting


@WEIGHTINGS.register("go4align")
class GO4Align(Weighting):
    """Group optimisation for multi-task alignment (Shen et al., NeurIPS 2024).

    Every task has a risk-guided indicator p_k, of sum 1 over the tasks, that starts even and moves by p_k ← p_k
    exp(−η L_k) before every step. With the losses' scale taken out, v_k = (Σ L_j/L_k) p_k; one-dimensional k-means on v
    finds groups, and the weight of every task of a group is the mean of their v. The weights are held constant in the
    step and have no fixed sum; with groups of one task each Σ w_k L_k is Σ L_k.

    With one group all weights are equal. There are at most as many groups as tasks with a loss in the step: of two
    tasks and two groups each is its own.

    k-means is solved exactly: in one dimension groups are neighbours in the order of v, and the division of least
    squared distances is found by dynamic programming. Nothing is drawn, and neither a start nor the order of the tasks
    decides.

    A loss of exactly 0 sits the step out, with weight 0, and its indicator stays. A negative loss or one that is not
    finite makes weights, objective and gradients NaN, for the engine to see. Absent tasks keep their indicators, and
    have no part in the others'.

    State: the logarithms of the indicators, up to a constant.

    Args:
        tasks: the tasks, in the order of the losses.
        groups: of tasks, at most.
        step_size: η.

    Raises:
        UsageError: ``groups`` is not a whole number from 1, or ``step_size`` no finite number of at least 0.
    """

    card: ClassVar[Card] = Card(
        paper="Shen, Wang, Xiao, Van Noord, Worring. GO4Align: Group Optimization for Multi-Task Alignment. NeurIPS "
        "2024",
        url="https://arxiv.org/abs/2404.06486",
        formula="p_k ← p_k exp(−η L_k), Σ p = 1; v_k = (Σ L_j/L_k) p_k; w_k the mean of v over the task's group, "
        "groups by k-means on v; min Σ w_k L_k, w held constant",
        hyperparameters={
            "groups": "a choice of this suite, the fewest that do something; 1 in the authors' parser, where all "
            "weights are equal",
            "step_size": "the authors' code",
        },
        deviations=(
            "k-means is solved exactly; the authors' code starts it at random, without a seed",
            "a loss of 0, whose inverse the formula does not have, sits the step out",
        ),
        sum_of_weights="free",
        bibtex="@inproceedings{shen2024go4align, title={{GO4Align}: Group Optimization for Multi-Task Alignment}, "
        "author={Shen, Jiayi and Wang, Cheems and Xiao, Zehao and Van Noord, Nanne and Worring, Marcel}, "
        "booktitle={Advances in Neural Information Processing Systems}, year={2024}}",
    )

    minds_absent: ClassVar[bool] = True
    log_indicators: Tensor  # (K,) float64

    def __init__(self, tasks: Sequence[Task], *, groups: int = 2, step_size: float = 1e-4) -> None:
        super().__init__(tasks)
        if not isinstance(groups, int) or isinstance(groups, bool) or groups < 1:
            raise UsageError(f"'go4align' needs a whole number from 1 as 'groups', found {groups!r}")
        self.groups = groups
        self.step_size = checked_number("go4align", "step_size", step_size, zero=True)
        self.register_buffer("log_indicators", torch.zeros(len(self.tasks), dtype=torch.float64))

    def weights(self, losses: Tensor) -> Tensor:
        """(K,) losses -> (K,) weights, the same within a group; moves the indicators."""
        out, known, values = absent(losses), losses.double(), defined(losses).double()
        # What is taken off all alike changes no indicator, and leaves an absent task where it stood among the others.
        mean = known.sum() / (~out).sum().clamp(min=1)
        logarithms = self.present.rows(self.log_indicators)
        moved = torch.where(out, logarithms, logarithms - self.step_size * (known - mean))
        self.present.write(self.log_indicators, moved)
        indicators = shares(without(out, moved)).double()
        scaled = torch.where(out, 0.0, known.sum() / values * indicators)
        return torch.where(out, 0.0, group_means(scaled, ~out, self.groups)).to(losses)


def group_means(values: Tensor, counted: Tensor, groups: int) -> Tensor:
    """The means of the groups that k-means finds in one dimension, exactly and without a wait for the device.

    Args:
        values: (K,) float64.
        counted: (K,) bool; the others belong to a group and change none.
        groups: at most.

    Returns:
        (K,) for each value the mean of its group; all NaN where a value that counts is not finite.
    """
    count = len(values)
    ordered, places = torch.where(counted, values, 0.0).sort(stable=True)
    weight = counted[places].to(values)
    place = torch.arange(count, device=values.device)
    first, last, inside = place[:, None], place, place[None, None]
    # Of every run of neighbours [first, last] its mean and the squared distances from it. (K, K)
    within = ((first[..., None] <= inside) & (inside <= last[:, None])) * weight
    means = (within * ordered).sum(-1) / within.sum(-1).clamp(min=1)
    distances = (within * (ordered - means[..., None]).square()).sum(-1)
    distances = torch.where(first <= last, distances, torch.inf)
    # best[j]: of the best division of the first j + 1 values; centres[j]: the means of its groups. (K,), (K, K)
    best, centres = distances[0], means[0][:, None].expand(count, count)
    for _ in range(min(groups, count) - 1):
        before = torch.cat([best.new_full((1,), torch.inf), best[:-1]])
        divided = before[:, None] + distances
        least = divided.amin(0)
        # The first of equals, which ``argmin`` does not promise.
        start = torch.where(divided == least, first, count - 1).amin(0)
        ending = torch.where(inside[0] < start[:, None], centres[(start - 1).clamp(min=0)], means[start, last][:, None])
        best, centres = least, ending
    found = torch.zeros_like(values).scatter(0, places, centres[-1])
    return torch.where((values.isfinite() | ~counted).all(), found, torch.nan)
