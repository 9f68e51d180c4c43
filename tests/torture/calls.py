"""Bad calls of public functions: each is one clear error of ours. To add some, add rows to `TABLE`.

A row is a call and, by the name of an argument, values that it must refuse.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torture.workplace import HOOK, EmbeddingSubject

import sanity
from sanity.data import SyntheticSpec
from sanity.data.synthetic import SyntheticStream
from sanity.engine.naming import parsed
from sanity.engine.store import open_store
from sanity.errors import SanityError
from sanity.evals import Eval, explained_variance
from sanity.evals.judging.settings import Endpoint
from sanity.evals.reconstruction import reconstruction_scores
from sanity.models import (
    Arm,
    Constraint,
    JumpReLU,
    ReLU,
    TopK,
    Training,
    check_sae,
    load_sae,
    save_sae,
    train,
)
from sanity.profiles import load, read_profile
from sanity.publishing import build_book
from sanity.publishing.chapters import read_chapters
from sanity.sources import Budget, World
from sanity.stats import t_interval
from sanity.stats.equivalence import tost
from sanity.subject import ActivationStore, ActivationStream, harvest, load_subject

NAN, INF, HUGE = math.nan, math.inf, 2**70
SPEC = SyntheticSpec(d_in=8, n_features=20, expected_l0=2.0)
ARM = Arm(TopK(2), 12)
SIZES = [0, -1, 2.5, "12", None, True]
AMOUNTS = [-1.0, NAN, INF, "0.1"]
TOKENS = torch.zeros(4, 8, dtype=torch.long)

Row = tuple[Callable[..., Any], Mapping[str, list[Any]]]


@functools.cache
def stream() -> SyntheticStream:
    return SyntheticStream(sanity.SyntheticWorld.from_spec(SPEC), batch_size=16, seed=0)


@functools.cache
def sae() -> Any:
    return train([ARM], stream(), steps=0)[0].sae


def with_defaults(function: Callable[..., Any], **usual: Any) -> Callable[..., Any]:
    """The function with sound arguments, some of which a row replaces."""
    return lambda **given: function(**{**usual, **given})


def table(folder: Path) -> dict[str, Row]:
    """All rows; `folder` is for what has to lie on a disk."""
    (folder / "file").touch()
    (folder / "empty").mkdir(exist_ok=True)
    (folder / "loop").symlink_to(folder / "loop")
    places = [folder / "nothing", folder / "file", folder / "empty", folder / "loop", folder / ("n" * 300)]
    unwritable = [folder / "file", folder / "file" / "deep", folder / "loop", folder / ("n" * 300)]
    harvested = with_defaults(
        harvest, subject=EmbeddingSubject(), sequences=TOKENS, hook=HOOK, folder=folder / "harvest"
    )
    kept = harvested(sequences=torch.arange(32).view(4, 8))
    return {
        "Arm": (
            with_defaults(Arm, architecture=TopK(2), d_sae=12),
            {
                "architecture": ["topk", None, TopK, TopK(0), TopK(-1), TopK(13), JumpReLU(0.0)],
                "d_sae": SIZES,
                "learning_rate": [*AMOUNTS, None],
                "seed": [HUGE, 1.5, "0", None],
                "constraint": ["trained", None],
                "init": ["iso", None],
                "objective": ["plain", None],
            },
        ),
        "TopK": (TopK, {"k": SIZES[2:]}),
        "JumpReLU": (JumpReLU, {"target_l0": AMOUNTS[1:]}),
        "ReLU": (ReLU, {"target_l0": AMOUNTS[1:]}),
        "Training": (
            Training,
            {
                "epsilon": [0.0, *AMOUNTS],
                "gradient_clip": [0.0, *AMOUNTS],
                "auxiliary": AMOUNTS,
                "warmup": [1.5, *AMOUNTS],
                "beta1": [1.0, *AMOUNTS],
                "weight_decay": AMOUNTS,
                "curve_points": SIZES,
                "dead_after_tokens": SIZES,
            },
        ),
        "SyntheticSpec": (
            SyntheticSpec,
            {
                "d_in": SIZES,
                "n_features": SIZES,
                "expected_l0": AMOUNTS,
                "probabilities": ["uniform", None],
                "seed": [HUGE, "0", 0.5],
                "coefficient_sigma": AMOUNTS,
            },
        ),
        "SyntheticWorld": (
            with_defaults(sanity.SyntheticWorld.from_spec, spec=SPEC),
            {"spec": [{"d_in": 3}, None], "device": ["tpu:7", "cuda:99", "", 3.5]},
        ),
        "SyntheticStream": (
            with_defaults(
                SyntheticStream, world=sanity.SyntheticWorld.from_spec(SPEC), batch_size=16, seed=0
            ),
            {"batch_size": SIZES, "seed": [HUGE, "0"]},
        ),
        "Budget": (
            with_defaults(Budget, steps=1, batch_size=16),
            {"steps": [-1, 2.5, "3"], "batch_size": SIZES},
        ),
        "train": (
            with_defaults(train, arms=[ARM], stream=stream(), steps=1),
            {
                "arms": [[], ARM, [ARM, ARM], ["topk"], None],
                "stream": ["stream", None],
                "steps": [-1, 2.5, "10"],
                "precision": [16, "float16", "fp8"],
                "folder": unwritable,
                "checkpoint_every_s": [NAN, "1"],
            },
        ),
        "check_sae": (check_sae, {"sae": [None, "sae", object(), torch.zeros(2, 2)]}),
        "load_sae": (load_sae, {"folder": [*places, 3, None]}),
        "save_sae": (with_defaults(save_sae, sae=sae()), {"folder": unwritable}),
        "encode": (
            lambda x: sae().encode(x),
            {"x": [np.zeros((2, 8)), torch.zeros(2, 5), torch.zeros(2, 8, dtype=torch.long), None, "x"]},
        ),
        "to": (lambda **given: sae().to(**given), {"device": ["tpu:7", "cuda:99"], "dtype": [torch.int8]}),
        "calibrate_l0": (
            lambda target: sae().calibrate_l0(torch.randn(64, 8), target),
            {"target": [0, 13, "3", NAN]},
        ),
        "explained_variance": (
            with_defaults(explained_variance, x=torch.zeros(2, 3), x_hat=torch.zeros(2, 3)),
            {"x": [np.zeros((2, 3)), torch.zeros(3), None], "x_hat": [torch.zeros(2, 4), "x"]},
        ),
        "reconstruction_scores": (
            with_defaults(reconstruction_scores, sae=sae(), batches=[torch.zeros(3, 8)]),
            {"sae": [None], "batches": [[np.zeros((3, 8))], []]},
        ),
        "evaluate": (
            with_defaults(sanity.evaluate, sae=sae(), source=World(SPEC)),
            {
                "sae": [None, "sae"],
                "source": ["world", None, World()],
                "evals": ["loss", ["nothing"], ["loss"], [3]],
                "device": ["tpu:7", "cuda:99"],
            },
        ),
        "load_subject": (
            with_defaults(load_subject, name_or_folder="smollm2-135m"),
            {
                "name_or_folder": [3, None, *map(str, places)],
                "device": ["tpu:8"],
                "dtype": ["float32", torch.int64],
                "backend": ["other", None],
            },
        ),
        "harvest": (
            harvested,
            {
                "hook": ["blocks.9.hook_resid_post", "", 3],
                "sequences": [TOKENS.float(), TOKENS[0], TOKENS[:0], None, [[1, 2]]],
                "folder": unwritable,
                "dtype": [torch.int8, torch.float64],
                "shard_tokens": SIZES,
            },
        ),
        "ActivationStore": (ActivationStore, {"folder": places}),
        "ActivationStream": (
            with_defaults(ActivationStream, store=kept, batch_size=2, seed=0),
            {"batch_size": [0, -1], "pool_shards": [0, -1]},
        ),
        "named": (
            Eval.named,
            {"spelled": ["nothing", "loss(", "loss(tokens=)", "loss(what=3)", "__import__('os')"]},
        ),
        "constraint": (Constraint.named, {"spelled": ["", "frozen", "soft_frozen_decoder(cosine=x)"]}),
        "parsed": (parsed, {"spelled": ["a b", "1", "f(1)"]}),
        "load": (load, {"name": ["huge", "", str(folder / "file"), str(folder / "nothing.yaml")]}),
        "read_profile": (
            with_defaults(read_profile, name="mine"),
            {
                "text": [
                    "",
                    "[]",
                    "a: [",
                    "about: x",
                    "about: x\ngrids: {a: {like: b}}",
                    "\x00",
                    "!!python/object:os.x {}",
                ]
            },
        ),
        "open_store": (open_store, {"root": [*unwritable, "~nobody-of-that-name/x", "\0"]}),
        "read_chapters": (read_chapters, {"root": [folder / "empty", folder / "file"]}),
        "build_book": (build_book, {"profile": ["huge", str(folder / "file")]}),
        "t_interval": (t_interval, {"differences": [[], [1.0], [NAN, 1.0], ["a", "b"]]}),
        "tost": (with_defaults(tost, differences=[0.1, 0.2, 0.3]), {"margin": [-1, NAN]}),
        "Endpoint": (
            with_defaults(Endpoint, url="http://localhost:1/v1"),
            {
                "url": ["ftp://x", "http://", "localhost", "http://x:99999", "http://u:p@x/v1"],
                "budget_tokens": [0, -1, "many", INF],
                "timeout": [0, -1, INF, NAN],
                "price_prompt": AMOUNTS[:-1],
            },
        ),
    }


def all_calls(folder: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Every call of the table, with words for it."""
    for name, (function, refused) in table(folder).items():
        for argument, values in refused.items():
            for number, value in enumerate(values):
                yield f"{name}({argument} #{number})", functools.partial(function, **{argument: value})


def fault(call: Callable[[], Any]) -> str:
    """What is wrong with how a call is refused; "" when it is one clear error."""
    try:
        value = call()
    except SanityError as error:
        said = str(error)
        return "" if len(said) > 20 and "\n" not in said.strip() else f"says only {said!r}"
    except Exception as error:
        return f"raises {type(error).__name__}: {error}"
    return f"is taken, and gives {type(value).__name__}"


def check_all(folder: Path) -> Counter[str]:
    """Make every call; the numbers of calls by what they are of."""
    folder = folder / "calls"
    folder.mkdir()
    counts, faults = Counter[str](), dict[str, str]()
    for words, call in all_calls(folder):
        counts[words.partition("(")[0]] += 1
        if found := fault(call):
            faults[words] = found
    assert not faults, "\n".join(f"{words} {found}" for words, found in faults.items())
    return counts
