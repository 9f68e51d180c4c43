"""An MLP's inputs and outputs: of one pass, of the same tokens, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sanity.errors import BadInputError
from sanity.models import PairedStream, neurons_of
from sanity.subject import MLPStream, MLPSubject, Subject, harvest, joint_normalisation
from sanity.subject.mlp import shuffled

HOOK = "blocks.1.mlp.hook_in"


@pytest.mark.parametrize("family", ["llama", "gpt2", "neox", "gemma2"])
def test_the_output_is_the_mlp_of_the_input(
    family: str, tiny: Callable[[str, str], Subject], tokens: Tensor
) -> None:
    """Against transformer-lens's own cache, and against the neurons spelled out."""
    subject = tiny(family, "transformer_lens")
    read = MLPSubject(subject, HOOK)
    x, out, drawn = read.joint(tokens).split(subject.d_model, dim=-1)
    _, cache = subject.bridge.run_with_cache(tokens)  # type: ignore[attr-defined]
    torch.testing.assert_close(x, cache["blocks.1.mlp.hook_in"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out, cache["blocks.1.hook_mlp_out"], rtol=1e-4, atol=1e-5)
    assert float((drawn - out).abs().mean()) > 0.1 * float(out.abs().mean())
    if family == "gemma2":  # a norm follows, so that its neurons add up to something else
        return
    width = next(p for p in read.mlp.parameters() if p.ndim == 2).numel() // subject.d_model
    activation = {"llama": "silu", "gpt2": "gelu_new", "neox": "gelu"}[family]
    neurons = neurons_of(read.mlp, width, activation, "it")
    torch.testing.assert_close(neurons.reconstruct(x), out, rtol=1e-4, atol=1e-5)


def test_an_mlp_that_adds_more_than_a_function_of_its_input_is_refused(
    llama: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlp = llama._plain_blocks[1].mlp  # type: ignore[attr-defined]
    known, calls = mlp.forward, iter(range(1, 99))
    monkeypatch.setattr(mlp, "forward", lambda x: known(x) * next(calls))
    with pytest.raises(BadInputError, match="does more than add"):
        MLPSubject(llama, HOOK)


def test_a_model_without_separate_mlp_is_refused(llama: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    block = llama._plain_blocks[1]  # type: ignore[attr-defined]
    monkeypatch.delitem(block._modules, "mlp")
    with pytest.raises(BadInputError, match="no separate MLP"):
        MLPSubject(llama, HOOK)
    with pytest.raises(BadInputError, match="no MLP at"):
        MLPSubject(llama, "blocks.9.mlp.hook_in")


def test_a_stream_pairs_what_belongs_together(llama: Subject, tokens: Tensor, tmp_path: Path) -> None:
    subject = MLPSubject(llama, HOOK)
    store = harvest(subject, tokens, hook=HOOK, folder=tmp_path / "it", shard_tokens=24)
    raw = subject.joint(tokens)[:, 1:].flatten(0, 1)
    scale, d = joint_normalisation(store), llama.d_model
    assert store.widths == (d, d, d)
    assert store.shard(0).activations.shape[1] == store.d_in == d
    joint = scale.apply(raw)
    for part in joint.split(d, dim=1):
        assert float(part.square().sum(1).mean()) == pytest.approx(d, rel=1e-3)
        assert float(part.mean(0).abs().max()) < 1e-3
    known = {tuple(row.round(decimals=3).tolist()): i for i, row in enumerate(joint[:, :d])}

    def partners(outputs: str) -> list[int]:
        """Which token's output belongs to each token's input."""
        stream = MLPStream(store, outputs=outputs, batch_size=11, seed=3)
        assert isinstance(stream, PairedStream)
        found = {}
        part = joint[:, 2 * d :] if outputs == "random" else joint[:, d : 2 * d]
        for step in range(6):
            for x, t in zip(stream.batch(step), stream.targets(step), strict=True):
                token = known[tuple(x.round(decimals=3).tolist())]
                partner = int((part - t).square().sum(1).argmin())
                assert found.setdefault(token, partner) == partner, "a token's partner changes"
        return [found[i] for i in range(len(joint))]

    assert partners("mlp") == partners("random") == list(range(33))
    crossed = partners("shuffled")
    assert sorted(crossed) == list(range(33))
    assert all(i != partner for i, partner in enumerate(crossed))


def test_shuffling_leaves_no_row_in_its_place() -> None:
    rows = torch.arange(50.0)[:, None]
    assert not bool((shuffled(rows) == rows).any())
    assert torch.equal(shuffled(rows).sort(0).values, rows)


def test_a_target_without_variance_is_refused(llama: Subject, tokens: Tensor, tmp_path: Path) -> None:
    subject = MLPSubject(llama, HOOK)
    for parameter in subject.drawn.parameters():
        parameter.zero_()
    store = harvest(subject, tokens, hook=HOOK, folder=tmp_path / "it")
    with pytest.raises(BadInputError, match="zero variance"):
        joint_normalisation(store)
