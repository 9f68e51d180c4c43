"""Which models there are, what a folder must hold, and copies of packed models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sanity.errors import AssetError, BadInputError
from sanity.subject import known_subjects, load_subject, load_tokenizer
from sanity.subject.unpacking import unpacked


def test_names_are_short_and_the_default_is_first() -> None:
    names = known_subjects()
    assert next(iter(names)) == "smollm2-135m"
    assert names["llama-3-8b"] == "meta-llama/Meta-Llama-3-8B"
    assert {"gemma3-270m", "gemma-2-2b", "gpt2", "pythia-160m"} < set(names)


def test_unknown_names_are_answered_with_what_exists(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no language model 'smollm3'.* smollm2-135m, gemma3-270m"):
        load_subject("smollm3")
    with pytest.raises(
        BadInputError, match="no backend 'torchlens': choose one of transformer_lens, nnsight"
    ):
        load_subject(tmp_path, backend="torchlens")


def test_a_model_that_was_not_fetched_names_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SANITY_CACHE", str(tmp_path))
    with pytest.raises(AssetError, match="sanity fetch smollm2-135m"):
        load_subject("smollm2-135m")


def test_folders_without_a_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no config\.json with safetensors"):
        load_subject(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(BadInputError, match=r"pytorch_model\.bin may be pickled, which is never loaded"):
        load_subject(tmp_path)
    (tmp_path / "a.gguf").write_bytes(b"")
    (tmp_path / "b.gguf").write_bytes(b"")
    with pytest.raises(BadInputError, match=r"holds 2 \.gguf files"):
        load_subject(tmp_path)


def test_damaged_weights_are_one_clear_error(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    for path in tiny_model("llama").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(BadInputError, match=f"no causal language model can be loaded from {tmp_path}"):
        load_subject(tmp_path)


def test_the_tokenizer_comes_alone(tiny_model: Callable[[str], Path]) -> None:
    tokenizer = load_tokenizer(tiny_model("llama"))
    assert tokenizer("01Z")["input_ids"] == [0, 1, ord("Z") - ord("0")]


def test_packed_models_are_unpacked_once_and_again_when_damaged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SANITY_CACHE", str(tmp_path / "cache"))
    packed = tmp_path / "model.gguf"
    packed.write_bytes(b"packed")
    calls = []

    def unpack(source: Path, folder: Path) -> None:
        calls.append(source)
        (folder / "model.safetensors").write_bytes(source.read_bytes() * 2)

    place = unpacked(packed, unpack)
    assert (place / "model.safetensors").read_bytes() == b"packedpacked"
    assert unpacked(packed, unpack) == place
    assert len(calls) == 1
    (place / "model.safetensors").write_bytes(b"packedpackeD")  # one bit, same size
    assert unpacked(packed, unpack) == place
    assert (place / "model.safetensors").read_bytes() == b"packedpacked"
    (place / "unpacked.json").write_text("{")
    assert unpacked(packed, unpack) == place
    assert len(calls) == 3
    packed.write_bytes(b"other")
    assert unpacked(packed, unpack) != place


def test_an_interrupted_unpacking_leaves_nothing_to_trust(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SANITY_CACHE", str(tmp_path / "cache"))
    packed = tmp_path / "model.gguf"
    packed.write_bytes(b"packed")

    def stopped(source: Path, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpacked(packed, stopped)
    assert not list((tmp_path / "cache" / "unpacked").glob("model-*/*"))
