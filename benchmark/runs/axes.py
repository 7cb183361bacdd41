"""Axes of a grid: the values that each has, what they put where, and how a choice of values is called."""

from pydantic import JsonValue

from benchmark.errors import UsageError, unknown
from benchmark.runs.spec import Protocol, plain

Options = dict[str, JsonValue]
NO_OPTIONS: Options = {}

#: Tables of a grid in which an axis puts its values.
VARIED = ("protocol", "architecture")

#: An axis: values of one key, or named values, each with what it puts at several keys.
Axis = tuple[JsonValue, ...] | dict[str, Options]
#: The axes' names, each with the name of the value that was chosen.
Setting = tuple[tuple[str, str], ...]


def values_of(name: str, axis: Axis) -> list[tuple[str, list[tuple[str, JsonValue]]]]:
    """The values of an axis: what each is called, and what it puts where.

    Raises:
        UsageError: a key names no field of the protocol and no option of the architectures, or the axis has no value.
    """
    found = (
        [(plain(value), [(name, value)]) for value in axis]
        if isinstance(axis, tuple)
        else [(value, list(changes.items())) for value, changes in axis.items()]
    )
    if not found:
        raise UsageError(f"the axis '{name}' has no value: give a list of them, or leave it out")
    for key in dict.fromkeys(key for _, changes in found for key, _ in changes):
        table, _, field = key.partition(".")
        if table not in VARIED or not field:
            raise UsageError(
                f"the axis '{name}' changes '{key}', expected a field of the protocol or an option of the "
                "architectures, such as 'protocol.optimizer' or 'architecture.width'"
            )
        if table == "protocol" and field not in Protocol.model_fields:
            raise unknown("field of the protocol", field, Protocol.model_fields)
    return found


def words_of(setting: Setting) -> str:
    """A setting in words; none where the grid has no axes."""
    return ", ".join(f"{axis} {value}" for axis, value in setting)
