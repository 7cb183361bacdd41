"""Picture files and resampling, the same bytes on every machine."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from benchmark.errors import UserError


def read_png(file: Path, *, shape: tuple[int | None, ...], dtype: str, advice: str) -> np.ndarray:
    """Read a PNG of a known shape and type.

    Args:
        file: what to read.
        shape: (H, W) or (H, W, 3); None for any height or width.
        dtype: ``uint8`` or ``uint16``.
        advice: what the user can do about a broken file; ends the message.

    Raises:
        UserError: the file is missing, damaged, or of another shape or type.
    """
    try:
        with Image.open(BytesIO(file.read_bytes()), formats=["PNG"]) as picture:
            array = np.asarray(picture)
    except OSError as error:
        raise UserError(
            f"{file} cannot be read as PNG ({error.strerror or error}); {advice}".replace("\n", " ")
        ) from error
    except (SyntaxError, ValueError, Image.DecompressionBombError) as error:  # what Pillow raises for broken chunks
        raise UserError(f"{file} is a damaged PNG ({error}); {advice}") from error
    if dtype == "uint16" and array.dtype == np.int32:
        array = array.astype(np.uint16)  # Pillow before 11 opened 16-bit pictures as 32-bit ones
    fits = len(array.shape) == len(shape) and all(
        wanted in (None, found) for wanted, found in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype != dtype:
        words = ", ".join("any" if length is None else str(length) for length in shape)
        raise UserError(f"{file} is {array.dtype} of shape {array.shape}, expected {dtype} of ({words}); {advice}")
    return array


def read_rgb(file: Path, *, formats: Sequence[str] = ("JPEG",), advice: str) -> np.ndarray:
    """Read a picture of any size as red, green and blue.

    Args:
        file: what to read.
        formats: that it may have, by Pillow's names.
        advice: what the user can do about a broken file; ends the message.

    Returns:
        (H, W, 3) uint8.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        with Image.open(BytesIO(file.read_bytes()), formats=list(formats)) as picture:
            return np.asarray(picture.convert("RGB"))
    except FileNotFoundError as error:
        raise UserError(f"{file} is missing; {advice}") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        words = f"{file} cannot be read as {' or '.join(formats)} ({error}); {advice}"
        raise UserError(words.replace("\n", " ")) from error


def middle_square(image: np.ndarray) -> np.ndarray:
    """The largest square in the middle of a picture. (H, W, …) -> (S, S, …)."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def area_resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resample a picture so that each new pixel is the mean of the area that it covers.

    Args:
        image: (H, W, 3) uint8.
        size: new height and width.

    Returns:
        (3, *size) uint8.
    """
    picture = Image.fromarray(np.ascontiguousarray(image))
    if image.shape[:2] != size:
        picture = picture.resize((size[1], size[0]), Image.Resampling.BOX)
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))


def nearest(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resample the last two axes without mixing values: a new pixel is the old one in which its middle lies."""
    height, width = array.shape[-2:]
    rows, columns = _middles(height, size[0]), _middles(width, size[1])
    return array[..., rows[:, None], columns]


def _middles(old: int, new: int) -> np.ndarray:
    """⌊(i + ½) old / new⌋ in whole numbers."""
    return (2 * np.arange(new) + 1) * old // (2 * new)
