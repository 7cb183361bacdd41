"""Grid files and what they expand to."""

import hashlib

import pytest

from benchmark.arithmetic import ComputeOptions
from benchmark.errors import UsageError
from benchmark.model import MultiTaskModel
from benchmark.registry import ARCHITECTURES
from benchmark.runs.axes import values_of, words_of
from benchmark.runs.expansion import expand, expand_settings, simplex_points, undefined, unpictured
from benchmark.runs.filters import AS_IN_THE_GRID, Filters
from benchmark.runs.grid import Grid, grid_names, load_grid

#: By study a hash over the identities of seeds 0 and 5, taken when its first run began.
STUDIES = {
    "study-architectures": "f8c4eea33cd5ede9",
    "study-weightings": "eb218888761532cc",
    "study-patterns": "2ebf5c2b3c72491f",
    "study-methods": "5e6dce0fc5fd9449",
}

MINIMAL = """
seeds = [3]
architectures = ["mtan", "stan", { name = "split", options = { variant = "deep" } }]
weightings = ["equal", { name = "dwa", options = { temperature = 1.0 } }]
[architecture]
width = 8
[protocol]
epochs = 1
batch_size = 2
[datasets.scenes]
[datasets.multi-fashion]
by_default = false
architecture = { backbone = "wrn" }
protocol = { epochs = 5 }
"""


def grid(tmp_path, text=MINIMAL):
    file = tmp_path / "grid.toml"
    file.write_text(text)
    return load_grid(str(file))


def cells(specs):
    return [(s.dataset.name, s.architecture.name, s.weighting_name, s.seed) for s in specs]


def test_a_grid_whose_data_sets_are_all_to_be_named_says_so():
    with pytest.raises(
        UsageError,
        match="no data set unless --dataset names it: grocery-store, camvid, office, pascal-context, celeba",
    ):
        expand(load_grid("real"))
    assert {spec.dataset.name for spec in expand(load_grid("real"), Filters(datasets=["camvid"]))} == {"camvid"}


def test_a_grid_holds_its_cells_and_the_references(tmp_path):
    assert cells(expand(grid(tmp_path))) == [
        ("scenes", "single-task", "none", 3),
        ("scenes", "mtan", "equal", 3),
        ("scenes", "mtan", "dwa", 3),
        ("scenes", "stan", "none", 3),
        ("scenes", "split", "equal", 3),
        ("scenes", "split", "dwa", 3),
    ]


def test_options_reach_the_methods(tmp_path):
    specs = expand(grid(tmp_path))
    assert all(s.architecture.options["width"] == 8 for s in specs)
    assert specs[-1].architecture.options["variant"] == "deep"
    assert specs[-1].weighting.options == {"temperature": 1.0}


def test_a_data_set_has_its_own_protocol_and_architecture_options(tmp_path):
    specs = expand(grid(tmp_path), Filters(datasets=["multi-fashion"]))
    assert {s.protocol.epochs for s in specs} == {5}
    assert {s.architecture.options["backbone"] for s in specs} == {"wrn"}
    assert {s.architecture.options["width"] for s in specs} == {8}


def test_smoke_takes_the_decays_from_a_cosine_wherever_it_is_said(tmp_path):
    cosine = MINIMAL.replace("batch_size = 2", 'batch_size = 2\nschedule = "cosine"')
    own = MINIMAL.replace("protocol = { epochs = 5 }", 'protocol = { epochs = 5, schedule = "cosine" }')
    for text, dataset in ((cosine, "scenes"), (cosine, "multi-fashion"), (own, "multi-fashion")):
        (protocol,) = {s.protocol for s in expand(grid(tmp_path, text), Filters(datasets=[dataset], smoke=True))}
        assert (protocol.epochs, protocol.schedule) == (2, "cosine")
    (plain,) = {s.protocol for s in expand(grid(tmp_path, own), Filters(datasets=["scenes"], smoke=True))}
    assert (plain.epochs, plain.schedule, plain.lr_step) == (2, "step", 1)


def test_filters_keep_the_references_and_may_name_anything_registered(tmp_path):
    filters = Filters(architectures=["dense"], weightings=["uncertainty"], seeds=[0, 1])
    assert cells(expand(grid(tmp_path), filters)) == [
        ("scenes", "single-task", "none", 0),
        ("scenes", "dense", "uncertainty", 0),
        ("scenes", "single-task", "none", 1),
        ("scenes", "dense", "uncertainty", 1),
    ]


def test_a_filter_keeps_the_grids_options(tmp_path):
    specs = expand(grid(tmp_path), Filters(architectures=["split"], weightings=["dwa"]))
    assert specs[-1].architecture.options["variant"] == "deep"
    assert specs[-1].weighting.options == {"temperature": 1.0}


def test_nothing_is_run_twice(tmp_path):
    doubled = grid(tmp_path, MINIMAL.replace('"stan"', '"stan", "mtan", "single-task"').replace("[3]", "[3, 3]"))
    assert len(expand(doubled)) == 6


def test_the_suites_grids_hold_what_they_promise():
    assert set(grid_names()) >= {"quick", "paper", "full"}
    patterns = {"single-task", "stan", "split-wide", "split-deep", "dense", "cross-stitch", "mtan"}
    quick = expand(load_grid("quick"))
    assert len(quick) == 2 + 5 * 3
    assert {s.architecture.name for s in quick} == patterns
    assert {s.seed for s in quick} == {0}
    paper = expand(load_grid("paper"))
    assert {s.architecture.options["width"] for s in paper} == {64}
    assert len(paper) == 3 * len(quick)
    swept = expand(load_grid("scalarisation"))
    assert len(swept) == 3 * (1 + 2 * (1 + 9))
    assert {s.id for s in quick if s.weighting_name == "equal" and s.architecture.name == "mtan"} < {
        s.id for s in swept
    }
    full = expand(load_grid("full"), Filters(datasets=["scenes", "multi-fashion"]))
    assert {s.architecture.name for s in full} >= {*patterns, "split"}
    assert {s.seed for s in full} == {0, 1, 2}


def study(name, seed):
    specs = expand(load_grid(name), Filters(seeds=[seed]))
    return {(s.dataset.name, s.architecture.name, s.weighting_words): s.id for s in specs}


def test_the_studies_are_frozen():
    """Their runs are made over months on many machines: an identity that changes loses all of them."""
    found = {name: [study(name, seed) for seed in (0, 5)] for name in STUDIES}
    for first, last in found.values():
        assert first.keys() == last.keys()
        assert not set(first.values()) & set(last.values())
    digest = {
        name: hashlib.sha256("".join(sorted(i for cells in seeds for i in cells.values())).encode()).hexdigest()[:16]
        for name, seeds in found.items()
    }
    assert digest == STUDIES
    assert [len(seeds[0]) for seeds in found.values()] == [
        2 * (2 + 6 * 3),
        2 * (1 + 31) + 9 + 4,
        2 * (1 + 2 + 7),
        2 * (1 + 1 + 7),
    ]


def test_both_studies_stand_on_one_board():
    a, w = (study(name, 0) for name in ("study-architectures", "study-weightings"))
    common = {
        (dataset, *cell)
        for dataset in ("scenes", "multi-fashion")
        for cell in [("single-task", "none"), *(("split", name) for name in ("equal", "uncertainty", "dwa"))]
    }
    assert a.keys() & w.keys() == common
    assert all(a[cell] == w[cell] for cell in common)


def test_weightings_that_joined_later_stand_on_the_boards_of_the_studies():
    w, later = study("study-weightings", 0), study("study-methods", 0)
    common = {
        (dataset, *cell)
        for dataset in ("scenes", "multi-fashion")
        for cell in [("single-task", "none"), ("split", "equal")]
    }
    assert w.keys() & later.keys() == common
    assert all(w[cell] == later[cell] for cell in common)
    assert {cell[2] for cell in later.keys() - common} == {
        "uw-so",
        "igb",
        "go4align",
        "ldc-mtl",
        "ntkmtl",
        "cr-mogm",
        "cr-mogm (of mgda)",
    }
    specs = expand(load_grid("study-methods"))
    seeds = {s.seed for s in specs if s.architecture.name == "split"}
    assert (seeds, len(specs)) == ({0, 1, 2}, 2 * (8 + 3 * 8))
    frozen = expand(load_grid("study-weightings"), Filters(seeds=[0]))
    for dataset in ("scenes", "multi-fashion"):
        settings = [
            (s.dataset, s.protocol, s.architecture)
            for s in (*specs, *frozen)
            if s.dataset.name == dataset and s.architecture.name == "split"
        ]
        assert all(setting == settings[0] for setting in settings)


def test_points_of_the_simplex_by_hand():
    assert simplex_points(4, 2) == [(0.75, 0.25), (0.25, 0.75)]
    assert simplex_points(4, 3) == [(0.5, 0.25, 0.25), (0.25, 0.5, 0.25), (0.25, 0.25, 0.5)]
    assert len(simplex_points(6, 3)) == 10 - 1  # 5 choose 2, without the centre
    assert len(simplex_points(7, 3)) == 15  # the centre is no multiple of 1/7
    assert simplex_points(3, 3) == simplex_points(5, 1) == []
    for point in simplex_points(9, 4):
        assert sum(point) == pytest.approx(1)
        assert min(point) > 0


def test_a_sweep_has_the_points_of_each_data_sets_tasks(tmp_path):
    swept = grid(tmp_path, MINIMAL.replace('"equal"', '{ name = "constant", simplex = 4 }'))
    for dataset, count in (("scenes", 3), ("multi-fashion", 2)):
        specs = expand(swept, Filters(datasets=[dataset], architectures=["mtan"], weightings=["constant"]))
        weights = [s.weighting.options["weights"] for s in specs if s.weighting]
        assert weights == [list(point) for point in simplex_points(4, count)]


def test_sweeps_share_the_points_that_they_have_in_common(tmp_path):
    both = '{ name = "constant", simplex = 4 }, { name = "constant", simplex = 8 }'
    specs = expand(grid(tmp_path, MINIMAL.replace('"equal"', both)), Filters(architectures=["mtan"]))
    assert len([s for s in specs if s.weighting_name == "constant"]) == 21  # 7 choose 2, three of them fourths


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


def test_grids_are_put_together_run_by_run(tmp_path):
    both, own = load_grid("study"), [load_grid(name) for name in ("study-architectures", "study-weightings")]
    found = expand(both)
    assert {spec.id for spec in found} == {spec.id for grid in own for spec in expand(grid)}
    assert [spec.seed for spec in found] == sorted(spec.seed for spec in found)
    assert unpictured(both, found) == unpictured(own[0], found)
    file = tmp_path / "again.toml"
    for names in ('["study"]', '["no-such-grid"]', f'["{file}"]'):
        file.write_text(f"include = {names}")
        with pytest.raises(UsageError, match="'include' must name grids of the suite that include no others") as caught:
            expand(load_grid(str(file)))
        assert "\n" not in str(caught.value)
    file.write_text("include = []")
    with pytest.raises(UsageError, match="not valid: include"):
        load_grid(str(file))


def test_all_means_everything_registered():
    everything = Grid(
        seeds=(0,),
        architectures="all",
        weightings="all",
        datasets={"scenes": {}},
        protocol={"epochs": 1, "batch_size": 2},
    )
    assert {"dense", "mtan", "split"} <= {s.architecture.name for s in expand(everything)}
    weightings = {s.weighting_name for s in expand(everything)}
    assert {"equal", "gls"} <= weightings
    assert "constant" not in weightings  # it has an option without default


def test_references_may_have_more_seeds_than_the_other_cells(tmp_path):
    more = grid(tmp_path, MINIMAL.replace("seeds = [3]", "seeds = [1, 3]\nreference_seeds = 3"))
    specs = expand(more)
    seeds = {
        name: [s.seed for s in specs if s.architecture.name == name and s.weighting_name in ("none", "equal")]
        for name in ("single-task", "mtan", "stan")
    }
    # 0 to 2, and 3, which the other cells need for Δm.
    assert seeds == {"single-task": [1, 3, 0, 2], "mtan": [1, 3], "stan": [1, 3]}
    assert expand(more, Filters(seeds=[5])) == expand(grid(tmp_path), Filters(seeds=[5]))
    assert {s.seed for s in expand(more, Filters(smoke=True))} == {1}


def test_what_a_grid_says_of_seeds_and_pictures_changes_no_identity(tmp_path):
    plain, said = (
        grid(tmp_path, text) for text in (MINIMAL, f'reference_seeds = 4\npictures = "first-seed"\n{MINIMAL}')
    )
    ids = [spec.id for spec in expand(plain)]
    assert [spec.id for spec in expand(said)][: len(ids)] == ids


def test_pictures_of_the_first_seed_are_the_same_runs_whatever_part_of_the_grid_is_run(tmp_path):
    text = MINIMAL.replace("seeds = [3]", 'seeds = [2, 1]\nreference_seeds = 2\npictures = "first-seed"')
    first = grid(tmp_path, text)
    specs = expand(first)
    without = unpictured(first, specs)
    shown = [(s.architecture.name, s.seed) for s in specs if s.id not in without]
    assert {seed for name, seed in shown if name == "single-task"} == {0}
    assert {seed for name, seed in shown if name != "single-task"} == {1}
    assert len(shown) == 6
    part = expand(first, Filters(seeds=[2]))
    assert unpictured(first, part) == {spec.id for spec in part}
    assert unpictured(grid(tmp_path), expand(grid(tmp_path))) == frozenset()


@pytest.mark.parametrize("line", ["reference_seeds = 0", 'reference_seeds = "all"', 'pictures = "none"'])
def test_wrong_words_for_seeds_and_pictures_are_one_line(tmp_path, line):
    with pytest.raises(UsageError, match=line.split()[0]):
        grid(tmp_path, f"{line}\n{MINIMAL}")


AXES = """
[axes]
"protocol.weight_decay" = [0.0, 0.1]
"architecture.width" = [8, 16]
"""


def test_an_axis_runs_every_cell_and_the_references_once_at_each_value(tmp_path):
    specs = expand(grid(tmp_path, MINIMAL + AXES))
    at = {(s.protocol.weight_decay, s.architecture.options["width"]) for s in specs}
    assert at == {(0.0, 8), (0.0, 16), (0.1, 8), (0.1, 16)}
    assert {len([s for s in specs if s.architecture.name == name]) for name in ("single-task", "stan")} == {4}
    # The runs of one setting are those of a grid that says the same without axes.
    plain = expand(grid(tmp_path))
    assert [s.id for s in specs if (s.protocol.weight_decay, s.architecture.options["width"]) == (0.0, 8)] == [
        s.id for s in plain
    ]


def test_values_of_an_axis_win_over_those_of_a_data_set_and_change_together_where_they_are_named(tmp_path):
    text = (
        MINIMAL
        + """
    [axes.length]
    study = {}
    long = { "protocol.epochs" = 7, "protocol.optimizer" = "sgd" }
    """
    )
    found = grid(tmp_path, text)
    specs = expand(found, Filters(datasets=["multi-fashion"], architectures=["mtan"], weightings=["equal"]))
    assert {(s.protocol.epochs, s.protocol.optimizer) for s in specs} == {(5, "adam"), (7, "sgd")}
    assert [dict(setting) for setting in found.settings] == [{"length": "study"}, {"length": "long"}]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ('"protocol.optimiser" = ["adam"]', "unknown field of the protocol 'optimiser'. Did you mean 'optimizer'"),
        ('"architecture.widht" = [8, 16]', "unknown architecture option 'widht'"),
        ('"seeds" = [0, 1]', "the axis 'seeds' changes 'seeds', expected a field of the protocol"),
        ('"protocol.weight_decay" = []', "the axis 'protocol.weight_decay' has no value"),
        ('"protocol.optimizer" = ["adam", "lion"]', "the protocol for 'scenes' is not valid"),
        (
            'rate = { a = {}, b = { "protocol.momentum" = 0.9 } }',
            "the same runs twice on 'scenes', at rate a and at rate b",
        ),
        ('"architecture.width" = [8, 16, 8]', "the axis 'architecture.width' has the value 8 twice: leave one of them"),
        ('"protocol.learning_rate" = [0.01, 1e-2]', "'protocol.learning_rate' has the value 0.01 twice"),
        (
            '"protocol.weight_decay" = [1, 1.0]',
            "twice on 'scenes', at protocol.weight_decay 1 and at .*weight_decay 1.0",
        ),
        ('"architecture.width" = [8, 8.0]', "twice on 'scenes', at architecture.width 8 and at architecture.width 8.0"),
        (
            '"protocol.epochs" = [1, 2]\nlength = { short = {}, long = { "protocol.epochs" = 3 } }',
            "the axes 'protocol.epochs' and 'length' both change 'protocol.epochs'",
        ),
        (
            '"architecture.variant" = ["deep", "wide"]',
            "at architecture.variant deep two entries of the architecture 'split' are the same",
        ),
    ],
)
def test_an_axis_that_cannot_be_is_told(tmp_path, axes, message):
    text = MINIMAL.replace('"stan"', '"stan", { name = "split", options = { variant = "wide" } }')
    with pytest.raises(UsageError, match=message) as caught:
        expand(grid(tmp_path, f"{text}[axes]\n{axes}\n"))
    assert "\n" not in str(caught.value)


KEY = "a key with a dot stands in quotes"
LIST = "expected a list of values"


@pytest.mark.parametrize(
    ("axes", "parts"),
    [
        (
            'protocol.optimizer = ["adam", "sgd"]',
            (KEY, '"protocol.optimizer" = [', '--set \'axes={"protocol.optimizer"=['),
        ),
        ("architecture.width = 8", (KEY, '"architecture.width" = [')),
        (
            "length = { short = { protocol.epochs = 1 }, long = { protocol.epochs = 2 } }",
            ("the value 'short' of the axis 'length'", KEY, '"protocol.epochs" = '),
        ),
        ('"protocol.optimizer" = "adam"', ("the axis 'protocol.optimizer'", LIST, "found 'adam'")),
        ("length = 3", ("the axis 'length'", LIST, "found 3")),
        ('length = { short = "adam" }', ("the value 'short' of the axis 'length'", "expected a table", "found 'adam'")),
    ],
)
def test_an_axis_that_is_written_wrongly_is_told_in_plain_words(tmp_path, axes, parts):
    with pytest.raises(UsageError) as caught:
        grid(tmp_path, f"{MINIMAL}[axes]\n{axes}\n")
    for part in parts:
        assert part in str(caught.value)
    assert "valid dictionary" not in str(caught.value)


def test_axes_that_are_no_table_are_told(tmp_path):
    with pytest.raises(UsageError, match=r"'axes' must be a table, such as .*; found \[1, 2\]"):
        grid(tmp_path, f"axes = [1, 2]\n{MINIMAL}")


def test_an_axis_that_changes_nothing_on_one_data_set_is_told(tmp_path):
    found = grid(tmp_path, f'{MINIMAL}[axes]\nlength = {{ short = {{}}, long = {{ "protocol.epochs" = 5 }} }}\n')
    assert {spec.protocol.epochs for spec in expand(found)} == {1, 5}
    with pytest.raises(UsageError, match="twice on 'multi-fashion', at length short and at length long"):
        expand(found, Filters(datasets=["scenes", "multi-fashion"]))


def test_values_that_short_words_would_not_tell_apart_have_long_ones():
    assert list(values_of("architecture.rates", ([0.12341], [0.12342]))) == ["[0.12341]", "[0.12342]"]
    assert list(values_of("architecture.rates", ([0.5], [1, 2]))) == ["0.5", "1 2"]


OPTIMIZER = 'optimizer = { usual = {}, sgd = { "protocol.optimizer" = "sgd", "protocol.learning_rate" = 0.1 } }'


@pytest.mark.parametrize(
    ("key", "value", "axis"),
    [
        ("protocol.weight_decay", 0.5, "protocol.weight_decay"),
        ("datasets.scenes.protocol.weight_decay", 0.5, "protocol.weight_decay"),
        ("datasets.scenes", {"protocol": {"weight_decay": 0.5}}, "protocol.weight_decay"),
        ("architecture", {"width": 4}, "architecture.width"),
        ("protocol.learning_rate", 0.5, "optimizer"),  # it would count at one of two values
    ],
)
def test_nothing_is_set_that_an_axis_varies(tmp_path, key, value, axis):
    text = f"{MINIMAL}{AXES}{OPTIMIZER}\n"
    grid(tmp_path, text)
    with pytest.raises(UsageError, match=rf"'{key}.*cannot be set for all runs, for the grid's axis '{axis}' varies"):
        load_grid(tmp_path / "grid.toml", {key: value})
    found = load_grid(tmp_path / "grid.toml", {"protocol.epochs": 3, "datasets.scenes.architecture.backbone": "wrn"})
    assert {spec.protocol.epochs for spec in expand(found)} == {3}
    found = load_grid(tmp_path / "grid.toml", {"axes": {"protocol.epochs": [1, 2]}, key: value})
    assert {spec.protocol.epochs for spec in expand(found)} == {1, 2}


def test_no_list_of_architectures_sets_what_an_axis_varies(tmp_path):
    grid(tmp_path, MINIMAL + AXES)
    entries = ["mtan", {"name": "split", "options": {"variant": "deep", "width": 32}}]
    message = r"'architecture\.width' cannot be set for all runs, for the grid's axis 'architecture\.width' varies"
    with pytest.raises(UsageError, match=message):
        load_grid(tmp_path / "grid.toml", {"architectures": entries})
    del entries[1]["options"]["width"]
    found = expand(load_grid(tmp_path / "grid.toml", {"architectures": entries}))
    assert {s.architecture.options["variant"] for s in found if s.architecture.name == "split"} == {"deep"}


def test_the_command_line_says_nothing_for_all_that_an_axis_varies(tmp_path):
    found = grid(tmp_path, MINIMAL + AXES)
    with pytest.raises(UsageError, match=r"'architecture\.width' cannot be set for all runs, for the grid's axis"):
        expand(found, Filters(architectures=["mtan:width=32"]))
    assert expand(found, Filters(architectures=["mtan:backbone=segnet"]))


def test_an_axis_may_vary_the_arithmetic_where_the_command_line_leaves_it_open(tmp_path):
    found = grid(tmp_path, f'{MINIMAL}[axes]\n"protocol.arithmetic" = ["portable", "native"]\n')
    specs = expand(found, AS_IN_THE_GRID)
    assert {spec.protocol.arithmetic for spec in specs} == {"portable", "native"}
    assert len(specs) == 2 * len(expand(grid(tmp_path), AS_IN_THE_GRID))
    found = grid(tmp_path, f'{MINIMAL}[axes]\n"protocol.arithmetic" = ["portable", "native"]\n')
    for filters in (Filters(), Filters(compute=ComputeOptions("portable", "auto"))):
        with pytest.raises(
            UsageError, match=r"axis 'protocol\.arithmetic' varies the arithmetic, and '.*' is asked for"
        ):
            expand(found, filters)
    found = grid(tmp_path, f'{MINIMAL}[axes]\n"protocol.precision" = ["fp32", "bf16"]\n')
    with pytest.raises(UsageError, match=r"varies the precision, and 'bf16' is asked for all runs: leave --precision"):
        expand(found, Filters(compute=ComputeOptions("auto", "bf16")))


def test_values_of_an_axis_win_over_an_architectures_own_entry(tmp_path):
    text = MINIMAL.replace('"mtan"', '{ name = "mtan", options = { width = 32 } }')
    axes = '[axes]\nsize = { own = {}, small = { "architecture.width" = 16 } }\n'
    found = [s for s in expand(grid(tmp_path, text + axes)) if s.architecture.name == "mtan"]
    assert [s.architecture.options["width"] for s in found] == [32, 32, 16, 16]
    # An option that the entry leaves open and one that it alone says.
    axes = '[axes]\n"architecture.width" = [8, 16]\n'
    found = [s.architecture for s in expand(grid(tmp_path, MINIMAL + axes)) if s.architecture.name == "split"]
    assert {(a.options["width"], a.options["variant"]) for a in found} == {(8, "deep"), (16, "deep")}


@pytest.fixture
def narrow():
    """An architecture without the options of backbones but their width."""

    @ARCHITECTURES.register("narrow")
    class Narrow(MultiTaskModel):
        def __init__(self, tasks, *, width: int = 8) -> None:
            super().__init__(tasks)

        def forward(self, images, tasks=None):
            return {}

        def task_parameters(self, task):
            return []

    yield "narrow"
    del ARCHITECTURES._entries["narrow"]


def test_an_architecture_that_lacks_what_an_axis_varies_of_the_references_is_told(tmp_path, narrow):
    text = MINIMAL.replace('"mtan"', '"narrow"')
    axes = '[axes]\n"architecture.width" = [8, 16]\n"architecture.dropout" = [0.0, 0.1]\n'
    with pytest.raises(
        UsageError,
        match=r"the architecture 'narrow' has no option 'dropout', which the axis 'architecture\.dropout' varies: its "
        r"runs would be the same at architecture\.width 8, architecture\.dropout 0\.0 and at architecture\.width 8, "
        r"architecture\.dropout 0\.1,",
    ):
        expand(grid(tmp_path, text + axes))
    assert expand(grid(tmp_path, text + '[axes]\n"architecture.width" = [8, 16]\n'))
    # Where the references have no such option either, there is one board, on which each row stands once.
    text = text.replace(', { name = "split", options = { variant = "deep" } }', ', "split"')
    specs = expand(grid(tmp_path, text + '[axes]\n"architecture.variant" = ["deep", "wide"]\n'))
    assert [s.architecture.name for s in specs] == ["single-task", "narrow", "narrow", "stan", *["split"] * 4]


@pytest.mark.parametrize(
    "said", ['[axes]\n"architecture.variant" = ["deep", "wide"]', '[architecture]\nvariant = "deep"']
)
def test_a_part_of_a_grid_may_lack_an_option_that_the_rest_has(tmp_path, said):
    text = MINIMAL.replace("[architecture]\nwidth = 8\n", "").replace(', options = { variant = "deep" }', "")
    found = grid(tmp_path, f"{text}{said}\n")
    whole, part = expand(found), expand(found, Filters(architectures=["mtan"]))
    assert {s.id for s in part} == {s.id for s in whole if s.architecture.name in ("single-task", "mtan")}
    assert {s.architecture.options["variant"] for s in whole if s.architecture.name == "split"} >= {"deep"}


def test_runs_are_told_by_setting_and_grids_put_together_by_grid(tmp_path):
    found = expand_settings(grid(tmp_path, MINIMAL + AXES))
    assert [words_of(setting) for setting in found][1] == "protocol.weight_decay 0.0, architecture.width 16"
    assert [{s.protocol.weight_decay for s in specs} for specs in found.values()] == [{0.0}, {0.0}, {0.1}, {0.1}]
    assert list(expand_settings(grid(tmp_path))) == [()]
    both = expand_settings(load_grid("study"))
    assert [words_of(setting) for setting in both] == ["grid study-architectures", "grid study-weightings"]


def test_a_smoke_test_of_axes_runs_and_cells_that_are_undefined_are_told_once(tmp_path):
    text = MINIMAL.replace('"equal", ', '"equal", { name = "mgda", options = { on = "representation" } }, ') + AXES
    found = grid(tmp_path, text)
    assert {s.architecture.options["width"] for s in expand(found, Filters(smoke=True))} == {4}
    assert [str(cell).partition(":")[0] for cell in undefined(found)] == ["mtan × mgda is undefined"]
