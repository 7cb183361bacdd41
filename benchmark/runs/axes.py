"""Axes of a grid: the values that each has, what they put where, and how a choice of values is called."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from pydantic import JsonValue

from benchmark.errors import UsageError, unknown
from benchmark.registry import ARCHITECTURES
from benchmark.runs.spec import Protocol, RunSpec, plain

Options = dict[str, JsonValue]
NO_OPTIONS: Options = {}

#: Tables of a grid in which an axis puts its values.
VARIED = ("protocol", "architecture")

#: An axis: values of one key, or named values, each with what it puts at several keys.
Axis = tuple[JsonValue, ...] | dict[str, Options]
#: The axes' names, each with the name of the value that was chosen.
Setting = tuple[tuple[str, str], ...]


def check_form(axes: object) -> None:
    """Make sure that axes, as they were read, are lists of values or tables of named ones.

    Raises:
        UsageError: they are something else, as where a key with a dot lacks its quotes.
    """
    if not isinstance(axes, dict):
        raise UsageError(
            "'axes' must be a table, such as [axes] and in it \"protocol.weight_decay\" = [0.0, 0.05]; "
            f"found {axes!r:.80}"
        )
    for name, axis in axes.items():
        if isinstance(axis, dict):
            _check_named(name, axis)
        elif not isinstance(axis, list | tuple):
            raise UsageError(
                f"the axis '{name}': expected a list of values, such as {_written([axis])}, or a table of named "
                f"values; found {axis!r:.80}"
            )


def _check_named(name: str, axis: Mapping[str, object]) -> None:
    """Likewise, of an axis of named values."""
    for value, changes in axis.items():
        if not isinstance(changes, dict):
            if name in VARIED:
                values = _written(changes if isinstance(changes, list) else [changes])
                key = f"{name}.{value}"
                raise UsageError(
                    f"the axis '{key}' is not valid: a key with a dot stands in quotes, \"{key}\" = {values} in a "
                    f"file, --set 'axes={{\"{key}\"={values}}}' on the command line"
                )
            raise UsageError(
                f"the value '{value}' of the axis '{name}': expected a table of what it changes, such as "
                f'{{ "protocol.optimizer" = "sgd" }}, found {changes!r:.80}'
            )
        for table, fields in changes.items():
            if table in VARIED and isinstance(fields, dict) and fields:
                field, said = next(iter(fields.items()))
                raise UsageError(
                    f"the value '{value}' of the axis '{name}' is not valid: a key with a dot stands in quotes, "
                    f'"{table}.{field}" = {_written(said)}'
                )


def _written(value: object) -> str:
    """A value as a grid file has it; in short where it is long."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else "[…]" if isinstance(value, list) else "…"


def choices_of(axes: Mapping[str, Axis]) -> dict[Setting, Options]:
    """Each choice of one value on every axis, and what it puts at which keys; one empty choice where there is no axis.

    Raises:
        UsageError: see ``values_of``; or two axes change the same key.
    """
    varied(axes)
    named = [[(name, value) for value in values_of(name, axis).items()] for name, axis in axes.items()]
    return {
        tuple((name, value) for name, (value, _) in chosen): {
            key: put for _, (_, changes) in chosen for key, put in changes.items()
        }
        for chosen in product(*named)
    }


def values_of(name: str, axis: Axis) -> dict[str, Options]:
    """The values of an axis: by what each is called what it puts at which keys.

    Raises:
        UsageError: a key names no field of the protocol and no option of the architectures, or the axis has no value,
            or one twice.
    """
    found = _named(name, axis) if isinstance(axis, tuple) else axis
    if not found:
        raise UsageError(f"the axis '{name}' has no value: give a list of them, or leave it out")
    for key in dict.fromkeys(key for changes in found.values() for key in changes):
        table, _, field = key.partition(".")
        if table not in VARIED or not field:
            raise UsageError(
                f"the axis '{name}' changes '{key}', expected a field of the protocol or an option of the "
                "architectures, such as 'protocol.optimizer' or 'architecture.width'"
            )
        if table == "protocol" and field not in Protocol.model_fields:
            raise unknown("field of the protocol", field, Protocol.model_fields)
    return found


def _named(name: str, values: Sequence[JsonValue]) -> dict[str, Options]:
    """The values of one key by what they are called: in full where short words would not tell them apart."""
    words = [plain(value) for value in values]
    if len(set(words)) < len(words):
        words = [json.dumps(value, sort_keys=True) for value in values]
    if twice := [word for word, count in Counter(words).items() if count > 1]:
        raise UsageError(f"the axis '{name}' has the value {twice[0]} twice: leave one of them out")
    return {word: {name: value} for word, value in zip(words, values, strict=True)}


def varied(axes: Mapping[str, Axis]) -> dict[str, str]:
    """By key that an axis changes the axis's name.

    Raises:
        UsageError: see ``values_of``; or two axes change the same key.
    """
    found: dict[str, str] = {}
    for name, axis in axes.items():
        for key in dict.fromkeys(key for changes in values_of(name, axis).values() for key in changes):
            if key in found:
                raise UsageError(
                    f"the axes '{found[key]}' and '{name}' both change '{key}': leave it to one of them, or give what "
                    "belongs together as named values of one axis"
                )
            found[key] = name
    return found


def refuse_varied(axes: Mapping[str, Axis], said: Mapping[str, JsonValue]) -> None:
    """Make sure that nothing is said for all runs that an axis varies.

    Args:
        said: values by keys with dots; tables, also those in lists, count by what is in them, and what is said of a
            data set or in an entry of ``architectures`` like the grid's.

    Raises:
        UsageError: an axis varies one.
    """
    by_key = varied(axes)
    for path in _paths(said):
        if path[:2] == ["architectures", "options"]:  # of an entry of the list
            path = ["architecture", *path[2:]]
        own = path[2:] if path[0] == "datasets" else path
        if (key := ".".join(own)) in by_key:
            raise UsageError(
                f"'{'.'.join(path)}' cannot be set for all runs, for the grid's axis '{by_key[key]}' varies it: change "
                "the values of the axis, or leave one of both out"
            )


def _paths(values: Mapping[str, JsonValue]) -> Iterator[list[str]]:
    """The places of all values, key by key, and of what is in tables, in lists too."""
    for key, value in values.items():
        here = key.split(".")
        yield here
        for table in value if isinstance(value, list) else [value]:
            if isinstance(table, dict):
                yield from (here + below for below in _paths(table))


def check_that_axes_change(found: Mapping[Setting, Sequence[RunSpec]]) -> None:
    """Make sure that on no data set two settings are the same runs.

    Raises:
        UsageError: two are.
    """
    known: dict[frozenset[str], Setting] = {}
    for setting, specs in found.items():
        for dataset in dict.fromkeys(spec.dataset.name for spec in specs):
            runs = frozenset(spec.id for spec in specs if spec.dataset.name == dataset)
            other = known.setdefault(runs, setting)
            if other != setting:
                raise UsageError(
                    f"the axes give the same runs twice on '{dataset}', at {words_of(other)} and at "
                    f"{words_of(setting)}: leave one of the values out"
                )


def check_that_all_change(axes: Mapping[str, Axis], found: Mapping[Setting, Sequence[RunSpec]]) -> None:
    """Make sure that no run stands at two settings whose references differ: there would be two to hold it against.

    Raises:
        UsageError: one does, as its architecture lacks an option that an axis varies.
    """
    known: dict[str, tuple[frozenset[str], Setting]] = {}
    for setting, specs in found.items():
        references: dict[str, set[str]] = defaultdict(set)
        for spec in specs:
            if ARCHITECTURES[spec.architecture.name].factory.reference:
                references[spec.dataset.name].add(spec.id)
        for spec in specs:
            against = frozenset(references[spec.dataset.name])
            before, other = known.setdefault(spec.id, (against, setting))
            if before != against and spec.id not in against:
                raise _unchanged(axes, spec.architecture.name, other, setting)


def _unchanged(axes: Mapping[str, Axis], architecture: str, one: Setting, other: Setting) -> UsageError:
    """The error for an architecture that is the same at two settings where the references are not."""
    puts, names = choices_of(axes), varied(axes)
    differing = [key.partition(".") for key in names if puts[one].get(key) != puts[other].get(key)]
    why = [
        f"has no option '{option}', which the axis '{names[f'{table}.{option}']}' varies"
        for table, _, option in differing
        if table == "architecture" and option not in ARCHITECTURES[architecture].defaults
    ]
    return UsageError(
        f"the architecture '{architecture}' {' and '.join(why) or 'does not change'}: its runs would be the same at "
        f"{words_of(one)} and at {words_of(other)}, where the single-task networks are not; leave it out of this grid"
    )


def words_of(setting: Setting) -> str:
    """A setting in words; none where the grid has no axes."""
    return ", ".join(f"{axis} {value}" for axis, value in setting)
