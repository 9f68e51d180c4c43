"""Detection read from the latents' side, and what a hierarchy of features does to it.

`detection_f1` asks of every feature whether some latent finds it. `latent_f1` asks of every latent whether it
finds anything; this is the reading of sae-lens and SynthSAEBench (2602.14687).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sanity.engine.arguments import checked
from sanity.errors import BadInputError
from sanity.evals.detection import require_active
from sanity.evals.feature_recovery import RECOVERED, nearest_latents
from sanity.evals.inputs import CHUNK_ELEMENTS, SparseAutoencoder, require_width
from sanity.evals.score import Score


@checked
@torch.no_grad()
def latent_f1(
    sae: SparseAutoencoder,
    x: Float[Tensor, "n d_in"],
    *,
    features: Float[Tensor, "n_features d_f"],
    active: Bool[Tensor, "rows n_active"],
    absolute: bool = False,
) -> Score:
    """F1 of each latent as a detector of the feature nearest to it, averaged over all latents.

    A latent that never fires rightly counts 0, dead ones too. Floor: every latent always on. `absolute`
    takes the feature of the largest absolute cosine, as sae-lens does. Parameters as in `detection_f1`.
    """
    require_active(active, x, features)
    require_width("x", x.shape[1], sae.W_dec.shape[1], "the decoder")
    meant = nearest_latents(sae.W_dec, features, absolute=absolute)[1].to(sae.W_dec.device)
    fired = present = both = torch.zeros(len(sae.W_dec), dtype=torch.float64)
    rows = max(1, CHUNK_ELEMENTS // len(sae.W_dec))
    for part, truth in zip(torch.split(x.to(sae.W_dec), rows), torch.split(active, rows), strict=True):
        on, should = sae.encode(part) != 0, truth.to(sae.W_dec.device)[:, meant]
        fired, present, both = (
            total + now.sum(0).double().cpu()
            for total, now in ((fired, on), (present, should), (both, on & should))
        )
    f1 = torch.where(both > 0, 2 * both / (fired + present).clamp(min=1), 0.0)
    always = 2 * present / (len(x) + present)
    n = len(f1)
    return Score(
        "latent_f1", float(f1.mean()), float(always.mean()), 1.0, True, n=n, unit="latent", version="1"
    )


@dataclass(frozen=True)
class Absorption:
    """How the latents of recovered parents behave, averaged over parents."""

    missed_with_child: float
    """Share of the samples with parent and child active in which the parent's latent is silent."""
    missed_alone: float
    """The same where the parent is active and none of its children."""
    parents: int
    """Recovered parents that were seen both ways."""

    @property
    def excess(self) -> float:
        """Absorption: misses that go with a child's presence."""
        return self.missed_with_child - self.missed_alone

    def score(self) -> Score:
        """The excess; floor 1 (a child always silences its parent's latent), ceiling 0."""
        return Score("absorption", self.excess, 1.0, 0.0, False, n=self.parents, unit="parent", version="1")


@checked
@torch.no_grad()
def absorption(
    sae: SparseAutoencoder,
    x: Float[Tensor, "n d_in"],
    *,
    features: Float[Tensor, "n_features d_f"],
    active: Bool[Tensor, "rows n_active"],
    parents: Int[Tensor, " n_features"],
    threshold: float = RECOVERED,
) -> Absorption | None:
    """Whether the latent that stands for a parent falls silent when a child is active (2409.14507).

    Only parents that some latent matches with a cosine above `threshold` can be asked; None when there are
    none. `parents` gives each feature's parent, -1 for roots.
    """
    cosines, latents = nearest_latents(features, sae.W_dec)
    parents = parents.to(active.device)
    child_of = parents[parents >= 0]
    if not len(child_of):
        raise BadInputError("absorption was asked of a world without hierarchy: no feature has a parent")
    asked = torch.unique(child_of)
    asked = asked[(cosines > threshold).to(asked.device)[asked]]
    rows = max(1, CHUNK_ELEMENTS // len(sae.W_dec))
    silent = torch.cat([sae.encode(part)[:, latents] == 0 for part in torch.split(x.to(sae.W_dec), rows)])
    shares = []
    for parent in asked.tolist():
        here = active[:, parent]
        with_child = here & active[:, parents == parent].any(1)
        alone, missed = here & ~with_child, silent[:, parent].to(here.device)
        if bool(with_child.any()) and bool(alone.any()):
            shares.append([float(missed[of].double().mean()) for of in (with_child, alone)])
    if not shares:
        return None
    with_child_mean, alone_mean = torch.tensor(shares, dtype=torch.float64).mean(0).tolist()
    return Absorption(with_child_mean, alone_mean, len(shares))
