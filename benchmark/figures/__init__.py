"""Static figures of a board, as a paper prints them: forest, Pareto front, curves and heat map.

Each function takes tidy frames and returns a matplotlib ``Figure``, fit for a notebook; ``save`` writes one, the same
bytes from the same numbers::

    test = chosen[chosen["split"] == "test"]  # of analysis.select(frame, against="mean")
    found = analysis.verdicts(test)
    save(forest(found[found["metric"] == "delta_m"]), Path("forest.pdf"))

``drawings`` makes all figures of a board. Importing this takes a second, for seaborn.
"""

from benchmark.figures.board import Drawing, baseline_on, drawings
from benchmark.figures.curves import curves
from benchmark.figures.forest import forest
from benchmark.figures.heat import heat
from benchmark.figures.pareto import pareto
from benchmark.figures.style import FORMATS, WIDTH, Palette, save

__all__ = [
    "FORMATS",
    "WIDTH",
    "Drawing",
    "Palette",
    "baseline_on",
    "curves",
    "drawings",
    "forest",
    "heat",
    "pareto",
    "save",
]
