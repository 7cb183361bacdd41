"""What a paper's own numbers say about what it claims."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis.pareto import non_dominated
from benchmark.analysis.published.records import ReportedTable


@dataclass(frozen=True)
class PaperClaim:
    """A claim in this suite's terms, and whether the table bears it out.

    Attributes:
        statement: what is claimed of the proposed architecture.
        holds: what the table's numbers say, without regard to noise, of which a table without spread says nothing; None
            where they cannot say.
        evidence: the numbers behind it, in words.
    """

    statement: str
    holds: bool | None
    evidence: str


def standings(table: ReportedTable) -> pd.DataFrame:
    """One row per architecture of a table.

    Returns:
        ``architecture``, ``reference``, ``weightings`` (how many), ``delta_m`` (mean over weightings), ``low``,
        ``high`` (the worst and the best weighting's), ``spread`` (high − low; NaN for one weighting), ``rank`` (mean
        over metrics and weightings), ``best_in`` (of how many metrics it has the best value, ties included),
        ``parameters_factor`` and ``non_dominated`` (in mean Δm and parameters). NaN where the table has no Δm or no
        parameters. The best Δm (else the best rank) first.
    """
    data, rows = table.frame(), table.delta_m().merge(table.costs(), on=["architecture", "weighting"])
    ranks = table.ranks.rename(columns={"rank": "_rank"})
    rows = rows.merge(ranks, on=["architecture", "weighting"], how="left")
    signed = np.where(data["higher_is_better"], data["value"], -data["value"])
    best = pd.Series(signed).groupby([data["task"], data["metric"]]).transform("max").to_numpy() == signed
    wins = data[best].drop_duplicates(["architecture", "task", "metric"]).groupby("architecture").size()
    found = rows.groupby("architecture").agg(
        weightings=("weighting", "nunique"), delta_m=("delta_m", "mean"), low=("delta_m", "min"),
        high=("delta_m", "max"), rank=("_rank", "mean"), parameters_factor=("parameters_factor", "first"),
    )  # fmt: skip
    found["spread"] = (found["high"] - found["low"]).where(found["weightings"] > 1)
    found["best_in"] = wins.reindex(found.index).fillna(0).astype(int)
    found["reference"] = data.groupby("architecture")["reference"].any()
    found = found.reset_index()
    found["non_dominated"] = non_dominated(found, {"delta_m": True, "parameters_factor": False})
    order = ["architecture", "reference", "weightings", "delta_m", "low", "high", "spread", "rank", "best_in"]
    found = found[[*order, "parameters_factor", "non_dominated"]]
    return found.sort_values(["delta_m", "rank"], ascending=[False, True], ignore_index=True)


def claims(table: ReportedTable) -> tuple[PaperClaim, ...]:
    """The claims of a paper that proposes an architecture, checked on its own table; none for other tables.

    MTAN's abstract claims state of the art among the compared methods, parameter efficiency, and less sensitivity to
    the weighting of the losses. Here: its Δm against the other architectures' under the same weighting, its parameters,
    and how far its Δm moves with the weighting.
    """
    if table.champion is None or table.no_delta is not None:
        return ()
    found = standings(table)
    own: dict[Any, Any] = found[found["architecture"] == table.champion].iloc[0].to_dict()
    others = found[~found["reference"] & (found["architecture"] != table.champion)]
    return (
        _better_than_single(table, own),
        _leads(table),
        _efficient(own, found),
        *(_steadier(own, others) if own["weightings"] > 1 else ()),
    )


def _under(weighting: str) -> str:
    return "" if weighting == "none" else f"{weighting}: "


def _better_than_single(table: ReportedTable, own: Mapping[Any, Any]) -> PaperClaim:
    rows = table.delta_m()
    rows = rows[rows["architecture"] == table.champion]
    words = ", ".join(f"{_under(w)}{d:+z.2f} %" for w, d in zip(rows["weighting"], rows["delta_m"], strict=True))
    return PaperClaim("Better than single-task networks under every weighting (Δm > 0)", bool(own["low"] > 0), words)


def _leads(table: ReportedTable) -> PaperClaim:
    """Whether the champion has the greatest Δm of all architectures under each of its weightings."""
    data = table.delta_m().merge(table.frame()[["architecture", "reference"]].drop_duplicates(), on="architecture")
    own = data[data["architecture"] == table.champion]
    others = data[~data["reference"] & (data["architecture"] != table.champion)]
    leads, words = [], []
    for weighting, value in zip(own["weighting"], own["delta_m"], strict=True):
        # Networks without weighting compete with every weighting.
        rivals = others[others["weighting"].isin([weighting, "none"])].sort_values("delta_m", ascending=False)
        rival: dict[Any, Any] = rivals.iloc[0].to_dict()
        leads.append(bool(value > rival["delta_m"]))
        words.append(
            f"{_under(weighting)}{value:+z.2f} % against {rival['delta_m']:+z.2f} % of {rival['architecture']}"
        )
    return PaperClaim("The greatest Δm of all architectures under every weighting", all(leads), "; ".join(words))


def _efficient(own: Mapping[Any, Any], found: pd.DataFrame) -> PaperClaim:
    statement = "Parameter-efficient: no network of at most its size has a better mean Δm"
    if not np.isfinite(own["parameters_factor"]):
        return PaperClaim(statement, None, "the table does not print parameters")
    rivals = found[(found["parameters_factor"] <= own["parameters_factor"]) & (found["delta_m"] > own["delta_m"])]
    words = ", ".join(
        f"{name} ({factor:g}, {delta:+z.2f} %)"
        for name, factor, delta in rivals[["architecture", "parameters_factor", "delta_m"]].itertuples(index=False)
    )
    size = f"{own['parameters_factor']:g} single-task networks' parameters, {own['delta_m']:+z.2f} %"
    return PaperClaim(statement, rivals.empty, size if rivals.empty else f"{size}; better and no larger: {words}")


def _steadier(own: Mapping[Any, Any], others: pd.DataFrame) -> tuple[PaperClaim, ...]:
    rivals = others.dropna(subset="spread").sort_values("spread")
    words = ", ".join(
        f"{name} {value:.2f}" for name, value in zip(rivals["architecture"], rivals["spread"], strict=True)
    )
    evidence = f"Δm moves by {own['spread']:.2f} points between weightings; others: {words}"
    holds = bool((own["spread"] < rivals["spread"]).all())
    return (PaperClaim("Less sensitive to the weighting than any other", holds, evidence),)
