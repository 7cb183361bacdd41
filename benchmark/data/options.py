"""Checks of data sets' options."""

from collections.abc import Sequence
from typing import Any

from benchmark.errors import UsageError


def one_of(what: str, value: Any, values: Sequence[Any]) -> None:
    """Raise a ``UsageError`` unless ``value`` is one of ``values``, type included."""
    if not any(type(value) is type(known) and value == known for known in values):
        raise UsageError(f"{what} must be one of {', '.join(map(repr, values))}, not {value!r}")


def at_least_0(what: str, value: Any) -> None:
    """Raise a ``UsageError`` unless ``value`` is a whole number from 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UsageError(f"{what} must be a whole number from 0, not {value!r}")
