"""Sparse probing on a tiny model made on the spot: from texts to scores, references and sentences."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sanity.experiments.findings import arm_words
from sanity.experiments.sparse_probing import ProbingTables

from sanity import figures
from sanity.claims import SCORE_COLUMNS
from sanity.data.probing import GROUPS, WIDER, GivenRows, Pool
from sanity.engine.computing import compute, results
from sanity.engine.store import LocalStore
from sanity.errors import BadInputError
from sanity.evals import score_sae
from sanity.experiments import sparse_probing
from sanity.experiments import sparse_probing_findings as findings
from sanity.models import load_sae
from sanity.profiles import Profile, load

ALPHABETS = {"low": "abcdefgh ", "middle": "ijklmnop ", "high": "qrstuvwx "}


def own_pools() -> tuple[Pool, ...]:
    """A pool for each group: strings over alphabets that differ in most letters."""
    rng = np.random.default_rng(0)

    def texts(letters: str, n: int) -> tuple[str, ...]:
        mixed = letters * 3 + "0123456789"
        return tuple("".join(rng.choice(list(mixed), rng.integers(10, 30))).strip() + "." for _ in range(n))

    return tuple(
        Pool(
            f"pool of {group}",
            group,
            tuple(GivenRows(label, texts(letters, 24)) for label, letters in ALPHABETS.items()),
        )
        for group in GROUPS
    )


@pytest.fixture(scope="module")
def _pools() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        pools = own_pools()
        patch.setattr(sparse_probing, "named_pools", lambda names: pools)
        yield


@pytest.fixture(scope="module")
def profile(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory, _pools: None) -> Profile:
    folder = tmp_path_factory.mktemp("text")
    for i in range(30):
        (folder / f"{i:02}.txt").write_text(f"story {i}. " + " ".join(f"w{(i * j) % 17}x" for j in range(60)))
    smoke = load("smoke")
    place = smoke.models[0].model_dump() | {
        "subject": str(tiny_llama), "hook": "blocks.1.hook_resid_post", "d_model": 32, "context": 16,
        "sources": [str(folder)], "train_tokens": 1600, "heldout_tokens": 480, "shard_tokens": 400,
    }  # fmt: skip
    grid = smoke.real.model_dump() | {"d_sae": 64, "l0": 4, "steps": 20, "batch_size": 64, "loss_tokens": 160}
    grid["arms"] = [
        arm for arm in grid["arms"] if arm["constraint"] in ("trained", "frozen_decoder", "untrained")
    ]
    grid["sweeps"] = [grid["sweeps"][0] | {"l0": [4], "arms": grid["arms"][:1]}]
    probing = {
        "per_class": 20,
        "window": 12,
        "permutations": 10,
        "gate_seeds": [1000, 1001, 1002],
        "sweep": True,
    }
    return load("smoke", models=[place], real=grid, probing=probing)


@pytest.fixture(scope="module")
def store(profile: Profile, tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return compute(sparse_probing.cells(profile), LocalStore(tmp_path_factory.mktemp("probing")))


@pytest.fixture(scope="module")
def tables(profile: Profile, store: LocalStore) -> ProbingTables:
    (made,) = sparse_probing.tables(profile, store)
    return made


def test_every_arm_has_every_score_with_floor_and_ceiling(profile: Profile, store: LocalStore) -> None:
    scores, found = sparse_probing.scores(profile, store)
    assert {*SCORE_COLUMNS, "subject", "d_sae"} <= set(scores.columns)
    planned = sparse_probing.plan(profile, profile.models[0])
    assert len(found) == len(planned.arms) > len(profile.real.arms) * len(profile.real.seeds)
    assert len(scores) == len(found) * len(profile.probing.ks)
    assert scores["n"].eq(15).all()
    ends = scores.groupby(["seed", "metric"])[["floor", "ceiling"]].nunique()
    assert (ends == 1).all(axis=None), "floor and ceiling of a seed are the same for every arm"
    assert scores["floor"].between(0.4, 0.6).all()
    assert (scores["ceiling"] > 0.7).all(), "letters are easily told from a residual stream"
    assert scores["value"].between(0.4, 1.0).all()


def test_an_sae_in_memory_scores_as_its_cell_does(profile: Profile, store: LocalStore) -> None:
    cell = sparse_probing.plan(profile, profile.models[0]).arms[0]
    sae = load_sae(results([dict(cell.inputs)["sae"]], store)[0].folder("sae"))
    data = sparse_probing.probing_data(profile, store, seed=cell.config.arm.seed)
    kept = results([cell], store)[0].table("scores").set_index("metric")
    for score in score_sae(sae, data):
        row = kept.loc[score.metric]
        assert (score.value, score.floor, score.ceiling) == (row["value"], row["floor"], row["ceiling"])


def test_the_reference_falls_with_its_corruption(profile: Profile, store: LocalStore) -> None:
    graded = sparse_probing.graded(profile, store)
    assert list(graded.columns) == ["metric", "level", "seed", "value", "floor", "ceiling", "n"]
    assert graded["seed"].nunique() == 3
    mean = (
        graded[graded["metric"] == "sparse_probing_top1"]
        .groupby("level")[["value", "floor", "ceiling"]]
        .mean()
    )
    assert mean["value"].iloc[0] == pytest.approx(mean["ceiling"].iloc[0], abs=0.06)
    assert mean["value"].iloc[-1] == pytest.approx(mean["floor"].iloc[-1], abs=0.08)
    assert mean["value"].iloc[0] > mean["value"].iloc[3] > mean["value"].iloc[-1]


def test_seeds_divide_the_same_texts_in_different_ways(tables: ProbingTables, profile: Profile) -> None:
    dense = tables.references[tables.references["features"] == findings.DENSE]
    by_seed = dense.pivot_table(index="task", columns="seed", values="accuracy")
    assert (by_seed[profile.real.seeds[0]] != by_seed[profile.real.seeds[1]]).any()
    assert tables.counts["used"].sum() == len(tables.texts) == len(GROUPS) * 3 * 20
    assert tables.counts["cut"].sum() == tables.texts["cut"].sum() > 0
    assert (tables.texts["tokens"] <= 12).all()


def test_a_killed_reading_goes_on_with_its_shards(
    profile: Profile, store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sanity.experiments import sparse_probing_runs as runs

    cell = sparse_probing.plan(profile, profile.models[0]).texts
    whole = results([cell], store)[0]
    monkeypatch.setattr(runs, "_shards", lambda order, windows, tokens: [order[:100], order[100:]])
    calls: list[int] = []
    real = runs._residuals

    def killed(subject, windows, texts, config):  # type: ignore[no-untyped-def]
        calls.append(len(texts))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(subject, windows, texts, config)

    monkeypatch.setattr(runs, "_residuals", killed)
    again = LocalStore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        compute([cell], again)
    compute([cell], again)
    assert calls == [100, 200, 200], "the first shard is not computed twice"
    assert again.get(cell.key).table("texts").equals(whole.table("texts"))  # type: ignore[union-attr]


def test_sentences_and_tables_hold_the_numbers(tables: ProbingTables, profile: Profile) -> None:
    summary = findings.summary(tables, profile)
    plain = summary[summary["features"].isin([findings.LATENTS, *findings.REFERENCES])]
    trained = plain[(plain["name"] == "trained") & (plain["k"] == 1)]["accuracy"].mean()
    scores = tables.scores[tables.scores["architecture"] == profile.real.architecture]
    rows = scores[(scores["constraint"] == "trained") & (scores["metric"] == "sparse_probing_top1")]
    assert trained == pytest.approx(rows[rows["l0_target"] == profile.real.l0]["value"].mean())
    assert f"{trained:.3f}" in findings.headline(tables, profile)
    lead = findings.leads(tables, profile, 1)
    assert ((lead["low"] <= lead["lead"]) & (lead["lead"] <= lead["high"])).all()
    others = plain[(plain["name"] == "untrained") & (plain["k"] == 1)]["accuracy"].mean()
    assert lead[lead["name"] == "untrained"]["lead"].mean() == pytest.approx(trained - others)
    assert f"{trained:.3f}" in findings.growth_words(tables, profile)
    assert findings.reference_words(tables, profile).count(" of 2 seeds") == 3
    assert "0." in findings.spread_words(tables, profile) + findings.control_words(tables, profile)
    table = findings.variants_table(tables, profile)
    assert table.loc["trained", "by difference, k = 1"] == pytest.approx(trained)
    assert "all features" in table.columns
    assert set(findings.beside_paper(tables, profile).columns) >= {"top 1, paper", "top 1, ours"}
    by_group = findings.group_scores(tables, profile, 1)
    assert all(group in findings.group_words(by_group) for group in GROUPS)
    assert "once for all arms" in findings.cost_words(tables)
    assert f"{len(tables.texts):,} texts are used" in findings.duplicate_words(tables)
    drawn = [
        figures.probing_by_arm(plain, findings.ends(tables), ks=[1, 5]),
        figures.probing_by_group(by_group, groups=GROUPS, ceiling=findings.DENSE),
        figures.probing_by_k(plain, findings.ends(tables)),
        figures.probing_leads(lead, margin=0.05),
    ]
    assert [len(figure.axes) for figure in drawn] == [2, 5, 2, 1]


def test_the_wider_set_is_counted_apart(tables: ProbingTables, profile: Profile) -> None:
    """Sentences and captions say the numbers of groups and tasks that the means are taken over."""
    assert (
        findings.counted_words(tables) == "mean over 5 groups of the mean over their tasks (15 tasks in all)"
    )
    assert findings.task_counts(tables) == "15"

    def more(rows: pd.DataFrame) -> pd.DataFrame:
        extra = rows[rows["group"] == GROUPS[0]]
        extra = extra.assign(group=WIDER, task=[f"wider {task}" for task in extra["task"]])
        return pd.concat([rows, extra], ignore_index=True)

    names = ("sizes", "counts", "tasks", "references")
    wide = dataclasses.replace(
        tables,
        **{
            name: more(getattr(tables, name).assign(**({"task": "-"} if name == "counts" else {})))
            for name in names
        },
    )
    assert wide.sizes["task"].nunique() == 18
    assert findings.counted_words(wide) == findings.counted_words(tables)
    assert findings.task_counts(wide) == "15, and 3 of the wider set, apart"
    assert findings.spread_words(wide, profile) == findings.spread_words(tables, profile)
    assert findings.headline(wide, profile) == findings.headline(tables, profile)
    by_group = findings.group_scores(wide, profile, 1)
    assert WIDER in set(by_group["group"])
    assert " of 5 groups" in findings.group_words(by_group)
    assert "3 tasks of the wider set" in findings.wider_words(wide, profile)


def test_the_l0_on_the_texts_is_shown_for_every_arm(tables: ProbingTables, profile: Profile) -> None:
    table = findings.variants_table(tables, profile)
    facts = tables.facts[
        (tables.facts["architecture"] == profile.real.architecture) & (tables.facts["l0_target"] == 4)
    ]
    arms = facts.groupby(["constraint", "init"])
    for (constraint, init), part in arms:
        assert table.loc[arm_words(constraint, init), findings.L0] == pytest.approx(part["l0"].mean())
    assert table[findings.L0].isna().sum() == len(table) - len(arms)


def test_an_interval_over_tasks_covers_what_it_claims() -> None:
    rng, covered = np.random.default_rng(0), 0
    index = pd.MultiIndex.from_product([["a", "b", "c"], range(8)], names=["group", "task"])
    for _ in range(100):
        low, high = findings.interval_over_tasks(pd.Series(rng.standard_normal(24), index=index), draws=300)
        covered += low <= 0 <= high
    assert 80 <= covered <= 99
    single = pd.Series(
        [1.0, 2.0], index=pd.MultiIndex.from_tuples([("a", 1), ("b", 1)], names=["group", "task"])
    )
    assert np.isnan(findings.interval_over_tasks(single)).all()


def test_a_division_that_was_not_planned_is_named(profile: Profile, store: LocalStore) -> None:
    with pytest.raises(BadInputError, match=r"divided by the seeds 0, 1, not 7"):
        sparse_probing.probing_data(profile, store, seed=7)
