"""The cells of a check that train nothing: the given SAE in the scale of its source, and its nulls.

The key of a given SAE has the hash of its weights, and not where they lie.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from sanity.baselines import Untrained
from sanity.checking.arms import Null
from sanity.checking.given import GivenSAE, InputScale
from sanity.engine.cells import Cell, Cost, Task, computes
from sanity.engine.store import LocalStore, require
from sanity.errors import SanityError
from sanity.evals import explained_variance
from sanity.evals.inputs import reconstructed
from sanity.evals.reconstruction import firing_frequency
from sanity.experiments.steps import ONLY_HERE, at_matched_l0
from sanity.models import Arm, Autoencoder, Transcoder, load_sae, save_sae, train
from sanity.sources import MLP, OpenedSource, Pace, RunSpec, Source
from sanity.subject import MLPStream, MLPSubject, Normalisation

SCALES: tuple[InputScale, ...] = ("raw", "expected norm", "centred")


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
        with store.leases.claim(cell.key, patience=60.0):
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
    scales: tuple[InputScale, ...]
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
    subject = config.source.at.load(config.device) if isinstance(config.source, MLP) else None
    if isinstance(raw, Transcoder) and isinstance(subject, MLPSubject):
        tried: dict[InputScale, Any] = dict(transcoder_scales(raw, opened, subject))
    else:
        tried = {scale: _on(opened, raw, scale) for scale in SCALES}
    target = opened.sample if opened.sample_targets is None else opened.sample_targets
    explained = {scale: float(explained_variance(target, reconstructed(sae, opened.sample)))
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
        "untrained": float(explained_variance(target, untrained.reconstruct(opened.sample))),
        "l0": l0,
        "alive": float((frequency > 0).double().mean()),
        "rows": len(opened.sample),
    }
    task.save_json("fit", fit)


@dataclass(frozen=True, eq=False)
class RescaledSAE:
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


def _on(opened: OpenedSource, sae: Any, scale: InputScale) -> Any:
    assert opened.kept is not None
    return rescaled(sae, scale, opened.kept.normalisation, opened.sample)


def rescaled(sae: Any, scale: InputScale, normal: Normalisation, sample: Float[Tensor, "n d_in"]) -> Any:
    """The SAE for (x - centre) * factor, such as `sample`, where it takes x in a scale."""
    if scale == "centred":
        return sae
    centre, factor = normal.centre.to(sae.W_dec), normal.factor
    if not isinstance(sae, Autoencoder):
        norm = float((sample / factor + centre).norm(dim=1).mean())
        more = sae.W_dec.shape[1] ** 0.5 / norm if scale == "expected norm" else 1.0
        return RescaledSAE(sae, more / factor, centre * more)
    if scale == "expected norm":
        norm = float((sample / factor + centre).norm(dim=1).mean())
        sae = sae.fold_normalisation(torch.zeros_like(sae.b_dec), sae.d_in**0.5 / norm)
    # The inverse of what makes an SAE for raw activations of one for centred and scaled ones.
    return sae.fold_normalisation(-centre * factor, 1 / factor)


def transcoder_scales(
    raw: Transcoder, opened: OpenedSource, subject: MLPSubject
) -> Iterator[tuple[InputScale, Transcoder]]:
    """A transcoder in every scale of its input: as given, of raw activations, and before the gain."""
    stream = opened.stream
    assert isinstance(stream, MLPStream)

    def scaled(sae: Transcoder) -> Transcoder:
        """From raw activations to those of the stream: the inverse of `for_raw`."""
        back = (-stream.centre * stream.factor, 1 / stream.factor)
        return sae.for_raw(*back, -stream.target_centre * stream.target_factor, 1 / stream.target_factor)

    yield "centred", raw
    yield "raw", scaled(raw)
    gain, bias = subject.gain
    # x = before * gain + bias; a dimension whose gain is 0 never reaches the MLP.
    per = torch.where(gain.abs() > 1e-8, 1 / gain, torch.zeros_like(gain))
    W_enc = raw.W_enc * per[:, None]
    skip = None if raw.W_skip is None else raw.W_skip * per[:, None]
    moved = dataclasses.replace(
        raw,
        W_enc=W_enc,
        b_enc=raw.b_enc - bias @ W_enc,
        W_skip=skip,
        b_dec=raw.b_dec if skip is None else raw.b_dec - bias @ skip,
    )
    yield "before the gain", scaled(moved)


def _untrained(arm: Arm, opened: OpenedSource, l0: int) -> Autoencoder:
    architecture = arm.architecture.at_l0(min(l0, arm.d_sae))
    arm = dataclasses.replace(arm, architecture=architecture, constraint=Untrained())
    return at_matched_l0(train([arm], opened.stream, steps=0)[0].sae, opened.calibration, l0)


@dataclass(frozen=True)
class NullSpec:
    """A null of a given SAE on a source."""

    null: Null
    seed: int
    source: Source
    device: str
    known_as: ClassVar[str] = "MakingNull"


@computes("null of given sae", version=1)
def make_null(task: Task) -> None:
    """The null, as `sae`."""
    config: NullSpec = task.config
    opened = config.source.open(task.inputs, batch_size=1024, seed=config.seed, device="cpu")
    fit = task.inputs["fit"]
    given = ONLY_HERE.get(fit.key) or load_sae(fit.folder("sae"))
    save_sae(config.null.made(given, opened, config.seed), task.folder / "sae")


def stand_in(fit: Cell, given: GivenSAE, store: LocalStore, scale: InputScale) -> None:
    """Let the cell of an object's fit stand for the object in this process, in the scale that was found."""
    config: Fitting = fit.config
    inputs = {name: require(cell, store) for name, cell in fit.inputs}
    opened = config.source.open(inputs, batch_size=1024, seed=0, device=config.device)
    ONLY_HERE[fit.key] = _on(opened, given.sae, scale)


def fit_cell(
    given: Cell, weights: GivenSAE, source: Source, scales: tuple[InputScale, ...], device: str
) -> Cell:
    """The cell that fits a given SAE to a source."""
    arm = Arm(weights.recipe_at(1), weights.d_sae)
    seconds = 5.0 + 4 * 4096 * arm.d_sae * source.d_in * 1e-10
    return fit_given.cell(
        Fitting(source, scales, arm, device),
        inputs={"given": given, **source.cells(device, Pace())},
        label=f"{weights.name} on {source.where}: its scale, L0 and fit",
        stage="given",
        cost=Cost(seconds, disk_bytes=9 * arm.d_sae * source.d_in, memory_bytes=10**9),
    )


def null_cell(null: Null, run: RunSpec, fit: Cell) -> Cell:
    """The cell that makes a null of a given SAE."""
    source = run.source
    return make_null.cell(
        NullSpec(null, run.arm.seed, source, run.device),
        inputs={"fit": fit, **source.cells(run.device, Pace())},
        label=f"{source.where}: {null.label} seed {run.arm.seed}",
        stage="given",
        cost=Cost(4.0, disk_bytes=9 * run.arm.d_sae * source.d_in, memory_bytes=10**9),
    )
