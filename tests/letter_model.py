"""A language model with random weights and a tokenizer of single characters, in the hub's format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def save_letter_model(folder: Path, config: Any, letters: str, *, seed: int = 0, scale: float = 4.0) -> Path:
    """Save a causal model of `config` that reads `letters`, the first of which begins, ends and is unknown.

    Its matrices are drawn from `seed` and enlarged by `scale`, so that its blocks do something and its
    answers differ.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # transformers draws weights from the global generator only
        module = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1:
                parameter *= scale
    module.save_pretrained(folder)
    end = letters[0]
    tokenizer = Tokenizer(models.WordLevel({letter: i for i, letter in enumerate(letters)}, unk_token=end))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end, eos_token=end).save_pretrained(folder)
    return folder
