"""From the names in a profile to arms, and from scores to tidy rows."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from torch import Tensor

from sanity.baselines import (
    Cov,
    FrozenBoth,
    FrozenDecoder,
    FrozenEncoder,
    Iso,
    SoftFrozenDecoder,
    Untrained,
)
from sanity.errors import BadInputError
from sanity.evals import Score
from sanity.models import (
    Architecture,
    Arm,
    Autoencoder,
    BatchTopK,
    Constraint,
    Init,
    JumpReLU,
    Matryoshka,
    ReLU,
    TopK,
    Trained,
)
from sanity.profiles import ArmNames

log = logging.getLogger("sanity")

CONSTRAINTS: dict[str, Constraint] = {
    "trained": Trained(),
    "frozen_decoder": FrozenDecoder(),
    "soft_frozen_decoder": SoftFrozenDecoder(),
    "frozen_encoder": FrozenEncoder(),
    "frozen_both": FrozenBoth(),
    "untrained": Untrained(),
}
INITS: dict[str, Init] = {"iso": Iso(), "cov": Cov()}


def architecture(name: str, l0: int) -> Architecture:
    """The architecture called `name` with (a target of) `l0` active latents per sample."""
    made: dict[str, Architecture] = {
        "relu": ReLU(target_l0=l0),
        "topk": TopK(k=l0),
        "batchtopk": BatchTopK(k=l0),
        "jumprelu": JumpReLU(target_l0=l0),
        "matryoshka": Matryoshka(k=l0),
    }
    return made[name]


def arm(
    names: ArmNames, *, architecture_name: str, l0: int, d_sae: int, seed: int, learning_rate: float
) -> Arm:
    """The arm that a profile's entry names."""
    return Arm(
        architecture=architecture(architecture_name, l0),
        d_sae=d_sae,
        constraint=CONSTRAINTS[names.constraint],
        init=INITS[names.init],
        seed=seed,
        learning_rate=learning_rate,
    )


def describe(experiment: str, place: str, arm: Arm, l0: int) -> dict[str, Any]:
    """The columns of a tidy row that say which arm it is about."""
    return {
        "experiment": experiment,
        "world_or_hook": place,
        "architecture": type(arm.architecture).__name__.lower(),
        "constraint": next(name for name, made in CONSTRAINTS.items() if made == arm.constraint),
        "init": next(name for name, made in INITS.items() if made == arm.init),
        "seed": arm.seed,
        "learning_rate": arm.learning_rate,
        "l0_target": l0,
        "d_sae": arm.d_sae,
    }


def at_matched_l0(sae: Autoencoder, x: Tensor, target: int) -> Autoencoder:
    """The SAE with its thresholds moved by one offset so that L0 on `x` is `target` within 2 %.

    Arms are compared at one sparsity: training leaves them at slightly different ones. An SAE that cannot
    get there (too few latents are ever positive) stays as it is, which its L0 in every table shows.
    """
    try:
        return sae.calibrate_l0(x, target)
    except BadInputError as error:
        log.warning("L0 is not matched: %s", error)
        return sae


def score_rows(about: dict[str, Any], scores: Iterable[Score]) -> list[dict[str, Any]]:
    """One tidy row per score."""
    return [{**about, **score.row()} for score in scores]


def stack(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The frames one below the other, with a fresh index; an empty frame for none."""
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def named_curve(curve: pd.DataFrame) -> pd.DataFrame:
    """A run's curve with plain column names: `samples` seen, what recovery measured, `..._held_out`."""

    def plain(name: str) -> str:
        probe, _, value = name.rpartition(".")
        return f"{value}_held_out" if probe == "held_out" else value

    return curve.rename(columns=plain).rename(columns={"tokens": "samples"})
