"""The whole chain from autoencoders to verdicts, with the truth planted: does it say what is so?

Real worlds, arms, training, evals, tidy rows and the ledger, at a size that takes seconds. "Oracle" means
the true directions as decoder *and* as (tied) encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from torch.nn import functional

from sanity.baselines import FrozenDecoder, Untrained
from sanity.claims import (
    Finding,
    Ledger,
    chosen,
    comparisons,
    evaluate_all,
    failed_metrics,
    gate_table,
    margin_sweep,
)
from sanity.data.synthetic import SyntheticSpec, SyntheticStream, SyntheticWorld
from sanity.evals import Score, recovery
from sanity.evals.base import graded_row
from sanity.evals.detection import detection_f1
from sanity.evals.feature_recovery import mean_matched_cosine, mean_max_cosine
from sanity.evals.scrambles import mixed_directions
from sanity.experiments.reading import stack
from sanity.experiments.steps import score_table
from sanity.experiments.verdicts import book_ledger
from sanity.models import Arm, Autoencoder, TopK, train
from sanity.sources import Budget, RunSpec, World
from sanity.stats import HOLLOW

SPEC = SyntheticSpec(d_in=32, n_features=96, expected_l0=3.0)
L0 = 3
FIRST_HELD_OUT = 10**6
METRICS = ("recovery", "mean_max_cosine", "mean_matched_cosine", "detection_f1")
BASELINES = ("untrained", "frozen_decoder")

Eval = Callable[[Autoencoder, SyntheticStream], Score]
Arms = Mapping[int, Mapping[str, Autoencoder]]
"""Seed -> constraint -> autoencoder."""


def f1(sae: Autoencoder, stream: SyntheticStream) -> Score:
    sample = stream.sample(FIRST_HELD_OUT)
    active = sample.dense_coefficients() > 0
    x = (sample.x - stream.centre) * stream.factor
    return detection_f1(sae, x, features=stream.world.features, active=active)


EVALS: dict[str, Eval] = {
    "recovery": lambda sae, stream: recovery(stream.world.features, sae.W_dec),
    "mean_max_cosine": lambda sae, stream: mean_max_cosine(stream.world.features, sae.W_dec),
    "mean_matched_cosine": lambda sae, stream: mean_matched_cosine(stream.world.features, sae.W_dec),
    "detection_f1": f1,
}


def stream_of(seed: int) -> SyntheticStream:
    return SyntheticStream(SyntheticWorld.from_spec(SPEC), batch_size=512, seed=seed)


def tied(directions: torch.Tensor) -> Autoencoder:
    zeros = torch.zeros
    return Autoencoder(
        directions.T, directions, zeros(len(directions)), zeros(directions.shape[1]), TopK(k=L0)
    )


def oracle(stream: SyntheticStream, *, corruption: float = 0.0, seed: int = 0) -> Autoencoder:
    """The true dictionary, turned some way towards a random one: 0 not at all, 1 entirely."""
    features = stream.world.features
    noise = torch.randn(features.shape, generator=torch.Generator().manual_seed(1000 + seed))
    mixed = (1 - corruption) * features + corruption * functional.normalize(noise, dim=1)
    return tied(functional.normalize(mixed, dim=1))


def baselines(seed: int) -> dict[str, Autoencoder]:
    """An untrained and a frozen-decoder arm, made by the trainer itself."""
    made = {"untrained": Untrained(), "frozen_decoder": FrozenDecoder()}
    arms = [Arm(TopK(k=L0), SPEC.n_features, constraint=c, seed=seed) for c in made.values()]
    runs = train(arms, stream_of(seed), steps=30)
    return {name: run.sae for name, run in zip(made, runs, strict=True)}


def planted(seeds: int, judged: Callable[[SyntheticStream, int], Autoencoder]) -> Arms:
    return {s: {"trained": judged(stream_of(s), s), **baselines(s)} for s in range(seeds)}


def tidy(arms: Arms, evals: Mapping[str, Eval] = EVALS) -> pd.DataFrame:
    """The rows that an experiment would store."""
    constraints = {"untrained": Untrained(), "frozen_decoder": FrozenDecoder()}
    frames = []
    for seed, by_constraint in arms.items():
        stream = stream_of(seed)
        for constraint, sae in by_constraint.items():
            arm = Arm(TopK(k=L0), SPEC.n_features, seed=seed)
            if constraint != "trained":
                arm = replace(arm, constraint=constraints[constraint])
            about = RunSpec(arm, World(SPEC), Budget(steps=30, batch_size=512)).columns()
            table = score_table([measure(sae, stream) for measure in evals.values()], about)
            frames.append(table.assign(experiment="synthetic_recovery", world_or_hook=SPEC.probabilities))
    return stack(frames)


@pytest.fixture(scope="module")
def ledger(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """The book's margins, with one comparison per metric and baseline."""
    book = yaml.safe_load((repository / "book" / "claims.yml").read_text())
    claims = [
        {
            "id": f"{metric}-{against}".replace("_", "-"),
            "by": "ours",
            "statement": "the trained SAE is better",
            "where": "here",
            "scope": {"experiment": "synthetic_recovery"},
            "metric": metric,
            "judged": {"constraint": "trained"},
            "against": {"constraint": against},
            "margin": "tenth",
            "predicts": ["trained better"],
            "overturned_by": "another verdict",
        }
        for metric in METRICS
        for against in BASELINES
    ]
    file = tmp_path_factory.mktemp("ledger") / "claims.yml"
    file.write_text(yaml.safe_dump({**book, "claims": claims}))
    return book_ledger(file)


@pytest.fixture(scope="module")
def good() -> Arms:
    """A nearly perfect SAE as the trained arm, against real baselines."""
    return planted(4, lambda stream, seed: oracle(stream, corruption=0.2 + 0.02 * seed, seed=seed))


def words(results: list[Finding]) -> dict[str, str]:
    return {result.claim.id: result.verdict.verdict for result in results}


def test_a_planted_good_sae_is_better_than_every_baseline_on_every_metric(ledger: Ledger, good: Arms) -> None:
    results = evaluate_all(ledger, tidy(good))
    assert len(results) == 8
    assert set(words(results).values()) == {"trained better"}
    assert all(result.supported for result in results)
    assert all("by more than the margin" in result.verdict.qualifier for result in results)


def test_the_roles_swapped_it_is_the_baseline_that_is_better(ledger: Ledger, good: Arms) -> None:
    swapped = {
        s: {"trained": arms["untrained"], "untrained": arms["trained"], "frozen_decoder": arms["trained"]}
        for s, arms in good.items()
    }
    assert set(words(evaluate_all(ledger, tidy(swapped))).values()) == {"baseline better"}


def test_a_baseline_that_is_secretly_the_trained_sae_is_identical(ledger: Ledger, good: Arms) -> None:
    secret = {s: dict.fromkeys(arms, arms["trained"]) for s, arms in good.items()}
    results = {r.claim.id: r for r in evaluate_all(ledger, tidy(secret))}
    for name, found in results.items():
        assert found.verdict.qualifier.startswith("identical")
        assert found.verdict.verdict == ("equivalent" if name.endswith("-untrained") else HOLLOW)
        assert found.supported is (False if name.endswith("-untrained") else None)


def test_a_baseline_that_is_nearly_the_trained_sae_is_equivalent(ledger: Ledger) -> None:
    near = {
        seed: {
            "trained": oracle(stream_of(seed), corruption=0.05, seed=seed),
            "untrained": oracle(stream_of(seed), corruption=0.05, seed=seed + 50),
        }
        for seed in range(5)
    }
    results = evaluate_all(ledger, tidy(near))
    judged = {r.claim.id: r.verdict for r in results if r.claim.id.endswith("-untrained")}
    assert {found.verdict for found in judged.values()} == {"equivalent"}
    assert judged["detection-f1-untrained"].qualifier != "identical"
    assert {r.verdict.qualifier for r in results if r.claim.id not in judged} == {"no result"}


@pytest.mark.parametrize(
    ("corruption", "word", "supported"),
    [(1.0, "equivalent", True), (0.06, HOLLOW, None)],
    ids=["blind", "as good"],
)
def test_a_match_stands_only_where_an_untrained_dictionary_does_not_match(
    ledger: Ledger, corruption: float, word: str, supported: bool | None
) -> None:
    arms = {
        seed: {
            "trained": oracle(stream_of(seed), corruption=0.05, seed=seed),
            "frozen_decoder": oracle(stream_of(seed), corruption=0.05, seed=seed + 50),
            "untrained": oracle(stream_of(seed), corruption=corruption, seed=seed + 90),
        }
        for seed in range(5)
    }
    matches = [claim.model_copy(update={"predicts": ("equivalent",)}) for claim in ledger.claims]
    results = evaluate_all(replace(ledger, claims=tuple(matches)), tidy(arms))
    judged = {r.claim.id: r for r in results if r.claim.id.endswith("-frozen-decoder")}
    assert {r.verdict.verdict for r in judged.values()} == {word}
    assert {r.supported for r in judged.values()} == {supported}
    assert all("untrained dictionary" in r.verdict.words for r in judged.values())
    curve = margin_sweep(comparisons({"": chosen(tidy(arms), ledger)}, {}))
    declared = curve[curve["margin"].eq(0.1) & curve["claim"].str.endswith("-frozen-decoder")]
    assert set(declared["verdict"]) == {word}


def test_two_seeds_with_noise_are_inconclusive(ledger: Ledger) -> None:
    corruption = {0: (0.35, 0.42), 1: (0.60, 0.30)}
    noisy = {
        seed: {
            "trained": oracle(stream_of(seed), corruption=judged, seed=seed),
            "untrained": oracle(stream_of(seed), corruption=against, seed=seed + 50),
        }
        for seed, (judged, against) in corruption.items()
    }
    results = [r for r in evaluate_all(ledger, tidy(noisy)) if r.claim.id.endswith("-untrained")]
    assert set(words(results).values()) == {"inconclusive"}
    assert {result.supported for result in results} == {None}


# ----------------------------------------------------------------------------------- a metric that is broken


def noise() -> Eval:
    """An eval that looks like the F1 of detection and does not read what it is given."""
    generator = torch.Generator().manual_seed(0)

    def measure(sae: Autoencoder, stream: SyntheticStream) -> Score:
        value = float(torch.rand(1, generator=generator))
        return Score("detection_f1", value, 0.1, 1.0, True, n=96, unit="feature", version="1")

    return measure


def gates_of(evals: Mapping[str, Eval], ledger: Ledger) -> pd.DataFrame:
    """The book's own gate, on the evals' readings of the true dictionary corrupted in grades."""
    rows = []
    for seed in range(6):
        stream = stream_of(seed)
        for level in (0.0, 0.25, 0.5, 0.75, 1.0):
            sae = tied(mixed_directions(stream.world.features, level, seed=seed))
            rows += [graded_row(measure(sae, stream), "mixed", level, seed) for measure in evals.values()]
    readings = pd.DataFrame(rows).assign(place="constant", eval="recovery")
    return gate_table(readings, metrics={name: ledger.metrics[name] for name in METRICS})


def test_a_broken_metric_fails_its_gate_and_its_verdicts_are_turned_off(ledger: Ledger, good: Arms) -> None:
    sound = gates_of(EVALS, ledger)
    assert dict(zip(sound["metric"], sound["state"], strict=True)) == dict.fromkeys(METRICS, "passed")
    broken = {**EVALS, "detection_f1": noise()}
    gates = failed_metrics(gates_of(broken, ledger))
    assert list(gates) == ["detection_f1"]
    rows = tidy(good, broken)
    # without the gate, the broken metric would be judged like any other
    assert words(evaluate_all(ledger, rows))["detection-f1-untrained"] != "open"
    results = {result.claim.id: result for result in evaluate_all(ledger, rows, failed_gates=gates)}
    for against in ("untrained", "frozen-decoder"):
        off = results.pop(f"detection-f1-{against}")
        assert (off.verdict.verdict, off.verdict.qualifier) == ("open", "validity gate failed")
        assert "it does not follow the corruption of its reference" in off.verdict.words
        assert off.verdict.value is not None
        assert off.supported is None
    assert {result.verdict.verdict for result in results.values()} == {"trained better"}
