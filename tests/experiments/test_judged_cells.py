"""Judging the latents of an SAE as cells: over HTTP, resumable, and only by judges that passed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from judge_server import Server, serving
from sanity.experiments.grid import arm
from sanity.experiments.judged_interpretability_cells import (
    GateRun,
    JudgeCells,
    JudgeRun,
    judge_contexts,
    judges,
    pass_gate,
    plan_judges,
)
from sanity.profiles.judging import JudgeAmount

from sanity import profiles
from sanity.engine.cells import Cell, Task, computes
from sanity.engine.computing import compute, results
from sanity.engine.store import LocalStore
from sanity.errors import BadInputError
from sanity.evals.interpretability import Contexts, Counts, Pool
from sanity.evals.judging import BudgetError, Excerpt, JudgeError, JudgeSpec
from sanity.experiments import judged_interpretability, judged_interpretability_cells
from sanity.experiments import judged_interpretability_findings as findings
from sanity.profiles import ArmNames

WORDS = ("river", "castle", "engine")
SECRET = "sk-cells-0123456789"
SPEC = JudgeSpec("endpoint", "test-model", None, 4)
AMOUNT = JudgeAmount(
    arms=(ArmNames(constraint="trained"),), latents=3, examples=3, contexts=4, gate_contexts=5
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    with serving() as running:
        for name, value in {
            "URL": running.url,
            "MODEL": "test-model",
            "KEY": SECRET,
            "REQUESTS_PER_MINUTE": "10000",
            "TOKENS_PER_MINUTE": "100000000",
            "ATTEMPTS": "1",
        }.items():
            monkeypatch.setenv(f"SANITY_JUDGE_{name}", value)
        monkeypatch.setenv("SANITY_CACHE", str(tmp_path / "cache"))
        yield running


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def pool() -> Pool:
    """Windows of two tokens, each with one of the words or none."""
    n = 64
    pieces = tuple((f"w{i} ", (*WORDS, "hill")[i % 4]) for i in range(n))
    return Pool(
        torch.arange(2 * n).view(n, 2),
        torch.arange(0, 2 * n, 2),
        torch.arange(n),
        (torch.arange(n) // 4) % 2 == 0,
        ("news",) * n,
        pieces,
    )


@computes(version=1)
def keep_pool(task: Task) -> None:
    task.save_tensors("pool", pool().tensors())
    task.save_table("windows", pool().table())


@computes(version=1)
def keep_contexts(task: Task) -> None:
    """Latents that fire on one word each, or none at all."""
    n = int(task.config["latents"])
    if n == 0:
        task.save_json("none", {"why": "all latents are dead"})
        return
    windows = torch.cat([torch.arange(word, 64, 4) for word in range(n)])
    contexts = Contexts(
        pool(),
        torch.arange(n),
        torch.arange(0, 16 * n + 1, 16),
        windows,
        torch.ones(len(windows), dtype=torch.long),
        torch.linspace(1, 2, len(windows)),
        Counts(8, n, 0, 0, n, n, 3, 128, 64, 64, 1.0),
    )
    task.save_tensors("contexts", contexts.tensors())
    task.save_json("counts", contexts.facts())


EXCERPTS = [
    Excerpt(source, text.format(i))
    for i in range(8)
    for source, text in (
        ("code", "def f{}(x): return x;"),
        ("medicine", "the patient number {} was well"),
        ("reviews", "bought {} of them, three stars"),
        ("news", "in 1987 there were {} of them"),
        ("news", "why were there {} of them?"),
        ("news", "it cost $5 and {} cents"),
    )
]


@pytest.fixture(autouse=True)
def few_excerpts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judged_interpretability_cells, "registry_excerpts", lambda *, seed: EXCERPTS)


def planned(*, latents: int = 3, seed: int = 0) -> JudgeCells:
    gate = pass_gate.cell(GateRun(SPEC, 5, 0, "cpu"), label="gate")
    trained = arm(
        ArmNames(constraint="trained"), architecture_name="topk", l0=4, d_sae=8, seed=seed, learning_rate=1e-3
    )
    cell = judge_contexts.cell(
        JudgeRun(SPEC, trained, 4, "blocks.0.hook_resid_post", 3, 3, 4, 0.25, 0, "cpu"),
        inputs={
            "pool": keep_pool.cell({}, label="pool"),
            "contexts": keep_contexts.cell({"latents": latents}, label="contexts"),
            "gate": gate,
        },
        label="judged",
    )
    return JudgeCells(SPEC, AMOUNT, gate, [("tiny", cell)])


def the_cell(**options: Any) -> Cell:
    return planned(**options).judged[0][1]


def use(monkeypatch: pytest.MonkeyPatch, *plans: JudgeCells) -> profiles.Profile:
    monkeypatch.setattr(judged_interpretability, "plan_judges", lambda profile: list(plans))
    return profiles.load("smoke")


def test_a_judge_that_knows_gives_rows_that_claims_can_use(
    server: Server, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, found = judged_interpretability.scores(use(monkeypatch, planned()), store)
    row, shuffled = rows.to_dict("records")
    assert (row["metric"], row["value"], row["floor"], row["ceiling"]) == ("autointerp_judge", 1.0, 0.5, 1.0)
    # Below one half: another's word stands in some of the contexts in which a latent is silent.
    assert (shuffled["metric"], shuffled["floor"]) == ("autointerp_judge_shuffled", 0.5)
    assert 0.2 < shuffled["value"] <= 0.5
    assert (row["subject"], row["constraint"], row["seed"], row["n"]) == ("tiny", "trained", 0, 3)
    assert len(found) == 2
    assert set(server.authorizations) == {f"Bearer {SECRET}"}
    written = [path for path in store.root.rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in path.read_bytes() for path in written)
    assert not any(server.url.encode() in path.read_bytes() for path in written)


def test_a_judge_that_failed_its_gate_is_not_asked_and_gives_no_rows(
    server: Server, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.say = lambda prompt: "I would rather not"
    profile = use(monkeypatch, planned())
    rows, _ = judged_interpretability.scores(profile, store)
    assert rows.empty
    assert not any("have in common" in r["messages"][-1]["content"] for r in server.requests)
    (table,) = judged_interpretability.tables(profile, store)
    assert not table.passed
    assert table.silent[0][1].startswith("the judge did not pass its gate (100% of its answers")
    assert "No judge able to judge was at hand" in findings.result_words([table])
    assert findings.arms_words(table) == "test-model gave no score."


def test_an_arm_without_latents_is_named(
    server: Server, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = use(monkeypatch, planned(latents=0), planned(latents=1))
    tables = judged_interpretability.tables(profile, store)
    reasons = [table.silent[0][1] for table in tables]
    assert reasons == ["all latents are dead", "1 latent is too few: another's description takes two"]
    assert judged_interpretability.scores(profile, store)[0].empty


def test_a_run_that_dies_goes_on_without_asking_again(server: Server, store: LocalStore) -> None:
    server.dies_after = 40
    with pytest.raises(JudgeError, match="run again"):
        compute([the_cell()], store)
    server.dies_after = None
    (result,) = results([the_cell()], store)
    assert result.table("scores")["value"].iloc[0] == 1.0
    prompts = [str(r["messages"]) for r in server.requests]
    assert len(prompts) == len(set(prompts))


def test_a_budget_that_is_too_small_stops_before_the_first_call(
    server: Server, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANITY_JUDGE_BUDGET_TOKENS", "100")
    with pytest.raises(BudgetError, match="raise SANITY_JUDGE_BUDGET_TOKENS"):
        compute([the_cell()], store)
    assert server.requests == []


def test_graded_corruption_falls_from_right_to_chance(
    server: Server, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = judged_interpretability.graded(use(monkeypatch, planned()), store)
    means = table.groupby("level")["value"].mean()
    assert means.is_monotonic_decreasing
    assert (means.iloc[0], means.iloc[-1] < 0.6) == (1.0, True)
    assert table["seed"].nunique() >= 2
    assert {"metric", "level", "seed", "value", "floor", "ceiling", "n"} <= set(table.columns)


def test_cells_do_not_know_the_address_the_key_or_the_price(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = profiles.load("quick")
    monkeypatch.setenv("SANITY_JUDGE_MODEL", "big-model")

    def keys() -> list[str]:
        return [
            cell.key for plan in plan_judges(profile) for cell in (plan.gate, *(c for _, c in plan.judged))
        ]

    monkeypatch.setenv("SANITY_JUDGE_URL", "https://one.example/v1")
    first = keys()
    monkeypatch.setenv("SANITY_JUDGE_URL", "https://two.example/v1")
    monkeypatch.setenv("SANITY_JUDGE_KEY", SECRET)
    monkeypatch.setenv("SANITY_JUDGE_PRICE_PROMPT", "3")
    assert keys() == first
    monkeypatch.setenv("SANITY_JUDGE_MODEL", "other-model")
    assert keys() != first


def test_every_seed_draws_its_own_order_and_all_arms_of_a_seed_share_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SANITY_JUDGE_URL", raising=False)
    monkeypatch.setenv("SANITY_JUDGE_MODEL", "smollm2-135m")
    by_seed: dict[int, set[int]] = {}
    for plan in plan_judges(profiles.load("quick")):
        for _, cell in plan.judged:
            by_seed.setdefault(cell.config.arm.seed, set()).add(cell.config.seed)
    assert len(by_seed) > 1
    assert all(len(drawn) == 1 for drawn in by_seed.values())
    assert len(set.union(*by_seed.values())) == len(by_seed)


def test_judges_come_from_the_environment_and_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = profiles.load("quick")
    for name in ("URL", "MODEL", "KEY"):
        monkeypatch.delenv(f"SANITY_JUDGE_{name}", raising=False)
    assert [spec.label for spec, _ in judges(profile)] == ["smollm2-135m (on this machine)"]
    monkeypatch.setenv("SANITY_JUDGE_URL", "https://one.example/v1")
    with pytest.raises(BadInputError, match="SANITY_JUDGE_MODEL is not"):
        judges(profile)
    monkeypatch.setenv("SANITY_JUDGE_MODEL", "a,b")
    found = judges(profile)
    assert [(spec.kind, spec.model) for spec, _ in found] == [
        ("endpoint", "a"),
        ("endpoint", "b"),
        ("local", "smollm2-135m"),
    ]
    assert found[0][1].contexts == 50
    monkeypatch.delenv("SANITY_JUDGE_URL")
    monkeypatch.setenv("SANITY_JUDGE_MODEL", "smollm2-135m")
    assert [(spec.kind, amount.contexts) for spec, amount in judges(profile)] == [("local", 50), ("local", 5)]
    monkeypatch.setenv("SANITY_JUDGE_MODEL", "no-such-model")
    with pytest.raises(BadInputError, match="no language model 'no-such-model'"):
        judges(profile)


def test_the_first_judge_that_passed_is_the_one_that_counts(
    server: Server, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (table,) = judged_interpretability.tables(use(monkeypatch, planned()), store)
    failed = dataclasses.replace(table, passed=False)
    assert judged_interpretability.chosen([failed, table]) is table
    assert judged_interpretability.chosen([failed]) is None


def test_two_judges_are_compared_on_the_latents_that_both_saw(
    server: Server, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (table,) = judged_interpretability.tables(use(monkeypatch, planned()), store)
    other = dataclasses.replace(
        table, latents=table.latents.assign(accuracy=[0.5, 0.6, 0.7], latent=[0, 1, 2]), passed=False
    )
    assert findings.agreement_rows([table]).empty
    (row,) = findings.agreement_rows([table, other]).to_dict("records")
    assert (row["latents"], row["passed"]) == (3, "yes, no")
    assert row["mean difference"] == pytest.approx(0.4)


def test_the_chapters_tables_hold_what_was_asked(
    server: Server, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = use(monkeypatch, planned())
    (table,) = judged_interpretability.tables(profile, store)
    descriptions = findings.description_rows(table)
    assert descriptions["description"].to_list() == list(WORDS)
    assert descriptions["accuracy"].to_list() == [1.0, 1.0, 1.0]
    questions = findings.question_rows(table)
    assert set(questions["description"]) == {"asked for", "its own", "right", "another's"}
    assert "trained 1.00 (shuffled 0.29, 3 latents)" in findings.arms_words(table)
    assert "**passes**" in findings.gate_words([table], margin=0.25)
    assert findings.summary_rows(table)["latents above 0.7"].to_list() == [1.0]
    assert findings.parameter_rows(profile, table).loc["contexts in one question", "here"] == "4"
    assert isinstance(findings.cost_table(profile, findings.example_prices()), pd.DataFrame)
