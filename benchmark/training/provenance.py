"""Where a record comes from: versions, the suite's commit, the machine."""

import hashlib
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path

import torch

from benchmark.arithmetic import Arithmetic, variables
from benchmark.registry import ARCHITECTURES, PLUGIN_FILES, PLUGIN_GROUP
from benchmark.runs.record import Numerics, Provenance
from benchmark.runs.spec import RunSpec
from benchmark.training.hardware import Hardware
from benchmark.training.probe import probe

DISTRIBUTION = "mtbench"
#: Packages that decide the numbers.
PACKAGES = ("numpy", "torch")


def provenance(
    hardware: Hardware,
    data_hash: str | None,
    started: datetime,
    git: tuple[str | None, bool | None],
    *,
    numerics: Numerics | None = None,
    resumed: int = 0,
    further: Iterable[str] = (),
) -> Provenance:
    """The provenance of a run that began at ``started`` on ``hardware``, when ``git_state`` was ``git``.

    Args:
        further: see ``packages``.
    """
    commit, dirty = git
    return Provenance(
        suite_version=version(DISTRIBUTION),
        git_commit=commit,
        git_dirty=dirty,
        packages=packages(further),
        plugins=dict(PLUGIN_FILES),
        python=platform.python_version(),
        platform=platform.platform(),
        device=hardware.name,
        precision=hardware.precision,
        threads=hardware.threads,
        workers=hardware.workers,
        data_hash=data_hash,
        started=started.isoformat(timespec="seconds"),
        device_type=hardware.kind,
        cuda_graphs=hardware.graphs if hardware.kind == "cuda" else None,
        numerics=numerics,
        determinism=determinism(),
        resumed=resumed,
    )


def numerics(hardware: Hardware, arithmetic: Arithmetic) -> Numerics:
    """What decides last bits in this process."""
    return Numerics(
        arithmetic=arithmetic,
        instruction_set=torch.backends.cpu.get_cpu_capability(),
        variables=variables(),
        libraries=libraries(hardware),
        probe=probe() if hardware.kind == "cpu" else None,
    )


def libraries(hardware: Hardware) -> dict[str, str]:
    """Versions of the libraries that compute for PyTorch, as far as it names them."""
    words = torch.__config__.show()
    patterns = {"mkl": r"Math Kernel Library Version (\S+)", "onednn": r"MKL-DNN v(\S+)"}
    found = {name: match[1] for name, pattern in patterns.items() if (match := re.search(pattern, words))}
    if hardware.kind == "cuda":
        found |= {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}
    return found


def determinism() -> dict[str, bool | str]:
    """PyTorch's switches that decide whether a device computes the same twice.

    Of a device that was asked to (``--deterministic``) also the workspace of cuBLAS, and that what torch has no such
    kernel for was done all the same.
    """
    asked = torch.is_deterministic_algorithms_warn_only_enabled()
    found: dict[str, bool | str] = {"warn_only": True} if asked else {}
    if asked and (workspace := os.environ.get("CUBLAS_WORKSPACE_CONFIG")):
        found["CUBLAS_WORKSPACE_CONFIG"] = workspace
    return found | {
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn.deterministic": torch.backends.cudnn.deterministic,
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        "cudnn.allow_tf32": torch.backends.cudnn.allow_tf32,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }


@cache
def code_hash() -> str:
    """SHA-256 of every source file that decides a run's numbers: the suite's rooms for that, and installed plugins."""
    suite = Path(__file__).resolve().parents[1]
    names = (
        "data",
        "tasks",
        "training",
        "arithmetic.py",
        "exact.py",
        "transfer.py",
        "model.py",
        "weighting",
        "runs/spec.py",
    )
    rooms = [suite / name for name in names]
    for point in entry_points(group=PLUGIN_GROUP):
        file = getattr(sys.modules.get(point.module), "__file__", None)
        if file:
            rooms.append(Path(file).parent if Path(file).name == "__init__.py" else Path(file))
    digest = hashlib.sha256()
    for room in rooms:
        for file in sorted(room.rglob("*.py")) if room.is_dir() else [room]:
            digest.update(f"{file.relative_to(room.parent)}\0{file.stat().st_size}\0".encode() + file.read_bytes())
    return digest.hexdigest()


@cache
def _version(name: str) -> str:
    return version(name)


def packages(further: Iterable[str] = ()) -> dict[str, str]:
    """Versions of the packages that decide the numbers, and of installed plugins.

    Args:
        further: those that decide the numbers of some runs alone; one that is not installed is left out.
    """
    found = {name: _version(name) for name in PACKAGES}
    for name in further:
        with suppress(PackageNotFoundError):
            found[name] = _version(name)
    return found | installed_plugins()


def packages_of(spec: RunSpec) -> dict[str, str]:
    """Versions of the packages that decide a run's numbers, see ``MultiTaskModel.packages``."""
    return packages(needed_by(spec))


def needed_by(spec: RunSpec) -> tuple[str, ...]:
    """The packages, besides the suite's own, that a run's network says it needs."""
    entry = ARCHITECTURES[spec.architecture.name]
    ask = getattr(entry.factory, "packages", None)  # a plain function tells nothing
    return tuple(ask({**entry.defaults, **entry.preset, **spec.architecture.options})) if ask else ()


@cache
def installed_plugins() -> dict[str, str]:
    """Versions of the distributions that register methods, without the suite itself."""
    found = {point.dist.name: point.dist.version for point in entry_points(group=PLUGIN_GROUP) if point.dist}
    return {name: number for name, number in sorted(found.items()) if name != DISTRIBUTION}


@cache
def git_state() -> tuple[str | None, bool | None]:
    """Commit of the suite's checkout and whether it has uncommitted changes; (None, None) for an installed package."""
    root = Path(__file__).resolve().parents[2]

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=20, check=True)
        return done.stdout.strip()

    if not (root / ".git").exists():
        return None, None
    try:
        # Records and pages are output: writing them does not change the suite.
        changes = git("status", "--porcelain", "--", ".", ":!results", ":!reports")
        return git("rev-parse", "HEAD"), bool(changes)
    except (OSError, subprocess.SubprocessError):
        return None, None
