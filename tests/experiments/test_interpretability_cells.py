"""Interpretability on a tiny model made on the spot: from text through contexts to scores and gate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from sanity.engine.store import LocalStore, require
from sanity.errors import BadInputError
from sanity.evals import METRICS
from sanity.evals.interpretability import Context, Contexts, Interpretability, predicting
from sanity.evals.interpretability.collecting import divided
from sanity.evals.interpretability.contexts import DrawnContexts
from sanity.evals.interpretability.drawing import contexts_of
from sanity.evals.interpretability.features import PoolFeatures
from sanity.evals.interpretability.frequencies import frequency_matched
from sanity.evals.interpretability.scoring import score_latents
from sanity.evals.interpretability.unseen_text import load_pool
from sanity.experiments import equal_frequencies
from sanity.experiments.reading import Reader
from sanity.profiles import Profile, read_profile
from sanity.sources import Hook, World, harvests_of
from sanity.subject import ActivationStore

WORDS = ["the", "cat", "sat", "on", "a", "mat", "while", "rain", "fell", "and", "birds", "sang", "of", "old"]
ARMS = ["trained", "frozen_encoder/cov", "untrained"]
SEEDS = [0, 1]
HOOK = "blocks.1.hook_resid_post"
L0 = 4

PROFILE = """
about: interpretability on a tiny model
sources:
  tiny:
    kind: hook
    subject: {model}
    hook: {hook}
    d_model: 32
    text: {text}
    train_tokens: 1600
    held_out_tokens: 480
    context: 16
    shard_tokens: 400
grids:
  interpretability:
    sources: tiny
    architectures: topk
    l0: {l0}
    d_sae: 64
    arms: {arms}
    seeds: {seeds}
    learning_rates: 0.001
    batch_size: 64
    steps: 40
    evals: interpretability
evals:
  interpretability:
    drawn: {{extra_tokens: 480, window: 8, latents: 10, fewest: {fewest}}}
    intruder_sets: 4
    reseeds: 2
    shown: 2
"""


class LettersEncoder:
    """Counts letters: an encoder small enough for a test."""

    def __init__(self, **_: Any) -> None:
        pass

    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        counts = [[text.count(letter) + 0.1 for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts]
        return torch.nn.functional.normalize(torch.tensor(counts), dim=1)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty small documents."""
    folder = tmp_path_factory.mktemp("text")
    for i in range(60):
        words = [WORDS[(i * 7 + j * j) % len(WORDS)] for j in range(60)]
        (folder / f"{i:02}.txt").write_text(f"story {i}. " + " ".join(words))
    return folder


def profile_of(model: Path, text: Path, *, fewest: int = 3, seeds: Sequence[int] = SEEDS) -> Profile:
    fields = {"hook": HOOK, "l0": L0, "arms": ARMS, "seeds": list(seeds), "fewest": fewest}
    return read_profile("tiny", PROFILE.format(model=model, text=text, **fields))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return LocalStore(tmp_path_factory.mktemp("interpretability"))


@pytest.fixture(scope="module", autouse=True)
def letters() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predicting, "SentenceEncoder", LettersEncoder)
        yield


@pytest.fixture(scope="module")
def read(tiny_llama: Path, text: Path, store: LocalStore) -> Reader:
    made = Reader(profile_of(tiny_llama, text), store)
    made.scores("interpretability")
    return made


def drawn(read: Reader, store: LocalStore) -> list[tuple[int, DrawnContexts]]:
    """Seed and contexts of every SAE."""
    ((_, prepared),) = read.prepared("contexts")
    pool, found = load_pool(prepared), []
    for run in read.runs("interpretability"):
        contexts = contexts_of(pool, require(run.scored["contexts"], store))
        assert contexts is not None
        found.append((run.run.arm.seed, contexts))
    return found


def test_every_arm_is_scored_on_every_seed(read: Reader) -> None:
    scores = read.scores("interpretability")
    assert not scores.duplicated(["metric", "constraint", "init", "seed"]).any()
    rows = scores[scores["metric"] == "autointerp_auroc"]
    assert len(rows) == len(ARMS) * len(SEEDS)
    assert (rows["floor"] == 0.5).all()
    counts = read.facts("interpretability", "contexts").set_index(["constraint", "init", "seed"])["sampled"]
    for row in rows.itertuples():
        assert row.n == counts[row.constraint, row.init, row.seed]


def test_scores_are_means_of_the_latents(read: Reader) -> None:
    arm = ["constraint", "init", "seed"]
    means = read.table("latents", "interpretability").groupby(arm)["auroc"].mean()
    scores = read.scores("interpretability")
    rows = scores[scores["metric"] == "autointerp_auroc"].set_index(arm)["value"]
    pd.testing.assert_series_equal(rows.sort_index(), means.sort_index(), check_names=False)


def test_every_seed_divides_the_documents_and_draws_latents_in_its_own_way(
    read: Reader, store: LocalStore
) -> None:
    tests: dict[int, torch.Tensor] = {}
    orders: dict[int, list[list[int]]] = {}
    for seed, contexts in drawn(read, store):
        tests.setdefault(seed, contexts.pool.test)
        assert torch.equal(tests[seed], contexts.pool.test), "arms of a seed share its division"
        orders.setdefault(seed, []).append(contexts.latents.tolist())
    assert not torch.equal(tests[0], tests[1])
    assert orders[0][0] != orders[1][0]


def test_latents_of_every_seed_are_scored_in_their_own_division(read: Reader, store: LocalStore) -> None:
    ((_, embedded),) = read.prepared("interpretability")
    embeddings = embedded.tensors("embeddings")["contexts"]
    runs = read.runs("interpretability")
    for run, (seed, contexts) in zip(runs, drawn(read, store), strict=True):
        scoring = Interpretability(intruder_sets=4)._scoring(seed)
        again = score_latents(contexts, PoolFeatures(contexts.pool, embeddings), scoring)
        kept = require(run.scored["interpretability"], store).table("latents")
        for column in ("auroc", "shuffled", "intruder"):
            np.testing.assert_allclose(kept[column], again[column])
    other = PoolFeatures(divided(contexts.pool, seed=0), embeddings)
    with pytest.raises(BadInputError, match="another division of the documents"):
        score_latents(contexts, other, scoring)


def test_counts_of_every_sae_are_kept(read: Reader) -> None:
    counts = read.facts("interpretability", "contexts")
    trained = counts[counts["constraint"] == "trained"]["l0"]
    assert trained.between(0.3 * L0, 3 * L0).all()
    assert (counts["eligible"] <= counts["alive"]).all()
    assert (counts["seconds"] > 0).all()


def test_the_text_goes_on_where_the_held_out_text_ends(read: Reader, store: LocalStore) -> None:
    ((shared, prepared),) = read.prepared("contexts")
    source = shared.source
    assert isinstance(source, Hook)
    inputs = {name: require(cell, store) for name, cell in source.cells("cpu", read.profile.pace).items()}
    _, held_out = harvests_of(inputs)
    more = ActivationStore(prepared.folder("activations"))
    assert more.n_sequences + held_out.n_sequences == 960 // 16
    tokens = torch.cat([shard.tokens for kept in (held_out, more) for shard in kept.shards()])
    pool = load_pool(prepared)
    for window in (0, len(pool) - 1):
        sequence, start = divmod(int(pool.first_row[window]), 15)
        length = int(pool.lengths[window])
        assert torch.equal(
            tokens[sequence, 1 + start : 1 + start + length].long(), pool.tokens[window, :length]
        )
    assert prepared.json("text")["tokens"] == pool.n_tokens <= len(tokens) * 15


def test_a_latents_contexts_are_what_the_sae_gives(read: Reader, store: LocalStore) -> None:
    """The strongest contexts of the first latents, run through model and SAE again."""
    from sanity.subject import load_subject

    ((shared, prepared),) = read.prepared("contexts")
    inputs = {n: require(c, store) for n, c in shared.source.cells("cpu", read.profile.pace).items()}
    train, held_out = harvests_of(inputs)
    stores = (held_out, ActivationStore(prepared.folder("activations")))
    tokens = torch.cat([shard.tokens for kept in stores for shard in kept.shards()]).long()
    subject = load_subject(read.profile.sources["tiny"].subject)
    pool = load_pool(prepared)
    _, sae = read.saes("interpretability")[0]
    shown = require(read.runs("interpretability")[0].scored["interpretability"], store).table("examples")
    assert shown["latent"].nunique() == 2
    for row in shown.itertuples():
        context = Context(row.window, row.document, row.source, tuple(row.pieces), tuple(row.activations))
        sequence, start = divmod(int(pool.first_row[context.window]), 15)
        residual = subject.residual(tokens[sequence : sequence + 1], HOOK)[0, 1:]
        z = sae.encode(train.normalisation.apply(residual))[:, row.latent]
        found = z[start : start + len(context.activations)]
        np.testing.assert_allclose(found.numpy(), context.activations, rtol=1e-3, atol=1e-5)
        assert context.strength > 0
        assert context.pieces == pool.pieces[context.window]


def test_every_metric_is_gated_on_the_concepts_that_it_names(read: Reader) -> None:
    graded = read.graded("interpretability")
    own = graded[graded["metric"].map(lambda name: METRICS[name].gate) == graded["kind"]]
    assert len(own) > 0
    assert not own.duplicated(["metric", "level", "seed", "place"]).any()
    assert set(own["seed"]) == {0, 1}
    assert not graded["metric"].isin(["autointerp_auroc_shuffled"]).any()


def test_an_arm_without_eligible_latents_is_told_in_words(
    tiny_llama: Path, text: Path, store: LocalStore
) -> None:
    bare = Reader(profile_of(tiny_llama, text, fewest=10_000, seeds=[0]), store)
    assert bare.scores("interpretability").empty
    assert bare.graded("interpretability").empty
    for one in ("contexts", "interpretability"):
        assert bare.facts("interpretability", one)["refused"].str.contains("can be interpreted").all()
    bare.results(equal_frequencies.cells(bare.plan))


def test_equal_frequencies_are_computed_once_for_all_arms_of_a_grid(read: Reader) -> None:
    ((grid, place, cell),) = equal_frequencies.scored(read.plan)
    assert (grid, place) == ("interpretability", HOOK)
    (result,) = read.results([cell])
    rows = result.table("scores")
    assert set(rows["metric"]) == {"autointerp_auroc_frequency_matched"}
    assert set(rows["constraint"]) == {arm.split("/")[0] for arm in ARMS}
    assert {"architecture", "learning_rate", "l0_target", "d_sae", "subject", "n"} <= set(rows.columns)
    again = frequency_matched(read.table("latents", grid), ["constraint", "init", "seed"])
    key = ["constraint", "init", "seed"]
    pd.testing.assert_series_equal(
        rows.set_index(key)["value"].sort_index(), again.set_index(key)["value"].sort_index()
    )


def test_equal_frequencies_undo_a_difference_that_is_only_one_of_frequency() -> None:
    rng = np.random.default_rng(0)
    frames = []
    for constraint, share_rare in (("trained", 0.8), ("untrained", 0.2)):
        for seed in (0, 1):
            rare = rng.random(400) < share_rare
            frequency = np.where(rare, rng.uniform(0.001, 0.01, 400), rng.uniform(0.01, 0.1, 400))
            table = pd.DataFrame({"frequency": frequency, "auroc": 0.9 - 0.2 * (frequency > 0.01)})
            frames.append(table.assign(constraint=constraint, seed=seed))
    latents = pd.concat(frames)
    plain = latents.groupby("constraint")["auroc"].mean()
    matched = frequency_matched(latents, ["constraint", "seed"]).groupby("constraint")["value"].mean()
    assert plain["trained"] - plain["untrained"] > 0.1
    assert abs(matched["trained"] - matched["untrained"]) < 0.03


def test_a_world_has_no_text_and_amounts_that_say_nothing_are_refused() -> None:
    assert "no text" in Interpretability().why_not(World())
    with pytest.raises(BadInputError, match="windows of 4"):
        Contexts(window=4)
    with pytest.raises(BadInputError, match="two times or more, not 1"):
        Interpretability(reseeds=1)
