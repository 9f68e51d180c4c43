"""The synthetic world against its stated law; tolerances are five standard errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sanity.data.dependence import Correlation, Hierarchy
from sanity.data.synthetic import SyntheticSpec, SyntheticStream, SyntheticWorld
from sanity.data.worlds import HarderSpec, Zipf, world_of
from sanity.errors import BadInputError
from sanity.testing.host_reads import HostReads, no_host_reads

SIGMAS = 5.0
# Few features that are often active: here a mistake about two events on one row would show at once.
CROWDED = SyntheticSpec(d_in=6, n_features=12, expected_l0=4.0)
PAPER = SyntheticSpec()
VARIABLE = SyntheticSpec(probabilities="variable")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dense_sample(world: SyntheticWorld, n: int, *, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The definition read aloud: toss every coin, draw every coefficient."""
    g = generator(seed)
    shape = (n, world.spec.n_features)
    active = torch.rand(shape, generator=g, dtype=torch.float64) < world.probabilities
    coefficients = active * torch.exp(
        world.spec.coefficient_sigma * torch.randn(shape, generator=g, dtype=torch.float64)
    )
    return coefficients @ world.features.double(), coefficients


def largest_z(estimate: torch.Tensor, truth: torch.Tensor, standard_error: torch.Tensor) -> float:
    return float(((estimate - truth) / standard_error).abs().max())


def test_features_are_unit_vectors_spread_evenly_over_the_sphere() -> None:
    features = SyntheticWorld.from_spec(PAPER, dtype=torch.float64).features
    assert features.shape == (3200, 100)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3200, dtype=torch.float64))
    # A coordinate of a uniform unit vector: mean 0, variance 1/d; the product of two: variance about 1/d^2.
    n, d = features.shape
    assert largest_z(features.mean(0), torch.zeros(d), torch.full((d,), (n * d) ** -0.5)) < SIGMAS
    second = features.T @ features / n
    assert largest_z(second, torch.eye(d) / d, torch.full((d, d), (2 / n) ** 0.5 / d)) < SIGMAS


def test_probabilities_follow_the_papers_two_models() -> None:
    assert SyntheticWorld.from_spec(PAPER).probabilities.unique().tolist() == [0.00625]
    p = SyntheticWorld.from_spec(VARIABLE).probabilities
    assert stats.kstest(p.log10().numpy(), stats.uniform(-5.5, 4.3).cdf).pvalue > 1e-4
    # Mean of LogUniform(a, b): (b - a) / ln(b / a). The paper says 20.4 active features on average.
    low, high = 10**-5.5, 10**-1.2
    mean = (high - low) / math.log(high / low)
    variance = (high**2 - low**2) / (2 * math.log(high / low)) - mean**2
    assert 3200 * mean == pytest.approx(20.4, abs=0.05)
    assert abs(float(p.sum()) - 3200 * mean) < SIGMAS * math.sqrt(3200 * variance)


@pytest.mark.parametrize("in_places", [False, True])
@pytest.mark.parametrize("spec", [CROWDED, VARIABLE])
def test_each_feature_is_active_as_often_as_its_probability_says(
    spec: SyntheticSpec, in_places: bool
) -> None:
    world = SyntheticWorld.from_spec(spec)
    world.in_places = in_places
    n = 20_000
    coefficients = world.sample(n, generator=generator()).coefficients
    times = torch.bincount(coefficients.features, minlength=spec.n_features)
    # Exact binomial tails, because the rare features are active a few times only.
    binomial = stats.binom(n, world.probabilities.numpy())
    tails = torch.from_numpy(2 * np.minimum(binomial.cdf(times.numpy()), binomial.sf(times.numpy() - 1)))
    assert float(tails.min()) > 1e-3 / spec.n_features
    assert stats.kstest(tails[times > 50].clamp(max=1).numpy(), "uniform").pvalue > 1e-4


def test_features_are_active_independently_of_each_other_and_of_other_rows() -> None:
    world = SyntheticWorld.from_spec(CROWDED)
    n, p = 60_000, world.probabilities
    active = (world.sample(n, generator=generator()).dense_coefficients() > 0).double()
    residual = active - p
    spread = (p * (1 - p)).sqrt()
    for lagged in (residual, residual.roll(1, 0)):
        correlation = residual.T @ lagged / n / spread[:, None] / spread
        if lagged is residual:
            correlation.fill_diagonal_(0.0)
        assert float(correlation.abs().max()) < SIGMAS / math.sqrt(n)


def test_two_events_on_one_row_are_one_active_feature() -> None:
    # Without dropping duplicates L0 would be Poisson, with the rates' sum as mean and variance.
    world = SyntheticWorld.from_spec(CROWDED)
    batch = world.sample(40_000, generator=generator())
    l0 = torch.diff(batch.coefficients.row_starts)
    observed = torch.bincount(l0, minlength=13).numpy()
    expected = stats.binom(12, 4 / 12).pmf(range(13)) * 40_000
    keep = expected > 5
    tail = [observed[~keep].sum()], [expected[~keep].sum()]
    assert stats.chisquare([*observed[keep], *tail[0]], [*expected[keep], *tail[1]]).pvalue > 1e-4


def test_coefficients_are_lognormal_and_independent_of_the_feature() -> None:
    world = SyntheticWorld.from_spec(VARIABLE, dtype=torch.float64)
    coefficients = world.sample(5_000, generator=generator()).coefficients
    logs, n = coefficients.values.log(), len(coefficients.values)
    assert stats.kstest(logs.numpy(), stats.norm(0, 0.25).cdf).pvalue > 1e-4
    assert abs(float(logs.mean())) < SIGMAS * 0.25 / math.sqrt(n)
    assert abs(float(logs.std()) / 0.25 - 1) < SIGMAS / math.sqrt(2 * n)
    ranks = world.probabilities[coefficients.features].numpy()
    assert stats.spearmanr(ranks, logs.numpy()).pvalue > 1e-4


@pytest.mark.parametrize("spec", [CROWDED, PAPER, VARIABLE])
def test_analytic_mean_and_covariance_agree_with_samples(spec: SyntheticSpec) -> None:
    world = SyntheticWorld.from_spec(spec, dtype=torch.float64)
    n = 20_000
    x = world.sample(n, generator=generator()).x
    assert largest_z(x.mean(0), world.mean, (world.covariance.diagonal() / n).sqrt()) < SIGMAS
    products = (x - world.mean)[:, :, None] * (x - world.mean)[:, None, :4]
    error = products.std(0) / math.sqrt(n)
    assert largest_z(products.mean(0), world.covariance[:, :4], error) < SIGMAS
    assert world.variance == pytest.approx(float(world.covariance.trace()))
    mean, variance = stats.lognorm(s=0.25).stats("mv")
    p = world.probabilities
    assert world.variance == pytest.approx(float((p * (variance + mean**2) - p**2 * mean**2).sum()))


def test_every_row_is_as_full_as_every_other() -> None:
    world = SyntheticWorld.from_spec(CROWDED)
    g, draws = generator(), 4_000
    sizes = sum(world.sample(5, generator=g).coefficients.row_starts.diff() for _ in range(draws))
    assert isinstance(sizes, torch.Tensor)
    spread = math.sqrt(draws * 12 * (1 / 3) * (2 / 3))
    assert float((sizes - 4 * draws).abs().max()) < SIGMAS * spread


def test_samples_are_the_sums_that_their_coefficients_say() -> None:
    world = SyntheticWorld.from_spec(PAPER, dtype=torch.float64)
    batch = world.sample(300, generator=generator())
    torch.testing.assert_close(batch.x, batch.dense_coefficients() @ world.features)
    assert batch.x.dtype == torch.float64
    assert SyntheticWorld.from_spec(PAPER).sample(3, generator=generator()).x.dtype == torch.float32


@pytest.mark.parametrize("in_places", [False, True])
@pytest.mark.parametrize("spec", [CROWDED, SyntheticSpec(d_in=20, n_features=400)])
def test_sparse_and_dense_sampling_have_one_distribution(spec: SyntheticSpec, in_places: bool) -> None:
    world = SyntheticWorld.from_spec(spec, dtype=torch.float64)
    world.in_places = in_places
    n = 20_000
    sparse = world.sample(n, generator=generator(1))
    x, coefficients = dense_sample(world, n, seed=2)
    l0 = torch.diff(sparse.coefficients.row_starts).numpy()
    pairs = [
        (sparse.x.norm(dim=1).numpy(), x.norm(dim=1).numpy()),
        (l0, (coefficients > 0).sum(1).numpy()),
        (sparse.coefficients.values.numpy(), coefficients[coefficients > 0].numpy()),
        *((sparse.x[:, k].numpy(), x[:, k].numpy()) for k in range(3)),
    ]
    assert min(stats.ks_2samp(ours, theirs).pvalue for ours, theirs in pairs) > 1e-4


@given(
    n=st.integers(1, 40),
    m=st.integers(2, 30),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**40),
)
def test_coefficients_are_a_sorted_sparse_matrix(n: int, m: int, share: float, seed: int) -> None:
    world = SyntheticWorld.from_spec(SyntheticSpec(d_in=3, n_features=m, expected_l0=share * m))
    batch = world.sample(n, generator=generator(seed))
    c = batch.coefficients
    cells = c.rows * m + c.features
    assert bool((cells.diff() > 0).all())
    assert len(c.row_starts) == n + 1
    assert torch.equal(c.row_starts.diff(), torch.bincount(c.rows, minlength=n))
    assert bool((c.values > 0).all())
    assert int((batch.dense_coefficients() > 0).sum()) == len(c.values)


def test_batches_are_centred_and_scaled_exactly() -> None:
    world = SyntheticWorld.from_spec(VARIABLE, dtype=torch.float64)
    stream = SyntheticStream(world, batch_size=4096, seed=0)
    assert float(stream.covariance().trace()) == pytest.approx(100)
    x = torch.cat([stream.batch(step) for step in range(4)])
    squares = x.square().sum(1)
    assert abs(float(squares.mean()) - 100) < SIGMAS * float(squares.std()) / math.sqrt(len(x))
    spread = (stream.covariance().diagonal() / len(x)).sqrt()
    assert largest_z(x.mean(0), torch.zeros(100), spread) < SIGMAS
    raw = stream.sample(2).x
    torch.testing.assert_close(stream.batch(2), (raw - stream.centre) * stream.factor)


@pytest.mark.parametrize(
    "spec",
    [
        CROWDED,
        HarderSpec(d_in=6, n_features=40, zipf=Zipf(), noise=0.1),
        HarderSpec(d_in=6, n_features=40, expected_l0=5.0, correlation=Correlation(rank=2, scale=0.6)),
        HarderSpec(d_in=6, n_features=40, expected_l0=5.0, hierarchy=Hierarchy(), noise=0.1),
    ],
    ids=["paper", "noisy", "correlated", "hierarchy"],
)
def test_a_card_draws_without_a_read(spec: SyntheticSpec) -> None:
    """Forced on a processor: the same samples with their coefficients and without, in one shape."""
    world = world_of(spec, dtype=torch.float64)
    ordinary = SyntheticStream(world, batch_size=50, seed=0)
    with HostReads() as seen:
        ordinary.batch(3)
    assert seen.names
    world.in_places = True
    stream = SyntheticStream(world, batch_size=50, seed=0)
    assert stream.key != ordinary.key
    with no_host_reads():
        x, sample = stream.batch(3), stream.sample(3)
        dense = sample.dense_coefficients()
    torch.testing.assert_close(x, (sample.x - stream.centre) * stream.factor)
    coefficients = sample.coefficients.dense()
    assert torch.equal(dense, coefficients)
    if not getattr(spec, "noise", 0.0):
        torch.testing.assert_close(sample.x, coefficients @ world.features)
    cells = sample.coefficients.rows * spec.n_features + sample.coefficients.features
    assert bool((cells.diff() > 0).all())
    assert sample.coefficients.row_starts.diff().tolist() == (coefficients > 0).sum(1).tolist()
    counts = sum((stream.sample(step).dense_coefficients() > 0).sum(0) for step in range(3))
    assert torch.equal(stream.times_active(3), torch.as_tensor(counts))


def test_without_centring_the_scale_still_gives_the_stated_length() -> None:
    world = SyntheticWorld.from_spec(CROWDED, dtype=torch.float64)
    stream = SyntheticStream(world, batch_size=20_000, seed=0, centre=False)
    squares = stream.batch(0).square().sum(1)
    assert not stream.centre.any()
    assert abs(float(squares.mean()) - 6) < SIGMAS * float(squares.std()) / math.sqrt(20_000)
    raw = SyntheticStream(world, batch_size=8, seed=0, centre=False, scale=False)
    assert raw.factor == 1.0
    assert torch.equal(raw.batch(1), raw.sample(1).x)


def test_a_batch_depends_on_world_seed_step_and_size_only() -> None:
    def stream(spec: SyntheticSpec = PAPER, batch_size: int = 64, seed: int = 3) -> SyntheticStream:
        return SyntheticStream(SyntheticWorld.from_spec(spec), batch_size=batch_size, seed=seed)

    first, again = stream(), stream()
    later = [first.batch(step) for step in range(6)][5]
    assert torch.equal(again.batch(5), later)
    assert first.key == again.key
    others = [stream(VARIABLE), stream(batch_size=65), stream(seed=4)]
    assert len({s.key for s in (first, *others)}) == 4
    for other in (*(o.batch(5)[:64] for o in others), first.batch(4)):
        assert not torch.equal(other, later)


def test_worlds_of_one_seed_share_their_features() -> None:
    constant, variable = SyntheticWorld.from_spec(PAPER), SyntheticWorld.from_spec(VARIABLE)
    assert torch.equal(constant.features, variable.features)
    elsewhere = SyntheticWorld.from_spec(SyntheticSpec(seed=1))
    assert not torch.isclose(constant.features, elsewhere.features).any(1).all()


def test_no_two_steps_share_a_seed() -> None:
    stream = SyntheticStream(SyntheticWorld.from_spec(CROWDED), batch_size=4, seed=0)
    seeds = {stream._generator(step).initial_seed() for step in range(20_000)}
    assert len(seeds) == 20_000
    assert max(seeds) < 2**32


def test_what_a_stream_has_shown_is_counted_from_its_own_batches() -> None:
    stream = SyntheticStream(SyntheticWorld.from_spec(VARIABLE), batch_size=512, seed=1)
    active = torch.stack(
        [torch.bincount(stream.sample(s).coefficients.features, minlength=3200) for s in range(5)]
    )
    times = stream.times_active(5)
    assert torch.equal(times, active.sum(0))
    shown = times > 0
    n = 5 * 512
    expected = stream.world.probabilities * n
    assert abs(float((times - expected).sum())) < SIGMAS * math.sqrt(float(expected.sum()))
    seen = 1 - (1 - stream.world.probabilities.double()) ** n
    assert abs(float(shown.sum() - seen.sum())) < SIGMAS * math.sqrt(float((seen * (1 - seen)).sum()))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"d_in": 0}, "d_in=0"),
        ({"n_features": -1}, "n_features=-1"),
        ({"probabilities": "zipf"}, "'zipf': choose 'constant' or 'variable'"),
        ({"expected_l0": 3200.0}, "below n_features=3200"),
        ({"expected_l0": math.nan}, "expected_l0=nan"),
        ({"probabilities": "variable", "log10_high": 0.0}, "must rise and stay below 0"),
        ({"probabilities": "variable", "log10_low": -1.0}, "must rise"),
        ({"coefficient_sigma": -0.1}, "coefficient_sigma=-0.1"),
    ],
)
def test_a_spec_that_defines_no_world_is_refused_in_words(given: dict[str, object], words: str) -> None:
    with pytest.raises(BadInputError, match=words.replace("^", r"\^")):
        SyntheticSpec(**given)  # type: ignore[arg-type]


def test_impossible_requests_are_refused_in_words() -> None:
    world = SyntheticWorld.from_spec(CROWDED)
    with pytest.raises(BadInputError, match="at least 1"):
        world.sample(0, generator=generator())
    with pytest.raises(BadInputError, match="batch_size=0"):
        SyntheticStream(world, batch_size=0, seed=0)
    with pytest.raises(BadInputError, match="step -1"):
        SyntheticStream(world, batch_size=1, seed=0).batch(-1)
