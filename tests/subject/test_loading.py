"""Which models there are, what a folder must hold, and copies of packed models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

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


@pytest.fixture
def folder(tiny_model: Callable[[str], Path], tmp_path: Path) -> Path:
    """A tiny llama of one's own, to be broken."""
    return Path(shutil.copytree(tiny_model("llama"), tmp_path / "model"))


def configured(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


NORM = "model.layers.1.input_layernorm.weight"
BROKEN: dict[str, Callable[[Path], Any]] = {
    f"it lacks {NORM}": lambda f: weights(f, lambda t: t.pop(NORM)),
    "it lacks model.layers.3.* and 6 others": lambda f: configured(f, num_hidden_layers=4),
    "it does not know model.layers.2": lambda f: configured(f, num_hidden_layers=2),
    "it does not know extra": lambda f: weights(f, lambda t: t.update(extra=torch.zeros(2))),
    f"it has in another shape {NORM}": lambda f: weights(f, lambda t: t.update({NORM: torch.zeros(31)})),
    r"it has in another shape model\.embed_tokens": lambda f: configured(f, vocab_size=62),
    "it lacks lm_head": lambda f: configured(f, tie_word_embeddings=False),
    "hidden_size": lambda f: configured(f, hidden_size="wide"),
    "model type `never_seen`": lambda f: configured(f, model_type="never_seen"),
    "not a multiple of the number of attention heads": lambda f: configured(f, num_attention_heads=5),
    "JSON": lambda f: (f / "config.json").write_text("{"),
    "no causal language model": lambda f: (f / "config.json").write_text("[]"),
    "SafetensorError": lambda f: (f / "model.safetensors").write_bytes(b"cut"),
    "tokenizer": lambda f: [path.unlink() for path in f.glob("tokenizer*")],
}


@pytest.mark.parametrize("words", BROKEN)
def test_incomplete_and_mismatched_models_are_one_clear_error(folder: Path, words: str) -> None:
    """Without it, transformers draws what is missing at random: other numbers at each load."""
    BROKEN[words](folder)
    with pytest.raises(BadInputError, match=words) as caught:
        load_subject(folder, backend="nnsight")
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + bytes(64), bytes(range(256)) * 20])
def test_a_bad_gguf_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes
) -> None:
    monkeypatch.setenv("SANITY_CACHE", str(tmp_path / "cache"))
    (tmp_path / "model.gguf").write_bytes(content)
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
    (place / "unpacked.json").write_text("{}")  # names nothing, so that nothing is checked
    assert unpacked(packed, unpack) == place
    assert len(calls) == 4
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
