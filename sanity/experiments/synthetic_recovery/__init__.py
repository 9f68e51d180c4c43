"""Cells of the chapter `synthetic_recovery`: every arm on worlds whose features are known."""

from __future__ import annotations

from sanity.experiments.synthetic_recovery.exported import Exported, export, finished_runs, imported
from sanity.experiments.synthetic_recovery.planning import (
    ToyTables,
    auxiliary_cells,
    cells,
    grid_cells,
    paper_cells,
    rate_cells,
    reference_cells,
    spec_of,
    tables,
)
from sanity.experiments.synthetic_recovery.references import (
    PURSUED,
    SAMPLES,
    pca_explained_variance,
    signed_basis_explained_variance,
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
    "PURSUED",
    "SAMPLES",
    "Exported",
    "SignedBasis",
    "ToyRun",
    "ToyTables",
    "TrueFeatures",
    "auxiliary_cells",
    "cells",
    "export",
    "finished_runs",
    "grid_cells",
    "held_out_samples",
    "imported",
    "paper_cells",
    "pca_explained_variance",
    "rate_cells",
    "reference_cells",
    "signed_basis_explained_variance",
    "spec_of",
    "tables",
    "train_on_world",
    "truth_of",
]
