"""From a folder of records to statements, with pandas and ``benchmark.analysis``.

Run it with ``python docs/examples/analyse_results.py results``.
"""

import sys
from pathlib import Path

import pandas as pd

from benchmark import analysis
from benchmark.runs.store import Store


def rows_of(board: analysis.Board) -> pd.DataFrame:
    """One row per architecture and weighting: Δm with its 95 % interval, and parameters in millions; best first."""
    rows = analysis.summarise(board.records, board.labels).rows
    keys = ["architecture", "weighting"]
    delta = rows[rows["metric"] == "delta_m"].set_index(keys)[["mean", "low", "high", "n"]]
    parameters = rows[rows["metric"] == "parameters"].set_index(keys)["mean"] / 1e6
    return delta.assign(parameters=parameters).sort_values("mean", ascending=False)


def last_losses(board: analysis.Board) -> pd.DataFrame:
    """The mean training loss of each task in the last epoch: straight from the records, without ``analysis``."""
    runs = [
        {"run": record.id, **record.curves[-1].losses["train"]} for record in board.records if record.status == "ok"
    ]
    return pd.DataFrame(runs).set_index("run")


def verdicts_of(board: analysis.Board) -> pd.DataFrame:
    """Better, worse, equivalent or undecided against equal weights on the same architecture, by Δm."""
    chosen = analysis.select(analysis.frame(board.records, board.labels), against="mean")
    test = chosen[chosen["split"] == "test"]
    found = analysis.verdicts(test, analysis.Baseline(weighting="equal"), margin=2.0)
    return found[found["metric"] == "delta_m"]


def main(folder: str) -> None:
    """Print what each board of a folder holds."""
    records, problems = Store(Path(folder)).scan()
    for problem in problems:
        print(problem, file=sys.stderr)
    for board in analysis.boards(records):
        print(f"\n{board.dataset.name}, board {board.key}: {len(board.records)} runs")
        print(rows_of(board).head(5).round(2).to_string())
        print(verdicts_of(board).head(5).to_string(index=False))
        print(last_losses(board).mean().round(3).to_string())


if __name__ == "__main__":
    main(*sys.argv[1:])
