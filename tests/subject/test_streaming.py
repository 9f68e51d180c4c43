"""A stream is every row once an epoch, in a seeded order, centred and scaled, from any step."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest
import torch
from embedding_subject import HOOK, EmbeddingSubject
from hypothesis import strategies as st
from torch import Tensor

from sanity.errors import BadInputError, CorruptFileError
from sanity.subject import ActivationStore, ActivationStream, harvest

N = 7 * 23  # rows: 23 sequences of 8 without the first, in shards of 3


class CountingSubject(EmbeddingSubject):
    """Gives every position another vector: its row can be read off, up to rounding."""

    def residual(self, tokens: Tensor, hook: str) -> Tensor:
        position = torch.arange(tokens.shape[1]).expand_as(tokens)
        number = (tokens[:, :1] * 7 + position - 1).float()
        return self.table[tokens.flatten() % 5].view(*tokens.shape, -1) + number[..., None] * torch.eye(32)[0]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    tokens = torch.arange(23)[:, None].expand(23, 8)
    return harvest(
        CountingSubject(), tokens, hook=HOOK, folder=tmp_path_factory.mktemp("store"), shard_tokens=24
    )


def row_numbers(stream: ActivationStream, batch: Tensor, store: ActivationStore) -> list[int]:
    """Which rows of the store a batch holds."""
    every = torch.cat(list(store.rows(normalisation=stream.store.normalisation)))
    distances = torch.cdist(batch.double(), every.double())
    assert float(distances.min(1).values.max()) < 1e-4
    return distances.argmin(1).tolist()


@hypothesis.given(
    batch_size=st.integers(1, 200),
    pool_shards=st.integers(1, 10),
    seed=st.integers(0, 2**40),
    epochs=st.integers(1, 3),
)
def test_every_epoch_is_a_permutation(
    store: ActivationStore, batch_size: int, pool_shards: int, seed: int, epochs: int
) -> None:
    stream = ActivationStream(store, batch_size=batch_size, seed=seed, pool_shards=pool_shards)
    assert stream.tokens_per_epoch == store.n_tokens == N
    steps = -(-epochs * N // batch_size)
    drawn = torch.cat([stream.batch(step) for step in range(steps)])
    order = row_numbers(stream, drawn, store)
    for epoch in range(epochs):
        assert sorted(order[epoch * N : (epoch + 1) * N]) == list(range(N))


@hypothesis.given(
    batch_size=st.integers(1, 200),
    pool_shards=st.integers(1, 10),
    steps=st.lists(st.integers(0, 60), max_size=8),
)
def test_any_step_at_any_time_gives_the_same_bits(
    store: ActivationStore, batch_size: int, pool_shards: int, steps: list[int]
) -> None:
    def fresh() -> ActivationStream:
        return ActivationStream(store, batch_size=batch_size, seed=3, pool_shards=pool_shards)

    used = fresh()
    for step in steps:
        batch = used.batch(step)
        assert batch.shape == (batch_size, 32)
        assert torch.equal(batch, fresh().batch(step))


def test_the_order_is_that_of_the_seed_and_mixes_shards(store: ActivationStore) -> None:
    def order(seed: int, batch_size: int = N, pool_shards: int = 4, step: int = 0) -> list[int]:
        stream = ActivationStream(store, batch_size=batch_size, seed=seed, pool_shards=pool_shards)
        return row_numbers(stream, stream.batch(step), store)

    assert order(0) == order(0) != order(1)
    assert order(0) != order(0, step=1)  # the second epoch is another order
    assert order(0, batch_size=10, step=2) == order(0)[20:30]
    shard_of = [row // 21 for row in order(0)]
    assert len(set(shard_of[:30])) >= 3  # of the four in the first pool
    assert len(set(shard_of)) == 8
    one_pool = order(0, pool_shards=100)
    assert one_pool != sorted(one_pool)
    assert one_pool != order(0, pool_shards=100, step=1)


def test_what_is_given_is_centred_and_scaled(store: ActivationStore) -> None:
    stream = ActivationStream(store, batch_size=N, seed=0, pool_shards=3)
    x = stream.batch(0).double()
    raw = torch.cat(list(store.rows())).double()
    assert float(x.mean(0).abs().max()) < 1e-5
    assert float(x.pow(2).sum(1).mean()) == pytest.approx(32, rel=1e-5)
    torch.testing.assert_close(x.T.cov(correction=0).float(), stream.covariance(), atol=1e-4, rtol=1e-4)
    assert float(stream.covariance().trace()) == pytest.approx(32, rel=1e-5)
    torch.testing.assert_close(stream.centre.double(), raw.mean(0), atol=1e-4, rtol=1e-5)
    back = x / stream.factor + stream.centre
    assert float(torch.cdist(back, raw).min(1).values.max()) < 1e-3


def test_held_out_rows_take_the_training_normalisation(store: ActivationStore, tmp_path: Path) -> None:
    held_out = harvest(
        CountingSubject(), torch.arange(30, 50)[:, None].expand(20, 8), hook=HOOK, folder=tmp_path
    )
    stream = ActivationStream(held_out, batch_size=140, seed=0, normalisation=store.normalisation)
    assert torch.equal(stream.centre, store.mean)
    assert stream.factor == store.factor
    assert float(stream.batch(0).mean(0).norm()) > 1


def test_keys_name_data_and_order(store: ActivationStore, tmp_path: Path) -> None:
    other = harvest(CountingSubject(), torch.arange(20)[:, None].expand(20, 8), hook=HOOK, folder=tmp_path)
    keys = [
        ActivationStream(store, batch_size=8, seed=0).key,
        ActivationStream(store, batch_size=9, seed=0).key,
        ActivationStream(store, batch_size=8, seed=1).key,
        ActivationStream(store, batch_size=8, seed=0, pool_shards=2).key,
        ActivationStream(store, batch_size=8, seed=0, normalisation=other.normalisation).key,
        ActivationStream(other, batch_size=8, seed=0).key,
    ]
    assert len(set(keys)) == len(keys)
    assert keys[0] == ActivationStream(ActivationStore(store.folder), batch_size=8, seed=0).key


def test_each_pool_is_read_once_an_epoch(store: ActivationStore, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    shard = store.shard
    monkeypatch.setattr(store, "shard", lambda index: read.append(index) or shard(index))
    stream = ActivationStream(store, batch_size=5, seed=0, pool_shards=3)
    for step in range(N // 5):
        stream.batch(step)
    assert sorted(read) == list(range(8))
    read.clear()
    whole = ActivationStream(store, batch_size=5, seed=0, pool_shards=8)
    for step in range(3 * N // 5):
        whole.batch(step)
    assert sorted(read) == list(range(8))  # what fits in one pool is read once for all epochs


def test_global_random_state_plays_no_part(store: ActivationStore) -> None:
    before = torch.random.get_rng_state()
    ActivationStream(store, batch_size=5, seed=0).batch(3)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_bad_arguments_and_damaged_shards(store: ActivationStore, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="batch_size=0"):
        ActivationStream(store, batch_size=0, seed=0)
    with pytest.raises(BadInputError, match="pool_shards=0"):
        ActivationStream(store, batch_size=1, seed=0, pool_shards=0)
    for path in store.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    spoiled = tmp_path / "shard-00004.safetensors"
    spoiled.write_bytes(bytes(reversed(spoiled.read_bytes())))
    stream = ActivationStream(ActivationStore(tmp_path), batch_size=N, seed=0)
    with pytest.raises(CorruptFileError, match=r"shard-00004\.safetensors is damaged"):
        stream.batch(0)
