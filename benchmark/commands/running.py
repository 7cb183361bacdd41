"""What commands that do runs have in common: from their options to an executor that is ready."""

import signal
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from threading import current_thread, main_thread
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from benchmark.commands.data import prepare_shown
from benchmark.commands.datacard import keep_missing_card
from benchmark.commands.execution import Execution
from benchmark.commands.selection import Selection
from benchmark.commands.sources import parse_sources
from benchmark.data import Storage, build_dataset
from benchmark.data.workers import cores
from benchmark.execution.executor import Executor, Setup
from benchmark.execution.local import default_workers
from benchmark.execution.sharing import choose_workers
from benchmark.execution.states import refuse_other_data
from benchmark.runs.spec import Component, RunSpec
from benchmark.runs.store import Store
from benchmark.training.checks import check_runs
from benchmark.training.hardware import Hardware
from benchmark.wording import counted

errors = Console(stderr=True, highlight=False)


class Workers(click.ParamType):
    """A number of runs at once; None for ``auto``."""

    name = "auto|number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Parse; click reports what is wrong."""
        if value == "auto":
            return None
        if not (str(value).isdecimal() and int(value) > 0):
            self.fail(f"expected auto or a number from 1 on, found '{value}'", param, ctx)
        return int(value)


def worker_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say how many runs are done at once, and with how many threads."""
    for option in (
        click.option(
            "--threads", type=click.IntRange(1), default=1, show_default=True, help="CPU threads of each run."
        ),
        click.option(
            "--workers",
            type=Workers(),
            default="auto",
            show_default=True,
            help="Runs at once. auto: processors / --threads on the CPU; measured on a GPU.",
        ),
    ):
        command = option(command)
    return command


@dataclass(frozen=True)
class KeepOptions:
    """What runs leave besides their records: decisions for the whole test split, the network."""

    predictions: bool = False
    model: bool = False


def set_up(
    selection: Selection,
    execution: Execution,
    sources: tuple[str, ...],
    *,
    threads: int,
    graphs: bool,
    deterministic: bool,
    kept: KeepOptions,
) -> Setup:
    """What every worker needs besides its runs; from now on signals stop this process as Ctrl-C does.

    Raises:
        UsageError: the hardware cannot do what the protocols ask for, or a source is of another form.
    """
    setup = Setup(
        Storage.default(parse_sources(sources, list(dict.fromkeys(spec.dataset.name for spec in selection.specs)))),
        Hardware.choose(selection.device, threads=threads, graphs=graphs, deterministic=deterministic)
        if execution.here
        else Hardware.choose("cpu" if is_portable(selection.specs) else "auto", threads=threads),
        selection.plugins,
        execution.policy(selection.store),
        execution.grace,
        kept.predictions,
        kept.model,
        execution.out_of_memory == "spill",
        execution.time_limit,
    )
    for ending in (signal.SIGTERM, signal.SIGHUP):
        if current_thread() is main_thread() and signal.getsignal(ending) is signal.SIG_DFL:
            signal.signal(ending, interrupt)  # a scheduler's, or a closed terminal's; under nohup it stays ignored
            click.get_current_context().call_on_close(partial(signal.signal, ending, signal.SIG_DFL))
    for protocol in {spec.protocol for spec in selection.specs}:
        setup.hardware.check(protocol)
    return setup


def begin(
    selection: Selection,
    execution: Execution,
    setup: Setup,
    runs: Sequence[RunSpec],
    *,
    workers: int | None,
    graphs: bool,
    deterministic: bool,
    unpictured: Collection[str],
) -> tuple[Setup, Executor, dict[str, str]]:
    """Prepare the data and make the executor: these, and by run id the content hash of its data.

    Args:
        runs: that may be done.
        unpictured: ids of those whose pictures are not kept.

    Raises:
        UserError: a run could do no step, records in the store come from other data, or the executor needs what is
            not there.
    """
    check_runs(runs)
    store = selection.store
    datasets = {spec.dataset.model_dump_json(): spec.dataset for spec in runs}
    hashes = {key: prepare(dataset, setup.storage, store) for key, dataset in datasets.items()}
    refuse_other_data(store, {key: (dataset.name, hashes[key]) for key, dataset in datasets.items()})
    together = workers or choose_concurrency(runs, setup, measured=execution.here)[0]
    if execution.here and setup.hardware.kind == "cpu":
        show_crowding(together, setup.hardware.threads)
    setup = replace(setup, hardware=replace(setup.hardware, workers=together))
    expected = {spec.id: hashes[spec.dataset.model_dump_json()] for spec in runs}
    device = "cpu" if is_portable(runs) else selection.device
    parcel = partial(execution.parcel, setup, device=device, graphs=graphs, deterministic=deterministic)
    executor = execution.build(setup, parcel, store=store, workers=workers, hashes=expected, unpictured=unpictured)
    return setup, executor, expected


def show_crowding(together: int, threads: int) -> None:
    """Say where more runs at once were asked for than there are processors."""
    if (asked := together * threads) > cores():
        errors.print(
            f"[yellow]Note:[/] {counted(together, 'run')} at once with {counted(threads, 'thread')} each share "
            f"{counted(cores(), 'processor')}: each takes about {asked / cores():.3g} times as long, and all need "
            "memory at the same time. --workers auto takes as many as there are processors for.",
            soft_wrap=True,
        )


def interrupt(number: int, frame: object) -> None:
    """Handle a signal as Ctrl-C is handled: stop the workers, say what is kept."""
    raise KeyboardInterrupt(number)


def is_portable(specs: Sequence[RunSpec]) -> bool:
    """Whether runs of portable arithmetic are among them."""
    return any(spec.protocol.arithmetic == "portable" for spec in specs)


def show_damage(store: Store) -> None:
    """Name the segments of records that cannot be read: their runs look as if they were missing."""
    for _, reason in store.shelf.problems():
        errors.print(f"[yellow]Damaged:[/] {escape(reason)}", soft_wrap=True)


def prepare(component: Component, storage: Storage, store: Store) -> str:
    """Prepare a data set, unless it is ready, and keep its card with the records; its content hash."""
    dataset = build_dataset(component.name, **component.options)
    prepare_shown(dataset, storage)
    keep_missing_card(store, dataset, storage)
    return dataset.content_hash(storage)


def choose_concurrency(specs: Sequence[RunSpec], setup: Setup, *, measured: bool = True) -> tuple[int, float]:
    """How many runs to do at once, and how many times as long each then takes; measured on a GPU of this machine."""
    if setup.hardware.kind == "cpu" or not measured or len(specs) < 2:
        return default_workers(len(specs), setup.hardware), 1.0
    errors.print("Measuring how many runs at once use the GPU best …")
    found = choose_workers(specs, setup)
    rates = ", ".join(f"{tried.workers} do {tried.steps_per_second:.3g} steps a second" for tried in found.tried)
    line = f"{found.workers} at once: {rates or 'nothing could be measured'}; {found.reason}."
    errors.print(escape(line), soft_wrap=True)
    return found.workers, found.slowdown
