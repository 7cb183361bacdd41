"""Random changes of training samples, batched on the device, the same for every cell of a seed.

``flip`` mirrors a sample left to right with probability 1/2. ``scale_crop`` enlarges it by 1.0, 1.2 or 1.5 and keeps a
part of the size before, whose corner is a random whole pixel: bilinear for pictures, nearest pixel for targets, depth
divided by the scale. Its two forms differ in surface normals alone:

``literature`` keeps them, as the public code of the field does (github.com/lorenmt/auto-lambda, ``create_dataset.py``;
github.com/median-research-group/LibMTL, ``examples/nyu``). That contradicts itself. To divide depth is to say that the
camera came nearer, and the scene that picture and depth then show is the true one flattened along the view and, where
the part is not in the middle, sheared: the gradient of the depth that the network is to learn and the normals that it
is to learn beside it belong to two different surfaces.

``random_crop`` acts on pictures that are stored longer than networks see them (``data.split``): these see a random
square instead of the middle one.

``consistent`` turns the normals with that scene (``tasks.geometry.consistent_normals``), for which the camera must be
known.

Deviations from the public code, in both forms: the part is exactly 1/scale of the picture in both directions, where
theirs is rounded down to whole pixels; and pixels are squares around their middles, where theirs interpolates pictures
with aligned corners and targets without, which moves the two against each other by up to half a pixel.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from benchmark.data import AnySplit, DataSet, PerTaskInputDataSet, PerTaskInputSplit
from benchmark.errors import UsageError
from benchmark.runs.spec import Protocol, RunSpec, derive_seed
from benchmark.tasks import Intrinsics, Task, Zoom
from benchmark.transfer import sent

SCALES = (1.0, 1.2, 1.5)
#: Random numbers per sample: window, flip, scale, row, column.
NUMBERS = 5


def check(protocol: Protocol, dataset: DataSet) -> None:
    """Make sure that the protocol's augmentations make sense on a data set.

    Where every task has its own pictures, each part takes those that it allows.

    Raises:
        UsageError: the data set forbids one, or its camera must be known and is not.
    """
    allowed = frozenset[str]().union(*(part.augmentations for part in dataset.pieces))
    for name in sorted(asked(protocol) - allowed):
        raise UsageError(
            f"the data set '{dataset.name}' does not take the augmentation {name}, which has nothing to act on there "
            f"or would make targets wrong; it takes {', '.join(sorted(allowed)) or 'none'}: change the protocol"
        )
    for part in dataset.pieces:
        needing = [task.name for task in part.tasks if task.definition.needs_camera]
        if protocol.scale_crop == "consistent" and part.intrinsics is None and needing:
            raise UsageError(
                f"scale_crop = \"consistent\" needs the camera of '{dataset.name}' for {', '.join(needing)}, and its "
                'intrinsics are not known; use scale_crop = "literature" or "none"'
            )


def asked(protocol: Protocol) -> frozenset[str]:
    """The augmentations that a protocol switches on, by the names of its fields."""
    on = {
        "flip": protocol.flip,
        "scale_crop": protocol.scale_crop != "none",
        "random_crop": protocol.random_crop,
    }
    return frozenset(name for name, wanted in on.items() if wanted)


def augment(spec: RunSpec, dataset: DataSet, split: AnySplit) -> "Augmentation | dict[str, Augmentation]":
    """The augmentation of a run's training split; by task, where every task has its own pictures.

    Raises:
        UsageError: see ``check``.
    """
    check(spec.protocol, dataset)
    if isinstance(dataset, PerTaskInputDataSet) and isinstance(split, PerTaskInputSplit):
        return {name: _of(spec, part, len(split.parts[name]), axis=(name,)) for name, part in dataset.parts.items()}
    return _of(spec, dataset, len(split))


def _of(spec: RunSpec, dataset: DataSet, count: int, axis: tuple[str, ...] = ()) -> "Augmentation":
    return Augmentation(
        spec, dataset.tasks, count=count, allowed=dataset.augmentations, camera=dataset.intrinsics, axis=axis
    )


class Augmentation:
    """Changes training samples at random.

    What happens to a sample in a pass depends on the seed, the pass and the sample's place in the split, never on the
    batch in which it comes, the model, or the device: the numbers are drawn on the CPU for the whole pass at once.

    Args:
        spec: names the protocol and the seed.
        tasks: what the targets are.
        count: samples in the split.
        allowed: augmentations that the data set allows; others do nothing.
        camera: of the pictures, where it is known.
        axis: further axes that the random numbers may depend on.
    """

    def __init__(
        self,
        spec: RunSpec,
        tasks: tuple[Task, ...],
        *,
        count: int,
        allowed: frozenset[str] = DataSet.augmentations,
        camera: Intrinsics | None = None,
        axis: tuple[str, ...] = (),
    ) -> None:
        self.tasks = tasks
        self.count = count
        self.active = asked(spec.protocol) & allowed
        self.camera = camera if spec.protocol.scale_crop == "consistent" else None
        self.generator = torch.Generator().manual_seed(derive_seed("augmentation", spec.seed, *axis))
        self.numbers = torch.zeros(0, NUMBERS)
        self.scales = torch.zeros(0)

    def draw(self, device: torch.device) -> None:
        """Begin a pass over the split."""
        if self.active:
            numbers = torch.rand(self.count, NUMBERS, generator=self.generator, dtype=torch.float64)
            self.numbers = sent(numbers, device)
            self.scales = sent(torch.tensor(SCALES, dtype=torch.float64), device)

    def windows(self, indices: Tensor) -> Tensor | None:
        """Which squares of longer pictures networks see, see ``Split.pictures``. (B,) -> (B,) in [0, 1)."""
        return self.numbers[indices, 0] if "random_crop" in self.active else None

    def __call__(
        self, images: Tensor, targets: Mapping[str, Tensor], indices: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Samples of the present pass, changed.

        Args:
            images: (B, C, H, W) uint8.
            targets: per task (B, …) in its stored form.
            indices: (B,) places of the samples in the split.

        Returns:
            Pictures and targets of the same shapes and types.
        """
        if not self.active:
            return images, dict(targets)
        _, flip, *where = self.numbers[indices].unbind(1)
        kinds = {task.name: task.definition for task in self.tasks}
        changed = dict(targets)
        if "scale_crop" in self.active:
            zoom = self._zoom(*where, height=images.shape[-2], width=images.shape[-1])
            images = zoom.bilinear(images)
            changed = {name: kinds[name].zoom(target, zoom) for name, target in changed.items()}
        if "flip" in self.active:
            images = _where(flip < 0.5, images.flip(-1), images)
            changed = {name: _where(flip < 0.5, kinds[name].flip(target), target) for name, target in changed.items()}
        return images, changed

    def _zoom(self, scale: Tensor, row: Tensor, column: Tensor, *, height: int, width: int) -> Zoom:
        """From three numbers in [0, 1) per sample, (B,) each."""
        chosen = self.scales[(scale * len(SCALES)).long()]
        return Zoom(chosen, _corner(row, height, chosen), _corner(column, width, chosen), self.camera)


def _corner(number: Tensor, size: int, scale: Tensor) -> Tensor:
    """Whole pixels, each that keeps a part of size / scale inside as likely as the others. (B,)."""
    room = (size - size / scale + 1e-6).floor()  # 288 − 288 / 1.2 is 48, whatever rounding makes of it
    return (number * (room + 1)).floor()


def _where(chosen: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Sample by sample one or the other. (B,) bool, (B, …), (B, …)."""
    return torch.where(chosen.view(-1, *[1] * (one.dim() - 1)), one, other)
