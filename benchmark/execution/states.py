"""What is known of a grid's runs: done, failed, running or missing, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmark.data.workers import cores
from benchmark.errors import UserError
from benchmark.execution.claims import Claims
from benchmark.index import Index
from benchmark.spec import RunSpec
from benchmark.store import Store

State = Literal["done", "failed", "running", "missing"]


@dataclass(frozen=True)
class RunState:
    """One run of a grid.

    Attributes:
        status: of its record; None where there is no usable one.
        reason: why it failed, or why its record cannot be used.
        owner: host and process of the runner that has claimed it.
    """

    spec: RunSpec
    state: State
    status: str | None = None
    reason: str | None = None
    owner: str | None = None

    def as_json(self) -> dict[str, object]:
        """For scripts."""
        spec = self.spec
        return {
            "id": spec.id,
            "dataset": spec.dataset.name,
            "architecture": spec.architecture.name,
            "weighting": spec.weighting_name,
            "seed": spec.seed,
            "state": self.state,
            "status": self.status,
            "reason": self.reason,
            "owner": self.owner,
        }


def states(specs: Sequence[RunSpec], store: Store) -> list[RunState]:
    """The state of every run, in order."""
    index = Index(store, workers=cores())
    known = index.statuses()
    problems = {problem.path: problem.reason for problem in index.problems}
    owners = Claims(store.private / "claims").owners()
    return [_state(spec, known.get(spec.id), problems.get(store.path(spec)), owners.get(spec.id)) for spec in specs]


def _state(spec: RunSpec, known: tuple[str, str | None] | None, problem: str | None, owner: str | None) -> RunState:
    status, error = known or (None, None)
    if status == "ok":
        return RunState(spec, "done", status)
    reason = f"{status}: {error}" if status else problem
    if owner:
        return RunState(spec, "running", status, reason, owner)
    return RunState(spec, "failed" if reason else "missing", status, reason)


def refuse_other_data(store: Store, datasets: Mapping[str, tuple[str, str]]) -> None:
    """Refuse to mix runs on data that changed.

    Args:
        datasets: by data set, as it stands in the JSON of a spec, its name and the content hash of the prepared form.

    Raises:
        UserError: records of the store that went well come from other data.
    """
    index = Index(store, workers=cores())
    for dataset, (name, here) in datasets.items():
        if others := sorted(found[:12] for found in index.data_hashes(dataset) - {here}):
            raise UserError(
                f"the data set {name} has the content hash {here[:12]} here, but records in {store.root} come from "
                f"{', '.join(others)}: the data changed. Prepare it anew from the same files, or keep these runs apart "
                "with --results"
            )
