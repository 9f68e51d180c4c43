"""The default model itself: real weights, both backends, few tokens."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sanity.subject import Subject, harvest, load_subject, load_tokenizer

pytestmark = pytest.mark.assets

HOOK = "blocks.10.hook_resid_post"
TEXT = "The city of Tokyo is in the country of Japan. The city of Paris is in the country of"


@pytest.fixture(scope="module")
def lens(assets: dict[str, Path]) -> Subject:
    return load_subject()


@pytest.fixture(scope="module")
def sight(assets: dict[str, Path]) -> Subject:
    return load_subject(backend="nnsight")


@pytest.fixture(scope="module")
def tokens(lens: Subject) -> Tensor:
    return torch.tensor([lens.tokenizer(TEXT)["input_ids"]])


def relative(found: Tensor, wanted: Tensor) -> float:
    """The largest difference, as a share of the root mean square."""
    rms = wanted.double().pow(2).mean().sqrt()
    return float((found.double() - wanted.double()).abs().max() / rms)


def test_it_is_the_documented_model(lens: Subject, tokens: Tensor) -> None:
    assert (lens.d_model, lens.n_layers, lens.context, lens.vocab) == (576, 30, 8192, 49152)
    assert lens.tokenizer.decode(lens.logits(tokens)[0, -1].argmax()) == " France"
    norm = float(lens.residual(tokens, HOOK)[0, 1:].norm(dim=-1).mean())
    assert 80 < norm < 250


def test_backends_agree(lens: Subject, sight: Subject, tokens: Tensor) -> None:
    assert lens.weights_sha256 == sight.weights_sha256
    assert relative(sight.logits(tokens), lens.logits(tokens)) < 1e-4
    for hook in ("blocks.0.hook_resid_pre", HOOK, "blocks.29.hook_resid_post"):
        residual = lens.residual(tokens, hook)
        assert relative(sight.residual(tokens, hook), residual) < 1e-4
        halved = residual * torch.linspace(0, 1, 576)
        logits = lens.logits_from(halved, hook)
        assert relative(sight.logits_from(halved, hook), logits) < 1e-4
        for subject in (lens, sight):
            edited = subject.logits_with(tokens, hook, lambda x: x * torch.linspace(0, 1, 576))
            assert relative(edited, logits) < 1e-4


def test_the_random_control_knows_nothing(lens: Subject, tokens: Tensor) -> None:
    control = load_subject(random_weights=True, backend="nnsight")
    assert control.weights_sha256 != lens.weights_sha256
    targets = tokens[0, 1:]

    def loss(subject: Subject) -> float:
        return float(torch.nn.functional.cross_entropy(subject.logits(tokens)[0, :-1], targets))

    assert loss(control) == pytest.approx(math.log(49152), abs=1)
    assert loss(lens) < 3.5


def test_the_tokenizer_gives_every_byte_back(assets: dict[str, Path]) -> None:
    tokenizer = load_tokenizer()
    text = "def f(x):\n\treturn 12345 + x  # naïve — 日本語 🙂\r\n\n   end"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.convert_ids_to_tokens(tokenizer("a 1234")["input_ids"])[-4:] == ["1", "2", "3", "4"]


def test_a_harvest_of_it(lens: Subject, tokens: Tensor, tmp_path: Path) -> None:
    store = harvest(lens, tokens.repeat(2, 1)[:, :12], hook=HOOK, folder=tmp_path, shard_tokens=12)
    rows = torch.cat(list(store.rows(normalisation=store.normalisation)))
    assert rows.shape == (22, 576)
    assert relative(store.shard(1).activations, lens.residual(tokens[:, :12], HOOK)[0, 1:]) < 1e-4
    assert float(rows.pow(2).sum(1).mean()) == pytest.approx(576, rel=1e-4)
