"""Pages of the site that are read off the code: models field by field, commands with their help, public names."""

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import benchmark
import benchmark.analysis
import benchmark.data
import benchmark.tasks
from benchmark.cli import main
from benchmark.runs.grid import DataSetChoice, Grid, Grids
from benchmark.runs.record import RunRecord
from benchmark.runs.spec import Protocol

BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
ATTRIBUTE = re.compile(r"^    (?P<names>\w[\w, ]*): ", re.MULTILINE)


def write_pages(folder: Path) -> None:
    """Write all generated pages; a page whose text has not changed stays as it is, so that Sphinx need not read it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        text, file = make(), folder / name
        if not file.exists() or file.read_text() != text:
            file.write_text(text)


def record_page() -> str:
    """The schema of records: a table for each model that pydantic's JSON Schema holds."""
    return "\n\n".join(
        [
            "# Records",
            "One run is one file of JSON. Numbers that are not finite are null. Fields that a reader does not know are "
            "kept. {download}`The JSON Schema <record.schema.json>` is for other programs.",
            *(section(model) for model in models_in(RunRecord)),
        ]
    )


def record_schema() -> str:
    """Pydantic's JSON Schema of a record."""
    return json.dumps(RunRecord.model_json_schema(), indent=1, ensure_ascii=False) + "\n"


def grid_page() -> str:
    """What a grid file may say."""
    return "\n\n".join(
        [
            "# Grid files",
            "A grid is a file of TOML. An unknown key is an error. `[protocol]` takes the fields of *Protocol* below, "
            "`[datasets.NAME]` those of *DataSetChoice*. A method is its bare name, or a table with `name` and "
            "`options`. `mtbench list` names what can be named.",
            *(section(model) for model in models_in(Grid, DataSetChoice, Protocol, Grids)),
        ]
    )


def models_in(*roots: Any) -> list[type[BaseModel]]:
    """These models and those of their fields, each once, in reading order."""
    found: dict[type[BaseModel], None] = {}

    def visit(kind: Any) -> None:
        if inspect.isclass(kind) and issubclass(kind, BaseModel) and kind not in found:
            found[kind] = None
            for field in kind.model_fields.values():
                visit(field.annotation)
        for argument in get_args(kind):
            visit(argument)

    for root in roots:
        visit(root)
    return list(found)


def section(model: type[BaseModel]) -> str:
    """A heading, the docstring's first paragraphs and a table of a model's fields."""
    text = inspect.getdoc(model) or ""
    words = described(model)
    for name, field in model.model_fields.items():
        inner = models_in(field.annotation)
        if inner and name not in words:  # what its model is
            words[name] = markdown((inspect.getdoc(inner[0]) or "").partition("\n")[0])
    rows = [
        f"| `{name}` | {cell(type_words(field))} | {cell(default_words(field))} | {cell(words.get(name, ''))} |"
        for name, field in model.model_fields.items()
    ]
    table = ["| field | type | default | what it is |", "|---|---|---|---|", *rows]
    return f"## {model.__name__}\n\n{markdown(text.partition('Attributes:')[0].strip())}\n\n" + "\n".join(table)


def described(model: type[BaseModel]) -> dict[str, str]:
    """By field what the docstring's section ``Attributes`` says of it, of the bases too."""
    words: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        listed = (inspect.cleandoc(kind.__doc__ or "")).partition("Attributes:\n")[2].partition("\n\n")[0]
        starts = [*ATTRIBUTE.finditer(listed)]
        ends = [*(start.start() for start in starts[1:]), len(listed)]
        for start, end in zip(starts, ends, strict=False):
            text = " ".join(listed[start.end() : end].split())
            words |= dict.fromkeys((name.strip() for name in start["names"].split(",")), markdown(text))
    return words


def type_words(field: FieldInfo) -> str:
    """A field's type and bounds, as one writes them."""
    bounds = [f"{BOUNDS[name]} {value}" for m in field.metadata for name, value in vars_of(m).items() if name in BOUNDS]
    return " ".join([f"`{type_text(field.annotation)}`", *bounds])


def vars_of(constraint: Any) -> dict[str, Any]:
    """The fields of one of pydantic's constraints; none of what is no constraint."""
    return {f.name: getattr(constraint, f.name) for f in fields(constraint)} if is_dataclass(constraint) else {}


def type_text(kind: Any) -> str:
    """A type without modules and annotations."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return type_text(arguments[0])
    if kind is type(None):
        return "null"
    if origin is Literal:
        return " | ".join(json.dumps(value) for value in arguments)
    if origin in (Union, UnionType):
        return " | ".join(type_text(argument) for argument in arguments)
    if origin:
        inner = ", ".join("..." if argument is ... else type_text(argument) for argument in arguments)
        return f"{origin.__name__}[{inner}]"
    return getattr(kind, "__name__", str(kind))


def default_words(field: FieldInfo) -> str:
    """A field's default; ``required`` where there is none."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return f"`{'null' if value is None else json.dumps(value, default=list, ensure_ascii=False)}`"


def command_page() -> str:
    """Every command's help, as it prints it."""
    parts = ["# Commands", "What `--help` prints."]
    for path, command in commands(main, ("mtbench",)):
        context = click.Context(command, info_name=" ".join(path), max_content_width=100, terminal_width=100)
        parts.append(f"## {' '.join(path)}\n\n```text\n{command.get_help(context)}\n```")
    return "\n\n".join(parts)


def commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """A command and those below it, by their words."""
    yield path, command
    if isinstance(command, click.Group):
        with click.Context(command) as context:
            for name in command.list_commands(context):
                below = command.get_command(context, name)
                if below is not None and not below.hidden:
                    yield from commands(below, (*path, name))


def names_page(title: str, module: ModuleType, names: list[str]) -> str:
    """Classes and functions of a module from their docstrings; constants with what they hold."""
    parts = [f"# {title}", markdown((inspect.getdoc(module) or "").partition("\n")[0])]
    for name in names:
        thing, path = getattr(module, name), f"{module.__name__}.{name}"
        if inspect.isclass(thing) or inspect.isroutine(thing):
            kind = "autoclass" if inspect.isclass(thing) else "autofunction"
            parts.append(f"```{{eval-rst}}\n.. {kind}:: {path}\n```")
        else:
            parts.append(f"```{{py:data}} {path}\n\n{held(thing)}\n```")
    return "\n\n".join(parts)


def held(thing: Any) -> str:
    """What a constant holds, in words."""
    if isinstance(thing, Mapping):
        words = {key: f": {markdown(value)}" if isinstance(value, str) else "" for key, value in thing.items()}
        return "\n".join(f"- `{key!r}`{text}" for key, text in words.items())
    if isinstance(thing, tuple | list | str | int | float):
        return f"`{thing!r}`"
    return markdown((inspect.getdoc(thing) or "").partition("\n")[0])


def markdown(text: str) -> str:
    """A docstring's text with code as Markdown writes it."""
    return text.replace("``", "`")


def cell(text: str) -> str:
    """A text that fits a cell of a table."""
    return text.replace("|", "\\|")


PAGES: dict[str, Callable[[], str]] = {
    "records.md": record_page,
    "record.schema.json": record_schema,
    "grids.md": grid_page,
    "commands.md": command_page,
    "api.md": lambda: names_page("benchmark", benchmark, benchmark.__all__),
    "data.md": lambda: names_page(
        "benchmark.data", benchmark.data, ["DataSet", "PerTaskInputDataSet", "register_dataset"]
    ),
    "tasks.md": lambda: names_page(
        "benchmark.tasks", benchmark.tasks, ["TaskKind", "Metric", "Accumulator", "register_kind"]
    ),
    "analysis.md": lambda: names_page("benchmark.analysis", benchmark.analysis, benchmark.analysis.__all__),
}
