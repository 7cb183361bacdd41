"""Files that are not what they should be: one line that says so, or a correct result; never a traceback or a hang.

Grids, records, the index, claims and checkpoints; the files of data sets and of submissions are fuzzed beside their
readers.
"""

import json
import os
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmark.data import Storage
from benchmark.errors import CONTROL, UserError
from benchmark.execution.leases import Leases
from benchmark.runs.expansion import expand
from benchmark.runs.grid import load_grid
from benchmark.runs.index import Index
from benchmark.runs.record import RunRecord, without_times
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import Store
from benchmark.training.checkpoint import Policy, Stopped, packed, unpacked
from benchmark.training.progress import Watcher
from benchmark.training.run import execute
from tests import harness
from tests.benchmark import records as made

pytestmark = pytest.mark.slow

quick = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])

#: Values that a file may hold where another is expected.
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 2**31, 2**63, 10**400, 1.5])
    | st.sampled_from(["", "../../x", "a/b", "..", ".", "a\nb", "\x1b[31m", "é" * 200])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(value, path=()):
    """Every place in a nest of lists and dicts."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, element in inner:
        yield from places(element, (*path, key))


def replaced(value, path, new):
    """The same nest with another value at one place; a missing value removes the key."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    if new is ... and len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = replaced(copy[path[0]], path[1:], new)
    return copy


@st.composite
def changed_json(draw, original):
    """A valid document with up to three values changed, removed or renamed."""
    found = original
    for _ in range(draw(st.integers(1, 3))):
        every = [path for path in places(found) if path]
        path = draw(st.sampled_from(every)) if every else ()
        found = replaced(found, path, draw(VALUES | st.just(...)) if path else draw(VALUES))
    return found


#: A change of bytes: where a piece begins and how long it is, what takes its place, whether it stays.
CHANGES = st.tuples(st.floats(0, 1), st.integers(0, 50) | st.just(10**9), st.binary(max_size=12), st.booleans())
#: Names that a file may have.
FILE_NAMES = st.text(max_size=12).filter(lambda n: not set(n) & {"/", "\0"} and n not in ("", ".", ".."))


def changed(content, change):
    """Bytes with a piece cut out, overwritten or preceded by others."""
    place, length, new, stays = change
    start = int(place * len(content))
    return content[:start] + new + content[start + (0 if stays else length) :]


def said(error):
    """The message of an error that a user sees: one line without anything that commands a terminal."""
    assert str(error)
    assert not CONTROL.search(str(error))


def toml(value):
    """A value as TOML, as far as TOML can say it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return "''" if value is None else json.dumps(value)


GRID = {
    "description": "a grid",
    "seeds": [0, 1],
    "architectures": ["tiny", {"name": "forgetful", "options": {"width": 4}}],
    "weightings": ["equal", {"name": "dwa", "options": {"temperature": 2.0}}],
    "architecture": {"width": 4},
    "protocol": {"epochs": 2, "batch_size": 4, "learning_rate": 0.01},
    "datasets": {"toy": {"by_default": True, "options": {"size": 32}, "architecture": {}, "protocol": {"epochs": 1}}},
}


def grid_text(document):
    lines = document.items() if isinstance(document, dict) else [("x", document)]
    return "\n".join(f"{json.dumps(key)} = {toml(value)}" for key, value in lines)


def read_grid(path):
    try:
        return expand(load_grid(str(path)))
    except UserError as error:
        said(error)
        return None


@quick
@given(document=changed_json(GRID))
def test_grids_of_any_structure(toy, tmp_path, document):
    path = tmp_path / "grid.toml"
    path.write_text(grid_text(document), errors="replace")
    assert all(isinstance(spec, RunSpec) for spec in read_grid(path) or [])


@quick
@given(change=CHANGES | st.binary(max_size=60))
def test_grids_of_any_bytes(toy, tmp_path, change):
    path = tmp_path / "grid.toml"
    path.write_bytes(change if isinstance(change, bytes) else changed(grid_text(GRID).encode(), change))
    read_grid(path)


def test_the_grid_that_is_changed_is_a_good_one(toy, tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(grid_text(GRID))
    assert len(read_grid(path)) == 2 * (1 + 2 * 2)


RECORD = made.record("mtan", "dwa", epochs=2)
RAW = json.loads(RECORD.model_dump_json())


def judged(store):
    """What reading a store gives, twice: from its files, and from its index."""
    records, problems = store.scan()
    for problem in problems:
        assert not CONTROL.search(problem.reason)
    for _ in range(2):
        index = Index(store)
        unread = {problem.path for problem in index.problems}
        assert unread >= {problem.path for problem in problems}
        assert {record.id for record in records} >= set(index.statuses())
        index.runs()
    return records


def outside(folder):
    """Everything beside a store's folder."""
    return {path for path in folder.parent.rglob("*") if folder not in path.parents}


@quick
@given(document=changed_json(RAW))
def test_records_of_any_structure(tmp_path, document):
    store = Store(tmp_path / "results")
    path = store.path(RECORD.spec)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    before = outside(store.root)
    judged(store)
    try:  # as if it came from elsewhere: whatever its names are, nothing is written outside the folder
        text = json.dumps(document)
        record = RunRecord.model_validate_json(text)
    except ValueError:
        return
    try:
        store.put(record)
        store.path(record.spec).unlink()
    except UserError as error:
        said(error)
    assert outside(store.root) == before


@quick
@given(change=CHANGES | st.binary(max_size=60) | st.just(b"[" * 100_000))
def test_records_of_any_bytes(tmp_path, change):
    store = Store(tmp_path / "results")
    path = store.path(RECORD.spec)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(change if isinstance(change, bytes) else changed(RECORD.model_dump_json().encode(), change))
    judged(store)


@pytest.fixture
def indexed(tmp_path):
    """A store with an index whose rows have settled."""
    store = Store(tmp_path / "results")
    for seed in range(3):
        store.put(made.record("mtan", "dwa", epochs=2, seed=seed))
    for path in store.root.glob("*/*.json"):
        os.utime(path, (1, 1))
    Index(store)
    return store


@quick
@given(change=CHANGES, which=st.sampled_from(["*.sqlite", "*"]))
def test_indexes_of_any_bytes(indexed, change, which):
    for path in indexed.private.glob(which):
        path.write_bytes(changed(path.read_bytes(), change))
    index = Index(indexed)
    assert len(index.runs()) == 3
    assert set(index.statuses().values()) == {("ok", None)}


@quick
@given(name=FILE_NAMES, content=st.binary(max_size=40) | VALUES)
def test_claims_of_any_bytes(tmp_path, name, content):
    folder = tmp_path / "claims"
    folder.mkdir(exist_ok=True)
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    for file in (os.fsencode(name.encode(errors="replace").decode()), b"run.1", b"run.x"):
        (folder / os.fsdecode(file)).write_bytes(content)
    claims = Leases(folder)
    claims.owners()
    assert claims.take("run") is None  # whatever it is, it is somebody's until it was silent for long


@pytest.fixture(scope="module")
def checkpoint(toy, tmp_path_factory):
    """The state in the middle of a run, and the run's own record."""
    harness.prepared()
    folder, run, asked = tmp_path_factory.mktemp("checkpoint"), harness.specs()[3], []
    whole = execute(run, storage=Storage.default(), hardware=harness.CPU)
    policy = Policy(folder)
    watcher = Watcher(stop=lambda: bool(asked.append(0)) or len(asked) == 4, checkpoints=policy)
    with pytest.raises(Stopped):
        execute(run, storage=Storage.default(), hardware=harness.CPU, watcher=watcher)
    return SimpleNamespace(run=run, whole=whole, content=(folder / f"{run.id}.ckpt").read_bytes())


def resumed(checkpoint, folder, content):
    """The run with this checkpoint: its outcome and its notes."""
    folder.mkdir(exist_ok=True)
    (folder / f"{checkpoint.run.id}.ckpt").write_bytes(content)
    notes = []
    watcher = Watcher(note=notes.append, checkpoints=Policy(folder))
    outcome = execute(checkpoint.run, storage=Storage.default(), hardware=harness.CPU, watcher=watcher)
    for file in folder.iterdir():
        file.unlink()
    return outcome, notes


@settings(quick, max_examples=8)
@given(change=CHANGES)
def test_checkpoints_of_any_bytes(checkpoint, tmp_path, change):
    content = changed(checkpoint.content, change)
    outcome, notes = resumed(checkpoint, tmp_path / "checkpoints", content)
    assert without_times(outcome.record) == without_times(checkpoint.whole.record)
    assert len(notes) == (content != checkpoint.content)


#: Clocks are the only parts without which numbers stay the same; whoever edits those gets what was written.
CLOCKS = ("started", "seconds", "peak_bytes", "git", "epoch_seconds", "step_seconds")


@pytest.mark.parametrize("peak", ["many", [1, 2], 1.5])
def test_a_checkpoint_whose_peak_is_no_number_is_set_aside(checkpoint, tmp_path, peak):
    outcome, notes = resumed(
        checkpoint, tmp_path / "checkpoints", packed(unpacked(checkpoint.content) | {"peak_bytes": peak})
    )
    assert notes
    assert outcome.record.status == "ok"
    assert outcome.record.curves == checkpoint.whole.record.curves


@settings(quick, max_examples=15)
@given(
    place=st.integers(0, 30), new=st.just(...) | st.none() | st.text(max_size=5) | st.lists(st.integers(), max_size=3)
)
def test_checkpoints_that_lack_or_mistake_a_part(checkpoint, tmp_path, place, new):
    state = unpacked(checkpoint.content)
    part = sorted(state)[place % len(state)]
    if new is ...:
        del state[part]
    else:
        state[part] = new
    outcome, notes = resumed(checkpoint, tmp_path / "checkpoints", packed(state))
    assert notes or part in CLOCKS
    assert outcome.record.status == "ok"
    assert outcome.record.curves == checkpoint.whole.record.curves
