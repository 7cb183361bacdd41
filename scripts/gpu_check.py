"""All that a machine with a GPU is wanted for, in minutes: one command, to be called again until all is done.

    python scripts/gpu_check.py --out gpu-check                # nine minutes, or --minutes N
    python scripts/gpu_check.py --out gpu-check                # what is not done yet
    python scripts/gpu_check.py --out trial --rehearse         # what it would do, then the same tiny, here
    python scripts/gpu_check.py --plan                         # only what it would do

The parts follow each other, each with a time limit of its own, and one that fails or is stopped does not keep the next
from being done. A later call does the commands that have not ended well: of the others, nothing is done twice. All that
they write is in the folder ``--out`` ($OUT, where that is set): ``<part>.log``, records in ``results``,
``speed-….json``, and ``summary.json``, which is written anew after each part: by part its state, seconds, commands,
their exit codes and figures. ``all.tar.gz`` holds the whole folder in one file, for machines from which only few come
back; unpacked, it is what a later call goes on from.

What the machine needs: PyTorch from 2.8 on with CUDA, and a copy of this checkout, which need not be installed (name
and plugins are then told by a folder in ``--out``). Of the packages in ``pyproject.toml`` it imports click, h5py,
jinja2, matplotlib, moocore, numpy, packaging, pandas, pillow, pydantic, rich, safetensors and scipy, and for the part
``tests`` pytest and hypothesis; the part ``machine`` names those that are missing. Where nothing can be installed,
bring them along, as wheels for that machine's Python, here 3.12:

    pip download --only-binary :all: --python-version 3.12 --dest wheels pydantic cffi platformdirs     # here
    pip download --only-binary :all: --python-version 3.12 --dest wheels --no-deps moocore              # here
    pip install --no-index --no-deps --target packages wheels/*.whl                                     # there
    python scripts/gpu_check.py --packages packages --out gpu-check                                     # there
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import monotonic
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
#: Measures that are no command of the suite.
MEASURES = Path(__file__).with_name("gpu_measures.py")
#: Tests that say something on a GPU only, and files whose tests take the device that is there.
TESTS = (
    "tests/benchmark/test_replay.py::test_cuda_graphs_change_no_step",
    "tests/benchmark/test_training.py::test_a_run_on_cuda_agrees_with_the_cpu",
    "tests/benchmark/data/test_scenes.py::test_cpu_and_gpu_agree",
    "tests/baselines/test_loss_weighting_properties.py",
    "tests/benchmark/test_hardware.py",
)
#: What is learnt first where time is short.
SIZES, BATCHES = ("288x384", "96x128"), (8, 2)
#: Rows of the ``paper`` grid in this order, all seeds of a line before the next: what narrows the grid. The references
#: are part of each.
ROWS = (
    ("--architecture", "mtan", "--architecture", "split-wide", "--weighting", "equal"),
    ("--architecture", "mtan"),
    ("--weighting", "equal"),
    (),
)
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
    figures: Callable[[], Any]


@dataclass
class Report:
    """How a part went: ``done``, ``failed`` (a command's exit was not 0) or ``stopped`` at its limit.

    A command's code is None where it was stopped.
    """

    state: str
    seconds: float
    commands: list[list[str]] = field(default_factory=list)
    codes: list[int | None] = field(default_factory=list)
    figures: Any = None


def main() -> int:
    """See above."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "gpu-check")))
    words.add_argument("--minutes", type=float, default=9.0, help="of this call")
    words.add_argument("--only", action="append", help="this part; may be given again")
    words.add_argument("--again", action="store_true", help="also what is done")
    words.add_argument("--packages", type=Path, help="a folder of further packages")
    words.add_argument("--rehearse", action="store_true", help="tiny, and on a GPU only if there is one")
    words.add_argument("--plan", action="store_true", help="say what would be done, and do nothing")
    asked = words.parse_args()
    out, small = asked.out.resolve(), asked.rehearse
    names = list(planned(out, small))
    if unknown := set(asked.only or ()) - set(names):
        words.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    names = [name for name in names if not asked.only or name in asked.only]
    for part in (planned(out, small)[name] for name in names) if asked.plan or small else ():
        print(f"{part.name}, at most {part.limit:.0f} s:")
        print("".join(f"    {' '.join(command)}\n" for command in part.commands), end="")
    if asked.plan:
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    out.mkdir(parents=True, exist_ok=True)
    variables = environment(out, asked.packages)
    found = {} if asked.again else read(out)
    deadline = monotonic() + 60 * asked.minutes - ENDING
    for name in names:
        before = found.get(name)
        if before and before["state"] == "done":
            print(f"{name}: done before")
            continue
        left = deadline - monotonic()
        if left < 5:
            print(f"{name}: no time is left")
            continue
        part = planned(out, small)[name]
        report = done(part, out, min(part.limit, left), variables=variables, before=before)
        found[name] = asdict(report)
        write(out, found)
        print(f"{name}: {report.state} after {report.seconds:.0f} s: {json.dumps(report.figures, default=str)[:300]}")
    pack(out)
    missing = [name for name in names if found.get(name, {}).get("state") != "done"]
    print(f"See {out / 'summary.json'}; " + (f"not done: {', '.join(missing)}" if missing else "all is done"))
    return 1 if missing else 0


def planned(out: Path, small: bool) -> dict[str, Part]:
    """The parts, in their order; ``small`` is how they are rehearsed. Later ones take what earlier ones have found."""
    python = sys.executable
    run = [python, "-m", "benchmark", "run", "--grid", "quick" if small else "paper", "--dataset", "scenes"]
    run += ["--device", "auto" if small else "cuda", "--arithmetic", "native", "--results", str(out / "results")]
    run += ["--seeds", "0", "--smoke"] if small else []
    at_once = workers(out)
    cells = [*run, "--workers", str(at_once)] if at_once else run
    narrow = ["--architecture", "split-wide"] if small else []

    def measure(name: str) -> list[str]:
        return [python, str(MEASURES), name, str(out / f"{name}.json"), *(["--rehearse"] if small else [])]

    parts = (
        Part("machine", 30, [measure("machine")], lambda: loaded(out / "machine.json")),
        Part(
            "tests",
            120,
            [[python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(TESTS[-1:] if small else TESTS)]],
            lambda: last_lines(out / "tests.log", 1),
        ),
        Part("agreement", 60, [measure("agreement")], lambda: loaded(out / "agreement.json")),
        Part("graphs", 60, [measure("graphs")], lambda: loaded(out / "graphs.json")),
        Part(
            "speed",
            150,
            speeds(out, small),
            lambda: {file.stem: speed_of(file) for file in sorted(out.glob("speed-*.json"))},
        ),
        Part(
            "workers",
            90,
            # Without the references alone, so that there are runs enough to be tried together.
            [[*run, *narrow, "--weighting", "equal", "--dry-run"]],
            lambda: {"at once": workers(out), "said": last_lines(out / "workers.log", 2)},
        ),
        Part(
            "paper",
            3600,
            [[*cells, *(narrow or rows)] for rows in (ROWS[:1] if small else ROWS)],
            lambda: records_of(out / "results"),
        ),
    )
    return {part.name: part for part in parts}


def speeds(out: Path, small: bool) -> list[list[str]]:
    """Networks' steps against plain ones: by size and batch, eager and replayed."""
    plain = [sys.executable, "-m", "benchmark", "speed", "--arithmetic", "native"]
    if small:
        tiny = ["--size", "32x32", "--batch", "2", "--width", "4", "--steps", "1", "--architecture", "split-wide"]
        return [[*plain, *tiny, "--json", str(out / "speed-32x32-b2.json")]]
    networks = ["--architecture", "mtan", "--architecture", "split-wide", "--steps", "5", "--device", "cuda"]
    return [
        [*plain, *networks, "--size", size, "--batch", str(batch), *graphs, "--json", str(out / f"{name}.json")]
        for batch in BATCHES
        for size in SIZES
        for graphs in ([], ["--cuda-graphs"])
        for name in [f"speed-{size}-b{batch}{'-graphs' if graphs else ''}"]
    ]


def environment(out: Path, packages: Path | None) -> dict[str, str]:
    """The variables of commands, which find this checkout, the packages that were brought, and the suite's name."""
    folders = [str(ROOT)]
    try:
        version("mtbench")
    except PackageNotFoundError:
        folders.append(str(introduced(out / "suite")))
    if packages:
        folders.append(str(packages.resolve()))
    given = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*folders, given] if given else folders)}


def introduced(folder: Path) -> Path:
    """A folder that tells Python of the suite what an installation would: its version and its plugins."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    told = folder / f"{project['name']}-{project['version']}.dist-info"
    told.mkdir(parents=True, exist_ok=True)
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    text = ""
    for group, points in project["entry-points"].items():
        text += f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
    (told / "entry_points.txt").write_text(text)
    return folder


def done(
    part: Part, out: Path, limit: float, *, variables: dict[str, str], before: dict[str, Any] | None = None
) -> Report:
    """Do a part, but for commands that have ended well ``before``."""
    before = before or {"seconds": 0.0, "commands": [], "codes": []}
    report, started = Report("done", before["seconds"]), monotonic()
    well = [words for words, code in zip(before["commands"], before["codes"], strict=True) if code == 0]
    with (out / f"{part.name}.log").open("a") as log:
        for command in map(list, part.commands):
            left = limit - (monotonic() - started)
            if command in well:
                code: int | None = 0
            else:
                code = ended(command, variables, log, left) if left > 1 else None
            report.commands.append(command)
            report.codes.append(code)
            if code is None:
                report.state = "stopped"
                break
            if code:
                report.state = "failed"
    report.seconds = round(report.seconds + monotonic() - started, 1)
    try:
        report.figures = part.figures()
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
        return None
    finally:  # also where this script itself is stopped
        process.terminate()  # runs leave a checkpoint, and end their own workers
        try:
            process.wait(ENDING)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def workers(out: Path) -> int | None:
    """How many runs at once the part of that name found to be best; None before."""
    log = out / "workers.log"
    found = re.findall(r"(?m)^(\d+) at once:", log.read_text()) if log.exists() else []
    return int(found[-1]) if found else None


def last_lines(log: Path, count: int) -> list[str]:
    """What a part's commands said last."""
    return log.read_text().strip().splitlines()[-count:]


def speed_of(file: Path) -> dict[str, Any]:
    """By network the times as long a plain step takes, its quartiles, the share of the peak, seconds and bytes."""
    record = json.loads(file.read_text())
    highest = {}
    for peak in record["peaks"]:
        highest[peak["precision"]] = max(highest.get(peak["precision"], 0.0), peak["rate"]["median"])
    peak = highest.get(record["provenance"]["precision"])

    def share(row: dict[str, Any]) -> float | None:
        return row["flops"] / row["seconds"]["median"] / peak if row["flops"] and row["seconds"] and peak else None

    return {
        row["architecture"]["name"]: {
            "times as long a plain step": row["ratio"],
            "share of peak": share(row),
            "seconds": row["seconds"],
            "plain seconds": row["plain_seconds"],
            "peak bytes": row["peak_bytes"],
            "plain peak bytes": row["plain_peak_bytes"],
            "error": row["error"],
        }
        for row in record["architectures"]
    }


def records_of(folder: Path) -> dict[str, Any]:
    """How many runs ended how, and by row the seconds of training and the peaks of memory."""
    states: dict[str, int] = {}
    rows: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*/*.json")):
        record = json.loads(path.read_text())
        if "spec" not in record:
            continue
        states[record["status"]] = states.get(record["status"], 0) + 1
        weighting = record["spec"]["weighting"]
        row = f"{record['spec']['architecture']['name']} · {weighting['name'] if weighting else '–'}"
        kept = ("train_seconds", "wall_seconds", "peak_bytes")
        rows.setdefault(row, []).append(
            {"seed": record["spec"]["seed"], "error": record["error"], **{name: record["cost"][name] for name in kept}}
        )
    return {"states": states, "rows": rows}


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


def pack(out: Path) -> None:
    """Put all that was found into one file."""
    with tarfile.open(out / "all.tar.gz", "w:gz") as archive:
        for path in sorted(out.iterdir()):
            if path.name != "all.tar.gz":
                archive.add(path, path.name)


if __name__ == "__main__":
    sys.exit(main())
