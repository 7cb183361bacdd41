"""The kinds of task against others: metrics by torchmetrics and NumPy, and the papers' twins, naively."""

import math

import numpy as np
import pytest
import torch
import torchmetrics

from tests.benchmark.predictions import KIND_NAMES, TASKS, measured, sample

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
