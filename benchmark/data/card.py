"""Data cards: what a data set is, as its author states it, and what its prepared form measurably holds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DataCard:
    """What people must know of a data set before they use it.

    Attributes:
        title: the set's full name.
        summary: what it holds, in a sentence or two.
        targets: by task, what is to be predicted, in which unit, and how it was measured.
        sizes: sizes of pictures, and how they were resampled.
        splits: how train, val and test were made.
        licence: terms of use of the data.
        citation: whom to cite.
        homepage: the official page.
        obtain: how to get the official files, step by step.
        caveats: what has misled people.
        redistribution: whether the licence lets anyone pass pictures on. Only then are samples kept in results folders,
            which people publish, without being asked for.
    """

    title: str
    summary: str
    targets: dict[str, str]
    sizes: str
    splits: str
    licence: str
    citation: str
    homepage: str
    obtain: str
    caveats: tuple[str, ...] = ()
    redistribution: bool = False
