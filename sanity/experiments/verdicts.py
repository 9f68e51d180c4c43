"""What the chapter `verdicts` is made of: all scores of all experiments, and what can be concluded from them.

Nothing is computed anew here: the scores are those of the other experiments' cells.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sanity.claims import SCORE_COLUMNS, Ledger, Paired, repeated
from sanity.engine.cells import Result
from sanity.engine.store import LocalStore
from sanity.experiments import (
    causal_editing,
    harder_worlds,
    interpretability,
    judged_interpretability,
    lazy_training,
    objectives,
    real_activations,
    sparse_probing,
    synthetic_recovery,
)
from sanity.experiments.findings import arm_words
from sanity.experiments.grid import describe, stack
from sanity.profiles import Profile
from sanity.stats import (
    best_of,
    equivalence_curve,
    minimum_detectable_difference,
    minimum_margin,
    sd_upper_limit,
    seeds_for_margin,
    t_interval,
)

log = logging.getLogger("sanity")

SCORED = (
    harder_worlds,
    objectives,
    lazy_training,
    interpretability,
    judged_interpretability,
    sparse_probing,
    causal_editing,
)
KEPT = [*SCORE_COLUMNS, "subject", "d_sae"]
ARM = ["constraint", "init"]
# Margins that a reader might hold, as fractions of a metric's range; beyond one half nothing can be told.
MARGINS = sorted({*np.geomspace(0.005, 0.45, 60).tolist(), 0.05, 0.1})
# Another number of latents is no part of any claim's scope: its rows have an experiment of their own.
WIDTHS = "real_activations_widths"
# Other experiments repeat these runs, or read other worlds: their rows would pass for further seeds.
PRIMARY = tuple(
    module.EXPERIMENT
    for module in (
        synthetic_recovery,
        real_activations,
        interpretability,
        judged_interpretability,
        sparse_probing,
        causal_editing,
    )
)
FACTORS = {"layer": "world_or_hook", "L0": "l0_target", "width": "d_sae"}


@dataclass(frozen=True)
class Gathered:
    """Scores of every experiment, one row per arm x seed x metric, and the results they are from."""

    scores: pd.DataFrame
    found: list[Result]


def gather(profile: Profile, store: LocalStore | None = None) -> Gathered:
    """All scores at `profile`, computed first where they are missing."""
    toy = synthetic_recovery.tables(profile, store)
    places = real_activations.tables(profile, store)
    frames = [frame.assign(subject=None) for frame in (toy.scores, early_scores(toy))]
    for model, place in zip(profile.models, places, strict=True):
        there = [place.scores, place.sweep, place.pilots, place.widths.assign(experiment=WIDTHS)]
        frames += [frame.assign(subject=model.subject) for frame in there if "metric" in frame]
    found = [*toy.found, *(result for place in places for result in place.found)]
    for module in SCORED:
        rows, more = module.scores(profile, store)
        found += more
        if len(rows):
            frames.append(rows)
    scores = stack([frame[KEPT] for frame in frames]).drop_duplicates(ignore_index=True)
    twice = repeated(scores)
    if len(twice):
        log.warning("%d scores have two values, so that claims on them are refused:\n%s", len(twice), twice)
    return Gathered(scores, found)


def early_scores(toy: synthetic_recovery.ToyTables) -> pd.DataFrame:
    """The synthetic runs read at half of their samples: the experiment `synthetic_recovery_early`."""
    run = ["world_or_hook", "architecture", *ARM, "seed"]
    curve = toy.curves.dropna(subset=["recovery"])
    distance = (curve["samples"] - curve.groupby(run)["samples"].transform("max") / 2).abs()
    half = curve.loc[distance.groupby([curve[column] for column in run]).idxmin()]
    values = half.rename(columns={"explained_variance_held_out": "explained_variance"}).melt(
        run, ["recovery", "explained_variance"], "metric"
    )
    scores = toy.scores.drop(columns="value").merge(values, on=[*run, "metric"])
    return scores.assign(experiment="synthetic_recovery_early")


def shares(scores: pd.DataFrame, ledger: Ledger, profile: Profile) -> pd.DataFrame:
    """Every arm's place between floor (0) and ceiling (1): mean over seeds, with its t-interval.

    Each seed's score is placed between its own floor and ceiling, so that the interval carries what
    reseeding does to these. Metrics without a better side or without a ceiling have no such place. Rows are
    those of the primary L0 and learning rate; pilot seeds are left out.
    """
    better = [name for name, entry in ledger.metrics.items() if entry.direction == "higher"]
    rows = scores[scores["metric"].isin(better) & scores["experiment"].isin(PRIMARY)]
    rows = rows[~rows["seed"].isin(ledger.pilot_seeds)]
    is_toy = rows["subject"].isna()
    primary = (is_toy & (rows["l0_target"] == profile.toy.l0)) | (
        ~is_toy & (rows["l0_target"] == profile.real.l0)
    )
    rows = rows[primary & rows["ceiling"].notna()]
    rows = rows.assign(
        share=(rows["value"] - rows["floor"]) / (rows["ceiling"] - rows["floor"]).astype(float)
    )
    found = []
    by = ["subject", "world_or_hook", "d_sae", "architecture", *ARM, "metric"]
    for key, part in rows.groupby(by, sort=False, dropna=False):
        values = part["share"].to_numpy(dtype=np.float64)
        low, high = t_interval(values) if len(values) > 1 else (np.nan, np.nan)
        about = dict(zip(by, key, strict=True))
        found.append({**about, "share": values.mean(), "low": low, "high": high, "seeds": len(values)})
    return pd.DataFrame(found)


def margin_sweep(compared: Iterable[Paired], margins: Iterable[float] = MARGINS) -> pd.DataFrame:
    """The verdict on every comparison at every margin: one row each.

    Columns: `claim`, `metric`, `margin` (a fraction of the metric's range), `verdict`, `p_equivalence`,
    `declared` (the claim's own margin) and `smallest` (below it TOST fails, whatever the noise did).
    """
    rows = []
    for one in compared:
        range_of, several = one.span.for_margin, one.differences.shape[1] > 1
        smallest = np.nan
        if len(one.differences) > 1 and not several:
            curve = equivalence_curve(one.differences[one.nearest], margins=[range_of])
            smallest = float(curve["smallest_margin"].iloc[0]) / range_of
        for margin in margins:
            found = one.verdict(float(margin))
            rows.append(
                {
                    "claim": one.claim.id,
                    "metric": one.metric,
                    "margin": float(margin),
                    "verdict": found.verdict,
                    "p_equivalence": found.p_equivalence,
                    "declared": one.fraction,
                    "smallest": smallest,
                }
            )
    return pd.DataFrame(rows)


def power_table(compared: Iterable[Paired], *, power: float = 0.8) -> pd.DataFrame:
    """What the seeds at hand can see, and how many a claim's margin needs; in fractions of the range.

    `sd` is that of the paired differences (to the nearest arm, where there are several), `sd_high` its
    one-sided 80 % upper limit: an SD of two or three numbers is itself hardly known. `detectable` is the
    smallest difference that is found with `power`, `smallest_margin` and `smallest_margin_high` the smallest
    margins that equal arms meet with it at either SD, and `seeds_needed` and `seeds_needed_high` what the
    declared margin takes.
    """
    rows = []
    for one in compared:
        differences = one.differences[one.nearest].to_numpy(dtype=np.float64) / one.span.for_margin
        n, known = len(differences), len(differences) > 1
        sd = float(np.std(differences, ddof=1)) if known else np.nan
        row: dict[str, Any] = {
            "claim": one.claim.id,
            "metric": one.metric,
            "seeds": n,
            "difference": differences.mean(),
            "sd": sd,
            "margin": one.fraction,
        }
        if known and sd > 0:
            high = sd_upper_limit(sd, n_seeds=n)
            row |= {
                "sd_high": high,
                "detectable": minimum_detectable_difference(n, sd=sd, power=power),
                "smallest_margin": minimum_margin(n, sd=sd, power=power),
                "smallest_margin_high": minimum_margin(n, sd=high, power=power),
                "seeds_needed": seeds_for_margin(one.fraction, sd=sd, power=power),
                "seeds_needed_high": seeds_for_margin(one.fraction, sd=high, power=power),
            }
        rows.append(row)
    columns = (
        "claim metric seeds difference sd sd_high margin detectable smallest_margin smallest_margin_high"
    )
    return pd.DataFrame(rows, columns=[*columns.split(), "seeds_needed", "seeds_needed_high"])


def best_of_table(compared: Iterable[Paired]) -> pd.DataFrame:
    """Comparisons with the best of several baselines: as if it had been named in advance, and corrected.

    Columns: `claim`, `metric`, `baselines` (how many), `best`, `seeds`, `gap` (judged minus best), its
    interval uncorrected (`plain_low`, `plain_high`) and corrected (`low`, `high`), `optimism` (by how much
    the best of as many equal arms would seem better by noise alone) and `p_max`, the max-statistic
    sign-flip p-value that any of them differs.
    """
    rows = []
    for one in compared:
        if one.differences.shape[1] < 2:
            continue
        table = one.differences if one.higher_is_better else -one.differences
        row: dict[str, Any] = {
            "claim": one.claim.id,
            "metric": one.metric,
            "baselines": table.shape[1],
            "best": one.nearest,
            "seeds": len(table),
            "gap": float(table[one.nearest].mean()),
        }
        if len(table) > 1:
            plain, found = t_interval(table[one.nearest]), best_of(table)
            row |= {
                "plain_low": plain.low, "plain_high": plain.high,
                "low": found.interval.low, "high": found.interval.high,
                "optimism": found.optimism, "p_max": found.p_sign_flip,
            }  # fmt: skip
        rows.append(row)
    columns = "claim metric baselines best seeds gap plain_low plain_high low high optimism p_max"
    return pd.DataFrame(rows, columns=columns.split())


def along(scores: pd.DataFrame, factor: str, profile: Profile) -> pd.DataFrame:
    """The rows on real activations that differ from the primary grid in `factor` at most."""
    model, grid = profile.models[0], profile.real
    primary = {
        "subject": model.subject,
        "world_or_hook": model.hook,
        "architecture": grid.architecture,
        "l0_target": grid.l0,
        "d_sae": model.d_sae or grid.d_sae,
        "learning_rate": grid.learning_rate,
    }
    keep = scores["experiment"].isin([real_activations.EXPERIMENT, WIDTHS])
    for column, value in primary.items():
        if column != FACTORS[factor]:
            keep &= scores[column] == value
    return scores[keep]


def gaps(rows: pd.DataFrame, factor: str, metric: str = "explained_variance") -> dict[str, pd.DataFrame]:
    """Baseline -> paired differences to the trained arm, one row per seed and one column per level.

    Baselines that are at one level only are left out: they say nothing about the factor.
    """
    wide = (
        rows[rows["metric"] == metric]
        .pivot_table(index="seed", columns=[*ARM, FACTORS[factor]], values="value")
        .sort_index(axis=1)
    )
    trained = pd.DataFrame(wide["trained", "iso"])
    kept = {}
    for constraint, init in dict.fromkeys(zip(rows["constraint"], rows["init"], strict=True)):
        if constraint != "trained":
            table = (trained - wide[constraint, init]).dropna(axis=1, how="all")
            kept[arm_words(constraint, init)] = table
    return {name: table for name, table in kept.items() if table.shape[1] > 1}


def usable(table: pd.DataFrame) -> pd.DataFrame | None:
    """The part of `gaps` with several seeds at several levels; None where there is none."""
    part = table.loc[:, table.notna().sum() > 1].dropna()
    return part if part.shape[0] > 1 and part.shape[1] > 1 else None


def planned(profile: Profile) -> pd.DataFrame:
    """The rows that `profile` would give, all with the value 0: for asking what could be tested there."""
    rows = []
    for model in profile.models:
        place = real_activations.plan_place(profile, model)
        for cell in [*place.primary, *place.sweep, *place.widths]:
            about = describe(real_activations.EXPERIMENT, model.hook, cell.config.arm, cell.config.l0)
            rows.append({**about, "subject": model.subject, "metric": "explained_variance", "value": 0.0})
    return pd.DataFrame(rows).drop_duplicates(ignore_index=True)


def profiles_that_test(factor: str, profiles: Sequence[Profile]) -> list[str]:
    """Names of the profiles at which a gap's dependence on `factor` can be tested."""
    return [
        profile.name
        for profile in profiles
        if any(
            usable(table) is not None
            for table in gaps(along(planned(profile), factor, profile), factor).values()
        )
    ]
