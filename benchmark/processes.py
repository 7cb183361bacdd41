"""Child processes: new ones that are forked from a server, and what tells one that goes on from one that is gone.

A process that is started from nothing imports PyTorch and the suite, which takes seconds. A server does that once, and
computes nothing: what is forked from it starts at once, and no state of a run is ever inherited.
"""

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import popen_forkserver, popen_spawn_posix, reduction, resource_tracker, spawn, util
from multiprocessing.context import ForkServerContext, ForkServerProcess, set_spawning_popen
from multiprocessing.forkserver import ForkServer, read_signed
from pathlib import Path
from threading import Lock
from typing import Any

#: Signals that reach a whole terminal's group or a whole step of a cluster: a child leaves them to its parent.
LEFT_TO_PARENT = (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
#: Signals that a server must survive while its children go on, and that children get only when they are ready.
HELD = {*LEFT_TO_PARENT, signal.SIGTERM}


class ForkContext(ForkServerContext):
    """A context of ``multiprocessing`` whose processes are forked from servers of their own.

    Libraries read some variables of the environment when they are loaded, which is in the server: there is one for each
    set of their values, chosen by those that hold when a process is started. All other variables are those of the
    moment, as ``os.environ`` has them.

    Args:
        preload: modules that a server imports. They may start no thread and touch no GPU.
        variables: names of what libraries read when they are loaded.
    """

    def __init__(self, preload: tuple[str, ...], variables: tuple[str, ...]) -> None:
        super().__init__()
        self.Process = partial(ForkedProcess, preload, variables)  # type: ignore[misc, assignment]


class ForkedProcess(ForkServerProcess):
    """A process of such a context; it is started from nothing where no server can be had."""

    def __init__(self, preload: tuple[str, ...], variables: tuple[str, ...], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.preload, self.variables = preload, variables
        self.environment: dict[str, str] = {}

    def start(self) -> None:
        """Fork it, in the environment of this moment."""
        self.environment = dict(os.environ)
        super().start()

    def run(self) -> None:
        """In the new process: take on that environment, leave signals to the parent, and do the work."""
        os.environ.clear()
        os.environ.update(self.environment)
        for number in LEFT_TO_PARENT:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
        super().run()

    @staticmethod
    def _Popen(process: Any) -> Any:
        try:
            return _Fork(process)
        except (EOFError, OSError):
            return popen_spawn_posix.Popen(process)


class _Fork(popen_forkserver.Popen):
    """As the standard library's, from one of several servers."""

    _fds: list[int]

    def _launch(self, process: Any) -> None:
        server = _server(process.preload, process.variables)
        data = io.BytesIO()
        set_spawning_popen(self)
        try:
            reduction.dump(spawn.get_preparation_data(process.name), data)
            reduction.dump(process, data)
        finally:
            set_spawning_popen(None)
        self.sentinel, writing = server.connect_to_new_process(self._fds)
        # Open until this process is gone, by which the new one sees that.
        self.finalizer = util.Finalize(self, _close, (os.dup(writing), self.sentinel))
        with os.fdopen(writing, "wb") as file:
            file.write(data.getbuffer())
        self.pid = read_signed(self.sentinel)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


_servers: dict[tuple[object, ...], ForkServer] = {}
_choice = Lock()
#: A forked process is not the parent of its parent's servers.
os.register_at_fork(after_in_child=_servers.clear)


def _server(preload: tuple[str, ...], variables: tuple[str, ...]) -> ForkServer:
    """The server of this moment's environment, running."""
    key = (preload, *map(os.environ.get, variables))
    with _choice:
        if key not in _servers:
            _servers[key] = ForkServer()
            _servers[key].set_forkserver_preload([*preload])
        with _beginning():
            _servers[key].ensure_running()
        return _servers[key]


@contextmanager
def _beginning() -> Iterator[None]:
    """A server that is started inside finds modules where this process does, and is not ended by held signals."""
    given = {"PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path), "PYTHONSAFEPATH": "1"}
    before = {name: os.environ.get(name) for name in given}
    resource_tracker.ensure_running()  # which lets signals through when it starts
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def room() -> str | None:
    """The boot and the PID namespace in which this process's number means something; None where there is no /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def birth(process: int) -> str | None:
    """When a process of this namespace started, in ticks since boot; None for one that is gone or a zombie."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if fields[0] in "ZX" else fields[19]
