"""A folder of records: one JSON file each, written whole or not at all, and the pictures that go with them."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import safetensors.numpy

from benchmark.errors import UserError
from benchmark.runs.artifacts import ArrayKey, Arrays, OfMasks, OfNetwork, OfSplit, key_of, named
from benchmark.runs.files import pack, unpack, unpacked, write_atomically
from benchmark.runs.layout import CARDS, ERROR_SUFFIX, PACKABLE, PRIVATE, UNPACKED, is_record, place, safe_name
from benchmark.runs.packs import FOLDER, TRUST_SUFFIX, Item, Packed, Reader, Shelf
from benchmark.runs.record import RunRecord, parse_record, record_bytes
from benchmark.runs.spec import RunSpec

#: What tells a record's file from what it was before: modification time in nanoseconds, size and inode. Of a packed
#: record, whose content never changes, the first is a part of its SHA-256, and the last is ``PACKED_INODE``.
Stamp = tuple[int, int, int]
PACKED_INODE = -1


@dataclass(frozen=True)
class Problem:
    """A file of the store that cannot be used, and why."""

    path: Path
    reason: str


class Store:
    """A folder of records.

    ``<data set>/<architecture>_<weighting>_s<seed>_<id>.json`` is a record; the ``.npz`` beside it holds the last
    epoch's predictions for the pictured test samples, one array a task, for an architecture that attends its masks, and
    of a data set that withholds the targets of a further split what was predicted there, under the names that
    ``benchmark.runs.artifacts`` gives; ``<data set>/truth-<hash>.npz`` holds the pictured samples' inputs and targets.
    ``….test.npz`` holds the predictions for the whole test split, and ``….safetensors`` the network after the last
    epoch, where a run was told to keep them; ``….trust.json`` says who vouches for a record that came in a submission;
    ``….error.txt`` holds the traceback of a run that failed here.
    ``<data set>/cards`` holds what the data measurably are (``benchmark.runs.datacards``),
    ``<data set>/costs-<board>.json`` what a step of each row of a board costs (``benchmark.speed.calibration``).
    ``.mtbench`` holds what is derived from all this or belongs to runs in progress, and may be deleted whenever nothing
    runs.

    ``<data set>/packs`` holds segments (``benchmark.runs.packs``): records that are finished, with their pictures and
    notes (``benchmark.runs.packing``). They are read like files; where there is a file too, that is newer, and counts.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.shelf = Shelf(self.root)
        self._reader = Reader()

    @property
    def private(self) -> Path:
        """The folder of what is no record: index, leases, checkpoints."""
        return self.root / PRIVATE

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints where no other was named."""
        return self.private / "checkpoints"

    def path(self, spec: RunSpec) -> Path:
        """The record's file.

        Raises:
            UserError: a name of the spec would lead out of the folder.
        """
        return self.root / place(spec)

    def _name(self, spec: RunSpec) -> str:
        """The record's file below the folder, under which it is packed, too."""
        return self.path(spec).relative_to(self.root).as_posix()

    def card_path(self, dataset: str, data_hash: str) -> Path:
        """The file that says what the data of this content hash are.

        Raises:
            UserError: a name would lead out of the folder.
        """
        return self.root / safe_name(dataset) / CARDS / f"{safe_name(data_hash[:16])}.json"

    def costs_path(self, dataset: str, board: str) -> Path:
        """The file of what a step of each row of the board with this key costs.

        Raises:
            UserError: a name would lead out of the folder.
        """
        return self.root / safe_name(dataset) / safe_name(f"costs-{board}.json")

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
        content = self.content(name := place(spec))
        if content is None:
            return None
        path = self.root / name
        record = parse_record(content, str(path))
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

        One in a damaged segment stays there: a new file counts before it.

        Raises:
            UserError: the folder cannot be written.
        """
        path = self.path(spec)
        if not path.exists() and (packed := self._packed(self._name(spec))):
            return packed.segment
        return self.set_file_aside(path)

    def set_file_aside(self, path: Path) -> Path:
        """The same of a file.

        Raises:
            UserError: the folder cannot be written.
        """
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
        predictions: Mapping[ArrayKey, np.ndarray] | None = None,
        truth: Mapping[str, np.ndarray] | None = None,
        note: bytes | None = None,
        traceback: str | None = None,
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
            if traceback is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path.with_suffix(ERROR_SUFFIX), traceback.encode(errors="replace"))
            self._write(path, record, predictions, truth)
            if traceback is None:
                path.with_suffix(ERROR_SUFFIX).unlink(missing_ok=True)
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
        predictions: Mapping[ArrayKey, np.ndarray] | None,
        truth: Mapping[str, np.ndarray] | None,
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if truth is not None and record.truth is not None and not (path.parent / record.truth).exists():
            write_atomically(path.parent / record.truth, pack(truth))
        whole, beside, network = Arrays(), Arrays(), dict[str, np.ndarray]()
        for key, array in (predictions or {}).items():
            if isinstance(key, OfNetwork):
                network[key.name] = np.array(array, order="C")
            else:
                (whole if isinstance(key, OfSplit) and key.split == "test" else beside)[key] = array
        if network:
            write_atomically(path.with_suffix(".safetensors"), safetensors.numpy.save(network))
        else:
            path.with_suffix(".safetensors").unlink(missing_ok=True)
        for suffix, arrays in ((".npz", beside), (".test.npz", whole)):
            if arrays:
                write_atomically(path.with_suffix(suffix), pack(named(arrays, _tasks(record))))
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
        records, problems = [], [Problem(*problem) for problem in self.shelf.problems()]
        for name in self.places():
            try:
                records.append(self.read(name))
            except UserError as error:
                problems.append(Problem(self.root / name, str(error)))
        return records, problems + self.contradictions()

    def read(self, name: str) -> RunRecord:
        """The record in a file of this store: ``<data set>/<file>``.

        Raises:
            UserError: it is no valid record, or another run's.
        """
        path = self.root / name
        content = self.content(name)
        if content is None:
            raise UserError(f"{path} cannot be read (it is gone)")
        record = parse_record(content, str(path))
        if name != place(record.spec):
            raise UserError(f"{path} holds run {record.id}, whose file is {self.path(record.spec).name}")
        return record

    def places(self) -> list[str]:
        """Every record's file, packed or not, as ``<data set>/<file>``, in the order of data sets and files."""
        found = (path for path in self.root.glob("*/*.json") if not path.parent.name.startswith("."))
        # Files first: one that is packed meanwhile is then still seen in its segment.
        names = {(path.parent.name, path.name) for path in found if is_record(path.name)}
        names |= {(dataset, file) for dataset, _, file in (name.partition("/") for name in self.shelf.records())}
        return [f"{dataset}/{file}" for dataset, file in sorted(names)]

    def content(self, name: str) -> bytes | None:
        """The bytes of a record's file, ``<data set>/<file>``, packed or not; None where there is none.

        Raises:
            UserError: it cannot be read.
        """
        path = self.root / name
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            packed = self._packed(name)
            return self._reader.record(packed) if packed else None
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error})") from error

    def item(self, name: str, status: str) -> Item:
        """A record's file and what is packed with it, as it is now.

        Args:
            name: of the file, ``<data set>/<file>``.
            status: of the record.

        Raises:
            UserError: it cannot be read, or is gone.
        """
        path = self.root / name
        if not path.exists() and (packed := self._packed(name)):
            item, note = self._reader.item(packed), path.with_suffix(TRUST_SUFFIX)
            return replace(item, files={**item.files, TRUST_SUFFIX: note.read_bytes()}) if note.exists() else item
        files = {ending: beside.read_bytes() for ending in PACKABLE if (beside := path.with_suffix(ending)).is_file()}
        try:  # last: whoever packs a record removes this file first, and so what was read before is whole
            return Item(path.name, status, path.read_bytes(), files)
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error})") from error

    def stamp(self, spec: RunSpec) -> Stamp | None:
        """What changes when the run's record does; None where there is none."""
        try:
            state = self.path(spec).stat()
        except (FileNotFoundError, NotADirectoryError):
            packed = self._packed(self._name(spec))
            return packed_stamp(packed) if packed else None
        return state.st_mtime_ns, state.st_size, state.st_ino

    def segment_path(self, dataset: str, name: str) -> Path:
        """Where a segment of a data set's records lies."""
        return self.root / safe_name(dataset) / FOLDER / name

    def contradictions(self) -> list[Problem]:
        """Runs that lie in several segments, went well in each, and have different curves."""
        found = []
        for name, several in self.shelf.records().items():
            good = {packed.sha256: packed for packed in several if packed.status == "ok"}
            if len(good) > 1 and len({self._curves(packed) for packed in good.values()}) > 1:
                names = " and ".join(packed.segment.name for packed in good.values())
                found.append(Problem(self.root / name, f"{self.root / name} has other numbers in {names}; one counts"))
        return found

    def _curves(self, packed: Packed) -> str:
        try:
            record = parse_record(self._reader.record(packed), str(packed.segment))
        except UserError:
            return ""  # said when it is read
        return repr(record.curves)

    def is_packed(self, spec: RunSpec) -> bool:
        """Whether a segment holds a record of the run."""
        return self._packed(self._name(spec)) is not None

    def remove(self, name: str) -> None:
        """Remove a record's file, ``<data set>/<file>``, last, and before it what lies beside it.

        Raises:
            UserError: a file cannot be removed.
        """
        path = self.root / name
        for file in (*(path.with_suffix(ending) for ending in (*PACKABLE, *UNPACKED)), path):
            try:
                file.unlink(missing_ok=True)
            except OSError as error:
                raise UserError(f"cannot remove {file} ({error.strerror})") from error

    def location(self, spec: RunSpec) -> Path | None:
        """The file in which a run's record is: its own, or a segment; None where there is none."""
        path = self.path(spec)
        if path.exists():
            return path
        packed = self._packed(self._name(spec))
        return packed.segment if packed else None

    def _packed(self, name: str) -> Packed | None:
        """The packed record of this name: of several, the first that is not damaged."""
        found = self.shelf.find(*name.split("/", 1))
        if len(found) > 1:
            for packed in found:
                try:
                    self._reader.record(packed)
                except UserError:
                    continue
                return packed
        return found[0] if found else None

    def _beside(self, record: RunRecord, ending: str) -> bytes | None:
        """What lies beside a record or is packed with it; None where there is nothing, or it is damaged."""
        path, packed = self.path(record.spec), None
        if not path.exists():
            packed = self._packed(self._name(record.spec))
        try:
            if packed and ending in packed.files:
                return self._reader.companion(packed, ending)
            return path.with_suffix(ending).read_bytes()
        except (OSError, UserError):
            return None

    def predictions(self, record: RunRecord) -> Arrays | None:
        """The pictured test samples' predictions by task, masks and a withheld split's; None where none were kept."""
        return self._arrays(record)

    def _arrays(self, record: RunRecord, kind: type | None = None) -> Arrays | None:
        """What the file beside a record holds, or only arrays whose keys are of one kind."""
        content = self._beside(record, ".npz")
        if content is None:
            return None
        keys = partial(key_of, tasks=_tasks(record))
        arrays = unpacked(content, lambda name: kind is None or isinstance(keys(name), kind))
        return None if arrays is None else {keys(name): array for name, array in arrays.items()}

    def has_predictions(self, record: RunRecord) -> bool:
        """Whether pictures of the run were kept."""
        path = self.path(record.spec)
        packed = None if path.exists() else self._packed(self._name(record.spec))
        return (packed is not None and ".npz" in packed.files) or path.with_suffix(".npz").is_file()

    def masks(self, record: RunRecord) -> Arrays:
        """What was kept of the architecture's attention to the pictured test samples; empty where nothing was."""
        return self._arrays(record, OfMasks) or {}

    def note(self, record: RunRecord) -> bytes | None:
        """The file about who vouches for a record; None where there is none.

        One that lies beside a packed record was written later than the segment, and counts.

        Raises:
            OSError: there is one, but it cannot be read.
        """
        path = self.path(record.spec).with_suffix(TRUST_SUFFIX)
        return path.read_bytes() if path.exists() else self._beside(record, TRUST_SUFFIX)

    def whole_test(self, record: RunRecord) -> Path | None:
        """The file of the predictions for the whole test split; None where they were not kept."""
        path = self.path(record.spec).with_suffix(".test.npz")
        return path if path.is_file() else None

    def model(self, record: RunRecord) -> Path | None:
        """The file of the network after the last epoch, in safetensors; None where it was not kept."""
        path = self.path(record.spec).with_suffix(".safetensors")
        return path if path.is_file() else None

    def traceback(self, record: RunRecord) -> str | None:
        """The whole traceback of a run that failed; None where none was kept."""
        try:
            return self.path(record.spec).with_suffix(ERROR_SUFFIX).read_text(errors="replace")
        except OSError:
            return None

    def truth(self, record: RunRecord) -> dict[str, np.ndarray] | None:
        """The pictured test samples: ``image``, ``id`` and a target per task; None where none were kept."""
        if record.truth is None or Path(record.truth).name != record.truth:
            return None
        return unpack(self.path(record.spec).parent / record.truth)


def _tasks(record: RunRecord) -> list[str]:
    return [task.name for task in record.tasks]


def packed_stamp(packed: Packed) -> Stamp:
    """What tells a packed record from other contents of the same name."""
    return int(packed.sha256[:15], 16), packed.length, PACKED_INODE
