"""Made-up records that look like a real grid's, for the tests of analysis and report."""

import hashlib

import numpy as np

from benchmark.runs.artifacts import OfMasks
from benchmark.runs.datacards import Histogram, KeptCard, MeasuredField, MeasuredSplit, Piece
from benchmark.runs.files import pack
from benchmark.runs.record import Cost, EpochRecord, GradientRecord, Provenance, RunRecord, TaskInfo
from benchmark.runs.spec import Component, Protocol, RunSpec
from benchmark.runs.store import Store
from benchmark.speed import (
    ArchitectureSpeed,
    Conditions,
    GrowthCurve,
    GrowthPoint,
    Peak,
    SpeedRecord,
    Spread,
    WeightingSpeed,
)
from benchmark.toyproblem import MethodPaths, Path2D, Settings, ToyRecord

CLASSES = (
    "wall",
    "floor",
    "ceiling",
    "bed",
    "chair",
    "sofa",
    "table",
    "lamp",
    "shelf",
    "picture",
    "window",
    "door",
    "rug",
)
SCENES = (
    TaskInfo(name="semantic", kind="segmentation", channels=13, classes=CLASSES),
    TaskInfo(name="depth", kind="depth", channels=1),
    TaskInfo(name="normals", kind="normals", channels=3),
)
GARMENTS = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
FASHION = (
    TaskInfo(name="left", kind="classification", channels=10, classes=GARMENTS),
    TaskInfo(name="right", kind="classification", channels=10, classes=GARMENTS),
)
#: Metrics at the end of training.
FINAL = {
    "segmentation": {"miou": 42.0, "pixel_accuracy": 71.0},
    "depth": {"abs_error": 0.52, "rel_error": 0.21},
    "normals": {"mean_angle": 27.0, "median_angle": 21.0, "within_11.25": 27.0, "within_22.5": 52.0, "within_30": 65.0},
    "classification": {"accuracy": 83.0},
}
LOWER = {"abs_error", "rel_error", "mean_angle", "median_angle"}
#: Gain over single-task in per cent, and parameters in millions.
ARCHITECTURES = {
    "single-task": (0.0, 74.9),
    "stan": (1.5, 99.6),
    "split-wide": (-0.8, 37.3),
    "split-deep": (-2.4, 27.0),
    "dense": (0.9, 99.7),
    "cross-stitch": (1.2, 74.9),
    "mtan": (3.1, 44.4),
}
WEIGHTINGS = {"equal": 0.0, "uncertainty": 0.6, "dwa": 0.3}
ALONE = ("single-task", "stan")


def noise(*axes):
    """A generator that depends on the axes only."""
    return np.random.default_rng(int(hashlib.sha256(repr(axes).encode()).hexdigest()[:8], 16))


def curve(spec, tasks, gain, epochs):
    """Plausible epochs: metrics approach their end value, weights move under some weightings."""
    rng = noise(spec.architecture.name, spec.weighting_name, spec.seed)
    offsets = {(t.name, m): rng.normal(0, 0.8) for t in tasks for m in FINAL.get(t.kind, {})}
    found = []
    for epoch in range(1, epochs + 1):
        progress = 1 - 0.6 * np.exp(-4 * epoch / epochs)
        metrics = {split: {} for split in ("val", "test")}
        for split in metrics:
            for t in tasks:
                values = {}
                for name, final in FINAL.get(t.kind, {}).items():
                    better = 1 + (gain + offsets[t.name, name] + rng.normal(0, 0.5)) / 100
                    value = final / progress / better if name in LOWER else final * progress * better
                    values[name] = value
                    if t.kind != "classification":
                        values[f"legacy_{name}"] = value * 1.02
                metrics[split][t.name] = values
        weights = {}
        for k, t in enumerate(tasks):
            moved = {"uncertainty": 1 + 0.8 * k * (1 - np.exp(-epoch / epochs)), "dwa": 1 + rng.normal(0, 0.04)}
            if spec.weighting is not None:
                weights[t.name] = float(moved.get(spec.weighting.name, 1.0))
        losses = {split: {t.name: float(1 / progress) for t in tasks} for split in ("train", "val")}
        found.append(EpochRecord(epoch=epoch, learning_rate=1e-4, losses=losses, weights=weights, metrics=metrics))
    return tuple(found)


def record(architecture="split-wide", weighting="equal", **changes):
    """One record; ``changes`` override parts of it."""
    tasks = changes.pop("tasks", SCENES)
    epochs = changes.pop("epochs", 10)
    seed = changes.pop("seed", 0)
    dataset = changes.pop("dataset", "scenes")
    data_options = changes.pop("data_options", {"height": 48, "width": 64, "train": 400})
    options = changes.pop("options", {"width": 16, "backbone": "segnet"})
    weighting_options = changes.pop("weighting_options", {"temperature": 2.0} if weighting == "dwa" else {})
    place = {
        "device": "NVIDIA H100 80GB HBM3",
        "precision": "bf16",
        "threads": 4,
        "workers": 1,
        "plugins": {},
    } | changes.pop("place", {})
    protocol = {"epochs": epochs, "batch_size": 8, "precision": place["precision"]} | changes.pop("protocol", {})
    spec = RunSpec(
        dataset=Component(name=dataset, version=1, options=data_options),
        architecture=Component(name=architecture, version=changes.pop("version", 1), options=options),
        weighting=Component(name=weighting, version=1, options=weighting_options) if weighting else None,
        seed=seed,
        protocol=Protocol(**protocol),
    )
    gain, size = ARCHITECTURES.get(architecture, (1.0, 60.0))
    gain += WEIGHTINGS.get(weighting, 0.0)
    step = 0.01 + size / 2000 + abs(noise(architecture, weighting, seed, "time").normal(0, 0.001))
    parts = {
        "id": spec.id,
        "spec": spec,
        "reference": architecture == "single-task",
        "status": "ok",
        "tasks": tasks,
        "curves": curve(spec, tasks, gain, epochs),
        "cost": Cost(
            parameters=int(size * 1e6), shared_parameters=int(size * 5e5), forward_flops=10**9,
            seconds_per_step=step, train_seconds=step * 50 * epochs, wall_seconds=step * 70 * epochs,
            peak_bytes=2 * 10**9,
        ),
        "provenance": Provenance(
            suite_version="0.1.0", git_commit="a" * 40, git_dirty=False, packages={"torch": "2.13.0"}, python="3.11.2",
            platform="Linux", data_hash="d" * 64, started="2026-01-01T00:00:00Z", **place,
        ),
        "truth": "truth-0123456789ab.npz",
    } | changes  # fmt: skip
    return RunRecord(**parts)


def grid(seeds=(0,), **changes):
    """The 17 rows of the paper: two kinds of network alone, five architectures under three weightings each."""
    cells = [(a, None) for a in ALONE] + [(a, w) for a in ARCHITECTURES if a not in ALONE for w in WEIGHTINGS]
    return [record(a, w, seed=seed, **changes) for a, w in cells for seed in seeds]


def conflicting(found):
    """The same run with gradients that conflict in part: cosines about -0.2, 0 and 0.2, norms 1, 2 and 3."""
    rng = noise(found.id, "gradients")
    names = [task.name for task in found.tasks]
    pairs = [f"{a}|{b}" for i, a in enumerate(names) for b in names[i + 1 :]]
    curves = []
    for epoch in found.curves:
        cosines = {pair: float(0.2 * (k - 1) + rng.normal(0, 0.02)) for k, pair in enumerate(pairs)}
        norms = {name: float(1 + k + rng.normal(0, 0.05)) for k, name in enumerate(names)}
        share = float(np.mean([value < 0 for value in cosines.values()]))
        gradients = GradientRecord(steps=4, norms=norms, cosines=cosines, conflicts=share)
        curves.append(epoch.model_copy(update={"gradients": gradients}))
    return found.model_copy(update={"curves": tuple(curves)})


def failed(found, status="failed", error="RuntimeError: out of luck", epochs=0):
    """The same run, ended early."""
    return found.model_copy(update={"status": status, "error": error, "curves": found.curves[:epochs]})


def edited(found, edit):
    """The same run with metrics changed by ``edit(epoch, split, task, metric, value) -> value``."""
    curves = []
    for epoch in found.curves:
        metrics = {
            split: {t: {m: edit(epoch.epoch, split, t, m, v) for m, v in ms.items()} for t, ms in ts.items()}
            for split, ts in epoch.metrics.items()
        }
        curves.append(epoch.model_copy(update={"metrics": metrics}))
    return found.model_copy(update={"curves": tuple(curves)})


def stage(rng, count=3, height=48, width=64):
    """Targets of ``SCENES``: blocks of classes, a slanted depth, a wavy normal."""
    y, x = np.mgrid[:height, :width] / (height, width)[0]
    block = ((y * 4).astype(int) + 3 * (x * 3).astype(int)) % 13
    shift = rng.integers(0, 13, (count, 1, 1))
    depth = 1 + 3 * y + rng.random((count, 1, 1)) * x
    wave = np.stack([np.sin(6 * x), np.cos(5 * y), np.ones_like(x)])
    return {
        "semantic": ((block + shift) % 13).astype(np.int8),
        "depth": depth[:, None].astype(np.float16),
        "normals": np.repeat((wave / np.linalg.norm(wave, axis=0))[None], count, 0).astype(np.float16),
    }


def truth():
    """The pictured samples of ``SCENES``."""
    rng = noise("truth")
    targets = stage(rng)
    image = np.stack([np.stack([20 * s, 255 - 18 * s, 9 * s + 60]) for s in targets["semantic"].astype(int)]).astype(
        np.uint8
    )
    return {"image": image, "id": np.array([f"room {i}" for i in range(len(image))]), **targets}


def predictions(found):
    """The truth, with holes that depend on the run."""
    rng = noise(found.id)
    arrays = {name: truth()[name] for name in ("semantic", "depth", "normals")}
    wrong = rng.random(arrays["semantic"].shape) < 0.15
    arrays["semantic"] = np.where(wrong, rng.integers(0, 13, wrong.shape), arrays["semantic"]).astype(np.int8)
    arrays["depth"] = (arrays["depth"] * rng.normal(1, 0.1, arrays["depth"].shape)).astype(np.float16)
    return arrays


def attention(found):
    """Masks of two levels for every task; the second one's pixels are 16 × 16."""
    rng, arrays = noise(found.id, "masks"), {}
    for task in found.tasks:
        fine = rng.integers(0, 256, (3, 1, 48, 64))
        coarse = rng.integers(0, 256, (3, 1, 3, 4)).repeat(16, 2).repeat(16, 3)
        arrays[OfMasks(task.name)] = np.concatenate([fine, coarse], 1).astype(np.uint8)
        arrays[OfMasks(task.name, "ends")] = np.array([[0.25, 0.75], [0.4, 0.456]], np.float32)
        arrays[OfMasks(task.name, "levels")] = np.array(["encoder 1", "decoder <b>1</b>"])
    return arrays


def fashion_truth():
    """Grey pictures with two labels, one of them unknown."""
    rng = noise("fashion")
    image = rng.integers(0, 255, (3, 1, 36, 36)).astype(np.uint8)
    labels = {"left": np.array([1, 2, 3], np.int16), "right": np.array([4, 9, -1], np.int16)}
    return {"image": image, "id": np.arange(3), **labels}


def fill(root, records, pictures=True):
    """A store that holds ``records``, written in the given order."""
    store = Store(root)
    root.mkdir(parents=True, exist_ok=True)
    for found in records:
        drawn, shown = None, None
        if pictures and found.status == "ok" and found.tasks == SCENES:
            drawn, shown = predictions(found), truth()
            drawn |= attention(found) if found.spec.architecture.name == "mtan" else {}
        elif pictures and found.status == "ok" and found.tasks == FASHION:
            shown = fashion_truth()
            drawn = {"left": np.array([1, 2, 7], np.int16), "right": np.array([4, 8, 0], np.int16)}
        store.put(found, drawn, shown)
    return store


def fashion(seeds=(0,)):
    """The same rows on a board of classifications."""
    return grid(
        seeds, dataset="multi-fashion", tasks=FASHION, data_options={"train": 500}, epochs=6,
        options={"width": 8, "backbone": "wrn"}, truth="truth-fa5410n00000.npz",
    )  # fmt: skip


def toy():
    """Two paths of one method through the toy problem: one reaches the front."""
    return ToyRecord(
        settings=Settings(),
        front=((-7.0, -8.4, -0.4, -20.0), (0.0, -8.4, -15.1, -15.1), (7.0, -8.4, -20.0, -0.4)),
        methods=(
            MethodPaths(
                weighting=Component(name="equal", version=1, options={}),
                paths=(
                    Path2D(start=(0, 0), points=((0, 0, 1, 1), (0, -8.4, -15.1, -15.1)), steps=9, gap=0, reached=True),
                    Path2D(start=(9, 9), points=((9, 9, 5, 5), (5, 3, 1.2, 6.5)), steps=9, gap=16.0, reached=False),
                ),
            ),
        ),
    )


def speeds():
    """Two records of speed: networks with a failure among them and weightings; and growth of two networks."""
    origin = record().provenance
    conditions = Conditions(
        tasks=SCENES, channels=3, height=96, width=128, batch=4, pairs=10, memory="process"
    )  # fmt: skip

    def network(name):
        return Component(name=name, version=1, options={"width": 64})

    def spread(middle):
        return Spread(low=0.9 * middle, median=middle, high=1.1 * middle)

    def row(name, seconds, ratio):
        return ArchitectureSpeed(
            architecture=network(name), parameters=10**7, flops=10**12, seconds=spread(seconds),
            plain_seconds=spread(seconds * ratio), ratio=spread(ratio),
            peak_bytes=2 * 10**9, plain_peak_bytes=3 * 10**9,
        )  # fmt: skip

    def weighting(name, ratio, limit):
        return WeightingSpeed(
            architecture=network("mtan"), weighting=Component(name=name, version=1, options={}), kind="losses",
            seconds=spread(0.5 * ratio), equal_seconds=spread(0.5), ratio=spread(ratio), limit=limit,
            met=None if limit is None else ratio <= limit, peak_bytes=10**9, equal_peak_bytes=10**9, kept_bytes=0,
        )  # fmt: skip

    def curve(name, axis, amounts, power):
        points = [
            GrowthPoint(amount=n, label=f"{n}", seconds=spread(0.01 * n**power), peak_bytes=10**8 * n, flops=10**9 * n)
            for n in amounts
        ]
        gone = GrowthPoint(amount=10**6, label="10⁶", error="the process was killed")
        return GrowthCurve(architecture=network(name), axis=axis, points=(*points, gone))

    rates = {"fp32": 2e11, "bf16": 4e12}
    peaks = tuple(
        Peak(precision=p, operation=o, shape="64 × 64 × 64", rate=spread(rate * part))
        for p, rate in rates.items()
        for o, part in (("matmul", 0.9), ("convolution", 1.0))
    )
    refused = ArchitectureSpeed(architecture=network("a&b<i>"), error="OutOfMemoryError: <b>too much</b>")
    first = SpeedRecord(
        conditions=conditions, peaks=peaks, architectures=(row("split", 0.5, 2.0), row("mtan", 1.0, 4.5), refused),
        weightings=(weighting("dwa", 1.01, 1.05), weighting("mgda", 2.6, 2.45), weighting("famo", 1.3, None)),
        provenance=origin,
    )  # fmt: skip
    axes = {"batch": (1, 2, 4, 16), "pixels": (3072, 12288, 49152), "tasks": (2, 3, 5, 10), "width": (16, 32, 64)}
    curves = [curve(n, a, found, 1.5 if a == "width" else 0.8) for n in ("split", "mtan") for a, found in axes.items()]
    return first, SpeedRecord(conditions=conditions, growth=tuple(curves), provenance=origin)


def field(task, count):
    """What was measured of a task's values, the same for every number of samples."""
    if task.classes:
        counts = [count * (9 + k) for k in range(len(task.classes))]
        return MeasuredField(known=sum(counts), unknown=count, classes=tuple(counts))
    bins = Histogram(
        low=-1 if task.channels == 3 else 0, high=1 if task.channels == 3 else 10, counts=(0, 3, 5, 2, 0, 0)
    )
    return MeasuredField(
        known=10 * count, unknown=0, minimum=0.1, maximum=4.9, mean=2.3, histograms=(bins,) * task.channels
    )


def keep_card(store, *, tasks=SCENES, dataset="scenes", data_hash="d" * 64, reason=None):
    """A card of the data of ``record``, with the pictured samples unless there is a ``reason`` against them."""
    counts = {"train": 400, "val": 50, "test": 60}
    card = KeptCard(
        schema_version=1, dataset=dataset, version=1, options={}, content_hash=data_hash, stated=None,
        without_samples=reason,
        pieces=(
            Piece(
                tasks=tasks, image_shape=(3, 48, 64), units={"depth": "m"},
                splits={
                    split: MeasuredSplit(
                        samples=count, pictured=(0, 1), fields={task.name: field(task, count) for task in tasks}
                    )
                    for split, count in counts.items()
                },
            ),
        ),
    )  # fmt: skip
    path = store.card_path(dataset, data_hash)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(card.model_dump_json(exclude_defaults=True))
    if reason is None:
        shown = truth() if tasks == SCENES else fashion_truth()
        path.with_suffix(".npz").write_bytes(pack({f"0/{name}": array for name, array in shown.items()}))
    return path


def flat(architecture, weighting, seed, miou, **changes):
    """A run of one task whose mIoU is given."""
    found = record(architecture, weighting, seed=seed, tasks=SCENES[:1], epochs=2, **changes)
    return edited(found, lambda e, s, t, m, v: {"miou": miou, "pixel_accuracy": 50.0}.get(m, v))
