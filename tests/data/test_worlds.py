"""Harder worlds against their stated law, and against sae-lens's generators of the same worlds."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sanity.data import (
    Correlation,
    HarderSpec,
    HarderWorld,
    Hierarchy,
    SyntheticSpec,
    SyntheticStream,
    SyntheticWorld,
    Zipf,
    world_of,
)
from sanity.data.dependence import Copula
from sanity.engine.config import to_json
from sanity.errors import BadInputError

SIGMAS = 5.0
N = 60_000
CORRELATED = HarderSpec(
    d_in=5, n_features=12, expected_l0=3.0, correlation=Correlation(rank=2, scale=0.6), seed=3
)
FAMILIES = HarderSpec(d_in=5, n_features=14, expected_l0=3.0, hierarchy=Hierarchy(2, 2, 0.6, exclusive=False))
RIVALS = HarderSpec(d_in=5, n_features=26, expected_l0=2.0, hierarchy=Hierarchy(3, 2, 0.5, exclusive=True))
NOISY = HarderSpec(d_in=5, n_features=12, expected_l0=2.0, zipf=Zipf(1.0, 0.6, 0.05), noise=0.5)
ALL = HarderSpec(
    d_in=5,
    n_features=12,
    expected_l0=2.0,
    zipf=Zipf(0.5, 0.5, 0.05),
    correlation=Correlation(3, 0.4),
    noise=0.2,
)
SPECS = [CORRELATED, FAMILIES, RIVALS, NOISY, ALL]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def active_of(spec: SyntheticSpec, *, seed: int = 0) -> tuple[HarderWorld, torch.Tensor]:
    world = world_of(spec)
    assert isinstance(world, HarderWorld)
    return world, world.sample(N, generator=generator(seed)).dense_coefficients() > 0


@pytest.mark.parametrize("spec", SPECS)
def test_pairs_of_features_are_active_together_as_often_as_stated(spec: HarderSpec) -> None:
    world, active = active_of(spec)
    found = (active.double().T @ active.double()) / N
    stated = world.joint_probabilities()
    torch.testing.assert_close(stated.diagonal(), world.probabilities.double())
    error = (stated * (1 - stated) / N).sqrt()
    assert bool((found[error == 0] == stated[error == 0]).all())
    z = ((found - stated) / error)[error > 0]
    assert float(z.abs().max()) < SIGMAS


@pytest.mark.parametrize("in_places", [False, True])
@pytest.mark.parametrize("spec", SPECS)
def test_the_stream_is_centred_and_scaled_and_knows_its_covariance(spec: HarderSpec, in_places: bool) -> None:
    world = world_of(spec)
    world.in_places = in_places
    stream = SyntheticStream(world, batch_size=N, seed=1)
    x = stream.batch(0).double()
    covariance = stream.covariance().double()
    assert float(covariance.trace()) == pytest.approx(spec.d_in, rel=1e-5)
    assert float((x.mean(0) / (covariance.diagonal() / N).sqrt()).abs().max()) < SIGMAS
    products = x[:, :, None] * x[:, None, :]
    error = products.std(0) / math.sqrt(N)
    assert float(((products.mean(0) - covariance) / error).abs().max()) < SIGMAS
    assert torch.equal(stream.batch(7), stream.batch(7))
    assert not torch.equal(stream.batch(7), stream.batch(8))


@given(
    correlation=st.floats(-0.95, 0.95),
    p=st.tuples(st.floats(1e-3, 0.6), st.floats(1e-3, 0.6)),
)
def test_the_copula_agrees_with_scipys_bivariate_normal(correlation: float, p: tuple[float, float]) -> None:
    root = math.sqrt(abs(correlation))
    factor = torch.tensor([[root], [math.copysign(root, correlation)]], dtype=torch.float64)
    joint = Copula(factor).joint(torch.tensor(p, dtype=torch.float64))[0, 1]
    normal = stats.multivariate_normal(cov=[[1.0, correlation], [correlation, 1.0]])
    assert float(joint) == pytest.approx(float(normal.cdf([stats.norm.ppf(q) for q in p])), abs=2e-6)


def test_no_child_without_its_parent_and_no_two_rivals() -> None:
    for spec in (FAMILIES, RIVALS):
        world, active = active_of(spec)
        tree = spec.hierarchy
        assert tree is not None
        children = (world.parents >= 0).nonzero().squeeze(1)
        assert not bool((active[:, children] & ~active[:, world.parents[children]]).any())
        assert torch.bincount(world.parents[children]).unique().tolist() == [tree.branching]
        for parent in world.parents[children].unique():
            siblings = active[:, world.parents == parent].sum(1)
            assert (int(siblings.max()) == 1) == tree.exclusive
        assert float(active.sum(1).float().mean()) == pytest.approx(spec.expected_l0, rel=0.05)


def test_without_extensions_it_is_the_papers_world_and_keys_of_that_stay() -> None:
    plain = SyntheticSpec(d_in=6, n_features=10, expected_l0=2.0)
    harder = HarderSpec(d_in=6, n_features=10, expected_l0=2.0)
    first, second = SyntheticWorld.from_spec(plain), world_of(harder)
    assert type(world_of(plain)) is SyntheticWorld
    assert torch.equal(first.features, second.features)
    assert torch.equal(first.sample(50, generator=generator()).x, second.sample(50, generator=generator()).x)
    assert torch.equal(first.covariance, second.covariance)
    assert "zipf" not in to_json(plain)
    assert SyntheticStream(first, batch_size=4, seed=0).key == "synthetic-" + PLAIN_KEY


# Of stored results: a change would make everyone train again.
PLAIN_KEY = "b14bdd51650153e25a70"


def test_noise_adds_its_share_of_variance_and_nothing_to_the_features() -> None:
    quiet = world_of(HarderSpec(d_in=8, n_features=20, expected_l0=3.0))
    loud = world_of(HarderSpec(d_in=8, n_features=20, expected_l0=3.0, noise=0.5))
    assert loud.variance == pytest.approx(1.5 * quiet.variance)
    batch = loud.sample(4000, generator=generator())
    rest = batch.x - batch.dense_coefficients() @ loud.features
    assert float(rest.square().sum(1).mean()) == pytest.approx(0.5 * quiet.variance, rel=0.03)


@pytest.mark.parametrize(
    ("words", "make"),
    [
        ("whole trees of 5", lambda: HarderSpec(n_features=12, expected_l0=2, hierarchy=Hierarchy(4, 1))),
        ("leave zipf and correlation out", lambda: HarderSpec(zipf=Zipf(), hierarchy=Hierarchy())),
        ("noise=-1", lambda: HarderSpec(noise=-1.0)),
        ("rank 0", lambda: Correlation(rank=0)),
        ("child_probability 1", lambda: Hierarchy(child_probability=1)),
        ("0 < lowest < highest", lambda: Zipf(highest=0.1, lowest=0.2)),
        (
            "probability would be above 1",
            lambda: world_of(HarderSpec(n_features=10, expected_l0=8, hierarchy=Hierarchy(4, 1))),
        ),
    ],
)
def test_worlds_that_cannot_be_are_refused(words: str, make: object) -> None:
    assert callable(make)
    with pytest.raises(BadInputError, match=words):
        make()


@pytest.mark.slow
def test_sae_lens_makes_the_same_worlds() -> None:
    """Their generator, given our features' own frequencies and structure, has our joint frequencies."""
    synthetic = pytest.importorskip("sae_lens.synthetic")
    zipf = Zipf(0.7, 0.4, 0.02)
    theirs = synthetic.zipfian_firing_probabilities(40, exponent=0.7, max_prob=0.4, min_prob=0.02)
    torch.testing.assert_close(zipf.probabilities(40).float(), theirs)

    copula = world_of(CORRELATED)
    assert isinstance(copula, HarderWorld)
    assert CORRELATED.correlation is not None
    factor = CORRELATED.correlation.factor(CORRELATED.n_features, CORRELATED.seed).float()
    rival = world_of(RIVALS)
    assert isinstance(rival, HarderWorld)
    tree = RIVALS.hierarchy
    assert tree is not None
    roots = tree.level_sizes(RIVALS.n_features)[0]
    forest = synthetic.generate_hierarchy(
        RIVALS.n_features,
        synthetic.HierarchyConfig(
            total_root_nodes=roots, branching_factor=3, max_depth=2, mutually_exclusive_portion=1.0
        ),
        seed=0,
    )
    own = torch.where(rival.parents < 0, rival.probabilities.float(), torch.tensor(tree.child_probability))
    generators = [
        (copula, {"correlation_matrix": (factor, 1 - factor.square().sum(1))}, copula.probabilities.float()),
        (rival, {"modify_activations": forest.modifier}, own),
    ]
    for world, structure, probabilities in generators:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made = synthetic.ActivationGenerator(
                world.spec.n_features, firing_probabilities=probabilities, **structure
            )
            active = (made.sample(N) > 0).double()
        stated = world.joint_probabilities()
        error = (stated * (1 - stated) / N).sqrt()
        z = ((active.T @ active / N - stated) / error)[error > 0]
        assert float(z.abs().max()) < SIGMAS
        assert float((active.T @ active)[error == 0].max() if bool((error == 0).any()) else 0.0) == 0.0
