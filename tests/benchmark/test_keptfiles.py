"""Files that options name: by content in a spec, and kept."""

import hashlib

import pytest

from benchmark import keptfiles
from benchmark.errors import UsageError, UserError
from benchmark.registry import Registry
from benchmark.runs.spec import Component, plain


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MTBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "files"


def test_a_spec_holds_the_content_and_the_cache_the_file(tmp_path, cache):
    methods = Registry("method")

    @methods.register("reader")
    def reader(*, start: str = "", word: str = "file") -> None:
        """Takes a file."""

    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "weights").write_bytes(b"some weights")
    digest = hashlib.sha256(b"some weights").hexdigest()
    found = [Component.from_registry(methods, "reader", {"start": f"file:{tmp_path}/{f}/weights"}) for f in ("a", "b")]
    assert found[0].options == found[1].options == {"start": f"sha256:{digest}", "word": "file"}
    assert plain(found[0].options["start"]) == f"sha256:{digest[:12]}…"
    assert [file.name for file in cache.iterdir()] == [digest]
    assert keptfiles.find(f"sha256:{digest}").read_bytes() == b"some weights"
    assert keptfiles.find(f"file:{tmp_path}/a/weights") == tmp_path / "a" / "weights"
    again = Component.from_registry(methods, "reader", dict(found[0].options))
    assert again == found[0]
    (tmp_path / "a" / "weights").write_bytes(b"other weights")
    assert Component.from_registry(methods, "reader", {"start": f"file:{tmp_path}/a/weights"}) != found[0]


def test_what_is_missing_or_damaged_is_told_in_one_line(tmp_path, cache):
    with pytest.raises(UsageError, match=r"'file:nowhere' names no file: expected 'file:PATH'"):
        keptfiles.keep("file:nowhere")
    with pytest.raises(UsageError, match=r"named by 'file:PATH'.*not by 'weights.pth'"):
        keptfiles.find("weights.pth")
    with pytest.raises(UserError, match=r"SHA-256 abababab.* is not in .*files on this machine.*'file:PATH'"):
        keptfiles.find("sha256:" + "ab" * 32)
    (tmp_path / "weights").write_bytes(b"whole")
    name = keptfiles.keep(f"file:{tmp_path}/weights")
    next(cache.iterdir()).write_bytes(b"half")
    with pytest.raises(UserError, match="is damaged"):
        keptfiles.find(name)
