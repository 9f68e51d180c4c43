"""What all implementations are given: batches, and weights that have been trained for a while.

Batches come from a sparse synthetic world (`sanity.data.synthetic`), since random noise would be selected
from differently than activations are. Weights come from a short training of ours, so that latents are as
unequal, and thresholds as well placed, as they are for most of a run; L0 is near k for all architectures.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sanity.data import SyntheticSpec, SyntheticStream, SyntheticWorld
from sanity.models import Arm, BatchTopK, JumpReLU, TopK, train

BATCHES = 5
"""One of them is held out."""


@dataclass(frozen=True)
class Shape:
    """Width, latents, samples per batch, active latents."""

    d: int
    m: int
    batch: int
    k: int


REAL = Shape(d=768, m=6144, batch=4096, k=64)
TOY = Shape(d=100, m=3200, batch=4096, k=20)
TINY = Shape(d=16, m=64, batch=32, k=4)


def spec_of(shape: Shape) -> SyntheticSpec:
    """The paper's world for its width; for others about k features of very unequal frequency per sample."""
    if shape.d == 100:
        return SyntheticSpec(d_in=100, n_features=3200, expected_l0=20.0)
    return SyntheticSpec(d_in=shape.d, n_features=160 * shape.k, probabilities="variable")


def stream_of(shape: Shape) -> SyntheticStream:
    """Its batches are the same wherever they are drawn."""
    return SyntheticStream(SyntheticWorld.from_spec(spec_of(shape)), batch_size=shape.batch, seed=0)


def write_batches(shape: Shape, folder: Path) -> None:
    """`batches.npy` [n, batch, d], the last to be held out: batches that no training has seen."""
    folder.mkdir(parents=True, exist_ok=True)
    stream = stream_of(shape)
    drawn = [stream.batch(1_000_000 + i) for i in range(BATCHES)]
    np.save(folder / "batches.npy", torch.stack(drawn).numpy())


def write_weights(shape: Shape, folder: Path, *, burn_in: int) -> dict[str, float]:
    """`{architecture}.{parameter}.npy` after `burn_in` steps, for all; gives JumpReLU's coefficient."""
    architectures = (TopK(shape.k), BatchTopK(shape.k), JumpReLU(float(shape.k)))
    arms = [Arm(architecture, shape.m) for architecture in architectures]
    runs = train(arms, stream_of(shape), steps=burn_in)
    for run in runs:
        sae, name = run.sae, run.arm.architecture.name
        tensors: dict[str, Tensor] = {"W_enc": sae.W_enc, "W_dec": sae.W_dec, "b_enc": sae.b_enc}
        tensors["b_dec"] = sae.b_dec
        if sae.threshold is not None:
            tensors["threshold"] = sae.threshold
        for parameter, tensor in tensors.items():
            np.save(folder / f"{name}.{parameter}.npy", np.ascontiguousarray(tensor.numpy()))
    return {"coefficient": float(runs[-1].curve["coefficient"].iloc[-1])}


def task(
    shape: Shape, folder: Path, architecture: str, precision: str, *, threads: int, **fields: Any
) -> dict[str, Any]:
    """The fields of a worker's `Task`."""
    common = {"folder": str(folder), "architecture": architecture, "precision": precision, "threads": threads}
    return {**asdict(shape), **common, **fields}
