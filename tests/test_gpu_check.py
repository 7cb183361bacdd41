"""The script for minutes with a GPU: its parts follow each other, whatever becomes of them."""

import importlib.util
import json
import sys
import tarfile
from pathlib import Path

import click
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script():
    yield load("gpu_check")
    del sys.modules["gpu_check"]


@pytest.fixture
def call(script, tmp_path, monkeypatch):
    """Calls the script with parts of these commands and limits; its exit and what it found, by part."""

    def call(**parts):
        given = {
            name: script.Part(name, limit, [[sys.executable, "-c", line] for line in lines], str)
            for name, (limit, *lines) in parts.items()
        }
        monkeypatch.setattr(script, "planned", lambda out, small: given)
        monkeypatch.setattr(sys, "argv", ["gpu_check.py", "--out", str(tmp_path)])
        return script.main(), json.loads((tmp_path / "summary.json").read_text())["parts"]

    return call


def test_no_part_keeps_the_next_from_being_done(call, tmp_path):
    code, found = call(
        slow=(2, "print('begun')", "import time; time.sleep(60)", "print('never')"),
        wrong=(60, "raise SystemExit(3)", "print('all the same')"),
        well=(60, "print('well')"),
    )
    assert code == 1
    assert {name: report["state"] for name, report in found.items()} == {
        "slow": "stopped", "wrong": "failed", "well": "done"
    }  # fmt: skip
    assert (found["slow"]["codes"], found["wrong"]["codes"], found["well"]["codes"]) == ([0, None], [3, 0], [0])
    assert "all the same" in (tmp_path / "wrong.log").read_text()
    with tarfile.open(tmp_path / "all.tar.gz") as archive:
        assert {"summary.json", "slow.log", "well.log"} <= set(archive.getnames())


def test_a_second_call_does_what_has_not_ended_well(call, tmp_path):
    count = f"open({str(tmp_path / 'done')!r}, 'a').write('x'); "
    fails = f"import os; raise SystemExit(not os.path.exists({str(tmp_path / 'there')!r}))"
    parts = {"first": (60, count), "second": (60, count, fails)}
    assert call(**parts)[0] == 1
    (tmp_path / "there").touch()
    code, found = call(**parts)
    assert code == 0
    assert [report["state"] for report in found.values()] == ["done", "done"]
    assert (tmp_path / "done").read_text() == "xx"


def test_runs_are_done_as_many_at_once_as_was_found_best(script, tmp_path):
    assert not any("--workers" in command for command in script.planned(tmp_path, False)["paper"].commands)
    (tmp_path / "workers.log").write_text("1 at once: old\nMeasuring …\n4 at once: 1 do 3 steps a second, …\n")
    for command in script.planned(tmp_path, False)["paper"].commands:
        assert command[command.index("--workers") + 1] == "4"


def test_a_copy_that_is_not_installed_is_known_by_name_and_plugins(script, tmp_path, monkeypatch):
    from importlib.metadata import entry_points, version

    monkeypatch.setattr(sys, "path", [str(script.introduced(tmp_path))])
    assert version("mtbench")
    assert [point.value for point in entry_points(group="mtbench.plugins")] == ["baselines"]


def test_every_command_of_the_plan_is_one(script, tmp_path):
    """Words that the command line does not know would show only on a GPU."""
    from benchmark.cli import main

    for part in script.planned(tmp_path, False).values():
        for _, *words in part.commands:
            if words[:2] == ["-m", "benchmark"]:
                main.get_command(click.Context(main), words[2]).make_context(words[2], words[3:])
            else:
                assert words[:2] == ["-m", "pytest"] or Path(words[0]).is_file()
    for test in script.TESTS:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text() if name else (ROOT / file).is_file()
