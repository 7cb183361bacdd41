"""Before each check the pretended device knows of nothing; after it, it must have nothing to complain of.

At the end: the cells that were trained, how often the host waited in a step, and what they held of the device.
"""

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


def pytest_terminal_summary(terminalreporter):
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    cells = [value for report in reports for name, value in report.user_properties if name == "cell"]
    if cells:
        terminalreporter.section(f"{len(cells)} cells, by waits of a step and most kB held")
        for cell, waits, most in sorted(map(tuple, cells)):
            terminalreporter.write_line(f"{waits}  {most / 1000:8.1f}  {cell}")
