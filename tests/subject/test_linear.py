"""A language model multiplies by the fastest product, and says what transformers' own layers say."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from sanity.subject.linear import Linear, with_fast_products


@pytest.fixture(scope="module")
def plain() -> Any:
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        attention_bias=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval().requires_grad_(False)


def test_logits_and_gradients_are_those_of_transformers(plain: Any) -> None:
    fast = with_fast_products(copy.deepcopy(plain))
    tokens = torch.arange(30).reshape(2, 15)
    with torch.no_grad():
        torch.testing.assert_close(fast(tokens).logits, plain(tokens).logits)
    gradients = []
    for module in (fast, plain):
        embedded = plain.get_input_embeddings()(tokens).clone().requires_grad_()
        module(inputs_embeds=embedded).logits[..., 3].sum().backward()
        gradients.append(embedded.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


def test_every_plain_layer_is_multiplied_so_and_no_other() -> None:
    class Doubled(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    module = with_fast_products(nn.Sequential(nn.Linear(3, 4), Doubled(4, 2), nn.ReLU()))
    assert [type(layer) for layer in module] == [Linear, Doubled, nn.ReLU]
    assert module(torch.ones(5, 3)).shape == (5, 2)


def test_another_type_is_left_to_pytorch() -> None:
    layer = with_fast_products(nn.Linear(3, 2).to(torch.bfloat16))
    assert layer(torch.ones(4, 3, dtype=torch.bfloat16)).dtype == torch.bfloat16
