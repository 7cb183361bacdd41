"""Published tables: numbers as printed, and what the suite's own functions make of them."""

import math

import pytest
from pydantic import ValidationError

import baselines  # noqa: F401 - registers the methods that tables are linked to
from benchmark import analysis
from benchmark.analysis import published
from benchmark.errors import UsageError
from benchmark.registry import ARCHITECTURES, WEIGHTINGS

NYU = "mtan2019-nyuv2"


def row(table, architecture, weighting):
    (found,) = [r for r in table.records if (r.architecture, r.weighting) == (architecture, weighting)]
    return found


def test_every_printed_number_is_there():
    found = {table.key: (len(table.records), len(table.metrics), len(table.frame())) for table in published.tables()}
    assert found == {
        "mtan2019-cityscapes": (17, 4, 68),
        "mtan2019-nyuv2": (17, 9, 153),
        "mtan2019-decathlon": (8, 10, 80),
        "libmtl-segnet": (14, 9, 126),
        "papers-segnet": (14, 9, 126),
        "libmtl-resnet": (104, 9, 936 - 81),  # nine runs ran out of memory
    }


def test_numbers_are_as_printed():
    mtan = row(published.table(NYU), "MTAN", "Equal")
    assert (mtan.values["semantic"]["miou"], mtan.parameters_factor, mtan.approximate) == (17.72, 1.77, False)
    assert row(published.table(NYU), "Cross-Stitch", "DWA").approximate
    assert row(published.table("mtan2019-decathlon"), "MTAN", "none").totals["decathlon_score"] == 2941.0
    for record in published.table("mtan2019-decathlon").records:
        mean = sum(values["accuracy"] for values in record.values.values()) / 10
        assert record.totals["mean_acc"] == pytest.approx(mean, abs=0.0051)
    libmtl = row(published.table("libmtl-segnet"), "MTAN", "EW")
    assert libmtl.values["normals"]["within_30"] == 63.36
    assert libmtl.reported_by == "LibMTL"


def test_delta_by_hand():
    """Cityscapes, MTAN with equal weights against one network per task, from the paper's table 2."""
    table = published.table("mtan2019-cityscapes")
    single, mtan = row(table, "One Task", "none").values, row(table, "MTAN", "Equal").values
    assert single == {"semantic": {"miou": 51.09, "pixel_accuracy": 90.69},
                      "depth": {"abs_error": 0.0158, "rel_error": 34.17}}  # fmt: skip
    assert mtan == {"semantic": {"miou": 53.04, "pixel_accuracy": 91.11},
                    "depth": {"abs_error": 0.0144, "rel_error": 33.63}}  # fmt: skip
    gains = [1.95 / 51.09, 0.42 / 90.69, 0.0014 / 0.0158, 0.54 / 34.17]
    delta = table.delta_m().set_index(["architecture", "weighting"]).loc[("MTAN", "Equal")]
    assert delta["delta_m"] == pytest.approx(100 * sum(gains) / 4)
    assert delta["delta_flat"] == pytest.approx(-100 * sum(gains) / 4)  # two metrics a task: both means agree


def test_without_a_single_task_row_there_is_no_delta_and_it_is_said_why():
    for table in published.tables():
        delta = table.delta_m()["delta_m"]
        if table.no_delta is None:
            assert delta.notna().all()
            assert sum(record.reference for record in table.records) == 1
        else:
            assert "no single-task row" in table.no_delta
            assert delta.isna().all()
            assert published.claims(table) == ()


def test_ranks_and_fronts_run_on_published_tables():
    table = published.table("libmtl-resnet")
    assert len(table.ranks) == 104 - 9
    test = table.frame().pivot(index=["architecture", "weighting"], columns=["task", "metric"], values="value")
    front = analysis.non_dominated(test, {("semantic", "miou"): True, ("depth", "abs_error"): False})
    assert 0 < front.sum() < len(test)
    standings = published.standings(published.table(NYU)).set_index("architecture")
    assert standings.index[0] == "MTAN"
    assert standings["non_dominated"].to_dict() == {
        "MTAN": True, "Split, Wide": True, "Dense": False, "Cross-Stitch": False, "STAN": False, "One Task": False,
        "Split, Deep": False,
    }  # fmt: skip


def test_the_papers_claims_are_checked_on_its_own_numbers():
    found = {key: [c.holds for c in published.claims(published.table(key))] for key in (
        NYU, "mtan2019-cityscapes", "mtan2019-decathlon",
    )}  # fmt: skip
    assert found == {
        NYU: [True, True, True, True],
        "mtan2019-cityscapes": [True, False, True, True],  # Dense has the greater Δm, with more than twice the size
        "mtan2019-decathlon": [True, False, False],
    }
    lead = published.claims(published.table("mtan2019-cityscapes"))[1]
    assert "of Dense" in lead.evidence


def test_reported_records_are_never_runs():
    table = published.table(NYU)
    assert {record.kind for record in table.records} == {"reported"}
    with pytest.raises(ValidationError):
        table.records[0].architecture = "mine"
    with pytest.raises(UsageError, match="mtan2019-nyuv2"):
        published.table("mtan2019-nyuv3")
    assert table.citation.url.startswith("https://arxiv.org")
    assert all(t.protocol.backbone and t.protocol.selection for t in published.tables())


def test_linked_methods_exist():
    for table in published.tables():
        for record in table.records:
            assert record.same_architecture is None or record.same_architecture in ARCHITECTURES
            assert record.same_weighting is None or record.same_weighting in WEIGHTINGS


def test_all_values_are_finite():
    for table in published.tables():
        for record in table.records:
            assert (record.status == "ok") == bool(record.values)
            assert all(math.isfinite(v) for values in record.values.values() for v in values.values())
