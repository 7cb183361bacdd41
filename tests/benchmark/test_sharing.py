"""How many runs at once: a rule on what is measured, and the measurement itself on this machine's processors."""

from dataclasses import replace

import pytest

from benchmark.data import Storage
from benchmark.execution import sharing
from benchmark.execution.executor import Setup
from benchmark.execution.sharing import Throughput, choose_workers, measure_throughput
from benchmark.runs.expansion import expand
from benchmark.runs.filters import Filters
from benchmark.runs.grid import load_grid
from benchmark.training.hardware import Hardware

pytestmark = pytest.mark.slow

CPU = Hardware("cpu", "fp32", 1)


@pytest.fixture
def setup(toy):
    return Setup(Storage.default(), CPU, (toy,))


@pytest.fixture(scope="module")
def specs(toy):
    return expand(load_grid("quick"), Filters(architectures=["split", "split-wide", "mtan"]))


@pytest.fixture(autouse=True)
def eight_processors(monkeypatch):
    monkeypatch.setattr(sharing, "cores", lambda: 8)


def rates(*steps, peak=10):
    """A device that does so many steps a second with 1, 2, 4 and 8 runs at once."""
    known = dict(zip(sharing.COUNTS, steps, strict=False))
    return lambda spec, setup, count: Throughput(count, known[count], peak)


@pytest.mark.parametrize(
    ("steps", "workers", "slowdown"),
    [
        ((10, 20, 40, 80), 8, 1.0),
        ((10, 15, 16, 90), 2, 4 / 3),
        ((10, 10.5), 1, 1.0),
        ((10, 9), 1, 1.0),
        ((10, 16, 24, 25), 4, 4 / 2.4),
    ],
)
def test_as_many_as_bring_more_steps(specs, setup, steps, workers, slowdown):
    found = choose_workers(specs, setup, rates(*steps))
    assert found.workers == workers
    assert found.slowdown == pytest.approx(slowdown)


def test_no_more_than_runs_or_processors(specs, setup, monkeypatch):
    assert choose_workers(specs[:3], setup, rates(10, 20, 40, 80)).workers == 2
    monkeypatch.setattr(sharing, "cores", lambda: 4)
    assert choose_workers(specs, setup, rates(10, 20, 40, 80)).workers == 4


def test_what_cannot_be_measured_is_not_done(specs, setup):
    def fails(from_count):
        def measure(spec, setup, count):
            if count >= from_count:
                raise RuntimeError("no room")
            return Throughput(count, 10.0 * count, None)

        return measure

    assert (choose_workers(specs, setup, fails(1)).workers, choose_workers(specs, setup, fails(1)).slowdown) == (1, 1.0)
    found = choose_workers(specs, setup, fails(4))
    assert found.workers == 2
    assert "4 failed (RuntimeError: no room)" in found.reason


def test_memory_must_be_free_for_runs_and_their_data(specs, setup, monkeypatch):
    monkeypatch.setattr(sharing.torch.cuda, "mem_get_info", lambda device: (8 * 2**30, 8 * 2**30))
    gpu = replace(setup, hardware=replace(CPU, device="cuda"))
    assert choose_workers(specs, gpu, rates(10, 20, 40, 80, peak=2**29)).workers == 4
    found = choose_workers(specs, gpu, rates(10, 20, 40, 80, peak=3 * 2**30))
    assert found.workers == 1
    assert found.reason == "2 would need more memory than is free"
    # 384 rooms: pictures of 3 bytes a pixel, classes of 1, depth of 2, normals of 6.
    assert sharing.data_bytes(specs[0]) == 384 * 36 * 48 * 12


def test_the_dearest_run_is_measured(specs, setup):
    seen = set()

    def measure(spec, setup, count):
        seen.add(spec.architecture.name)
        return Throughput(count, 1.0, None)

    choose_workers(specs, setup, measure)
    assert len(seen) == 1
    assert seen == {"mtan"}


def test_processes_take_their_steps_together(specs, setup, monkeypatch):
    monkeypatch.setattr(sharing, "SECONDS", 0.1)
    spec = next(spec for spec in specs if spec.architecture.name == "split-wide")
    found = measure_throughput(spec, setup, 2)
    assert found.workers == 2
    assert found.steps_per_second > 0
    assert found.peak_bytes is None or found.peak_bytes > 2**20


def test_a_process_that_fails_leaves_none_waiting(specs, setup):
    spec = specs[0].model_copy(update={"architecture": specs[0].architecture.model_copy(update={"name": "stillborn"})})
    with pytest.raises(Exception, match="unknown option of 'stillborn'"):
        measure_throughput(spec, setup, 2)
