"""Aligned-MTL: the gradients' principal components are made equally strong."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from baselines.gramians import ON_ORIGIN, RESOLUTION
from benchmark.errors import unknown
from benchmark.exact import sqrt
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card, GramianWeighting

SCALES = ("min", "median", "rmse")


@WEIGHTINGS.register("aligned-mtl")
class AlignedMTL(GramianWeighting):
    """Aligned-MTL, independent component alignment (Senushkin et al., CVPR 2023, Algorithm 1).

    All singular values of the gradients' matrix J are set to one value s, so that no combination of tasks dominates.
    With G = V Λ Vᵀ of rank r: B = s V Λ^(−1/2) Vᵀ over the r eigenvalues that are not zero, and d = 1ᵀ B J, w = B 1.

    No state. Weights have no fixed sum and can be negative; multiplying all gradients by a factor leaves them as they
    are. Orthogonal gradients of one length get the weight 1 each: the length is that of Samsung's code, a sum over
    tasks with preferences of 1, and K times that of a mean (preferences 1/K), as in TorchJD.

    Eigenvalues up to K · 1.2e-7 of the largest count as zero: float32's resolution, as in the official code. Just above
    it, scale "min" shortens the whole step to the smallest singular value, so nearly parallel gradients, or one that is
    nearly zero, all but stop the shared parameters; below it they no longer count. Gradients of zero, and all when all
    are zero, get the weight 0. Where the Gramian is not finite, neither are the weights.

    Args:
        tasks: the tasks, in the order of the Gramian.
        scale_mode: s is the smallest singular value ("min"), the median one (of two, the smaller; "median"), or
            the root of the mean of their squares ("rmse").
        on: where gradients are taken, ``parameters`` or ``representation``.

    Raises:
        UsageError: ``scale_mode`` or ``on`` is unknown.
    """

    card: ClassVar[Card] = Card(
        paper="Senushkin, Patakin, Kuznetsov, Konushin. Independent Component Alignment for Multi-Task Learning. "
        "CVPR 2023",
        url="https://arxiv.org/abs/2305.19000",
        formula="G = V Λ Vᵀ; w = s V Λ^(−1/2) Vᵀ 1 over the eigenvalues that are not zero, s = √λ_min (or their "
        "median, or root mean square)",
        hyperparameters={
            "scale_mode": "the authors' code",
            "on": ON_ORIGIN,
        },
        deviations=(
            "the authors' option to scale the gradients of task-specific parameters is not offered; these get"
            " their own task's plain gradient, its default",
        ),
        sum_of_weights="free",
        bibtex="@inproceedings{senushkin2023independent, title={Independent Component Alignment for Multi-Task "
        "Learning}, author={Senushkin, Dmitry and Patakin, Nikolay and Kuznetsov, Arseny and Konushin, "
        "Anton}, booktitle={IEEE/CVF Conference on Computer Vision and Pattern Recognition}, year={2023}}",
    )

    def __init__(self, tasks: Sequence[Task], *, scale_mode: str = "min", on: str = "parameters") -> None:
        super().__init__(tasks, on=on)
        if scale_mode not in SCALES:
            raise unknown("scale_mode of 'aligned-mtl'", str(scale_mode), SCALES)
        self.scale_mode = scale_mode

    def from_gramian(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """(K, K) Gramian -> (K,) weights B 1."""
        if not gramian.isfinite().all():
            return torch.full_like(losses, torch.nan)
        largest = gramian.diagonal().max()
        if largest <= 0:
            return torch.zeros_like(losses)
        values, vectors = torch.linalg.eigh(gramian / largest)
        kept = values > len(values) * RESOLUTION * values[-1]
        values, vectors = values[kept], vectors[:, kept]
        scale = {"min": values[0], "median": values.median(), "rmse": values.mean()}[self.scale_mode]
        return vectors @ (vectors.sum(0) * sqrt(scale / values))
