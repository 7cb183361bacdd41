"""What a submitted checkpoint is: whether it fits its record, and, of an architecture that is known here, its metrics.

The architecture is the one that is registered here under the record's name and version, never the bundle's plugin.
"""

import json
import re
from collections.abc import Mapping

import torch

from benchmark.data import AnySplit, DataSet
from benchmark.errors import UserError
from benchmark.model import MultiTaskModel
from benchmark.registry import ARCHITECTURES
from benchmark.runs.record import RunRecord
from benchmark.submission.bundle import Bundle, damage
from benchmark.submission.checkpoints import Described, read_header, read_tensors
from benchmark.submission.recomputing import Recomputed, compared
from benchmark.submission.text import shown
from benchmark.training.build import network
from benchmark.training.evaluation import evaluate
from benchmark.training.forward import forward_flops, some
from benchmark.training.hardware import Hardware
from benchmark.training.layout import lay_out

#: A foreign option beyond this would build a network of any depth.
LARGEST_OPTION = 4096
#: Floating-point operations that a check spends on one run: some minutes on two processors.
MOST_FLOPS = 10**13
#: How much more than rounded predictions may differ what another processor computes in single precision, and what was
#: computed in another precision.
SLACK = {"fp32": 1.0}
COARSE = 20.0


def described(bundle: Bundle, record: RunRecord, dataset: DataSet | None) -> dict[str, Described]:
    """A checkpoint's tensors, read once: all finite, as many numbers as the record says, and, where the architecture is
    known here, exactly its names and shapes.

    Args:
        dataset: of the run; None where it is not known here.

    Raises:
        UserError: it is damaged or does not fit.
    """
    name = member(record)
    with bundle.open(name) as stream, damage(bundle.path, name):
        header = read_header(stream, bundle.members[name].file_size, name)
        for _ in read_tensors(stream, header, name):
            pass
    numbers, least = sum(tensor.numbers for tensor in header.values()), record.cost.parameters
    if least is not None and numbers < least:
        raise UserError(f"{name} holds {numbers} numbers, and the record says that the network has {least} parameters")
    model = blank(record, dataset) if dataset is not None else None
    if model is not None:
        _check_fit({key: tuple(value.shape) for key, value in model.state_dict().items()}, header, name)
    return header


def _check_fit(expected: Mapping[str, tuple[int, ...]], header: Mapping[str, Described], name: str) -> None:
    if missing := sorted(expected.keys() - header.keys()):
        raise UserError(f"{name} lacks '{missing[0]}' of this architecture, and {len(missing) - 1} more")
    if more := sorted(header.keys() - expected.keys()):
        raise UserError(f"{name} holds '{shown(more[0])}', which this architecture has not, and {len(more) - 1} more")
    for key, shape in expected.items():
        if header[key].shape != shape:
            raise UserError(f"{name}: '{key}' has the shape {header[key].shape}, and this architecture's has {shape}")


def member(record: RunRecord) -> str:
    """Where a bundle has the run's checkpoint."""
    return f"models/{record.id}.safetensors"


def blank(record: RunRecord, dataset: DataSet) -> MultiTaskModel | None:
    """The run's network without numbers; None where its architecture is not registered here in the same version.

    Raises:
        UserError: the options are none of this architecture's, or larger than any honest ones.
    """
    component = record.spec.architecture
    if component.name not in ARCHITECTURES or ARCHITECTURES[component.name].version != component.version:
        return None
    numbers = re.findall(r"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?", json.dumps(component.options))
    if any(float(number) > LARGEST_OPTION for number in numbers):
        raise UserError(
            f"an option of '{component.name}' is larger than {LARGEST_OPTION}: no such network is built here"
        )
    try:
        with torch.device("meta"):
            return network(record.spec.architecture, dataset)
    except Exception as error:  # foreign options reach a constructor: whatever it raises is their fault
        raise UserError(f"'{component.name}' cannot be built with these options ({shown(error)})") from error


def other_costs(record: RunRecord, dataset: DataSet, split: AnySplit | None) -> str | None:
    """Which counted cost of the record is not that of its architecture, in words; None where all are.

    Args:
        split: of prepared pictures, on which operations are counted; without it parameters alone are.

    Raises:
        UserError: see ``blank``.
    """
    model = blank(record, dataset)
    if model is None:
        return None
    found = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "shared_parameters": sum(p.numel() for p in model.shared_parameters()),
    }
    if split is not None:
        found["forward_flops"] = _flops(model, split)
    for name, value in found.items():
        if (said := getattr(record.cost, name)) != value:
            return (
                f"its {name} are said to be {said}, and '{record.spec.architecture.name}' with its options has {value}"
            )
    return None


def _flops(model: MultiTaskModel, split: AnySplit) -> int:
    """Of one picture's forward pass, counted without numbers.

    Raises:
        UserError: the network cannot do that.
    """
    pictures = some(split, torch.zeros(1, dtype=torch.int64, device="cpu"))
    one = pictures.to("meta") if isinstance(pictures, torch.Tensor) else {k: v.to("meta") for k, v in pictures.items()}
    try:
        with torch.device("meta"):
            return forward_flops(model, one)
    except Exception as error:  # a plugin's network: whatever it raises is its fault
        raise UserError(f"the operations of '{type(model).__name__}' cannot be counted ({shown(error)})") from error


def too_costly(record: RunRecord, dataset: DataSet, split: AnySplit) -> bool:
    """Whether judging the network on the test split would take more than ``MOST_FLOPS``."""
    model = blank(record, dataset)
    assert model is not None  # asked of known architectures only
    return _flops(model, split) * max(len(split.for_task(task.name)) for task in dataset.tasks) > MOST_FLOPS


def judged(
    bundle: Bundle, record: RunRecord, dataset: DataSet, split: AnySplit, header: Mapping[str, Described]
) -> Recomputed:
    """Judge the network on the test split, here and in single precision, and compare with its record's last epoch.

    Args:
        header: what ``described`` gave.

    Raises:
        UserError: the network cannot be filled or fails.
    """
    name = member(record)
    try:
        with torch.random.fork_rng(devices=[]):
            model = network(record.spec.architecture, dataset)
        with bundle.open(name) as stream:
            read_header(stream, bundle.members[name].file_size, name)
            model.load_state_dict(dict(read_tensors(stream, header, name)), strict=True)
        hardware = Hardware("cpu", "fp32", torch.get_num_threads())
        lay_out(model, hardware, record.spec.protocol.arithmetic)
        found = evaluate(model, split, hardware)
    except UserError:
        raise
    except Exception as error:  # numbers from elsewhere in a network: whatever it raises is their fault
        raise UserError(f"{name} cannot be judged ({shown(error) or type(error).__name__})") from error
    metrics = {
        task: {key: value if abs(value) < float("inf") else None for key, value in values.items()}
        for task, values in found.metrics.items()
    }
    slack = SLACK.get(record.provenance.precision, COARSE)
    return compared(metrics, record, dataset.tasks, {task.name for task in dataset.tasks}, slack)
