"""Computes the proof in this process: ``python -m tests.portable.compute OUT.json [--short] [--only BEGINNING]``."""

import argparse
import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import Any

import torch

import baselines  # noqa: F401 - registers the methods
from benchmark.data import Storage
from benchmark.registry import load_plugin_file
from tests.portable.cells import compute

#: Whose code computes: digests of other versions may differ.
PACKAGES = ("torch", "numpy", "scipy", "pillow")


def versions() -> dict[str, str]:
    """Of the packages that compute."""
    return {name: version(name) for name in PACKAGES}


def main() -> None:
    """See above. After each cell the file holds what is known so far: a process that breaks leaves all that it did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", nargs="*", default=(), metavar="BEGINNING")
    words = parser.parse_args()
    torch.set_num_threads(1)
    load_plugin_file(Path(__file__).parents[1] / "toy.py")
    started = monotonic()
    digests: dict[str, str] = {}
    found = {"versions": versions(), "kernels": torch.backends.cpu.get_cpu_capability(), "digests": digests}
    with tempfile.TemporaryDirectory() as folder:
        for name, parts in compute(words.short, words.only, Storage(Path(folder))):
            digests |= parts
            write(found, words.out)
            sys.stderr.write(f"{monotonic() - started:7.1f} s  {name}\n")


def write(found: dict[str, Any], path: Path) -> None:
    """Put JSON under its name, whole or not at all."""
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps(found, indent=0, ensure_ascii=False) + "\n")
    scratch.replace(path)


if __name__ == "__main__":
    main()
