"""The kinds of task: metrics of the whole split, stored forms, drawing, and the ways in."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmark.errors import UsageError
from benchmark.registry import load_plugin_file
from benchmark.tasks import KINDS, Task, TaskKind, register_kind
from tests.benchmark.predictions import CPU, DENSE, KIND_NAMES, LABELS, TASKS, blanked, measured, sample, turned


@pytest.mark.parametrize("kind", KIND_NAMES)
@pytest.mark.parametrize("count", [1, 2, 23, 24])
def test_metrics_do_not_depend_on_the_batch_size(kind, count):
    prediction, target = sample(kind, count)
    whole = measured(kind, prediction, target)
    assert set(whole) == {metric.name for metric in TASKS[kind].metrics}
    for batch in (1, 7):
        assert measured(kind, prediction, target, batch) == pytest.approx(whole, abs=1e-6, rel=0)


@pytest.mark.parametrize("kind", KIND_NAMES)
@settings(max_examples=20)
@given(st.integers(0, 2**30), st.integers(1, 12), st.integers(1, 13), st.sampled_from([0.0, 0.5, 0.95, 1.0]))
@example(131, 6, 1, 0.5)  # with angles in float32, torch 2.11 gave another median for each cut into vectors
def test_metrics_do_not_depend_on_the_batch_size_for_any_sample(kind, seed, count, batch, unknown):
    prediction, target = sample(kind, count, seed, (2, 3), unknown)
    whole = measured(kind, prediction, target)
    assert measured(kind, prediction, target, batch) == pytest.approx(whole, abs=1e-6, rel=0, nan_ok=True)


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_predictions_on_unknown_targets_do_not_count(kind):
    prediction, target = sample(kind)
    unknown = {
        **dict.fromkeys(LABELS, lambda: target[:, None] == -1),
        "depth": lambda: target == 0,
        "disparity": lambda: target == 0,
        "normals": lambda: (target == 0).all(1, keepdim=True),
    }[kind]()
    changed = torch.where(unknown, prediction.roll(1, 1) - 3, prediction)
    before, after = measured(kind, prediction, target), measured(kind, changed, target)
    for metric in TASKS[kind].metrics:
        if metric.name != "legacy_miou":  # the papers' scripts differ: see the naive version below
            assert after[metric.name] == before[metric.name]


@pytest.mark.parametrize("kind", KIND_NAMES)
@pytest.mark.parametrize("count", [1, 5])
def test_a_split_without_valid_targets_has_no_metrics(kind, count):
    prediction, target = sample(kind, count)
    values = measured(kind, prediction, blanked(target), 2)
    assert all(math.isnan(value) for value in values.values())


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_a_pass_over_nothing_has_no_metrics(kind):
    assert all(math.isnan(value) for value in TASKS[kind].accumulator(CPU).compute().values())


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_every_accumulator_starts_afresh(kind):
    prediction, target = sample(kind)
    first = measured(kind, prediction, target)
    measured(kind, -prediction, target)
    assert measured(kind, prediction, target) == first


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_perfect_predictions_are_perfect(kind):
    _, target = sample(kind)
    if kind in ("segmentation", "classification"):
        prediction = F.one_hot(target.long().clamp(min=0), 5).movedim(-1, 1).float()
        # The last class never occurs; predictions on unknown pixels enter the twin's union, so it is left out.
        best = {m.name: 100.0 for m in TASKS[kind].metrics if m.name != "legacy_miou"}
    else:
        prediction = 2.0 * target[:, None] - 1 if kind in LABELS else target.float()
        best = {m.name: 100.0 if m.higher_is_better else 0.0 for m in TASKS[kind].metrics}
    values = measured(kind, prediction, target)
    assert {name: values[name] for name in best} == pytest.approx(best, abs=1e-3)


def test_a_class_in_truth_or_prediction_alone_counts_as_zero():
    # Truth: 0 0 1 1; prediction: 0 0 2 2. IoU 1, 0, 0; classes 3 and 4 do not occur.
    target = torch.tensor([[[0, 0], [1, 1]]], dtype=torch.int8)
    prediction = F.one_hot(torch.tensor([[[0, 0], [2, 2]]]), 5).movedim(-1, 1).float()
    values = measured("segmentation", prediction, target)
    assert values["miou"] == pytest.approx(100 / 3)
    assert values["pixel_accuracy"] == pytest.approx(50)


def test_depth_by_hand():
    # Errors 1, 1, 2 at depths 2, 4, 8: absolute 4/3; relative (0.5 + 0.25 + 0.25) / 3.
    target = torch.tensor([2.0, 4.0, 8.0, 0.0]).reshape(1, 1, 2, 2)
    prediction = torch.tensor([3.0, 3.0, 10.0, 50.0]).reshape(1, 1, 2, 2)
    values = measured("depth", prediction, target)
    assert values["abs_error"] == pytest.approx(4 / 3)
    assert values["rel_error"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("degrees", "median"),
    [((10, 20, 70), 20), ((10, 20, 30, 70), 25), ((8,), 8), ((1, 2), 1.5), ((5, 5, 5, 90), 5), ((90, 1, 60, 2, 3), 3)],
)
def test_the_median_of_odd_and_even_counts(degrees, median):
    values = measured("normals", *turned(*degrees))
    assert values["median_angle"] == pytest.approx(median, abs=1e-4)
    assert values["mean_angle"] == pytest.approx(np.mean(degrees), abs=1e-4)


def test_the_shares_within_the_thresholds():
    values = measured("normals", *turned(11.2, 11.3, 22.4, 22.6, 29.9, 30.1, 100, 180))
    shares = [values[name] for name in ("within_11.25", "within_22.5", "within_30")]
    assert shares == pytest.approx([12.5, 37.5, 62.5])


@pytest.mark.parametrize("angle", [0, 1e-4, 1e-3, 0.01, 0.1, 1, 45, 90, 135, 179, 179.9, 179.99, 179.999, 180])
def test_angles_are_exact_near_0_and_180_degrees(angle):
    assert measured("normals", *turned(angle))["mean_angle"] == pytest.approx(angle, abs=2e-5)


def test_the_length_of_a_predicted_normal_does_not_matter():
    prediction, target = sample("normals")
    scaled = prediction * torch.rand(len(prediction), 1, 6, 7).clamp(min=0.01) * 100
    assert measured("normals", scaled, target) == pytest.approx(measured("normals", prediction, target), abs=1e-4)


@pytest.mark.parametrize("kind", ["depth", "normals"])
def test_a_diverged_prediction_is_not_taken_for_an_unknown_target(kind):
    prediction, target = sample(kind)
    prediction[0] = math.nan
    values = measured(kind, prediction, target)
    mean = "abs_error" if kind == "depth" else "mean_angle"
    assert math.isnan(values[mean])
    assert math.isnan(values[f"legacy_{mean}"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KIND_NAMES)
def test_updating_does_not_wait_for_the_device(kind):
    # Tensors without data raise where a value is asked for.
    prediction, target = (tensor.to("meta") for tensor in sample(kind))
    accumulator = TASKS[kind].accumulator(torch.device("meta"))
    accumulator.update(prediction, target)
    assert TASKS[kind].loss(prediction, target).shape == ()


# Stored forms and drawing.


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_a_decision_has_the_form_of_a_target(kind):
    prediction, target = sample(kind)
    decision = TASKS[kind].definition.decide(prediction)
    assert decision.shape == target.shape
    assert decision.dtype == target.dtype


@pytest.mark.parametrize("kind", DENSE)
def test_targets_and_decisions_are_drawn_in_colour(kind):
    prediction, target = sample(kind)
    definition = TASKS[kind].definition
    for values in (target, definition.decide(prediction)):
        picture = definition.draw(values[0].numpy())
        assert picture.shape == (6, 7, 3)
        assert picture.dtype == np.uint8
    black = definition.draw(target[4].numpy())  # wholly unknown
    assert not black.any()
    drawn = definition.draw(target[0].numpy())
    known = (target[0] >= 0) if kind in LABELS else (target[0] != 0).any(0)
    assert np.array_equal(drawn.any(-1), known.numpy())


def test_every_class_up_to_twenty_one_has_its_own_colour():
    """As many as PASCAL VOC has with its background."""
    picture = KINDS["segmentation"].draw(np.arange(-1, 21, dtype=np.int8)[None])
    assert len({tuple(colour) for colour in picture[0].tolist()}) == 22


def test_a_class_of_the_whole_picture_is_not_drawn():
    assert KINDS["classification"].draw(np.int16(3)) is None
    assert KINDS["binary"].draw(np.int8(1)) is None


# Ways in.


def test_an_unknown_kind_lists_the_known():
    with pytest.raises(UsageError, match=r"unknown kind of task 'detph'\. Did you mean 'depth'\?.*segmentation"):
        Task("d", "detph", 1)


@pytest.mark.parametrize("channels", [0, -1])
def test_a_task_needs_a_channel(channels):
    with pytest.raises(ValueError, match=f"task 'd' needs at least 1 channel, not {channels}"):
        Task("d", "depth", channels)


def test_names_of_classes_fit_the_channels():
    with pytest.raises(ValueError, match="names 2 classes but has 3 channels"):
        Task("s", "segmentation", 3, ("road", "sky"))
    assert Task("b", "binary", 1, ("no", "yes")).classes == ("no", "yes")
    with pytest.raises(ValueError, match="names 3 classes but has 2 answers"):
        Task("b", "binary", 1, ("no", "perhaps", "yes"))


@pytest.mark.parametrize("kind", ["binary", "boundaries"])
def test_decisions_of_yes_and_no_come_back(kind):
    prediction, target = sample(kind)
    definition = TASKS[kind].definition
    decided = definition.decide(prediction)
    again = definition.undecide(decided, 1)
    assert torch.equal(definition.decide(again), decided)
    assert measured(kind, again, target) == measured(kind, prediction, target)
    with pytest.raises(ValueError, match="must be 0 or 1"):
        definition.undecide(torch.tensor([2]), 1)


def test_decisions_of_saliency_come_back():
    prediction, target = sample("saliency")
    definition = TASKS["saliency"].definition
    decided = definition.decide(3 * prediction)
    assert set(decided.unique().tolist()) == {0, *range(20, 91, 5)}
    again = definition.undecide(decided, 1)
    assert torch.equal(definition.decide(again), decided)
    assert measured("saliency", again, target) == measured("saliency", 3 * prediction, target)
    # The truth, where it is known, is a decision too, and the best one.
    assert definition.decide(definition.undecide(target.clamp(min=0), 1)).unique().tolist() == [0, 90]
    for wrong in (torch.tensor([101]), torch.tensor([-1]), torch.tensor([0.5])):
        with pytest.raises(ValueError, match="whole numbers from 0 to 100"):
            definition.undecide(wrong, 1)


def test_a_kind_is_registered_once():
    with pytest.raises(ValueError, match="'depth' is registered already"):

        @register_kind
        class Again(TaskKind):
            name = "depth"


NEW_KIND = """
import torch
from benchmark.tasks import Accumulator, Metric, TaskKind, register_kind


class Count(Accumulator):
    def __init__(self):
        self.total = 0

    def update(self, prediction, target):
        self.total += len(target)

    def compute(self):
        return {"count": float(self.total)}


@register_kind
class Counting(TaskKind):
    name = "counting"
    dense = False
    metrics = (Metric("count", "count", "", True, "Number of pictures."),)

    def loss(self, prediction, target):
        return (prediction[:, 0] - target).square().mean()

    def accumulator(self, channels, device):
        return Count()

    def decide(self, prediction):
        return prediction[:, 0]

    def draw(self, values):
        return None
"""


def test_one_file_makes_a_new_kind(tmp_path):
    file = tmp_path / "counting.py"
    file.write_text(NEW_KIND)
    try:
        load_plugin_file(file)
        task = Task("people", "counting", 1)
        accumulator = task.accumulator(CPU)
        accumulator.update(torch.zeros(3, 1), torch.zeros(3))
        assert accumulator.compute() == {"count": 3.0}
        assert task.loss(torch.ones(3, 1), torch.zeros(3)).item() == 1
        assert not task.dense
        assert torch.equal(task.finish(torch.ones(3, 1)), torch.ones(3, 1))
    finally:
        KINDS.pop("counting", None)


def test_a_blind_prediction_by_hand():
    """Three training truths of a picture of 1×2 pixels; the right pixel is never known."""
    classes = torch.tensor([[[2, -1]], [[0, -1]], [[2, -1]]])
    seen = KINDS["segmentation"].blind(classes, 4)
    assert seen.argmax(1).tolist() == [[[2, 2]]]
    depth = torch.tensor([3.0, 1.0, 7.0]).view(3, 1, 1, 1)
    depth = torch.cat([depth, torch.zeros(3, 1, 1, 1)], -1).half()
    assert KINDS["depth"].blind(depth, 1).tolist() == [[[[3.0, 3.0]]]]
    north, east = [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]
    normals = torch.tensor([north, north, east])[:, :, None, None]
    normals = torch.cat([normals, torch.zeros(3, 3, 1, 1)], -1).half()
    mean = torch.tensor([1.0, 2.0, 0.0]) / 5**0.5
    torch.testing.assert_close(KINDS["normals"].blind(normals, 3)[0], mean[:, None, None].expand(3, 1, 2))
    assert KINDS["classification"].blind(torch.tensor([1, 3, 1, -1], dtype=torch.int16), 4).tolist() == [[0, 2, 0, 1]]
    assert KINDS["binary"].blind(torch.tensor([1, -1, 0, 0], dtype=torch.int8), 1).tolist() == [[-1]]
    # A boundary in every tenth picture is worth being foretold, by the weights of the loss; one in thirty is not.
    edges = torch.zeros(30, 1, 2, dtype=torch.int8)
    edges[:3, 0, 0] = edges[0, 0, 1] = 1
    assert (KINDS["boundaries"].blind(edges, 1) > 0).tolist() == [[[[True, False]]]]
    # Told as decisions are, by the thresholds that are reached: 1/2, 0, and 1/4 of all where nothing is known.
    maps = torch.tensor([[100, 0, -1], [0, 0, -1]], dtype=torch.int8)[:, None]
    assert KINDS["saliency"].decide(KINDS["saliency"].blind(maps, 1)).tolist() == [[[50, 0, 25]]]


def test_nobody_knows_anything_where_nothing_is_known():
    for kind, target, channels in (
        ("segmentation", torch.full((2, 1, 2), -1), 3),
        ("depth", torch.zeros(2, 1, 1, 2), 1),
        ("normals", torch.zeros(2, 3, 1, 2), 3),
        ("classification", torch.full((2,), -1), 3),
        ("binary", torch.full((2,), -1), 1),
        ("boundaries", torch.full((2, 1, 2), -1), 1),
        ("saliency", torch.full((2, 1, 2), -1), 1),
    ):
        assert KINDS[kind].blind(target, channels).isfinite().all()
