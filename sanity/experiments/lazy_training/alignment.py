"""Alignment of encoder with decoder rows, and of one seed's latents with another's, against chance."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch

from sanity.engine.cells import Task, computes
from sanity.evals import max_cosines
from sanity.evals.alignment import covariance_matched_max_cosine, encoder_decoder_cosines
from sanity.evals.feature_recovery import one_to_one
from sanity.models import load_sae
from sanity.sources import RunSpec


@dataclass(frozen=True)
class SeedPair:
    """One arm on two seeds, and how many latents of the first are compared at most."""

    first: RunSpec
    other_seed: int
    matched_latents: int


@computes("compare seeds", version=1)
def compare_seeds(task: Task) -> None:
    """For latents of one seed, the nearest and the one-to-one matched latent of another, and nulls."""
    config: SeedPair = task.config
    run = config.first
    a, b = (load_sae(task.inputs[name].folder("sae")) for name in ("a", "b"))
    opened = run.source.open(task.inputs, batch_size=run.budget.batch_size, seed=run.arm.seed, device="cpu")
    m = len(b.W_dec)
    chosen = torch.linspace(0, m - 1, min(m, config.matched_latents)).round().long()
    rows = a.W_dec[chosen]
    matched = torch.full((len(rows),), torch.nan, dtype=torch.float64)
    found = one_to_one(rows, b.W_dec)
    matched[found.features] = found.cosines.double()
    moments = {"null_activations": opened.stream.covariance(), "null_dictionary": b.W_dec.T @ b.W_dec / m}
    nulls = {
        name: covariance_matched_max_cosine(rows, matrix, m, seed=run.arm.seed)[0]
        for name, matrix in moments.items()
    }
    columns = {
        "latent": chosen,
        "nearest": max_cosines(rows, b.W_dec),
        "matched": matched,
        **nulls,
        "encoder_decoder_cosine": encoder_decoder_cosines(a)[chosen],
    }
    pairs = pd.DataFrame({name: values.numpy() for name, values in columns.items()})
    seeds = f"{run.arm.seed} and {config.other_seed}"
    task.save_table("pairs", pairs.assign(seeds=seeds, **run.columns()))
