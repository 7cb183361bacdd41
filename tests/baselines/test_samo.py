"""SAMO: the rule that it wraps, what it refuses, state, and runs that go on where they were."""

import io
import math

import pytest
import torch

import benchmark
from benchmark.errors import UsageError
from benchmark.presence import Presence
from benchmark.registry import WEIGHTINGS
from benchmark.speed.estimate import PLAIN_NEEDS
from benchmark.weighting import GramianWeighting, SharpnessWeighting
from tests.baselines import gramians as on
from tests.baselines.test_cr_mogm import WRAPPED as AVERAGED

#: What can be wrapped, by version. Their numbers are part of 'samo': where one's version rises, raise its too.
WRAPPED = {**AVERAGED, "cr-mogm": 1}


def build(count=3, seed=0, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return on.build("samo", count, **{"of": "fairgrad", **options})


def plain(name, count=3):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.randint(2**62, ())  # the position
        return on.build(name, count)


def test_what_can_be_wrapped_is_what_its_version_knows():
    found = {
        name: WEIGHTINGS[name].version
        for name in WEIGHTINGS
        if WEIGHTINGS[name].factory.__module__.startswith("baselines.")
        and issubclass(WEIGHTINGS[name].factory, GramianWeighting)
        and name not in ("samo", "mgda-ub")
    }
    assert found == WRAPPED
    assert WEIGHTINGS["samo"].version == 1


@pytest.mark.parametrize("name", WRAPPED)
def test_on_the_gradients_of_its_points_it_is_the_wrapped_method(name):
    wrapping, alone = build(of=name), plain(name)
    for seed in range(4):
        rows = on.random_rows(seed, 3, conflict=0.8)
        assert on.solve(wrapping, rows).tolist() == on.solve(alone, rows).tolist()
        for each in (wrapping, alone):
            each.epoch_end(torch.tensor([1.0, 0.5, 0.1 * seed + 0.1]))


def test_what_the_wrapped_method_learns_counts_and_is_shown_is_passed_on():
    learning, counting, keeping = build(of="imtl"), build(2, of="nash-mtl"), build(of="pivrg")
    assert [p.shape for p in learning.parameters()] == [(3,)]
    with torch.no_grad():
        next(learning.parameters()).copy_(torch.tensor([math.log(2), 0.0, 0.0]))
    scaled = learning.task_losses([torch.tensor(3.0), torch.tensor(5.0), torch.tensor(1.0)])
    assert [loss.item() for loss in scaled] == pytest.approx([6 - math.log(2), 5.0, 1.0])
    on.solve(counting, [[1.0, 0.0], [-1.0, 0.0]])  # a convex combination is zero: no solution
    assert int(counting.fallbacks) == 1
    assert not hasattr(learning, "fallbacks")
    with keeping.facing(Presence(3, (0, 2))) as shown:
        assert shown == keeping.inner.present == Presence(3, (0, 2))
    assert keeping.present == keeping.inner.present == Presence.everyone(3)


def test_the_options_are_what_the_step_is_told():
    weighting = build(rho=0.02, beta=1, reach=0.5)
    assert isinstance(weighting, SharpnessWeighting)
    assert (weighting.radius, weighting.local, weighting.reach, weighting.on) == (0.02, 1.0, 0.5, "parameters")
    assert build().radius == 0.001
    described = WEIGHTINGS["samo"].factory
    assert described.wraps({"of": "mgda"}) == "mgda"
    assert not described.needs_representation({"of": "mgda"})
    # What steps cost is timed anew for what needs something else.
    assert described.needs({}) not in (PLAIN_NEEDS, WEIGHTINGS["fairgrad"].factory.needs({}))


def test_probes_begin_elsewhere_in_another_run_and_go_on_in_a_restored_one():
    weighting, other = build(), build(seed=1)
    assert int(weighting.position) != int(other.position)
    first = weighting.draw()
    file = io.BytesIO()
    torch.save(weighting.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.draw() == weighting.draw() == first + 1
    assert other.position.dtype == torch.int64
    assert other.position.device.type == "cpu"


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ("fairgard", r"unknown weighting to wrap \('of' of 'samo'\) 'fairgard'. Did you mean 'fairgrad'\?"),
        (3, "unknown weighting to wrap"),
        ("equal", "and those of 'equal' are not: choose one of aligned-mtl, .*, upgrad as 'of'"),
        ("graddrop", "those of 'graddrop' are not"),
        ("modo", "those of 'modo' are not"),
        ("samo", "'samo' wraps another method whose weights are a function of the Gramian alone, and those of 'samo'"),
        ("mgda-ub", "'mgda-ub' fixes on=representation: wrap the method that leaves it open, whose gradients are at"),
    ],
)
def test_what_cannot_be_wrapped_says_why(of, message):
    with pytest.raises(UsageError, match=message):
        build(of=of)


def test_no_average_wraps_it():
    with pytest.raises(UsageError, match="those of 'samo' are not"):
        on.build("cr-mogm", of="samo")


def test_it_is_nothing_without_another_method():
    with pytest.raises(UsageError, match="of"):
        benchmark.build_weighting("samo", [benchmark.Task("depth", "depth", 1)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rho": -1e-3}, "'samo' needs a finite number of at least 0 as 'rho', found -0.001"),
        ({"rho": math.inf}, "found inf"),
        ({"rho": "1"}, "found '1'"),
        ({"beta": 1.5}, "'samo' needs a number from 0 to 1 as 'beta', found 1.5"),
        ({"beta": -0.5}, "as 'beta', found -0.5"),
        ({"beta": True}, "found True"),
        ({"reach": 0}, "'samo' needs a positive finite number as 'reach', found 0"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(UsageError) as caught:
        build(**options)
    assert message in str(caught.value)
