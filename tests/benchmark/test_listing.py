"""`mtbench list weightings --verbose`: every card, on wide and narrow terminals."""

import re

import pytest
from click.testing import CliRunner

from benchmark import WEIGHTINGS
from benchmark.cli import console, main
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


@pytest.mark.parametrize("kind", [[], ["architectures"], ["grids"]])
def test_only_weightings_have_cards(kind):
    result = CliRunner().invoke(main, ["list", *kind, "--verbose"])
    assert result.exit_code == 2
    assert "mtbench list weightings --verbose" in result.stderr
