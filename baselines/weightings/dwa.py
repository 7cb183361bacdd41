"""Dynamic weight average: more weight to the task whose loss falls more slowly."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from benchmark.errors import UsageError
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card, Weighting


@WEIGHTINGS.register("dwa", mark=2)
class DynamicWeightAverage(Weighting):
    """Dynamic weight average (Liu et al., CVPR 2019).

    In epoch t, w_k = K softmax_k(r_k / T) with r_k = L_k(t−1) / L_k(t−2), L_k(t) being task k's mean training loss over
    epoch t; 1 in the first two epochs. The weights sum to K, and no task's unit of loss matters.

    A ratio that has no meaning counts as 1, as of a task whose loss stays the same: where L_k(t−2) is 0, where either
    loss or the ratio itself is not finite, and after the first epoch, which has no predecessor. Plain division
    would carry NaN into every weight.

    Means are over the steps that had a label of the task. In a step, absent tasks have no part; the others keep their
    weights. A task without a label in a whole epoch has the ratio 1 after it, and its last mean is the one before.

    State: the last epoch's losses and the weights in force, both in buffers, so that a restored run goes on as if it
    had never stopped.

    Args:
        tasks: the tasks, in the order of the losses.
        temperature: T; the larger, the more even the weights.

    Raises:
        UsageError: ``temperature`` is not a positive finite number.
    """

    card: ClassVar[Card] = Card(
        paper="Liu, Johns, Davison. End-to-End Multi-Task Learning with Attention. CVPR 2019",
        url="https://arxiv.org/abs/1803.10704",
        formula="w_k = K softmax_k(r_k/T), r_k = L_k(t−1)/L_k(t−2), the mean training losses of the last two epochs; "
        "1 in the first two",
        hyperparameters={
            "temperature": "the paper",
        },
        deviations=("ratios without a meaning, which the paper leaves open, count as 1",),
        sum_of_weights="K",
        bibtex="@inproceedings{liu2019end, title={End-to-End Multi-Task Learning with Attention}, author={Liu, "
        "Shikun and Johns, Edward and Davison, Andrew J.}, booktitle={IEEE/CVF Conference on Computer Vision "
        "and Pattern Recognition}, year={2019}}",
    )

    last_losses: Tensor  # (K,)
    current_weights: Tensor  # (K,)

    def __init__(self, tasks: Sequence[Task], *, temperature: float = 2.0) -> None:
        super().__init__(tasks)
        number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
        if not number or not math.isfinite(temperature) or temperature <= 0:
            raise UsageError(f"'dwa' needs a positive finite number as 'temperature', found {temperature!r}")
        self.temperature = float(temperature)
        self.register_buffer("last_losses", torch.full((len(self.tasks),), torch.nan))
        self.register_buffer("current_weights", torch.ones(len(self.tasks)))

    def weights(self, losses: Tensor) -> Tensor:
        """(K,) losses -> (K,) weights of this epoch, whatever the step's losses are."""
        return self.current_weights.clone()

    def epoch_end(self, train_losses: Tensor) -> None:
        """Set the next epoch's weights from (K,) mean training losses of this one and of the one before."""
        train_losses = train_losses.detach().to(self.last_losses)
        ratio = train_losses / self.last_losses
        ratio = torch.where(ratio.isfinite() & self.last_losses.isfinite(), ratio, 1.0)
        # In place: a captured graph of the step reads these very tensors.
        self.current_weights.copy_(len(self.tasks) * torch.softmax(ratio / self.temperature, dim=0))
        self.last_losses.copy_(torch.where(train_losses.isnan(), self.last_losses, train_losses))
