"""Values on their way between the host and a device; what pinned memory and streams do is the rehearsal's subject."""

import pytest
import torch

from benchmark.registry import WEIGHTINGS
from benchmark.tasks import Task
from benchmark.tasks.normals import UNKNOWN, angle_statistics, statistics_where
from benchmark.transfer import brought, sent
from benchmark.weighting import GramianWeighting, SampledWeighting, build_weighting

CPU = torch.device("cpu")
TASKS = (Task("semantic", "segmentation", 3), Task("depth", "depth", 1), Task("normals", "normals", 3))


def test_what_is_on_the_host_stays_what_it_is():
    one, other = torch.rand(3, 3), torch.rand(3)
    assert sent(one, CPU) is one
    assert all(found is given for found, given in zip(brought(one, other), (one, other), strict=True))


def test_what_is_sent_to_a_device_is_there():
    assert sent(torch.rand(3), torch.device("meta")).device.type == "meta"


@pytest.mark.parametrize("name", [name for name in WEIGHTINGS if not WEIGHTINGS[name].required])
def test_what_a_rule_reads_on_the_host_stays_there(name):
    """Moved to another device, in one piece or with a module around it."""
    weighting = build_weighting(name, TASKS)
    torch.nn.ModuleList([weighting]).to("meta")
    devices = {buffer: value.device.type for buffer, value in weighting.named_buffers()}
    if isinstance(weighting, GramianWeighting | SampledWeighting):
        assert set(devices.values()) <= {"cpu"}
    else:
        assert {buffer for buffer in devices if devices[buffer] == "cpu"} == set(weighting.on_host)
    assert {parameter.device.type for parameter in weighting.parameters()} <= {"meta"}


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_angles_have_the_same_statistics_without_a_wait(share, count):
    draw = torch.Generator().manual_seed(count)
    angles = 180 * torch.rand(2, count, generator=draw)
    angles[torch.rand(2, count, generator=draw) >= share] = UNKNOWN
    found = statistics_where(angles != UNKNOWN, angles)
    torch.testing.assert_close(found, angle_statistics(angles), rtol=1e-12, atol=0, equal_nan=True)


def test_an_angle_that_is_no_number_shows_either_way():
    angles = torch.tensor([[3.0, torch.nan, UNKNOWN], [1.0, 2.0, UNKNOWN]])
    found = statistics_where(angles != UNKNOWN, angles)
    torch.testing.assert_close(found, angle_statistics(angles), equal_nan=True)
    assert found[0].isnan()
