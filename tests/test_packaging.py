"""What the package says of itself is so: dependencies, platform, types."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmark.__main__ import main

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def declared(*extras):
    wanted = [*PROJECT["dependencies"], *(r for extra in extras for r in PROJECT["optional-dependencies"][extra])]
    return {canonicalize_name(Requirement(requirement).name) for requirement in wanted}


def imported(folder):
    """The distributions that a folder's files import; a module that is not installed counts under its own name."""
    modules, files = set(), list((ROOT / folder).rglob("*.py"))
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules.add(node.module)
    beside = set() if (ROOT / folder / "__init__.py").exists() else {file.stem for file in files}
    own = {"benchmark", "baselines", "tests"} | beside
    tops = {module.partition(".")[0] for module in modules} - set(sys.stdlib_module_names) - own
    known = packages_distributions()
    return {canonicalize_name(name) for top in tops for name in known.get(top, [top])}


@pytest.mark.slow
def test_what_the_packages_import_is_declared_and_nothing_else():
    assert imported("benchmark") | imported("baselines") == declared("ray", "slurm")


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "extras"), [("scripts", ()), ("tests", ("test", "ray"))])
def test_what_scripts_and_tests_import_is_declared(folder, extras):
    assert imported(folder) <= declared(*extras)


def test_every_dependency_has_one_lower_bound():
    command = [
        sys.executable,
        ROOT / "scripts" / "lowest_versions.py",
        *PROJECT["optional-dependencies"].keys() - {"dev"},
    ]
    pins = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(pins) == len(declared(*PROJECT["optional-dependencies"].keys() - {"dev"}) - {"torch"})
    assert all(re.fullmatch(r"[\w.-]+==[\d.]+", pin) for pin in pins)


@pytest.mark.parametrize("package", ["benchmark", "baselines"])
def test_both_packages_say_that_they_are_typed(package):
    assert (ROOT / package / "py.typed").exists()


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_than_on_linux_the_command_ends_in_one_line(monkeypatch, platform):
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(SystemExit) as end:
        main()
    assert re.fullmatch(rf"Error: mtbench runs on Linux, found {platform}: .*; use .*", end.value.code)
