"""Processes that compute the proof: on this processor, and on others that QEMU emulates."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.arithmetic import portable_environment

ROOT = Path(__file__).parents[2]
NATIVE = "native"
#: QEMU's names: two generations of each maker.
EMULATED = {"Haswell": "Intel", "Skylake-Client": "Intel", "EPYC-Rome": "AMD", "EPYC-Milan": "AMD"}
SHORT = ("EPYC-Rome",)
QEMU = "qemu-x86_64"


class Unfinished(Exception):
    """A process that left no result."""


class Unsuited(Unfinished):
    """A processor without AVX2: nothing is promised of it."""


def command(processor: str, arguments: Sequence[str]) -> list[str]:
    """The words that run the computation on a processor.

    Raises:
        Unfinished: there is no emulator.
    """
    python = os.path.realpath(sys.executable)  # an emulator starts programs, not links into environments
    words = [python, "-m", "tests.portable.compute", *arguments]
    if processor == NATIVE:
        return words
    if shutil.which(QEMU) is None:
        raise Unfinished(f"{QEMU} 7.2 or newer is missing, which emulates processors: apt-get install qemu-user")
    return [QEMU, "-cpu", f"{processor},check=off", *words]  # of what it lacks, such as transactions, nothing is used


def environment() -> dict[str, str]:
    """This process's variables, those of portable arithmetic, and where packages are without an environment's link."""
    paths = os.pathsep.join([str(ROOT), sysconfig.get_path("purelib")])
    return {
        **os.environ,
        **portable_environment(),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": paths,
    }


def computed(processor: str, *, short: bool, only: Sequence[str] = ()) -> dict[str, Any]:
    """What a processor computes: versions of packages, whose kernels, and digests; of an emulated one that
    broke, those that it came to.

    Raises:
        Unsuited: the processor has no AVX2.
        Unfinished: the process broke, at its start where it is emulated.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "digests.json"
        arguments = [str(out), *(["--short"] if short else []), "--only", *only]
        done = subprocess.run(command(processor, arguments), cwd=ROOT, env=environment(), check=False)
        if not out.is_file() or (done.returncode and processor == NATIVE):
            raise Unfinished(f"the computation on {processor} broke with code {done.returncode}; see above")
        if done.returncode:
            sys.stderr.write(f"{processor} broke with code {done.returncode} after the last cell.\n")
        found: dict[str, Any] = json.loads(out.read_text())
    if found["kernels"] != "AVX2":
        raise Unsuited(f"{processor} computes with kernels for {found['kernels']}; the proof needs AVX2")
    return found
