"""The finished SAE: sparse and dense ways agree, L0 is calibrated, and the contract says what is missing."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from plain_twin import finished_twin_of

from sanity.errors import BadInputError
from sanity.models import (
    Architecture,
    Arm,
    Autoencoder,
    BatchTopK,
    JumpReLU,
    ReLU,
    TopK,
    check_sae,
    train,
)


@pytest.fixture
def sae(architecture: Architecture, stream: Any) -> Autoencoder:
    """Trained a little, so that no bias is zero."""
    return train([Arm(architecture, 24, learning_rate=1e-2)], stream, steps=20)[0].sae


def test_sparse_and_dense_ways_agree(sae: Autoencoder, stream: Any) -> None:
    x = stream.batch(99)
    plain = finished_twin_of(sae)
    z = plain.encode(x).detach()
    assert 0.5 < float((z > 0).sum()) / len(x) < 8
    assert torch.allclose(sae.encode(x), z, atol=1e-5)
    assert torch.allclose(sae.encode_sparse(x).dense(), z, atol=1e-5)
    assert torch.allclose(sae.encode_sparse(x, precision="bf16").dense(), z, atol=1e-5)
    rebuilt = plain.decode(z).detach()
    assert torch.allclose(sae.decode(z), rebuilt, atol=1e-5)
    assert torch.allclose(sae.reconstruct(x), rebuilt, atol=1e-5)
    assert float((rebuilt - x).square().sum() / x.square().sum()) < 0.6


def test_any_batch_shape_is_taken(sae: Autoencoder, stream: Any) -> None:
    x = stream.batch(99)
    shaped = x.view(4, 8, 8)
    assert torch.equal(sae.encode(shaped), sae.encode(x).view(4, 8, 24))
    assert torch.equal(sae.reconstruct(shaped), sae.reconstruct(x).view(4, 8, 8))
    assert torch.allclose(sae.encode(x[0]), sae.encode(x)[0], atol=1e-6)
    with pytest.raises(BadInputError, match="width 8 was given activations of width 9"):
        sae.reconstruct(torch.zeros(2, 9))


def test_gradients_flow_through_active_latents(sae: Autoencoder, stream: Any) -> None:
    x = stream.batch(99)
    asked, expected = x.clone().requires_grad_(), x.clone().requires_grad_()
    sae.decode(sae.encode(asked)).square().sum().backward()
    plain = finished_twin_of(sae)
    plain.decode(plain.encode(expected)).square().sum().backward()
    assert asked.grad is not None
    assert expected.grad is not None
    assert torch.allclose(asked.grad, expected.grad, atol=1e-4)
    again = x.clone().requires_grad_()
    sae.reconstruct(again).square().sum().backward()
    assert again.grad is not None
    assert torch.equal(again.grad, asked.grad)


def test_no_samples_give_no_latents(sae: Autoencoder) -> None:
    assert sae.encode(torch.zeros(0, 8)).shape == (0, 24)
    assert sae.reconstruct(torch.zeros(0, 8)).shape == (0, 8)
    assert sae.encode_sparse(torch.zeros(0, 8)).n_rows == 0


def test_an_averaged_threshold_gives_the_l0_of_training(stream: Any) -> None:
    wide = dataclasses.replace(stream, batch_size=512)
    run = train([Arm(BatchTopK(3), 24, learning_rate=1e-3)], wide, steps=150)[0]
    x = torch.cat([wide.batch(150 + step) for step in range(20)])
    assert run.sae.encode_sparse(x).latents.numel() / len(x) == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize("target", [1.0, 2.5, 3.7])
def test_l0_is_calibrated_on_held_out_data(sae: Autoencoder, stream: Any, target: float) -> None:
    x = torch.cat([stream.batch(300 + step) for step in range(20)])
    if isinstance(sae.architecture, TopK) and target != round(target):
        with pytest.raises(BadInputError, match="asked for"):
            sae.calibrate_l0(x, target)
        return
    calibrated = sae.calibrate_l0(x, target)
    assert float((calibrated.encode(x) > 0).sum()) / len(x) == pytest.approx(target, rel=0.02)
    if not isinstance(sae.architecture, TopK):
        before = torch.zeros(24) if sae.threshold is None else sae.threshold
        assert calibrated.threshold is not None
        offsets = calibrated.threshold - before
        assert float(offsets.max() - offsets.min()) < 1e-6


def test_an_l0_out_of_reach_is_refused(stream: Any) -> None:
    sae = train([Arm(ReLU(3.0), 24)], stream, steps=0)[0].sae
    with pytest.raises(BadInputError, match="an L0 of 25 with 24 latents"):
        sae.calibrate_l0(stream.batch(0), 25)
    with pytest.raises(BadInputError, match="reaches an L0 of"):
        sae.calibrate_l0(stream.batch(0), 23)


def test_a_threshold_offset_is_global(stream: Any) -> None:
    jumprelu = train([Arm(JumpReLU(3.0), 24)], stream, steps=5)[0].sae
    x = stream.batch(7)
    raised = jumprelu.with_threshold_offset(0.1)
    assert jumprelu.threshold is not None
    moved = dataclasses.replace(jumprelu, threshold=jumprelu.threshold + 0.1)
    expected = finished_twin_of(moved).encode(x)
    assert torch.allclose(raised.encode(x), expected, atol=1e-6)
    assert (raised.encode(x) > 0).sum() < (jumprelu.encode(x) > 0).sum()
    topk = train([Arm(TopK(3), 24)], stream, steps=0)[0].sae
    with pytest.raises(BadInputError, match="no threshold to move"):
        topk.with_threshold_offset(0.1)


def test_normalisation_folds_into_the_weights(sae: Autoencoder, stream: Any) -> None:
    centre = torch.linspace(-3, 5, 8)
    factor = 0.07
    x = stream.batch(99)
    raw = x / factor + centre
    folded = sae.fold_normalisation(centre, factor)
    assert torch.allclose(folded.encode(raw), sae.encode(x) / factor, atol=1e-3)
    assert torch.allclose(folded.reconstruct(raw), sae.reconstruct(x) / factor + centre, atol=1e-3)
    assert torch.equal(folded.W_dec, sae.W_dec)


def test_an_sae_can_be_moved_to_another_type(sae: Autoencoder, stream: Any) -> None:
    double = sae.to(dtype=torch.float64)
    x = stream.batch(3)
    assert double.encode(x.double()).dtype == torch.float64
    assert torch.allclose(double.reconstruct(x.double()).float(), sae.reconstruct(x), atol=1e-5)


def test_a_threshold_is_asked_for_where_one_is_needed() -> None:
    with pytest.raises(BadInputError, match="needs a threshold"):
        Autoencoder(
            W_enc=torch.zeros(2, 3),
            W_dec=torch.zeros(3, 2),
            b_enc=torch.zeros(3),
            b_dec=torch.zeros(2),
            architecture=BatchTopK(1),
        )


def test_ours_pass_the_contract(sae: Autoencoder) -> None:
    check_sae(sae)


def test_the_contract_says_what_is_missing() -> None:
    W_dec = torch.randn(6, 4)
    good = SimpleNamespace(encode=lambda x: (x @ W_dec.T).relu(), decode=lambda z: z @ W_dec, W_dec=W_dec)
    check_sae(good)
    for message, changes in {
        "no encode, no W_dec": {"encode": None, "W_dec": None},
        r"encode\(x \[5, 4\]\) must give a tensor of shape \[5, 6\], not a tensor \[5, 4\]": {
            "encode": lambda x: x
        },
        r"decode\(z \[5, 6\]\) must give a tensor of shape \[5, 4\], not list": {"decode": lambda z: [1]},
        "encode.*NaN": {"encode": lambda x: (x @ W_dec.T) * float("nan")},
        r"W_dec must be a floating-point tensor \[d_sae, d_in\], not a tensor \[6\]": {
            "W_dec": torch.ones(6)
        },
        "W_dec holds NaN": {"W_dec": torch.full((6, 4), float("nan"))},
    }.items():
        fields = {**vars(good), **changes}
        with pytest.raises(BadInputError, match=message):
            check_sae(SimpleNamespace(**{name: value for name, value in fields.items() if value is not None}))
