"""A folder of records: one JSON file each, written whole or not at all, and the pictures that go with them."""

import os
import re
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from glob import escape
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import safetensors.numpy

from benchmark.errors import UserError
from benchmark.record import RunRecord, read_record, record_bytes
from benchmark.spec import RunSpec

#: Folder inside a store that holds no records; its name keeps it out of every listing of data sets.
PRIVATE = ".mtbench"
#: What a file's name must not hold, and how long it may be in bytes with room for a temporary name's ends.
UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f\ud800-\udfff]")
LONGEST_NAME = 220
#: Arrays whose names begin so hold the whole test split and get a file of their own.
WHOLE_TEST = "test-"
#: Arrays whose names begin so are the network's parameters and buffers, and get a file of their own, too.
MODEL = "model-"
#: Arrays of an architecture's attention to the pictured samples, by task: uint8 masks (P, L, h, w), averaged over
#: channels; the values (L, 2) of each level's 0 and 255; the levels' names (L,). No task's name can make two alike.
MASKS, MASK_ENDS, MASK_LEVELS = "masks-", "maskends-", "masklevels-"
#: What follows a record's name in the file that says who vouches for it (``benchmark.trust``).
TRUST_SUFFIX = ".trust.json"
#: Folder of a data set's cards, below the data set's own.
CARDS = "cards"


@dataclass(frozen=True)
class Problem:
    """A file of the store that cannot be used, and why."""

    path: Path
    reason: str


class Store:
    """A folder of records.

    ``<data set>/<architecture>_<weighting>_s<seed>_<id>.json`` is a record; the ``.npz`` beside it holds the last
    epoch's predictions for the pictured test samples, one array a task, and for an architecture that attends its masks
    (``MASKS``); ``<data set>/truth-<hash>.npz`` holds their
    inputs and targets. Of a data set that withholds the targets of a further split, say ``challenge``, the first also
    holds what was predicted there: ``challenge-<task>`` and ``challenge-<task>-id``. ``.mtbench`` holds what is derived
    from all this or belongs to runs in progress, and may be deleted whenever nothing runs. ``….test.npz`` holds the
    predictions for the whole test split, and ``….safetensors`` the network after the last epoch, where a run was told
    to keep them; ``….trust.json`` says who vouches for a record that came in a submission. ``<data set>/cards`` holds
    what the data measurably are (``benchmark.datacards``).
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def private(self) -> Path:
        """The folder of what is no record: index, claims, checkpoints."""
        return self.root / PRIVATE

    def path(self, spec: RunSpec) -> Path:
        """The record's file.

        Raises:
            UserError: a name of the spec would lead out of the folder.
        """
        return self.root / _place(spec)

    def card_path(self, dataset: str, data_hash: str) -> Path:
        """The file that says what the data of this content hash are.

        Raises:
            UserError: a name would lead out of the folder.
        """
        return self.root / _safe(dataset) / CARDS / f"{_safe(data_hash[:16])}.json"

    def check_writable(self) -> None:
        """Try to write, before hours are spent on runs.

        Raises:
            UserError: the folder cannot be made or written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            reason = error.strerror or error
            raise UserError(
                f"cannot write the results folder {self.root} ({reason}); name another with --results"
            ) from error

    def get(self, spec: RunSpec) -> RunRecord | None:
        """The record of ``spec``; None where there is none.

        Raises:
            UserError: there is a file, but it is no valid record of this run.
        """
        path = self.path(spec)
        if not path.exists():
            return None
        record = read_record(path)
        if record.id != spec.id:
            raise UserError(f"{path} holds run {record.id}, not {spec.id}: it was renamed or edited")
        return record

    def peek(self, spec: RunSpec) -> RunRecord | None:
        """The record of ``spec``; None where there is none or it is unusable."""
        try:
            return self.get(spec)
        except UserError:
            return None

    def set_aside(self, spec: RunSpec) -> Path:
        """Rename an unusable record so that the run can be done again and nothing is lost; return the new name.

        Raises:
            UserError: the folder cannot be written.
        """
        path = self.path(spec)
        names = (path.with_suffix(f".json.unreadable{number}") for number in ("", *range(2, 1_000_000)))
        target = next(name for name in names if not name.exists())
        try:
            path.rename(target)
        except OSError as error:
            raise UserError(f"cannot set {path} aside ({error.strerror}); move it away by hand") from error
        return target

    def put(
        self,
        record: RunRecord,
        predictions: Mapping[str, np.ndarray] | None = None,
        truth: Mapping[str, np.ndarray] | None = None,
        note: bytes | None = None,
    ) -> None:
        """Write a record. The pictures come first: where there is a record, they are complete.

        A run that went well stays: a later failure of the same run does not replace it. ``note`` is the content of the
        file about who vouches for it, which comes first too; a record without note is one that was run here.

        Raises:
            UserError: the folder cannot be written.
        """
        path = self.path(record.spec)
        if record.status != "ok" and (known := self.peek(record.spec)) and known.status == "ok":
            return
        try:
            if note is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path.with_suffix(TRUST_SUFFIX), note)
            self._write(path, record, predictions, truth)
            if note is None:
                path.with_suffix(TRUST_SUFFIX).unlink(missing_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot write {path} ({error.strerror}); make room or name another folder with --results"
            ) from error

    def _write(
        self,
        path: Path,
        record: RunRecord,
        predictions: Mapping[str, np.ndarray] | None,
        truth: Mapping[str, np.ndarray] | None,
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if truth is not None and record.truth is not None and not (path.parent / record.truth).exists():
            write_atomically(path.parent / record.truth, pack(truth))
        whole = {name: array for name, array in (predictions or {}).items() if name.startswith(WHOLE_TEST)}
        network = {name: array for name, array in (predictions or {}).items() if name.startswith(MODEL)}
        pictured = {name: array for name, array in (predictions or {}).items() if name not in whole | network}
        if network:
            tensors = {name.removeprefix(MODEL): np.array(array, order="C") for name, array in network.items()}
            write_atomically(path.with_suffix(".safetensors"), safetensors.numpy.save(tensors))
        else:
            path.with_suffix(".safetensors").unlink(missing_ok=True)
        for suffix, arrays in ((".npz", pictured), (".test.npz", whole)):
            if arrays:
                write_atomically(path.with_suffix(suffix), pack(arrays))
            else:
                path.with_suffix(suffix).unlink(missing_ok=True)
        write_atomically(path, record_bytes(record))

    def scan(self) -> tuple[list[RunRecord], list[Problem]]:
        """Every record, ordered by path, and every file that is none.

        Raises:
            UserError: the folder does not exist.
        """
        if not self.root.is_dir():
            raise UserError(
                f"there is no results folder {self.root}; make one with 'mtbench run' or name it with --results"
            )
        records, problems = [], []
        for path in self._files():
            try:
                records.append(self.read(f"{path.parent.name}/{path.name}"))
            except UserError as error:
                problems.append(Problem(path, str(error)))
        return records, problems

    def read(self, name: str) -> RunRecord:
        """The record in a file of this store: ``<data set>/<file>``.

        Raises:
            UserError: it is no valid record, or another run's.
        """
        path = self.root / name
        record = read_record(path)
        if name != _place(record.spec):
            raise UserError(f"{path} holds run {record.id}, whose file is {self.path(record.spec).name}")
        return record

    def _files(self) -> Iterator[Path]:
        found = (path for path in self.root.glob("*/*.json") if not path.parent.name.startswith("."))
        return iter(sorted(path for path in found if is_record(path.name)))

    def predictions(self, record: RunRecord) -> dict[str, np.ndarray] | None:
        """The pictured test samples' predictions by task; None where none were kept."""
        return unpack(self.path(record.spec).with_suffix(".npz"))

    def has_predictions(self, record: RunRecord) -> bool:
        """Whether pictures of the run were kept."""
        return self.path(record.spec).with_suffix(".npz").is_file()

    def masks(self, record: RunRecord) -> dict[str, np.ndarray]:
        """What was kept of the architecture's attention to the pictured test samples; empty where nothing was."""
        path = self.path(record.spec).with_suffix(".npz")
        return (unpack(path, (MASKS, MASK_ENDS, MASK_LEVELS)) if path.is_file() else None) or {}

    def whole_test(self, record: RunRecord) -> Path | None:
        """The file of the predictions for the whole test split; None where they were not kept."""
        path = self.path(record.spec).with_suffix(".test.npz")
        return path if path.is_file() else None

    def model(self, record: RunRecord) -> Path | None:
        """The file of the network after the last epoch, in safetensors; None where it was not kept."""
        path = self.path(record.spec).with_suffix(".safetensors")
        return path if path.is_file() else None

    def truth(self, record: RunRecord) -> dict[str, np.ndarray] | None:
        """The pictured test samples: ``image``, ``id`` and a target per task; None where none were kept."""
        if record.truth is None or Path(record.truth).name != record.truth:
            return None
        return unpack(self.path(record.spec).parent / record.truth)


def is_record(name: str) -> bool:
    """Whether a file of this name in a data set's folder is a record's."""
    return name.endswith(".json") and not name.endswith(TRUST_SUFFIX)


def _place(spec: RunSpec) -> str:
    """Where in the folder a run's record is."""
    name = f"{spec.architecture.name}_{spec.weighting_name}_s{spec.seed}_{spec.id}.json"
    return f"{_safe(spec.dataset.name)}/{_safe(name)}"


def _safe(part: str) -> str:
    if part.startswith(".") or len(part.encode(errors="replace")) > LONGEST_NAME or UNSAFE.search(part):
        raise UserError(f"{part[:80]!r} cannot be the name of a file; registered names always can")
    return part


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write under a temporary name, make it durable, rename: readers see the old file or the new one, never a part."""
    handle, scratch = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(scratch).chmod(0o644)
        Path(scratch).replace(path)
        _make_durable(path.parent)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


def sweep(path: Path) -> None:
    """Remove what writers of a file that were killed left beside it. Only for whoever alone may write it now."""
    with suppress(OSError):
        for scrap in path.parent.glob(f".{escape(path.name)}-*"):
            scrap.unlink(missing_ok=True)


def _make_durable(folder: Path) -> None:
    """Let the names in a folder outlive a loss of power, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as compressed .npz bytes, the same for the same arrays."""
    buffer = BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpack(path: Path, prefixes: tuple[str, ...] = ("",)) -> dict[str, np.ndarray] | None:
    """The arrays of an .npz file whose names begin so; None where it is missing or damaged: pictures are no numbers."""
    try:
        with np.load(BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files if name.startswith(prefixes)}
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error):
        return None
