"""The suite's architectures, told apart by how much of every cross product they are tested in."""

from benchmark.registry import ARCHITECTURES

#: Those of the first paper: in every cross product.
FIRST = ("single-task", "stan", "split", "split-wide", "split-deep", "dense", "cross-stitch", "mtan")
#: All others, which have tests of their own (``tests/baselines/test_pattern*.py``), and stand elsewhere where what they
#: give beside predictions matters.
LATER = tuple(
    sorted(
        name
        for name in ARCHITECTURES
        if name not in FIRST and ARCHITECTURES[name].factory.__module__.startswith("baselines.")
    )
)
