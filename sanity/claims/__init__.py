"""The ledger: what the paper said, what we expect, what we found, and how sure we are."""

from sanity.claims.choosing import chosen
from sanity.claims.comparing import Paired, comparisons
from sanity.claims.evaluation import Result, evaluate, evaluate_all
from sanity.claims.gates import (
    GATE_TABLE,
    GATE_TABLE_COLUMNS,
    failed_metrics,
    gate_state,
    stored_gates,
    worst_state,
)
from sanity.claims.ledger import Claim, Ledger, book_folder, read_ledger
from sanity.claims.papertables import headline_pairs, paper_tables, reread_tables
from sanity.claims.reporting import (
    SCORE_TABLE,
    claims_table,
    judge,
    ledger_metrics,
    primary_grid,
    stored_scores,
    verdicts,
)
from sanity.claims.selection import RUN_COLUMNS, SCORE_COLUMNS, check_scores, repeated, with_recovered
from sanity.claims.sizes import measured_sizes

__all__ = [
    "GATE_TABLE",
    "GATE_TABLE_COLUMNS",
    "RUN_COLUMNS",
    "SCORE_COLUMNS",
    "SCORE_TABLE",
    "Claim",
    "Ledger",
    "Paired",
    "Result",
    "book_folder",
    "check_scores",
    "chosen",
    "claims_table",
    "comparisons",
    "evaluate",
    "evaluate_all",
    "failed_metrics",
    "gate_state",
    "headline_pairs",
    "judge",
    "ledger_metrics",
    "measured_sizes",
    "paper_tables",
    "primary_grid",
    "read_ledger",
    "repeated",
    "reread_tables",
    "stored_gates",
    "stored_scores",
    "verdicts",
    "with_recovered",
    "worst_state",
]
