"""What a run is. The hash of a ``RunSpec`` is the run's identity; nothing else decides whether a run is done."""

import hashlib
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator, model_validator

from benchmark.arithmetic import Arithmetic, Precision
from benchmark.errors import UsageError, UserError, unknown
from benchmark.keptfiles import CONTENT, FILE, keep
from benchmark.registry import LATER, WEIGHTINGS, Registry

M = TypeVar("M", bound=BaseModel)

ID_LENGTH = 16

#: No number of a spec or a record is larger: squares and sums of such numbers do not overflow.
LARGEST = 1e100
#: A number that is counted: what SQLite and data frames hold as an integer.
Count = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[int, Field(ge=1, lt=2**63)]
#: How deep options are nested, and how many values they have.
DEEPEST = 8
MOST_VALUES = 10_000

#: Raised whenever the same spec would give other numbers for a reason that no component's version covers.
SUITE_VERSION = 1


class Frozen(BaseModel):
    """Immutable and strict: an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def identity(self) -> dict[str, Any]:
        """What tells this object from others, in JSON's types: all fields but those of ``LATER`` at their default."""
        whole = self.model_dump(mode="json")
        return {
            n: value.identity() if isinstance(value, Frozen) else whole[n]
            for n, value in self._identity_fields().items()
        }

    def _identity_fields(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in _defaults(type(self))}
        return {name: value for name, value in values.items() if value != _defaults(type(self))[name]}


#: Equal to no value of a field.
NEVER = object()


@cache
def _defaults(model: type[Frozen]) -> dict[str, Any]:
    """By field the default at which it is left out; ``NEVER`` for those that are always there."""
    fields = model.model_fields.items()
    return {name: field.get_default() if LATER in field.metadata else NEVER for name, field in fields}


@lru_cache(maxsize=4096)
def _identity_text(model: type[Frozen], text: str) -> str:
    """The identity, in JSON, of the object that has this JSON. A store's runs share most of their parts."""
    return json.dumps(model.model_validate_json(text).identity(), sort_keys=True, separators=(",", ":"))


class Component(Frozen):
    """A registered thing with all its options spelled out.

    Attributes:
        name: the registered name, which also stands for the options that it presets.
        version: of its code, so that runs of different code never share an identity.
        options: every option that the name leaves open, defaults included, but for those of ``LATER`` at their default.
    """

    name: str = Field(max_length=1000)
    version: int = Field(ge=1, lt=2**63)
    options: dict[str, JsonValue]

    @field_validator("options")
    @classmethod
    def _bounded(cls, options: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if (size := _size(options, DEEPEST)) > MOST_VALUES:
            raise ValueError(f"options are at most {MOST_VALUES} values, and these are {size}")
        return options

    @classmethod
    def from_registry(cls, registry: Registry[Any], name: str, options: Mapping[str, Any] | None = None) -> "Component":
        """Look ``name`` up and fill in its defaults; of files that options name, take the content, see ``keptfiles``.

        Raises:
            UsageError: the name or an option is unknown, or an option's value is of another type than the constructor
                says, or could not be written into a record; or it names no file.
        """
        entry = registry[name]
        resolved = entry.resolve(options or {})
        entry.check_types({name: value for name, value in resolved.items() if name in (options or {})})
        resolved = {k: keep(v) if isinstance(v, str) and v.startswith(FILE) else v for k, v in resolved.items()}
        resolved = entry.identity(resolved)
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in resolved.items()}
        try:
            return cls(name=name, version=entry.version, options=values)
        except ValidationError as error:
            raise UsageError(
                f"the options of '{name}' must be plain numbers, texts and lists: {first_error(error)}"
            ) from error

    @classmethod
    def of(cls, registry: Registry[Any], name: str, options: Mapping[str, Any] | None = None) -> "Component":
        """The former name of ``from_registry``, to be removed with 0.3.0."""
        warnings.warn(
            "'Component.of' is now 'Component.from_registry'; the old name goes with the next release",
            DeprecationWarning,
            stacklevel=2,
        )
        return cls.from_registry(registry, name, options)


def _size(value: JsonValue, depth: int) -> int:
    """How many values are in one.

    Raises:
        ValueError: it is nested deeper than ``depth``, or holds a number beyond ``LARGEST``.
    """
    if isinstance(value, dict | list):
        if not depth:
            raise ValueError(f"options are nested at most {DEEPEST} deep")
        return 1 + sum(_size(one, depth - 1) for one in (value.values() if isinstance(value, dict) else value))
    if isinstance(value, int | float) and abs(value) > LARGEST:
        raise ValueError(f"a number of an option is at most {LARGEST:g}")
    return 1


class Protocol(Frozen):
    """How every cell of a grid is trained: the same for all, so that the methods alone differ.

    Attributes:
        epochs: passes over the training split.
        batch_size: samples per step; an incomplete last batch of an epoch is left out.
        optimizer: ``adam`` or ``adamw`` with torch's other defaults, ``sgd`` with Nesterov's momentum, or ``muon``,
            which orthogonalises the steps of matrices and kernels and gives all else to ``adamw``: see
            ``training.muon``.
        learning_rate: at the start; with ``warmup_steps``, at their end.
        lr_step: epochs between two decays of the learning rate, of the schedule ``step``.
        lr_decay: factor of each decay.
        evaluate_every: epochs between two evaluations on val and test; the last epoch is always evaluated.
        momentum: of ``sgd``.
        weight_decay: with ``adam`` and ``sgd`` added to the gradients as this times the parameters (L2), all of them.
            With ``adamw`` and ``muon`` decoupled: each step shrinks the parameters by the learning rate times this;
            those of one dimension, which are biases and the scales and shifts of norms, do not shrink. What a weighting
            learns never decays.
        steps_per_epoch: None for one pass over the training split; where every task has its own pictures, over the
            largest one. With a number, passes follow each other without regard to where an epoch ends.
        flip: mirror every training sample left to right with probability 1/2.
        scale_crop: enlarge each training sample by 1.0, 1.2 or 1.5 at random and keep a random part of the size before;
            ``literature`` and ``consistent`` differ in what becomes of surface normals, see ``training.augmentation``.
        random_crop: of pictures stored larger than networks see them, train on a random part, not the middle.
        restart_after: epochs after which a second phase begins: a new optimiser, without the momentum so far, and a
            schedule of the same form counted from there; 0 for one phase.
        restart_learning_rate: at the start of the second phase; None for ``learning_rate``.
        arithmetic: ``portable`` on the CPU in fp32 and one thread, whose bits are the same on any x86-64 processor with
            AVX2, or ``native``: see ``benchmark.arithmetic``.
        precision: ``bf16`` for autocast; parameters, losses and metrics stay in float32.
        schedule: of the learning rate. ``step``: constant between decays. ``cosine``: set anew for every step, half a
            cosine from ``learning_rate`` at the first step of a phase to 0 where the phase ends.
        warmup_steps: first steps of a phase in which the rate of either schedule is multiplied by 1/n, 2/n, … for n
            steps in all; 0 for none. Epochs' records hold the rate of each epoch's first step.
        labels: which labels training pictures keep: ``all``; ``one``, those of one task each; ``random``, those of a
            random part of the tasks. Drawn by the seed, the same for all cells: see ``benchmark.training.partial``.
    """

    epochs: int = Field(ge=1, lt=2**63)
    batch_size: int = Field(ge=1, lt=2**63)
    optimizer: Literal["adam", "sgd", "adamw", "muon"] = "adam"
    learning_rate: float = Field(default=1e-4, gt=0, le=LARGEST)
    lr_step: int = Field(default=100, ge=1, lt=2**63)
    lr_decay: float = Field(default=0.5, gt=0, le=1)
    evaluate_every: int = Field(default=1, ge=1, lt=2**63)
    momentum: Annotated[float, Field(ge=0, lt=1), LATER] = 0.9
    weight_decay: Annotated[float, Field(ge=0, le=LARGEST), LATER] = 0.0
    steps_per_epoch: Annotated[Annotated[int, Field(ge=1, lt=2**63)] | None, LATER] = None
    flip: Annotated[bool, LATER] = False
    scale_crop: Annotated[Literal["none", "literature", "consistent"], LATER] = "none"
    random_crop: Annotated[bool, LATER] = False
    restart_after: Annotated[int, Field(ge=0, lt=2**63), LATER] = 0
    restart_learning_rate: Annotated[Annotated[float, Field(gt=0, le=LARGEST)] | None, LATER] = None
    arithmetic: Annotated[Arithmetic, LATER] = "native"
    precision: Annotated[Precision, LATER] = "fp32"
    schedule: Annotated[Literal["step", "cosine"], LATER] = "step"
    warmup_steps: Annotated[int, Field(ge=0, lt=2**63), LATER] = 0
    labels: Annotated[Literal["all", "one", "random"], LATER] = "all"

    @model_validator(mode="after")
    def _decays_are_of_step(self) -> "Protocol":
        fields = type(self).model_fields
        if self.schedule == "cosine" and any(getattr(self, n) != fields[n].default for n in ("lr_step", "lr_decay")):
            raise ValueError("lr_step and lr_decay are options of the schedule step alone: leave them out with cosine")
        return self

    @model_validator(mode="after")
    def _momentum_is_of_sgd(self) -> "Protocol":
        if self.optimizer != "sgd" and self.momentum != type(self).model_fields["momentum"].default:
            raise ValueError("momentum is an option of the optimizer sgd alone")
        return self

    @model_validator(mode="after")
    def _a_restart_lies_within_training(self) -> "Protocol":
        if self.restart_after >= self.epochs and self.restart_after:
            raise ValueError(f"restart_after must be less than the {self.epochs} epochs, or 0 for one phase")
        if self.restart_learning_rate is not None and not self.restart_after:
            raise ValueError("restart_learning_rate needs restart_after, the epochs before the second phase")
        return self

    @model_validator(mode="after")
    def _portable_arithmetic_is_fp32(self) -> "Protocol":
        if self.arithmetic == "portable" and self.precision != "fp32":
            raise ValueError("portable arithmetic is fp32; bf16 needs arithmetic = native")
        return self


class RunSpec(Frozen):
    """One cell of a grid with one seed.

    Attributes:
        weighting: None for architectures that share nothing, where there is nothing to weight.
        suite: version of the code that every run goes through (training, losses, metrics, backbones).
    """

    dataset: Component
    architecture: Component
    weighting: Component | None
    seed: int = Field(ge=0, lt=2**63)
    protocol: Protocol
    suite: int = Field(default=SUITE_VERSION, ge=1, lt=2**63)

    @cached_property
    def id(self) -> str:
        """The run's identity: a hash of everything above.

        A field that was added one day is left out while it has its default, so that old identities hold.
        """
        texts = {
            name: _identity_text(type(v), v.model_dump_json()) if isinstance(v, Frozen) else json.dumps(v)
            for name, v in self._identity_fields().items()
        }
        text = ",".join(f'"{name}":{texts[name]}' for name in sorted(texts))
        return hashlib.sha256(f"{{{text}}}".encode()).hexdigest()[:ID_LENGTH]

    @property
    def weighting_name(self) -> str:
        """The weighting's name, ``none`` where there is none."""
        return self.weighting.name if self.weighting else "none"

    @property
    def label(self) -> str:
        """The run in words."""
        return f"{self.dataset.name} {self.architecture.name} {self.weighting_words} seed {self.seed}"

    @property
    def weighting_words(self) -> str:
        """The weighting's name, and its options where they are not the default ones."""
        if self.weighting is None or self.weighting.name not in WEIGHTINGS:
            return self.weighting_name
        usual = WEIGHTINGS[self.weighting.name].defaults
        words = [f"{key} {plain(v)}" for key, v in self.weighting.options.items() if usual.get(key) != v]
        return f"{self.weighting_name} ({', '.join(words)})" if words else self.weighting_name


def plain(value: JsonValue) -> str:
    """An option's value as a reader would write it; numbers in lists to four digits, of a file's hash twelve."""
    if isinstance(value, list):
        return " ".join(f"{v:.4g}" if isinstance(v, float) else plain(v) for v in value)
    if isinstance(value, str):
        return value[: len(CONTENT) + 12] + "…" if re.fullmatch(rf"{CONTENT}[0-9a-f]{{64}}", value) else value
    return json.dumps(value)


def read_file(path: Path, model: type[M], *, version: int, command: str) -> M:
    """Read a file of one model in JSON.

    Args:
        path: the file.
        model: what it holds, with a field ``schema_version``.
        version: the one that is read.
        command: what makes the file anew, for messages.

    Raises:
        UserError: the file is unreadable, of another version or no valid record.
    """
    again = f"make it again with '{command}'"
    try:
        text = path.read_text()
        raw: Any = json.loads(text)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); {again}") from error
    found = raw.get("schema_version") if isinstance(raw, dict) else None
    if found != version:
        raise UserError(f"{path} has schema {found!r}; this suite reads {version}: {again}")
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise UserError(f"{path} is no valid record: {first_error(error)}; {again}") from error


def first_error(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """The first complaint of a validation in one line, in the terms of what was read: where, what, what was found.

    A key that is not known comes before one that is missing: it may be that one, misspelt.

    Args:
        model: that was to be validated; with it, an unknown key's error names the known ones.
    """
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    # Between keys and places in lists, pydantic names the branches of a union that it tried.
    path = [part for part in first["loc"] if isinstance(part, int) or not re.search(r"[\[(]", part)]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    if first["type"] == "extra_forbidden":
        known = _keys(model, path[:-1]) if model else ()
        inside = where.rpartition(".")[0]
        return (
            str(unknown(f"key in '{inside}'" if inside else "key", str(path[-1]), known))
            if known
            else (f"{where}: there is no such key")
        )
    if first["type"] == "missing":
        return f"'{where}' is missing"
    return f"{where}: {first['msg']} (found {str(first['input'])[:80]!r})"


def _keys(model: Any, path: Sequence[str | int]) -> list[str]:
    """The keys of the table at a place of a model."""
    if isinstance(model, type) and issubclass(model, BaseModel):
        if not path:
            return list(model.model_fields)
        field = model.model_fields.get(str(path[0]))
        return _keys(field.annotation, path[1:]) if field else []
    inner = [(_keys(part, path[1:] if _is_container(model) else path)) for part in get_args(model)]
    return next((keys for keys in inner if keys), [])


def _is_container(annotation: Any) -> bool:
    """Whether a place in a list, or a key, leads into it."""
    return get_origin(annotation) in (tuple, list, dict)


def derive_seed(*axes: str | int) -> int:
    """A seed for one purpose, from the axes that it may depend on, such as ``("batches", spec.seed)``."""
    digest = hashlib.sha256(json.dumps(axes).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
