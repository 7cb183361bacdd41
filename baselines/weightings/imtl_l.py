"""Impartial multi-task learning, its loss balance: one learned scale per task."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card, Weighting


@WEIGHTINGS.register("imtl-l")
class ImpartialLosses(Weighting):
    """Loss balance of impartial multi-task learning, IMTL-L (Liu et al., ICLR 2021).

    Minimises Σ exp(s_k) L_k − s_k over the network and over s, one scalar per task that starts at 0 and that the
    model's optimiser trains. At a fixed loss the best s_k is −log L_k, where every scaled loss is 1: there it is `si`.
    It is also twice `uncertainty` at −s, so that only start, step length and this factor tell the two apart. The
    weights exp(s_k) have no fixed sum; at the start they are 1 each. State: s, a parameter.

    A loss of 0 leaves a gradient of −1 on s_k, which then rises step by step: the objective has no lower bound there,
    nor for a negative loss, until exp(s_k) overflows and shows. A loss that is not finite makes the objective and the
    gradient of its s_k not finite, for the engine to see.
    """

    card: ClassVar[Card] = Card(
        paper="Liu, Li, Kuang, Xue, Chen, Yang, Liao, Zhang. Towards Impartial Multi-task Learning. ICLR 2021",
        url="https://openreview.net/forum?id=IMPnRXEWpvr",
        formula="min Σ exp(s_k) L_k − s_k over the network and s",
        sum_of_weights="free",
        bibtex="@inproceedings{liu2021towards, title={Towards Impartial Multi-task Learning}, author={Liu, Liyang "
        "and Li, Yi and Kuang, Zhanghui and Xue, Jing-Hao and Chen, Yimin and Yang, Wenming and Liao, Qingmin"
        " and Zhang, Wayne}, booktitle={International Conference on Learning Representations}, year={2021}}",
    )

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__(tasks)
        self.log_scales = nn.Parameter(torch.zeros(len(self.tasks)))

    def weights(self, losses: Tensor) -> Tensor:
        """(K,) losses -> (K,) scales exp(s_k)."""
        return self.log_scales.exp()

    def objective(self, losses: Tensor, weights: Tensor) -> Tensor:
        """(K,) losses -> Σ exp(s_k) L_k − s_k, differentiable in the losses and in s."""
        return (weights * losses).sum() - self.log_scales.sum()
