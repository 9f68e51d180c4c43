"""Exact selection: the fast way against the definition, and the definition against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from sanity.engine import products
from sanity.models import encoding
from sanity.models.encoding import at_least, collect, select
from sanity.models.kernels import transposed
from sanity.models.selection import Above, PerBatch, PerRow, Rows, Rule, kth_largest

# Few distinct values, so that ties are the rule; sizes that leave remainders everywhere.
tied = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 9), st.integers(1, 70)),
    elements=st.integers(-3, 4).map(lambda n: n / 2),
)
smooth = st.tuples(st.integers(1, 9), st.integers(1, 300), st.integers(0, 2**31)).map(
    lambda s: np.random.default_rng(s[2]).normal(size=s[:2]).astype(np.float32)
)


def fast(pre: Tensor, rule: Rule, slack: float = 1.25) -> Rows:
    """What `select` does after the product, with all rows in one block."""
    bound = rule.bound(pre, None, slack)
    found = collect(pre, at_least(pre, bound))
    if not rule.complete(found, bound):
        return fast(pre, rule, float("inf"))
    return found.where(rule.keep(found))


@given(pre=tied | smooth, k=st.integers(1, 12), whole_batch=st.booleans())
def test_largest_are_selected_exactly(pre: np.ndarray, k: int, whole_batch: bool) -> None:
    values = torch.from_numpy(pre)
    k = min(k, values.shape[1])
    rule = PerBatch(k) if whole_batch else PerRow(k)
    found = fast(values, rule)
    expected = rule.mask(values)
    assert torch.equal(found.dense() > 0, expected)
    assert torch.equal(found.dense(), values * expected)
    flat = values.flatten().unsqueeze(0) if whole_batch else values
    wanted = k * values.shape[0] if whole_batch else k
    reference = flat.topk(wanted, dim=1).values.relu().double().sum()
    assert float(found.values.double().sum()) == pytest.approx(float(reference), rel=1e-6)


@pytest.mark.parametrize("looked_at", [0.0, 0.1, 1.0, 10.0])
def test_a_batch_is_selected_exactly_whatever_the_rows_that_are_looked_at_say(looked_at: float) -> None:
    pre = torch.from_numpy(np.random.default_rng(0).normal(size=(1000, 24)).astype(np.float32))
    assert PerBatch(2).bound(pre, None, 1.25) == PerBatch(2).bound(pre[::3], None, 1.25), "every third is"
    pre[::3] *= looked_at
    found = fast(pre, PerBatch(2))
    assert torch.equal(found.dense() > 0, PerBatch(2).mask(pre))


def test_ties_go_to_the_lowest_row_and_latent() -> None:
    pre = torch.tensor([[1.0, 2.0, 1.0, 1.0], [1.0, 1.0, 1.0, 3.0]])
    assert fast(pre, PerRow(2)).latents.tolist() == [0, 1, 0, 3]
    assert fast(pre, PerBatch(2)).dense().tolist() == [[1, 2, 1, 0], [0, 0, 0, 3]]


@given(pre=tied | smooth, margin=st.sampled_from([0.0, 0.75]), seed=st.integers(0, 99))
def test_thresholds_select_what_lies_above(pre: np.ndarray, margin: float, seed: int) -> None:
    values = torch.from_numpy(pre)
    threshold = torch.rand(values.shape[1], generator=torch.Generator().manual_seed(seed))
    expected = values > (threshold - margin) if margin else (values > threshold)
    found = fast(values, Above(threshold, margin))
    assert torch.equal(found.dense(), values * expected)
    assert torch.equal(fast(values, Above(None)).dense(), values.relu())


def test_a_negative_threshold_selects_only_what_is_positive() -> None:
    pre = torch.tensor([[-0.5, 0.5]])
    assert fast(pre, Above(torch.tensor([-1.0, -1.0]))).latents.tolist() == [1]


@pytest.mark.parametrize("rule", [PerRow(5), PerBatch(5), PerBatch(4.5), Above(torch.full((61,), 1.0))])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_blocks_and_rounding_do_not_change_what_is_selected(
    rule: Rule, precision: str, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(300, 13, generator=generator).to(device)
    W_enc_t = torch.randn(61, 13, generator=generator).to(device)
    b_enc = torch.randn(61, generator=generator).to(device)
    if isinstance(rule, Above) and rule.threshold is not None:
        rule = Above(rule.threshold.to(device))
    whole = x @ W_enc_t.T + b_enc
    expected = rule.mask(whole)
    monkeypatch.setattr(encoding, "multiplies_bf16", lambda: True)  # whatever this processor can
    for block in (1, 7, 128, 300):
        monkeypatch.setattr(encoding, "block_rows", lambda *_, block=block: block)
        found = select(x, W_enc_t, b_enc, rule, precision=precision).dense()
        assert torch.equal(found != 0, expected)
        assert float((found - whole * expected).abs().max()) < 1e-5


def test_a_processor_without_bf16_takes_the_product_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(1)
    x, W_enc_t = torch.randn(300, 13, generator=generator), torch.randn(61, 13, generator=generator)
    seen: list[torch.dtype] = []

    def product(x: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        seen.append(x.dtype)
        return products.product(x, *rest)

    monkeypatch.setattr(encoding, "product", product)
    for able, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(encoding, "multiplies_bf16", lambda able=able: able)
        found = select(x, W_enc_t, torch.zeros(61), PerRow(5), precision="bf16")
        assert set(seen) == {dtype}
        assert torch.equal(found.dense() != 0, PerRow(5).mask(x @ W_enc_t.T))
        seen.clear()


def test_a_misleading_first_block_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first rows are far larger than the rest: the estimate from them finds too little."""
    x = torch.randn(256, 10, generator=torch.Generator().manual_seed(0))
    x[:32] *= 100
    W_enc_t = torch.randn(50, 10, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(encoding, "block_rows", lambda *_: 32)
    found = select(x, W_enc_t, torch.zeros(50), PerBatch(20))
    assert torch.equal(found.dense() > 0, PerBatch(20).mask(x @ W_enc_t.T))


@given(pre=tied | smooth)
def test_transposing_twice_gives_the_same(pre: np.ndarray) -> None:
    values = torch.from_numpy(pre)
    rows = collect(values, values > 0.4)
    columns, order = transposed(rows)
    assert torch.equal(columns.dense(), rows.dense().T)
    assert torch.equal(transposed(columns)[0].dense(), rows.dense())
    assert torch.equal(rows.values[order], columns.values)


@given(pre=smooth, k=st.integers(1, 50))
def test_kth_largest_is_that_of_a_sort(pre: np.ndarray, k: int) -> None:
    values = torch.from_numpy(pre)
    k = min(k, values.shape[1])
    assert torch.equal(kth_largest(values, k), values.sort(dim=1, descending=True).values[:, k - 1 : k])
