"""GroceryStore: photographs from shops, and what they show at three levels of detail."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmark.data.card import DataCard
from benchmark.data.dataset import IMAGE, SPLITS, register_dataset
from benchmark.data.files import is_file
from benchmark.data.lists import is_inside, lines, require_files, spread, whole_number
from benchmark.data.options import at_least_0, one_of
from benchmark.data.pictures import area_resized, middle_square, read_rgb
from benchmark.data.streaming import Plan, StreamedDataSet
from benchmark.errors import UserError
from benchmark.tasks import Task

#: Classes at the two finer levels, by number; the clone's classes.csv has their names.
FINE, COARSE = 81, 43
SAMPLES = {"train": 2640, "val": 296, "test": 2485}
SIZES = (224, 128, 96, 64, 32)
SUPER = ("Fruit", "Packages", "Vegetables")
HELP = "clone https://github.com/marcusklasson/GroceryStoreDataset again"

CARD = DataCard(
    title="Grocery Store Dataset",
    summary="5421 photographs of fruit, vegetables and cartons, taken with a telephone in shops, labelled at three "
    "levels.",
    targets={
        "fine": "81 classes, such as Granny-Smith.",
        "coarse": "43 classes, such as Apple; each is the union of one or more fine ones.",
        "super": "Fruit, Packages or Vegetables: the folder in which the class lies.",
    },
    sizes="The square in the middle of 348×348, 464×348 or 348×464 pixels, resampled by area.",
    splits="The authors' lists train.txt, val.txt and test.txt: 2640, 296 and 2485 photographs. Val holds 60 of the 81 "
    "classes.",
    licence="MIT (© 2019 Marcus Klasson).",
    citation="M. Klasson, C. Zhang and H. Kjellström. A Hierarchical Grocery Store Image Dataset with Visual and "
    "Semantic Labels. WACV 2019.",
    homepage="https://github.com/marcusklasson/GroceryStoreDataset",
    obtain="git clone https://github.com/marcusklasson/GroceryStoreDataset (123 MB): the clone is the source.",
    caveats=(
        "The paper and the official page speak of 42 coarse classes; the files number 43.",
        "A picture longer than wide, one in twelve, loses its ends.",
        "A coarse class follows from the fine one, and the folder from both: whoever is right on fine is right on all.",
    ),
    redistribution=True,
)


@register_dataset
class GroceryStore(StreamedDataSet):
    """5421 photographs of groceries: 81 fine and 43 coarse classes, and 3 of their folders.

    Source: Klasson, Zhang & Kjellström, WACV 2019; the authors' splits. An id is the path in their lists and the fine
    and the coarse class: ``train/Fruit/Lemon/Lemon_001.jpg#8,4``.

    Args:
        size: height and width of the pictures: 224, 128, 96, 64 or 32.
        limit: at most this many samples of each split, evenly spread; 0 for all of them. For trials: with a limit,
            shorter lists will do.

    Raises:
        UsageError: an option has another value.
    """

    name = "grocery-store"
    version = 1
    card = CARD
    smoke: ClassVar[Mapping[str, Any]] = {"size": 32, "limit": 16}
    chunk = 64

    def __init__(self, *, size: int = 224, limit: int = 0) -> None:
        one_of("grocery-store: size", size, SIZES)
        at_least_0("grocery-store: limit", limit)
        self.size, self.limit = size, limit
        self.tasks = (
            Task("fine", "classification", FINE),
            Task("coarse", "classification", COARSE),
            Task("super", "classification", len(SUPER), SUPER),
        )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """RGB squares."""
        return (3, self.size, self.size)

    @property
    def samples(self) -> dict[str, int]:
        """The official numbers, or the limit."""
        return {split: min(count, self.limit or count) for split, count in SAMPLES.items()}

    def plan(self, source: Path) -> Plan:
        """Read the lists. See ``StreamedDataSet.plan``."""
        root = next((folder for folder in (source, source / "dataset") if is_file(folder / "train.txt")), None)
        if root is None:
            raise UserError(f"{source} holds neither train.txt nor dataset/train.txt; {CARD.obtain}")
        ids, every = {}, list[str]()
        for split in SPLITS:
            file = root / f"{split}.txt"
            listed = [checked(line, file) for line in lines(file, HELP)]
            if len(listed) != SAMPLES[split] and not (self.limit and len(listed) < SAMPLES[split]):
                raise UserError(f"{file} names {len(listed)} pictures, expected {SAMPLES[split]}; {HELP}")
            if len(set(listed)) < len(listed):
                raise UserError(f"{file} names a picture twice; {HELP}")
            ids[split] = np.array(spread(listed, self.limit), dtype=str)
            every += listed
        check_levels(every, root)
        pictures = [root / path(str(word)) for split in SPLITS for word in ids[split]]
        require_files(pictures, HELP)
        return Plan(root, ids, [*(root / f"{split}.txt" for split in SPLITS), *pictures])

    def make(self, root: Path, split: str, ids: Sequence[Any]) -> dict[str, np.ndarray]:
        """Read a few pictures. See ``StreamedDataSet.make``."""
        size = (self.size, self.size)
        classes = np.array([labels(word) for word in ids], np.int16)  # (N, 3)
        return {
            IMAGE: np.stack(
                [area_resized(middle_square(read_rgb(root / path(word), advice=HELP)), size) for word in ids]
            ),
            **{task.name: np.ascontiguousarray(classes[:, place]) for place, task in enumerate(self.tasks)},
        }


def checked(line: str, file: Path) -> str:
    """The id of a list's line ``path, fine, coarse``: ``path#fine,coarse``.

    Raises:
        UserError: the line is of another form, or its classes are none.
    """
    name, *numbers = (word.strip() for word in line.split(","))
    found = [whole_number(word) for word in numbers]
    if len(found) != 2 or not is_inside(name):
        raise UserError(f"{file} holds the line '{line[:80]}', expected 'path, fine class, coarse class'; {HELP}")
    if any(number is None or number >= count for number, count in zip(found, (FINE, COARSE), strict=True)):
        raise UserError(f"{file} gives {name} the classes {', '.join(numbers)}, of {FINE} and {COARSE}; {HELP}")
    if folder(name) not in SUPER:
        raise UserError(f"{file} names {name}, expected it in one of the folders {', '.join(SUPER)}; {HELP}")
    return f"{name}#{found[0]},{found[1]}"


def check_levels(ids: Iterable[str], root: Path) -> None:
    """Make sure that a fine class is always part of one coarse class and lies in one folder.

    Raises:
        UserError: it is not.
    """
    above: dict[int, tuple[int, int]] = {}
    for word in ids:
        fine, *others = labels(word)
        known = above.setdefault(fine, (others[0], others[1]))
        if known != tuple(others):
            raise UserError(
                f"the lists in {root} put the fine class {fine} under the coarse class {known[0]} in "
                f"{SUPER[known[1]]}, and at {path(word)} under {others[0]} in {SUPER[others[1]]}; {HELP}"
            )


def path(word: str) -> str:
    """An id's path."""
    return word.rpartition("#")[0]


def folder(name: str) -> str:
    """The folder of a path in the lists, which names the broadest class: ``train/Fruit/…``."""
    return [*name.split("/"), "", ""][1]


def labels(word: str) -> tuple[int, int, int]:
    """An id's fine and coarse class and that of its folder."""
    name, _, numbers = word.rpartition("#")
    fine, coarse = numbers.split(",")
    return int(fine), int(coarse), SUPER.index(folder(name))
