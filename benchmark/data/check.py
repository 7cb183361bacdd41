"""Whether a prepared set is what its manifest and its data set say: hashes, counts, types, ranges, units."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmark.data.dataset import ID, DataSet, Storage
from benchmark.data.measured import known_mask
from benchmark.data.prepared import describe, describe_ids, load_array, parts
from benchmark.data.sources import changed_sources, listed, source_root
from benchmark.errors import UserError
from benchmark.tasks import Stored

#: How far the length of a unit vector in half precision may be from 1.
SLACK = 0.01


class Implausible(str):
    """A line on what may be so, and seldom is."""


class Findings(NamedTuple):
    """What a look at a prepared set finds, one line each: what is wrong, and what is implausible."""

    problems: list[str]
    implausible: list[str]


def check(dataset: DataSet, storage: Storage) -> list[str]:
    """The problems of a prepared set alone, see ``examine``; empty where all is well."""
    return examine(dataset, storage).problems


def examine(dataset: DataSet, storage: Storage) -> Findings:
    """Look at every value of a prepared set, and at the official files where they are: in the folder that ``storage``
    names, where they must be, or in the one that they were prepared from.

    Raises:
        UserError: the set is not prepared, or its manifest is damaged.
    """
    if reason := dataset.outdated(storage):
        return Findings([reason], [])
    manifest = dataset.manifest(storage)
    found = [*_heading(dataset, manifest), *_sources(dataset, storage, manifest), *_arrays(dataset, storage, manifest)]
    return Findings(
        [line for line in found if not isinstance(line, Implausible)],
        [line for line in found if isinstance(line, Implausible)],
    )


def _heading(dataset: DataSet, manifest: Mapping[str, Any]) -> Iterator[str]:
    said = [manifest.get("dataset"), manifest.get("version"), manifest.get("options")]
    expected = [dataset.name, dataset.version, dataset.options]
    if said != expected:
        yield f"the manifest is of {_words(said)}, expected {_words(expected)}"
    if "fields" not in manifest:
        yield "units and ranges were not recorded when it was prepared; delete its folder and prepare it again"
    names = {f"{split}-{field}" for split in dataset.splits for field in (ID, *dataset.fields)}
    if names != set(manifest["arrays"]):
        yield f"the arrays are {', '.join(sorted(manifest['arrays']))}, expected {', '.join(sorted(names))}"


def _words(identity: Sequence[Any]) -> str:
    name, version, options = identity
    return f"{name}, version {version}, with the options {json.dumps(options, sort_keys=True)}"


def _sources(dataset: DataSet, storage: Storage, manifest: Mapping[str, Any]) -> Iterator[str]:
    try:
        files = listed(dataset, storage, manifest)
        root = source_root(dataset, storage, manifest)
    except UserError as error:
        yield str(error)
        return
    if root is not None and (flaw := changed_sources(root, files)):
        yield flaw


def _arrays(dataset: DataSet, storage: Storage, manifest: Mapping[str, Any]) -> Iterator[str]:
    folder = dataset.folder(storage)
    fields = {ID: None, **dataset.fields}
    for split in dataset.splits:
        for name, stored in fields.items():
            file = f"{split}-{name}"
            if file not in manifest["arrays"]:
                continue  # said already
            try:
                array = load_array(folder / f"{file}.npy", manifest["arrays"][file])
            except UserError as error:
                yield str(error)
                continue
            if len(array) != manifest["samples"].get(split):
                yield f"{file} holds {len(array)} samples, expected {manifest['samples'].get(split)}"
            if name == ID:
                if not dataset.drawn and len(np.unique(array)) != len(array):
                    yield f"{file} names a sample twice"
                if "ids" in manifest and manifest["ids"].get(split) != describe_ids(array):
                    yield f"{file} is not the list of ids in the manifest"
            elif "fields" in manifest:
                yield from _described(file, array, stored, manifest["fields"].get(name))
                yield from _ranges(file, array, stored)


def _described(file: str, array: np.ndarray, stored: Stored | None, said: Mapping[str, Any] | None) -> Iterator[str]:
    expected = describe(stored, array)
    for key, value in expected.items():
        if said is None or not (said.get(key) == value or (value != value and said.get(key) != said.get(key))):  # NaN
            yield f"{file}: '{key}' is {None if said is None else said.get(key)} in the manifest, expected {value}"


def _ranges(file: str, array: np.ndarray, stored: Stored | None) -> Iterator[str]:
    """Every value is a number of the right sort, every one that is known is finite and lies in its range, and every
    vector that is known has unit length.
    """
    if stored is None:
        return
    wanted = "iu" if stored.unit == "class" else "fiu"
    if array.dtype.kind not in wanted:
        yield f"{file} holds {array.dtype.name}, expected {'whole ' * (wanted == 'iu')}numbers"
        return
    if array.shape[1:] != stored.shape:
        yield f"{file} holds samples of shape {array.shape[1:]}, expected {stored.shape}"
        return
    smallest, largest, infinite, off = np.inf, -np.inf, 0, 0.0
    for part in parts(array):
        known = known_mask(part, stored)
        values = part.transpose(0, 2, 3, 1)[known] if part.ndim == 4 else part[known]
        finite = np.isfinite(values)
        infinite += int((~finite).sum())
        values = values.astype(np.float64)
        if finite.any():
            smallest, largest = min(smallest, values[finite].min()), max(largest, values[finite].max())
        if stored.unit_vectors and values.size and not infinite:
            off = max(off, abs(np.linalg.norm(values, axis=1) - 1).max())
    if infinite:
        yield f"{file} holds values that are not finite: {infinite}"
    if smallest <= largest and not (smallest >= stored.low and largest <= stored.high):
        expected = f"{stored.low:g} to {stored.high:g}" if np.isfinite(stored.high) else f"at least {stored.low:g}"
        yield f"{file} holds values from {smallest:g} to {largest:g}, expected {expected} {stored.unit}".rstrip()
    elif off > SLACK:
        yield f"{file} holds vectors that are not of unit length"
    if not len(array):
        return
    if smallest > largest:
        yield Implausible(f"{file} holds no known value")
    elif smallest == largest:
        yield Implausible(f"{file} holds no other known value than {smallest:g}")
    elif stored.low < 0 <= smallest and stored.unit != "class":
        yield Implausible(
            f"{file} holds no value below 0, though values go from {stored.low:g} to {stored.high:g}: "
            "normals that were stored as colours?"
        )
