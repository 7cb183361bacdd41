"""Numbers of things, and times, in words."""


def counted(number: int, thing: str, things: str | None = None) -> str:
    """``1 run``, ``2 runs``.

    Args:
        thing: what one is called.
        things: what several are called, where that is not the same with an s.
    """
    return f"{number} {thing if number == 1 else things or thing + 's'}"


def duration(seconds: float) -> str:
    """Seconds in the two largest units that fit."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{n} {unit}" for n, unit in ((days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")) if n]
    return " ".join(parts[:2]) or "0 s"
