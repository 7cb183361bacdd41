"""``python -m tests.rehearsal``: builds the pretended device where that was not done yet, and rehearses.

Exits with 0, and says so, where there is no C++ compiler. Further words go to pytest, such as ``-k steps``, or
``--numprocesses 0`` to do all in this process.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from tests.rehearsal.building import build, compiler, library

HERE = Path(__file__).parent


def main() -> int:
    """See above."""
    if compiler() is None:
        sys.stdout.write("The rehearsal of CUDA is SKIPPED: there is no g++ here (apt-get install g++)\n")
        return 0
    if not library().exists():
        sys.stdout.write("Building the pretended device, in about a minute …\n")
        build(library())
    import tests.rehearsal.pretending  # noqa: F401, I001 - before torch, which pytest's plugins import

    import pytest

    own = ["-o", "python_files=check_*.py", "-p", "no:cacheprovider"]
    if find_spec("xdist"):
        own += ["--numprocesses", "2", "--dist", "worksteal"]
        # Processes that are started believe in the device too.
        folders = [str(HERE / "everywhere"), str(HERE.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        os.environ["PYTHONPATH"] = os.pathsep.join(folders)
    words = sys.argv[1:]
    return int(pytest.main([*own, *words, str(HERE)]))


if __name__ == "__main__":
    sys.exit(main())
