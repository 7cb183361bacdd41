"""Foreign JSON and foreign text, made safe to read and to print."""

import json
import math
from typing import Any

from benchmark.errors import UserError

#: No honest number of a record is greater, and no sum of honest numbers overflows.
LARGEST = 1e30
#: Nor has an honest integer more digits.
MOST_DIGITS = 30
#: Characters of a foreign text that are shown in one line.
SHOWN = 200


def shown(text: object, longest: int = SHOWN) -> str:
    """Foreign text as one short line without control characters, so that no terminal obeys it."""
    line = " ".join(str(text).split())
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in line)
    return plain if len(plain) <= longest else plain[: longest - 1] + "…"


def parse(content: bytes, name: str) -> Any:
    """Strict JSON: UTF-8, no NaN or infinity, no key twice in one object, no number out of all proportion.

    Raises:
        UserError: the content is something else.
    """
    try:
        return json.loads(
            content.decode("utf-8"),
            parse_constant=_constant,
            parse_float=_float,
            parse_int=_int,
            object_pairs_hook=_object,
        )
    except RecursionError:
        raise UserError(f"{name} is nested too deeply") from None
    except ValueError as error:
        raise UserError(f"{name} is not sound JSON: {shown(error)}") from None


def _constant(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON; a number that is not finite is null")


def _float(word: str) -> float:
    value = float(word)
    if not math.isfinite(value) or abs(value) > LARGEST:
        raise ValueError(f"the number {word[:20]} is too large")
    return value


def _int(word: str) -> int:
    if len(word) > MOST_DIGITS:
        raise ValueError(f"the number {word[:20]}… has too many digits")
    return int(word)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a key twice")
    return found
