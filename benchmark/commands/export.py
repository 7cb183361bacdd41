"""`mtbench export`: records as one tidy table, for other programs."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pandas as pd

from benchmark import analysis
from benchmark.commands.options import results_option
from benchmark.commands.records import RecordFilters, existing, record_options
from benchmark.errors import UsageError, UserError
from benchmark.runs.index import Index
from benchmark.runs.record import RunRecord

#: Columns of a line, in order. ``board`` tells runs that may be compared; ``rule`` what chose the epoch.
COLUMNS = (
    "board", "run", "dataset", "dataset_options", "architecture", "architecture_options", "weighting",
    "weighting_options", "seed", "reference", "status", "task", "metric", "unit", "higher_is_better", "legacy", "epoch",
    "rule", "val", "test",
)  # fmt: skip
#: What tells the lines of a run apart.
LINE = ["run", "epoch", "task", "metric", "higher_is_better", "legacy"]


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    default="-",
    show_default=True,
    help="File to write, .csv or .parquet (which needs pyarrow); - writes CSV to the terminal or into a pipe.",
)
@click.option("--epochs", is_flag=True, help="A line for every evaluated epoch, not for the chosen one alone.")
@record_options
@results_option
def export(*, out: Path, epochs: bool, filters: RecordFilters, results: Path) -> None:
    """Write records as one table: a line for each run, task and metric, with its values on val and test.

    The epoch is the one that stands for the run on its board, chosen on validation. A run that did not go well has one
    line without a task. Only runs with the same value under 'board' may be compared.

    \b
    Example:
      mtbench export --out results.csv
      mtbench export --dataset scenes --epochs --out curves.parquet
      mtbench export --architecture mtan --weighting equal | head
    """
    if str(out) != "-" and out.suffix not in (".csv", ".parquet"):
        raise UsageError(f"the file must end in .csv or .parquet, found {out}")
    index = Index(existing(results))
    runs = set(filters.rows(index)["run"])
    write(table(index, runs, epochs=epochs), out)


def table(index: Index, runs: set[str], *, epochs: bool) -> pd.DataFrame:
    """The lines of these runs: ``COLUMNS``."""
    names = sorted(set(index.runs(run=sorted(runs))["dataset"]))
    parts = [part for board in analysis.boards(index.records(dataset=names)) for part in _parts(board, runs, epochs)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))


def _parts(board: analysis.Board, runs: set[str], epochs: bool) -> Iterator[pd.DataFrame]:
    whole = analysis.frame(board.records)
    found = whole.assign(rule="every epoch") if epochs else analysis.select(whole, against="mean")
    own = found[found["run"].isin(list(runs)) & found["split"].isin(["val", "test"])]
    lines = own.pivot(index=[*LINE, "rule"], columns="split", values="value").reset_index()
    records = [record for record in board.records if record.id in runs]
    without = [record for record in records if record.id not in set(own["run"])]
    lines = pd.concat([lines, pd.DataFrame({"run": [record.id for record in without]})], ignore_index=True)
    if lines.empty:
        return
    units = {(task.name, m.name): m.unit for task in board.tasks for m in board.kinds.get(task.kind, ())}
    lines["unit"] = [units.get(key, "") for key in zip(lines["task"], lines["metric"], strict=True)]
    described = pd.DataFrame([_described(board, record) for record in records])
    yield described.merge(lines, on="run")[[*COLUMNS]]


def _described(board: analysis.Board, record: RunRecord) -> dict[str, Any]:
    """What all lines of a run say alike."""
    spec = record.spec
    weighting = spec.weighting.options if spec.weighting else {}
    return {
        "board": board.key,
        "run": record.id,
        "dataset": spec.dataset.name,
        "dataset_options": json.dumps(spec.dataset.options),
        "architecture": spec.architecture.name,
        "architecture_options": json.dumps(spec.architecture.options),
        "weighting": spec.weighting_name,
        "weighting_options": json.dumps(weighting),
        "seed": spec.seed,
        "reference": record.reference,
        "status": record.status,
    }


def write(found: pd.DataFrame, out: Path) -> None:
    """Write a table.

    Raises:
        UserError: the file cannot be written, or pyarrow is missing.
    """
    try:
        if str(out) == "-":
            found.to_csv(sys.stdout, index=False)
        elif out.suffix == ".csv":
            found.to_csv(out, index=False)
        else:
            found.to_parquet(out, index=False)
    except ImportError as error:
        raise UserError(
            "a .parquet file needs pyarrow: pip install pyarrow, or name a file that ends in .csv"
        ) from error
    except OSError as error:
        raise UserError(f"cannot write {out} ({error.strerror}); name another file with --out") from error
