"""Wrong types are refused where they are given, in words, by every public function and configuration."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sanity
from sanity.data import SyntheticSpec
from sanity.data.synthetic import SyntheticStream
from sanity.errors import BadInputError
from sanity.evals import explained_variance
from sanity.evals.reconstruction import reconstruction_scores
from sanity.models import Arm, Autoencoder, JumpReLU, TopK, Training, load_sae, train
from sanity.sources import Budget, World

SPEC = SyntheticSpec(d_in=8, n_features=20, expected_l0=2.0)
WORLD = sanity.SyntheticWorld.from_spec(SPEC)
STREAM = SyntheticStream(WORLD, batch_size=16, seed=0)
ARM = Arm(TopK(2), 12)


@pytest.fixture(scope="module")
def sae() -> Autoencoder:
    return train([ARM], STREAM, steps=0)[0].sae


CONFIGURATIONS: dict[str, Callable[[], Any]] = {
    "k, text": lambda: TopK("3"),  # type: ignore[arg-type]
    "k, a fraction": lambda: TopK(2.5),  # type: ignore[arg-type]
    "k, a truth": lambda: TopK(True),
    "k, of numpy": lambda: TopK(np.int64(3)),  # type: ignore[arg-type]
    "target_l0": lambda: JumpReLU(math.nan),
    "gradient_clip": lambda: Training(gradient_clip=math.nan),
    "auxiliary": lambda: Training(auxiliary=math.inf),
    "epsilon": lambda: Training(epsilon=math.nan),
    "learning_rate": lambda: Arm(TopK(2), 12, learning_rate=math.nan),
    "learning_rate, text": lambda: Arm(TopK(2), 12, learning_rate="3e-4"),  # type: ignore[arg-type]
    "d_sae": lambda: Arm(TopK(2), 12.5),  # type: ignore[arg-type]
    "architecture": lambda: Arm("topk", 12),  # type: ignore[arg-type]
    "seed": lambda: Arm(TopK(2), 12, seed=2**70),
    "seed of a world": lambda: SyntheticSpec(seed=2**65),
    "d_in": lambda: SyntheticSpec(d_in="100"),  # type: ignore[arg-type]
    "expected_l0": lambda: SyntheticSpec(expected_l0=math.nan),
    "steps": lambda: Budget(2.5, 3),  # type: ignore[arg-type]
    "batch_size": lambda: SyntheticStream(WORLD, batch_size=2.5, seed=0),  # type: ignore[arg-type]
    "spec": lambda: sanity.SyntheticWorld.from_spec({"d_in": 3}),  # type: ignore[arg-type]
    "device": lambda: sanity.SyntheticWorld.from_spec(SPEC, device="tpu:7"),
}


@pytest.mark.parametrize("what", CONFIGURATIONS)
def test_configurations_name_what_is_wrong(what: str) -> None:
    with pytest.raises(BadInputError, match=what.partition(",")[0].partition(" ")[0]):
        CONFIGURATIONS[what]()


CALLS: dict[str, Callable[[Any], Any]] = {
    "x=a numpy ndarray": lambda sae: sae.encode(np.zeros((2, 8))),
    "torch.int64": lambda sae: sae.encode(torch.zeros(2, 8, dtype=torch.long)),
    "device 'tpu:7'": lambda sae: sae.to(device="tpu:7"),
    "device 'meta'": lambda sae: sae.to(device="meta"),
    "torch.int8": lambda sae: sae.to(dtype=torch.int8),
    "target='3'": lambda sae: sae.calibrate_l0(torch.zeros(2, 8), "3"),
    "centre of 5 numbers": lambda sae: sae.fold_normalisation(torch.zeros(5), 1.0),
    "factor 0": lambda sae: sae.fold_normalisation(torch.zeros(8), 0.0),
    "batches=": lambda sae: reconstruction_scores(sae, [np.zeros((3, 8))]),  # type: ignore[list-item]
    "wanted is SparseAutoencoder": lambda sae: reconstruction_scores(None, []),  # type: ignore[arg-type]
    r"float64 \[2, 3\]": lambda sae: explained_variance(np.zeros((2, 3)), np.zeros((2, 3))),  # type: ignore[arg-type]
    r"float32 \[3\]": lambda sae: explained_variance(torch.zeros(3), torch.zeros(3)),
    "steps='10'": lambda sae: train([ARM], STREAM, steps="10"),  # type: ignore[arg-type]
    "a list of Arm": lambda sae: train(ARM, STREAM, steps=1),  # type: ignore[arg-type]
    "wanted is Stream": lambda sae: train([ARM], "stream", steps=1),  # type: ignore[arg-type]
    "precision=16": lambda sae: train([ARM], STREAM, steps=1, precision=16),  # type: ignore[arg-type]
    "checkpoint_every_s=nan": lambda sae: train([ARM], STREAM, steps=1, checkpoint_every_s=math.nan),
    "source='world'": lambda sae: sanity.evaluate(sae, "world"),  # type: ignore[arg-type]
    "evals='loss'": lambda sae: sanity.evaluate(sae, World(SPEC), "loss"),
    "device 'cuda:99'": lambda sae: sanity.evaluate(sae, World(SPEC), device="cuda:99"),
    "folder=3": lambda sae: load_sae(3),  # type: ignore[arg-type]
    "name_or_folder=3": lambda sae: sanity.load_subject(3),  # type: ignore[arg-type]
    "device 'tpu:8'": lambda sae: sanity.load_subject("nothing", device="tpu:8"),
    "dtype='float32'": lambda sae: sanity.load_subject("nothing", dtype="float32"),  # type: ignore[arg-type]
    "cannot be of torch.int64": lambda sae: sanity.load_subject("nothing", dtype=torch.int64),
    "seed=": lambda sae: sanity.load_subject("nothing", seed=2**65),
}


@pytest.mark.parametrize("words", CALLS)
def test_functions_name_what_is_wrong(words: str, sae: Autoencoder) -> None:
    with pytest.raises(BadInputError, match=words):
        CALLS[words](sae)


def test_what_is_right_passes(sae: Autoencoder, tmp_path: Path) -> None:
    assert JumpReLU(3).l0 == 3.0  # a whole number is a number
    sanity.models.save_sae(sae, str(tmp_path / "sae"))
    assert torch.equal(load_sae(str(tmp_path / "sae")).W_dec, sae.W_dec)
    (run,) = train([ARM], STREAM, steps=1, folder=str(tmp_path / "runs"))
    assert run.folder is not None


def test_a_class_of_ones_own_is_looked_at_too() -> None:
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class OneTopK(TopK):
        version = 1
        margin: float = 0.0

        def __post_init__(self) -> None:
            assert self.margin >= 0

    with pytest.raises(BadInputError, match="margin='wide'"):
        OneTopK(3, margin="wide")  # type: ignore[arg-type]
