from __future__ import annotations

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanity.errors import BadInputError
from sanity.evals import Score


def score(value: float = 0.5, floor: float = 0.0, ceiling: float | None = 1.0, higher: bool = True) -> Score:
    return Score("thing", value, floor, ceiling, higher, n=3, unit="sample", version="1")


@given(floor=st.floats(-10, 10), span=st.floats(0.1, 10), share=st.floats(-2, 2), higher=st.booleans())
def test_normalised_is_the_share_of_the_way_from_floor_to_ceiling(
    floor: float, span: float, share: float, higher: bool
) -> None:
    ceiling = floor + span if higher else floor - span
    value = floor + share * (ceiling - floor)
    assert score(value, floor, ceiling, higher).normalised() == pytest.approx(share, abs=1e-9)


def test_a_score_is_a_number_and_a_row() -> None:
    assert float(score(0.25)) == 0.25
    frame = pd.DataFrame([score(0.25).row(), score(0.5, ceiling=None).row()])
    assert frame["value"].tolist() == [0.25, 0.5]
    assert " ".join(frame) == "metric value floor ceiling higher_is_better n unit version"


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: score(math.nan), "'thing' has value nan"),
        (lambda: score(floor=math.inf), "floor inf"),
        (lambda: score(ceiling=-math.inf), "ceiling -inf"),
        (lambda: Score("thing", 0.0, 0.0, 1.0, True, n=0, unit="latent", version="1"), "at least one latent"),
        (lambda: score(ceiling=None).normalised(), "no ceiling"),
        (lambda: score(ceiling=0.0).normalised(), "no range"),
        (lambda: score(ceiling=0.1, floor=0.2).normalised(), "ceiling 0.1 is not better than its floor 0.2"),
        (lambda: score(higher=False).normalised(), "no range"),
    ],
)
def test_scores_without_meaning_are_refused(made: object, words: str) -> None:
    assert callable(made)
    with pytest.raises(BadInputError, match=words):
        made()


def test_has_range_follows_the_direction() -> None:
    assert score().has_range
    assert not score(higher=False).has_range
    assert score(floor=3.0, ceiling=2.0, higher=False).has_range
    assert not score(ceiling=None).has_range
