"""The proof notices what differs and says what differs first; this machine computes what is committed."""

import subprocess
import sys

import pytest

from benchmark.arithmetic import portable_environment
from benchmark.errors import UserError
from benchmark.execution.apart import call_in
from tests.portable import compute, golden, processors
from tests.portable.compare import differing, joined, table, verdict
from tests.portable.processors import NATIVE, Unfinished, Unsuited, command, computed

pytestmark = pytest.mark.slow

SAME = {
    "function torch.exp float32": "0a",
    "function torch.log float32": "0b",
    "function numpy.exp float32": "0c",
    "apart torch.sqrt float32": "0d",
    "weighting equal: losses 1": "0e",
    "weighting equal: state 1": "0f",
}


def columns(**other):
    """The same everywhere but for what is given."""
    return {"native": SAME, "first": dict(SAME), "second": {**SAME, **other}}


def test_equal_digests_are_no_difference():
    assert differing(columns()) == []
    assert verdict(columns()) == "5 digests are the same on native, first, second."
    assert "DIFFERENT" not in table(columns())


def test_an_altered_digest_is_named_the_first_of_all_that_differ():
    found = columns(**{"weighting equal: losses 1": "1", "function torch.log float32": "2"})
    assert differing(found) == ["function torch.log float32", "weighting equal: losses 1"]
    assert verdict(found) == (
        "2 of 5 digests differ. The first that differs is 'function torch.log float32': native 0b, first 0b, second 2."
    )
    assert table(found).splitlines() == [
        "|  | digests | first | second |",
        "|---|---|---|---|",
        "| torch functions | 2 | equal | DIFFERENT |",
        "| function torch.log float32 | 1 | equal | DIFFERENT |",
        "| numpy functions | 1 | equal | equal |",
        "| apart torch.sqrt float32 | 1 | equal | equal |",
        "| weighting equal | 2 | equal | DIFFERENT |",
    ]


@pytest.mark.parametrize("lacking", ["native", "second"])
def test_a_missing_digest_is_a_difference(lacking):
    found = columns()
    found[lacking] = {name: value for name, value in SAME.items() if name != "weighting equal: state 1"}
    assert differing(found) == ["weighting equal: state 1"]
    assert f"{lacking} missing" in verdict(found)


def test_a_function_that_is_known_to_differ_is_shown_and_decides_nothing():
    found = columns(**{"apart torch.sqrt float32": "1"})
    assert differing(found) == []
    assert "| apart torch.sqrt float32 | 1 | equal | apart, as known |" in table(found)
    del found["first"]["apart torch.sqrt float32"]  # as in the committed digests
    assert "| apart torch.sqrt float32 | 1 | – | apart, as known |" in table(found)


def test_rows_of_some_cells_join_a_table_where_their_group_ends():
    def rows(*names, word="equal", processor="first"):
        return "\n".join([f"|  | digests | {processor} |", "|---|---|---|", *(f"| {n} | 1 | {word} |" for n in names)])

    old = rows("architecture mtan on unet", "architecture mtan on wrn", "weighting dwa", "record split")
    new = rows("architecture ple on unet", "weighting dwa", "weighting equal", word="DIFFERENT")
    assert [line.split(" | ")[0] + line.split("|")[3] for line in joined(old, new).splitlines()[2:]] == [
        "| architecture mtan on unet equal ",
        "| architecture ple on unet DIFFERENT ",
        "| architecture mtan on wrn equal ",
        "| weighting dwa DIFFERENT ",
        "| weighting equal DIFFERENT ",
        "| record split equal ",
    ]
    assert joined("", new) == new
    with pytest.raises(UserError, match="compute on the same processors"):
        joined(rows("data toy", processor="second"), new)


def test_a_processor_that_is_no_emulator_s_is_refused(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unfinished, match="apt-get install qemu-user"):
        command("Haswell", [])


BREAKS = """
import pathlib, sys
pathlib.Path(sys.argv[1]).write_text('{"kernels": "AVX2", "digests": {"data scenes": "0a"}}')
sys.exit(3)
"""


def test_a_process_that_breaks_is_no_proof(monkeypatch):
    monkeypatch.setattr(processors, "command", lambda _, arguments: [sys.executable, "-c", BREAKS, *arguments])
    with pytest.raises(Unfinished, match="on native broke with code 3"):
        computed(NATIVE, short=True)
    sides = {"native": {"data scenes": "0a", "weighting equal: state 1": "0b"}}
    sides["Haswell"] = computed("Haswell", short=True)["digests"]
    assert differing(sides) == ["weighting equal: state 1"]
    assert "| weighting equal | 1 | MISSING |" in table(sides)


def proved(words):
    """The computation of the proof in this process."""
    before, sys.argv = sys.argv, ["compute", *words]
    try:
        compute.main()
    finally:
        sys.argv = before


def test_this_machine_computes_what_is_committed(monkeypatch):
    def run(words, *, cwd, env, check):
        """As a new interpreter does, but in a process of the server that workers come from, which others start, too."""
        assert words[1:3] == ["-m", "tests.portable.compute"]
        assert portable_environment().items() <= env.items()
        assert (cwd, env["OMP_NUM_THREADS"], env["OPENBLAS_NUM_THREADS"], check) == (processors.ROOT, "1", "1", False)
        call_in("portable", (), proved, words[3:])
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(processors.subprocess, "run", run)
    committed = golden.read()
    try:
        found = computed(NATIVE, short=True)
    except Unsuited as error:
        pytest.skip(str(error))
    if reason := golden.other_versions(found, committed):
        pytest.skip(f"the committed digests are of other packages: {reason}; make new ones with {golden.COMMAND}")
    sides = {"here": found["digests"], "committed": golden.of_the_same(committed["digests"], found["digests"])}
    assert not differing(sides), verdict(sides)
