"""CR-MOGM: averages by hand, what it wraps and what it refuses, absent tasks, and state that survives a restart."""

import io
import math

import pytest
import torch

import benchmark
from benchmark.errors import UsageError
from benchmark.presence import Presence
from benchmark.registry import WEIGHTINGS
from benchmark.weighting import GramianWeighting

#: What can be wrapped, by version. Their numbers are part of 'cr-mogm': where one's version rises, raise its too.
WRAPPED = {
    "aligned-mtl": 1,
    "cagrad": 1,
    "config": 1,
    "dualproj": 1,
    "fairgrad": 1,
    "gradvac": 1,
    "imtl": 1,
    "imtl-g": 1,
    "mgda": 1,
    "nash-mtl": 1,
    "ntkmtl": 1,
    "pcgrad": 1,
    "pivrg": 1,
    "upgrad": 1,
}
FIRST, SECOND = [[3.0, 0.0], [0.0, 4.0]], [[4.0, 0.0], [0.0, 3.0]]


def tasks(count):
    return [benchmark.Task(f"t{k}", "depth", 1) for k in range(count)]


def build(name="cr-mogm", count=2, seed=0, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return benchmark.build_weighting(name, tasks(count), **options)


def step(weighting, rows):
    rows = torch.as_tensor(rows, dtype=torch.float64)
    return weighting.from_gramian(rows @ rows.T, torch.ones(len(rows), dtype=torch.float64))


def random_rows(seed, count=3):
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, 5, generator=draw, dtype=torch.float64)
    return rows - 0.8 * rows.mean(0)


def test_an_average_by_hand_over_three_steps():
    # Lengths 3 and 4: weights 5/3 and 5/4, the other way round in the second and third step.
    weighting = build(of="ntkmtl", alpha=0.75)
    assert step(weighting, FIRST).tolist() == pytest.approx([5 / 3, 5 / 4])
    assert step(weighting, SECOND).tolist() == pytest.approx([5 / 4 + 5 / 16, 15 / 16 + 5 / 12])
    third = [0.75 * 25 / 16 + 5 / 16, 0.75 * 65 / 48 + 5 / 12]
    assert step(weighting, SECOND).tolist() == pytest.approx(third)


def test_by_default_pcgrad_is_averaged_with_a_tenth_of_the_new():
    # Gramian [[1, −1], [−1, 2]]: g_1 + ½ g_2 and g_2 + g_1, so (2, 3/2); without conflict (1, 1).
    weighting = build()
    assert step(weighting, [[1.0, 0.0], [-1.0, 1.0]]).tolist() == [2.0, 1.5]
    assert step(weighting, [[1.0, 0.0], [0.0, 1.0]]).tolist() == pytest.approx([1.9, 1.45])


def test_what_can_be_wrapped_is_what_its_version_knows():
    found = {
        name: WEIGHTINGS[name].version
        for name in WEIGHTINGS
        if WEIGHTINGS[name].factory.__module__.startswith("baselines.")
        and issubclass(WEIGHTINGS[name].factory, GramianWeighting)
        and name not in ("cr-mogm", "mgda-ub", "samo")
    }
    assert found == WRAPPED
    assert WEIGHTINGS["cr-mogm"].version == 1


@pytest.mark.parametrize("name", WRAPPED)
def test_without_a_past_it_is_the_wrapped_method(name):
    plain, wrapped = build(name, 3), build(count=3, of=name, alpha=0)
    for seed in range(4):
        assert torch.equal(step(wrapped, random_rows(seed)), step(plain, random_rows(seed)))


@pytest.mark.parametrize("name", WRAPPED)
def test_the_average_is_over_the_weights_that_the_method_gives_alone(name):
    plain, wrapped, expected = build(name, 3), build(count=3, of=name, alpha=0.5), None
    for seed in range(4):
        fresh = step(plain, random_rows(seed))
        expected = fresh if expected is None else (expected + fresh) / 2
        torch.testing.assert_close(step(wrapped, random_rows(seed)), expected)


def test_a_fixed_sum_stays():
    weighting = build(count=3, of="mgda")
    for seed in range(5):
        assert step(weighting, random_rows(seed)).sum().item() == pytest.approx(1)


def test_what_the_wrapped_method_learns_counts_and_asks_is_passed_on():
    learning, counting = build(of="imtl"), build(of="nash-mtl")
    assert [p.shape for p in learning.parameters()] == [(2,)]
    with torch.no_grad():
        next(learning.parameters()).copy_(torch.tensor([math.log(2), 0.0]))
    # exp(s) L − s
    scaled = learning.task_losses([torch.tensor(3.0), torch.tensor(5.0)])
    assert [loss.item() for loss in scaled] == pytest.approx([6 - math.log(2), 5.0])
    step(counting, [[1.0, 0.0], [-1.0, 0.0]])  # a convex combination is zero: no solution
    assert int(counting.fallbacks) == 1
    assert not hasattr(learning, "fallbacks")
    assert build(of="mgda", on="representation").inner.on == "representation"
    described = WEIGHTINGS["cr-mogm"].factory
    assert described.needs_representation({"of": "mgda", "on": "representation"})
    assert described.needs({"on": "parameters"}) == WEIGHTINGS["pcgrad"].factory.needs({"on": "parameters"})


def test_weights_that_are_not_finite_are_passed_on_and_leave_the_average():
    weighting = build(of="ntkmtl")
    step(weighting, FIRST)
    before = {name: tensor.clone() for name, tensor in weighting.state_dict().items()}
    assert step(weighting, [[math.nan, 0.0], [0.0, 1.0]]).isnan().all()
    assert all(torch.equal(tensor, before[name]) for name, tensor in weighting.state_dict().items())


def test_an_absent_task_keeps_its_average():
    weighting = build(count=3, of="ntkmtl", alpha=0.5)
    step(weighting, [[3.0, 0, 0], [0, 4.0, 0], [0, 0, 12.0]])  # 13/3, 13/4, 13/12
    with weighting.facing(Presence(3, (0, 2))) as shown:
        assert shown == Presence(3, (0, 2))
        found = step(weighting, [[3.0, 0], [0, 4.0]])  # 5/3, 5/4
    assert found.tolist() == pytest.approx([(13 / 3 + 5 / 3) / 2, (13 / 12 + 5 / 4) / 2])
    assert weighting.smoothed.tolist() == pytest.approx([3.0, 13 / 4, (13 / 12 + 5 / 4) / 2])
    assert weighting.tasks == weighting.inner.tasks
    assert len(weighting.inner.tasks) == 3


def test_a_task_that_comes_later_starts_at_its_first_weights():
    weighting = build(count=3, of="ntkmtl", alpha=0.5)
    with weighting.facing(Presence(3, (0, 2))):
        step(weighting, [[3.0, 0], [0, 4.0]])  # 5/3, –, 5/4
    found = step(weighting, [[3.0, 0, 0], [0, 4.0, 0], [0, 0, 12.0]])
    assert found.tolist() == pytest.approx([3.0, 13 / 4, (13 / 12 + 5 / 4) / 2])


class Counting(GramianWeighting):
    """Keeps a number for each task and knows nothing of absent ones: it is shown all."""

    def __init__(self, tasks, *, on="parameters"):
        super().__init__(tasks, on=on)
        self.register_buffer("seen", torch.zeros(len(self.tasks), dtype=torch.float64))

    def from_gramian(self, gramian, losses):
        self.seen += gramian.diagonal() > 0
        return self.seen.clone()


class Fixed(GramianWeighting):
    """Wants an option."""

    def __init__(self, tasks, *, weights, on="parameters"):
        super().__init__(tasks, on=on)
        self.given = weights

    def from_gramian(self, gramian, losses):
        return torch.tensor(self.given, dtype=torch.float64)


@pytest.fixture
def others(own_methods):
    WEIGHTINGS.register("counting")(Counting)
    WEIGHTINGS.register("fixed")(Fixed)


def test_a_method_that_is_shown_absent_tasks_does_not_move_their_average(others):
    weighting = build(count=3, of="counting", alpha=0.5)
    step(weighting, torch.eye(3))  # 1, 1, 1
    with weighting.facing(Presence(3, (0, 2))) as shown:
        assert shown == Presence.everyone(3)
        found = step(weighting, torch.diag(torch.tensor([1.0, 0.0, 1.0])))  # 2, 1, 2
    assert found.tolist() == [1.5, 0, 1.5]
    assert weighting.smoothed.tolist() == [1.5, 1.0, 1.5]


@pytest.mark.parametrize("name", ["pcgrad", "gradvac", "imtl", "nash-mtl"])
def test_a_restored_average_goes_on_as_if_it_had_never_stopped(name):
    weighting = build(count=3, of=name)
    for seed in range(3):
        step(weighting, random_rows(seed))
    file = io.BytesIO()
    torch.save(weighting.state_dict(), file)
    file.seek(0)
    twin = build(count=3, seed=1, of=name)
    twin.load_state_dict(torch.load(file, weights_only=True))
    for seed in range(3, 6):
        assert torch.equal(step(weighting, random_rows(seed)), step(twin, random_rows(seed)))


def test_recorded_weights_do_not_change_later():
    weighting = build(of="ntkmtl")
    first = step(weighting, FIRST)
    kept = first.clone()
    step(weighting, SECOND)
    assert torch.equal(first, kept)


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (
            "pcgard",
            r"unknown weighting to wrap \('of' of 'cr-mogm'\) 'pcgard'. Did you mean 'pcgrad'\? Known: aligned-mtl",
        ),
        ("", "unknown weighting to wrap"),
        (3, "unknown weighting to wrap"),
        (["mgda"], "unknown weighting to wrap"),
        ("equal", "those of 'equal' are not: choose one of aligned-mtl, .*, upgrad as 'of'"),
        ("famo", "those of 'famo' are not"),
        ("graddrop", "those of 'graddrop' are not"),
        ("modo", "those of 'modo' are not"),
        ("cr-mogm", "'cr-mogm' averages another method's weights, not its own"),
        (
            "mgda-ub",
            "'mgda-ub' fixes on=representation: wrap the method that leaves it open, with cr-mogm:on=represent",
        ),
    ],
)
def test_what_cannot_be_wrapped_says_why(of, message):
    with pytest.raises(UsageError, match=message):
        build(of=of)


def test_a_method_that_wants_an_option_cannot_be_wrapped(others):
    with pytest.raises(UsageError, match="'cr-mogm' wraps methods with their defaults, and 'fixed' needs 'weights'"):
        build(of="fixed")


@pytest.mark.parametrize("alpha", [1, 1.5, -0.1, math.nan, "0.9", True, None])
def test_alpha_is_below_one(alpha):
    with pytest.raises(UsageError, match="'cr-mogm' needs a number from 0 and below 1 as 'alpha', found"):
        build(alpha=alpha)


def test_on_is_a_place_of_gradients():
    with pytest.raises(UsageError, match="place of gradients"):
        build(on="heads")
