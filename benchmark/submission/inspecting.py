"""Whether a foreign record can be true: its form, its identity, its completeness, its versions."""

import math
import re
from collections.abc import Iterator

from benchmark.data import SPLITS, DataSet, build_dataset
from benchmark.errors import UserError
from benchmark.record import RunRecord, parse_record
from benchmark.registry import ARCHITECTURES, DATASETS, NAME, RESERVED, WEIGHTINGS
from benchmark.spec import SUITE_VERSION
from benchmark.submission.text import parse, shown
from benchmark.tasks import KINDS

#: Longer runs do not exist, and their curves would not be drawn.
MOST_EPOCHS = 100_000
LONGEST_NAME = 60
TRUTH = re.compile(r"truth-[0-9a-f]{1,64}\.npz")


def read(content: bytes, run: str) -> RunRecord:
    """The record of ``run``.

    Raises:
        UserError: the content is no sound record, or another run's.
    """
    name = f"records/{run}.json"
    parse(content, name)  # stricter than the store, which trusts what it wrote
    try:
        record = parse_record(content.decode("utf-8"), name)
    except UserError as error:
        raise UserError(shown(error)) from error
    if record.id != run:
        raise UserError(f"{name} holds run {shown(record.id)}")
    return record


def problems(record: RunRecord) -> Iterator[str]:
    """What makes the record unusable, whatever data or plugins are here."""
    spec = record.spec
    for what, name in (("data set", spec.dataset.name), ("architecture", spec.architecture.name)):
        if not _is_name(name):
            yield f"the {what} cannot be called '{shown(name)}'"
    if spec.weighting is not None and not _is_name(spec.weighting.name):
        yield f"the weighting cannot be called '{shown(spec.weighting.name)}'"
    if spec.suite != SUITE_VERSION:
        yield f"it was run by suite version {spec.suite}, and this is {SUITE_VERSION}: the numbers do not compare"
    own = spec.architecture.name
    if own in ARCHITECTURES and bool(ARCHITECTURES[own].factory.reference) != record.reference:
        yield f"'{shown(own)}' is {'no' if record.reference else 'a'} single-task reference"
    if record.truth is not None and not TRUTH.fullmatch(record.truth):
        yield f"its pictures cannot be called '{shown(record.truth)}'"
    names = [task.name for task in record.tasks]
    if not names or len(set(names)) < len(names):
        yield "it has no task, or two of the same name"
    if unknown := [task.kind for task in record.tasks if task.kind not in KINDS]:
        yield f"its kind of task '{shown(unknown[0])}' is not known here: its metrics could not be judged"
    yield from _curves(record)


def _is_name(name: str) -> bool:
    return bool(NAME.fullmatch(name)) and name not in RESERVED and len(name) <= LONGEST_NAME


def _curves(record: RunRecord) -> Iterator[str]:
    """What is wrong with the epochs."""
    protocol = record.spec.protocol
    epochs = [epoch.epoch for epoch in record.curves]
    if protocol.epochs > MOST_EPOCHS or epochs != list(range(1, len(epochs) + 1)) or len(epochs) > protocol.epochs:
        yield f"its epochs are not 1 to {protocol.epochs}"
        return
    tasks = {task.name for task in record.tasks}
    for epoch in record.curves:
        if not (set(epoch.losses) <= set(SPLITS) and all(set(names) <= tasks for names in epoch.losses.values())):
            yield f"epoch {epoch.epoch} has losses of other splits or tasks than its own"
            return
        if not set(epoch.weights) <= tasks:
            yield f"epoch {epoch.epoch} has weights of other tasks than its own"
            return
    if record.status != "ok":
        return
    if len(epochs) < protocol.epochs:
        yield f"it says that it went well, and has {len(epochs)} of {protocol.epochs} epochs"
        return
    for epoch in record.curves:
        due = epoch.epoch % protocol.evaluate_every == 0 or epoch.epoch == protocol.epochs
        if due != bool(epoch.metrics):
            yield f"epoch {epoch.epoch} {'lacks metrics' if due else 'has metrics that the protocol does not ask for'}"
            return
        if due and (flaw := _metrics(record, epoch.metrics)):
            yield f"epoch {epoch.epoch}: {flaw}"
            return


def _metrics(record: RunRecord, metrics: dict[str, dict[str, dict[str, float | None]]]) -> str | None:
    if set(metrics) != {"val", "test"}:
        return f"has metrics of {shown(', '.join(sorted(metrics)))}, not of val and test"
    for split, tasks in metrics.items():
        if set(tasks) != {task.name for task in record.tasks}:
            return f"the metrics of {split} are not those of its tasks"
        for task in record.tasks:
            known = {metric.name: metric for metric in KINDS[task.kind].metrics} if task.kind in KINDS else {}
            if known and set(tasks[task.name]) != set(known):
                return f"'{shown(task.name)}' has other metrics than its kind, {task.kind}"
            for name, value in tasks[task.name].items():
                if name in known and not _possible(value, known[name].unit):
                    return f"{split} {shown(task.name)} {name} cannot be {value:.6g}"
    return None


def _possible(value: float | None, unit: str) -> bool:
    """Whether a metric can have the value: every metric that the suite knows is a share, an angle or a mean error."""
    most = {"%": 100.0, "°": 180.0}.get(unit, math.inf)
    return value is None or 0 <= value <= most * (1 + 1e-6)


def dataset_of(record: RunRecord) -> tuple[DataSet | None, str | None]:
    """The data set that the record names, as registered here; or why there is none."""
    component = record.spec.dataset
    if component.name not in DATASETS:
        return None, f"the data set '{shown(component.name)}' is not registered here"
    if DATASETS[component.name].version != component.version:
        here = DATASETS[component.name].version
        return None, f"version {component.version} of '{component.name}' was used, and this suite has {here}"
    try:
        dataset = build_dataset(component.name, **component.options)
        dataset.identity  # noqa: B018 - options that cannot be hashed are found here
        tasks = [(t.name, t.kind, t.channels, tuple(t.classes)) for t in dataset.tasks]
    except Exception as error:  # noqa: BLE001 - foreign options reach a constructor: whatever it raises is their fault
        return None, f"'{component.name}' does not take these options ({shown(error)})"
    if tasks != [(t.name, t.kind, t.channels, t.classes) for t in record.tasks]:
        return None, f"its tasks are not those of '{component.name}'"
    return dataset, None


def strangers(record: RunRecord) -> Iterator[str]:
    """What of the record's methods is not registered here in the same version."""
    spec = record.spec
    parts = [("architecture", ARCHITECTURES, spec.architecture)]
    if spec.weighting is not None:
        parts.append(("weighting", WEIGHTINGS, spec.weighting))
    for kind, registry, component in parts:
        if component.name not in registry:
            yield f"the {kind} '{shown(component.name)}'"
        elif registry[component.name].version != component.version:
            yield f"version {component.version} of the {kind} '{shown(component.name)}'"
