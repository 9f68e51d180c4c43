"""Subjects of four architectures, in both backends."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from letter_model import save_letter_model

from sanity.subject import Subject, load_subject

VOCAB = 61
MODELS = {
    "llama": ("llama", {"tie_word_embeddings": True, "max_position_embeddings": 32}),
    "gpt2": ("gpt2", {"n_positions": 32}),
    "neox": ("gpt_neox", {"max_position_embeddings": 32}),
    "gemma2": ("gemma2", {"max_position_embeddings": 32}),
}


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny model, by architecture."""
    letters = [*(chr(ord("0") + i) for i in range(VOCAB - 1)), "<end>"]

    @functools.cache
    def folder(name: str) -> Path:
        architecture, settings = MODELS[name]
        place = tmp_path_factory.mktemp(name)
        return save_letter_model(place, architecture, letters=letters, end="<end>", **settings)

    return folder


@pytest.fixture(scope="session")
def tiny(tiny_model: Callable[[str], Path]) -> Callable[[str, str], Subject]:
    """A tiny subject, by architecture and backend."""

    @functools.cache
    def subject(architecture: str, backend: str) -> Subject:
        return load_subject(tiny_model(architecture), backend=backend)

    return subject


@pytest.fixture(scope="session")
def llama(tiny: Callable[[str, str], Subject]) -> Subject:
    """A tiny subject for whatever works alike with all."""
    return tiny("llama", "transformer_lens")


@pytest.fixture
def tokens() -> torch.Tensor:
    """A batch of token ids [3, 12]."""
    return torch.randint(0, VOCAB, (3, 12), generator=torch.Generator().manual_seed(0))
