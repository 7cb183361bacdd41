"""Values on their way between the host and a device, so that the host waits as rarely as can be: once, or never."""

from collections.abc import Sequence

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on the device. Nobody waits: a GPU copies from pinned memory, in the order of its stream.

    Pinned memory comes from torch's cache, which gives it out again only after the copy from it is done.
    """
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def brought(*tensors: Tensor) -> Sequence[Tensor]:
    """Tensors of one type in the memory of the host, by one wait for the device; those of the host as they are."""
    if tensors[0].device.type == "cpu":
        return tensors
    values = torch.cat([tensor.flatten() for tensor in tensors]).cpu().split([tensor.numel() for tensor in tensors])
    # Copies, so that each is aligned as it would be alone.
    return [value.clone().view(tensor.shape) for value, tensor in zip(values, tensors, strict=True)]
