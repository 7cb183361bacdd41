"""The domains of Office-31 and Office-Home: where their pictures lie, and how many there are."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.data.dataset import SPLITS
from benchmark.data.files import entries, is_file, is_folder
from benchmark.data.lists import lines
from benchmark.errors import UserError


@dataclass(frozen=True)
class OfficeSet:
    """One of the two sets.

    Attributes:
        domains: pictures by domain.
        classes: names of the folders, in the order of their numbers.
        obtain: how to get the pictures.
    """

    domains: dict[str, int]
    classes: tuple[str, ...]
    obtain: str


SETS = {
    "office-31": OfficeSet(
        {"amazon": 2817, "dslr": 498, "webcam": 795},
        (
            "back_pack", "bike", "bike_helmet", "bookcase", "bottle", "calculator", "desk_chair", "desk_lamp",
            "desktop_computer", "file_cabinet", "headphones", "keyboard", "laptop_computer", "letter_tray",
            "mobile_phone", "monitor", "mouse", "mug", "paper_notebook", "pen", "phone", "printer", "projector",
            "punchers", "ring_binder", "ruler", "scissors", "speaker", "stapler", "tape_dispenser", "trash_can",
        ),
        "Get domain_adaptation_images.tar.gz from https://faculty.cc.gatech.edu/~judy/domainadapt/ and unpack it: the "
        "folder that holds amazon, dslr and webcam is the source.",
    ),
    "office-home": OfficeSet(
        {"Art": 2427, "Clipart": 4365, "Product": 4439, "Real_World": 4357},
        (
            "Alarm_Clock", "Backpack", "Batteries", "Bed", "Bike", "Bottle", "Bucket", "Calculator", "Calendar",
            "Candles", "Chair", "Clipboards", "Computer", "Couch", "Curtains", "Desk_Lamp", "Drill", "Eraser",
            "Exit_Sign", "Fan", "File_Cabinet", "Flipflops", "Flowers", "Folder", "Fork", "Glasses", "Hammer",
            "Helmet", "Kettle", "Keyboard", "Knives", "Lamp_Shade", "Laptop", "Marker", "Monitor", "Mop", "Mouse",
            "Mug", "Notebook", "Oven", "Pan", "Paper_Clip", "Pen", "Pencil", "Postit_Notes", "Printer", "Push_Pin",
            "Radio", "Refrigerator", "Ruler", "Scissors", "Screwdriver", "Shelf", "Sink", "Sneakers", "Soda",
            "Speaker", "Spoon", "TV", "Table", "Telephone", "ToothBrush", "Toys", "Trash_Can", "Webcam",
        ),
        "Get OfficeHomeDataset_10072016.zip from https://www.hemanthdv.org/officeHomeDataset.html and unpack it: the "
        "folder that holds Art, Clipart, Product and Real World is the source.",
    ),
}  # fmt: skip
#: Folders that the archives unpack into.
ARCHIVES = ("", "domain_adaptation_images", "office31", "office-31", "OfficeHomeDataset_10072016", "office-home")
#: Where LibMTL's lists may lie below the source.
LISTS = ("", "data_txt", "LibMTL/examples/office/data_txt", "examples/office/data_txt")
#: Of every five pictures in a row, classes one after the other, these are of another split than train.
EVERY = 5
PLACES = {1: "val", 3: "test"}


def domain_folder(source: Path, office: OfficeSet, domain: str) -> Path:
    """The folder that holds a folder per class of a domain.

    Raises:
        UserError: there is none.
    """
    for archive in ARCHIVES:
        for name in (domain, domain.replace("_", " ")):
            for place in (source / archive / name / "images", source / archive / name):
                if is_folder(place / office.classes[0]):
                    return place
    raise UserError(f"{source} holds no folder {domain} with a folder {office.classes[0]} in it; {office.obtain}")


def pictures(folder: Path, office: OfficeSet) -> list[str]:
    """Class and file name of every picture, ``mug/frame_0001.jpg``, ordered by class and name.

    Raises:
        UserError: a class has no folder.
    """
    found = []
    for name in office.classes:
        place = folder / name
        if not is_folder(place):
            raise UserError(f"there is no folder {place}; {office.obtain}")
        found += [f"{name}/{file.name}" for file in entries(place) if file.suffix.lower() == ".jpg"]
    return found


def hashed_split(names: Sequence[str], domain: str, classes: Sequence[str]) -> dict[str, list[str]]:
    """Three fifths, a fifth and a fifth of every class, in an order without meaning: that of the names' hashes."""

    def place(name: str) -> tuple[int, str]:
        return classes.index(name.partition("/")[0]), hashlib.sha256(f"{domain}/{name}".encode()).hexdigest()

    found: dict[str, list[str]] = {split: [] for split in SPLITS}
    for number, name in enumerate(sorted(names, key=place)):
        found[PLACES.get(number % EVERY, "train")].append(name)
    return {split: sorted(those) for split, those in found.items()}


def hashed_numbers(count: int) -> dict[str, int]:
    """How many of ``count`` pictures ``hashed_split`` gives each split."""
    held_out = {split: len(range(place, count, EVERY)) for place, split in PLACES.items()}
    return {"train": count - sum(held_out.values()), **held_out}


def list_file(source: Path, office: str, domain: str, split: str) -> Path:
    """Where one of LibMTL's lists lies.

    Raises:
        UserError: nowhere.
    """
    name = f"{domain}_{split}.txt"
    for folder in LISTS:
        for place in (source / folder / office / name, source / folder / name):
            if is_file(place):
                return place
    raise UserError(
        f"{source} holds no data_txt/{office}/{name}; copy the folder examples/office/data_txt of "
        "https://github.com/median-research-group/LibMTL there, or take split=hash"
    )


def read_list(file: Path, office: OfficeSet) -> list[str]:
    """The pictures that one of LibMTL's lists names, as ``pictures`` names them; class numbers are the folders' here.

    Raises:
        UserError: a line is no path in a class's folder and a number, or a picture is named twice.
    """
    found = []
    for line in lines(file, "copy it again from LibMTL's examples/office/data_txt"):
        name, _, number = line.rpartition(" ")
        parts = name.split("/")
        if len(parts) < 3 or parts[-2] not in office.classes or not number.isdecimal() or parts[-1] in ("", ".", ".."):
            raise UserError(f"{file} holds the line '{line[:80]}', expected 'domain/…/class/file number'")
        found.append("/".join(parts[-2:]))
    if len(set(found)) < len(found):
        raise UserError(f"{file} names a picture twice")
    return found
