"""A run's metrics at the epoch that stands for it, as its board chooses it."""

from collections.abc import Collection, Iterator
from typing import Any

import pandas as pd

from benchmark import analysis
from benchmark.analysis.submitted import proven
from benchmark.runs.index import Index


def chosen(index: Index, runs: Collection[str]) -> Iterator[pd.DataFrame]:
    """Metrics at the chosen epochs of the runs that went well, board by board: columns of ``analysis.frame``.

    Epochs are chosen against the mean of all references in the store that share the board, those made here and those
    that were confirmed here.

    Args:
        runs: ids.
    """
    known = index.runs(status=["ok"])
    names = sorted(set(known[known["run"].isin(list(runs))]["dataset"]))
    wanted = known[known["dataset"].isin(names) & (known["run"].isin(list(runs)) | known["reference"])]
    if wanted.empty:
        return
    records = list(index.records(run=list(wanted["run"])))
    counting = {record.id for record in proven(records, index.store)} | set(runs)
    for board in analysis.boards(record for record in records if record.id in counting):
        found = analysis.select(analysis.frame(board.records), against="mean")
        own = found[found["run"].isin(list(runs))]
        if not own.empty:
            yield own


def chosen_by_run(index: Index, runs: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    """The same by run, as plain containers: ``task``, ``metric``, ``epoch``, ``val`` and ``test``; None for NaN."""
    by_run: dict[str, list[dict[str, Any]]] = {}
    for found in chosen(index, runs):
        own = found[found["split"].isin(["val", "test"])]
        wide = own.pivot(index=["run", "task", "metric", "epoch"], columns="split", values="value").reset_index()
        wide = wide.astype(object).where(pd.notna(wide), None)
        for row in wide.to_dict("records"):
            by_run.setdefault(row.pop("run"), []).append({str(key): value for key, value in row.items()})
    return by_run
