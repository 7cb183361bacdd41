"""Other people's runs: bundles that are packed, checked and added. A bundle is hostile until proven otherwise."""

from benchmark.submission.adding import add, confirm
from benchmark.submission.checking import Checked, Finding, check
from benchmark.submission.packing import pack

__all__ = ["Checked", "Finding", "add", "check", "confirm", "pack"]
