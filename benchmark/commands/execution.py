"""The options of ``mtbench run`` that say where and how safely runs are done, and what they make."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from benchmark.errors import UsageError
from benchmark.execution.executor import GRACE, Executor, Setup
from benchmark.execution.local import LocalExecutor
from benchmark.execution.ray import RayExecutor
from benchmark.execution.remote import Parcel, packed_plugins
from benchmark.execution.slurm import SlurmExecutor
from benchmark.runs.store import Store
from benchmark.training.checkpoint import INTERVAL, Policy

EXECUTORS = ("local", "ray", "slurm")
OUT_OF_MEMORY = ("record", "spill")
#: Times a run is given out again when its worker is lost, by executor: here, what ended it would end it again.
RETRIES = {"local": 0, "ray": 2, "slurm": 2}


@dataclass(frozen=True)
class Execution:
    """Who does the runs, and what becomes of those that are interrupted.

    Attributes:
        gpus: of each run on Ray; None for one where there are any.
        slurm: parameters of submitit's executor.
        out_of_memory: of ``OUT_OF_MEMORY``: what becomes of a run that does not fit.
        budget: seconds after which the command stops; None for when all is done.
        time_limit: seconds after which a run is ended; None for never.
    """

    executor: str
    retries: int | None
    grace: float
    checkpoint_minutes: float
    keep_checkpoints: bool
    checkpoints: Path | None
    ray_address: str | None
    gpus: float | None
    slurm: Mapping[str, str | int | float]
    out_of_memory: str
    budget: float | None = None
    time_limit: float | None = None

    @property
    def here(self) -> bool:
        """Whether the runs are done on this machine's own devices."""
        return self.executor == "local"

    @property
    def tries_again(self) -> int:
        """How often a run is given out again when its worker is lost."""
        return RETRIES[self.executor] if self.retries is None else self.retries

    def policy(self, store: Store) -> Policy | None:
        """Checkpoints are beside the records; workers of a Ray cluster elsewhere see that folder only if it is said."""
        if self.ray_address and self.checkpoints is None:
            return None
        folder = (self.checkpoints or store.checkpoints).resolve()
        return Policy(folder, 60 * self.checkpoint_minutes, self.keep_checkpoints)

    def parcel(self, setup: Setup, *, device: str, graphs: bool, deterministic: bool) -> Parcel:
        """What workers elsewhere are told.

        Args:
            setup: of this machine.
            device, graphs, deterministic: as on the command line: such workers choose by their own devices.

        Raises:
            UsageError: a plugin cannot be read.
        """
        return Parcel(
            device,
            setup.hardware.threads,
            graphs=graphs,
            deterministic=deterministic,
            plugins=packed_plugins(setup.plugins),
            sources={name: path.resolve() for name, path in setup.storage.sources.items()},
            checkpoints=setup.checkpoints,
            grace=self.grace,
            keep_predictions=setup.keep_predictions,
            keep_model=setup.keep_model,
            spill=setup.spill,
            time_limit=setup.time_limit,
        )

    def build(
        self,
        setup: Setup,
        parcel: Callable[[], Parcel],
        *,
        store: Store,
        workers: int | None,
        hashes: Mapping[str, str],
        unpictured: Collection[str] = (),
    ) -> Executor:
        """The executor that was asked for.

        Args:
            setup: of this machine.
            parcel: packs what workers elsewhere are told, where there are any.
            workers: runs at once, where it was said.
            hashes: by run id, of the data that its record must come from.
            unpictured: ids of runs whose pictures are not kept.

        Raises:
            UserError: what the executor needs is not installed or not there.
        """
        if self.here:
            return LocalExecutor(setup)
        if self.executor == "ray":
            return RayExecutor(parcel(), address=self.ray_address, gpus=self.gpus, workers=workers)
        parameters = dict(self.slurm)
        cluster = str(parameters.pop("cluster", "slurm"))
        return SlurmExecutor(
            parcel(), store=store, data_hashes=hashes, parameters=parameters, unpictured=unpictured, cluster=cluster
        )


def parse_parameters(words: tuple[str, ...]) -> dict[str, str | int | float]:
    """``KEY=VALUE`` words by key; numbers as such.

    Raises:
        UsageError: a word is of another form.
    """
    found: dict[str, str | int | float] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"--slurm needs KEY=VALUE, such as timeout_min=240, found '{word}'")
        found[key] = int(value) if value.isdecimal() else value
    return found


class Duration(click.ParamType):
    """Seconds, written as 45s, 90m, 2h or 1h30m."""

    name = "duration"
    form = re.compile(r"(?=.)(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse; click reports what is wrong."""
        if isinstance(value, float):
            return value
        found = self.form.fullmatch(str(value))
        if not found:
            self.fail(f"expected a time such as 2h, 90m, 1h30m or 45s, found '{value}'", param, ctx)
        hours, minutes, seconds = (float(number or 0) for number in found.groups())
        return 3600 * hours + 60 * minutes + seconds


OPTIONS = (
    click.option(
        "--budget",
        type=Duration(),
        metavar="TIME",
        help="Stop after this time, such as 2h, 90m or 1h30m: runs in progress leave a checkpoint, and the same "
        "command goes on from there. Runs on Slurm go on by themselves.",
    ),
    click.option(
        "--time-limit",
        type=Duration(),
        metavar="TIME",
        help="Of each run, such as 2h or 90m: then its worker is ended, a record says so, and the next run begins. The "
        "failed run goes on from its checkpoint when it is tried again.",
    ),
    click.option("--executor", type=click.Choice(EXECUTORS), default="local", show_default=True, help="Who does runs."),
    click.option("--retries", type=click.IntRange(0), help="Of a run whose worker is lost. Default: 0, on clusters 2."),
    click.option(
        "--out-of-memory",
        type=click.Choice(OUT_OF_MEMORY),
        default="record",
        show_default=True,
        help="What becomes of a run that does not fit. spill: it is tried once more, with what backward passes need in "
        "files in $TMPDIR, or on CUDA (untested) in host memory: slower, the same numbers.",
    ),
    click.option(
        "--grace",
        type=click.FloatRange(0),
        default=GRACE,
        show_default=True,
        help="Seconds that runs get for a checkpoint when the command is stopped.",
    ),
    click.option(
        "--checkpoint-minutes",
        type=click.FloatRange(0),
        default=INTERVAL / 60,
        show_default=True,
        help="Between two checkpoints of a run; 0 for one after every step.",
    ),
    click.option("--keep-checkpoints", is_flag=True, help="Keep the checkpoints of runs that are done."),
    click.option(
        "--checkpoints",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder of checkpoints, which all workers must share. Default: in the records' folder.",
    ),
    click.option("--ray-address", help="Cluster to join, such as auto or ray://HOST:10001. Default: one started here."),
    click.option(
        "--gpus", type=click.FloatRange(0), help="Of each run on Ray, such as 0.5. Default: 1 where there are any."
    ),
    click.option(
        "--slurm",
        multiple=True,
        metavar="KEY=VALUE",
        help="Parameter of submitit, such as timeout_min=240 or slurm_partition=gpu. May be given again.",
    ),
)


def execution_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options; the command gets them as one ``Execution``."""
    names = tuple(Execution.__dataclass_fields__)

    @wraps(command)
    def executing(*args: Any, slurm: tuple[str, ...], **others: Any) -> None:
        chosen = {name: others.pop(name) for name in names if name != "slurm"}
        execution = Execution(**chosen, slurm=parse_parameters(slurm))
        for option, owner in (("ray_address", "ray"), ("gpus", "ray"), ("slurm", "slurm")):
            if getattr(execution, option) and execution.executor != owner:
                raise UsageError(f"--{option.replace('_', '-')} goes with --executor {owner}")
        command(*args, execution=execution, **others)

    executed: Callable[..., None] = executing
    for option in reversed(OPTIONS):
        executed = option(executed)
    return executed
