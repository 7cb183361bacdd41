"""Time and memory of training steps on this machine, by architecture, by weighting, and how they grow.

Steps are those of the training loop, on random pictures (``benchmark.speed.workload``). ``measure_architectures``
sets each network's step beside a plain one of the same network, ``measure_weightings`` each weighting's beside that of
equal weights, ``measure_growth`` takes steps at sizes along four axes; a ``SpeedRecord`` keeps what they found.
"""

from benchmark.speed.alone import Alone, Job
from benchmark.speed.architectures import measure_architectures
from benchmark.speed.growth import measure_growth
from benchmark.speed.peak import measure_peaks
from benchmark.speed.plain import PlainStepper
from benchmark.speed.record import (
    ArchitectureSpeed,
    Conditions,
    GrowthCurve,
    GrowthPoint,
    Peak,
    SpeedRecord,
    Spread,
    WeightingSpeed,
    files,
    load,
    save,
)
from benchmark.speed.timing import WARM_UP
from benchmark.speed.weightings import measure_weightings

__all__ = [
    "WARM_UP",
    "Alone",
    "ArchitectureSpeed",
    "Conditions",
    "GrowthCurve",
    "GrowthPoint",
    "Job",
    "Peak",
    "PlainStepper",
    "SpeedRecord",
    "Spread",
    "WeightingSpeed",
    "files",
    "load",
    "measure_architectures",
    "measure_growth",
    "measure_peaks",
    "measure_weightings",
    "save",
]
