"""The committed digests: every machine on which the tests run is one more witness."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.portable.compare import is_apart
from tests.portable.compute import write

GOLDEN = Path(__file__).with_name("golden.json")
COMMAND = "python -m tests.portable --write-golden"


def commit(found: Mapping[str, Any]) -> None:
    """Commit to what a process computed, but for functions that are known to differ."""
    digests = {name: value for name, value in found["digests"].items() if not is_apart(name)}
    write({**found, "digests": digests}, GOLDEN)


def read() -> dict[str, Any]:
    """What ``commit`` wrote."""
    found: dict[str, Any] = json.loads(GOLDEN.read_text())
    return found


def of_the_same(golden: Mapping[str, str], digests: Mapping[str, str]) -> dict[str, str]:
    """The committed digests of the cells that ``digests`` holds."""
    cells = {name.partition(": ")[0] for name in digests}
    return {name: value for name, value in golden.items() if name.partition(": ")[0] in cells}


def other_versions(found: Mapping[str, Any], golden: Mapping[str, Any]) -> str | None:
    """In words how a process's packages differ from those of the committed digests; None where they do not."""
    wrong = [
        f"{name} {found['versions'][name]} is not {version}"
        for name, version in golden["versions"].items()
        if found["versions"][name] != version
    ]
    return ", ".join(wrong) or None
