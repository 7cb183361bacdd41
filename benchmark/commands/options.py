"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from benchmark.arithmetic import ARITHMETICS, PRECISIONS

F = TypeVar("F", bound=Callable[..., Any])

#: Where a context keeps the words of its command.
WORDS = "mtbench.words"
DEFAULT_RESULTS = Path("results")


def results_option(command: F) -> F:
    """The option that names the records' folder."""
    return click.option(
        "--results",
        type=click.Path(path_type=Path, file_okay=False),
        default=DEFAULT_RESULTS,
        show_default=True,
        help="Folder of records.",
    )(command)


def graphs_option(command: F) -> F:
    """The option to replay steps as CUDA graphs."""
    return click.option(
        "--cuda-graphs",
        is_flag=True,
        help="Replay steps as CUDA graphs where a check at a run's start allows it. Never tried on a GPU.",
    )(command)


def deterministic_option(command: F) -> F:
    """The option to take kernels that compute the same twice."""
    return click.option(
        "--deterministic",
        is_flag=True,
        help="On a GPU, take kernels that compute the same twice, where torch has them; slower.",
    )(command)


def device_option(command: F) -> F:
    """The option that says where runs are computed."""
    return click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")(command)


def arithmetic_option(default: str) -> Callable[[F], F]:
    """The option that says how."""
    return click.option(
        "--arithmetic",
        type=click.Choice(ARITHMETICS),
        default=default,
        show_default=True,
        help="portable: fp32 on the CPU, the same bits on every x86-64 processor with AVX2. auto: as the grid says, "
        "else portable on the CPU and native on CUDA.",
    )


def precision_option(command: F) -> F:
    """The option that says in what precision networks compute."""
    return click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default="auto",
        show_default=True,
        help="Of the networks. auto: fp32 in portable arithmetic, natively bf16 where the device computes in it.",
    )(command)


def plugin_option(command: F) -> F:
    """The option that loads a user's methods."""
    return click.option(
        "--plugin",
        "plugins",
        multiple=True,
        type=click.Path(path_type=Path),
        help="Python file that registers methods or data sets. May be given again.",
    )(command)
