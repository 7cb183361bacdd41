"""`mtbench` in a folder of its own, and what an error of a user looks like."""

import os
from pathlib import Path

from click.testing import CliRunner

from benchmark.cli import main

GRID = """
description = "toy"
seeds = [0]
architectures = ["tiny"]
weightings = ["equal", "dwa"]
[architecture]
width = 4
backbone = "unet-1-1-2"
[protocol]
epochs = 2
batch_size = 4
learning_rate = 1e-2
[datasets.toy]
"""


class Shell:
    """Runs `mtbench` in a folder of its own."""

    def __init__(self, folder, plugin):
        self.folder = folder
        self.plugin = plugin
        (folder / "grid.toml").write_text(GRID)

    def __call__(self, *words, plugin=True, grid="grid.toml"):
        words = list(words)
        if words[0] in ("run", "status"):
            words[1:1] = ["--grid", grid, *(["--plugin", str(self.plugin)] if plugin else [])]
        previous = Path.cwd()
        os.chdir(self.folder)
        try:
            return CliRunner().invoke(main, words, catch_exceptions=False)
        finally:
            os.chdir(previous)

    @property
    def records(self):
        return {path: path.read_bytes() for path in sorted(self.folder.glob("results/*/*.json"))}


def one_line(result, code, *parts):
    """An error of this exit code, in one line without a traceback, that holds all ``parts``."""
    assert result.exit_code == code, result.output + result.stderr
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith("Error:")
    assert "Traceback" not in result.stderr
    for part in parts:
        assert part in line, line
