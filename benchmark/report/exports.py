"""A board as files to take away: CSV of every run, a LaTeX table of the rows, BibTeX of what they cite."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO

from benchmark.report.columns import Column, columns
from benchmark.report.rows import Numbers, machine, machines
from benchmark.report.table import MINUS, Table
from benchmark.trust import Standing

_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "°": r"$^\circ$", "×": r"$\times$", "·": r"$\cdot$",
    "Δ": r"$\Delta$", "<": r"$<$", ">": r"$>$", "±": r"$\pm$", "\u00a0": "~", MINUS: "$-$", "–": "--",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$",
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
    writer.writerow(["run", "architecture", "weighting", "seed", "status", *(c.id for c in shown), "machine", "trust"])
    for row in numbers.rows:
        for record in row.records:
            seed = record.spec.seed
            values = [row.samples.get(c.key, {}).get(seed, "") if record.status == "ok" else "" for c in shown]
            numbers_only = ["" if value != value else value for value in values]
            names = [safe(row.architecture), safe(row.weighting)]
            trust = foreign[record.id].level if record.id in foreign else "rerun"
            writer.writerow([record.id, *names, seed, record.status, *numbers_only, safe(machine(record)), trust])
    return buffer.getvalue().encode("utf-8", "replace")


def safe(text: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def latex(found: Table, caption: str, label: str) -> bytes:
    """A ``booktabs`` table: means, intervals as subscripts, the best in bold, ties with it underlined."""
    shown = found.columns
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "  \\centering\\small",
        f"  \\caption{{{tex(caption)}}}\\label{{tab:{re.sub('[^A-Za-z0-9-]', '', label)}}}",
        f"  \\begin{{tabular}}{{ll{'r' * len(shown)}}}",
        "    \\toprule",
        "    " + " & ".join(["architecture", "weighting", *(_head(c) for c in shown)]) + " \\\\",
        "    \\midrule",
    ]
    for line in found.lines:
        if not line.row.finished:
            continue
        cells = []
        for cell in line.cells:
            text = tex(cell.text)
            text = f"\\textbf{{{text}}}" if cell.best else f"\\underline{{{text}}}" if cell.tied else text
            cells.append(text + (f"$_{{\\pm {cell.spread}}}$" if cell.spread else ""))
        names = [tex(line.row.architecture), "--" if line.row.weighting == "none" else tex(line.row.weighting)]
        lines.append("    " + " & ".join([*names, *cells]) + " \\\\")
    lines += ["    \\bottomrule", "  \\end{tabular}", "\\end{table}", ""]
    return "\n".join(lines).encode("utf-8", "replace")


def _head(column: Column) -> str:
    unit = f" ({column.unit})" if column.unit else ""
    return tex(f"{column.title} {column.arrow}{unit}")


def tex(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(_TEX.get(sign, sign) for sign in text)


def bibliography(entries: Iterable[str], board: str, suite: str) -> bytes:
    """The entries of a board's methods and data, each once, after the suite's own."""
    own = (
        "@misc{mtbench,\n  title = {mtbench: a benchmark suite and leaderboard for multi-task learning in vision},\n"
        f"  note = {{Version {suite}, board {board}}},\n}}"
    )
    unique: Sequence[str] = sorted({entry.strip() for entry in entries if entry.strip()})
    return ("\n\n".join([own, *unique]) + "\n").encode("utf-8", "replace")
