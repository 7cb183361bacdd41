"""What travels to a worker on another machine, and what it does there before its run: no file system need be shared."""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.data import Storage, build_dataset
from benchmark.errors import UserError
from benchmark.execution.background import Background
from benchmark.execution.executor import GRACE, Began, Refused, RunEvent, Setup
from benchmark.neighbours import neighbours
from benchmark.registry import load_plugin_files
from benchmark.runs.files import write_atomically
from benchmark.runs.spec import RunSpec
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
        plugins: files by name, with those beside them that they import, by their places below the folder.
        sources: by data set the folder of its official files on the worker.
        checkpoints: a folder that all workers share; None keeps none.
    """

    device: str
    threads: int
    workers: int = 1
    graphs: bool = False
    deterministic: bool = False
    code: str = field(default_factory=code_hash)
    plugins: Sequence["PackedPlugin"] = ()
    sources: Mapping[str, Path] = field(default_factory=dict)
    checkpoints: Policy | None = None
    grace: float = GRACE
    keep_predictions: bool = False
    keep_model: bool = False
    spill: bool = False
    time_limit: float | None = None

    def unpack(self) -> Setup:
        """The set-up in this process, with plugins loaded.

        Raises:
            UserError: the code is not that of the sender, a plugin cannot be loaded, or there is no such device.
        """
        plugins = tuple(_kept(plugin) for plugin in self.plugins)
        load_plugin_files(plugins)
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
            self.time_limit,
        )


@dataclass(frozen=True)
class PackedPlugin:
    """A plugin file by name and content.

    Attributes:
        beside: likewise the files that it imports, by their places below its folder.
    """

    name: str
    content: bytes
    beside: tuple[tuple[str, bytes], ...] = ()


def packed_plugins(files: Sequence[Path]) -> tuple[PackedPlugin, ...]:
    """Plugin files by content.

    Raises:
        UserError: one cannot be read.
    """
    try:
        return tuple(_packed(file.resolve()) for file in files)
    except OSError as error:
        raise UserError(f"the plugin {error.filename} cannot be read ({error.strerror})") from error


def _packed(file: Path) -> PackedPlugin:
    beside = ((str(path.relative_to(file.parent)), path.read_bytes()) for path in neighbours(file))
    return PackedPlugin(file.name, file.read_bytes(), tuple(beside))


def _kept(plugin: PackedPlugin) -> Path:
    """A plugin's file on this machine, the same for the same content."""
    files = [(Path(plugin.name).name, plugin.content), *plugin.beside]
    lines = [plugin.content, *(name.encode() + b" " + content for name, content in plugin.beside)]
    folder = Path(tempfile.gettempdir()) / f"mtbench-plugins-{hashlib.sha256(b''.join(lines)).hexdigest()[:16]}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, content in files:
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise UserError(f"the plugin {plugin.name} brings a file '{name}' that would lie outside its folder")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, content)
    return folder / Path(plugin.name).name


def prepared(spec: RunSpec, setup: Setup) -> None:
    """Make the data set's prepared form on this machine unless it is there.

    Raises:
        UserError: it cannot be made.
    """
    build_dataset(spec.dataset.name, **spec.dataset.options).prepare(setup.storage)


def serve(spec: RunSpec, parcel: Parcel) -> Iterator[RunEvent]:
    """Do one run on this machine: what happens, to its end."""
    yield Began(spec.id)
    try:
        setup = parcel.unpack()
        prepared(spec, setup)
    except UserError as error:
        yield Refused(spec.id, str(error))
        return
    yield from Background(spec, setup).events()
