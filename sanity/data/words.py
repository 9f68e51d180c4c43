"""Facts about the forms of English words: a noun's number, a verb's tense, and a word's first letter.

The forms come from the SPECIALIST Lexicon of the National Library of Medicine, as the package lemminflect
carries it.
"""

from __future__ import annotations

import gzip
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from sanity import assets
from sanity.assets.packaged import PackagedFile, packaged
from sanity.data.facts import Facts, split_of
from sanity.engine.config import digest
from sanity.errors import BadInputError


class _Kind(PackagedFile):
    category: str
    column: int
    attribute: str
    answers: tuple[str, str]
    templates: tuple[str, ...]


class _Kinds(PackagedFile):
    nouns: _Kind
    verbs: _Kind
    initial: tuple[str, ...]


_KINDS = packaged("data/words.yaml", _Kinds)
WORD_FACTS = {"nouns": (_KINDS.nouns,), "verbs": (_KINDS.verbs,), "words": (_KINDS.nouns, _KINDS.verbs)}
"""What can be asked about, by name."""


def word_facts(
    kind: str, path: Path | None = None, *, most: int, keep: Callable[[str], bool] = lambda word: True
) -> Facts:
    """Both forms of English words, as entities of their own, and what each is.

    Words of two categories (a run, to run), with two spellings of a form, or in a template are left out. Both
    forms of a word fall into one split, so that what is scored has been seen in neither form.

    >>> word_facts("nouns", most=400).values["teachers"]  # doctest: +SKIP
    {'number': 'are', 'initial': 't'}

    Parameters
    ----------
    kind
        One of `WORD_FACTS`.
    path
        The lexicon, a compressed table of words; the asset lemminflect by default.
    most
        How many forms at most, as many of nouns as of verbs; which ones follows from a hash of the word, so
        that more hold all of fewer.
    keep
        Of a form: whether to consider it (for instance, whether it is one token).
    """
    if kind not in WORD_FACTS:
        raise BadInputError(f"there are no facts about {kind!r}; choose among {', '.join(WORD_FACTS)}")
    source, asked = path or assets.path("lemminflect", "forms.csv.gz"), WORD_FACTS[kind]
    templates = {**{one.attribute: one.templates for one in asked}, "initial": _KINDS.initial}
    examples = set(re.findall(r"\w+", " ".join(text for several in templates.values() for text in several)))
    values: dict[str, dict[str, str]] = {}
    split: dict[str, str] = {}
    for one in asked:
        found = [
            forms for forms in _forms(source, one) if examples.isdisjoint(forms) and all(map(keep, forms))
        ]
        for forms in sorted(found, key=lambda forms: digest(forms[0]))[: most // len(asked) // 2]:
            for form, answer in zip(forms, one.answers, strict=True):
                values[form] = {one.attribute: answer, "initial": form[0]}
                split[form] = split_of(forms[0])
    where = "lemminflect" if path is None else str(path)
    return Facts("word", values, templates, split, template_split={}, source=where)


def _forms(path: Path, asked: _Kind) -> Iterator[tuple[str, str]]:
    """The word and its inflected form, of words with one spelling of each and one category."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            rows = [line.rstrip("\n").split(",") for line in file]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} cannot be read ({error}): run `sanity fetch lemminflect`") from error
    categories = defaultdict(set)
    for word, category, *inflected in rows:
        for form in [word, *(one for several in inflected for one in several.split("/"))]:
            categories[form].add(category)
    for word, category, *inflected in rows:
        form = inflected[asked.column] if len(inflected) > asked.column else ""
        plain = word.isalpha() and form.isalpha() and word.islower() and word != form
        if plain and {category, asked.category} | categories[word] | categories[form] == {asked.category}:
            yield word, form
