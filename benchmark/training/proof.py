"""Steps are replayed from recordings only where that was seen, at the start of the run, to change nothing."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmark.training.engine import Trainer
from benchmark.training.replay import CudaRecorder, Replays

#: Steps that are taken both ways: the first makes the optimiser's moments, the second is recorded.
STEPS = 5
#: By precision how far losses and weights may lie apart, relatively. The order in which a GPU adds is not fixed, and
#: five steps carry the differences on.
TOLERANCE = {"fp32": 1e-3, "bf16": 3e-2}


def cuda_graphs(trainer: Trainer) -> Replays:
    """Recordings of a trainer's steps on its GPU."""
    return Replays(CudaRecorder(trainer.device), trainer.parameters())


def objection(build: Callable[[], Trainer], recordings: Callable[[Trainer], Replays]) -> str | None:
    """Take the first steps of a run twice: one by one, and replayed.

    Args:
        build: a trainer at the start of the run, each time anew; torch's generators start from the same seed.
        recordings: of a trainer's steps.

    Returns:
        Why the run's steps should not be replayed, in one line; None where they may be.
    """
    try:
        trainer = build()
        hardware, plain = trainer.hardware, _taken(trainer)
        del trainer
        hardware.begin_anew()
        trainer = build()
        trainer.replays = recordings(trainer)
        replayed = _taken(trainer)
        del trainer
        hardware.begin_anew()
    except Exception as error:  # noqa: BLE001 - a network is foreign code: what cannot be recorded may well be trained
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    tolerance = TOLERANCE[hardware.precision]
    for step, (expected, found) in enumerate(zip(plain, replayed, strict=True), 1):
        if not torch.allclose(found, expected, rtol=tolerance, atol=0, equal_nan=True):
            return f"losses and weights of step {step} were {expected.tolist()}, and {found.tolist()} when replayed"
    return None


def _taken(trainer: Trainer) -> list[Tensor]:
    """(2, K) losses and weights of each of the first steps, of which one is sampled, as in every run."""
    trainer.model.train()
    taken = []
    for step in range(STEPS):
        result = trainer.advance(trainer.batches.next(), diagnose=step == 0)
        taken.append(torch.stack([result.losses, result.weights]).cpu())  # before the next step overwrites them
    return taken
