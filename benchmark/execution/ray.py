"""Runs on a Ray cluster: each is a task with its processors and its GPU, or a fraction of one."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from time import monotonic
from typing import Any

from benchmark.errors import UserError
from benchmark.execution.executor import Ended, Lost, Refused, RunEvent
from benchmark.execution.remote import Parcel, serve
from benchmark.runs.spec import RunSpec

#: Seconds for which what the cluster holds is remembered.
REMEMBERED = 5.0


class RayExecutor:
    """Tasks that stream what happens to the driver, which alone writes records: no file system need be shared.

    Ray's own retries are off: the loop of the grid tries again, from a checkpoint where the workers share a folder.

    Args:
        parcel: what every worker needs.
        address: of a cluster that runs; None starts one on this machine.
        gpus: of each run; fractions share a GPU.
        workers: runs at once; None for as many as the cluster has room for, also when it grows.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """

    stores = False

    def __init__(
        self, parcel: Parcel, *, address: str | None = None, gpus: float | None = None, workers: int | None = None
    ) -> None:
        try:
            import ray
        except ImportError as error:
            raise UserError("the executor 'ray' needs Ray: pip install 'mtbench[ray]'") from error
        self.ray: Any = ray
        self.workers = workers
        try:
            # A cluster that is started here has a processor for each run that was asked for, however few there are.
            ray.init(
                address=address or "local",
                num_cpus=workers * parcel.threads if workers and not address else None,
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(f"no Ray cluster at {address or 'this machine'} ({error}); is 'ray start' done?") from error
        held = ray.cluster_resources()
        self.gpus = gpus if gpus is not None else float(parcel.device != "cpu" and held.get("GPU", 0) > 0)
        device = parcel.device if self.gpus or parcel.device != "auto" else "cpu"
        self.parcel = ray.put(replace(parcel, device=device, workers=max(1, round(1 / self.gpus)) if self.gpus else 1))
        self.threads, self.grace = parcel.threads, parcel.grace
        self.task = ray.remote(num_cpus=parcel.threads, num_gpus=self.gpus, max_retries=0)(_task)
        self._running: dict[Any, str] = {}
        self._places, self._asked = 0, -REMEMBERED

    def free(self) -> int:
        """See ``Executor``."""
        if monotonic() - self._asked >= REMEMBERED:
            self._places, self._asked = self._room(), monotonic()
        return self._places - len(self._running)

    def _room(self) -> int:
        held = self.ray.cluster_resources()
        room = int(held.get("CPU", 0) // self.threads)
        if self.gpus:
            room = min(room, int(held.get("GPU", 0) / self.gpus))
        # One more than there is room for keeps the next worker from waiting, and tells an autoscaler to begin.
        return min(room + 1, self.workers) if self.workers else room + 1

    def submit(self, spec: RunSpec) -> None:
        """See ``Executor``."""
        self._running[self.task.options(num_returns="streaming").remote(spec.model_dump_json(), self.parcel)] = spec.id

    def events(self, timeout: float) -> Sequence[RunEvent]:
        """See ``Executor``."""
        ready, _ = self.ray.wait(list(self._running), num_returns=1, timeout=timeout, fetch_local=False)
        return [event for stream in ready if (event := self._next(stream))]

    def _next(self, stream: Any) -> RunEvent | None:
        run = self._running[stream]
        try:
            event: RunEvent = self.ray.get(next(stream))
        except StopIteration:
            event = Lost(run, "the worker ended without a result")
        except self.ray.exceptions.RayError as error:
            event = Lost(run, f"the worker was lost: {' '.join(str(error).split())[:300]}")
        if isinstance(event, (Ended, Refused, Lost)):
            del self._running[stream]
        return event

    def cancel(self, run: str) -> None:
        """See ``Executor``."""
        for stream in [stream for stream, known in self._running.items() if known == run]:
            del self._running[stream]
            with suppress(self.ray.exceptions.RayError):
                self.ray.cancel(stream, force=True)

    def close(self) -> Sequence[RunEvent]:
        """See ``Executor``."""
        last: list[RunEvent] = []
        for stream in self._running:
            with suppress(self.ray.exceptions.RayError):
                self.ray.cancel(stream)
        deadline = monotonic() + self.grace
        while self._running and monotonic() < deadline:
            last += [h for h in self.events(max(0.0, deadline - monotonic())) if isinstance(h, Ended)]
        self._running.clear()
        self.ray.shutdown()
        return last


def _task(text: str, parcel: Parcel) -> Any:
    """What a worker does."""
    yield from serve(RunSpec.model_validate_json(text), parcel)
