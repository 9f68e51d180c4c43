"""Both backends are the model that transformers runs, at every place and in every direction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sanity.errors import BadInputError
from sanity.subject import Subject, load_subject

ARCHITECTURES = ("llama", "gpt2", "neox", "gemma2")
BACKENDS = ("transformer_lens", "nnsight")
TOLERANCE = 1e-4

Tiny = Callable[[str, str], Subject]


def assert_agree(found: Tensor, wanted: Tensor) -> None:
    """The largest difference is at most 1e-4 of the root mean square."""
    assert found.shape == wanted.shape
    rms = wanted.double().pow(2).mean().sqrt()
    assert float((found.double() - wanted.double()).abs().max() / rms) < TOLERANCE


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_residuals_and_logits_are_those_of_transformers(
    architecture: str, backend: str, tiny: Tiny, tiny_model: Callable[[str], Path], tokens: Tensor
) -> None:
    from transformers import AutoModelForCausalLM

    module = AutoModelForCausalLM.from_pretrained(tiny_model(architecture)).eval()
    with torch.no_grad():
        expected = module(tokens, output_hidden_states=True, use_cache=False)
    subject = tiny(architecture, backend)
    assert (subject.d_model, subject.n_layers, subject.context, subject.vocab) == (32, 3, 32, 61)
    assert_agree(subject.logits(tokens), expected.logits)
    for hook in subject.hooks:
        layer, end = int(hook.split(".")[1]), hook.endswith("post")
        if layer + end < 3:  # transformers gives the last one only after the final norm
            assert_agree(subject.residual(tokens, hook), expected.hidden_states[layer + end])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_backends_agree_at_every_hook_and_method(architecture: str, tiny: Tiny, tokens: Tensor) -> None:
    lens, sight = (tiny(architecture, backend) for backend in BACKENDS)
    assert lens.hooks == sight.hooks
    assert lens.weights_sha256 == sight.weights_sha256
    for hook in lens.hooks:
        residual = lens.residual(tokens, hook)
        assert_agree(sight.residual(tokens, hook), residual)
        turned = residual.roll(1, dims=-1)
        assert_agree(sight.logits_from(turned, hook), lens.logits_from(turned, hook))
        # Each method against the other: run on from the turned activation, or turn it on the way.
        assert_agree(lens.logits_with(tokens, hook, lambda x: x.roll(1, -1)), lens.logits_from(turned, hook))
        assert_agree(
            sight.logits_with(tokens, hook, lambda x: x.roll(1, -1)), sight.logits_from(turned, hook)
        )
        assert float((lens.logits_from(turned, hook) - lens.logits(tokens)).abs().max()) > 1e-2


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_running_on_from_what_was_read_changes_nothing(
    architecture: str, backend: str, tiny: Tiny, tokens: Tensor
) -> None:
    subject = tiny(architecture, backend)
    plain = subject.logits(tokens)
    for hook in subject.hooks:
        assert_agree(subject.logits_from(subject.residual(tokens, hook), hook), plain)
        assert_agree(subject.logits_with(tokens, hook, lambda x: x), plain)
        assert not subject.logits_with(tokens, hook, lambda x: x).requires_grad
    assert_agree(subject.logits(tokens), plain)  # and leaves the model as it was


def test_the_fast_residual_is_what_the_bridge_sees(tiny: Tiny, tokens: Tensor) -> None:
    subject = tiny("llama", "transformer_lens")
    _, cache = subject.bridge.run_with_cache(tokens)  # type: ignore[attr-defined]
    for hook in subject.hooks:
        assert_agree(subject.residual(tokens, hook), cache[hook])
    # ... and costs no second copy of the weights.
    plain = {p.data_ptr() for p in subject._plain.parameters()}  # type: ignore[attr-defined]
    assert plain <= {p.data_ptr() for p in subject.bridge.original_model.parameters()}  # type: ignore[attr-defined]


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_reach_what_is_spliced_in(backend: str, tiny: Tiny, tokens: Tensor) -> None:
    subject = tiny("llama", backend)
    hook = "blocks.1.hook_resid_post"
    residual = subject.residual(tokens, hook)
    assert not residual.requires_grad
    gain = torch.ones(32, requires_grad=True)
    (with_edit,) = torch.autograd.grad(subject.logits_with(tokens, hook, lambda x: x * gain)[0, -1, 3], gain)
    (run_on,) = torch.autograd.grad(subject.logits_from(residual * gain, hook)[0, -1, 3], gain)
    assert float(run_on.abs().max()) > 1e-3
    assert_agree(with_edit, run_on)


@pytest.mark.parametrize("backend", BACKENDS)
def test_right_padding_changes_nothing_before_it(backend: str, tiny: Tiny, tokens: Tensor) -> None:
    subject = tiny("llama", backend)
    assert_agree(subject.logits(tokens)[:, :7], subject.logits(tokens[:, :7]))


@pytest.mark.parametrize("backend", BACKENDS)
def test_bad_input_is_named(backend: str, tiny: Tiny, tokens: Tensor) -> None:
    subject = tiny("llama", backend)
    for hook in ("blocks.3.hook_resid_pre", "blocks.0.hook_mlp_out", "resid"):
        with pytest.raises(BadInputError, match=r"no hook .* 3 blocks, with blocks\.K.* from 0 to 2"):
            subject.residual(tokens, hook)
    with pytest.raises(BadInputError, match=r"33 tokens are longer than the context of .*, which is 32"):
        subject.logits(torch.zeros(1, 33, dtype=torch.long))
    with pytest.raises(BadInputError, match="33 tokens are longer"):
        subject.logits_from(torch.zeros(1, 33, 32), "blocks.0.hook_resid_pre")
    with pytest.raises(BadInputError, match=r"token ids reach from -1 to 61, .* has 0 to 60"):
        subject.logits(torch.tensor([[-1, 61]]))
    with pytest.raises(BadInputError, match=r"width 31, but .* d_model 32"):
        subject.logits_from(torch.zeros(1, 4, 31), "blocks.0.hook_resid_pre")
    with pytest.raises(BadInputError, match=r"returned shape \[3, 12, 16\], but was given \[3, 12, 32\]"):
        subject.logits_with(tokens, "blocks.1.hook_resid_post", lambda x: x[..., :16])
    spoiled = subject.residual(tokens, "blocks.1.hook_resid_post").clone()
    spoiled[2, 5, 7] = torch.inf
    with pytest.raises(BadInputError, match="inf for sequence 2 of the batch, position 5, unit 7"):
        subject.logits_from(spoiled, "blocks.1.hook_resid_post")
    with pytest.raises(BadInputError, match="inf for sequence 2 of the batch, position 5, unit 7"):
        subject.logits_with(tokens, "blocks.1.hook_resid_post", lambda _: spoiled)
    assert_agree(subject.logits(tokens), subject.logits(tokens))  # still usable


def test_random_weights_are_a_seeded_control(tiny_model: Callable[[str], Path], tokens: Tensor) -> None:
    folder, hook = tiny_model("llama"), "blocks.2.hook_resid_post"
    before = torch.random.get_rng_state()
    first, again, other = (
        load_subject(folder, backend="nnsight", random_weights=True, seed=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.weights_sha256 == again.weights_sha256 != other.weights_sha256
    assert torch.equal(first.residual(tokens, hook), again.residual(tokens, hook))
    trained = load_subject(folder, backend="nnsight")
    assert trained.weights_sha256 != first.weights_sha256
    assert (trained.d_model, trained.vocab) == (first.d_model, first.vocab)
    lens = load_subject(folder, random_weights=True, seed=0)
    assert lens.weights_sha256 == first.weights_sha256
    assert_agree(lens.logits(tokens), first.logits(tokens))
    assert not lens.bridge.training  # type: ignore[attr-defined]


def test_another_precision(tiny_model: Callable[[str], Path], tokens: Tensor) -> None:
    half = load_subject(tiny_model("llama"), dtype=torch.bfloat16)
    full = load_subject(tiny_model("llama"))
    assert half.weights_sha256 != full.weights_sha256
    residual = half.residual(tokens, "blocks.1.hook_resid_post")
    assert residual.dtype == torch.bfloat16
    # What is spliced in may be float32.
    logits = half.logits_from(residual.float(), "blocks.1.hook_resid_post")
    assert torch.equal(logits, half.logits_from(residual, "blocks.1.hook_resid_post"))
    edited = half.logits_with(tokens, "blocks.1.hook_resid_post", lambda x: x.float())
    assert torch.equal(edited, half.logits_with(tokens, "blocks.1.hook_resid_post", lambda x: x))
