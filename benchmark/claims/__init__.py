"""Claims of the literature, and what the records of a results folder say of them.

A claim is a TOML file in this folder: its source, what its authors say, the small version that is tried here, the
criterion, and the rules by which the suite computes it. The criterion is written before the first run that it judges.

    from benchmark.claims import claim_named, judge
    judge(claim_named("dwa-equal"), Store(Path("results")).scan()[0]).verdict
"""

from benchmark.claims.claim import Claim, claim_named, claim_names
from benchmark.claims.judge import VERDICTS, ClaimResult, DataSetResult, QuantityResult, check, judge, judge_all

__all__ = [
    "VERDICTS",
    "Claim",
    "ClaimResult",
    "DataSetResult",
    "QuantityResult",
    "check",
    "claim_named",
    "claim_names",
    "judge",
    "judge_all",
]
