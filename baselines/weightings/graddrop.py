"""GradDrop: every coordinate picks a sign."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from baselines.gramians import ON_ORIGIN
from baselines.matrices import all_finite, chunk, nowhere
from benchmark.errors import UsageError, unknown
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import SPACES, Card, Direction, MatrixWeighting


@WEIGHTINGS.register("graddrop")
class GradDrop(MatrixWeighting):
    """Gradient sign dropout (Chen et al., NeurIPS 2020, Algorithm 1).

    For each coordinate the purity P = ½ (1 + Σ g_k / Σ |g_k|) is the chance that the positive parts are kept and the
    negative ones dropped; else it is the other way round: d = Σ (ℓ + (1 − ℓ) M_k) g_k, where M_k is 1 for what is kept
    and the leak ℓ lets through a share of the rest. A coordinate on which all tasks agree is their sum.

    With ``on`` at the representation, as in the paper, a coordinate is an element of the feature: g_k in P and in M_k
    is the task's gradient times the sign of the feature, summed over the batch, and the batch shares one decision. At
    the parameters, as in the code of CAGrad, FAMO and Auto-Lambda, each parameter decides by its gradients.

    A common factor on all gradients is one on d. There are no weights: the record holds none. Where a gradient is not
    finite, neither is the direction.

    State: the number that seeds the next step's draw; the first comes from torch's current generator at construction.
    Draws are made on the gradients' device, whose kind therefore matters.

    Args:
        tasks: the tasks, in the order of the losses.
        leak: ℓ, the same for all tasks, from 0 to 1 (the plain sum).
        on: where gradients are taken, ``parameters`` or ``representation``.

    Raises:
        UsageError: ``leak`` is no number from 0 to 1, or ``on`` neither place.
    """

    card: ClassVar[Card] = Card(
        paper="Chen, Ngiam, Huang, Luong, Kretzschmar, Chai, Anguelov. Just Pick a Sign: Optimizing Deep Multitask "
        "Models with Gradient Sign Dropout. NeurIPS 2020",
        url="https://arxiv.org/abs/2010.06808",
        formula="per coordinate, P = (1 + Σ g_k / Σ |g_k|) / 2, U uniform: the sum of the positive g_k where P > U, of "
        "the negative ones elsewhere",
        hyperparameters={"leak": "0 in the paper's algorithm unless set; public codes too", "on": ON_ORIGIN},
        deviations=(
            "by default gradients are those of the shared parameters, as in the code of CAGrad, FAMO and Auto-Lambda, "
            "because most architectures have no single representation; on=representation is the paper's form",
            "the sum is not divided by the number of tasks, as in the paper",
        ),
        sum_of_weights="free",
        bibtex="@inproceedings{chen2020just, title={Just Pick a Sign: Optimizing Deep Multitask Models with Gradient "
        "Sign Dropout}, author={Chen, Zhao and Ngiam, Jiquan and Huang, Yanping and Luong, Thang and Kretzschmar, "
        "Henrik and Chai, Yuning and Anguelov, Dragomir}, booktitle={Advances in Neural Information Processing "
        "Systems}, year={2020}}",
    )

    position: Tensor  # () int64

    def __init__(self, tasks: Sequence[Task], *, leak: float = 0.0, on: str = "parameters") -> None:
        super().__init__(tasks)
        if isinstance(leak, bool) or not isinstance(leak, int | float) or not 0 <= leak <= 1:
            raise UsageError(f"'graddrop' needs a number from 0 to 1 as 'leak', found {leak!r}")
        if on not in SPACES:
            raise unknown("place of gradients ('on')", str(on), SPACES)
        self.leak = float(leak)
        self.on = on
        self.register_buffer("position", torch.randint(2**62, (), device="cpu"))

    def from_gradients(self, gradients: Tensor, losses: Tensor) -> Direction:
        """(K, P) gradients -> the direction."""
        if not all_finite(gradients):
            return nowhere(gradients)
        vector, size = torch.empty_like(gradients[0]), chunk(gradients)
        pieces = zip(
            gradients.split(size, dim=1), self._uniform(gradients[0]).split(size), vector.split(size), strict=True
        )
        for rows, draw, place in pieces:
            place.copy_(self._dropped(rows, rows, draw))
        return Direction(vector, gradients.new_full((len(gradients),), torch.nan))

    def from_feature_gradients(self, gradients: Tensor, losses: Tensor, feature: Tensor) -> Direction:
        """(K, B, F) gradients and (B, F) feature -> the direction (B·F,)."""
        if not all_finite(gradients):
            return nowhere(gradients.flatten(1))
        votes = torch.stack([(rows * feature.sign()).sum(0) for rows in gradients])  # (K, F)
        vector = self._dropped(gradients, votes, self._uniform(votes[0])).flatten()
        return Direction(vector, gradients.new_full((len(gradients),), torch.nan))

    def _dropped(self, gradients: Tensor, votes: Tensor, draw: Tensor) -> Tensor:
        """The direction (…, F) of (K, …, F) gradients, by signs and sizes of (K, F) votes and (F,) drawn numbers."""
        size = torch.zeros_like(votes[0])
        for row in votes:
            size += row.abs()
        # Without any vote the purity is NaN, and nothing is positive or negative.
        positive = (1 + votes.sum(0) / size) / 2 > draw
        vector = torch.zeros_like(gradients[0])
        for row, vote in zip(gradients, votes, strict=True):
            kept = torch.where(positive, vote > 0, vote < 0)
            vector += row * (self.leak + (1 - self.leak) * kept)
        return vector

    def _uniform(self, like: Tensor) -> Tensor:
        """Fresh numbers in [0, 1), one for each coordinate."""
        generator = torch.Generator(like.device).manual_seed(int(self.position))
        self.position.add_(1)
        return torch.rand(like.shape, generator=generator, device=like.device, dtype=like.dtype)
