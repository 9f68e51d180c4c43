"""Whether latents fire when the features do that they stand for, in a synthetic world.

Recovery looks at the decoder alone; this looks at the encoder. The latent that stands for a feature is
chosen by the decoder (the nearest direction), so no choice is made on the samples that score it.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sanity.engine.arguments import checked
from sanity.errors import BadInputError
from sanity.evals.feature_recovery import nearest_latents
from sanity.evals.inputs import CHUNK_ELEMENTS, SparseAutoencoder, require_width
from sanity.evals.score import Score


@checked
@torch.no_grad()
def detection_f1(
    sae: SparseAutoencoder,
    x: Float[Tensor, "n d_in"],
    *,
    features: Float[Tensor, "n_features d_f"],
    active: Bool[Tensor, "rows n_active"],
) -> Score:
    """F1 of each feature's nearest latent as a detector of that feature, averaged over features.

    Floor: a latent that is always on, 2p / (1 + p) for a feature active with frequency p, the best that a
    detector can do which knows nothing of x. Ceiling: every activation found, and nothing else.

    Parameters
    ----------
    x
        Samples in the scale on which the SAE was trained.
    features
        The true directions.
    active : [n, n_features]
        Which feature is active in which sample. Features that never are have no F1 and are left out.
    """
    f1 = detection_f1s(sae, x, features=features, active=active)
    seen = ~f1.isnan()
    frequency = active.to(f1.device).double().mean(0)[seen]
    floor = float((2 * frequency / (1 + frequency)).mean())
    n = int(seen.sum())
    return Score("detection_f1", float(f1[seen].mean()), floor, 1.0, True, n=n, unit="feature", version="1")


@checked
@torch.no_grad()
def detection_f1s(
    sae: SparseAutoencoder,
    x: Float[Tensor, "n d_in"],
    *,
    features: Float[Tensor, "n_features d_f"],
    active: Bool[Tensor, "rows n_active"],
) -> Float[Tensor, " n_features"]:
    """The F1 of each feature's nearest latent, one by one; NaN for features that are active in no sample."""
    require_active(active, x, features)
    require_width("x", x.shape[1], sae.W_dec.shape[1], "the decoder")
    _, latents = nearest_latents(features, sae.W_dec)
    present = active.sum(0).double().cpu()
    if not bool((present > 0).any()):
        raise BadInputError(f"no feature is active in any of the {len(x)} samples: draw more samples")
    fired, both = _fired(sae, x, latents, active.to(sae.W_dec.device))
    return torch.where(present > 0, 2 * both / (fired + present), torch.nan)


def require_active(active: Tensor, x: Tensor, features: Tensor) -> None:
    """Refuse an `active` that is not about these samples and features."""
    if active.shape != (len(x), len(features)):
        raise BadInputError(
            f"`active` has shape {list(active.shape)}: it must say of each of the {len(x)} samples which of "
            f"the {len(features)} features is active"
        )


def _fired(
    sae: SparseAutoencoder,
    x: Float[Tensor, "n d_in"],
    latents: Int[Tensor, " n_features"],
    active: Bool[Tensor, "n n_features"],
) -> tuple[Float[Tensor, " n_features"], Float[Tensor, " n_features"]]:
    """How often each feature's latent fires, and how often it does so rightly."""
    rows = max(1, CHUNK_ELEMENTS // len(sae.W_dec))
    fired = both = torch.zeros(len(latents), dtype=torch.float64)
    for part, truth in zip(torch.split(x.to(sae.W_dec), rows), torch.split(active, rows), strict=True):
        on = sae.encode(part)[:, latents] != 0
        fired = fired + on.sum(0).double().cpu()
        both = both + (on & truth).sum(0).double().cpu()
    return fired, both
