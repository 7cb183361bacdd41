"""Which tasks should share which stages: a tree for ``branched``, from what single-task networks make of pictures.

Tasks are alike at a stage where their networks find the same pictures alike there: representation similarity analysis
(Dwivedi & Roig, CVPR 2019), as in Vandenhende et al., "Branched Multi-Task Networks", BMVC 2020.

    networks = [build_model("split", [task], …), …]  # each trained alone
    tree(affinity([stage_features(network, images) for network in networks]), groups=[1, 1, 2, 3])
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from baselines.architectures.split import Split
from baselines.backbones import Memory
from benchmark.errors import UsageError


@torch.no_grad()
def stage_features(network: Split, images: Tensor) -> list[Tensor]:
    """What every stage of a network leaves: of (N, 3, H, W) pictures, for each stage (N, …)."""
    memory: Memory = []
    x, found = images, []
    for plan, stage in zip(network.stages, cast(Sequence[nn.Module], network.trunk), strict=True):
        x = plan.leave(stage(plan.enter(x, memory)), memory)
        found.append(x)
    return found


def affinity(features: Sequence[Sequence[Tensor]]) -> Tensor:
    """(S, K, K) how alike tasks are at every stage, from −1 to 1.

    At a stage each task gives the dissimilarities 1 − r of all pairs of pictures, with r the correlation of their
    features; two tasks' affinity is the correlation of the ranks of these (Spearman's, ties in order).

    Args:
        features: of each of K tasks, at each of S stages (N, …), of the same N pictures, 3 or more.
    """
    stages = []
    for task_features in zip(*features, strict=True):
        if len(task_features[0]) < 3:
            raise UsageError(f"affinities are of 3 or more pictures, found {len(task_features[0])}")
        ranks = [_dissimilarities(x).argsort(stable=True).argsort().double() for x in task_features]
        stages.append(torch.corrcoef(torch.stack(ranks)).reshape(len(ranks), len(ranks)))
    return torch.stack(stages)


def _dissimilarities(features: Tensor) -> Tensor:
    """(N, …) -> (N(N − 1) / 2,)"""
    correlations = torch.corrcoef(features.flatten(1).double())
    rows, columns = torch.triu_indices(len(features), len(features), 1)
    return 1 - correlations[rows, columns]


def tree(affinities: Tensor, groups: Sequence[int]) -> str:
    """A tree in ``Branched``'s words: from the last stage back to the first, the most alike groups are joined.

    At a stage, groups are as far apart as their least alike tasks (complete linkage); the closest two are joined until
    as many are left as are asked for.

    Args:
        affinities: (S, K, K).
        groups: how many groups of tasks each stage has, never more than the next stage.

    Raises:
        UsageError: there is not a number for each stage, from 1 to K, that never falls.
    """
    stages, count, _ = affinities.shape
    if len(groups) != stages or sorted(groups) != list(groups) or not 1 <= groups[0] <= groups[-1] <= count:
        raise UsageError(
            f"'groups' has a number for each of {stages} stages, from 1 to {count} and never falling; found "
            f"{list(groups)}"
        )
    parts, words = [[k] for k in range(count)], []
    for alike, wanted in zip(affinities.tolist()[::-1], groups[::-1], strict=True):
        while len(parts) > wanted:
            closest = max(
                (min(alike[i][j] for i in a for j in b), -m, -n)
                for m, a in enumerate(parts)
                for n, b in enumerate(parts[:m])
            )
            m, n = -closest[1], -closest[2]
            parts[n] = parts[n] + parts.pop(m)
        words.append(
            "".join(next(chr(ord("a") + g) for g, part in enumerate(parts) if k in part) for k in range(count))
        )
    return " ".join(reversed(words))
