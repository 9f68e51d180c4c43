"""The gates of the book's metrics, and what scrambles show, on worlds and models made on the spot."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from sanity.experiments.metric_validity import judging, planning
from sanity.experiments.metric_validity.corrupting import truth_scores
from sanity.experiments.metric_validity.reading import drawn_rows, drawn_windows
from sanity.experiments.metric_validity.scrambling import changes, reads, same_latents, scrambled_rows

from sanity import figures
from sanity.baselines import permuted_decoder
from sanity.claims import Ledger, failed_metrics, gate_state, read_ledger
from sanity.data.synthetic import SyntheticSpec, SyntheticStream, SyntheticWorld
from sanity.engine.cells import Cell, Task
from sanity.engine.computing import compute
from sanity.engine.store import LocalStore, require
from sanity.experiments import metric_validity, sparse_probing
from sanity.models import Autoencoder, JumpReLU
from sanity.profiles import Profile, load
from sanity.subject import ActivationStore

OWN = set(judging.OWN_KIND) - {"ce_recovered", "kl_recovered"}


@pytest.fixture(scope="module")
def profile() -> Profile:
    """Smoke's worlds, smaller still, read at five levels on five seeds."""
    smoke = load("smoke")
    worlds = [
        world.model_dump() | {"d_in": 24, "n_features": 64, "expected_l0": 3.0} for world in smoke.toy.worlds
    ]
    toy = smoke.toy.model_dump() | {"worlds": worlds, "d_sae": 64, "l0": 3}
    grid = {"levels": [0.0, 0.25, 0.5, 0.75, 1.0], "seeds": [0, 1, 2, 3, 4], "samples": 512}
    return load("smoke", toy=toy, validity=grid)


@pytest.fixture(scope="module")
def ledger(repository: Path) -> Ledger:
    return read_ledger(repository / "book" / "claims.yml")


@pytest.fixture(scope="module")
def readings(profile: Profile, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Every corruption in the constant world; in the variable one those by which metrics are gated."""
    frames = []
    for cell in planning.truth_cells(profile):
        if cell.config.world.probabilities == "constant" or cell.config.kind in ("mixed", "silenced"):
            folder = tmp_path_factory.mktemp("cell")
            cell.function.run([Task(cell, {}, folder=folder, scratch=folder, shared=folder)])
            frames.append(pd.read_parquet(folder / "graded.parquet"))
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def gates(readings: pd.DataFrame, ledger: Ledger) -> pd.DataFrame:
    found = judging.own_gates(readings, ledger)
    return pd.DataFrame([{**gate.row(), "place": place} for place, gate in found])


def test_every_metric_of_the_synthetic_worlds_passes_on_its_own_reference(gates: pd.DataFrame) -> None:
    assert set(gates["metric"]) == OWN - {"explained_variance"}
    assert set(gates["place"]) == {"constant", "variable"}
    assert set(gates["state"]) == {"passed"}
    assert (gates["false_alarm_rate"] <= 0.15).all()


def test_at_level_zero_it_is_the_truth_and_at_level_one_chance(readings: pd.DataFrame) -> None:
    mixed = readings[readings["kind"] == "mixed"].set_index("metric")
    for metric in ("recovery", "mean_max_cosine", "mean_matched_cosine", "cosine_to_init"):
        part = mixed.loc[[metric]]
        assert np.allclose(part[part["level"] == 0]["value"], 1.0, atol=1e-5)
        share = (part["value"] - part["floor"]) / (part["ceiling"] - part["floor"])
        assert (share[part["level"] == 1].abs() < 0.15).all()


def test_a_corruption_of_the_pairing_leaves_the_dictionary_and_spoils_detection(
    readings: pd.DataFrame, ledger: Ledger
) -> None:
    followed = metric_validity.truth_followed(readings, ledger).set_index(["place", "kind", "metric"])
    assert followed.loc[("constant", "re-paired", "recovery"), "range"] == 0
    assert followed.loc[("constant", "re-paired", "detection_f1"), "state"] == "passed"
    for place in ("constant", "variable"):
        assert followed.loc[(place, "mixed", "explained_variance"), "monotone"] > 0.9
    table = metric_validity.followed_table(followed.reset_index(), ledger)
    assert table.loc["share of true features recovered", "constant: re-paired"] == "(0%)"
    assert table.loc["share of true features recovered", "constant: replaced"] == "100%"
    assert "explains" in metric_validity.truth_words(readings)


def test_a_metric_without_a_reference_is_not_available_and_says_why(
    profile: Profile, monkeypatch: pytest.MonkeyPatch, ledger: Ledger
) -> None:
    monkeypatch.delattr(sparse_probing, "graded", raising=False)
    metrics = {"l0", "cone_reach", "sparse_probing_top1"}
    table, found = metric_validity.gate_table(profile, ledger=ledger, metrics=metrics)
    assert found == []
    assert set(table["metric"]) == metrics
    assert set(table["state"]) == {"not available"}
    assert "no value is better" in table.set_index("metric").loc["l0", "reason"]
    assert failed_metrics(table) == {}
    assert "none turns a verdict off" in metric_validity.summary(table.head(0), ledger)


def test_a_task_is_gated_by_the_readings_of_its_own_experiment(
    profile: Profile, monkeypatch: pytest.MonkeyPatch, ledger: Ledger, readings: pd.DataFrame
) -> None:
    """Top-1 falls with its reference, top-5 is noise, and a metric that the ledger lacks is left out."""
    rng = np.random.default_rng(0)
    base = readings[(readings["metric"] == "recovery") & (readings["kind"] == "replaced")]
    base = base[base["place"] == "constant"].drop(columns=["place", "kind"])
    frames = [
        base.assign(metric="sparse_probing_top1"),
        base.assign(metric="sparse_probing_top5", value=rng.random(len(base))),
        base.assign(metric="sparse_probing_top2"),
    ]
    graded = pd.concat(frames).assign(world_or_hook="layer 1")
    monkeypatch.setattr(sparse_probing, "graded", lambda _profile, _store: graded, raising=False)
    asked = {"sparse_probing_top1", "sparse_probing_top5"}
    table, _ = metric_validity.gate_table(profile, ledger=ledger, metrics=asked)
    assert dict(zip(table["metric"], table["state"], strict=True)) == {
        "sparse_probing_top1": "passed", "sparse_probing_top5": "failed"
    }  # fmt: skip
    assert list(failed_metrics(table)) == ["sparse_probing_top5"]
    assert failed_metrics(table)["sparse_probing_top5"].startswith("layer 1: it does not follow")
    words = metric_validity.note(profile, asked)
    assert "*sparse probing accuracy (top 5)*: **failed its validity gate** (layer 1: " in words
    assert "(top 1)*: validity gate passed" in words
    assert "**Failed:** *sparse probing accuracy (top 5)*" in metric_validity.summary(table, ledger)


# -------------------------------------------------------------------------------------------------- scrambles


@pytest.fixture(scope="module")
def scrambled() -> pd.DataFrame:
    """An autoencoder whose biases matter, read by every metric of its world."""
    world = SyntheticWorld.from_spec(SyntheticSpec(d_in=24, n_features=64, expected_l0=3.0))
    stream = SyntheticStream(world, batch_size=1024, seed=1)
    draw = torch.Generator().manual_seed(3)
    biases = 0.5 * torch.randn(64, generator=draw)
    sae = Autoencoder(
        world.features.T, world.features, biases, 0.3 * torch.randn(24, generator=draw),
        JumpReLU(target_l0=3), threshold=1 + torch.rand(64, generator=draw),
    )  # fmt: skip
    held_out = stream.sample(9)
    x = (held_out.x - stream.centre) * stream.factor
    rows = scrambled_rows(sae, lambda made: truth_scores(made, stream, held_out), x, seed=2)
    return rows.assign(place="constant", sae="trained")


def test_scrambles_show_what_is_read(scrambled: pd.DataFrame, ledger: Ledger) -> None:
    found = reads(changes(scrambled))
    expected = {
        "explained_variance": {"encoder", "decoder", "latent biases"},
        "l0": {"encoder", "latent biases"},
        "recovery": {"decoder"},
        "mean_max_cosine": {"decoder"},
        "cosine_to_init": {"decoder", "order of latents"},
        "same_latents": {"encoder", "latent biases", "order of latents"},
    }
    for metric, parts in expected.items():
        assert {part for part in found.columns if found.loc[metric, part]} == parts, metric
    assert found.loc["detection_f1", ["encoder", "decoder"]].all()
    words = metric_validity.reads_words(found, ledger)
    assert "*Explained variance* moves with the encoder, the decoder and the latent biases." in words
    assert "*share of feature activations recovered*" in words
    assert "scrambling the decoder leaves every activation as it is" in metric_validity.task_reads_words(
        found
    )


def test_changes_are_shares_of_the_scale(scrambled: pd.DataFrame) -> None:
    found = changes(scrambled).set_index(["metric", "scramble"])
    plain = scrambled.set_index(["metric", "scramble"])
    row = found.loc[("recovery", "decoder rotated")]
    expected = (row["value"] - plain.loc[("recovery", "none"), "value"]) / (1 - row["floor"])
    assert row["change"] == pytest.approx(expected)
    # active latents have no ceiling: relative to their own number
    row = found.loc[("l0", "encoder rotated")]
    assert row["change"] == pytest.approx(row["value"] / row["intact"] - 1)


def test_scores_of_latent_activations_do_not_see_the_decoder() -> None:
    """The analytic claim about probing and interpretability: same activations, bit by bit."""
    draw = torch.Generator().manual_seed(0)
    sae = Autoencoder(
        torch.randn(16, 40, generator=draw), torch.randn(40, 16, generator=draw), torch.zeros(40),
        torch.zeros(16), JumpReLU(target_l0=3), threshold=torch.ones(40),
    )  # fmt: skip
    x = torch.randn(200, 16, generator=draw)
    assert torch.equal(permuted_decoder(sae, seed=1).encode(x), sae.encode(x))
    assert same_latents(sae.encode(x), permuted_decoder(sae, seed=1).encode(x)).value == 1.0
    shifted = dataclasses.replace(sae, b_enc=sae.b_enc + 0.5)
    assert same_latents(sae.encode(x), shifted.encode(x)).value < 0.1
    silent = torch.zeros(4, 5)
    assert same_latents(silent, silent).value == 1.0


def test_figures_draw_one_panel_per_metric_and_mark_failures(
    readings: pd.DataFrame, scrambled: pd.DataFrame, ledger: Ledger
) -> None:
    own = readings[readings["metric"].map(judging.OWN_KIND).eq(readings["kind"])]
    labels = {m: metric_validity.label_of(m, ledger) for m in dict.fromkeys(own["metric"])}
    states = {m: "failed" if m == "recovery" else "passed" for m in labels}
    drawn = figures.graded_readings(own, labels=labels, states=states)
    marks = [text.get_text() for ax in drawn.axes for text in ax.texts]
    assert marks.count("failed") == 1
    assert marks.count("passed") == len(labels) - 1
    truth = figures.truth_against_corruption(
        readings, labels={"recovery": "recovery"}, kinds=metric_validity.KINDS
    )
    assert len(truth.axes) == 2 * len(metric_validity.KINDS)
    matrix = figures.scramble_matrix(changes(scrambled), labels={"recovery": "recovery", "l0": "L0"})
    assert [label.get_text() for label in matrix.axes[0].get_yticklabels()] == ["recovery", "L0"]
    plt.close("all")


def test_one_table_holds_every_metrics_floor_and_ceiling(
    readings: pd.DataFrame, gates: pd.DataFrame, ledger: Ledger
) -> None:
    table = metric_validity.scales(gates, readings, ledger).set_index("metric")
    assert list(table.index) == [entry.label for entry in ledger.metrics.values()]
    row = table.loc["mean largest cosine to a true feature"]
    assert (row["gate"], row["measured ceiling"]) == ("passed", "1")
    assert 0.4 < float(row["measured floor"]) < 0.6
    assert table.loc["RAVEL disentanglement", "gate"] == "not available"
    assert table.loc["share of latents that never fire", "better"] == "lower"
    numbers = metric_validity.gate_numbers(gates, ledger)
    assert len(numbers) == len(gates)
    assert gate_state(gates, ["recovery"]) == "passed"


# ------------------------------------------------------------------------------------- on a tiny real model


def test_real_references_and_directions_on_a_tiny_model(
    tiny_llama: Path, story_text: Path, ledger: Ledger, tmp_path: Path
) -> None:
    profile = tiny_profile(tiny_llama, story_text)
    made: list[Cell] = [
        *planning.activation_cells(profile),
        planning.scramble_cells(profile)[-1],
        *planning.alignment_cells(profile),
    ]
    store = compute(made, LocalStore(tmp_path))
    graded, scrambled, alignment = (
        require(cell, store).table(name)
        for cell, name in zip(made, ("graded", "scrambled", "alignment"), strict=True)
    )
    assert set(graded["metric"]) == {"explained_variance", "ce_recovered", "kl_recovered"}
    ends = graded.groupby(["metric", "level"])["value"]
    for metric in ("ce_recovered", "kl_recovered"):
        assert ends.get_group((metric, 0.0)).to_numpy() == pytest.approx(1, abs=1e-3)
        assert ends.get_group((metric, 1.0)).to_numpy() == pytest.approx(0, abs=1e-3)
    found = {gate.metric: gate for _, gate in judging.own_gates(graded, ledger)}
    assert found["explained_variance"].passed
    assert found["explained_variance"].reference == "the activation itself, moved towards its mean"
    part = reads(changes(scrambled))
    assert part.loc["kl_recovered", ["encoder", "decoder"]].all()
    assert not part.loc["same_latents", "decoder"]
    frozen = alignment.set_index(["constraint", "init"])
    assert frozen.loc[("frozen_encoder", "cov"), "encoder to start"] == pytest.approx(1, abs=1e-4)
    assert frozen.loc[("frozen_decoder", "iso"), "decoder to start"] == pytest.approx(1, abs=1e-4)
    assert frozen.loc[("untrained", "iso"), "encoder to decoder"] == pytest.approx(1, abs=1e-4)
    assert len(metric_validity.alignment_table(alignment)) == len(profile.real.arms)
    check_draws(ActivationStore(require(dict(made[0].inputs)["held_out"], store).folder("activations")))


def check_draws(kept: ActivationStore) -> None:
    """Draws of text differ by seed, keep their order, and take all where there are no more."""
    everything = drawn_rows(kept, kept.normalisation, 10**6, seed=0)
    assert len(everything) == kept.n_tokens
    one, again, two = (drawn_rows(kept, kept.normalisation, 50, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, two)
    place = -1
    for row in one:  # in the order of the text, in which rows may occur twice
        later = (everything[place + 1 :] == row).all(1).nonzero()
        assert len(later)
        place += 1 + int(later[0])
    windows = drawn_windows(kept, 5 * kept.context, seed=3)
    assert windows.shape == (5, kept.context)
    assert drawn_windows(kept, 1, seed=3).shape == (1, kept.context)


@pytest.fixture(scope="module")
def story_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty small documents."""
    words = ["the", "cat", "sat", "on", "a", "mat", "while", "rain", "fell", "and", "birds", "sang"]
    folder = tmp_path_factory.mktemp("stories")
    for i in range(40):
        told = " ".join(words[(i * 7 + j * j) % len(words)] for j in range(60))
        (folder / f"{i:02}.txt").write_text(f"story {i}. {told}")
    return folder


def tiny_profile(model: Path, text: Path) -> Profile:
    smoke = load("smoke")
    place = smoke.models[0].model_dump() | {
        "subject": str(model), "hook": "blocks.1.hook_resid_post", "d_model": 32, "context": 16,
        "sources": [str(text)], "train_tokens": 800, "heldout_tokens": 256, "shard_tokens": 400,
    }  # fmt: skip
    grid = smoke.real.model_dump() | {"d_sae": 64, "l0": 4, "steps": 5, "batch_size": 64, "loss_tokens": 64}
    return load("smoke", models=[place], real=grid)
