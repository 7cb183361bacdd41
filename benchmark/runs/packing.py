"""Finished records move into segments and back, and several results folders into one.

Whoever is killed at any instant loses nothing: a file is removed only after a segment that holds it lies on the disk
and was read back, so that at worst a record is there twice, and the same command goes on from there. Two at once do no
harm either; at worst two segments hold the same record.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from benchmark.errors import UserError
from benchmark.runs.files import write_atomically
from benchmark.runs.index.summary import is_true, summarise
from benchmark.runs.layout import CARDS, COSTS, ERROR_SUFFIX, PACKABLE, UNPACKED
from benchmark.runs.packs import (
    FOLDER,
    SUFFIX,
    TRUST_SUFFIX,
    Item,
    Packed,
    Reader,
    read_index,
    segment_bytes,
    segment_name,
)
from benchmark.runs.record import RunRecord, parse_record
from benchmark.runs.store import Problem, Store

#: How a run ended whose record is packed. What failed otherwise is tried again, and stays a file.
FINISHED = ("ok", "diverged")
#: Of one segment: all of it is in memory at once, and hosts of git repositories accept files of this size.
MOST_RECORDS = 4096
MOST_BYTES = 32 * 2**20
#: Folder of a store that holds other things than records.
SOURCES = "submissions"


@dataclass
class Moved:
    """What was done.

    Attributes:
        records: how many records moved.
        segments: those that were written, or taken over as they are.
        problems: what could not be read, or contradicts.
    """

    records: int = 0
    segments: list[Path] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def pack(store: Store) -> Moved:
    """Move every finished record that is a file, with its pictures and note, into segments.

    Raises:
        UserError: the folder cannot be written.
    """
    moved = Moved()
    loose = [name for name in store.places() if (store.root / name).is_file()]
    for dataset, names in _by_dataset(loose):
        for items in _batches(_finished(store, dataset, names, moved)):
            moved.segments.append(_write(store, dataset, items))
            for item in items:
                _remove(store, dataset, item)
            moved.records += len(items)
    _remove_leftovers(store)
    return moved


def unpack(store: Store) -> Moved:
    """Make every packed record a file again, unless there is a file of the run that counts as much.

    A segment with a damaged record stays, and is a problem; a file that cannot be read is set aside under another name.

    Raises:
        UserError: the folder cannot be written.
    """
    moved = Moved()
    for segment in store.shelf.segments():
        dataset, whole = segment.parent.parent.name, True
        try:
            records = read_index(segment)
        except UserError as error:
            moved.problems.append(Problem(segment, str(error)))
            continue
        for packed in records:
            name = f"{dataset}/{packed.name}"
            try:
                if _counts(store, name, packed.status):
                    continue
                _write_loose(store, dataset, store.item(name, packed.status))
                moved.records += 1
            except UserError as error:
                moved.problems.append(Problem(segment, str(error)))
                whole = False
        if whole:
            segment.unlink(missing_ok=True)
            moved.segments.append(segment)
    return moved


def _counts(store: Store, name: str, status: str) -> bool:
    """Whether there is a file of the run that counts as much as a packed record.

    One that cannot be read is set aside, and one of a failure gives way to a run that went well.
    """
    path = store.root / name
    if not path.exists():
        return False
    try:
        if status != "ok" or store.read(name).status == "ok":
            return True
    except UserError:
        store.set_file_aside(path)
        return False
    _remove_failure(path)
    return False


def _remove_failure(path: Path) -> None:
    """Remove a failed run's file, and the traceback beside it."""
    path.unlink(missing_ok=True)
    path.with_suffix(ERROR_SUFFIX).unlink(missing_ok=True)


def merge(store: Store, sources: Sequence[Store]) -> Moved:
    """Take over every record of other results folders, packed or not, that this one lacks or has as a failure only.

    Segments all of whose records are taken come over as they are, if their summaries say what the records say. Cards,
    costs of steps, truths, whole predictions, networks and foreign plugins' sources that are missing come too. A run
    that went well here and there with other curves is a problem; the one here stays.

    Raises:
        UserError: a source does not exist, or the folder cannot be written.
    """
    moved = Moved()
    for source in sources:
        if not source.root.is_dir():
            raise UserError(f"there is no results folder {source.root}")
        moved.problems += [Problem(*problem) for problem in source.shelf.problems()]
        for dataset, names in _by_dataset(source.places()):
            wanted = dict(_wanted(store, source, names, moved))
            _take(store, source, dataset, wanted, moved)
            moved.records += len(wanted)
        _take_others(store, source)
    return moved


def damage(store: Store) -> list[Problem]:
    """Everything in the store's segments that has not its checksum, and summaries that say what no record says."""
    found, reader = [Problem(*problem) for problem in store.shelf.problems()], Reader()
    packed = sorted(
        (one for several in store.shelf.records().values() for one in several),
        key=lambda one: (one.segment, one.number),
    )
    for segment, group in groupby(packed, lambda one: one.segment):
        records = list[tuple[Packed, RunRecord]]()
        for one in group:
            try:
                records.append((one, parse_record(reader.item(one).content, one.name)))
            except UserError as error:
                found.append(Problem(segment, str(error)))
        if is_true(segment, records, reader) is False:
            reason = f"{segment} says in its summary what its records do not say: unpack the store and pack it again"
            found.append(Problem(segment, reason))
    return found


def tidy(store: Store) -> None:
    """Remove what writers of segments that were killed left behind. Only for whoever alone may write segments now."""
    for scrap in store.root.glob(f"*/{FOLDER}/.*{SUFFIX}-*"):
        scrap.unlink(missing_ok=True)


def _by_dataset(names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    for dataset, group in groupby(names, lambda name: name.partition("/")[0]):
        yield dataset, list(group)


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """What goes into one segment each."""
    batch, size = list[Item](), 0
    for item in items:
        own = len(item.content) + sum(map(len, item.files.values()))
        if batch and (len(batch) == MOST_RECORDS or size + own > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += own
    if batch:
        yield batch


def _finished(store: Store, dataset: str, names: Sequence[str], moved: Moved) -> Iterator[Item]:
    """What is to be packed. Files that a segment holds already, after a command was killed, are removed."""
    reader = Reader()
    for name in names:
        try:
            record = store.read(name)
            item = store.item(name, record.status)
        except UserError:
            continue  # no record, as every other command says; or packed by someone else this moment
        if record.status not in FINISHED:
            continue
        if _is_packed(store, dataset, item, reader):
            _remove(store, dataset, item)
            moved.records += 1
        else:
            yield item


def _is_packed(store: Store, dataset: str, item: Item, reader: Reader) -> bool:
    digest = hashlib.sha256(item.content).hexdigest()
    for packed in store.shelf.find(dataset, item.name):
        try:
            if packed.sha256 == digest and reader.item(packed) == item:
                return True
        except UserError:
            continue  # damaged: it is packed again
    return False


def _write(store: Store, dataset: str, items: Sequence[Item]) -> Path:
    """Write a segment and read it back."""
    path = store.segment_path(dataset, segment_name(items))
    if not _holds(path, items):
        ordered = sorted(items, key=lambda item: item.name)
        summary = summarise([parse_record(item.content, item.name) for item in ordered])
        _write_file(path, segment_bytes(items, summary))
        if not _holds(path, items):
            raise UserError(f"{path} was written, and reads otherwise: the disk is not to be trusted")
    return path


def _holds(path: Path, items: Sequence[Item]) -> bool:
    reader = Reader()
    try:
        return [reader.item(packed) for packed in read_index(path)] == sorted(items, key=lambda item: item.name)
    except UserError:
        return False


def _write_file(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise UserError(
            f"cannot write {path} ({error.strerror}); make room or name another folder with --results"
        ) from error


def _write_loose(store: Store, dataset: str, item: Item) -> None:
    """What lies beside the record first; a note that is there was written later, and stays."""
    path = store.root / dataset / item.name
    for ending in item.files.keys() & set(PACKABLE):
        beside = path.with_suffix(ending)
        if not (ending == TRUST_SUFFIX and beside.exists()):
            _write_file(beside, item.files[ending])
    _write_file(path, item.content)


def _remove(store: Store, dataset: str, item: Item) -> None:
    """Remove the files of a packed record as far as they are what was packed: the record first, see ``Store.item``."""
    path = store.root / dataset / item.name
    for file, content in ((path, item.content), *((path.with_suffix(end), found) for end, found in item.files.items())):
        try:
            if file.read_bytes() == content:
                file.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UserError(f"cannot remove {file} ({error.strerror}), which is packed") from error


def _remove_leftovers(store: Store) -> None:
    """Remove what lay beside a record whose own file was removed just before a command was killed."""
    reader = Reader()
    for ending in PACKABLE:
        for beside in store.root.glob(f"*/*{ending}"):
            name = f"{beside.name.removesuffix(ending)}.json"
            if beside.with_name(name).exists():
                continue
            try:
                found = [p for p in store.shelf.find(beside.parent.name, name) if ending in p.files]
                if any(reader.companion(packed, ending) == beside.read_bytes() for packed in found):
                    beside.unlink(missing_ok=True)
            except (OSError, UserError):
                continue  # it stays


def _wanted(store: Store, source: Store, names: Sequence[str], moved: Moved) -> Iterator[tuple[str, RunRecord]]:
    """The records of a source that are to be taken."""
    for name in names:
        try:
            theirs = source.read(name)
        except UserError as error:
            moved.problems.append(Problem(source.root / name, str(error)))
            continue
        mine = store.peek(theirs.spec)
        if (
            mine is None
            or (mine.status != "ok" and theirs.status == "ok")
            or (mine.status not in FINISHED and theirs.status in FINISHED)
        ):
            yield name, theirs
        elif mine.status == theirs.status == "ok" and mine.curves != theirs.curves:
            reason = f"{source.root / name} has other numbers than {store.root / name}, which stays"
            moved.problems.append(Problem(source.root / name, reason))


def _take(store: Store, source: Store, dataset: str, wanted: Mapping[str, RunRecord], moved: Moved) -> None:
    """Take records of one data set over."""
    left = {name: record for name, record in wanted.items() if record.status in FINISHED}
    for segment, names in _whole_segments(source, dataset, left):
        path = store.segment_path(dataset, segment.name)
        if not path.exists():
            _write_file(path, segment.read_bytes())
        moved.segments.append(path)
        left = {name: record for name, record in left.items() if name not in names}
    for items in _batches(source.item(name, record.status) for name, record in left.items()):
        moved.segments.append(_write(store, dataset, items))
    for name, record in wanted.items():
        if record.status not in FINISHED:
            _write_loose(store, dataset, source.item(name, record.status))
        else:
            _give_way(store, record)
        for ending in UNPACKED:
            _copy_missing(source.root / Path(name).with_suffix(ending), store.root / Path(name).with_suffix(ending))
        if record.truth is not None and Path(record.truth).name == record.truth:
            _copy_missing(source.root / dataset / record.truth, store.root / dataset / record.truth)


def _give_way(store: Store, record: RunRecord) -> None:
    """Remove the file of a failure, and set an unreadable one aside: they would count before what was taken."""
    path = store.path(record.spec)
    if path.exists():
        mine = store.peek(record.spec)
        if mine is None:
            store.set_aside(record.spec)
        elif mine.status != "ok":
            _remove_failure(path)


def _whole_segments(
    source: Store, dataset: str, wanted: Mapping[str, RunRecord]
) -> Iterator[tuple[Path, frozenset[str]]]:
    """Segments of a source all of whose records are wanted, lie nowhere else, and are whole; summaries are true."""
    broken = {path for path, _ in source.shelf.problems()}
    for segment in source.shelf.segments():
        if segment.parent.parent.name != dataset or segment in broken:
            continue
        records, reader = read_index(segment), Reader()
        names = frozenset(f"{dataset}/{packed.name}" for packed in records)
        if names <= wanted.keys() and not any(_is_elsewhere(source, name) for name in names):
            try:
                for packed in records:
                    reader.item(packed)
                own = ((packed, wanted[f"{dataset}/{packed.name}"]) for packed in records)
                if not is_true(segment, own, reader):
                    continue  # its records come one by one, and get a summary of their own
            except UserError:
                continue  # its sound records come one by one
            yield segment, names


def _is_elsewhere(source: Store, name: str) -> bool:
    """Whether a packed record or its note is a file too, or lies in two segments."""
    path = source.root / name
    return path.exists() or path.with_suffix(TRUST_SUFFIX).exists() or len(source.shelf.find(*name.split("/", 1))) > 1


def _take_others(store: Store, source: Store) -> None:
    """Cards, costs of steps and sources of plugins that are missing."""
    costs = [path for path in source.root.glob("*/*.json") if COSTS.fullmatch(path.name)]
    for path in sorted([*source.root.glob(f"*/{CARDS}/*"), *costs, *source.root.glob(f"{SOURCES}/*.txt")]):
        _copy_missing(path, store.root / path.relative_to(source.root))


def _copy_missing(source: Path, target: Path) -> None:
    if source.is_file() and not target.exists():
        try:
            content = source.read_bytes()
        except OSError as error:
            raise UserError(f"{source} cannot be read ({error.strerror})") from error
        _write_file(target, content)
