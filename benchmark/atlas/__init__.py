"""The atlas of weightings: which rules are one under two names, and what each one depends on.

``survey`` compares rules on random gradients, ``save`` and ``load`` keep an ``AtlasRecord`` beside the runs' records::

    record = atlas.survey(["equal", "mgda", "mgda-ub"])
    for pair in record.pairs:
        print(pair.one, pair.other, pair.relation, pair.angle)
"""

from benchmark.atlas.record import FILE, USUAL, AtlasRecord, MethodTraits, Pair, Settings, load, save
from benchmark.atlas.survey import survey

__all__ = ["FILE", "USUAL", "AtlasRecord", "MethodTraits", "Pair", "Settings", "load", "save", "survey"]
