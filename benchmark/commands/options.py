"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

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


def plugin_option(command: F) -> F:
    """The option that loads a user's methods."""
    return click.option(
        "--plugin",
        "plugins",
        multiple=True,
        type=click.Path(path_type=Path),
        help="Python file that registers methods or data sets. May be given again.",
    )(command)
