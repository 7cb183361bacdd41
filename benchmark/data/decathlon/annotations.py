"""The official annotation files, in COCO's style: which pictures there are, and the class of each."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from benchmark.data.decathlon.facts import SetFacts
from benchmark.errors import UserError

HELP = "unpack decathlon-1.0-devkit.tar.gz and decathlon-1.0-data.tar.gz again"
#: Label of a picture whose class is withheld.
WITHHELD = -1
#: Types of JSON, in words.
WORDS: Mapping[type, str] = {int: "whole number", str: "text"}


@dataclass(frozen=True)
class Annotation:
    """One picture.

    Attributes:
        number: its id in the annotation file.
        label: its class from 0; −1 where it is withheld.
        file: its path in the archive.
    """

    number: int
    label: int
    file: str

    @property
    def id(self) -> str:
        """All three in one word."""
        return f"{self.file}#{self.number}:{self.label}"

    @classmethod
    def from_id(cls, word: str) -> "Annotation":
        """The entry whose ``id`` this is."""
        file, _, rest = word.rpartition("#")
        number, _, label = rest.partition(":")
        return cls(int(number), int(label), file)


def read_annotations(file: Path, facts: SetFacts, *, labelled: bool) -> list[Annotation]:
    """The pictures that an annotation file names, ordered by id.

    Args:
        file: ``<set>_train.json``, ``<set>_val.json`` or ``<set>_test_stripped.json``.
        facts: of the set.
        labelled: False for a file without annotations.

    Raises:
        UserError: the file is missing, is no such file, or names a class beyond the set's or a picture twice.
    """
    content = _read(file)
    paths = {}
    for image in _listed(content, "images", file):
        number, name = _field(image, "id", int, file), _field(image, "file_name", str, file)
        if number in paths:
            raise UserError(f"{file} names the picture {number} twice; {HELP}")
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise UserError(f"{file} names the picture file '{name}', expected a path inside the archive; {HELP}")
        paths[number] = name
    labels = _labels(content, file, facts) if labelled else dict.fromkeys(paths, WITHHELD)
    if labels.keys() != paths.keys():
        odd = min(labels.keys() ^ paths.keys())
        raise UserError(f"{file}: the picture {odd} has no annotation or no file name, expected one each; {HELP}")
    return [Annotation(number, labels[number], paths[number]) for number in sorted(paths)]


def _labels(content: dict[str, Any], file: Path, facts: SetFacts) -> dict[int, int]:
    labels: dict[int, int] = {}
    for annotation in _listed(content, "annotations", file):
        number, category = (_field(annotation, key, int, file) for key in ("image_id", "category_id"))
        label = category - facts.first_category
        if not 0 <= label < facts.classes:
            last = facts.first_category + facts.classes - 1
            raise UserError(f"{file} holds the category {category}, expected {facts.first_category} to {last}; {HELP}")
        if number in labels:
            raise UserError(f"{file} annotates the picture {number} twice; {HELP}")
        labels[number] = label
    return labels


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError as error:
        raise UserError(f"{file} is missing; {HELP}") from error
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}); {HELP}") from error
    except ValueError as error:
        raise UserError(f"{file} is not whole JSON ({error}); {HELP}") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} holds a {type(content).__name__}, expected an object; {HELP}")
    return content


def _listed(content: dict[str, Any], key: str, file: Path) -> list[Any]:
    found = content.get(key)
    if not isinstance(found, list):
        raise UserError(f"{file} has no list '{key}'; {HELP}")
    return found


def _field(item: Any, key: str, kind: type, file: Path) -> Any:
    value = item.get(key) if isinstance(item, dict) else None
    if type(value) is not kind:
        raise UserError(
            f"{file} has an entry whose '{key}' is {json.dumps(value)[:80]}, expected a {WORDS[kind]}; {HELP}"
        )
    return value
