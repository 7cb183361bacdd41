"""SAMO: another method on gradients that are taken where each task's loss is higher."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from baselines.weightings.solvers import checked_number
from baselines.wrapping import WrappingWeighting, build_wrapped
from benchmark.errors import UsageError
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import Card, SharpnessWeighting

NAME = "samo"


@WEIGHTINGS.register(NAME)
class SharpnessAware(WrappingWeighting, SharpnessWeighting):
    """Sharpness-aware multi-task optimisation with joint global-local perturbation, SAMO (Ban et al., ICCV 2025).

    The wrapped method makes its weights of gradients that are each taken a short way uphill, ρ from the parameters: in
    a flat valley that changes nothing. The way is a mixture of the gradient of all losses' sum (global) and of the
    task's own (local), of which two forward passes tell no more than a random direction's sign; layer by layer the
    local part is as long as the global one. ``SharpnessWeighting`` says exactly how a step goes. With ρ = 0 it is the
    wrapped method; with β = 0 the points differ in what is a task's own alone, and no pass is spent on the local part.

    Any method whose weights are a function of the Gramian can be wrapped, with its default options; it sees the losses
    at the parameters themselves. Its learned quantities, its state and its fallbacks are part of this one's.

    Where a task is absent, the others' points are as without it.

    State: a position in random numbers, and the wrapped method's.

    Args:
        tasks: the tasks, in the order of the Gramian.
        of: the wrapped method's name.
        rho: ρ, how far the points are from the parameters; 0 takes all gradients at these.
        beta: β, the local share, from 0 to 1.
        reach: μ, the standard deviation of the random moves whose two sides are compared.

    Raises:
        UsageError: ``of`` is unknown or cannot be wrapped, ``rho`` is no finite number of at least 0, ``beta`` no
            number from 0 to 1, or ``reach`` no positive finite number.
    """

    card: ClassVar[Card] = Card(
        paper="Ban, Subramani, Ji. SAMO: A Lightweight Sharpness-Aware Approach for Multi-Task Optimization with Joint "
        "Global-Local Perturbation. ICCV 2025",
        url="https://arxiv.org/abs/2507.07883",
        formula="weights of the method 'of' on g_k = ∇L_k(θ + ε_k); ε_k ∝ (1−β) G + β ‖G‖ ẑ_k by layer, ‖ε_k‖ = ρ; G = "
        "∇Σ L_k(θ), ẑ_k = sign(L_k(θ + μ z_k) − L_k(θ − μ z_k)) z_k/‖z_k‖",
        hyperparameters={
            "of": "none: to be chosen; the authors' commands wrap FairGrad",
            "rho": "the authors' commands; 1e-5 for QM9, up to 0.003 in their parsers",
            "beta": "the authors' commands; 0.9 for QM9, 0.1 in their parsers",
            "reach": "the authors' parsers",
        },
        deviations=(
            "all passes are in training mode and draw the same numbers; the authors' forward passes for the local part "
            "are in evaluation mode, where no running statistics have followed the step",
            "where a random move changes a task's loss on both sides alike, the local part is zero; the authors divide "
            "by it",
        ),
        sum_of_weights="free",
        bibtex="@inproceedings{ban2025samo, title={{SAMO}: A Lightweight Sharpness-Aware Approach for Multi-Task "
        "Optimization with Joint Global-Local Perturbation}, author={Ban, Hao and Subramani, Gokul Ram and Ji, Kaiyi}, "
        "booktitle={IEEE/CVF International Conference on Computer Vision}, year={2025}}",
    )

    def __init__(
        self, tasks: Sequence[Task], *, of: str, rho: float = 0.001, beta: float = 0.5, reach: float = 0.01
    ) -> None:
        share = checked_number(NAME, "beta", beta, zero=True)
        if share > 1:
            raise UsageError(f"'{NAME}' needs a number from 0 to 1 as 'beta', found {beta!r}")
        super().__init__(
            tasks,
            radius=checked_number(NAME, "rho", rho, zero=True),
            local=share,
            reach=checked_number(NAME, "reach", reach, zero=False),
        )
        self.inner = build_wrapped(NAME, of, self.tasks, self.on, elsewhere="whose gradients are at the parameters")
        self.period = self.inner.period

    def from_gramian(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """(K, K) Gramian -> (K,) weights of the wrapped method."""
        return self.inner.from_gramian(gramian, losses)
