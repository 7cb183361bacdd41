"""What this process computes, as a hash: two processes whose hashes agree go on to the same numbers, bit for bit."""

import hashlib
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: By PyTorch's version, the probe of portable arithmetic on every processor that was tried; see ``docs/portable.md``.
PORTABLE_PROBES = {"2.13.0": "d0693197"}


@cache
def probe() -> str:
    """8 hex digits over two steps of a small network on the CPU in fp32, and over functions that processors differ in.

    It draws nothing from torch's own generator, and takes a few hundredths of a second.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        digest = hashlib.sha256()
        for value in (*_steps(), *_functions()):
            digest.update(value.detach().contiguous().numpy().tobytes())
    finally:
        torch.set_num_threads(threads)
    return digest.hexdigest()[:8]


def expected() -> str | None:
    """The probe that portable arithmetic gives with this version of PyTorch; None where none was recorded."""
    return PORTABLE_PROBES.get(torch.__version__.partition("+")[0])


def _numbers(draw: torch.Generator, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Uniform in [-1, 1), whole multiples of 2⁻²³, so that they do not depend on how floats are drawn."""
    whole = torch.randint(-(2**23), 2**23, shape, generator=draw)
    return whole.to(dtype) / 2**23


def _steps() -> list[Tensor]:
    """Predictions, gradients and parameters of convolutions, batch norm, resizing and Adam."""
    draw = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers: list[nn.Module] = [nn.Conv2d(3, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU()]
        layers += [nn.Conv2d(24, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 13, 1)]
        network = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2, fused=True)
    images = _numbers(draw, 4, 3, 24, 32).to(memory_format=torch.channels_last)
    target = torch.randint(13, (4, 24, 32), generator=draw)
    found: list[Tensor] = []
    for _ in range(2):
        prediction = F.interpolate(network(images), scale_factor=2.0, mode="bilinear")
        optimizer.zero_grad()
        F.cross_entropy(prediction, target).backward()
        optimizer.step()
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        found += [prediction, *gradients, *(parameter.clone() for parameter in network.parameters())]
    return found


def _functions() -> list[Tensor]:
    draw = torch.Generator().manual_seed(1)
    single, double = (_numbers(draw, 999, dtype=dtype) for dtype in (torch.float32, torch.float64))
    square = _numbers(draw, 48, 48, dtype=torch.float64)
    return [
        single.exp(), single.abs().add(1e-3).log(), single.sin(), single.tanh(), single.sigmoid(), double.exp(),
        F.normalize(single.view(-1, 3), dim=1), square @ square.T, torch.linalg.eigh(square @ square.T).eigenvalues,
    ]  # fmt: skip
