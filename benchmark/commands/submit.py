"""`mtbench submit`: bundles of runs for other people's boards, and what came in such bundles."""

from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from benchmark.commands.lazy import LazyGroup
from benchmark.commands.options import plugin_option
from benchmark.data import Storage
from benchmark.errors import UserError
from benchmark.registry import load_plugin_files
from benchmark.runs.store import Store
from benchmark.submission import Checked, add, check, confirm, pack
from benchmark.submission.text import SHOWN, shown
from benchmark.wording import counted

console = Console(highlight=False)

BUNDLE = click.Path(path_type=Path, dir_okay=False)
MARKS = {"error": "[bold red]error[/]", "warning": "[yellow]warning[/]", "good": "[green]good[/]"}


RESULTS = click.Path(path_type=Path, file_okay=False)
DEFAULT = Path("results")


@click.group(
    cls=LazyGroup,
    lazy={
        "decathlon": (
            "benchmark.commands.decathlon:decathlon",
            "Write the list that the Visual Decathlon's server scores: the class of every test picture.",
        ),
    },
)
def submit() -> None:
    """Send runs to somebody else's board, or take them from somebody else.

    \b
    Example:
      mtbench run --grid quick --plugin mine.py --architecture mine --keep-predictions --results mine
      mtbench submit pack mine.zip --results mine --plugin mine.py --submitter "A. Researcher, a@example.org"
      mtbench submit check mine.zip
      mtbench submit add mine.zip
    """


@submit.command("pack")
@click.argument("bundle", type=BUNDLE)
@click.option("--results", type=RESULTS, default=DEFAULT, show_default=True, help="Folder of the records to pack.")
@click.option("--submitter", required=True, help="Who vouches for the numbers: name and address.")
@click.option("--note", default="", help="What a reader should know.")
@click.option("--dataset", "datasets", multiple=True, help="Only this data set. May be given again.")
@click.option("--architecture", "architectures", multiple=True, help="Only this architecture. May be given again.")
@click.option("--weighting", "weightings", multiple=True, help="Only this weighting. May be given again.")
@click.option(
    "--plugin", "plugins", multiple=True, type=BUNDLE, help="Plugin file that the runs used. May be given again."
)
def pack_command(
    bundle: Path,
    results: Path,
    submitter: str,
    note: str,
    datasets: tuple[str, ...],
    architectures: tuple[str, ...],
    weightings: tuple[str, ...],
    plugins: tuple[Path, ...],
) -> None:
    """Pack records, their predictions for the whole test split or their networks, and the source of their plugins.

    BUNDLE is the zip file to be written. Predictions are there for runs made with 'mtbench run --keep-predictions',
    networks (in safetensors) for those with '--keep-model'. From predictions everybody can recompute the metrics,
    from a network those who have its architecture and some time; without either nobody can.

    \b
    Example:
      mtbench submit pack mine.zip --architecture mine --plugin mine.py --submitter "A. Researcher"
    """
    store = Store(results)
    records = [
        record
        for record in store.scan()[0]
        if (not datasets or record.spec.dataset.name in datasets)
        and (not architectures or record.spec.architecture.name in architectures)
        and (not weightings or record.spec.weighting_name in weightings)
    ]
    manifest = pack(store, records, bundle, submitter=submitter, note=note, plugins=plugins)
    kept, models = sum(run.predictions for run in manifest.runs), sum(run.model for run in manifest.runs)
    console.print(
        f"{counted(len(manifest.runs), 'run')}, {kept} with predictions, {models} with checkpoints, are in "
        f"{escape(str(bundle))} ({bundle.stat().st_size / 2**20:.1f} MiB).",
        soft_wrap=True,
    )


@submit.command("check")
@click.argument("bundle", type=BUNDLE)
@click.option(
    "--results", type=RESULTS, default=DEFAULT, show_default=True, help="Folder of records to compare predictions with."
)
@plugin_option
def check_command(bundle: Path, results: Path, plugins: tuple[Path, ...]) -> None:
    """Say what is wrong with a bundle, and recompute its metrics where the data set is prepared here.

    BUNDLE is the zip file that somebody sent. Nothing of it is run, and nothing is written. With --plugin, a file of
    yours, such as the bundle's own after you have read it, its data sets and kinds of task are known, and its networks
    are built.

    \b
    Example:
      mtbench submit check theirs.zip
      mtbench submit check theirs.zip --plugin their_task.py
    """
    load_plugin_files(plugins)
    checked = check(bundle, Storage.default(), Store(results))
    show(checked)
    if checked.errors:
        raise UserError(f"{bundle} has {counted(len(checked.errors), 'error')}, listed above")


@submit.command("add")
@click.argument("bundle", type=BUNDLE)
@click.option("--results", type=RESULTS, default=DEFAULT, show_default=True, help="Folder that the records join.")
@plugin_option
def add_command(bundle: Path, results: Path, plugins: tuple[Path, ...]) -> None:
    """Check a bundle and add its runs to the records, marked as self-reported or recomputed.

    BUNDLE is the zip file that somebody sent.

    \b
    Example:
      mtbench submit add theirs.zip
    """
    load_plugin_files(plugins)
    checked, new = add(bundle, Store(results), Storage.default())
    show(checked)
    there = len(checked.runs) - len(new)
    console.print(
        f"{counted(len(new), 'run')} added to {escape(str(results))}, {there} were there already.", soft_wrap=True
    )


@submit.command("confirm")
@click.option(
    "--results", type=RESULTS, default=DEFAULT, show_default=True, help="Folder that holds submitted records."
)
@click.option(
    "--reruns",
    type=RESULTS,
    required=True,
    help="Folder of the same runs, made here after reading their plugins.",
)
def confirm_command(results: Path, reruns: Path) -> None:
    """Compare submitted runs with the same runs made here; what holds counts as run here.

    Of a run in portable arithmetic every bit must come back; a native one must lie within the noise of its row, by the
    test that the README states. Exit code 1 if a run does not hold, or none could be compared.

    \b
    Example:
      mtbench run --grid quick --plugin theirs.py --architecture theirs --results reruns
      mtbench submit confirm --reruns reruns
    """
    found = confirm(Store(results), Store(reruns))
    for record, verdict in found:
        colour = "yellow" if verdict is None else "green" if verdict.holds else "red"
        words = f"has no rerun in {reruns}" if verdict is None else verdict.words
        told = f"[{colour}]{escape(shown(words, 3 * SHOWN))}[/]"
        console.print(f"{escape(shown(record.spec.label))}: {told}", soft_wrap=True)
    compared = [verdict for _, verdict in found if verdict is not None]
    if not compared:
        raise UserError(f"none of the {len(found)} submitted runs in {results} has a rerun in {reruns}")
    if fallen := sum(not verdict.holds for verdict in compared):
        raise UserError(f"{fallen} of {len(compared)} compared runs are not confirmed: see above")


def show(checked: Checked) -> None:
    """Print what a check found."""
    for finding in checked.findings:
        console.print(f"{MARKS[finding.level]}: {escape(finding.text)}", soft_wrap=True)
    recomputed = sum(run.recomputed is not None for run in checked.runs)
    console.print(
        f"{counted(len(checked.manifest.runs), 'run')}: {len(checked.runs)} without error, {recomputed} of them "
        "recomputed."
    )
