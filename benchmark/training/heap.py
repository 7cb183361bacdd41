"""Where the process's freed memory goes, as far as the C library can be told (glibc)."""

import ctypes
from contextlib import suppress

#: Parameters of ``mallopt`` (mallopt(3)).
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
#: Bytes from which an allocation gets pages of its own: the most that glibc takes; few enough that activations do.
LARGE, SMALL = 2**25, 2**20
#: Bytes at the end of the heap that are given back: glibc's own number, and none ever.
USUAL, NEVER = 2**17, -1


def keep_freed_memory() -> None:
    """What a step frees stays with the process, for the next step: new pages cost as much as some layers.

    What earlier work has left goes back to the system first.
    """
    _tell(LARGE, NEVER)


def return_freed_memory() -> None:
    """Large blocks go back to the system when they are freed.

    In the heap they leave holes between what stays, into which the next ones do not fit.
    """
    _tell(SMALL, USUAL)


def _tell(own_pages: int, kept: int) -> None:
    with suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL(None)
        library.malloc_trim(0)
        library.mallopt(MMAP_THRESHOLD, own_pages)
        library.mallopt(TRIM_THRESHOLD, kept)
