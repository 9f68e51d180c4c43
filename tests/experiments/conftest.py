"""A tiny language model in the hub's format, with a tokenizer of letters."""

from __future__ import annotations

from pathlib import Path

import pytest
from letter_model import save_letter_model


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three layers of width 32."""
    from transformers import LlamaConfig

    letters = "<abcdefghijklmnopqrstuvwxyz0123456789. "
    config = LlamaConfig(
        vocab_size=len(letters),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )
    return save_letter_model(tmp_path_factory.mktemp("llama"), config, letters)
