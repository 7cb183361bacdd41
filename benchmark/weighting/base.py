"""The contract of a weighting that sees losses, its card, and both by registered name."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self, cast

from torch import Tensor, nn

from benchmark.presence import Presence
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task


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
