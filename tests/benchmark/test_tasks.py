"""The kinds of task: losses, metrics of the whole split, the papers' twins, drawing, and the ways in."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchmetrics
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmark.errors import UsageError
from benchmark.registry import load_plugin_file
from benchmark.tasks import KINDS, Task, TaskKind, register_kind

CPU = torch.device("cpu")
TASKS = {
    "segmentation": Task("semantic", "segmentation", 5),
    "depth": Task("depth", "depth", 1),
    "disparity": Task("disparity", "disparity", 1),
    "normals": Task("normals", "normals", 3),
    "classification": Task("object", "classification", 5),
    "binary": Task("smiling", "binary", 1, ("no", "yes")),
    "boundaries": Task("boundaries", "boundaries", 1),
    "saliency": Task("saliency", "saliency", 1),
}
KIND_NAMES = list(TASKS)
DENSE = ["segmentation", "depth", "disparity", "normals", "boundaries", "saliency"]
LABELS = ["segmentation", "classification", "binary", "boundaries", "saliency"]


def sample(kind, count=23, seed=0, size=(6, 7), unknown=0.2):
    """Predictions and targets of ``count`` pictures; some pixels unknown, and the fifth picture as a whole."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    channels = TASKS[kind].channels
    where = torch.rand(count, *size, generator=generator) < unknown
    where[4:5] = True
    if kind == "classification":
        labels = torch.randint(0, channels, (count,), generator=generator)
        return normal(count, channels), torch.where(where[:, 0, 0], -1, labels).to(torch.int16)
    if kind in ("binary", "boundaries"):
        labels = torch.randint(0, 2, (count, *size), generator=generator)
        labels = torch.where(where, -1, labels).to(torch.int8)
        return (normal(count, 1), labels[:, 0, 0]) if kind == "binary" else (normal(count, 1, *size), labels)
    if kind == "saliency":
        percent = 100 * torch.randint(0, 2, (count, *size), generator=generator)
        return normal(count, 1, *size), torch.where(where, -1, percent).to(torch.int8)
    if kind == "segmentation":
        labels = torch.randint(0, channels - 1, (count, *size), generator=generator)  # the last class never occurs
        return normal(count, channels, *size), torch.where(where, -1, labels).to(torch.int8)
    if kind in ("depth", "disparity"):
        depth = 0.5 + 9 * torch.rand(count, 1, *size, generator=generator)
        return depth + normal(*depth.shape), torch.where(where[:, None], 0, depth).half()
    vectors = F.normalize(normal(count, 3, *size), dim=1)
    return F.normalize(vectors + 0.5 * normal(*vectors.shape), dim=1), torch.where(where[:, None], 0, vectors).half()


def measured(kind, prediction, target, batch=None):
    accumulator = TASKS[kind].accumulator(CPU)
    for p, t in zip(prediction.split(batch or len(target)), target.split(batch or len(target)), strict=True):
        accumulator.update(p, t)
    return accumulator.compute()


def blanked(target):
    return torch.full_like(target, 0 if target.is_floating_point() else -1)


# Metrics of the whole split.


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


def turned(*degrees):
    """Normals at the given angles from (0, 0, 1), and those truths."""
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    prediction = torch.stack([angles.sin(), torch.zeros_like(angles), angles.cos()])[None, :, None].float()
    target = torch.zeros_like(prediction)
    target[:, 2] = 1
    return prediction, target


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


# The same by torchmetrics and by NumPy, where they have it.


def test_segmentation_equals_torchmetrics():
    prediction, target = sample("segmentation")
    classes, truth = prediction.argmax(1), target.long()
    iou = torchmetrics.JaccardIndex("multiclass", num_classes=5, average="macro", ignore_index=-1)
    accuracy = torchmetrics.Accuracy("multiclass", num_classes=5, average="micro", ignore_index=-1)
    values = measured("segmentation", prediction, target, 7)
    assert values["miou"] == pytest.approx(100 * iou(classes, truth).item(), abs=1e-4)
    assert values["pixel_accuracy"] == pytest.approx(100 * accuracy(classes, truth).item(), abs=1e-4)


def test_absent_classes_count_as_in_torchmetrics():
    prediction, target = sample("segmentation")
    prediction[:, 4] = -10  # now the last class is in neither truth nor prediction
    iou = torchmetrics.JaccardIndex("multiclass", num_classes=5, average="macro", ignore_index=-1)
    expected = 100 * iou(prediction.argmax(1), target.long()).item()
    assert measured("segmentation", prediction, target)["miou"] == pytest.approx(expected, abs=1e-4)


def test_classification_equals_torchmetrics():
    prediction, target = sample("classification", 200)
    accuracy = torchmetrics.Accuracy("multiclass", num_classes=5, average="micro", ignore_index=-1)
    expected = 100 * accuracy(prediction.argmax(1), target.long()).item()
    assert measured("classification", prediction, target, 7)["accuracy"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kind", ["binary", "boundaries"])
def test_yes_and_no_equal_torchmetrics(kind):
    prediction, target = sample(kind, 200)
    answer, truth = (prediction[:, 0] > 0).long(), target.long()
    known = truth >= 0
    values = measured(kind, prediction, target, 7)
    recalls = torchmetrics.Accuracy("multiclass", num_classes=2, average="macro")(answer[known], truth[known])
    assert values["balanced_accuracy"] == pytest.approx(100 * recalls.item(), abs=1e-4)
    f1 = torchmetrics.F1Score("multiclass", num_classes=2, average="none")(answer[known], truth[known])
    assert values["f1"] == pytest.approx(100 * (f1.mean() if kind == "binary" else f1[1]).item(), abs=1e-4)
    if kind == "binary":
        assert values["accuracy"] == pytest.approx(100 * (answer == truth)[known].double().mean().item(), abs=1e-4)


def test_whoever_never_says_yes_has_metrics_above_0():
    """Of a rare attribute: a reference of 0 would leave Δm undefined."""
    target = torch.tensor([1, *[0] * 9], dtype=torch.int8)
    values = measured("binary", torch.full((10, 1), -1.0), target)
    assert values == pytest.approx({"accuracy": 90.0, "balanced_accuracy": 50.0, "f1": 50 * 18 / 19})
    # Where no label is yes, no answer of yes is all right.
    assert set(measured("binary", torch.full((9, 1), -1.0), target[1:]).values()) == {100.0}
    nothing = torch.zeros(2, 3, 4, dtype=torch.int8)
    assert set(measured("boundaries", torch.full((2, 1, 3, 4), -1.0), nothing).values()) == {100.0}


def test_saliency_is_that_of_the_best_threshold_naively():
    prediction, target = sample("saliency", 9)
    target[0][target[0] > 0] = 0  # nothing is salient: precision and recall are 0
    prediction[2] = -9  # and nothing is called so: precision is 0
    likelihood, best = prediction[:, 0].double().sigmoid().numpy(), {"max_f": 0.0, "miou": 0.0}
    for threshold in np.linspace(0.2, 0.9, 15):
        rows = []
        for image, truth in zip(likelihood, target.numpy(), strict=True):
            if (truth < 0).all():
                continue
            called, salient = image[truth >= 0] > threshold, truth[truth >= 0] > 50
            both, either = (called & salient).sum(), (called | salient).sum()
            rows.append((both / max(called.sum(), 1), both / max(salient.sum(), 1), both / either if either else 1))
        precision, recall, overlap = np.mean(rows, axis=0)
        found = {"max_f": 200 * precision * recall / (precision + recall), "miou": 100 * overlap}
        best = {name: max(best[name], value) for name, value in found.items()}
    assert len(rows) == 8
    assert measured("saliency", prediction, target, 4) == pytest.approx(best)


def test_the_overlap_of_nothing_with_nothing_is_whole():
    nothing = torch.zeros(2, 3, 4, dtype=torch.int8)
    assert measured("saliency", torch.full((2, 1, 3, 4), -9.0), nothing) == {"max_f": 0.0, "miou": 100.0}
    diverged = measured("saliency", torch.full((2, 1, 3, 4), math.nan), nothing + 100)
    assert diverged == {"max_f": 0.0, "miou": 0.0}


def test_depth_equals_torchmetrics():
    prediction, target = sample("depth")
    valid = target > 0
    inputs = prediction.double()[valid], target.double()[valid]
    values = measured("depth", prediction, target, 7)
    assert values["abs_error"] == pytest.approx(torchmetrics.MeanAbsoluteError()(*inputs).item(), abs=1e-6)
    assert values["rel_error"] == pytest.approx(torchmetrics.MeanAbsolutePercentageError()(*inputs).item(), abs=1e-6)


def angles_by_numpy(prediction, target):
    """(N, 3, H, W) -> the angles of the valid pixels, by the textbook formula in double precision."""
    p, t = (x.double().movedim(1, -1).reshape(-1, 3).numpy() for x in (prediction, target))
    p, t = p[(t != 0).any(1)], t[(t != 0).any(1)]
    cosine = (p * t).sum(1) / np.linalg.norm(p, axis=1) / np.linalg.norm(t, axis=1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def normals_by_numpy(angles):
    shares = [100 * np.mean(angles < threshold) for threshold in (11.25, 22.5, 30)]
    return [np.mean(angles), np.median(angles), *shares]


def test_normals_equal_numpy():
    prediction, target = sample("normals")
    values = measured("normals", prediction, target, 7)
    pooled = [values[metric.name] for metric in TASKS["normals"].metrics if not metric.legacy]
    assert pooled == pytest.approx(normals_by_numpy(angles_by_numpy(prediction, target)), abs=1e-4)
    # torchmetrics knows the cosine of single vectors.
    p, t = (x.double().movedim(1, -1).reshape(-1, 3) for x in (prediction, target))
    cosine = torchmetrics.CosineSimilarity(reduction="none")(p[t.any(1)], t[t.any(1)])
    assert values["mean_angle"] == pytest.approx(cosine.arccos().rad2deg().mean().item(), abs=1e-4)


# The papers' twins, naively.


@pytest.mark.parametrize("count", [6, 23])
def test_legacy_segmentation_is_the_mean_over_images(count):
    prediction, target = sample("segmentation", count)
    ious, accuracies = [], []
    for image, truth in zip(prediction.argmax(1).numpy(), target.numpy(), strict=True):
        if not (truth >= 0).any():
            continue
        per_class = []
        for c in range(5):
            # As in the scripts: a prediction on a pixel of unknown class counts in the union.
            union = ((image == c) | (truth == c)).sum()
            if union:
                per_class.append(((image == c) & (truth == c)).sum() / union)
        ious.append(np.mean(per_class))
        accuracies.append((image == truth)[truth >= 0].mean())
    values = measured("segmentation", prediction, target, 7)
    assert len(ious) == count - 1  # the fifth image is wholly unknown
    assert values["legacy_miou"] == pytest.approx(100 * np.mean(ious))
    assert values["legacy_pixel_accuracy"] == pytest.approx(100 * np.mean(accuracies))


@pytest.mark.parametrize("count", [4, 5, 23])
def test_legacy_depth_is_the_mean_over_batches_of_two(count):
    prediction, target = (x.double().numpy() for x in sample("depth", count))
    absolute, relative = [], []
    for begin in range(0, count, 2):
        p, t = prediction[begin : begin + 2], target[begin : begin + 2]
        if (t > 0).any():
            error = np.abs(p - t)[t > 0]
            absolute.append(error.mean())
            relative.append((error / t[t > 0]).mean())
    values = measured("depth", *sample("depth", count), 7)
    assert values["legacy_abs_error"] == pytest.approx(np.mean(absolute))
    assert values["legacy_rel_error"] == pytest.approx(np.mean(relative))


@pytest.mark.parametrize("count", [4, 5, 23])
def test_legacy_normals_are_the_mean_over_batches_of_two(count):
    prediction, target = sample("normals", count)
    angles = [angles_by_numpy(p, t) for p, t in zip(prediction.split(2), target.split(2), strict=True)]
    expected = np.mean([normals_by_numpy(batch) for batch in angles if len(batch)], axis=0)
    values = measured("normals", prediction, target, 7)
    legacy = [values[metric.name] for metric in TASKS["normals"].metrics if metric.legacy]
    assert legacy == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_every_metric_says_what_it_is(kind):
    for metric in TASKS[kind].metrics:
        assert metric.title
        assert metric.definition.endswith(".")
        assert metric.legacy == metric.name.startswith("legacy_")


# Losses.


def test_segmentation_loss_by_hand():
    # Two known pixels: −log softmax(0, log 3) of class 1 = log 4/3, of class 0 = log 4; the third is unknown.
    prediction = torch.tensor([0.0, math.log(3)]).reshape(1, 2, 1, 1).expand(1, 2, 1, 3)
    target = torch.tensor([[[1, 0, -1]]], dtype=torch.int8)
    loss = Task("s", "segmentation", 2).loss(prediction, target)
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)


def test_classification_loss_by_hand():
    prediction = torch.tensor([0.0, math.log(3)]).expand(3, 2)
    target = torch.tensor([1, 0, -1], dtype=torch.int16)
    loss = Task("c", "classification", 2).loss(prediction, target)
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)


def test_the_losses_of_yes_and_no_by_hand():
    # The likelihood of yes is 3/4: −log of it, and of 1/4 for no; the third is unknown.
    prediction = torch.full((3, 1), math.log(3))
    target = torch.tensor([1, 0, -1], dtype=torch.int8)
    yes, no = math.log(4 / 3), math.log(4)
    assert TASKS["binary"].loss(prediction, target).item() == pytest.approx((yes + no) / 2)
    loss = TASKS["boundaries"].loss(prediction.view(1, 1, 1, 3), target.view(1, 1, 3)).item()
    assert loss == pytest.approx((0.95 * yes + 0.05 * no) / 2)
    # One of two known pixels is salient: either answer has the weight 1/2. Of three, 2/3 for the one that is.
    maps = torch.tensor([100, 0, -1, 0], dtype=torch.int8).view(1, 1, 4)
    loss = TASKS["saliency"].loss(prediction.view(1, 1, 1, 3), maps[..., :3]).item()
    assert loss == pytest.approx((yes + no) / 4)
    loss = TASKS["saliency"].loss(torch.full((1, 1, 1, 4), math.log(3)), maps).item()
    assert loss == pytest.approx((2 / 3 * yes + 2 * no / 3) / 3)
    # No logit is too large for a number, or too small to be told from 0.
    extreme = torch.tensor([[200.0], [-30.0]])
    assert TASKS["binary"].loss(extreme, torch.tensor([0, 1])).item() == pytest.approx(115)
    assert TASKS["binary"].loss(extreme, torch.tensor([1, 0])).item() == pytest.approx(math.exp(-30) / 2)


def test_depth_loss_by_hand():
    target = torch.tensor([2.0, 4.0, 0.0]).reshape(1, 1, 1, 3).half()
    prediction = torch.tensor([3.0, 2.0, 9.0]).reshape(1, 1, 1, 3)
    assert TASKS["depth"].loss(prediction, target).item() == pytest.approx(1.5)


def test_normals_loss_by_hand():
    # 1 − cos of 0°, 60° and 180°: 0, 0.5, 2.
    assert TASKS["normals"].loss(*turned(0, 60, 180)).item() == pytest.approx(2.5 / 3)


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_unknown_targets_give_no_gradient(kind):
    prediction, target = sample(kind)
    prediction.requires_grad_()
    TASKS[kind].loss(prediction, target).backward()
    assert prediction.grad.isfinite().all()
    assert not prediction.grad[4].any()  # the picture that is wholly unknown
    assert prediction.grad[0].any()


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_a_batch_without_valid_targets_has_loss_zero_and_no_gradient(kind):
    prediction, target = sample(kind)
    prediction.requires_grad_()
    loss = TASKS[kind].loss(prediction, blanked(target))
    assert loss.item() == 0
    loss.backward()
    assert not prediction.grad.any()


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_the_loss_is_a_mean_over_valid_targets(kind):
    # Pictures without any valid target do not thin it out.
    prediction, target = sample(kind, 4)
    alone = TASKS[kind].loss(prediction, target)
    padded = TASKS[kind].loss(torch.cat([prediction, prediction]), torch.cat([target, blanked(target)]))
    assert padded.item() == pytest.approx(alone.item(), rel=1e-6)


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_half_precision_predictions_give_a_float32_loss(kind):
    prediction, target = sample(kind)
    rounded = prediction.bfloat16()
    loss = TASKS[kind].loss(rounded.requires_grad_(), target)
    loss.backward()
    assert loss.dtype == torch.float32
    assert rounded.grad.isfinite().all()
    # The same as on the rounded numbers in single precision: nothing is summed in half precision.
    assert loss.item() == pytest.approx(TASKS[kind].loss(rounded.detach().float(), target).item(), rel=1e-6)


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_finished_predictions_keep_shape_and_are_float32_unit_vectors_for_normals(kind):
    prediction, _ = sample(kind)
    finished = TASKS[kind].finish((3 * prediction).bfloat16())
    assert finished.shape == prediction.shape
    if kind == "normals":
        assert finished.dtype == torch.float32
        assert torch.allclose(finished.norm(dim=1), torch.ones(len(prediction), 6, 7), atol=1e-6)


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
