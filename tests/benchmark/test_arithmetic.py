"""How a run computes: what is settled, in which process it runs, and what its record says of it."""

import ast
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark import processes
from benchmark.arithmetic import (
    NUMPY_VARIABLE,
    PORTABLE_ENVIRONMENT,
    ComputeOptions,
    environment_for,
    portable_environment,
    started_for,
)
from benchmark.data import Storage, build_dataset
from benchmark.errors import UsageError
from benchmark.execution.apart import call_in, work_in_arithmetic
from benchmark.execution.executor import Ended, EpochDone, Lost, Setup
from benchmark.execution.inline import InlineExecutor, WorkerLost
from benchmark.execution.local import LocalExecutor
from benchmark.registry import ARCHITECTURES, DATASETS, WEIGHTINGS
from benchmark.runs.spec import Component, Protocol, RunSpec
from benchmark.training.checkpoint import Stopped
from benchmark.training.hardware import Hardware
from benchmark.training.provenance import code_hash, git_state
from benchmark.training.run import execute

pytestmark = pytest.mark.slow

CPU = Hardware("cpu", "fp32", 1)


@pytest.mark.parametrize(
    ("device", "suits", "said", "grid", "expected"),
    [
        ("cpu", "bf16", ("auto", "auto"), ("auto", "auto"), ("portable", "fp32")),
        ("cuda", "bf16", ("auto", "auto"), ("auto", "auto"), ("native", "bf16")),
        ("cuda", "fp32", ("auto", "auto"), ("auto", "auto"), ("native", "fp32")),
        ("cpu", "bf16", ("native", "auto"), ("auto", "auto"), ("native", "bf16")),
        ("cpu", "fp32", ("auto", "bf16"), ("auto", "auto"), ("native", "bf16")),
        ("cpu", "bf16", ("auto", "auto"), ("native", "fp32"), ("native", "fp32")),
        # The command line's word wins over the grid's.
        ("cuda", "bf16", ("native", "fp32"), ("portable", "bf16"), ("native", "fp32")),
    ],
)
def test_what_the_command_the_grid_and_the_device_say_is_settled(device, suits, said, grid, expected):
    assert ComputeOptions(*said, device, suits).settle(*grid) == expected


@pytest.mark.parametrize(
    ("compute", "grid", "message"),
    [
        (ComputeOptions("auto", "auto", "cuda", "bf16"), ("portable", "auto"), "found --device cuda: leave that out"),
        (ComputeOptions("portable", "bf16"), ("auto", "auto"), "found precision bf16: leave that out"),
        (ComputeOptions("auto", "auto"), ("portabel", "auto"), "unknown arithmetic 'portabel'"),
    ],
)
def test_portable_arithmetic_where_it_cannot_be_is_refused(compute, grid, message):
    with pytest.raises(UsageError, match=message):
        compute.settle(*grid)


def test_numpy_s_features_are_those_of_the_installed_version():
    """A name that this NumPy does not know would do nothing, but for a warning that Python hides."""
    code = "import numpy; print([n for n, on in numpy._core._multiarray_umath.__cpu_features__.items() if on])"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, **portable_environment()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"X86_V4", "AVX512_ICL", "AVX512_SPR"} & set(ast.literal_eval(done.stdout))


def test_the_environment_is_as_it_was_afterwards():
    before = dict(os.environ)
    with environment_for("portable"):
        assert portable_environment().items() <= os.environ.items()
    assert dict(os.environ) == before


def spec(arithmetic, epochs=1):
    return RunSpec(
        dataset=Component.from_registry(DATASETS, "toy"),
        architecture=Component.from_registry(ARCHITECTURES, "tiny", {"width": 4}),
        weighting=Component.from_registry(WEIGHTINGS, "equal"),
        seed=0,
        protocol=Protocol(epochs=epochs, batch_size=4, learning_rate=1e-2, arithmetic=arithmetic),
    )


@pytest.fixture(scope="module")
def setup(toy):
    build_dataset("toy").prepare(Storage.default())
    return Setup(Storage.default(), CPU, (toy,))


@pytest.fixture(scope="module")
def outcomes(setup):
    """A portable run and a native one by one executor, and the portable one in a process that is made for it alone."""
    executor = LocalExecutor(setup)
    found = []
    try:
        for run in (spec("portable"), spec("native")):
            executor.submit(run)
            while not isinstance(event := executor.events(60)[0], Ended):
                assert isinstance(event, EpochDone)
            found.append(event.outcome.record)
    finally:
        executor.close()
    told = []
    apart = work_in_arithmetic(spec("portable"), setup, told.append, lambda: False)
    assert isinstance(apart, Ended)
    assert [type(one) for one in told] == [EpochDone]
    return [*found, apart.outcome.record]


def remembered():
    return git_state.cache_info().currsize, code_hash.cache_info().currsize


def test_a_worker_s_server_has_computed_nothing_and_knows_the_code_that_it_loaded(outcomes):
    assert call_in("portable", (), remembered) == (1, 1)
    for server in processes._servers.values():
        status = Path(f"/proc/{server._forkserver_pid}/status").read_text()
        assert "\nThreads:\t1\n" in status


def test_each_run_gets_a_process_that_was_started_for_it(outcomes):
    portable, native, _ = (record.provenance.numerics for record in outcomes)
    assert (portable.arithmetic, portable.instruction_set) == ("portable", "AVX2")
    assert PORTABLE_ENVIRONMENT.items() <= portable.variables.items()
    assert NUMPY_VARIABLE in portable.variables
    assert native.arithmetic == "native"
    assert "ATEN_CPU_CAPABILITY" not in native.variables
    assert {"mkl", "onednn"} <= portable.libraries.keys()


def test_a_portable_run_gives_the_same_bits_in_another_process(outcomes):
    first, native, again = outcomes
    assert (first.curves, first.trace) == (again.curves, again.trace)
    assert sorted(first.trace) == [1, 2]  # of the two steps that there are
    assert first.id == again.id != native.id


def test_this_process_refuses_a_portable_run(setup):
    if started_for("portable"):
        pytest.skip("these tests were started in portable arithmetic")
    with pytest.raises(UsageError, match="this process was started without them"):
        execute(spec("portable"), storage=setup.storage, hardware=CPU)


@pytest.mark.parametrize("hardware", [Hardware("cpu", "fp32", 2), Hardware("cuda", "fp32", 1)])
def test_portable_arithmetic_is_one_thread_of_a_cpu(hardware):
    with pytest.raises(UsageError, match="is fp32 on the CPU in one thread, found"):
        hardware.check(spec("portable").protocol)


def test_a_function_is_called_where_it_computes_so(toy):
    found = call_in("portable", (toy,), started_for, "portable")
    assert found is True


class Scripted:
    """An executor whose one run gives what it is told to."""

    def __init__(self, event, before=lambda: None):
        self.event, self.before, self.closed = event, before, False

    def __call__(self, setup):
        assert setup.hardware.workers == 1
        return self

    def submit(self, run):
        pass

    def events(self, timeout):
        self.before()
        return [self.event]

    def close(self):
        self.closed = True


def test_a_process_that_was_told_to_end_leaves_a_run_that_is_stopped_not_lost(setup, monkeypatch):
    """Whoever tells this process may tell its own process, too, which then goes without a word."""
    told = []
    executor = Scripted(Lost("x", "ended by itself with exit code 0"), lambda: told.append(True))
    monkeypatch.setattr("benchmark.execution.apart.LocalExecutor", executor)
    with pytest.raises(Stopped):
        work_in_arithmetic(spec("portable"), setup, told.append, lambda: bool(told))
    assert executor.closed


def test_a_run_whose_process_is_gone_is_no_result_of_this_one(setup, monkeypatch):
    monkeypatch.setattr("benchmark.execution.apart.LocalExecutor", Scripted(Lost("x", "killed")))
    executor = InlineExecutor(setup)
    executor.submit(spec("portable"))
    with pytest.raises(WorkerLost, match="killed"):
        executor.events(0)


def test_workers_of_another_arithmetic_end_only_where_there_is_no_room(setup, monkeypatch):
    monkeypatch.setattr("benchmark.execution.local._Worker", lambda setup, arithmetic: Idle(arithmetic))
    executor = LocalExecutor(dataclasses.replace(setup, hardware=dataclasses.replace(CPU, workers=4)))
    natives = [Idle("native") for _ in range(2)]
    executor.pool = list(natives)
    for epochs, expected in ((1, [2, 1]), (2, [2, 2]), (3, [1, 3])):
        executor.submit(spec("portable", epochs=epochs))
        found = [worker.arithmetic for worker in executor.pool]
        assert [found.count("native"), found.count("portable")] == expected
    assert sorted(worker.ended for worker in natives) == [False, True]


class Idle:
    """A worker that does nothing."""

    def __init__(self, arithmetic):
        self.arithmetic, self.run, self.ended, self.process = arithmetic, None, False, self

    def assign(self, run, spills):
        self.run = run.id

    def terminate(self):
        self.ended = True

    def stop(self, grace):
        pass
