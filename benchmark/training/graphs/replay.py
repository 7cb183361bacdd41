"""A step's work on the device, recorded once and then replayed: on a GPU, a CUDA graph in place of some thousand
launches from Python.

What a replay repeats is the same operations on the same memory. So only the network, the tasks' losses, the passes
backwards and the optimiser are recorded; what a weighting thinks happens between recordings, in Python, where it may
decide, draw, and wait for the device as it likes.
"""

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


class OnDevice(Protocol):
    """Does a piece of a step's work."""

    def __call__(self, name: str, work: Callable[..., T], *inputs: Tensor, fixed: Hashable = None) -> T:
        """What ``work`` gives for the inputs; its memory may be used again in the next step.

        Args:
            name: tells the pieces of a step apart.
            work: sees what differs between steps in the inputs, the parameters, their gradients and ``fixed`` alone.
            inputs: on the device.
            fixed: what stays the same for many steps; work for which it matters which gradients are there says it here.
        """


def eager(name: str, work: Callable[..., T], *inputs: Tensor, fixed: Hashable = None) -> T:
    """An ``OnDevice`` that records nothing."""
    return work(*inputs)


class Recording(Protocol):
    """Work that can be done again."""

    def replay(self) -> None:
        """Do it again, on the memory that it was recorded on."""


class Recorder(Protocol):
    """Records work on a device."""

    def record(self, work: Callable[[], T]) -> tuple[Recording, T]:
        """A recording, and what ``work`` gave: tensors that only a replay fills. Nothing is done yet.

        Raises:
            Exception: of any kind, where the work cannot be recorded, as when it waits for the device.
        """

    def stream(self) -> AbstractContextManager[None]:
        """Where all work goes that recordings share memory with, recorded or not."""


class CudaRecorder:
    """CUDA graphs, of which all share one pool of memory: they are replayed in the order in which they were recorded.

    Args:
        device: a GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, work: Callable[[], T]) -> tuple[Recording, T]:
        """See ``Recorder``."""
        graph = torch.cuda.CUDAGraph()
        # Other threads of the process may load data meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            result = work()
        return graph, result

    def stream(self) -> AbstractContextManager[None]:
        """See ``Recorder``."""
        return _Aside(self._stream)


class _Aside:
    """Inside, work goes to a stream of its own, which waits for the work before it; the work after it waits in turn."""

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self._stream = stream
        self._context = torch.cuda.stream(stream)

    def __enter__(self) -> None:
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        self._context.__enter__()

    def __exit__(self, *exception: Any) -> None:
        self._context.__exit__(*exception)
        torch.cuda.current_stream(self._stream.device).wait_stream(self._stream)


class Replays:
    """An ``OnDevice`` that records each piece of a step when it first meets it, and replays it from then on.

    What is recorded anew keeps its old recording, with its memory, until all of them go.

    Gradients that a piece finds or leaves in ``Parameter.grad`` are those of the present step, as if it had just been
    done: what Python does to them between two pieces counts.

    Args:
        recorder: of the device.
        parameters: all whose gradients the pieces may see.
    """

    def __init__(self, recorder: Recorder, parameters: Sequence[nn.Parameter]) -> None:
        self._recorder = recorder
        self._parameters = list(parameters)
        self._pieces: dict[str, _Piece] = {}
        #: Recordings that are replayed no more. To destroy a CUDA graph would take from its stream the workspaces of
        #: cuBLAS, which the graphs that stay were recorded with (torch 2.12 and 2.13, pytorch issue 193402).
        self._retired: list[Recording] = []

    def __call__(self, name: str, work: Callable[..., T], *inputs: Tensor, fixed: Hashable = None) -> T:
        """See ``OnDevice``."""
        gradients = [p.grad for p in self._parameters]
        piece = self._pieces.get(name)
        if piece is None or piece.fixed != fixed or not piece.fits(inputs):
            self._forget_from(name)
            piece = self._pieces[name] = self._record(work, inputs, gradients, fixed)
        else:
            piece.take(inputs, gradients)
        piece.recording.replay()
        for parameter, before, after in zip(self._parameters, piece.before, piece.after, strict=True):
            if after is not before:
                parameter.grad = after
        result: T = piece.result
        return result

    def forget(self, name: str) -> None:
        """Drop the recording of a piece: what it was recorded on is no longer what it was."""
        if piece := self._pieces.pop(name, None):
            self._retired.append(piece.recording)

    def _forget_from(self, name: str) -> None:
        """Drop a piece and those that follow it in a step: they go on with memory that the piece filled."""
        names = list(self._pieces)
        for later in names[names.index(name) :] if name in names else ():
            self.forget(later)

    def stream(self) -> AbstractContextManager[None]:
        """See ``Recorder``."""
        return self._recorder.stream()

    def _record(
        self, work: Callable[..., Any], inputs: Sequence[Tensor], gradients: list[Tensor | None], fixed: Hashable
    ) -> "_Piece":
        own = [given.detach().clone() for given in inputs]
        recording, result = self._recorder.record(lambda: work(*own))
        return _Piece(recording, own, fixed, result, gradients, [p.grad for p in self._parameters])


@dataclass(frozen=True)
class _Piece:
    """A recorded piece of a step.

    Attributes:
        inputs: the memory that it reads them from.
        fixed: what it took for granted.
        result: what it leaves.
        before, after: each parameter's gradient when it began and when it ended.
    """

    recording: Recording
    inputs: list[Tensor]
    fixed: Hashable
    result: Any
    before: list[Tensor | None]
    after: list[Tensor | None]

    def fits(self, inputs: Sequence[Tensor]) -> bool:
        """Whether it is of inputs of the same sizes."""
        return [(own.shape, own.dtype) for own in self.inputs] == [(i.shape, i.dtype) for i in inputs]

    @torch.no_grad()
    def take(self, inputs: Sequence[Tensor], gradients: list[Tensor | None]) -> None:
        """Bring inputs and gradients to where the recording reads them."""
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        for found, present in zip(self.before, gradients, strict=True):
            if found is not None and present is not None and found is not present:
                found.copy_(present)
