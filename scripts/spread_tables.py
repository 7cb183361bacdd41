"""Tables of what ``spread.py`` has trained: spread by its cause, and what two rows of one seed have in common."""

import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchmark.analysis.boards import boards
from benchmark.analysis.delta import delta_m
from benchmark.analysis.frames import frame
from benchmark.data import build_dataset
from benchmark.errors import UsageError
from benchmark.registry import ARCHITECTURES
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import Store

if TYPE_CHECKING:
    from spread import Job

#: In place of a task and a metric: Δm against the mean of the references, and against the reference of the same seed.
DELTA, DELTA_OF_SEED = "Δm", "Δm of the seed"
#: One number: of which row; ``seeds``, ``roundings`` or ``pictures``; of which seed; which of the source's samples.
NUMBERS = ["row", "source", "seed", "sample", "task", "metric", "value"]


def numbers_of_jobs(jobs: Sequence["Job"], folder: Path) -> tuple[pd.DataFrame, str]:
    """What was trained, with Δm, and a sentence where some of it is missing.

    Raises:
        UsageError: no row is the reference.
    """
    found = [json.loads((folder / job.file).read_text()) for job in jobs if (folder / job.file).exists()]
    runs = [run for run in found if "failed" not in run]
    references = [job.row for job in jobs if ARCHITECTURES[job.spec.architecture.name].factory.reference]
    if not references:
        raise UsageError("Δm needs the reference's row too: add it with --row")
    left = len(jobs) - len(runs)
    note = f"{left} of {len(jobs)} trainings are missing or failed.\n" if left else ""
    return with_delta(numbers_of(runs, jobs[0].spec), references[0]), note


def write_tables(numbers: pd.DataFrame, out: Path, page: Path | None, note: str = "") -> None:
    """Write ``out.csv``, ``out-pairs.csv`` and, into a page of the documentation, tables in few lines.

    Raises:
        UsageError: the page has no line ``<!-- NAME -->``, with the name of ``out``, or none ``<!-- end of NAME -->``.
    """
    rows, pairs = spreads(numbers), in_common(numbers)
    rows.to_csv(out.with_suffix(".csv"), index=False, float_format="%.6g", lineterminator="\n")
    pairs.to_csv(out.with_name(f"{out.name}-pairs.csv"), index=False, float_format="%.6g", lineterminator="\n")
    if page:
        begin, end = f"<!-- {out.name} -->\n", f"<!-- end of {out.name} -->\n"
        head, found, rest = page.read_text().partition(begin)
        _, closed, tail = rest.partition(end)
        if not (found and closed):
            raise UsageError(f"{page} must have the lines {begin.strip()} and {end.strip()}, between which tables go")
        page.write_text(head + begin + "\n".join(["", by_cause(rows), by_pair(pairs), note]) + end + tail)


def numbers_of_records(store: Store, like: RunSpec) -> pd.DataFrame:
    """Of the last epochs of a board, with Δm; the source is ``seeds``, of the rows that have all of the reference's.

    Args:
        store: of the records.
        like: a run of the board.

    Raises:
        UsageError: there is no such board, or not one reference on it.
    """
    found = [
        board
        for board in boards(store.scan()[0])
        if (board.dataset, board.protocol) == (like.dataset, like.protocol)
        and all(like.architecture.options.get(name) == value for name, value in board.backbone.items())
    ]
    if len(found) != 1:
        raise UsageError(f"{store.root} must have one board of the grid's protocol, found {len(found)}")
    data = frame((record for record in found[0].records if record.status == "ok"), found[0].labels)
    references = set(data[data["reference"]]["architecture"])
    if len(references) != 1:
        raise UsageError(f"Δm needs one reference among the records, found {', '.join(references) or 'none'}")
    last = data["epoch"] == data.groupby("run")["epoch"].transform("max")
    data = data[last & (data["split"] == "test") & ~data["legacy"]]
    told = data.assign(row=data["architecture"] + ":" + data["weighting"], source="seeds", sample=data["seed"])
    seeds = set(told[told["reference"]]["seed"])
    whole = {row for row, own in told.groupby("row") if set(own["seed"]) >= seeds}
    told = told[told["row"].isin(whole) & told["seed"].isin(seeds)]
    return with_delta(told[[*NUMBERS, "higher_is_better"]], f"{references.pop()}:none")


def numbers_of(runs: Sequence[dict[str, Any]], spec: RunSpec) -> pd.DataFrame:
    """``NUMBERS`` and ``higher_is_better``. Of the roundings, sample 0 is the run as it is.

    A changed bit that changed no metric, such as one of a weight behind a dead unit, is no sample of rounding.
    """
    tasks = build_dataset(spec.dataset.name, **spec.dataset.options).tasks
    counted = {(t.name, m.name): m.higher_is_better for t in tasks for m in t.metrics if not m.legacy}
    first = min(run["seed"] for run in runs)
    plain = {run["row"]: run["metrics"] for run in runs if (run["seed"], run["rounding"]) == (first, 0)}
    lines: list[tuple[Any, ...]] = []
    for run in runs:
        row, seed, rounding = run["row"], run["seed"], run["rounding"]
        for (task, metric), higher in counted.items():
            value = run["metrics"]["test"][task][metric]
            if seed == first and (rounding == 0 or run["metrics"] != plain.get(row)):
                lines.append((row, "roundings", seed, rounding, task, metric, value, higher))
            if rounding == 0:
                lines.append((row, "seeds", seed, seed, task, metric, value, higher))
                again = enumerate(run["resampled"][task][metric])
                lines += [(row, "pictures", seed, k, task, metric, other, higher) for k, other in again]
    return pd.DataFrame(lines, columns=[*NUMBERS, "higher_is_better"]).astype({"value": float})


def with_delta(numbers: pd.DataFrame, reference: str) -> pd.DataFrame:
    """With Δm of every sample. Where pictures are resampled, the references are judged on the same ones.

    Args:
        numbers: as ``numbers_of`` makes them.
        reference: the row that Δm is taken against.
    """
    base = numbers[numbers["row"] == reference]
    which = ["task", "metric", "higher_is_better"]
    seeds = base[base["source"] == "seeds"]
    mean = seeds.groupby(which)["value"].mean().reset_index()
    pictures = base[base["source"] == "pictures"].groupby([*which, "sample"])["value"].mean().reset_index()
    pieces = [numbers]
    for source, own in numbers.groupby("source"):
        samples = own[["sample"]].drop_duplicates()
        pieces.append(_delta(own, pictures if source == "pictures" else mean.merge(samples, how="cross"), DELTA))
    pieces.append(_delta(numbers[numbers["source"] == "seeds"], seeds, DELTA_OF_SEED))
    return pd.concat(pieces, ignore_index=True)


def _delta(own: pd.DataFrame, base: pd.DataFrame, name: str) -> pd.DataFrame:
    """``delta_m``, to which a sample is a seed and a seed a part of the weighting's name."""
    told = own.drop(columns="seed").rename(columns={"row": "architecture", "sample": "seed"})
    told["weighting"] = own["seed"].astype(str)
    reference = base.drop(columns=["seed", "row", "source"], errors="ignore").rename(columns={"sample": "seed"})
    found = delta_m(told, reference.assign(architecture="", weighting=""))
    return pd.DataFrame(
        {
            "row": found["architecture"],
            "source": own["source"].iloc[0],
            "seed": found["weighting"].astype(int),
            "sample": found["seed"],
            "task": "",
            "metric": name,
            "value": found["delta_m"],
            "higher_is_better": True,
        }
    )


def spreads(numbers: pd.DataFrame) -> pd.DataFrame:
    """One line per row, task and metric: the mean over seeds, and standard deviations by cause with their counts.

    That over pictures is the root of the mean variance over the seeds' networks.
    """
    lines = []
    for (row, task, metric), own in numbers.groupby(["row", "task", "metric"], sort=False):
        by_source = dict(iter(own.groupby("source")))
        line: dict[str, Any] = {"row": row, "task": task, "metric": metric, "mean": by_source["seeds"]["value"].mean()}
        for source in ("seeds", "roundings", "pictures"):
            part = by_source.get(source, own.iloc[:0])
            variance = part.groupby("seed" if source == "pictures" else "source")["value"].var()
            line |= {f"sd_{source}": float(np.sqrt(variance.mean())), source: part["sample"].nunique()}
        lines.append(line)
    return pd.DataFrame(lines)


def in_common(numbers: pd.DataFrame) -> pd.DataFrame:
    """One line per pair of rows, task and metric.

    ``correlation`` (Pearson's) is over seeds; ``sd_difference`` is that of the rows' difference within a seed, and
    ``sd_apart`` what it would be if seeds were independent; ``correlation_pictures`` is over resampled test pictures,
    the mean over seeds.
    """
    lines = []
    for (task, metric), own in numbers.groupby(["task", "metric"], sort=False):
        seeds = own[own["source"] == "seeds"].pivot(index="sample", columns="row", values="value").dropna(axis=1)
        if len(seeds) < 2:
            continue
        pictures = own[own["source"] == "pictures"].pivot(index=["seed", "sample"], columns="row", values="value")
        again = [part.corr().to_numpy() for _, part in pictures.groupby("seed")]
        together = pd.DataFrame(np.mean(again, 0), pictures.columns, pictures.columns) if again else pd.DataFrame()
        together = together.reindex(index=seeds.columns, columns=seeds.columns)
        common, variances = np.cov(seeds.to_numpy(), rowvar=False), seeds.var().to_numpy()
        for a, b in combinations(np.flatnonzero(variances > 0).tolist(), 2):  # a reference against itself has none
            one, other = str(seeds.columns[a]), str(seeds.columns[b])
            apart = variances[a] + variances[b]
            lines.append(
                {
                    "row": one,
                    "other": other,
                    "one_architecture": one.partition(":")[0] == other.partition(":")[0],
                    "task": task,
                    "metric": metric,
                    "seeds": len(seeds),
                    "correlation": common[a, b] / np.sqrt(variances[a] * variances[b]),
                    "sd_difference": np.sqrt(max(apart - 2 * common[a, b], 0.0)),
                    "sd_apart": np.sqrt(apart),
                    "correlation_pictures": together.iat[a, b],
                }
            )
    return pd.DataFrame(lines)


def by_cause(rows: pd.DataFrame) -> str:
    """A table in Markdown: root mean squares over the rows, in per cent of each row's mean; of Δm in points."""
    titles = {
        "seeds": "SD over {} seeds",
        "roundings": "over {} roundings",
        "pictures": "over {} draws of test pictures",
    }
    causes = [cause for cause in titles if rows[f"sd_{cause}"].notna().any()]
    heads = [titles[cause].format(int(rows[cause].max())) for cause in causes]
    lines = [f"| metric | {' | '.join(heads)} |", "|---" * (1 + len(causes)) + "|"]
    for (task, metric), own in rows.groupby(["task", "metric"], sort=False):
        unit, scale = (" %", 100 / own["mean"].abs()) if task else (" points", 1.0)
        cells = [np.sqrt(((own[f"sd_{cause}"] * scale) ** 2).mean()) for cause in causes]
        lines.append(f"| {_title(task, metric)} | {' | '.join(_number(cell, unit) for cell in cells)} |")
    return "\n".join(lines) + "\n"


def by_pair(pairs: pd.DataFrame) -> str:
    """A table in Markdown: the share of the variance of two rows' difference that a common seed takes away.

    It is 1 − Σ ``sd_difference``² / Σ ``sd_apart``² over the pairs, which tends to the correlation where rows spread
    alike, and is steadier than the mean of correlations of few seeds.
    """
    if pairs.empty:
        return ""
    lines = [
        "| metric | a common seed saves, of rows on one architecture | on two | correlation over test pictures |",
        "|---|---|---|---|",
    ]
    for (task, metric), own in pairs.groupby(["task", "metric"], sort=False):
        cells = [_saved(own[own["one_architecture"]]), _saved(own[~own["one_architecture"]])]
        cells.append(_number(own["correlation_pictures"].mean()))
        lines.append(f"| {_title(task, metric)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _saved(pairs: pd.DataFrame) -> str:
    paired, apart = ((pairs[name] ** 2).sum() for name in ("sd_difference", "sd_apart"))
    return _number(1 - paired / apart if apart else np.nan)


def _title(task: object, metric: object) -> str:
    return f"{task} · {metric}" if task else str(metric)


def _number(value: float, unit: str = "") -> str:
    """Two digits; nothing where there is no number."""
    return "" if np.isnan(value) else f"{round(value, 2) + 0.0:.2f}{unit}"
