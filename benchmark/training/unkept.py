"""State of a method that is neither parameter nor buffer: no checkpoint holds it, so that a resumed run is another."""

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.training.engine import Trainer

#: Steps after which one looks, and after every epoch.
STEPS = 3
#: How deep, at how many elements of a container, and at how many numbers of a tensor one looks.
DEPTH, ELEMENTS, NUMBERS = 6, 1000, 2**16
#: What torch itself keeps in every module.
TORCH_OWN = frozenset(vars(nn.Module())) | {"_compiled_call_impl"}


class Unkept:
    """Tells once in a run of attributes that change and that no checkpoint holds.

    Nothing is written or drawn. Attributes that a class names in ``scratch``, since no later step reads them, do not
    count.

    Args:
        trainer: before the first step that is done here.
        note: told in one line.
    """

    def __init__(self, trainer: Trainer, note: Callable[[str], None]) -> None:
        self._trainer, self._note = trainer, note
        self._steps, self._told = 0, False
        self._before = dict(_fingerprints(trainer))

    def check(self) -> None:
        """To be called between any two steps and epochs."""
        self._steps += 1
        if self._told or (self._steps > STEPS and self._trainer.under_way is not None):
            return
        now = dict(_fingerprints(self._trainer))
        if changed := [name for name, value in now.items() if self._before.get(name) != value]:
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            self._note(
                f"state in {', '.join(changed[:3])}{more} changes, and no checkpoint holds it: a run that was stopped "
                "and goes on would be another one. Make it a buffer; or where no later step reads it, name it in the "
                "class's 'scratch'"
            )
            self._told = True


def _fingerprints(trainer: Trainer) -> Iterator[tuple[str, object]]:
    """By name of the attribute, of every module."""
    roots = {"architecture": trainer.model, "weighting": trainer.weighting}
    modules = [(kind, path, m) for kind, root in roots.items() if root for path, m in root.named_modules()]
    kept = _Kept([module for _, _, module in modules])
    for kind, path, module in modules:
        for name, value in _attributes(module):
            yield f"the {kind}'s '{path + '.' if path else ''}{name}'", kept.fingerprint(value)


def _attributes(thing: object) -> Iterator[tuple[str, object]]:
    scratch = getattr(type(thing), "scratch", ())
    for name, value in list(vars(thing).items()):
        if name not in scratch and not (isinstance(thing, nn.Module) and name in TORCH_OWN):
            yield name, value


class _Kept:
    """What checkpoints hold, and what of all else tells whether it has changed."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules = {id(module) for module in modules}
        tensors = [t for m in modules for t in (*m.parameters(recurse=False), *m.buffers(recurse=False))]
        self.memory = {tensor.untyped_storage().data_ptr() for tensor in tensors if tensor.numel()}

    def fingerprint(self, value: object) -> object:
        """The same as long as the value is."""
        try:
            return self._of(value, DEPTH, frozenset())
        except Exception:  # noqa: BLE001 - foreign objects may raise anything when they are looked at: no state then
            return None

    def _of(self, value: Any, depth: int, above: frozenset[int]) -> object:
        if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
            return type(value).__name__, repr(value)
        if depth == 0 or id(value) in above or id(value) in self.modules:
            return None
        if isinstance(value, Tensor):
            return self._of_tensor(value)
        if isinstance(value, np.ndarray):
            return "array", value.shape, str(value.dtype), _digest(value.tobytes()), value.dtype.hasobject
        if (state := _draws(value)) is not None:
            return state
        parts = _parts(value)
        return (
            type(value).__name__,
            len(value) if isinstance(value, (Mapping, Sequence, Set)) else None,
            [self._of(part, depth - 1, above | {id(value)}) for part in islice(parts, ELEMENTS)],
        )

    def _of_tensor(self, tensor: Tensor) -> object:
        if tensor.is_meta or tensor.layout != torch.strided:
            return None
        if tensor.numel() and tensor.untyped_storage().data_ptr() in self.memory:
            return None
        numbers = tensor.detach().reshape(-1)
        numbers = numbers[:: max(1, len(numbers) // NUMBERS)].cpu().contiguous()
        return "tensor", tuple(tensor.shape), str(tensor.dtype), _digest(numbers.view(torch.uint8).numpy().tobytes())


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _draws(value: object) -> object:
    """The state of a generator of random numbers; None of anything else."""
    if isinstance(value, torch.Generator):
        return _digest(value.get_state().numpy().tobytes())
    if isinstance(value, random.Random):
        return hash(value.getstate())
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return repr(value.get_state(legacy=True))
    return None


def _parts(value: Any) -> Iterator[object]:
    """What a container or an object holds; nothing of code."""
    if isinstance(value, Mapping):
        for key, held in value.items():
            yield from (key, held)
    elif isinstance(value, Set):
        yield from sorted(value, key=repr)
    elif isinstance(value, Sequence) or hasattr(value, "appendleft"):
        yield from value
    elif isinstance(value, nn.Module):
        yield from (*value.parameters(), *value.buffers())
        for module in value.modules():
            yield from (held for _, held in _attributes(module))
    elif not isinstance(value, type) and not callable(value) and hasattr(value, "__dict__"):
        yield from (held for _, held in _attributes(value))
