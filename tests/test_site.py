"""The site's tutorial and examples do what they say."""

import re
import shlex
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmark import analysis
from benchmark.cli import main
from benchmark.runs.store import Store
from tests.benchmark.records import fill, grid

DOCS = Path(__file__).parent.parent / "docs"
BLOCK = re.compile(r"^```(toml|python|sh)\n(.*?)^```", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# (\w+\.(?:toml|py))\n")


def blocks(page):
    return BLOCK.findall((DOCS / page).read_text())


def example(name):
    spec = spec_from_file_location(name, DOCS / "examples" / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_tutorial_runs(here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for kind, text in blocks("tutorial.md"):
        if kind != "sh":
            (tmp_path / FILE.match(text)[1]).write_text(text)
            continue
        for line in text.splitlines():
            result = CliRunner().invoke(main, shlex.split(line, comments=True)[1:], catch_exceptions=False)
            assert result.exit_code == 0, line + result.output + result.stderr
    records, problems = Store(tmp_path / "results").scan()
    rows = {(record.spec.architecture.name, record.spec.weighting_name) for record in records}
    assert rows == {("single-task", "none"), ("split", "equal"), ("split", "dwa"), ("split", "hardest")}
    assert all(record.status == "ok" for record in records)
    assert not problems
    assert list((tmp_path / "reports").glob("scenes-*.html"))


def test_the_page_on_pandas_reads_a_store(tmp_path, monkeypatch, capsys):
    fill(tmp_path / "results", grid(), pictures=False)
    monkeypatch.chdir(tmp_path)
    for language, text in blocks("howto/pandas.md"):
        if language == "python":
            exec(text, {})
    assert re.search(r"^cross-stitch +dwa +depth +abs_error +0\.\d+$", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.slow
def test_the_example_of_an_analysis_says_what_the_records_hold(tmp_path, capsys):
    fill(tmp_path, grid(seeds=range(4)), pictures=False)
    module = example("analyse_results")
    module.main(str(tmp_path))
    assert "scenes, board" in capsys.readouterr().out
    (board,) = analysis.boards(Store(tmp_path).scan()[0])
    rows = module.rows_of(board)
    assert len(rows) == 17
    assert rows["mean"].is_monotonic_decreasing
    assert set(module.verdicts_of(board)["verdict"]) <= set(analysis.VERDICTS)
    assert module.last_losses(board).notna().all(axis=None)


@pytest.mark.parametrize(
    ("train", "name"),
    [("train_by_losses", "uncertainty"), ("train_by_losses", "dwa"), ("train_by_gradients", "mgda")],
)
def test_the_example_of_an_own_loop_learns(train, name):
    train = getattr(example("own_loop"), train)
    assert (train(name, epochs=4) < train(name, epochs=1)).all()
