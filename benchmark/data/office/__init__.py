"""Office-31 and Office-Home: the same classes of things in several domains, each a task with its own pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np

from benchmark.data.dataset import IMAGE, SPLITS, Colours, build_dataset, register_dataset
from benchmark.data.lists import require_files, spread
from benchmark.data.office.card import CARD
from benchmark.data.office.domains import (
    SETS,
    domain_folder,
    hashed_numbers,
    hashed_split,
    list_file,
    pictures,
    read_list,
)
from benchmark.data.options import at_least_0, one_of
from benchmark.data.per_task_input import PerTaskInputDataSet
from benchmark.data.pictures import area_resized, read_rgb
from benchmark.data.streaming import Plan, StreamedDataSet
from benchmark.errors import UserError
from benchmark.tasks import Task

SIZES = (224, 128, 96, 64, 32)
#: Means and standard deviations of ImageNet's pictures, by which LibMTL normalises.
IMAGENET: Colours = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
#: Pictures in LibMTL's lists of train, val and test.
LISTED = {
    "amazon": (1680, 552, 585), "dslr": (287, 89, 122), "webcam": (466, 149, 180),
    "Art": (1435, 465, 527), "Clipart": (2596, 846, 923), "Product": (2635, 860, 944), "Real_World": (2586, 846, 925),
}  # fmt: skip


@register_dataset
class OfficeDomain(StreamedDataSet):
    """One domain, a part of the data set 'office'.

    Args:
        domain: amazon, dslr or webcam of Office-31; Art, Clipart, Product or Real_World of Office-Home.
        size, split, limit: see ``Office``.

    Raises:
        UsageError: an option has another value.
    """

    name = "office-domain"
    version = 1
    smoke: ClassVar[Mapping[str, Any]] = {"size": 32, "limit": 16}
    chunk = 64

    def __init__(self, *, domain: str = "amazon", size: int = 224, split: str = "hash", limit: int = 0) -> None:
        one_of("office: domain", domain, tuple(LISTED))
        _check(size, split, limit)
        self.domain, self.size, self.split, self.limit = domain, size, split, limit
        self.set = next(name for name, office in SETS.items() if domain in office.domains)
        self.office = SETS[self.set]
        self.card = replace(CARD, title=f"{self.set}: {domain}", obtain=self.office.obtain)  # type: ignore[misc]
        self.tasks = (Task(domain, "classification", len(self.office.classes), self.office.classes),)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """RGB squares."""
        return (3, self.size, self.size)

    @property
    def samples(self) -> dict[str, int]:
        """The official numbers, or the limit."""
        counts = hashed_numbers(self.office.domains[self.domain])
        if self.split == "libmtl":
            counts = dict(zip(SPLITS, LISTED[self.domain], strict=True))
        return {split: min(count, self.limit or count) for split, count in counts.items()}

    def _named(self, source: Path | None) -> Path:
        if source is None:
            raise UserError(
                "'office' is made from files of your own: name their folder by 'mtbench data prepare office --source "
                f"DIR', or by --source office=DIR. {self.office.obtain}"
            )
        return source.resolve()

    def plan(self, source: Path) -> Plan:
        """List the pictures. See ``StreamedDataSet.plan``."""
        folder = domain_folder(source, self.office, self.domain)
        expected = self.office.domains[self.domain]
        found = pictures(folder, self.office)
        if len(found) != expected and not (self.limit and len(found) < expected):
            raise UserError(
                f"{folder} holds {len(found)} pictures in its classes' folders, expected {expected}; "
                f"{self.office.obtain}"
            )
        lists = []
        splits = hashed_split(found, self.domain, self.office.classes)
        if self.split == "libmtl":
            lists = [list_file(source, self.set, self.domain, split) for split in SPLITS]
            splits = {split: read_list(file, self.office) for split, file in zip(SPLITS, lists, strict=True)}
        ids = {split: np.array(spread(splits[split], self.limit), dtype=str) for split in SPLITS}
        files = [folder / str(name) for split in SPLITS for name in ids[split]]
        require_files(files, self.office.obtain)
        return Plan(source, ids, [*lists, *files])

    def make(self, root: Path, split: str, ids: Sequence[Any]) -> dict[str, np.ndarray]:
        """Read a few pictures. See ``StreamedDataSet.make``."""
        folder, size = domain_folder(root, self.office, self.domain), (self.size, self.size)
        advice = self.office.obtain
        return {
            IMAGE: np.stack([area_resized(read_rgb(folder / name, advice=advice), size) for name in ids]),
            self.domain: np.array([self.office.classes.index(name.partition("/")[0]) for name in ids], np.int16),
        }


@register_dataset
class Office(PerTaskInputDataSet):
    """Office-31 or Office-Home: a classification of the same classes in each of three or four domains.

    Source: Saenko et al., ECCV 2010, and Venkateswara et al., CVPR 2017; as multi-task problems by LibMTL (Lin & Zhang,
    JMLR 2023; github.com/median-research-group/LibMTL, ``examples/office``): every domain is a task with its own
    pictures, which are resampled whole to a square (there bilinearly, here by area) and normalised by ImageNet's means
    and standard deviations. An id is ``class/file``.

    Args:
        set: ``office-31`` or ``office-home``.
        size: height and width of the pictures: 224, as in LibMTL, 128, 96, 64 or 32.
        split: ``hash``: of each class three fifths train, a fifth val, a fifth test, by the hash of the file's name.
            ``libmtl``: LibMTL's lists, of the same shares, which must lie in the source's folder ``data_txt``.
        limit: at most this many samples of each split of a domain, evenly spread; 0 for all of them. For trials: with
            a limit, folders of fewer pictures will do.

    Raises:
        UsageError: an option has another value.
    """

    name = "office"
    version = 1
    card = CARD
    smoke: ClassVar[Mapping[str, Any]] = {"size": 32, "limit": 16}

    def __init__(self, *, set: str = "office-31", size: int = 224, split: str = "hash", limit: int = 0) -> None:
        one_of("office: set", set, tuple(SETS))
        _check(size, split, limit)
        self.set, self.size, self.split, self.limit = set, size, split, limit

    @cached_property
    def parts(self) -> Mapping[str, OfficeDomain]:
        """The set's domains."""
        options = {"size": self.size, "split": self.split, "limit": self.limit}
        return {
            domain: cast(OfficeDomain, build_dataset(OfficeDomain.name, domain=domain, **options))
            for domain in SETS[self.set].domains
        }

    @property
    def colours(self) -> Mapping[str, Colours]:
        """ImageNet's, whatever the domain."""
        return dict.fromkeys(SETS[self.set].domains, IMAGENET)


def _check(size: int, split: str, limit: int) -> None:
    one_of("office: size", size, SIZES)
    one_of("office: split", split, ("hash", "libmtl"))
    at_least_0("office: limit", limit)


__all__ = ["LISTED", "SETS", "Office", "OfficeDomain"]
