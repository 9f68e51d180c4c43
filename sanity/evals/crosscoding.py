"""The eval `crosscoding`: how a crosscoder's latents are divided between layers, and whether these agree.

By decoder norms a latent is *exclusive* where one layer has nearly all of their sum, and *balanced* where
all have about the same (relative norms as in Lindsey et al. 2024). Norms say what a latent writes, not
that one cause is behind it: a random dictionary is balanced. So a latent is also read from each layer by
itself. The layers *agree* about it where its activations from one and from another go together, token by
token; for layers of unrelated tokens this is 0 whatever the dictionary.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from sanity.data import LayeredSpec, world_of
from sanity.engine.arguments import checked
from sanity.engine.cells import Task
from sanity.errors import BadInputError
from sanity.evals.base import Candidate, Eval, EvalResult, Grades, Setting, graded_row
from sanity.evals.corrupted_truth import corrupted_truth
from sanity.evals.drawing import drawn_rows
from sanity.evals.feature_recovery import nearest_latents
from sanity.evals.inputs import CHUNK_ELEMENTS, SparseAutoencoder
from sanity.evals.metric import Metric
from sanity.evals.reconstruction import ExplainedVariance, explained_variance
from sanity.evals.score import Score
from sanity.sources import Pace, RunSpec, Source, World

EXCLUSIVE = 0.9
"""Share of the summed norms that one layer must have for a latent to be exclusive."""
BALANCED = 0.8
"""Of an equal share of the summed norms: what every layer must have for a latent to be balanced."""

Blocks = Sequence[int]
"""Widths of the layers, one behind the other."""


@checked
def relative_norms(W_dec: Float[Tensor, "d_sae d_in"], blocks: Blocks) -> Float[Tensor, "d_sae layers"]:
    """Each layer's share of the sum of a latent's decoder norms.

    >>> relative_norms(torch.tensor([[3.0, 0.0, 0.0, 1.0]]), (2, 2)).tolist()
    [[0.75, 0.25]]
    """
    _check_blocks(W_dec.shape[1], blocks)
    norms = torch.stack(
        [part.norm(dim=1) for part in torch.split(W_dec.detach().double(), list(blocks), 1)], 1
    )
    shares: Tensor = norms / norms.sum(1, keepdim=True).clamp_min(1e-300)
    return shares


def from_layer(
    sae: SparseAutoencoder, x: Float[Tensor, "n d_in"], blocks: Blocks, layer: int
) -> Float[Tensor, "n d_sae"]:
    """Latents as one layer by itself gives them: it stands in for the others, whose inputs say nothing."""
    b_dec = getattr(sae, "b_dec", x.new_zeros(x.shape[1]))
    centred = torch.split(x - b_dec, list(blocks), 1)
    alone = [len(blocks) * part if i == layer else torch.zeros_like(part) for i, part in enumerate(centred)]
    z: Tensor = sae.encode(torch.cat(alone, 1) + b_dec)
    return z.double()


@torch.no_grad()
def layer_agreement(
    sae: SparseAutoencoder, batches: Iterable[Float[Tensor, "_ d_in"]], blocks: Blocks
) -> Float[Tensor, " d_sae"]:
    """For each latent, how its activations from one layer alone go with those from another alone.

    Correlation over samples, averaged over pairs of layers; 0 for a latent that some layer never activates.
    """
    m, layers = len(sae.W_dec), range(len(blocks))
    pairs = list(itertools.combinations(layers, 2))
    first, second = (torch.zeros(len(blocks), m, dtype=torch.float64) for _ in range(2))
    joint, n = torch.zeros(len(pairs), m, dtype=torch.float64), 0
    for x in batches:
        for part in torch.split(x.to(sae.W_dec), max(1, CHUNK_ELEMENTS // m)):
            z = [from_layer(sae, part, blocks, layer) for layer in layers]
            first += torch.stack([one.sum(0).cpu() for one in z])
            second += torch.stack([one.square().sum(0).cpu() for one in z])
            joint += torch.stack([(z[i] * z[j]).sum(0).cpu() for i, j in pairs])
            n += len(part)
    mean = first / n
    spread = (second / n - mean.square()).clamp_min(0).sqrt()
    found = []
    for pair, (i, j) in enumerate(pairs):
        scale = spread[i] * spread[j]
        found.append(
            torch.where(scale > 0, (joint[pair] / n - mean[i] * mean[j]) / scale.clamp_min(1e-300), 0.0)
        )
    return torch.stack(found).mean(0).clamp(-1.0, 1.0)


@checked
def layer_cosines(W_dec: Float[Tensor, "d_sae d_in"], blocks: Blocks) -> Float[Tensor, " d_sae"]:
    """Mean cosine of a latent's decoder directions in two layers, which must be of one width."""
    _check_blocks(W_dec.shape[1], blocks)
    if len(set(blocks)) > 1:
        raise BadInputError(f"directions in layers of widths {list(blocks)} cannot be compared by cosine")
    unit = [
        functional.normalize(part, dim=1) for part in torch.split(W_dec.detach().double(), list(blocks), 1)
    ]
    return torch.stack([(a * b).sum(1) for a, b in itertools.combinations(unit, 2)]).mean(0)


@torch.no_grad()
def explained_by_layer(
    sae: SparseAutoencoder, batches: Iterable[Float[Tensor, "_ d_in"]], blocks: Blocks
) -> tuple[list[float], list[float], Float[Tensor, " d_sae"], int]:
    """Explained variance by layer; with its decoders handed to other latents; firing rates; samples."""
    whole, permuted = ([ExplainedVariance() for _ in blocks] for _ in range(2))
    m, n = len(sae.W_dec), 0
    order = torch.arange(m).roll(m // 2)  # a permutation in which nobody keeps their own
    fired = torch.zeros(m, dtype=torch.float64)
    for x in batches:
        for part in torch.split(x.to(sae.W_dec), max(1, CHUNK_ELEMENTS // m)):
            z = sae.encode(part)
            fired += (z != 0).sum(0).cpu()
            n += len(part)
            for totals, codes in ((whole, z), (permuted, z[:, order])):
                decoded = torch.split(sae.decode(codes), list(blocks), 1)
                for total, target, x_hat in zip(
                    totals, torch.split(part, list(blocks), 1), decoded, strict=True
                ):
                    total.update(target, x_hat)
    values = [[float(total.score().value) for total in totals] for totals in (whole, permuted)]
    return values[0], values[1], fired / n, n


@checked
def crosscoding_scores(
    sae: SparseAutoencoder, batches: Callable[[], Iterable[Tensor]], blocks: Blocks
) -> tuple[list[Score], dict[str, pd.DataFrame]]:
    """The scores of a crosscoder over what `batches()` gives, and tables: a row per layer, and per latent."""
    explained, permuted, fired, n = explained_by_layer(sae, batches(), blocks)
    shares, agreement = relative_norms(sae.W_dec, blocks).cpu(), layer_agreement(sae, batches(), blocks)
    alive = fired > 0
    count = int(alive.sum())
    if not count:
        raise BadInputError("no latent is active on these samples, so none can be shared between layers")
    exclusive = shares[alive].amax(1) >= EXCLUSIVE
    balanced = shares[alive].amin(1) >= BALANCED / len(blocks)
    of: dict[str, Any] = {
        "floor": 0.0,
        "ceiling": 1.0,
        "higher_is_better": True,
        "unit": "latent",
        "n": count,
        "version": "1",
    }
    scores = [
        Score("least_layer_ev", min(explained), 0.0, 1.0, True, n=n, unit="sample", version="1"),
        Score("exclusive_latents", float(exclusive.double().mean()), **of),
        Score("balanced_latents", float(balanced.double().mean()), **of),
        Score("layer_agreement", float(agreement[alive].mean()), **of),
    ]
    latents = pd.DataFrame({"latent": range(len(fired)), "frequency": fired, "agreement": agreement})
    for layer in range(len(blocks)):
        latents[f"share_{layer}"] = shares[:, layer].numpy()
    if len(set(blocks)) == 1:
        cosines = layer_cosines(sae.W_dec, blocks).cpu()
        latents["layer_cosine"] = cosines.numpy()
        rows = list(torch.split(sae.W_dec[alive.to(sae.W_dec.device)], list(blocks), 1))
        exchanged = torch.cat([rows[0], *(part.roll(i + 1, 0) for i, part in enumerate(rows[1:]))], 1)
        null = float(layer_cosines(exchanged, blocks).mean())
        scores.append(Score("layer_cosine", float(cosines[alive].mean()), **{**of, "floor": null}))
    by_layer = {"layer": range(len(blocks)), "explained_variance": explained, "permuted": permuted}
    return scores, {"layers": pd.DataFrame(by_layer), "latents": latents}


def _check_blocks(d_in: int, blocks: Blocks) -> None:
    if len(blocks) < 2 or sum(blocks) != d_in:
        raise BadInputError(
            f"a decoder {d_in} wide was given layers of widths {list(blocks)}: name several that sum to it"
        )


_TRUTH = {"gate": "replaced", "reference": "the true dictionary, directions dropped for random ones"}


@dataclass(frozen=True)
class Crosscoding(Eval):
    """Sharing between layers, by norms and by agreement; explained variance layer by layer.

    Tables: `layers`, and `latents` (in a layered world with the nearest feature and its layer, -1 if shared).
    The gate corrupts the true dictionary of a layered world, its encoder tied to it. Agreement is graded
    where all features are shared: about an exclusive latent layers cannot agree, and a world that is half
    exclusive ends its way from floor to ceiling at one half whatever the metric sees.
    """

    grades: Grades | None = Grades(size=2048)
    """`size` are samples for each reading."""
    name: ClassVar[str] = "crosscoding"
    version: ClassVar[int] = 2
    asks_seeds_apart: ClassVar[bool] = True
    metrics: ClassVar = {
        "least_layer_ev": Metric(
            "explained variance of the layer that is explained least", "higher", 1.0,
            "0: its mean as reconstruction", "1: its activation itself", gate="mean",
            reference="the activation itself, moved towards its mean",
        ),
        "exclusive_latents": Metric(
            f"share of latents with {EXCLUSIVE:.0%} of their decoder norms in one layer", "higher", 1.0,
            "0: none exclusive", "1: every latent belongs to one layer", **_TRUTH,
        ),
        "balanced_latents": Metric(
            "share of latents with about equal decoder norms in all layers", "higher", 1.0,
            "0: none shared, by norms", "1: all shared, by norms", **_TRUTH,
        ),
        "layer_agreement": Metric(
            "correlation of latents as read from one layer and from another", "higher", 1.0,
            "0: layers of unrelated tokens", "1: every layer says the same", gate="replaced",
            reference="the true dictionary of a world with shared features only, directions dropped for "
            "random ones",
        ),
        "layer_cosine": Metric(
            "cosine of a latent's decoder directions in two layers", "higher", 1.0,
            "decoders exchanged between latents", "1: the same direction",
            ungated="layers may well have bases of their own",
        ),
    }  # fmt: skip

    @override
    def why_not(self, source: Source) -> str:
        return "" if len(source.blocks) > 1 else "it has one layer, between which nothing is shared"

    @override
    def grades_on(self, source: Source) -> bool:
        return isinstance(source, World) and isinstance(source.spec, LayeredSpec)

    @override
    def score(self, candidates: Sequence[Candidate], shared: Any, setting: Setting) -> Iterator[EvalResult]:
        opened, blocks = setting.opened, setting.source.blocks
        for one in candidates:
            scores, tables = crosscoding_scores(one.sae, opened.batches, blocks)
            if opened.truth is not None and isinstance(spec := opened.truth.world.spec, LayeredSpec):
                cosine, feature = nearest_latents(one.sae.W_dec, opened.truth.world.features)
                tables["latents"]["feature"] = feature.cpu().numpy()
                tables["latents"]["feature_cosine"] = cosine.cpu().numpy()
                tables["latents"]["feature_layer"] = spec.layer_of[feature.cpu()].numpy()
            yield EvalResult(scores, tables)

    @override
    def grade(self, task: Task, setting: Setting) -> pd.DataFrame:
        assert self.grades is not None
        source = setting.source
        assert isinstance(source, World)
        assert isinstance(source.spec, LayeredSpec)
        shared = replace(source, spec=replace(source.spec, exclusive=0.0))
        agreeing = replace(setting, source=shared).opened
        rows = []
        for seed in self.grades.seeds:
            x, y = (
                drawn_rows(one, self.grades.size, seed=seed).to(setting.device)
                for one in (setting.opened, agreeing)
            )
            for level in self.grades.levels:
                norms, agreement = {"exclusive_latents", "balanced_latents"}, {"layer_agreement"}
                scores = [
                    *_of_truth(source, x, level, seed, setting.device, norms),
                    *_of_truth(shared, y, level, seed, setting.device, agreement),
                ]
                rows += [graded_row(one, "replaced", level, seed) for one in scores]
                rows.append(graded_row(_least_ev(x, x * (1 - level), source.blocks), "mean", level, seed))
        return pd.DataFrame(rows)

    @override
    def seconds(self, step: str, source: Source, run: RunSpec | None, pace: Pace) -> float:
        if run is None:
            return 2.0
        products = (1 + len(source.blocks)) * source.scored_samples * run.arm.d_sae * source.d_in
        return 0.2 + products * pace.seconds_per_product


def _of_truth(
    source: World, x: Float[Tensor, "n d_in"], level: float, seed: int, device: str, metrics: Collection[str]
) -> list[Score]:
    """Some scores of a layered world's true dictionary, a share of its directions dropped for random ones."""
    world = world_of(source.spec, device=device)
    l0 = max(1, round(float(world.probabilities.sum())))
    sae = corrupted_truth(world, "replaced", level, seed=seed, k=l0, x=x)
    scores, _ = crosscoding_scores(sae, lambda: [x], source.blocks)
    return [one for one in scores if one.metric in metrics]


def _least_ev(x: Float[Tensor, "n d_in"], x_hat: Float[Tensor, "n d_in"], blocks: Blocks) -> Score:
    """Explained variance of the layer that is explained least."""
    parts = (torch.split(one, list(blocks), 1) for one in (x, x_hat))
    values = [explained_variance(*both).value for both in zip(*parts, strict=True)]
    return Score("least_layer_ev", min(values), 0.0, 1.0, True, n=len(x), unit="sample", version="1")
