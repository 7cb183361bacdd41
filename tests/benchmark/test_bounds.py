"""Whatever a record's file says in one of its fields: it is set aside in one line, or tables and pages can show it."""

import json
import re
from contextlib import suppress

import pytest

from benchmark import report
from benchmark.analysis import boards
from benchmark.errors import UserError
from benchmark.report.rows import Variant, read
from benchmark.runs.index import Index
from benchmark.runs.layout import place
from benchmark.runs.record import parse_record, record_bytes
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import Store
from tests.benchmark import records as made

#: What may stand where another value is expected.
VALUES = (None, -1, 2**63 - 1, 2**64, 1e99, "", "../x", [], {})
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def places(value, path=()):
    """Every place in a nest of lists and dicts; of lists the first element stands for all."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else list(enumerate(value))[:1] if isinstance(value, list) else ()
    for key, element in inner:
        yield from places(element, (*path, key))


def replaced(raw, path, value):
    """A copy of the document with another value at one place, and the id of its spec where that is still one."""
    copy = json.loads(json.dumps(raw))
    *way, last = path
    inner = copy
    for key in way:
        inner = inner[key]
    inner[last] = value
    with suppress(ValueError, TypeError, KeyError):
        copy["id"] = RunSpec.model_validate(copy["spec"]).id if path != ("id",) else value
    return copy


def variants():
    """By place and value the text of a record; each stands in a row of its own."""
    base = made.record("mtan", "dwa", epochs=1, tasks=made.FASHION)
    raw = json.loads(record_bytes(made.conflicting(base)))
    metric = {"name": "miou", "title": "mIoU", "unit": "%", "higher_is_better": True, "legacy": False}
    kind = {"dense": True, "metrics": [metric]}
    raw |= {"kinds": {"segmentation": kind}, "trace": {"1": "ab"}, "code": {"weighting": "ab"}, "error": "e"}
    raw["optimizer_groups"] = [{"name": "all", "parameters": 1, "learning_rate": 0.1, "weight_decay": 0.0}]
    for number, path in enumerate(places(raw)):
        for value in VALUES:
            own = json.loads(json.dumps(raw))
            own["spec"]["weighting"]["options"]["place"] = number
            yield path, value, json.dumps(replaced(own, path, value))


@pytest.fixture(scope="module")
def sound():
    """The records that can be read; of those that cannot, it is said in one line why."""
    found, reasons = [], []
    for _, _, text in variants():
        try:
            record = parse_record(text, "a.json")
            place(record.spec)
        except UserError as error:
            reasons.append(str(error))
        else:
            found.append(record)
    assert not [reason for reason in reasons if CONTROL.search(reason)]
    return found


@pytest.mark.slow
def test_what_can_be_read_can_stand_in_tables(sound):
    reference = made.record("single-task", None, epochs=1, tasks=made.FASHION)
    records, _ = report._sound(Held([*sound, reference]))
    for board in boards(records):
        if reference.id in board.labels:  # others are of one record each, and take as long
            read(board, [Variant("", "val-delta-m")])


class Held:
    """A store that holds these records."""

    root = "."

    def __init__(self, records):
        self.records = records

    def scan(self):
        return list({record.id: record for record in self.records}.values()), []

    def path(self, spec):
        return spec.label


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "seed"), 2**64),
        (("spec", "seed"), 2**63),
        (("spec", "protocol", "epochs"), 10**30),
        (("spec", "weighting", "options", "temperature"), 10**400),
        (("spec", "weighting", "options", "temperature"), [[[[[[[[[1]]]]]]]]]),
        (("curves", 0, "epoch"), 10**30),
        (("curves", 0, "epoch"), 0),
        (("curves", 0, "metrics", "test", "depth", "abs_error"), 1e308),
        (("curves", 0, "losses", "train", "depth"), -1e200),
        (("cost", "parameters"), 10**400),
        (("cost", "parameters"), -10),
        (("tasks", 0, "channels"), 0),
        (("tasks", 0, "name"), "x" * 2000),
        (("provenance", "threads"), 2**64),
        (("provenance", "device"), "x" * 2000),
    ],
)
def test_a_value_out_of_bounds_is_named(path, value):
    raw = json.loads(record_bytes(made.record("mtan", "dwa", epochs=2)))
    with pytest.raises(UserError, match=re.escape(str(path[-1]) if path[-1] != "temperature" else "options")) as caught:
        parse_record(json.dumps(replaced(raw, path, value)), "a.json")
    assert not CONTROL.search(str(caught.value))


@pytest.mark.slow
def test_one_bad_record_is_set_aside_and_the_site_is_built(tmp_path):
    """A seed beyond 64 bits ended the report with an OverflowError, and no page said which file it was."""
    good = made.record("mtan", "dwa", epochs=2)
    store = made.fill(tmp_path / "results", [good, made.record("single-task", None, epochs=2)], pictures=False)
    raw = json.loads(record_bytes(good))
    raw["spec"]["seed"] = 2**64
    bad = store.root / "scenes" / f"mtan_dwa_s{2**64}_{'0' * 16}.json"
    bad.write_text(json.dumps(raw))
    report.build(store, tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    assert bad.name in page
    assert "seed" in page
    assert [problem.path for problem in Index(store).problems] == [bad]
    assert len(Store(store.root).scan()[0]) == 2
