"""A small grid file for the tests of grids."""

from benchmark.runs.grid import load_grid

MINIMAL = """
seeds = [3]
architectures = ["mtan", "stan", { name = "split", options = { variant = "deep" } }]
weightings = ["equal", { name = "dwa", options = { temperature = 1.0 } }]
[architecture]
width = 8
[protocol]
epochs = 1
batch_size = 2
[datasets.scenes]
[datasets.multi-fashion]
by_default = false
architecture = { backbone = "wrn" }
protocol = { epochs = 5 }
"""


def grid(tmp_path, text=MINIMAL):
    file = tmp_path / "grid.toml"
    file.write_text(text)
    return load_grid(str(file))


def cells(specs):
    return [(s.dataset.name, s.architecture.name, s.weighting_name, s.seed) for s in specs]


AXES = """
[axes]
"protocol.weight_decay" = [0.0, 0.1]
"architecture.width" = [8, 16]
"""
