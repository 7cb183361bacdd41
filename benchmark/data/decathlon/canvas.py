"""Pictures of any shape on canvases of one: 72 rows, and as many columns as the set's pictures need."""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from benchmark.data.decathlon.annotations import HELP
from benchmark.errors import UserError

SIDE = 72


def read_rgb(file: Path) -> np.ndarray:
    """Read a JPEG of any size as (H, W, 3) uint8, its shorter side resampled to 72 where it is another.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        with Image.open(BytesIO(file.read_bytes()), formats=["JPEG"]) as picture:
            rgb = picture.convert("RGB")
    except FileNotFoundError as error:
        raise UserError(f"{file} is missing; unpack {_archive(file)} where it lies") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{file} cannot be read as JPEG ({error}); {HELP}".replace("\n", " ")) from error
    width, height = rgb.size
    if min(width, height) != SIDE:
        factor = SIDE / min(width, height)
        size = (max(SIDE, round(width * factor)), max(SIDE, round(height * factor)))
        rgb = rgb.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(rgb)


def _archive(file: Path) -> str:
    """The inner archive that holds a picture ``…/data/<set>/<split>/…``."""
    parts = file.parts
    places = [i for i, part in enumerate(parts[:-1]) if part == "data"]
    return f"data/{parts[places[-1] + 1]}.tar" if places else "the data archive"


def on_canvas(picture: np.ndarray, length: int) -> tuple[np.ndarray, int]:
    """Lay a picture along a canvas.

    Args:
        picture: (H, W, 3) uint8, the shorter side 72.
        length: columns of the canvas; a longer picture loses both ends alike.

    Returns:
        (3, 72, length) uint8, black beyond the picture's end; how many columns it fills, negative where it is higher
        than wide and therefore transposed.
    """
    upright = picture.shape[0] > picture.shape[1]
    lying = picture.swapaxes(0, 1) if upright else picture
    spare = max(0, lying.shape[1] - length)
    lying = lying[:, spare // 2 : spare // 2 + length]
    canvas = np.zeros((3, SIDE, length), np.uint8)
    filled = lying.shape[1]
    canvas[:, :, :filled] = lying.transpose(2, 0, 1)
    return canvas, -filled if upright else filled
