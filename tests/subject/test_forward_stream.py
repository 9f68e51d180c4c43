"""Activations that pass from the model to the arms in memory: each row once an epoch, from any step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from embedding_subject import HOOK
from test_streaming import CountingSubject
from torch import Tensor

from sanity.errors import BadInputError
from sanity.models import Arm, TopK, train
from sanity.subject import ForwardStream, Normalisation, Read, Subject, load_subject

WINDOWS = 23
N = 7 * WINDOWS
PLAIN = Normalisation(torch.zeros(32), 1.0)


def tokens() -> Tensor:
    """Windows whose first token is their number."""
    later = torch.randint(0, 5, (WINDOWS, 7), generator=torch.Generator().manual_seed(0))
    return torch.cat([torch.arange(WINDOWS)[:, None], later], 1).int()


def reading(subject: Subject, hook: str) -> Read:
    return lambda tokens: subject.residual(tokens, hook)


def counting(*, batch_size: int = 16, buffer_tokens: int = 8 * 5, **more: object) -> ForwardStream:
    given = {"where": HOOK, "normalisation": PLAIN, "covariance": lambda: torch.eye(32), **more}
    return ForwardStream(  # type: ignore[arg-type]
        lambda: reading(CountingSubject(), HOOK),
        tokens(),
        batch_size=batch_size,
        buffer_tokens=buffer_tokens,
        **given,
    )


def numbers(stream: ForwardStream, steps: int) -> list[int]:
    """Which rows of the text were given, in order."""
    table = CountingSubject().table
    rows = torch.cat([stream.batch(step) for step in range(steps)])
    nearest = torch.cdist(rows[:, 1:], table[:5, 1:]).argmin(1)
    return (rows[:, 0] - table[nearest, 0]).round().int().tolist()


@pytest.mark.parametrize("buffer_tokens", [1, 8 * 5, 8 * 1000])
def test_an_epoch_is_every_row_once_and_passes_the_model_once(buffer_tokens: int) -> None:
    stream = counting(batch_size=7, buffer_tokens=buffer_tokens)
    first, second = numbers(stream, WINDOWS), numbers(stream, 2 * WINDOWS)[N:]
    assert sorted(first) == sorted(second) == list(range(N))
    assert first != second
    windows = min(WINDOWS, max(1, buffer_tokens // 8))
    assert counting(buffer_tokens=buffer_tokens).resident_bytes == windows * 7 * 32 * 4
    fresh = counting(batch_size=7, buffer_tokens=buffer_tokens)
    numbers(fresh, WINDOWS)
    assert fresh.passes == -(-WINDOWS // windows)


def test_rows_of_distant_windows_share_a_batch() -> None:
    given = numbers(counting(batch_size=16), 2)
    assert len({row // 7 for row in given}) >= 5, "a pool's windows are mixed"
    assert max(given) - min(given) > 7 * 5, "and they are not neighbours"


def test_the_order_depends_on_the_seed_and_not_on_the_batch_size() -> None:
    assert numbers(counting(batch_size=4), 20) == numbers(counting(batch_size=20), 4)
    assert numbers(counting(), 4) != numbers(counting(seed=1), 4)
    assert len({counting().key, counting(seed=1).key, counting(buffer_tokens=8).key}) == 3


@pytest.fixture
def llama_stream(tiny_llama: Path) -> object:
    def made() -> ForwardStream:
        def load() -> Read:
            return reading(load_subject(tiny_llama), "blocks.1.hook_resid_post")

        text = torch.randint(0, 30, (40, 16), generator=torch.Generator().manual_seed(1)).int()
        return ForwardStream(
            load, text, where="here", normalisation=PLAIN, covariance=lambda: torch.eye(32),
            batch_size=48, buffer_tokens=16 * 9,
        )  # fmt: skip

    return made


def test_a_stream_that_begins_at_any_step_gives_the_same_bits(llama_stream: object) -> None:
    assert callable(llama_stream)
    whole = llama_stream()
    batches = [whole.batch(step) for step in range(30)]
    for step in (0, 1, 3, 13, 29):
        fresh = llama_stream()
        assert torch.equal(fresh.batch(step), batches[step])
        assert torch.equal(whole.batch(step), batches[step])
        assert fresh.passes <= 2


class Interrupted(Exception):
    pass


def test_training_that_was_interrupted_ends_with_the_same_bits(llama_stream: object, tmp_path: Path) -> None:
    assert callable(llama_stream)
    arms = [Arm(TopK(k=3), d_sae=48, seed=seed) for seed in (0, 1)]
    whole = train(arms, llama_stream(), steps=25)
    stream = llama_stream()
    batch = stream.batch

    def breaks(step: int) -> Tensor:
        if step == 17:
            raise Interrupted
        return batch(step)

    stream.batch = breaks  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        train(arms, stream, steps=25, folder=tmp_path, checkpoint_every_s=0.0)
    assert list(tmp_path.rglob("*.safetensors"))
    resumed = train(arms, llama_stream(), steps=25, folder=tmp_path)
    for one, other in zip(whole, resumed, strict=True):
        assert torch.equal(one.sae.W_dec, other.sae.W_dec)
        assert torch.equal(one.sae.W_enc, other.sae.W_enc)


def test_windows_that_give_nothing_are_refused() -> None:
    with pytest.raises(BadInputError, match="23 windows of 1 tokens give no activations"):
        ForwardStream(
            lambda: pytest.fail("nothing is read"), tokens()[:, :1], where=HOOK, normalisation=PLAIN,
            covariance=lambda: torch.eye(32), batch_size=4, buffer_tokens=8,
        )  # fmt: skip
