"""What boards and their pages are called."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from benchmark.analysis import Board
from benchmark.analysis.boards import plain

SHORT = 6


def stems(boards: Sequence[Board]) -> list[str]:
    """File names of boards' pages, without suffix: readable, stable and distinct."""
    short = [f"{slug(board.dataset.name)}-{board.key[:SHORT]}" for board in boards]
    seen = Counter(short)
    return [
        name if seen[name] == 1 else f"{slug(board.dataset.name)}-{board.key}"
        for name, board in zip(short, boards, strict=True)
    ]


def slug(name: str) -> str:
    """A name as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "board"


def titles(boards: Sequence[Board]) -> list[str]:
    """Each board in a few words: what everyone asks for, and whatever else tells boards of one data set apart."""
    by_dataset: dict[str, list[dict[str, str]]] = defaultdict(list)
    for board in boards:
        by_dataset[board.dataset.name].append(_details(board))
    return [_title(_details(board), by_dataset[board.dataset.name]) for board in boards]


def _details(board: Board) -> dict[str, str]:
    """What can tell a board from another: its settings, and the bytes of its data."""
    return settings(board) | {"data": (board.data_hash or "unknown")[:12]}


def _title(own: dict[str, str], others: Sequence[dict[str, str]]) -> str:
    """What everyone asks for, and of the rest only what it takes to tell the board from ``others``."""
    keys = [key for key in own if key in ("picture size", "width", "epochs", "batch size")]
    rivals = [other for other in others if any(other.get(key) != own[key] for key in own)]
    for key in [None, *(key for key in own if key not in keys)]:
        alike = [other for other in rivals if all(other.get(k) == own[k] for k in keys)]
        if not alike:
            break
        if key is not None and any(other.get(key) != own[key] for other in alike):
            keys.append(key)
    written = {"picture size": "{}", "epochs": "{} epochs"}
    words = [written.get(key, key + " {}").format(own[key]) for key in own if key in keys]
    return ", ".join(word.replace(" ", "\u00a0") for word in words)


def settings(board: Board) -> dict[str, str]:
    """Everything that a board's runs have in common, by name."""
    options = {key: plain(value) for key, value in board.dataset.options.items()}
    found = {"data version": str(board.dataset.version)}
    if {"width", "height"} <= set(options):
        found["picture size"] = f"{options.pop('width')} × {options.pop('height')} px"
    found |= {(f"data {key}" if key in board.backbone else key): value for key, value in options.items()}
    found |= {key: plain(value) for key, value in board.backbone.items()}
    # Fields that a cosine has no use for have their default in every such protocol, and would say what is not so.
    unused = ("lr_step", "lr_decay") if board.protocol.schedule == "cosine" else ()
    protocol = {key: value for key, value in board.protocol.identity().items() if key not in unused}
    return found | {key.replace("_", " "): plain(value) for key, value in protocol.items()}
