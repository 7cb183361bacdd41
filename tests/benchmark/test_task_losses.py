"""The kinds of task: losses."""

import math

import pytest
import torch

from benchmark.tasks import Task
from tests.benchmark.predictions import KIND_NAMES, TASKS, blanked, sample, turned


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
