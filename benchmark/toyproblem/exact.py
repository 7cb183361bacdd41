"""What a weighting makes of exact gradients, step after step, as in training but without a network."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmark.errors import UsageError
from benchmark.weighting import (
    Direction,
    GradientWeighting,
    GramianWeighting,
    LookaheadWeighting,
    MatrixWeighting,
    NormWeighting,
    SampledWeighting,
    SharpnessWeighting,
    Weighting,
)


class ExactSteps:
    """The steps of one weighting and of what it learns.

    Gradients are exact: a method that samples sees the same ones every time.

    Args:
        weighting: in float64; what it keeps goes on from step to step.
        columns: P, parameters that the gradients are of.
        learning_rate, betas: of Adam, for what the weighting learns.
    """

    def __init__(
        self, weighting: Weighting, columns: int, learning_rate: float, betas: tuple[float, float] = (0.9, 0.999)
    ) -> None:
        self.weighting = weighting
        self.learning_rate = learning_rate
        learned = list(weighting.parameters())
        self.learning = torch.optim.Adam(learned, lr=learning_rate, betas=betas) if learned else None
        if isinstance(weighting, MatrixWeighting):
            weighting.allocate(columns)

    def __call__(
        self,
        losses: Tensor,
        gradients: Tensor,
        alignments: Callable[[Tensor], Tensor],
        feature: Tensor | None = None,
    ) -> Tensor:
        """(P,) the direction of a step; what the weighting learns takes its own step.

        Args:
            losses: (K,).
            gradients: (K, P) of the losses.
            alignments: of a step's direction (P,), the products (K,) of another batch's summed gradient after such a
                step with each loss's gradient before it, for weightings that look ahead.
            feature: (P,) where gradients are those at a feature, for weightings on the representation.
        """
        if self.learning:
            self.learning.zero_grad()
        found = self._direction(losses, gradients, alignments, feature)
        if self.learning:
            self.learning.step()
        return found

    def after(self, losses: Callable[[], Tensor]) -> None:
        """Tell the losses (K,) after a step to weightings that ask for them."""
        if self.weighting.evaluates_again:
            with torch.no_grad():
                self.weighting.after_step(losses())

    def _direction(
        self, losses: Tensor, gradients: Tensor, alignments: Callable[[Tensor], Tensor], feature: Tensor | None
    ) -> Tensor:
        weighting = self.weighting
        if isinstance(weighting, GradientWeighting):
            return self._combined(weighting, losses, gradients, feature)
        if isinstance(weighting, LookaheadWeighting):
            ahead = weighting.weights(losses.clone()).detach() @ gradients
            weighting.observe(alignments(ahead), self.learning_rate)
        weights = weighting.weights(losses.clone())
        if isinstance(weighting, NormWeighting):
            weighting.observe(gradients.norm(dim=1), losses.clone())
        if self.learning is None and type(weighting).objective is Weighting.objective:
            return weights.detach() @ gradients  # what autograd would find for the plain weighted sum
        leaf = losses.clone().requires_grad_()
        weighting.objective(leaf, weights).backward()
        return (torch.zeros_like(losses) if leaf.grad is None else leaf.grad) @ gradients

    def _combined(
        self, weighting: GradientWeighting, losses: Tensor, gradients: Tensor, feature: Tensor | None
    ) -> Tensor:
        """(P,) the direction of a weighting that looks at gradients."""
        if isinstance(weighting, SharpnessWeighting):
            raise UsageError(
                f"{type(weighting).__name__} takes each gradient where its task's loss is higher, which training alone "
                "can compute: leave it out here"
            )
        rows = self._slopes(weighting, losses)[:, None] * gradients
        if isinstance(weighting, MatrixWeighting):
            return self._matrix(weighting, rows, losses, feature).vector
        if isinstance(weighting, SampledWeighting):
            return weighting.from_products(rows @ rows.T, losses) @ rows
        assert isinstance(weighting, GramianWeighting)  # the kinds of gradient weightings that there are
        return weighting.from_gramian(rows @ rows.T, losses) @ rows

    def _slopes(self, weighting: GradientWeighting, losses: Tensor) -> Tensor:
        """(K,) the derivatives of the weighting's task losses by the losses; its parameters get their gradients."""
        if type(weighting).task_losses is GradientWeighting.task_losses:
            return torch.ones_like(losses)
        leaves = [loss.clone().requires_grad_() for loss in losses]
        # Each is a function of its own loss alone, so the sum's slopes are theirs.
        torch.stack(weighting.task_losses(leaves)).sum().backward()
        return torch.stack([torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves])

    def _matrix(self, weighting: MatrixWeighting, rows: Tensor, losses: Tensor, feature: Tensor | None) -> Direction:
        """The direction of a weighting that looks at the matrix, or at the gradients of one sample's feature."""
        if weighting.on != "representation" or feature is None:
            return weighting.from_gradients(rows, losses)
        return weighting.from_feature_gradients(rows[:, None], losses, feature[None])
