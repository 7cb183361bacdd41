"""A small claim and its runs, for the tests of claims."""

import json

import baselines  # noqa: F401 - registers the methods
from benchmark.analysis.contest import of_seed, row_of
from benchmark.claims import claim_named
from tests.benchmark.records import FINAL, LOWER, edited, record
from tests.benchmark.records import noise as random

GRID = """
seeds = [0, 1, 2, 3]
architectures = ["split", "mtan", "stan"]
weightings = ["equal", "dwa", "rlw", { name = "constant", simplex = 4 }]
[architecture]
width = 16
[protocol]
epochs = 1
batch_size = 8
[datasets.scenes]
"""

CLAIM = """
title = "A title"
source = "Somebody. A paper. 2026."
claim = "Something."
small_version = "Less of it."
distance = "Far."
datasets = ["scenes"]
grid = {grid}
holds = {holds}
{rules}
[criterion]
margin = 2.0
error_rate = 0.05
quantity = "A difference."
supported = "One side."
contradicted = "The other."
"""

DIFFERENCE = '[[rules]]\nquantity = "difference"\nrows = {rows}\nothers = {others}\n{same}'

DWA = DIFFERENCE.format(
    rows='{ weighting = ["dwa"] }', others='{ weighting = ["equal"] }', same='same = "architecture"'
)

STAN = DIFFERENCE.format(rows='{ architecture = ["stan"] }', others='{ architecture = ["single-task"] }', same="")


def write_claim(folder, rules, holds="above zero", axes=""):
    """A claim of a small grid."""
    (folder / "small.toml").write_text(GRID + axes)
    path = folder / "a-claim.toml"
    path.write_text(CLAIM.format(grid=json.dumps(str(folder / "small.toml")), holds=json.dumps(holds), rules=rules))
    return claim_named(str(path))


def ran(spec, gain):
    """A run that is better than ``FINAL`` by ``gain`` per cent in every metric of every task, or in each by task."""
    made = record(spec.architecture.name, spec.weighting_name, seed=spec.seed, epochs=1, place={"precision": "fp32"})

    def edit(epoch, split, task, metric, value):
        own = gain[task] if isinstance(gain, dict) else gain
        final = next((metrics[metric] for metrics in FINAL.values() if metric in metrics), None)
        if final is None:
            return value  # a legacy metric
        return final * (1 - own / 100 if metric in LOWER else 1 + own / 100)

    return edited(made.model_copy(update={"spec": spec, "id": spec.id}), edit)


def runs(claim, gains, seeds=4, noise=0.1, lift=lambda spec: 0.0):
    """Runs of all rows: the mean gain by (architecture, weighting), with noise of this SD that sums up to nothing.

    ``lift`` is what a row's setting adds.
    """
    found = []
    for row, spec in {(row_of(spec), spec.protocol.optimizer): spec for spec in claim.specs}.items():
        own = random(row).normal(size=seeds)
        own = noise * (own - own.mean()) / own.std(ddof=1)
        gain = gains.get((spec.architecture.name, spec.weighting_name), 0.0) + lift(spec)
        found += [ran(of_seed(spec, seed), gain + own[seed]) for seed in range(seeds)]
    return found


OPTIMIZERS = '[axes]\n"protocol.optimizer" = ["adam", "sgd"]\n'

WIDTHS = '[axes]\n"architecture.width" = [8, 16]\n'

AT = DIFFERENCE.format(
    rows='{ architecture = ["split", "mtan"], at = { "protocol.optimizer" = ["adam"] } }',
    others='{ architecture = ["split", "mtan"], at = { "protocol.optimizer" = ["sgd"] } }',
    same='same = "row"',
)
