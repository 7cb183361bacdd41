"""Grid files: what they may say, and how mistakes are told."""

import pytest

from benchmark.errors import UsageError
from benchmark.runs.expansion import expand
from benchmark.runs.filters import Filters
from benchmark.runs.grid import load_grid
from tests.benchmark.gridfiles import MINIMAL, grid


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds = [3]", "seeds = [", "not valid TOML"),
        ("seeds = [3]", "seeds = []", "seeds: "),
        ("seeds = [3]", "seeds = [3]\nseeds = [4]", r"'seeds = \[4\]'; a key or a table may be there only once"),
        (
            "by_default = false",
            "by_defalt = false",
            "key in 'datasets.multi-fashion' 'by_defalt'. Did you mean",
        ),
        ("epochs = 5", "epoch = 5", "the protocol for 'multi-fashion' is not valid: unknown key 'epoch'. Did you mean"),
        ("seeds = [3]", "seeds = [-1]", r"seeds\[0\]: "),
        ("seeds = [3]", "", "'seeds' is missing"),
        ("seeds = [3]", "seeds = [3]\nsed = 1", r"unknown key 'sed'. Did you mean 'seeds'\?"),
        ('"mtan"', '"mtann"', r"unknown architecture 'mtann'. Did you mean 'mtan'\?"),
        ('"equal"', '"equl"', r"unknown weighting 'equl'. Did you mean 'equal'\?"),
        ("scenes", "scens", r"unknown data set 'scens'. Did you mean 'scenes'\?"),
        ("width = 8", "widht = 8", r"unknown architecture option 'widht'. Did you mean 'width'\?"),
        ("variant =", "varriant =", "unknown option of 'split' 'varriant'"),
        ("batch_size = 2", "batch_size = 0", "the protocol for 'scenes' is not valid: batch_size"),
        (
            "batch_size = 2",
            'batch_size = 2\nbatch = "x"',
            "for 'scenes' is not valid: unknown key 'batch'. Did you mean",
        ),
        (
            '"equal"',
            '{ name = "constant", simplex = 3 }',
            "no point besides equal weights for 3 tasks; give 'simplex' 4",
        ),
        ('"equal"', '{ name = "constant", simplex = 1 }', "simplex: Input should be greater than or equal to 2"),
        ('"equal"', '{ name = "constant", simplex = 4.0 }', "simplex: "),
        (
            '"equal"',
            '{ name = "constant", simplx = 4 }',
            r"unknown key in 'weightings\[0\]' 'simplx'. Did you mean 'simplex'\?",
        ),
        ('"equal"', '{ name = "gls", simplex = 4 }', "the option 'weights', which 'gls' has not; try 'constant'"),
        ('"equal"', '{ name = "constant", options = { weights = [1] }, simplex = 4 }', "both 'weights' and 'simplex'"),
        (
            '"stan"',
            '{ name = "stan", simplex = 4 }',
            r"unknown key in 'architectures\[1\]' 'simplex'. Known: name, options",
        ),
    ],
)
def test_mistakes_are_named(tmp_path, old, new, message):
    def read():
        changed = grid(tmp_path, MINIMAL.replace(old, new, 1))
        expand(changed)
        expand(changed, Filters(datasets=["multi-fashion"]))

    with pytest.raises(UsageError, match=message) as caught:
        read()
    assert "\n" not in str(caught.value)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    file = tmp_path / "grid.toml"
    file.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert expand(load_grid(str(file))) == expand(grid(tmp_path))


def test_values_are_set_in_place_of_the_files(tmp_path):
    grid(tmp_path)
    file = str(tmp_path / "grid.toml")
    changes = {"protocol.epochs": 7, "datasets.scenes.options.train": 8, "seeds": [5], "architecture.width": 4}
    specs = expand(load_grid(file, changes), Filters(datasets=["scenes", "multi-fashion"]))
    assert {spec.seed for spec in specs} == {5}
    assert {(s.dataset.name, s.protocol.epochs) for s in specs} == {("scenes", 7), ("multi-fashion", 5)}
    assert {s.dataset.options["train"] for s in specs if s.dataset.name == "scenes"} == {8}
    assert all(s.architecture.options["width"] == 4 for s in specs)
    assert load_grid(file) == grid(tmp_path)
    with pytest.raises(UsageError, match=r"unknown key 'epoch'. Did you mean 'epochs'\?"):
        expand(load_grid(file, {"protocol.epoch": 7}))
    with pytest.raises(UsageError, match=r"'seeds\.first' cannot be set: 'seeds' is no table"):
        load_grid(file, {"seeds.first": 7})
    both = expand(load_grid("study", {"protocol.epochs": 1}))
    assert {spec.protocol.epochs for spec in both} == {1}


def test_options_may_follow_the_name_of_a_method(tmp_path):
    found = expand(
        grid(tmp_path),
        Filters(architectures=["mtan:width=16"], weightings=["dwa:temperature=3", "constant:weights=[1, 2, 0.5]"]),
    )
    assert [s.weighting_words for s in found if s.weighting] == [
        "dwa (temperature 3.0)",
        "constant (weights 1 2 0.5)",
    ]
    assert {s.architecture.options["width"] for s in found if s.architecture.name == "mtan"} == {16}
    with pytest.raises(UsageError, match="given as key=value, and commas between them; found 'temperature'"):
        expand(grid(tmp_path), Filters(weightings=["dwa:temperature"]))
    (smoothed,) = expand(grid(tmp_path), Filters(architectures=["mtan"], weightings=["cr-mogm:of=mgda,alpha=0.5"]))[1:]
    assert smoothed.weighting.options == {"of": "mgda", "alpha": 0.5, "on": "parameters"}
    with pytest.raises(UsageError, match=r"unknown option of 'dwa' 'temprature'\. Did you mean 'temperature'"):
        expand(grid(tmp_path), Filters(weightings=["dwa:temprature=1"]))


def test_an_unknown_grid_names_the_known():
    with pytest.raises(UsageError, match=r"unknown grid 'quik'. Did you mean 'quick'\?.*a path that ends in .toml"):
        load_grid("quik")
    with pytest.raises(UsageError, match="cannot be read"):
        load_grid("no-such-file.toml")


@pytest.mark.parametrize("line", ["reference_seeds = 0", 'reference_seeds = "all"', 'pictures = "none"'])
def test_wrong_words_for_seeds_and_pictures_are_one_line(tmp_path, line):
    with pytest.raises(UsageError, match=line.split()[0]):
        grid(tmp_path, f"{line}\n{MINIMAL}")
