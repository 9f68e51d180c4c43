"""Tiny language models of any architecture, with random weights and a tokenizer of single characters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

LETTERS = "<abcdefghijklmnopqrstuvwxyz0123456789. "

_SIZE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
_ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {**_SIZE, "num_key_value_heads": 2, "max_position_embeddings": 64},
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64},
    "gpt_neox": {**_SIZE, "max_position_embeddings": 64},
    # A sliding window shorter than most texts, and caps low enough to bend the logits.
    "gemma2": {
        **_SIZE,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 64,
        "sliding_window": 4,
        "attn_logit_softcapping": 1.0,
        "final_logit_softcapping": 2.0,
    },
}


def save_letter_model(
    folder: Path,
    architecture: str = "llama",
    *,
    letters: Sequence[str] = LETTERS,
    end: str = "<",
    seed: int = 0,
    scale: float = 4.0,
    **settings: Any,
) -> Path:
    """Save a causal model that reads `letters`; `end`, which is one of them, begins, ends, pads, is unknown.

    Three layers of width 32, unless `settings` of transformers' configuration say otherwise. The matrices are
    drawn from `seed` and enlarged by `scale`, so that the blocks do something and the answers differ.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    settings = {"vocab_size": len(letters), **_ARCHITECTURES.get(architecture, {}), **settings}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # transformers draws weights from the global generator only
        module = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **settings))
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1:
                parameter *= scale
    module.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({letter: i for i, letter in enumerate(letters)}, unk_token=end))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    special = {"bos_token": end, "eos_token": end, "pad_token": end}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    return folder
