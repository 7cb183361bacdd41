"""What is asked of CUDA before the first tensor, with a stand-in for torch's functions: no GPU is needed."""

import os
import re
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmark.errors import UsageError
from benchmark.training.hardware import Hardware
from benchmark.training.provenance import determinism

TESTS = Path(__file__).parents[1]


@pytest.fixture
def cuda(monkeypatch):
    """Two GPUs, of which the second computes in bf16; as in torch, memory is not asked about before CUDA is there."""
    state = SimpleNamespace(initialised=False, current=0, measured=[])

    def init():
        state.initialised = True

    @contextmanager
    def device(chosen):
        before, state.current = state.current, state.current if chosen.index is None else chosen.index
        yield
        state.current = before

    def reset(chosen):
        if not state.initialised:
            raise RuntimeError(f"Invalid device argument {chosen}: did you call init?")
        state.measured.append(str(chosen))

    for name, value in {
        "init": init,
        "device": device,
        "reset_peak_memory_stats": reset,
        "empty_cache": lambda: None,
        "is_available": lambda: True,
        "device_count": lambda: 2,
        "is_bf16_supported": lambda including_emulation: state.current == 1,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return state


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:1"])
def test_a_worker_s_first_word_to_cuda_may_be_about_memory(cuda, device):
    Hardware(device, "fp32", 1).begin_anew()
    assert cuda.measured == [device]


def test_memory_may_be_measured_before_anything_else(cuda, monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 7)
    with Hardware("cuda:1", "fp32", 1).memory_peak() as peak:
        pass
    assert (cuda.measured, peak.bytes) == (["cuda:1"], 7)


@pytest.mark.parametrize(("device", "precision"), [("cuda", "fp32"), ("cuda:0", "fp32"), ("cuda:1", "bf16")])
def test_auto_asks_the_gpu_that_is_chosen(cuda, device, precision):
    assert Hardware.choose(device).precision == precision


def test_tests_name_the_devices_whose_generators_they_keep():
    """Where there are two GPUs, torch warns of what does not, and warnings are errors."""
    careless = re.compile(r"fork_rng" + r"\(\)")
    assert [path.name for path in sorted(TESTS.rglob("*.py")) if careless.search(path.read_text())] == []


def test_kernels_of_the_processor_are_no_one_s_choice():
    with pytest.raises(UsageError, match="--deterministic chooses kernels of a CUDA device"):
        Hardware.choose("cpu", deterministic=True)


def test_determinism_is_asked_of_torch_before_cuda_begins(cuda, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.cuda, "init", lambda: cuda.measured.append(os.environ.get("CUBLAS_WORKSPACE_CONFIG")))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    plain = determinism()
    try:
        Hardware("cuda", "bf16", 1, deterministic=True).set_up()
        assert cuda.measured == [":4096:8"]
        asked = determinism()
        assert (asked["deterministic_algorithms"], asked["cudnn.deterministic"], asked["warn_only"]) == (True,) * 3
        assert asked["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
        Hardware("cuda", "bf16", 1).set_up()
    assert determinism() == plain
