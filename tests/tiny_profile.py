"""A profile of which every grid runs in seconds: small worlds, and a letter model on a few texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sanity.profiles import Profile, read_profile

WORDS = ["the", "cat", "sat", "on", "a", "mat", "while", "rain", "fell", "and", "birds", "sang", "of", "old"]


def story_texts(folder: Path) -> Path:
    """Forty small documents."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(40):
        words = [WORDS[(i * 7 + j * j) % len(WORDS)] for j in range(60)]
        (folder / f"{i:02}.txt").write_text(f"story {i}. " + " ".join(words), encoding="utf-8")
    return folder


TEXT = """
about: tiny
sources:
  constant: {kind: world, spec: {d_in: 12, n_features: 48, expected_l0: 3.0}, held_out: 1024}
  variable:
    kind: world
    spec: {probabilities: variable, d_in: 12, n_features: 48, log10_low: -3.0, log10_high: -0.5}
    held_out: 1024
  hierarchy:
    kind: harder world
    spec: {d_in: 12, n_features: 40, expected_l0: 2.0, hierarchy: {child_probability: 0.3}}
    held_out: 1024
  noisy: {kind: harder world, spec: {d_in: 12, n_features: 40, expected_l0: 2.0, noise: 0.2}, held_out: 1024}
grids:
  synthetic_recovery:
    - sources: [constant, variable]
      architectures: topk
      l0: 3
      d_sae: 48
      arms: [trained, soft_frozen_decoder, frozen_decoder, frozen_encoder/cov, frozen_both, untrained]
      seeds: [0, 1]
      learning_rates: 0.003
      batch_size: 64
      steps: 30
      evals: [reconstruction, recovery, directions]
    - {like: synthetic_recovery, architectures: [batchtopk, jumprelu], arms: [trained, untrained]}
  synthetic_recovery_references:
    like: synthetic_recovery
    sources: constant
    arms: [untrained/truth, frozen_decoder/truth, trained/truth]
    seeds: 0
  harder_worlds:
    like: synthetic_recovery
    sources: [hierarchy, noisy]
    l0: 2
    d_sae: 40
    seeds: 0
    evals: [reconstruction, harder_recovery]
  trajectory:
    like: synthetic_recovery
    sources: constant
    arms: [trained, untrained]
    at: [0.1, 0.5, 1.0]
  objectives:
    like: synthetic_recovery
    sources: constant
    architectures: batchtopk
    arms: trained
    objectives: [plain, auxiliary(dead_after_tokens=500), topk_first]
    evals: [reconstruction, harder_recovery]
evals:
  recovery: {grades: {levels: [0.0, 0.25, 0.5, 0.75, 1.0], seeds: [0, 1, 2, 3, 4], size: 512}}
  harder_recovery: {kind: recovery, detail: false, grades: null}
  reconstruction: {grades: {levels: [0.0, 0.5, 1.0], seeds: [0, 1], size: 200}}
  loss: {tokens: 160, grades: {levels: [0.0, 0.5, 1.0], seeds: [0, 1], size: 64}}
  sparse_probing:
    per_class: 20
    window: 12
    permutations: 10
    grades: {levels: [0.0, 0.25, 0.5, 0.75, 0.9, 1.0], seeds: [1000, 1001, 1002]}
"""
REAL = """
  real_activations:
    sources: letters
    architectures: topk
    l0: 4
    d_sae: 64
    arms: [trained, soft_frozen_decoder, frozen_decoder, frozen_decoder/cov, untrained]
    seeds: [0, 1]
    learning_rates: 0.001
    batch_size: 64
    steps: 40
    evals: [reconstruction, directions, loss]
  real_activations_sweep: {like: real_activations, architectures: jumprelu, arms: trained, seeds: 0}
  sparse_probing: {like: real_activations, arms: [trained, untrained], evals: sparse_probing}
"""


def tiny_text(model: Path, text: Path, *, hook: dict[str, Any] | None = None) -> str:
    """The profile with a model's activations in it; `hook` says more of the model's."""
    of_model = {
        "kind": "hook", "subject": str(model), "hook": "blocks.1.hook_resid_post", "d_model": 32,
        "context": 16, "text": str(text), "train_tokens": 1600, "held_out_tokens": 480,
        "shard_tokens": 400, **(hook or {}),
    }  # fmt: skip
    letters = f"sources:\n  letters: {json.dumps(of_model)}\n"
    return TEXT.replace("sources:\n", letters, 1).replace("\nevals:", f"{REAL}evals:", 1)


def tiny_profile(
    model: Path | None = None, text: Path | None = None, *, hook: dict[str, Any] | None = None, **changes: Any
) -> Profile:
    """The profile; without a model, the grids on synthetic worlds alone. `hook` says more of the model's."""
    made = TEXT if model is None or text is None else tiny_text(model, text, hook=hook)
    return read_profile("tiny", made, **changes)
