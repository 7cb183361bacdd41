"""Names and options: what is registered, what is wrong, and plugins."""

import hashlib

import pytest

from benchmark.errors import UsageError, UserError
from benchmark.registry import (
    ARCHITECTURES,
    DATASETS,
    PLUGIN_FILES,
    TABLES,
    WEIGHTINGS,
    Registry,
    load_plugin_file,
)
from benchmark.tasks import KINDS
from tests.forked import Forked, anew


@pytest.fixture
def cakes():
    """A registry of its own: one class under two names, the second of which fixes an option."""
    registry = Registry("cake")

    @registry.register("plain", version=3)
    @registry.register("large", size=30)
    class Cake:
        """Flour and sugar.

        And more words.
        """

        def __init__(self, oven, *, size=20, sugar=100, icing):
            self.made = (oven, size, sugar, icing)

    return registry


@pytest.mark.parametrize("name", ["a/b", "../a", "..", "", ".a", "-a", "a b", "a\nb", "none", "ä"])
def test_a_name_that_is_no_file_name_is_refused(name):
    with pytest.raises(ValueError, match="letters, digits"):
        Registry("thing").register(name)


def test_options_are_filled_up_with_defaults(cakes):
    assert cakes["plain"].resolve({"icing": "lemon", "sugar": 0}) == {"size": 20, "sugar": 0, "icing": "lemon"}
    assert cakes["plain"].build("gas", icing="lemon").made == ("gas", 20, 100, "lemon")


def test_a_preset_option_is_fixed_and_not_offered(cakes):
    assert set(cakes["plain"].defaults) == {"size", "sugar", "icing"}
    assert set(cakes["large"].defaults) == {"sugar", "icing"}
    assert cakes["large"].build("gas", icing="lemon").made == ("gas", 30, 100, "lemon")
    with pytest.raises(UsageError, match=r"unknown option of 'large' 'size'\..* Known: icing, sugar"):
        cakes["large"].resolve({"icing": "lemon", "size": 5})


def test_what_the_suite_passes_is_no_option(cakes):
    with pytest.raises(UsageError, match="unknown option of 'plain' 'oven'"):
        cakes["plain"].resolve({"oven": "gas", "icing": "lemon"})


def test_an_option_without_default_must_be_given(cakes):
    assert cakes["plain"].required == ["icing"]
    with pytest.raises(UsageError, match="'plain' needs the option 'icing', which has no default"):
        cakes["plain"].build("gas")


def test_an_unknown_option_comes_with_the_nearest_and_all_known(cakes):
    with pytest.raises(UsageError) as caught:
        cakes["plain"].resolve({"suger": 3})
    assert str(caught.value) == "unknown option of 'plain' 'suger'. Did you mean 'sugar'? Known: icing, size, sugar"


def test_an_unknown_name_comes_with_the_nearest_and_all_known(cakes):
    with pytest.raises(UsageError) as caught:
        cakes["plan"]
    words = "unknown cake 'plan'. Did you mean 'plain'? Known: large, plain"
    assert str(caught.value) == f"{words}. What a file of your own registers is known with --plugin FILE"
    with pytest.raises(UsageError) as caught:
        cakes["xyz"]
    assert str(caught.value).startswith("unknown cake 'xyz'. Known: large, plain. ")
    with pytest.raises(UsageError, match="Known: none"):
        Registry("cake")["plain"]


def test_a_name_is_taken_once(cakes):
    with pytest.raises(ValueError, match=r"the cake 'plain' is registered already, by .*Cake"):

        @cakes.register("plain")
        class Other:
            pass

    assert cakes["plain"].version == 3


def test_a_registry_is_a_collection_of_names(cakes):
    assert sorted(cakes) == ["large", "plain"]
    assert len(cakes) == 2
    assert "plain" in cakes
    assert "plan" not in cakes


def test_an_entry_says_what_it_is(cakes):
    assert cakes["plain"].summary == "Flour and sugar."
    assert (cakes["plain"].version, cakes["large"].version) == (3, 1)


def test_installed_methods_are_found_without_being_imported_by_name(tmp_path):
    script = "from benchmark import WEIGHTINGS, ARCHITECTURES; print(sorted(WEIGHTINGS)); print(len(ARCHITECTURES) > 0)"
    found = Forked(tmp_path, anew, script).printed()
    assert all(f"'{name}'" in found for name in ("dwa", "equal", "uncertainty"))
    assert found.endswith("True\n")


@pytest.mark.parametrize("registry", [ARCHITECTURES, WEIGHTINGS, DATASETS], ids=lambda registry: registry.kind)
def test_everything_registered_says_in_a_line_what_it_is(registry):
    for name in registry:
        assert registry[name].summary.endswith((".", ":"))


# Plugin files.


@pytest.fixture
def plugin(tmp_path):
    """Writes a plugin file; what it registers is forgotten after the test."""
    assert len(WEIGHTINGS)  # installed plugins first: they must stay
    tables = [*TABLES, PLUGIN_FILES]
    before = [dict(table) for table in tables]

    def write(text, name="mine.py"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        return file

    yield write
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


ONE = """
from benchmark.registry import WEIGHTINGS
from benchmark.weighting import Weighting

@WEIGHTINGS.register("one-hundred")
class Hundred(Weighting):
    '''A hundred for all.'''

    def __init__(self, tasks, *, factor=1):
        super().__init__(tasks)
        self.factor = factor

    def weights(self, losses):
        return 100 * self.factor + 0 * losses
"""


def test_a_plugin_file_registers(plugin):
    file = plugin(ONE)
    load_plugin_file(file)
    assert WEIGHTINGS["one-hundred"].defaults == {"factor": 1}
    load_plugin_file(file)  # a second time changes nothing
    load_plugin_file(file.parent / "." / file.name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("def f(:", "SyntaxError"),
        ("import nothing_of_this_name", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "SystemExit"),
        (ONE.replace("one-hundred", "equal"), "the weighting 'equal' is registered already"),
        ("from benchmark.registry import WEIGHTINGS; WEIGHTINGS['eqal']", "Did you mean 'equal'"),
        (b"\xff\xfe\x00".decode("latin-1"), "SyntaxError"),
    ],
)
def test_a_broken_plugin_file_is_one_line_that_names_it(plugin, text, message):
    file = plugin(text)
    with pytest.raises(UserError) as caught:
        load_plugin_file(file)
    assert str(caught.value).startswith(f"the plugin {file} cannot be imported: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mended_plugin_file_can_be_loaded(plugin):
    with pytest.raises(UserError):
        load_plugin_file(plugin("1 / 0"))
    load_plugin_file(plugin(ONE.replace("one-hundred", "mended")))
    assert "mended" in WEIGHTINGS


def test_a_plugin_file_that_failed_half_way_leaves_nothing_behind(plugin):
    kind = """
from benchmark.tasks import KINDS
from benchmark.tasks.depth import Depth
from benchmark.tasks import register_kind

@register_kind
class Height(Depth):
    name = "height"
"""
    before = [dict(table) for table in TABLES]
    with pytest.raises(UserError, match="ZeroDivisionError"):
        load_plugin_file(plugin(ONE + kind + "1 / 0"))
    assert [dict(table) for table in TABLES] == before
    load_plugin_file(plugin(ONE + kind))
    assert "one-hundred" in WEIGHTINGS
    assert "height" in KINDS


def test_two_plugin_files_of_one_name_are_both_told(plugin):
    first, second = plugin(ONE, "a/method.py"), plugin(ONE.replace("one-hundred", "other"), "b/method.py")
    load_plugin_file(first)
    load_plugin_file(second)
    told = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in
            (("method.py", first), ("b/method.py", second))}  # fmt: skip
    assert told.items() <= PLUGIN_FILES.items()


def test_a_file_that_is_not_there_is_named(tmp_path):
    for path in (tmp_path / "nothing.py", tmp_path, tmp_path / "text.txt"):
        with pytest.raises(UserError, match="is not a readable Python file") as caught:
            load_plugin_file(path)
        assert str(path) in str(caught.value)


def test_a_name_that_a_plugin_file_steals_is_the_files_fault(tmp_path):
    # Also as the very first thing that a process does, before the installed methods are there.
    file = tmp_path / "thief.py"
    file.write_text(ONE.replace("one-hundred", "equal"))
    script = (
        "import pathlib\n"
        "from benchmark.errors import UserError\n"
        "from benchmark.registry import load_plugin_file\n"
        "try:\n"
        f"    load_plugin_file(pathlib.Path({str(file)!r}))\n"
        "except UserError as error:\n"
        "    print(error)\n"
    )
    said = Forked(tmp_path, anew, script).printed()
    assert str(file) in said
    assert "'equal' is registered already" in said
