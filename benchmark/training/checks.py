"""What can be known to be wrong with runs before any of them is done, and before their data are prepared."""

from collections.abc import Sequence

import torch

from benchmark.data import DataSet, build_dataset
from benchmark.errors import UsageError, UserError
from benchmark.runs.spec import RunSpec
from benchmark.training import augmentation, per_task_input
from benchmark.training.forward import check_channels
from benchmark.weighting import SampledWeighting, Weighting, build_weighting


def check_runs(specs: Sequence[RunSpec]) -> None:
    """Refuse runs none of which could do a step.

    Raises:
        UserError: an option's value is refused by the method that it is given to, an augmentation by the data set,
            a data set's pictures by every network, or a batch is too small for its weighting or larger than the
            training split.
    """
    cells = {spec.model_copy(update={"seed": 0}).id: spec for spec in specs}
    for spec in cells.values():
        dataset = build_dataset(spec.dataset.name, **spec.dataset.options)
        check_channels(dataset)
        _check_batch(spec, dataset)
        augmentation.check(spec.protocol, dataset)
        weighting = _weighting(spec, dataset)
        per_task_input.check(spec, dataset, weighting)
        if isinstance(weighting, SampledWeighting):
            weighting.check_batch(spec.protocol.batch_size)


def _check_batch(spec: RunSpec, dataset: DataSet) -> None:
    for piece in dataset.pieces:
        count, size = piece.samples["train"], spec.protocol.batch_size
        if count < size:
            raise UsageError(
                f"the training split of '{piece.name}' holds {count} samples, less than one batch of {size}: give "
                f"batch_size {count} or less, as with --set protocol.batch_size={count}"
            )


def _weighting(spec: RunSpec, dataset: DataSet) -> Weighting | None:
    """The run's weighting; None without one, and where foreign code raises something, as its run will record."""
    if spec.weighting is None:
        return None
    try:
        with torch.random.fork_rng(devices=[]):
            return build_weighting(spec.weighting.name, dataset.tasks, **spec.weighting.options)
    except UserError:
        raise
    except (Exception, SystemExit):  # noqa: BLE001 - see above
        return None
