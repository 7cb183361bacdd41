"""Which summary of a run's metrics is best behaved: measured on a results folder's records.

    python scripts/compare_scales.py --results results --page docs/scale.md

Three summaries of a run, each a mean over tasks of the mean over a task's metrics, plus when better:

* Δm: ±(m − s) / |s|, with s the mean over the single-task seeds;
* log ratio: ±log(m / s);
* from the floor: (m − f) / (s − f) − 1, with f the metric of a prediction that never looks at the picture.

All in per cent. Rows of fewer than three seeds do not count.
"""

from pathlib import Path

import click
import numpy as np
import pandas as pd

from benchmark import analysis
from benchmark.report.titles import titles
from benchmark.runs.datacards import read_card
from benchmark.runs.store import Store

BEGIN, END = "<!-- scales -->", "<!-- end of scales -->"


def summaries(test: pd.DataFrame, floor: dict[tuple[str, str], float]) -> dict[str, pd.Series]:
    """Each summary of every run, indexed by architecture, weighting and seed."""
    test = analysis.of_definition(test, "pooled")
    wide = test.pivot(index=["architecture", "weighting", "seed"], columns=["task", "metric"], values="value")
    single = test[test["reference"]].groupby(["task", "metric"])["value"].mean().reindex(wide.columns)
    higher = test.groupby(["task", "metric"])["higher_is_better"].first().reindex(wide.columns)
    sign = np.where(higher, 1.0, -1.0)
    blind = pd.Series([floor.get(key, np.nan) for key in wide.columns], index=wide.columns)
    each = {
        "Δm": sign * (wide - single) / single.abs(),
        "log ratio": sign * np.log(wide / single),
        "from the floor": (wide - blind) / (single - blind) - 1.0,
    }
    return {
        name: 100 * found.T.groupby(level="task").mean().T.mean(axis=1, skipna=False) for name, found in each.items()
    }


def described(values: pd.Series) -> dict[str, float]:
    """How a summary behaves over rows and seeds."""
    by_row = values.groupby(["architecture", "weighting"])
    kept = values[by_row.transform("count") >= 3]
    rows = kept.groupby(["architecture", "weighting"])
    if rows.ngroups < 3:
        return {}
    noise = float(np.sqrt(rows.var(ddof=1).mean()))
    signal = float(rows.mean().std(ddof=1))
    spreads = rows.std(ddof=1)
    residuals = (kept - rows.transform("mean")) / noise
    return {
        "rows": rows.ngroups,
        "SD over rows": signal,
        "SD over seeds": noise,
        "rows / seeds": signal / noise,
        "largest row's SD / median": float(spreads.max() / spreads.median()),
        "excess kurtosis of residuals": float((residuals**4).mean() / (residuals**2).mean() ** 2 - 3),
    }


@click.command()
@click.option("--results", type=click.Path(path_type=Path, exists=True), default=Path("results"), show_default=True)
@click.option("--page", type=click.Path(path_type=Path, exists=True), help="Put the table into this page.")
def main(results: Path, page: Path | None) -> None:
    """Print the table."""
    store = Store(results)
    found = analysis.boards(store.scan()[0])
    lines = []
    for board, title in zip(found, titles(found), strict=True):
        card = read_card(store, board.dataset.name, board.data_hash) if board.data_hash else None
        floor = card.floor("test") if card else {}
        chosen = analysis.select(analysis.frame(board.records, board.labels), against="mean")
        for name, values in summaries(chosen[chosen["split"] == "test"], floor).items():
            if numbers := described(values):
                lines.append((f"{board.dataset.name}, {title}", name, numbers))
    if not lines:
        raise click.ClickException(f"{results} holds no board of three rows with three seeds; run more of them")
    heads = ["board", "summary", *lines[0][2]]
    table = [heads, ["---"] * len(heads)]
    table += [[board, name, *(f"{value:.3g}" for value in numbers.values())] for board, name, numbers in lines]
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in table)
    click.echo(text)
    if page:
        old = page.read_text(encoding="utf-8")
        before, rest = old.split(BEGIN)
        page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
