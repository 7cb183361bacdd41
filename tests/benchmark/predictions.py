"""Predictions and targets of each kind of task, and their metrics."""

import torch
import torch.nn.functional as F

from benchmark.tasks import Task

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


def turned(*degrees):
    """Normals at the given angles from (0, 0, 1), and those truths."""
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    prediction = torch.stack([angles.sin(), torch.zeros_like(angles), angles.cos()])[None, :, None].float()
    target = torch.zeros_like(prediction)
    target[:, 2] = 1
    return prediction, target
