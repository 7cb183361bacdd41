"""What ``gpu_check.py`` measures that no command of the suite does; each is written to a file of JSON as it is found.

python scripts/gpu_measures.py agreement FILE              # --rehearse: tiny, on a GPU only if there is one
"""

import argparse
import json
import platform
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

#: What the suite imports, and its tests.
PACKAGES = (
    "click", "h5py", "jinja2", "matplotlib", "moocore", "numpy", "packaging", "pandas", "PIL", "pydantic", "rich",
    "safetensors", "scipy", "torch", "hypothesis", "pytest",
)  # fmt: skip
#: How far from the CPU's a device's numbers may be, see ``agreement``.
LIMITS = {
    "predictions in evaluation": 1e-4,
    "gradients in evaluation": 1e-3,
    "predictions in training": 1e-4,
    "gradients in training": 1e-3,
    "metrics": 1e-3,
}
#: Networks and weightings whose steps are replayed, one of each kind of step, and in how many steps they are compared.
REPLAYED = (
    ("split", "equal"), ("split", "famo"), ("split", "gradnorm"), ("split", "mgda"), ("split", "mgda-ub"),
    ("split", "graddrop"), ("split", "modo"), ("mtan", "uncertainty"), ("mtan", "mgda"),
)  # fmt: skip
STEPS = 4


def machine(file: Path, device: str, small: bool) -> int:
    """What is there, and what is missing."""
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "missing packages": [name for name in PACKAGES if find_spec(name) is None],
    }
    file.write_text(json.dumps(found, indent=1))
    import torch

    from benchmark.data.workers import cores
    from benchmark.training.provenance import code_hash, git_state

    found |= {"torch": torch.__version__, "cuda": torch.version.cuda, "processors": cores()}
    found |= {"code": code_hash(), "commit": git_state()[0]}
    if device == "cuda":
        found |= {"gpu": torch.cuda.get_device_name(), "bytes": torch.cuda.mem_get_info()[1]}
        found |= {"cudnn": torch.backends.cudnn.version(), "capability": torch.cuda.get_device_capability()}
    file.write_text(json.dumps(found, indent=1))
    return 0 if device == "cuda" or small else 1


def agreement(file: Path, device: str, small: bool) -> int:
    """Every network's predictions, gradients and metrics on a device against the CPU's, in fp32 without TF32.

    In evaluation mode: over a batch, batch norm makes rounding some hundred times as large, until max pooling finds its
    largest value in another place, and gradients of two orders of summation differ by per cents on any device. Training
    mode is therefore compared in float64, where that does not happen.
    """
    from benchmark.registry import ARCHITECTURES

    def compared(name: str) -> dict[str, Any]:
        here, there = (_judged(name, place, small) for place in ("cpu", device))
        row = {what: max(_apart(a, b) for a, b in zip(here[what], there[what], strict=True)) for what in LIMITS}
        return {**row, "agrees": all(row[what] <= limit for what, limit in LIMITS.items())}

    names = ("split", "mtan") if small else ARCHITECTURES
    rows = _each(file, {name: (name,) for name in names}, compared)
    return 0 if all(row.get("agrees") for row in rows.values()) else 1


def _judged(name: str, device: str, small: bool) -> dict[str, list[Any]]:
    """By what ``LIMITS`` names, a network's numbers, on the CPU."""
    import torch

    from benchmark.commands.speed import TASKS
    from benchmark.data import Split
    from benchmark.data.workers import cores
    from benchmark.model import build_model
    from benchmark.speed.workload import Workload
    from benchmark.training.evaluation import evaluate
    from benchmark.training.hardware import Hardware

    hardware = Hardware(device, "fp32", 1 if small else cores())
    hardware.set_up()
    torch.manual_seed(0)
    model = build_model(name, TASKS, width=4 if small else 64).to(hardware.device)
    data = Workload(TASKS, (3, 32, 32) if small else (3, 64, 96), 4, hardware).split()
    assert isinstance(data, Split)
    assert isinstance(data.images, torch.Tensor)
    metrics = evaluate(model, data, hardware).metrics
    values = [torch.tensor([value for value in metrics[task.name].values() if value == value]) for task in TASKS]
    found: dict[str, list[Any]] = {"metrics": values}
    for mode, dtype in (("evaluation", torch.float32), ("training", torch.float64)):
        model.to(dtype).train(mode == "training").zero_grad()
        predictions = model(data.images.to(dtype) / 255)
        torch.stack([task.loss(predictions[task.name], data.targets[task.name]) for task in TASKS]).sum().backward()
        gradients = [p.grad.flatten().cpu() for p in model.parameters() if p.grad is not None]
        found[f"predictions in {mode}"] = [predictions[task.name].detach().cpu() for task in TASKS]
        found[f"gradients in {mode}"] = [torch.cat(gradients)]
    return found


def _apart(one: Any, other: Any) -> float:
    """The length of the difference, as a share of the first's own."""
    import torch

    lengths = [float(torch.linalg.vector_norm(values, dtype=torch.float64)) for values in (one - other, one)]
    return lengths[0] / max(lengths[1], 1e-12)


def graphs(file: Path, device: str, small: bool) -> int:
    """Whether steps that are replayed have the very bits of those that are not, with deterministic kernels.

    Where two eager trainings differ already, there is nothing that replayed ones could be held to: that is only told.
    """
    if device == "cpu":
        file.write_text(json.dumps({"no GPU": "nothing can be replayed"}))
        return 0 if small else 1

    def compared(*cell: str) -> dict[str, Any]:
        once, twice, replayed = (_trained(cell, device, graphs=graphs, small=small) for graphs in (False, False, True))
        return {"eager comes back": _equal(once, twice), "replayed is eager": _equal(once, replayed)}

    pairs = REPLAYED[3:4] if small else REPLAYED
    cells = {f"{a} · {w} · {p}": (a, w, p) for p in ("fp32", "bf16") for a, w in pairs}
    rows = _each(file, cells, compared)
    fine = [row.get("replayed is eager") or row.get("eager comes back") is False for row in rows.values()]
    return 0 if all(fine) else 1


def _trained(cell: tuple[str, ...], device: str, *, graphs: bool, small: bool) -> list[Any]:
    """The parameters after some steps of an architecture, with a weighting, in a precision."""
    from benchmark.commands.speed import TASKS
    from benchmark.errors import UserError
    from benchmark.registry import ARCHITECTURES, WEIGHTINGS
    from benchmark.runs.spec import Component
    from benchmark.speed.workload import Stepper, Workload
    from benchmark.training.hardware import Hardware

    architecture, weighting, precision = cell
    hardware = Hardware(device, precision, 1, graphs=graphs, deterministic=True)
    hardware.set_up()
    network = Component.from_registry(ARCHITECTURES, architecture, {"width": 4 if small else 32})
    with hardware.seeded(0):
        load = Workload(TASKS, (3, 32, 32) if small else (3, 64, 96), 6, hardware)
        stepper = Stepper(network, Component.from_registry(WEIGHTINGS, weighting), load)
        if stepper.obstacle:
            raise UserError(f"not replayed: {stepper.obstacle}")
        for _ in range(STEPS):
            stepper.step()
    return [parameter.detach().cpu() for parameter in stepper.trainer.parameters()]


def _equal(some: list[Any], others: list[Any]) -> bool:
    import torch

    return all(torch.equal(one, other) for one, other in zip(some, others, strict=True))


def _each(
    file: Path, cells: dict[str, tuple[str, ...]], measure: Callable[..., dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Measure one after the other; what one raises is its row, and the others go on."""
    rows: dict[str, dict[str, Any]] = {}
    for name, words in cells.items():
        try:
            rows[name] = measure(*words)
        except Exception as error:  # noqa: BLE001 - the rest is wanted all the same
            rows[name] = {"error": f"{type(error).__name__}: {error}"[:300]}
        file.write_text(json.dumps(rows, indent=1))
        print(name, rows[name], flush=True)
    return rows


MEASURES = {"machine": machine, "agreement": agreement, "graphs": graphs}


def main() -> int:
    """See above."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("measure", choices=MEASURES)
    words.add_argument("file", type=Path)
    words.add_argument("--rehearse", action="store_true")
    asked = words.parse_args()
    device = "cpu"
    if find_spec("torch"):
        import torch

        device = "cuda" if torch.cuda.is_available() or not asked.rehearse else "cpu"
    if asked.measure != "machine":
        from benchmark.registry import load_installed_plugins

        load_installed_plugins()
    return MEASURES[asked.measure](asked.file, device, asked.rehearse)


if __name__ == "__main__":
    sys.exit(main())
