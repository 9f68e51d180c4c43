"""Canonical configurations: equal meaning, equal text; what has no canonical form is refused."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanity.engine.config import canonical_json, digest, to_json
from sanity.errors import BadInputError


@dataclass(frozen=True)
class Cat:
    lives: int = 9


@dataclass(frozen=True)
class Dog:
    lives: int = 9


@dataclass(frozen=True)
class Feline:
    lives: int = 9
    known_as: ClassVar[str] = "Cat"


@dataclass(frozen=True)
class Lion(Feline):
    pass


@dataclass
class Changing:
    value: int


def test_classes_with_equal_fields_differ() -> None:
    assert digest(Cat()) != digest(Dog())
    cat = to_json(Cat(3))
    assert (cat["kind"], cat["lives"]) == ("Cat", 3)


def test_a_renamed_class_keeps_its_name_in_keys_and_gives_it_to_no_subclass() -> None:
    assert to_json(Feline(3))["kind"] == to_json(Cat(3))["kind"]
    assert to_json(Lion(3))["kind"] == "Lion"


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.booleans() | st.text(max_size=5), max_size=6))
def test_order_of_names_does_not_matter(config: dict[str, object]) -> None:
    backwards = dict(reversed(config.items()))
    assert canonical_json(config) == canonical_json(backwards)


def test_tuple_and_list_are_the_same_sequence() -> None:
    assert digest({"seeds": (0, 1)}) == digest({"seeds": [0, 1]})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object(), {1: "a"}, b"bytes"])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(BadInputError):
        canonical_json({"value": value})


def test_what_is_remembered_of_an_object_is_its_own() -> None:
    spelled = [to_json(Cat(lives)) for lives in range(200)]  # of objects that go: their places are used again
    assert [one["lives"] for one in spelled] == list(range(200))
    cat = Cat(9)
    assert to_json(cat) is to_json(cat)
    assert to_json(replace(cat, lives=8))["lives"] == 8


def test_what_can_change_is_spelled_as_it_stands() -> None:
    changing = Changing(1)
    assert to_json(changing)["value"] == 1
    changing.value = 2
    assert to_json(changing)["value"] == 2
