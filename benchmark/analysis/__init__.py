"""From records to data frames: selection of epochs, Δm, intervals, tests, ranks, non-dominated sets.

Pure functions, fit for a notebook::

    records, problems = Store(Path("results")).scan()
    for board in analysis.boards(records):
        found = analysis.summarise(board.records, board.labels)
        print(found.rows)  # means and 95 % intervals of every metric, Δm and cost
        print(analysis.non_dominated(found.wide(), {"delta_m": True, "parameters": False}))

or step by step, on frames that may come from anywhere::

    chosen = analysis.select(analysis.frame(board.records, board.labels), "last-10-mean")
    test = analysis.of_definition(chosen[chosen["split"] == "test"], "pooled")
    delta = analysis.delta_m(test, analysis.references(test))
    print(analysis.compare(delta, "delta_m", baseline=("mtan", "equal")))
    print(analysis.mean_ranks(test))

Which rows are better than, worse than or equivalent to a baseline, however often one looks::

    chosen = analysis.select(analysis.frame(board.records, board.labels), against="mean")
    test = chosen[chosen["split"] == "test"]
    print(analysis.verdicts(test, analysis.Baseline(weighting="equal"), margin=2.0))
"""

from benchmark.analysis.boards import Board, boards
from benchmark.analysis.compare import compare, holm
from benchmark.analysis.contrasts import Contrasts, contrasts
from benchmark.analysis.decathlon import decathlon_score, decathlon_scores
from benchmark.analysis.definitions import DEFINITIONS, of_definition
from benchmark.analysis.delta import delta_flat, delta_m, reference_noise
from benchmark.analysis.frames import COSTS, costs, frame, weights
from benchmark.analysis.fronts import Fronts, fronts
from benchmark.analysis.intervals import METHODS, Estimate, estimate, estimates, estimates_of
from benchmark.analysis.noise import judge, within_noise
from benchmark.analysis.pareto import corners, hypervolume, non_dominated
from benchmark.analysis.ranks import mean_ranks
from benchmark.analysis.repeats import Difference, RerunResult, first_difference
from benchmark.analysis.scores import SCORES, scores
from benchmark.analysis.selection import AGAINST, RULES, mean_reference, references, select
from benchmark.analysis.summary import Summary, summarise, tabulate
from benchmark.analysis.verdicts import (
    DELTA,
    REFERENCE,
    VERDICTS,
    Baseline,
    gains,
    reference_row,
    smallest_difference,
    verdicts,
)

__all__ = [
    "AGAINST",
    "COSTS",
    "DEFINITIONS",
    "DELTA",
    "METHODS",
    "REFERENCE",
    "RULES",
    "SCORES",
    "VERDICTS",
    "Baseline",
    "Board",
    "Contrasts",
    "Difference",
    "Estimate",
    "Fronts",
    "RerunResult",
    "Summary",
    "boards",
    "compare",
    "contrasts",
    "corners",
    "costs",
    "decathlon_score",
    "decathlon_scores",
    "delta_flat",
    "delta_m",
    "estimate",
    "estimates",
    "estimates_of",
    "first_difference",
    "frame",
    "fronts",
    "gains",
    "holm",
    "hypervolume",
    "judge",
    "mean_ranks",
    "mean_reference",
    "non_dominated",
    "of_definition",
    "reference_noise",
    "reference_row",
    "references",
    "scores",
    "select",
    "smallest_difference",
    "summarise",
    "tabulate",
    "verdicts",
    "weights",
    "within_noise",
]
