"""Constant weights, given by the user."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from benchmark.errors import UsageError
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card, Weighting

#: How far the given weights' sum may be from 1.
TOLERANCE = 1e-6


@WEIGHTINGS.register("constant")
class Constant(Weighting):
    """Fixed weights: Σ w_k L_k, the strong baseline of Kurin et al. and Xin et al. (both NeurIPS 2022).

    The option is a point of the simplex, and w_k is K times it: the weights sum to K, and K equal numbers are `equal`.
    Another scale would change the length of every step, which is the learning rate's business, not the weights'.

    A task may have weight 0, but a loss that is not finite still makes the objective not finite. No state.

    Args:
        tasks: the tasks, in the order of the losses.
        weights: K numbers, none negative, that sum to 1 (within 1e-6), in the order of the tasks.

    Raises:
        UsageError: ``weights`` is anything else.
    """

    fixed: ClassVar[bool] = True
    card: ClassVar[Card] = Card(
        paper="Xin, Ghorbani, Gilmer, Garg, Firat. Do Current Multi-Task Optimization Methods in Deep Learning "
        "Even Help? NeurIPS 2022",
        url="https://arxiv.org/abs/2209.11379",
        formula="min Σ w_k L_k; w is K times a given point of the simplex",
        hyperparameters={
            "weights": "none: to be chosen, by a sweep over the simplex for instance",
        },
        sum_of_weights="K",
        bibtex="@inproceedings{xin2022current, title={Do Current Multi-Task Optimization Methods in Deep Learning "
        "Even Help?}, author={Xin, Derrick and Ghorbani, Behrooz and Gilmer, Justin and Garg, Ankush and "
        "Firat, Orhan}, booktitle={Advances in Neural Information Processing Systems}, year={2022}}",
    )

    scaled: Tensor  # (K,)

    def __init__(self, tasks: Sequence[Task], *, weights: Sequence[float]) -> None:
        super().__init__(tasks)
        count = len(self.tasks)
        if not isinstance(weights, list | tuple) or len(weights) != count or not all(map(_is_weight, weights)):
            names = ", ".join(task.name for task in self.tasks)
            raise UsageError(
                f"'constant' needs {count} finite numbers, none negative, as 'weights' ({names}), found {weights!r}"
            )
        if abs(math.fsum(weights) - 1) > TOLERANCE:
            raise UsageError(
                f"'constant' needs 'weights' that sum to 1, found {weights!r}, which sum to {math.fsum(weights):.6g}; "
                "divide each by their sum"
            )
        self.register_buffer("scaled", torch.tensor([count * weight for weight in weights]), persistent=False)

    def weights(self, losses: Tensor) -> Tensor:
        """(K,) losses -> (K,) the given weights times K, whatever the losses are."""
        return self.scaled.clone()


def _is_weight(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
