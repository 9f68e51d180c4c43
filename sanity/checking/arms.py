"""The arms of a check that are not trained: the given SAE in the scale of its source, and its nulls.

The given SAE is a cell like any other, whose key has the hash of its weights and not where they lie.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sanity.baselines import Cov, Untrained, permuted_decoder, rotated_decoder
from sanity.checking.given import GivenSAE, Scale
from sanity.engine.cells import Cell, Cost, Task, computes
from sanity.engine.store import LocalStore, require
from sanity.errors import BadInputError, SanityError
from sanity.evals import explained_variance, firing_frequency
from sanity.evals.inputs import reconstructed
from sanity.experiments.steps import ONLY_HERE, at_matched_l0
from sanity.models import (
    Arm,
    Autoencoder,
    Constraint,
    JumpReLU,
    initial_directions,
    load_sae,
    save_sae,
    train,
)
from sanity.models.kernels import product
from sanity.sources import Opened, Pace, RunSpec, Source

SCALES: tuple[Scale, ...] = ("raw", "expected norm", "centred")


class NotTrained(Constraint, family="arm that is not trained"):
    """Nothing learns; profiles, whose arms are trained, do not know these names."""

    @property
    @override
    def learns(self) -> frozenset[str]:
        return frozenset()


@dataclass(frozen=True)
class Given(NotTrained):
    """The SAE was trained elsewhere."""

    name: ClassVar[str] = "given"
    title: ClassVar[str] = "given SAE"


@dataclass(frozen=True)
class GivenObject(Given):
    """An object that no other process has."""

    only_here: ClassVar[bool] = True
    name: ClassVar[str] = "given_object"


class Null(NotTrained):
    """A dictionary that is wrong on purpose, made from the given one without training."""

    latents_too: ClassVar[bool] = False
    """Whether its latents differ from those of the given SAE, and not its decoder alone."""

    def made(self, given: Any, opened: Opened, seed: int) -> Autoencoder:
        """The dictionary of a seed; `given` may be any object where `latents_too`."""
        raise BadInputError(f"{type(self).__name__} does not say what it is made of: define made")


@dataclass(frozen=True)
class PermutedDecoder(Null):
    """Its decoder rows on the wrong latents."""

    name: ClassVar[str] = "permuted_decoder"

    @override
    def made(self, given: Any, opened: Opened, seed: int) -> Autoencoder:
        return permuted_decoder(given, seed=seed)


@dataclass(frozen=True)
class RotatedDecoder(Null):
    """Its decoder turned as a whole."""

    name: ClassVar[str] = "rotated_decoder"

    @override
    def made(self, given: Any, opened: Opened, seed: int) -> Autoencoder:
        lengths = torch.linalg.vector_norm(given.W_dec, dim=1, keepdim=True)
        turned = rotated_decoder(given, seed=seed)
        return dataclasses.replace(turned, W_dec=turned.W_dec * lengths)


@dataclass(frozen=True)
class RandomLatents(Null):
    """Random directions, each of which fires as often as one latent of the given SAE."""

    name: ClassVar[str] = "random_latents"
    title: ClassVar[str] = "random latents of its frequencies"
    latents_too: ClassVar[bool] = True

    @override
    def made(self, given: Any, opened: Opened, seed: int) -> Autoencoder:
        d_sae, d_in = given.W_dec.shape
        arm = Arm(JumpReLU(1.0), d_sae, init=Cov(), seed=seed)
        directions = initial_directions(arm, d_in, opened.stream.covariance)
        x = opened.stream.batch(0)
        x = torch.cat([x, *(opened.stream.batch(i) for i in range(1, max(2, 8192 // len(x))))]).cpu()
        threshold = _above_which(x, directions, firing_frequency(given, [x]).float())
        null = Autoencoder(
            directions.T,
            directions,
            torch.zeros(d_sae),
            torch.zeros(d_in),
            arm.architecture,
            threshold,
        )
        # One scale for all latents: that at which it reconstructs best.
        rebuilt = null.reconstruct(x)
        factor = float((x * rebuilt).sum() / rebuilt.square().sum().clamp_min(1e-12))
        return dataclasses.replace(null, W_enc=(directions * factor).T, threshold=threshold * factor)


def _above_which(
    x: Float[Tensor, "n d_in"], directions: Float[Tensor, "d_sae d_in"], frequency: Float[Tensor, " d_sae"]
) -> Float[Tensor, " d_sae"]:
    """The threshold of each latent above which it fires as often as asked; at most on half of the samples."""
    found = []
    wanted = (frequency * len(x)).round().long().clamp(0, len(x) // 2)
    for rows, counts in zip(torch.split(directions, 512), torch.split(wanted, 512), strict=True):
        pre = product(x, rows, x.new_zeros(len(rows))).sort(0, descending=True).values
        found.append(pre.gather(0, counts[None])[0].clamp_min(0))
        found[-1][counts == 0] = 2 * pre[0][counts == 0].abs() + 1
    return torch.cat(found)


NULLS: Mapping[str, Null] = {one.name: one for one in (PermutedDecoder(), RotatedDecoder(), RandomLatents())}


# ------------------------------------------------------------------------------------------------------ cells


@dataclass(frozen=True)
class GivenWeights:
    """An SAE that was given, by the hash of its weights."""

    weights: str


@computes("given sae", version=1)
def keep_given(task: Task) -> None:
    """Not computed: `published` puts it into the store."""
    raise SanityError(f"{task.cell.label} is no longer in the store: give it again")


def published(given: GivenSAE, store: LocalStore) -> Cell:
    """The cell of a given SAE, whose result is put into the store unless it is there."""
    cell = keep_given.cell(GivenWeights(given.weights), label=f"the given SAE {given.name}", stage="given")
    if not given.can_be_kept:
        ONLY_HERE[cell.key] = given.sae
    if store.get(cell.key) is None:
        with store.claim(cell.key, patience=60.0):
            if store.get(cell.key) is None:
                task = store.start(cell, {})
                task.save_json("given", {"library": given.library})
                if given.can_be_kept:
                    save_sae(given.sae, task.folder / "sae")
                store.put(task, seconds=0.0)
    return cell


@dataclass(frozen=True)
class Fitting:
    """A given SAE, and the source whose activations it is to take."""

    source: Source
    scales: tuple[Scale, ...]
    recipe: Arm
    """What it is held against: an untrained arm of its kind, at its L0."""
    device: str


@computes("fit given sae", version=1)
def fit_given(task: Task) -> None:
    """The given SAE in the scale of the source, as `sae`; and how it does there, as `fit`.

    It is tried in every scale; of those that its configuration leaves open the best is taken.
    """
    config: Fitting = task.config
    opened = config.source.open(task.inputs, batch_size=1024, seed=0, device=config.device)
    key = task.inputs["given"].key
    raw = ONLY_HERE.get(key) or load_sae(task.inputs["given"].folder("sae")).to(device=config.device)
    tried = {scale: _rescaled(raw, scale, opened) for scale in SCALES}
    explained = {scale: float(explained_variance(opened.sample, reconstructed(sae, opened.sample)))
                 for scale, sae in tried.items()}  # fmt: skip
    chosen = max(config.scales, key=lambda scale: explained[scale])
    sae = tried[chosen]
    frequency = firing_frequency(sae, [opened.sample])
    l0 = float(frequency.sum())
    untrained = _untrained(config.recipe, opened, max(1, round(l0)))
    if isinstance(sae, Autoencoder):
        save_sae(sae.to(device="cpu"), task.folder / "sae")
    fit = {
        "scale": chosen,
        "explained_variance": explained,
        "untrained": float(explained_variance(opened.sample, untrained.reconstruct(opened.sample))),
        "l0": l0,
        "alive": float((frequency > 0).double().mean()),
        "rows": len(opened.sample),
    }
    task.save_json("fit", fit)


@dataclass(frozen=True, eq=False)
class Rescaled:
    """An object that takes x * gain + offset, as an SAE that takes x."""

    sae: Any
    gain: float
    offset: Float[Tensor, " d_in"]

    @property
    def W_dec(self) -> Tensor:
        """Of the object."""
        found: Tensor = self.sae.W_dec
        return found.detach()

    def encode(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        """Its latents."""
        with torch.no_grad():
            z: Tensor = self.sae.encode(x * self.gain + self.offset)
        return z

    def decode(self, z: Float[Tensor, "n d_sae"]) -> Float[Tensor, "n d_in"]:
        """Its reconstruction, in the scale of x."""
        with torch.no_grad():
            x_hat: Tensor = self.sae.decode(z)
        return (x_hat - self.offset) / self.gain


def _rescaled(sae: Any, scale: Scale, opened: Opened) -> Any:
    """The SAE for what the source gives, (x - mean) * factor, where it takes x in a scale."""
    if scale == "centred" or opened.kept is None:
        return sae
    centre, factor = opened.kept.mean.to(sae.W_dec), opened.kept.factor
    if not isinstance(sae, Autoencoder):
        norm = float((opened.sample / factor + centre).norm(dim=1).mean())
        more = sae.W_dec.shape[1] ** 0.5 / norm if scale == "expected norm" else 1.0
        return Rescaled(sae, more / factor, centre * more)
    if scale == "expected norm":
        norm = float((opened.sample / factor + centre).norm(dim=1).mean())
        sae = sae.fold_normalisation(torch.zeros_like(sae.b_dec), sae.d_in**0.5 / norm)
    # The inverse of what makes an SAE for raw activations of one for centred and scaled ones.
    return sae.fold_normalisation(-centre * factor, 1 / factor)


def _untrained(arm: Arm, opened: Opened, l0: int) -> Autoencoder:
    first = dataclasses.fields(arm.architecture)[0].name
    architecture = dataclasses.replace(arm.architecture, **{first: min(l0, arm.d_sae)})
    arm = dataclasses.replace(arm, architecture=architecture, constraint=Untrained())
    return at_matched_l0(train([arm], opened.stream, steps=0)[0].sae, opened.calibration, l0)


@dataclass(frozen=True)
class MakingNull:
    """A null of a given SAE on a source."""

    null: Null
    seed: int
    source: Source
    device: str


@computes("null of given sae", version=1)
def make_null(task: Task) -> None:
    """The null, as `sae`."""
    config: MakingNull = task.config
    opened = config.source.open(task.inputs, batch_size=1024, seed=config.seed, device="cpu")
    fit = task.inputs["fit"]
    given = ONLY_HERE.get(fit.key) or load_sae(fit.folder("sae"))
    save_sae(config.null.made(given, opened, config.seed), task.folder / "sae")


def stand_in(fit: Cell, given: GivenSAE, store: LocalStore, scale: Scale) -> None:
    """Let the cell of an object's fit stand for the object in this process, in the scale that was found."""
    config: Fitting = fit.config
    inputs = {name: require(cell, store) for name, cell in fit.inputs}
    opened = config.source.open(inputs, batch_size=1024, seed=0, device=config.device)
    ONLY_HERE[fit.key] = _rescaled(given.sae, scale, opened)


def fit_cell(given: Cell, weights: GivenSAE, source: Source, scales: tuple[Scale, ...], device: str) -> Cell:
    """The cell that fits a given SAE to a source."""
    arm = Arm(weights.recipe_at(1), weights.d_sae)
    seconds = 5.0 + 4 * 4096 * arm.d_sae * source.d_in * 1e-10
    return fit_given.cell(
        Fitting(source, scales, arm, device),
        inputs={"given": given, **source.cells(device, Pace())},
        label=f"{weights.name} on {source.where}: its scale, L0 and fit",
        stage="given",
        cost=Cost(seconds, disk_bytes=9 * arm.d_sae * source.d_in, memory_bytes=10**9),
        threads=source.threads,
    )


def null_cell(null: Null, run: RunSpec, fit: Cell) -> Cell:
    """The cell that makes a null of a given SAE."""
    source = run.source
    return make_null.cell(
        MakingNull(null, run.arm.seed, source, run.device),
        inputs={"fit": fit, **source.cells(run.device, Pace())},
        label=f"{source.where}: {null.label} seed {run.arm.seed}",
        stage="given",
        cost=Cost(4.0, disk_bytes=9 * run.arm.d_sae * source.d_in, memory_bytes=10**9),
    )
