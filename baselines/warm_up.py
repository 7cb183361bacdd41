"""Weightings that compare losses with what they were at the end of a warm-up."""

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmark.errors import UsageError
from benchmark.tasks import Task
from benchmark.weighting import Weighting

#: Epochs are counted in 64 bits.
MOST_EPOCHS = 2**63 - 1


class WarmUpWeighting(Weighting):
    """Keeps each task's mean training loss over the last epoch of a warm-up, the reference.

    A task without a label in the last epoch of warm-up keeps its mean of an earlier one, or gets that of the first
    epoch that has one; until then its loss is its own reference. During warm-up no mean counts: it may be no reference.

    State: the epochs seen and the reference, both in buffers and compared on the device.

    Args:
        tasks: the tasks, in the order of the losses.
        name: of the weighting, for the error.
        warmup_epochs: epochs of warm-up.

    Raises:
        UsageError: ``warmup_epochs`` is not a whole number from 1 and below 2⁶³.
    """

    epochs: Tensor  # (), int64
    reference: Tensor  # (K,)
    known: Tensor  # (K,) bool, whether the reference is a mean loss

    def __init__(self, tasks: Sequence[Task], name: str, warmup_epochs: int) -> None:
        super().__init__(tasks)
        self.warmup_epochs = checked_epochs(name, warmup_epochs, least=1)
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))
        self.register_buffer("reference", torch.ones(len(self.tasks)))
        self.register_buffer("known", torch.zeros(len(self.tasks), dtype=torch.bool))

    def epoch_end(self, train_losses: Tensor) -> None:
        """Count the epoch; (K,) mean training losses of the last one of warm-up become the reference."""
        # In place: a captured graph of the step reads these very tensors.
        self.epochs += 1
        means = train_losses.detach().to(self.reference)
        wanted = ((self.epochs <= self.warmup_epochs) | ~self.known) & ~means.isnan()
        self.reference.copy_(torch.where(wanted, means, self.reference))
        self.known.logical_or_(wanted)

    def references(self, values: Tensor) -> Tensor:
        """(M,) the present tasks' references, NaN where one is not positive and finite; during warm-up, and where there
        is none yet, the task's loss in ``values``.
        """
        held = self.present.rows(self.reference)
        usable = torch.where((held > 0) & held.isfinite(), held, torch.nan)
        return torch.where(self.present.rows(self.known) & ~self.warm, usable, values.detach())

    @property
    def warm(self) -> Tensor:
        """() whether warm-up lasts."""
        return self.epochs < self.warmup_epochs


def checked_epochs(name: str, value: int, *, least: int) -> int:
    """The option ``warmup_epochs`` of the weighting ``name``.

    Raises:
        UsageError: it is not a whole number from ``least`` and below 2⁶³.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MOST_EPOCHS:
        most = f" and below 2^63 ({MOST_EPOCHS + 1})" if isinstance(value, int) and value > MOST_EPOCHS else ""
        raise UsageError(f"'{name}' needs a whole number from {least}{most} as 'warmup_epochs', found {value!r}")
    return value
