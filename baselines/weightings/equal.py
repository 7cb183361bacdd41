"""Equal weights."""

from typing import ClassVar

import torch
from torch import Tensor

from benchmark.registry import WEIGHTINGS
from benchmark.weighting import Card, Weighting


@WEIGHTINGS.register("equal", mark=1, baseline=True)
class Equal(Weighting):
    """The plain sum of the losses, Σ L_k: every weight is 1."""

    fixed: ClassVar[bool] = True
    card: ClassVar[Card] = Card(
        paper="Kurin, De Palma, Kostrikov, Whiteson, Kumar. In Defense of the Unitary "
        "Scalarization for Deep Multi-Task Learning. NeurIPS 2022",
        url="https://arxiv.org/abs/2201.04122",
        formula="min Σ L_k; w_k = 1",
        sum_of_weights="K",
        bibtex="@inproceedings{kurin2022defense, title={In Defense of the Unitary Scalarization for Deep Multi-Task "
        "Learning}, author={Kurin, Vitaly and De Palma, Alessandro and Kostrikov, Ilya and Whiteson, Shimon "
        "and Kumar, M. Pawan}, booktitle={Advances in Neural Information Processing Systems}, year={2022}}",
    )

    def weights(self, losses: Tensor) -> Tensor:
        """(K,) losses -> (K,) ones."""
        return torch.ones_like(losses)
