"""Seeds to pictures and labels."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from benchmark.data.scenes.intersect import TILE
from benchmark.data.scenes.layout import make_scene
from benchmark.data.scenes.model import FOCAL
from benchmark.data.scenes.sensor import depth_holes, develop, normal_holes, unlabelled_seams
from benchmark.data.scenes.shading import Surface, cast, illuminate
from benchmark.data.scenes.tensors import Batch, dot, each, pack, triple, unit

#: Pixels at once: on a processor as many as its caches hold, on an accelerator as many as keep it busy.
CHUNK = {"cpu": 50_000, "cuda": 1_000_000}


def render(
    seeds: Tensor | Sequence[int],
    *,
    height: int,
    width: int,
    device: torch.device | str = "cpu",
    done: Callable[[int], None] | None = None,
) -> dict[str, Tensor]:
    """Render one picture per seed, with its labels.

    A picture depends on its seed and size alone. Camera axes are x right, y down, z forward; the focal length is
    ``FOCAL * width`` pixels in both directions and the principal point is the middle of the picture. ``depth`` is
    measured along z; a normal n at a pixel's ray r has n · r < 0.

    Args:
        seeds: (N,) whole numbers.
        height, width: pixels.
        device: where to render, and where the result stays.
        done: told, now and then, how many pictures are ready.

    Returns:
        ``image`` (N, 3, H, W) uint8; ``semantic`` (N, H, W) int8, −1 unknown; ``depth`` (N, 1, H, W) float16 in
        metres, 0 unknown; ``normals`` (N, 3, H, W) float16, unit vectors, 0 unknown.
    """
    numbers = [int(seed) for seed in seeds]
    if not numbers:
        raise ValueError("render needs at least one seed")
    device = torch.device(device)
    size = max(1, CHUNK.get(device.type, CHUNK["cuda"]) // (height * width))
    chunks = [numbers[start : start + size] for start in range(0, len(numbers), size)]

    def work(chunk: list[int]) -> dict[str, Tensor]:
        with torch.inference_mode():
            return _render_batch(pack([make_scene(seed) for seed in chunk], device), height, width)

    parts = []
    for part in _in_threads(work, chunks) if device.type == "cpu" else map(work, chunks):
        parts.append(part)
        if done:
            done(min(len(parts) * size, len(numbers)))
    # Cloned out of inference mode, so that the result is an ordinary tensor.
    return {name: torch.cat([part[name] for part in parts]).clone() for name in parts[0]}


def _in_threads(work: Callable[[list[int]], dict[str, Tensor]], chunks: list[list[int]]) -> Iterator[dict[str, Tensor]]:
    """Chunks side by side in as many threads as torch may use.

    Sharing each operation among the threads instead would make them wait for each other ten thousand times.
    """
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, "scenes", initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from pool.map(work, chunks)
    finally:
        pool.shutdown(cancel_futures=True)
        # What a thread sets for itself is also what threads started later begin with.
        torch.set_num_threads(threads)


def _render_batch(batch: Batch, height: int, width: int) -> dict[str, Tensor]:
    tiles_y, tiles_x = -(-height // TILE), -(-width // TILE)
    row, column = (axis.reshape(-1) for axis in np.mgrid[: tiles_y * TILE, : tiles_x * TILE])
    device = batch.table.device

    def cut(values: np.ndarray) -> Tensor:
        plane = ((values + 0.5) / (FOCAL * width)).astype(np.float32)
        tiled = plane.reshape(tiles_y, TILE, tiles_x, TILE).swapaxes(1, 2)
        return torch.from_numpy(np.ascontiguousarray(tiled).reshape(-1, TILE * TILE)).to(device)

    def join(values: Tensor) -> Tensor:
        tiled = values.view(-1, tiles_y, tiles_x, TILE, TILE).transpose(2, 3)
        return tiled.reshape(-1, tiles_y * TILE, tiles_x * TILE)[:, :height, :width]

    seen = cast(batch, cut(column - width / 2), cut(row - height / 2))
    light = illuminate(batch, seen, width, TILE * TILE)
    image = develop(torch.stack([join(channel) for channel in light], 1), batch.views)
    return {"image": image, **_labels(batch, seen, join)}


def _labels(batch: Batch, seen: Surface, join: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    views = batch.views
    facing = join(-dot(seen.normal, unit(seen.ray)))
    depth = join(seen.depth)
    hole = depth_holes(depth, facing, join(seen.look["blind"]), views)
    label = join(seen.look["label"]).to(torch.int8)
    axes = (each(lambda part: part[:, None], triple(views, name)) for name in "uvw")
    normals = torch.stack([join(dot(seen.normal, axis)) for axis in axes], 1)
    return {
        "semantic": label.masked_fill(unlabelled_seams(label, views), -1),
        "depth": depth.masked_fill(hole, 0).half()[:, None],
        "normals": normals.masked_fill(normal_holes(hole)[:, None], 0).half(),
    }
