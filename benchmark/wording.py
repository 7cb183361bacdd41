"""Numbers of things in words."""


def counted(number: int, thing: str, things: str | None = None) -> str:
    """``1 run``, ``2 runs``.

    Args:
        thing: what one is called.
        things: what several are called, where that is not the same with an s.
    """
    return f"{number} {thing if number == 1 else things or thing + 's'}"
