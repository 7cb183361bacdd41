"""Honest bundles of real runs on the toy data."""

import pytest

from benchmark.data import Storage, build_dataset
from benchmark.registry import PLUGIN_FILES
from benchmark.runs.store import Store
from benchmark.submission import pack
from benchmark.training.hardware import Hardware
from benchmark.training.progress import Watcher
from benchmark.training.run import execute
from tests.benchmark.submission import bundles


@pytest.fixture(scope="package", autouse=True)
def _only_the_toy(toy):
    """Records name every plugin file of the process, and other tests have loaded files of their own."""
    known = dict(PLUGIN_FILES)
    for name in known.keys() - {toy.name}:
        del PLUGIN_FILES[name]
    yield
    PLUGIN_FILES.update(known)


@pytest.fixture(scope="package")
def source(toy, tmp_path_factory):
    """A results folder with real runs on the toy data, whose predictions were kept, and where the data lie."""
    storage, store = Storage.default(), Store(tmp_path_factory.mktemp("theirs"))
    for name in ("toy", "toy-words"):
        build_dataset(name).prepare(storage)
    hardware = Hardware.choose("cpu", "fp32", 1)
    for spec in (bundles.spec_of("tiny", "equal"), bundles.spec_of("tiny", "equal", 1)):
        outcome = execute(spec, storage=storage, hardware=hardware, watcher=Watcher(keep_predictions=True))
        assert outcome.record.status == "ok", outcome.record.error
        store.put(outcome.record, outcome.predictions, outcome.truth)
    return store


@pytest.fixture(scope="package")
def honest(source, toy, tmp_path_factory):
    """A bundle of them."""
    path = tmp_path_factory.mktemp("bundle") / "honest.zip"
    pack(source, source.scan()[0], path, submitter="A. Researcher", plugins=[toy])
    return path
