"""What a prepared set measurably holds: frequencies of classes, histograms of values, samples to be shown."""

import json
import tempfile
from contextlib import suppress
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any, cast

import numpy as np

from benchmark.data.dataset import ID, SPLITS, DataSet, Storage
from benchmark.data.floor import floor
from benchmark.data.prepared import opened, parts, writing
from benchmark.errors import UserError, reason
from benchmark.tasks import Stored, Task

CARD_FILE = "card.json"
CARD_SCHEMA = 2
#: Bins of a histogram, and samples of a split that are named to be shown.
BINS, PICTURED = 50, 4
#: Where histograms end at the latest.
LARGEST = 1e9


def data_card(dataset: DataSet, storage: Storage) -> dict[str, Any]:
    """The card of a prepared set as its author states it, with what was measured.

    It is kept as ``card.json`` in the set's folder, where that can be written.

    Returns:
        ``schema``, ``dataset``, ``version``, ``options``, ``content_hash``; ``stated``: the ``DataCard``, or None;
        ``tasks``; ``image_shape``; ``fields`` as in the manifest; ``splits``: by split ``samples``, ``pictured`` (ids
        spread evenly) and ``fields``, see ``measure``; ``floor``: see ``data.floor``; ``unmeasured``: what could not be
        measured, in lines, where there is such.

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
    splits, odd = measure(dataset, storage)
    reached, unjudged = floor(dataset, storage)
    card = {
        "schema": CARD_SCHEMA,
        **{key: manifest[key] for key in ("dataset", "version", "options", "content_hash")},
        "stated": asdict(dataset.card) if dataset.card else None,
        "tasks": [asdict(task) for task in dataset.tasks],
        "image_shape": list(dataset.image_shape),
        "fields": manifest.get("fields"),
        "splits": splits,
        "floor": reached,
        **({"unmeasured": [*odd, *unjudged]} if odd or unjudged else {}),
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


def measure(dataset: DataSet, storage: Storage) -> tuple[dict[str, Any], list[str]]:
    """Statistics of every split of a prepared set, whatever its values are.

    Returns:
        By split: ``samples``, ``pictured``, and ``fields``: by task ``unknown`` (number of values without truth) and
        ``known``; of classes ``classes`` (a list of name and count); of other values ``minimum``, ``maximum``,
        ``mean`` and ``histograms``, one per channel: ``low``, ``high`` and ``counts`` of equal bins. Then, in lines,
        what could not be measured: values that are no class or not finite are in none of these numbers.
    """
    folder = dataset.folder(storage)
    splits: dict[str, Any] = {}
    for split in SPLITS:
        ids = opened(folder, split, ID)
        shown = [name if isinstance(name := ids[i].item(), int | str) else str(name) for i in pictured(len(ids))]
        splits[split] = {"samples": len(ids), "pictured": shown, "fields": {}}
    odd: list[str] = []
    for task in dataset.tasks:
        arrays = {split: opened(folder, split, task.name) for split in SPLITS}
        try:
            measured, count = _task(list(arrays.values()), dataset.fields[task.name], task)
        except Exception as error:  # noqa: BLE001 - arrays of foreign code: of any type and shape
            measured, count = [{"known": 0, "unknown": 0}] * len(arrays), [0] * len(arrays)
            odd.append(f"{task.name}: its values cannot be measured ({reason(error)})")
        for split, field, left_out in zip(arrays, measured, count, strict=True):
            splits[split]["fields"][task.name] = field
            if left_out:
                what = "no class" if "classes" in field else "not finite"
                odd.append(f"{split}-{task.name}: {left_out} known value{'s' * (left_out > 1)} {what}, left out")
    return splits, odd


def _task(arrays: list[np.ndarray], stored: Stored | None, task: Task) -> tuple[list[dict[str, Any]], list[int]]:
    """The statistics of each array of a task, and how many known values are in none of them."""
    if stored and stored.unit == "class":
        found = [_classes(array, stored, task) for array in arrays]
    else:
        low = stored.low if stored and np.isfinite(stored.low) else 0.0
        highest = _highest(arrays, stored)
        high = min(highest, LARGEST) if highest > low else low + 1.0
        found = [_values(array, stored, low, high) for array in arrays]
    return [field for field, _ in found], [left_out for _, left_out in found]


def pictured(count: int) -> list[int]:
    """The places of the samples of a split that are shown, spread evenly."""
    return [int(i) for i in np.linspace(0, count - 1, min(PICTURED, count)).round()]


def known_mask(values: np.ndarray, stored: Stored | None) -> np.ndarray:
    """Which samples' places have a truth: (N, …) values -> (N, …), or (N, H, W) for (N, C, H, W)."""
    if stored is None or stored.invalid is None:
        known = np.ones(values.shape, bool)
    elif np.isnan(stored.invalid):
        known = ~np.isnan(values)
    else:
        known = np.not_equal(values, stored.invalid)
    return cast(np.ndarray, known.any(1)) if values.ndim == 4 else known


def _highest(arrays: list[np.ndarray], stored: Stored | None) -> float:
    """The upper end of a field's histograms: what the field says, or the largest finite value of the set."""
    if stored and np.isfinite(stored.high):
        return stored.high
    found = (part[np.isfinite(part)] for array in arrays for part in parts(array))
    return max((float(values.max()) for values in found if values.size), default=1.0)


def _classes(array: np.ndarray, stored: Stored, task: Task) -> tuple[dict[str, Any], int]:
    places = known = left_out = 0
    count = task.definition.class_count(task.channels)
    counts = np.zeros(count, np.int64)
    for part in parts(array):
        mask = known_mask(part, stored)
        labels = part[mask]
        right = labels[(labels >= 0) & (labels < count)]
        if right.dtype.kind == "f":
            right = right[right == np.rint(right)]
        places, known, left_out = places + mask.size, known + len(right), left_out + len(labels) - len(right)
        counts += np.bincount(right.astype(np.int64), minlength=count)
    names = task.classes or tuple(map(str, range(count)))
    classes = [{"name": name, "count": int(met)} for name, met in zip(names, counts, strict=True)]
    return {"known": known, "unknown": places - known - left_out, "classes": classes}, left_out


def _values(array: np.ndarray, stored: Stored | None, low: float, high: float) -> tuple[dict[str, Any], int]:
    channels = array.shape[1] if array.ndim == 4 else 1
    counts = np.zeros((channels, BINS), np.int64)
    places = known = left_out = 0
    smallest, largest, total = np.inf, -np.inf, 0.0
    for part in parts(array):
        mask = known_mask(part, stored)
        finite = np.isfinite(part).all(1) if part.ndim == 4 else np.isfinite(part)
        places, left_out = places + mask.size, left_out + int((mask & ~finite).sum())
        mask &= finite
        known += int(mask.sum())
        values = part if part.ndim == 4 else part[:, None]  # (N, C, …)
        for channel in range(channels):
            some = values[:, channel][mask if part.ndim == 4 else mask.reshape(values[:, channel].shape)]
            some = some.astype(np.float64)
            counts[channel] += np.histogram(some.clip(low, high), BINS, (low, high))[0]
            if some.size:
                smallest, largest = min(smallest, some.min()), max(largest, some.max())
                with np.errstate(over="ignore"):
                    total += float(some.sum())
    mean = total / (known * channels) if known else None
    return {
        "known": known,
        "unknown": places - known - left_out,
        "minimum": float(smallest) if known else None,
        "maximum": float(largest) if known else None,
        "mean": mean if mean is not None and isfinite(mean) else None,
        "histograms": [{"low": float(low), "high": float(high), "counts": row.tolist()} for row in counts],
    }, left_out
