"""What a run is. The hash of a ``RunSpec`` is the run's identity; nothing else decides whether a run is done."""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from benchmark.registry import WEIGHTINGS, Registry

ID_LENGTH = 16

#: Raised whenever the same spec would give other numbers for a reason that no component's version covers.
SUITE_VERSION = 1


class Frozen(BaseModel):
    """Immutable and strict: an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Component(Frozen):
    """A registered thing with all its options spelled out.

    Attributes:
        name: the registered name, which also stands for the options that it presets.
        version: of its code, so that runs of different code never share an identity.
        options: every option that the name leaves open, defaults included.
    """

    name: str
    version: int = Field(ge=1)
    options: dict[str, JsonValue]

    @classmethod
    def of(cls, registry: Registry[Any], name: str, options: Mapping[str, Any] | None = None) -> "Component":
        """Look ``name`` up and fill in its defaults.

        Raises:
            UsageError: the name or an option is unknown.
        """
        entry = registry[name]
        return cls(name=name, version=entry.version, options=entry.resolve(options or {}))


class Protocol(Frozen):
    """How every cell of a grid is trained: the same for all, so that the methods alone differ.

    Attributes:
        epochs: passes over the training split.
        batch_size: samples per step; an incomplete last batch of an epoch is left out.
        optimizer: Adam with torch's other defaults.
        learning_rate: at the start.
        lr_step: epochs between two decays of the learning rate.
        lr_decay: factor of each decay.
        evaluate_every: epochs between two evaluations on val and test; the last epoch is always evaluated.
    """

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    optimizer: Literal["adam"] = "adam"
    learning_rate: float = Field(default=1e-4, gt=0)
    lr_step: int = Field(default=100, ge=1)
    lr_decay: float = Field(default=0.5, gt=0, le=1)
    evaluate_every: int = Field(default=1, ge=1)


class RunSpec(Frozen):
    """One cell of a grid with one seed.

    Attributes:
        weighting: None for architectures that share nothing, where there is nothing to weight.
        suite: version of the code that every run goes through (training, losses, metrics, backbones).
    """

    dataset: Component
    architecture: Component
    weighting: Component | None
    seed: int = Field(ge=0)
    protocol: Protocol
    suite: int = Field(default=SUITE_VERSION, ge=1)

    @cached_property
    def id(self) -> str:
        """The run's identity: a hash of everything above.

        A field that is added one day is left out while it has its default, so that old identities hold.
        """
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]

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
    """An option's value as a reader would write it; numbers in lists to four digits."""
    if isinstance(value, list):
        return " ".join(f"{v:.4g}" if isinstance(v, float) else plain(v) for v in value)
    return value if isinstance(value, str) else json.dumps(value)


def first_error(error: ValidationError) -> str:
    """The first complaint of a validation as ``where: what (found …)``, in one line."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']} (found {str(first['input'])[:80]!r})"


def derive_seed(*axes: str | int) -> int:
    """A seed for one purpose, from the axes that it may depend on, such as ``("batches", spec.seed)``."""
    digest = hashlib.sha256(json.dumps(axes).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
