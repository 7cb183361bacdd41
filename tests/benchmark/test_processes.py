"""Processes that are forked from a server: what they take from this one, what they leave to it, and how they end."""

import os
import signal
from pathlib import Path

import pytest

from benchmark.processes import HELD, LEFT_TO_PARENT, ForkContext

KIND = "MTBENCH_TEST_KIND"
#: The module is imported in the server, so that its functions are there at once.
CONTEXT = ForkContext((__name__,), (KIND,))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to see what was inherited"),
]


def started_with():
    """The environment that libraries saw when they were loaded."""
    lines = Path("/proc/self/environ").read_text().split("\0")
    return dict(line.split("=", 1) for line in lines if "=" in line)


def tell(connection):
    held = signal.pthread_sigmask(signal.SIG_BLOCK, []) & HELD
    ignored = [signal.getsignal(number) is signal.SIG_IGN for number in LEFT_TO_PARENT]
    connection.send((dict(os.environ), started_with().get(KIND), held, ignored, os.getppid()))


def wait_and_end(connection):
    connection.send(os.getppid())
    connection.recv()
    os._exit(3)


def begin(function, context=CONTEXT):
    here, there = context.Pipe()
    process = context.Process(target=function, args=(there,), daemon=True)
    process.start()
    there.close()
    return process, here


def told(context=CONTEXT):
    process, here = begin(tell, context)
    found = here.recv()
    process.join(60)
    assert process.exitcode == 0
    return found


def test_the_environment_is_that_of_the_start_and_libraries_see_their_own(monkeypatch):
    servers = set()
    for kind in ("one", "other", "one"):
        monkeypatch.setenv(KIND, kind)
        monkeypatch.setenv("MTBENCH_TEST_ELSE", f"{kind} and more")
        environment, seen, *_, server = told()
        assert environment == dict(os.environ)
        assert seen == kind
        servers.add(server)
    assert len(servers) == 2
    assert os.getpid() not in servers


def test_signals_for_a_whole_group_are_left_to_the_parent():
    _, _, held, ignored, _ = told()
    assert held == set()
    assert all(ignored)


def test_a_server_outlives_signals_for_a_whole_group_and_exit_codes_come_through():
    process, here = begin(wait_and_end)
    server = here.recv()
    for number in HELD:
        os.kill(server, number)
    assert process.is_alive()
    assert told()[-1] == server
    here.send(None)
    process.join(60)
    assert process.exitcode == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_process_can_be_ended(number):
    process, here = begin(wait_and_end)
    here.recv()
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == -number


def test_without_a_server_a_process_is_started_from_nothing(monkeypatch, tmp_path):
    (tmp_path / "deadly.py").write_text("import os\nos._exit(1)\n")
    monkeypatch.syspath_prepend(tmp_path)  # a server finds modules where this process does
    environment, *_, parent = told(ForkContext(("deadly",), ()))
    assert environment == dict(os.environ)
    assert parent == os.getpid()
