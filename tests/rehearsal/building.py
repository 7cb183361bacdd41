"""Builds the pretended device with the machine's compiler, once for each version of it, of torch and of Python."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

SOURCES = Path(__file__).parent / "device"
MODULE = "pretended_cuda"


def compiler() -> str | None:
    """The C++ compiler; None where there is none."""
    return shutil.which(os.environ.get("CXX", "g++"))


def torch_folder() -> Path:
    """Where torch is installed; torch itself must not be imported yet."""
    found = importlib.util.find_spec("torch")
    assert found is not None
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0])


def library() -> Path:
    """Where the built module is, or is to be."""
    digest = hashlib.sha256(f"{version('torch')} {sys.version}".encode())
    for file in sorted([*SOURCES.glob("*.h"), *SOURCES.glob("*.cpp")]):
        digest.update(file.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mtbench" / "rehearsal"
    return cache / digest.hexdigest()[:16] / f"{MODULE}.so"


def build(target: Path) -> None:
    """Compile, in about a minute.

    Raises:
        CalledProcessError: it cannot be.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    torch = torch_folder()
    includes = (torch / "include", torch / "include/torch/csrc/api/include", Path(sysconfig.get_paths()["include"]))
    made = target.with_suffix(f".{os.getpid()}")
    subprocess.run(
        [
            str(compiler()), "-O1", "-std=c++20", "-fPIC", "-shared", "-w", f"-DTORCH_EXTENSION_NAME={MODULE}",
            *(f"-I{folder}" for folder in includes), str(SOURCES / "pretended.cpp"), "-o", str(made),
            f"-L{torch / 'lib'}", "-ltorch", "-ltorch_cpu", "-ltorch_python", "-lc10", f"-Wl,-rpath,{torch / 'lib'}",
        ],
        check=True,
    )  # fmt: skip
    made.replace(target)
