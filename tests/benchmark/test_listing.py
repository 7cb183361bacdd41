"""`mtbench list weightings --verbose`: every card, on wide and narrow terminals."""

import io
import json
import re

import pytest
from click.testing import CliRunner
from rich.console import Console
from rich.table import Table

from benchmark import WEIGHTINGS
from benchmark.cli import main
from benchmark.commands.listing import console
from benchmark.commands.tables import print_table
from benchmark.weighting import card


@pytest.fixture
def listed(toy, monkeypatch):
    """Runs the command at a width and returns what it prints."""

    def run(width):
        monkeypatch.setattr(console, "_width", width)
        result = CliRunner().invoke(main, ["list", "weightings", "--verbose", "--plugin", str(toy)])
        assert result.exit_code == 0, result.output
        return result.output

    return run


def squeezed(text):
    return re.sub(r"\s+", "", text)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_nothing_of_a_card_is_lost_at_any_width(listed, width):
    output = listed(width)
    assert max(map(len, output.splitlines())) <= width
    # Labels stand between the lines of a text, so that words are compared, each where lines may be cut.
    plain = squeezed(output)
    for name in WEIGHTINGS:
        found = card(name)
        for text in (found.paper, found.formula, *found.deviations) if found else ():
            for word in text.split():
                assert squeezed(word) in plain
        assert found is None or found.url in plain


def test_a_card_says_what_a_weighting_needs_and_costs(listed):
    output = listed(300)

    def of(name):
        return re.search(rf"^{name}  .*?(?=^\S|\Z)", output, re.DOTALL | re.MULTILINE).group()

    assert "1 forward, 1 backward\n" in re.sub(r" +\n", "\n", of("equal"))
    assert "2 forward, 1 backward" in of("famo")
    assert "the same batch's losses after the step" in of("famo")
    assert "5 forward, 3 backward" in of("auto-lambda")
    assert "last shared layer" in of("gradnorm")
    assert "1 backward for each task" in of("mgda")
    assert "over the representation" in of("mgda-ub")
    assert "on=parameters" in of("mgda")
    assert "on=parameters" not in of("mgda-ub")
    assert "temperature=2.0: the paper" in of("dwa")
    assert "weights: none" in of("constant")


def test_a_weighting_without_a_card_shows_what_is_known(listed):
    output = listed(80)
    assert "dice  Weights from torch's own generator" in output


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("architectures", ["mtan", "backbone=segnet", "Source: "]),
        ("datasets", ["nyuv2", "licence", "classes="]),
        ("kinds", ["miou: mIoU in %, higher is better.", "a prediction for every pixel"]),
        ("backbones", ["wrn-DEPTH-WIDENING", "unet-FACTOR-…", "SegNet (Badrinarayanan"]),
        ("grids", ["quick", "single-task", "learning_rate"]),
    ],
)
def test_everything_has_cards(kind, parts):
    result = CliRunner().invoke(main, ["list", kind, "-v"])
    assert result.exit_code == 0, result.output
    for part in parts:
        assert part in " ".join(result.output.split()), part


def test_without_a_kind_all_cards_are_shown():
    output = CliRunner().invoke(main, ["list", "-v"]).output
    for heading in ("architectures", "weightings", "datasets", "kinds of task", "backbones", "grids"):
        assert f"\n{heading}\n" in f"\n{output}"


def test_tables_in_pipes_cut_and_fold_no_name(toy):
    """A pipe has no width: a script that looks for a name finds it in one piece."""
    written = io.StringIO()
    table = Table("name", "what it is", expand=True)
    table.add_row("a-name-" + "of-many-parts-" * 20, "words " * 60)
    print_table(Console(file=written, width=40), table)
    assert "a-name-" + "of-many-parts-" * 20 in written.getvalue()
    assert "words " * 60 in written.getvalue()


def test_scripts_get_the_list_as_json():
    whole = json.loads(CliRunner().invoke(main, ["list", "--json"]).output)
    assert {"architectures", "weightings", "datasets", "kinds", "backbones", "grids"} == set(whole)
    dwa = next(entry for entry in whole["weightings"] if entry["name"] == "dwa")
    assert dwa["options"]["temperature"] == 2.0
    depth = next(entry for entry in whole["kinds"] if entry["name"] == "depth")
    assert [m["unit"] for m in depth["metrics"] if m["name"] == "abs_error"] == ["m"]
    assert json.loads(CliRunner().invoke(main, ["list", "kinds", "--json"]).output) == {"kinds": whole["kinds"]}
