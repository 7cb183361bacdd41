"""``mtbench claims``, and the page beside it."""

import json

import pytest

import baselines  # noqa: F401 - registers the methods
from benchmark.analysis import boards
from benchmark.analysis.submitted import Counted
from benchmark.claims import claim_named
from benchmark.commands.claims import words
from benchmark.errors import UsageError
from benchmark.report.pages import render
from benchmark.runs.expansion import expand
from benchmark.runs.filters import AS_IN_THE_GRID, Filters
from benchmark.runs.grid import load_grid
from benchmark.runs.store import Store
from tests.benchmark.claimfiles import DWA, runs
from tests.benchmark.shell import one_line

#: A weighting of a user's file.
OWN = """
import torch
from benchmark.registry import WEIGHTINGS
from benchmark.weighting import Weighting

@WEIGHTINGS.register("of-ones-own")
class Own(Weighting):
    def weights(self, losses):
        return torch.ones_like(losses)
"""


def test_the_words_of_run_mean_the_claims_runs():
    claim = claim_named("fixed-weights-front")
    said: dict[str, list[str]] = {}
    for option, value in zip(*[iter(words(claim, {}))] * 2, strict=True):
        said.setdefault(option, []).append(value)
    filters = Filters(said["--dataset"], said["--architecture"], said["--weighting"], compute=AS_IN_THE_GRID.compute)
    meant = {spec.id: spec for spec in expand(load_grid(*said["--grid"]), filters)}
    needed = {spec.id for spec in claim.needed()}
    assert needed <= meant.keys()
    assert {meant[run].architecture.name for run in meant.keys() - needed} == {"single-task"}


def test_a_claims_runs_are_narrowed_by_the_options_of_run(mtbench):
    claim = claim_named("random-weights")
    narrowed = words(claim, {"datasets": ("multi-fashion",), "weightings": ("rlw",), "architectures": ()})
    assert narrowed == ["--grid", "study-weightings", "--arithmetic", "portable", "--architecture", "split"]
    told = mtbench("claims", "run", "random-weights", "--weighting", "famoo", "--budget", "2h")
    one_line(told, 2, "no run of random-weights has --weighting famoo; expected one of equal, ")
    with pytest.raises(UsageError, match="judged by runs of the grid study-weightings: leave --grid out"):
        words(claim, {"grid": "quick"})
    for given in ({"changes": (("protocol.epochs", 3),)}, {"arithmetic": "native"}, {"precision": "bf16"}):
        with pytest.raises(UsageError, match=r"judged by its grid's runs as they are, and --\w+ makes others"):
            words(claim, given)
    with pytest.raises(UsageError, match="no run of attention-single-task has a weighting: leave --weighting out"):
        words(claim_named("attention-single-task"), {"weightings": ("equal",)})
    told = mtbench("claims", "run", "dwa-equal", "--nope")
    assert told.exit_code == 2
    assert "claims run --help" in told.stderr


@pytest.mark.usefixtures("own_methods")
def test_a_claim_may_be_about_a_method_of_ones_own(written, tmp_path, mtbench):
    written(DWA, "within margin")
    plugin = tmp_path / "own.py"
    plugin.write_text(OWN)
    for path in (tmp_path / "a-claim.toml", tmp_path / "small.toml"):
        path.write_text(path.read_text().replace('"dwa"', '"of-ones-own"'))
    (tmp_path / "results").mkdir()
    told = mtbench("claims", "report", str(tmp_path / "a-claim.toml"), "--plugin", str(plugin))
    assert "4 rows without runs" in told.stdout, told.stderr


@pytest.mark.slow
def test_the_command_and_the_page_say_the_same(written, tmp_path, mtbench, monkeypatch):
    claim = written(DWA, "within margin")
    store = Store(tmp_path / "results")
    records = runs(claim, {("mtan", "dwa"): 9.0})
    for one in records:
        store.put(one)
    path = str(tmp_path / "a-claim.toml")
    told = json.loads(mtbench("claims", "report", path, "--results", str(store.root), "--json").stdout)
    assert (told[0]["verdict"], told[0]["criterion_hash"]) == ("contradicted", claim.criterion_hash)
    assert told[0]["outlook"] is None
    spoken = mtbench("claims", "report", path, "--results", str(store.root)).stdout
    assert spoken.startswith(
        "contradicted: A title (a-claim)\n  scenes: contradicted; mtan · dwa against mtan · equal: +9.0"
    )
    monkeypatch.setattr("benchmark.report.pages.claim_names", lambda: [path])
    pages = dict(render(boards(records), Counted(records), [], store, "val-delta-m"))
    page = pages["claims.html"].decode()
    assert "✗ contradicted" in page
    assert "mtan · dwa against mtan · equal" in page
    assert claim.criterion_hash in page
    assert 'href="claims.html"' in pages["index.html"].decode()
