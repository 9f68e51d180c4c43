"""The ledger: what the paper said, what we expect, what we found, and how sure we are."""

from sanity.claims.budget import flat_metrics, rises, trajectory
from sanity.claims.choosing import ScoreChoice, chosen
from sanity.claims.comparing import PairedComparison, comparisons
from sanity.claims.evaluation import Finding, evaluate, evaluate_all, evaluate_with
from sanity.claims.factors import along, leads, paired_levels
from sanity.claims.fragility import flips_at
from sanity.claims.gates import (
    GATE_TABLE,
    GATE_TABLE_COLUMNS,
    failed_metrics,
    gate_state,
    gate_table,
    worst_state,
)
from sanity.claims.importing import ImportedRun, choices_of, with_imported, with_references
from sanity.claims.ledger import Claim, Ledger, book_folder, ledger_of, read_ledger
from sanity.claims.margins import MARGINS, best_of_table, margin_sweep, power_table, sensitivity_table
from sanity.claims.papernumbers import on_printed_numbers, printed_gaps, printed_score
from sanity.claims.papertables import headline_pairs, paper_tables, reread_tables
from sanity.claims.reporting import claims_table, ledger_metrics, result_rows, verdict_words
from sanity.claims.schema import Experiment
from sanity.claims.selection import RUN_COLUMNS, SCORE_COLUMNS, Primary, check_scores, repeated
from sanity.claims.shares import Shares, lead_table, shares_of_lead

__all__ = [
    "GATE_TABLE",
    "GATE_TABLE_COLUMNS",
    "MARGINS",
    "RUN_COLUMNS",
    "SCORE_COLUMNS",
    "Claim",
    "Experiment",
    "Finding",
    "ImportedRun",
    "Ledger",
    "PairedComparison",
    "Primary",
    "ScoreChoice",
    "Shares",
    "along",
    "best_of_table",
    "book_folder",
    "check_scores",
    "choices_of",
    "chosen",
    "claims_table",
    "comparisons",
    "evaluate",
    "evaluate_all",
    "evaluate_with",
    "failed_metrics",
    "flat_metrics",
    "flips_at",
    "gate_state",
    "gate_table",
    "headline_pairs",
    "lead_table",
    "leads",
    "ledger_metrics",
    "ledger_of",
    "margin_sweep",
    "on_printed_numbers",
    "paired_levels",
    "paper_tables",
    "power_table",
    "printed_gaps",
    "printed_score",
    "read_ledger",
    "repeated",
    "reread_tables",
    "result_rows",
    "rises",
    "sensitivity_table",
    "shares_of_lead",
    "trajectory",
    "verdict_words",
    "with_imported",
    "with_references",
    "worst_state",
]
