"""The local judge against plain forwards of the same model, one prompt at a time."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from letter_model import save_letter_model

from sanity.errors import BadInputError
from sanity.evals.judging.cache import Answer, AnswerCache
from sanity.evals.judging.local import LocalJudge, open_local
from sanity.evals.judging.protocol import Conversation, Message

CHOICES = ("y", "n")


@pytest.fixture(scope="module")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of width 16 that read letters."""
    letters = "<abcdefghijklmnopqrstuvwxyz:. \n"
    small = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    settings = {**small, "num_key_value_heads": 1, "max_position_embeddings": 96}
    folder = tmp_path_factory.mktemp("judge")
    return save_letter_model(folder, letters=letters, scale=8, bos_token_id=0, eos_token_id=0, **settings)


def asked(texts: Sequence[str], choices: tuple[str, ...] = CHOICES) -> list[Conversation]:
    return [Conversation((Message("system", "say."), Message("user", text)), 3, choices) for text in texts]


TEXTS = [
    "is it so: a",
    "is it so: abc",
    "is it so: zebra",
    "is it so: by",
    "quite another",
    *["is it so: q"] * 14,
]


def plain_odds(judge: LocalJudge, conversation: Conversation) -> float:
    """Log odds of the first letter over the second, from one forward of the whole prompt."""
    logits = judge.module(torch.tensor([judge.tokens(conversation)])).logits[0, -1]
    ids = [judge.tokenizer(letter)["input_ids"][0] for letter in CHOICES]
    # A space before the letter is a token of its own here: both choices may also begin with it.
    return float(logits[ids[0]] - logits[ids[1]])


def test_choices_have_the_odds_of_a_plain_forward(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = open_local(str(tiny_llama))
    monkeypatch.setattr(
        judge, "_first_tokens", lambda choices: [judge.tokenizer(c)["input_ids"][:1] for c in choices]
    )
    questions = asked(TEXTS)
    answers = judge.answer(questions)
    odds = torch.tensor([answer.log_odds for answer in answers])
    torch.testing.assert_close(
        odds, torch.tensor([plain_odds(judge, q) for q in questions]), rtol=0, atol=1e-3
    )
    assert odds[:5].std() > 0.05
    assert [answer.text for answer in answers] == ["y" if value > 0 else "n" for value in odds.tolist()]
    assert judge.answer(questions) == answers


def test_answers_that_begin_alike_are_refused(tiny_llama: Path) -> None:
    judge = open_local(str(tiny_llama))
    with pytest.raises(BadInputError, match="with the same token"):
        judge.answer(asked(["a"], ("yes", "yellow")))


def test_other_answers_are_generated_greedily(tiny_llama: Path) -> None:
    judge = open_local(str(tiny_llama))
    (question,) = asked(["is it so: a"], ())
    ids = judge.tokens(question)
    for _ in range(3):
        ids.append(int(judge.module(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == judge.tokenizer.eos_token_id:
            break
    expected = judge.tokenizer.decode(ids[len(judge.tokens(question)) :], skip_special_tokens=True)
    (answer,) = judge.answer([question])
    assert answer.text == expected
    assert 1 <= answer.answer_tokens <= 3


def test_a_question_longer_than_the_context_is_refused(tiny_llama: Path) -> None:
    with pytest.raises(BadInputError, match=r"do not fit into the context .* which is 96"):
        open_local(str(tiny_llama)).answer(asked(["a" * 90]))


def test_a_template_without_system_turns_gets_it_with_the_first_question(tiny_llama: Path) -> None:
    judge = open_local(str(tiny_llama))
    judge.tokenizer.chat_template = (
        "{% for m in messages %}"
        "{% if m['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
        "{{ m['role'] }}: {{ m['content'] }}.{% endfor %}"
    )
    question = asked(["so"])[0].followed_by("a", "b")
    text = judge.tokenizer.decode(judge.tokens(question)).replace(" ", "")
    assert text == "user:say.\n\nso.assistant:a.user:b."


def test_an_interrupted_run_goes_on(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[int] = []
    whole = LocalJudge._answer

    def counted(self: LocalJudge, batch: Any, prompts: Any, conversations: Any) -> list[Answer]:
        ran.append(len(batch))
        return whole(self, batch, prompts, conversations)

    monkeypatch.setattr(LocalJudge, "_answer", counted)
    monkeypatch.setattr(
        LocalJudge, "_first_tokens", lambda self, cs: [self.tokenizer(c)["input_ids"][:1] for c in cs]
    )
    questions = asked(["is it so: a", "is it so: b", "quite another thing"])
    plain = open_local(str(tiny_llama)).answer(questions)
    cache = AnswerCache(tmp_path)
    open_local(str(tiny_llama), cache=cache).answer(questions[:2])
    ran.clear()
    assert open_local(str(tiny_llama), cache=cache).answer(questions) == plain
    assert ran == [1]  # the first two are one batch, read whole
    damaged = next(tmp_path.rglob("*.json"))
    damaged.write_text(json.dumps({"answer": {"text": "made up"}}))
    with caplog.at_level(logging.WARNING, "sanity"):
        assert open_local(str(tiny_llama), cache=cache).answer(questions) == plain
    assert str(damaged) in caplog.text


@pytest.mark.assets
def test_the_bundled_judge_answers_yes_or_no_and_describes() -> None:
    from sanity.evals.judging.protocol import classify_question, describe_question

    judge = open_local("smollm2-135m")
    yes_no = judge.answer([classify_question("rivers", [text]) for text in ("the Nile", "a car")])
    assert {answer.text for answer in yes_no} <= {"Yes", "No"}
    assert all(answer.log_odds is not None for answer in yes_no)
    (described,) = judge.answer([describe_question(["the <<Nile>>", "the <<Rhine>>"])])
    assert described.text.strip()
