"""How long a store of many records takes to list, filter and frame: cold (no index) and warm. Not part of the tests.

python -m tests.scale.store_at_scale --records 100000 --epochs 10 --each 4096
"""

import argparse
import json
import resource
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from benchmark.data.workers import cores
from benchmark.runs.index import Index
from benchmark.runs.index.rows import COLUMNS, row_of
from benchmark.runs.index.summary import summarise
from benchmark.runs.packs import Item, segment, segment_bytes, segment_name
from benchmark.runs.packs.text import HOLE, split
from benchmark.runs.record import RunRecord, record_bytes
from benchmark.runs.store import Store
from tests.benchmark import records as synthetic


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


def fill_packed(store: Store, count: int, epochs: int, each: int) -> None:
    """As many in segments of ``each``, without a file in between: other seeds' numbers in texts of the same form.

    The numbers of a few hundred runs go round: to draw and split more would take most of the time, and what is measured
    reads each all the same.
    """
    made = [with_seed(record, 0) for record in synthetic.grid(seeds=(0,), epochs=epochs)]
    forms = [
        (summarise([(record, record_bytes(record))])["layouts"][0], *split(record_bytes(record))) for record in made
    ]
    drawn = [
        [other_numbers(record, form[2], round_) for round_ in range(16)]
        for record, form in zip(made, forms, strict=True)
    ]
    parts: dict[bytes, tuple[bytes, np.ndarray]] = {}
    segment.split = parts.__getitem__
    for first in range(0, count, each):
        items, rows, layouts = [], [], {}
        parts.clear()
        for number in range(first, min(first + each, count)):
            seed, place = divmod(number, len(made))
            record, (layout, text, _) = made[place], forms[place]
            moved = with_seed(record, seed)
            numbers, words = drawn[place][seed % 16]
            text = text.replace(record.id.encode(), moved.id.encode()).replace(b'"seed": 0', b'"seed": %d' % seed)
            content = filled(text, words)
            parts[content] = text, numbers
            items.append(Item(store.path(moved.spec).name, "ok", content))
            rows.append((items[-1].name, row_of(moved), layouts.setdefault(json.dumps(layout), len(layouts))))
        rows.sort(key=lambda row: row[0])
        summary = {
            "columns": COLUMNS,
            "layouts": [json.loads(layout) for layout in layouts],
            "rows": [row for _, row, _ in rows],
            "places": [place for *_, place in rows],
        }
        path = store.segment_path("scenes", segment_name(items))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(segment_bytes(items, summary))
    segment.split = split


def other_numbers(record: RunRecord, decimals: np.ndarray, seed: int) -> tuple[np.ndarray, list[bytes]]:
    """What another seed might have measured, and how it is written; options and the cost stay."""
    content = record_bytes(record)
    last = len(decimals) - len(split(content[content.index(b'"cost"') :])[1])
    curves = decimals[:last] != np.round(decimals[:last], 5)
    numbers = decimals.copy()
    rng = np.random.default_rng((int(record.id, 16), seed))
    numbers[:last][curves] *= 1 + 0.03 * rng.standard_normal(int(curves.sum()))
    return numbers, [repr(number).encode() for number in numbers.tolist()]


def filled(text: bytes, words: list[bytes]) -> bytes:
    """The text with words in its holes."""
    parts = text.split(HOLE)
    whole = [b""] * (2 * len(parts) - 1)
    whole[::2], whole[1::2] = parts, words
    return b"".join(whole)


def with_seed(record: RunRecord, seed: int) -> RunRecord:
    """The record of another seed."""
    spec = type(record.spec).model_construct(**{**dict(record.spec), "seed": seed})
    return record.model_copy(update={"spec": spec, "id": spec.id})


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
    parser.add_argument("--each", type=int, default=0, help="Records of a segment; 0 for files.")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp())
    try:
        store = Store(root)
        written = partial(fill_packed, each=options.each) if options.each else fill
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
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
