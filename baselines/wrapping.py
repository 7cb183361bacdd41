"""Weightings of which another method, one whose weights are a function of the Gramian, is a part."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, cast

from torch import Tensor

from benchmark.errors import UsageError, unknown
from benchmark.presence import Presence
from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.weighting import GramianWeighting, SharpnessWeighting


class WrappingWeighting(GramianWeighting):
    """Hands to a wrapped method, ``inner``, all but ``from_gramian``, which a subclass defines.

    What the wrapped method learns, its state and its fallbacks are part of this one's.
    """

    minds_absent: ClassVar[bool] = True
    inner: GramianWeighting

    @property
    def fallbacks(self) -> Tensor:
        """() those of the wrapped method; an attribute error where it does not count any."""
        return cast(Tensor, self.inner.fallbacks)

    @classmethod
    def wraps(cls, options: Mapping[str, Any]) -> str | None:
        """See ``Weighting.wraps``."""
        of = options.get("of")
        return None if of is None else str(of)

    @contextmanager
    def facing(self, present: Presence) -> Iterator[Presence]:
        """See ``Weighting.facing``; what the wrapped method is to be shown decides."""
        with super().facing(present), self.inner.facing(present) as shown:
            yield shown

    def task_losses(self, losses: Sequence[Tensor]) -> list[Tensor]:
        """K losses -> what the wrapped method differentiates."""
        return self.inner.task_losses(losses)

    def epoch_end(self, train_losses: Tensor) -> None:
        """Tell the wrapped method."""
        self.inner.epoch_end(train_losses)


def build_wrapped(name: str, of: str, tasks: Sequence[Task], on: str, *, elsewhere: str) -> GramianWeighting:
    """The method ``of``, with its default options, to be wrapped by ``name``.

    Args:
        name: the registered name of the wrapping method, for errors.
        of: the option's value.
        tasks: the tasks, in the order of the Gramian.
        on: where gradients are taken.
        elsewhere: what to do about a method that is bound to one place, ``{place}``, of gradients, for its error.

    Raises:
        UsageError: it is unknown, sees something else than a Gramian, has an option without default, is bound to one
            place of gradients, or is the wrapping method itself.
    """
    if not isinstance(of, str) or of not in WEIGHTINGS:
        raise unknown(f"weighting to wrap ('of' of '{name}')", str(of), _candidates(name))
    entry = WEIGHTINGS[of]
    if of == name or not _sees_a_gramian(of):
        raise UsageError(
            f"'{name}' wraps another method whose weights are a function of the Gramian alone, and those of '{of}' are "
            f"not: choose one of {', '.join(sorted(_candidates(name)))} as 'of'"
        )
    if "on" in entry.preset:
        place = entry.preset["on"]
        raise UsageError(
            f"'{of}' fixes on={place}: wrap the method that leaves it open, {elsewhere.format(place=place)}"
        )
    if entry.required:
        raise UsageError(f"'{name}' wraps methods with their defaults, and '{of}' needs '{entry.required[0]}'")
    options = {"on": on} if "on" in entry.defaults else {}
    return cast(GramianWeighting, entry.build(tasks, **options))


def _sees_a_gramian(name: str) -> bool:
    factory = WEIGHTINGS[name].factory
    gramian = isinstance(factory, type) and issubclass(factory, GramianWeighting) and not factory.evaluates_again
    return gramian and not issubclass(factory, SharpnessWeighting)


def _candidates(name: str) -> list[str]:
    """The registered methods that can be wrapped."""
    return [
        other
        for other in WEIGHTINGS
        if _sees_a_gramian(other)
        and other != name
        and "on" not in WEIGHTINGS[other].preset
        and not WEIGHTINGS[other].required
    ]
