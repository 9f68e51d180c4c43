"""The HTTP client against a real server on this machine, well and badly behaved."""

from __future__ import annotations

import json
import logging
import socket
import traceback
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from time import time

import judge_server
import pytest
from judge_server import SECRET, Reply, Server, body, drop, half, says, silence, status

from sanity.errors import BadInputError
from sanity.evals.judging.budget import estimate
from sanity.evals.judging.client import EndpointJudge
from sanity.evals.judging.errors import BudgetError, JudgeError
from sanity.evals.judging.protocol import Conversation, Message

Open = Callable[..., EndpointJudge]


def asked(n: int) -> list[Conversation]:
    """`n` different questions whose right answer is Yes."""
    return [
        Conversation(
            (
                Message("system", "Decide."),
                Message("user", f"Description: patient\n<text>patient number {i}</text>"),
            ),
            8,
        )
        for i in range(n)
    ]


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_answers_come_in_order_with_the_key_in_the_header_and_nowhere_else(
    server: Server, open_judge: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.say = lambda prompt: prompt[-9:-7]
    judge = open_judge(concurrency=4)
    answers = judge.answer(asked(12))
    assert [a.text for a in answers] == [f"{f'number {i}'[-2:]}" for i in range(12)]
    assert set(server.authorizations) == {f"Bearer {SECRET}"}
    assert {r["temperature"] for r in server.requests} == {0}
    assert {r["model"] for r in server.requests} == {"test-model"}
    assert SECRET not in caplog.text
    assert SECRET not in repr(judge.endpoint)
    written = files(tmp_path)
    assert len(written) == 13  # an answer each, and the journal
    assert not any(SECRET in path.read_text() or server.url in path.read_text() for path in written)


def test_an_answer_on_disk_is_not_asked_for_again(server: Server, open_judge: Open) -> None:
    questions = asked(3)
    first = open_judge().answer(questions)
    again = open_judge(budget_tokens=1, url="http://127.0.0.1:9/v1").answer([*questions, questions[0]])
    assert len(server.requests) == 3
    assert again == [*first, first[0]]


def test_another_model_or_seed_is_another_answer(server: Server, open_judge: Open) -> None:
    endpoint = open_judge().endpoint
    for model, seed in (("test-model", 0), ("other", 0), ("test-model", 1), ("test-model", 0)):
        EndpointJudge(endpoint, model, seed=seed).answer(asked(1))
    assert [(r["model"], r["seed"]) for r in server.requests] == [
        ("test-model", 0),
        ("other", 0),
        ("test-model", 1),
    ]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (status(500, "overloaded"), "status 500: overloaded"),
        (status(503), "status 503: no reason given"),
        (body("<html>gateway"), "no chat completion"),
        (body("[]"), "no chat completion"),
        (body('{"choices": []}'), "no chat completion"),
        (body('{"choices": [{"message": {"content": [1]}}]}'), "no chat completion"),
        (drop, "broken connection"),
        (half, "broken connection"),
    ],
)
def test_what_may_pass_is_tried_again(
    server: Server,
    open_judge: Open,
    pauses: list[float],
    caplog: pytest.LogCaptureFixture,
    reply: Reply,
    words: str,
) -> None:
    caplog.set_level(logging.INFO, "sanity")
    server.bad = [reply, reply]
    (answer,) = open_judge().answer(asked(1))
    assert answer.text == "Yes"
    assert pauses == [1.0, 2.0]
    assert words in caplog.text


def test_a_time_out_is_tried_again_and_stays_booked(
    server: Server, open_judge: Open, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sanity")
    server.bad = [silence(0.6)]
    judge = open_judge(timeout=0.2)
    (answer,) = judge.answer(asked(1))
    assert answer.text == "Yes"
    assert "a time-out after 0.2 s" in caplog.text
    # The lost answer may have been charged: it is booked at its estimate, the other one at what it used.
    assert judge.spending.booked.tokens == estimate(asked(1)).tokens + 105


@pytest.mark.parametrize("header", ["7", "0", "date"])
def test_retry_after_is_kept_to(server: Server, open_judge: Open, pauses: list[float], header: str) -> None:
    given = formatdate(time() + 30, usegmt=True) if header == "date" else header
    server.bad = [status(429, "slow down", Retry_After=given)]
    open_judge().answer(asked(1))
    (pause,) = pauses
    assert 20 < pause <= 30 if header == "date" else pause == float(header)


def test_a_refused_call_is_not_booked(server: Server, open_judge: Open) -> None:
    server.bad = [status(429), status(500)]
    judge = open_judge()
    judge.answer(asked(1))
    assert judge.spending.booked.calls == 1


def test_an_endpoint_that_asks_for_an_hour_is_not_waited_for(
    server: Server, open_judge: Open, pauses: list[float]
) -> None:
    server.bad = [status(429, "quota", Retry_After="3600")]
    with pytest.raises(JudgeError, match=r"asks to wait for 3600 s .*run again then"):
        open_judge().answer(asked(1))
    assert pauses == []


def test_a_refusal_is_final_and_does_not_show_a_key_that_the_server_repeats(
    server: Server, open_judge: Open
) -> None:
    server.bad = [status(401, f"incorrect key {SECRET} given")]
    with pytest.raises(JudgeError, match=r"status 401 .*\[key\].*check SANITY_JUDGE_KEY") as caught:
        open_judge().answer(asked(3))
    assert len(server.requests) == 1
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_key_inside_an_answer_is_not_kept(server: Server, open_judge: Open, tmp_path: Path) -> None:
    server.bad = [says(f"your key is {SECRET}")]
    (answer,) = open_judge().answer(asked(1))
    assert answer.text == "your key is [key]"
    assert not any(SECRET in path.read_text() for path in files(tmp_path))


def test_no_redirect_is_followed_with_the_key(server: Server, open_judge: Open) -> None:
    server.bad = [status(307, "", Location=f"{server.url}/chat/completions")]
    with pytest.raises(JudgeError, match="status 307"):
        open_judge().answer(asked(1))
    assert len(server.requests) == 1


def test_a_wrong_address_names_the_variables(server: Server, open_judge: Open) -> None:
    with pytest.raises(JudgeError, match=r"status 404.*SANITY_JUDGE_URL"):
        open_judge(url=server.url.removesuffix("/v1")).answer(asked(1))


def test_a_model_that_wants_the_limit_under_another_name_gets_it(server: Server, open_judge: Open) -> None:
    server.bad = [status(400, "Use 'max_completion_tokens' instead")]
    judge = open_judge()
    assert [a.text for a in judge.answer(asked(2))] == ["Yes", "Yes"]
    assert ["max_completion_tokens" in r for r in server.requests] == [False, True, True]


def test_nobody_listening_says_so_and_what_to_do(open_judge: Open) -> None:
    with socket.socket() as deaf:  # keeps its port from others, and does not listen
        deaf.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"
        with pytest.raises(JudgeError, match=r"nothing listens at port \d+ .*0 of 2 answers"):
            open_judge(url=url).answer(asked(2))


@pytest.mark.parametrize("concurrency", [1, 4])
def test_after_a_connection_that_dies_half_way_only_the_rest_is_asked(
    server: Server, open_judge: Open, concurrency: int
) -> None:
    questions = asked(10)
    server.dies_after = 6
    with pytest.raises(JudgeError, match=r"6 of 10 answers came and are kept; run again"):
        open_judge(attempts=1, concurrency=concurrency).answer(questions)
    server.dies_after = None
    answers = open_judge().answer(questions)
    assert [a.text for a in answers] == ["Yes"] * 10
    prompts = [r["messages"][-1]["content"] for r in server.requests]
    assert len(prompts) == len(set(prompts)) == 10


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_answer_is_named_and_asked_for_again(
    server: Server, open_judge: Open, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    judge = open_judge()
    judge.answer(asked(2))
    victim = files(judge.cache.folder)[0]
    text = victim.read_text()
    victim.write_text({"cut": text[:60], "changed": text.replace("Yes", "No"), "empty": "{}"}[damage])
    answers = open_judge().answer(asked(2))
    assert [a.text for a in answers] == ["Yes", "Yes"]
    assert len(server.requests) == 3
    assert str(victim) in caplog.text
    assert victim.read_text() == text


def test_the_estimate_is_told_before_the_first_call_and_refused_when_too_large(
    server: Server, open_judge: Open, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sanity")
    tokens = estimate(asked(5)).tokens
    with pytest.raises(BudgetError, match=r"SANITY_JUDGE_BUDGET_TOKENS"):
        open_judge(budget_tokens=tokens - 1).answer(asked(5))
    assert server.requests == []
    assert "0 of 5 answers are on disk; about 5 calls" in caplog.text
    assert len(open_judge(budget_tokens=2 * tokens).answer(asked(1))) == 1


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_budget_that_ends_half_way_stops_before_the_next_call(
    server: Server, open_judge: Open, concurrency: int
) -> None:
    server.usage = {"prompt_tokens": 1000, "completion_tokens": 1000}  # far more than estimated
    judge = open_judge(budget_tokens=5000, concurrency=concurrency)
    with pytest.raises(BudgetError, match=r"budget of 5,000 tokens.*of 20 answers came and are kept"):
        judge.answer(asked(20))
    made = len(server.requests)
    assert 3 <= made <= 2 + concurrency
    assert judge.spending.booked.calls == made
    # Another run reads the journal: the budget is spent for it, too.
    with pytest.raises(BudgetError):
        open_judge(budget_tokens=5000).answer(asked(20))
    assert len(server.requests) == made
    # With a larger one it goes on where it stopped.
    open_judge(budget_tokens=1_000_000).answer(asked(20))
    assert len(server.requests) == 20


def test_a_budget_in_money_holds(server: Server, open_judge: Open) -> None:
    server.usage = {"prompt_tokens": 0, "completion_tokens": 100_000}
    judge = open_judge(budget_money=1.0, price_prompt=1.0, price_answer=4.0)
    with pytest.raises(BudgetError, match=r"budget of 1\.00 does not suffice .*1\.20 at the given prices"):
        judge.answer(asked(9))
    assert len(server.requests) == 3


def test_an_endpoint_that_reports_no_usage_is_booked_at_the_estimate(
    server: Server, open_judge: Open
) -> None:
    server.usage = None
    judge = open_judge()
    judge.answer(asked(1))
    assert judge.spending.booked == estimate(asked(1))


def test_an_unreadable_journal_stops_spending(server: Server, open_judge: Open) -> None:
    judge = open_judge()
    judge.answer(asked(1))
    with (judge.endpoint.folder / "spent.jsonl").open("a") as journal:
        journal.write("{broken\n")
    with pytest.raises(BudgetError, match=r"spent\.jsonl has a line that cannot be read"):
        open_judge().answer(asked(2))
    assert len(server.requests) == 1


def test_the_cache_holds_what_was_asked(server: Server, open_judge: Open) -> None:
    judge = open_judge()
    judge.answer(asked(1))
    (file,) = files(judge.cache.folder)
    entry = json.loads(file.read_text())
    assert entry["request"]["messages"][-1]["content"].startswith("Description: patient")
    assert entry["answer"]["text"] == "Yes"
    assert entry["answer"]["model"] == "served-model"


def test_the_server_of_these_tests_knows_its_words() -> None:
    assert judge_server.judge("Description: texts that name a particular year\n<text>in 1987</text>") == "Yes"
    assert judge_server.judge("Description: patient\n<text>none</text>") == "No"


def test_a_bad_endpoint_is_refused(open_judge: Open) -> None:
    with pytest.raises(BadInputError, match="no address"):
        open_judge(url="api.example.com")
