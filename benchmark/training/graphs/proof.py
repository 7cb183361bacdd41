"""Steps are replayed from recordings only where that was seen, at the start of the run, to change nothing."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from benchmark.training.checkpoint import fill, tensors_of
from benchmark.training.engine import Trainer
from benchmark.training.graphs.replay import CudaRecorder, Replays
from benchmark.training.steps.step import Result

#: Steps that are taken both ways: the first makes the optimiser's moments, the second is recorded.
STEPS = 5
#: By precision how far losses and weights of one step may lie apart, relatively, and how far gradients: the order in
#: which a GPU adds is not fixed. Every step begins both ways in the same state, so that none carries on what another
#: began. Orders alone make up to 1e-5 of gradients in fp32 and 4 % in bf16; what is lost or stale makes about 1.
TOLERANCE = {"fp32": (1e-3, 1e-2), "bf16": (3e-2, 0.2)}
#: Where a gradient is shorter than this share of the longest, its difference is measured by that: one that is zero but
#: for rounding, as that of a bias before a batch norm, has no digit that comes back.
SHORT = 0.1


def cuda_graphs(trainer: Trainer) -> Replays:
    """Recordings of a trainer's steps on its GPU."""
    return Replays(CudaRecorder(trainer.device), trainer.parameters())


def objection(build: Callable[[], Trainer], recordings: Callable[[Trainer], Replays]) -> str | None:
    """Take the first steps of a run both ways, one by one and replayed.

    Two networks are on the device meanwhile, and the activations of one step of each.

    Args:
        build: a trainer at the start of the run, each time anew; torch's generators start from the same seed.
        recordings: of a trainer's steps.

    Returns:
        Why the run's steps should not be replayed, in one line; None where they may be.
    """
    try:
        plain, replayed = build(), build()
        hardware, replayed.replays = replayed.hardware, recordings(replayed)
        found = next((reason for number in range(STEPS) if (reason := _difference(plain, replayed, number))), None)
        del plain, replayed
        hardware.begin_anew()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a network is foreign code: what cannot be recorded may well be trained
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return found


def _difference(plain: Trainer, replayed: Trainer, number: int) -> str | None:
    """Take one step both ways from the plain one's state; the first is sampled, as in every run."""
    _assume(replayed, plain)
    with plain.hardware.kept_generators():
        expected = _taken(plain, number)
    found, (near, tolerance) = _taken(replayed, number), TOLERANCE[plain.hardware.precision]
    if not torch.allclose(found, expected, rtol=near, atol=0, equal_nan=True):
        values = f"{expected.tolist()}, and {found.tolist()} when replayed"
        return f"losses and weights of step {number + 1} were {values}"
    name = _other_gradient(_gradients(plain), _gradients(replayed), tolerance)
    return f"the gradient of {name} in step {number + 1} was another when replayed" if name else None


def _taken(trainer: Trainer, number: int) -> Tensor:
    """(2, K) losses and weights of a step."""
    trainer.model.train()
    result: Result = trainer.advance(trainer.batches.next(), diagnose=number == 0)
    return torch.stack([result.losses, result.weights]).cpu()


@torch.no_grad()
def _assume(trainer: Trainer, other: Trainer) -> None:
    """Bring a trainer into the state of another that has taken as many steps, in the memory that recordings know."""
    fill(trainer.model, tensors_of(other.model))
    if trainer.weighting and other.weighting:
        fill(trainer.weighting, tensors_of(other.weighting))
    for own, parameter in zip(trainer.parameters(), other.parameters(), strict=True):
        for name, value in trainer.optimizer.state.get(own, {}).items():
            if isinstance(value, Tensor):
                value.copy_(other.optimizer.state[parameter][name])


def _gradients(trainer: Trainer) -> dict[str, Tensor | None]:
    """By name of the parameter, of all that is trained."""
    modules: tuple[nn.Module | None, ...] = (trainer.model, trainer.weighting)
    return {
        f"the {'weighting' if module is trainer.weighting else 'network'}'s '{name}'": parameter.grad
        for module in modules
        if module is not None
        for name, parameter in module.named_parameters()
    }


def _other_gradient(
    expected: Mapping[str, Tensor | None], found: Mapping[str, Tensor | None], tolerance: float
) -> str | None:
    """The first parameter whose gradient differs."""
    lengths = {name: _length(gradient) for name, gradient in expected.items() if gradient is not None}
    longest = max(lengths.values(), default=0.0)
    for name, gradient in expected.items():
        other = found[name]
        if gradient is None or other is None:
            if gradient is not other:
                return name
        elif not torch.equal(gradient.isfinite(), other.isfinite()) or _length(
            (gradient - other).nan_to_num(0, 0, 0)
        ) > tolerance * max(lengths[name], SHORT * longest):
            return name
    return None


def _length(gradient: Tensor) -> float:
    """Of what is finite."""
    return float(torch.linalg.vector_norm(gradient.nan_to_num(0, 0, 0), dtype=torch.float64))
