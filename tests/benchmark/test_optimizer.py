"""The protocol's optimisers and the learning rate of every step, against hand-made values."""

import math

import pytest
import torch
from torch import nn

from benchmark.runs.spec import Protocol
from benchmark.training.muon import orthogonalised
from benchmark.training.optimizer import Schedule, build_optimizer, half_cosine, parameter_groups


def protocol(**options):
    return Protocol(**{"epochs": 6, "batch_size": 1, "learning_rate": 0.5, **options})


def groups(optimizer):
    """Name, numbers and decay of each group, whose rate is the protocol's."""
    found = parameter_groups(optimizer, protocol())
    assert {group.learning_rate for group in found} == {0.5}
    return [(group.name, group.parameters, group.weight_decay) for group in found]


def rates(steps=2, **options):
    """The rates of all steps of a run of six epochs."""
    schedule = Schedule(protocol(**options), steps)
    found = []
    for _ in range(6 * steps):
        found.append(schedule.rate)
        schedule.step()
    assert found == [schedule.at(step) for step in range(6 * steps)]
    return found


def test_sgd_is_nesterovs():
    # Two steps on f(x) = x²/2 from 1 with rate ½, momentum ½ and decay 1: g = x + x. v₁ = 2, x₁ = 1 − ½ (2 + ½·2);
    # g₂ = −1, v₂ = ½·2 − 1 = 0, x₂ = x₁ − ½ (−1 + ½·0).
    x = torch.nn.Parameter(torch.ones(1))
    optimizer = build_optimizer(
        [x], Protocol(epochs=1, batch_size=1, optimizer="sgd", learning_rate=0.5, momentum=0.5, weight_decay=1)
    )
    for expected in (-0.5, 0.0):
        optimizer.zero_grad()
        (x.square() / 2).sum().backward()
        optimizer.step()
        assert x.item() == expected


def test_adamw_shrinks_weights_and_neither_norms_nor_biases():
    """Its first step: Adam's is the rate times the gradient's sign; before it, weights shrink by rate · decay."""
    norm, weight = nn.Parameter(torch.full((3,), 2.0)), nn.Parameter(torch.full((2, 3), 2.0))
    learned = nn.Parameter(torch.full((2, 2), 2.0))
    optimizer = build_optimizer([norm, weight], protocol(optimizer="adamw", weight_decay=0.1), [learned])
    (norm.sum() - weight.sum() + learned.sum()).backward()
    optimizer.step()
    torch.testing.assert_close(norm.detach(), torch.full((3,), 2.0 - 0.5))
    torch.testing.assert_close(weight.detach(), torch.full((2, 3), 2.0 * (1 - 0.5 * 0.1) + 0.5))
    torch.testing.assert_close(learned.detach(), torch.full((2, 2), 2.0 - 0.5))
    assert groups(optimizer) == [
        ("weights", 6, 0.1),
        ("norms and biases", 3, 0.0),
        ("weighting", 4, 0.0),
    ]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_other_optimisers_decay_all_that_is_the_networks(optimizer):
    network = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2, 3))]
    built = build_optimizer(network, protocol(optimizer=optimizer, weight_decay=0.1), [nn.Parameter(torch.zeros(5))])
    assert groups(built) == [("network", 9, 0.1), ("weighting", 5, 0.0)]


def test_a_network_without_norms_has_no_group_of_them():
    built = build_optimizer([nn.Parameter(torch.zeros(2, 3))], protocol(optimizer="adamw"))
    assert groups(built) == [("weights", 6, 0.0)]


def test_an_orthogonalised_matrix_keeps_its_singular_vectors_and_has_singular_values_near_one():
    for shape in ((5, 9), (9, 5), (1, 7), (6, 6)):
        matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        found = orthogonalised(1e3 * matrix)
        values = torch.linalg.svdvals(found)
        assert values.min() > 0.6
        assert values.max() < 1.3
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        inner = u.T @ found @ v.T
        torch.testing.assert_close(inner, torch.diag(torch.diagonal(inner)), atol=1e-3, rtol=0)
    assert not orthogonalised(torch.zeros(3, 4)).any()


def test_muon_turns_kernels_as_matrices_and_gives_all_else_to_adamw():
    """Its first step: after the decay, 0.2 · rate · √max(m, n) times the orthogonalised gradient."""
    kernel, stack, bias = (nn.Parameter(torch.full(shape, 2.0)) for shape in ((4, 2, 3, 3), (2, 2, 2), (4,)))
    learned = nn.Parameter(torch.full((2, 2), 2.0))
    optimizer = build_optimizer([kernel, stack, bias], protocol(optimizer="muon", weight_decay=0.1), [learned])
    gradient = torch.randn(kernel.shape, generator=torch.Generator().manual_seed(0))
    kernel.grad = gradient.to(memory_format=torch.channels_last)
    stack.grad, bias.grad, learned.grad = torch.ones_like(stack), -torch.ones_like(bias), torch.ones_like(learned)
    optimizer.step()
    moved = 0.2 * 0.5 * 18**0.5 * orthogonalised(gradient.flatten(1)).view_as(kernel)
    torch.testing.assert_close(kernel.detach(), 2.0 * (1 - 0.5 * 0.1) - moved)
    torch.testing.assert_close(stack.detach(), torch.full_like(stack, 2.0 * (1 - 0.5 * 0.1) - 0.5))
    torch.testing.assert_close(bias.detach(), torch.full_like(bias, 2.0 + 0.5))
    torch.testing.assert_close(learned.detach(), torch.full_like(learned, 2.0 - 0.5))
    assert groups(optimizer) == [
        ("matrices", 72, 0.1),
        ("weights", 8, 0.1),
        ("norms and biases", 4, 0.0),
        ("weighting", 4, 0.0),
    ]


def test_muons_second_step_leans_on_the_first():
    """The momentum is Nesterov's: after the gradients g and 0, the step is along 0.95² · g, which is g's direction."""
    weight = nn.Parameter(torch.zeros(3, 5))
    optimizer = build_optimizer([weight], protocol(optimizer="muon"))
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    optimizer.step()
    first = weight.detach().clone()
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), 2 * first, rtol=1e-4, atol=1e-5)


def test_rates_decay_after_whole_epochs_by_the_very_numbers_of_torch():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    torchs = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.3)
    expected = []
    for _ in range(6):
        expected += torchs.get_last_lr() * 2
        optimizer.step()
        torchs.step()
    assert rates(lr_step=2, lr_decay=0.3) == expected


def test_a_cosine_falls_at_every_step():
    expected = [0.25 * (1 + math.cos(math.pi * t / 12)) for t in range(12)]
    assert rates(schedule="cosine") == pytest.approx(expected, rel=1e-14)


def test_a_warm_up_multiplies_either_schedule():
    for options in ({"schedule": "cosine"}, {"lr_step": 1, "lr_decay": 0.5}):
        plain, warmed = rates(**options), rates(warmup_steps=5, **options)
        assert warmed == pytest.approx([rate * min(1, (t + 1) / 5) for t, rate in enumerate(plain)], rel=1e-14)
        assert warmed[4:] == plain[4:]


def test_each_phase_has_a_cosine_and_a_warm_up_of_its_own():
    first = [0.25 * (1 + math.cos(math.pi * t / 4)) for t in range(4)]
    second = [0.1 * 0.5 * (1 + math.cos(math.pi * t / 8)) for t in range(8)]
    for phase in (first, second):
        phase[0] /= 2
    found = rates(schedule="cosine", warmup_steps=2, restart_after=2, restart_learning_rate=0.1)
    assert found == pytest.approx(first + second, rel=1e-14)


def test_past_the_end_a_cosine_stays_at_nothing():
    assert Schedule(protocol(schedule="cosine"), 2).at(100) == pytest.approx(0, abs=1e-30)


def test_half_a_cosine_is_right_to_the_last_digits():
    assert half_cosine(0.0) == 1.0
    for share in torch.linspace(0, 1, 101, dtype=torch.float64).tolist():
        assert half_cosine(share) == pytest.approx((1 + math.cos(math.pi * share)) / 2, rel=1e-13, abs=1e-15)


def test_a_schedule_goes_on_where_it_was():
    first, second = (Schedule(protocol(schedule="cosine"), 2) for _ in range(2))
    for _ in range(5):
        first.step()
    second.load_state_dict(first.state_dict())
    assert second.rate == first.rate == first.at(5)
