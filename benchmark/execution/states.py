"""What is known of a grid's runs: done, of other code, diverged, failed, running or missing, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from benchmark.data.workers import cores
from benchmark.errors import UserError
from benchmark.execution.leases import Leases
from benchmark.runs.code import other_code
from benchmark.runs.index import Index
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import Store
from benchmark.training.checkpoint import SUFFIX

State = Literal["done", "outdated", "diverged", "failed", "running", "missing"]
STATES: tuple[State, ...] = get_args(State)
#: States of runs that are done when they are asked for; those of the second, only with ``--again``.
TO_DO: tuple[State, ...] = ("failed", "running", "missing")
ONLY_AGAIN: tuple[State, ...] = ("outdated", "diverged")


@dataclass(frozen=True)
class RunState:
    """One run of a grid.

    A run that diverged would do so again with the same code: it is done again only where that was asked for.

    Attributes:
        status: of its record; None where there is no usable one.
        reason: why it failed, why its record cannot be used, or what of a plugin's code has changed since.
        owner: host and process of the runner that has leased it.
        checkpoint: from which it goes on.
    """

    spec: RunSpec
    state: State
    status: str | None = None
    reason: str | None = None
    owner: str | None = None
    checkpoint: Path | None = None

    def to_do(self, again: bool) -> bool:
        """Whether ``mtbench run`` does it, with ``--again`` or without."""
        return self.state in TO_DO or (again and self.state in ONLY_AGAIN)

    def as_json(self) -> dict[str, object]:
        """For scripts."""
        spec = self.spec
        return {
            "id": spec.id,
            "dataset": spec.dataset.name,
            "architecture": spec.architecture.name,
            "weighting": spec.weighting_name,
            "options": {
                part: component.options
                for part in ("dataset", "architecture", "weighting")
                if (component := getattr(spec, part)) is not None
            },
            "versions": {
                part: component.version
                for part in ("dataset", "architecture", "weighting")
                if (component := getattr(spec, part)) is not None
            },
            "seed": spec.seed,
            "state": self.state,
            "status": self.status,
            "reason": self.reason,
            "owner": self.owner,
            "checkpoint": str(self.checkpoint) if self.checkpoint else None,
        }


def states(specs: Sequence[RunSpec], store: Store) -> list[RunState]:
    """The state of every run, in order."""
    index = Index(store, workers=cores())
    known, codes = index.statuses(), index.codes()
    problems = {problem.path: problem.reason for problem in index.problems}
    owners = Leases(store.private / "claims").owners()
    checkpoints = {path.stem: path for path in store.checkpoints.glob(f"*{SUFFIX}")}
    found = (
        _state(spec, known.get(spec.id), problems.get(store.path(spec)), owners.get(spec.id), codes.get(spec.id, {}))
        for spec in specs
    )
    return [replace(one, checkpoint=checkpoints.get(one.spec.id)) if one.state in TO_DO else one for one in found]


def _state(
    spec: RunSpec,
    known: tuple[str, str | None] | None,
    problem: str | None,
    owner: str | None,
    code: Mapping[str, str],
) -> RunState:
    status, error = known or (None, None)
    if status == "ok":
        changed = [f"the {part} '{name}'" for part, name in other_code(spec, code).items()]
        if not changed:
            return RunState(spec, "done", status)
        change = f"the plugin's code of {' and '.join(changed)} has changed since"
        return RunState(spec, "running" if owner else "outdated", status, change, owner)
    reason = f"{status}: {error}" if status else problem
    if owner:
        return RunState(spec, "running", status, reason, owner)
    if status == "diverged" and not other_code(spec, code):
        return RunState(spec, "diverged", status, reason)
    return RunState(spec, "failed" if reason else "missing", status, reason)


def refuse_other_code(found: Sequence[RunState]) -> None:
    """Refuse to add runs to rows whose records are of other code.

    Raises:
        UserError: runs are done, and their plugin's code has changed since.
    """
    if outdated := [run for run in found if run.state == "outdated"]:
        raise UserError(
            f"{len(outdated)} run{'s are' if len(outdated) > 1 else ' is'} done, but {outdated[0].reason}. Add --again "
            "to do what is done by other code again in place of its records; or raise the version at its registration, "
            "and both stay"
        )


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
