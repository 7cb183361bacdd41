"""What a prepared set measurably holds: frequencies of classes, histograms of values, samples to be shown."""

import json
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np

from benchmark.data.dataset import ID, SPLITS, DataSet, Storage
from benchmark.data.floor import floor
from benchmark.data.prepared import opened, parts, writing
from benchmark.errors import UserError
from benchmark.tasks import Stored, Task

CARD_FILE = "card.json"
CARD_SCHEMA = 2
#: Bins of a histogram, and samples of a split that are named to be shown.
BINS, PICTURED = 50, 4


def data_card(dataset: DataSet, storage: Storage) -> dict[str, Any]:
    """The card of a prepared set as its author states it, with what was measured.

    It is kept as ``card.json`` in the set's folder, where that can be written.

    Returns:
        ``schema``, ``dataset``, ``version``, ``options``, ``content_hash``; ``stated``: the ``DataCard``, or None;
        ``tasks``; ``image_shape``; ``fields`` as in the manifest; ``splits``: by split ``samples``, ``pictured`` (ids
        spread evenly) and ``fields``, see ``measure``; ``floor``: see ``data.floor``.

    Raises:
        UserError: the set is not prepared, or is damaged.
    """
    manifest = dataset.manifest(storage)
    file = dataset.folder(storage) / CARD_FILE
    try:
        card = json.loads(file.read_text())
        if card["schema"] == CARD_SCHEMA and card["content_hash"] == manifest["content_hash"]:
            return cast(dict[str, Any], card)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # it is made again
    card = {
        "schema": CARD_SCHEMA,
        **{key: manifest[key] for key in ("dataset", "version", "options", "content_hash")},
        "stated": asdict(dataset.card) if dataset.card else None,
        "tasks": [asdict(task) for task in dataset.tasks],
        "image_shape": list(dataset.image_shape),
        "fields": manifest.get("fields"),
        "splits": measure(dataset, storage),
        "floor": floor(dataset, storage),
    }
    text = json.dumps(card, indent=1) + "\n"
    with suppress(UserError):  # a cache that others may only read: it is measured each time
        _write(file, text, storage.cache)
    return cast(dict[str, Any], json.loads(text))  # the same whether it was read or made


def _write(file: Path, text: str, cache: Path) -> None:
    with writing(cache), tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as stream:
        stream.write(text)
    with writing(cache):
        Path(stream.name).chmod(0o644)
        Path(stream.name).replace(file)


def measure(dataset: DataSet, storage: Storage) -> dict[str, Any]:
    """Statistics of every split of a prepared set.

    Returns:
        By split: ``samples``, ``pictured``, and ``fields``: by task ``unknown`` (number of values without truth) and
        ``known``; of classes ``classes`` (a list of name and count); of other values ``minimum``, ``maximum``,
        ``mean`` and ``histograms``, one per channel: ``low``, ``high`` and ``counts`` of equal bins.
    """
    folder = dataset.folder(storage)
    highest = {task.name: _highest(folder, dataset.fields[task.name], task) for task in dataset.tasks}
    splits = {}
    for split in SPLITS:
        ids = opened(folder, split, ID)
        splits[split] = {
            "samples": len(ids),
            "pictured": [ids[i].item() for i in pictured(len(ids))],
            "fields": {
                task.name: _field(opened(folder, split, task.name), dataset.fields[task.name], task, highest[task.name])
                for task in dataset.tasks
            },
        }
    return splits


def pictured(count: int) -> list[int]:
    """The places of the samples of a split that are shown, spread evenly."""
    return [int(i) for i in np.linspace(0, count - 1, min(PICTURED, count)).round()]


def known_mask(values: np.ndarray, stored: Stored | None) -> np.ndarray:
    """Which samples' places have a truth: (N, …) values -> (N, …), or (N, H, W) for (N, C, H, W)."""
    if stored is None or stored.invalid is None:
        known = np.ones(values.shape, bool)
    else:
        known = np.not_equal(values, stored.invalid)
    return cast(np.ndarray, known.any(1)) if values.ndim == 4 else known


def _highest(folder: Path, stored: Stored | None, task: Task) -> float:
    """The upper end of a field's histograms: what the field says, or the largest value of the set."""
    if stored and np.isfinite(stored.high):
        return stored.high
    arrays = [opened(folder, split, task.name) for split in SPLITS]
    return max((float(part.max()) for array in arrays for part in parts(array) if part.size), default=1.0)


def _field(array: np.ndarray, stored: Stored | None, task: Task, highest: float) -> dict[str, Any]:
    places = known = 0
    if stored and stored.unit == "class":
        counts = np.zeros(task.channels, np.int64)
        for part in parts(array):
            mask = known_mask(part, stored)
            places, known = places + mask.size, known + int(mask.sum())
            counts += np.bincount(part[mask], minlength=task.channels)[: task.channels]
        names = task.classes or tuple(map(str, range(task.channels)))
        classes = [{"name": name, "count": int(count)} for name, count in zip(names, counts, strict=True)]
        return {"known": known, "unknown": places - known, "classes": classes}
    low = stored.low if stored and np.isfinite(stored.low) else 0.0
    return _values(array, stored, low, highest)


def _values(array: np.ndarray, stored: Stored | None, low: float, high: float) -> dict[str, Any]:
    channels = array.shape[1] if array.ndim == 4 else 1
    counts = np.zeros((channels, BINS), np.int64)
    places = known = 0
    smallest, largest, total = np.inf, -np.inf, 0.0
    for part in parts(array):
        mask = known_mask(part, stored)
        places, known = places + mask.size, known + int(mask.sum())
        values = part if part.ndim == 4 else part[:, None]  # (N, C, …)
        for channel in range(channels):
            some = values[:, channel][mask if part.ndim == 4 else mask.reshape(values[:, channel].shape)]
            some = some.astype(np.float64)
            counts[channel] += np.histogram(some.clip(low, high), BINS, (low, max(high, low + 1e-9)))[0]
            if some.size:
                smallest, largest = min(smallest, some.min()), max(largest, some.max())
                total += some.sum()
    return {
        "known": known,
        "unknown": places - known,
        "minimum": float(smallest) if known else None,
        "maximum": float(largest) if known else None,
        "mean": total / (known * channels) if known else None,
        "histograms": [{"low": float(low), "high": float(high), "counts": row.tolist()} for row in counts],
    }


def class_shares(field: Mapping[str, Any]) -> dict[str, float]:
    """Of a measured field of classes, each class's share of the known values."""
    return {entry["name"]: entry["count"] / max(1, field["known"]) for entry in field["classes"]}
