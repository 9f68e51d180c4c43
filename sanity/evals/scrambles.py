"""Dictionaries and autoencoders corrupted step by step, and scrambled to see what a metric reads.

Grades run from 0 (nothing is touched) to 1 (everything is random). Scrambles show what a score depends on
*when it is measured*, and only that: the encoder of a frozen decoder was fitted to random directions, so a
metric that reads encoders alone still sees what the decoder did to the encoder in training.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from sanity.baselines import permuted_decoder, random_latents, random_rotation, rotated_decoder
from sanity.engine.arguments import checked
from sanity.engine.config import digest
from sanity.errors import BadInputError
from sanity.evals.inputs import unit_rows
from sanity.models import Architecture, Autoencoder


@checked
def mixed_directions(
    directions: Float[Tensor, "n d_in"], level: float, *, seed: int
) -> Float[Tensor, "n d_in"]:
    """Each direction mixed with a random one of its own: normalised (1 - level) * it + level * random."""
    _check_level(level)
    if level == 0:
        return directions.clone()
    rows = unit_rows("the directions", directions)
    return functional.normalize((1 - level) * rows + level * _random(rows, seed), dim=1)


@checked
def replaced_directions(
    directions: Float[Tensor, "n d_in"], level: float, *, seed: int
) -> Float[Tensor, "n d_in"]:
    """A share `level` of the directions dropped, random ones in their place."""
    _check_level(level)
    which = _some(len(directions), level, seed)
    out = directions.clone()
    out[which] = _random(directions, seed)[which]
    return out


@checked
def repaired_latents(sae: Autoencoder, level: float, *, seed: int) -> Autoencoder:
    """A share `level` of the latents with their decoder rows exchanged among them, encoders untouched."""
    _check_level(level)
    which = _some(sae.d_sae, level, seed)
    order = torch.arange(sae.d_sae)
    # One step around a random circle: nobody keeps their own row.
    shuffled = which[torch.randperm(len(which), generator=_generator("circle", seed))]
    order[shuffled] = shuffled.roll(1)
    return dataclasses.replace(sae, W_dec=sae.W_dec[order.to(sae.W_dec.device)])


@checked
def silenced_latents(sae: Autoencoder, level: float, *, seed: int) -> Autoencoder:
    """A share `level` of the latents that can never fire."""
    _check_level(level)
    which = _some(sae.d_sae, level, seed).to(sae.W_dec.device)
    encoder, b_enc = sae.W_enc.T.clone(), sae.b_enc.clone()
    encoder[which], b_enc[which] = 0.0, -1.0
    return dataclasses.replace(sae, W_enc=encoder.T, b_enc=b_enc)


@checked
def tied_autoencoder(
    directions: Float[Tensor, "d_sae d_in"], architecture: Architecture, x: Float[Tensor, "n d_in"]
) -> Autoencoder:
    """The autoencoder whose encoder is its decoder, times the one scalar that reconstructs `x` best.

    No biases. The architecture must select without thresholds (TopK): thresholds would have to be fitted.
    """
    zeros = directions.new_zeros
    if architecture.threshold != "none":
        raise BadInputError(f"{architecture.label} needs thresholds: a tied autoencoder takes TopK")
    plain = Autoencoder(directions.T, directions, zeros(len(directions)), zeros(x.shape[1]), architecture)
    rebuilt = plain.reconstruct(x)
    across = float((rebuilt * rebuilt).sum(dtype=torch.float64))
    along = float((x * rebuilt).sum(dtype=torch.float64))
    if not along > 0:
        raise BadInputError("no latent answers to the samples, so the encoder's scale cannot be set")
    return dataclasses.replace(plain, W_enc=(directions * (along / across)).T)


@dataclasses.dataclass(frozen=True)
class MeanMixture:
    """An "autoencoder" whose reconstruction is the (centred) activation itself, moved towards its mean.

    At level 0 it is the identity, at level 1 mean ablation: a graded reference for every metric that reads
    reconstructions.
    """

    width: int
    level: float
    device: str = "cpu"

    def __post_init__(self) -> None:
        _check_level(self.level)

    @property
    def W_dec(self) -> Float[Tensor, "d_in d_in"]:
        """The axes."""
        return torch.eye(self.width, device=self.device)

    def encode(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        """(1 - level) x."""
        return x * (1 - self.level)

    def decode(self, z: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        """The same."""
        return z


def permuted_encoder(sae: Autoencoder, *, seed: int) -> Autoencoder:
    """The SAE with its encoder columns re-paired at random; biases, thresholds and decoder stay."""
    order = _order(sae, seed)
    return dataclasses.replace(sae, W_enc=sae.W_enc.T[order].T)


def rotated_encoder(sae: Autoencoder, *, seed: int) -> Autoencoder:
    """The SAE with its encoder columns turned by one random rotation of the space."""
    return dataclasses.replace(sae, W_enc=_turned(sae.W_enc.T, seed).T)


def relabelled(sae: Autoencoder, *, seed: int) -> Autoencoder:
    """The same SAE with its latents in another order: encoder, decoder, biases and thresholds alike."""
    order = _order(sae, seed)
    threshold = None if sae.threshold is None else sae.threshold[order]
    return dataclasses.replace(
        sae,
        W_enc=sae.W_enc.T[order].T,
        W_dec=sae.W_dec[order],
        b_enc=sae.b_enc[order],
        threshold=threshold,
    )


def rotated_alike(sae: Autoencoder, *, seed: int) -> Autoencoder:
    """The SAE with encoder and decoder turned by the same rotation: all cosines within it stay."""
    decoder = functional.normalize(_turned(sae.W_dec, seed), dim=1)
    return dataclasses.replace(sae, W_enc=_turned(sae.W_enc.T, seed).T, W_dec=decoder)


def permuted_biases(sae: Autoencoder, *, seed: int) -> Autoencoder:
    """The SAE with the latents' biases and thresholds handed to other latents."""
    order = _order(sae, seed)
    threshold = None if sae.threshold is None else sae.threshold[order]
    return dataclasses.replace(sae, b_enc=sae.b_enc[order], threshold=threshold)


SCRAMBLES: Mapping[str, Callable[..., Autoencoder]] = MappingProxyType(
    {
        "encoder permuted": permuted_encoder,
        "encoder rotated": rotated_encoder,
        "decoder permuted": permuted_decoder,
        "decoder rotated": rotated_decoder,
        "both permuted alike": relabelled,
        "both rotated alike": rotated_alike,
        "latent biases permuted": permuted_biases,
    }
)
"""Name -> function of an autoencoder and a `seed`."""


def _turned(rows: Float[Tensor, "n d_in"], seed: int) -> Float[Tensor, "n d_in"]:
    return (rows.double() @ random_rotation(rows.shape[1], seed=seed).to(rows.device)).to(rows.dtype)


def _order(sae: Autoencoder, seed: int) -> Int[Tensor, " d_sae"]:
    """The permutation that `permuted_decoder` uses at the same seed."""
    order = torch.randperm(sae.d_sae, generator=torch.Generator().manual_seed(seed))
    return order.to(sae.W_dec.device)


def _some(n: int, level: float, seed: int) -> Int[Tensor, " some"]:
    return random_latents(round(level * n), n, seed=seed)


def _random(like: Float[Tensor, "n d_in"], seed: int) -> Float[Tensor, "n d_in"]:
    drawn = torch.randn(like.shape, generator=_generator("directions", seed))
    return functional.normalize(drawn, dim=1).to(like)


def _generator(what: str, seed: int) -> torch.Generator:
    # Bare seeds have made worlds and matrices: a corruption must not draw the same numbers again.
    return torch.Generator().manual_seed(int(digest(["corruption", what, seed])[:8], 16))


def _check_level(level: float) -> None:
    if not 0 <= level <= 1:
        raise BadInputError(f"a level of corruption of {level} was asked for: it runs from 0 to 1")
