"""A letter model, a text with tags in it, and SAEs trained on both, as SAELens would keep them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from checked_saes import HOOK, SIZE, TAG, as_saelens
from letter_model import save_letter_model
from tiny_profile import WORDS

from sanity.checking.target import source_of
from sanity.engine.computing import results
from sanity.engine.store import LocalStore
from sanity.models import Arm, Autoencoder, TopK, train
from sanity.sources import Hook, Pace


@pytest.fixture(scope="session")
def letters() -> str:
    """What the letter model reads: tags as well."""
    return "<abcdefghijklmnopqrstuvwxyz0123456789. >/=()"


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, letters: str) -> Path:
    """A tiny language model."""
    return save_letter_model(tmp_path_factory.mktemp("model"), letters=letters, end="(")


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hundred documents, each with a tag."""
    folder = tmp_path_factory.mktemp("text<b>")
    for i in range(200):
        words = [WORDS[(i * 7 + j * j) % len(WORDS)] for j in range(90)]
        (folder / f"{i:03}.txt").write_text(f"story {i}. {' '.join(words)} {TAG}", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    """One store for all checks, so that they share their harvest."""
    return LocalStore(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="session")
def source(model: Path, text: Path) -> Hook:
    """Where the SAEs are trained and checked."""
    return source_of(str(model), HOOK, (str(text),), **SIZE)


@pytest.fixture(scope="session")
def trained(source: Hook, store: LocalStore) -> list[Autoencoder]:
    """Three seeds of one recipe, for raw activations."""
    cells = source.cells("cpu", Pace())
    inputs = dict(zip(cells, results(list(cells.values()), store), strict=True))
    opened = source.open(inputs, batch_size=256, seed=0, device="cpu")
    assert opened.kept is not None
    arms = [Arm(TopK(4), 64, seed=seed, learning_rate=1e-2) for seed in range(3)]
    runs = train(arms, opened.stream, steps=150)
    return [run.sae.fold_normalisation(opened.kept.mean, opened.kept.factor) for run in runs]


@pytest.fixture(scope="session")
def folders(trained: list[Autoencoder], model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The three SAEs; the name of the first holds a tag, and so does its configuration."""
    base = tmp_path_factory.mktemp("saes")
    names = ["<script>x</script>".replace("/", "∕"), "one", "two"]
    about = {"model_name": str(model), "hook_name": HOOK, "note": TAG}
    return [as_saelens(sae, base / name, **about) for sae, name in zip(trained, names, strict=True)]


@pytest.fixture(scope="session")
def shifted(trained: list[Autoencoder]) -> Autoencoder:
    """An SAE that is for other activations."""
    return dataclasses.replace(trained[0], b_dec=trained[0].b_dec + 100, W_enc=-trained[0].W_enc)
