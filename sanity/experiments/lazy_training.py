"""Cells of the chapter `lazy_training`: how far directions move, and what cones allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from sanity.baselines import FrozenDecoder, Iso, SoftFrozenDecoder, Trained
from sanity.engine.cells import Cell, Result
from sanity.engine.computing import results
from sanity.engine.store import LocalStore
from sanity.experiments import real_activations
from sanity.experiments.grid import stack
from sanity.experiments.lazy_training_alignment import alignment_cells
from sanity.experiments.lazy_training_cones import cone_cells
from sanity.experiments.lazy_training_course import TENTH, course_cells
from sanity.experiments.lazy_training_geometry import geometry_cell, geometry_rows
from sanity.experiments.lazy_training_scaling import scaling_cells
from sanity.experiments.lazy_training_sources import EXPERIMENT
from sanity.profiles import Profile

EARLY = f"{EXPERIMENT}_tenth"
"""The experiment whose rows are those of `lazy_training` at a tenth of the steps."""
NOISE = f"{EXPERIMENT}_noise"
"""The experiment whose rows are soft-frozen arms on Gaussian noise of the activations' covariance."""


@dataclass(frozen=True)
class LazyCells:
    """The chapter's cells by part."""

    primary: list[Cell]
    """Trained arms of the primary grid on real activations, one per seed; another chapter's cells."""
    course: dict[str, list[Cell]]
    cones: dict[str, list[Cell]]
    geometry: Cell
    scaling: list[Cell]
    alignment: list[Cell]

    def all(self) -> list[Cell]:
        """Every cell, those of the other chapter included."""
        parts = [*self.course.values(), *self.cones.values(), [self.geometry], self.scaling, self.alignment]
        return [*self.primary, *(cell for part in parts for cell in part)]


def plan_lazy(profile: Profile) -> LazyCells:
    """What the chapter needs at `profile`; real activations are those of its first place."""
    place = real_activations.plan_place(profile, profile.models[0])
    iso = [c for c in place.primary if c.config.arm.init == Iso()]
    primary = [c for c in iso if c.config.arm.constraint == Trained()]
    softly = [c for c in iso if isinstance(c.config.arm.constraint, SoftFrozenDecoder)]
    return LazyCells(
        primary=primary,
        course=course_cells(profile, place.activations),
        cones=cone_cells(profile, place.activations, softly),
        geometry=geometry_cell(profile),
        scaling=scaling_cells(profile),
        alignment=alignment_cells(profile, place.activations),
    )


def cells(profile: Profile) -> list[Cell]:
    """All cells of the chapter."""
    return plan_lazy(profile).all()


def scores(profile: Profile, store: LocalStore | None = None) -> tuple[pd.DataFrame, list[Result]]:
    """Rows that claims may judge, and the results they are from; computed first where they are missing.

    `lazy_training` is the trained arm of the primary grid at its end and `lazy_training_tenth` the same runs
    at a tenth of their steps, with explained variance on the same held-out tokens. `lazy_training` also has
    the soft-frozen arm's share of latents on the edge, and `lazy_training_noise` the same arm's on noise of
    the same covariance, at as many steps and on the same seeds. `cone_geometry` is what the paper's formula
    and the cones' reach give at the paper's sizes.
    """
    plan = plan_lazy(profile)
    followed, tenth = plan.course["real"], plan.course["tenth"]
    primary = results(plan.primary, store)
    found_followed, found_tenth = results(followed, store), results(tenth, store)
    (geometry,) = results([plan.geometry], store)
    at_tenth = tenths(found_followed, found_tenth)
    rows = [geometry_rows(geometry.table("exact"))]
    for result in primary:
        table = result.table("scores")
        both = table[table["metric"].isin(["cosine_to_init", "explained_variance"])]
        curve = result.table("curve").dropna(subset=["explained_variance_held_out"])
        ends = {
            EXPERIMENT: float(curve["explained_variance_held_out"].iloc[-1]),
            EARLY: _at_share(curve, "explained_variance_held_out", 1 / TENTH),
        }
        seed = int(table["seed"].iloc[0])
        cosines = {
            EXPERIMENT: float(both[both["metric"] == "cosine_to_init"]["value"].iloc[0]),
            EARLY: at_tenth[seed],
        }
        for experiment in (EXPERIMENT, EARLY):
            values = {"explained_variance": ends[experiment], "cosine_to_init": cosines[experiment]}
            rows.append(both.assign(experiment=experiment, value=both["metric"].map(values)))
    edges = {
        name: results(plan.cones[part], store) for name, part in ((EXPERIMENT, "edge"), (NOISE, "noise"))
    }
    for experiment, found in edges.items():
        rows += [_edge_rows(result).assign(experiment=experiment) for result in found]
    subject = profile.models[0].subject
    frames = [rows[0], *(frame.assign(subject=subject) for frame in rows[1:])]
    others = [result for found in edges.values() for result in found]
    return stack(frames), [*primary, *found_followed, *found_tenth, *others, geometry]


def _edge_rows(result: Result) -> pd.DataFrame:
    """The share of latents on the edge of their cone, without the columns of the sweep."""
    table = result.table("scores").drop(columns=["gaussian", "tau"])
    return table[table["metric"] == "share_on_edge"]


def tenths(followed: Sequence[Result], replayed: Sequence[Result]) -> dict[int, float]:
    """Mean cosine of decoder rows to init at a tenth of the steps, by seed."""
    found = {}
    for result in followed:
        curve = result.table("curve").dropna(subset=["cosine_decoder"])
        found[int(curve["seed"].iloc[0])] = _at_share(curve, "cosine_decoder", 1 / TENTH)
    for result in replayed:
        read = result.json("tenth")
        found[int(read["seed"])] = float(read["mean"])
    return found


def _at_share(curve: pd.DataFrame, column: str, share: float) -> float:
    """A curve's value at a share of its steps, which it holds exactly."""
    step = int(curve["step"].max() * share)
    return float(curve.loc[curve["step"] == step, column].iloc[0])


@dataclass(frozen=True)
class LazyTables:
    """What the chapter shows."""

    curves: pd.DataFrame
    """Along the followed trainings: mean cosines, supports, first-order model, kernel."""
    cosines: pd.DataFrame
    """Quantiles over latents of cosines to init, by step, side and firing frequency."""
    latents: pd.DataFrame
    """The latents of the followed runs at their end."""
    sweep: pd.DataFrame
    """Scores over tau, on samples and on Gaussian noise of the same covariance."""
    loss: pd.DataFrame
    """Cross-entropy and KL over tau; empty where the profile leaves them out."""
    primary: pd.DataFrame
    """Scores of the primary grid on real activations at tau = 1, 0.8 and -1, all seeds, with the edge.

    Where `gaussian`, those of tau = 0.8 on noise, at the same steps and on the same seeds.
    """
    exact: pd.DataFrame
    simulated: pd.DataFrame
    scaled: pd.DataFrame
    seeds: pd.DataFrame
    """Latents of one seed against those of another, with nulls."""
    scores: pd.DataFrame
    found: list[Result]


def tables(profile: Profile, store: LocalStore | None = None) -> LazyTables:
    """The chapter's tables, computed first where they are missing."""
    plan = plan_lazy(profile)
    results(plan.all(), store)  # in one call, so that work is shared and runs side by side

    def of(some: Sequence[Cell]) -> list[Result]:
        return results(some, store)

    followed = of([*plan.course["toy"], *plan.course["real"]])
    apart = ("loss", "edge", "noise")
    sweeps = of([cell for name, part in plan.cones.items() if name not in apart for cell in part])
    loss, edge, noise = (of(plan.cones[name]) for name in apart)
    scaling, alignment = of(plan.scaling), of(plan.alignment)
    (geometry,) = of([plan.geometry])
    judged, from_other = scores(profile, store)
    primary = primary_sweep(profile, store)
    return LazyTables(
        curves=stack([r.table("curve") for r in followed]),
        cosines=stack([r.table("cosines") for r in followed]),
        latents=stack([r.table("latents") for r in followed]),
        # Without its experiment the published sweep is no table of scores that claims would read.
        sweep=stack([r.table("scores").drop(columns="experiment") for r in sweeps]),
        loss=stack([r.table("scores") for r in loss]),
        primary=stack([primary, *(r.table("scores") for r in (*edge, *noise))]),
        exact=geometry.table("exact"),
        simulated=geometry.table("simulated"),
        scaled=stack([r.table("scaled") for r in scaling]),
        seeds=stack([r.table("latents") for r in alignment]),
        scores=judged,
        found=[*from_other, *followed, *sweeps, *loss, *edge, *noise, *scaling, *alignment],
    )


def primary_sweep(profile: Profile, store: LocalStore | None = None) -> pd.DataFrame:
    """The three taus that the primary grid on real activations has, with every metric measured there."""
    place = real_activations.plan_place(profile, profile.models[0])
    taus = {Trained(): -1.0, SoftFrozenDecoder(): 0.8, FrozenDecoder(): 1.0}
    wanted = [
        cell
        for cell in [*place.primary, *place.loss]
        if cell.config.arm.constraint in taus and cell.config.arm.init == Iso()
    ]
    frames = [
        result.table("scores").assign(tau=taus[cell.config.arm.constraint], gaussian=False)
        for cell, result in zip(wanted, results(wanted, store), strict=True)
    ]
    return stack(frames)
