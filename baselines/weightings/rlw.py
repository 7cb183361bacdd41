"""Random loss weighting: new random weights at every step."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from benchmark.errors import UsageError
from benchmark.exact import log, normal_quantiles
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card, Weighting

DISTRIBUTIONS = ("normal", "dirichlet")


@WEIGHTINGS.register("rlw")
class RandomLossWeighting(Weighting):
    """Random loss weighting (Lin et al., TMLR 2022).

    Every step draws w = softmax(x) with x_k from N(0, 1), or w from the flat Dirichlet distribution. The weights sum to
    1: steps are K times shorter than with `equal` where the optimiser does not undo it.

    The constructor takes one number from torch's global generator; from there on the weighting has its own sequence,
    SplitMix64 (Steele et al., OOPSLA 2014), computed by tensor operations: the same on every device, and without asking
    the device for a generator's state.

    State: the sequence's position, a buffer, so that a restored run goes on as if it had never stopped. A loss that is
    not finite makes the objective not finite; it changes no weight.

    Args:
        tasks: the tasks, in the order of the losses.
        distribution: ``normal`` (softmax of standard normals) or ``dirichlet`` (uniform on the simplex).

    Raises:
        UsageError: ``distribution`` is neither.
    """

    card: ClassVar[Card] = Card(
        paper="Lin, Ye, Zhang, Tsang. Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task "
        "Learning. TMLR 2022",
        url="https://arxiv.org/abs/2111.10603",
        formula="each step w = softmax(x) with x_k from N(0, 1), or w from Dirichlet(1, …, 1)",
        hyperparameters={
            "distribution": "the paper",
        },
        deviations=("draws come from a generator of the weighting's own; public code uses the global one",),
        sum_of_weights="1",
        bibtex="@article{lin2022reasonable, title={Reasonable Effectiveness of Random Weighting: A Litmus Test for "
        "Multi-Task Learning}, author={Lin, Baijiong and Ye, Feiyang and Zhang, Yu and Tsang, Ivor W.}, "
        "journal={Transactions on Machine Learning Research}, year={2022}}",
    )

    position: Tensor  # (), int64

    def __init__(self, tasks: Sequence[Task], *, distribution: str = "normal") -> None:
        super().__init__(tasks)
        if distribution not in DISTRIBUTIONS:
            raise UsageError(f"'rlw' needs 'normal' or 'dirichlet' as 'distribution', found {distribution!r}")
        self.distribution = distribution
        self.register_buffer("position", torch.randint(-(2**63), 2**63 - 1, ()))

    def weights(self, losses: Tensor) -> Tensor:
        """(K,) losses -> (K,) fresh weights, positive, of sum 1, whatever the losses are."""
        uniform = self._uniform(len(losses))
        if self.distribution == "normal":
            drawn = torch.softmax(normal_quantiles(uniform), dim=0)
        else:
            exponential = -log(uniform)
            drawn = exponential / exponential.sum()
        return drawn.to(losses)

    def _uniform(self, count: int) -> Tensor:
        """The sequence's next numbers in (0, 1), without either end. (count,) float64."""
        bits = self.position + _signed(0x9E3779B97F4A7C15) * torch.arange(1, count + 1, device=self.position.device)
        self.position.copy_(bits[-1])  # in place: a captured graph of the step reads this very tensor
        bits = (bits ^ _shifted(bits, 30)) * _signed(0xBF58476D1CE4E5B9)
        bits = (bits ^ _shifted(bits, 27)) * _signed(0x94D049BB133111EB)
        bits = bits ^ _shifted(bits, 31)
        return (_shifted(bits, 12).double() + 0.5) * 2.0**-52


def _signed(constant: int) -> int:
    """A 64-bit pattern as torch's int64 reads it."""
    return constant - 2**64 if constant >= 2**63 else constant


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Shift right and fill with zeros; ``>>`` alone would copy the sign."""
    return (bits >> by) & (2 ** (64 - by) - 1)
