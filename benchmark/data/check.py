"""Whether a prepared set is what its manifest and its data set say: hashes, counts, types, ranges, units."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from benchmark.data.dataset import ID, DataSet, Storage
from benchmark.data.measured import known_mask
from benchmark.data.prepared import describe, describe_ids, load_array, parts
from benchmark.data.sources import changed_sources, listed, source_root
from benchmark.errors import UserError
from benchmark.tasks import Stored

#: How far the length of a unit vector in half precision may be from 1.
SLACK = 0.01


def check(dataset: DataSet, storage: Storage) -> list[str]:
    """Look at every value of a prepared set, and at the official files where they are: in the folder that ``storage``
    names, where they must be, or in the one that they were prepared from.

    Returns:
        What is wrong, one line each; empty where all is well.

    Raises:
        UserError: the set is not prepared, or its manifest is damaged.
    """
    if reason := dataset.outdated(storage):
        return [reason]
    manifest = dataset.manifest(storage)
    return [*_heading(dataset, manifest), *_sources(dataset, storage, manifest), *_arrays(dataset, storage, manifest)]


def _heading(dataset: DataSet, manifest: Mapping[str, Any]) -> Iterator[str]:
    said = [manifest.get("dataset"), manifest.get("version"), manifest.get("options")]
    expected = [dataset.name, dataset.version, dataset.options]
    if said != expected:
        yield f"the manifest is of {said}, expected {expected}"
    if "fields" not in manifest:
        yield "units and ranges were not recorded when it was prepared; delete its folder and prepare it again"
    names = {f"{split}-{field}" for split in dataset.splits for field in (ID, *dataset.fields)}
    if names != set(manifest["arrays"]):
        yield f"the arrays are {sorted(manifest['arrays'])}, expected {sorted(names)}"


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
                if len(np.unique(array)) != len(array):
                    yield f"{file} names a sample twice"
                if "ids" in manifest and manifest["ids"].get(split) != describe_ids(array):
                    yield f"{file} is not the list of ids in the manifest"
            elif "fields" in manifest:
                yield from _described(file, array, stored, manifest["fields"].get(name))
                yield from _ranges(file, array, stored)


def _described(file: str, array: np.ndarray, stored: Stored | None, said: Mapping[str, Any] | None) -> Iterator[str]:
    expected = describe(stored, array)
    for key, value in expected.items():
        if said is None or said.get(key) != value:
            yield f"{file}: '{key}' is {None if said is None else said.get(key)} in the manifest, expected {value}"


def _ranges(file: str, array: np.ndarray, stored: Stored | None) -> Iterator[str]:
    """Every value that is known lies in its range, and every vector that is known has unit length."""
    if stored is None:
        return
    for part in parts(array):
        known = known_mask(part, stored)
        values = part.transpose(0, 2, 3, 1)[known] if part.ndim == 4 else part[known]
        values = values.astype(np.float64)
        if values.size and not (values.min() >= stored.low and values.max() <= stored.high):
            yield (
                f"{file} holds values from {values.min():g} to {values.max():g}, "
                f"expected {stored.low:g} to {stored.high:g} {stored.unit}".rstrip()
            )
            return
        if stored.unit_vectors and values.size and abs(np.linalg.norm(values, axis=1) - 1).max() > SLACK:
            yield f"{file} holds vectors that are not of unit length"
            return
