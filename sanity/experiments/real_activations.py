"""Cells of the chapter `real_activations`: text, activations, arms trained on them, and their scores."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from typing import Any, Literal

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from sanity.data.text import TextSpec, Windows, named_sources, window_blocks
from sanity.engine.cells import Cell, Cost, Result, Task, computes
from sanity.engine.computing import results
from sanity.engine.machine import memory_bytes
from sanity.engine.store import LocalStore
from sanity.evals import (
    HeldOutEVProbe,
    Score,
    cosine_to_init,
    encoder_decoder_cosine,
    loss_recovered,
    reconstruction_scores,
)
from sanity.experiments.grid import arm, at_matched_l0, describe, named_curve, score_rows, stack
from sanity.models import Arm, Training, load_sae, save_sae, train
from sanity.profiles import ArmNames, LanguageModel, Profile
from sanity.subject import (
    ActivationStore,
    ActivationStream,
    Normalisation,
    Subject,
    harvest,
    load_subject,
    load_tokenizer,
    weights_of,
)

EXPERIMENT = "real_activations"
PROBE_ROWS = 4096


@dataclass(frozen=True)
class Place:
    """A place in a language model."""

    subject: str
    weights: str
    """What the weights are, so that other weights under the same name are another place."""
    backend: str
    hook: str
    dtype: str = "float32"
    random_weights: bool = False

    def load(self, device: str) -> Subject:
        """The language model."""
        return load_subject(
            self.subject,
            backend=self.backend,
            device=device,
            dtype=getattr(torch, self.dtype),
            random_weights=self.random_weights,
        )


@dataclass(frozen=True)
class Reading:
    """What is harvested at a place: which text, how much of it, and how it is kept."""

    place: Place
    text: TextSpec
    split: str
    n_tokens: int
    context: int
    storage_dtype: str
    shard_tokens: int
    drop_first: bool
    device: str


@dataclass(frozen=True)
class RealRun:
    """One arm on one stream of activations."""

    arm: Arm
    l0: int
    hook: str
    batch_size: int
    steps: int
    training: Training
    precision: Literal["float32", "bf16"]
    device: str


@dataclass(frozen=True)
class LossEval:
    """Where, and on how many held-out tokens, cross-entropy and KL are measured."""

    place: Place
    n_tokens: int
    arm: Arm
    l0: int
    device: str


@computes(version=1)
def read_activations(task: Task) -> None:
    """Tokenise a text and harvest its activations, block by block; shards survive a kill."""
    config: Reading = task.config
    facts = _TextFacts()
    blocks = window_blocks(
        config.text,
        load_tokenizer(config.place.subject),
        split=config.split,
        n_tokens=config.n_tokens,
        context=config.context,
    )
    for_tokens, for_documents = tee(facts.watch(blocks))
    harvest(
        config.place.load(config.device),
        (block.tokens for block in for_tokens),
        document_ids=(block.token_documents for block in for_documents),
        hook=config.place.hook,
        folder=task.scratch / "activations",
        shard_tokens=config.shard_tokens,
        dtype=getattr(torch, config.storage_dtype),
        drop_first=config.drop_first,
    )
    os.rename(task.scratch / "activations", task.folder / "activations")
    task.save_json("text", facts.row())


class _TextFacts:
    """Counts what a stream of windows holds, while it passes."""

    def __init__(self) -> None:
        self._sources: dict[str, int] = {}
        self._documents: set[int] = set()
        self._state = hashlib.sha256()

    def watch(self, blocks: Iterator[Windows]) -> Iterator[Windows]:
        """The same blocks, counted."""
        for block in blocks:
            for name, n in block.facts["tokens_by_source"].items():
                self._sources[name] = self._sources.get(name, 0) + n
            self._documents.update(document.number for document in block.used)
            self._state.update(block.text_hash.encode())
            yield block

    def row(self) -> dict[str, Any]:
        """Documents, tokens by source, and a hash of all windows."""
        return {
            "documents": len(self._documents),
            "tokens_by_source": self._sources,
            "text_hash": self._state.hexdigest(),
        }


def _shares_stream(cell: Cell) -> object:
    """Arms that see the same batches: same activations, seed, batch size and schedule."""
    run: RealRun = cell.config
    return [
        {name: needed.key for name, needed in cell.inputs},
        [run.arm.seed, run.batch_size, run.steps, run.training, run.precision],
    ]


@computes(version=2, together=_shares_stream)
def train_on_activations(tasks: Sequence[Task]) -> None:
    """Train the arms of one seed on one stream of activations, and score their reconstruction."""
    first: RealRun = tasks[0].config
    kept = ActivationStore(tasks[0].inputs["train"].folder("activations"))
    stream = ActivationStream(kept, batch_size=first.batch_size, seed=first.arm.seed, device=first.device)
    held_out = ActivationStore(tasks[0].inputs["held_out"].folder("activations"))
    scale = Normalisation(stream.centre, stream.factor)
    sample = spread_rows(held_out, scale, PROBE_ROWS)
    runs = (
        run
        for some in _that_fit([task.config.arm for task in tasks], stream)
        for run in train(
            some,
            stream,
            steps=first.steps,
            training=first.training,
            probes=[HeldOutEVProbe(sample)],
            folder=tasks[0].shared,
            precision=first.precision,
        )
    )
    for task, run in zip(tasks, runs, strict=True):
        sae = at_matched_l0(run.sae, sample, task.config.l0)
        about = describe(EXPERIMENT, first.hook, run.arm, task.config.l0)
        scores = [
            *reconstruction_scores(sae, held_out.rows(normalisation=scale)).values(),
            cosine_to_init(sae.W_dec, run.initial_directions),
            encoder_decoder_cosine(sae),
        ]
        task.save_table("scores", pd.DataFrame(score_rows(about, scores)))
        task.save_table("curve", named_curve(run.curve).assign(**about))
        task.save_json(
            "data",
            {
                "tokens_unique": kept.n_tokens,
                "tokens_seen": first.steps * first.batch_size,
                "epochs": first.steps * first.batch_size / kept.n_tokens,
                "tokens_held_out": held_out.n_tokens,
                "factor": stream.factor,
            },
        )
        save_sae(sae, task.folder / "sae")


def spread_rows(store: ActivationStore, scale: Normalisation, n: int) -> Float[Tensor, "rows d_in"]:
    """About `n` activations spread evenly over a store, so that they come from all of its documents."""
    stride, start, kept = max(1, store.n_tokens // n), 0, []
    for rows in store.rows(normalisation=scale):
        kept.append(rows[-start % stride :: stride].clone())
        start += len(rows)
    return torch.cat(kept)


def _that_fit(arms: Sequence[Arm], stream: ActivationStream) -> Iterator[Sequence[Arm]]:
    """The arms in as few parts as fit into half of the memory at once; the data pass by once per part."""
    device = stream.device
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else memory_bytes()
    at_once = max(1, int(0.5 * free / max(_arm_bytes(arm.d_sae, stream.d_in) for arm in arms)))
    for first in range(0, len(arms), at_once):
        yield arms[first : first + at_once]


def _arm_bytes(d_sae: int, d_in: int) -> int:
    """Two matrices in float32, each with its start, its gradient and two moments of Adam."""
    return 8 * 4 * d_sae * d_in


def _shares_reference(cell: Cell) -> object:
    """SAEs that are spliced into the same model at the same place of the same text."""
    same = {name: needed.key for name, needed in cell.inputs if name != "sae"}
    return [same, cell.config.place, cell.config.n_tokens, cell.config.device]


@computes(version=2, together=_shares_reference)
def measure_loss(tasks: Sequence[Task]) -> None:
    """Cross-entropy and KL with each SAE spliced in, between mean ablation and the unspliced model."""
    config: LossEval = tasks[0].config
    kept = ActivationStore(tasks[0].inputs["train"].folder("activations"))
    held_out = ActivationStore(tasks[0].inputs["held_out"].folder("activations"))
    tokens, documents = _spread_windows(held_out, config.n_tokens)
    found = loss_recovered(
        config.place.load(config.device),
        {
            task.cell.key: load_sae(task.inputs["sae"].folder("sae")).to(device=config.device)
            for task in tasks
        },
        tokens.to(config.device),
        hook=config.place.hook,
        centre=kept.mean,
        factor=kept.factor,
        leave_first=held_out.drop_first,
        documents=documents,
    )
    for task in tasks:
        loss = found[task.cell.key]
        about = describe(EXPERIMENT, config.place.hook, task.config.arm, task.config.l0)
        named = {"ce_recovered": loss.cross_entropy, "kl_recovered": loss.kl_divergence}
        # Where mean ablation costs nothing there is no way to be recovered, and no share of it.
        shares = [_share(name, score) for name, score in named.items() if score.has_range]
        scores = [loss.cross_entropy, loss.kl_divergence, *shares]
        task.save_table("scores", pd.DataFrame(score_rows(about, scores)))
        task.save_table("per_document", loss.per_document.assign(**about))


def _spread_windows(store: ActivationStore, n_tokens: int) -> tuple[Tensor, Tensor | None]:
    """Windows of a harvest's text, `n_tokens` or a little less, with each token's document.

    They are spread evenly over the text: neighbours would come from a handful of documents.
    """
    wanted = max(1, n_tokens // store.context)
    which = torch.linspace(0, store.n_sequences - 1, min(wanted, store.n_sequences)).round().long()
    shards = list(store.shards())
    tokens = torch.cat([shard.tokens for shard in shards])[which].long()
    documents = [shard.documents for shard in shards if shard.documents is not None]
    return tokens, torch.cat(documents)[which] if documents else None


def _share(metric: str, score: Score) -> Score:
    """How far a loss has come from mean ablation (0) to the unspliced model (1)."""
    return Score(
        metric, score.normalised(), 0.0, 1.0, True, n=score.n, unit=score.unit, version=score.version
    )


@dataclass(frozen=True)
class PlaceCells:
    """The cells of one place in one language model."""

    model: LanguageModel
    activations: dict[str, Cell]
    primary: list[Cell]
    rates: list[Cell]
    sweep: list[Cell]
    widths: list[Cell]
    pilots: list[Cell]
    """The primary grid on seeds that measure a metric's noise and are never judged."""
    loss: list[Cell]
    pilot_loss: list[Cell]


def plan_place(profile: Profile, model: LanguageModel) -> PlaceCells:
    """Activations, arms and evals at one place."""
    place = Place(model.subject, weights_of(model.subject), model.backend, model.hook, model.model_dtype)
    activations = {
        split: _reading_cell(profile, model, place, split, n)
        for split, n in {"train": model.train_tokens, "held_out": model.heldout_tokens}.items()
    }
    grid = profile.real
    d_sae = model.d_sae or grid.d_sae

    def made(names: ArmNames, architecture: str, k: int, seed: int, rate: float, width: int = d_sae) -> Cell:
        one = arm(names, architecture_name=architecture, l0=k, d_sae=width, seed=seed, learning_rate=rate)
        return _training_cell(profile, model, one, k, activations)

    rate = grid.learning_rate
    primary = [made(a, grid.architecture, grid.l0, s, rate) for s in grid.seeds for a in grid.arms]
    rates = [
        made(a, grid.architecture, grid.l0, grid.seeds[0], other)
        for other in grid.other_learning_rates
        for a in grid.learning_rate_arms
    ]
    sweep = [
        made(a, s.architecture, k, seed, rate)
        for s in grid.sweeps
        for k in s.l0
        for seed in s.seeds
        for a in s.arms
    ]
    widths = [
        made(a, grid.architecture, grid.l0, seed, rate, w.d_sae)
        for w in grid.widths
        for seed in w.seeds
        for a in w.arms
    ]
    pilots = [
        made(a, grid.architecture, grid.l0, seed, rate) for seed in grid.pilot_seeds for a in grid.pilot_arms
    ]
    loss, pilot_loss = (
        [_loss_cell(profile, model, place, cell, activations) for cell in some] for some in (primary, pilots)
    )
    return PlaceCells(model, activations, primary, rates, sweep, widths, pilots, loss, pilot_loss)


def _reading_cell(profile: Profile, model: LanguageModel, place: Place, split: str, n_tokens: int) -> Cell:
    capped = 1024 if model.train_tokens < 5_000_000 else None
    text = TextSpec(sources=named_sources(model.sources), document_tokens=capped)
    reading = Reading(
        place,
        text,
        split,
        n_tokens,
        model.context,
        model.storage_dtype,
        model.shard_tokens,
        model.drop_first,
        profile.device,
    )
    bytes_each = 4 if model.storage_dtype == "float32" else 2
    return read_activations.cell(
        reading,
        label=f"{split.replace('_', '-')} activations at {model.hook} of {model.subject}",
        stage="harvest",
        cost=Cost(
            10.0 + n_tokens / model.tokens_per_second,
            disk_bytes=n_tokens * model.d_model * bytes_each,
            memory_bytes=3 * 10**9,
        ),
    )


def _training_cell(
    profile: Profile, model: LanguageModel, one: Arm, k: int, activations: dict[str, Cell]
) -> Cell:
    grid = profile.real
    run = RealRun(
        one, k, model.hook, grid.batch_size, grid.steps, Training(), profile.precision, profile.device
    )
    seconds = profile.training_seconds(
        batch_size=grid.batch_size, steps=grid.steps, d_sae=one.d_sae, d_in=model.d_model
    )
    width = "" if one.d_sae == (model.d_sae or grid.d_sae) else f" with {one.d_sae:,} latents"
    return train_on_activations.cell(
        run,
        inputs=activations,
        label=f"{model.hook}: {one.label}{width}",
        stage="arms",
        cost=Cost(
            1.0 if one.constraint.name == "untrained" else seconds, disk_bytes=9 * one.d_sae * model.d_model
        ),
    )


def _loss_cell(
    profile: Profile, model: LanguageModel, place: Place, trained: Cell, activations: dict[str, Cell]
) -> Cell:
    run: RealRun = trained.config
    return measure_loss.cell(
        LossEval(place, profile.real.loss_tokens, run.arm, run.l0, profile.device),
        inputs={"sae": trained, **activations},
        label=f"cross-entropy and KL of {run.arm.label}",
        stage="downstream",
        cost=Cost(1.0 + profile.real.loss_tokens / model.tokens_per_second),
    )


def cells(profile: Profile) -> list[Cell]:
    """All cells of the chapter."""
    places = [plan_place(profile, model) for model in profile.models]
    return [
        cell
        for p in places
        for cell in [*p.primary, *p.rates, *p.sweep, *p.widths, *p.pilots, *p.loss, *p.pilot_loss]
    ]


@dataclass(frozen=True)
class RealTables:
    """What the chapter shows, one row per arm x seed x metric, or per step."""

    scores: pd.DataFrame
    """The primary grid: every metric."""
    rates: pd.DataFrame
    """The first seed at every learning rate: reconstruction."""
    sweep: pd.DataFrame
    """Other architectures and L0s, one seed: reconstruction."""
    curves: pd.DataFrame
    """Along the training of the primary grid."""
    data: dict[str, Any]
    """Tokens: unique, seen, held out; epochs."""
    text: dict[str, Any]
    """Tokens by source, documents, hashes."""
    found: list[Result]
    widths: pd.DataFrame
    """Other numbers of latents: reconstruction."""
    pilots: pd.DataFrame
    """Seeds that measure noise and are never judged: every metric."""


def tables(profile: Profile, store: LocalStore | None = None) -> list[RealTables]:
    """The chapter's tables, one entry per place, computed first where they are missing."""
    made = []
    for model in profile.models:
        place = plan_place(profile, model)
        parts = ("primary", "rates", "sweep", "widths", "pilots", "loss", "pilot_loss")
        found = {name: results(getattr(place, name), store) for name in parts}
        (text,) = results([place.activations["train"]], store)
        primary, first = found["primary"], profile.real.seeds[0]
        at_shared_rate = [
            r for r, c in zip(primary, place.primary, strict=True) if c.config.arm.seed == first
        ]
        made.append(
            RealTables(
                scores=stack([r.table("scores") for r in [*primary, *found["loss"]]]),
                rates=stack([r.table("scores") for r in [*at_shared_rate, *found["rates"]]]),
                sweep=stack([r.table("scores") for r in [*at_shared_rate, *found["sweep"]]]),
                curves=stack([r.table("curve") for r in primary]),
                data=primary[0].json("data"),
                text=text.json("text"),
                found=[r for part in found.values() for r in part],
                widths=stack([r.table("scores") for r in found["widths"]]),
                pilots=stack([r.table("scores") for r in [*found["pilots"], *found["pilot_loss"]]]),
            )
        )
    return made


def with_achieved_l0(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores of the sweep with one column per metric, so that one can be drawn against achieved L0."""
    index = ["architecture", "constraint", "init", "seed", "l0_target"]
    return scores.pivot_table(index=index, columns="metric", values="value", sort=False).reset_index()
