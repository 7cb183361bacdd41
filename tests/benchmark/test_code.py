"""Code of plugin files: what is registered and recorded, and that runs of other code never count as the same."""

import dataclasses
import hashlib
import json

import pytest

from benchmark import analysis
from benchmark.errors import UserError
from benchmark.execution.states import refuse_other_code, states
from benchmark.registry import ARCHITECTURES, WEIGHTINGS, load_installed_plugins, load_plugin_file
from benchmark.runs import packing
from benchmark.runs.code import built_in, code_of, other_code
from benchmark.runs.record import record_bytes
from benchmark.runs.store import Store
from benchmark.tasks import KINDS
from tests.benchmark import records as made
from tests.benchmark.shell import one_line

PLUGIN = """
from typing import ClassVar

import torch

from benchmark import WEIGHTINGS, Weighting


@WEIGHTINGS.register("{name}")
class Half(Weighting):
    '''Half of every loss.'''

    def weights(self, losses):
        return torch.full_like(losses, 0.5)
"""


@pytest.fixture
def installed():
    """The plugins that are installed, loaded before a test registers its own."""
    load_installed_plugins()


@pytest.fixture
def plugin(installed, own_methods, tmp_path):
    """Loads a plugin file that registers a weighting of this name; the file's hash."""

    def load(name, file="half.py"):
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(PLUGIN.format(name=name))
        load_plugin_file(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    return load


def change(monkeypatch, name):
    """As if the plugin's file held other code."""
    entry = dataclasses.replace(WEIGHTINGS[name], code="f" * 64)
    monkeypatch.setitem(WEIGHTINGS._entries, name, entry)


def test_a_registration_knows_the_code_of_its_file(plugin):
    code = plugin("half-registered")
    assert WEIGHTINGS["half-registered"].code == code
    assert WEIGHTINGS["equal"].code is None
    assert ARCHITECTURES["split"].code is None
    assert KINDS["depth"].code is None


def test_after_a_plugin_that_fails_nothing_is_of_its_code(tmp_path, plugin):
    (tmp_path / "broken.py").write_text("raise RuntimeError")
    with pytest.raises(UserError, match="broken"):
        load_plugin_file(tmp_path / "broken.py")
    code = plugin("half-later")
    assert WEIGHTINGS["half-later"].code == code


def run_of(weighting, **changes):
    """A finished record whose weighting is the registered one, with its code."""
    record = made.record("mtan", weighting, epochs=1, **changes)
    return record.model_copy(update={"code": code_of(record.spec, [task.kind for task in record.tasks])})


def test_a_record_of_installed_code_has_no_code_and_its_bytes_stay(tmp_path):
    record = run_of("equal")
    assert record.code == {}
    assert b'"code"' not in record_bytes(record)


def test_the_same_text_under_another_name_is_the_same_code(plugin, monkeypatch):
    code = plugin("half-a", "one.py")
    record = run_of("half-a")
    assert record.code == {"weighting": code}
    monkeypatch.delitem(WEIGHTINGS._entries, "half-a")
    assert plugin("half-a", "other/two.py") == code
    assert other_code(record.spec, record.code) == {}


@pytest.mark.parametrize("packed", [False, True])
def test_a_run_of_other_code_is_not_done(tmp_path, plugin, monkeypatch, packed):
    plugin("half-b")
    store, records = Store(tmp_path / "results"), [run_of("half-b"), run_of("equal")]
    for record in records:
        store.put(record)
    if packed:
        packing.pack(store)
    specs = [record.spec for record in records]
    assert [run.state for run in states(specs, store)] == ["done", "done"]
    change(monkeypatch, "half-b")
    found = states(specs, store)
    assert [run.state for run in found] == ["outdated", "done"]
    assert found[0].reason == "the plugin's code of the weighting 'half-b' has changed since"
    with pytest.raises(UserError, match=r"^1 run is done, but .*'half-b'.*--again.*raise the version"):
        refuse_other_code(found)
    refuse_other_code(found[1:])


GRAMIAN = """
from benchmark import WEIGHTINGS, GramianWeighting


@WEIGHTINGS.register("lengths-of-mine")
class Lengths(GramianWeighting):
    '''The squared lengths.'''

    def from_gramian(self, gramian, losses):
        return gramian.diagonal().clone()
"""


def test_the_code_of_a_wrapped_method_is_part_of_the_run(tmp_path, plugin, monkeypatch):
    (tmp_path / "lengths.py").write_text(GRAMIAN)
    load_plugin_file(tmp_path / "lengths.py")
    code = hashlib.sha256((tmp_path / "lengths.py").read_bytes()).hexdigest()
    record = run_of("cr-mogm", weighting_options={"of": "lengths-of-mine"})
    assert record.code == {"weighting": code}
    assert run_of("samo", weighting_options={"of": "lengths-of-mine"}).code == {"weighting": code}
    assert run_of("cr-mogm").code == {}
    assert (other_code(record.spec, record.code), built_in(record.spec, record.code)) == ({}, {})
    change(monkeypatch, "lengths-of-mine")
    assert other_code(record.spec, record.code) == {"weighting": "cr-mogm"}
    monkeypatch.delitem(WEIGHTINGS._entries, "lengths-of-mine")
    assert (other_code(record.spec, record.code), built_in(record.spec, record.code)) == ({}, {})


def test_what_a_record_does_not_say_is_taken_to_be_the_same(tmp_path, plugin):
    plugin("half-c")
    record = run_of("half-c").model_copy(update={"code": {}})
    (store := Store(tmp_path / "results")).put(record)
    assert [run.state for run in states([record.spec], store)] == ["done"]


def test_runs_of_other_code_are_rows_of_their_own():
    def record(seed, code):
        return made.record("mtan", "mine", epochs=1, seed=seed).model_copy(update={"code": {"weighting": code}})

    one, other = "a1" * 32, "b2" * 32
    (board,) = analysis.boards([record(0, one), record(1, one), record(2, other)])
    assert sorted(board.labels.values()) == [("mtan", "mine (code a1a1a1a1)")] * 2 + [("mtan", "mine (code b2b2b2b2)")]
    (board,) = analysis.boards([record(0, one), record(1, one)])
    assert set(board.labels.values()) == {("mtan", "mine")}


@pytest.mark.slow
def test_the_command_line_tells_and_does_again_when_asked(here, mtbench, monkeypatch):
    result = mtbench("run", "--weighting", "equal")
    assert result.exit_code == 0, result.output
    (path,) = [path for path in mtbench.records if "equal" in path.name]
    before = json.loads(path.read_text())
    assert (
        before["code"]["data set"]
        == before["code"]["architecture"]
        == hashlib.sha256(mtbench.plugin.read_bytes()).hexdigest()
    )
    entry = dataclasses.replace(ARCHITECTURES["tiny"], code="f" * 64)
    monkeypatch.setitem(ARCHITECTURES._entries, "tiny", entry)
    status = mtbench("status", "--weighting", "equal").output
    assert "1 done, 1 done by other code, 0 failed, 0 missing" in status
    assert "the plugin's code of the architecture 'tiny' has changed since" in status
    one_line(mtbench("run", "--weighting", "equal"), 1, "1 run is done", "'tiny'", "--again")
    assert json.loads(path.read_text()) == before
    again = mtbench("run", "--weighting", "equal", "--again")
    assert again.exit_code == 0, again.output
    assert json.loads(path.read_text())["code"]["architecture"] == "f" * 64
    assert "2 done, 0 failed" in mtbench("status", "--weighting", "equal").output
