"""Endpoints as they really are, and as nobody should be: over HTTP, against a server on this machine."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from judge_server import Reply, Server, body, late, message, packed, says, status

from sanity.evals.judging.budget import estimate
from sanity.evals.judging.client import EndpointJudge
from sanity.evals.judging.errors import BudgetError, JudgeError
from sanity.evals.judging.protocol import Conversation, Message

Open = Callable[..., EndpointJudge]


def asked(n: int) -> list[Conversation]:
    return [
        Conversation((Message("user", f"Description: patient\n<text>patient {i}</text>"),), 8)
        for i in range(n)
    ]


@pytest.mark.parametrize(
    "count", [-5, -(10**9), "Infinity", "-Infinity", "NaN", '"12"', 10**30, 0, "[]", "null"]
)
def test_a_count_that_is_none_is_booked_at_the_estimate(server: Server, open_judge: Open, count: Any) -> None:
    usage = f'{{"prompt_tokens": {count}, "completion_tokens": {count}}}'
    server.bad = [body(f'{{"choices": [{{"message": {{"content": "Yes"}}}}], "usage": {usage}}}')]
    judge = open_judge()
    assert [a.text for a in judge.answer(asked(1))] == ["Yes"]
    assert judge.spending.booked == (estimate(asked(1)) if count != '"12"' else judge.spending.booked)
    assert judge.spending.booked.tokens > 0


@pytest.mark.parametrize("calls", ["-1", "Infinity", "1e999", '"3"', "0.5", "null", "[" * 9000])
@pytest.mark.parametrize("field", ["prompt_tokens", "answer_tokens"])
def test_a_journal_with_a_line_that_is_no_usage_stops_spending(
    server: Server, open_judge: Open, calls: str, field: str
) -> None:
    judge = open_judge()
    judge.endpoint.folder.mkdir(parents=True)
    other = ({"prompt_tokens", "answer_tokens"} - {field}).pop()
    line = f'{{"calls": 1, "{field}": {calls}, "{other}": 1}}\n'
    (judge.endpoint.folder / "spent.jsonl").write_text(line)
    with pytest.raises(BudgetError, match="cannot be read"):
        judge.answer(asked(1))
    assert server.requests == []


def test_a_paid_answer_with_half_a_character_is_kept(server: Server, open_judge: Open) -> None:
    server.bad = [body('{"model": "\\udfff", "choices": [{"message": {"content": "Yes \\ud800"}}]}')]
    assert [a.text for a in open_judge().answer(asked(1))] == ["Yes ?"]
    assert [a.text for a in open_judge().answer(asked(1))] == ["Yes ?"]
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [
        body("[" * 100_000),
        body('{"a":' * 50_000),
        body('{"choices": Infinity}'),
        body('{"choices": [{"message": {"content": {"deep": 1}}}]}'),
        body('{"choices": [{"message": "Yes"}]}'),
        body('{"choices": [null]}'),
        body(""),
        body("<html>Please log in</html>"),
        body('{"status": "ok"}'),
    ],
)
def test_what_never_was_an_answer_is_one_sentence_and_not_booked(
    server: Server, open_judge: Open, reply: Reply
) -> None:
    server.bad = [reply] * 3
    judge = open_judge()
    with pytest.raises(JudgeError, match="no chat completion"):
        judge.answer(asked(1))
    assert judge.spending.booked.calls == 0


def test_a_packed_answer_is_read_though_it_was_not_asked_for(server: Server, open_judge: Open) -> None:
    answer = b'{"choices": [{"message": {"content": "Yes"}}]}'
    server.bad = [packed(gzip.compress(answer)), packed(zlib.compress(answer), "deflate")]
    assert [a.text for a in open_judge().answer(asked(2))] == ["Yes", "Yes"]


@pytest.mark.parametrize("raw", [b"no gzip at all", gzip.compress(b"x" * 5000)[:-900][:20] + b"\xff" * 50])
def test_what_is_packed_badly_is_one_sentence(server: Server, open_judge: Open, raw: bytes) -> None:
    server.bad = [packed(raw)] * 3
    with pytest.raises(JudgeError, match=r"gzip|chat completion"):
        open_judge().answer(asked(1))


def test_a_reply_that_unpacks_to_a_gigabyte_takes_little_memory(server: Server, open_judge: Open) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    blocks = [packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2)]
    server.bad = [packed(blocks[0] + 1000 * blocks[1])]
    tracemalloc.start()
    try:
        with pytest.raises(JudgeError, match="larger than"):
            open_judge().answer(asked(1))
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20
    finally:
        tracemalloc.stop()


def test_an_endless_reply_is_cut(server: Server, open_judge: Open) -> None:
    server.bad = [body("x" * (5 * 2**20))]
    with pytest.raises(JudgeError, match="larger than"):
        open_judge().answer(asked(1))


@pytest.mark.parametrize("concurrency", [1, 4, 16])
def test_a_limit_of_another_name_is_found_at_any_concurrency(
    server: Server, open_judge: Open, concurrency: int
) -> None:
    refusal = late(status(400, '{"error": {"message": "Use \'max_completion_tokens\' instead."}}'), 0.02)
    server.policy = lambda request: refusal if "max_tokens" in request else None
    answers = open_judge(concurrency=concurrency).answer(asked(24))
    assert [a.text for a in answers] == ["Yes"] * 24
    assert all(r["max_completion_tokens"] == 8 for r in server.requests if "max_tokens" not in r)


@pytest.mark.parametrize("field", ["temperature", "seed"])
@pytest.mark.parametrize(
    "refusal",
    [
        (400, {"error": {"message": "Unsupported value", "param": "FIELD", "code": "unsupported_value"}}),
        (400, {"error": {"message": "Unknown name 'FIELD': Cannot find field."}}),
        (
            422,
            {
                "detail": [
                    {
                        "loc": ["body", "FIELD"],
                        "msg": "Extra inputs are not permitted",
                        "input": "seed temperature",
                    }
                ]
            },
        ),
        (400, {"message": "FIELD must be strictly positive", "request": {"seed": 0, "temperature": 0}}),
    ],
)
def test_what_an_endpoint_names_as_unsupported_is_dropped_and_said(
    server: Server, open_judge: Open, caplog: pytest.LogCaptureFixture, field: str, refusal: tuple[int, Any]
) -> None:
    code, said = refusal
    reply = status(code, json.dumps(said).replace("FIELD", field))
    server.policy = lambda request: reply if field in request else None
    answers = open_judge(concurrency=4).answer(asked(12))
    assert [a.text for a in answers] == ["Yes"] * 12
    assert f"does not take {field}" in caplog.text
    assert caplog.text.count("does not take") == 1
    other = ({"temperature", "seed"} - {field}).pop()
    assert all(other in request for request in server.requests)


def test_a_refusal_of_the_question_itself_is_final(server: Server, open_judge: Open) -> None:
    server.policy = lambda request: status(400, '{"error": {"message": "this model is no chat model"}}')
    with pytest.raises(JudgeError, match="no chat model"):
        open_judge().answer(asked(1))
    assert len(server.requests) == 1


@pytest.mark.parametrize("where", ["whole", "choice"])
@pytest.mark.parametrize(("code", "tries"), [(429, 2), ("502", 2), (401, 1), ("invalid_key", 1), (None, 1)])
def test_an_error_inside_status_200_is_an_error(
    server: Server, open_judge: Open, where: str, code: Any, tries: int
) -> None:
    error = {"error": {"message": "upstream is busy", "code": code}}
    server.bad = [body(json.dumps(error if where == "whole" else {"choices": [{**error, "message": {}}]}))]
    judge = open_judge()
    if tries == 1:
        with pytest.raises(JudgeError, match="upstream is busy"):
            judge.answer(asked(1))
        assert judge.spending.booked.calls == 0
    else:
        judge.answer(asked(1))
        assert judge.spending.booked.calls == 1
    assert len(server.requests) == tries


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (message(content=[{"type": "text", "text": "Y"}, {"type": "text", "text": "es"}]), "Yes"),
        (message(content=[{"type": "thinking", "thinking": "so"}, {"type": "text", "text": "Yes"}]), "Yes"),
        (message(content="<think>\nIt may be.\n</think>\n\nYes"), "\n\nYes"),
        (message(content=None, reasoning_content="Yes"), "Yes"),
        (message(content="", reasoning="Yes"), "Yes"),
        (message(content="No", reasoning_content="Yes?"), "No"),
        (message(finish="length", content=None, reasoning_content="Let me see"), ""),
        (message(finish="length", content="<think>Let me"), ""),
        (message(finish="content_filter", content=None, refusal="I cannot"), ""),
        (message(finish=None, content=None), ""),
    ],
)
def test_content_is_read_in_the_shapes_that_servers_send(
    server: Server, open_judge: Open, reply: Reply, text: str
) -> None:
    server.bad = [says("Yes"), reply]
    assert [a.text for a in open_judge().answer(asked(2))] == ["Yes", text]


def test_a_run_in_which_nothing_was_said_ends_in_a_sentence(server: Server, open_judge: Open) -> None:
    server.policy = lambda request: message(finish="length", content="", reasoning_content="Let me see")
    judge = open_judge(concurrency=3)
    with pytest.raises(
        JudgeError, match=r"all 5 answers .* were empty \(finish_reason length\).*think first"
    ):
        judge.answer(asked(5))
    assert judge.spending.booked.calls == 5
    server.policy = lambda request: None  # silence was not kept: it is asked again
    assert [a.text for a in open_judge().answer(asked(5))] == ["Yes"] * 5


def test_what_a_server_says_does_not_steer_the_terminal(server: Server, open_judge: Open) -> None:
    server.bad = [status(418, "a\x1b[2J\x07 teapot")]
    with pytest.raises(JudgeError, match=r"a\[2J teapot") as caught:
        open_judge().answer(asked(1))
    assert str(caught.value).isprintable()


def test_some_empty_answers_are_answers(server: Server, open_judge: Open) -> None:
    judge = open_judge()
    judge.answer(asked(1))
    server.bad = [message(content=None)]
    assert [a.text for a in judge.answer(asked(2))] == ["Yes", ""]
    assert [a.text for a in judge.answer(asked(2)[1:])] == ["Yes"]
