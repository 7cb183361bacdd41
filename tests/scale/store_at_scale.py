"""How long a store of many records takes to list, filter and frame: cold (no index) and warm. Not part of the tests.

python tests/scale/store_at_scale.py --records 100000 --epochs 10 --packed
"""

import argparse
import json
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmark"))
import records as synthetic

from benchmark import packing
from benchmark.data.workers import cores
from benchmark.index import Index
from benchmark.store import Store


def fill(store: Store, count: int, epochs: int, first: int = 0) -> None:
    """Write ``count`` synthetic records; without fsync, which is no part of what is measured."""
    made = synthetic.grid(seeds=(0,), epochs=epochs)
    texts = [(record, json.loads(record.model_dump_json())) for record in made]
    for number in range(first, first + count):
        record, raw = texts[number % len(texts)]
        spec = record.spec.model_copy(update={"seed": number // len(texts)})
        spec = type(spec).model_validate(spec.model_dump())
        raw["spec"]["seed"], raw["id"] = spec.seed, spec.id
        for epoch in raw["curves"]:
            for tasks in epoch["metrics"].values():
                for values in tasks.values():  # other digits in every record: equal ones would compress away
                    values.update({name: value * (1 + (number + 1) * 2**-40) for name, value in values.items()})
        path = store.path(spec)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(raw, indent=1) + "\n")


def fill_packed(store: Store, count: int, epochs: int) -> None:
    """The same, packed a segment's worth at a time, so that the files need little room."""
    for first in range(0, count, packing.MOST_RECORDS):
        fill(store, min(packing.MOST_RECORDS, count - first), epochs, first)
        packing.pack(store)


def timed(what: str, work):
    """Print how long ``work`` takes, and the most memory this process has held."""
    started, busy = time.perf_counter(), time.process_time()
    result = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    wall, processor = time.perf_counter() - started, time.process_time() - busy
    print(f"{what:<44}{wall:8.2f} s, {processor:6.2f} s of processor   peak {peak:7.0f} MiB", flush=True)
    return result


def main() -> None:
    """Fill a temporary store and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--packed", action="store_true", help="in segments")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp())
    try:
        store = Store(root)
        written = fill_packed if options.packed else fill
        timed(f"write {options.records} records", lambda: written(store, options.records, options.epochs))
        size = sum(path.stat().st_size for path in root.rglob("*") if path.suffix in (".json", ".pack"))
        print(f"{size / 1e9:.2f} GB, {size / options.records:.0f} bytes a record")
        index = timed("cold: read every record, write the index", lambda: Index(store, workers=cores()))
        print(f"{index.path.stat().st_size / 1e6:.0f} MB of index, {index.read} files read")
        time.sleep(2.1)
        timed("again, for those that were too fresh", lambda: Index(store, workers=cores()))
        del index
        index = timed("warm: open", lambda: Index(store, workers=cores()))
        print(f"{index.read} files read")
        timed("warm: list, one row a run", lambda: index.runs())
        timed("warm: filter to one method", lambda: index.runs(architecture=["mtan"], status=["ok"]))
        timed("warm: frame of one method", lambda: index.metrics(architecture=["mtan"]))
        table = timed("warm: frame of everything", lambda: index.metrics())
        print(f"{len(table)} rows, {table.memory_usage(deep=True).sum() / 1e6:.0f} MB")
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
