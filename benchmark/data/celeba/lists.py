"""CelebA's two lists: which picture is of which split, and which attributes hold for it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from benchmark.data.dataset import SPLITS
from benchmark.data.files import file_status, is_file
from benchmark.data.lists import is_inside, lines, whole_number
from benchmark.errors import UserError

ATTRIBUTES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses",
    "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes",
    "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns", "Smiling",
    "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace",
    "Wearing_Necktie", "Young",
)  # fmt: skip
#: Folders of a list or of the pictures below the source: the official archive's, and none.
FOLDERS = ("", "Anno", "Eval", "Img")
#: Name of a list without ending, by what it holds; the official ending, and that of a copy as a table.
ATTRIBUTE_LIST, PARTITION_LIST = "list_attr_celeba", "list_eval_partition"
ENDINGS = (".txt", ".csv")
VALUES = {"1": 1, "-1": 0, "0": 0}
HELP = "get it again from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"


@dataclass(frozen=True)
class Labels:
    """All pictures, ordered by name.

    Attributes:
        names: (N,) file names.
        values: (N, 40) int8, 1 where the attribute holds, else 0.
    """

    names: np.ndarray
    values: np.ndarray

    def rows(self, names: Sequence[str]) -> np.ndarray:
        """The values of some pictures, all of which there are. -> (len(names), 40)."""
        return self.values[np.searchsorted(self.names, np.array(names))]


def find_list(root: Path, name: str) -> Path:
    """Where a list lies.

    Raises:
        UserError: nowhere.
    """
    for ending in ENDINGS:
        for folder in FOLDERS:
            if is_file(file := root / folder / f"{name}{ending}"):
                return file
    raise UserError(f"{root} holds no {name}.txt; {HELP}")


def read_labels(file: Path) -> Labels:
    """Read the list of attributes, once for all chunks that a process makes.

    Raises:
        UserError: it is not whole, or not the list of these attributes.
    """
    stated = file_status(file)
    return _read_labels(file, stated.st_size, stated.st_mtime_ns)


@lru_cache(maxsize=1)
def _read_labels(file: Path, size: int, modified: int) -> Labels:
    rows = _rows(file)
    header, number = next(rows, []), 1
    announced = whole_number(header[0]) if len(header) == 1 else None
    if announced is not None:  # the official file begins with the number of pictures
        header, number = next(rows, []), 2
    if tuple(word for word in header if word != "image_id") != ATTRIBUTES:
        raise UserError(f"{file} does not name the 40 attributes of CelebA in line {number}; {HELP}")
    names: list[str] = []
    values = bytearray()
    for row in rows:
        try:
            name, *marks = row
            values += bytes([VALUES[mark] for mark in marks])
        except (KeyError, ValueError):
            marks = []
        if len(marks) != len(ATTRIBUTES):
            raise UserError(f"{file}: the entry of {row[0]} is no name with 40 numbers 1 and -1; {HELP}")
        names.append(name)
    if announced is not None and announced != len(names):
        raise UserError(f"{file} announces {announced} pictures and names {len(names)}; {HELP}")
    order = np.argsort(found := np.array(names, dtype=str), kind="stable")
    found = found[order]
    if (twice := found[1:][found[1:] == found[:-1]]).size:
        raise UserError(f"{file} names {twice[0]} twice; {HELP}")
    return Labels(found, np.frombuffer(values, np.int8).reshape(-1, len(ATTRIBUTES))[order])


def read_partition(file: Path) -> dict[str, np.ndarray]:
    """By split, the pictures' names in the order of the list.

    Raises:
        UserError: a line is no name with 0, 1 or 2, or a picture is named twice.
    """
    found: dict[str, list[str]] = {split: [] for split in SPLITS}
    for row in _rows(file):
        if row == ["image_id", "partition"]:
            continue
        if len(row) != 2 or row[1] not in ("0", "1", "2") or not is_inside(row[0]):
            raise UserError(f"{file} holds the line '{' '.join(row)[:80]}', expected a name and 0, 1 or 2; {HELP}")
        found[SPLITS[int(row[1])]].append(row[0])
    names = {split: np.array(those, dtype=str) for split, those in found.items()}
    if len(np.unique(np.concatenate(list(names.values())))) < sum(map(len, names.values())):
        raise UserError(f"{file} names a picture twice; {HELP}")
    return names


def _rows(file: Path) -> Iterator[list[str]]:
    cut: Callable[[str], list[str]] = (lambda line: line.split(",")) if file.suffix == ".csv" else str.split
    return (cut(line) for line in lines(file, HELP))
