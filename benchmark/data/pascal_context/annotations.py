"""The .mat files of PASCAL-Context and PASCAL-Part: labels of all pixels, and parts of people."""

import csv
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.errors import UserError, reason

TABLE = files("benchmark") / "data" / "tables" / "pascal_context_normals.csv"
#: Labels of PASCAL-Context.
LABELS = 459
#: The class of people, among the 20 of PASCAL VOC.
PERSON = 15
PARTS = ("background", "head", "torso", "upper arms", "lower arms", "upper legs", "lower legs")
#: By the name that PASCAL-Part gives a part of a person, its place among ``PARTS``.
PART_OF = {
    **dict.fromkeys(("head", "hair", "nose", "mouth"), 1),
    **{f"{side}{part}": 1 for side in "lr" for part in ("ear", "eye", "ebrow")},
    **dict.fromkeys(("neck", "torso"), 2),
    **{f"{side}{part}": place for side in "lr" for part, place in (
        ("uarm", 3), ("larm", 4), ("hand", 4), ("uleg", 5), ("lleg", 6), ("foot", 6),
    )},
}  # fmt: skip


def read_labels(file: Path, advice: str) -> np.ndarray:
    """The label of every pixel.

    Args:
        file: of the folder ``pascal-context/trainval``.
        advice: what the user can do about a broken file; ends the message.

    Returns:
        (H, W) int32, 0 to 459.

    Raises:
        UserError: the file is missing, damaged, or holds something else.
    """
    labels = _read(file, advice).get("LabelMap")
    if not isinstance(labels, np.ndarray) or labels.ndim != 2 or not labels.size or labels.dtype.kind not in "fiu":
        raise UserError(f"{file} holds no 'LabelMap' of numbers, one for each pixel; {advice}")
    if not (np.rint(labels) == labels).all() or labels.min() < 0 or labels.max() > LABELS:
        raise UserError(
            f"{file} holds labels from {labels.min()} to {labels.max()}, expected whole numbers from 0 to {LABELS}; "
            f"{advice}"
        )
    return labels.astype(np.int32)


def read_parts(file: Path, advice: str) -> np.ndarray | None:
    """The part of every pixel; of people that hide each other the later one's, as they are listed.

    Args:
        file: of the folder ``human_parts``.
        advice: what the user can do about a broken file; ends the message.

    Returns:
        (H, W) int8, places in ``PARTS``; None of a picture without a part of a person.

    Raises:
        UserError: the file is missing, damaged, or holds something else.
    """
    content = _read(file, advice)
    found: np.ndarray | None = None
    try:
        for person in np.ravel(content["anno"][0, 0]["objects"]):
            if int(np.ravel(person["class_ind"])[0]) != PERSON:
                continue
            for part in np.ravel(person["parts"]):
                mask = part["mask"].astype(bool)
                if found is None:
                    found = np.zeros(mask.shape, np.int8)
                found[mask] = PART_OF[str(np.ravel(part["part_name"])[0])]
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file} is no annotation of PASCAL-Part, objects with their parts and masks ({reason(error)}); {advice}"
        ) from error
    if found is not None and found.ndim != 2:
        raise UserError(f"{file} holds masks of shape {found.shape}, expected (height, width); {advice}")
    return found


@cache
def labels_with_normals() -> np.ndarray:
    """(460,) bool: the labels of PASCAL-Context whose normals count."""
    known = np.zeros(LABELS + 1, bool)
    known[[int(row["id"]) for row in csv.DictReader(TABLE.read_text().splitlines())]] = True
    return known


def _read(file: Path, advice: str) -> dict[str, Any]:
    from scipy.io import loadmat  # late: only what prepares the official files needs it

    try:
        return dict(loadmat(file))
    except FileNotFoundError as error:
        raise UserError(f"{file} is missing; {advice}") from error
    except Exception as error:  # SciPy's reader raises anything on damaged bytes
        raise UserError(f"{file} cannot be read as MATLAB 5 ({reason(error)}); {advice}") from error
