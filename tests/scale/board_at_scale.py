"""How large a board of many seeds is, packed, and its pages: made from real records by other numbers. Not a test.

python -m tests.scale.board_at_scale --results results --rows 20 --seeds 50 --keep board
"""

import argparse
import json
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import report
from benchmark.analysis import boards
from benchmark.runs import packing
from benchmark.runs.packs import SUFFIX
from benchmark.runs.record import RunRecord, parse_record
from benchmark.runs.store import Store
from tests.scale.store_at_scale import timed

#: Share of a number by which another seed's differs.
NOISE = 0.03


def other_seed(record: RunRecord, seed: int) -> RunRecord:
    """The record as another seed might have left it: every measured number moved, with all its digits."""
    spec = type(record.spec).model_validate({**record.spec.model_dump(), "seed": seed})
    rng = np.random.default_rng(int(spec.id, 16))
    raw = json.loads(record.model_dump_json())
    raw["curves"] = [moved(epoch, rng, keep=("epoch", "learning_rate", "steps")) for epoch in raw["curves"]]
    raw["cost"] = moved(raw["cost"], rng, keep=("parameters", "shared_parameters", "forward_flops", "spilled"))
    raw["cost"]["peak_bytes"] = int(raw["cost"]["peak_bytes"] or 0)
    raw["trace"] = {step: f"{rng.integers(2**63):016x}" for step in raw["trace"]}
    raw["provenance"]["started"] = f"2026-01-{seed % 28 + 1:02d}T0{seed % 10}:12:34Z"
    return parse_record(json.dumps({**raw, "spec": spec.model_dump(mode="json"), "id": spec.id}), spec.label)


def moved(value: Any, rng: np.random.Generator, keep: tuple[str, ...]) -> Any:
    """Numbers times almost 1, but for those called as in ``keep``."""
    if isinstance(value, dict):
        return {name: part if name in keep else moved(part, rng, keep) for name, part in value.items()}
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return value * (1 + NOISE * rng.normal())


def fill(store: Store, source: Store, rows: int, seeds: int) -> None:
    """A board of ``rows`` × ``seeds``, the references among them, of the source's board with most rows."""
    records = source.scan()[0]
    board = max(boards(records), key=lambda found: len({found.labels[r.id] for r in found.records}))
    cells: dict[tuple[str, str], list[RunRecord]] = defaultdict(list)
    for record in sorted(board.records, key=lambda r: not r.reference):
        if record.status == "ok":
            cells[board.labels[record.id]].append(record)
    for found in list(cells.values())[:rows]:
        for seed in range(seeds):
            store.put(other_seed(found[seed % len(found)], seed))
    packing.pack(store)


def main() -> None:
    """Fill a temporary store, pack it, build its report, and say how large both are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"), help="Folder of real records.")
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--keep", type=Path, help="Folder that keeps the records and pages.")
    options = parser.parse_args()
    root = options.keep or Path(tempfile.mkdtemp())
    try:
        store, out = Store(root / "results"), root / "reports"
        timed("write and pack", lambda: fill(store, Store(options.results), options.rows, options.seeds))
        timed("build the report", lambda: report.build(store, out))
        runs = options.rows * options.seeds
        packed = sum(path.stat().st_size for path in store.root.rglob(f"*{SUFFIX}"))
        print(f"{packed / 1e6:.2f} MB packed, {packed / runs:.0f} bytes a run")
        (stem,) = [path.stem for path in out.glob("*.bib") if path.stem != "published"]
        sizes = {
            "row pages": sum(path.stat().st_size for path in out.glob("rows/*")),
            "other pages of the board": sum(path.stat().st_size for path in out.glob(f"{stem}*.html")),
            "downloads": sum(path.stat().st_size for path in out.glob(f"{stem}*") if path.suffix != ".html"),
        }
        for what, size in sizes.items():
            print(f"{what:<28}{size / 1e6:6.2f} MB, {size / runs:6.0f} bytes a run")
    finally:
        if options.keep is None:
            shutil.rmtree(root)


if __name__ == "__main__":
    main()
