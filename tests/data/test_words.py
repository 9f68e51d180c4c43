"""Facts about word forms: a small lexicon made here, and the real one."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from sanity.data.facts import TEST, TRAIN
from sanity.data.words import WORD_FACTS, word_facts
from sanity.errors import BadInputError

LINES = """\
teacher,noun,teachers
goose,noun,geese
run,noun,runs
run,verb,ran,ran,running,runs
cactus,noun,cacti/cactuses
sheep,noun,sheep
Lyon,noun,Lyons
dog,noun,dogs
e-mail,noun,e-mails
abolish,verb,abolished,abolished,abolishing,abolishes
put,verb,put,put,putting,puts
water,noun
"""


@pytest.fixture(scope="module")
def lexicon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lexicon") / "forms.csv.gz"
    path.write_bytes(gzip.compress(LINES.encode()))
    return path


def test_only_words_whose_form_says_the_answer_are_asked_about(lexicon: Path) -> None:
    nouns = word_facts("nouns", lexicon, most=100)
    assert nouns.values == {
        "teacher": {"number": "is", "initial": "t"},
        "teachers": {"number": "are", "initial": "t"},
        "goose": {"number": "is", "initial": "g"},
        "geese": {"number": "are", "initial": "g"},
    }
    assert not nouns.determines("initial", "number")
    verbs = word_facts("verbs", lexicon, most=100)
    assert {name: value["tense"] for name, value in verbs.values.items()} == {
        "abolish": "today", "abolished": "yesterday",
    }  # fmt: skip
    words = word_facts("words", lexicon, most=100)
    assert words.values == {**nouns.values, **verbs.values}
    assert set(words.templates) == {"number", "tense", "initial"}


def test_fewer_words_are_among_more_and_a_form_can_be_left_out(lexicon: Path) -> None:
    (one,) = {tuple(word_facts("nouns", lexicon, most=most).values) for most in (2, 3)}
    assert len(one) == 2
    kept = word_facts("nouns", lexicon, most=100, keep=lambda word: word != "geese")
    assert list(kept.values) == ["teacher", "teachers"]


def test_what_cannot_be_read_or_is_unknown_is_refused(tmp_path: Path, lexicon: Path) -> None:
    with pytest.raises(BadInputError, match="nouns, verbs, words"):
        word_facts("adverbs", lexicon, most=2)
    (tmp_path / "cut.gz").write_bytes(lexicon.read_bytes()[:40])
    for path in (tmp_path / "cut.gz", tmp_path / "none.gz"):
        with pytest.raises(BadInputError, match="sanity fetch lemminflect"):
            word_facts("nouns", path, most=2)


@pytest.mark.parametrize("kind", WORD_FACTS)
def test_the_asset_has_many_words_and_both_forms_are_in_one_split(kind: str, assets: dict[str, Path]) -> None:
    facts = word_facts(kind, most=600)
    assert len(facts.values) == 600
    assert 150 < len(facts.entities(TEST)) < 330
    assert len(facts.entities(TRAIN)) + len(facts.entities(TEST)) == 600
    names = list(facts.values)
    assert all(
        facts.entity_split[a] == facts.entity_split[b] for a, b in zip(names[::2], names[1::2], strict=True)
    )
