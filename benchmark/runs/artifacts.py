"""What is kept of a run beside its record: which array is what, and under which name it stands in a file.

The key of the pictured samples' decisions is the task's name; every other array has a key of one of the classes here,
so that no task's name can be taken for anything else. In files a key has its short name, the one of all older files,
where that can be read in one way only; else its full name, which is unambiguous:

| key | short name | full name |
|---|---|---|
| ``view`` | ``view`` | ``pictured:view`` |
| ``OfSplit("test", "view")`` | ``test-view`` | ``decisions:test:view`` |
| ``OfSplit("test", "view", ids=True)`` | ``test-view-id`` | ``ids:test:view`` |
| ``OfMasks("view", "ends")`` | ``maskends-view`` | ``maskends:view`` |
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal
from urllib.parse import quote, unquote

import numpy as np

MaskPart = Literal["masks", "ends", "levels"]


@dataclass(frozen=True)
class OfSplit:
    """Decisions (N, …) for all samples of a split, in the form in which targets are stored, or these samples' ids (N,).

    Attributes:
        split: ``test``, or the split whose targets a data set withholds.
        task: whose decisions they are.
        ids: whether these are the ids.
    """

    split: str
    task: str
    ids: bool = False

    def __str__(self) -> str:
        return f"{self.split}-{self.task}{'-id' if self.ids else ''}"

    @property
    def full_name(self) -> str:
        """See the module."""
        return f"{'ids' if self.ids else 'decisions'}:{quote(self.split, safe='')}:{self.task}"


@dataclass(frozen=True)
class OfMasks:
    """An architecture's attention to the pictured samples.

    Attributes:
        task: that attends.
        part: ``masks`` (P, L, h, w) uint8, averaged over channels; ``ends`` (L, 2), the values of each level's 0 and
            255; ``levels`` (L,), their names.
    """

    WORDS: ClassVar[Mapping[MaskPart, str]] = {"masks": "masks", "ends": "maskends", "levels": "masklevels"}

    task: str
    part: MaskPart = "masks"

    def __str__(self) -> str:
        return f"{self.WORDS[self.part]}-{self.task}"

    @property
    def full_name(self) -> str:
        """See the module."""
        return f"{self.WORDS[self.part]}:{self.task}"


@dataclass(frozen=True)
class OfNetwork:
    """A parameter or buffer of the network after the last epoch, by its name in ``state_dict``.

    The file of networks holds nothing else, and names of its own.
    """

    name: str

    def __str__(self) -> str:
        return f"model-{self.name}"


#: A plain text is the name of a task: what was decided for the pictured test samples (P, …).
ArrayKey = str | OfSplit | OfMasks | OfNetwork
Arrays = dict[ArrayKey, np.ndarray]


def named(arrays: Mapping[ArrayKey, np.ndarray], tasks: Iterable[str]) -> dict[str, np.ndarray]:
    """The arrays by their names in a file.

    Args:
        arrays: none of a network.
        tasks: names of the run's tasks.
    """
    known = list(tasks)
    return {name_of(key, known): array for key, array in arrays.items()}


def name_of(key: ArrayKey, tasks: Iterable[str]) -> str:
    """An array's name in a file: the short one where it can be read in one way only."""
    short = str(key)
    readings = list(_readings(short, list(tasks)))
    if readings == [key] or (isinstance(key, str) and not readings):
        return short
    return f"pictured:{key}" if isinstance(key, str) else _full_name(key)


def key_of(name: str, tasks: Iterable[str]) -> ArrayKey:
    """Which array stands under a name in a file; one that is none of these tasks' is known by its plain name."""
    return next(_readings(name, list(tasks)), name)


def _full_name(key: OfSplit | OfMasks | OfNetwork) -> str:
    if isinstance(key, OfNetwork):
        raise TypeError("a network's arrays have a file of their own, and their own names in it")
    return key.full_name


def _readings(name: str, tasks: list[str]) -> Iterator[ArrayKey]:
    """All that an array of this name may be, what its full name says first."""
    kind, _, rest = name.partition(":")
    split, _, task = rest.partition(":")
    if kind == "pictured" and rest:
        yield rest
    if kind in ("decisions", "ids") and task in tasks:
        yield OfSplit(unquote(split), task, ids=kind == "ids")
    parts = {word: part for part, word in OfMasks.WORDS.items()}
    if kind in parts and rest in tasks:
        yield OfMasks(rest, parts[kind])
    if name in tasks:
        yield name
    word, _, task = name.partition("-")
    if word in parts and task in tasks:
        yield OfMasks(task, parts[word])
    for task in tasks:
        for ending, ids in (("", False), ("-id", True)):
            split = name.removesuffix(f"-{task}{ending}")
            if split and split != name and f"{split}-{task}{ending}" == name and split not in parts:
                yield OfSplit(split, task, ids=ids)
