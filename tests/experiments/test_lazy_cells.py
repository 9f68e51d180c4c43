"""The lazy-training cells: small worlds in full, and the identities that their numbers rest on."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pandas as pd
import pytest
import torch

from sanity.baselines import SoftFrozenDecoder
from sanity.claims import primary_grid, read_ledger
from sanity.claims.evaluation import evaluate
from sanity.engine.cells import Cell, Task, in_order
from sanity.engine.computing import results
from sanity.engine.store import LocalStore
from sanity.evals import expected_max_cosine, held_output, reachable_cosine, supports
from sanity.experiments import lazy_training, lazy_training_findings
from sanity.experiments.lazy_training_course import (
    cosine_table,
    frequency_groups,
    laziness_steps,
    read_at_a_tenth,
)
from sanity.experiments.lazy_training_geometry import geometry_rows, laws, sizes_of
from sanity.experiments.lazy_training_scaling import descend, held_gradients, own_copy
from sanity.experiments.lazy_training_sources import open_source, tau_of, toy_run, within
from sanity.models import Autoencoder, TopK, train
from sanity.models.training import probe_steps
from sanity.profiles import Profile, load


@pytest.fixture(scope="module")
def profile() -> Profile:
    smoke = load("smoke")
    toy = smoke.toy.model_dump() | {
        "worlds": [
            {"probabilities": "constant", "d_in": 16, "n_features": 96, "expected_l0": 3.0},
            {"probabilities": "variable", "d_in": 16, "n_features": 96, "log10_low": -3.0},
        ],
        "d_sae": 96,
        "l0": 3,
        "architectures": ["topk"],
        "arms": [{"constraint": "trained"}, {"constraint": "frozen_decoder"}],
        "steps": 60,
        "batch_size": 128,
        "seeds": [0, 1],
    }
    return load("smoke", toy=toy)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return LocalStore(tmp_path_factory.mktemp("lazy"))


def worlds_only(profile: Profile) -> list[Cell]:
    """The chapter's cells that need no language model."""
    return [
        cell
        for cell in lazy_training.cells(profile)
        if not any("activations" in needed.label for needed in in_order([cell]))
    ]


@pytest.fixture(scope="module")
def tables(profile: Profile, store: LocalStore) -> dict[str, pd.DataFrame]:
    found: dict[str, list[pd.DataFrame]] = {}
    with pytest.MonkeyPatch.context() as patch:
        # Starting processes would take longer than what they are for.
        patch.setattr("sanity.engine.computing._at_once", lambda group: 1)
        made = results(worlds_only(profile), store)
    for result in made:
        for file in result.files:
            if file.endswith(".parquet") and "/" not in file:
                name = file.removesuffix(".parquet")
                found.setdefault(name, []).append(result.table(name))
    return {name: pd.concat(frames, ignore_index=True) for name, frames in found.items()}


def test_the_course_starts_at_one_and_holds_the_papers_steps(
    tables: dict[str, pd.DataFrame], profile: Profile
) -> None:
    cosines, steps = tables["cosines"], profile.toy.steps
    assert set(cosines["world_or_hook"]) == {"constant", "variable"}
    assert set(cosines["side"]) == {"decoder", "encoder"}
    assert {0, steps // 20, steps // 10, steps // 2, steps} <= set(cosines["step"])
    start = cosines[cosines["step"] == 0]
    assert (start["q05"] > 1 - 1e-5).all()
    end = cosines[(cosines["step"] == steps) & (cosines["group"] == "all")]
    assert (end["q50"] < 0.999).all()
    curve = tables["curve"].dropna(subset=["jaccard"])
    assert (curve["step"] > 0).all()
    assert curve["jaccard"].between(0, 1).all()
    table = lazy_training_findings.course_table(cosines, tables["curve"])
    assert table.loc["end", "constant: decoder"] == pytest.approx(
        float(end[(end["world_or_hook"] == "constant") & (end["side"] == "decoder")]["q50"].iloc[0])
    )
    words = lazy_training_findings.laziness_words(tables["curve"], "constant")
    assert "nan" not in words


def test_the_sweep_is_bounded_by_its_cones(tables: dict[str, pd.DataFrame], profile: Profile) -> None:
    sweep = tables["scores"][tables["scores"].get("tau").notna()]
    wide = sweep.pivot_table(index=["gaussian", "tau"], columns="metric", values="value")
    assert set(wide.loc[False].index) == set(profile.lazy.taus)
    assert set(wide.loc[True].index) == set(profile.lazy.gaussian_taus)
    for (_, tau), row in wide.iterrows():
        assert row["cosine_to_init"] >= tau - 1e-6
        assert row["share_on_edge"] == (1 if tau == 1 else 0 if tau == -1 else row["share_on_edge"])
    frozen = wide.loc[(False, 1.0)]
    assert frozen["share_on_edge"] == 1
    assert frozen["cosine_to_init"] == pytest.approx(1.0)
    samples = wide.loc[False]
    assert (samples["recovery"] <= samples["reachable_recovery"] + 1e-9).all()
    assert samples.loc[-1.0, "reachable_recovery"] == 1
    assert wide.loc[True]["recovery"].isna().all() if "recovery" in wide.loc[True] else True
    words = lazy_training_findings.tau_words(sweep, "constant")
    assert "within reach" in words


def test_geometry_agrees_with_its_simulation_and_judges_its_claims(
    tables: dict[str, pd.DataFrame], profile: Profile
) -> None:
    exact, simulated = tables["exact"], tables["simulated"]
    assert {(s.d_in, s.d_sae) for s in sizes_of(profile)} >= {(100, 3200), (2304, 73_728), (4096, 131_072)}
    both = simulated.merge(exact, on=["size", "tau", "d_in", "d_sae"])
    assert len(both) == len(simulated)
    assert (both["reach"] - both["cone_reach"]).abs().max() < 0.02
    rows = geometry_rows(exact)
    ledger = read_ledger()
    for claim in ledger.claims:
        if claim.id in ("cone-bound", "soft-frozen-can-reach-features"):
            found = evaluate(claim, rows, ledger, primary=primary_grid(profile))
            assert (found.verdict.verdict, found.supported) == ("equivalent", True), claim.id
    assert "10^-315.3" in lazy_training_findings.reach_words(exact)


def test_bound_and_exact_probability(profile: Profile) -> None:
    for size in sizes_of(profile):
        for tau in (0.2, 0.8, 1.0):
            row = laws(size, tau)
            assert row["log10_one_cap"] <= row["log10_one_bound"]
            assert row["log10_any_cap"] <= min(0.0, row["log10_cone_bound"]) + 1e-9
        assert row["cone_reach"] == pytest.approx(expected_max_cosine(size.d_in, size.d_sae))
        assert laws(size, 0.8)["cone_reach"] == pytest.approx(reachable_cosine(size.d_in, size.d_sae, 0.8))


def test_scales_are_lazier_with_held_supports(tables: dict[str, pd.DataFrame], profile: Profile) -> None:
    scaled = tables["scaled"]
    assert len(scaled) == 2 * len(profile.lazy.output_scales)
    held = scaled[scaled["held"]].sort_values("alpha")
    assert held["predicted"].iloc[-1] > 0.99
    assert held["kernel_change"].is_monotonic_decreasing
    curve = tables["curve"].dropna(subset=["jaccard"])
    assert "held as at init" in lazy_training_findings.scale_words(scaled, curve.iloc[-1])


def test_latents_of_seeds_are_compared_with_chance(tables: dict[str, pd.DataFrame], profile: Profile) -> None:
    latents = tables["latents"]
    seeds = latents[latents["nearest"].notna()] if "nearest" in latents else latents
    assert {"trained", "frozen_decoder"} <= set(seeds["constraint"])
    world = profile.toy.worlds[0]
    chance = expected_max_cosine(world.d_in, profile.toy.d_sae)
    frozen = seeds[seeds["constraint"] == "frozen_decoder"]
    assert frozen["nearest"].mean() == pytest.approx(chance, abs=0.01), "random against random is chance"
    assert frozen["null_activations"].mean() == pytest.approx(chance, abs=0.02)
    assert (seeds["matched"] <= seeds["nearest"] + 1e-6).all()
    assert "one to one" in lazy_training_findings.seed_words(seeds, "constant")


def test_a_replayed_tenth_is_the_followed_run(profile: Profile, tmp_path: Path) -> None:
    """Bit for bit: the same weights, though the one run goes on and the other stops."""
    run = toy_run(profile, "constant", seed=1)
    (cell,) = [read_at_a_tenth.cell(run, label="tenth")]
    task = Task(cell, {}, folder=tmp_path, scratch=tmp_path, shared=tmp_path)
    read_at_a_tenth.run([task])
    found = pd.read_json(tmp_path / "tenth.json", typ="series")
    seen: dict[int, float] = {}

    class Mean:
        name = "mean"

        def __call__(self, sae: Autoencoder, step: int) -> dict[str, float]:
            seen[step] = float(torch.linalg.vecdot(sae.W_dec, directions).mean())
            return {}

    stream = open_source(run, {}).stream
    (begun,) = train([run.arm], stream, steps=0)
    directions = begun.initial_directions
    train([run.arm], stream, steps=run.steps, probes=[Mean()])
    assert found["step"] == run.steps // 10
    assert found["mean"] == pytest.approx(seen[run.steps // 10], abs=1e-7)
    assert found["mean"] < 0.9999


def test_taus_are_constraints() -> None:
    assert [tau_of(within(tau)) for tau in (1.0, 0.8, 0.0, -1.0)] == [1.0, 0.8, 0.0, -1.0]
    assert within(0.8) == SoftFrozenDecoder()
    assert within(1.0).learns < within(-1.0).learns


def test_laziness_is_asked_at_steps_that_exist() -> None:
    steps = laziness_steps(600, 90, 10)
    assert steps <= probe_steps(600, 90)
    assert {30, 60, 300, 600} <= steps
    assert 0 not in steps
    assert len(steps) < 16


def test_latents_are_grouped_by_frequency(tmp_path: Path) -> None:
    frequency = torch.tensor([0.0, 0.5, 0.1, 0.2, 0.9, 0.01, 0.3])
    groups = frequency_groups(frequency)
    assert groups["never active"].tolist() == [True, *[False] * 6]
    assert groups["rarest third"].nonzero().squeeze(1).tolist() == [2, 5]
    assert groups["most frequent third"].nonzero().squeeze(1).tolist() == [1, 4]
    from safetensors.torch import save_file

    save_file({"cosine_decoder": 1 - frequency}, tmp_path / "000000007.safetensors")
    table = cosine_table(tmp_path, frequency).set_index("group")
    assert table.loc["never active", "mean"] == 1
    assert table.loc["all", "latents"] == 7
    assert set(table["step"]) == {7}


def small_sae(seed: int = 0) -> Autoencoder:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.nn.functional.normalize(torch.randn(12, 5, generator=generator, dtype=torch.float64), dim=1)
    zero = torch.zeros(12, dtype=torch.float64)
    return Autoencoder(rows.clone().T, rows, zero, torch.zeros(5, dtype=torch.float64), TopK(k=3))


def test_gradients_on_held_supports_are_those_of_automatic_differentiation() -> None:
    sae = small_sae()
    generator = torch.Generator().manual_seed(1)
    x, target = torch.randn(2, 7, 5, generator=generator, dtype=torch.float64)
    support = supports(small_sae(3), x)
    names = ("W_enc", "W_dec", "b_enc", "b_dec")
    leaves = {name: getattr(sae, name).clone().requires_grad_() for name in names}
    free = dataclasses.replace(sae, **leaves)
    z = ((x - free.b_dec) @ free.W_enc + free.b_enc) * support
    loss = (z @ free.W_dec + free.b_dec - target).square().sum(1).mean()
    expected = torch.autograd.grad(loss, list(leaves.values()))
    found = held_gradients(sae, x, support, target)
    for name, gradient in zip(names, expected, strict=True):
        assert torch.allclose(found[name], gradient), name


def test_descent_lowers_the_loss_and_keeps_rows_unit() -> None:
    start = small_sae()
    sae = own_copy(start)
    x = torch.randn(200, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    first = supports(start, x)

    def loss() -> float:
        difference = held_output(sae, x, first) - held_output(start, x, first)
        return float((x - 5.0 * difference).square().sum())

    before = loss()
    for _ in range(50):
        descend(sae, start, x, 5.0, held=True)
    assert loss() < 0.9 * before
    assert torch.allclose(sae.W_dec.norm(dim=1), torch.ones(12, dtype=torch.float64))
    assert not math.isclose(float((sae.W_dec - start.W_dec).abs().max()), 0.0)
