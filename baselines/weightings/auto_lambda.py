"""Auto-Lambda: weights follow the loss of another batch after a virtual step."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from baselines.adam import Adam
from baselines.weightings.solvers import checked_number
from benchmark.errors import unknown
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card, LookaheadWeighting

SPLITS = ("val", "train")


@WEIGHTINGS.register("auto-lambda")
class AutoLambda(LookaheadWeighting):
    """Auto-Lambda, weights by one-step bilevel optimisation (Liu et al., TMLR 2022), all tasks being primary.

    Before a step, w moves by Adam down the gradient of Σ L_j(other batch; θ') with θ' = θ − lr ∇Σ w_k L_k(θ), which is
    −lr ⟨∇Σ L_j(θ'), ∇L_k(θ)⟩, found by a central difference. The step itself is then one on Σ w_k L_k.

    The weights are free: they can pass 0, and nothing fixes their sum, K/10 at the start. A loss that is not finite
    makes all weights NaN, for the engine to see.

    Absent tasks keep their weights and moments. The other batch's absent tasks add nothing to its loss.

    State: w and Adam's moments.

    Args:
        tasks: the tasks, in the order of the losses.
        start: every task's weight at the start.
        lr: step length of w.
        split: the split of the other batch, "val" or "train". With "val", validation data have a say in training, and
            choosing an epoch by them is no longer a choice by unseen data.

    Raises:
        UsageError: ``start`` or ``lr`` is no positive finite number, or ``split`` neither.
    """

    card: ClassVar[Card] = Card(
        paper="Liu, James, Davison, Johns. Auto-Lambda: Disentangling Dynamic Task Relationships. TMLR 2022",
        url="https://arxiv.org/abs/2202.03091",
        formula="w ← Adam(w; ∂/∂w_k Σ_j L_j(other batch; θ′)), θ′ = θ − η ∇Σ w_k L_k(θ);\n"
        "∂/∂w_k = −η ⟨v, ∇L_k(θ)⟩ ≈ −η (L_k(θ + εv) − L_k(θ − εv))/2ε, v = ∇Σ L_j(θ′), ε = 0.01/‖v‖",
        hyperparameters={
            "start": "the authors' code",
            "lr": "the authors' runs on NYUv2; 3e-5 on Cityscapes",
            "split": "the paper's formula; the authors' code draws the other batch from the training set",
        },
        deviations=(
            "the virtual step follows the plain gradient: the authors add the momentum and weight decay of their "
            "optimiser, SGD, to it; Adam's own step is not imitated",
            "the passes beside the step leave batch-norm statistics as they are; in the authors' code they move in all",
            "the central difference is taken in float32 also where training is not: half-precision weights would not "
            "resolve its step",
        ),
        sum_of_weights="free",
        bibtex="""@article{liu2022autolambda,
  title = {Auto-Lambda: Disentangling Dynamic Task Relationships},
  author = {Liu, Shikun and James, Stephen and Davison, Andrew J. and Johns, Edward},
  journal = {Transactions on Machine Learning Research},
  year = {2022}
}""",
    )

    minds_absent: ClassVar[bool] = True
    current: Tensor  # (K,) w

    def __init__(self, tasks: Sequence[Task], *, start: float = 0.1, lr: float = 1e-4, split: str = "val") -> None:
        super().__init__(tasks)
        if split not in SPLITS:
            raise unknown("split of 'auto-lambda'", str(split), SPLITS)
        self.split = split
        first = checked_number("auto-lambda", "start", start, zero=False)
        self.adam = Adam(len(self.tasks), lr=checked_number("auto-lambda", "lr", lr, zero=False))
        self.register_buffer("current", torch.full((len(self.tasks),), first))

    def weights(self, losses: Tensor) -> Tensor:
        """(K,) losses -> (K,) weights, whatever the step's losses are."""
        return self.present.rows(self.current).clone()

    def observe(self, alignments: Tensor, learning_rate: float) -> None:
        """Move the weights. (K,) inner products ⟨v, ∇L_k⟩, and η."""
        self.adam.step(self.current, -learning_rate * alignments, self.present)
