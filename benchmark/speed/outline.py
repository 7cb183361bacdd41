"""What a network consists of: its parts in the order in which a picture passes them, and what each of them costs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmark.data import PerTaskInputDataSet, build_dataset
from benchmark.errors import UserError
from benchmark.model import MultiTaskModel
from benchmark.runs.spec import Component
from benchmark.training.build import network
from benchmark.training.forward import Pictures, check_channels, predict

#: What holds modules and is not called itself.
CONTAINERS = (nn.ModuleList, nn.ModuleDict, MultiTaskModel)
#: Name of the row of parameters that are in no part: such as stitches that are parameters of the network itself.
ELSEWHERE = "elsewhere"


@dataclass
class PartCost:
    """One part of a network: a module that the network itself calls.

    Attributes:
        name: its place in the network.
        shape: of its last output, without the batch; None for what is no tensor, or was not called.
        shared: parameters that several tasks' losses reach.
        own: by task, parameters that its loss alone reaches.
        flops: floating-point operations of one picture's forward pass.
        activation_bytes: what a training step keeps of it for the backward pass, of the whole batch.
    """

    name: str
    shape: tuple[int, ...] | None = None
    shared: int = 0
    own: dict[str, int] = field(default_factory=dict)
    flops: int = 0
    activation_bytes: int = 0


@dataclass(frozen=True)
class Outline:
    """A network for the tasks and pictures of a data set.

    Attributes:
        parts: in the order in which they are first called, then those that are not.
        batch: pictures of a step; of each task that has its own.
        frozen: parameters that are not trained.
    """

    parts: list[PartCost]
    tasks: tuple[str, ...]
    batch: int
    frozen: int

    @property
    def total(self) -> PartCost:
        """All parts together."""
        return PartCost(
            "in all",
            shared=sum(part.shared for part in self.parts),
            own={task: sum(part.own.get(task, 0) for part in self.parts) for task in self.tasks},
            flops=sum(part.flops for part in self.parts),
            activation_bytes=sum(part.activation_bytes for part in self.parts),
        )

    @property
    def parameters(self) -> int:
        """Parameters of the network, each once."""
        return self.total.shared + sum(self.total.own.values())


def outline(architecture: Component, dataset: Component, batch: int) -> Outline:
    """A network's parts, counted without computing: on torch's meta device, where the network allows it.

    Args:
        architecture: with its options.
        dataset: whose tasks and size of pictures count; it need not be prepared.
        batch: pictures of a training step.

    Raises:
        UserError: the network cannot be built for these tasks and pictures.
    """
    try:
        with torch.device("meta"):
            return _counted(architecture, dataset, batch)
    except UserError:
        raise
    except Exception:  # noqa: BLE001 - a method is foreign code: what it does on such tensors is not promised
        return _counted(architecture, dataset, batch)


def _counted(architecture: Component, dataset: Component, batch: int) -> Outline:
    data = build_dataset(dataset.name, **dataset.options)
    check_channels(data)
    with torch.random.fork_rng(devices=[]):
        model = network(architecture, data).train()
        pieces = data.parts if isinstance(data, PerTaskInputDataSet) else {"": data}
        found = {n: torch.randint(256, (batch, *p.image_shape), dtype=torch.uint8) for n, p in pieces.items()}
        pictures: Pictures = found if isinstance(data, PerTaskInputDataSet) else found[""]
        parts = _passed(model, pictures, batch)
    _count_parameters(model, parts)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    kept = [part for part in parts.values() if part.shape or part.shared or part.own or part.flops]
    return Outline(kept, tuple(task.name for task in model.tasks), batch, frozen)


def _called(module: nn.Module, place: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The modules that a network calls itself, by place: what lies below containers and networks inside."""
    for name, child in module.named_children():
        inner = f"{place}.{name}" if place else name
        if isinstance(child, CONTAINERS):
            yield from _called(child, inner)
        else:
            yield inner, child


def _passed(model: MultiTaskModel, pictures: Pictures, batch: int) -> dict[str, PartCost]:
    """The parts with what a forward pass in training says of them, in the order of their first calls."""
    modules = dict(_called(model))
    order: dict[str, PartCost] = {}
    rest = PartCost(ELSEWHERE)
    inside: list[PartCost] = []
    # Storages by their address, which is theirs alone while something holds them.
    seen = {storage._cdata: storage for storage in (p.untyped_storage() for p in model.parameters())}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in seen:
            seen[storage._cdata] = storage
            (inside[0] if inside else rest).activation_bytes += storage.nbytes()
        return tensor

    keeping = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with FlopCounterMode(display=False) as counter, _watched(modules, order, inside, counter), keeping:
        predict(model, pictures)
    rest.flops = counter.get_total_flops() - sum(part.flops for part in order.values())
    for part in (*order.values(), rest):
        part.flops //= batch
    return {**order, **{n: PartCost(n) for n in modules if n not in order}, ELSEWHERE: rest}


@contextmanager
def _watched(
    modules: Mapping[str, nn.Module], order: dict[str, PartCost], inside: list[PartCost], counter: FlopCounterMode
) -> Iterator[None]:
    """Inside, calls of the modules are put down in ``order``; the outermost that is being called begins ``inside``.

    A network may call a module's children in its place, such as the two halves of a stage: the calls count as its own.
    """
    begun: list[int] = []

    def enter(name: str) -> Callable[[nn.Module, Any], None]:
        def hook(module: nn.Module, arguments: Any) -> None:
            inside.append(inside[0] if inside else order.setdefault(name, PartCost(name)))
            begun.append(counter.get_total_flops())

        return hook

    def leave(module: nn.Module, arguments: Any, output: Any) -> None:
        part, before = inside.pop(), begun.pop()
        if not inside:
            part.flops += counter.get_total_flops() - before
            part.shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else None

    watched = [(name, part) for name, module in modules.items() for part in (module, *module.children())]
    handles = [part.register_forward_pre_hook(enter(name)) for name, part in watched]
    handles += [part.register_forward_hook(leave) for _, part in watched]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _count_parameters(model: MultiTaskModel, parts: dict[str, PartCost]) -> None:
    """Each parameter once, in the first part that holds it."""
    owners = {id(p): task.name for task in model.tasks for p in model.task_parameters(task.name)}
    places = {id(p): name for name, module in reversed(list(_called(model))) for p in module.parameters()}
    for parameter in model.parameters():
        part = parts[places.get(id(parameter), ELSEWHERE)]
        if (owner := owners.get(id(parameter))) is None:
            part.shared += parameter.numel()
        else:
            part.own[owner] = part.own.get(owner, 0) + parameter.numel()
