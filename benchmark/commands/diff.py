"""`mtbench diff`: two results folders, run by run."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from benchmark.analysis.repeats import Difference, first_difference
from benchmark.commands.records import RecordFilters, existing, record_options
from benchmark.runs.index import Index
from benchmark.wording import counted


@dataclass
class Comparison:
    """What two folders hold.

    Attributes:
        same: labels of the runs with the same numbers in both, by id.
        different: of those with different numbers, and where first.
        alone: labels of the runs that one of the two folders lacks, by id.
    """

    same: dict[str, str] = field(default_factory=dict)
    different: dict[str, tuple[str, Difference]] = field(default_factory=dict)
    alone: tuple[dict[str, str], dict[str, str]] = field(default_factory=lambda: ({}, {}))

    @property
    def agrees(self) -> bool:
        """Whether both hold the same."""
        return not self.different and not any(self.alone)


@click.command()
@click.argument("one", metavar="A", type=click.Path(path_type=Path, file_okay=False))
@click.argument("other", metavar="B", type=click.Path(path_type=Path, file_okay=False))
@record_options
@click.option("--json", "as_json", is_flag=True, help="For scripts: one JSON object.")
@click.pass_context
def diff(context: click.Context, *, one: Path, other: Path, filters: RecordFilters, as_json: bool) -> None:
    """Compare the results folders A and B: runs of one alone, and runs with different numbers, with where first.

    Numbers are compared bit by bit: status, curves, cost in parameters and operations, hashes of the first steps.
    Times, memory and the machine do not count. It exits with 1 where the folders differ.

    \b
    Example:
      mtbench diff results machine-b/results
      mtbench diff results machine-b/results --dataset scenes --weighting equal
    """
    found = compare((Index(existing(one)), Index(existing(other))), filters)
    if as_json:
        click.echo(json.dumps(_plain(found), indent=1, ensure_ascii=False))
    else:
        click.echo("\n".join(_lines(found, (one, other))))
    context.exit(0 if found.agrees else 1)


def compare(indices: Sequence[Index], filters: RecordFilters) -> Comparison:
    """Compare the records of two indices that are meant."""
    found = Comparison()
    rows = [filters.rows(index)["run"] for index in indices]
    runs = [set(own) for own in rows]
    for place, index in enumerate(indices):
        for record in index.records(run=sorted(runs[place] - runs[1 - place])):
            found.alone[place][record.id] = record.spec.label
    for run in (run for run in rows[0] if run in runs[1]):
        (record,), (again,) = (list(index.records(run=[run])) for index in indices)
        if difference := first_difference(record, again):
            found.different[run] = record.spec.label, difference
        else:
            found.same[run] = record.spec.label
    return found


def _lines(found: Comparison, names: Sequence[Path]) -> Iterator[str]:
    for name, runs in zip(names, found.alone, strict=True):
        for run, label in runs.items():
            yield f"only in {name}: {label} ({run})"
    for run, (label, difference) in found.different.items():
        yield f"different: {label} ({run}): {difference}"
    both = len(found.same) + len(found.different)
    yield (
        f"{counted(both, 'run')} in both, {len(found.same)} with the same numbers, {len(found.different)} with others; "
        f"{len(found.alone[0])} in {names[0]} alone, {len(found.alone[1])} in {names[1]} alone."
    )


def _plain(found: Comparison) -> dict[str, object]:
    return {
        "same": found.same,
        "different": {
            run: {"label": label, "place": where.place, "a": where.before, "b": where.after}
            for run, (label, where) in found.different.items()
        },
        "only_a": found.alone[0],
        "only_b": found.alone[1],
    }
