"""Every weighting's card: whole, and about the options that it really has."""

import re

import pytest

from benchmark import WEIGHTINGS
from benchmark.weighting import Weighting, card

NAMES = sorted(n for n in WEIGHTINGS if WEIGHTINGS[n].factory.__module__.startswith("baselines."))
each = pytest.mark.parametrize("name", NAMES)


@each
def test_a_card_explains_every_option_that_the_name_leaves_open(name):
    found = card(name)
    assert found is not None
    assert set(found.hyperparameters) == set(WEIGHTINGS[name].defaults)
    assert all(origin.strip() for origin in found.hyperparameters.values())


@each
def test_nothing_on_a_card_is_empty(name):
    found = card(name)
    assert found.url.startswith("https://")
    assert found.formula.strip()
    assert all(line.strip() for line in found.deviations)
    assert found.sum_of_weights in ("K", "1", "free")
    assert re.search(r"\b(19|20)\d\d\b", found.paper)


@each
def test_the_entry_for_a_bibliography_is_that_of_the_paper(name):
    found = card(name)
    kind, fields = re.fullmatch(r"@(\w+)\{[\w-]+,\s*(.*)\}", found.bibtex, re.DOTALL).groups()
    assert kind in ("inproceedings", "article")
    entry = dict(re.findall(r"(\w+)\s*=\s*\{((?:[^{}]|\{[^{}]*\})*)\}", fields))
    assert set(entry) == {"title", "author", "year", "journal" if kind == "article" else "booktitle"}
    plain = re.sub(r"[{}]", "", entry["title"])
    assert plain in found.paper
    assert entry["year"] in found.paper
    # "Surname, Given and …" there, "Surname, … Surname. Title" here.
    surnames = [author.split(",")[0] for author in entry["author"].split(" and ")]
    assert surnames == found.paper.partition(". ")[0].split(", ")


@each
def test_a_card_belongs_to_its_class(name):
    # A subclass that changes the rule must not inherit what is said of another.
    factory = WEIGHTINGS[name].factory
    assert issubclass(factory, Weighting)
    assert "card" in vars(factory)


def test_a_name_that_presets_an_option_leaves_it_out():
    assert "on" in card("mgda").hyperparameters
    assert "on" not in card("mgda-ub").hyperparameters
