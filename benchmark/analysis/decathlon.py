"""The score of the Visual Decathlon: one number for all sets, from their errors."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from benchmark.data.decathlon import facts

#: Points for a set without errors.
PERFECT = 1000.0
#: How steeply the last errors count.
GAMMA = 2


def set_score(name: str, error: float) -> float:
    """α max(0, E_max − E)^γ with γ = 2, α = 1000 / E_max^γ, and E_max twice the baseline's error on the set.

    Source: Rebuffi, Bilen & Vedaldi, NeurIPS 2017; errors of the baseline, one fine-tuned network per set, are those of
    its row "Finetune". 1000 points for no error, 250 for the baseline's, none from twice the baseline's on.

    Args:
        name: of the ten sets.
        error: share of pictures that are wrong, 0 to 1.
    """
    most = 2 * facts()[name].baseline_error
    return float(PERFECT * (np.maximum(0.0, most - error) / most) ** GAMMA)


def decathlon_score(accuracies: Mapping[str, float]) -> float:
    """S: the sum over sets; of nine sets at most 9000. ``accuracies`` are in per cent, by name of set."""
    return sum(set_score(name, 1 - accuracy / 100) for name, accuracy in accuracies.items())


def decathlon_scores(data: pd.DataFrame) -> pd.DataFrame:
    """S of every run.

    Args:
        data: tidy: ``architecture``, ``weighting``, ``seed``, ``task``, ``metric``, ``value``; one split and one epoch
            per run and task.

    Returns:
        ``architecture``, ``weighting``, ``seed``, ``score``: one row per run; NaN where a set's accuracy is missing.
    """
    accuracy = data[data["metric"] == "accuracy"]
    wide = accuracy.pivot(index=["architecture", "weighting", "seed"], columns="task", values="value")
    names = [str(name) for name in wide.columns]
    # A sum with NaN is NaN: a set whose accuracy is missing leaves the run without a score.
    scores = [decathlon_score(dict(zip(names, row, strict=True))) for row in wide.to_numpy(dtype=float)]
    return pd.Series(scores, index=wide.index, name="score", dtype=float).reset_index()
