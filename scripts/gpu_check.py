"""All that a machine with a GPU is wanted for, in minutes: one command, to be called again until all is done.

    python scripts/gpu_check.py --out gpu-check                # nine minutes, or --minutes N
    python scripts/gpu_check.py --out gpu-check                # the parts that are not done yet
    python scripts/gpu_check.py --out trial --rehearse         # what it would do, then the same on the CPU, tiny
    python scripts/gpu_check.py --plan                         # only what it would do

The parts follow each other, each with a time limit of its own, and one that fails or is stopped does not keep the next
from being done. All that they write is in the folder ``--out`` ($OUT, where that is set): ``<part>.log``, records in
``results``, ``speed-….json``, and ``summary.json``, which is written anew after each part: by part its state, seconds,
commands and figures.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
#: Tests that say something on a GPU only, and files whose tests take the device that is there.
TESTS = (
    "tests/benchmark/test_replay.py::test_cuda_graphs_change_no_step",
    "tests/benchmark/test_training.py::test_a_run_on_cuda_agrees_with_the_cpu",
    "tests/benchmark/data/test_scenes.py::test_cpu_and_gpu_agree",
    "tests/baselines/test_loss_weightings.py",
    "tests/benchmark/test_hardware.py",
)
SIZES, BATCHES = ("288x384", "96x128"), (2, 8)
#: In this order, all seeds of one before the next; the references are part of each.
CELLS = (
    ("single-task", None), ("split-wide", "equal"), ("mtan", "equal"), ("mtan", "uncertainty"), ("mtan", "dwa"),
    ("stan", None), ("cross-stitch", "equal"), ("dense", "equal"), ("split-deep", "equal"),
    ("split-wide", "uncertainty"), ("split-wide", "dwa"), ("cross-stitch", "uncertainty"), ("cross-stitch", "dwa"),
    ("dense", "uncertainty"), ("dense", "dwa"), ("split-deep", "uncertainty"), ("split-deep", "dwa"),
)  # fmt: skip
#: How near fp32 without TF32 must be to the CPU's: relative to the largest number of a tensor, and each metric.
PREDICTIONS, GRADIENTS, METRICS = 1e-4, 1e-3, 1e-3


#: Seconds that a stopped command gets to write a checkpoint, and is killed after.
ENDING = 20


@dataclass(frozen=True)
class Part:
    """One thing to find out.

    Attributes:
        limit: seconds.
        commands: one after the other, each in a process of its own.
        figures: what its files say, once it is over.
    """

    name: str
    limit: float
    commands: Sequence[Sequence[str]]
    figures: Callable[[Path], Any] = lambda out: None


@dataclass
class Report:
    """How a part went: ``done``, ``failed`` (a command's exit was not 0) or ``stopped`` at its limit."""

    state: str
    seconds: float
    commands: list[list[str]]
    codes: list[int | None] = field(default_factory=list)
    figures: Any = None


def main() -> int:
    """See above."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "gpu-check")))
    words.add_argument("--minutes", type=float, default=9.0, help="of this call")
    words.add_argument("--only", action="append", help="this part; may be given again")
    words.add_argument("--again", action="store_true", help="also parts that are done")
    words.add_argument("--rehearse", action="store_true", help="on the CPU, with tiny networks and pictures")
    words.add_argument("--plan", action="store_true", help="say what would be done, and do nothing")
    words.add_argument("--agreement", metavar="FILE", type=Path, help=argparse.SUPPRESS)
    asked = words.parse_args()
    if asked.agreement:
        return agreement(asked.agreement, "cpu" if asked.rehearse else "cuda", 8 if asked.rehearse else 64)
    out = asked.out.resolve()
    parts = planned(out, asked.rehearse)
    if unknown := set(asked.only or ()) - {part.name for part in parts}:
        words.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(p.name for p in parts)}")
    parts = [part for part in parts if not asked.only or part.name in asked.only]
    for part in parts if asked.plan or asked.rehearse else ():
        print(f"{part.name}, at most {part.limit:.0f} s:")
        print("".join(f"    {' '.join(command)}\n" for command in part.commands), end="")
    if asked.plan:
        return 0
    out.mkdir(parents=True, exist_ok=True)
    found = read(out)
    deadline = monotonic() + 60 * asked.minutes - ENDING
    for part in parts:
        if not asked.again and part.name in found and found[part.name]["state"] == "done":
            print(f"{part.name}: done before")
            continue
        left = deadline - monotonic()
        if left < 5:
            print(f"{part.name}: no time is left")
            continue
        report = done(part, out, min(part.limit, left))
        found[part.name] = asdict(report)
        write(out, found)
        print(f"{part.name}: {report.state} after {report.seconds:.0f} s: {json.dumps(report.figures)[:300]}")
    missing = [part.name for part in parts if found.get(part.name, {}).get("state") != "done"]
    print(f"See {out / 'summary.json'}; " + (f"not done: {', '.join(missing)}" if missing else "all is done"))
    return 1 if missing else 0


def planned(out: Path, small: bool) -> list[Part]:
    """The parts, in their order; ``small`` is how they are rehearsed."""
    python, device = [sys.executable], "cpu" if small else "cuda"
    mtbench = [*python, "-m", "benchmark"]
    grid = "quick" if small else "paper"
    tiny = ["--width", "4", "--steps", "1", "--architecture", "split-wide"] if small else []
    sizes, batches = (("32x32",), (2,)) if small else (SIZES, BATCHES)
    speeds, files = [], []
    for size in sizes:
        for batch in batches:
            for graphs in (False,) if small else (False, True):
                file = out / f"speed-{size}-b{batch}{'-graphs' if graphs else ''}.json"
                own = tiny or ["--architecture", "mtan", "--architecture", "split-wide", "--steps", "5"]
                more = ["--cuda-graphs"] if graphs else []
                load = ["--device", device, "--size", size, "--batch", str(batch), "--arithmetic", "native"]
                speeds.append([*mtbench, "speed", *load, *own, *more, "--json", str(file)])
                files.append(file)
    run = [*mtbench, "run", "--grid", grid, "--dataset", "scenes", "--device", device, "--arithmetic", "native"]
    run += ["--results", str(out / "results")]
    if small:
        run += ["--seeds", "0", "--smoke"]
    cells = [
        [*run, "--architecture", architecture, *(["--weighting", weighting] if weighting else [])]
        for architecture, weighting in (CELLS[:2] if small else CELLS)
    ]
    checked = out / "agreement.json"
    return [
        Part(
            "tests", 150, [[*python, "-m", "pytest", "-q", *(TESTS[-1:] if small else TESTS)]], last_lines("tests", out)
        ),
        Part(
            "agreement",
            60,
            [[*python, str(Path(__file__)), "--agreement", str(checked), *(["--rehearse"] if small else [])]],
            lambda out: loaded(checked),
        ),
        Part("speed", 180, speeds, lambda out: {file.stem: speed_of(file) for file in files if file.exists()}),
        Part(
            "workers", 60, [[*run, "--dry-run", *(["--workers", "1"] if small else [])]], last_lines("workers", out, 6)
        ),
        Part("paper", 3600, cells, lambda out: records_of(out / "results")),
    ]


def done(part: Part, out: Path, limit: float) -> Report:
    """Do a part."""
    report = Report("done", 0.0, [list(command) for command in part.commands])
    started = monotonic()
    variables = {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}".rstrip(":")}
    with (out / f"{part.name}.log").open("w") as log:
        for command in part.commands:
            left = limit - (monotonic() - started)
            code = ended(command, variables, log, left) if left > 1 else None
            report.codes.append(code)
            if code is None:
                report.state = "stopped"
                break
            if code:
                report.state = "failed"
    report.seconds = round(monotonic() - started, 1)
    try:
        report.figures = part.figures(out)
    except Exception as error:  # noqa: BLE001 - what a part left behind may be anything; the next ones matter more
        report.figures = f"{type(error).__name__}: {error}"
    return report


def ended(command: Sequence[str], variables: dict[str, str], log: Any, limit: float) -> int | None:
    """The exit code; None where the limit came first, which ends the command with all that it started."""
    log.write(f"$ {' '.join(command)}\n")
    log.flush()
    process = subprocess.Popen(
        command, cwd=ROOT, env=variables, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        process.terminate()  # runs leave a checkpoint, and end their own workers
        try:
            process.wait(ENDING)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return None


def agreement(file: Path, device: str, width: int) -> int:
    """Every network's predictions, gradients and metrics on a device against the CPU's, in fp32 without TF32."""
    import torch

    import baselines  # noqa: F401 - registers the methods
    from benchmark.commands.speed import TASKS
    from benchmark.data import Split
    from benchmark.model import build_model
    from benchmark.registry import ARCHITECTURES
    from benchmark.training.evaluation import evaluate, predict
    from benchmark.training.hardware import Hardware
    from benchmark.training.workload import Workload

    found = {}
    here, there = Hardware("cpu", "fp32", 4), Hardware(device, "fp32", 4)
    there.set_up()
    for name in ARCHITECTURES:
        sides = []
        for hardware in (here, there):
            torch.manual_seed(0)
            model = build_model(name, TASKS, width=width).to(hardware.device)
            data = Workload(TASKS, (3, 64, 96), 4, hardware).split()
            assert isinstance(data, Split)
            assert isinstance(data.images, torch.Tensor)
            predictions = predict(model, data.images)
            torch.stack([task.loss(predictions[task.name], data.targets[task.name]) for task in TASKS]).sum().backward()
            metrics = evaluate(model, data, hardware).metrics
            gradients = [p.grad.cpu() for p in model.parameters() if p.grad is not None]
            sides.append(([predictions[task.name].detach().cpu() for task in TASKS], gradients, metrics))
        (one, slopes, known), (other, others, got) = sides
        longest = max(float(g.abs().max()) for g in slopes)
        row = {
            "predictions": max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(one, other, strict=True)),
            "gradients": max(float((a - b).abs().max()) / longest for a, b in zip(slopes, others, strict=True)),
            "metrics": max(
                abs(got[task][metric] - value) / max(abs(value), 1e-6)
                for task, values in known.items()
                for metric, value in values.items()
                if value == value
            ),
        }
        row["agrees"] = (
            row["predictions"] <= PREDICTIONS and row["gradients"] <= GRADIENTS and row["metrics"] <= METRICS
        )
        found[name] = row
        file.write_text(json.dumps(found, indent=1))
        print(name, row)
    return 0 if all(row["agrees"] for row in found.values()) else 1


def last_lines(part: str, out: Path, count: int = 1) -> Callable[[Path], Any]:
    """What a part's commands said last."""
    return lambda _: (out / f"{part}.log").read_text().strip().splitlines()[-count:]


def speed_of(file: Path) -> dict[str, Any]:
    """By network the times as long a plain step takes, its quartiles, the share of the peak, seconds and bytes."""
    from benchmark import speed

    record = speed.load(file)
    return {
        row.architecture.name: {
            "plain": row.ratio and [row.ratio.low, row.ratio.median, row.ratio.high],
            "share of peak": record.share(row) if row.rate else None,
            "seconds": row.seconds and row.seconds.median,
            "peak bytes": row.peak_bytes,
            "error": row.error,
        }
        for row in record.architectures
    }


def records_of(folder: Path) -> dict[str, Any]:
    """How many runs ended how, and by row the seconds of training."""
    states: dict[str, int] = {}
    seconds: dict[str, list[float | None]] = {}
    for path in sorted(folder.glob("*/*.json")):
        record = json.loads(path.read_text())
        if "spec" not in record:
            continue
        states[record["status"]] = states.get(record["status"], 0) + 1
        weighting = record["spec"]["weighting"]
        row = f"{record['spec']['architecture']['name']} · {weighting['name'] if weighting else '–'}"
        seconds.setdefault(row, []).append(record["cost"]["train_seconds"])
    return {"states": states, "seconds": seconds}


def loaded(file: Path) -> Any:
    """What a file of JSON holds; None where there is none."""
    return json.loads(file.read_text()) if file.exists() else None


def read(out: Path) -> dict[str, Any]:
    """What earlier calls found, by part."""
    return dict((loaded(out / "summary.json") or {}).get("parts", {}))


def write(out: Path, parts: dict[str, Any]) -> None:
    """Write the summary, whole or not at all."""
    new = out / "summary.json.new"
    new.write_text(json.dumps({"schema": 1, "parts": parts}, indent=1, default=str))
    new.replace(out / "summary.json")


if __name__ == "__main__":
    sys.exit(main())
