"""The card's kernels by Triton's interpreter, against their twins in plain PyTorch."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from card_arms import ALL_AT_ONCE, arms_of, stack_of
from torch import Tensor

from sanity.models import Architecture, BatchTopK, JumpReLU, Matryoshka, ReLU, TopK
from sanity.models.card import plain
from sanity.models.card.entries import Entries
from sanity.models.card.plain import Adam, Columns
from sanity.models.card.trial import NAMES, tried

if torch.cuda.is_available():
    pytest.skip("here the card itself tries every kernel, in test_card.py", allow_module_level=True)
os.environ.setdefault("TRITON_INTERPRET", "1")
if "SANITY_TEST_TRITON" in os.environ:
    sys.path.append(os.environ["SANITY_TEST_TRITON"])
why = "Triton is not installed: `make test` puts it where these tests find it"
triton = pytest.importorskip("triton", reason=why)
fused = pytest.importorskip("sanity.models.card.fused")


@pytest.fixture(params=[torch.float64, torch.float32], ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    chosen: torch.dtype = request.param
    return chosen


def drawn(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def agree(a: Tensor, b: Tensor) -> None:
    tolerance = 1e-12 if a.dtype == torch.float64 else 2e-5
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def uneven(rows: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Entries of rows with none, one and more than a program takes at a time: edges, rows, columns."""
    counts = torch.tensor([(0, 1, 3, 37)[row % 4] for row in range(rows)])
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    columns = torch.randint(width, (int(starts[-1]),), generator=torch.Generator().manual_seed(1))
    return starts, torch.arange(rows).repeat_interleave(counts), columns


# Above 1,024 numbers in a row programs are laid out otherwise; 2,304 is Gemma-2-2B's width.
WIDTHS = pytest.mark.parametrize("d", [11, 2304])


@WIDTHS
def test_sums_of_rows_and_products(dtype: torch.dtype, d: int) -> None:
    edges, rows, columns = uneven(9, 20)
    spans = torch.stack([edges[:-1], edges[1:]])
    spans[1, 5] -= 2  # two places after row 5 are of no row
    values, table = drawn(len(rows), dtype=dtype), drawn(20, d, dtype=dtype, seed=2)
    values[::3] = 0
    values[spans[1, 5] : spans[0, 6]] = 0
    agree(
        fused.weighted_sums(spans, columns, values, table),
        plain.weighted_sums(spans, columns, values, table),
    )
    left, found = drawn(9, d, dtype=dtype, seed=3), Entries(spans, rows, columns, columns.unsqueeze(0))
    of_a_row = torch.ones(len(rows), dtype=torch.bool)
    of_a_row[spans[1, 5] : spans[0, 6]] = False
    agree(fused.products(found, left, table)[of_a_row], plain.products(found, left, table)[of_a_row])


@pytest.mark.parametrize(("d_out", "d_in"), [(7, 18), (2304, 40), (40, 2304)])
def test_gradients_of_latents(dtype: torch.dtype, d_out: int, d_in: int) -> None:
    """With latents that nothing activates, busy ones, two widths, and entries that take part in nothing."""
    starts, latents, rows = uneven(12, 30)
    n = len(latents)
    parts = [drawn(n, dtype=dtype, seed=seed) for seed in range(4)]
    latents = torch.cat([latents, torch.full((5,), 12)])
    more = [torch.cat([part, torch.full((5,), torch.nan, dtype=dtype)]) for part in parts]
    rows = torch.cat([rows, torch.zeros(5, dtype=torch.int64)])
    given = Columns(starts, latents, rows, rows.flip(0) % 30, *more)
    shapes = (12, d_out), (30, d_out), (30, d_in)
    tables = [drawn(*shape, dtype=dtype, seed=seed) for seed, shape in enumerate(shapes)]
    ours, theirs = fused.latent_gradients(given, *tables), plain.latent_gradients(given, *tables)
    for name in vars(ours):
        agree(getattr(ours, name), getattr(theirs, name))
    assert float(ours.W_dec[0].abs().max()) == 0


@pytest.mark.parametrize("decoder", [True, False])
@pytest.mark.parametrize("anchored", [True, False])
@pytest.mark.parametrize(("d", "blocks"), [(11, 1), (12, 3), (2304, 1), (2304, 2)])
def test_the_move_of_a_matrix(dtype: torch.dtype, decoder: bool, anchored: bool, d: int, blocks: int) -> None:
    """A row that is antiparallel to its anchor among them, and an arm that does not learn."""
    unit = torch.nn.functional.normalize
    anchor = unit(drawn(3, 8, d, dtype=dtype), dim=2)
    bound = torch.tensor([-1.0, 0.8, 0.8] if decoder else [-1.0, 1.0, 1.0], dtype=torch.float64)
    learns = torch.tensor([True, True, False])
    adam = Adam(
        0.9,
        0.999,
        1e-8,
        0.01,
        *(torch.tensor(v, dtype=dtype) for v in ([0.3, 0.2, 0.1], [0.1, 1e-3])),
        learns,
        torch.tensor([7]),
    )
    made = []
    for move in (plain.move_rows, fused.move_rows):
        weight = unit(drawn(3, 8, d, dtype=dtype, seed=1), dim=2)
        gradient = drawn(3, 8, d, dtype=dtype, seed=2)
        weight[1, 0], gradient[1, 0] = -anchor[1, 0], 0
        moments = (
            drawn(3, 8, d, dtype=dtype, seed=3) / 10,
            drawn(3, 8, d, dtype=dtype, seed=4).square() / 10,
        )
        moments[0][1, 0] = 0
        before = weight.clone()
        starts = anchor if anchored else None
        move(weight, gradient, moments, adam, starts, bound, decoder=decoder, blocks=blocks)
        made.append((weight, moments[0][:2], moments[1][:2]))
        assert torch.equal(weight[2], before[2])
        assert not torch.equal(weight[:2], before[:2])
        if decoder and anchored:
            parts, starts = (unit(one[1].view(8, blocks, -1), dim=2) for one in (weight, anchor))
            assert float((parts * starts).sum(2).min()) > 0.8 - 1e-6
    for a, b in zip(*made, strict=True):
        agree(a, b)


def test_moments_in_bf16() -> None:
    """The same steps, and the same numbers up to the rare one that hangs on the last bit before rounding."""
    kind, made = torch.float32, []
    for move in (plain.move_rows, fused.move_rows):
        weight = torch.nn.functional.normalize(drawn(2, 8, 11, dtype=kind), dim=2)
        moments = torch.zeros(2, 8, 11).bfloat16(), torch.zeros(2, 8, 11).bfloat16()
        for step in range(3):
            factors = torch.full((2,), 0.1), 1 - torch.tensor([0.9, 0.999]) ** (step + 1)
            adam = Adam(0.9, 0.999, 1e-8, 0.0, *factors, torch.tensor([True] * 2), torch.tensor([step]))
            gradient = drawn(2, 8, 11, dtype=kind, seed=step + 1)
            move(weight, gradient, moments, adam, None, torch.full((2,), -1.0), decoder=True)
        assert moments[1].dtype == torch.bfloat16
        made.append((weight, *moments))
    for one, other in zip(*made, strict=True):
        torch.testing.assert_close(one, other, rtol=0.02, atol=1e-3)
        assert (one == other).float().mean() > 0.9 or one.dtype == kind


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("d_sae", "many"), [(1030, 3), (2048, 40)])
def test_the_largest_of_each_row(dtype: torch.dtype, d_sae: int, many: int) -> None:
    """Exactly as many as asked for, each once, also among equals; what cannot be held is counted."""
    over = drawn(2, 3, d_sae, dtype=dtype)
    over[0, 0].round_(decimals=1)
    latents, lost = fused.best(over, many)
    theirs, _ = plain.best(over, many)
    agree(over.gather(2, latents).float().sort(2).values, over.gather(2, theirs).float().sort(2).values)
    assert bool((latents.diff(dim=2) > 0).all())
    assert int(lost[1].sum()) == 0
    crowded = torch.zeros(1, 1, d_sae, dtype=dtype)
    assert int(fused.best(crowded, many)[1]) == d_sae - triton.next_power_of_2(2 * many + 32)
    assert fused.best(torch.full_like(crowded, torch.nan), many)[0].flatten().tolist() == [*range(many)]


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_what_reaches_a_bound(kind: torch.dtype) -> None:
    """A bound of each latent, or one, less what each sample may be off; rows of two lengths; too many."""
    exact = torch.float64 if kind == torch.float64 else torch.float32
    for d_sae, places in ((37, 40), (5003, 1500), (5003, 90)):
        pre = drawn(2, 3, d_sae, dtype=kind)
        pre[0, 0, 3], pre[0, 1], pre[1, 2] = torch.nan, -9, 9
        each, slack = (
            drawn(2, d_sae, dtype=exact, seed=1) / 4 + 1.5,
            drawn(2, 3, dtype=exact, seed=2).abs() / 4,
        )
        for lowest, off in ((each, slack), (each[:, :1].to(kind), each.new_zeros(1, 1))):
            ours, theirs = (of.above(pre, lowest, off, places) for of in (fused, plain))
            assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
            assert bool((ours[2] > 0).all()) == (places == 90)


def slightly_long(found: Entries, left: Tensor, right: Tensor) -> Tensor:
    return 1.01 * plain.products(found, left, right)


def first_in_bf16(over: Tensor, many: int) -> tuple[Tensor, Tensor]:
    """Wrong for rounded pre-activations alone."""
    latents, lost = plain.best(over, many)
    return (torch.arange(many).expand_as(latents) if over.dtype == torch.bfloat16 else latents), lost


def one_beside(*given: Any) -> tuple[Tensor, Tensor, Tensor]:
    flat, spans, lost = plain.above(*given)
    return flat + (flat > 20_000), spans, lost


def test_a_kernel_that_is_wrong_on_this_card_is_not_used(caplog: Any) -> None:
    broken = SimpleNamespace(**{name: getattr(fused, name) for name in NAMES} | {"products": slightly_long})
    chosen = tried(broken, "cpu", 24)
    assert chosen.products is plain.products
    assert [name for name in NAMES if getattr(chosen, name) is getattr(fused, name)] == [
        name for name in NAMES if name != "products"
    ]
    assert "the kernel products does not work on this card" in caplog.text


@pytest.mark.parametrize(("name", "wrong"), [("best", first_in_bf16), ("above", one_beside)])
def test_a_selection_that_is_wrong_is_not_used(name: str, wrong: Any) -> None:
    with mock.patch("sanity.models.card.trial.NAMES", (name,)):
        chosen = tried(SimpleNamespace(**{name: wrong}), "cpu", 24)
    assert getattr(chosen, name) is getattr(plain, name)


ALL = [TopK(3), BatchTopK(3), Matryoshka(3), JumpReLU(3.0, bandwidth=0.3), ReLU(5.0)]


@pytest.mark.parametrize(
    ("small", "precision"), [*((one, "float32") for one in ALL), (TopK(3), "bf16"), (BatchTopK(3), "bf16")]
)
def test_a_stack_by_kernels_is_a_stack_by_plain_operations(
    small: Architecture, stream: Any, precision: str
) -> None:
    """Trained, soft-frozen and frozen-encoder arms; the interpreter is slow, so that batches are small."""
    stream.dtype, stream.batch_size = (torch.float64 if precision == "float32" else torch.float32), 8
    arms = [arms_of(small)[at] for at in (0, 3, 4)]
    stacks = [stack_of(arms, stream, ALL_AT_ONCE, precision, ops) for ops in (plain, fused)]
    with torch.no_grad():
        for step in range(2):
            for stack in stacks:
                stack.learn(stream.batch(step))
    ours, theirs = (stack.state for stack in stacks)
    for name in ours.weights:
        agree(ours.weights[name], theirs.weights[name])
    agree(ours.report[:, :3].to(stream.dtype), theirs.report[:, :3].to(stream.dtype))
