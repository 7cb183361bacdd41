"""The contracts of a weighting: what it needs in a step, what it gives back, and its card."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Self, cast
from warnings import warn

import torch
from torch import Tensor, nn

from benchmark.errors import UsageError, unknown
from benchmark.presence import Presence
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task

#: Where per-task gradients may be taken.
SPACES = ("parameters", "representation")


@dataclass(frozen=True)
class Card:
    """What a reader must know of a weighting before using it.

    Attributes:
        paper: authors, title, venue and year.
        url: of the paper.
        formula: the rule in one or two lines of plain text.
        hyperparameters: by option where its default comes from.
        deviations: each with its reason; empty where there is none.
        sum_of_weights: the convention, which scales the learning rate: ``K``, ``1`` or ``free``.
        bibtex: the paper's entry.
    """

    paper: str
    url: str
    formula: str
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    deviations: tuple[str, ...] = ()
    sum_of_weights: str = "free"
    bibtex: str = ""


class Weighting(nn.Module, ABC):
    """How the losses of K tasks are combined. A subclass defines ``weights`` and registers itself with ``WEIGHTINGS``.

    Keyword-only constructor arguments are its options. Learned quantities are parameters (the engine trains them with
    the model's optimiser), everything else that changes during a run is a buffer, so that ``state_dict`` is complete.

    A task of which a batch holds no valid target is absent from its step: a rule makes of the M present tasks what it
    would make of them without the absent ones. A rule that keeps nothing by task, no buffer or parameter with K entries
    along an axis, needs to know nothing of that: in a step with absent tasks it is shown the losses and gradients of
    the present ones alone, M in place of K, and ``tasks`` are those. One that does keep something by task, and says so
    by ``minds_absent``, is shown the same, and takes and changes what it keeps by ``present``. Any other is shown all
    tasks, those absent with a loss and a gradient of 0. In each case absent tasks have the weight 0, no part in the
    direction, and no gradient in what the weighting learns; without a present task the rule is not asked.

    Attributes:
        tasks: all K of them, but see above.
        present: which of them are, in a step; all outside of one.
    """

    #: True where ``after_step`` wants the losses of the same batch again, after the optimiser's step.
    evaluates_again: ClassVar[bool] = False
    #: Names of buffers that the rule reads in the memory of the host, and that stay there whatever device the rest is
    #: on; True for all, also those of its modules.
    on_host: ClassVar[tuple[str, ...] | bool] = ()
    #: Names of attributes that change, and that no later step reads: all others that do are buffers, see ``Weighting``.
    scratch: ClassVar[tuple[str, ...]] = ()
    #: Steps after which what a step costs repeats, where not every step does the same work.
    period: int = 1
    card: ClassVar[Card | None] = None
    #: Options with which its authors run the two-task toy problem, where they are not the defaults.
    toy_options: ClassVar[Mapping[str, Any]] = {}

    #: Whether the rule takes and changes what it keeps by task by ``present``, see above.
    minds_absent: ClassVar[bool] = False
    #: Whether the weights are options, the same in every step: a scalarisation, against which others are held.
    fixed: ClassVar[bool] = False

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.present = Presence.everyone(len(self.tasks))

    @contextmanager
    def facing(self, present: Presence) -> Iterator[Presence]:
        """For the engine: inside, the rule is asked about a step with these tasks.

        Yields:
            The tasks whose losses and gradients it is to be shown: the present ones, or all.
        """
        if present.all:
            yield present
            return
        kept = (*self.parameters(), *self.buffers())
        unaware = not self.minds_absent and any(len(self.tasks) in tensor.shape for tensor in kept)
        before = self.tasks, self.present
        self.present = present
        if not self.minds_absent and not unaware:
            self.tasks = tuple(self.tasks[k] for k in present.places)
        try:
            yield Presence.everyone(present.count) if unaware else present
        finally:
            self.tasks, self.present = before

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """What ``to`` and its like do to every tensor; see ``on_host``."""
        kept = [
            (module, name, buffer)
            for module in self.modules()
            for name, buffer in module.named_buffers(recurse=False)
            if self.on_host is True or (module is self and self.on_host and name in self.on_host)
        ]
        super()._apply(fn, recurse)
        for module, name, buffer in kept:
            module._buffers[name] = buffer
        return self

    @abstractmethod
    def weights(self, losses: Tensor) -> Tensor:
        """The weight of each task's loss in this step, called once a step; the record's curves show them.

        Args:
            losses: (K,) this step's losses in the order of ``tasks``, without graph; of absent tasks see the class.

        Returns:
            (K,) weights, attached to the parameters that the weighting learns, if any.
        """

    def objective(self, losses: Tensor, weights: Tensor) -> Tensor:
        """The scalar whose gradient is the training direction: by default the weighted sum.

        Args:
            losses: (K,) this step's losses, attached to the model's graph.
            weights: (K,) what ``weights`` gave for them.
        """
        return (weights * losses).sum()

    def after_step(self, losses: Tensor) -> None:
        """Called after the optimiser's step where ``evaluates_again`` is True.

        Args:
            losses: (K,) losses of the step's batch under the new parameters, without graph.
        """

    def epoch_end(self, train_losses: Tensor) -> None:
        """Called after every epoch.

        Args:
            train_losses: (K,) each task's mean training loss over the epoch's steps with a label of the task; NaN where
                there was none.
        """

    @classmethod
    def needs(cls, options: Mapping[str, Any]) -> str:
        """What the rule looks at in a step, in words, with these options."""
        return "losses, and the same batch's losses after the step" if cls.evaluates_again else "losses"

    @classmethod
    def cost(cls, options: Mapping[str, Any]) -> str:
        """A step's passes through the network, in words, with these options. Plain training: 1 forward, 1 backward."""
        return f"{2 if cls.evaluates_again else 1} forward, 1 backward"

    @classmethod
    def needs_representation(cls, options: Mapping[str, Any]) -> bool:
        """Whether, with these options, it can only train an architecture with one feature that feeds all heads."""
        return False

    @classmethod
    def wraps(cls, options: Mapping[str, Any]) -> str | None:
        """The registered weighting that, with these options, is part of the rule: a record says its code too."""
        return None


WEIGHTINGS.contract = Weighting


class NormWeighting(Weighting):
    """Weights that follow the lengths of the per-task gradients at the last shared layer.

    The engine steps on ``objective`` as for any weighting, and tells ``observe`` the lengths before it does.
    """

    @abstractmethod
    def observe(self, norms: Tensor, losses: Tensor) -> None:
        """Called once a step, after ``weights`` and before the optimiser's step.

        Args:
            norms: (K,) length of each loss's gradient over ``MultiTaskModel.last_shared_parameters``.
            losses: (K,) this step's losses, without graph.
        """

    @classmethod
    def needs(cls, options: Mapping[str, Any]) -> str:
        """See ``Weighting.needs``."""
        return "losses, and the lengths of their gradients at the last shared layer"

    @classmethod
    def cost(cls, options: Mapping[str, Any]) -> str:
        """See ``Weighting.cost``."""
        return (
            "1 forward, 1 backward, and for each task one more through the last shared layer (from its loss on where "
            "no single feature feeds all heads)"
        )


class LookaheadWeighting(Weighting):
    """Weights that follow the loss of a second batch after a virtual step (one-step bilevel).

    Before every step the engine moves the parameters virtually to θ' = θ − lr ∇Σ w_k L_k(θ), takes the gradient v of
    Σ L_k of another batch at θ', goes back, and tells ``observe`` how v and the tasks' gradients align. ``weights`` so
    is called twice a step, for the virtual one and for the real one.

    Attributes:
        split: the split that the other batch is drawn from, ``val`` or ``train``.
    """

    split: str = "val"

    @abstractmethod
    def observe(self, alignments: Tensor, learning_rate: float) -> None:
        """Called before every step.

        Args:
            alignments: (K,) ⟨v, ∇L_k(θ)⟩ by a central difference: −lr times it is ∂ Σ L_k(θ')/∂w_k.
            learning_rate: of the virtual step, the optimiser's.
        """

    @classmethod
    def needs(cls, options: Mapping[str, Any]) -> str:
        """See ``Weighting.needs``."""
        return "losses, and another batch's losses after a virtual step"

    @classmethod
    def cost(cls, options: Mapping[str, Any]) -> str:
        """See ``Weighting.cost``."""
        return "5 forward, 3 backward"


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


def aggregate(name: str, gradients: Tensor, *, losses: Tensor | None = None, **options: Any) -> Tensor:
    """The direction along which a weighting would move the shared parameters.

    A weighting with a memory starts anew. Where samples are to be independent, all are ``gradients``.

    Args:
        name: a registered weighting.
        gradients: (K, P) one row per task: the gradients of its loss.
        losses: (K,) for weightings that look at them; ones when None.
        options: the weighting's own.

    Returns:
        (P,) the direction d; an optimiser steps along −d. In the type of ``gradients``, computed in single precision
        at least.

    Raises:
        UsageError: the name or an option is unknown, or the shapes do not fit.
    """
    for what, given in (("gradients", gradients), ("losses", losses)):
        if given is not None and not (isinstance(given, Tensor) and given.is_floating_point()):
            kind = str(given.dtype) if isinstance(given, Tensor) else type(given).__name__
            raise UsageError(f"{what} must be a tensor of floating-point numbers, found {kind}")
    if gradients.ndim != 2 or not len(gradients):
        found = tuple(gradients.shape)
        raise UsageError(f"gradients must be a (K, P) matrix with one row per task, found shape {found}")
    known = torch.ones(len(gradients)) if losses is None else losses.detach().clone()
    if known.shape != gradients.shape[:1]:
        raise UsageError(f"expected one loss for each of {len(gradients)} tasks, found shape {tuple(known.shape)}")
    tasks = [Task(f"task{k}", "depth", 1) for k in range(len(gradients))]
    weighting = build_weighting(name, tasks, **options).to(gradients.device)
    # Squares and sums over tasks leave half precision where the gradients themselves do not.
    rows = gradients.detach().to(torch.promote_types(gradients.dtype, torch.float32))
    known = known.to(rows.device, torch.promote_types(known.dtype, torch.float32))
    return direction(weighting, rows, known).to(gradients.dtype)


def direction(weighting: Weighting, gradients: Tensor, losses: Tensor) -> Tensor:
    """What one step of ``weighting`` makes of gradients (K, P) of losses (K,): a direction (P,)."""
    if not isinstance(weighting, GradientWeighting):
        return weighting.weights(losses).detach().to(gradients) @ gradients
    exact = gradients.double() * task_loss_derivatives(weighting, losses.double())[:, None]
    if isinstance(weighting, MatrixWeighting):
        weighting.allocate(gradients.shape[1])
        return weighting.from_gradients(exact.to(gradients), losses.to(gradients)).vector.clone()
    products, known = (exact @ exact.T).cpu(), losses.double().cpu()
    if isinstance(weighting, SampledWeighting):
        weights = weighting.from_products(products, known)
    else:
        weights = cast(GramianWeighting, weighting).from_gramian(products, known)
    return (weights.to(exact) @ exact).to(gradients)


def task_loss_derivatives(weighting: GradientWeighting, losses: Tensor) -> Tensor:
    """(K,) the derivative of each of ``task_losses`` by its loss, at losses (K,)."""
    leaves = [loss.detach().clone().requires_grad_() for loss in losses]
    with torch.enable_grad():
        scaled = weighting.task_losses(list(leaves))
        return torch.stack([torch.autograd.grad(s, leaf)[0] for s, leaf in zip(scaled, leaves, strict=True)])


def build_weighting(name: str, tasks: Sequence[Task], **options: Any) -> Weighting:
    """Build a registered weighting for ``tasks``.

    Raises:
        UsageError: the name or an option is unknown; the message lists the known ones.
    """
    return cast(Weighting, WEIGHTINGS[name].build(tasks, **options))


def card(name: str) -> Card | None:
    """The card of a registered weighting, without the options that the name presets; None where a plugin's has none.

    Raises:
        UsageError: the name is unknown.
    """
    entry = WEIGHTINGS[name]
    found = getattr(entry.factory, "card", None)
    if not isinstance(found, Card):
        return None
    return replace(found, hyperparameters={k: v for k, v in found.hyperparameters.items() if k not in entry.preset})
