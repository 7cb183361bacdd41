"""Multi-Fashion: two real pictures of clothes in one, and the class of each to be told."""

import gzip
import hashlib
import json
import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmark.data.card import DataCard
from benchmark.data.dataset import IMAGE, SPLITS, DataSet, Progress, register_dataset
from benchmark.data.files import is_file
from benchmark.errors import UsageError, UserError, unknown
from benchmark.tasks import Task

#: Where Debian's package ``dataset-fashion-mnist`` puts the four files.
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
HELP = (
    "install Debian's package dataset-fashion-mnist, or name a folder with Fashion-MNIST's four gzipped IDX files by "
    "--source multi-fashion=DIR"
)

CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

SIDE = 28
CANVAS = 36
MOVE = 4
#: One in this many of the training file's articles makes the validation split: 10,000 of the 60,000.
VAL_EVERY = 6

IMAGES_MAGIC, LABELS_MAGIC = 2051, 2049
#: SHA-256 of what the official files hold, uncompressed: other sets, such as MNIST, have files of the same names.
OFFICIAL = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
#: Where the files lie below a folder that is named: in itself, or where torchvision keeps them in its root.
PLACES = ("", "raw", "FashionMNIST/raw")
#: Guards against a damaged header that announces more than memory holds; the official files have 60,000.
MOST_ARTICLES = 100_000
MOST_SAMPLES = 1_000_000
CHUNK = 2048


CARD = DataCard(
    title="MultiFashion",
    summary="Grey pictures of two overlaid articles of clothing of different classes, made from Fashion-MNIST.",
    targets={
        "top-left": "10 classes: the article whose corner lies further up and left.",
        "bottom-right": "10 classes: the other article.",
    },
    sizes="36×36, each article 28×28, moved by up to 4 pixels; overlaid by the brighter pixel.",
    splits="Train and val: Fashion-MNIST's training file, one article in six for val, so that they share none. Test: "
    "its test file.",
    licence="MIT (Fashion-MNIST, © Zalando SE).",
    citation="H. Xiao, K. Rasul and R. Vollgraf. Fashion-MNIST. arXiv:1708.07747, 2017. X. Lin, H. Zhen, Z. Li, Q. "
    "Zhang and S. Kwong. Pareto Multi-Task Learning. NeurIPS 2019.",
    homepage="https://github.com/zalandoresearch/fashion-mnist",
    obtain="Install Debian's package dataset-fashion-mnist, or download the four .gz files from the official page into "
    "a folder and name it by --source.",
    caveats=(
        "The published MultiFashion's generator was never published: numbers do not compare with its tables.",
        "An article occurs in many pictures of its split.",
    ),
    redistribution=True,
)


@register_dataset
class MultiFashion(DataSet):
    """Two Fashion-MNIST articles of different classes laid over each other; one classification task for each.

    Source: MultiFashion of Lin et al., "Pareto Multi-Task Learning", NeurIPS 2019, made from Fashion-MNIST (Xiao et
    al., 2017). From the paper: two 28×28 articles of different classes on a 36×36 canvas, one at the top left, one at
    the bottom right, each moved by up to 4 pixels. The generator was never published, so the rest is ours, and numbers
    do not compare with tables made from the authors' files:

    * The upper left corner of the top-left article has row and column each uniform in 0..4, that of the bottom-right
      article in 4..8. All four numbers are independent, and both articles always lie wholly on the canvas.
    * Where the articles overlap, the brighter pixel is kept.
    * The top-left article is uniform over the split's articles, the other uniform over those of the other classes.
    * Train and validation come from the training file, split once by article (5 to 1), so that they share none; test
      comes from the test file.
    * The default sizes are smaller than the published 120,000 and 20,000: with them the prepared form takes 93 MB.

    Each split has its own stream of random bits, of fixed width per sample: the same options give the same bytes
    everywhere, and a smaller split is the beginning of a larger one. A sample's id is ``A-B``: the positions, from 0,
    of the top-left and the bottom-right article in their file.

    Args:
        train: number of training samples.
        val: number of validation samples.
        test: number of test samples.

    Raises:
        UsageError: a number of samples is not an integer from 1 to 1,000,000.
    """

    name = "multi-fashion"
    version = 1
    #: A task is a place in the picture, which augmentation would move.
    augmentations = frozenset()
    card = CARD
    smoke: ClassVar[Mapping[str, Any]] = {"train": 64, "val": 32, "test": 32}

    drawn = True
    tasks = (
        Task("top-left", "classification", len(CLASSES), CLASSES),
        Task("bottom-right", "classification", len(CLASSES), CLASSES),
    )

    def __init__(self, *, train: int = 50_000, val: int = 10_000, test: int = 10_000) -> None:
        for option, value in zip(SPLITS, (train, val, test), strict=True):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_SAMPLES:
                raise UsageError(
                    f"'{self.name}' needs a whole number from 1 to {MOST_SAMPLES} as '{option}', found {value!r}"
                )
        self.train, self.val, self.test = train, val, test

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """One grey channel on the square canvas."""
        return (1, CANVAS, CANVAS)

    @property
    def samples(self) -> dict[str, int]:
        """As the options say."""
        return {"train": self.train, "val": self.val, "test": self.test}

    def source_files(self, source: Path | None) -> list[Path]:
        """The four files of Fashion-MNIST."""
        folder = DEBIAN_FOLDER if source is None else source
        return [file for prefix in ("train", "t10k") for file in article_files(folder, prefix)]

    def build(self, split: str, source: Path | None, progress: Progress) -> dict[str, np.ndarray]:
        """Compose one split. See ``DataSet.build``."""
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        folder = DEBIAN_FOLDER if source is None else source
        articles = read_articles(folder, "t10k" if split == "test" else "train")
        pool = split_articles(len(articles.labels), split)
        if len(np.unique(articles.labels[pool])) < 2:
            raise UserError(f"{articles.file} holds too few articles: '{split}' needs two classes; {HELP}")
        return compose(articles, draw_pairs(articles.labels, pool, getattr(self, split), split), split, progress)


@dataclass(frozen=True)
class Articles:
    """The pictures of one file.

    Attributes:
        images: (M, 28, 28) uint8.
        labels: (M,) uint8, 0..9.
        file: where the pictures were read.
    """

    images: np.ndarray
    labels: np.ndarray
    file: Path


@dataclass(frozen=True)
class Pairs:
    """What N samples are made of.

    Attributes:
        first, second: (N,) position in the file of the top-left and of the bottom-right article.
        corners: (N, 4) row and column of the upper left corner of the first, then of the second.
    """

    first: np.ndarray
    second: np.ndarray
    corners: np.ndarray


def random_bits(purpose: str, shape: tuple[int, ...]) -> np.ndarray:
    """Independent uniform uint64 numbers that depend on nothing but the data set, its version and ``purpose``.

    The raw words of a bit generator are taken because NumPy promises that they never change; its distributions may.
    """
    axes = json.dumps([MultiFashion.name, MultiFashion.version, purpose]).encode()
    seed = int.from_bytes(hashlib.sha256(axes).digest()[:16], "big")
    return np.random.PCG64(seed).random_raw(math.prod(shape)).reshape(shape)


def split_articles(count: int, split: str) -> np.ndarray:
    """Positions in the file, ascending, of the articles that ``split`` may use."""
    if split == "test":
        return np.arange(count)
    shuffled = np.argsort(random_bits("articles", (count,)), kind="stable")
    held_out = count // VAL_EVERY
    return np.sort(shuffled[:held_out] if split == "val" else shuffled[held_out:])


def draw_pairs(labels: np.ndarray, pool: np.ndarray, count: int, split: str) -> Pairs:
    """Draw ``count`` pairs of articles of different classes from ``pool``, and where each lies."""
    bits = random_bits(f"pairs of {split}", (count, 6))

    def below(column: int, limit: np.ndarray | int) -> np.ndarray:
        # The remainder favours small numbers by less than 1e-14 of their share.
        return (bits[:, column] % np.asarray(limit, np.uint64)).astype(np.int64)

    first = pool[below(0, len(pool))]
    by_class = pool[np.argsort(labels[pool], kind="stable")]
    size = np.bincount(labels[pool], minlength=len(CLASSES))
    start = np.cumsum(size) - size
    own = labels[first]
    rank = below(1, len(pool) - size[own])
    second = by_class[np.where(rank < start[own], rank, rank + size[own])]  # steps over the first one's class
    moves = np.stack([below(column, MOVE + 1) for column in range(2, 6)], axis=1)
    return Pairs(first, second, moves + np.array([0, 0, CANVAS - SIDE - MOVE, CANVAS - SIDE - MOVE]))


def compose(articles: Articles, pairs: Pairs, split: str, progress: Progress) -> dict[str, np.ndarray]:
    """Overlay the pairs: image (N, 1, 36, 36) uint8, each task's class (N,) int16, id (N,)."""
    count = len(pairs.first)
    images = np.empty((count, 1, CANVAS, CANVAS), np.uint8)
    for begin in range(0, count, CHUNK):
        part = slice(begin, begin + CHUNK)
        images[part, 0] = np.maximum(
            placed(articles.images[pairs.first[part]], pairs.corners[part, :2]),
            placed(articles.images[pairs.second[part]], pairs.corners[part, 2:]),
        )
        progress(split, min(begin + CHUNK, count), count)
    return {
        IMAGE: images,
        "top-left": articles.labels[pairs.first].astype(np.int16),
        "bottom-right": articles.labels[pairs.second].astype(np.int16),
        "id": np.array([f"{a}-{b}" for a, b in zip(pairs.first, pairs.second, strict=True)]),
    }


def placed(pictures: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """(N, 28, 28) pictures on empty canvases, their upper left corners at (N, 2) row and column -> (N, 36, 36)."""
    canvas = np.zeros((len(pictures), CANVAS, CANVAS), np.uint8)
    rows, columns = (corners[:, axis, None] + np.arange(SIDE) for axis in (0, 1))  # (N, 28) each
    canvas[np.arange(len(pictures))[:, None, None], rows[:, :, None], columns[:, None, :]] = pictures
    return canvas


def article_files(folder: Path, prefix: str) -> tuple[Path, Path]:
    """The files of pictures and of labels, gzipped or not; where none is there, what they should be called."""
    images, labels = (_found(folder, f"{prefix}-{what}") for what in ("images-idx3", "labels-idx1"))
    return images, labels


def _found(folder: Path, stem: str) -> Path:
    """The first file that is there of those that a file may be: its name with a dot is what some unpackers make."""
    usual = folder / f"{stem}-ubyte.gz"
    kind, _, axes = stem.rpartition("-")
    names = (f"{stem}-ubyte.gz", f"{stem}-ubyte", f"{kind}.{axes}-ubyte")
    places = (folder / place / name for place in PLACES for name in names)
    return next((file for file in places if is_file(file)), usual)


def read_articles(folder: Path, prefix: str) -> Articles:
    """Read ``<prefix>-images-idx3-ubyte.gz`` and ``<prefix>-labels-idx1-ubyte.gz``, or the same files unpacked.

    Raises:
        UserError: a file is missing, unreadable, not what it should be, or another set's of the same name.
    """
    images_file, labels_file = article_files(folder, prefix)
    images = read_idx(images_file, IMAGES_MAGIC, (SIDE, SIDE))
    labels = read_idx(labels_file, LABELS_MAGIC, ())
    if len(images) != len(labels):
        raise UserError(f"{labels_file} holds {len(labels)} labels for {len(images)} pictures; {HELP}")
    if len(labels) and labels.max() >= len(CLASSES):
        raise UserError(f"{labels_file} holds the label {labels.max()}, expected 0 to {len(CLASSES) - 1}; {HELP}")
    for file, what, magic, values in (
        (images_file, "images-idx3", IMAGES_MAGIC, images),
        (labels_file, "labels-idx1", LABELS_MAGIC, labels),
    ):
        header = struct.pack(f">{1 + values.ndim}I", magic, *values.shape)
        known = OFFICIAL.get(f"{prefix}-{what}-ubyte")
        if known and hashlib.sha256(header + values.tobytes()).hexdigest() != known:
            raise UserError(
                f"{file} holds {len(values)} entries, and they are not Fashion-MNIST's: other sets have files of this "
                f"name, and need a data set of their own; {HELP}"
            )
    return Articles(images, labels, images_file)


def read_idx(file: Path, magic: int, item: tuple[int, ...]) -> np.ndarray:
    """Read an IDX file of bytes: big-endian magic and sizes, then the values, and nothing after them.

    Args:
        file: what to read, gzipped where its name ends so.
        magic: the first word, which states type and number of axes.
        item: the sizes of all axes but the first.

    Returns:
        (M, *item) uint8.

    Raises:
        UserError: the file is missing, not readable, not whole, or holds something else.
    """

    def broken(found: str) -> UserError:
        return UserError(f"{file} {found}; {HELP}")

    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            header = struct.Struct(f">{2 + len(item)}I")
            start = stream.read(header.size)
            if len(start) < header.size:
                raise broken(f"ends within its header of {header.size} bytes")
            found, count, *sizes = header.unpack(start)
            if found != magic:
                raise broken(f"starts with the number {found}, expected {magic}, an IDX file's for this content")
            if tuple(sizes) != item or count > MOST_ARTICLES:
                raise broken(f"announces the sizes {[count, *sizes]}, expected {[f'up to {MOST_ARTICLES}', *item]}")
            length = count * math.prod(item)
            values = stream.read(length + 1)  # one more than wanted: reaching the end makes gzip check its sum
    except FileNotFoundError as error:
        raise broken("is missing") from error
    except (OSError, EOFError, zlib.error) as error:
        raise broken(f"cannot be read{' as gzip' * (file.suffix == '.gz')} ({error})") from error
    if len(values) != length:
        found = "more" if len(values) > length else f"only {len(values)}"
        raise broken(f"holds {found} bytes after its header, expected {length}")
    return np.frombuffer(values, np.uint8).reshape(count, *item)
