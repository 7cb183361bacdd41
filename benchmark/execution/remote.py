"""What travels to a worker on another machine, and what it does there before its run: no file system need be shared."""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.data import Storage, build_dataset
from benchmark.errors import UserError
from benchmark.execution.background import Background
from benchmark.execution.executor import GRACE, Began, Happening, Refused, Setup
from benchmark.files import write_atomically
from benchmark.registry import load_plugin_file
from benchmark.spec import RunSpec
from benchmark.training.checkpoint import Policy
from benchmark.training.hardware import Hardware
from benchmark.training.provenance import code_hash


@dataclass(frozen=True)
class Parcel:
    """A worker's set-up in words and contents.

    Attributes:
        device, graphs, deterministic: as on the command line: ``auto`` means the worker's own.
        workers: runs at once on one machine, for the record.
        code: hash of the suite's code here; a worker with other code refuses.
        plugins: files by name.
        sources: by data set the folder of its official files on the worker.
        checkpoints: a folder that all workers share; None keeps none.
    """

    device: str
    threads: int
    workers: int = 1
    graphs: bool = False
    deterministic: bool = False
    code: str = field(default_factory=code_hash)
    plugins: Sequence[tuple[str, bytes]] = ()
    sources: Mapping[str, Path] = field(default_factory=dict)
    checkpoints: Policy | None = None
    grace: float = GRACE
    keep_predictions: bool = False
    keep_model: bool = False
    spill: bool = False

    def unpack(self) -> Setup:
        """The set-up in this process, with plugins loaded.

        Raises:
            UserError: the code is not that of the sender, a plugin cannot be loaded, or there is no such device.
        """
        plugins = tuple(_kept(name, content) for name, content in self.plugins)
        for plugin in plugins:
            load_plugin_file(plugin)
        if code_hash() != self.code:
            raise UserError(
                "the worker's mtbench or an installed plugin is not that of the command: install the same version there"
            )
        hardware = Hardware.choose(
            self.device,
            "auto",
            self.threads,
            workers=self.workers,
            graphs=self.graphs,
            deterministic=self.deterministic,
        )
        return Setup(
            Storage.default(self.sources),
            hardware,
            plugins,
            self.checkpoints,
            self.grace,
            self.keep_predictions,
            self.keep_model,
            self.spill,
        )


def packed_plugins(files: Sequence[Path]) -> tuple[tuple[str, bytes], ...]:
    """Plugin files by content.

    Raises:
        UserError: one cannot be read.
    """
    try:
        return tuple((file.name, file.read_bytes()) for file in files)
    except OSError as error:
        raise UserError(f"the plugin {error.filename} cannot be read ({error.strerror})") from error


def _kept(name: str, content: bytes) -> Path:
    """A plugin's file on this machine, the same for the same content."""
    digest = hashlib.sha256(content).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"mtbench-plugins-{digest}"
    folder.mkdir(mode=0o700, exist_ok=True)
    file = folder / Path(name).name
    write_atomically(file, content)
    return file


def prepared(spec: RunSpec, setup: Setup) -> None:
    """Make the data set's prepared form on this machine unless it is there.

    Raises:
        UserError: it cannot be made.
    """
    build_dataset(spec.dataset.name, **spec.dataset.options).prepare(setup.storage)


def serve(spec: RunSpec, parcel: Parcel) -> Iterator[Happening]:
    """Do one run on this machine: what happens, to its end."""
    yield Began(spec.id)
    try:
        setup = parcel.unpack()
        prepared(spec, setup)
    except UserError as error:
        yield Refused(spec.id, str(error))
        return
    yield from Background(spec, setup).happenings()
