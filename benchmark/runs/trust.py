"""Who vouches for a record. What was run here has no file about that; what came in a submission has one beside it."""

import hashlib
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, ValidationError

from benchmark.errors import UserError
from benchmark.runs.files import write_atomically
from benchmark.runs.layout import place
from benchmark.runs.packs import TRUST_SUFFIX
from benchmark.runs.record import RunRecord
from benchmark.runs.spec import Frozen
from benchmark.runs.store import Store

Level = Literal["self-reported", "recomputed", "rerun"]

#: Levels in words, from the least to the most.
LEVELS: dict[str, str] = {
    "self-reported": "the submitter's numbers; nothing was recomputed",
    "recomputed": "its test metrics were recomputed here from the submitted predictions or network, and it stands here "
    "with those epochs alone of which they were; times are the submitter's",
    "rerun": "run here, or run again here with the same result",
}


class Trust(Frozen):
    """What is known about a submitted record, beside it in ``<record>.trust.json``.

    Attributes:
        record_sha256: of the record's file: a note about another state of the file says nothing.
        bundle_sha256: of the bundle that it came in.
        submitter, note: the submitter's words: foreign text, to be shown as text.
        epoch: whose test metrics were recomputed: predictions and network are those of the last epoch only.
        deviation: the greatest relative difference between a recomputed and a submitted metric; predictions are kept in
            half precision, so that it is seldom zero.
        metrics: the recomputed metrics, by task.
        plugins: SHA-256 of each plugin's source by file name; the sources are in ``submissions/<SHA-256>.txt``.
        predictions: hashes of its predictions by task, and of their file or that of the network under no name: later
            submissions are compared with them.
        doubts: what the check told of it that is no error.
    """

    schema_version: Literal[1] = 1
    run: str
    level: Level
    record_sha256: str
    bundle_sha256: str | None = None
    submitter: str = ""
    note: str = ""
    epoch: int | None = None
    deviation: float | None = None
    metrics: dict[str, dict[str, float | None]] = Field(default_factory=dict)
    plugins: dict[str, str] = Field(default_factory=dict)
    predictions: dict[str, str] = Field(default_factory=dict)
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Standing:
    """A record's level, and the submission's note where it came in one."""

    level: Level
    trust: Trust | None = None

    def covers(self, epoch: int) -> bool:
        """Whether the level holds for the test metrics of ``epoch``: only the last one's can be recomputed."""
        return self.level == "rerun" or (self.trust is not None and self.trust.epoch == epoch)


def standing(store: Store, record: RunRecord) -> Standing:
    """Who vouches for a record of ``store``: ``rerun`` where no submission brought it.

    A note that cannot be read, or is about another state of the record, leaves the record self-reported.
    """
    try:
        note = store.note(record)
        if note is None:
            return Standing("rerun")
        trust = Trust.model_validate_json(note)
        current = hashlib.sha256(store.content(place(record.spec)) or b"").hexdigest()
    except (OSError, UserError, ValidationError):
        return Standing("self-reported")
    if trust.run != record.id or trust.record_sha256 != current:
        return Standing("self-reported")
    return Standing(trust.level, trust)


def keep_trust(store: Store, record: RunRecord, trust: Trust) -> None:
    """Write the note beside a record of ``store``.

    Raises:
        UserError: the folder cannot be written.
    """
    path = store.path(record.spec).with_suffix(TRUST_SUFFIX)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, trust_bytes(trust))
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}); make room or name another folder") from error


def trust_bytes(trust: Trust) -> bytes:
    """A note's file."""
    return (trust.model_dump_json(indent=1) + "\n").encode()
