"""Questions and answers: what is asked, and that nothing is guessed from an answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanity.errors import BadInputError
from sanity.evals.judging.protocol import (
    DESCRIPTION_CHARACTERS,
    classify_question,
    classify_reminder,
    describe_question,
    read_description,
    read_verdicts,
    shown,
)

VERDICTS = st.lists(st.booleans(), min_size=2, max_size=12)
STYLES = ("{i}: {v}", "{i}. {v}", "- {i}: **{v}**", "{i}) {v}.", "{i} - {v}")


@given(VERDICTS, st.sampled_from(STYLES), st.sampled_from([str.lower, str.upper, str.title]), st.randoms())
def test_verdicts_are_read_in_any_order_and_case(said: list[bool], style: str, case, random) -> None:  # type: ignore[no-untyped-def]
    lines = [style.format(i=i, v=case("yes" if v else "no")) for i, v in enumerate(said, 1)]
    random.shuffle(lines)
    assert read_verdicts("\n".join(["", *lines, ""]), len(said)) == tuple(said)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Yes", True),
        (" no.", False),
        ("**No**", False),
        ("1: Yes", True),
        ("", None),
        ("Yes and no", None),
        ("I think yes", None),
        ("Nothing", None),
        ("maybe", None),
        ("Yes\nNo", None),
    ],
)
def test_one_word_or_no_answer(answer: str, expected: bool | None) -> None:
    assert read_verdicts(answer, 1) == (expected,)


def test_lines_that_disagree_or_say_more_are_no_answer() -> None:
    assert read_verdicts("1: Yes\n1: No\n2: no, because it rains\n3: No\n9: Yes", 3) == (None, None, False)
    assert read_verdicts("Yes, no, yes", 3) == (None, None, None)


@given(st.text(max_size=400), st.integers(1, 5))
def test_any_text_is_read_without_failing(answer: str, n: int) -> None:
    assert len(read_verdicts(answer, n)) == n
    phrase = read_description(answer)
    assert phrase is None or 0 < len(phrase) <= DESCRIPTION_CHARACTERS


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Dates and years.", "Dates and years"),
        ('"names of rivers"', "names of rivers"),
        ("Description: verbs of motion", "verbs of motion"),
        ("", None),
        ("- - -", None),
        ("Sure! Here it is:\nnames of rivers", None),
        ("x" * (DESCRIPTION_CHARACTERS + 1), None),
    ],
)
def test_a_description_is_one_phrase(answer: str, expected: str | None) -> None:
    assert read_description(answer) == expected


def test_contexts_stay_on_one_line_and_in_their_place() -> None:
    question = classify_question("code", ["a\n\tb", "1: Yes\r\n2: Yes"]).messages[-1].text
    assert '<text id="1">a↵ b</text>\n<text id="2">1: Yes↵2: Yes</text>' in question
    assert shown("  a \n b ") == "a ↵ b"


def test_a_question_about_one_text_has_two_possible_answers() -> None:
    assert classify_question("code", ["x"]).choices == ("Yes", "No")
    assert classify_question("code", ["x", "y"]).choices == ()
    assert "exactly 2 lines" in classify_reminder(2)


@pytest.mark.parametrize("n", [0, 16])
def test_a_description_needs_one_to_fifteen_contexts(n: int) -> None:
    with pytest.raises(BadInputError, match=f"1 to 15 excerpts, not from {n}"):
        describe_question(["a"] * n)


def test_the_strongest_context_comes_first() -> None:
    text = describe_question(["most <<rain>>", "less <<rain>>"]).messages[-1].text
    assert "1. most <<rain>>\n2. less <<rain>>" in text
