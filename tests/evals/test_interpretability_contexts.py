"""Contexts: windows are cut and divided rightly, and latents are counted, drawn and found where they fire."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sanity.errors import BadInputError
from sanity.evals.interpretability.collecting import collect_contexts, divided, parts_of
from sanity.evals.interpretability.contexts import DrawnContexts
from sanity.evals.interpretability.windows import Pool, cut_windows, pieces_of

D_IN = 6


def make_pool(n_windows: int = 40, length: int = 8) -> Pool:
    """Two windows per document, two sources; window w, position i holds the token 100 w + i."""
    tokens = 100 * torch.arange(n_windows)[:, None] + torch.arange(length)
    tokens[1, -2:] = -1
    documents = torch.arange(n_windows) // 2
    sources = tuple("news" if w < n_windows // 2 else "code" for w in range(n_windows))
    parts = parts_of(documents.tolist(), sources, seed=0)
    test = torch.tensor([parts[int(d)] == "test" for d in documents])
    # A row of activations between windows belongs to none.
    first_row = torch.arange(n_windows) * (length + 1)
    pieces = tuple(tuple(f" {t}" for t in row.tolist() if t >= 0) for row in tokens)
    return Pool(tokens, first_row, documents, test, sources, pieces)


@dataclass
class Table:
    """An SAE that is its own activations: latent j fires where coordinate j is positive."""

    W_dec: Tensor

    def encode(self, x: Tensor) -> Tensor:
        return x.clamp(min=0)

    def decode(self, z: Tensor) -> Tensor:
        return z


def fixed(pool: Pool) -> Tensor:
    """Activations with known firing: 0 often, 1 in two windows, 2 never, 3 always, 4 and 5 often."""
    n_rows = int((pool.first_row + pool.lengths).max())
    x = torch.rand(n_rows, D_IN, generator=torch.Generator().manual_seed(0)) - 0.9
    x[:, 1] = x[:, 2] = -1.0
    x[:, 3] = 1.0
    x[pool.first_row[4], 1] = 5.0
    x[pool.first_row[7] + 2, 1] = 7.0
    return x


def collected(n: int = 3, fewest: int = 3, chunks: int = 3) -> tuple[Pool, Tensor, DrawnContexts]:
    pool = make_pool()
    x = fixed(pool)
    contexts = collect_contexts(
        Table(torch.eye(D_IN)), pool, lambda: iter(x.chunk(chunks)), n=n, fewest=fewest, seed=0
    )
    return pool, x, contexts


def test_latents_are_counted_and_only_the_eligible_drawn() -> None:
    pool, x, contexts = collected()
    counts = contexts.counts
    active = sum(int((rows > 0).sum()) for rows, _, _ in pool.batches([x]))
    assert counts.l0 == pytest.approx(active / pool.n_tokens)
    assert (counts.alive, counts.rare, counts.dense, counts.eligible) == (5, 1, 1, 3)
    assert sorted(contexts.latents.tolist()) == [0, 4, 5]
    assert counts.sampled == 3
    assert collected(n=2)[2].latents.tolist() == contexts.latents[:2].tolist()


def test_a_latent_that_is_negative_is_active_as_strongly() -> None:
    class Negated(Table):
        def encode(self, x: Tensor) -> Tensor:
            return -super().encode(x)

    pool, x, expected = collected()
    found = collect_contexts(Negated(torch.eye(D_IN)), pool, lambda: [x], n=3, fewest=3, seed=0)
    assert found.counts == expected.counts
    assert [latent.peaks.tolist() for latent in found] == [latent.peaks.tolist() for latent in expected]


@pytest.mark.parametrize("chunks", [1, 4, 17])
def test_activations_are_found_where_they_are(chunks: int) -> None:
    pool, x, contexts = collected(chunks=chunks)
    for latent in contexts:
        for window in range(len(pool)):
            rows = slice(int(pool.first_row[window]), int(pool.first_row[window] + pool.lengths[window]))
            expected = x[rows, latent.latent].clamp(min=0)
            seen = latent.context(window)
            assert seen.activations == pytest.approx(expected.tolist())
            assert float(latent.peaks[window]) == pytest.approx(float(expected.max()))
            if seen.strength > 0:
                assert contexts.peak_positions[contexts.latents.tolist().index(latent.latent), window] == (
                    expected.argmax()
                )
        assert latent.frequency == pytest.approx(
            sum(a > 0 for w in range(len(pool)) for a in latent.context(w).activations) / pool.n_tokens
        )


def test_top_spread_and_silent_keep_to_their_parts() -> None:
    pool, _, contexts = collected()
    latent = contexts[0]
    top = latent.top(4)
    assert [c.strength for c in top] == sorted((c.strength for c in top), reverse=True)
    assert top[0].strength == float(latent.peaks[~pool.test].max())
    firing = latent.spread(5)
    assert len({c.window for c in firing}) == 5
    everything = [c.strength for c in latent.spread(10_000)]
    places = [everything.index(c.strength) for c in firing]
    assert places == [int((i + 0.5) * len(everything) / 5) for i in range(5)]
    silent = latent.silent(3, seed=1)
    assert [c.strength for c in silent] == [0, 0, 0]
    assert all(bool(pool.test[c.window]) for c in [*firing, *silent])
    assert not any(bool(pool.test[c.window]) for c in top)
    assert latent.silent(3, seed=1) == silent


def test_stored_contexts_come_back_the_same() -> None:
    pool, _, contexts = collected()
    again = DrawnContexts.restore(
        Pool.restore(pool.tensors(), pool.table()), contexts.tensors(), asdict(contexts.counts)
    )
    assert torch.equal(again.peaks, contexts.peaks)
    assert again[1].top(3) == contexts[1].top(3)
    assert again.counts == contexts.counts
    other = divided(pool, seed=1)
    assert not torch.equal(other.test, pool.test)
    anew = DrawnContexts.restore(other, contexts.tensors(), asdict(contexts.counts))
    assert torch.equal(anew.pool.test, pool.test), "contexts remember how their documents were divided"


def test_marks_surround_what_fires() -> None:
    contexts = collected()[2]
    context = contexts[0].top(1)[0]
    marked = context.marked("[", "]")
    assert marked.replace("[", "").replace("]", "") == context.text
    assert f"[{context.pieces[context.peak]}" in marked or context.activations[context.peak - 1] > 0


def test_a_dead_sae_is_refused_in_words() -> None:
    pool = make_pool()
    with pytest.raises(BadInputError, match="none of the 6 latents can be interpreted: 0 fire"):
        collect_contexts(
            Table(torch.eye(D_IN)), pool, lambda: [-torch.ones(400, D_IN)], n=2, fewest=3, seed=0
        )


def test_activations_of_another_text_are_refused() -> None:
    with pytest.raises(BadInputError, match="activations of 10 tokens"):
        collect_contexts(
            Table(torch.eye(D_IN)), make_pool(), lambda: [torch.ones(10, D_IN)], n=2, fewest=3, seed=0
        )


@st.composite
def documents(draw: st.DrawFn) -> Tensor:
    """A few sequences of document numbers, in runs."""
    n, context = draw(st.integers(1, 4)), draw(st.integers(4, 30))
    steps = torch.tensor(
        draw(st.lists(st.sampled_from([0, 0, 0, 0, 1]), min_size=n * context, max_size=n * context))
    )
    return steps.cumsum(0).view(n, context)


@given(documents(), st.integers(2, 12), st.booleans())
def test_windows_hold_one_document_and_the_right_rows(owners: Tensor, length: int, drop_first: bool) -> None:
    n, context = owners.shape
    tokens = torch.arange(n * context).view(n, context)
    rows = tokens[:, int(drop_first) :].flatten()
    try:
        ids, first, documents_of = cut_windows(tokens, owners, length=length, drop_first=drop_first)
    except BadInputError:
        assert all(run < length / 2 for run in _runs(owners, int(drop_first)))
        return
    covered = 0
    for window, row, document in zip(ids, first.tolist(), documents_of.tolist(), strict=True):
        held = window[window >= 0]
        assert torch.equal(rows[row : row + len(held)], held)
        assert set(owners.flatten()[held].tolist()) == {document}
        assert 2 * len(held) >= length - 1
        covered += len(held)
    assert covered == sum(run for run in _runs(owners, int(drop_first)) if 2 * run >= length)


def _runs(owners: Tensor, first: int) -> Iterator[int]:
    for row in owners[:, first:]:
        yield from torch.unique_consecutive(row, return_counts=True)[1].tolist()


def test_breaks_belong_to_no_window() -> None:
    tokens = torch.tensor([[9, 1, 2, 3, 0, 4, 5, 6]])
    ids, first, _ = cut_windows(tokens, torch.zeros_like(tokens), length=4, drop_first=True, breaks=[0])
    assert [row[row >= 0].tolist() for row in ids] == [[1, 2, 3], [4, 5, 6]]
    assert first.tolist() == [0, 4]


def test_documents_are_divided_within_each_source() -> None:
    sources = ["a"] * 10 + ["b"] * 6
    parts = parts_of(list(range(16)), sources, seed=3)
    for name, size in (("a", 10), ("b", 6)):
        mine = [parts[d] for d in range(16) if sources[d] == name]
        assert mine.count("test") == size // 2
    assert parts_of(list(range(16)), sources, seed=4) != parts
    pool = make_pool()
    again = divided(pool, seed=5)
    for document in set(pool.documents.tolist()):
        assert again.test[pool.documents == document].unique().numel() == 1
    assert torch.equal(divided(pool, seed=0).test, pool.test)
    assert (again.tokens is pool.tokens, again.pieces is pool.pieces) == (True, True)


class Bytes:
    """A tokenizer of bytes: characters beyond ASCII take several tokens."""

    def decode(self, ids: list[int]) -> str:
        return bytes(ids).decode("utf-8", "replace")

    def batch_decode(self, rows: list[list[int]]) -> list[str]:
        return [self.decode(row) for row in rows]


@given(st.text(alphabet="ab é€😀\n", max_size=12))
def test_pieces_make_up_the_text(text: str) -> None:
    ids = list(text.encode())
    (pieces,) = pieces_of(Bytes(), [ids])
    assert "".join(pieces) == text
    assert len(pieces) == len(ids)
