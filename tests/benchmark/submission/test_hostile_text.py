"""Hostile records, manifests, words and plugins give one line and nothing else."""

import hashlib
import json

import pytest
from click.testing import CliRunner

from benchmark.cli import main
from benchmark.data import Storage
from benchmark.runs.store import Store
from benchmark.runs.trust import standing
from benchmark.submission import add, pack
from benchmark.submission.text import shown
from tests.benchmark.submission import bundles

pytestmark = pytest.mark.slow


def nested(depth):
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text.replace(b'"learning_rate": 0.001', b'"learning_rate": NaN'), "NaN is no number"),
        (lambda text: text.replace(b'"learning_rate": 0.001', b'"learning_rate": -Infinity'), "-Infinity is no number"),
        (lambda text: text.replace(b'"learning_rate": 0.001', b'"learning_rate": 1e999'), "too large"),
        (lambda text: text.replace(b'"parameters": ', b'"parameters": 1' + b"0" * 5000), "too many digits"),
        (lambda text: text.replace(b'"error": null', b'"error": ' + nested(100_000)), "nested too deeply"),
        (lambda text: text.replace(b'"error": null', b'"error": ' + nested(500)), "recursion limit"),
        (lambda text: text.replace(b'"error": null', b'"error": null, "error": null'), "a key twice"),
        (lambda text: text.replace(b'"seed": ', b'"extra": 1, "seed": '), "extra"),
        (lambda text: text[:-20], "not sound JSON"),
        (lambda text: b"\xff\xfe" + text, "not sound JSON"),
        (lambda text: b"[]", "record schema None"),
        (lambda text: b"", "not sound JSON"),
        (lambda text: b'"' + b"a" * 1000 + b'"', "record schema None"),
        (lambda text: text.replace(b'"schema_version": 2', b'"schema_version": ' + nested(300)), "record schema"),
    ],
)
def test_hostile_records_are_refused_in_one_line(honest, tmp_path, spoil, message):
    def edit(contents):
        name = f"records/{bundles.first_run(contents)}.json"
        before, contents[name] = contents[name], spoil(contents[name])
        assert contents[name] != before

    (error,) = bundles.errors_of(bundles.forge(honest, tmp_path / "b.zip", edit))
    assert message in error


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda raw: raw | {"bundle_schema": 2}, "bundle schema 2"),
        (lambda raw: raw | {"bundle_schema": True}, "bundle schema True"),
        (lambda raw: raw | {"runs": []}, "runs"),
        (lambda raw: raw | {"runs": [{"id": "../../../../etc", "predictions": True}]}, "runs[0].id"),
        (lambda raw: raw | {"runs": raw["runs"] * 2}, "names a run twice"),
        (lambda raw: raw | {"submitter": "x" * 10_000}, "submitter"),
        (lambda raw: raw | {"files": {"x": {"sha256": "zz", "size": -1}}}, "files"),
        (lambda raw: raw | {"unknown": 1}, "unknown"),
        (lambda raw: [raw], "bundle schema None"),
        (lambda raw: None, "bundle schema None"),
    ],
)
def test_hostile_manifests_are_refused_in_one_line(honest, tmp_path, spoil, message):
    contents = bundles.members(honest)
    contents["manifest.json"] = json.dumps(spoil(json.loads(contents["manifest.json"]))).encode()
    assert message in bundles.errors_of(bundles.write(tmp_path / "b.zip", contents))[0]


SCRIPT = "<script>alert('x')</script>\x1b[31m\u202e{{7*7}}[bold]red[/]"


def test_html_and_control_characters_stay_text(honest, tmp_path):
    def poison(raw):
        raw["provenance"] |= {"device": SCRIPT, "platform": SCRIPT, "started": SCRIPT, "suite_version": SCRIPT}
        raw["tasks"][0]["classes"] = [SCRIPT] * 3
        raw["status"], raw["error"] = "failed", SCRIPT

    def edit(contents):
        bundles.edit_record(contents, poison)
        manifest = json.loads(contents["manifest.json"])
        contents["manifest.json"] = json.dumps(manifest | {"submitter": SCRIPT, "note": SCRIPT}).encode()

    path = bundles.forge(honest, tmp_path / "b.zip", edit)
    own = Store(tmp_path / "own")
    _, new = add(path, own, Storage.default())
    (record,) = [record for record in new if record.status == "failed"]
    assert own.get(record.spec).provenance.device == SCRIPT  # kept as it is: pages escape it
    assert standing(own, record).trust.submitter == SCRIPT
    output = CliRunner().invoke(main, ["submit", "check", str(path)]).output
    assert "\x1b" not in output
    assert "\u202e" not in output
    assert "<script>" in output  # as text
    assert "[bold]red[/]" in output  # no markup of the terminal's either


def test_foreign_text_is_one_printable_line():
    assert shown("a\n\n b\tc\x00\x1b[2J") == r"a b c\x00\x1b[2J"
    assert len(shown("x" * 10_000)) == 200
    assert shown("\ud800").isprintable()


def test_plugins_are_never_run(honest, source, toy, tmp_path):
    (record, *_) = source.scan()[0]
    trap = tmp_path / "trap.py"
    trap.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    theirs = Store(tmp_path / "theirs")
    digest = hashlib.sha256(trap.read_bytes()).hexdigest()
    origin = record.provenance.model_copy(update={"plugins": {"t": digest}})
    trapped = record.model_copy(update={"provenance": origin, "code": {"plugin": digest}})
    theirs.put(trapped)
    pack(theirs, [trapped], tmp_path / "b.zip", submitter="me", plugins=[trap])
    own = Store(tmp_path / "own")
    assert add(tmp_path / "b.zip", own, Storage.default())[1] == [trapped]
    assert not (tmp_path / "ran").exists()
    assert (own.root / "submissions" / f"{digest}.txt").read_bytes() == trap.read_bytes()
