"""Which of several runners on one results folder does a run: leases as files, without locks that survive a crash.

A lease on a run is the file ``<run>.<generation>``. It comes into being with its content or not at all, by a hard link
(atomic also on NFS), and its owner touches it again and again. A lease whose owner is dead is never taken away, which
two could do at once, but outnumbered: of all who try, one creates the next generation. The owner of the highest
generation owns the run, and removes them all when its record is written. Whoever takes a lease looks for the record
afterwards, so that one who came late does nothing twice.

An owner is dead if its process is gone (seen by runners in the same PID namespace of the same boot, at once), or if its
file did not change for ``expiry`` seconds while somebody watched. Only differences of the file's time are looked at,
and the watcher's own monotonic clock: clocks that jump or disagree change nothing.
"""

import json
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic

from benchmark.errors import UserError
from benchmark.processes import birth, room

#: Seconds between two signs of life of an owner, and of silence until others take it for dead. NFS clients may show a
#: file's old attributes for up to a minute (nfs(5), acregmax).
BEAT = 15.0
EXPIRY = 150.0


@dataclass
class Lease:
    """A run that belongs to this process.

    Attributes:
        run: its id.
        path: of the lease's file.
        token: what tells the file from any other owner's.
        beaten: when, by the monotonic clock, the file was last seen to be ours and touched.
    """

    run: str
    path: Path
    generation: int
    token: str
    beaten: float = field(default_factory=lambda: monotonic())


class Leases:
    """The leases of one process in the folder that it shares with others.

    Args:
        folder: of the leases; made when the first is taken.
        beat: seconds between two signs of life.
        expiry: seconds of silence after which an owner is dead.
    """

    def __init__(self, folder: Path, *, beat: float = BEAT, expiry: float = EXPIRY) -> None:
        self.folder = folder
        self.beat = beat
        self.expiry = expiry
        self._held: dict[str, Lease] = {}
        self._lock = Lock()
        self._watched: dict[Path, tuple[tuple[int, int, int], float]] = {}
        self._closed = Event()
        self._heart: Thread | None = None

    def __enter__(self) -> "Leases":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, run: str) -> Lease | None:
        """Lease a run; None where somebody who may be alive has it.

        Raises:
            UserError: the folder cannot be written.
        """
        latest = max(self._generations(run), default=0)
        if latest and not self._is_dead(self._path(run, latest)):
            return None
        lease = Lease(run, self._path(run, latest + 1), latest + 1, secrets.token_hex(16))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            created = _create(lease.path, json.dumps({"token": lease.token, **_self()}).encode())
        except OSError as error:
            raise UserError(
                f"cannot write {self.folder} ({error.strerror}); make room or name another folder with --results"
            ) from error
        if not created:
            return None
        if max(self._generations(run), default=0) > lease.generation:
            lease.path.unlink(missing_ok=True)  # a later owner was just about to end
            return None
        with self._lock:
            self._held[run] = lease
        self._start_heart()
        return lease

    def owners(self) -> dict[str, str]:
        """By run id host and process of those who hold a lease and are not known to be dead."""
        found: dict[str, str] = {}
        for path in sorted(self.folder.glob("[!.]*.*")) if self.folder.is_dir() else ():
            try:
                owner = _parse(path.read_bytes())
            except OSError:
                continue
            if not _is_gone(owner):
                found[path.stem] = f"{owner.get('host')} process {owner.get('pid')}"
        return found

    def holds(self, lease: Lease) -> bool:
        """Whether the lease is still this process's: looks, and touches the file."""
        try:
            with lease.path.open("rb") as file:  # opening makes an NFS client ask the server
                if _parse(file.read()).get("token") != lease.token:
                    return False
            if max(self._generations(lease.run), default=0) > lease.generation:
                return False
            os.utime(lease.path)
        except FileNotFoundError:
            return False
        except OSError:
            return monotonic() - lease.beaten < self.expiry / 2  # others may not reach the folder either, for a while
        lease.beaten = monotonic()
        return True

    def release(self, lease: Lease) -> None:
        """Give the run up: its record is written, or this process will not do it."""
        with self._lock:
            self._held.pop(lease.run, None)
        if self.holds(lease):
            for generation in sorted(self._generations(lease.run)):
                if generation <= lease.generation:
                    with suppress(OSError):
                        self._path(lease.run, generation).unlink(missing_ok=True)

    def close(self) -> None:
        """Give up everything that is still held."""
        self._closed.set()
        for lease in list(self._held.values()):
            self.release(lease)
        if self._heart:
            self._heart.join()

    def _path(self, run: str, generation: int) -> Path:
        return self.folder / f"{run}.{generation}"

    def _generations(self, run: str) -> Iterator[int]:
        try:
            names = [path.name for path in self.folder.iterdir()]
        except FileNotFoundError:
            return
        for name in names:
            known, _, number = name.rpartition(".")
            if known == run and number.isdecimal():
                yield int(number)

    def _is_dead(self, path: Path) -> bool:
        try:
            with path.open("rb") as file:
                owner, state = _parse(file.read()), os.fstat(file.fileno())
        except OSError:
            return False  # it ended this moment, or the folder cannot be read: look again later
        if _is_gone(owner):
            return True
        seen = (state.st_mtime_ns, state.st_size, state.st_ino)
        last, since = self._watched.get(path, (None, 0.0))
        if last != seen:
            self._watched[path] = (seen, monotonic())
            return False
        return monotonic() - since > self.expiry

    def _start_heart(self) -> None:
        if self._heart is None:
            self._heart = Thread(target=self._keep_beating, name="leases", daemon=True)
            self._heart.start()

    def _keep_beating(self) -> None:
        while not self._closed.wait(self.beat):
            with self._lock:
                held = list(self._held.values())
            for lease in held:
                self.holds(lease)


def _create(path: Path, content: bytes) -> bool:
    """Make a file that has its content from the first moment on; False where there is one."""
    handle, scratch = tempfile.mkstemp(prefix=".", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)  # it need not outlive a loss of power: its owner does not either
        try:
            os.link(scratch, path)
        except FileExistsError:
            # NFS may answer so to a request that it repeated after it had succeeded; the count of links tells.
            return Path(scratch).stat().st_nlink == 2
        except OSError:
            return _create_without_links(path, content)
        return True
    finally:
        Path(scratch).unlink(missing_ok=True)


def _create_without_links(path: Path, content: bytes) -> bool:
    """The same on file systems that know no hard links, where the content follows a moment later."""
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


def _parse(content: bytes) -> dict[str, object]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _self() -> dict[str, object]:
    """What identifies this process among all of all machines, and what tells people where it runs."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "birth": birth(os.getpid()), "room": room()}


def _is_gone(owner: dict[str, object]) -> bool:
    """Whether the owner was a process that could be seen from here, and is not there any more."""
    here, process = room(), owner.get("pid")
    if here is None or owner.get("room") != here or not isinstance(process, int) or owner.get("birth") is None:
        return False
    return birth(process) != owner["birth"]
