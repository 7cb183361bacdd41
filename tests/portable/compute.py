"""Computes the proof in this process: ``python -m tests.portable.compute OUT.json [--short] [--only BEGINNING]``."""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
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


def result(short: bool, only: Sequence[str]) -> dict[str, Any]:
    """What this process computes, with what it computes with."""
    torch.set_num_threads(1)
    load_plugin_file(Path(__file__).parents[1] / "toy.py")
    started = monotonic()

    def told(name: str) -> None:
        sys.stderr.write(f"{monotonic() - started:7.1f} s  {name}\n")

    with tempfile.TemporaryDirectory() as folder:
        digests = compute(short, only, Storage(Path(folder)), told)
    return {"versions": versions(), "kernels": torch.backends.cpu.get_cpu_capability(), "digests": digests}


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", nargs="*", default=(), metavar="BEGINNING")
    words = parser.parse_args()
    found = result(words.short, words.only)
    scratch = words.out.with_suffix(".part")
    scratch.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    scratch.replace(words.out)


if __name__ == "__main__":
    main()
