"""Impartial multi-task learning, both halves: scaled losses, then a direction with equal projections."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from baselines.gramians import ON_ORIGIN
from baselines.weightings.imtl_g import ImpartialGradients
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card


@WEIGHTINGS.register("imtl")
class Impartial(ImpartialGradients):
    """Impartial multi-task learning, IMTL (Liu et al., ICLR 2021): IMTL-L for all parameters, IMTL-G for the shared.

    Every loss is replaced by exp(s_k) L_k − s_k (``imtl-l``), whose plain gradient trains the task's own parameters and
    s_k, one learned scalar per task that starts at 0. The shared parameters move by ``imtl-g`` on the scaled losses'
    gradients; as its direction does not depend on the gradients' lengths, the scales change only how long the step is.

    The weights are those of the scaled losses' gradients and sum to 1, with the consequences that ``imtl-g`` names.
    A loss that is not finite makes the gradients not finite, for the engine to see. State: s, a parameter.

    Deviations: as in ``imtl-g``, gradients are by default those at the shared parameters (LibMTL) and not at the shared
    feature (the paper; ``on=representation``), and dependent gradients have a value.

    Args:
        tasks: the tasks, in the order of the losses.
        on: where gradients are taken, ``parameters`` or ``representation``.

    Raises:
        UsageError: ``on`` is neither.
    """

    card: ClassVar[Card] = Card(
        paper="Liu, Li, Kuang, Xue, Chen, Yang, Liao, Zhang. Towards Impartial Multi-task Learning. ICLR 2021",
        url="https://openreview.net/forum?id=IMPnRXEWpvr",
        formula="losses exp(s_k) L_k − s_k with learned s_k; on their gradients, Σ w = 1 and equal projections of "
        "Σ w_k g_k on every g_k/‖g_k‖",
        hyperparameters={"on": ON_ORIGIN},
        deviations=(
            "by default gradients are those of the shared parameters, as in LibMTL; the paper takes them at the shared "
            "feature (on=representation)",
            "dependent gradients and gradients of zero, for which the formula has no value, are defined as in imtl-g",
        ),
        sum_of_weights="1",
        bibtex="@inproceedings{liu2021towards, title={Towards Impartial Multi-task Learning}, author={Liu, Liyang and "
        "Li, Yi and Kuang, Zhanghui and Xue, Jing-Hao and Chen, Yimin and Yang, Wenming and Liao, Qingmin and Zhang, "
        "Wayne}, booktitle={International Conference on Learning Representations}, year={2021}}",
    )

    minds_absent: ClassVar[bool] = True

    def __init__(self, tasks: Sequence[Task], *, on: str = "parameters") -> None:
        super().__init__(tasks, on=on)
        self.log_scales = nn.Parameter(torch.zeros(len(self.tasks)))

    def task_losses(self, losses: Sequence[Tensor]) -> list[Tensor]:
        """K losses L_k -> exp(s_k) L_k − s_k, each with a graph of its own."""
        return [self.log_scales[k].exp() * loss - self.log_scales[k] for k, loss in enumerate(losses)]
