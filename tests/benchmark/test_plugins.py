"""Plugin files: what lies beside them, their order, and names that nobody knows."""

import sys

import pytest

from benchmark.data import Storage
from benchmark.errors import UserError
from benchmark.execution.remote import _kept, packed_plugins
from benchmark.registry import (
    ARCHITECTURES,
    PLUGIN_FILES,
    TABLES,
    WEIGHTINGS,
    load_installed_plugins,
    load_plugin_file,
    load_plugin_files,
)
from benchmark.runs.grid import load_grid
from benchmark.runs.store import Store
from benchmark.tasks import Task

PLUGIN = """
from {helper} import SCALE
from benchmark import WEIGHTINGS, Weighting


@WEIGHTINGS.register("{name}")
class Scaled(Weighting):
    def weights(self, losses):
        return SCALE * losses.detach()
"""

HEIR = """
from benchmark import WEIGHTINGS


@WEIGHTINGS.register("order-heir")
class Heir(WEIGHTINGS["order-base"].factory):
    pass
"""


@pytest.fixture(autouse=True)
def _as_before(tmp_path):
    """Registries, modules and paths are as they were after each test."""
    load_installed_plugins()
    tables, modules, paths = [dict(table) for table in TABLES], set(sys.modules), list(sys.path)
    yield
    for table, entries in zip(TABLES, tables, strict=True):
        table.clear()
        table.update(entries)
    for name in [
        n for n in set(sys.modules) - modules if str(tmp_path) in str(getattr(sys.modules[n], "__file__", ""))
    ]:
        del sys.modules[name]
    sys.path[:] = paths


def write(folder, name, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def test_a_plugin_imports_what_lies_beside_it(tmp_path):
    write(tmp_path, "neighbour_a.py", "from parts_a.deep import SCALE\n")
    write(tmp_path / "parts_a", "__init__.py", "")
    deep = write(tmp_path / "parts_a", "deep.py", "SCALE = 2.0\n")
    file = write(tmp_path, "beside_a.py", PLUGIN.format(helper="neighbour_a", name="beside-a"))
    load_plugin_file(str(file))
    code = WEIGHTINGS["beside-a"].code
    assert {"beside_a.py", "neighbour_a.py", "deep.py"} <= PLUGIN_FILES.keys()
    elsewhere = _kept(packed_plugins([file])[0])
    assert (elsewhere.parent / "parts_a" / "deep.py").read_text() == "SCALE = 2.0\n"
    deep.write_text("SCALE = 3.0\n")
    other = write(tmp_path, "beside_b.py", PLUGIN.format(helper="neighbour_a", name="beside-b"))
    load_plugin_file(other)
    assert WEIGHTINGS["beside-b"].code != code


def test_the_code_of_a_plugin_changes_with_what_lies_beside_it(tmp_path):
    codes = []
    for scale in ("1.0", "1.0", "2.0"):
        folder = tmp_path / str(len(codes))
        write(folder, f"neighbour_{len(codes)}.py", f"SCALE = {scale}\n")
        text = PLUGIN.format(helper="neighbour_c", name=f"beside-c{len(codes)}")
        (folder / f"neighbour_{len(codes)}.py").rename(folder / "neighbour_c.py")
        load_plugin_file(write(folder, "beside_c.py", text.replace(f"beside-c{len(codes)}", "beside-c")))
        codes.append(WEIGHTINGS["beside-c"].code)
        del WEIGHTINGS._entries["beside-c"], sys.modules["neighbour_c"]
        sys.path.remove(str(folder))
    assert codes[0] == codes[1] != codes[2]


def test_a_name_of_two_files_is_refused(tmp_path):
    for number in (1, 2):
        write(tmp_path / str(number), "neighbour_d.py", "SCALE = 2.0\n")
        write(tmp_path / str(number), "beside_d.py", PLUGIN.format(helper="neighbour_d", name=f"beside-d{number}"))
    load_plugin_file(tmp_path / "1" / "beside_d.py")
    with pytest.raises(
        UserError, match=r"imports 'neighbour_d', which is a file beside it and also .*give one of the two"
    ):
        load_plugin_file(tmp_path / "2" / "beside_d.py")


def test_the_order_of_plugins_does_not_matter(tmp_path):
    base = write(tmp_path, "order_base.py", PLUGIN.format(helper="math", name="order-base").replace("SCALE", "tau"))
    heir = write(tmp_path, "order_heir.py", HEIR)
    load_plugin_files([heir, base])
    assert "order-heir" in WEIGHTINGS


def test_of_plugins_that_cannot_be_loaded_the_first_is_named(tmp_path):
    files = [write(tmp_path, f"broken_{name}.py", f"raise RuntimeError('{name}')\n") for name in "ab"]
    with pytest.raises(UserError, match=r"broken_a\.py cannot be imported: RuntimeError\('a'\)"):
        load_plugin_files(files)


def test_unknown_names_say_how_ones_own_are_known():
    for ask in (lambda: WEIGHTINGS["mine"], lambda: ARCHITECTURES["mine"], lambda: Task("a", "mine", 1)):
        with pytest.raises(UserError, match=r"unknown .* 'mine'\..*--plugin FILE$"):
            ask()


def test_paths_may_be_texts(tmp_path):
    assert Store(str(tmp_path)).root == tmp_path
    assert Storage(str(tmp_path), {"a": str(tmp_path)}) == Storage(tmp_path, {"a": tmp_path})
    (tmp_path / "grid.toml").write_text(
        'seeds = [0]\narchitectures = ["mtan"]\nweightings = ["equal"]\n[datasets.scenes]\n'
    )
    assert load_grid(tmp_path / "grid.toml") == load_grid(str(tmp_path / "grid.toml"))
