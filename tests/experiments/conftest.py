"""The tiny profile and a store for a module's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from letter_model import save_letter_model
from tiny_profile import story_texts

from sanity.engine.store import LocalStore


@pytest.fixture(scope="session")
def letters_and_text(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny language model, and a folder of texts."""
    return save_letter_model(tmp_path_factory.mktemp("llama")), story_texts(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    """A store of the module's own."""
    return LocalStore(tmp_path_factory.mktemp("results"))
