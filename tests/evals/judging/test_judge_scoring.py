"""Scores of judges whose abilities are known: one that knows, one that guesses, one that says nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from judge_server import Server, judge

from sanity.errors import BadInputError
from sanity.evals.base import GRADED_COLUMNS
from sanity.evals.drawing import derangement
from sanity.evals.interpretability.contexts import Counts, DrawnContexts
from sanity.evals.interpretability.windows import Pool
from sanity.evals.judging import JudgedInterpretability, gate_verdict
from sanity.evals.judging.asking import Asker
from sanity.evals.judging.cache import Answer
from sanity.evals.judging.client import EndpointJudge
from sanity.evals.judging.gate import CONCEPTS, Excerpt, excerpts_from, graded_accuracy, run_gate
from sanity.evals.judging.protocol import Conversation
from sanity.evals.judging.scoring import LatentTexts, judge_latents, texts_of

WORDS = ("river", "castle", "engine", "violin")


class Told:
    """A judge that is a function."""

    name = "told"

    def __init__(self, say: Callable[[str], str]) -> None:
        self.say = say
        self.asked: list[str] = []

    def answer(self, conversations: Sequence[Conversation]) -> list[Answer]:
        self.asked += [c.messages[-1].text for c in conversations]
        return [Answer(self.say(c.messages[-1].text)) for c in conversations]


def latents(n: int = 4, contexts: int = 6) -> list[LatentTexts]:
    """Latents that fire on one word each."""
    return [
        LatentTexts(
            i,
            tuple(f"the <<{WORDS[i]}>> of {j}" for j in range(3)),
            tuple(f"near the {WORDS[i]} {j}" for j in range(contexts)),
            tuple(f"nothing much {j}" for j in range(contexts)),
        )
        for i in range(n)
    ]


@pytest.mark.parametrize("size", [1, 5, 12])
def test_a_judge_that_knows_gets_one_and_its_floor_is_chance(size: int) -> None:
    judged = judge_latents(Asker(Told(judge), size), latents(), seed=0)
    score, shuffled = judged.scores()
    assert (score.value, score.floor, score.ceiling) == (1.0, 0.5, 1.0)
    assert (score.metric, score.n, score.unit) == ("autointerp_judge", 4, "latent")
    assert (shuffled.metric, shuffled.value) == ("autointerp_judge_shuffled", 0.5)
    assert judged.latents["description"].to_list() == list(WORDS)
    assert set(judged.transcript["question"]) == {"describe", "own", "shuffled"}


def test_a_judge_that_always_says_yes_is_at_chance() -> None:
    judged = judge_latents(Asker(Told(lambda p: "a thing" if "common" in p else "Yes"), 1), latents(), seed=0)
    assert [(score.value, score.floor) for score in judged.scores()] == [(0.5, 0.5), (0.5, 0.5)]
    assert judged.latents["said_yes"].mean() == 1.0


def test_nonsense_gets_one_reminder_and_then_no_score() -> None:
    told = Told(lambda p: "a thing" if "common" in p else "as an assistant I cannot")
    judged = judge_latents(Asker(told, 3), latents(2, 3), seed=0)
    assert judged.refused
    assert judged.unanswered == 1.0
    assert judged.latents["accuracy"].to_list() == [0.5, 0.5]
    assert judged.transcript.query("question != 'describe'")["reminded"].all()
    assert len(told.asked) == 2 + 2 * (2 * 2 * 2)  # descriptions; two kinds, two latents, two parts, twice
    with pytest.raises(BadInputError, match=r"100% of the contexts have no usable answer.*10%"):
        judged.scores()


def test_what_others_descriptions_give_is_a_score_of_its_own_and_no_floor() -> None:
    """Silent contexts that hold another's word put the accuracy with another's description below chance."""
    misled = [
        LatentTexts(
            one.latent,
            one.examples,
            one.firing,
            tuple(f"the {word} again" for word in WORDS if word not in one.firing[0]),
        )
        for one in latents(4, 3)
    ]
    score, shuffled = judge_latents(Asker(Told(judge), 1), misled, seed=0).scores()
    assert (score.value, score.floor, shuffled.floor) == (1.0, 0.5, 0.5)
    assert shuffled.value == pytest.approx(2 / 6)  # one of three silent contexts, taken for its own


def test_a_reminder_that_helps_counts() -> None:
    def hesitant(prompt: str) -> str:
        if "not a usable answer" in prompt:
            return "Yes"
        return judge(prompt) if "common" in prompt else "well"

    told = Told(hesitant)
    judged = judge_latents(Asker(told, 1), latents(2, 2), seed=0)
    assert not judged.refused
    assert judged.transcript.query("question == 'own'")["first_answer"].eq("well").all()


def test_a_judge_without_descriptions_is_not_asked_about_contexts() -> None:
    told = Told(lambda prompt: "\n\n")
    judged = judge_latents(Asker(told, 1), latents(2, 2), seed=0)
    assert judged.refused
    assert len(told.asked) == 4  # two descriptions, two reminders
    assert judged.latents["description"].to_list() == ["", ""]


def test_a_few_missing_answers_are_worth_one_half() -> None:
    counter = itertools.count()

    def forgetful(prompt: str) -> str:
        said = judge(prompt)
        if "common" in prompt or "usable" in prompt:
            return said
        return said.split("\n", 1)[1] if next(counter) == 0 else said  # the first line is left out once

    judged = judge_latents(Asker(Told(forgetful), 12), latents(), seed=0)
    # The reminder is answered with nothing readable, and the eleven first verdicts stand.
    assert judged.latents["accuracy"].iloc[0] == pytest.approx((11 + 0.5) / 12)
    assert judged.latents["unanswered"].iloc[0] == pytest.approx(1 / 24)
    assert not judged.refused


def test_one_latent_alone_has_no_floor() -> None:
    with pytest.raises(BadInputError, match="two or more latents, not 1"):
        judge_latents(Asker(Told(judge), 1), latents(1), seed=0)


@given(st.integers(2, 40), st.integers(0, 5))
def test_nobody_keeps_his_own_description(n: int, seed: int) -> None:
    given_to = derangement(n, torch.Generator().manual_seed(seed))
    assert sorted(given_to) == list(range(n))
    assert all(i != j for i, j in enumerate(given_to))


def test_the_order_of_contexts_tells_nothing_and_is_the_same_every_time() -> None:
    one = latents(1, 20)[0]
    texts, truth = one.shuffled(3)
    assert (texts, truth) == one.shuffled(3)
    assert truth != sorted(truth, reverse=True)
    assert all(("river" in text) is fires for text, fires in zip(texts, truth, strict=True))


def test_texts_come_from_different_documents_and_both_kinds_are_equal() -> None:
    n = 40
    generator = torch.Generator().manual_seed(0)
    pieces = tuple((f"w{i}", " river" if i % 3 == 0 else " hill") for i in range(n))
    pool = Pool(
        torch.arange(2 * n).view(n, 2),
        torch.arange(0, 2 * n, 2),
        torch.arange(n),
        torch.arange(n) % 2 == 0,
        ("news",) * n,
        pieces,
    )
    windows = torch.arange(0, n, 3)
    contexts = DrawnContexts(
        pool,
        torch.tensor([7]),
        torch.tensor([0, len(windows)]),
        windows,
        torch.ones(len(windows), dtype=torch.long),
        torch.rand(len(windows), generator=generator) + 0.1,
        Counts(8, 1, 0, 0, 1, 1, 3, 2 * n, n, n, 1.0),
    )
    (one,) = texts_of(contexts, 5, examples=4, classified=50, seed=0)
    assert len(one.examples) == 4
    assert all("<< river>>" in text for text in one.examples)
    assert len(one.firing) == len(one.silent) == 7
    assert all("river" in text for text in one.firing)
    assert not any("river" in text for text in one.silent)
    with pytest.raises(BadInputError, match="two or more latents, not 1"):
        judge_latents(Asker(Told(judge), 1), [one], seed=0)
    described = {text.replace("<<", "").replace(">>", "") for text in one.examples}
    assert not described & {*one.firing, *one.silent}


EXCERPTS = [
    Excerpt(source, text.format(i))
    for i in range(30)
    for source, text in (
        ("code", "def f{}(x): return x;"),
        ("medicine", "the patient number {} was well"),
        ("reviews", "bought {} of them, three stars"),
        ("news", "in 1987 there were {} of them"),
        ("news", "why were there {} of them?"),
        ("news", "it cost $5 and {} cents"),
    )
]


def test_a_judge_that_knows_passes_the_gate_and_a_guesser_does_not() -> None:
    knows = run_gate(Asker(Told(judge), 5), EXCERPTS, n=10, seed=0)
    assert knows.concepts["accuracy"].to_list() == [1.0] * len(CONCEPTS)
    assert knows.concepts["shuffled"].mean() < 0.6
    assert knows.verdict()[0]
    rng = np.random.default_rng(0)
    guesses = run_gate(Asker(Told(lambda prompt: str(rng.choice(["Yes", "No"]))), 1), EXCERPTS, n=10, seed=0)
    passed, why = guesses.verdict()
    assert not passed
    assert "0.75 is needed" in why


def test_a_judge_that_ignores_descriptions_fails() -> None:
    knows = run_gate(Asker(Told(judge), 5), EXCERPTS, n=10, seed=0)
    blind = knows.concepts.assign(shuffled=0.9)
    assert gate_verdict(blind) == (
        False,
        "accuracy 1.00 with right descriptions and 0.90 with shuffled ones; it answers well without looking "
        "at the description",
    )


def test_a_judge_of_nonsense_fails_by_its_silence() -> None:
    report = run_gate(Asker(Told(lambda prompt: "?!"), 1), EXCERPTS, n=5, seed=0)
    assert report.verdict() == (False, "100% of its answers could not be used (10% are allowed)")


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_accuracy_falls_to_the_floor_as_descriptions_are_corrupted(seed: int) -> None:
    report = run_gate(Asker(Told(judge), 5), EXCERPTS, n=10, seed=0)
    table = graded_accuracy(report.items, seeds=[seed])
    assert table["value"].is_monotonic_decreasing
    assert table["value"].iloc[0] == report.concepts["accuracy"].mean()
    assert table["value"].iloc[-1] == pytest.approx(report.concepts["shuffled"].mean(), abs=0.2)
    assert table.columns.to_list() == list(GRADED_COLUMNS)
    assert set(table["kind"]) == {JudgedInterpretability.metrics["autointerp_judge"].gate}


def test_too_few_excerpts_are_refused_with_the_counts() -> None:
    with pytest.raises(BadInputError, match=r"'code' needs 40 excerpts with it and 40 without.*30 and 150"):
        run_gate(Asker(Told(judge), 1), EXCERPTS, n=40, seed=0)


def test_excerpts_are_short_pieces_of_long_texts() -> None:
    long = " ".join(f"word{i}" for i in range(100))
    found = excerpts_from({"news": ["too short", long, long]}, per_source=1, seed=0)
    assert len(found) == 1
    assert found[0].text in long
    assert len(found[0].text) <= 130


def test_the_whole_protocol_over_http(server: Server, open_judge: Callable[..., EndpointJudge]) -> None:
    judge = open_judge(concurrency=4)
    report = run_gate(Asker(judge, 10), EXCERPTS, n=10, seed=0)
    assert report.verdict()[0]
    judged = judge_latents(Asker(judge, 10), latents(), seed=0)
    assert [(score.value, score.floor) for score in judged.scores()] == [(1.0, 0.5), (0.5, 0.5)]
    assert set(judged.transcript["model"]) == {"served-model"}
    made = len(server.requests)
    assert judge_latents(Asker(judge, 10), latents(), seed=0).scores() == judged.scores()
    assert len(server.requests) == made
