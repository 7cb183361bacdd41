"""A grid in progress on the terminal: live bars where there is one, a line per finished run elsewhere."""

from collections.abc import Mapping
from time import monotonic
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from benchmark.execution.timeleft import TimeLeft
from benchmark.runs.record import EpochRecord, RunRecord
from benchmark.runs.spec import RunSpec
from benchmark.wording import duration

#: Refreshes per second of the live display.
RATE = 4
#: Seconds between two lines about epochs of a run, where there is no terminal.
HEARTBEAT = 10.0
#: Tasks whose losses are told one by one.
MOST_LOSSES = 10


class Display:
    """An observer of a grid that shows runs done of all, each current run's epoch and losses, and the time left.

    Args:
        work: of every run, by id, in any unit; the time left follows from it and what runs took so far.
        failures: where runs that did not go well are told.
    """

    def __init__(self, console: Console, work: Mapping[str, float], *, failures: Console | None = None) -> None:
        self.console = console
        self.failures = failures or console
        self.work = dict(work)
        self.left = TimeLeft(self.work)
        #: When, by run, a line about it was written last.
        self.told: dict[str, float] = {}
        self.finished_runs = 0
        self.bad: list[RunRecord] = []
        self.refusals: list[str] = []
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
        self.left.began(spec.id)
        self.told[spec.id] = monotonic()
        self._bars[spec.id] = self._runs.add_task(escape(spec.label), total=spec.protocol.epochs, losses="starting")

    def epoch(self, spec: RunSpec, epoch: EpochRecord) -> None:
        """See ``Observer``."""
        self.left.epoch(spec.id, epoch.epoch / spec.protocol.epochs)
        self._runs.update(self._bars[spec.id], completed=epoch.epoch, losses=escape(losses(epoch)))
        self._show_total()
        if not self.console.is_terminal and monotonic() - self.told[spec.id] >= HEARTBEAT:
            self.told[spec.id] = monotonic()
            line = f"epoch {epoch.epoch}/{spec.protocol.epochs} · {losses(epoch)}"
            count = Text(f"[{self.finished_runs}/{len(self.work)}, {self.time_left()}] ", "dim")
            self.console.print(count + Text(f"{spec.label} · {line}"), soft_wrap=True)

    def finished(self, spec: RunSpec, record: RunRecord) -> None:
        """See ``Observer``."""
        last = f" · {losses(record.curves[-1])}" if record.curves else ""
        seconds = f" · {record.cost.wall_seconds:.0f} s" if record.cost.wall_seconds else ""
        if record.status == "ok":
            self.left.end(spec.id, record.cost.wall_seconds)
            self._end(self.console, spec, Text.assemble(("✓ ", "green"), spec.label, (seconds + last, "dim")))
        else:
            self.bad.append(record)
            self.left.end(spec.id, None)
            line = Text.assemble(("✗ ", "red"), spec.label, f" · {record.status}: {record.error}")
            self._end(self.failures, spec, line)

    def refused(self, spec: RunSpec, reason: str) -> None:
        """See ``Observer``."""
        self.refusals.append(reason)
        self.left.end(spec.id, None)
        self._end(self.failures, spec, Text.assemble(("✗ ", "red"), spec.label, f" · not run: {reason}"))

    def handed_over(self, spec: RunSpec) -> None:
        """See ``Observer``."""
        self.left.forget(spec.id)
        self._runs.remove_task(self._bars.pop(spec.id))
        self.note(spec, "another runner has taken it over")

    def note(self, spec: RunSpec, text: str) -> None:
        """See ``Observer``."""
        self.console.print(Text.assemble(("· ", "yellow"), spec.label, f" · {text}"), soft_wrap=True)

    def _end(self, console: Console, spec: RunSpec, line: Text) -> None:
        self.finished_runs += 1
        self._runs.remove_task(self._bars.pop(spec.id))
        self._show_total()
        count = Text(f"[{self.finished_runs}/{len(self.work)}, {self.time_left()}] ", "dim")
        console.print(count + line, soft_wrap=True)

    def _show_total(self) -> None:
        self._total.update(self._total_bar, completed=self.finished_runs, left=self.time_left())

    def time_left(self) -> str:
        """The remaining time in words."""
        seconds = self.left.seconds()
        return "time left not known yet" if seconds is None else f"{duration(seconds)} left"


def losses(epoch: EpochRecord) -> str:
    """The training losses of an epoch in words; of many tasks their mean, the least and the greatest."""
    values = epoch.losses["train"].items()
    known = sorted((value, task) for task, value in values if value is not None)
    if len(values) > MOST_LOSSES and known:
        (least, first), (greatest, last) = known[0], known[-1]
        mean = sum(value for value, _ in known) / len(known)
        return f"mean of {len(known)} losses {mean:z.3f}, {first} {least:z.3f} to {last} {greatest:z.3f}"
    return ", ".join(f"{task} {'without a value' if value is None else f'{value:z.3f}'}" for task, value in values)
