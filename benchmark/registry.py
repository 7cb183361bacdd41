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
from typing import Any, Generic, TypeVar, Union, get_args, get_origin

from benchmark.errors import UsageError, UserError, unknown

PLUGIN_GROUP = "mtbench.plugins"

#: Names are parts of file names and of commands.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
#: What tables and records say where there is no weighting; what grids say for everything.
RESERVED = frozenset({"none", "all"})
#: Whole numbers below this are floats without loss.
EXACT = 2**53

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
        lists = self._lists_of_numbers()
        given = {
            k: float(v) if type(v) is int and type(known[k]) is float else _as_floats(v) if k in lists else v
            for k, v in options.items()
        }
        values = {**known, **given}
        for name, value in values.items():
            if value is inspect.Parameter.empty:
                raise UsageError(f"'{self.name}' needs the option '{name}', which has no default")
        return values

    def _lists_of_numbers(self) -> set[str]:
        """Options that hold floats, by their annotation or by their default."""
        try:
            parameters = inspect.signature(self.factory, eval_str=True).parameters.values()
        except Exception:  # noqa: BLE001 - foreign code may name types that are there for a type checker alone
            parameters = inspect.signature(self.factory).parameters.values()
        return {p.name for p in parameters if _holds_floats(p.annotation) or _floats(p.default)}

    def build(self, *args: Any, **options: Any) -> T:
        """Construct the object: ``args`` come from the suite, ``options`` from the user."""
        built: T = self.factory(*args, **self.resolve(options), **self.preset)
        return built


def _holds_floats(annotation: Any) -> bool:
    """Whether an annotation is a list, tuple or sequence of floats, or None besides."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return any(_holds_floats(one) for one in inner)
    return origin in (list, tuple, Sequence) and bool(inner) and set(inner) <= {float, Ellipsis}


def _floats(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(type(v) is float for v in value)


def _as_floats(value: Any) -> Any:
    """The list with whole numbers as floats; anything else as it is."""
    if isinstance(value, list | tuple):
        return [float(v) if type(v) is int and abs(v) < EXACT else v for v in value]
    return value


class Registry(Generic[T]):
    """Names of one kind of thing: ``register`` decorates a class, an unknown name is an error."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry[T]] = {}

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

#: SHA-256 of the plugin files loaded so far, by file name.
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
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a script that ends itself is no plugin either
        del sys.modules[name]
        raise UserError(f"the plugin {file} cannot be imported: {error!r}") from error
    PLUGIN_FILES[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
