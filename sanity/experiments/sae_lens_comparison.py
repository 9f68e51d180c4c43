"""The same autoencoders on the same samples, scored by sae-lens and by us.

A profile asks for it by `analyses: {sae_lens_comparison: {grids: [...]}}`; sae-lens must be installed then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any, ClassVar

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from sanity.engine.cells import Cell, Cost, Task, computes
from sanity.errors import BadInputError
from sanity.evals.detection import detection_f1
from sanity.evals.feature_recovery import mean_matched_cosine, uniqueness
from sanity.evals.latent_detection import latent_f1
from sanity.evals.reconstruction import reconstruction_scores
from sanity.evals.truth import Truth, truth_of
from sanity.experiments.plans import Plan, PlannedRun
from sanity.models import Autoencoder, load_sae
from sanity.profiles import built
from sanity.sources import RunSpec, World
from sanity.sources.base import FIRST_HELD_OUT_STEP

_SECONDS = 0.3
"""Loading the library included, which is done once for all of them."""


@dataclass(frozen=True)
class ComparisonFields:
    """What a profile may say of this analysis."""

    grids: tuple[str, ...] = ()
    """Whose SAEs of the first seed are compared."""


@dataclass(frozen=True)
class LibraryComparison:
    """One SAE, evaluated by both libraries on the same samples."""

    run: RunSpec
    sae_lens: str
    """Its version."""
    known_as: ClassVar[str] = "Comparison"


def sae_lens_version() -> str | None:
    """The version of sae-lens that is installed, or None."""
    try:
        return metadata.version("sae-lens")
    except metadata.PackageNotFoundError:
        return None


def chosen(plan: Plan) -> list[tuple[PlannedRun, Cell]]:
    """The runs that are compared, each with its cell."""
    given = plan.analysis("sae_lens_comparison")
    fields = built(ComparisonFields, given, "the analysis sae_lens_comparison")
    runs = [run for grid in fields.grids for run in plan.grid(grid)]
    if not runs:
        return []
    version = sae_lens_version()
    if version is None:
        raise BadInputError(
            "the profile compares with sae-lens, which is not installed: install it "
            "(pip install sae-lens), or take a profile without the analysis sae_lens_comparison"
        )
    first = min(run.run.arm.seed for run in runs)
    return [(run, _cell(run, version)) for run in runs if run.run.arm.seed == first]


def _cell(run: PlannedRun, version: str) -> Cell:
    return compare_with_sae_lens.cell(
        LibraryComparison(run.run, version),
        inputs={"sae": run.trained},
        label=f"{run.run.label}: scored by sae-lens too",
        stage="sae-lens",
        cost=Cost(_SECONDS, disk_bytes=10_000, memory_bytes=1_500_000_000),
        threads=1,
    )


def cells(plan: Plan) -> list[Cell]:
    """All cells of the analysis; none where the profile does not ask for it."""
    return [cell for _, cell in chosen(plan)]


@computes("compare with sae-lens", version=1, together=lambda cell: cell.config.sae_lens)
def compare_with_sae_lens(tasks: Sequence[Task]) -> None:
    """Keep a table `scores`: score, ours, ours by their reading, theirs."""
    from sae_lens import SAE
    from sae_lens.synthetic.evals import eval_sae_on_synthetic_data

    for task in tasks:
        run: RunSpec = task.config.run
        opened = run.source.open({}, batch_size=run.budget.batch_size, seed=run.arm.seed, device=run.device)
        assert opened.truth is not None
        assert isinstance(run.source, World)
        truth = truth_of(opened.truth, run.source.held_out)
        steps = range(-(-run.source.held_out // run.budget.batch_size))
        samples = [opened.truth.sample(FIRST_HELD_OUT_STEP + i).dense_coefficients() for i in steps]
        same = SameSamples(truth, torch.cat(samples)[: run.source.held_out])
        folder = task.inputs["sae"].folder("sae")
        theirs = eval_sae_on_synthetic_data(
            SAE.load_from_disk(folder, device=run.device), same, same, num_samples=run.source.held_out
        )
        task.save_table("scores", _side_by_side(load_sae(folder), truth, theirs))


class SameSamples:
    """Given samples in the two roles that sae-lens asks for: a generator of features, and a dictionary.

    Only this way are the samples the same, noise and centring included; their own generator draws its own.
    """

    def __init__(self, truth: Truth, coefficients: Float[Tensor, "n n_features"]) -> None:
        self.truth = truth
        self.coefficients = coefficients
        self.feature_vectors = truth.features

    def sample(self, batch_size: int) -> Float[Tensor, "n n_features"]:
        """The true coefficients."""
        return self.coefficients[:batch_size]

    def __call__(self, coefficients: Float[Tensor, "n n_features"]) -> Float[Tensor, "n d_in"]:
        """The samples that they are of."""
        return self.truth.held_out[: len(coefficients)]


def _side_by_side(sae: Autoencoder, truth: Truth, theirs: Any) -> pd.DataFrame:
    features, x = truth.features, truth.held_out
    known = {"features": features, "active": truth.active}
    ours = {name: float(score) for name, score in reconstruction_scores(sae, [x]).items()}
    both = {"explained variance": "explained_variance", "L0": "l0", "dead latents": "dead_latents"}
    their_own = {
        "explained variance": theirs.explained_variance,
        "L0": theirs.sae_l0,
        "dead latents": theirs.dead_latents / sae.d_sae,
    }
    rows: list[tuple[Any, ...]] = [
        (
            "MCC",
            mean_matched_cosine(features, sae.W_dec),
            mean_matched_cosine(features, sae.W_dec, absolute=True),
            theirs.mcc,
        ),
        (
            "uniqueness",
            uniqueness(features, sae.W_dec),
            uniqueness(features, sae.W_dec, absolute=True),
            theirs.uniqueness,
        ),
        (
            "F1",
            detection_f1(sae, x, **known),
            latent_f1(sae, x, absolute=True, **known),
            theirs.classification.f1_score,
        ),
        *((name, ours[metric], ours[metric], their_own[name]) for name, metric in both.items()),
    ]
    return pd.DataFrame(
        [(name, float(a), float(b), float(c)) for name, a, b, c in rows],
        columns=["score", "ours", "by_their_reading", "sae_lens"],
    )
