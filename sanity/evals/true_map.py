"""The eval `true_map`: whether latents of a transcoder are the true map of a synthetic circuit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from typing_extensions import override

from sanity.data.circuit import Circuit, CircuitStream
from sanity.engine.cells import Task
from sanity.evals.base import Candidate, Eval, EvalResult, Grades, Setting, graded_row
from sanity.evals.feature_recovery import RECOVERED
from sanity.evals.inputs import active_latents, unit_rows
from sanity.evals.metric import Metric
from sanity.evals.score import Score
from sanity.evals.scrambles import mixed_directions, repaired_latents
from sanity.models import TopK, Transcoder
from sanity.sources import Pace, RunSpec, Source, SyntheticCircuit
from sanity.sources.base import FIRST_HELD_OUT_STEP

_WRITTEN = {"gate": "mixed", "reference": "the true map, each direction mixed with a random one"}
_COMPUTED = {"gate": "re-paired", "reference": "the true map, its outputs exchanged between latents"}


@dataclass(frozen=True)
class TrueMap(Eval):
    """Which output features a latent writes, which of these it reads from the right input, when it fires."""

    grades: Grades | None = Grades(size=2048)
    """`size` are samples for each reading."""
    name: ClassVar[str] = "true_map"
    version: ClassVar[int] = 1
    metrics: ClassVar = {
        "features_written": Metric(
            "share of true output features that a latent writes", "higher", 1.0,
            "0: random directions practically never come near enough", "1: the true map", **_WRITTEN,
        ),
        "maps_recovered": Metric(
            "share of true output features that a latent reads and writes", "higher", 1.0,
            "0: random directions practically never come near enough", "1: the true map", **_COMPUTED,
        ),
        "firing_f1": Metric(
            "F1 of a latent's firing against the output feature that it writes", "higher", 1.0,
            "a latent that is always on", "1: fires with the feature", **_COMPUTED,
        ),
    }  # fmt: skip

    @override
    def why_not(self, source: Source) -> str:
        return "" if isinstance(source, SyntheticCircuit) else "nobody knows its true map"

    @override
    def open(self, setting: Setting) -> tuple[Circuit, Tensor, Tensor]:
        assert isinstance(setting.source, SyntheticCircuit)
        assert setting.opened.circuit is not None
        return _held_out(setting.opened.circuit, setting.source.held_out)

    @override
    def score(self, candidates: Sequence[Candidate], shared: Any, setting: Setting) -> Iterator[EvalResult]:
        for one in candidates:
            yield EvalResult(map_scores(one.sae, *shared))

    @override
    def grade(self, task: Task, setting: Setting) -> pd.DataFrame:
        assert self.grades is not None
        assert setting.opened.circuit is not None
        rows, circuit = [], setting.opened.circuit.circuit
        k = max(1, round(float(circuit.probabilities.sum())))
        for seed in self.grades.seeds:
            stream = CircuitStream(circuit, batch_size=self.grades.size, seed=seed)
            held_out = _held_out(stream, self.grades.size)
            for kind in ("mixed", "re-paired"):
                for level in self.grades.levels:
                    sae = corrupted_map(true_transcoder(circuit, k), kind, level, seed=seed)
                    rows += [graded_row(one, kind, level, seed) for one in map_scores(sae, *held_out)]
        return pd.DataFrame(rows)

    @override
    def seconds(self, step: str, source: Source, run: RunSpec | None, pace: Pace) -> float:
        assert isinstance(source, SyntheticCircuit)
        each = 1e-9 * source.spec.n_out**2 * source.d_in + 2e-8 * source.held_out * source.spec.n_out
        if step == "grade" and self.grades is not None:
            return 1.0 + each * 2 * len(self.grades.levels) * len(self.grades.seeds)
        return 0.2 + each


def _held_out(stream: CircuitStream, n: int) -> tuple[Circuit, Tensor, Tensor]:
    """The circuit, `n` held-out inputs, and which output features are active in them."""
    drawn = [stream.sample(FIRST_HELD_OUT_STEP + i) for i in range(-(-n // stream.batch_size))]
    x, computed = (torch.cat(parts)[:n] for parts in zip(*drawn, strict=True))
    return stream.circuit, x, computed > 0


@torch.no_grad()
def map_scores(
    sae: Transcoder, circuit: Circuit, x: Float[Tensor, "n d_in"], active: Bool[Tensor, "n n_out"]
) -> list[Score]:
    """The scores of one transcoder: by decoder direction, by encoder and decoder direction, and by firing."""
    writes = circuit.out_features.to(sae.W_dec) @ unit_rows("W_dec", sae.W_dec).T  # [n_out, d_sae]
    lengths = torch.linalg.vector_norm(sae.W_enc, dim=0).clamp_min(1e-12)
    reads = circuit.reading.to(sae.W_enc) @ (sae.W_enc / lengths)  # [n_out, d_sae]
    written, nearest = writes.max(1)
    both = torch.minimum(writes, reads).amax(1)
    f1, always = _firing_f1(sae, nearest, x, active)
    values = {
        "features_written": (float((written > RECOVERED).double().mean()), 0.0),
        "maps_recovered": (float((both > RECOVERED).double().mean()), 0.0),
        "firing_f1": (f1, always),
    }
    n = len(circuit.out_features)
    return [
        Score(metric, value, floor, 1.0, True, n=n, unit="feature", version="1")
        for metric, (value, floor) in values.items()
    ]


def _firing_f1(
    sae: Transcoder, nearest: Int[Tensor, " n_out"], x: Tensor, active: Bool[Tensor, "n n_out"]
) -> tuple[float, float]:
    """Mean F1 over output features of "the nearest latent fires"; and that of a latent that always does."""
    fires = (active_latents(sae, x).dense() != 0)[:, nearest]
    both, positive = (fires & active).sum(0).double(), active.sum(0).double()
    seen = positive > 0
    f1 = 2 * both / (fires.sum(0) + positive).clamp_min(1)
    always = 2 * positive / (len(x) + positive)
    return float(f1[seen].mean()), float(always[seen].mean())


def true_transcoder(circuit: Circuit, k: int) -> Transcoder:
    """A transcoder whose latents read and write what the output features do, the k largest of them active."""
    zeros = circuit.out_features.new_zeros
    n_out, d_out = circuit.out_features.shape
    return Transcoder(circuit.reading.T, circuit.out_features, zeros(n_out), zeros(d_out), TopK(k))


def corrupted_map(sae: Transcoder, kind: str, level: float, *, seed: int) -> Transcoder:
    """`mixed`: every direction, read and written, mixed with a random one; `re-paired`: outputs exchanged."""
    if kind == "re-paired":
        exchanged = repaired_latents(sae, level, seed=seed)
        assert isinstance(exchanged, Transcoder)
        return exchanged
    rows = mixed_directions(sae.W_dec, level, seed=seed)
    reads = mixed_directions(sae.W_enc.T.contiguous(), level, seed=seed + 1000)
    return dataclasses.replace(sae, W_dec=rows, W_enc=reads.T)
