"""Segments: what went in comes out, or is said to be damaged."""

import hashlib
import io
import json
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import UserError
from benchmark.runs.packs import Item, Reader, Shelf, read_index, segment, segment_bytes, segment_name
from benchmark.runs.packs.text import from_planes, is_split, join, split, to_planes

NAMES = st.text("abcäß_-. 0", min_size=1, max_size=20).map(lambda text: f"n{text}.json")
FILES = st.dictionaries(st.sampled_from([".npz", ".trust.json"]), st.binary(max_size=300), max_size=2)
ITEMS = st.lists(
    st.builds(Item, NAMES, st.sampled_from(["ok", "diverged"]), st.binary(max_size=2000), FILES),
    min_size=1, max_size=20, unique_by=lambda item: item.name,
)  # fmt: skip


def written(folder, items):
    """The segment of ``items`` in ``folder``."""
    path = folder / segment_name(items)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(segment_bytes(items))
    return path


def some(count=5, **changes):
    """Items of a few hundred bytes each, one of which has a picture."""
    texts = [f'{{"number": {n}, "digits": "{hashlib.sha256(bytes([n])).hexdigest()}"}}\n' * 8 for n in range(count)]
    files = [{".npz": b"picture"} if n == 1 else {} for n in range(count)]
    items = [Item(f"run_s{n}_{n:04x}.json", "ok", texts[n].encode(), files[n]) for n in range(count)]
    return [changes.get(item.name[:6], item) for item in items]


@given(ITEMS, st.sampled_from([1, 3, 64]))
def test_what_went_in_comes_out(tmp_path_factory, items, together):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segment, "TOGETHER", together)
        path, reader = written(tmp_path_factory.mktemp("packs"), items), Reader()
    assert [reader.item(packed) for packed in read_index(path)] == sorted(items, key=lambda item: item.name)


def test_the_order_of_the_records_changes_no_byte():
    items = some()
    assert segment_bytes(items) == segment_bytes(items[::-1])
    assert segment_name(items) == segment_name(items[::-1])


def test_other_contents_have_another_name():
    one = some()[1]
    changed = [
        Item(one.name, one.status, one.content + b" ", one.files),
        Item("run_s1_ffff.json", one.status, one.content, one.files),
        Item(one.name, one.status, one.content, {".npz": b"other"}),
        Item(one.name, one.status, one.content),
    ]
    assert len({segment_name(some(run_s1=item)) for item in [one, *changed]}) == 5


def test_any_tool_for_archives_opens_a_segment():
    items = some(3)
    with zipfile.ZipFile(io.BytesIO(segment_bytes(items))) as archive:
        assert archive.testzip() is None
        assert archive.read("records/0000") == b"".join(item.content for item in items)  # which hold no decimals
        assert archive.read("files/0000") == b"picture"
        assert json.loads(archive.read("index.json"))["records"]["name"] == [item.name for item in items]


def test_one_flipped_byte_is_named_and_other_blocks_still_read(tmp_path, monkeypatch):
    """Whichever byte it is: nothing is ever read that was not written."""
    monkeypatch.setattr(segment, "TOGETHER", 2)
    items = some()
    path = written(tmp_path, items)
    content = path.read_bytes()
    found, reasons = set(), set()
    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        sound, complaints = whole(path, items)
        found.add(sound)
        reasons |= set(complaints)
    # None where the index is hit; all but the two of one block, or but one with its picture; all where nothing is read.
    assert found == {0, 3, 4, 5}
    assert all(str(path) in reason for reason in reasons)
    assert {item.name for item in items if any(item.name in reason for reason in reasons)} == {i.name for i in items}


def whole(path, items):
    """How many records of a segment are read, and read as they were; and what is said of the others."""
    try:
        index = read_index(path)
    except UserError as error:
        return 0, [str(error)]
    reader, complaints = Reader(), []
    for packed, item in zip(index, items, strict=True):
        try:
            assert reader.item(packed) == item
        except UserError as error:
            complaints.append(str(error))
    return len(items) - len(complaints), complaints


@pytest.mark.parametrize("length", [0, 10, 200, -1])
def test_a_segment_that_was_cut_off_is_named(tmp_path, length):
    path = written(tmp_path, some())
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match="no whole segment"):
        read_index(path)


def test_a_segment_of_a_later_version_is_named(tmp_path):
    path = written(tmp_path, some())
    path.write_bytes(path.read_bytes().replace(b"mtbench pack 1:", b"mtbench pack 2:"))
    with pytest.raises(UserError, match="version 2; this suite reads 1"):
        read_index(path)


@pytest.mark.parametrize("name", ["../run.json", ".run.json", "a/b.json", "run\n.json", "\ud800.json"])
def test_a_name_that_leads_elsewhere_is_no_record(tmp_path, name):
    path = tmp_path / "x.pack"
    path.write_bytes(segment_bytes([Item(name, "ok", b"{}")]))
    with pytest.raises(UserError, match="cannot be the name of a file"):
        read_index(path)


def test_of_several_the_best_counts_whatever_their_order(tmp_path):
    picture = {".npz": b"picture"}
    failed, plain, shown = (
        Item("run.json", *rest) for rest in (("diverged", b"1"), ("ok", b"2"), ("ok", b"2", picture))
    )
    for item in (failed, plain, shown):
        written(tmp_path / "toy" / "packs", [item])
    (tmp_path / "toy" / "packs" / "broken.pack").write_bytes(b"")
    shelf = Shelf(tmp_path)
    found = shelf.find("toy", "run.json")
    assert [Reader().item(packed) for packed in found] == [shown, plain, failed]
    assert shelf.records() == {"toy/run.json": found}
    assert [path.name for path, _ in shelf.problems()] == ["broken.pack"]


def test_a_segment_that_comes_or_goes_is_seen(tmp_path):
    shelf, folder = Shelf(tmp_path), tmp_path / "toy" / "packs"
    assert shelf.find("toy", "run_s0_0000.json") == ()
    path = written(folder, some())
    assert len(shelf.records()) == 5
    path.unlink()
    assert shelf.records() == {}


ODD = ["0.00003274278232080103", "1.50", "-0.0", "1e5", "1.0e+400", "7", "null", '"a, 1.25, b"', '"\\u0000"']
WORDS = st.floats(allow_nan=False, allow_infinity=False).map(repr) | st.sampled_from(ODD)


@given(st.lists(WORDS, max_size=30), st.sampled_from([", ", ",", ",\n "]))
def test_a_text_comes_back_with_all_its_numbers(words, comma):
    content = f"[{comma.join(words)}]".encode()
    without, numbers = split(content)
    assert join(without, from_planes(to_planes(numbers))) == content


@given(st.binary(max_size=200))
def test_what_is_no_text_comes_back_too(content):
    assert join(*split(content)) == content


def test_the_numbers_of_a_text_are_its_decimals_that_python_writes_so():
    without, numbers = split(b'{"a": 0.1, "b": -2.5e-07, "c": 1.50, "d": 3, "e": [0.30000000000000004]}')
    assert numbers.tolist() == [0.1, -2.5e-07, 0.30000000000000004]
    assert without == b'{"a": \0, "b": \0, "c": 1.50, "d": 3, "e": [\0]}'
    words = {"0.1": True, "-2.5e-07": True, "1.50": False, "3": False, "1e5": False, "x": False}
    assert {word: is_split(word) for word in words} == words
