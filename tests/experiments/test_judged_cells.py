"""Judging the latents of an SAE as cells: over HTTP, resumable, and only by judges that passed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from judge_server import Server, judge, serving
from typer.testing import CliRunner
from word_encoder import WordEncoder

from sanity import profiles
from sanity.cli import app
from sanity.engine.cells import Cell, Task, computes
from sanity.engine.computing import compute, results
from sanity.engine.store import LocalStore
from sanity.errors import BadInputError
from sanity.evals.interpretability.contexts import Counts, DrawnContexts
from sanity.evals.interpretability.windows import Pool
from sanity.evals.judging import JudgedInterpretability
from sanity.evals.judging import interpretability as judging
from sanity.evals.judging.asking import Classification, JudgeSpec, Question
from sanity.evals.judging.cache import Answer
from sanity.evals.judging.errors import BudgetError, JudgeError
from sanity.evals.judging.gate import Excerpt
from sanity.evals.judging.matching import TextMatcher
from sanity.evals.judging.opinions import Opinion, scored
from sanity.evals.judging.protocol import Conversation
from sanity.evals.judging.scoring import Judgement
from sanity.experiments.planner import plan_grids
from sanity.experiments.plans import Plan
from sanity.experiments.reading import Reader
from sanity.experiments.steps import EvalOnSource, Scoring, grade_eval, prepare_eval, score_saes
from sanity.models import Arm, Autoencoder, TopK, save_sae
from sanity.sources import Budget, RunSpec, World

WORDS = ("river", "castle", "engine")
SECRET = "sk-cells-0123456789"
SPEC = JudgeSpec("endpoint", "test-model", None, 4)
ASKED = JudgedInterpretability(
    latents=3, examples=3, contexts=4, gate_contexts=5, texts_per_question=4, judges=(SPEC,)
)
GRIDS = ("judged_interpretability_named", "judged_interpretability")


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


@computes("test: keep pool", version=1)
def keep_pool(task: Task) -> None:
    task.save_tensors("pool", pool().tensors())
    task.save_table("windows", pool().table())


@computes("test: keep contexts", version=1)
def keep_contexts(task: Task) -> None:
    """Latents that fire on one word each, or none at all."""
    n = int(task.config["latents"])
    if n == 0:
        task.save_json("facts", {"refused": "all latents are dead"})
        return
    windows = torch.cat([torch.arange(word, 64, 4) for word in range(n)])
    contexts = DrawnContexts(
        pool(),
        torch.arange(n),
        torch.arange(0, 16 * n + 1, 16),
        windows,
        torch.ones(len(windows), dtype=torch.long),
        torch.linspace(1, 2, len(windows)),
        Counts(8, n, 0, 0, n, n, 3, 128, 64, 64, 1.0),
    )
    task.save_tensors("contexts", contexts.tensors())
    task.save_json("facts", contexts.facts())


@computes("test: keep an sae", version=1)
def keep_sae(task: Task) -> None:
    W_dec = torch.eye(8)
    save_sae(Autoencoder(W_dec.T, W_dec, torch.zeros(8), torch.zeros(8), TopK(4)), task.folder / "sae")


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
    monkeypatch.setattr(judging, "registry_excerpts", lambda *, per_source, seed: EXCERPTS)


def gate_cell(asked: JudgedInterpretability = ASKED) -> Cell:
    config = EvalOnSource(asked, asked.version, World(), "cpu")
    return prepare_eval.cell(config, inputs={"contexts.prepared": keep_pool.cell({}, label="")}, label="gate")


def judged_cell(asked: JudgedInterpretability = ASKED, *, latents: int = 3, seed: int = 0) -> Cell:
    run = RunSpec(Arm(TopK(4), 8, seed=seed), World(), Budget(1, 64))
    return score_saes.cell(
        Scoring(asked, asked.version, World(), run),
        inputs={
            "sae": keep_sae.cell({}, label="sae"),
            "prepared": gate_cell(asked),
            "contexts.prepared": keep_pool.cell({}, label="pool"),
            "contexts.scored": keep_contexts.cell({"latents": latents}, label="contexts"),
        },
        label="judged",
    )


class Told:
    """A judge on this machine that is a function."""

    name = "told"

    def __init__(self, say: object) -> None:
        self.say = say

    def answer(self, conversations: Sequence[Conversation]) -> list[Answer]:
        return [Answer(self.say(c.messages[-1].text)) for c in conversations]  # type: ignore[operator]


def test_a_judge_that_knows_gives_rows_that_claims_can_use(server: Server, store: LocalStore) -> None:
    (result,) = results([judged_cell()], store)
    row, shuffled = result.table("scores").to_dict("records")
    assert (row["metric"], row["value"], row["floor"], row["ceiling"]) == ("autointerp_judge", 1.0, 0.5, 1.0)
    # Below one half: another's word stands in some of the contexts in which a latent is silent.
    assert (shuffled["metric"], shuffled["floor"]) == ("autointerp_judge_shuffled", 0.5)
    assert 0.2 < shuffled["value"] <= 0.5
    assert (row["constraint"], row["seed"], row["n"]) == ("trained", 0, 3)
    facts = result.json("facts")
    assert (facts["counts"], facts["judge"]) == (True, SPEC.label)
    assert "refused" not in facts
    latents = result.table("latents")
    assert latents["description"].to_list() == list(WORDS)
    assert set(latents["judge"]) == {SPEC.label}
    assert set(result.table("transcript")["question"]) == {"describe", "own", "shuffled"}
    assert set(server.authorizations) == {f"Bearer {SECRET}"}
    written = [path for path in store.root.rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in path.read_bytes() for path in written)
    assert not any(server.url.encode() in path.read_bytes() for path in written)


def test_a_paid_judge_that_failed_its_gate_is_not_asked_and_gives_no_rows(
    server: Server, store: LocalStore
) -> None:
    server.say = lambda prompt: "I would rather not"
    (result,) = results([judged_cell()], store)
    assert result.table("scores").empty
    assert not any("have in common" in r["messages"][-1]["content"] for r in server.requests)
    facts = result.json("facts")
    assert facts["counts"] is False
    assert facts["refused"].startswith("the judge did not pass its gate (100% of its answers")
    assert result.table("judges")["silent"].to_list() == [facts["refused"]]
    assert "latents.parquet" not in result.files


def test_a_bundled_judge_that_failed_is_asked_and_its_scores_do_not_count(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(lambda prompt: "a thing" if "common" in prompt else "Yes")
    monkeypatch.setattr(judging, "open_local", lambda name, **_: told)
    spec = JudgeSpec("local", "told", "weights", 1)
    (result,) = results([judged_cell(replace(ASKED, judges=(spec,)))], store)
    assert result.table("scores")["value"].to_list() == [0.5, 0.5]
    facts = result.json("facts")
    assert facts["counts"] is False
    assert "0.75 is needed" in facts["why"]


def test_the_text_matcher_resumes_and_scores_alone_as_in_company(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [2]

    class Mortal(TextMatcher):
        def classify(self, questions: Sequence[Question]) -> list[Classification]:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return super().classify(questions)

    def mortal(name: str, corpus: Sequence[str], **_: object) -> TextMatcher:
        return Mortal(name, corpus, WordEncoder())

    monkeypatch.setattr(judging, "open_matcher", mortal)
    asked = replace(ASKED, same_word=2, judges=(JudgeSpec("matcher", "minilm", "0", 0),))
    cells = [judged_cell(asked), judged_cell(asked, latents=2)]
    with pytest.raises(KeyboardInterrupt):
        compute(cells, store)
    left[0] = 1000
    together = results(cells, store)
    alone = results(cells[1:], LocalStore(tmp_path / "other"))
    for name in ("latents", "scores", "transcript"):
        assert together[1].table(name).equals(alone[0].table(name))
    assert together[0].table("latents")["description"].to_list() == list(WORDS)
    assert together[0].table("scores")["value"].iloc[0] == 1.0
    assert together[0].json("facts")["judge"] == "minilm (text matcher)"


def test_an_arm_without_latents_is_named(server: Server, store: LocalStore) -> None:
    found = results([judged_cell(latents=0), judged_cell(latents=1)], store)
    reasons = [result.json("facts")["refused"] for result in found]
    assert reasons == ["all latents are dead", "1 latent is too few: another's description takes two"]
    assert all(result.table("scores").empty for result in found)


def test_a_run_that_dies_goes_on_without_asking_again(server: Server, store: LocalStore) -> None:
    server.dies_after = 40
    with pytest.raises(JudgeError, match="run again"):
        compute([judged_cell()], store)
    server.dies_after = None
    (result,) = results([judged_cell()], store)
    assert result.table("scores")["value"].iloc[0] == 1.0
    prompts = [str(r["messages"]) for r in server.requests]
    assert len(prompts) == len(set(prompts))


def test_a_budget_that_is_too_small_stops_before_the_first_call(
    server: Server, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANITY_JUDGE_BUDGET_TOKENS", "100")
    with pytest.raises(BudgetError, match="raise SANITY_JUDGE_BUDGET_TOKENS"):
        compute([judged_cell()], store)
    assert server.requests == []


def test_graded_corruption_falls_from_right_to_chance(server: Server, store: LocalStore) -> None:
    cell = grade_eval.cell(
        EvalOnSource(ASKED, 1, World(), "cpu"), inputs={"prepared": gate_cell()}, label="graded"
    )
    table = results([cell], store)[0].table("graded")
    means = table.groupby("level")["value"].mean()
    assert means.is_monotonic_decreasing
    assert (means.iloc[0], means.iloc[-1] < 0.6) == (1.0, True)
    assert table["seed"].nunique() == ASKED.reseeds
    assert set(table["kind"]) == {ASKED.metrics["autointerp_judge"].gate}
    assert table["counts"].all()


def test_every_seed_draws_its_own_order_and_all_arms_of_a_seed_share_it(
    server: Server, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one latent the same contexts are asked about, in an order that the seed draws."""
    found = results([judged_cell(seed=0), judged_cell(seed=1), judged_cell(ASKED, seed=0, latents=2)], store)
    orders = []
    for result in found:
        asked = result.table("transcript").query("question == 'own' and latent == 0")
        orders.append(re.findall(r"<text[^>]*>(.*?)</text>", " ".join(asked["prompt"])))
    assert orders[0] == orders[2]
    assert orders[0] != orders[1]


def test_the_first_judge_that_passed_gives_the_score() -> None:
    def opinion(name: str, accuracy: float, *, passed: bool, silent: str = "") -> Opinion:
        latents = pd.DataFrame(
            {
                "latent": [0, 1],
                "accuracy": accuracy,
                "shuffled": 0.5,
                "same_word": None,
                "unanswered": float(bool(silent)),
            }
        )
        spec = JudgeSpec("local", name, "weights", 1)
        return Opinion(spec, passed, f"{name}'s gate", Judgement(latents, pd.DataFrame()), silent)

    failed, first, second = opinion("a", 0.9, passed=False), opinion("b", 0.8, passed=True), opinion(
        "c", 0.7, passed=True
    )  # fmt: skip
    found = scored([failed, first, second])
    assert (found.scores[0].value, found.facts["counts"], found.refused) == (0.8, True, "")
    assert found.tables["latents"].groupby("judge")["accuracy"].first().to_list() == [0.9, 0.8, 0.7]
    assert found.tables["judges"]["passed"].to_list() == [False, True, True]
    nobody = scored([failed])
    assert (nobody.scores[0].value, nobody.facts["counts"], nobody.facts["why"]) == (0.9, False, "a's gate")
    silent = scored([opinion("b", 0.5, passed=True, silent="no usable answer"), second])
    assert (list(silent.scores), silent.refused) == ([], "no usable answer")


def named_plan(profile: str = "quick") -> Plan:
    return plan_grids(profiles.load(profile, only=GRIDS))


def judged_cells(plan: Plan, grid: str = GRIDS[0]) -> list[Cell]:
    return [run.scored["judged_by_named"] for run in plan.grid(grid)]


def test_cells_do_not_know_the_address_the_key_or_the_price(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANITY_JUDGE_MODEL", "big-model")

    def keys() -> list[str]:
        return [cell.key for cell in named_plan().cells]

    monkeypatch.setenv("SANITY_JUDGE_URL", "https://one.example/v1")
    first = keys()
    monkeypatch.setenv("SANITY_JUDGE_URL", "https://two.example/v1")
    monkeypatch.setenv("SANITY_JUDGE_KEY", SECRET)
    monkeypatch.setenv("SANITY_JUDGE_PRICE_PROMPT", "3")
    assert keys() == first
    monkeypatch.setenv("SANITY_JUDGE_MODEL", "other-model")
    assert keys() != first


def test_without_a_named_judge_its_grid_plans_nothing(store: LocalStore) -> None:
    plan = named_plan()
    assert plan.grid("judged_interpretability_named") == []
    assert len(plan.grid("judged_interpretability")) == 21
    read = Reader(profiles.load("quick", only=GRIDS[:1]), store)
    assert read.plan.cells == []
    assert read.scores(GRIDS[0]).empty
    assert read.facts(GRIDS[0], "judged_by_named").empty
    assert read.prepared("judged_by_named") == []


def test_judges_come_from_the_environment_and_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = profiles.load("quick", only=GRIDS)

    def judges(name: str) -> list[tuple[str, str, int]]:
        found = profile.eval_named(name).in_environment()
        return [(spec.kind, spec.model, found.contexts) for spec in found.judges]

    assert judges("judged_interpretability") == [("matcher", "minilm", 50)]
    assert profile.eval_named("judged_by_named").in_environment() is None
    monkeypatch.setenv("SANITY_JUDGE_URL", "https://one.example/v1")
    with pytest.raises(BadInputError, match="SANITY_JUDGE_MODEL is not"):
        judges("judged_by_named")
    monkeypatch.setenv("SANITY_JUDGE_MODEL", "a,b")
    assert judges("judged_by_named") == [("endpoint", "a", 50), ("endpoint", "b", 50)]
    assert judges("judged_interpretability") == [("matcher", "minilm", 50)]
    monkeypatch.delenv("SANITY_JUDGE_URL")
    monkeypatch.setenv("SANITY_JUDGE_MODEL", "smollm2-135m")
    assert judges("judged_by_named") == [("local", "smollm2-135m", 50)]
    assert len(judged_cells(plan_grids(profile))) == 21
    monkeypatch.setenv("SANITY_JUDGE_MODEL", "no-such-model")
    with pytest.raises(BadInputError, match="no language model 'no-such-model'"):
        plan_grids(profile)


def test_two_judges_of_one_run_are_both_asked(
    server: Server, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = replace(ASKED, judges=(SPEC, replace(SPEC, model="second-model")))
    (result,) = results([judged_cell(both)], store)
    latents = result.table("latents")
    assert latents.groupby("judge").size().to_list() == [3, 3]
    assert len(result.table("scores")) == 2
    assert result.json("facts")["judge"] == SPEC.label
    assert judge("Description: river\n<text>a river</text>") == "Yes"  # the server's own judge


def test_amounts_that_no_judge_can_be_asked_are_refused() -> None:
    with pytest.raises(BadInputError, match="2 or more latents"):
        JudgedInterpretability(latents=1)
    with pytest.raises(BadInputError, match=r"between 0 and 0.5, not 0.5"):
        JudgedInterpretability(gate_margin=0.5)


def test_a_judge_that_says_nothing_ends_the_run_and_the_command(
    server: Server, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.say = lambda prompt: ""
    with pytest.raises(JudgeError, match="were empty"):
        compute([gate_cell()], store)
    planned = SimpleNamespace(runs=[SimpleNamespace(scored={"judged": judged_cell()})])
    monkeypatch.setattr("sanity.experiments.planner.plan_grids", lambda profile: planned)
    done = CliRunner().invoke(app, ["judge", "--profile", "smoke"])
    assert done.exit_code == 1
    assert "were empty" in done.stderr
    assert "Asked" not in done.output
