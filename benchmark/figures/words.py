"""Names of rows and counts of seeds, short enough for a column."""

import re
from collections.abc import Iterable, Sequence

#: Numbers of more than two decimals.
LONG = re.compile(r"\d+\.\d{3,}")


def row_names(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Each row in one line: options with two decimals and without their names, where that tells rows apart."""
    found = [" · ".join(part for part in row if part != "none") for row in rows]
    short = [_short(name) for name in found]
    return [short[i] if short.count(short[i]) == 1 else found[i] for i in range(len(found))]


def _short(name: str) -> str:
    name = LONG.sub(lambda match: f"{float(match[0]):.2f}", name)
    return re.sub(r"\((?:\w+ )(?=[\d.])", "(", name)


def seeds(counts: Iterable[int]) -> str:
    """How many seeds rows have, such as *3 seeds* or *1–3 seeds*."""
    found = sorted(set(counts))
    if not found:
        return "no seeds"
    if len(found) == 1:
        return f"{found[0]} seed{'s' * (found[0] != 1)}"
    return f"{found[0]}–{found[-1]} seeds"


def means(counts: Iterable[int]) -> str:
    """What a point over so many seeds is."""
    counts = list(counts)
    return f"Means over {seeds(counts)}" if max(counts, default=0) > 1 else "One seed"


def signed(value: float) -> str:
    """A difference in few signs, with a real minus."""
    text = f"{value:+z.{0 if abs(value) >= 9.95 else 1}f}"
    return "0.0" if text == "+0.0" else text.replace("-", "−")
