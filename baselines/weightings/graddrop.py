"""GradDrop: every coordinate picks a sign."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from baselines.gramians import ON_ORIGIN
from baselines.matrices import Room, all_finite, chunk, nowhere
from benchmark.errors import UsageError, unknown
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import SPACES, Card, Direction, MatrixWeighting


@WEIGHTINGS.register("graddrop", version=2)
class GradDrop(MatrixWeighting):
    """Gradient sign dropout (Chen et al., NeurIPS 2020, Algorithm 1).

    For each coordinate the purity P = ½ (1 + Σ g_k / Σ |g_k|), which is the positive parts' share of Σ |g_k|, is the
    chance that the positive parts are kept and the negative ones dropped; else it is the other way round:
    d = Σ (ℓ + (1 − ℓ) M_k) g_k, where M_k is 1 for what is kept and the leak ℓ lets through a share of the rest. A
    coordinate on which all tasks agree is their sum.

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

    on_host = ("position",)
    position: Tensor  # () int64

    def __init__(self, tasks: Sequence[Task], *, leak: float = 0.0, on: str = "parameters") -> None:
        super().__init__(tasks)
        if isinstance(leak, bool) or not isinstance(leak, int | float) or not 0 <= leak <= 1:
            raise UsageError(f"'graddrop' needs a number from 0 to 1 as 'leak', found {leak!r}")
        if on not in SPACES:
            raise unknown("place of gradients ('on')", str(on), SPACES)
        self.leak = float(leak)
        self.on = on
        self._room, self._bits = Room(), Room()
        self.register_buffer("position", torch.randint(2**62, (), device="cpu"))

    def from_gradients(self, gradients: Tensor, losses: Tensor) -> Direction:
        """(K, P) gradients -> the direction."""
        vector, size = self._room.like(gradients[0]), min(chunk(gradients), max(1, gradients.shape[1]))
        draws, room = self._uniform(gradients[0]), [torch.empty_like(gradients[0][:size]) for _ in range(3)]
        total = gradients.new_zeros(())
        for start in range(0, gradients.shape[1], size):
            rows, place = gradients[:, start : start + size], vector[start : start + size]
            positive, negative, spare = (values[: len(place)] for values in room)
            torch.clamp(rows[0], min=0, out=positive)
            torch.clamp(rows[0], max=0, out=negative)
            for row in rows[1:]:
                positive += torch.clamp(row, min=0, out=spare)
                negative += torch.clamp(row, max=0, out=spare)
            sizes = torch.sub(positive, negative, out=spare)
            total += sizes.sum()
            # As numbers 0 and 1: masks make a CPU guess, and half of the guesses are wrong.
            kept = torch.gt(positive, draws(start, len(place)).mul_(sizes), out=spare)
            torch.lerp(negative, positive, kept, out=place)
            if self.leak:
                place.add_(torch.lerp(positive, negative, kept), alpha=self.leak)
        if not total.isfinite():
            return nowhere(gradients)
        self.position.add_(1)
        return Direction(vector, gradients.new_full((len(gradients),), torch.nan))

    def from_feature_gradients(self, gradients: Tensor, losses: Tensor, feature: Tensor) -> Direction:
        """(K, B, F) gradients and (B, F) feature -> the direction (B·F,)."""
        if not all_finite(gradients):
            return nowhere(gradients)
        votes = torch.stack([(rows * feature.sign()).sum(0) for rows in gradients])  # (K, F)
        positive, negative = votes.clamp(min=0).sum(0), votes.clamp(max=0).sum(0)
        draw = self._uniform(positive)(0, len(positive))
        chosen = positive > draw * (positive - negative)
        vector = torch.zeros_like(gradients[0])
        for rows, vote in zip(gradients, votes, strict=True):
            kept = torch.where(chosen, vote > 0, vote < 0)
            vector += rows * (self.leak + (1 - self.leak) * kept)
        self.position.add_(1)
        return Direction(vector.flatten(), gradients.new_full((len(gradients),), torch.nan))

    def _uniform(self, like: Tensor) -> Callable[[int, int], Tensor]:
        """A function of a start and a count that gives the fresh numbers in [0, 1) of the coordinates there."""
        generator = torch.Generator(like.device).manual_seed(int(self.position))
        if like.device.type != "cpu":
            drawn = torch.rand(like.shape, generator=generator, device=like.device, dtype=like.dtype)
            return lambda start, count: drawn[start : start + count]
        # Two numbers from 64 random bits, which a CPU makes twice as fast as two floats.
        bits = self._bits.like(like, dtype=torch.int64, count=len(like) // 2 + 1)
        halves = bits.random_(-(2**63), None, generator=generator).view(torch.int32)
        # 24 bits, all of which float32 holds: the greatest number is below 1.
        return lambda start, count: (halves[start : start + count] >> 8).to(like.dtype).mul_(2**-24).add_(0.5)
