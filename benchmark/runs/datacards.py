"""What data measurably are, kept beside the records of runs on them: their card, and a few samples with their truth.

``<data set>/cards/<content hash>.json`` is a ``KeptCard``, and the ``.npz`` beside it holds the samples' arrays under
``<place of the piece>/<name>``. Neither decides a number; both may be deleted: ``mtbench data card`` makes them again.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, JsonValue, ValidationError, model_validator

from benchmark.data import DataSet, Storage
from benchmark.data.measured import LARGEST, data_card
from benchmark.data.samples import samples
from benchmark.errors import UserError
from benchmark.runs.files import pack, unpack, write_atomically
from benchmark.runs.record import TaskInfo
from benchmark.runs.spec import Frozen, first_error
from benchmark.runs.store import Store

#: Bytes of all samples of a set: a few fewer are kept where they would be more.
MOST_BYTES = 180_000

Count = Annotated[int, Field(ge=0, lt=2**63)]
Limit = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]


NO_FLOOR: dict[str, dict[str, dict[str, float | None]]] = {}


class Histogram(Frozen):
    """Numbers of values in equal bins from ``low`` to ``high``; what lies beyond is in the outer ones."""

    low: Limit
    high: Limit
    counts: tuple[Count, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ascends(self) -> "Histogram":
        if not self.low < self.high:
            raise ValueError("low must be less than high")
        return self


class MeasuredField(Frozen):
    """The values of one task in one split, see ``benchmark.data.measured.measure``; ``classes`` by number."""

    known: Count
    unknown: Count
    classes: tuple[Count, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    histograms: tuple[Histogram, ...] = ()


class MeasuredSplit(Frozen):
    """One split: how many samples, the ids of some, and by task its values."""

    samples: Count
    pictured: tuple[int | str, ...]
    fields: dict[str, MeasuredField]


class Piece(Frozen):
    """A part of a set that is prepared on its own.

    Attributes:
        units: by task, of its values, where the manifest says.
        floor: by split, task and metric what a prediction reaches that never looks at the picture, see
            ``benchmark.data.floor``; empty in cards from before it was measured.
        unmeasured: what could not be measured, in lines.
    """

    tasks: tuple[TaskInfo, ...]
    image_shape: tuple[Count, ...]
    units: dict[str, str]
    splits: dict[str, MeasuredSplit] = Field(min_length=1)
    floor: dict[str, dict[str, dict[str, float | None]]] = NO_FLOOR
    unmeasured: tuple[str, ...] = ()


class KeptCard(Frozen):
    """What is kept of a data set.

    Attributes:
        stated: the fields of its ``DataCard``; None where it has none.
        pieces: the parts that it is put together from; most sets are one.
        without_samples: why no samples are kept; None where they are.
    """

    schema_version: Literal[1]
    dataset: str
    version: int
    options: dict[str, JsonValue]
    content_hash: str
    stated: dict[str, JsonValue] | None
    pieces: tuple[Piece, ...] = Field(min_length=1)
    without_samples: str | None = None

    def floor(self, split: str) -> dict[tuple[str, str], float]:
        """By task and metric what a prediction reaches that never looks at the picture; without what has no value."""
        return {
            (task, metric): value
            for piece in self.pieces
            for task, metrics in piece.floor.get(split, {}).items()
            for metric, value in metrics.items()
            if value is not None
        }


def keep_card(store: Store, dataset: DataSet, storage: Storage, *, pictures: bool = False) -> Path:
    """Measure a prepared set and write its card into ``store``.

    Samples go with it where the set's card says that its pictures may be passed on, since people publish results
    folders and reports; ``pictures`` keeps them anyway.

    Raises:
        UserError: the set is not prepared, or the folder cannot be written.
    """
    path = store.card_path(dataset.name, dataset.content_hash(storage))
    reason = None if pictures else _why_not(dataset)
    arrays = _samples(dataset, storage) if reason is None else {}
    card = KeptCard(
        schema_version=1,
        dataset=dataset.name,
        version=dataset.version,
        options=dataset.options,
        content_hash=dataset.content_hash(storage),
        stated=_stated(dataset),
        pieces=tuple(_piece(data_card(piece, storage)) for piece in dataset.pieces),
        without_samples=reason,
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if arrays:
            write_atomically(path.with_suffix(".npz"), pack(arrays))
        else:
            path.with_suffix(".npz").unlink(missing_ok=True)
        write_atomically(path, (card.model_dump_json(exclude_defaults=True) + "\n").encode())
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}); make room or name another folder") from error
    return path


def read_card(store: Store, dataset: str, data_hash: str) -> KeptCard | None:
    """The card of the data of a content hash; None where none is kept.

    Raises:
        UserError: there is a file, but it is no card of these data.
    """
    path = store.card_path(dataset, data_hash)
    try:
        card = KeptCard.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    except ValidationError as error:
        raise UserError(f"{path} is no data card: {first_error(error)}") from error
    if (card.dataset, card.content_hash) != (dataset, data_hash):
        raise UserError(f"{path} is the card of other data: of {card.dataset}, {card.content_hash[:16]}")
    return card


def read_samples(store: Store, card: KeptCard) -> list[dict[str, np.ndarray]]:
    """By piece, the arrays that ``benchmark.data.samples`` gives; empty where none are kept or they are damaged."""
    arrays = unpack(store.card_path(card.dataset, card.content_hash).with_suffix(".npz")) or {}
    return [
        {name.partition("/")[2]: array for name, array in arrays.items() if name.startswith(f"{place}/")}
        for place in range(len(card.pieces))
    ]


def _why_not(dataset: DataSet) -> str | None:
    if dataset.card is None:
        return "nobody has said that its pictures may be passed on"
    return None if dataset.card.redistribution else "its licence does not let its pictures be passed on"


def _samples(dataset: DataSet, storage: Storage) -> dict[str, np.ndarray]:
    found = [samples(piece, storage) for piece in dataset.pieces]
    for most in range(max(len(arrays["id"]) for arrays in found), 1, -1):
        few = _few(found, most)
        if len(pack(few)) <= MOST_BYTES:
            return few
    return _few(found, 1)


def _few(found: list[dict[str, np.ndarray]], most: int) -> dict[str, np.ndarray]:
    return {f"{place}/{name}": array[:most] for place, arrays in enumerate(found) for name, array in arrays.items()}


def _stated(dataset: DataSet) -> dict[str, Any] | None:
    if dataset.card is None:
        return None
    said = {key: value for key, value in asdict(dataset.card).items() if value}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in said.items()}


def _piece(card: Mapping[str, Any]) -> Piece:
    fields = card.get("fields") or {}
    return Piece(
        tasks=tuple(TaskInfo(**task) for task in card["tasks"]),
        image_shape=tuple(card["image_shape"]),
        units={task["name"]: (fields.get(task["name"]) or {}).get("unit") or "" for task in card["tasks"]},
        splits={name: _split(split) for name, split in card["splits"].items()},
        floor=card["floor"],
        unmeasured=tuple(card.get("unmeasured", ())),
    )


def _split(measured: Mapping[str, Any]) -> MeasuredSplit:
    fields = {
        name: {**field, "classes": [entry["count"] for entry in field["classes"]]} if "classes" in field else field
        for name, field in measured["fields"].items()
    }
    return MeasuredSplit.model_validate({**measured, "fields": fields})
