"""Cells behind both interpretability chapters: unseen text cut into contexts, and where each SAE fires in it.

The judge's chapter shares them:

>>> for place in plan_contexts(profile):                                     # doctest: +SKIP
...     for sae_cell, cell in zip(place.saes, place.contexts):               # one per arm and seed
...         run = sae_cell.config                                            # its .arm and .l0
...         contexts = load_contexts(task.inputs["pool"], task.inputs["contexts"])

where a cell that judges has `inputs={"pool": place.pool, "contexts": cell}`. `contexts` is `None` for an SAE
without an eligible latent (`why_none` says why).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from sanity.data.text import TextSpec, sequences
from sanity.engine.cells import Cell, Cost, Result, Task, computes
from sanity.errors import BadInputError, SanityError
from sanity.evals.interpretability import (
    Contexts,
    Pool,
    collect_contexts,
    cut_windows,
    divided,
    parts_of,
    pieces_of,
)
from sanity.experiments.real_activations import Place, PlaceCells, Reading, RealRun, plan_place
from sanity.models import Arm, load_sae
from sanity.profiles import LanguageModel, Profile
from sanity.subject import ActivationStore, harvest, load_tokenizer


@dataclass(frozen=True)
class MoreText:
    """How far the held-out text is read on."""

    place: Place
    text: TextSpec
    held_out_tokens: int
    extra_tokens: int
    context: int
    storage_dtype: str
    shard_tokens: int
    device: str


@dataclass(frozen=True)
class Cutting:
    """How text becomes contexts."""

    subject: str
    window: int
    drop_first: bool
    seed: int


@dataclass(frozen=True)
class Drawing:
    """How many latents are drawn, and which can be."""

    latents: int
    fewest: int
    seed: int
    """Of the division of the documents, and of the order in which latents are drawn."""
    device: str


@computes(version=1)
def read_on(task: Task) -> None:
    """Read on in the held-out text where the held-out activations end, and keep the tokens of both."""
    config: MoreText = task.config
    text = sequences(
        config.text,
        load_tokenizer(config.place.subject),
        split="held_out",
        n_tokens=config.held_out_tokens + config.extra_tokens,
        context=config.context,
    )
    held_out = ActivationStore(task.inputs["held_out"].folder("activations"))
    known = torch.cat([shard.tokens for shard in held_out.shards()])
    if not torch.equal(known, text.tokens[: len(known)].int()):
        raise SanityError("the held-out text is not the one that was harvested: run the harvest again")
    if len(text.tokens) > len(known):
        harvest(
            config.place.load(config.device),
            text.tokens[len(known) :],
            hook=config.place.hook,
            folder=task.scratch / "activations",
            shard_tokens=config.shard_tokens,
            dtype=getattr(torch, config.storage_dtype),
            drop_first=held_out.drop_first,
        )
        os.rename(task.scratch / "activations", task.folder / "activations")
    task.save_tensors("text", {"tokens": text.tokens.int(), "documents": text.token_documents.int()})
    used = [(document.number, document.source) for document in text.used]
    task.save_table("documents", pd.DataFrame(used, columns=["document", "source"]))
    task.save_json("text", {"text_hash": text.text_hash})


@computes(version=1, threads=1)
def cut_pool(task: Task) -> None:
    """Cut unseen text into windows, and divide its documents into examples and test."""
    config: Cutting = task.config
    text = task.inputs["text"].tensors("text")
    tokenizer = load_tokenizer(config.subject)
    tokens, first_row, documents = cut_windows(
        text["tokens"],
        text["documents"],
        length=config.window,
        drop_first=config.drop_first,
        breaks=tokenizer.all_special_ids,
    )
    table = task.inputs["text"].table("documents")
    source_of = dict(zip(table["document"], table["source"], strict=True))
    sources = [str(source_of[document]) for document in documents.tolist()]
    parts = parts_of(documents.tolist(), sources, seed=config.seed)
    test = torch.tensor([parts[document] == "test" for document in documents.tolist()])
    pieces = pieces_of(tokenizer, [row[row >= 0].tolist() for row in tokens])
    pool = Pool(tokens, first_row, documents, test, tuple(sources), pieces)
    task.save_tensors("pool", pool.tensors())
    task.save_table("windows", pool.table())
    counted = pd.Series(pool.lengths.tolist()).groupby(sources).sum()
    task.save_json(
        "facts",
        {
            "tokens": pool.n_tokens,
            "windows": len(pool),
            "documents": pool.n_documents,
            "tokens_by_source": {str(name): int(n) for name, n in counted.items()},
            "text_hash": task.inputs["text"].json("text")["text_hash"],
        },
    )


def load_pool(result: Result) -> Pool:
    """The pool that `cut_pool` cut, with the division of its documents that known concepts are graded on."""
    return Pool.restore(result.tensors("pool"), result.table("windows"))


def pool_activations(
    text: Result, held_out: Result, train: Result, device: str
) -> Callable[[], Iterator[Tensor]]:
    """The activations of the pool's text, in order, as the SAEs of the place take them."""
    scale = ActivationStore(train.folder("activations")).normalisation
    stores = [ActivationStore(held_out.folder("activations"))]
    if any(name.startswith("activations/") for name in text.files):
        stores.append(ActivationStore(text.folder("activations")))

    def rows() -> Iterator[Tensor]:
        for store in stores:
            for part in store.rows(normalisation=scale):
                yield part.to(device)

    return rows


def _shares_text(cell: Cell) -> object:
    """SAEs of one seed that read the same text: the windows and activations are loaded once for them."""
    return [
        {name: c.key for name, c in cell.inputs if name != "sae"},
        dict(cell.inputs)["sae"].config.arm.seed,
    ]


@computes(version=2, together=_shares_text, threads=1)
def draw_latents(tasks: list[Task]) -> None:
    """Divide the documents and draw latents of each SAE, anew for each seed; keep where these fire."""
    inputs = tasks[0].inputs
    pool = divided(load_pool(inputs["pool"]), seed=tasks[0].config.seed)
    rows = pool_activations(inputs["text"], inputs["held_out"], inputs["train"], tasks[0].config.device)
    kept = list(rows()) if pool.n_tokens < 500_000 else None

    def activations() -> Iterable[Tensor]:
        return rows() if kept is None else kept

    for task in tasks:
        config: Drawing = task.config
        sae = load_sae(task.inputs["sae"].folder("sae")).to(device=config.device)
        try:
            contexts = collect_contexts(
                sae, pool, activations, n=config.latents, fewest=config.fewest, seed=config.seed
            )
        except BadInputError as error:
            # An arm may have no latent to ask about: the book says so, and goes on with the others.
            task.save_json("none", {"why": str(error)})
            continue
        task.save_tensors("contexts", contexts.tensors())
        task.save_json("counts", contexts.facts())


def why_none(result: Result) -> str | None:
    """Why no latent of an SAE could be drawn; `None` if some were."""
    return str(result.json("none")["why"]) if "none.json" in result.files else None


def load_contexts(pool: Result | Pool, contexts: Result) -> Contexts | None:
    """What `draw_latents` kept; `None` if no latent of the SAE was eligible."""
    if why_none(contexts) is not None:
        return None
    cut = pool if isinstance(pool, Pool) else load_pool(pool)
    return Contexts.restore(cut, contexts.tensors("contexts"), contexts.json("counts"))


def draw_seed(seed: int, arm: Arm) -> int:
    """By which everything is drawn that an arm is asked: one seed for all arms of a training seed.

    What an evaluation draws is drawn anew with every training seed, so that seeds carry its noise, too.
    """
    return seed + arm.seed


@dataclass(frozen=True)
class ContextCells:
    """The cells of one place in one language model; `contexts` runs along with `saes`."""

    model: LanguageModel
    place: PlaceCells
    text: Cell
    pool: Cell
    saes: list[Cell]
    contexts: list[Cell]


def plan_contexts(profile: Profile) -> list[ContextCells]:
    """Pool and contexts of the primary grid at every place."""
    return [_plan_place(profile, model) for model in profile.models]


def _plan_place(profile: Profile, model: LanguageModel) -> ContextCells:
    grid = profile.interpretability
    place = plan_place(profile, model)
    reading: Reading = place.activations["held_out"].config
    more = MoreText(
        reading.place,
        reading.text,
        model.heldout_tokens,
        grid.extra_tokens,
        model.context,
        model.storage_dtype,
        model.shard_tokens,
        profile.device,
    )
    text = read_on.cell(
        more,
        inputs={"held_out": place.activations["held_out"]},
        label=f"more unseen text at {model.hook} of {model.subject}",
        stage="downstream",
        cost=Cost(
            5.0 + (grid.extra_tokens and 3.0 + grid.extra_tokens / model.tokens_per_second),
            disk_bytes=grid.extra_tokens * model.d_model * (4 if model.storage_dtype == "float32" else 2),
            memory_bytes=3 * 10**9,
        ),
    )
    pool = cut_pool.cell(
        Cutting(model.subject, grid.window, model.drop_first, grid.seed),
        inputs={"text": text},
        label=f"contexts to choose from, of unseen text for {model.subject}",
        stage="downstream",
        cost=Cost(1.0 + (model.heldout_tokens + grid.extra_tokens) / 50_000),
    )
    inputs = {"pool": pool, "text": text, **place.activations}
    contexts = [_drawing_cell(profile, model, sae, inputs) for sae in place.primary]
    return ContextCells(model, place, text, pool, place.primary, contexts)


def _drawing_cell(profile: Profile, model: LanguageModel, sae: Cell, inputs: Mapping[str, Cell]) -> Cell:
    grid = profile.interpretability
    run: RealRun = sae.config
    n_tokens = model.heldout_tokens + grid.extra_tokens
    return draw_latents.cell(
        Drawing(grid.latents, grid.fewest, draw_seed(grid.seed, run.arm), profile.device),
        inputs={"sae": sae, **inputs},
        label=f"contexts of {run.arm.label}",
        stage="downstream",
        cost=Cost(
            0.1 + n_tokens * run.arm.d_sae * (model.d_model * profile.seconds_per_product + 1e-9),
            disk_bytes=2_000_000,
        ),
    )
