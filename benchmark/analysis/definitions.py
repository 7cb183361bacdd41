"""Which definition of the metrics a table uses: one at a time, never both in a column."""

from typing import Literal, get_args

import pandas as pd

from benchmark.errors import unknown

Definition = Literal["pooled", "legacy"]

#: Definitions in words.
DEFINITIONS: dict[str, str] = {
    "pooled": "statistics of the whole split, whatever the batch size",
    "legacy": "as in the papers' scripts: means over pictures or over batches of two",
}


def of_definition(data: pd.DataFrame, definition: str = "pooled") -> pd.DataFrame:
    """The rows whose metrics have that definition.

    A kind of task that knows but one definition (classification: a share of pictures) has it under both names. A frame
    without a column ``legacy`` holds one definition, whichever it is, and comes back as it is.

    Args:
        data: tidy, as made by ``frame``.
        definition: a key of ``DEFINITIONS``.

    Raises:
        UsageError: the definition is unknown.
    """
    if definition not in get_args(Definition):
        raise unknown("definition of metrics", definition, DEFINITIONS)
    if "legacy" not in data:
        return data
    legacy = data["legacy"].astype(bool)
    if definition == "pooled":
        return data[~legacy]
    twins = data["task"].isin(data.loc[legacy, "task"].unique())
    return data[legacy | ~twins]


def named(column: str, definition: str) -> str:
    """What a column of derived numbers is called: ``legacy_`` before it, so that definitions never share a column."""
    return column if definition == "pooled" else f"{definition}_{column}"
