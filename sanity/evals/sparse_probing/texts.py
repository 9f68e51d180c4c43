"""Activations of numbered texts, and the latents of an SAE averaged over each text's tokens."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix, csr_matrix
from torch import Tensor

from sanity.engine.arguments import checked
from sanity.errors import BadInputError
from sanity.evals.inputs import SparseAutoencoder, active_latents, require_finite, require_width

log = logging.getLogger("sanity")

_ROWS = 8192


@dataclass(frozen=True, eq=False)
class TextActivations:
    """Residuals of the tokens of numbered texts, raw, in parts that are loaded one at a time.

    Each part gives `activations` [tokens, d_in] and `texts` [tokens], the number of each token's text.
    """

    n_texts: int
    parts: Sequence[Callable[[], Mapping[str, Tensor]]]
    centre: Float[Tensor, " d_in"]
    factor: float
    """An SAE is given (activation - centre) * factor."""
    mean: Float[Tensor, " d_in"] | None = None
    """What the references (neurons, components, dense probes) are centred by, whatever an SAE is given; by
    default nothing."""

    def given(self) -> Iterator[tuple[Float[Tensor, "tokens d_in"], Int[np.ndarray, " tokens"]]]:
        """What an SAE is given, some thousand tokens at a time, and the texts that these belong to."""
        for x, texts in self._raw():
            yield (x - self.centre) * self.factor, texts

    def _raw(self) -> Iterator[tuple[Float[Tensor, "tokens d_in"], Int[np.ndarray, " tokens"]]]:
        for load in self.parts:
            part = load()
            for start in range(0, len(part["texts"]), _ROWS):
                x = part["activations"][start : start + _ROWS].to(self.centre)
                yield x, part["texts"][start : start + _ROWS].long().numpy()

    def text_means(self) -> Float[np.ndarray, "texts d_in"]:
        """Each text's mean over its tokens of the activation, less `mean`."""
        total = np.zeros((self.n_texts, len(self.centre)))
        count = np.zeros(self.n_texts)
        for x, texts in self._raw():
            centred = x if self.mean is None else x - self.mean.to(x)
            np.add.at(total, texts, centred.double().cpu().numpy())
            count += np.bincount(texts, minlength=self.n_texts)
        mean: np.ndarray = total / _counted(count)[:, None]
        return mean


def _counted(count: np.ndarray) -> np.ndarray:
    if not count.all():
        raise BadInputError(f"text {int(np.argmin(count > 0))} has no tokens: leave out empty texts")
    return count


@dataclass(frozen=True, eq=False)
class PooledLatents:
    """What an SAE makes of texts."""

    means: Any
    """Each text's mean over its tokens of every latent: a sparse matrix [texts, d_sae]."""
    l0: float
    """Active latents per token of these texts."""

    @property
    def alive(self) -> int:
        """Latents that are active on at least one token."""
        return len(np.unique(self.means.indices))


@checked
def pooled_latents(sae: SparseAutoencoder, texts: TextActivations) -> PooledLatents:
    """Run `sae` over every token of `texts`, and average its latents text by text.

    An SAE with every latent dead on these texts gives zeros, on which probes are at chance; the log says so.
    """
    d_sae, d_in = sae.W_dec.shape
    require_width("the residual stream of the texts", len(texts.centre), d_in, "the decoder")
    parts, count, active = [], np.zeros(texts.n_texts), 0
    for x, of in texts.given():
        found = active_latents(sae, x)
        require_finite("the latents", found.values)
        rows, latents, values = (
            part.cpu().numpy() for part in (found.rows, found.latents, found.values.double())
        )
        shape = (texts.n_texts, d_sae)
        # Entries of the same text and latent are added up by the conversion.
        parts.append(coo_matrix((values, (of[rows], latents)), shape=shape).tocsr())
        count += np.bincount(of, minlength=texts.n_texts)
        active += len(values)
    means = csr_matrix(sum(parts[1:], parts[0]).multiply(1 / _counted(count)[:, None]))
    if not active:
        log.warning("every one of the %d latents is dead on the probing texts: probes read nothing", d_sae)
    return PooledLatents(means, active / count.sum())
