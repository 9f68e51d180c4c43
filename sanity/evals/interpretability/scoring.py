"""All scores of interpretability without a judge: per latent, and averaged over the latents of an SAE.

A latent's description is the mean embedding of its strongest contexts in one half of the documents. It is
tested on the other half: contexts there are ranked by their cosine to it, and the AUROC says how often one
in which the latent fires is above one in which it does not. Nothing marks the token on which it fires.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from sanity.errors import BadInputError
from sanity.evals.drawing import derangement
from sanity.evals.interpretability.contexts import DrawnContexts, LatentContexts, generator_for
from sanity.evals.interpretability.features import PoolFeatures
from sanity.evals.interpretability.intruders import SET, intruder_accuracy
from sanity.evals.interpretability.lexical import (
    Firing,
    chance_purity,
    lexical_purity,
    lookup_scores,
    ngram_rule,
)
from sanity.evals.interpretability.ranking import auroc, matched_auroc
from sanity.evals.score import Score

VERSION = "1"

MATCHED_AT_MOST = 1000
"""Activating contexts of a latent that are held against matched ones, evenly over the text; all if fewer."""

COLUMNS = {
    "auroc": "autointerp_auroc",
    "strong": "autointerp_auroc_strong",
    "token_matched": "autointerp_auroc_token_matched",
    "source_matched": "autointerp_auroc_source_matched",
    "shuffled": "autointerp_auroc_shuffled",
    "lookup": "autointerp_lookup_auroc",
    "purity": "autointerp_purity",
    "ngram_f1": "autointerp_ngram_f1",
    "ngram_recall": "autointerp_ngram_recall",
    "intruder": "autointerp_intruder",
}
"""Column of the table per latent -> the metric that is its mean."""


@dataclass(frozen=True)
class ScoringSettings:
    """How latents are scored."""

    examples: int = 15
    """Strongest contexts that make up a description."""
    intruder_sets: int = 20
    fewest: int = 5
    """A matched AUROC needs so many contexts that have a control; else the latent has none."""
    seed: int = 0


def score_latents(contexts: DrawnContexts, features: PoolFeatures, scoring: ScoringSettings) -> pd.DataFrame:
    """One row per latent.

    Columns: `latent`, `frequency` (share of tokens), `firing` and `silent` (contexts of the test), the
    columns of `COLUMNS`, `token_covered` and `source_covered` (share of activating contexts with a control),
    `word` (the commonest among the strongest), `rule` (the best n-gram).

    NaN where a score is not defined: no control to match, too few contexts for an intruder. Raises
    `BadInputError` where `contexts` and `features` divide the documents in different ways.
    """
    if not torch.equal(contexts.pool.test, features.pool.test):
        raise BadInputError(
            "the contexts were collected with another division of the documents than that of the features: "
            "give both the same pool, divided by one seed"
        )
    descriptions = torch.stack([describe(latent, features, scoring.examples) for latent in contexts])
    likeness = (features.centred[features.pool.test] @ descriptions.T).double().numpy()
    peaks = contexts.peak_positions.numpy()
    others = derangement(len(contexts), generator_for(scoring.seed, len(contexts)))
    rows = []
    for i, latent in enumerate(contexts):
        row: dict[str, Any] = {"latent": latent.latent, "frequency": latent.frequency}
        row |= _ranked(latent, likeness[:, i], peaks[i], features, scoring)
        row["shuffled"] = (
            auroc(likeness[:, others[i]], latent.peaks.numpy()[features.test] > 0)
            if len(contexts) > 1
            else float("nan")
        )
        row |= _lexical(latent, peaks[i], features, scoring)
        row["intruder"] = intruder_accuracy(
            features.centred,
            _one_per_document(latent, features, 2 * scoring.examples),
            torch.nonzero(latent.peaks == 0)[:, 0],
            sets=scoring.intruder_sets,
            generator=generator_for(scoring.seed, latent.latent),
        )
        rows.append(row)
    return pd.DataFrame(rows)


def describe(latent: LatentContexts, features: PoolFeatures, examples: int) -> Float[Tensor, " d"]:
    """The mean embedding of a latent's strongest contexts in the part "examples"."""
    return features.centred[latent.firing("examples")[:examples]].mean(0)


def _ranked(
    latent: LatentContexts, likeness: Any, peaks: Any, features: PoolFeatures, scoring: ScoringSettings
) -> dict[str, Any]:
    positive = latent.peaks.numpy()[features.test] > 0
    row: dict[str, Any] = {
        "firing": int(positive.sum()),
        "silent": int((~positive).sum()),
        "auroc": auroc(likeness, positive),
        "strong": _strong(likeness, latent.peaks.numpy()[features.test]),
    }
    asked = np.flatnonzero(positive)
    asked = asked[:: -(-len(asked) // MATCHED_AT_MOST)]
    # Activating contexts that are not asked about stay out: they are no controls.
    kept = np.sort(np.concatenate([asked, np.flatnonzero(~positive)]))
    which = features.test[asked]
    same_word = features.holding(features.word[which, peaks[which]])
    same_source = features.source[which][:, None] == features.source[features.test][None, :]
    for name, controls in (("token", same_word), ("source", same_source)):
        value, covered = matched_auroc(likeness[kept], positive[kept], controls[:, kept])
        row[f"{name}_matched"] = value if covered >= scoring.fewest else float("nan")
        row[f"{name}_covered"] = covered / len(asked)
    row["lookup"] = auroc(lookup_scores(features, _firing(latent)), positive)
    return row


def _strong(likeness: Any, peaks: Any) -> float:
    """The AUROC of the strongest quarter of the activating contexts; the weaker ones are left out."""
    bar = np.quantile(peaks[peaks > 0], 0.75)
    kept = (peaks == 0) | (peaks >= bar)
    return auroc(likeness[kept], peaks[kept] > 0)


def _lexical(
    latent: LatentContexts, peaks: Any, features: PoolFeatures, scoring: ScoringSettings
) -> dict[str, Any]:
    strongest = latent.peaks.argsort(descending=True, stable=True)[: scoring.examples].numpy()
    strongest = strongest[latent.peaks.numpy()[strongest] > 0]
    words = features.word[strongest, peaks[strongest]]
    rule = ngram_rule(features, _firing(latent))
    return {
        "purity": lexical_purity(words),
        "word": features.words[int(np.bincount(words).argmax())],
        "rule": " ".join(rule.words),
        "ngram_precision": rule.precision,
        "ngram_recall": rule.recall,
        "ngram_f1": rule.f1,
    }


def _firing(latent: LatentContexts) -> Firing:
    windows, positions, _ = latent.entries
    return Firing(windows.numpy(), positions.numpy())


def _one_per_document(latent: LatentContexts, features: PoolFeatures, n: int) -> Tensor:
    """The `n` strongest contexts, one of each document: neighbours would tell an intruder by the topic."""
    order = latent.peaks.argsort(descending=True, stable=True)
    order = order[latent.peaks[order] > 0]
    _, first = np.unique(features.document[order.numpy()], return_index=True)
    return order[torch.from_numpy(np.sort(first)[:n])]


def summarise(table: pd.DataFrame, features: PoolFeatures, scoring: ScoringSettings) -> list[Score]:
    """The scores of an SAE: means over its latents, each over those that have the score."""
    chance = {
        "purity": chance_purity(features, scoring.examples, seed=scoring.seed),
        "ngram_f1": 0.0,
        "ngram_recall": 0.0,
        "intruder": 1 / SET,
    }
    scores = []
    for column, metric in COLUMNS.items():
        values = table[column].dropna()
        if len(values):
            floor = chance.get(column, 0.5)
            scores.append(
                Score(metric, float(values.mean()), floor, 1.0, True, len(values), "latent", VERSION)
            )
    return scores
