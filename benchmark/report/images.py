"""Arrays as picture files of a report."""

import hashlib
from collections.abc import Mapping
from io import BytesIO

import numpy as np
from matplotlib.image import imsave

#: Folder of the report that holds the pictures.
FOLDER = "pictures"
LARGEST_SIDE = 2048


def draw_input(image: np.ndarray) -> np.ndarray | None:
    """(C, H, W) uint8 with one or three channels -> (H, W, 3)."""
    if image.ndim != 3 or image.dtype != np.uint8 or image.shape[0] not in (1, 3):
        return None
    return checked(np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0))


def checked(picture: np.ndarray | None) -> np.ndarray | None:
    """The picture if it is one: (H, W, 3) uint8 of a sensible size."""
    if picture is None or picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        return None
    return picture if min(picture.shape[:2]) > 0 and max(picture.shape[:2]) <= LARGEST_SIDE else None


def keep_picture(picture: np.ndarray, files: dict[str, bytes]) -> str:
    """Encode a picture and name it by its content: equal pictures are kept once."""
    picture = np.ascontiguousarray(picture)
    digest = hashlib.sha256(str(picture.shape).encode() + picture.tobytes()).hexdigest()[:16]
    path = f"{FOLDER}/{digest}.png"
    if path not in files:
        buffer = BytesIO()
        # matplotlib's signature holds an address
        imsave(buffer, picture, format="png", metadata={"Software": None})  # type: ignore[dict-item]
        files[path] = buffer.getvalue()
    return path


def sample_name(truth: Mapping[str, np.ndarray], index: int) -> str:
    """What a pictured sample is called."""
    return str(truth["id"][index]) if "id" in truth and index < len(truth["id"]) else str(index)
