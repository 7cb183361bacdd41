"""What a grid costs the process that drives it, apart from the runs themselves. Not part of the tests.

Stub runs, whose outcomes lie ready, go through the loop of a grid: leases, records, progress. With ``--ray N``, N tiny
runs go through a Ray cluster on this machine besides.

    python -m tests.scale.cells_at_scale --cells 10 1000 --ray 100
"""

import argparse
import resource
import shutil
import tempfile
import time
from collections import deque
from pathlib import Path

from benchmark.data import Storage
from benchmark.execution.executor import Ended
from benchmark.execution.scheduler import run_all
from benchmark.registry import load_plugin_file
from benchmark.runs.store import Store
from benchmark.training.progress import Outcome
from benchmark.training.run import execute
from tests import harness

TESTS = Path(__file__).parents[1]
load_plugin_file(TESTS / "toy.py")


class Stub:
    """An executor whose runs are done before they begin.

    Args:
        outcome: of every run, but for its identity.
        slots: runs at once.
    """

    stores = False

    def __init__(self, outcome: Outcome, slots: int = 64) -> None:
        self.outcome, self.slots = outcome, slots
        self.waiting = deque()

    def free(self) -> int:
        return self.slots - len(self.waiting)

    def submit(self, spec) -> None:
        self.waiting.append(spec)

    def events(self, timeout: float):
        spec = self.waiting.popleft()
        record = self.outcome.record.model_copy(update={"id": spec.id, "spec": spec})
        return [Ended(spec.id, Outcome(record, self.outcome.predictions, self.outcome.truth))]

    def cancel(self, run: str) -> None:
        pass

    def close(self):
        return []


class Counting(harness.Silent):
    """An observer that remembers no record."""

    def finished(self, spec, record) -> None:
        self.done.append(record.status)


def drive(count: int, executor, name: str) -> None:
    """Drive ``count`` runs, and say what it took."""
    root = Path(tempfile.mkdtemp())
    try:
        runs = [harness.specs((seed,))[1] for seed in range(count)]
        wall, busy, observer = time.perf_counter(), time.process_time(), Counting()
        run_all(runs, store=Store(root), executor=executor, observer=observer, hardware=harness.CPU)
        wall, busy = time.perf_counter() - wall, time.process_time() - busy
        assert observer.done == ["ok"] * count
        size = sum(path.stat().st_size for path in root.glob("toy/*"))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{name} {count:>7} cells {wall:9.2f} s, {busy:8.2f} s of processor, "
            f"{size / 1e6:8.2f} MB of records, peak {peak:6.0f} MiB",
            flush=True,
        )
    finally:
        shutil.rmtree(root)


def main() -> None:
    """Drive grids of the sizes asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, nargs="+", default=[10, 1000])
    parser.add_argument("--ray", type=int, nargs="*", default=[])
    options = parser.parse_args()
    harness.prepared()
    outcome = execute(harness.specs()[1], storage=Storage.default(), hardware=harness.CPU)
    for count in options.cells:
        drive(count, Stub(outcome), "stub")
    for count in options.ray:
        from benchmark.execution.ray import RayExecutor
        from benchmark.execution.remote import Parcel, packed_plugins

        parcel = Parcel("cpu", 1, plugins=packed_plugins([TESTS / "toy.py"]))
        drive(count, RayExecutor(parcel, workers=2), "ray ")


if __name__ == "__main__":
    main()
