"""What a grid expands to: cells, references, options, points of the simplex."""

import pytest

from benchmark.errors import UsageError
from benchmark.runs.expansion import expand, simplex_points, unpictured
from benchmark.runs.filters import Filters
from benchmark.runs.grid import load_grid
from tests.benchmark.gridfiles import MINIMAL, cells, grid


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


def test_nothing_is_run_twice(tmp_path):
    doubled = grid(tmp_path, MINIMAL.replace('"stan"', '"stan", "mtan", "single-task"').replace("[3]", "[3, 3]"))
    assert len(expand(doubled)) == 6


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
