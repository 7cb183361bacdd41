"""`mtbench calibrate`: what a step of each row of a board costs, relative to one of them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmark.analysis import Board
from benchmark.analysis.boards import Row, row_of
from benchmark.commands.boards import board_options, chosen_boards
from benchmark.commands.options import device_option, plugin_option, results_option
from benchmark.commands.tables import print_table
from benchmark.errors import UserError
from benchmark.execution.apart import call_in
from benchmark.execution.local import RUN_PROCESSES
from benchmark.registry import ARCHITECTURES, WEIGHTINGS, load_plugin_files
from benchmark.runs.record import Provenance
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import Store
from benchmark.speed import Alone, Spread, calibration
from benchmark.speed.calibration import CalibratedRow, Calibration, measure_rows, named
from benchmark.speed.workload import Workload
from benchmark.training.hardware import Hardware
from benchmark.training.provenance import git_state, numerics, provenance
from benchmark.wording import counted

console = Console(highlight=False)

#: What rows are relative to, where a board has it; else the reference.


@dataclass(frozen=True)
class CalibrationJob:
    """One board to calibrate.

    Attributes:
        steps: of each row.
        device: as on the command line.
        threads: of a step on the CPU.
        again: whether rows that are known are measured anew.
    """

    store: Path
    board: Board
    steps: int
    device: str
    threads: int
    again: bool
    plugins: tuple[Path, ...]


@click.command()
@results_option
@board_options
@click.option(
    "--steps", type=click.IntRange(1), default=20, show_default=True, help="Timed steps of each row, or a few more."
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="CPU threads.")
@device_option
@click.option("--again", is_flag=True, help="Also measure rows anew that are known under the same conditions.")
@plugin_option
def calibrate(
    results: Path,
    keys: tuple[str, ...],
    datasets: tuple[str, ...],
    steps: int,
    threads: int,
    device: str,
    again: bool,
    plugins: tuple[Path, ...],
) -> None:
    """Time a training step of each row of the boards, for the column of costs in the report.

    Steps are those of the board's own runs (network, picture size, batch, optimiser, arithmetic), on random pictures,
    in turn with steps of split with equal weights, or of the reference where a board has no such row. A board's numbers
    stand in one file beside its records. Rows that are there already are kept as long as machine, threads and PyTorch
    are the same; where they are not, all of the board are made anew. Other work on the machine slows both steps of a
    pair alike, but leave it idle all the same.

    \b
    Example:
      mtbench calibrate
      mtbench calibrate --dataset scenes --steps 40 --again
    """
    load_plugin_files(plugins)
    store = Store(results)
    boards = chosen_boards(store, keys, datasets)
    store.check_writable()
    failed = 0
    for board in boards:
        try:
            found = call_in(
                board.protocol.arithmetic,
                plugins,
                calibrated,
                CalibrationJob(results, board, steps, device, threads, again, plugins),
            )
        except UserError as error:
            failed += 1
            console.print(f"[yellow]Not calibrated:[/] {escape(str(error))}", soft_wrap=True)
            continue
        print_table(console, _table(board, found))
        console.print(f"{escape(found.heading)}.", soft_wrap=True)
        console.print(f"The numbers are in {escape(str(calibration.file_of(store, board)))}", soft_wrap=True)
        for row in found.rows:
            if row.error:
                name = escape(f"{named(row.architecture, row.weighting)}: {row.error}")
                console.print(f"[yellow]Not measured:[/] {name}", soft_wrap=True)
    if failed:
        raise UserError(f"{failed} of {counted(len(boards), 'board')} not calibrated: the lines above say why")


def calibrated(job: CalibrationJob) -> Calibration:
    """Measure what is missing of a board, in a process of its arithmetic, and keep it row by row.

    Raises:
        UserError: the board has no baseline, or that cannot take a step here.
    """
    store, board, protocol = Store(job.store), job.board, job.board.protocol
    device = "cpu" if job.device == "auto" and protocol.arithmetic == "portable" else job.device
    hardware = Hardware.choose(device, protocol.precision, job.threads).computing(protocol)
    computing = numerics(hardware, protocol.arithmetic)
    origin = provenance(hardware, board.data_hash, datetime.now(UTC), git_state(), numerics=computing)
    baseline, specs = baseline_of(board), {row_of(record.spec): record.spec for record in board.records}
    known = {row: found for row, found in _known(store, board, baseline, origin).items() if row in specs}
    missing = [spec for row, spec in specs.items() if job.again or row not in known or known[row].error]

    def result() -> Calibration:
        return Calibration(
            board=board.key,
            baseline=(baseline.architecture, baseline.weighting),
            rows=tuple(known[row] for row in specs if row in known),
            provenance=origin,
        )

    with Alone(RUN_PROCESSES, job.plugins) as alone, console.status("") as status:
        begun = lambda spec: status.update(f"timing {escape(named(spec.architecture, spec.weighting))}")  # noqa: E731
        load = Workload.from_run(baseline, hardware)
        for row in measure_rows(missing, baseline, load, steps=job.steps, alone=alone, begun=begun):
            known[row.key] = row
            calibration.save(result(), store, board)
    return result()


def _known(store: Store, board: Board, baseline: RunSpec, origin: Provenance) -> dict[Row, CalibratedRow]:
    """The rows measured under the present conditions; none where the file is unusable."""
    try:
        found = calibration.load(store, board)
    except UserError:
        return {}
    return dict(found.by_row) if found and found.agrees(row_of(baseline), origin) else {}


def baseline_of(board: Board) -> RunSpec:
    """A run of the row that a board's costs are relative to.

    Raises:
        UserError: there is none.
    """
    specs = {row_of(record.spec): record.spec for record in board.records}
    baseline = (ARCHITECTURES.baseline, WEIGHTINGS.baseline)
    usual = WEIGHTINGS[baseline[1]].defaults if baseline[1] else {}
    plain = [spec for spec in specs.values() if (spec.architecture.name, spec.weighting_name) == baseline]
    plain.sort(key=lambda spec: (spec.weighting is not None and spec.weighting.options != usual, row_of(spec)))
    references = sorted((r.spec for r in board.records if r.reference), key=row_of)
    if not (found := [*plain, *references]):
        raise UserError(
            f"the board {board.key} of '{board.dataset.name}' has neither {' · '.join(map(str, baseline))} nor a "
            "single-task reference, so there is nothing to relate its costs to: run one of them first"
        )
    return found[0]


def _table(board: Board, found: Calibration) -> Table:
    title = f"{board.dataset.name}, board {board.key}"
    table = Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("row", overflow="fold", min_width=12)
    for column in (f"× {found.baseline_words}", "quartiles", "memory ×"):
        table.add_column(escape(column), no_wrap=True, justify="right")
    labels = {row_of(record.spec): board.labels[record.id] for record in board.records}
    for row in found.rows:
        architecture, weighting = labels.get(row.key, (row.architecture.name, ""))
        name = architecture if row.weighting is None else f"{architecture} · {weighting}"
        memory = found.relative_memory(row.key)
        table.add_row(
            escape(name),
            *(_cells(row.ratio) if row.ratio else ("–", "–")),
            "–" if memory is None else f"{memory:.2f}",
        )
    return table


def _cells(ratio: Spread) -> tuple[str, str]:
    return f"{ratio.median:.2f}", f"{ratio.low:.2f}–{ratio.high:.2f}"
