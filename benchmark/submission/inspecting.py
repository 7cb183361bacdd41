"""Whether a foreign record can be true: its form, its identity, its completeness, its versions."""

import math
import re
from collections.abc import Iterator, Mapping

from benchmark.analysis.kinds import is_own, kinds_of
from benchmark.data import SPLITS, DataSet, build_dataset
from benchmark.errors import UserError
from benchmark.registry import ARCHITECTURES, DATASETS, NAME, RESERVED, WEIGHTINGS
from benchmark.runs.code import built_in, other_code
from benchmark.runs.record import TIMES, RunRecord, parse_record
from benchmark.runs.spec import SUITE_VERSION
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
    kinds = kinds_of(record)
    if unknown := [task.kind for task in record.tasks if task.kind not in kinds]:
        yield f"its kind of task '{shown(unknown[0])}' is not known here: its metrics could not be judged"
    yield from _code(record)
    yield from cost_flaws(record)
    yield from _curves(record)


def _code(record: RunRecord) -> Iterator[str]:
    """What is wrong with what the record says of the plugin files that it was run with."""
    if lost := sorted(set(record.code.values()) - set(record.provenance.plugins.values())):
        yield f"it is of the plugin file {shown(lost[0])[:12]}, which is not among those that were loaded"
    for part, name in other_code(record.spec, record.code).items():
        yield f"the {part} '{shown(name)}' ran with other code than the plugin that is loaded here"
    for part, name in built_in(record.spec, record.code).items():
        yield f"it says that a plugin file defines the {part} '{shown(name)}', which is the suite's own"
    for name in sorted({task.kind for task in record.tasks} & KINDS.keys() & record.kinds.keys()):
        described = {metric.name for metric in record.kinds[name].metrics}
        if not is_own(KINDS[name]) and described != {metric.name for metric in KINDS[name].metrics}:
            yield f"its kind of task '{shown(name)}' has other metrics than the plugin that is loaded here"


def cost_flaws(record: RunRecord) -> Iterator[str]:
    """What cannot be true of what a run that went well says that it took."""
    if record.status != "ok":
        return
    cost = record.cost
    for name in ("parameters", "forward_flops"):
        if getattr(cost, name) is None:
            yield f"it does not say its {name}"
    for name in ("parameters", "forward_flops", *TIMES):
        value = getattr(cost, name)
        if value is not None and not value > 0:
            yield f"its {name} cannot be {value:g}"
    if cost.parameters is not None and (cost.shared_parameters or 0) > cost.parameters:
        yield f"its shared_parameters cannot be {cost.shared_parameters} of {cost.parameters}"
    if cost.train_seconds is not None and cost.wall_seconds is not None and cost.train_seconds > cost.wall_seconds:
        yield f"its steps took {cost.train_seconds:g} s, and the whole run {cost.wall_seconds:g} s"


def plugin_files(record: RunRecord) -> dict[str, str]:
    """The SHA-256 of each plugin file that the run's numbers depend on, by what uses it; those merely loaded do not.

    Records from before they say which file defines what are taken to need every file that was loaded, unless all of
    their parts are registered here.
    """
    if record.code:
        return dict(record.code)
    dataset = record.spec.dataset
    known = dataset.name in DATASETS and DATASETS[dataset.name].version == dataset.version
    return {} if known and not list(strangers(record)) else dict(record.provenance.plugins)


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
            known = {metric.name: metric for metric in kinds_of(record).get(task.kind, ())}
            own = task.kind in KINDS and is_own(KINDS[task.kind])
            if known and set(tasks[task.name]) != set(known):
                return f"'{shown(task.name)}' has other metrics than its kind, {task.kind}"
            for name, value in tasks[task.name].items():
                if own and name in known and not _possible(value, known[name].unit):
                    return f"{split} {shown(task.name)} {name} cannot be {value:.6g}"
    return None


def _possible(value: float | None, unit: str) -> bool:
    """Whether a metric of the suite can have the value: each is a share, an angle or a mean error."""
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


def unnamed(record: RunRecord, sources: Mapping[str, str]) -> dict[str, str]:
    """The parts of a run whose plugin file, as the record says, never names them; and what they are called.

    Args:
        sources: text by SHA-256.
    """
    spec = record.spec
    names = {"data set": spec.dataset.name, "architecture": spec.architecture.name, "weighting": spec.weighting_name}
    return {
        part: names[part]
        for part, code in record.code.items()
        if part in names and code in sources and names[part] not in sources[code]
    }


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
