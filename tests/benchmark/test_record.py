"""Schemas of records: old ones stay what they were byte for byte, unknown fields are kept, others are refused."""

import json
from pathlib import Path

import pytest

from benchmark.errors import UserError
from benchmark.runs.record import SCHEMA_VERSION, parse_record, record_bytes
from tests.benchmark import records as made

RESULTS = Path(__file__).parents[2] / "results"


def test_records_of_the_first_schema_are_read_and_written_byte_for_byte():
    found = [path.read_bytes() for path in sorted(RESULTS.glob("scenes/*_s0_*.json"))]
    old = [content for content in found if json.loads(content)["schema_version"] == 1]
    assert old
    for content in old:
        record = parse_record(content, "it")
        assert record_bytes(record) == content
        assert (record.kinds, record.trace, record.provenance.numerics) == ({}, {}, None)


@pytest.mark.parametrize("place", [(), ("provenance",), ("cost",), ("curves", 0), ("tasks", 0), ("kinds", "depth")])
def test_fields_of_a_later_suite_are_kept(place):
    content = json.loads(record_bytes(made.record()))
    content["kinds"] = {"depth": {"dense": True, "metrics": []}}
    part = content
    for key in place:
        part = part[key]
    part["of_a_later_suite"] = {"a": [1, None]}
    record = parse_record(json.dumps(content), "it")
    assert json.loads(record_bytes(record)) == content


def test_a_later_field_of_the_spec_is_refused():
    """It may be part of the identity: whoever does not know it cannot say which run this is."""
    content = json.loads(record_bytes(made.record()))
    content["spec"]["protocol"]["of_a_later_suite"] = 1
    with pytest.raises(UserError, match="of_a_later_suite"):
        parse_record(json.dumps(content), "it")


@pytest.mark.parametrize("schema", [1, SCHEMA_VERSION])
def test_a_record_in_another_precision_than_its_identity_s_says_how_to_do_it_again(schema):
    content = json.loads(record_bytes(made.record(place={"precision": "fp32"})))
    content["schema_version"] = schema
    content["provenance"]["precision"] = "bf16"
    with pytest.raises(UserError, match=r"was computed in bf16, but .* Do it again with --precision bf16"):
        parse_record(json.dumps(content), "it")
