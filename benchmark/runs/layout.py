"""Where in a folder of records things lie: names of files and folders, and what lies beside a record."""

import re

from benchmark.errors import UserError
from benchmark.runs.packs import TRUST_SUFFIX
from benchmark.runs.spec import RunSpec

#: Folder inside a store that holds no records; its name keeps it out of every listing of data sets.
PRIVATE = ".mtbench"
#: What a file's name must not hold, and how long it may be in bytes with room for a temporary name's ends.
UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f\ud800-\udfff]")
LONGEST_NAME = 220
#: Folder of a data set's cards, below the data set's own.
CARDS = "cards"
#: Files of what a step of each of a board's rows costs (``benchmark.speed.calibration``), by the board's key.
COSTS = re.compile(r"costs-[0-9a-f]{16}\.json")
#: Beside the record of a run that failed: the whole traceback. It has paths of a machine, and is never packed.
ERROR_SUFFIX = ".error.txt"
#: What lies beside a record and is packed with it. Whole predictions and networks are large, and stay files.
PACKABLE = (".npz", TRUST_SUFFIX)
UNPACKED = (".test.npz", ".safetensors", ERROR_SUFFIX)


def is_record(name: str) -> bool:
    """Whether a file of this name in a data set's folder is a record's."""
    return name.endswith(".json") and not name.endswith(TRUST_SUFFIX) and not COSTS.fullmatch(name)


def place(spec: RunSpec) -> str:
    """Where in the folder a run's record is."""
    name = f"{spec.architecture.name}_{spec.weighting_name}_s{spec.seed}_{spec.id}.json"
    return f"{safe_name(spec.dataset.name)}/{safe_name(name)}"


def safe_name(part: str) -> str:
    """A part of a path, as it is.

    Raises:
        UserError: it would lead elsewhere, or no file system takes it.
    """
    if part.startswith(".") or len(part.encode(errors="replace")) > LONGEST_NAME or UNSAFE.search(part):
        raise UserError(f"{part[:80]!r} cannot be the name of a file; registered names always can")
    return part
