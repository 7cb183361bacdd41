"""What the proof computes: all that decides a record's numbers, in small pieces whose names say what they are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import torch

from baselines.backbones import FAMILIES, build_backbone
from benchmark.data import DataSet, Storage, build_dataset
from benchmark.data.plane_normals import plane_normals
from benchmark.registry import ARCHITECTURES, WEIGHTINGS, Registry
from benchmark.runs.spec import Protocol
from benchmark.training.engine import Trainer
from benchmark.training.evaluation import decide, evaluate
from tests.options import REQUIRED
from tests.portable import functions
from tests.portable.digest import digest
from tests.portable.runs import CPU, record, spec_of, trainer_of

#: What stands before the name of a function that is known to differ: it is looked at and decides nothing.
APART = "apart"
#: Options of the plain cells: those without a default, and those with which an epoch's end changes weights.
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    **REQUIRED,
    "pivrg": {"references": [1.0, 0.5, 0.6]},
}
#: Pictures whose sides no power of two divides, and batches that can be cut into thirds. All is tiny: an emulated
#: processor does some ten million operations a second.
DENSE = {"size": 36, "train": 3, "val": 3, "test": 2}
WORDS = {"train": 6, "val": 3, "test": 3}
WIDTH = 2
ROOMS = {"height": 36, "width": 48, "train": 3, "val": 1, "test": 1}
#: A network of two levels with one feature that feeds all heads, and one of a single layer.
SPLIT = ("split", {"backbone": "unet-1-2"})
TINY: tuple[str, Mapping[str, Any]] = ("tiny", {})
#: A protocol of many runs.
CAMPAIGN = {"optimizer": "adamw", "weight_decay": 0.05, "schedule": "cosine", "warmup_steps": 1, "flip": True}
#: Mean losses of the tasks at the end of an epoch.
MEANS = [1.5, 0.25, 0.75]
#: Further cells of weightings that the plain ones hardly try: on the tiny network no gradients conflict, a warm-up is
#: longer than the steps, and DWA weighs from the third epoch on. Of each the network, options, and means of epochs.
FURTHER: Mapping[tuple[str, str], tuple[tuple[str, Mapping[str, Any]], Mapping[str, Any], list[list[float]]]] = {
    # Where a single feature feeds all heads, lengths of gradients are found in another way.
    ("gradnorm", "on split"): (SPLIT, {}, [MEANS]),
    ("cr-mogm", "of ntkmtl"): (TINY, {"of": "ntkmtl"}, [MEANS]),
    ("cr-mogm", "on split"): (SPLIT, {}, [MEANS]),
    ("dualproj", "on split"): (SPLIT, {}, [MEANS]),
    ("dwa", "in the third epoch"): (TINY, {}, [MEANS, [1.25, 0.125, 0.7]]),
    ("gradvac", "on split"): (SPLIT, {}, [MEANS]),
    ("igb", "after warm-up"): (TINY, {"warmup_epochs": 1}, [MEANS]),
    ("mgda", "on split"): (SPLIT, {}, [MEANS]),
    ("pcgrad", "on split"): (SPLIT, {}, [MEANS]),
    ("sdmgrad", "on split"): (SPLIT, {}, [MEANS]),
    ("stch", "after warm-up"): (TINY, {"warmup_epochs": 1}, [MEANS]),
    ("upgrad", "on split"): (SPLIT, {}, [MEANS]),
}
#: What the short proof looks at: of every kind of step one weighting; segnet in a whole run.
SHORT_WEIGHTINGS = ("uncertainty", "gradnorm", "auto-lambda", "nash-mtl", "graddrop", "modo", "mgda-ub")
SHORT_ARCHITECTURES = ("split on unet", "mtan on wrn")


@dataclass(frozen=True)
class Cell:
    """A piece of the proof.

    Attributes:
        name: its group, then what it is.
        work: the digests of what it computes, by name, in the order in which it is computed.
        short: whether the short proof holds it too.
    """

    name: str
    work: Callable[[], Mapping[str, str]]
    short: bool = True


def compute(short: bool, only: Sequence[str], storage: Storage) -> Iterator[tuple[str, dict[str, str]]]:
    """Every cell's name and digests, in order.

    Args:
        short: whether only the short proof is wanted.
        only: how the names of the cells begin, one of these; empty for all.
        storage: an empty folder for data.
    """
    for cell in cells(storage):
        if (cell.short or not short) and cell.name.startswith(tuple(only) or ""):
            found = cell.work()
            yield cell.name, {f"{cell.name}: {part}" if part else cell.name: value for part, value in found.items()}


def cells(storage: Storage) -> Iterator[Cell]:
    """All of them, functions first: where one of these differs, most of what follows does."""
    table = functions.table()
    for name in [*(n for n in table if n not in functions.APART), *(n for n in table if n in functions.APART)]:
        known = name in functions.APART
        yield Cell(f"{APART if known else 'function'} {name}", partial(_function, table[name]), short=not known)
    yield from _data(storage)
    yield from _architectures(storage)
    yield from _weightings(storage)
    yield from _optimisers(storage)
    yield from _augmentations(storage)
    yield Cell("evaluation of every kind of task", lambda: _evaluation(storage))
    yield from _records(storage)


def _function(work: functions.Function) -> dict[str, str]:
    return {"": functions.digest(work())}


def of_the_suite(registry: Registry[Any]) -> list[str]:
    """The registered names, without those of plugins for tests."""
    return [name for name in registry if registry[name].factory.__module__.startswith("baselines.")]


def prepared(storage: Storage, name: str, **options: Any) -> DataSet:
    """A data set that is ready."""
    dataset = build_dataset(name, **options)
    dataset.prepare(storage)
    return dataset


def _data(storage: Storage) -> Iterator[Cell]:
    """Prepared bytes."""
    for name, options in {"scenes": ROOMS, "toy": DENSE, "toy-words": WORDS}.items():

        def arrays(name: str = name, options: Mapping[str, Any] = options) -> dict[str, str]:
            hashes = prepared(storage, name, **options).manifest(storage)["arrays"]
            return {key: digest(value) for key, value in hashes.items()}

        yield Cell(f"data {name}", arrays)
    yield Cell("data normals of depth", lambda: {"": digest(_normals(storage))})


def _normals(storage: Storage) -> Any:
    """Normals that are fitted to the depth of rendered rooms, as those of measured data sets are."""
    rooms = prepared(storage, "scenes", **ROOMS)
    depth = rooms.load("train", storage).targets["depth"][0, 0].double().numpy()
    return plane_normals(depth, rooms.intrinsics)


def _architectures(storage: Storage) -> Iterator[Cell]:
    """Two steps of every architecture over every backbone, with equal weights."""
    for family in FAMILIES:
        dense = bool(build_backbone(family, 2).decoder)
        data = ("toy", DENSE) if dense else ("toy-words", WORDS)
        for name in of_the_suite(ARCHITECTURES):
            if "backbone" not in ARCHITECTURES[name].defaults:
                continue
            weighting = "equal" if ARCHITECTURES[name].factory.shares else None

            def steps(
                name: str = name, family: str = family, data: Any = data, weighting: str | None = weighting
            ) -> dict[str, str]:
                spec = spec_of(data, name, weighting, options={"width": 2 * WIDTH, "backbone": family})
                trainer = trainer_of(spec, storage)
                return _steps(trainer, diagnosed=(True, False)) | {"predictions": digest(_predictions(trainer))}

            yield Cell(f"architecture {name} on {family}", steps, f"{name} on {family}" in SHORT_ARCHITECTURES)


def _predictions(trainer: Trainer) -> dict[str, Any]:
    """For a picture of the test split, in evaluation mode."""
    return decide(trainer.model, trainer.splits["test"].pictures(torch.arange(1)), CPU)


def _steps(trainer: Trainer, diagnosed: tuple[bool, ...], *, every: bool = True) -> dict[str, str]:
    """Train on the same batches in every process.

    Args:
        trainer: at its start.
        diagnosed: of each step, whether gradients are sampled in it.
        every: whether gradients and parameters are told of after each step, not after the last one alone.
    """
    model, weighting = trainer.model.train(), trainer.weighting
    found = {"start": digest(model.state_dict(), weighting.state_dict() if weighting else None)}
    for number, diagnose in enumerate(diagnosed, 1):
        result = trainer.advance(trainer.batches.next(), diagnose)
        found[f"losses {number}"] = digest(result.losses)
        found[f"weights {number}"] = digest(result.weights, result.gramian)
        if every or number == len(diagnosed):
            found[f"gradients {number}"] = digest([parameter.grad for parameter in trainer.parameters()])
            found[f"state {number}"] = digest(
                model.state_dict(), trainer.optimizer.state_dict(), weighting.state_dict() if weighting else None
            )
    return found


def _weightings(storage: Storage) -> Iterator[Cell]:
    """Steps of every weighting, at the parameters and at the representation, with an epoch's end before the last."""
    for name in of_the_suite(WEIGHTINGS):
        places = [{}, {"on": "representation"}] if "on" in WEIGHTINGS[name].defaults else [{}]
        for place in places:
            options = {**OPTIONS.get(name, {}), **place}

            def steps(name: str = name, options: Mapping[str, Any] = options) -> dict[str, str]:
                entry = WEIGHTINGS[name]
                apart = entry.factory.needs_representation({**entry.preset, **options})
                return _weighted(storage, SPLIT if apart else TINY, name, options)

            yield Cell(" ".join(["weighting", name, *place.values()]), steps, name in SHORT_WEIGHTINGS and not place)
    for (name, words), (network, options, ends) in FURTHER.items():
        steps = partial(_weighted, storage, network, name, options, ends)
        yield Cell(f"weighting {name} {words}", steps, short=False)


def _weighted(
    storage: Storage,
    network: tuple[str, Mapping[str, Any]],
    weighting: str,
    options: Mapping[str, Any],
    ends: Sequence[Sequence[float]] = (MEANS,),
) -> dict[str, str]:
    """Three steps, the ends of epochs with these mean losses, and one more step."""
    name, shape = network
    spec = spec_of(("toy", DENSE), name, weighting, options={"width": WIDTH, **shape}, weighted=options)
    trainer = trainer_of(spec, storage)
    first = _steps(trainer, (True, False, False), every=False)
    assert trainer.weighting is not None
    for means in ends:
        trainer.weighting.epoch_end(torch.tensor(means))
    after = _steps(trainer, (False,))
    return {**first, **{f"{part} of the next epoch": value for part, value in after.items()}}


def _optimisers(storage: Storage) -> Iterator[Cell]:
    """Steps of every optimiser, with decays, schedules and what a weighting learns."""
    rates = {"schedule": "cosine", "warmup_steps": 2, "epochs": 4}
    known = get_args(Protocol.model_fields["optimizer"].annotation)
    for name, protocol in {
        **{f"{name} with decay": {"optimizer": name, "weight_decay": 1e-3} for name in known},
        **{f"{name} with a cosine": {"optimizer": name, **rates} for name in known},
    }.items():

        def steps(protocol: Mapping[str, Any] = protocol) -> dict[str, str]:
            spec = spec_of(("toy", DENSE), "tiny", "uncertainty", options={"width": 4 * WIDTH}, **protocol)
            return _steps(trainer_of(spec, storage), (False, False, False))

        yield Cell(f"optimiser {name}", steps)


def _augmentations(storage: Storage) -> Iterator[Cell]:
    """Batches of two passes."""
    for kind in ("literature", "consistent"):

        def batches(kind: str = kind) -> dict[str, str]:
            spec = spec_of(("scenes", ROOMS), "tiny", "equal", options={"width": WIDTH}, flip=True, scale_crop=kind)
            source = trainer_of(spec, storage).batches
            return {f"batch {number}": digest(source.next().tensors()) for number in (1, 2)}

        yield Cell(f"augmentation flip and {kind} scale_crop", batches)


def _evaluation(storage: Storage) -> dict[str, str]:
    """Losses, metrics and stored predictions of a network at its start."""
    found = {}
    for data, backbone in ((("scenes", ROOMS), "segnet"), (("toy-words", WORDS), "wrn")):
        trainer = trainer_of(
            spec_of(data, "split", "equal", options={"width": 2 * WIDTH, "backbone": backbone}), storage
        )
        judged = evaluate(trainer.model, trainer.splits["val"], CPU)
        found[f"losses on {data[0]}"] = digest(judged.losses)
        found |= {f"{task} on {data[0]}": digest(metrics) for task, metrics in judged.metrics.items()}
        found[f"predictions on {data[0]}"] = digest(_predictions(trainer))
    return found


def _records(storage: Storage) -> Iterator[Cell]:
    """Whole runs of two epochs, on the path that every run takes."""
    augmented = {"flip": True, "scale_crop": "consistent"}
    small, words = {"width": WIDTH}, {"width": WIDTH, "backbone": "wrn"}
    runs: dict[str, tuple[Any, ...]] = {
        "split uncertainty on scenes": (("scenes", ROOMS), "split", "uncertainty", small, augmented),
        "mtan dwa on scenes": (("scenes", ROOMS), "mtan", "dwa", small, {"optimizer": "sgd"}),
        "single-task on scenes": (("scenes", ROOMS), "single-task", None, small, {"weight_decay": 1e-4}),
        "split nash-mtl on toy": (("toy", DENSE), "split", "nash-mtl", {**small, "backbone": "unet"}, CAMPAIGN),
        "mtan equal on toy-words": (("toy-words", WORDS), "mtan", "equal", words, {}),
        "split gradnorm on toy-pair": (("toy-pair", {}), "split", "gradnorm", words, {"steps_per_epoch": 2}),
        "split equal with dropout on toy-words": (
            ("toy-words", WORDS),
            "split",
            "equal",
            {**words, "dropout": 0.3},
            {},
        ),
    }
    for number, (name, (data, architecture, weighting, options, protocol)) in enumerate(runs.items()):

        def whole(
            data: Any = data,
            architecture: str = architecture,
            weighting: str | None = weighting,
            options: Mapping[str, Any] = options,
            protocol: Mapping[str, Any] = protocol,
        ) -> dict[str, str]:
            prepared(storage, data[0], **data[1])
            spec = spec_of(data, architecture, weighting, options=options, epochs=2, **protocol)
            return {part: digest(value) for part, value in record(spec, storage).items()}

        yield Cell(f"record {name}", whole, short=number == 0)
