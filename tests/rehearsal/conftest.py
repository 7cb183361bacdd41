"""Before each check the pretended device knows of nothing; after it, it must have nothing to complain of."""

import gc

import pytest
import torch

from tests.rehearsal.pretending import device

#: Operations of the suite that torch's list has no kernel of CUDA's for, and that reach the device all the same.
KNOWN = frozenset[str]()


@pytest.fixture(autouse=True)
def sound():
    """No use of freed memory, of another device's or of what another stream may still write."""
    torch.cuda.init()
    gc.collect()
    device.clear()
    yield
    assert device.reports() == []
    assert set(device.without_kernel()) <= KNOWN
