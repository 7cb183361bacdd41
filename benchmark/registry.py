"""What can be named: architectures, weightings and data sets, registered beside their classes, also by plugins."""

import hashlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.metadata import entry_points
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Generic, TypeVar, Union, get_args, get_origin

from benchmark import optiontypes
from benchmark.errors import OF_PLUGINS, UsageError, UserError, unknown
from benchmark.neighbours import digest, forget, make_importable, neighbours

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
class Registration(Generic[T]):
    """One registered class: its name, its version, and options that the name presets."""

    name: str
    factory: Any  # a class, or a function that returns a T
    version: int
    preset: Mapping[str, Any] = field(default_factory=dict)
    mark: int | None = None
    #: SHA-256 of the plugin file that registered it; None for what is installed.
    code: str | None = None
    registry: "Registry[T] | None" = field(default=None, repr=False, compare=False)

    @property
    def summary(self) -> str:
        """First line of the class's own docstring; empty where it has none, whatever its base says."""
        return inspect.cleandoc(getattr(self.factory, "__doc__", None) or "").partition("\n")[0]

    @property
    def defaults(self) -> dict[str, Any]:
        """Options and their default values: the keyword-only parameters that the name leaves open."""
        return {
            p.name: p.default
            for p in self._parameters.values()
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

    @cached_property
    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        """The constructor's parameters, with types where they can be known."""
        try:
            return inspect.signature(self.factory, eval_str=True).parameters
        except Exception:  # noqa: BLE001 - foreign code may name types that are there for a type checker alone
            return inspect.signature(self.factory).parameters

    def build(self, *args: Any, **options: Any) -> T:
        """Construct the object: ``args`` come from the suite, ``options`` from the user.

        Raises:
            UsageError: an option is unknown or missing, or a function gave something else than it is registered as.
        """
        built: T = self.factory(*args, **self.resolve(options), **self.preset)
        contract = self.registry.contract if self.registry else None
        if contract is not None and not isinstance(built, contract):
            raise UsageError(f"'{self.name}' must give a {contract.__name__}, found {type(built).__name__}")
        return built

    def check_types(self, options: Mapping[str, Any]) -> None:
        """Make sure that options are of the types that the constructor says.

        Raises:
            UsageError: one is not.
        """
        for name, value in options.items():
            if not optiontypes.fits(value, parameter := self._parameters[name]):
                raise UsageError(
                    f"'{self.name}' needs {optiontypes.wanted(parameter)} as '{name}', found {value!r:.80} "
                    f"({type(value).__name__})"
                )


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
    """Names of one kind of thing: ``register`` decorates a class, an unknown name is an error.

    Args:
        kind: of thing, in words.
        arguments: how many positional arguments the suite passes to a constructor; None for any number.
    """

    def __init__(self, kind: str, arguments: int | None = None) -> None:
        self.kind = kind
        self.arguments = arguments
        #: What is registered derives from it, or gives one; set where it is defined.
        self.contract: type | None = None
        self._entries: dict[str, Registration[T]] = {}
        self._baseline: dict[str, str] = {}
        TABLES.extend((self._entries, self._baseline))

    def register(
        self, name: str, *, version: int = 1, mark: int | None = None, baseline: bool = False, **preset: Any
    ) -> Callable[[C], C]:
        """Register the decorated class (or factory) under ``name``.

        Args:
            name: what users write in grids and on the command line.
            version: part of every run's identity; raise it whenever the same options would give other numbers.
            mark: its place among the colours of architectures or the shapes of weightings in reports; without one, a
                report chooses.
            baseline: whether others of the kind are held against it where nothing else is said.
            preset: options that this name fixes, so that one class can stand under several names.

        Raises:
            ValueError: the name is taken, reserved, or could not be part of a file's name; or there is a baseline.
            UsageError: the class is none of the kind, or has options that nobody could give.
        """
        if not NAME.fullmatch(name) or name in RESERVED:
            raise ValueError(
                f"a {self.kind} is named by letters, digits, dots, dashes and underscores, beginning with a letter or "
                f"a digit, and not {' or '.join(sorted(RESERVED))}; found {name!r}"
            )

        def decorate(factory: C) -> C:
            if name in self._entries:
                raise ValueError(f"the {self.kind} '{name}' is registered already, by {self._entries[name].factory}")
            if baseline and self._baseline:
                raise ValueError(f"the {self.kind} '{self._baseline['name']}' is the baseline already")
            self._check(name, factory, preset)
            self._entries[name] = Registration(name, factory, version, preset, mark, loading_code(), self)
            if baseline:
                self._baseline["name"] = name
            return factory

        return decorate

    def _check(self, name: str, factory: Any, preset: Mapping[str, Any]) -> None:
        """Refuse a class that cannot be what it is registered as."""
        if self.contract is not None and isinstance(factory, type):
            wanted = self.contract.__name__
            if not issubclass(factory, self.contract):
                raise UsageError(
                    f"the {self.kind} '{name}' must be a {wanted}: derive {factory.__name__} from {wanted}"
                )
            if missing := sorted(getattr(factory, "__abstractmethods__", ())):
                raise UsageError(f"the {self.kind} '{name}' lacks {', '.join(missing)}, which every {wanted} defines")
        if self.arguments is None:
            return
        parameters = inspect.signature(factory).parameters.values()
        given = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][self.arguments :]
        if lost := [p.name for p in given if p.name not in preset]:
            raise UsageError(
                f"the {self.kind} '{name}' takes {', '.join(map(repr, lost))} as positional "
                f"argument{'s' * (len(lost) > 1)}, and options are keyword-only, so that nobody could set "
                f"{'them' if len(lost) > 1 else 'it'}: write '*, ' before '{lost[0]}' in the constructor"
            )

    def __getitem__(self, name: str) -> Registration[T]:
        load_installed_plugins()
        try:
            return self._entries[name]
        except KeyError:
            raise unknown(self.kind, name, self._entries, OF_PLUGINS) from None

    @property
    def baseline(self) -> str | None:
        """The name of what others of the kind are held against where nothing else is said."""
        load_installed_plugins()
        return self._baseline.get("name")

    @property
    def marks(self) -> dict[str, int]:
        """The places of those that have one of their own in reports."""
        return {name: entry.mark for name in self if (entry := self._entries[name]).mark is not None}

    def __contains__(self, name: object) -> bool:
        load_installed_plugins()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        load_installed_plugins()
        return iter(self._entries)

    def __len__(self) -> int:
        load_installed_plugins()
        return len(self._entries)


ARCHITECTURES: Registry[Any] = Registry("architecture", 1)
WEIGHTINGS: Registry[Any] = Registry("weighting", 1)
DATASETS: Registry[Any] = Registry("data set", 0)

#: By name of a family of backbones: how its names are formed, and what it is. Whoever defines backbones adds theirs.
BACKBONES: dict[str, tuple[str, str]] = {}
TABLES.append(BACKBONES)

#: SHA-256 of the plugin file that is being imported; a stack, since one may load another.
_LOADING: list[str] = []
#: SHA-256 of the plugin files loaded so far, by file name; of two files of one name the second's has its folder's, too.
PLUGIN_FILES: dict[str, str] = {}


def loading_code() -> str | None:
    """SHA-256 of the plugin file that is being imported: what is registered now, it registers."""
    return _LOADING[-1] if _LOADING else None


@cache
def load_installed_plugins() -> None:
    """Import the suite's data sets and every installed plugin of the entry-point group ``mtbench.plugins``, once.

    Importing is registering.

    Raises:
        UserError: a plugin cannot be imported.
    """
    importlib.import_module("benchmark.data")
    for point in entry_points(group=PLUGIN_GROUP):
        try:
            point.load()
        except (Exception, SystemExit) as error:  # foreign code: whatever it raises is reported as its failure
            raise UserError(f"the plugin '{point.name}' ({point.value}) cannot be imported: {error!r}") from error


def registering_packages() -> set[str]:
    """Top-level packages whose code registers something."""
    registries: tuple[Registry[Any], ...] = (ARCHITECTURES, WEIGHTINGS, DATASETS)
    return {
        str(getattr(registry[name].factory, "__module__", "")).partition(".")[0]
        for registry in registries
        for name in registry
    }


def load_plugin_files(files: Iterable[str | Path]) -> None:
    """Load several plugin files, in whatever order they need each other.

    Raises:
        UserError: see ``load_plugin_file``; of the first that cannot be loaded even after all others.
    """
    waiting = list(files)
    while waiting:
        failures: list[tuple[str | Path, UserError]] = []
        for file in waiting:
            try:
                load_plugin_file(file)
            except UserError as error:
                failures.append((file, error))
        if len(failures) == len(waiting):
            raise failures[0][1]
        waiting = [file for file, _ in failures]


def load_plugin_file(file: str | Path) -> None:
    """Import a Python file that registers methods or data sets; a second call with the same file changes nothing.

    Installed plugins come first, so that a name that both use is reported as the file's fault. The file may import
    others that lie beside it: their text is part of its code.

    Raises:
        UserError: the file cannot be read or imported, or changes at its import what other methods' numbers depend on.
    """
    from benchmark.process_state import ProcessState  # it loads torch, for which names alone need not wait

    load_installed_plugins()
    file = Path(file).resolve()
    name = f"mtbench_plugin_{file.stem}_{hashlib.sha256(bytes(file)).hexdigest()[:8]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, file)
    try:
        beside = neighbours(file)
        content = digest(file, beside)
    except (OSError, ValueError):
        spec = None
    if spec is None or spec.loader is None:
        raise UserError(f"the plugin {file} is not a readable Python file")
    if beside:
        make_importable(file.parent)
    module = importlib.util.module_from_spec(spec)
    modules = set(sys.modules)
    sys.modules[name] = module
    before = [dict(table) for table in TABLES]
    state = ProcessState({"benchmark"} | registering_packages())
    _LOADING.append(content)
    try:
        spec.loader.exec_module(module)
        if changes := state.undo(numbers_only=True):
            raise UserError(
                f"it changes {', '.join(changes)}, with which the numbers of every other method would be others; let "
                "the method do that, in its run"
            )
    except (Exception, SystemExit) as error:  # a script that ends itself is no plugin either
        state.undo(numbers_only=True)
        forget(beside, modules)
        sys.modules.pop(name, None)
        for table, entries in zip(TABLES, before, strict=True):
            table.clear()
            table.update(entries)
        reason = str(error) if isinstance(error, UserError) else repr(error)
        raise UserError(f"the plugin {file} cannot be imported: {reason}") from error
    finally:
        _LOADING.pop()
    for loaded in (file, *beside):
        _remember(loaded)


def _remember(file: Path) -> None:
    """Name a file that was loaded in ``PLUGIN_FILES``, with as many of its folders as tell it from others there."""
    content = hashlib.sha256(file.read_bytes()).hexdigest()
    names = ("/".join(file.parts[-count:]) for count in range(1, len(file.parts) + 1))
    PLUGIN_FILES[next(name for name in names if PLUGIN_FILES.get(name, content) == content)] = content
