"""`mtbench verify`: are the numbers of records those that their runs give here?"""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from benchmark.analysis.noise import judge
from benchmark.analysis.repeats import RerunResult, judge_steps
from benchmark.commands.data import prepare_shown
from benchmark.commands.naming import named
from benchmark.commands.options import plugin_option, results_option
from benchmark.commands.sources import parse_sources, source_option
from benchmark.data import Storage, build_dataset
from benchmark.errors import UsageError, UserError
from benchmark.execution.again import beginning, hardware_of, obstacle, other_versions, repeated
from benchmark.execution.executor import Setup
from benchmark.execution.local import LocalExecutor, default_workers
from benchmark.registry import load_plugin_files
from benchmark.runs.index import Index
from benchmark.runs.record import RunRecord
from benchmark.runs.spec import Component
from benchmark.runs.store import Store
from benchmark.runs.trust import standing
from benchmark.training.hardware import Hardware
from benchmark.training.progress import Outcome
from benchmark.wording import counted

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@results_option
@click.option("--sample", type=click.IntRange(1), help="So many of the records, in place of RUN.")
@click.option("--seed", type=int, help="Draws the sample. Default: none, the sample is spread evenly over sorted ids.")
@click.option("--steps", type=click.IntRange(1), help="Compare so many first steps of each run only, by their hashes.")
@plugin_option
@source_option
def verify(
    runs: tuple[str, ...],
    *,
    results: Path,
    sample: int | None,
    seed: int | None,
    steps: int | None,
    plugins: tuple[Path, ...],
    sources: tuple[str, ...],
) -> None:
    """Do the runs of records again and compare all of their numbers; RUN is a run's id or its beginning.

    A record in portable arithmetic holds if every bit comes back: all numbers of its curves, hashes of its first steps,
    kept pictures. A native one holds if its bits come back or lie within the noise of its row, by a test that the
    README states. Nothing is written into the results. Exit code 1 if a record does not hold, or cannot be judged.

    \b
    Example:
      mtbench verify 285424d8
      mtbench verify --sample 3
      mtbench verify 285424d8 --steps 20
    """
    load_plugin_files(plugins)
    if bool(runs) == bool(sample):
        raise UsageError("say which records are meant, by ids or by --sample N and not by both; see mtbench verify -h")
    if not results.is_dir():
        raise UserError(f"there is no results folder {results}; name one with --results")
    index = Index(Store(results))
    records = named(index, runs) if sample is None else _sampled(index, sample, seed)
    names = list(dict.fromkeys(record.spec.dataset.name for record in records))
    verifier = Verifier(index, Storage.default(parse_sources(sources, names)), plugins)
    fallen = 0
    for record, verdict in verifier.verdicts(records, steps):
        fallen += not verdict.holds
        colour = "green" if verdict.holds else "red"
        told = f"[{colour}]{escape(verdict.words)}[/]{escape(_made_otherwise(record))}"
        console.print(f"{escape(record.spec.label)} ({record.id}): {told}", soft_wrap=True)
    if fallen:
        raise UserError(
            f"{fallen} of {counted(len(records), 'record')} did not hold, or could not be judged here: see above"
        )
    console.print(f"{len(records)} of {counted(len(records), 'record')} held.")


class Verifier:
    """Does records' runs again, on this machine and data prepared here.

    Args:
        index: of their store, which is read only.
        plugins: files, loaded here.
    """

    def __init__(self, index: Index, storage: Storage, plugins: tuple[Path, ...]) -> None:
        self.index = index
        self.storage = storage
        self.plugins = plugins
        #: Content hashes of prepared data sets by their specs in JSON, and trusted records by name of data set.
        self._hashes: dict[str, str] = {}
        self._trusted: dict[str, list[RunRecord]] = {}

    def verdicts(self, records: Sequence[RunRecord], steps: int | None) -> Iterator[tuple[RunRecord, RerunResult]]:
        """Each record with what is to be said of it, as runs end; first those that cannot be done."""
        possible: dict[tuple[Hardware, bool], list[RunRecord]] = defaultdict(list)
        for record in records:
            reason = obstacle(record) or self._data_obstacle(record)
            if reason is None:
                possible[hardware_of(record), record.cost.spilled].append(record)
            else:
                yield record, _impossible(reason)
        for (hardware, spilled), group in possible.items():
            setup = Setup(self.storage, hardware, self.plugins, spill=spilled)
            yield from self._whole(setup, group) if steps is None else self._beginnings(setup, group, steps)

    def _data_obstacle(self, record: RunRecord) -> str | None:
        try:
            here, made = self._content_hash(record.spec.dataset), record.provenance.data_hash
        except UserError as error:
            return str(error)
        if made in (None, here):
            return None
        return f"{record.spec.dataset.name} has the content hash {here[:12]} here, and its run had {str(made)[:12]}"

    def _content_hash(self, dataset: Component) -> str:
        """Of a data set as it is prepared here, which it is then if it was not yet."""
        key = dataset.model_dump_json()
        if key not in self._hashes:
            built = build_dataset(dataset.name, **dataset.options)
            prepare_shown(built, self.storage)
            self._hashes[key] = built.content_hash(self.storage)
        return self._hashes[key]

    def _beginnings(
        self, setup: Setup, records: Sequence[RunRecord], steps: int
    ) -> Iterator[tuple[RunRecord, RerunResult]]:
        for record in records:
            found = beginning(record.spec, setup, steps)
            yield record, _impossible(found) if isinstance(found, str) else judge_steps(record, found, steps)

    def _whole(self, setup: Setup, records: Sequence[RunRecord]) -> Iterator[tuple[RunRecord, RerunResult]]:
        workers = default_workers(len(records), setup.hardware)
        setup = replace(setup, hardware=replace(setup.hardware, workers=workers))
        by_id = {record.id: record for record in records}
        errors.print(f"Doing {counted(len(records), 'run')} again on {escape(setup.hardware.name)} …", soft_wrap=True)
        for run, found in repeated([record.spec for record in records], LocalExecutor(setup), _note):
            yield by_id[run], _impossible(found) if isinstance(found, str) else self._compared(by_id[run], found)

    def _compared(self, record: RunRecord, outcome: Outcome) -> RerunResult:
        kept = self.index.store.predictions(record) if self.index.store.has_predictions(record) else None
        again = outcome.predictions or {}
        pictures = None if kept is None else (kept, {name: array for name, array in again.items() if name in kept})
        others = partial(self._made_here, record.spec.dataset.name)
        return judge(record, outcome.record, others=others, pictures=pictures)

    def _made_here(self, dataset: str) -> list[RunRecord]:
        """The store's records of a data set for whose numbers this store vouches itself."""
        if dataset not in self._trusted:
            known, store = self.index.records(dataset=[dataset]), self.index.store
            self._trusted[dataset] = [record for record in known if standing(store, record).level == "rerun"]
        return self._trusted[dataset]


def _note(text: str) -> None:
    errors.print(f"[yellow]{escape(text)}[/]", soft_wrap=True)


def _impossible(reason: str) -> RerunResult:
    return RerunResult(False, f"cannot be done again here: {reason}")


def _sampled(index: Index, size: int, seed: int | None) -> list[RunRecord]:
    """So many records of runs that went well, all where there are no more.

    Raises:
        UserError: there is none.
    """
    known = sorted(index.runs(status=["ok"])["run"])
    if not known:
        raise UserError(f"no run in {index.store.root} went well")
    size = min(size, len(known))
    spread = [known[(2 * place + 1) * len(known) // (2 * size)] for place in range(size)]
    chosen = spread if seed is None else random.Random(seed).sample(known, size)
    return list(index.records(run=chosen))


def _made_otherwise(record: RunRecord) -> str:
    """What of the software is another here than where a record was made, in brackets."""
    others = other_versions(record)
    return f" (made with {'; '.join(others)})" if others else ""
