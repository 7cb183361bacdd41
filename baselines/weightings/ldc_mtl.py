"""LDC-MTL: learned weights, and a penalty on how far weighted losses of neighbouring tasks are apart."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from baselines.weightings.solvers import checked_number
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card, Weighting


@WEIGHTINGS.register("ldc-mtl")
class LossDiscrepancyControl(Weighting):
    """Loss discrepancy control, LDC-MTL (Xiao et al., arXiv 2502.08585, 2025), as one joint step.

    Minimises Σ σ_k L_k/Σσ + λ Σ |σ_k L_k − σ_{k+1} L_{k+1}| over the network and over s, where σ_k = sigmoid(s_k) and
    Σσ is held constant; s, one number for each task that starts at 1, is trained by the model's optimiser. The penalty
    is over neighbours in the order of the tasks: of three tasks or more another order is another rule.

    The weights, the objective's derivatives, are σ_k (1/Σσ + λ (±1 ± 1)), the signs those of the two differences that
    the task is in, 0 where they are. Σ w_k L_k is the objective. The weights have no fixed sum, and with λ above
    1/(2 Σσ) that of a task whose weighted loss lies below both neighbours' is negative, so that its loss rises.

    A loss of 0 is a loss like others. One that is not finite makes the objective not finite. Neighbours are those
    among the present tasks; what is learned of absent ones gets no gradient. State: s, a parameter.

    Args:
        tasks: the tasks, in the order of the losses.
        penalty: λ.

    Raises:
        UsageError: ``penalty`` is no finite number of at least 0.
    """

    card: ClassVar[Card] = Card(
        paper="Xiao, Dong, Zou, Ji. LDC-MTL: Balancing Multi-Task Learning through Scalable Loss Discrepancy Control. "
        "arXiv 2502.08585, 2025",
        url="https://arxiv.org/abs/2502.08585",
        formula="min Σ σ_k L_k/Σσ + λ Σ |σ_k L_k − σ_{k+1} L_{k+1}| over the network and s, σ = sigmoid(s), Σσ held "
        "constant as divisor",
        hyperparameters={"penalty": "the authors' code for NYUv2 and QM9; 0.01 on CelebA"},
        deviations=(
            "one joint step of network and weights, as in the authors' code; the paper has two levels",
            "weights are a learned vector, as in the authors' code for CelebA; elsewhere a linear layer makes them of "
            "the mean feature, which a weighting of losses does not see",
            "losses are taken as they are, as in the authors' code for CelebA; on NYUv2 it divides them by the first "
            "step's, relative to the least of these, on QM9 it takes logarithms of such ratios",
        ),
        sum_of_weights="free",
        bibtex="@article{xiao2025ldc, title={{LDC-MTL}: Balancing Multi-Task Learning through Scalable Loss "
        "Discrepancy Control}, author={Xiao, Peiyao and Dong, Chaosheng and Zou, Shaofeng and Ji, Kaiyi}, "
        "journal={arXiv preprint arXiv:2502.08585}, year={2025}}",
    )

    minds_absent: ClassVar[bool] = True

    def __init__(self, tasks: Sequence[Task], *, penalty: float = 0.05) -> None:
        super().__init__(tasks)
        self.penalty = checked_number("ldc-mtl", "penalty", penalty, zero=True)
        self.logits = nn.Parameter(torch.ones(len(self.tasks)))

    def weights(self, losses: Tensor) -> Tensor:
        """(K,) losses -> (K,) derivatives of the objective, attached to s."""
        scales = torch.sigmoid(self.present.rows(self.logits))
        weighted = scales.detach() * losses
        signs, end = torch.sign(weighted[:-1] - weighted[1:]), weighted.new_zeros(1)
        pull = torch.cat([signs, end]) - torch.cat([end, signs])
        return scales * (1 / scales.detach().sum() + self.penalty * pull)
