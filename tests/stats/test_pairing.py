from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from sanity.errors import BadInputError
from sanity.stats import paired_differences, seed_table


def test_differences_are_taken_seed_by_seed_whatever_the_order_of_the_rows() -> None:
    judged = pd.Series({3: 0.9, 1: 0.7})
    against = pd.Series({1: 0.5, 3: 0.6})
    differences = paired_differences(judged, against)
    assert differences.index.tolist() == [1, 3]
    np.testing.assert_allclose(differences, [0.2, 0.3])


def test_unpaired_seeds_are_refused_and_named() -> None:
    with pytest.raises(BadInputError, match=r"not paired.*compared with.*seeds \[2\]"):
        paired_differences(pd.Series({0: 0.9, 2: 0.7}), pd.Series({0: 0.5}))


def test_an_arm_without_any_score_is_refused() -> None:
    with pytest.raises(BadInputError, match="one of the two arms has no scores"):
        paired_differences(pd.Series({0: 0.9}), pd.Series({}, dtype=float))


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_score_that_is_not_finite_is_refused_with_its_seed(broken: float) -> None:
    with pytest.raises(BadInputError, match=r"seed 4 of the judged arm"):
        paired_differences(pd.Series({4: broken, 5: 0.1}), pd.Series({4: 0.1, 5: 0.1}))


def test_missing_cells_of_one_arm_among_many_are_refused() -> None:
    rows = pd.DataFrame(
        {"arm": ["a", "a", "b", "b", "c"], "seed": [0, 1, 0, 1, 0], "value": [1.0, 2.0, 3.0, 4.0, 5.0]}
    )
    with pytest.raises(BadInputError, match=r"c has no score for seeds \[1\]"):
        seed_table(rows, arms="arm")
    table = seed_table(rows[rows["arm"] != "c"], arms="arm")
    assert table.shape == (2, 2)
    assert table.loc[1, "b"] == 4.0


def test_two_rows_for_one_cell_are_refused_with_what_tells_them_apart() -> None:
    rows = pd.DataFrame(
        {"arm": ["a", "a"], "seed": [0, 0], "value": [1.0, 2.0], "learning_rate": [1e-3, 1e-4]}
    )
    with pytest.raises(BadInputError, match=r"2 rows for seed 0.*learning_rate \(0.001, 0.0001\)"):
        seed_table(rows, arms="arm")


def test_a_missing_column_and_an_empty_frame_are_refused() -> None:
    with pytest.raises(BadInputError, match=r"lack the columns:? seed"):
        seed_table(pd.DataFrame({"arm": ["a"], "value": [1.0]}), arms="arm")
    with pytest.raises(BadInputError, match="empty"):
        seed_table(pd.DataFrame({"arm": [], "seed": [], "value": []}), arms="arm")
