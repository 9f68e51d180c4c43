"""The cells of interpretability on a tiny model made on the spot: from text to the chapter's tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from test_real_cells import make_profile

from sanity.claims import SCORE_COLUMNS
from sanity.engine.store import LocalStore, require
from sanity.errors import BadInputError
from sanity.evals.interpretability import PoolFeatures, divided, score_latents
from sanity.experiments import interpretability, interpretability_cells, interpretability_findings
from sanity.experiments.interpretability import InterpretabilityTables
from sanity.profiles import Profile
from sanity.subject import ActivationStore

WORDS = ["the", "cat", "sat", "on", "a", "mat", "while", "rain", "fell", "and", "birds", "sang", "of", "old"]


class LettersEncoder:
    """Counts letters: an encoder small enough for a test."""

    def __init__(self, **_: Any) -> None:
        pass

    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        counts = [[text.count(letter) + 0.1 for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts]
        return torch.nn.functional.normalize(torch.tensor(counts), dim=1)


def with_grid(profile: Profile, **changes: Any) -> Profile:
    grid = profile.interpretability.model_copy(update=changes)
    real = profile.real.model_copy(update={"sweeps": (), "other_learning_rates": ()})
    return profile.model_copy(update={"interpretability": grid, "real": real})


@pytest.fixture(scope="module")
def profile(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Profile:
    folder = tmp_path_factory.mktemp("text")
    for i in range(60):
        words = [WORDS[(i * 7 + j * j) % len(WORDS)] for j in range(60)]
        (folder / f"{i:02}.txt").write_text(f"story {i}. " + " ".join(words))
    made = make_profile(tiny_llama, folder)
    return with_grid(made, extra_tokens=480, window=8, latents=10, fewest=3, intruder_sets=4, reseeds=2)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return LocalStore(tmp_path_factory.mktemp("interpretability"))


@pytest.fixture(scope="module")
def tables(profile: Profile, store: LocalStore) -> InterpretabilityTables:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpretability, "SentenceEncoder", LettersEncoder)
        (made,) = interpretability.tables(profile, store)
    return made


def test_every_arm_is_scored_on_every_seed(tables: InterpretabilityTables, profile: Profile) -> None:
    expected = len(profile.real.arms) * len(profile.real.seeds)
    rows = tables.scores[tables.scores["metric"] == "autointerp_auroc"]
    assert len(rows) == expected
    assert (rows["floor"] == 0.5).all()
    drawn = tables.counts.set_index(["constraint", "init", "seed"])["sampled"]
    for row in rows.itertuples():
        assert row.n == drawn[row.constraint, row.init, row.seed]


def test_scores_are_means_of_the_latents(tables: InterpretabilityTables) -> None:
    arm = ["constraint", "init", "seed"]
    means = tables.latents.groupby(arm)["auroc"].mean()
    rows = tables.scores[tables.scores["metric"] == "autointerp_auroc"].set_index(arm)["value"]
    pd.testing.assert_series_equal(rows.sort_index(), means.sort_index(), check_names=False)


def test_every_seed_divides_the_documents_and_draws_latents_anew(
    tables: InterpretabilityTables, profile: Profile, store: LocalStore
) -> None:
    (place,) = interpretability_cells.plan_contexts(profile)
    pool = interpretability_cells.load_pool(require(place.pool, store))
    tests, orders = {}, {}
    for sae, cell in zip(place.saes, place.contexts, strict=True):
        contexts = interpretability_cells.load_contexts(pool, require(cell, store))
        assert contexts is not None
        seed = sae.config.arm.seed
        tests.setdefault(seed, contexts.pool.test)
        assert torch.equal(tests[seed], contexts.pool.test), "arms of a seed share its division"
        orders.setdefault(seed, []).append(contexts.latents.tolist())
    assert not torch.equal(tests[0], tests[1])
    assert orders[0][0] != orders[1][0]


def test_latents_of_every_seed_are_scored_in_their_own_division(
    tables: InterpretabilityTables, profile: Profile, store: LocalStore
) -> None:
    (place,) = interpretability.plan_places(profile)
    for scored, cell in zip(place.scored, place.contexts.contexts, strict=True):
        pool, embeddings = (require(one, store) for one in (place.contexts.pool, place.embeddings))
        contexts = interpretability_cells.load_contexts(pool, require(cell, store))
        assert contexts is not None
        features = PoolFeatures(contexts.pool, embeddings.tensors("embeddings")["contexts"])
        again = score_latents(contexts, features, scored.config.scoring)
        kept = require(scored, store).table("latents")
        np.testing.assert_allclose(kept["auroc"], again["auroc"])
        assert scored.config.scoring.seed == scored.config.arm.seed
        if scored.config.arm.seed == 1:
            other = PoolFeatures(divided(contexts.pool, seed=0), features.embeddings)
            with pytest.raises(BadInputError, match="another division of the documents"):
                score_latents(contexts, other, scored.config.scoring)
            break


def test_the_l0_on_the_contexts_is_shown(tables: InterpretabilityTables, profile: Profile) -> None:
    table = interpretability_findings.score_table(tables.scores, tables.counts)
    trained = tables.counts[tables.counts["constraint"] == "trained"]["l0"]
    assert table.loc["trained", "L0 on this text"] == pytest.approx(trained.mean())
    assert trained.between(0.3 * profile.real.l0, 3 * profile.real.l0).all()
    assert table.columns[0] == "L0 on this text"


def test_known_concepts_are_named_with_what_they_score(tables: InterpretabilityTables) -> None:
    def graded(topic: float, word: float) -> pd.DataFrame:
        about = {"metric": "autointerp_auroc", "level": 0.0}
        return pd.DataFrame(
            [about | {"kind": "topic", "value": topic}, about | {"kind": "word", "value": word}]
        )

    seen = interpretability_findings.concept_words(graded(0.9, 0.6))
    assert "a topic 0.90; a word 0.60." in seen
    assert "no more than about 0.60" in seen
    assert "no more than" not in interpretability_findings.concept_words(graded(0.7, 0.8))
    assert interpretability_findings.concept_words(graded(0.7, 0.8)[:0]) == ""


def test_the_text_goes_on_where_the_held_out_text_ends(
    tables: InterpretabilityTables, profile: Profile, store: LocalStore
) -> None:
    (place,) = interpretability_cells.plan_contexts(profile)
    text = require(place.text, store)
    held_out = ActivationStore(require(place.place.activations["held_out"], store).folder("activations"))
    more = ActivationStore(text.folder("activations"))
    tokens = text.tensors("text")["tokens"]
    assert more.n_sequences + held_out.n_sequences == len(tokens) == 960 // 16
    assert torch.equal(torch.cat([s.tokens for s in more.shards()]), tokens[held_out.n_sequences :])
    assert tables.text["tokens"] <= len(tokens) * 15


def test_a_latents_contexts_are_what_the_sae_gives(
    tables: InterpretabilityTables, profile: Profile, store: LocalStore
) -> None:
    """The strongest context of a latent, run through model and SAE again."""
    from sanity.models import load_sae
    from sanity.subject import load_subject

    (place,) = interpretability_cells.plan_contexts(profile)
    sae = load_sae(require(place.saes[0], store).folder("sae"))
    scale = ActivationStore(
        require(place.place.activations["train"], store).folder("activations")
    ).normalisation
    subject = load_subject(profile.models[0].subject)
    tokens = require(place.text, store).tensors("text")["tokens"].long()
    _, contexts = tables.contexts[0]
    for latent in (contexts[0], contexts[1]):
        context = latent.top(1)[0]
        sequence, start = divmod(int(contexts.pool.first_row[context.window]), 15)
        residual = subject.residual(tokens[sequence : sequence + 1], profile.models[0].hook)[0, 1:]
        z = sae.encode(scale.apply(residual))[:, latent.latent]
        found = z[start : start + len(context.activations)]
        np.testing.assert_allclose(found.numpy(), context.activations, rtol=1e-3, atol=1e-5)


def test_rows_for_claims_have_their_columns(
    tables: InterpretabilityTables, profile: Profile, store: LocalStore
) -> None:
    rows, found = interpretability.scores(profile, store)
    assert {*SCORE_COLUMNS, "subject", "d_sae"} <= set(rows.columns)
    assert set(rows["metric"]) <= set(interpretability.metric_names())
    assert found


def test_the_gate_gets_one_row_per_metric_level_and_draw(
    tables: InterpretabilityTables, profile: Profile, store: LocalStore
) -> None:
    graded = interpretability.graded(profile, store)
    assert not graded.duplicated(["metric", "level", "seed", "world_or_hook"]).any()
    assert {"value", "floor", "ceiling", "n"} <= set(graded.columns)


def test_an_arm_without_eligible_latents_is_told_in_words(profile: Profile, store: LocalStore) -> None:
    one_seed = profile.model_copy(update={"real": profile.real.model_copy(update={"seeds": (0,)})})
    bare = with_grid(one_seed, fewest=10_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpretability, "SentenceEncoder", LettersEncoder)
        (made,) = interpretability.tables(bare, store)
    assert made.scores.empty
    assert made.graded.empty
    words = interpretability_findings.count_words(made.counts)
    assert words.count("Not scored") == len(made.counts)
    assert "can be interpreted" in words


def test_equal_frequencies_undo_a_difference_that_is_only_one_of_frequency() -> None:
    rng = np.random.default_rng(0)
    frames = []
    for constraint, share_rare in (("trained", 0.8), ("untrained", 0.2)):
        for seed in (0, 1):
            rare = rng.random(400) < share_rare
            frequency = np.where(rare, rng.uniform(0.001, 0.01, 400), rng.uniform(0.01, 0.1, 400))
            frames.append(
                pd.DataFrame({"frequency": frequency, "auroc": 0.9 - 0.2 * (frequency > 0.01)}).assign(
                    experiment="interpretability",
                    world_or_hook="h",
                    architecture="topk",
                    constraint=constraint,
                    init="iso",
                    seed=seed,
                    learning_rate=1e-3,
                    l0_target=4,
                    d_sae=64,
                )
            )
    latents = pd.concat(frames)
    plain = latents.groupby("constraint")["auroc"].mean()
    matched = interpretability.frequency_matched(latents).groupby("constraint")["value"].mean()
    assert plain["trained"] - plain["untrained"] > 0.1
    assert abs(matched["trained"] - matched["untrained"]) < 0.03


def test_words_are_made_of_the_numbers(tables: InterpretabilityTables) -> None:
    scores = tables.scores
    assert interpretability_findings.lead(scores, "autointerp_auroc").count(";") == 5
    without = scores[scores["constraint"] != "trained"]
    assert "no lead to tell" in interpretability_findings.lead(without, "autointerp_auroc")
    table = interpretability_findings.score_table(scores, tables.counts)
    assert table.loc["floor (chance)", "AUROC"] == 0.5
    intervals = interpretability_findings.interval_table(tables.latents, scores)
    assert (intervals["95 % from"] <= intervals["mean"]).all()
    quantiles = interpretability_findings.quantile_table(tables.latents)
    assert quantiles["latents"].sum() == len(tables.latents)
    rows = interpretability_findings.example_rows(tables, shown=2)
    assert len(rows) == 2 * len(tables.contexts)
    assert all(contexts for _, _, contexts in rows)
