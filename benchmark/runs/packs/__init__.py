"""Finished records in segments, files that are written once: see ``packs.segment``."""

from benchmark.runs.packs.segment import (
    TRUST_SUFFIX,
    Item,
    Packed,
    Reader,
    read_index,
    read_summary,
    segment_bytes,
    segment_name,
)
from benchmark.runs.packs.shelf import FOLDER, SUFFIX, Shelf

__all__ = [
    "FOLDER",
    "SUFFIX",
    "TRUST_SUFFIX",
    "Item",
    "Packed",
    "Reader",
    "Shelf",
    "read_index",
    "read_summary",
    "segment_bytes",
    "segment_name",
]
