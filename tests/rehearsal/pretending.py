"""Makes a CPU build of torch believe that there are GPUs: to be imported before torch is, see ``device/README.md``.

Everything in ``torch.cuda`` that is Python stays torch's own; what is replaced are the functions of ``torch._C`` below.
"""

import collections
import ctypes
import importlib
import importlib.util
import os
import re
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.rehearsal.building import MODULE, library, torch_folder

assert "torch" not in sys.modules, "torch asks for its CUDA hooks once: the pretended device must be there before"
for _file in (torch_folder() / "lib" / "libtorch_global_deps.so", library()):
    ctypes.CDLL(str(_file), ctypes.RTLD_GLOBAL)

import torch  # noqa: E402

_spec = importlib.util.spec_from_file_location(MODULE, library())
assert _spec is not None
assert _spec.loader is not None
device = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(device)

#: Of a device that is pretended: bytes, and what it computes in.
BYTES = int(os.environ.get("REHEARSAL_BYTES", 80 * 2**30))
CAPABILITY = (9, 0)
#: Names the most bytes that device 0 gives; whoever sets it wants to see memory run out.
LIMIT = "REHEARSAL_LIMIT"
ROOT = Path(__file__).parents[2]

_state = SimpleNamespace(initialised=False, streams=collections.Counter(), destroyed=0)


# The functions of torch._C beneath torch.cuda.
def _init() -> None:
    _state.initialised = True
    torch.cuda.default_generators = tuple(device.default_generator(d) for d in range(device.device_count()))
    torch.cuda._get_device_properties = _properties


def _properties(index: int) -> Any:
    return SimpleNamespace(
        name=f"Pretended H{index}00", major=CAPABILITY[0], minor=CAPABILITY[1], total_memory=BYTES,
        multi_processor_count=132, warp_size=32,
    )  # fmt: skip


def _get_device() -> int:
    torch.cuda._lazy_init()
    return device.get_device()


def _set_device(index: int) -> None:
    torch.cuda._lazy_init()
    device.set_device(index)


def _exchange(index: int) -> int:
    if index < 0:
        return -1
    before = _get_device()
    device.set_device(index)
    return before


def _synchronize() -> None:
    if device.is_capturing():
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing (synchronize)")
    _noticed("wait")
    device.synchronize()


def _valid(index: int) -> None:
    if not _state.initialised or not 0 <= index < device.device_count():
        raise RuntimeError(f"Invalid device argument {index}: did you call init?")


def _memory(index: int) -> dict[str, Any]:
    _valid(index)
    used = device.memory(index)

    def both(current: str, peak: str) -> dict[str, Any]:
        return {"all": {"current": used[current], "peak": used[peak], "allocated": 0, "freed": 0}}

    return {"allocated_bytes": both("current", "peak"), "reserved_bytes": both("reserved", "reserved_peak")}


def _reset_peak(index: int) -> None:
    _valid(index)
    device.reset_peak(index)


def _set_stream(stream_id: int = 0, device_index: int = 0, device_type: int = 0) -> None:
    device.set_device(device_index)
    device.set_stream(stream_id, device_index)


class _Stream(torch.Stream):
    def __new__(cls, priority=0, stream_id=0, device_index=0, device_type=0, stream_ptr=0):
        if not (stream_id or device_index or device_type):
            device_index = device.get_device()
            _state.streams[device_index] += 1
            stream_id = (_state.streams[device_index] - 1) % 32 + 1  # torch has 32 and gives them in turn
        return torch.Stream.__new__(cls, stream_id=stream_id, device_index=device_index, device_type=1)

    @property
    def cuda_stream(self):
        return self.stream_id

    def query(self):
        return True

    def synchronize(self):
        _noticed("wait")
        device.synchronize_stream(self.device_index, self.stream_id)


class _Event:
    def __new__(cls, enable_timing=False, blocking=False, interprocess=False, external=False):
        self = object.__new__(cls)
        self.cuda_event = device.event_new()
        return self

    def record(self, stream):
        device.event_record(self.cuda_event, stream.device_index, stream.stream_id)

    def wait(self, stream):
        device.event_wait(self.cuda_event, stream.device_index, stream.stream_id)

    def query(self):
        return True

    def synchronize(self):
        _noticed("wait")
        device.event_synchronize(self.cuda_event)

    def elapsed_time(self, other):
        return 0.0


def _destroy(box: list[int]) -> None:
    handle, box[0] = box[0], 0
    if handle:
        _state.destroyed += 1
        device.destroy_graph(handle)


class _Graph:
    def __new__(cls, keep_graph=False):
        self = object.__new__(cls)
        self._box, self._pool = [0], None
        weakref.finalize(self, _destroy, self._box)
        return self

    def capture_begin(self, pool=None, capture_error_mode="global"):
        self._pool = pool
        self._box[0] = device.capture_begin(pool[1] if pool else 0)

    def capture_end(self):
        device.capture_end(self._box[0])

    def replay(self):
        _noticed("replay")
        device.replay(self._box[0])

    def reset(self):
        _destroy(self._box)

    def pool(self):
        return self._pool


def _install() -> None:
    for name, value in {
        "_cuda_getDeviceCount": device.device_count,
        "_cuda_init": _init,
        "_cuda_isInBadFork": lambda: False,
        "_cuda_getDevice": _get_device,
        "_cuda_setDevice": _set_device,
        "_cuda_exchangeDevice": _exchange,
        "_cuda_maybeExchangeDevice": _exchange,
        "_cuda_synchronize": _synchronize,
        "_cuda_emptyCache": lambda: None,
        "_host_emptyCache": lambda: None,
        "_cuda_memoryStats": _memory,
        "_cuda_resetPeakMemoryStats": _reset_peak,
        "_cuda_resetAccumulatedMemoryStats": _valid,
        "_cuda_getCurrentStream": lambda index: (
            device.current_stream(index),
            index if index >= 0 else device.get_device(),
            1,
        ),
        "_cuda_getDefaultStream": lambda index: (0, index, 1),
        "_cuda_setStream": _set_stream,
        "_CudaStreamBase": _Stream,
        "_CudaEventBase": _Event,
        "_CUDAGraph": _Graph,
        "_graph_pool_handle": lambda: (0, device.pool_new()),
        "_cuda_isCurrentStreamCapturing": device.is_capturing,
        "_cuda_getCompiledVersion": lambda: 13000,
        "_cuda_getArchFlags": lambda: "sm_90",
        "_cuda_hasPrimaryContext": lambda index: True,
        "_cuda_getCurrentRawStream": device.current_stream,
        "_has_cuda": True,
    }.items():
        setattr(torch._C, name, value)
    torch.version.cuda = "13.0"
    for name in ("torch.cuda.streams", "torch.cuda.graphs"):
        importlib.reload(importlib.import_module(name))
    for name in ("Stream", "Event", "ExternalStream"):
        setattr(torch.cuda, name, getattr(torch.cuda.streams, name))
    for name in ("CUDAGraph", "graph", "graph_pool_handle", "is_current_stream_capturing", "make_graphed_callables"):
        setattr(torch.cuda, name, getattr(torch.cuda.graphs, name))
    torch.cuda._is_in_bad_fork = lambda: False
    torch.cuda._exchange_device = _exchange
    torch.cuda._maybe_exchange_device = _exchange
    torch.cuda._cudart = SimpleNamespace(
        cudaError=SimpleNamespace(success=0),
        cudaMemGetInfo=lambda index: (BYTES - device.memory(index)["reserved"], BYTES),
        cudaGetErrorString=str,
    )
    assert device.hooks_taken(), "torch asked for its CUDA hooks before they were there"
    device.know(*_known())
    if os.environ.get(LIMIT):
        device.set_limit(0, int(os.environ[LIMIT]))


def _known() -> tuple[set[str], set[str], set[str]]:
    """Of torch's list of its operations: those that take scalars of the host, those with a kernel for CUDA, and all."""
    file = torch_folder().parent / "torchgen/packaged/ATen/native/native_functions.yaml"
    texts = {}
    for text in re.split(r"(?m)^- func: ", file.read_text())[1:]:
        texts[text.partition("(")[0]] = text
    scalars, kernels = set(), set()
    plain = ("CompositeExplicitAutograd", "CompositeImplicitAutograd", "CompositeExplicitAutogradNonFunctional")
    for name, text in texts.items():
        delegate = re.search(r"structured_delegate: (\S+)", text)
        both = text + (texts.get(delegate[1], "") if delegate else "")
        if "NoCheck" in both or "structured_inherits: TensorIterator" in both:
            scalars.add(name)
        dispatched = re.findall(r"(?m)^    ([A-Za-z, ]+):", both)
        keys = {key.strip() for line in dispatched for key in line.split(",")}
        if "dispatch:" not in both or "ufunc_inner_loop:" in both or keys & {"CUDA", *plain}:
            kernels.add(name)
    return scalars, kernels, set(texts)


# What is watched.
class Waits:
    """Inside, every wait of the host for the device is counted, by the line of the project that caused it."""

    def __init__(self) -> None:
        self.places: collections.Counter[str] = collections.Counter()
        self.kinds: collections.Counter[str] = collections.Counter()

    @property
    def count(self) -> int:
        """Waits in all."""
        return self.places.total()

    def __enter__(self) -> "Waits":
        _listeners.append(self)
        device.listen(_noticed)
        return self

    def __exit__(self, *exception: object) -> None:
        _listeners.remove(self)
        device.listen(None)


_listeners: list[Waits] = []


def _noticed(kind: str) -> None:
    for listener in _listeners:
        listener.kinds[kind] += 1
        if kind in ("wait", "index of the host"):
            listener.places[_place()] += 1


def _place() -> str:
    """The innermost line of the suite or of its methods."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        for room in ("benchmark", "baselines"):
            if file.startswith(f"{ROOT / room}/"):
                return f"{Path(file).relative_to(ROOT)}:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back
    return "elsewhere"


_install()
