"""One split of a data set as training sees it: pictures, targets and ids, on the device or streamed to it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmark.data.mapped import MappedImages
from benchmark.transfer import sent


@dataclass(frozen=True)
class Split:
    """One split on one device.

    Attributes:
        images: (N, 3, H, W) or (N, 1, H, W) uint8.
        targets: per task (N, …) in its stored form.
        ids: (N,) what each sample is called in its source.
        extents: None where networks see pictures as they are stored. Otherwise they see squares, H wide, of canvases of
            W ≥ H columns: (N,) int16, how many columns a picture fills, negative where it is stored transposed.
    """

    images: Tensor | MappedImages
    targets: Mapping[str, Tensor]
    ids: np.ndarray
    extents: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def device(self) -> torch.device:
        """Where batches are."""
        return self.images.device

    def for_task(self, task: str) -> "Split":
        """The split that holds a task's pictures: this one."""
        return self

    def order(self, places: Tensor) -> Tensor:
        """Places of the host (B,) where their pictures are looked up: on the device; of streamed ones on the host."""
        return places if isinstance(self.images, MappedImages) else sent(places, self.device)

    def pictures(self, indices: Tensor, where: Tensor | None = None) -> Tensor:
        """Some pictures as networks see them, on the device.

        Args:
            indices: (B,) places in the split.
            where: (B,) in [0, 1), which square of a longer picture; None for the middle.

        Returns:
            (B, C, H, W) uint8; (B, C, H, H) where there are extents.
        """
        images = self.images[indices]
        if self.extents is None:
            return images
        return squares(images, self.extents[sent(indices, self.extents.device)], where)


@dataclass(frozen=True)
class PerTaskInputSplit:
    """One split of a data set in which every task has its own pictures.

    Attributes:
        parts: by task, a split with that task's target alone.
    """

    parts: Mapping[str, Split]

    def __len__(self) -> int:
        return max(len(part) for part in self.parts.values())

    def for_task(self, task: str) -> Split:
        """The split that holds a task's pictures."""
        return self.parts[task]


AnySplit = Split | PerTaskInputSplit


def squares(images: Tensor, extents: Tensor, where: Tensor | None) -> Tensor:
    """Squares of the canvases' height. (B, C, H, W) and (B,) and (B,) -> (B, C, H, H)."""
    side = images.shape[-2]
    room = extents.abs().long() - side
    start = room // 2 if where is None else (where * (room + 1)).floor().long()
    columns = start[:, None] + torch.arange(side, device=images.device)  # (B, H)
    part = images.gather(-1, columns[:, None, None, :].expand(*images.shape[:-1], side))
    return torch.where((extents < 0)[:, None, None, None], part.mT, part)
