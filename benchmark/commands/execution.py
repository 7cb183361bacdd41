"""The options of ``mtbench run`` that say where and how safely runs are done, and what they make."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import click

from benchmark.execution.executor import GRACE, Executor, Setup
from benchmark.execution.local import LocalExecutor
from benchmark.store import Store
from benchmark.training.checkpoint import INTERVAL, Policy


@dataclass(frozen=True)
class Execution:
    """Who does the runs, and what becomes of those that are interrupted."""

    executor: str = "local"
    retries: int | None = None
    grace: float = GRACE
    checkpoint_minutes: float = INTERVAL / 60
    keep_checkpoints: bool = False

    def policy(self, store: Store) -> Policy:
        """Checkpoints are beside the records, where the next runner finds them."""
        return Policy(store.private / "checkpoints", 60 * self.checkpoint_minutes, self.keep_checkpoints)

    def build(self, setup: Setup) -> Executor:
        """The executor that was asked for."""
        return LocalExecutor(setup)

    @property
    def tries_again(self) -> int:
        """How often a run is given out again when its worker is lost: here, whatever ended it would end it again."""
        return self.retries if self.retries is not None else 0


def execution_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options; the command gets them as one ``Execution``."""

    @wraps(command)
    def executing(
        *args: Any,
        executor: str,
        retries: int | None,
        grace: float,
        checkpoint_minutes: float,
        keep_checkpoints: bool,
        **others: Any,
    ) -> None:
        execution = Execution(executor, retries, grace, checkpoint_minutes, keep_checkpoints)
        command(*args, execution=execution, **others)

    executed: Callable[..., None] = executing
    for option in (
        click.option("--keep-checkpoints", is_flag=True, help="Keep the checkpoints of runs that are done."),
        click.option(
            "--checkpoint-minutes",
            type=click.FloatRange(0),
            default=INTERVAL / 60,
            show_default=True,
            help="Minutes between two checkpoints of a run; 0 for one after every step.",
        ),
        click.option(
            "--grace",
            type=click.FloatRange(0),
            default=GRACE,
            show_default=True,
            help="Seconds that runs get for a checkpoint when the command is stopped.",
        ),
        click.option("--retries", type=click.IntRange(0), help="Times a run is tried again when its worker is lost."),
        click.option(
            "--executor", type=click.Choice(["local"]), default="local", show_default=True, help="Where runs are done."
        ),
    ):
        executed = option(executed)
    return executed
