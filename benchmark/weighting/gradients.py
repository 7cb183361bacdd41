"""The contracts of weightings that see per-task gradients: their inner products, or the gradients themselves."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple
from warnings import warn

import torch
from torch import Tensor

from benchmark.errors import UsageError, unknown
from benchmark.tasks import Task
from benchmark.weighting.base import Weighting

#: Where per-task gradients may be taken.
SPACES = ("parameters", "representation")


class GradientWeighting(Weighting):
    """A weighting that looks at per-task gradients: what the three kinds below have in common.

    The engine computes the gradients of ``task_losses`` over the shared parameters, moves these by the combination that
    the weighting gives, and every task-specific parameter by its own task's plain gradient. With ``on`` at
    ``representation``, gradients are those at the one feature that feeds all heads, flattened with its batch axis;
    their combination goes back through the shared network.

    Attributes:
        on: ``parameters`` or ``representation``.
    """

    on: str = "parameters"

    def task_losses(self, losses: Sequence[Tensor]) -> list[Tensor]:
        """What is differentiated: one scalar per task, a function of that task's loss alone (and of learned scales).

        Args:
            losses: K scalars, attached to the model's graph.
        """
        return list(losses)

    def weights(self, losses: Tensor) -> Tensor:
        """Not defined: without gradients there are no weights."""
        raise TypeError(f"{type(self).__name__} needs gradients; losses alone do not give its weights")

    @classmethod
    def needs(cls, options: Mapping[str, Any]) -> str:
        """See ``Weighting.needs``."""
        where = "the representation" if options.get("on") == "representation" else "the shared parameters"
        return f"{cls._sees} over {where}"

    @classmethod
    def cost(cls, options: Mapping[str, Any]) -> str:
        """See ``Weighting.cost``."""
        if options.get("on") == "representation":
            return "1 forward, 1 backward: each task's pass ends at the representation, from where one goes on"
        return "1 forward, 1 backward for each task"

    @classmethod
    def needs_representation(cls, options: Mapping[str, Any]) -> bool:
        """See ``Weighting.needs_representation``."""
        return options.get("on") == "representation"

    #: In words, for ``needs``.
    _sees: ClassVar[str] = "each task's gradient"


class GramianWeighting(GradientWeighting):
    """Weights that are a function of the inner products of the per-task gradients, and of the losses.

    A subclass defines ``from_gramian``; one whose solver can fail counts its failures in an integer buffer
    ``fallbacks``, which goes into the record. Its buffers stay in the memory of the host, where it computes.

    Raises:
        UsageError: ``on`` is neither ``parameters`` nor ``representation``.
    """

    _sees: ClassVar[str] = "K×K inner products of the gradients"
    on_host = True

    def __init__(self, tasks: Sequence[Task], *, on: str = "parameters") -> None:
        super().__init__(tasks)
        if on not in SPACES:
            raise unknown("place of gradients ('on')", str(on), SPACES)
        self.on = on

    @abstractmethod
    def from_gramian(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """The weight of each task's gradient, called once a step.

        Args:
            gramian: (K, K) inner products ⟨g_i, g_j⟩ in float64, on the CPU.
            losses: (K,) this step's losses in float64, on the CPU.

        Returns:
            (K,) weights in float64, on the CPU.
        """


class SharpnessWeighting(GramianWeighting):
    """Weights from gradients that are taken where each task's loss is higher: at points of its own, a radius away.

    In a step the engine moves, for one task after another, the shared parameters and the task's own to θ + ε_k, takes
    the task's gradient there, and goes back. With G the gradient of the losses' sum at θ, the shared parameters move
    along (1−β) G + β ‖G‖ ẑ_k, layer by layer (a layer being a parameter, ‖·‖ its length), and the task's own along G;
    either move has the length ρ. ẑ_k is the unit vector along a random z_k or against it, to the side on which the
    task's loss is higher, as two forward passes at θ ± μ z_k tell. ``from_gramian`` is shown the losses at θ and the
    products of the gradients at the θ + ε_k, which move the parameters.

    All passes of a step see the same batch in training mode and draw the same random numbers, such as dropout's; the
    first alone changes batch-norm statistics and other buffers. The others are in full precision, in which such small
    moves are not rounded away. Of the losses' gradients at θ itself the rule sees nothing. Where gradients are given
    and no network is there (``aggregate``), they count as those at the θ + ε_k.

    Attributes:
        radius: ρ; 0 takes every gradient at θ.
        local: β, from 0 to 1.
        reach: μ.
        position: () integer that the z_k are drawn from; each step has one.
    """

    radius: float
    local: float
    reach: float
    position: Tensor

    _sees = "K×K inner products of the gradients, each at a point where its task's loss is higher,"

    def __init__(self, tasks: Sequence[Task], *, radius: float, local: float, reach: float) -> None:
        super().__init__(tasks)
        self.radius, self.local, self.reach = radius, local, reach
        self.register_buffer("position", torch.randint(2**62, (), device="cpu"))

    def draw(self) -> int:
        """For the engine: the step's position, once a step."""
        found = int(self.position)
        self.position.add_(1)
        return found

    @classmethod
    def cost(cls, options: Mapping[str, Any]) -> str:
        """See ``Weighting.cost``."""
        return "1 forward, 1 backward, and for each task 3 forward, 1 backward"


class Direction(NamedTuple):
    """What a ``MatrixWeighting`` gives.

    Attributes:
        vector: (P,) the direction d; the optimiser steps along −d. Its memory may be used again in the next step.
        weights: (K,) with d = Σ w_k g_k, for the record, g_k being the gradients or the running means that the method
            puts in their place; NaN where there are none.
    """

    vector: Tensor
    weights: Tensor


class MatrixWeighting(GradientWeighting):
    """A direction that needs the gradients themselves, coordinate by coordinate.

    Only one without buffers of the gradients' size may set ``on`` to ``representation``.
    """

    _sees: ClassVar[str] = "the K×P matrix of the gradients"

    def allocate(self, columns: int) -> None:
        """Called once before training, on the device: the place to register buffers of the gradients' size.

        Args:
            columns: P.
        """
        if type(self).sized is not MatrixWeighting.sized:
            warn(f"{type(self).__name__}: 'sized' is called 'allocate' now", DeprecationWarning, stacklevel=2)
            self.sized(columns)

    def sized(self, columns: int) -> None:
        """The former name of ``allocate``."""
        if type(self).allocate is not MatrixWeighting.allocate:
            warn(f"{type(self).__name__}: 'sized' is called 'allocate' now", DeprecationWarning, stacklevel=2)
            self.allocate(columns)

    @abstractmethod
    def from_gradients(self, gradients: Tensor, losses: Tensor) -> Direction:
        """The direction of the shared parameters, called once a step.

        Args:
            gradients: (K, P) on the device; not to be changed, and overwritten in the next step.
            losses: (K,) this step's losses, on the device, without graph.
        """

    def from_feature_gradients(self, gradients: Tensor, losses: Tensor, feature: Tensor) -> Direction:
        """The direction at the representation, called once a step in place of ``from_gradients``.

        By default what ``from_gradients`` makes of them, flattened; for a rule that tells the batch axis from the
        others, or that looks at the feature itself.

        Args:
            gradients: (K, B, F) on the device; not to be changed, and overwritten in the next step.
            losses: (K,) this step's losses, on the device, without graph.
            feature: (B, F) the representation, without graph.

        Returns:
            The direction with its vector (B·F,).
        """
        return self.from_gradients(gradients.flatten(1), losses)


class SampledWeighting(GradientWeighting):
    """Weights from inner products of gradients of independent samples, so that their expectation is unbiased.

    The step's batch is cut into three parts, each with a forward pass of its own: with J_i the gradients of part i, the
    weights come from J_1 J_2ᵀ and the direction is Σ w_k g_k over part 3, which one backward pass of the weighted sum
    gives. A step so sees as many pictures as with any other weighting. Task-specific parameters move by the mean of the
    three parts' gradients. Its buffers stay in the memory of the host, where it computes.
    """

    parts: ClassVar[int] = 3
    on_host = True
    _sees: ClassVar[str] = "K×K products of the gradients of independent thirds of the batch,"

    @classmethod
    def cost(cls, options: Mapping[str, Any]) -> str:
        """See ``Weighting.cost``."""
        return (
            f"on 1/{cls.parts} of the batch each: {cls.parts} forward, {cls.parts - 1} backward for each task, 1 "
            "backward of the weighted sum"
        )

    def check_batch(self, size: int) -> None:
        """Whether a batch can be cut.

        Raises:
            UsageError: it holds fewer samples than there are parts.
        """
        if size < self.parts:
            raise UsageError(
                f"{type(self).__name__} cuts every batch into {self.parts} parts, and the batch size is {size}: raise "
                f"it to {self.parts} or more, or leave this weighting out"
            )

    @abstractmethod
    def from_products(self, products: Tensor, losses: Tensor) -> Tensor:
        """The weights, called once a step.

        Args:
            products: (K, K) J_1 J_2ᵀ in float64, on the CPU; not symmetric.
            losses: (K,) the parts' mean losses in float64, on the CPU.

        Returns:
            (K,) weights in float64, on the CPU.
        """
