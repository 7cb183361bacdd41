"""What the weightings that solve a small problem on the Gramian share: unit rows, and the solvers themselves."""

from baselines.weightings.solvers.fairness import fair_point, fair_weights
from baselines.weightings.solvers.gramian import SolvedWeighting, UnitRows, checked_number, clipped
from baselines.weightings.solvers.quadratic import Minimum, minimise, stationary

__all__ = [
    "Minimum",
    "SolvedWeighting",
    "UnitRows",
    "checked_number",
    "clipped",
    "fair_point",
    "fair_weights",
    "minimise",
    "stationary",
]
