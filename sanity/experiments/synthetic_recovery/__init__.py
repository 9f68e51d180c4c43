"""Cells of the chapter `synthetic_recovery`: every arm on worlds whose features are known."""

from __future__ import annotations

from sanity.experiments.synthetic_recovery.planning import (
    ToyTables,
    auxiliary_cells,
    cells,
    grid_cells,
    rate_cells,
    reference_cells,
    spec_of,
    tables,
)
from sanity.experiments.synthetic_recovery.runs import (
    EXPERIMENT,
    FIRST_CALIBRATION_STEP,
    FIRST_HELD_OUT_STEP,
    HELD_OUT_SAMPLES,
    SignedBasis,
    ToyRun,
    TrueFeatures,
    held_out_samples,
    train_on_world,
    truth_of,
)

__all__ = [
    "EXPERIMENT",
    "FIRST_CALIBRATION_STEP",
    "FIRST_HELD_OUT_STEP",
    "HELD_OUT_SAMPLES",
    "SignedBasis",
    "ToyRun",
    "ToyTables",
    "TrueFeatures",
    "auxiliary_cells",
    "cells",
    "grid_cells",
    "held_out_samples",
    "rate_cells",
    "reference_cells",
    "spec_of",
    "tables",
    "train_on_world",
    "truth_of",
]
