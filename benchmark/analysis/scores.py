"""Scores of a whole run that a data set's own challenge defines, beside Δm."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from benchmark.analysis.decathlon import decathlon_scores


@dataclass(frozen=True)
class Score:
    """One number per run; higher is better.

    Attributes:
        name: key in tables.
        title: heading.
        definition: in one sentence.
        compute: from the chosen rows of one split to ``architecture``, ``weighting``, ``seed``, ``score``.
    """

    name: str
    title: str
    definition: str
    compute: Callable[[pd.DataFrame], pd.DataFrame]


#: By data set.
SCORES: dict[str, tuple[Score, ...]] = {
    "decathlon": (
        Score(
            "decathlon_score",
            "score S",
            "Sum over the sets of 1000 (max(0, E − e) / E)², with e the error and E twice that of one fine-tuned "
            "network per set (Rebuffi et al., 2017): 250 points where a set's error is that network's.",
            decathlon_scores,
        ),
    )
}


def scores(dataset: str, data: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Every score of a data set's runs, by its name.

    Args:
        dataset: the data set's name.
        data: tidy; one split, one epoch per run and task.
    """
    return {score.name: score.compute(data) for score in SCORES.get(dataset, ())}
