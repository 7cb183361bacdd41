"""Times of two networks' steps, side by side, so that what slows the machine slows both."""

from typing import Protocol

from benchmark.errors import UserError

#: Steps of either network before the first that is timed.
WARM_UP = 2


class Steps(Protocol):
    """Anything that trains."""

    def step(self) -> float:
        """Take one step; its seconds, until the device is done."""


def alternate(first: Steps, second: Steps, pairs: int) -> tuple[list[float], list[float]]:
    """Seconds of ``pairs`` steps of both, side by side, each of them first every other time."""
    for _ in range(WARM_UP):
        first.step()
        second.step()
    firsts, seconds = [], []
    for pair in range(pairs):
        if pair % 2:
            seconds.append(second.step())
        firsts.append(first.step())
        if not pair % 2:
            seconds.append(second.step())
    return firsts, seconds


def described(error: BaseException) -> str:
    """What foreign code raised, in words."""
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
