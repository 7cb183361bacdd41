"""What can be named: architectures, weightings and data sets, registered beside their classes, also by plugins."""

import hashlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Generic, TypeVar, Union, get_args, get_origin

from benchmark.errors import UsageError, UserError, unknown

PLUGIN_GROUP = "mtbench.plugins"

#: Names are parts of file names and of commands.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
#: What tables and records say where there is no weighting; what grids say for everything.
RESERVED = frozenset({"none", "all"})
#: Whole numbers below this are floats without loss.
EXACT = 2**53
#: Marks an option, or a field of a spec, that was added after runs had been recorded: while it has its default, it is
#: in no identity, and as an option in no record and no folder's name. ``depth: Annotated[int, LATER] = 2``.
LATER = "left out of identities while it has its default"

T = TypeVar("T")
C = TypeVar("C", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One registered class: its name, its version, and options that the name presets."""

    name: str
    factory: Any  # a class, or a function that returns a T
    version: int
    preset: Mapping[str, Any] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """First line of the class's own docstring; empty where it has none, whatever its base says."""
        return inspect.cleandoc(getattr(self.factory, "__doc__", None) or "").partition("\n")[0]

    @property
    def defaults(self) -> dict[str, Any]:
        """Options and their default values: the keyword-only parameters that the name leaves open."""
        parameters = inspect.signature(self.factory).parameters.values()
        return {
            p.name: p.default
            for p in parameters
            if p.kind is inspect.Parameter.KEYWORD_ONLY and p.name not in self.preset
        }

    @property
    def required(self) -> list[str]:
        """Options without a default."""
        return [name for name, value in self.defaults.items() if value is inspect.Parameter.empty]

    def resolve(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Fill ``options`` up with the defaults.

        Raises:
            UsageError: an option is unknown, or one without default is missing.
        """
        known = self.defaults
        for name in options:
            if name not in known:
                raise unknown(f"option of '{self.name}'", name, known)
        # 2 and 2.0 are the same option, and must be the same run; so are [1, 0] and [1.0, 0.0].
        parameters = self._parameters
        values = {name: _as_number(value, parameters[name]) for name, value in {**known, **options}.items()}
        for name, value in values.items():
            if value is inspect.Parameter.empty:
                raise UsageError(f"'{self.name}' needs the option '{name}', which has no default")
        return values

    def identity(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options that tell a run, its record and its data's folder from others: see ``LATER``."""
        later = {name: _as_number(p.default, p) for name, p in self._parameters.items() if _is_later(p)}
        return {k: v for k, v in options.items() if k not in later or _plain(v) != _plain(later[k])}

    @property
    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        """The constructor's parameters, with types where they can be known."""
        try:
            return inspect.signature(self.factory, eval_str=True).parameters
        except Exception:  # noqa: BLE001 - foreign code may name types that are there for a type checker alone
            return inspect.signature(self.factory).parameters

    def build(self, *args: Any, **options: Any) -> T:
        """Construct the object: ``args`` come from the suite, ``options`` from the user."""
        built: T = self.factory(*args, **self.resolve(options), **self.preset)
        return built


def _is_later(parameter: inspect.Parameter) -> bool:
    """Whether an option is marked; where annotations could not be evaluated, by the mark's name in their text."""
    annotation = parameter.annotation
    if isinstance(annotation, str):
        return re.search(r"\bAnnotated\[.*\bLATER\b", annotation) is not None
    return LATER in getattr(annotation, "__metadata__", ())


def _plain(value: Any) -> Any:
    """As JSON has it, which knows no tuples, and tells 1 from 1.0 and from true."""
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else (type(value), value)


def _as_number(value: Any, parameter: inspect.Parameter) -> Any:
    """A number, or the numbers of a list, in the type that the parameter has; anything else as it is."""
    wanted = _number_types(parameter.annotation) or _number_types_of(parameter.default)
    if isinstance(value, list | tuple):
        return type(value)(_as(wanted.get("list"), one) for one in value)
    return _as(wanted.get("one"), value)


def _as(wanted: type | None, value: Any) -> Any:
    if wanted is float and type(value) is int and abs(value) < EXACT:
        return float(value)
    if wanted is int and type(value) is float and value.is_integer():
        return int(value)
    return value


def _number_types(annotation: Any) -> dict[str, type]:
    """The type of a number, and of the numbers of a list, that an annotation allows; empty where it leaves it open."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _number_types(inner[0])
    if annotation in (int, float):
        return {"one": annotation}
    if origin in (Union, UnionType):
        found = [_number_types(one) for one in inner]
        return {} if {int, float} <= set(inner) else {kind: type_ for one in found for kind, type_ in one.items()}
    if origin in (list, tuple, Sequence) and len(kinds := set(inner) - {Ellipsis}) == 1 and kinds <= {int, float}:
        return {"list": kinds.pop()}
    return {}


def _number_types_of(default: Any) -> dict[str, type]:
    """Likewise, as far as a default tells: one of whole numbers may stand for any."""
    if type(default) in (int, float):
        return {"one": type(default)}
    if isinstance(default, list | tuple) and default and all(type(v) is float for v in default):
        return {"list": float}
    return {}


#: What plugins write into: as it was before, again, after one that could not be imported.
TABLES: list[dict[str, Any]] = []


class Registry(Generic[T]):
    """Names of one kind of thing: ``register`` decorates a class, an unknown name is an error."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry[T]] = {}
        TABLES.append(self._entries)

    def register(self, name: str, *, version: int = 1, **preset: Any) -> Callable[[C], C]:
        """Register the decorated class (or factory) under ``name``.

        Args:
            name: what users write in grids and on the command line.
            version: part of every run's identity; raise it whenever the same options would give other numbers.
            preset: options that this name fixes, so that one class can stand under several names.

        Raises:
            ValueError: the name is taken, reserved, or could not be part of a file's name.
        """
        if not NAME.fullmatch(name) or name in RESERVED:
            raise ValueError(
                f"a {self.kind} is named by letters, digits, dots, dashes and underscores, beginning with a letter or "
                f"a digit, and not {' or '.join(sorted(RESERVED))}; found {name!r}"
            )

        def decorate(factory: C) -> C:
            if name in self._entries:
                raise ValueError(f"the {self.kind} '{name}' is registered already, by {self._entries[name].factory}")
            self._entries[name] = Entry(name, factory, version, preset)
            return factory

        return decorate

    def __getitem__(self, name: str) -> Entry[T]:
        load_installed_plugins()
        try:
            return self._entries[name]
        except KeyError:
            raise unknown(self.kind, name, self._entries) from None

    def __contains__(self, name: object) -> bool:
        load_installed_plugins()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        load_installed_plugins()
        return iter(self._entries)

    def __len__(self) -> int:
        load_installed_plugins()
        return len(self._entries)


ARCHITECTURES: Registry[Any] = Registry("architecture")
WEIGHTINGS: Registry[Any] = Registry("weighting")
DATASETS: Registry[Any] = Registry("data set")

#: SHA-256 of the plugin files loaded so far, by file name; of two files of one name the second's has its folder's, too.
PLUGIN_FILES: dict[str, str] = {}


@cache
def load_installed_plugins() -> None:
    """Import every installed plugin of the entry-point group ``mtbench.plugins``, once: importing is registering.

    Raises:
        UserError: a plugin cannot be imported.
    """
    for point in entry_points(group=PLUGIN_GROUP):
        try:
            point.load()
        except Exception as error:  # a plugin is foreign code: whatever it raises is reported as its failure
            raise UserError(f"the plugin '{point.name}' ({point.value}) cannot be imported: {error!r}") from error


def load_plugin_file(file: Path) -> None:
    """Import a Python file that registers methods or data sets; a second call with the same file changes nothing.

    Installed plugins come first, so that a name that both use is reported as the file's fault.

    Raises:
        UserError: the file cannot be read or imported.
    """
    load_installed_plugins()
    file = file.resolve()
    name = f"mtbench_plugin_{file.stem}_{hashlib.sha256(bytes(file)).hexdigest()[:8]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise UserError(f"the plugin {file} is not a readable Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    before = [dict(table) for table in TABLES]
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a script that ends itself is no plugin either
        del sys.modules[name]
        for table, entries in zip(TABLES, before, strict=True):
            table.clear()
            table.update(entries)
        raise UserError(f"the plugin {file} cannot be imported: {error!r}") from error
    content = hashlib.sha256(file.read_bytes()).hexdigest()
    # The file's name, with as many of its folders as tell it from other files that were loaded.
    names = ("/".join(file.parts[-count:]) for count in range(1, len(file.parts) + 1))
    PLUGIN_FILES[next(name for name in names if PLUGIN_FILES.get(name, content) == content)] = content
