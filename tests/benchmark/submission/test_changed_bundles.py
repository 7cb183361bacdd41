"""Any change of a bundle gives an error in one line or a correct result."""

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmark.data import Storage
from benchmark.errors import UserError
from benchmark.runs.record import record_bytes
from benchmark.submission import bundle as bundle_module
from benchmark.submission import check
from tests.benchmark.submission import bundles

pytestmark = pytest.mark.slow


def listing(folder):
    return sorted((str(path), path.stat().st_size) for path in folder.rglob("*"))


@pytest.fixture(scope="module")
def arena(tmp_path_factory):
    return tmp_path_factory.mktemp("arena")


def judge(path, folder):
    """An error in one line or a correct result; nothing written beside the bundle."""
    before = listing(folder)
    try:
        checked = check(path, Storage.default())
    except UserError as error:
        bundles.one_line(error)
    else:
        for finding in checked.findings:
            bundles.one_line(finding.text)
        for run in checked.runs:
            assert run.recomputed is None or run.recomputed.differences == ()
    assert listing(folder) == before


FUZZ = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8), st.booleans())
def test_changed_bytes_give_an_error_or_a_result(honest, arena, changes, at_the_end):
    content = bytearray(honest.read_bytes())
    start = len(content) - 1500 if at_the_end else 0  # the directory is at the end, and small
    for place, value in changes:
        content[start + int(place * (len(content) - 1 - start))] = value
    path = arena / "b.zip"
    path.write_bytes(content)
    judge(path, arena)


@FUZZ
@given(st.floats(0, 1), st.floats(0, 1))
def test_missing_parts_give_an_error(honest, arena, start, stop):
    content = honest.read_bytes()
    first, last = sorted((int(start * len(content)), int(stop * len(content))))
    path = arena / "b.zip"
    path.write_bytes(content[:first] + content[last:])
    judge(path, arena)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)


@FUZZ
@given(st.data())
def test_changed_values_give_an_error_or_a_result(honest, arena, data):
    """Any value of a record or of the manifest replaced by any JSON, with hashes that fit."""
    contents = bundles.members(honest)
    name = data.draw(st.sampled_from(["manifest.json", f"records/{bundles.first_run(contents)}.json"]))
    raw = place = json.loads(contents[name])
    while True:
        keys = range(len(place)) if isinstance(place, list) else sorted(place)
        key = data.draw(st.sampled_from(list(keys)))
        if not isinstance(place[key], (dict, list)) or not place[key] or data.draw(st.integers(0, 5)) == 0:
            break
        place = place[key]
    place[key] = data.draw(JSON)
    contents[name] = json.dumps(raw).encode()
    with contextlib.suppress(TypeError, KeyError):
        contents = bundles.rehash(contents)
    judge(bundles.write(arena / "b.zip", contents), arena)


@FUZZ
@given(st.binary(max_size=300))
def test_rubbish_is_refused(arena, content):
    path = arena / "b.zip"
    path.write_bytes(content)
    with pytest.raises(UserError):
        check(path, Storage.default())


def test_records_are_bounded_all_together(honest, monkeypatch):
    """Each may be small, and all together, parsed, would still fill the memory."""
    monkeypatch.setattr(bundle_module, "LARGEST_TEXT", 5000)
    with pytest.raises(UserError, match=r"besides predictions and checkpoints; at most 5000 are allowed"):
        check(honest, Storage.default())


def test_limits_hold_while_reading(honest, monkeypatch, tmp_path):
    """A member that unpacks to more than it declares stops at its declared size."""
    with bundle_module.Bundle(honest) as bundle:
        bundle.members["manifest.json"].file_size = 10
        with pytest.raises(UserError):
            bundle.read("manifest.json")


def test_a_record_is_its_bytes(source):
    for record in source.scan()[0]:
        assert source.path(record.spec).read_bytes() == record_bytes(record)
        assert isinstance(source.root, Path)
