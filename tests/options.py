"""Options of methods that have some without a default, for tests of every method."""

from collections.abc import Mapping
from typing import Any

#: By weighting, for three tasks.
REQUIRED: Mapping[str, Mapping[str, Any]] = {"constant": {"weights": [0.5, 0.3, 0.2]}, "samo": {"of": "fairgrad"}}
