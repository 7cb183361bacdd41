"""Visual Decathlon: ten classification sets, each a task with pictures of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch

from benchmark.data.dataset import IMAGE, SPLITS, Colours, Storage, build_dataset, register_dataset
from benchmark.data.decathlon.annotations import HELP, Annotation, read_annotations
from benchmark.data.decathlon.canvas import SIDE, on_canvas, read_rgb
from benchmark.data.decathlon.card import CARD
from benchmark.data.decathlon.facts import facts
from benchmark.data.files import is_file, is_folder
from benchmark.data.lists import spread
from benchmark.data.options import at_least_0, one_of
from benchmark.data.per_task_input import PerTaskInputDataSet
from benchmark.data.prepared import load_array
from benchmark.data.split import Split, squares
from benchmark.data.streaming import Plan, StreamedDataSet
from benchmark.errors import UsageError, UserError, unknown
from benchmark.tasks import Stored, Task

CHALLENGE = "challenge"
EXTENT = "extent"
#: The set that has an archive of its own, larger than all others together.
IMAGENET = "imagenet12"
#: Of each class, by the order of ids, this picture of every ten is held out as val.
VAL_EVERY, VAL_PLACE = 10, 4
#: Columns of a set's canvases; longer pictures lose their ends.
LENGTHS = {"cifar100": SIDE, "omniglot": SIDE, "svhn": SIDE, "daimlerpedcls": 2 * SIDE}
LENGTH = SIDE * 3 // 2


@register_dataset
class DecathlonSet(StreamedDataSet):
    """One set of the Visual Decathlon, a part of the data set 'decathlon'.

    Args:
        set: which of the ten.
        limit: at most this many samples of each split, evenly spread; 0 for all of them. For trials: with a limit, an
            archive of fewer pictures will do.

    Raises:
        UsageError: there is no such set, or the limit is no number.
    """

    name = "decathlon-set"
    version = 1
    smoke: ClassVar[Mapping[str, Any]] = {"limit": 16}
    splits = (*SPLITS, CHALLENGE)
    withheld = CHALLENGE
    chunk = 64

    def __init__(self, *, set: str = "aircraft", limit: int = 0) -> None:
        one_of("decathlon: set", set, tuple(facts()))
        at_least_0("decathlon: limit", limit)
        self.set, self.limit = set, limit
        self.facts = facts()[set]
        self.card = replace(CARD, title=f"Visual Decathlon: {self.facts.title}")  # type: ignore[misc]
        self.tasks = (Task(set, "classification", self.facts.classes),)
        # As the authors of MTAN train: signs, letters and digits are neither mirrored nor moved.
        self.augmentations = frozenset({"flip", "random_crop"} if self.facts.flips else ())  # type: ignore[misc]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """RGB squares."""
        return (3, SIDE, SIDE)

    @property
    def length(self) -> int:
        """Columns of the canvases on which pictures are stored."""
        return LENGTHS.get(self.set, LENGTH)

    @property
    def fields(self) -> dict[str, Stored]:
        """Canvases, what of them is filled, and classes."""
        image = Stored("uint8", (3, SIDE, self.length), "", 0, 255)
        return {**super().fields, IMAGE: image, EXTENT: Stored("int16", (), "px", -self.length, self.length)}

    @property
    def samples(self) -> dict[str, int]:
        """The official numbers, a tenth of train held out, about."""
        official = self.facts.official
        held_out = official["train"] // VAL_EVERY
        counts = {
            "train": official["train"] - held_out,
            "val": held_out,
            "test": official["val"],
            CHALLENGE: official["test"],
        }
        return {split: min(count, self.limit or count) for split, count in counts.items()}

    def _named(self, source: Path | None) -> Path:
        if source is None:
            raise UserError(
                "'decathlon' is made from files of your own: name their folder by 'mtbench data prepare decathlon "
                f"--source DIR', or by --source decathlon=DIR. {CARD.obtain}"
            )
        return source.resolve()

    def plan(self, source: Path) -> Plan:
        """Read the annotation files. See ``StreamedDataSet.plan``."""
        root = archive(source)
        found = {}
        names = {"train": "train", "val": "val", "test": "test_stripped"}
        for split, name in names.items():
            file = root / "annotations" / f"{self.set}_{name}.json"
            found[split] = read_annotations(file, self.facts, labelled=split != "test")
            expected = self.facts.official[split]
            if not self.limit and len(found[split]) != expected:
                raise UserError(f"{file} names {len(found[split])} pictures, expected {expected}; {HELP}")
        train, val = carved(found["train"])
        annotations = {"train": train, "val": val, "test": found["val"], CHALLENGE: found["test"]}
        annotations = {split: spread(those, self.limit) for split, those in annotations.items()}
        ids = {split: np.array([entry.id for entry in those]) for split, those in annotations.items()}
        pictures = [picture(root, entry) for those in annotations.values() for entry in those]
        for file in pictures:
            if not is_file(file):
                raise UserError(
                    f"{file} is missing; unpack {self.set}.tar in {root / 'data'}"
                    + (", from decathlon-1.0-data-imagenet.tar" if self.set == IMAGENET else "")
                )
        used = [root / "annotations" / f"{self.set}_{name}.json" for name in names.values()]
        return Plan(root, ids, [*used, *pictures])

    def make(self, root: Path, split: str, ids: Sequence[Any]) -> dict[str, np.ndarray]:
        """Read a few pictures. See ``StreamedDataSet.make``."""
        annotations = [Annotation.from_id(word) for word in ids]
        laid = [on_canvas(read_rgb(picture(root, entry)), self.length) for entry in annotations]
        return {
            IMAGE: np.stack([canvas for canvas, _ in laid]),
            EXTENT: np.array([extent for _, extent in laid], np.int16),
            self.set: np.array([entry.label for entry in annotations], np.int16),
        }

    def load(self, split: str, storage: Storage, device: torch.device | str = "cpu") -> Split:
        """Also what of the canvases is filled. See ``DataSet.load``."""
        loaded = cast(Split, super().load(split, storage, device))
        name = f"{split}-{EXTENT}"
        extents = load_array(self.folder(storage) / f"{name}.npy", self.manifest(storage)["arrays"][name])
        return replace(loaded, extents=torch.from_numpy(extents).to(device))

    def few(self, split: str, places: Sequence[int], storage: Storage) -> dict[str, np.ndarray]:
        """Squares from the middle. See ``DataSet.few``."""
        found = super().few(split, places, storage)
        extents = torch.from_numpy(self._few(f"{split}-{EXTENT}", places, storage))
        return {**found, IMAGE: squares(torch.from_numpy(found[IMAGE]), extents, None).numpy()}


@register_dataset
class Decathlon(PerTaskInputDataSet):
    """Visual Decathlon: ten classification sets of 72 pixels, each a task with its own pictures.

    Source: Rebuffi, Bilen & Vedaldi, "Learning multiple visual domains with residual adapters", NeurIPS 2017, as used
    by Liu, Johns & Davison, CVPR 2019.

    * Official test labels are withheld. So the official val is the test split here, and val is carved out of the
      official train: of each class the fifth picture of every ten in the order of ids. The official test is the split
      'challenge': what a finished network makes of it is kept, and ``mtbench submit decathlon`` writes the list.
    * Networks see squares of 72×72: the middle of a picture, in training a random one if the protocol says
      ``random_crop``; so it does for the seven sets that are also mirrored, as the authors of MTAN do. A picture more
      than 1.5 times as long as wide (2 times for pedestrians) loses its ends before.
    * Pictures are normalised by their set's channel means and standard deviations.

    Args:
        sets: ``nine`` (all but ImageNet), ``ten``, or names of sets with commas between.
        limit: see ``DecathlonSet``.

    Raises:
        UsageError: a set is unknown or named twice, or the limit is no number.
    """

    name = "decathlon"
    version = 1
    card = CARD
    smoke: ClassVar[Mapping[str, Any]] = {"limit": 16}
    splits = DecathlonSet.splits
    withheld = DecathlonSet.withheld

    def __init__(self, *, sets: str = "nine", limit: int = 0) -> None:
        at_least_0("decathlon: limit", limit)
        self.sets, self.limit = sets, limit
        self.names = chosen(sets)

    @cached_property
    def parts(self) -> Mapping[str, DecathlonSet]:
        """The chosen sets."""
        return {
            name: cast(DecathlonSet, build_dataset(DecathlonSet.name, set=name, limit=self.limit))
            for name in self.names
        }

    @property
    def colours(self) -> Mapping[str, Colours]:
        """Those of the official table."""
        return {name: facts()[name].colours for name in self.names}


def chosen(sets: str) -> list[str]:
    """The names that the option ``sets`` stands for.

    Raises:
        UsageError: a set is unknown or named twice.
    """
    known = list(facts())
    short = {"ten": known, "nine": [name for name in known if name != IMAGENET]}
    if not isinstance(sets, str):
        raise UsageError(f"decathlon: sets must be words with commas between, such as 'aircraft,dtd', not {sets!r}")
    names = short.get(sets) or [word.strip() for word in sets.split(",")]
    for name in names:
        if name not in known:
            raise unknown("set of the decathlon", name, [*short, *known])
    if len(set(names)) < len(names):
        raise UsageError(f"decathlon: sets names a set twice: {sets}")
    return names


def archive(source: Path) -> Path:
    """The folder of the official archive that holds ``annotations`` and ``data``.

    Raises:
        UserError: there is none.
    """
    for root in (source, source / "decathlon-1.0"):
        if is_folder(root / "annotations"):
            return root
    raise UserError(f"{source} holds no folder 'annotations'; {CARD.obtain}")


def picture(root: Path, entry: Annotation) -> Path:
    """Where a picture lies: as in the archive, or as MTAN's authors lay it, in ``decathlon-1.0-data``."""
    first, _, rest = entry.file.partition("/")
    apart = root / "decathlon-1.0-data"
    return apart / rest if first == "data" and not is_folder(root / first) and is_folder(apart) else root / entry.file


def carved(annotations: Sequence[Annotation]) -> tuple[list[Annotation], list[Annotation]]:
    """The official training pictures, ordered by id, as train and val."""
    seen: dict[int, int] = {}
    train: list[Annotation] = []
    val: list[Annotation] = []
    for entry in annotations:
        place = seen[entry.label] = seen.get(entry.label, -1) + 1
        (val if place % VAL_EVERY == VAL_PLACE else train).append(entry)
    return train, val


__all__ = ["CHALLENGE", "Annotation", "Decathlon", "DecathlonSet", "carved", "chosen", "facts", "spread"]
