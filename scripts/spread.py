"""How much of the spread between runs is rounding, how much the seed, how much the choice of test pictures.

Each row is trained with every seed; with the first seed again and again, each time with the last bit of one initial
weight changed; and each network is judged on resampled test pictures. What a run gives is kept in the work folder, so
that the next command trains only what is missing. These runs are no records: a changed bit has no identity.

    python scripts/spread.py --grid quick --row single-task --row split:equal --seeds 12 --roundings 12 --work spread
    python scripts/spread.py ... --out docs/spread-quick --page docs/spread.md
    python scripts/spread.py ... --out docs/spread-records --page docs/spread.md --records results

The others write what was found: ``….csv`` by row, ``…-pairs.csv`` by pair of rows, and short tables into the page.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import baselines  # noqa: F401 - registers the methods
from benchmark.arithmetic import NATIVE, ComputeOptions, portable_environment, started_for
from benchmark.data import SPLITS, AnySplit, Storage, build_dataset
from benchmark.errors import UsageError
from benchmark.model import MultiTaskModel
from benchmark.runs.artifacts import OfSplit
from benchmark.runs.expansion import expand
from benchmark.runs.filters import Filters
from benchmark.runs.grid import load_grid
from benchmark.runs.record import EpochRecord
from benchmark.runs.spec import RunSpec, derive_seed
from benchmark.runs.store import Store, write_atomically
from benchmark.tasks import Task
from benchmark.training.artifacts import whole_split
from benchmark.training.build import new_trainer
from benchmark.training.engine import Diverged
from benchmark.training.evaluation import EVALUATION_BATCH
from benchmark.training.hardware import Hardware


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        row: as the command names it.
        rounding: 0 for the run as it is; with k, the k-th choice of an initial weight has its last bit changed.
        pictures: times that the test pictures are resampled.
    """

    row: str
    spec: RunSpec
    rounding: int
    pictures: int

    @property
    def file(self) -> str:
        """The name of what it leaves in the work folder."""
        return f"{self.spec.id}-{self.rounding}.json"


def jobs(
    grid: str,
    rows: Sequence[str],
    *,
    dataset: str | None,
    seeds: Sequence[int],
    roundings: int,
    pictures: int,
    compute: ComputeOptions = NATIVE,
) -> list[Job]:
    """All trainings, those of the first seed first.

    Args:
        grid: a grid's name, or a TOML file.
        rows: ``architecture`` or ``architecture:weighting``, whether the grid holds them or not.
        compute: how, where the grid leaves it open.

    Raises:
        UsageError: a row is not exactly one cell of the grid's protocol.
    """
    methods = [row.partition(":") for row in rows]
    filters = Filters(
        datasets=[dataset] if dataset else None,
        architectures=sorted({architecture for architecture, _, _ in methods}),
        weightings=sorted({weighting for _, _, weighting in methods if weighting}),
        seeds=seeds,
        compute=compute,
    )
    specs = expand(load_grid(grid), filters)
    found = []
    for row, (architecture, _, weighting) in zip(rows, methods, strict=True):
        own = [s for s in specs if (s.architecture.name, s.weighting_name) == (architecture, weighting or "none")]
        if sorted(spec.seed for spec in own) != sorted(seeds):
            raise UsageError(f"the row '{row}' must be one cell of the grid '{grid}' for each seed; found {len(own)}")
        for spec in own:
            again = range(1 + roundings) if spec.seed == seeds[0] else range(1)
            found += [Job(row, spec, k, pictures) for k in again]
    return sorted(found, key=lambda job: (job.spec.seed != seeds[0], job.spec.seed, job.rounding))


def change_a_bit(model: MultiTaskModel, seed: int, rounding: int) -> None:
    """Change the last bit of one weight that is not 0: a shared one, or one of each task where nothing is shared."""
    draw = torch.Generator().manual_seed(derive_seed("rounding", seed, rounding))
    shared = model.shared_parameters()
    for group in [shared] if shared else [model.task_parameters(task.name) for task in model.tasks]:
        _change_one_of([p for p in group if p.ndim > 1], draw)


@torch.no_grad()
def _change_one_of(parameters: Sequence[nn.Parameter], draw: torch.Generator) -> None:
    ends = np.cumsum([p.numel() for p in parameters])
    while True:
        place = int(torch.randint(int(ends[-1]), (), generator=draw))
        which = int(np.searchsorted(ends, place, side="right"))
        parameter = parameters[which]
        index = np.unravel_index(place - int(ends[which]) + parameter.numel(), tuple(parameter.shape))
        value = parameter[tuple(int(i) for i in index)]
        if value != 0:
            value.copy_((value.clone().view(torch.int32) ^ 1).view(torch.float32))
            return


def train(job: Job, storage: Storage) -> dict[str, Any]:
    """Do one training.

    Returns:
        ``metrics`` by split, task and name after the last epoch, and ``resampled``, as many numbers by task and name as
        the test pictures are resampled; ``failed`` instead where the run diverged.
    """
    # Evaluations change nothing in training, and the last one alone is asked for.
    protocol = job.spec.protocol.model_copy(update={"evaluate_every": job.spec.protocol.epochs})
    spec, hardware = job.spec.model_copy(update={"protocol": protocol}), Hardware.choose("cpu", "fp32", 1)
    hardware.set_up()
    dataset = build_dataset(spec.dataset.name, **spec.dataset.options)
    splits = {split: dataset.load(split, storage, hardware.device) for split in SPLITS}
    epochs: list[EpochRecord] = []
    with hardware.seeded(0):
        trainer = new_trainer(spec, dataset, splits, hardware)
        if job.rounding:
            change_a_bit(trainer.model, spec.seed, job.rounding)
        try:
            trainer.fit(epochs.append)
        except Diverged as error:
            return {"row": job.row, "seed": spec.seed, "rounding": job.rounding, "failed": str(error)}
    kept = whole_split(trainer.model, splits["test"], hardware, "test")
    decided = {key.task: values for key, values in kept.items() if isinstance(key, OfSplit) and not key.ids}
    return {
        "row": job.row,
        "seed": spec.seed,
        "rounding": job.rounding,
        "metrics": epochs[-1].metrics,
        "resampled": resampled(dataset.tasks, decided, splits["test"], job.pictures),
    }


def resampled(
    tasks: Sequence[Task], decided: dict[str, np.ndarray], split: AnySplit, count: int
) -> dict[str, dict[str, list[float]]]:
    """Metrics on as many pictures, drawn with replacement: the same ones for every run. ``count`` numbers for each."""
    found: dict[str, dict[str, list[float]]] = {}
    for task in tasks:
        own, values = split.for_task(task.name), torch.from_numpy(decided[task.name])
        draw = np.random.default_rng(derive_seed("test pictures"))
        columns: dict[str, list[float]] = {}
        for _ in range(count):
            places = torch.from_numpy(draw.integers(len(own), size=len(own)))
            accumulator = task.accumulator(torch.device("cpu"))
            for indices in places.split(EVALUATION_BATCH):
                prediction = task.definition.undecide(values[indices], task.channels)
                accumulator.update(prediction, own.targets[task.name][indices])
            for name, value in accumulator.compute().items():
                columns.setdefault(name, []).append(value)
        found[task.name] = columns
    return found


def do(job: Job, folder: Path) -> str:
    """Train and keep what came of it; a line for the reader."""
    found = train(job, Storage.default())
    write_atomically(folder / job.file, json.dumps(found).encode())
    return f"{job.row} seed {job.spec.seed} rounding {job.rounding}: {found.get('failed', 'done')}"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", required=True, help="a grid of the suite, or a TOML file")
    parser.add_argument("--row", action="append", required=True, dest="rows", metavar="ARCHITECTURE[:WEIGHTING]")
    parser.add_argument("--dataset", help="of the grid, where it has several")
    parser.add_argument("--seeds", type=int, default=12, help="how many, from 0")
    parser.add_argument("--roundings", type=int, default=12, help="how many changed bits of the first seed")
    parser.add_argument("--pictures", type=int, default=100, help="how often the test pictures are resampled")
    parser.add_argument("--work", type=Path, required=True, help="folder of what was trained")
    parser.add_argument("--workers", type=int, default=1, help="trainings at once")
    parser.add_argument("--native", action="store_true", help="compute as this processor likes to")
    parser.add_argument("--out", type=Path, help="write tables to this path and ``.csv``, and train nothing")
    parser.add_argument(
        "--page", type=Path, help="with --out: also into this page in Markdown, between marks of its name"
    )
    parser.add_argument("--records", type=Path, help="with --out: of all rows of this results folder; of seeds alone")
    return parser.parse_args()


def main() -> None:
    """Train what is missing, or write the tables of what there is."""
    options = arguments()
    if not options.native and not started_for("portable"):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **portable_environment()})
    wanted = jobs(
        options.grid,
        options.rows,
        dataset=options.dataset,
        seeds=range(options.seeds),
        roundings=options.roundings,
        pictures=options.pictures,
        compute=NATIVE if options.native else ComputeOptions("portable"),
    )
    if options.out:
        from spread_tables import numbers_of_jobs, numbers_of_records, write_tables  # beside this file

        if options.records:
            write_tables(numbers_of_records(Store(options.records), wanted[0].spec), options.out, options.page)
        else:
            numbers, note = numbers_of_jobs(wanted, options.work)
            write_tables(numbers, options.out, options.page, note)
        return
    options.work.mkdir(parents=True, exist_ok=True)
    missing = [job for job in wanted if not (options.work / job.file).exists()]
    print(f"{len(missing)} of {len(wanted)} trainings are missing", flush=True)
    if missing:
        dataset = missing[0].spec.dataset
        build_dataset(dataset.name, **dataset.options).prepare(Storage.default())
    if options.workers == 1:
        for job in missing:
            print(do(job, options.work), flush=True)
        return
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        for line in pool.map(partial(do, folder=options.work), missing):
            print(line, flush=True)


if __name__ == "__main__":
    main()
