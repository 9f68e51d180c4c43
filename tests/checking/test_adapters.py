"""Each adapter computes what the library that wrote the SAE computes, on the same input."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sanity.checking.given import GivenSAE
from sanity.checking.loading import load_given
from sanity.checking.saelens import read_object
from sanity.errors import AssetError, BadInputError, SanityError
from sanity.models import Autoencoder, BatchTopK, JumpReLU, Matryoshka, ReLU, TopK, save_sae

REFERENCES = Path(__file__).parent / "references"
D_IN, D_SAE = 6, 20

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import sae_lens.saes as lens


def agrees(given: GivenSAE, x: torch.Tensor, z: torch.Tensor, x_hat: torch.Tensor) -> None:
    """Reconstructions to 1e-5 of their size, and the same latents active."""
    ours = given.sae.reconstruct(x)
    assert float((ours - x_hat).norm() / x_hat.norm()) < 1e-5
    assert torch.equal(given.sae.encode(x) > 0, z > 0)
    assert torch.allclose(given.sae.decode(given.sae.encode(x)), x_hat, atol=1e-4)


DICTIONARIES = {
    "AutoEncoder": ReLU, "AutoEncoderNew": ReLU, "GatedAutoEncoder": JumpReLU,
    "JumpReluAutoEncoder": JumpReLU, "AutoEncoderTopK": TopK,
    "BatchTopKSAE": BatchTopK, "MatryoshkaBatchTopKSAE": Matryoshka,
}  # fmt: skip


@pytest.mark.parametrize(("kind", "recipe"), DICTIONARIES.items())
def test_dictionary_learning_gives_the_same(kind: str, recipe: type[Any]) -> None:
    folder = REFERENCES / f"dictionary_learning_{kind}"
    given = load_given(folder)
    agrees(given, **load_file(folder / "expected.safetensors"))
    assert type(given.recipe) is recipe
    assert (given.library, given.hook) == ("dictionary_learning", "blocks.8.hook_resid_post")
    assert given.model == "EleutherAI/pythia-70m"


def test_a_matryoshka_keeps_its_shares() -> None:
    recipe = load_given(REFERENCES / "dictionary_learning_MatryoshkaBatchTopKSAE").recipe_at(3.2)
    assert recipe == Matryoshka(3, fractions=(0.4, 0.6))


@pytest.mark.parametrize("hook", ["layers.1", "layers.10"])
def test_sparsify_gives_the_same(hook: str) -> None:
    folder = REFERENCES / "sparsify" / hook
    given = load_given(folder)
    agrees(given, **load_file(folder / "expected.safetensors"))
    assert given.hook == f"blocks.{hook[7:]}.hook_resid_post"
    assert given.model == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert any("decoder rows" in note for note in given.notes)


def lens_sae(kind: str, **more: Any) -> Any:
    """An SAE of SAELens with no weight at its default."""
    config = getattr(lens, f"{kind}SAEConfig")(d_in=D_IN, d_sae=D_SAE, **more)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sae = getattr(lens, f"{kind}SAE")(config)
    torch.manual_seed(1)
    with torch.no_grad():
        for value in sae.parameters():
            value += 0.3 * torch.randn_like(value)
    return sae


CASES: list[tuple[str, dict[str, Any], type[Any]]] = [
    ("Standard", {}, ReLU),
    ("Standard", {"apply_b_dec_to_input": False}, ReLU),
    ("Standard", {"normalize_activations": "expected_average_only_in"}, ReLU),
    ("Gated", {}, JumpReLU),
    ("Gated", {"apply_b_dec_to_input": False}, JumpReLU),
    ("JumpReLU", {}, JumpReLU),
    ("TopK", {"k": 3}, TopK),
    ("TopK", {"k": 3, "rescale_acts_by_decoder_norm": True}, TopK),
]


@pytest.mark.parametrize(("kind", "more", "recipe"), CASES)
def test_saelens_gives_the_same(kind: str, more: dict[str, Any], recipe: type[Any], tmp_path: Path) -> None:
    sae = lens_sae(kind, **more)
    sae.cfg.metadata.model_name, sae.cfg.metadata.hook_name = "gpt2", "blocks.3.hook_resid_pre"
    sae.save_model(tmp_path / "sae")
    x = torch.randn(64, D_IN)
    with torch.no_grad():
        z, x_hat = sae.encode(x), sae(x)
    for given in (load_given(tmp_path / "sae"), read_object(sae)):
        agrees(given, x, z, x_hat)
        assert type(given.recipe) is recipe
        assert (given.model, given.hook) == ("gpt2", "blocks.3.hook_resid_pre")
    if "apply_b_dec_to_input" in more:
        assert any("not subtracted" in note for note in given.notes)
    if "normalize_activations" in more:
        assert given.scales == ("raw", "expected norm")


@pytest.mark.parametrize("rescaled", [True, False])
@pytest.mark.parametrize("kind", ["BatchTopK", "MatryoshkaBatchTopK"])
def test_saelens_training_sae_is_read_as_at_inference(kind: str, rescaled: bool, tmp_path: Path) -> None:
    """From what its own code saves for inference, and from a checkpoint of its training."""
    widths = {"matryoshka_widths": [8, D_SAE]} if kind == "MatryoshkaBatchTopK" else {}
    sae = lens_sae(f"{kind}Training", k=3, rescale_acts_by_decoder_norm=rescaled, **widths)
    sae.topk_threshold = torch.tensor(0.6, dtype=torch.double)
    sae.save_inference_model(tmp_path / "inference")
    sae.save_model(tmp_path / "training")
    x = torch.randn(64, D_IN)
    theirs = lens.SAE.load_from_disk(tmp_path / "inference")
    with torch.no_grad():
        z, x_hat = theirs.encode(x), theirs(x)
    for name in ("inference", "training"):
        given = load_given(tmp_path / name)
        agrees(given, x, z, x_hat)
        assert type(given.recipe) is (Matryoshka if widths else BatchTopK)
    assert any("training checkpoint" in note for note in given.notes)
    if widths:
        assert given.recipe_at(2).fractions == (0.4, 0.6)  # type: ignore[attr-defined]


def test_a_configuration_of_before_version_6_is_read(tmp_path: Path) -> None:
    sae = lens_sae("TopK", k=3)
    sae.save_model(tmp_path)
    old = {
        "architecture": "standard", "d_in": D_IN, "d_sae": D_SAE, "dtype": "torch.float32",
        "model_name": "gpt2", "hook_point": "blocks.3.hook_resid_pre", "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 3},
    }  # fmt: skip
    (tmp_path / "cfg.json").write_text(json.dumps(old))
    given = load_given(tmp_path)
    x = torch.randn(64, D_IN)
    with torch.no_grad():
        agrees(given, x, sae.encode(x), sae(x))
    assert given.hook == "blocks.3.hook_resid_pre"


def test_transposed_weights_and_other_types_are_stated(tmp_path: Path) -> None:
    sae = lens_sae("Standard")
    sae.save_model(tmp_path)
    tensors = {name: value.half() for name, value in load_file(tmp_path / "sae_weights.safetensors").items()}
    tensors["W_enc"] = tensors["W_enc"].T.contiguous()
    save_file(tensors, tmp_path / "sae_weights.safetensors")
    given = load_given(tmp_path)
    x = torch.randn(64, D_IN)
    with torch.no_grad():
        assert torch.allclose(given.sae.reconstruct(x), sae(x), atol=0.02)
    assert [word in " ".join(given.notes) for word in ("transposed", "float16")] == [True, True]


def test_ours_is_read_back_and_its_scale_left_open(tmp_path: Path) -> None:
    given = load_given(REFERENCES / "dictionary_learning_AutoEncoderTopK")
    again = load_given(save_sae(given.sae, tmp_path / "ours"))
    assert again.weights == given.weights
    assert again.scales == ("centred", "raw")


def test_a_zip_is_unpacked_and_one_that_leaves_its_folder_is_not(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        for file in (REFERENCES / "sparsify" / "layers.1").iterdir():
            archive.write(file, f"layers.1/{file.name}")
    assert load_given(tmp_path / "mine.zip").hook == "blocks.1.hook_resid_post"
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("../outside/cfg.json", "{}")
    with pytest.raises(BadInputError, match="leaves its folder"):
        load_given(tmp_path / "bad.zip")
    assert not (tmp_path / "outside").exists()


def test_hub_and_release_names_reach_the_same_code(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    with pytest.raises(AssetError, match="owner/name"):
        load_given("owner/name")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(REFERENCES / "sparsify"))
    assert load_given("owner/name:layers.10").hook == "blocks.10.hook_resid_post"
    with pytest.raises(BadInputError, match="holds 2 SAEs"):
        load_given("owner/name")
    with pytest.raises(BadInputError, match="no folder"):
        load_given("owner/name:../../etc")
    sae = lens_sae("Standard")
    monkeypatch.setattr(lens.SAE, "from_pretrained", lambda *_, **__: sae)
    monkeypatch.setattr("sae_lens.SAE.from_pretrained", lambda *_, **__: sae)
    assert load_given("some-release:blocks.3").library == "SAELens"


class Runs:
    """Unpickling it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def broken(kind: str, folder: Path) -> None:
    """A folder with what is wrong."""
    sae = lens_sae("Standard")
    sae.save_model(folder)
    config = json.loads((folder / "cfg.json").read_text())
    tensors = load_file(folder / "sae_weights.safetensors")
    changes: dict[str, dict[str, Any]] = {
        "unknown": {"architecture": "matching_pursuit"},
        "transcoder": {"architecture": "skip_transcoder", "metadata": {"hook_name": "a"}},
        "other output": {"metadata": {"hook_name": "a", "hook_name_out": "b"}},
        "per-sample norm": {"normalize_activations": "layer_norm"},
        "activation": {"activation_fn": "tanh-relu", "architecture": "standard"},
        "no k": {"architecture": "topk", "k": None},
    }
    (folder / "cfg.json").write_text(json.dumps(config | changes.get(kind, {})))
    if kind == "NaN":
        tensors["W_enc"][0, 0] = float("nan")
    if kind == "shapes":
        tensors["b_enc"] = tensors["b_enc"][:5].clone()
    if kind == "tensor missing":
        del tensors["b_dec"]
    save_file(tensors, folder / "sae_weights.safetensors")
    if kind == "cut short":
        (folder / "sae_weights.safetensors").write_bytes(b"\x08")
    if kind == "no JSON":
        (folder / "cfg.json").write_text("__import__('os').system('true')")
    if kind == "no weights":
        (folder / "sae_weights.safetensors").unlink()
    if kind == "no config":
        (folder / "cfg.json").unlink()
    if kind == "empty":
        for file in folder.iterdir():
            file.unlink()


@pytest.mark.parametrize(
    ("kind", "keyword"),
    [
        ("unknown", "supported are standard, gated"), ("transcoder", "transcoder"),
        ("other output", "transcoder"), ("per-sample norm", "layer_norm"), ("activation", "tanh-relu"),
        ("no k", "k = None"), ("NaN", "NaN"), ("shapes", "b_enc"), ("tensor missing", "b_dec"),
        ("cut short", "not readable"), ("no JSON", "JSON"), ("no weights", "no weights"),
        ("no config", "no cfg.json"), ("empty", "holds no SAE"),
    ],
)  # fmt: skip
def test_bad_folders_are_one_clear_error(kind: str, keyword: str, tmp_path: Path) -> None:
    broken(kind, tmp_path / "sae")
    with pytest.raises(SanityError, match=keyword):
        load_given(tmp_path / "sae")


@pytest.mark.parametrize("named", ["CrossCoder", "BatchTopKCrossCoder", None])
def test_a_crosscoder_is_refused_with_the_way_out(named: str | None, tmp_path: Path) -> None:
    """As the fork of dictionary_learning for crosscoders saves it, with and without the name of its class."""
    config = {"trainer": {"dict_class": named, "layer": 3, "lm_name": "gpt2"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    state = {
        "encoder.weight": torch.randn(2, 6, 20), "encoder.bias": torch.zeros(20),
        "decoder.weight": torch.randn(2, 20, 6), "decoder.bias": torch.zeros(2, 6),
    }  # fmt: skip
    torch.save(state, tmp_path / "ae.pt")
    with pytest.raises(BadInputError, match=r"is a crosscoder .* sanity\.evaluate"):
        load_given(tmp_path)


def test_several_saes_are_named() -> None:
    with pytest.raises(BadInputError, match=r"holds 2 SAEs \(layers.1, layers.10\)"):
        load_given(REFERENCES / "sparsify")


def test_what_would_run_code_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"trainer": {"dict_class": "AutoEncoder"}}))
    torch.save({"bias": Runs(tmp_path / "ran")}, tmp_path / "ae.pt")
    with pytest.raises(BadInputError, match="safetensors"):
        load_given(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_name_that_is_nothing_is_refused() -> None:
    with pytest.raises(BadInputError, match="no folder"):
        load_given("nothing-here")
    assert isinstance(load_given(REFERENCES / "dictionary_learning_AutoEncoder").sae, Autoencoder)
