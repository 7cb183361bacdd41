"""From records to data frames: selection of epochs, Δm, intervals, non-dominated sets.

Pure functions, fit for a notebook::

    records, problems = Store(Path("results")).scan()
    for board in analysis.boards(records):
        chosen = analysis.select(analysis.frame(board.records, board.labels))
        test = chosen[chosen["split"] == "test"]
        print(analysis.delta_m(test, analysis.references(test)))
"""

from benchmark.analysis.boards import Board, boards
from benchmark.analysis.decathlon import decathlon_score, decathlon_scores
from benchmark.analysis.delta import delta_m
from benchmark.analysis.frames import costs, frame, weights
from benchmark.analysis.fronts import Fronts, fronts
from benchmark.analysis.intervals import Estimate, estimate
from benchmark.analysis.pareto import non_dominated
from benchmark.analysis.scores import SCORES, scores
from benchmark.analysis.selection import RULES, references, select

__all__ = [
    "RULES",
    "SCORES",
    "Board",
    "Estimate",
    "Fronts",
    "boards",
    "costs",
    "decathlon_score",
    "decathlon_scores",
    "delta_m",
    "estimate",
    "frame",
    "fronts",
    "non_dominated",
    "references",
    "scores",
    "select",
    "weights",
]
