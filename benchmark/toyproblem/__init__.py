"""The two-task problem in the plane on which the literature draws its methods' paths.

``solve`` runs one weighting from every start, ``save`` and ``load`` keep a ``ToyRecord`` beside the runs' records::

    record = toyproblem.load(Path("results"))
    for method in record.methods:
        for path in method.paths:
            print(method.weighting.name, path.start, path.points[-1], path.reached)
"""

from benchmark.toyproblem.descent import chosen, solve
from benchmark.toyproblem.problem import STARTS, front, gap, losses, losses_and_gradients
from benchmark.toyproblem.record import FILE, USUAL, MethodPaths, Path2D, Settings, ToyRecord, load, rounded, save

__all__ = [
    "FILE",
    "STARTS",
    "USUAL",
    "MethodPaths",
    "Path2D",
    "Settings",
    "ToyRecord",
    "chosen",
    "front",
    "gap",
    "load",
    "losses",
    "losses_and_gradients",
    "rounded",
    "save",
    "solve",
]
