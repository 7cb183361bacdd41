"""How long a report of many made-up records takes, and how much memory.

    python -m tests.scale.report_at_scale 1000 10000

No test: times depend on the machine. Each size runs in a process of its own, so that its peak memory is its own.
"""

import resource
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

from benchmark import report
from benchmark.runs.spec import Protocol
from benchmark.runs.store import Store
from tests.benchmark import records as made

SEEDS = range(3)
WEIGHTINGS = [f"weighting-{i}" for i in range(33)]


def fill(root, count):
    """``count`` records: boards of about 500 runs, told apart by the length of training's decay."""
    sharing = [name for name in made.ARCHITECTURES if name not in made.ALONE]
    cells = [(name, None) for name in made.ALONE] + list(product(sharing, WEIGHTINGS))
    runs = [made.record(a, w, seed=s, weighting_options={}) for a, w in cells for s in SEEDS]
    store = Store(root)
    for i in range(count):
        found = runs[i % len(runs)]
        protocol = Protocol(**{**found.spec.protocol.model_dump(), "lr_step": 100 + i // len(runs)})
        spec = found.spec.model_copy(update={"protocol": protocol})
        spec.__dict__.pop("id", None)
        path = store.path(spec)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(found.model_copy(update={"spec": spec, "id": spec.id}).model_dump_json())
    return store


def measure(count):
    """Fill a store, time the report."""
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder) / "results", count)
        start, busy = time.perf_counter(), time.process_time()
        report.build(Store(Path(folder) / "results"), Path(folder) / "reports")
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
        pages = [path.stat().st_size for path in (Path(folder) / "reports").rglob("*.html")]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{count} records: {seconds:.1f} s ({busy:.1f} s of processor time), {peak:.2f} GiB at most, "
        f"{len(pages)} pages, the largest {max(pages) / 1e6:.2f} MB"
    )


if __name__ == "__main__":
    if len(sys.argv) == 2:
        measure(int(sys.argv[1]))
    else:
        for size in sys.argv[1:]:
            subprocess.run([sys.executable, "-m", "tests.scale.report_at_scale", size], check=True)
