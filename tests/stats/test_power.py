from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from sanity.errors import BadInputError
from sanity.stats import minimum_detectable_difference, minimum_margin, sd_upper_limit, seeds_for_margin
from sanity.stats.equivalence import tost
from sanity.stats.intervals import t_test
from sanity.stats.power import difference_power, equivalence_power


@pytest.mark.parametrize(("n_seeds", "effect"), [(3, 1.0), (5, 1.5), (8, 0.5), (20, 0.7)])
def test_t_power_is_statsmodels(n_seeds: int, effect: float) -> None:
    expected = TTestPower().power(effect, n_seeds, 0.05)
    assert difference_power(n_seeds, difference=2 * effect, sd=2.0) == pytest.approx(expected, abs=1e-6)


def test_equivalence_power_is_what_simulation_finds() -> None:
    rng = np.random.default_rng(0)
    for n_seeds, margin, shift in ((3, 2.5, 0.0), (5, 1.5, 0.5), (12, 0.8, 0.0)):
        found = np.mean([tost(row, margin=margin) < 0.05 for row in rng.normal(shift, 1, (1500, n_seeds))])
        exact = equivalence_power(n_seeds, margin=margin, sd=1.0, difference=shift)
        assert exact == pytest.approx(found, abs=0.04)


def test_the_sizes_that_the_book_states() -> None:
    assert equivalence_power(5, margin=2.0, sd=1.0) == pytest.approx(0.95, abs=0.001)
    assert equivalence_power(10, margin=1.0, sd=1.0) == pytest.approx(0.795, abs=0.001)
    assert minimum_margin(3, sd=1.0) == pytest.approx(2.66, abs=0.01)


def test_seeds_are_the_fewest_that_reach_the_power() -> None:
    enough = seeds_for_margin(0.05, sd=0.06)
    assert equivalence_power(enough, margin=0.05, sd=0.06) >= 0.8
    assert equivalence_power(enough - 1, margin=0.05, sd=0.06) < 0.8


@pytest.mark.parametrize("n_seeds", [2, 3, 5, 20])
def test_the_minimum_detectable_difference_is_detected_with_its_power(n_seeds: int) -> None:
    smallest = minimum_detectable_difference(n_seeds, sd=0.1)
    rng = np.random.default_rng(n_seeds)
    found = np.mean([t_test(row) < 0.05 for row in rng.normal(smallest, 0.1, size=(1000, n_seeds))])
    assert found == pytest.approx(0.8, abs=0.04)


def test_what_no_number_of_seeds_can_do_is_refused() -> None:
    with pytest.raises(BadInputError, match="no number of seeds"):
        seeds_for_margin(0.0, sd=1.0)
    with pytest.raises(BadInputError, match="SD of the paired differences is 0"):
        minimum_margin(3, sd=0.0)
    with pytest.raises(BadInputError, match="at least 2 seeds"):
        equivalence_power(1, margin=1.0, sd=1.0)
    with pytest.raises(BadInputError, match="larger margin"):
        seeds_for_margin(1e-4, sd=1.0)


def test_the_upper_limit_of_an_sd_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    for n_seeds in (2, 3, 8):
        spreads = rng.normal(0, 2.0, (4000, n_seeds)).std(axis=1, ddof=1)
        covered = np.mean([sd_upper_limit(float(sd), n_seeds=n_seeds) > 2.0 for sd in spreads])
        assert covered == pytest.approx(0.8, abs=0.02)
    for arguments in ({"sd": 1.0, "n_seeds": 1}, {"sd": 0.0, "n_seeds": 3}):
        with pytest.raises(BadInputError):
            sd_upper_limit(**arguments)
    with pytest.raises(BadInputError, match="confidence"):
        sd_upper_limit(1.0, n_seeds=3, confidence=1.0)
