"""Processes that are forked from this one, which has imported everything: an interpreter of their own takes seconds."""

import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Forked:
    """A process that does one thing, with the signals of a new one.

    Args:
        folder: where it works, and where what it writes is kept.
        work: what it does; what it returns is printed, and its exit code is that of a program that does nothing else.
        given: arguments of ``work``.
        environment: variables besides those of this process.
    """

    def __init__(self, folder: Path, work: Callable[..., Any], *given: Any, **environment: str) -> None:
        self.out, self.err = (folder / f"{time.monotonic_ns()}.{name}" for name in ("out", "err"))
        self.out.touch()
        self.err.touch()
        with warnings.catch_warnings():
            # Python 3.12 and later: a process with threads forks. The child uses none of them.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if not self.pid:
            self._live(folder, work, given, environment)

    def _live(self, folder: Path, work: Callable[..., Any], given: Any, environment: dict[str, str]) -> None:
        code = 1
        try:
            os.chdir(folder)
            os.environ |= environment
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.stdout, sys.stderr = (path.open("w", buffering=1) for path in (self.out, self.err))
            for number, stream in enumerate((sys.stdout, sys.stderr), 1):
                os.dup2(stream.fileno(), number)
            if (result := work(*given)) is not None:
                sys.stdout.write(f"{result}\n")
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BaseException:  # noqa: BLE001 - a child of the test must never return into it
            traceback.print_exc()
        finally:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)

    def wait(self, seconds: float = 60.0) -> int:
        """Its exit code, or the negative number of the signal that ended it."""
        deadline = time.monotonic() + seconds
        while not (found := os.waitpid(self.pid, os.WNOHANG))[0]:
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise TimeoutError(f"it did not end: {self.err.read_text()}")
            time.sleep(0.01)
        return os.waitstatus_to_exitcode(found[1])

    def printed(self) -> str:
        """What it prints, once it has ended well."""
        code = self.wait()
        assert code == 0, self.err.read_text()
        return self.out.read_text()


def until(holds: Callable[[], bool], seconds: float = 300.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert holds()


def command(*words: str) -> None:
    """``mtbench``, as a program."""
    from benchmark.cli import main

    sys.argv = ["mtbench", *words]
    main()


def anew(script: str) -> None:
    """A script that imports the suite from its beginning, whatever of it this process has imported."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("benchmark", "baselines")]:
        del sys.modules[name]
    exec(script, {"__name__": "__main__"})
