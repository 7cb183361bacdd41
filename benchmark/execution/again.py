"""Runs that have a record, done once more on this machine; nothing is stored."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch

from benchmark.analysis.repeats import other_packages
from benchmark.errors import UserError
from benchmark.execution.apart import PULSE, call_in
from benchmark.execution.executor import Ended, Executor, Lost, Note, Refused, Setup
from benchmark.registry import ARCHITECTURES, DATASETS, PLUGIN_FILES, WEIGHTINGS, Registry
from benchmark.runs.record import RunRecord
from benchmark.runs.spec import SUITE_VERSION, Component, RunSpec
from benchmark.training.hardware import Hardware
from benchmark.training.progress import Outcome
from benchmark.training.provenance import packages_of
from benchmark.training.run import first_steps


def hardware_of(record: RunRecord) -> Hardware:
    """The kind of hardware, and how it is used, of a record."""
    origin = record.provenance
    deterministic = origin.kind == "cuda" and origin.determinism.get("deterministic_algorithms") is True
    graphs = bool(origin.cuda_graphs)
    return Hardware(origin.kind, origin.precision, origin.threads, graphs=graphs, deterministic=deterministic)


def obstacle(record: RunRecord) -> str | None:
    """Why a record's run cannot be done again here, whatever the data; None where it can be tried."""
    spec = record.spec
    parts: tuple[tuple[Registry[Any], Component | None], ...]
    parts = ((DATASETS, spec.dataset), (ARCHITECTURES, spec.architecture), (WEIGHTINGS, spec.weighting))
    for registry, part in parts:
        if part is None:
            continue
        if part.name not in registry:
            return f"there is no {registry.kind} '{part.name}' here: name the file that registers it with --plugin"
        if (here := registry[part.name].version) != part.version:
            return f"it is of version {part.version} of the {registry.kind} '{part.name}', and here is version {here}"
    if spec.suite != SUITE_VERSION:
        return f"it is of version {spec.suite} of the suite's numbers, and here is version {SUITE_VERSION}"
    if record.provenance.kind == "cuda" and not torch.cuda.is_available():
        return "it was made on CUDA, and there is no such device here"
    return None


def other_versions(record: RunRecord) -> list[str]:
    """Packages whose versions, and plugin files whose contents, are others here than those of a record, in words."""
    files = record.provenance.plugins
    changed = [f"another {name}" for name, content in files.items() if content not in PLUGIN_FILES.values()]
    return other_packages(record.provenance.packages, packages_of(record.spec)) + changed


def repeated(
    specs: Sequence[RunSpec], executor: Executor, note: Callable[[str], None]
) -> Iterator[tuple[str, Outcome | str]]:
    """Do runs; the id of each and its outcome, or the reason why there is none, as they end.

    Args:
        note: told in one line of what is unusual in a run and does not end it.
    """
    waiting, under_way = deque(specs), 0
    try:
        while waiting or under_way:
            while waiting and executor.free() > 0:
                executor.submit(waiting.popleft())
                under_way += 1
            for event in executor.events(PULSE):
                if isinstance(event, Note):
                    note(event.text)
                elif isinstance(event, Ended | Refused | Lost):
                    under_way -= 1
                    yield event.run, event.outcome if isinstance(event, Ended) else event.reason
    finally:
        executor.close()


def beginning(spec: RunSpec, setup: Setup, steps: int) -> dict[int, str] | str:
    """The trace of a run's first steps, in this process or in one of its arithmetic; or why there is none."""
    try:
        return call_in(spec.protocol.arithmetic, setup.plugins, _first_steps, spec, setup, steps)
    except UserError as error:
        return str(error)
    except BrokenProcessPool:
        return "its process was killed"


def _first_steps(spec: RunSpec, setup: Setup, steps: int) -> dict[int, str]:
    return first_steps(spec, storage=setup.storage, hardware=setup.hardware, steps=steps)
