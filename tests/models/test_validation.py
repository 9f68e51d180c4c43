"""Broken checkpoints and SAEs are refused in words; what is offered (16 and 64 bits) works."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sanity.engine.files import sha256_of
from sanity.errors import SanityError
from sanity.evals.inputs import active_latents
from sanity.evals.reconstruction import firing_frequency, reconstruction_scores
from sanity.models import Architecture, Arm, TopK, check_sae, load_sae, save_sae, train

D_IN, D_SAE, K = 8, 24, 3


@pytest.fixture
def folder(stream: Any, tmp_path: Path) -> Path:
    return save_sae(train([Arm(TopK(K), D_SAE)], stream, steps=2)[0].sae, tmp_path / "sae")


def rewritten(folder: Path, tensors: dict[str, Tensor], config: dict[str, Any]) -> Path:
    """The folder with other content and a manifest that agrees with it: broken, not damaged."""
    save_file(
        {name: value.contiguous() for name, value in tensors.items()}, folder / "sae_weights.safetensors"
    )
    (folder / "cfg.json").write_text(json.dumps(config))
    files = {path.name: sha256_of(path) for path in folder.iterdir() if path.name != "manifest.json"}
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "files": files}))
    return folder


NAN = float("nan")
TENSORS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "NaN": lambda t: t["W_enc"].fill_(NAN),
    "infinite": lambda t: t["b_dec"].fill_(torch.inf),
    "b_enc has shape": lambda t: t.update(b_enc=torch.zeros(1)),
    "b_dec has shape": lambda t: t.update(b_dec=torch.zeros(D_SAE)),
    "W_enc has shape": lambda t: t.update(W_enc=t["W_enc"].T),
    "d_in 24": lambda t: t.update(W_enc=t["W_enc"].T, W_dec=t["W_dec"].T),
    r"W_enc has shape \[8, 23\]": lambda t: t.update(W_enc=t["W_enc"][:, :-1]),
    "W_dec must be": lambda t: t.update(W_dec=t["W_dec"][0]),
    "at least one latent": lambda t: t.update(
        W_enc=torch.zeros(D_IN, 0), W_dec=torch.zeros(0, D_IN), b_enc=torch.zeros(0)
    ),
    "mixes types": lambda t: t.update(b_enc=t["b_enc"].double()),
    "floating-point": lambda t: t.update(b_enc=t["b_enc"].int()),
    "lacks b_dec": lambda t: t.pop("b_dec"),
    "dtype 'float32', not 'float64'": lambda t: t.update({n: v.double() for n, v in t.items()}),
}


@pytest.mark.parametrize("words", TENSORS)
def test_tensors_that_are_no_sae_are_refused(folder: Path, words: str) -> None:
    tensors = load_file(folder / "sae_weights.safetensors")
    TENSORS[words](tensors)
    with pytest.raises(SanityError, match=words):
        load_sae(rewritten(folder, tensors, json.loads((folder / "cfg.json").read_text())))


def of_architecture(k: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda config: (config["sanity"]["architecture"].update(k=k), config.update(k=k))


CONFIGS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "d_in 16": lambda c: c.update(d_in=16),
    "d_sae 0": lambda c: c.update(d_sae=0),
    "d_sae None": lambda c: c.pop("d_sae"),
    "k 5, not 3": lambda c: c.update(k=5),
    "k 3, not 5": lambda c: c["sanity"]["architecture"].update(k=5),
    "normalize_activations 'layer_norm'": lambda c: c.update(normalize_activations="layer_norm"),
    "apply_b_dec_to_input False": lambda c: c.update(apply_b_dec_to_input=False),
    "'batchtopk', not 'topk'": lambda c: c.update(architecture="batchtopk"),
    "needs a threshold": lambda c: c["sanity"]["architecture"].update(kind="BatchTopK"),
    "lacks k": lambda c: c["sanity"]["architecture"].pop("k"),
    "k='three'": of_architecture("three"),
    "wants 0 active": of_architecture(0),
    "wants -3 active": of_architecture(-3),
    "wants 1e\\+06 active": of_architecture(1_000_000),
    "no architecture": lambda c: c["sanity"]["architecture"].update(kind=["TopK"]),
    "which architecture": lambda c: c.update(sanity="TopK"),
}


@pytest.mark.parametrize("words", CONFIGS)
def test_configurations_that_do_not_agree_are_refused(folder: Path, words: str) -> None:
    config = json.loads((folder / "cfg.json").read_text())
    CONFIGS[words](config)
    with pytest.raises(SanityError, match=words):
        load_sae(rewritten(folder, load_file(folder / "sae_weights.safetensors"), config))


def test_the_manifest_names_every_file(folder: Path) -> None:
    (folder / ".DS_Store").write_text("what systems leave behind is no matter")
    load_sae(str(folder))
    (folder / "sparsity.safetensors").write_bytes(b"")
    with pytest.raises(SanityError, match=r"does not name sparsity\.safetensors"):
        load_sae(folder)
    (folder / "sparsity.safetensors").unlink()
    (folder / "manifest.json").write_text(json.dumps({"files": {"cfg.json": sha256_of(folder / "cfg.json")}}))
    with pytest.raises(SanityError, match=r"does not name sae_weights\.safetensors"):
        load_sae(folder)


def plain(**changes: Any) -> SimpleNamespace:
    W_dec = torch.randn(6, 4)
    parts = {"W_dec": W_dec, "encode": lambda x: x @ W_dec.T, "decode": lambda z: z @ W_dec}
    return SimpleNamespace(**parts | changes)


class Raising:
    encode = decode = None

    @property
    def W_dec(self) -> Tensor:
        raise RuntimeError("not loaded yet")


BROKEN: dict[str, Any] = {
    "AttributeError": plain(encode=lambda x: x.latents),
    "RuntimeError": plain(decode=lambda z: z @ torch.zeros(3, 3)),
    "TypeError": plain(encode=lambda: None),
    "not loaded yet": Raising(),
    r"not a tensor \[0, 4\]": plain(W_dec=torch.zeros(0, 4)),
    "torch.int64": plain(W_dec=torch.zeros(6, 4, dtype=torch.long)),
    "has no encode": None,
}


@pytest.mark.parametrize("words", BROKEN)
def test_the_contract_raises_nothing_raw(words: str) -> None:
    with pytest.raises(SanityError, match=words):
        check_sae(BROKEN[words])


@pytest.mark.parametrize("name", ["W_enc", "b_enc", "b_dec"])
def test_every_weight_of_ours_is_looked_at(stream: Any, name: str) -> None:
    sae = train([Arm(TopK(K), D_SAE)], stream, steps=0)[0].sae
    getattr(sae, name)[..., -1] = NAN
    with pytest.raises(SanityError, match=name):
        check_sae(sae)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_types_that_are_offered_work(
    architecture: Architecture, dtype: torch.dtype, stream: Any, tmp_path: Path
) -> None:
    """With more latents than selection groups, too: there its bound is not the plain one."""
    x = stream.batch(99)
    for d_sae in (24, 256):
        sae = train([Arm(architecture, d_sae)], stream, steps=5)[0].sae
        same = load_sae(save_sae(sae.to(dtype=dtype), tmp_path / f"{d_sae}"))
        check_sae(same)
        assert same.encode(x.to(dtype)).dtype == dtype
        assert same.encode_sparse(x.to(dtype), precision="bf16").n_rows == len(x)
        for name, score in reconstruction_scores(same, [x]).items():
            assert float(score) == pytest.approx(float(reconstruction_scores(sae, [x])[name]), abs=0.15)


def test_active_means_not_zero_everywhere() -> None:
    """Latents of either sign: as many for L0 as for texts and contexts."""
    W_dec = torch.eye(4)
    signed = plain(W_dec=W_dec, encode=lambda x: x * (x.abs() > 0.5), decode=lambda z: z @ W_dec)
    x = torch.tensor([[1.0, -1.0, 0.1, 0.0], [-2.0, 0.0, 0.6, -0.7]])
    assert active_latents(signed, x).counts.tolist() == [2, 3]
    assert float(reconstruction_scores(signed, [x])["l0"]) == 2.5
    assert firing_frequency(signed, [x]).tolist() == [1.0, 0.5, 0.5, 0.5]
    assert torch.equal(active_latents(signed, x).dense(), signed.encode(x))


def test_an_autoencoder_with_a_weight_of_another_is_refused(stream: Any) -> None:
    sae = train([Arm(TopK(K), D_SAE)], stream, steps=0)[0].sae
    sae.b_enc = torch.zeros(1)  # which broadcasting would take
    with pytest.raises(SanityError, match=r"b_enc has shape \[1\]"):
        check_sae(sae)
