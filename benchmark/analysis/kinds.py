"""What the metrics of a run's tasks are, from its record: no table depends on which plugins are loaded."""

from collections.abc import Mapping

from benchmark.runs.record import MetricInfo, RunRecord
from benchmark.tasks import KINDS, Metric, TaskKind

#: By kind of task its metrics.
Kinds = Mapping[str, tuple[Metric, ...]]


def is_own(kind: TaskKind) -> bool:
    """Whether the suite itself defines a kind: then its definition counts, whatever a record says."""
    return type(kind).__module__.partition(".")[0] == "benchmark"


def kinds_of(record: RunRecord) -> Kinds:
    """The metrics of the kinds of a run's tasks; without those that nobody describes.

    The suite's own kinds are as it defines them, a plugin's as the record says. Records of the first schema say
    nothing: theirs are as the plugin defines them that is loaded, if it is.
    """
    found = {}
    for name in {task.kind for task in record.tasks}:
        registered, recorded = KINDS.get(name), record.kinds.get(name)
        if registered is not None and (recorded is None or is_own(registered)):
            found[name] = tuple(registered.metrics)
        elif recorded is not None:
            texts = {metric.name: metric.definition for metric in registered.metrics} if registered else {}
            found[name] = tuple(_metric(info, texts.get(info.name, "")) for info in recorded.metrics)
    return found


def _metric(info: MetricInfo, definition: str) -> Metric:
    shown = {name: getattr(info, name) for name in MetricInfo.model_fields}
    return Metric(**shown, definition=definition or "As the plugin defines it that the runs were made with.")
