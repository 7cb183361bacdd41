"""What of this process foreign code may change so that the numbers of later runs are others: compared, and put back.

Not all can be seen: threads that go on, libraries' own settings, and what compiled code does.
"""

import gc
import inspect
import os
import random
import sys
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from operator import is_
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Setting:
    """One setting of the process.

    Attributes:
        name: in words.
        read: its value, to be compared by ``==``.
        write: sets it; None where it cannot be set back.
        shown: whether both values say something to a reader.
        numbers: whether other methods' numbers depend on it, so that no plugin may change it when it is imported.
        told: whether it is worth a word.
    """

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object] | None = None
    shown: bool = True
    numbers: bool = True
    told: bool = True


def _flushes_denormals() -> bool:
    return bool(torch.full((), 1e-310, dtype=torch.float64) * 1 == 0)


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _anomalies() -> tuple[bool, bool]:
    return torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()


def _numpy_draws() -> tuple[Any, ...]:
    name, keys, *rest = np.random.get_state(legacy=True)
    return (name, np.asarray(keys).tobytes(), *rest)


def _set_numpy_draws(state: tuple[Any, ...]) -> None:
    name, keys, *rest = state
    np.random.set_state((name, np.frombuffer(keys, np.uint32), *rest))


def _set_environment(values: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(values)


def _set_filters(filters: list[Any]) -> None:
    warnings.resetwarnings()
    warnings.filters[:] = filters  # type: ignore[index]


def _module_hooks() -> dict[str, dict[Any, Any]]:
    known = vars(torch.nn.modules.module)
    return {
        name: dict(value) for name, value in known.items() if name.startswith("_global_") and hasattr(value, "keys")
    }


def _set_module_hooks(hooks: dict[str, dict[Any, Any]]) -> None:
    for name, value in hooks.items():
        held = getattr(torch.nn.modules.module, name)
        held.clear()
        held.update(value)


def _switches() -> Iterator[Setting]:
    """Of ``torch.backends``, as far as this version of torch has them."""
    backends = torch.backends
    for where, holder, names in (
        ("cudnn", backends.cudnn, ("enabled", "benchmark", "deterministic", "allow_tf32")),
        ("cuda.matmul", backends.cuda.matmul, ("allow_tf32", "allow_fp16_reduced_precision_reduction")),
        ("cuda.matmul", backends.cuda.matmul, ("allow_bf16_reduced_precision_reduction",)),
        ("mkldnn", backends.mkldnn, ("enabled", "deterministic", "allow_tf32")),
        ("opt_einsum", backends.opt_einsum, ("enabled", "strategy")),
    ):
        for name in names:
            if hasattr(holder, name):
                yield Setting(f"torch.backends.{where}.{name}", *_attribute(holder, name))
    for kind in ("flash", "mem_efficient", "math", "cudnn"):
        read, write = (
            getattr(backends.cuda, f"{kind}_sdp_enabled", None),
            getattr(backends.cuda, f"enable_{kind}_sdp", None),
        )
        if read and write:
            yield Setting(f"torch.backends.cuda.enable_{kind}_sdp", read, write)


def _attribute(holder: Any, name: str) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    return lambda: getattr(holder, name), lambda value: setattr(holder, name, value)


def _autocasts() -> Iterator[Setting]:
    for kind in ("cpu", "cuda"):
        yield Setting(f"autocast of {kind}", partial(_autocast, kind), partial(_set_autocast, kind))


def _autocast(kind: str) -> tuple[bool, torch.dtype]:
    return torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)


def _set_autocast(kind: str, value: tuple[bool, torch.dtype]) -> None:
    torch.set_autocast_enabled(kind, value[0])
    torch.set_autocast_dtype(kind, value[1])


def _set_device(device: torch.device) -> None:
    torch.set_default_device(None if device == torch.device("cpu") else device)


SETTINGS = (
    # First: it stands on the same stack as modes of torch's functions.
    Setting("torch's default device", torch.get_default_device, _set_device),
    Setting("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
    Setting("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
    Setting("torch's number of interop threads", torch.get_num_interop_threads),
    Setting("torch's grad mode", torch.is_grad_enabled, torch.set_grad_enabled),
    Setting("torch's inference mode", torch.is_inference_mode_enabled),
    *_autocasts(),
    Setting(
        "torch.use_deterministic_algorithms (and its warn_only)",
        _deterministic,
        lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
    ),
    Setting(
        "torch's float32 matmul precision", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
    ),
    Setting("torch's anomaly detection", _anomalies, lambda value: torch.autograd.set_detect_anomaly(*value)),
    Setting("torch's flushing of denormal numbers", _flushes_denormals, torch.set_flush_denormal),
    *_switches(),
    Setting("torch's hooks of all modules", _module_hooks, _set_module_hooks, shown=False),
    Setting("NumPy's handling of errors", np.geterr, lambda value: np.seterr(**value), numbers=False),
    # Whoever draws changes these two, threads of libraries (Ray's) too: they are put back without a word.
    Setting(
        "NumPy's own random numbers", _numpy_draws, _set_numpy_draws, shown=False, numbers=False, told=False
    ),
    Setting(
        "Python's own random numbers", random.getstate, random.setstate, shown=False, numbers=False, told=False
    ),
    Setting("the environment's variables", lambda: dict(os.environ), _set_environment, shown=False, numbers=False),
    Setting("the working folder", os.getcwd, os.chdir, shown=False, numbers=False),
    Setting(
        "the collection of garbage", gc.isenabled, lambda on: gc.enable() if on else gc.disable(), numbers=False
    ),
    Setting("the limit of recursion", sys.getrecursionlimit, sys.setrecursionlimit, numbers=False),
    Setting(
        "the filters of warnings", lambda: list(warnings.filters), _set_filters, shown=False, numbers=False, told=False
    ),
)  # fmt: skip

#: Modules of torch whose functions, and whose classes' methods, are held: exact names, and beginnings of names.
TORCH_MODULES = ("torch", "torch.autograd", "torch.linalg", "torch.special", "torch.fft", "torch.nn", "torch.optim")
TORCH_PACKAGES = ("torch.nn.", "torch.optim.")
TORCH_FOLDER = f"{Path(torch.__file__).parent}{os.sep}"


class ProcessState:
    """The state of the process at the moment when it is made.

    Args:
        packages: whose functions and methods are held besides torch's.
    """

    def __init__(self, packages: Collection[str]) -> None:
        self.values = {setting.name: _read(setting) for setting in SETTINGS}
        self.holders = list(_holders(packages))
        self.contents = [dict(vars(holder)) for holder in self.holders]

    def undo(self, *, numbers_only: bool = False) -> list[str]:
        """Put back what has changed since; what that was, in words.

        Args:
            numbers_only: leave what other methods' numbers do not depend on, and say nothing of it.
        """
        found = []
        for setting in SETTINGS:
            before, now = self.values[setting.name], _read(setting)
            if before == now or (numbers_only and not setting.numbers):
                continue
            if setting.write is not None:
                setting.write(before)
            if setting.told:
                found.append(setting.name + (f" ({before} to {now})" if setting.shown else ""))
        return found + [
            name for holder, known in zip(self.holders, self.contents, strict=True) for name in _mended(holder, known)
        ]


def _read(setting: Setting) -> Any:
    try:
        return setting.read()
    except (OSError, RuntimeError):  # a folder that is gone; switches that torch does not read once newer ones are set
        return None


def _holders(packages: Collection[str]) -> Iterator[Any]:
    """Modules and the classes that they define."""
    beginnings = (*TORCH_PACKAGES, *(f"{package}." for package in packages))
    for name, module in list(sys.modules.items()):
        if not isinstance(module, ModuleType) or not (
            name in TORCH_MODULES or name in packages or name.startswith(beginnings)
        ):
            continue
        yield module
        yield from (
            value for value in list(vars(module).values()) if isinstance(value, type) and value.__module__ == name
        )
    yield torch.Tensor


def _is_code(value: Any) -> bool:
    return callable(value) or isinstance(value, (property, staticmethod, classmethod))


def _mended(holder: Any, known: dict[str, Any]) -> Iterator[str]:
    """Put back a holder's functions; names of those that were others."""
    present = vars(holder)
    if present.keys() == known.keys() and all(map(is_, present.values(), known.values())):
        return  # as nearly always; twenty-five thousand names are looked at after each run
    label = holder.__name__ if isinstance(holder, ModuleType) else f"{holder.__module__}.{holder.__qualname__}"
    for name in [name for name, value in known.items() if present.get(name) is not value]:
        before, now = known[name], present.get(name)
        if (_is_code(before) or _is_code(now)) and not _is_torch_around(before, now):
            setattr(holder, name, before)
            yield f"{label}.{name}"
    if isinstance(holder, type):  # a method that hides an inherited one; modules load parts of theirs when asked for
        for name in present.keys() - known.keys():
            if isinstance(present[name], (FunctionType, property, staticmethod, classmethod)):
                delattr(holder, name)
                yield f"{label}.{name}"


def _is_torch_around(before: Any, now: Any) -> bool:
    """Whether torch itself has put a function of its own around one.

    It does so when the first optimiser of a class is made, and when its compiler is loaded.
    """
    file = getattr(getattr(now, "__code__", None), "co_filename", "")
    return file.startswith(TORCH_FOLDER) and inspect.unwrap(now) is inspect.unwrap(before)
