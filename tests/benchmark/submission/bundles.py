"""Bundles taken apart, changed and put together again."""

import hashlib
import json
import zipfile

from benchmark.data import Storage
from benchmark.errors import UserError
from benchmark.registry import ARCHITECTURES, DATASETS, WEIGHTINGS
from benchmark.runs.spec import Component, Protocol, RunSpec
from benchmark.submission import check


def spec_of(architecture, weighting, seed=0, dataset="toy"):
    return RunSpec(
        dataset=Component.from_registry(DATASETS, dataset),
        architecture=Component.from_registry(ARCHITECTURES, architecture),
        weighting=Component.from_registry(WEIGHTINGS, weighting) if weighting else None,
        seed=seed,
        protocol=Protocol(epochs=2, batch_size=4, learning_rate=1e-3),
    )


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def write(path, contents):
    """A zip file of contents; predictions are stored, the rest compressed."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            info = zipfile.ZipInfo(name)
            stored = name.startswith("predictions/")
            info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


def rehash(contents):
    """The same contents with a manifest that fits them."""
    manifest = json.loads(contents["manifest.json"])
    manifest["files"] = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for name, content in contents.items()
        if name != "manifest.json"
    }
    return contents | {"manifest.json": json.dumps(manifest).encode()}


def forge(honest, path, edit):
    """The honest bundle after ``edit(contents)``, with hashes that fit."""
    contents = members(honest)
    edit(contents)
    return write(path, rehash(contents))


def first_run(contents):
    return min(name for name in contents if name.startswith("records/")).removeprefix("records/")[:16]


def edit_record(contents, change):
    """Change one record's JSON, and its spec's hash with it, so that only the change is wrong."""
    run = first_run(contents)
    raw = json.loads(contents.pop(f"records/{run}.json"))
    change(raw)
    raw["id"] = new = RunSpec.model_validate(raw["spec"]).id
    contents[f"records/{new}.json"] = json.dumps(raw).encode()
    contents[f"predictions/{new}.npz"] = contents.pop(f"predictions/{run}.npz")
    manifest = json.loads(contents["manifest.json"])
    manifest["runs"] = [r | {"id": new} if r["id"] == run else r for r in manifest["runs"]]
    contents["manifest.json"] = json.dumps(manifest).encode()


def one_line(error):
    text = str(error)
    assert text
    assert text.isprintable(), text
    return text


def errors_of(path):
    """All that is wrong with a bundle, whichever way it is told."""
    try:
        checked = check(path, Storage.default())
    except UserError as error:
        return [one_line(error)]
    return [one_line(finding.text) for finding in checked.errors]
