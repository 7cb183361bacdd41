"""A plugin for tests: a streamed data set made from a folder of text files, one number each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.dataset import register_dataset
from benchmark.data.streaming import Plan, StreamedDataSet
from benchmark.errors import UserError
from benchmark.tasks import Task


@register_dataset
class Numbers(StreamedDataSet):
    """Pictures of one colour, which is the number in the file; to be told: its brightness at every pixel."""

    name = "numbers"
    version = 1
    chunk = 2
    tasks = (Task("brightness", "depth", 1),)

    def __init__(self, *, size: int = 4) -> None:
        self.size = size

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (3, self.size, self.size)

    @property
    def samples(self) -> Mapping[str, int]:
        return {"train": 9, "val": 2, "test": 3}

    def plan(self, source: Path) -> Plan:
        files = sorted(source.glob("*.txt"))
        if not files:
            raise UserError(f"{source} holds no .txt file")
        ids = np.array([file.stem for file in files])
        return Plan(source, {"train": ids[:-5], "val": ids[-5:-3], "test": ids[-3:]}, files)

    def make(self, root: Path, split: str, ids: Sequence[Any]) -> dict[str, np.ndarray]:
        values = []
        for name in ids:
            text = (root / f"{name}.txt").read_text()
            if not text.isdecimal():
                raise UserError(f"{root / name}.txt holds {text!r}, expected a number")
            values.append(int(text))
        array = np.array(values)[:, None, None, None]
        square = np.ones((1, self.size, self.size))
        return {
            "image": (array * np.ones((3, self.size, self.size))).astype(np.uint8),
            "brightness": (array * square).astype(np.float16),
        }
