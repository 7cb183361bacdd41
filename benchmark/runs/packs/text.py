"""A record's text without its numbers, and the numbers by themselves: together they take half the room.

Most of a record are numbers of 17 digits, which hold no more than eight bytes do; without them, the texts of two runs
of one grid are nearly the same. Whatever the text is, what was split comes back byte for byte.
"""

import re

import numpy as np

#: What stands in place of a number. No JSON holds it.
HOLE = b"\0"
#: Decimals in JSON. A number without a point is short, and stays.
WORD = re.compile(rb"-?[0-9]+\.[0-9]+(?:e[+-]?[0-9]+)?")
DECIMAL = re.compile(rb"(?<=[ :,\[])" + WORD.pattern + rb"(?=[,\]}\s])")
#: How they lie in a file.
DOUBLE = np.dtype("<f8")


def is_split(word: str) -> bool:
    """Whether a decimal is taken out of a text: where Python writes the number just so."""
    return WORD.fullmatch(word.encode()) is not None and repr(float(word)) == word


def split(content: bytes) -> tuple[bytes, np.ndarray]:
    """The text with holes, and the float64 numbers (N,) that were there, in order."""
    numbers: list[float] = []

    def take(found: re.Match[bytes]) -> bytes:
        number = float(found[0])
        if repr(number).encode() != found[0]:
            return found[0]
        numbers.append(number)
        return HOLE

    text = content if HOLE in content else DECIMAL.sub(take, content)
    return text, np.array(numbers, dtype=DOUBLE)


def join(text: bytes, numbers: np.ndarray) -> bytes:
    """What was split. Of a text that has another number of holes, anything."""
    if not len(numbers):
        return text
    parts = text.split(HOLE)
    whole = [b""] * (2 * len(parts) - 1)
    whole[::2] = parts
    whole[1::2] = [repr(number).encode() for number in numbers.tolist()][: len(parts) - 1]
    return b"".join(whole)


def to_planes(numbers: np.ndarray) -> bytes:
    """Numbers as bytes: first the lowest byte of each, then the next, since equal bytes side by side compress."""
    return numbers.astype(DOUBLE).view(np.uint8).reshape(-1, DOUBLE.itemsize).T.tobytes()


def from_planes(content: bytes) -> np.ndarray:
    """The float64 numbers of ``to_planes``."""
    planes = np.frombuffer(content, dtype=np.uint8).reshape(DOUBLE.itemsize, -1)
    return np.ascontiguousarray(planes.T).view(DOUBLE).reshape(-1)
