"""Transcoders of others: read as their library computes them, and held against a transcoder's nulls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from checked_saes import SIZE, as_saelens
from safetensors.torch import load_file, save_file

from sanity.checking.check import Check
from sanity.checking.loading import load_given
from sanity.checking.report import Report
from sanity.checking.request import OF_TRANSCODERS, Request
from sanity.checking.target import source_of
from sanity.engine.computing import results
from sanity.engine.store import LocalStore
from sanity.errors import BadInputError
from sanity.models import Arm, TopK, Transcoder, train
from sanity.models.objectives import AffineSkip
from sanity.sources import MLP, Pace
from sanity.subject import MLPStream

REFERENCES = Path(__file__).parent / "references"
HOOK = "blocks.1.mlp.hook_in"
D_IN, D_SAE, D_OUT = 6, 20, 6


@pytest.mark.parametrize(
    "kind", ["Transcoder", "SkipTranscoder", "JumpReLUTranscoder", "JumpReLUSkipTranscoder"]
)
def test_saelens_computes_the_same(kind: str, tmp_path: Path) -> None:
    lens = pytest.importorskip("sae_lens.saes.transcoder")
    config = getattr(lens, f"{kind}Config")(d_in=D_IN, d_sae=D_SAE, d_out=D_OUT, apply_b_dec_to_input=False)
    theirs = getattr(lens, kind)(config)
    torch.manual_seed(1)
    with torch.no_grad():
        for value in theirs.parameters():
            value += 0.3 * torch.randn_like(value)
    about = theirs.cfg.metadata
    about.model_name, about.hook_name = "gpt2", "blocks.3.ln2.hook_normalized"
    about.hook_name_out = "blocks.3.hook_mlp_out"
    theirs.save_model(tmp_path / "it")
    given = load_given(tmp_path / "it")
    x = torch.randn(64, D_IN)
    with torch.no_grad():
        z, expected = theirs.encode(x), theirs(x)
    found = given.sae.reconstruct(x)
    assert float((found - expected).norm() / expected.norm()) < 1e-5
    assert torch.equal(given.sae.encode(x) > 0, z > 0)
    assert given.is_transcoder
    assert (given.hook, given.scales) == ("blocks.3.mlp.hook_in", ("before the gain", "raw"))


@pytest.mark.parametrize("skip", [False, True])
def test_sparsify_computes_the_same(skip: bool, tmp_path: Path) -> None:
    """Their forward, written out: nothing is subtracted, and `W_skip.mT` is added."""
    folder = tmp_path / "layers.4.mlp"
    folder.mkdir()
    config = json.loads((REFERENCES / "sparsify_transcoder" / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps({**config, "skip_connection": skip}))
    tensors = load_file(REFERENCES / "sparsify_transcoder" / "sae.safetensors")
    draw = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(value.shape, generator=draw) for name, value in tensors.items()}
    if skip:
        tensors["W_skip"] = torch.randn(D_OUT, D_IN, generator=draw)
    save_file(tensors, folder / "sae.safetensors")
    given = load_given(folder)
    x = torch.randn(32, D_IN, generator=draw)
    pre = torch.relu(x @ tensors["encoder.weight"].T + tensors["encoder.bias"])
    top = pre.topk(config["k"], dim=1)
    expected = (top.values[..., None] * tensors["W_dec"][top.indices]).sum(1) + tensors["b_dec"]
    expected = expected + x @ tensors["W_skip"].T if skip else expected
    found = given.sae.reconstruct(x)
    assert float((found - expected).norm() / expected.norm()) < 1e-5
    assert given.hook == "blocks.4.mlp.hook_in"


@pytest.fixture(scope="module")
def folder(model: Path, text: Path, store: LocalStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A skip transcoder of the tiny model as SAELens keeps one, reading before the norm's gain."""
    source = source_of(str(model), HOOK, (str(text),), **SIZE)
    assert isinstance(source, MLP)
    cells = source.cells("cpu", Pace())
    inputs = dict(zip(cells, results(list(cells.values()), store), strict=True))
    stream = source.open(inputs, batch_size=256, seed=0, device="cpu").stream
    assert isinstance(stream, MLPStream)
    arm = Arm(TopK(4), 64, learning_rate=1e-2, objective=AffineSkip())
    (run,) = train([arm], stream, steps=150)
    assert isinstance(run.sae, Transcoder)
    raw = run.sae.for_raw(stream.centre, stream.factor, stream.target_centre, stream.target_factor)
    gain, _ = source.at.load("cpu").gain
    raw.W_enc = raw.W_enc * gain[:, None]
    assert raw.W_skip is not None
    raw.W_skip = raw.W_skip * gain[:, None]
    where = as_sparsify(raw, tmp_path_factory.mktemp("transcoder") / "layers.1.mlp")
    (where.parent / "config.json").write_text(json.dumps({"model": str(model)}))
    return where


def as_sparsify(sae: Transcoder, folder: Path) -> Path:
    """Keep a TopK transcoder as sparsify does."""
    folder.mkdir(parents=True)
    config = {"activation": "topk", "k": 4, "num_latents": sae.d_sae, "transcode": True, "d_in": sae.d_in}
    (folder / "cfg.json").write_text(json.dumps({**config, "skip_connection": sae.W_skip is not None}))
    tensors = {
        "encoder.weight": sae.W_enc.T,
        "encoder.bias": sae.b_enc,
        "W_dec": sae.W_dec,
        "b_dec": sae.b_dec,
    }
    if sae.W_skip is not None:
        tensors["W_skip"] = sae.W_skip.T
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "sae.safetensors")
    return folder


@pytest.fixture(scope="module")
def report(folder: Path, text: Path, store: LocalStore) -> Report:
    fields: dict[str, Any] = {"evals": ("reconstruction", "loss"), "seeds": 2, "tokens": 2048}
    baselines = ("frozen_decoder", "permuted_decoder", *OF_TRANSCODERS)
    asked = Request(baselines=baselines, text=(str(text),), scale="before the gain", **fields)
    return Check([load_given(folder)], asked, store=store).run()


def test_a_transcoder_is_held_against_what_its_claim_leaves_out(report: Report) -> None:
    scores = report.scores
    ev = scores[scores["metric"] == "explained_variance"].groupby("arm")["value"].mean()
    assert set(ev.index) == {
        "given SAE", "frozen decoder", "permuted decoder", "an affine map without latents",
        "trained on outputs of other tokens", "trained on the MLP with drawn weights",
    }  # fmt: skip
    assert ev["given SAE"] > ev["frozen decoder"]
    assert ev["given SAE"] > ev["an affine map without latents"]
    assert ev["trained on outputs of other tokens"] < 0.05
    assert {"beyond_affine", "kl_recovered"} <= set(scores["metric"])


def test_what_is_no_transcoder_of_one_mlp_is_refused(folder: Path, text: Path, tmp_path: Path) -> None:
    sae = load_given(folder).sae
    assert isinstance(sae, Transcoder)
    for read, wrote, keyword in (
        ("blocks.1.ln2.hook_normalized", "blocks.2.hook_mlp_out", "one MLP"),
        ("blocks.1.hook_resid_pre", "blocks.1.hook_mlp_out", "one MLP"),
        ("blocks.1.hook_mlp_in", "blocks.1.hook_mlp_out", "before the norm"),
    ):
        where = as_saelens(sae, tmp_path / keyword / read, hook_name=read, hook_name_out=wrote)
        config = json.loads((where / "cfg.json").read_text()) | {"architecture": "skip_transcoder"}
        (where / "cfg.json").write_text(json.dumps(config))
        with pytest.raises(BadInputError, match=keyword):
            load_given(where)
    with pytest.raises(BadInputError, match="its MLP, one of"):
        Check([load_given(folder)], Request(text=(str(text),)), hook="blocks.1.hook_resid_post")
