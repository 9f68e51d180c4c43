"""Running on from one position is the whole model with an edit there, for both backends and every hook."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sanity.errors import BadInputError
from sanity.subject import Subject

Tiny = Callable[[str, str], Subject]
VOCAB = 61


def prompts(n: int, shared: int, length: int) -> Tensor:
    """Token ids [n, length] that begin alike for `shared` positions, and differ in the next one."""
    tokens = torch.randint(0, VOCAB, (n, length), generator=torch.Generator().manual_seed(1))
    tokens[:, :shared] = tokens[0, :shared]
    tokens[:, shared] = torch.arange(n)
    return tokens


@pytest.mark.parametrize("backend", ["transformer_lens", "nnsight"])
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "neox", "gemma2"])
def test_it_is_the_whole_model_with_an_edit_there(architecture: str, backend: str, tiny: Tiny) -> None:
    subject = tiny(architecture, backend)
    tokens = prompts(5, 3, 9)
    replacement = torch.randn(5, 32, generator=torch.Generator().manual_seed(2))
    rows = torch.tensor([4, 0, 2])
    for hook in subject.hooks:
        for position in (0, 3, 5, 8):
            there = subject.editable(tokens, hook, position)
            torch.testing.assert_close(
                there.found, subject.residual(tokens, hook)[:, position], rtol=1e-4, atol=1e-4
            )

            def edit(found: Tensor, position: int = position) -> Tensor:
                changed = found.clone()
                changed[:, position] = replacement
                return changed

            wanted = subject.logits_with(tokens, hook, edit)[:, -1]
            rms = wanted.pow(2).mean().sqrt()
            found = there.logits(replacement[rows], rows)
            assert float((found - wanted[rows]).abs().max() / rms) < 1e-4, (hook, position)
            unedited = there.logits(there.found, torch.arange(5))
            assert float((unedited - subject.logits(tokens)[:, -1]).abs().max() / rms) < 1e-4
            if hook != subject.hooks[-1] and position > 3:  # above the last block nothing is passed on
                assert float((unedited - wanted).abs().max() / rms) > 1e-2


@pytest.mark.parametrize("backend", ["transformer_lens", "nnsight"])
def test_gradients_reach_the_edit_as_they_do_through_the_whole_model(backend: str, tiny: Tiny) -> None:
    subject = tiny("llama", backend)
    tokens, hook, position = prompts(4, 2, 7), "blocks.0.hook_resid_post", 3
    there = subject.editable(tokens, hook, position)
    fast = there.found.clone().requires_grad_()
    there.logits(fast, torch.arange(4)).log_softmax(-1)[:, 5].sum().backward()
    slow = there.found.clone().requires_grad_()

    def edit(found: Tensor) -> Tensor:
        return torch.cat([found[:, :position], slow[:, None], found[:, position + 1 :]], 1)

    subject.logits_with(tokens, hook, edit)[:, -1].log_softmax(-1)[:, 5].sum().backward()
    assert fast.grad is not None
    assert slow.grad is not None
    torch.testing.assert_close(fast.grad, slow.grad, rtol=1e-3, atol=1e-5)


def test_more_prompts_than_are_read_at_a_time(llama: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = prompts(7, 2, 6)
    whole = llama.editable(tokens, "blocks.1.hook_resid_post", 3)
    monkeypatch.setattr("sanity.subject.running_on._ROWS", 3)
    parts = llama.editable(tokens, "blocks.1.hook_resid_post", 3)
    rows = torch.arange(7)
    torch.testing.assert_close(parts.logits(parts.found, rows), whole.logits(whole.found, rows))
    assert len(parts) == 7


def test_a_position_that_is_not_there_is_refused(llama: Subject) -> None:
    with pytest.raises(BadInputError, match="no position 6 to edit"):
        llama.editable(prompts(3, 1, 6), "blocks.0.hook_resid_post", 6)
    with pytest.raises(BadInputError, match="40 tokens are longer than the context"):
        llama.editable(prompts(3, 1, 40), "blocks.0.hook_resid_post", 6)
