"""Weightings that see losses only: each with options, built, taken a step, and restored from its state."""

import io

import torch
from hypothesis import strategies as st

import benchmark

KINDS = ("segmentation", "depth", "normals", "classification", "depth", "segmentation")
SIMPLEX = [0.5, 0.125, 0.375]

#: Every weighting with options, for three tasks; an epoch's end has passed for '…-after', whose warm-up is over.
BUILT = {
    "constant": ("constant", {"weights": SIMPLEX}),
    "uncertainty-kendall": ("uncertainty-kendall", {}),
    "gls": ("gls", {}),
    "rlw": ("rlw", {}),
    "rlw-dirichlet": ("rlw", {"distribution": "dirichlet"}),
    "si": ("si", {}),
    "imtl-l": ("imtl-l", {}),
    "stch": ("stch", {}),
    "stch-after": ("stch", {"warmup_epochs": 1, "mu": 0.5}),
    "uw-so": ("uw-so", {"temperature": 0.5}),
    "igb": ("igb", {}),
    "igb-after": ("igb", {"warmup_epochs": 1}),
    "go4align": ("go4align", {}),
    "ldc-mtl": ("ldc-mtl", {"penalty": 0.3}),
}
WITH_LOGARITHM = ("gls", "si", "stch", "stch-after", "uw-so", "igb", "igb-after", "go4align")
REFERENCE = [2.0, 0.1, 7.0]

losses_of_a_step = st.floats(2.0**-20, 2.0**20, width=32)
rows_of_losses = st.lists(losses_of_a_step, min_size=1, max_size=6)


def tasks(count):
    return [benchmark.Task(f"task{k}", kind, 1) for k, kind in enumerate(KINDS[:count])]


def build(name, count=3, **options):
    return benchmark.build_weighting(name, tasks(count), **options)


def built(case):
    """The case's weighting; what it learns is moved away from its start."""
    name, options = BUILT[case]
    weighting = build(name, **options)
    with torch.no_grad():
        for parameter in weighting.parameters():
            parameter.copy_(torch.tensor([0.3, -1.2, 2.0]))
    if case.endswith("-after"):
        weighting.epoch_end(torch.tensor(REFERENCE))
    return weighting


def step(weighting, losses):
    """Objective, its gradient and the weights of one step."""
    losses = torch.tensor(losses, requires_grad=True)
    weights = weighting.weights(losses.detach())
    value = weighting.objective(losses, weights)
    value.backward()
    return value.item(), losses.grad.tolist(), weights.detach()


def restored(weighting, case):
    file = io.BytesIO()
    torch.save(weighting.state_dict(), file)
    file.seek(0)
    name, options = BUILT[case]
    twin = build(name, **options)
    twin.load_state_dict(torch.load(file, weights_only=True))
    return twin
