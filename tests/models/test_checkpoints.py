"""SAEs on disk: what is read is what was written, damage is noticed, and SAELens reads it too."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from sanity.errors import BadInputError, CorruptFileError
from sanity.models import Architecture, Arm, Autoencoder, ReLU, load_sae, save_sae, train
from sanity.models.sparsity import architecture_from_json


@pytest.fixture
def sae(architecture: Architecture, stream: Any) -> Autoencoder:
    return train([Arm(architecture, 24, learning_rate=1e-2)], stream, steps=20)[0].sae


def test_what_is_read_is_what_was_written(sae: Autoencoder, stream: Any, tmp_path: Path) -> None:
    folder = save_sae(sae, tmp_path / "deep" / "sae")
    read = load_sae(folder)
    assert read.architecture == sae.architecture
    for name in ("W_enc", "W_dec", "b_enc", "b_dec"):
        assert torch.equal(getattr(read, name), getattr(sae, name))
    assert torch.equal(read.encode(stream.batch(50)), sae.encode(stream.batch(50)))
    assert sorted(path.name for path in folder.iterdir()) == [
        "cfg.json",
        "manifest.json",
        "sae_weights.safetensors",
    ]


def test_saelens_gives_the_same(sae: Autoencoder, stream: Any, tmp_path: Path) -> None:
    """Also for raw activations, once centre and factor are folded in."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sae_lens import SAE

    raw = stream.batch(50) / 0.3 + 2.0
    folded = sae.fold_normalisation(torch.full((8,), 2.0), 0.3)
    for ours, x in ((sae, stream.batch(50)), (folded, raw)):
        theirs = SAE.load_from_disk(str(save_sae(ours, tmp_path / "sae")))
        with torch.no_grad():
            assert torch.allclose(theirs.encode(x), ours.encode(x), atol=1e-5)
            assert torch.allclose(theirs(x), ours.reconstruct(x), atol=1e-5)
        assert theirs.cfg.normalize_activations == "none"


def test_a_relu_with_a_threshold_keeps_it(stream: Any, tmp_path: Path) -> None:
    relu = train([Arm(ReLU(3.0), 24)], stream, steps=0)[0].sae
    sae = dataclasses.replace(relu, threshold=torch.full((24,), 0.2))
    read = load_sae(save_sae(sae, tmp_path / "sae"))
    assert torch.equal(read.encode(stream.batch(1)), sae.encode(stream.batch(1)))
    assert json.loads((tmp_path / "sae" / "cfg.json").read_text())["architecture"] == "jumprelu"


def test_saving_again_replaces_the_old(stream: Any, tmp_path: Path) -> None:
    first, second = train([Arm(ReLU(3.0), 24), Arm(ReLU(3.0), 24, seed=1)], stream, steps=0)
    save_sae(first.sae, tmp_path / "sae")
    save_sae(second.sae, tmp_path / "sae")
    assert torch.equal(load_sae(tmp_path / "sae").W_dec, second.sae.W_dec)
    assert [path.name for path in tmp_path.iterdir()] == ["sae"]


def test_other_files_are_not_overwritten(stream: Any, tmp_path: Path) -> None:
    sae = train([Arm(ReLU(3.0), 24)], stream, steps=0)[0].sae
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BadInputError, match="holds other files"):
        save_sae(sae, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("name", ["cfg.json", "sae_weights.safetensors", "manifest.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_damage_is_noticed_and_named(stream: Any, tmp_path: Path, name: str, damage: str) -> None:
    folder = save_sae(train([Arm(ReLU(3.0), 24)], stream, steps=0)[0].sae, tmp_path / "sae")
    path = folder / name
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    else:
        middle = len(content) // 2
        content[middle] ^= 1
        path.write_bytes(content if damage == "flipped" else content[:middle])
    with pytest.raises(CorruptFileError, match="sae"):
        load_sae(folder)


def test_architectures_survive_json(architecture: Architecture) -> None:
    from sanity.engine.config import to_json

    fields = to_json(architecture)
    assert isinstance(fields, dict)
    assert architecture_from_json(json.loads(json.dumps(fields))) == architecture
    with pytest.raises(BadInputError, match="no architecture 'Gated'"):
        architecture_from_json({"kind": "Gated"})
    with pytest.raises(BadInputError, match="has no field depth"):
        architecture_from_json({**fields, "depth": 3})
