"""A board as files to take away: CSV of every run, a LaTeX table of the rows, BibTeX of what they cite."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from itertools import groupby

from benchmark.report.charts.forest import points
from benchmark.report.columns import COST_GROUP, Column, columns
from benchmark.report.judged import BaselineComparison
from benchmark.report.rows import Numbers, machine, machines
from benchmark.report.table import MINUS, Table
from benchmark.runs.trust import Standing

_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "°": r"$^\circ$", "×": r"$\times$", "·": r"$\cdot$",
    "Δ": r"$\Delta$", "<": r"$<$", ">": r"$>$", "±": r"$\pm$", "\u00a0": "~", MINUS: "$-$", "–": "--",
    "…": r"\dots{}", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
}  # fmt: skip


def run_table(numbers: Numbers, foreign: Mapping[str, Standing]) -> bytes:
    """CSV with one line per run: all columns in their stored units, unrounded; and who vouches for it.

    Args:
        numbers: of the board.
        foreign: by id, the standing of the runs that came in submissions.
    """
    shown = columns(numbers.board, machines(numbers.finished), numbers.variant.legacy)
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        ["run", "architecture", "weighting", "seed", "status", *(safe(c.id) for c in shown), "machine", "trust"]
    )
    for row in numbers.rows:
        for record in row.records:
            seed = record.spec.seed
            values = [row.samples.get(c.key, {}).get(seed, "") if record.status == "ok" else "" for c in shown]
            numbers_only = [
                "" if value != value else value + 0 if isinstance(value, float) else value for value in values
            ]
            names = [safe(row.architecture), safe(row.weighting)]
            trust = foreign[record.id].level if record.id in foreign else "rerun"
            writer.writerow([record.id, *names, seed, record.status, *numbers_only, safe(machine(record)), trust])
    return buffer.getvalue().encode("utf-8", "replace")


def row_table(numbers: Numbers) -> bytes:
    """CSV with one line per row and quantity: mean, plain interval over seeds, verdicts and chosen epochs.

    The verdicts on Δm against each baseline of the board follow, with their simultaneous intervals, as quantities
    ``delta_m against NAME``.
    """
    known = columns(numbers.board, machines(numbers.finished), numbers.variant.legacy)
    # Costs that were measured on each run's own machine are in the table of runs.
    shown = [column for column in known if column.group != COST_GROUP or not column.measured]
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        ["architecture", "weighting", "quantity", "seeds", "mean", "low", "high", "verdict", "epochs", "diverged"]
    )
    for row in numbers.rows:
        names = [safe(row.architecture), safe(row.weighting)]
        for column in shown:
            found = row.estimate(column.key)
            if not found.n:
                continue
            task = column.key[0] if isinstance(column.key, tuple) else ""
            epochs = [f"{seed}:{chosen[task]}" for seed, chosen in sorted(row.epochs.items()) if task in chosen]
            # What is counted has no interval, nor has the reference's gain over itself.
            spread = column.measured and not (row.reference and column.key == row.delta)
            ends = ["" if end is None or not spread else _rounded(end) for end in (found.low, found.high)]
            mean = _rounded(found.mean) if column.measured else found.mean + 0
            writer.writerow([*names, safe(column.id), found.n, mean, *ends, "", " ".join(epochs), row.diverged])
        for versus in numbers.versus:
            compared = versus.by_row.get(row.pair)
            if compared is not None and compared.n and compared.n_baseline:
                ends = [_rounded(compared.low), _rounded(compared.high)] if compared.known else ["", ""]
                quantity, mean = f"{numbers.variant.delta} against {versus.name}", _rounded(compared.difference)
                writer.writerow([*names, quantity, compared.n, mean, *ends, compared.verdict, "", row.diverged])
    return buffer.getvalue().encode("utf-8", "replace")


def _rounded(value: float) -> float:
    """A statistic without its last digits, in which processors differ: roots and quantiles are not exact everywhere."""
    return float(f"{value:z.10g}")


def safe(text: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    return f"'{text}" if text.strip()[:1] in ("=", "+", "-", "@") or text[:1] in ("\t", "\r", "\n") else text


def latex(found: Table, versus: BaselineComparison | None, caption: str, label: str) -> bytes:
    """A ``longtable`` in the style of ``booktabs``: means, the best in bold; Δm's verdict and interval.

    Args:
        found: the board in print; columns that it shows on demand are left out.
        versus: the baseline of the verdicts.
    """
    places = [i for i, column in enumerate(found.columns) if not column.more]
    shown = [found.columns[i] for i in places]
    if any(line.row.diverged for line in found.lines if line.row.finished):
        note = r". $^\dagger$: some seeds diverged; the numbers are those of the others, and the best that may be said."
    else:
        note = ""
    judged = [f"against {versus.name}", "interval"] if versus else []
    beside = ["architecture", "weighting", *judged]
    head = " & ".join([*(tex(text) for text in beside), *(_head(c) for c in shown)])
    over = _groups(shown, len(beside))
    lines = [
        "% needs \\usepackage{booktabs,longtable}",
        "\\begingroup\\small",
        f"\\begin{{longtable}}{{ll{'lr' if versus else ''}{'r' * len(shown)}}}",
        f"  \\caption{{{tex(caption)}{note}}}\\label{{tab:{re.sub('[^A-Za-z0-9-]', '', label)}}}\\\\",
        f"  \\toprule {over}{head} \\\\ \\midrule \\endfirsthead",
        f"  \\toprule {over}{head} \\\\ \\midrule \\endhead",
        "  \\bottomrule \\endfoot",
    ]
    for line in found.lines:
        if not line.row.finished:
            continue
        cells = [line.cells[i] for i in places]
        texts = [f"\\textbf{{{tex(cell.text)}}}" if cell.best else tex(cell.text) for cell in cells]
        mark = "$^\\dagger$" if line.row.diverged else ""
        names = [tex(line.row.architecture), ("--" if line.row.weighting == "none" else tex(line.row.weighting)) + mark]
        compared = versus.by_row.get(line.row.pair) if versus else None
        known = compared is not None and compared.known
        word = [compared.verdict if compared else "--"] if versus else []
        ends = [tex(f"{points(compared.low)} … {points(compared.high)}") if known and compared else "--"]
        lines.append("  " + " & ".join([*names, *word, *(ends if versus else []), *texts]) + " \\tabularnewline")
    lines += ["\\end{longtable}", "\\endgroup", ""]
    return "\n".join(lines).encode("utf-8", "replace")


def _groups(shown: Sequence[Column], beside: int) -> str:
    """A line of headings over the columns, the tasks' names, with a rule under each; ``beside`` columns come before."""
    cells, rules, place = [""] * beside, [], beside + 1
    for group, found in groupby(shown, key=lambda column: column.group):
        count = len(list(found))
        cells.append(rf"\multicolumn{{{count}}}{{c}}{{{tex(group)}}}" if group else " & " * (count - 1))
        if group:
            rules.append(rf"\cmidrule(lr){{{place}-{place + count - 1}}}")
        place += count
    return f"{' & '.join(cells)} \\\\ {' '.join(rules)} " if rules else ""


def _head(column: Column) -> str:
    unit = f" ({column.unit})" if column.unit else ""
    return tex(f"{column.title} {column.arrow}{unit}")


def tex(text: str) -> str:
    """Text that LaTeX prints as it is, on one line."""
    return "".join(_TEX.get(sign, sign) for sign in re.sub(r"[^\S\u00a0]+", " ", text))


def bibliography(entries: Iterable[str], board: str, suite: str) -> bytes:
    """The entries of a board's methods and data, each once, after the suite's own."""
    own = (
        "@misc{mtbench,\n  title = {mtbench: a benchmark suite and leaderboard for multi-task learning in vision},\n"
        f"  note = {{Version {suite}, board {board}}},\n}}"
    )
    unique: Sequence[str] = sorted({entry.strip() for entry in entries if entry.strip()})
    return ("\n\n".join([own, *unique]) + "\n").encode("utf-8", "replace")
