"""Hashes of a run's first steps, so that another machine can repeat a record's beginning without the whole run."""

import hashlib
from collections.abc import Iterable

from torch import Tensor

#: Steps after which a hash is taken, counted from 1: a difference in one bit is in all later ones.
TRACED_STEPS = (1, 2, 5, 10, 20, 50)


def digest(losses: Tensor, parameters: Iterable[Tensor]) -> str:
    """16 hex digits over every bit of the step's losses (K,) and of the parameters after it, whatever their layout."""
    found = hashlib.sha256()
    for tensor in (losses, *parameters):
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]
