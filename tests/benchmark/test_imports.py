import importlib
import json
import subprocess
import sys
import textwrap

import click
import pytest

import benchmark
from benchmark.cli import main
from benchmark.commands.lazy import LazyGroup
from benchmark.renamed import MOVED, RENAMED
from tests.forked import Forked, anew

#: What takes seconds to import.
HEAVY = ("torch", "pandas", "matplotlib", "scipy", "jinja2", "rich.console", "pydantic", "baselines")


def imported_by(code: str) -> list[str]:
    """Which of the heavy packages a fresh process has imported after ``code``."""
    tell = f"import json, sys; print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{tell}"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_help_imports_no_more_than_it_shows():
    help_ = textwrap.dedent("""
        from benchmark.cli import main
        main(["--help"], standalone_mode=False)
    """)
    assert imported_by(help_) == []


@pytest.mark.slow
def test_the_package_imports_its_public_names_when_they_are_used():
    assert imported_by("import benchmark; dir(benchmark); benchmark.__version__") == []
    assert imported_by("from benchmark import LATER") == []
    when_used = """
        import sys
        sys.modules["torch"] = None  # to import it is an error, and no wait
        try:
            from benchmark import Weighting
        except ImportError as error:
            assert error.name == "torch"
        else:
            raise AssertionError("it does without torch")
    """
    imported_by(textwrap.dedent(when_used))


def test_runs_are_begun_without_tables(tmp_path):
    Forked(tmp_path, anew, "import sys; sys.modules['pandas'] = None; import benchmark.commands.run").printed()


@pytest.mark.parametrize("registry", ["ARCHITECTURES", "DATASETS", "WEIGHTINGS"])
def test_whoever_asks_a_registry_first_finds_everything(registry, tmp_path):
    found = Forked(tmp_path, anew, f"from benchmark import {registry}; print(len(list({registry})))").printed()
    assert int(found) > 5


@pytest.mark.parametrize("name", benchmark.__all__)
def test_every_public_name_is_there(name):
    assert getattr(benchmark, name) is not None
    assert name in dir(benchmark)


def test_there_is_nothing_else():
    with pytest.raises(AttributeError, match="no attribute 'Wieghting'"):
        benchmark.Wieghting  # noqa: B018


def groups(group: click.Group, path: str = "mtbench"):
    yield path, group
    context = click.Context(group)
    for name in group.list_commands(context):
        if isinstance(command := group.get_command(context, name), click.Group):
            yield from groups(command, f"{path} {name}")


def test_the_list_of_commands_says_what_the_commands_say():
    found = dict(groups(main))
    assert {"mtbench", "mtbench data", "mtbench store", "mtbench submit"} <= set(found)
    for path, group in found.items():
        if isinstance(group, LazyGroup):
            for name in group.lazy:
                command = group.get_command(click.Context(group), name)
                first = (command.help or "").split("\n\n")[0].replace("\n", " ")
                assert (command.name, group.lazy[name][1]) == (name, first), f"{path} {name}"


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_old_names_of_modules_are_the_new_modules(old, new, monkeypatch):
    # The attribute of the package is set by the import, too; both are taken back.
    package, _, name = old.rpartition(".")
    monkeypatch.delitem(sys.modules, old, raising=False)
    monkeypatch.setattr(importlib.import_module(package), name, None, raising=False)
    with pytest.warns(DeprecationWarning, match=f"'{old}' is now '{new}'"):
        module = importlib.import_module(old)
    assert module is importlib.import_module(new)
    assert module.__spec__.name == new


@pytest.mark.parametrize("module", RENAMED)
def test_old_names_in_modules_are_the_new_ones(module):
    found = importlib.import_module(module)
    for old, new in RENAMED[module].items():
        place, _, last = new.rpartition(".")
        with pytest.warns(DeprecationWarning, match=f"'{module}.{old}' is now '{new}'"):
            assert getattr(found, old) is getattr(importlib.import_module(place or module), last)
    with pytest.raises(AttributeError, match="no attribute 'Seprate'"):
        assert found.Seprate


#: What ``benchmark.runs.grid`` defined before it became several modules.
OF_GRID = (
    "Axis", "BUILTIN", "C", "Choice", "DataSetChoice", "Filters", "Grid", "Grids", "Listed", "NO_FILTERS",
    "NO_OPTIONS", "Options", "SMOKE_ARCHITECTURE", "SMOKE_PROTOCOL", "SWEPT", "Setting", "Undefined", "VARIED",
    "WeightingChoice", "expand", "grid_names", "grid_text", "load_grid", "parse_options", "parse_value", "shrunk",
    "simplex_points", "undefined", "unpictured", "values_of", "words_of",
)  # fmt: skip


@pytest.mark.parametrize("name", OF_GRID)
@pytest.mark.filterwarnings("ignore:.*is now 'benchmark.runs:DeprecationWarning")
def test_what_the_module_of_grids_had_can_be_taken_from_it(name):
    assert hasattr(importlib.import_module("benchmark.runs.grid"), name)


def test_a_plugin_that_takes_an_old_name_is_told_where(tmp_path):
    plugin = tmp_path / "old.py"
    plugin.write_text("from benchmark.spec import derive_seed\n")
    code = f"""
        import pathlib, warnings
        from benchmark import load_plugin_file
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            load_plugin_file(pathlib.Path({str(plugin)!r}))
        for one in caught:
            print(warnings.formatwarning(one.message, one.category, one.filename, one.lineno))
    """
    told = Forked(tmp_path, anew, textwrap.dedent(code)).printed()
    assert "old.py:1: DeprecationWarning: 'benchmark.spec' is now 'benchmark.runs.spec'" in told
