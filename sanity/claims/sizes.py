"""The size of what was measured, against the size at which a claim was made.

A printed number is a fact about its sizes: the share of features that an SAE finds among 3,200 in 100
dimensions says nothing about 640 in 40. So an expected value is judged at the claim's scale only and stays
open elsewhere, its measured value shown. A comparison is held against a margin that is a fraction of the
metric's range, which every scale has: it is judged anywhere, and said to be at another scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from sanity.claims.schema import Scale
from sanity.claims.selection import ANY_OTHER
from sanity.profiles import Profile

Size = Mapping[str, int | str]
"""What a result was measured on, by the names of the fields of `Scale`."""

Sizes = Mapping[tuple[str, str], Size]
"""(experiment, world or hook) -> its size; `ANY_OTHER` stands for experiments without their own entry."""

# Budgets are multiples of a batch: 500 million tokens are 122,070 batches of 4,096.
SAME = 0.01
TOY_EXPERIMENTS = ("synthetic_recovery", "synthetic_recovery_early")


def measured_sizes(profile: Profile) -> dict[tuple[str, str], Size]:
    """What each experiment measures on at `profile`."""
    sizes: dict[tuple[str, str], Size] = {}
    toy, real = profile.toy, profile.real
    for world in toy.worlds:
        size: Size = {
            "d_in": world.d_in, "n_features": world.n_features, "d_sae": toy.d_sae, "l0": toy.l0,
            "samples": toy.batch_size * toy.steps,
        }  # fmt: skip
        sizes.update({(experiment, world.probabilities): size for experiment in TOY_EXPERIMENTS})
    for model in profile.models:
        sizes[ANY_OTHER, model.hook] = {
            "subject": model.subject, "d_in": model.d_model, "d_sae": model.d_sae or real.d_sae,
            "samples": real.batch_size * real.steps,
        }  # fmt: skip
    return sizes


def size_at(sizes: Sizes, experiment: str, place: str) -> Size:
    """The size of what an experiment measured at a place; empty where nobody has said."""
    return sizes.get((experiment, place), sizes.get((ANY_OTHER, place), {}))


def at_another_scale(scale: Scale, size: Size) -> str:
    """In what `size` differs from `scale`, in words; empty where they agree in all that the scale names."""
    claimed = scale.model_dump(exclude={"label"}, exclude_none=True)
    if not size:
        return f"made at {scale.label}; the size of what was measured here is not known"
    differing = {name: wanted for name, wanted in claimed.items() if not _same(size.get(name), wanted)}
    if not differing:
        return ""
    here = ", ".join(f"{name} {_text(size.get(name, 'not known'))}" for name in differing)
    there = ", ".join(f"{name} {_text(wanted)}" for name, wanted in differing.items())
    return f"made at {scale.label} ({there}); measured here at {here}"


def _same(found: int | str | None, wanted: int | str) -> bool:
    if isinstance(found, int) and isinstance(wanted, int):
        return math.isclose(found, wanted, rel_tol=SAME)
    return found == wanted


def _text(value: int | str) -> str:
    return f"{value:,}" if isinstance(value, int) else value
