"""Cells of the chapter `metric_validity`: whether each metric can see what it is said to measure."""

from __future__ import annotations

from sanity.experiments.metric_validity.corrupting import KINDS
from sanity.experiments.metric_validity.judging import gate_table, scales, truth_followed
from sanity.experiments.metric_validity.planning import ValidityTables, cells, graded, tables
from sanity.experiments.metric_validity.scrambling import changes, reads

__all__ = [
    "KINDS",
    "ValidityTables",
    "cells",
    "changes",
    "gate_table",
    "graded",
    "reads",
    "scales",
    "tables",
    "truth_followed",
]
