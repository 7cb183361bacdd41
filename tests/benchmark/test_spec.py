"""Identity of runs."""

import json
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from benchmark.errors import UsageError
from benchmark.registry import ARCHITECTURES, DATASETS, LATER, WEIGHTINGS, Registry
from benchmark.runs.spec import Component, Protocol, RunSpec, derive_seed

RESULTS = Path(__file__).parents[2] / "results"


def spec(seed=0, architecture="mtan", epochs=2, **options):
    return RunSpec(
        dataset=Component.from_registry(DATASETS, "multi-fashion"),
        architecture=Component.from_registry(ARCHITECTURES, architecture, options),
        weighting=Component.from_registry(WEIGHTINGS, "dwa"),
        seed=seed,
        protocol=Protocol(epochs=epochs, batch_size=4),
    )


def test_spelling_out_a_default_is_the_same_run():
    assert spec(width=64).id == spec().id


def test_a_whole_number_is_the_same_option_as_its_float():
    assert Component.from_registry(WEIGHTINGS, "dwa", {"temperature": 2}) == Component.from_registry(WEIGHTINGS, "dwa")


def test_whole_numbers_in_a_list_are_the_same_option_as_their_floats():
    whole, floats = (
        Component.from_registry(WEIGHTINGS, "constant", {"weights": w}) for w in ([1, 0, 0], [1.0, 0.0, 0.0])
    )
    assert whole.model_dump_json() == floats.model_dump_json()
    assert Component.from_registry(WEIGHTINGS, "famo", {"minima": (0, 1)}).options["minima"] == [0.0, 1.0]
    # What is no number, or no float without loss, is refused or left for the method to refuse.
    assert WEIGHTINGS["constant"].resolve({"weights": [2**60]})["weights"] == [2**60]
    with pytest.raises(UsageError, match=r"'constant' needs Sequence\[float\] as 'weights', found \[True, 'a'\]"):
        Component.from_registry(WEIGHTINGS, "constant", {"weights": [True, "a"]})


def test_lists_of_whole_numbers_stay_whole():
    registry = Registry("thing")

    @registry.register("it")
    class It:
        def __init__(self, *, sizes: list[int] = (3, 4), rates=(0.5, 1.0), more: "tuple[float, ...] | None" = None):
            pass

    found = registry["it"].resolve({"sizes": [1, 2], "rates": [1, 2], "more": [3]})
    assert json.dumps(found) == '{"sizes": [1, 2], "rates": [1.0, 2.0], "more": [3.0]}'


def test_committed_components_are_what_their_options_give():
    """Resolved anew from their options, they are the same, byte for byte: no rule for options has moved an identity."""
    for path in sorted(RESULTS.glob("*/*_s[0-9]*.json")):
        found = RunSpec.model_validate(json.loads(path.read_text())["spec"])
        parts = [(DATASETS, found.dataset), (ARCHITECTURES, found.architecture)]
        for registry, part in [*parts, *([(WEIGHTINGS, found.weighting)] if found.weighting else [])]:
            # Its version may have been raised since: then the record is of another thing, and stays what it is.
            assert json.dumps(Component.from_registry(registry, part.name, part.options).options) == json.dumps(
                part.options
            )


def test_everything_that_changes_the_numbers_changes_the_identity():
    version = spec().model_copy(update={"dataset": spec().dataset.model_copy(update={"version": 99})})
    others = [spec(seed=1), spec(architecture="dense"), spec(epochs=3), spec(width=8), version]
    assert len({run.id for run in [spec(), *others]}) == 1 + len(others)


def test_a_spec_survives_json():
    assert RunSpec.model_validate_json(spec().model_dump_json()) == spec()
    assert RunSpec.model_validate_json(spec().model_dump_json()).id == spec().id


def test_the_identity_is_fixed_for_good():
    # Recorded runs are found by it: were it to change by accident, all of them would be done again.
    plain = RunSpec(
        dataset=Component(name="d", version=1, options={"n": 2}),
        architecture=Component(name="a", version=1, options={}),
        weighting=None,
        seed=0,
        protocol=Protocol(epochs=1, batch_size=2),
    )
    assert plain.id == "df889f3e2fdab4de"


@pytest.mark.parametrize(
    "broken",
    [
        {"epochs": 0},
        {"batch_size": -1},
        {"learning_rate": 0},
        {"learning_rate": float("nan")},
        {"lr_decay": 2},
        {"epoch": 3},
    ],
)
def test_a_protocol_is_strict(broken):
    with pytest.raises(ValidationError):
        Protocol(**{"epochs": 1, "batch_size": 1, **broken})


def test_unknown_options_name_the_nearest():
    with pytest.raises(
        UsageError, match=r"option of 'mtan' 'widht'. Did you mean 'width'\? Known: backbone, decoder, .*, width"
    ):
        Component.from_registry(ARCHITECTURES, "mtan", {"widht": 8})


@given(st.lists(st.one_of(st.text(max_size=5), st.integers(0, 99)), min_size=1, max_size=4))
def test_seeds_depend_on_every_axis_and_fit_torch(axes):
    seed = derive_seed(*axes)
    assert 0 <= seed < 2**63
    assert seed == derive_seed(*axes)
    assert seed != derive_seed(*axes, 0)


def test_committed_records_keep_their_identities():
    records = sorted(RESULTS.glob("*/*_s[0-9]*.json"))
    assert records
    for path in records:
        content = json.loads(path.read_text())
        assert RunSpec.model_validate(content["spec"]).id == content["id"] == path.stem.rpartition("_")[2]


@pytest.mark.parametrize(
    "later",
    [
        {"flip": True},
        {"scale_crop": "literature"},
        {"random_crop": True},
        {"weight_decay": 1e-4},
        {"steps_per_epoch": 7},
        {"optimizer": "sgd"},
        {"optimizer": "sgd", "momentum": 0.5},
        {"restart_after": 1},
        {"restart_after": 1, "restart_learning_rate": 1e-3},
        {"arithmetic": "portable"},
        {"precision": "bf16"},
        {"optimizer": "adamw"},
        {"optimizer": "muon"},
        {"schedule": "cosine"},
        {"warmup_steps": 1},
    ],
)
def test_a_later_field_counts_once_it_differs_from_its_default(later):
    changed = spec().model_copy(update={"protocol": Protocol(epochs=2, batch_size=4, **later)})
    assert changed.id != spec().id
    assert RunSpec.model_validate_json(changed.model_dump_json()).id == changed.id
    default = {name: Protocol.model_fields[name].default for name in later}
    assert spec().model_copy(update={"protocol": Protocol(epochs=2, batch_size=4, **default)}).id == spec().id


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        ({"restart_after": 5}, "restart_after must be less than the 5 epochs"),
        ({"restart_after": -1}, "greater than or equal to 0"),
        ({"restart_learning_rate": 0.1}, "restart_learning_rate needs restart_after"),
        ({"restart_after": 1, "restart_learning_rate": 0}, "greater than 0"),
    ],
)
def test_a_second_phase_lies_within_training(phase, message):
    with pytest.raises(ValidationError, match=message):
        Protocol(epochs=5, batch_size=1, **phase)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "muon"])
def test_momentum_without_sgd_is_refused(optimizer):
    with pytest.raises(ValidationError, match="momentum is an option of the optimizer sgd alone"):
        Protocol(epochs=1, batch_size=1, optimizer=optimizer, momentum=0.5)


@pytest.mark.parametrize("decay", [{"lr_step": 3}, {"lr_decay": 0.1}])
def test_decays_of_a_cosine_are_refused(decay):
    with pytest.raises(ValidationError, match="lr_step and lr_decay are options of the schedule step alone"):
        Protocol(epochs=1, batch_size=1, schedule="cosine", **decay)


def test_a_warm_up_is_no_negative_number_of_steps():
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Protocol(epochs=1, batch_size=1, warmup_steps=-1)


def test_portable_arithmetic_in_bf16_is_refused():
    with pytest.raises(ValidationError, match="portable arithmetic is fp32"):
        Protocol(epochs=1, batch_size=1, arithmetic="portable", precision="bf16")


@pytest.mark.parametrize("value", [8, 8.0])
def test_a_float_without_fraction_is_the_same_option_as_its_whole_number(value):
    assert spec(width=value).id == spec(width=8).id
    assert spec(width=value).architecture.options["width"] == 8
    assert isinstance(spec(width=value).architecture.options["width"], int)


def test_numbers_take_the_type_of_their_annotation():
    registry = Registry("thing")

    @registry.register("it")
    class It:
        def __init__(self, *, a: float = 2, b: int | None = None, c: float | None = None, d: int | float = 1, e=3):
            pass

    assert json.dumps(registry["it"].resolve({})) == '{"a": 2.0, "b": null, "c": null, "d": 1, "e": 3}'
    given = registry["it"].resolve({"a": 1, "b": 4.0, "c": 5, "d": 2.5, "e": 6.0})
    assert json.dumps(given) == '{"a": 1.0, "b": 4, "c": 5.0, "d": 2.5, "e": 6}'
    # What is no whole number, or no number, is the method's to refuse.
    assert registry["it"].resolve({"b": 4.5, "e": True}) | {"a": 0, "c": 0, "d": 0} == {
        "a": 0, "b": 4.5, "c": 0, "d": 0, "e": True,
    }  # fmt: skip


def two_versions(kind):
    """A registry with a method as it was, and one with it as it is after an option was added."""
    before, after = Registry(kind), Registry(kind)

    @before.register("it")
    class Before:
        def __init__(self, tasks=(), *, width: int = 8) -> None:
            self.options = {"width": width}

    @after.register("it")
    class After:
        def __init__(self, tasks=(), *, width: int = 8, depth: Annotated[int, LATER] = 2) -> None:
            self.options = {"width": width, "depth": depth}

    return before, after


@pytest.mark.parametrize("kind", ["architecture", "weighting", "data set"])
def test_an_option_that_was_added_later_is_nowhere_while_it_has_its_default(kind):
    before, after = two_versions(kind)
    old = Component.from_registry(before, "it", {"width": 4})
    assert Component.from_registry(after, "it", {"width": 4}).model_dump_json() == old.model_dump_json()
    assert Component.from_registry(after, "it", {"width": 4, "depth": 2.0}).model_dump_json() == old.model_dump_json()
    # An old record's component builds what it always meant.
    assert after["it"].build((), **old.options).options == {"width": 4, "depth": 2}
    other = Component.from_registry(after, "it", {"width": 4, "depth": 3})
    assert other.options == {"width": 4, "depth": 3}
    parts = {"dataset": old, "architecture": old, "weighting": old}
    ids = {
        RunSpec(**parts | {part: component}, seed=0, protocol=Protocol(epochs=1, batch_size=1)).id
        for part, component in ((part, other) for part in parts)
    }
    assert len(ids) == 3
    assert RunSpec(**parts, seed=0, protocol=Protocol(epochs=1, batch_size=1)).id not in ids


def test_the_mark_counts_where_annotations_cannot_be_evaluated():
    """As with names that only a type checker imports."""
    registry = Registry("thing")

    @registry.register("it")
    class It:
        def __init__(self, model: "OnlyForCheckers", *, a: "int" = 1, b: "Annotated[int, LATER]" = 2):  # noqa: F821
            pass

    assert Component.from_registry(registry, "it").options == {"a": 1}
    assert Component.from_registry(registry, "it", {"b": 3}).options == {"a": 1, "b": 3}


def test_the_former_name_of_from_registry_works_with_a_warning():
    with pytest.warns(DeprecationWarning, match="'Component.of' is now 'Component.from_registry'"):
        component = Component.of(WEIGHTINGS, "equal")
    assert component == Component.from_registry(WEIGHTINGS, "equal")
