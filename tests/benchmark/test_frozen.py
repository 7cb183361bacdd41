"""What may never change, since recorded runs rest on it: seeds, starts, orders. docs/identity.md says so in words.

A change here makes every recorded run another one without another identity. Where one is really wanted, the versions
of what it touches are raised, or ``SUITE_VERSION``.
"""

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmark.data import Split
from benchmark.model import build_model
from benchmark.runs.spec import derive_seed
from benchmark.tasks import Task
from benchmark.training.augmentation import Augmentation
from benchmark.training.batch import OtherBatches, TrainingBatches

TASKS = (Task("semantic", "segmentation", 13), Task("depth", "depth", 1), Task("normals", "normals", 3))


def short_hash(content):
    return hashlib.sha256(content).hexdigest()[:16]


@pytest.mark.parametrize(
    ("axes", "text"),
    [
        (("training", 0), b'["training", 0]'),
        (("init", "mtan", 3), b'["init", "mtan", 3]'),
        (("weighting", "dwa", 0), b'["weighting", "dwa", 0]'),
        (("batches", 0, "left"), b'["batches", 0, "left"]'),
    ],
)
def test_a_seed_is_the_head_of_a_hash_of_its_axes(axes, text):
    """63 bits, most significant first."""
    assert derive_seed(*axes) == int(hashlib.sha256(text).hexdigest()[:16], 16) // 2


# By architecture, of width 8 on SegNet with seed 3: SHA-256 of the names of its tensors in their order, as a JSON list,
# and of their bytes. Recorded with torch 2.13, equal in native and portable arithmetic.
STARTS = {
    "cross-stitch": ("12d5cd9fe64b2f12", "d2f2185b002f74aa"),
    "dense": ("50eef4851ca107f8", "23016429fcae9097"),
    "mtan": ("0181776d1e27836d", "0760765ee6800f13"),
    "split-deep": ("17cc405c7ff0ee56", "43dc2ff6af6cb4b4"),
    "split-wide": ("361965a098bb0967", "abaaffd5d131766c"),
    "split": ("361965a098bb0967", "8cc261d11883a65c"),
    "single-task": ("34ce65fa708cd966", "5cbdc29252c87582"),
    "stan": ("6953e838a14a3c9a", "536ad9d74639f751"),
}


@pytest.mark.parametrize("architecture", STARTS)
def test_modules_are_built_in_their_order_and_begin_as_they_always_did(architecture):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("init", architecture, 3))
        state = build_model(architecture, TASKS, width=8).state_dict()
    names = short_hash(json.dumps(list(state)).encode())
    values = short_hash(b"".join(tensor.contiguous().numpy().tobytes() for tensor in state.values()))
    assert (names, values) == STARTS[architecture]


def spec(**protocol):
    chosen = {"batch_size": 3, "steps_per_epoch": None, "flip": True, "scale_crop": "none", "random_crop": False}
    return SimpleNamespace(seed=0, protocol=SimpleNamespace(**chosen | protocol))


def numbered(count):
    """A split whose pictures tell their places."""
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2).contiguous()
    return Split(images, {}, np.arange(count))


def places(batch):
    return batch.images[:, 0, 0, 0].tolist()


def test_batches_are_slices_of_torch_s_permutations():
    """Of a generator with the seed of ``["batches", 0]``; what does not fill a batch is left out of each pass."""
    batches = TrainingBatches(numbered(8), spec())
    generator = torch.Generator().manual_seed(595568211407960355)
    for _ in range(2):
        order = torch.randperm(8, generator=generator).tolist()
        assert [places(batches.next()) for _ in range(2)] == [order[:3], order[3:6]]
    assert torch.randperm(20, generator=torch.Generator().manual_seed(595568211407960355)).tolist() == [
        8, 12, 7, 2, 4, 6, 9, 15, 0, 10, 16, 3, 11, 18, 19, 5, 13, 17, 14, 1,
    ]  # fmt: skip


def test_other_batches_are_heads_of_permutations():
    others = OtherBatches({"val": numbered(8)}, spec())
    generator = torch.Generator().manual_seed(8146255716748933988)
    assert places(others("val")) == torch.randperm(8, generator=generator).tolist()[:3]


def test_augmentation_draws_five_numbers_for_each_sample_of_a_pass():
    augmentation = Augmentation(spec(), (), count=4)
    augmentation.draw(torch.device("cpu"))
    generator = torch.Generator().manual_seed(1502165911768225880)
    assert torch.equal(augmentation.numbers, torch.rand(4, 5, generator=generator, dtype=torch.float64))
