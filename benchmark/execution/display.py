"""A grid in progress on the terminal: live bars where there is one, a line per finished run elsewhere."""

from collections.abc import Mapping
from time import perf_counter
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from benchmark.record import EpochRecord, RunRecord
from benchmark.spec import RunSpec

#: Refreshes per second of the live display.
RATE = 4
#: Share of the work that must be done before the time left is told: at first, starting up dominates.
KNOWN_SHARE = 0.05


class Display:
    """An observer of a grid that shows runs done of all, each current run's epoch and losses, and the time left.

    Args:
        work: of every run, by id, in any unit; the time left is extrapolated from the share of it that is done.
    """

    def __init__(self, console: Console, work: Mapping[str, float]) -> None:
        self.console = console
        self.work = dict(work)
        self.done: dict[str, float] = {}
        self.finished_runs = 0
        self.bad: list[RunRecord] = []
        self.refusals: list[str] = []
        self.begun = perf_counter()
        self._total = Progress(
            TextColumn("[bold]{task.completed:.0f}/{task.total:.0f} runs[/]"),
            BarColumn(),
            TextColumn("{task.fields[left]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._total_bar = self._total.add_task("", total=len(work), left="")
        self._runs = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            TextColumn("epoch {task.completed:.0f}/{task.total:.0f}"),
            TextColumn("[dim]{task.fields[losses]}[/]"),
            console=console,
        )
        self._bars: dict[str, TaskID] = {}
        self._live = Live(Group(self._total, self._runs), console=console, refresh_per_second=RATE, transient=True)

    def __enter__(self) -> "Display":
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def started(self, spec: RunSpec) -> None:
        """See ``Observer``."""
        self._bars[spec.id] = self._runs.add_task(escape(spec.label), total=spec.protocol.epochs, losses="starting")

    def epoch(self, spec: RunSpec, epoch: EpochRecord) -> None:
        """See ``Observer``."""
        self.done[spec.id] = self.work[spec.id] * epoch.epoch / spec.protocol.epochs
        self._runs.update(self._bars[spec.id], completed=epoch.epoch, losses=escape(losses(epoch)))
        self._show_total()

    def finished(self, spec: RunSpec, record: RunRecord) -> None:
        """See ``Observer``."""
        last = f" · {losses(record.curves[-1])}" if record.curves else ""
        seconds = f" · {record.cost.wall_seconds:.0f} s" if record.cost.wall_seconds else ""
        if record.status == "ok":
            self._end(spec, Text.assemble(("✓ ", "green"), spec.label, (seconds + last, "dim")))
        else:
            self.bad.append(record)
            self._end(spec, Text.assemble(("✗ ", "red"), spec.label, f" · {record.status}: {record.error}"))

    def refused(self, spec: RunSpec, reason: str) -> None:
        """See ``Observer``."""
        self.refusals.append(reason)
        self._end(spec, Text.assemble(("✗ ", "red"), spec.label, f" · not run: {reason}"))

    def handed_over(self, spec: RunSpec) -> None:
        """See ``Observer``."""
        self.done.pop(spec.id, None)
        self._runs.remove_task(self._bars.pop(spec.id))
        self.note(spec, "another runner has taken it over")

    def note(self, spec: RunSpec, text: str) -> None:
        """See ``Observer``."""
        self.console.print(Text.assemble(("· ", "yellow"), spec.label, f" · {text}"), soft_wrap=True)

    def _end(self, spec: RunSpec, line: Text) -> None:
        self.finished_runs += 1
        self.done[spec.id] = self.work[spec.id]
        self._runs.remove_task(self._bars.pop(spec.id))
        self._show_total()
        count = Text(f"[{self.finished_runs}/{len(self.work)}, {self.time_left()}] ", "dim")
        self.console.print(count + line, soft_wrap=True)

    def _show_total(self) -> None:
        self._total.update(self._total_bar, completed=self.finished_runs, left=self.time_left())

    def time_left(self) -> str:
        """The remaining time in words."""
        share = sum(self.done.values()) / sum(self.work.values())
        if share < KNOWN_SHARE:
            return "time left not known yet"
        return f"{duration((perf_counter() - self.begun) * (1 - share) / share)} left"


def losses(epoch: EpochRecord) -> str:
    """The training losses of an epoch in words."""
    values = epoch.losses["train"].items()
    return ", ".join(f"{task} {'not finite' if value is None else f'{value:.3f}'}" for task, value in values)


def duration(seconds: float) -> str:
    """Seconds in the two largest units that fit."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{n} {unit}" for n, unit in ((days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")) if n]
    return " ".join(parts[:2]) or "0 s"
