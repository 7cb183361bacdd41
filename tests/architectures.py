"""The suite's architectures, told apart by how much of every cross product they are tested in."""

from contextlib import contextmanager

import pytest
import torch

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


@contextmanager
def shapes_only():
    """Networks that are built within have shapes and no numbers: to draw them takes half of the time."""
    with pytest.MonkeyPatch.context() as patch, torch.device("meta"):
        for name in ("uniform_", "normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "xavier_normal_"):
            patch.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)
        yield
