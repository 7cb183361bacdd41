"""What a step leaves in the gradients: each kind of step against a computation by autograd alone."""

import pytest
import torch
from torch import nn

import benchmark
from benchmark.errors import UsageError
from benchmark.model import MultiTaskModel
from benchmark.tasks import Task
from benchmark.training.batch import Batch
from benchmark.training.forward import scaled
from benchmark.training.hardware import Hardware
from benchmark.training.steps.choice import choose_step
from benchmark.training.steps.step import StepContext
from benchmark.weighting import Direction, GramianWeighting, MatrixWeighting, SampledWeighting

TASKS = (Task("semantic", "segmentation", 3), Task("depth", "depth", 1), Task("normals", "normals", 3))
CPU = Hardware("cpu", "fp32", 1)
AROUND = StepContext(lambda split: pytest.fail("no step here looks at another batch"), lambda: 0.1)


class Small(MultiTaskModel):
    """Two shared convolutions and one convolution a task; no batch statistics, so that a part is a batch of its own."""

    has_representation = True

    def __init__(self, tasks, layout=torch.contiguous_format):
        super().__init__(tasks)
        self.trunk = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.Tanh(), nn.Conv2d(5, 4, 3, padding=1))
        self.heads = nn.ModuleDict({task.name: nn.Conv2d(4, task.channels, 1) for task in tasks})
        self.layout = layout

    def representation(self, images):
        self.seen = self.trunk(images).contiguous(memory_format=self.layout)
        if self.seen.requires_grad:
            self.seen.retain_grad()
        return self.seen

    def predict(self, representation, tasks=None):
        return {task.name: task.finish(self.heads[task.name](representation)) for task in self.tasks}

    def forward(self, images, tasks=None):
        return self.predict(self.representation(images), tasks)

    def task_parameters(self, task):
        return list(self.parameters()) if len(self.tasks) == 1 else list(self.heads[task].parameters())


class Fixed(GramianWeighting):
    """Given weights; remembers what it was shown."""

    values = (0.5, -2.0, 3.0)

    def from_gramian(self, gramian, losses):
        self.shown = gramian
        return torch.tensor(self.values[: len(losses)], dtype=torch.float64)


class Signs(MatrixWeighting):
    """A direction that is no combination of the gradients; its size is asked for."""

    def allocate(self, columns):
        self.columns = columns

    def from_gradients(self, gradients, losses):
        return Direction(gradients.sum(0).sign(), torch.tensor([1.0, torch.nan, 2.0])[: len(losses)])


class Sampled(SampledWeighting):
    """Given weights, on logarithms of the losses with a learned scale; remembers what it was shown."""

    def __init__(self, tasks):
        super().__init__(tasks)
        self.scale = nn.Parameter(torch.tensor(1.5))

    def task_losses(self, losses):
        return [self.scale * (1 + loss).log() for loss in losses]

    def from_products(self, products, losses):
        self.shown = products, losses
        return torch.tensor([0.5, -2.0, 3.0], dtype=torch.float64)


def a_batch(count=6, seed=0):
    draw = torch.Generator().manual_seed(seed)
    normals = torch.randn(count, 3, 8, 8, generator=draw)
    return Batch(
        torch.randint(256, (count, 3, 8, 8), generator=draw).to(torch.uint8),
        {
            "semantic": torch.randint(3, (count, 8, 8), generator=draw).to(torch.int8),
            "depth": (torch.rand(count, 1, 8, 8, generator=draw) + 0.5).half(),
            "normals": (normals / normals.norm(dim=1, keepdim=True)).half(),
        },
    )


def a_model(tasks=TASKS, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Small(tasks, **options)


def built(name, tasks=TASKS, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return benchmark.build_weighting(name, tasks, **options)


def take(model, weighting, batch=None, diagnose=True):
    return choose_step(model, weighting, CPU, AROUND)(batch or a_batch(), diagnose)


def plain_losses(model, batch):
    predictions = model(scaled(batch.images, model.memory_format))
    return [task.loss(predictions[task.name], batch.targets[task.name]) for task in model.tasks]


def gradients_of(value, tensors):
    found = torch.autograd.grad(value, tensors, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for t, g in zip(tensors, found, strict=True)]


def rows_of(values, tensors):
    """(K, P) float64"""
    return torch.stack([torch.cat([g.flatten() for g in gradients_of(v, tensors)]) for v in values]).double()


def close(found, expected, rtol=1e-4):
    expected = torch.as_tensor(expected)
    atol = rtol * float(expected.abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(found.to(expected), expected, rtol=rtol, atol=atol)


def assert_heads_learn_plainly(model, batch, scaled_losses=lambda losses: losses):
    reference = a_model()
    losses = scaled_losses(plain_losses(reference, batch))
    for task, loss in zip(TASKS, losses, strict=True):
        own = reference.task_parameters(task.name)
        for parameter, gradient in zip(model.task_parameters(task.name), gradients_of(loss, own), strict=True):
            close(parameter.grad, gradient)


# At the representation.


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels-last"])
@pytest.mark.parametrize("name", ["fixed", "mgda-ub", "cagrad"])
def test_the_representation_gets_the_weighted_gradient_and_passes_it_on(layout, name):
    weighting = Fixed(TASKS, on="representation") if name == "fixed" else built(name)
    if name == "cagrad":
        weighting = built(name, on="representation")
    model, batch = a_model(layout=layout), a_batch()
    result = take(model, weighting, batch, diagnose=False)  # its passes would be kept at the feature too

    reference = a_model()
    losses = plain_losses(reference, batch)
    at_feature = rows_of(losses, [reference.seen])
    gramian = at_feature @ at_feature.T
    known = torch.stack([loss.detach() for loss in losses])
    weights = built(name).from_gramian(gramian, known.double()) if name != "fixed" else torch.tensor(Fixed.values)
    close(result.losses, known)
    close(result.weights, weights.float(), rtol=1e-3)
    if name == "fixed":
        close(weighting.shown, gramian)
    direction = (weights.double() @ at_feature).float().view_as(reference.seen)
    close(model.seen.grad, direction, rtol=1e-3)
    shared = torch.autograd.grad(reference.seen, reference.shared_parameters(), direction, retain_graph=True)
    for parameter, gradient in zip(model.shared_parameters(), shared, strict=True):
        close(parameter.grad, gradient, rtol=1e-3)
    assert_heads_learn_plainly(model, batch)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels-last"])
def test_graddrop_lets_the_batch_decide_on_each_element_of_the_feature(layout):
    model, batch = a_model(layout=layout), a_batch()
    result = take(model, built("graddrop", on="representation"), batch, diagnose=False)
    assert result.weights.isnan().all()
    reference = a_model()
    losses = plain_losses(reference, batch)
    feature = reference.seen
    at_feature = torch.stack([torch.autograd.grad(loss, feature, retain_graph=True)[0] for loss in losses])
    votes = (at_feature * feature.detach().sign()).sum(1)  # (K, 4, 8, 8)
    sides = [(at_feature * (side * votes > 0)[:, None]).sum(0) for side in (1, -1)]  # (B, 4, 8, 8) each
    off = torch.stack([(model.seen.grad - side).abs().amax(0) for side in sides])  # (2, 4, 8, 8)
    assert off.amin(0).max() < 1e-5 * at_feature.abs().max()
    taken = (off[0] < off[1])[(off[0] - off[1]).abs() > 1e-4 * at_feature.abs().max()]
    assert 0.2 < taken.float().mean() < 0.8  # both signs are picked
    assert_heads_learn_plainly(model, batch)


def test_graddrop_without_dropping_is_the_plain_sum():
    model, batch = a_model(), a_batch()
    take(model, built("graddrop", on="representation", leak=1.0), batch)
    reference = a_model()
    sum(plain_losses(reference, batch)).backward()
    for parameter, other in zip(model.parameters(), reference.parameters(), strict=True):
        close(parameter.grad, other.grad)


def test_a_feature_whose_samples_do_not_lie_together_will_do():
    model = a_model()
    plain = model.representation
    model.representation = lambda images: plain(images).permute(1, 0, 2, 3).contiguous().permute(1, 0, 2, 3)
    batch = a_batch()
    take(model, built("graddrop", on="representation", leak=1.0), batch)
    reference = a_model()
    sum(plain_losses(reference, batch)).backward()
    for parameter, other in zip(model.parameters(), reference.parameters(), strict=True):
        close(parameter.grad, other.grad)


def test_without_a_representation_the_step_says_what_to_do():
    model = a_model()
    model.has_representation = False
    with pytest.raises(UsageError, match="choose on=parameters, or an architecture such as split"):
        choose_step(model, built("mgda-ub"), CPU, AROUND)


def test_an_unknown_place_names_the_known():
    with pytest.raises(UsageError, match=r"Did you mean 'representation'\?"):
        built("mgda", on="representaton")
    with pytest.raises(UsageError, match=r"Did you mean 'parameters'\?"):
        built("graddrop", on="parameter")


# The matrix itself.


def test_every_parameter_moves_by_its_own_part_of_the_direction():
    model, batch, weighting = a_model(), a_batch(), Signs(TASKS)
    result = take(model, weighting, batch)
    reference = a_model()
    shared = reference.shared_parameters()
    assert weighting.columns == sum(p.numel() for p in shared)
    expected = gradients_of(sum(plain_losses(reference, batch)), shared)
    for parameter, gradient in zip(model.shared_parameters(), expected, strict=True):
        sure = gradient.abs() > 1e-6
        assert torch.equal(parameter.grad[sure], gradient.sign()[sure])
    assert result.weights[[0, 2]].tolist() == [1.0, 2.0]
    assert result.weights[1].isnan()
    assert_heads_learn_plainly(model, batch)


# Independent samples.


def by_parts(model, batch, weighting):
    """The losses, (K, P) gradients of the scaled losses, own gradients and the scale's, of each third of the batch."""
    found = []
    for start in (0, 2, 4):
        part = Batch(batch.images[start : start + 2], {n: t[start : start + 2] for n, t in batch.targets.items()})
        losses = plain_losses(model, part)
        scaled_losses = weighting.task_losses(losses)
        found.append(
            {
                "losses": torch.stack(losses).detach(),
                "rows": rows_of(scaled_losses, model.shared_parameters()),
                "plain": rows_of(losses, model.shared_parameters()),
                "own": [
                    gradients_of(loss, model.task_parameters(task.name))
                    for task, loss in zip(TASKS, scaled_losses, strict=True)
                ],
                "scale": gradients_of(sum(scaled_losses), list(weighting.parameters())),
            }
        )
    return found


def test_weights_from_two_samples_move_the_third():
    model, batch, weighting = a_model(), a_batch(6), Sampled(TASKS)
    result = take(model, weighting, batch)
    first, second, third = by_parts(a_model(), batch, Sampled(TASKS))
    products, losses = weighting.shown
    close(products, first["rows"] @ second["rows"].T)
    close(losses, torch.stack([p["losses"] for p in (first, second, third)]).mean(0).double())
    close(result.losses, losses.float())
    close(result.gramian, first["plain"] @ first["plain"].T)
    direction = torch.tensor([0.5, -2.0, 3.0], dtype=torch.float64) @ third["rows"]
    close(torch.cat([p.grad.flatten() for p in model.shared_parameters()]).double(), direction)
    for k, task in enumerate(TASKS):
        for i, parameter in enumerate(model.task_parameters(task.name)):
            close(parameter.grad, sum(p["own"][k][i] for p in (first, second, third)) / 3)
    close(weighting.scale.grad, sum(p["scale"][0] for p in (first, second, third)) / 3)


def test_a_batch_smaller_than_the_parts_is_one_clear_error():
    with pytest.raises(UsageError, match=r"into 3 parts, and the batch size is 2: raise it to 3 or more") as caught:
        take(a_model(), Sampled(TASKS), a_batch(2))
    assert "\n" not in str(caught.value)


def test_parts_of_unequal_size_count_alike():
    batch = a_batch(5)
    assert [len(part.images) for part in batch.parts(3)] == [2, 2, 1]
    assert torch.equal(torch.cat([part.targets["depth"] for part in batch.parts(3)]), batch.targets["depth"])


# What the weighting learns, and what it differentiates.


@pytest.mark.parametrize("on", ["parameters", "representation"])
def test_imtl_learns_its_scales_and_gives_heads_the_scaled_gradient(on):
    model, batch, weighting = a_model(), a_batch(), built("imtl", on=on)
    with torch.no_grad():
        weighting.log_scales.copy_(torch.tensor([0.5, -1.0, 0.25]))
    result = take(model, weighting, batch)
    # ∂/∂s_k of exp(s_k) L_k − s_k
    close(weighting.log_scales.grad, weighting.log_scales.detach().exp() * result.losses - 1)
    assert_heads_learn_plainly(
        model, batch, lambda losses: [s * loss for s, loss in zip(weighting.log_scales.exp(), losses, strict=True)]
    )
    assert float(result.weights.sum()) == pytest.approx(1)


def test_db_mtl_gives_heads_the_gradient_of_log_losses():
    model, batch = a_model(), a_batch()
    take(model, built("db-mtl"), batch)
    assert_heads_learn_plainly(model, batch, lambda losses: [(loss + 1e-8).log() for loss in losses])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("equal", {}),
        ("uncertainty", {}),
        ("mgda", {}),
        ("imtl", {}),
        ("imtl", {"on": "representation"}),
        ("mgda-ub", {}),
        ("graddrop", {}),
        ("graddrop", {"on": "representation"}),
        ("db-mtl", {}),
        ("excessmtl", {}),
    ],
)
def test_the_sampled_gramian_is_that_of_the_losses_themselves(name, options):
    model, batch, weighting = a_model(), a_batch(), built(name, **options)
    with torch.no_grad():
        for parameter in weighting.parameters():
            parameter.copy_(torch.tensor([0.5, -1.0, 0.25]))
    result = take(model, weighting, batch)
    reference = a_model()
    rows = rows_of(plain_losses(reference, batch), reference.shared_parameters())
    close(result.gramian, rows @ rows.T, rtol=1e-3)
    assert take(a_model(), built(name, **options), batch, diagnose=False).gramian is None


def test_one_task_that_is_no_number_leaves_the_others_their_lengths():
    class Broken(Small):
        def predict(self, representation, tasks=None):
            found = super().predict(representation)
            return {**found, "depth": found["depth"] * torch.nan}

    for weighting in (built("equal"), built("mgda"), built("mgda-ub"), built("db-mtl")):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            model = Broken(TASKS)
        lengths = take(model, weighting).gramian.diagonal()
        assert lengths[1].isnan()
        assert (lengths[[0, 2]] > 0).all()
        assert not all(p.grad.isfinite().all() for p in model.shared_parameters())


@pytest.mark.parametrize("name", ["equal", "mgda", "graddrop", "db-mtl", "modo", "nash-mtl"])
def test_a_single_task_shares_nothing_and_gets_its_plain_gradient(name):
    model, batch = a_model(TASKS[:1]), a_batch()
    result = take(model, built(name, TASKS[:1]), batch)
    assert result.gramian is None
    reference = a_model(TASKS[:1])
    if name == "modo":
        parts = batch.parts(3)
        (sum(plain_losses(reference, part)[0] for part in parts) / 3).backward()
    else:
        loss = plain_losses(reference, batch)[0]
        ((loss + 1e-8).log() if name == "db-mtl" else loss).backward()
    for parameter, other in zip(model.parameters(), reference.parameters(), strict=True):
        close(parameter.grad, other.grad)


def test_a_single_task_has_a_representation_too():
    model, batch = a_model(TASKS[:1]), a_batch()
    result = take(model, built("mgda-ub", TASKS[:1]), batch)
    assert (result.gramian, result.weights.tolist()) == (None, [1.0])
    reference = a_model(TASKS[:1])
    plain_losses(reference, batch)[0].backward()
    for parameter, other in zip(model.parameters(), reference.parameters(), strict=True):
        close(parameter.grad, other.grad)
