"""Hostile archives give one line and nothing else."""

import os
import shutil
import struct
import zipfile

import pytest

from benchmark.data import Storage
from benchmark.errors import UserError
from benchmark.submission import check
from tests.benchmark.submission import bundles

pytestmark = pytest.mark.slow


def hostile_name(name):
    def build(honest, path):
        return bundles.write(path, bundles.members(honest) | {name: b"x"})

    return build


def with_info(change):
    """The honest bundle with one more plugin, whose directory entry is changed."""

    def build(honest, path):
        info = zipfile.ZipInfo("plugins/more.py")
        change(info)
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in bundles.members(honest).items():
                archive.writestr(zipfile.ZipInfo(name), content)
            archive.writestr(info, b"x")
        return path

    return build


def link(info):
    info.external_attr = 0o120777 << 16


def device(info):
    info.external_attr = 0o060666 << 16


def packed_by_bzip2(info):
    info.compress_type = zipfile.ZIP_BZIP2


def encrypted(honest, path):
    content = bytearray(honest.read_bytes())
    place = content.rfind(b"PK\x01\x02")
    content[place + 8] |= 1
    path.write_bytes(content)
    return path


def twice(honest, path):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in bundles.members(honest).items():
            archive.writestr(name, content)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("manifest.json", b"{}")
    return path


def twice_but_for_case(honest, path):
    return bundles.write(path, bundles.members(honest) | {"plugins/A.py": b"1", "plugins/a.py": b"2"})


def bomb(honest, path):
    return bundles.write(path, bundles.members(honest) | {"records/0000000000000000.json": b" " * (7 << 20)})


def too_large(honest, path):
    return bundles.write(path, bundles.members(honest) | {"plugins/large.py": os.urandom(2 << 20)})


def too_many(honest, path):
    return bundles.write(path, bundles.members(honest) | {f"plugins/p{i}.py": b"" for i in range(2001)})


def with_comment(honest, path):
    shutil.copy(honest, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"hello"
    return path


def zip64(honest, path):
    content = honest.read_bytes()
    path.write_bytes(content[:-22] + b"PK\x06\x07" + bytes(16) + content[-22:])
    return path


def huge_directory(honest, path):
    content = honest.read_bytes()
    end = bytearray(content[-22:])
    struct.pack_into("<I", end, 12, 1 << 30)
    path.write_bytes(content[:-22] + end)
    return path


def lying_size(honest, path):
    """The directory says that the manifest is one byte longer than it is."""
    content = bytearray(honest.read_bytes())
    place = struct.unpack_from("<I", content, len(content) - 6)[0]  # where the directory begins
    size = struct.unpack_from("<I", content, place + 24)[0]
    struct.pack_into("<I", content, place + 24, size + 1)
    path.write_bytes(content)
    return path


def no_manifest(honest, path):
    return bundles.write(
        path, {name: content for name, content in bundles.members(honest).items() if name != "manifest.json"}
    )


def compressed_predictions(honest, path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in bundles.members(honest).items():
            archive.writestr(name, content)
    return path


def empty(honest, path):
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (hostile_name("../evil.json"), "'../evil.json' is none of"),
        (hostile_name("records/../../evil.json"), "is none of"),
        (hostile_name("/etc/cron.d/evil"), "is none of"),
        (hostile_name("C:\\evil.py"), "is none of"),
        (hostile_name("plugins\\evil.py"), "is none of"),
        (hostile_name("plugins/.hidden.py"), "is none of"),
        (hostile_name("plugins/\x1b[2Jevil.py"), r"\x1b[2Jevil.py' is none of"),
        (hostile_name("plugins/<script>.py"), "is none of"),
        (hostile_name("records/"), "is none of"),
        (with_info(link), "is no plain file but a link"),
        (with_info(device), "is no plain file"),
        (with_info(packed_by_bzip2), "compressed in another way"),
        (encrypted, "is encrypted"),
        (twice, "is there twice"),
        (twice_but_for_case, "some systems take for one"),
        (bomb, "a bomb"),
        (too_large, "at most 1048576 are allowed"),
        (too_many, "too many"),
        (with_comment, "no zip file without comment"),
        (zip64, "zip64"),
        (huge_directory, "too many"),
        (lying_size, ""),
        (no_manifest, "has no manifest.json"),
        (compressed_predictions, "only stored here"),
        (empty, "no zip file"),
    ],
)
def test_hostile_archives_are_refused_in_one_line(honest, tmp_path, build, message):
    (tmp_path / "in").mkdir()
    path = build(honest, tmp_path / "in" / "b.zip")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as caught:
        check(path, Storage.default())
    assert message in bundles.one_line(caught.value)
    assert sorted(tmp_path.rglob("*")) == before
