"""Cells of the chapter `metric_validity`: whether each metric can see what it is said to measure."""

from __future__ import annotations

from sanity.experiments.metric_validity.corrupting import KINDS
from sanity.experiments.metric_validity.judging import (
    OWN_KIND,
    gate_table,
    gated_readings,
    own_gates,
    truth_followed,
)
from sanity.experiments.metric_validity.planning import ValidityTables, cells, graded, tables
from sanity.experiments.metric_validity.scrambling import changes, reads
from sanity.experiments.metric_validity.sentences import (
    label_of,
    note,
    reads_words,
    summary,
    task_reads_words,
    truth_words,
)
from sanity.experiments.metric_validity.showing import (
    alignment_table,
    followed_table,
    gate_numbers,
    scales,
)

__all__ = [
    "KINDS",
    "OWN_KIND",
    "ValidityTables",
    "alignment_table",
    "cells",
    "changes",
    "followed_table",
    "gate_numbers",
    "gate_table",
    "gated_readings",
    "graded",
    "label_of",
    "note",
    "own_gates",
    "reads",
    "reads_words",
    "scales",
    "summary",
    "tables",
    "task_reads_words",
    "truth_followed",
    "truth_words",
]
