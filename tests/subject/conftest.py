"""Small models of four architectures, made on the spot in the hub's format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sanity.subject import Subject, load_subject

VOCAB = 61


def _llama() -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        tie_word_embeddings=True,
    )


def _gpt2() -> Any:
    from transformers import GPT2Config

    return GPT2Config(vocab_size=VOCAB, n_embd=32, n_layer=3, n_head=4, n_positions=32)


def _neox() -> Any:
    from transformers import GPTNeoXConfig

    return GPTNeoXConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=32,
    )


def _gemma2() -> Any:
    from transformers import Gemma2Config

    # A sliding window shorter than the text, and caps low enough to bend the logits.
    return Gemma2Config(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=32,
        sliding_window=4,
        attn_logit_softcapping=1.0,
        final_logit_softcapping=2.0,
    )


CONFIGS = {"llama": _llama, "gpt2": _gpt2, "neox": _neox, "gemma2": _gemma2}


def make_model(architecture: str, folder: Path, *, scale: float = 4.0) -> Path:
    """A model with weights large enough that its blocks do something, and a tokenizer of single letters."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = AutoModelForCausalLM.from_config(CONFIGS[architecture]())
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1:
                parameter *= scale
    module.save_pretrained(folder)
    letters = {chr(ord("0") + i): i for i in range(VOCAB - 1)} | {"<end>": VOCAB - 1}
    tokenizer = Tokenizer(models.WordLevel(letters, unk_token="<end>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<end>", eos_token="<end>", pad_token="<end>"
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny model, by architecture."""
    made: dict[str, Path] = {}

    def folder(architecture: str) -> Path:
        if architecture not in made:
            made[architecture] = make_model(architecture, tmp_path_factory.mktemp(architecture))
        return made[architecture]

    return folder


@pytest.fixture(scope="session")
def tiny(tiny_model: Callable[[str], Path]) -> Callable[[str, str], Subject]:
    """A tiny subject, by architecture and backend."""
    loaded: dict[tuple[str, str], Subject] = {}

    def subject(architecture: str, backend: str) -> Subject:
        key = (architecture, backend)
        if key not in loaded:
            loaded[key] = load_subject(tiny_model(architecture), backend=backend)
        return loaded[key]

    return subject


@pytest.fixture(scope="session")
def llama(tiny: Callable[[str, str], Subject]) -> Subject:
    """A tiny subject for whatever works alike with all."""
    return tiny("llama", "transformer_lens")


@pytest.fixture
def tokens() -> torch.Tensor:
    """A batch of token ids [3, 12]."""
    return torch.randint(0, VOCAB, (3, 12), generator=torch.Generator().manual_seed(0))
