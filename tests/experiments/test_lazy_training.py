"""The analysis of lazy training: small worlds in full, and the identities that its numbers rest on."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from sanity.engine.cells import in_order
from sanity.engine.store import LocalStore
from sanity.evals import expected_max_cosine, reachable_cosine, smallest_cosine
from sanity.evals.laziness import held_output, supports
from sanity.experiments import lazy_training
from sanity.experiments.lazy_training.following import cosine_table, frequency_groups, laziness_steps
from sanity.experiments.lazy_training.geometry import PAPERS_SIZES, laws
from sanity.experiments.lazy_training.planning import parts
from sanity.experiments.lazy_training.scaling import descend, own_copy
from sanity.experiments.reading import Reader, stack
from sanity.models import Autoencoder, Constraint, TopK
from sanity.models.training import probe_steps
from sanity.profiles import read_profile

PROFILE = """
about: small worlds, one of which stands for a language model
sources:
  constant: {kind: world, spec: {d_in: 16, n_features: 96, expected_l0: 3.0}, held_out: 512}
  constant_noise: {kind: noise, like: constant, held_out: 512}
  hook: {kind: world, spec: {d_in: 12, n_features: 60, expected_l0: 3.0}, held_out: 512}
  hook_noise: {kind: noise, like: hook, held_out: 512}
grids:
  synthetic_recovery:
    sources: constant
    architectures: topk
    l0: 3
    d_sae: 96
    arms: [trained, frozen_decoder]
    seeds: [0, 1]
    learning_rates: 0.003
    batch_size: 64
    steps: 40
    training: {probe_points: 4, curve_points: 4}
  lazy_training_cones:
    like: synthetic_recovery
    arms: [frozen_decoder, soft_frozen_decoder, soft_frozen_decoder(cosine=0.0), trained]
    seeds: 0
    evals: [reconstruction, recovery, directions, cones]
  lazy_training_cones_noise:
    like: lazy_training_cones
    sources: constant_noise
    arms: [soft_frozen_decoder, trained]
    evals: [reconstruction, directions]
  real_activations:
    like: synthetic_recovery
    sources: hook
    arms: [trained, soft_frozen_decoder, untrained]
    d_sae: 60
    steps: 20
    evals: [reconstruction, directions]
  lazy_training_noise: {like: real_activations, sources: hook_noise, arms: [trained, soft_frozen_decoder]}
evals:
  recovery: {grades: null, detail: false}
analyses:
  lazy_training:
    probe_points: 8
    laziness_points: 4
    laziness_samples: 64
    kernel_samples: 24
    output_scales: [0.3, 3.0, 30.0]
    scaling_steps: 20
    scaling_batch: 64
    simulated_draws: 20
    matched_latents: 60
"""
CONES = ("lazy_training_cones", "lazy_training_cones_noise")


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    reader = Reader(read_profile("small", PROFILE), LocalStore(tmp_path_factory.mktemp("lazy")))
    reader.results([*lazy_training.cells(reader.plan), *reader.plan.cells])
    return reader


def test_a_followed_training_starts_at_one_and_holds_the_papers_steps(read: Reader) -> None:
    cosines = lazy_training.table(read, "following", "cosines")
    assert list(dict.fromkeys(cosines["world_or_hook"])) == ["constant", "hook"]
    assert set(cosines["side"]) == {"decoder", "encoder"}
    for place, steps in (("constant", 40), ("hook", 20)):
        there = cosines[cosines["world_or_hook"] == place]
        assert {0, steps // 20, steps // 10, steps // 2, steps} <= set(there["step"])
        assert (there[(there["step"] == steps) & (there["group"] == "all")]["q50"] < 0.999).all()
    assert (cosines[cosines["step"] == 0]["q05"] > 1 - 1e-5).all()
    asked = lazy_training.table(read, "following", "curve").dropna(subset=["jaccard"])
    assert (asked["step"] > 0).all()
    assert asked["jaccard"].between(0, 1).all()


def test_training_needs_no_scores(read: Reader) -> None:
    cells = [*lazy_training.cells(read.plan), *read.plan.cells]
    needed = in_order([cell for cell in cells if cell.stage == "train"])
    assert {cell.stage for cell in needed} == {"train"}


def test_what_releasing_the_cone_gains_is_held_against_noise_seed_by_seed(read: Reader) -> None:
    scores = read.scores("real_activations", "lazy_training_noise")
    ev = scores[scores["metric"] == "explained_variance"].set_index(["experiment", "constraint", "seed"])[
        "value"
    ]
    gains = {
        name: ev[name]["trained"] - ev[name]["soft_frozen_decoder"]
        for name in ("real_activations", "lazy_training_noise")
    }
    found = lazy_training.table(read, "releasing", "scores").set_index("seed")
    assert set(found["metric"]) == {"release_gain_beyond_noise"}
    assert set(found["constraint"]) == {"soft_frozen_decoder"}
    assert not found["trained_on_noise"].any()
    expected = gains["real_activations"] - gains["lazy_training_noise"]
    pd.testing.assert_series_equal(found["value"], expected, check_names=False)


def test_the_sweep_is_bounded_by_its_cones(read: Reader) -> None:
    sweep = read.scores(*CONES)
    assert set(sweep["world_or_hook"]) == {"constant"}, "noise is at the place that it is like"
    tau = [smallest_cosine(Constraint.named(name)) for name in sweep["constraint"]]
    wide = sweep.assign(tau=tau).pivot_table("value", ["trained_on_noise", "tau"], "metric")
    assert set(wide.loc[False].index) == {1.0, 0.8, 0.0, -1.0}
    assert set(wide.loc[True].index) == {0.8, -1.0}
    for (_, at), row in wide.iterrows():
        assert row["cosine_to_init"] >= at - 1e-6
        assert row["share_on_edge"] == (1 if at == 1 else 0 if at == -1 else row["share_on_edge"])
    assert wide.loc[(False, 1.0), "cosine_to_init"] == pytest.approx(1.0)
    samples = wide.loc[False]
    assert (samples["recovery"] <= samples["reachable_recovery"] + 1e-9).all()
    assert samples.loc[-1.0, "reachable_recovery"] == 1
    assert samples.loc[1.0, "reachable_cosine"] == pytest.approx(samples.loc[1.0, "mean_max_cosine"])
    assert wide.loc[True]["recovery"].isna().all()


def test_geometry_agrees_with_its_simulation(read: Reader) -> None:
    exact, simulated = (lazy_training.table(read, "geometry", name) for name in ("exact", "simulated"))
    sizes = set(zip(exact["d_in"], exact["d_sae"], strict=True))
    assert sizes >= {(100, 3200), (2304, 73_728), (4096, 131_072), (16, 96), (12, 60)}
    both = simulated.merge(exact, on=["size", "tau", "d_in", "d_sae"])
    assert len(both) == len(simulated)
    wide = both["d_in"] >= 100
    assert (both["reach"] - both["cone_reach"])[wide].abs().max() < 0.02


def test_bound_and_exact_probability() -> None:
    for size in PAPERS_SIZES:
        for tau in (0.2, 0.8, 1.0):
            row = laws(size, tau)
            assert row["log10_one_cap"] <= row["log10_one_bound"]
            assert row["log10_any_cap"] <= min(0.0, row["log10_cone_bound"]) + 1e-9
        assert row["cone_reach"] == pytest.approx(expected_max_cosine(size.d_in, size.d_sae))
        assert laws(size, 0.8)["cone_reach"] == pytest.approx(reachable_cosine(size.d_in, size.d_sae, 0.8))


def test_claims_find_their_rows(read: Reader) -> None:
    key = ["experiment", "world_or_hook", "constraint", "metric"]
    rows = stack(
        [
            read.results([cell])[0].table("scores").assign(experiment=experiment, world_or_hook=place)
            for experiment, place, cell in lazy_training.scored(read.plan)
        ]
    ).set_index(key)
    bound = rows.loc[("cone_geometry", "gemma-2-2b", "soft_frozen_decoder", "log10_cone_bound")]["value"]
    reach = rows.loc[("cone_geometry", "toy", "soft_frozen_decoder", "cone_reach")]["value"]
    assert bound.item() == pytest.approx(-315.33, abs=0.01)
    assert reach.item() == pytest.approx(0.840, abs=0.001)
    noise = read.scores("lazy_training_noise").set_index(
        ["experiment", "world_or_hook", "constraint", "metric"]
    )
    for experiment, frame in (("lazy_training", rows), ("lazy_training_noise", noise)):
        edges = frame.loc[(experiment, "hook", "soft_frozen_decoder", "share_on_edge")]
        assert sorted(edges["seed"]) == [0, 1]
    for metric in ("explained_variance", "cosine_to_init"):
        ends, tenths = (
            rows.loc[(name, "hook", "trained", metric)] for name in ("lazy_training", "lazy_training_tenth")
        )
        assert list(ends["seed"]) == list(tenths["seed"]) == [0, 1]
        assert (ends["value"].to_numpy() != tenths["value"].to_numpy()).all()


def test_what_is_read_of_a_curve_is_the_followed_run(read: Reader) -> None:
    """Two trainings of the same run, measured by two probes, at a tenth of the steps and at the end."""
    curve = lazy_training.table(read, "following", "curve")
    followed = curve[curve["world_or_hook"] == "hook"].set_index("step")["cosine_decoder"]
    for part, step in (("end", 20), ("tenth", 2)):
        scores = lazy_training.table(read, part, "scores")
        found = scores[(scores["metric"] == "cosine_to_init") & (scores["seed"] == 0)]["value"]
        assert found.item() == pytest.approx(followed[step], abs=1e-6)


def test_scales_are_lazier_with_held_supports(read: Reader) -> None:
    scaled = lazy_training.table(read, "scaling", "scaled")
    assert len(scaled) == 2 * 3
    held = scaled[scaled["held"]].sort_values("alpha")
    assert held["predicted"].iloc[-1] > 0.99
    assert held["kernel_change"].is_monotonic_decreasing
    assert held["predicted"].iloc[-1] > scaled[~scaled["held"]].sort_values("alpha")["predicted"].iloc[-1]


def test_latents_of_seeds_are_compared_with_chance(read: Reader) -> None:
    pairs = lazy_training.table(read, "alignment", "pairs")
    arms = {place: set(part["constraint"]) for place, part in pairs.groupby("world_or_hook")}
    assert arms == {"constant": {"trained", "frozen_decoder"}, "hook": {"trained", "soft_frozen_decoder"}}
    chance = expected_max_cosine(16, 96)
    frozen = pairs[pairs["constraint"] == "frozen_decoder"]
    assert len(frozen) == 60, "at most so many are matched"
    assert frozen["nearest"].mean() == pytest.approx(chance, abs=0.02), "random against random is chance"
    assert frozen["null_activations"].mean() == pytest.approx(chance, abs=0.03)
    assert (pairs["matched"] <= pairs["nearest"] + 1e-6).all()


def test_a_profile_that_does_not_ask_gets_nothing() -> None:
    plan = Reader(read_profile("small", PROFILE, analyses={})).plan
    assert lazy_training.cells(plan) == []
    assert not any(parts(plan).values())


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
    save_file({"cosine_decoder": 1 - frequency}, tmp_path / "000000007.safetensors")
    table: pd.DataFrame = cosine_table(tmp_path, frequency).set_index("group")
    assert table.loc["never active", "mean"] == 1
    assert table.loc["all", "latents"] == 7
    assert set(table["step"]) == {7}


def test_descent_lowers_the_loss_and_keeps_rows_unit() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(12, 5, generator=generator, dtype=torch.float64), dim=1)
    zeros = (torch.zeros(n, dtype=torch.float64) for n in (12, 5))
    start = Autoencoder(rows.clone().T, rows, *zeros, TopK(k=3))
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
