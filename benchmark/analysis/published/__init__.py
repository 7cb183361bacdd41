"""Results of the literature: records of kind ``reported``, never mixed with runs.

::

    for table in published.tables():
        print(table.title, table.no_delta or table.delta_m())
        print(published.claims(table))
"""

from benchmark.analysis.published.claims import PaperClaim, claims, standings
from benchmark.analysis.published.records import Citation, Reported, ReportedProtocol, ReportedTable, table, tables

__all__ = [
    "Citation",
    "PaperClaim",
    "Reported",
    "ReportedProtocol",
    "ReportedTable",
    "claims",
    "standings",
    "table",
    "tables",
]
