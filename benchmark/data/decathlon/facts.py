"""What is known of the ten sets before their files are there."""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from benchmark.data.dataset import Colours

TABLE = files("benchmark") / "data" / "tables" / "decathlon.csv"


@dataclass(frozen=True)
class SetFacts:
    """One of the ten sets.

    Attributes:
        name: in file names of the archive.
        title: in full.
        classes: how many.
        official: pictures by official split.
        baseline_error: of one fine-tuned network per set, as a fraction; what the decathlon score is measured against.
        first_category: the id of the first class in annotation files.
        flips: whether the left and right of a picture may be exchanged: not where letters, digits or signs are told.
        colours: means and standard deviations of training pictures' channels.
    """

    name: str
    title: str
    classes: int
    official: dict[str, int]
    baseline_error: float
    first_category: int
    flips: bool
    colours: Colours


@cache
def facts() -> dict[str, SetFacts]:
    """The ten sets by name, in the order of the challenge."""
    with TABLE.open() as stream:
        return {row["archive_name"]: _facts(row) for row in csv.DictReader(stream)}


def _facts(row: dict[str, str]) -> SetFacts:
    red, green, blue = ((float(row[f"mean_{c}"]), float(row[f"std_{c}"])) for c in "rgb")
    mean, deviation = zip(red, green, blue, strict=True)
    return SetFacts(
        name=row["archive_name"],
        title=row["full_name"],
        classes=int(row["num_classes"]),
        official={split: int(row[f"{split}_images"]) for split in ("train", "val", "test")},
        baseline_error=float(row["baseline_error_pct"]) / 100,
        first_category=int(row["first_category_id"]),
        flips=row["horizontal_flip_in_training"] == "yes",
        colours=(mean, deviation),
    )
