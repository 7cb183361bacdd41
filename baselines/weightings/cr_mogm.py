"""CR-MOGM: the weights of another method, averaged over its past steps."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from baselines.gramians import ON_ORIGIN
from baselines.wrapping import WrappingWeighting, build_wrapped
from benchmark.errors import UsageError
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card

NAME = "cr-mogm"


@WEIGHTINGS.register(NAME)
class SmoothedWeights(WrappingWeighting):
    """Correlation-reduced stochastic multi-objective gradient manipulation, CR-MOGM (Zhou et al., NeurIPS 2022).

    Weights that depend on the step's gradients bias a stochastic direction, since both come from one batch. So the
    direction takes λ in place of the weights w that the wrapped method gives: λ ← α λ + (1−α) w, from λ = w in the
    first step. With α = 0 it is the wrapped method. Where that one's weights have a fixed sum, so has λ; where they
    grow as the gradients shorten, λ lags behind by about 1/(1−α) steps.

    Any method whose weights are a function of the Gramian can be wrapped, with its default options. Its learned
    quantities, its state and its fallbacks are part of this one's. A task that is absent keeps its λ, and one that is
    present for the first time takes w. Weights that are not finite are passed on, and λ stays as it was.

    State: λ, of which tasks it is known, and the wrapped method's.

    Args:
        tasks: the tasks, in the order of the Gramian.
        of: the wrapped method's name.
        alpha: α, the share of the past, from 0 and below 1.
        on: where gradients are taken, ``parameters`` or ``representation``.

    Raises:
        UsageError: ``of`` is unknown or cannot be wrapped, ``alpha`` is not a number from 0 and below 1, or ``on``
            neither place.
    """

    card: ClassVar[Card] = Card(
        paper="Zhou, Zhang, Jiang, Zhong, Gu, Zhu. On the Convergence of Stochastic Multi-Objective Gradient "
        "Manipulation and Beyond. NeurIPS 2022",
        url="https://papers.neurips.cc/paper_files/paper/2022/hash/f91bd64a3620aad8e70a27ad9cb3ca57-Abstract-"
        "Conference.html",
        formula="λ ← α λ + (1−α) w, w the weights of the method 'of'; d = Σ λ_k g_k",
        hyperparameters={
            "of": "a choice of this suite, one of the paper's three: MGDA, PCGrad and CAGrad",
            "alpha": "TorchJD; in the paper's theorem it rises toward 1 as the learning rate falls",
            "on": ON_ORIGIN,
        },
        deviations=(
            "α stays the same over the run",
            "λ starts at the first step's w, as in TorchJD, so that no start pulls at the first steps",
        ),
        sum_of_weights="free",
        bibtex="@inproceedings{zhou2022convergence, title={On the Convergence of Stochastic Multi-Objective Gradient "
        "Manipulation and Beyond}, author={Zhou, Shiji and Zhang, Wenpeng and Jiang, Jiyan and Zhong, Wenliang and "
        "Gu, Jinjie and Zhu, Wenwu}, booktitle={Advances in Neural Information Processing Systems}, year={2022}}",
    )

    smoothed: Tensor  # (K,) float64, λ
    known: Tensor  # (K,) bool, whether λ is

    def __init__(
        self, tasks: Sequence[Task], *, of: str = "pcgrad", alpha: float = 0.9, on: str = "parameters"
    ) -> None:
        super().__init__(tasks, on=on)
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha < 1:
            raise UsageError(f"'{NAME}' needs a number from 0 and below 1 as 'alpha', found {alpha!r}")
        self.alpha = float(alpha)
        if of == NAME:
            raise UsageError(
                f"'{NAME}' averages another method's weights, not its own: raise 'alpha' for a longer average"
            )
        self.inner = build_wrapped(NAME, of, self.tasks, on, elsewhere=f"with {NAME}:on={{place}}")
        self.period = self.inner.period
        self.register_buffer("smoothed", torch.zeros(len(self.tasks), dtype=torch.float64))
        self.register_buffer("known", torch.zeros(len(self.tasks), dtype=torch.bool))

    def from_gramian(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """(K, K) Gramian -> (K,) averaged weights."""
        found = self.inner.from_gramian(gramian, losses)
        if not found.isfinite().all():
            return found
        part = len(found) == len(self.present.places)  # else the wrapped method is shown absent tasks too
        fresh = found if part else self.present.rows(found)
        past = self.alpha * self.present.rows(self.smoothed) + (1 - self.alpha) * fresh
        mixed = torch.where(self.present.rows(self.known), past, fresh)
        self.present.write(self.smoothed, mixed)
        self.present.write(self.known, torch.ones_like(mixed, dtype=torch.bool))
        return mixed if part else self.present.spread(mixed)
