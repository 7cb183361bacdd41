"""Print the lowest versions that pyproject.toml declares, as pins for pip: what the bounds promise is then tried.

Of extras too, where they are named: ``python scripts/lowest_versions.py slurm``. Torch is left out: its oldest builds
for Linux want libraries of CUDA, some gigabytes; whoever installs the pins chooses a build.
"""

import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).parent.parent / "pyproject.toml"
LEFT_OUT = {"torch"}


def lowest(requirement: str) -> str:
    """The pin of a requirement's lower bound.

    Raises:
        SystemExit: it has no lower bound, or more than one.
    """
    parsed = Requirement(requirement)
    bounds = [found.version for found in parsed.specifier if found.operator == ">="]
    if len(bounds) != 1:
        raise SystemExit(f"{PROJECT.name}: '{requirement}' should have one lower bound, as in 'name>=1.2'")
    return f"{parsed.name}=={bounds[0]}"


def pins(extras: list[str]) -> list[str]:
    """The pins of the dependencies and of these extras."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    wanted = [*project["dependencies"], *(r for extra in extras for r in project["optional-dependencies"][extra])]
    return [lowest(requirement) for requirement in wanted if Requirement(requirement).name not in LEFT_OUT]


if __name__ == "__main__":
    print("\n".join(pins(sys.argv[1:])))
