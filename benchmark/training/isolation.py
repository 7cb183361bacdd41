"""Work beside a run that leaves no trace in it: buffers and random numbers are afterwards what they were before."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from benchmark.training.hardware import Hardware


@contextmanager
def kept_buffers(module: nn.Module) -> Iterator[None]:
    """Work inside leaves batch-norm statistics, and every other buffer, as they were."""
    kept = [
        (owner, name, buffer, buffer.clone())
        for owner in module.modules()
        for name, buffer in owner.named_buffers(recurse=False)
    ]
    try:
        yield
    finally:
        for owner, name, buffer, value in kept:
            setattr(owner, name, buffer)  # a module may put another tensor in its place
            # Autograd counts writes to what a graph has saved, as batch norm's statistics are; these write nothing new.
            buffer.data.copy_(value)


@contextmanager
def isolated(hardware: Hardware, *modules: nn.Module | None) -> Iterator[None]:
    """Foreign code inside may draw from torch's generators and write to the modules' buffers: it is undone."""
    with ExitStack() as stack:
        stack.enter_context(hardware.kept_generators())
        for module in modules:
            if module is not None:
                stack.enter_context(kept_buffers(module))
        yield


@contextmanager
def judging(model: nn.Module, hardware: Hardware) -> Iterator[None]:
    """Inside, the model is in evaluation mode, without gradients, and what it draws is the same each time."""
    model.eval()
    with torch.no_grad(), hardware.seeded(0), kept_buffers(model):
        yield
