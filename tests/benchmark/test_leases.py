"""Leases: a run belongs to one runner, and a dead runner's runs to whoever comes first."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from threading import Barrier, Thread

import pytest

from benchmark.errors import UserError
from benchmark.execution import leases as module
from benchmark.execution.leases import Leases
from tests.forked import until


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "claims"


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(module, "monotonic", lambda: self.now)


def foreign(path, **changes):
    """Make a lease look like one of another machine."""
    owner = json.loads(path.read_text()) | {"room": "another boot", "host": "elsewhere"} | changes
    path.write_text(json.dumps(owner))


def test_a_run_belongs_to_one(folder):
    with Leases(folder) as one, Leases(folder) as other:
        lease = one.take("a")
        assert one.holds(lease)
        assert other.take("a") is None
        assert other.take("b")
        one.release(lease)
        assert other.take("a")
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_of_many_at_once_one_gets_it(folder):
    for run in map(str, range(20)):
        crowd = [Leases(folder) for _ in range(8)]
        barrier, got = Barrier(8), []

        def grab(leases, run=run, barrier=barrier, got=got):
            barrier.wait()
            got.append(leases.take(run))

        threads = [Thread(target=grab, args=(leases,)) for leases in crowd]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(lease is not None for lease in got) == 1


@pytest.mark.slow
def test_of_many_who_see_a_dead_owner_one_gets_it(folder, monkeypatch):
    clock = Clock(monkeypatch)
    for run in map(str, range(20)):
        dead = Leases(folder).take(run)
        foreign(dead.path)
        crowd = [Leases(folder, expiry=10) for _ in range(8)]
        assert not any(leases.take(run) for leases in crowd)  # they begin to watch
        clock.now += 11
        barrier, got = Barrier(8), []

        def grab(leases, run=run, barrier=barrier, got=got):
            barrier.wait()
            got.append(leases.take(run))

        threads = [Thread(target=grab, args=(leases,)) for leases in crowd]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(lease is not None for lease in got) == 1


@pytest.mark.slow
def test_the_run_of_a_killed_process_is_free_at_once(folder):
    code = f"""
import time
from pathlib import Path
from benchmark.execution.leases import Leases
leases = Leases(Path({str(folder)!r}))
print(bool(leases.take("a")), flush=True)
time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "True\n"
    with Leases(folder) as mine:
        assert mine.take("a") is None
        assert list(mine.owners()) == ["a"]
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert list(mine.owners()) == []
        lease = mine.take("a")
        assert lease
        mine.release(lease)
    assert list(folder.iterdir()) == []


def test_an_owner_elsewhere_is_dead_after_a_silence_that_was_watched(folder, monkeypatch):
    clock = Clock(monkeypatch)
    theirs = Leases(folder).take("a")
    foreign(theirs.path)
    mine = Leases(folder, expiry=10)
    clock.now = 1000.0  # how long it was silent before nobody here can know
    assert mine.take("a") is None
    clock.now += 9
    assert mine.take("a") is None
    os.utime(theirs.path)  # a sign of life
    clock.now += 9
    assert mine.take("a") is None
    clock.now += 9
    assert mine.take("a") is None
    clock.now += 2
    assert mine.take("a")


@pytest.mark.parametrize("jump", [-(10**6), 10**6])
def test_clocks_that_jump_change_nothing(folder, monkeypatch, jump):
    clock = Clock(monkeypatch)
    theirs = Leases(folder).take("a")
    foreign(theirs.path)
    mine = Leases(folder, expiry=10)
    assert mine.take("a") is None
    for _ in range(5):  # the owner's server stamps times that lie in the past or in the future
        clock.now += 9
        stamp = time.time() + jump * clock.now
        os.utime(theirs.path, (stamp, stamp))
        assert mine.take("a") is None
    clock.now += 11
    assert mine.take("a")


def test_an_owner_who_was_silent_too_long_knows_it(folder, monkeypatch):
    clock = Clock(monkeypatch)
    theirs = Leases(folder, expiry=10)
    lease = theirs.take("a")
    foreign(lease.path)
    mine = Leases(folder, expiry=10)
    mine.take("a")
    clock.now = 11
    taken = mine.take("a")
    assert taken
    assert not theirs.holds(lease)
    theirs.release(lease)  # which must not free what is another's now
    assert mine.holds(taken)
    assert Leases(folder).take("a") is None


def test_the_heart_beats(folder):
    with Leases(folder, beat=0.01) as leases:
        path = leases.take("a").path
        before = path.stat().st_mtime_ns
        os.utime(path, (0, 0))
        until(lambda: path.stat().st_mtime_ns >= before, 20)


def test_a_damaged_claim_expires_like_any_other(folder, monkeypatch):
    clock = Clock(monkeypatch)
    for number, content in enumerate((b"", b"\xff\xfe", b"[]", b"[" * 100_000, b'{"pid": "x", "room": 3}')):
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.1").write_bytes(content)
        mine = Leases(folder, expiry=10)
        assert mine.take(str(number)) is None
        clock.now += 11
        assert mine.take(str(number))


def test_where_there_are_no_hard_links(folder, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(module.os, "link", refuse)
    with Leases(folder) as one, Leases(folder) as other:
        lease = one.take("a")
        assert one.holds(lease)
        assert other.take("a") is None


def test_an_answer_that_nfs_repeats_is_understood(folder, monkeypatch):
    link = os.link

    def linked_but_says_otherwise(source, target):
        link(source, target)
        raise FileExistsError

    monkeypatch.setattr(module.os, "link", linked_but_says_otherwise)
    assert Leases(folder).take("a")


def test_a_full_disk_is_one_line(folder, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, "link", full)
    monkeypatch.setattr(module, "_create_without_links", full)
    with pytest.raises(UserError, match=r"cannot write .*No space left on device.*--results"):
        Leases(folder).take("a")
    assert list(folder.iterdir()) == []


def test_a_folder_that_is_away_for_a_moment_is_no_loss(folder, monkeypatch):
    clock = Clock(monkeypatch)
    leases = Leases(folder, expiry=10)
    lease = leases.take("a")

    def stale(*_, **__):
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(module.os, "utime", stale)
    clock.now = 4
    assert leases.holds(lease)
    clock.now = 6
    assert not leases.holds(lease)  # others may have begun to count
