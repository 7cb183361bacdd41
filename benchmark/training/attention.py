"""Where an architecture's tasks attend, in few bytes: masks of the pictured samples."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.model import MultiTaskModel
from benchmark.runs.artifacts import Arrays, OfMasks
from benchmark.training.forward import scaled
from benchmark.training.hardware import Hardware

#: Pixels of the longer side of a stored mask.
LONGEST_SIDE = 64
#: Levels of a task that are kept: more do not stand side by side.
MOST_LEVELS = 16


@torch.no_grad()
def masks(model: MultiTaskModel, images: Tensor, hardware: Hardware, note: Callable[[str], None]) -> Arrays:
    """Each task's masks at each level, averaged over channels; empty for an architecture without attention.

    All are brought to one size, that of the pictures or smaller: pixels of larger masks are averaged, those of smaller
    ones repeated. The 256 shades of a level reach from its least value on these pictures to its greatest, so that what
    there is of structure is seen.

    Args:
        model: on the device.
        images: (P, C, H, W) uint8.
        hardware: what to compute on.
        note: told in one line where the architecture's hook does not give what its contract says: that costs the
            masks, not the run.

    Returns:
        What ``OfMasks`` says of each task: masks (P, L, h, w) uint8, ends (L, 2) float32 and levels (L,).
    """
    model.eval()
    try:
        with hardware.autocast():
            found = model.attention_masks(scaled(images, model.memory_format))
        return {name: array for task, levels in found.items() for name, array in _stored(task, levels, images).items()}
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the hook is foreign code, and pictures are no part of the numbers
        note(f"no attention masks are kept ({' '.join(str(error).split())[:200] or type(error).__name__})")
        return {}


def _stored(task: str, levels: Mapping[str, Tensor], images: Tensor) -> Arrays:
    height, width = images.shape[-2:]
    share = min(1.0, LONGEST_SIDE / max(height, width))
    size = (max(1, round(share * height)), max(1, round(share * width)))
    kept = dict(list(levels.items())[:MOST_LEVELS])
    drawn, ends = [], []
    for name, mask in kept.items():
        if mask.ndim != 4 or len(mask) != len(images) or not torch.isfinite(mask).all():
            raise ValueError(f"'{name}' of '{task}' must be finite and (B, C, h, w), found {tuple(mask.shape)}")
        mean = F.adaptive_avg_pool2d(mask.float().mean(1), size)  # (P, h, w)
        low, high = mean.min(), mean.max()
        drawn.append((255 * (mean - low) / (high - low).clamp(min=1e-12)).round().to(torch.uint8))
        ends.append((float(low), float(high)))
    if not kept:
        return {}
    return {
        OfMasks(task): torch.stack(drawn, 1).cpu().numpy(),
        OfMasks(task, "ends"): np.array(ends, np.float32),
        OfMasks(task, "levels"): np.array(list(kept)),
    }
