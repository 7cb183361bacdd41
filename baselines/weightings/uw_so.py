"""Soft optimal uncertainty weighting: shares of inverse losses, made even by a temperature."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from baselines.losses import absent, defined, shares, without
from baselines.weightings.solvers import checked_number
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card, Weighting


@WEIGHTINGS.register("uw-so")
class SoftOptimalUncertainty(Weighting):
    """Soft optimal uncertainty weighting, UW-SO (Kirchdorfer et al., GCPR 2024).

    Where uncertainty weighting has learned its scales, a task's weight is the inverse of its loss. UW-SO takes the
    inverses at once, without learning, and divides the weights among the tasks by a softmax: w = softmax_k(1/(T L_k)),
    held constant in the step. The weights sum to 1: steps are about K times shorter than with `equal` where the
    optimiser does not undo it. The unit of the losses matters: losses s times as large act as a temperature s times as
    high.

    A loss of exactly 0 sits the step out, with weight 0, and the others share as if it were not there. A negative loss
    makes weights, objective and gradients NaN, for the engine to see; one that is not finite makes the objective not
    finite.

    Args:
        tasks: the tasks, in the order of the losses.
        temperature: T; the larger, the more even the weights.

    Raises:
        UsageError: ``temperature`` is not a positive finite number.
    """

    card: ClassVar[Card] = Card(
        paper="Kirchdorfer, Elich, Kutsche, Stuckenschmidt, Schott, Köhler. Analytical Uncertainty-Based Loss "
        "Weighting in Multi-Task Learning. GCPR 2024",
        url="https://arxiv.org/abs/2408.07985",
        formula="min Σ w_k L_k, w = softmax_k(1/(T L_k)) held constant",
        hyperparameters={
            "temperature": "a choice of this suite, the plain softmax; the paper has no default and tunes T for each "
            "data set and network",
        },
        deviations=("a loss of 0, whose inverse the formula does not have, sits the step out",),
        sum_of_weights="1",
        bibtex="@inproceedings{kirchdorfer2024analytical, title={Analytical Uncertainty-Based Loss Weighting in "
        "Multi-Task Learning}, author={Kirchdorfer, Lukas and Elich, Cathrin and Kutsche, Simon and Stuckenschmidt, "
        "Heiner and Schott, Lukas and Köhler, Jan M.}, booktitle={DAGM German Conference on Pattern Recognition}, "
        "year={2024}}",
    )

    def __init__(self, tasks: Sequence[Task], *, temperature: float = 1.0) -> None:
        super().__init__(tasks)
        self.temperature = checked_number("uw-so", "temperature", temperature, zero=False)

    def weights(self, losses: Tensor) -> Tensor:
        """(K,) losses -> (K,) weights of sum 1, or zeros where all losses are."""
        out = absent(losses)
        inverse = 1 / (self.temperature * defined(losses).double())
        found = shares(without(out, inverse))
        return torch.where(out, 0.0, found).to(losses)
