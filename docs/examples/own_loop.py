"""Weightings in a training loop of your own: from losses, and from the tasks' gradients.

Run it with ``python docs/examples/own_loop.py``; it takes a second. A regression and a classification share one hidden
layer. Nothing of the suite's engine is used, only its weightings.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from benchmark import Task, aggregate, build_weighting

TASKS = (Task("height", "depth", 1), Task("kind", "classification", 3))
STEPS_PER_EPOCH = 20


class Network(nn.Module):
    """One shared layer, one head a task."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(8, 32)
        self.heads = nn.ModuleDict({task.name: nn.Linear(32, task.channels) for task in TASKS})

    def losses(self, x: Tensor, height: Tensor, kind: Tensor) -> Tensor:
        """(K,) the tasks' losses of one batch."""
        feature = torch.relu(self.shared(x))
        return torch.stack(
            [
                mse_loss(self.heads["height"](feature)[:, 0], height),
                cross_entropy(self.heads["kind"](feature), kind),
            ]
        )


def batch(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """64 points whose height and kind depend on their coordinates."""
    x = torch.randn(64, 8, generator=generator)
    return x, x[:, 0] * x[:, 1], x[:, :3].argmax(1)


def train_by_losses(name: str, epochs: int = 3) -> Tensor:
    """Train with a weighting that looks at losses alone, such as ``uncertainty`` or ``dwa``.

    Returns:
        (K,) the last epoch's mean losses.
    """
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    network, weighting = Network(), build_weighting(name, TASKS)
    # What a weighting learns, such as the variances of 'uncertainty', is trained along.
    optimizer = torch.optim.Adam([*network.parameters(), *weighting.parameters()], lr=1e-2)
    for _ in range(epochs):
        total = torch.zeros(len(TASKS))
        for _ in range(STEPS_PER_EPOCH):
            losses = network.losses(*batch(generator))
            optimizer.zero_grad()
            weighting.objective(losses, weighting.weights(losses.detach())).backward()
            optimizer.step()
            total += losses.detach()
        weighting.epoch_end(total / STEPS_PER_EPOCH)
    return total / STEPS_PER_EPOCH


def train_by_gradients(name: str, epochs: int = 3) -> Tensor:
    """Train the shared layer along ``aggregate`` of the tasks' gradients, each head along its own task's.

    ``aggregate`` starts a weighting anew each step; it is for rules without a memory, such as ``mgda`` and ``cagrad``.

    Returns:
        (K,) the last epoch's mean losses.
    """
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    network = Network()
    shared = list(network.shared.parameters())
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(epochs):
        total = torch.zeros(len(TASKS))
        for _ in range(STEPS_PER_EPOCH):
            losses = network.losses(*batch(generator))
            optimizer.zero_grad()
            rows = [torch.autograd.grad(loss, shared, retain_graph=True) for loss in losses]
            losses.sum().backward()  # the heads' gradients: no head sees another task's loss
            matrix = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])  # (K, P)
            direction = aggregate(name, matrix, losses=losses.detach())
            sizes = [parameter.numel() for parameter in shared]
            for parameter, part in zip(shared, direction.split(sizes), strict=True):
                parameter.grad = part.view_as(parameter)
            optimizer.step()
            total += losses.detach()
    return total / STEPS_PER_EPOCH


def main() -> None:
    """Train with two weightings of each kind."""
    for train, names in ((train_by_losses, ("equal", "uncertainty")), (train_by_gradients, ("mgda", "cagrad"))):
        for name in names:
            found = train(name).tolist()
            print(name, *(f"{task.name} {loss:.3f}" for task, loss in zip(TASKS, found, strict=True)), sep="\t")


if __name__ == "__main__":
    main()
