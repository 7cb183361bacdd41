"""What a report can show of a row: one definition for tables, axes, downloads and the page of method."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmark.analysis import SCORES, Board
from benchmark.analysis.kinds import Kinds
from benchmark.runs.record import TaskInfo
from benchmark.tasks import Metric


@dataclass(frozen=True)
class Column:
    """A number that a row has.

    Attributes:
        key: under which ``Row.estimate`` has it.
        group: heading above several columns, the task's name.
        anchor: of its definition on the page of method.
        scale: factor from the stored unit to ``unit``.
        signed: whether zero means something, so that a plus is written.
        note: what a reader must know to read it, in the heading itself.
        measured: whether the numbers vary from run to run; what is counted has no interval.
        shown: whether tables have it; the others can be chosen as axes and downloaded.
        more: whether a table shows it on demand only.
        places: decimals at most.
    """

    key: Any
    group: str
    title: str
    unit: str
    higher_is_better: bool
    definition: str
    anchor: str
    scale: float = 1.0
    signed: bool = False
    note: str = ""
    first: bool = False
    measured: bool = True
    shown: bool = True
    more: bool = False
    places: int = 4

    @property
    def id(self) -> str:
        """A name for addresses and downloads."""
        return self.key if isinstance(self.key, str) else ".".join(self.key)

    @property
    def arrow(self) -> str:
        """Which way is better."""
        return "↑" if self.higher_is_better else "↓"

    @property
    def name(self) -> str:
        """The column in words, with its task and unit."""
        task = f"{self.group}: " if isinstance(self.key, tuple) else ""
        return f"{task}{self.title}{f' ({self.unit})' if self.unit else ''}"


DELTA = Column(
    "delta_m", "", "Δm", "%", True,
    "Mean over tasks of the mean over each task’s metrics of ±(m − s) / |s|, plus when m is better than s, the mean "
    "over seeds of the single-task networks’ values on the same data, with the same protocol and backbone. Metrics "
    "marked legacy do not count. Without single-task runs there is no Δm.",
    "delta-m", signed=True,
)  # fmt: skip

LEGACY_DELTA = replace(
    DELTA, key="legacy_delta_m", title="Δm (legacy)", anchor="legacy-delta-m",
    definition="As Δm, over the metrics of the papers’ scripts instead (kinds of task without such twins count as they "
    "are).",
)  # fmt: skip
FLAT = Column(
    "delta_flat", "", "Δm flat", "%", False,
    "The papers’ other habit: the mean over all metrics, whatever their tasks, of ∓(m − s) / |s|: a task of five "
    "metrics outvotes one of two, and lower is better.",
    "delta-flat", signed=True, shown=False,
)  # fmt: skip
LEGACY_FLAT = replace(FLAT, key="legacy_delta_flat", title="Δm flat (legacy)")

COST_GROUP = "cost"
RELATIVE = Column(
    "relative_cost", COST_GROUP, "relative cost", "×", False,
    "Time of a training step relative to that of the board’s yardstick, split with equal weights where the board has "
    "it; under the table stands which. Both take turns on one machine for the whole board (mtbench calibrate); the "
    "times that runs took where they were made do not count.",
    "relative-cost", measured=False, places=2,
)  # fmt: skip
COSTS = (
    Column("parameters", COST_GROUP, "parameters", "M", False,
           "Trainable parameters of the model, in millions, without what belongs to the weighting.", "parameters", 1e-6,
           first=True, measured=False),
    Column("shared_parameters", COST_GROUP, "shared parameters", "M", False,
           "Trainable parameters that the losses of more than one task reach, in millions.", "shared-parameters", 1e-6,
           measured=False, shown=False),
    Column("forward_flops", COST_GROUP, "forward pass", "GFLOP", False,
           "Floating-point operations of the forward pass of one picture, in thousands of millions.", "forward-flops",
           1e-9, measured=False, shown=False),
    Column("seconds_per_step", COST_GROUP, "time per step", "ms", False,
           "Mean training time per step of the run’s fastest epoch, which other work on the machine disturbed least; "
           "steps in which gradients were sampled do not count.", "seconds-per-step", 1e3, shown=False),
    Column("train_seconds", COST_GROUP, "training time", "min", False,
           "Time of all training steps of a run, without loading and evaluation.", "train-seconds", 1 / 60,
           shown=False),
    Column("peak_bytes", COST_GROUP, "peak memory", "MiB", False,
           "Most memory held during the run: on the GPU if there is one, else by the whole process.", "peak-bytes",
           2.0**-20, shown=False),
)  # fmt: skip


def metrics_of(task: TaskInfo, kinds: Kinds, legacy: bool = False) -> Sequence[Metric]:
    """The task's metrics, or their legacy twins where it has any; none for a kind that nobody describes."""
    known = kinds.get(task.kind, ())
    twins = legacy and any(metric.legacy for metric in known)
    return [metric for metric in known if metric.legacy == twins]


def primary(task: TaskInfo, kinds: Kinds) -> Metric | None:
    """The metric that stands for the task in curves: its kind's first."""
    return next(iter(metrics_of(task, kinds)), None)


def task_columns(tasks: Iterable[TaskInfo], kinds: Kinds, legacy: bool = False) -> list[Column]:
    """A column per task and metric."""
    return [
        Column(
            (task.name, metric.name), task.name, metric.title.removesuffix(" (legacy)"), metric.unit,
            metric.higher_is_better, metric.definition, anchor(task.kind, metric), first=i == 0, more=i > 0,
        )
        for task in tasks
        for i, metric in enumerate(metrics_of(task, kinds, legacy))
    ]  # fmt: skip


def score_columns(dataset: str) -> list[Column]:
    """What a data set's own community judges a whole run by."""
    return [
        Column(s.name, "", s.title, "", True, s.definition, s.name.replace("_", "-")) for s in SCORES.get(dataset, ())
    ]


def columns(board: Board, machines: Sequence[str], legacy: bool = False) -> list[Column]:
    """Everything that a board's rows have."""
    timed = f" Timed on {' / '.join(machines) or 'an unknown device'}."
    note = "several devices" if len(machines) > 1 else ""
    costs = [replace(c, definition=c.definition + timed, note=note) if "time" in c.title else c for c in COSTS]
    gains = (LEGACY_DELTA, LEGACY_FLAT) if legacy else (DELTA, FLAT)
    scores = [] if legacy else score_columns(board.dataset.name)
    return [*gains, *scores, *task_columns(board.tasks, board.kinds, legacy), costs[0], RELATIVE, *costs[1:]]


def anchor(kind: str, metric: Metric) -> str:
    """The anchor of the definition of a metric of a kind of task."""
    return f"metric-{kind}-{metric.name}".replace(".", "-").replace("_", "-")
