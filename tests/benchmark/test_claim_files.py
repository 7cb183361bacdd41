"""Claims' files: what they may say, and how mistakes are told."""

from pathlib import Path

import pytest

import baselines  # noqa: F401 - registers the methods
from benchmark.claims import check, claim_named
from benchmark.errors import UsageError
from benchmark.runs.expansion import expand
from benchmark.runs.filters import AS_IN_THE_GRID
from benchmark.runs.grid import load_grid
from tests.benchmark.claimfiles import AT, DWA, GRID, OPTIMIZERS
from tests.benchmark.shell import one_line


def test_a_claims_file_that_is_not_valid_is_told(tmp_path, written):
    with pytest.raises(UsageError, match=r"unknown claim 'mtan-beter'. Did you mean 'mtan-better'"):
        claim_named("mtan-beter")
    with pytest.raises(UsageError, match="cannot be read"):
        claim_named(str(tmp_path / "none.toml"))
    with pytest.raises(UsageError, match="is not valid: holds"):
        written(DWA, "somewhere")
    with pytest.raises(UsageError, match=r"is not valid: rules\[0\]: .*'same' is of the quantity 'difference' alone"):
        written(DWA.replace('"difference"', '"range"'))


@pytest.mark.parametrize(
    ("quantity", "rows", "others", "same", "message"),
    [
        ("range", '["stan"]', '["split"]', "", "of two weightings or more, and there is stan · none alone"),
        ("range", '["split"]', '["stan"]', "", "of two weightings or more, and there is stan · none alone"),
        ("range", '["split"]', '["split", "mtan"]', "", "of one architecture is subtracted, found split and mtan"),
        (
            "difference",
            '["split"]',
            '["split"]',
            'same = "row"',
            "a row of 'others' that is another and has the same row",
        ),
        ("difference", '["stan"]', '["stan"]', "", "for no row of 'rows' there is a row of 'others' that is another$"),
        ("difference from mean", '["stan"]', '["stan"]', "", "for no row of 'rows' there is a row of 'others'"),
        ("beyond front", '["stan"]', '["stan"]', "", "for no row of 'rows' there is a row of 'others'"),
        ("difference", '["splitt"]', '["mtan"]', "", r"unknown architecture 'splitt'\. Did you mean 'split'"),
        (
            "difference",
            '["split", "dense"]',
            '["mtan"]',
            "",
            r"unknown architecture 'dense'\. .*Known: mtan, single-task",
        ),
        ("difference", '["split"], weighting = ["famo"]', '["mtan"]', "", "unknown weighting 'famo'"),
        ("difference", '["split"], but = ["equall"]', '["mtan"]', "", "unknown architecture or weighting 'equall'"),
        ("difference", '["split"], but = ["split"]', '["mtan"]', "", "no row of it is meant by .*architecture.*split"),
        ("difference", '["split"], at = { optimiser = ["adam"] }', '["mtan"]', "", "unknown axis 'optimiser'"),
    ],
)
def test_a_rule_that_makes_no_quantity_is_told_before_there_are_runs(written, quantity, rows, others, same, message):
    rules = f'[[rules]]\nquantity = "{quantity}"\nrows = {{ architecture = {rows} }}\n'
    claim = written(f"{rules}others = {{ architecture = {others} }}\n{same}\n")
    with pytest.raises(UsageError, match=message) as caught:
        check(claim)
    assert str(caught.value).startswith("the claim 'a-claim' does not fit its grid")


def test_a_value_or_a_data_set_that_the_grid_has_not_is_told(written, tmp_path, mtbench):
    with pytest.raises(UsageError, match=r"unknown value of the axis 'protocol\.optimizer' 'sdg'\. Did you mean 'sgd'"):
        check(written(AT.replace('"sgd"', '"sgd", "sdg"'), axes=OPTIMIZERS))
    written(DWA)
    path = tmp_path / "a-claim.toml"
    path.write_text(path.read_text().replace('["scenes"]', '["scenes", "scens"]'))
    with pytest.raises(UsageError, match=r"unknown data set 'scens'\. Did you mean 'scenes'"):
        check(claim_named(str(path)))
    one_line(mtbench("claims", "run", str(path), "--dry-run"), 2, "unknown data set 'scens'")


def test_a_claim_names_data_sets_that_its_grid_runs_by_name_alone(written):
    claim = written(DWA)
    (grid := Path(claim.grid)).write_text(GRID.replace("[datasets.scenes]", "[datasets.scenes]\nby_default = false"))
    assert {spec.dataset.name for spec in claim_named(str(grid.parent / "a-claim.toml")).needed()} == {"scenes"}


def test_two_backbones_on_one_data_set_are_told(written):
    claim = written(DWA)
    second = 'architectures = [{ name = "single-task", options = { width = 32 } }, '
    Path(claim.grid).write_text(GRID.replace("architectures = [", second))
    with pytest.raises(UsageError, match="single-task networks of several backbones on 'scenes'; give it one of them"):
        check(claim)


def test_a_claims_settings_are_its_runs(written):
    claim = written(AT, axes=OPTIMIZERS)
    assert {spec.id for specs in claim.settings.values() for spec in specs} == {spec.id for spec in claim.specs}
    assert claim.specs == expand(load_grid(claim.grid), AS_IN_THE_GRID)
