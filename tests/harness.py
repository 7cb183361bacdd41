"""A small grid whose runner can be killed anywhere.

It is forked from a process that has imported everything, and so starts in no time; and it does its runs itself, one
after the other, so that a kill hits training, checkpoints, records and leases alike.
"""

import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmark.data import Storage, build_dataset
from benchmark.execution.executor import Setup
from benchmark.execution.inline import InlineExecutor
from benchmark.execution.scheduler import run_all
from benchmark.registry import ARCHITECTURES, DATASETS, WEIGHTINGS
from benchmark.runs.record import without_times
from benchmark.runs.spec import Component, Protocol, RunSpec
from benchmark.runs.store import Store
from benchmark.training.checkpoint import Policy
from benchmark.training.hardware import Hardware

CPU = Hardware("cpu", "fp32", 1)
#: Options of the references' networks: a third of SegNet's layers.
SMALL = {"width": 4, "backbone": "unet-1-1-2"}
CELLS = (("single-task", None), ("tiny", "equal"), ("forgetful", "dice"), ("forgetful", "dwa"), ("tiny", "uncertainty"))


def specs(seeds=(0,)):
    """The cells of the grid."""
    return [
        RunSpec(
            dataset=Component.from_registry(DATASETS, "toy"),
            architecture=Component.from_registry(
                ARCHITECTURES, architecture, SMALL if architecture == "single-task" else {"width": 4}
            ),
            weighting=Component.from_registry(WEIGHTINGS, weighting) if weighting else None,
            seed=seed,
            protocol=Protocol(epochs=2, batch_size=4, learning_rate=1e-2),
        )
        for seed in seeds
        for architecture, weighting in CELLS
    ]


class Silent:
    """An observer that remembers."""

    def __init__(self):
        self.done, self.reasons, self.notes, self.handed, self.told = [], [], [], [], []

    def started(self, spec):
        pass

    def epoch(self, spec, epoch):
        pass

    def finished(self, spec, record):
        self.done.append(record)

    def refused(self, spec, reason):
        self.reasons.append(reason)

    def handed_over(self, spec):
        self.handed.append(spec)

    def note(self, spec, text):
        self.notes.append(text)


class Logged(Store):
    """A store that leaves a line for every record that was put into it."""

    def put(self, record, *arrays, **given):
        super().put(record, *arrays, **given)
        with (self.root / "log").open("a") as file:
            file.write(f"{record.id}\n")


class LoggedExecutor(InlineExecutor):
    """An executor that leaves a line for every run that it begins.

    Args:
        file: of the lines.
        tell: told of what happens in a run.
    """

    def __init__(self, setup, file, tell):
        super().__init__(setup, tell)
        self.file = file

    def submit(self, spec):
        with self.file.open("a") as file:
            file.write(f"{os.getpid()} {spec.id}\n")
        super().submit(spec)


@dataclass
class Ground:
    """A folder, the grid that is done in it, and what must hold of it."""

    root: Path
    runs: list = field(default_factory=specs)
    kept: dict = field(default_factory=dict)
    spill: bool = False

    @property
    def store(self):
        return Logged(self.root)

    def work(self, interval=0.0):
        """Do what is not done, in this process."""
        self.root.mkdir(exist_ok=True)
        policy = Policy(self.store.private / "checkpoints", interval)
        todo = [spec for spec in self.runs if not (known := self.store.peek(spec)) or known.status != "ok"]
        observer = Silent()
        setup = Setup(Storage.default(), CPU, checkpoints=policy, spill=self.spill)
        run_all(
            todo,
            store=self.store,
            executor=LoggedExecutor(setup, self.root / "begun", observer.told.append),
            observer=observer,
            hardware=CPU,
            checkpoints=policy,
        )
        return observer

    def fork(self, before=lambda: None):
        """A runner as a process of its own; its id."""
        child = os.fork()
        if child:
            return child
        try:
            before()
            self.work()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - a child of the test must never return into it
            os._exit(1)

    def begun(self, without):
        """How often each run was begun by the runners other than ``without``."""
        lines = [line.split() for line in (self.root / "begun").read_text().splitlines()]
        return Counter(run for runner, run in lines if int(runner) != without)

    def check_progress(self):
        """A record that was there is still there, byte for byte."""
        found = {path: path.read_bytes() for path in self.root.glob("toy/*.json")}
        assert {path: found.get(path) for path in self.kept} == self.kept
        self.kept = found

    def check_done(self, undisturbed):
        """None lost, none doubled, all as in a grid that nobody disturbed, and nothing left over."""
        records, problems = Store(self.root).scan()
        assert problems == []
        assert {record.id: without_times(record) for record in records} == undisturbed
        assert len(records) == len(self.runs)
        puts = Counter((self.root / "log").read_text().split())
        assert max(puts.values()) == 1
        assert all(Store(self.root).predictions(record) for record in records)
        assert all(Store(self.root).truth(record) for record in records)
        left = [path for name in ("claims", "checkpoints") for path in (self.root / ".mtbench" / name).glob("[!.]*")]
        # No scraps of writers that were killed; the pictures' truth is nobody's own to sweep.
        assert [path.name for path in self.root.glob("toy/.*") if not path.name.startswith(".truth-")] == []
        # A run that was killed after its record was written had no time to clear up, which harms nobody.
        assert all(Store(self.root).peek(spec) for spec in self.runs if any(spec.id in path.name for path in left))


def ended(child):
    """Wait for a child; the signal that ended it, or None after it ended well."""
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the runner failed"
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else None


def kill_at_operation(number):
    """Kill this process just before or just after its ``number``-th change of a file, whatever that is."""
    left = [number]

    def deadly(call):
        def counted(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0 and number % 2:
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(*args, **kwargs)
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return counted

    for name in ("fsync", "link", "replace", "rename", "unlink", "utime", "mkdir"):
        setattr(os, name, deadly(getattr(os, name)))


def kill_after(seconds):
    """Kill this process when its time is up."""
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, seconds)


def instants(seed, operations, seconds):
    """Ways to kill a runner, seeded, without end: by turns at a moment and at a change of a file."""
    draw = random.Random(seed)
    while True:
        yield partial(kill_after, draw.uniform(0, seconds))
        yield partial(kill_at_operation, draw.randrange(1, operations))


def count_operations(ground):
    """How many file operations and how many seconds an undisturbed runner of ``ground`` takes."""
    reading, writing = os.pipe()

    def count():
        total = [0]

        def counting(call):
            def counted(*args, **kwargs):
                total[0] += 1
                return call(*args, **kwargs)

            return counted

        for name in ("fsync", "link", "replace", "rename", "unlink", "utime", "mkdir"):
            setattr(os, name, counting(getattr(os, name)))
        real = os._exit
        os._exit = lambda code: (os.write(writing, str(total[0]).encode()), real(code))

    started = time.monotonic()
    child = ground.fork(count)
    assert ended(child) is None
    os.close(writing)
    with os.fdopen(reading) as pipe:
        return int(pipe.read()), time.monotonic() - started


def prepared():
    """The data that the grid needs."""
    build_dataset("toy").prepare(Storage.default())
