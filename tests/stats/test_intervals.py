from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sanity.errors import BadInputError
from sanity.stats import hierarchical_bootstrap, t_interval
from sanity.stats.intervals import sign_flip, t_test

differences = st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=2, max_size=8)


@given(differences)
@settings(deadline=None, max_examples=40)
def test_the_t_interval_excludes_zero_exactly_where_the_t_test_rejects(values: list[float]) -> None:
    low, high = t_interval(values)
    p_value = t_test(values)
    assert low <= np.mean(values) + 1e-12
    if abs(p_value - 0.05) > 1e-9:
        assert (p_value < 0.05) == (low > 1e-12 or high < -1e-12)


@given(differences)
@settings(deadline=None, max_examples=25)
def test_sign_flip_counts_every_pattern_of_signs(values: list[float]) -> None:
    patterns = np.array(list(itertools.product((1, -1), repeat=len(values))))
    means = np.abs(patterns @ np.array(values))
    expected = (means >= abs(sum(values)) - 1e-12).mean()
    assert sign_flip(values) == pytest.approx(expected if any(values) else 1.0)


def test_at_five_seeds_the_smallest_sign_flip_p_is_one_in_sixteen() -> None:
    assert sign_flip([1.0, 2.0, 1.5, 1.2, 3.0]) == 2 ** (1 - 5)


def test_one_seed_and_zero_variance_follow_their_rules() -> None:
    with pytest.raises(BadInputError, match="at least 2 seeds, not 1"):
        t_interval([0.3])
    assert t_interval([0.3, 0.3]) == (0.3, 0.3)
    assert t_test([0.0, 0.0]) == 1.0
    assert t_test([0.3, 0.3]) == 0.0
    assert sign_flip([0.3]) == 1.0
    with pytest.raises(BadInputError, match="nan at position 1"):
        t_interval([0.3, float("nan")])


def nested(rng: np.random.Generator, n_seeds: int, sd: tuple[float, float, float]) -> pd.DataFrame:
    """Seeds x 4 data sets x 25 latents, each level with its own SD and a true mean of zero."""
    seed, dataset, latent = np.meshgrid(np.arange(n_seeds), np.arange(4), np.arange(25), indexing="ij")
    value = (
        rng.normal(size=(n_seeds, 1, 1)) * sd[0]
        + rng.normal(size=(n_seeds, 4, 1)) * sd[1]
        + rng.normal(size=(n_seeds, 4, 25)) * sd[2]
    )
    columns = {"seed": seed, "dataset": dataset, "latent": latent, "value": value}
    return pd.DataFrame({name: array.ravel() for name, array in columns.items()})


def test_hierarchical_bootstrap_has_the_spread_of_the_outermost_level() -> None:
    rows = nested(np.random.default_rng(1), 20, (1.0, 0.5, 1.0))
    low, high = hierarchical_bootstrap(rows, draws=1000)
    over_seeds = t_interval(rows.groupby("seed")["value"].mean().to_numpy())
    assert high - low == pytest.approx(over_seeds.high - over_seeds.low, rel=0.2)
    latents_only = hierarchical_bootstrap(rows, levels=("latent",), draws=1000)
    assert high - low > 4 * (latents_only.high - latents_only.low)


def test_hierarchical_bootstrap_weighs_data_sets_and_not_their_latents() -> None:
    small = {"seed": 0, "dataset": "small", "latent": 0, "value": 1.0}
    large = [{"seed": 0, "dataset": "large", "latent": i, "value": 0.0} for i in range(50)]
    rows = pd.DataFrame([small, *large])
    both = pd.concat([rows, rows.assign(seed=1)])
    low, high = hierarchical_bootstrap(both, draws=4000, confidence=0.01)
    assert low == high == 0.5


def test_hierarchical_bootstrap_repeats_itself_and_refuses_a_lone_seed() -> None:
    rows = nested(np.random.default_rng(2), 4, (1.0, 1.0, 1.0))
    assert hierarchical_bootstrap(rows, draws=200, seed=3) == hierarchical_bootstrap(rows, draws=200, seed=3)
    with pytest.raises(BadInputError, match="at least 2"):
        hierarchical_bootstrap(rows[rows["seed"] == 0])
    with pytest.raises(BadInputError, match="lack the column"):
        hierarchical_bootstrap(rows.drop(columns="dataset"))


def test_the_interval_is_scipys() -> None:
    values = [0.1, 0.25, 0.18]
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.9)
    np.testing.assert_allclose(t_interval(values, confidence=0.9), (expected.low, expected.high))
