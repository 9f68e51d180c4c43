"""What the probing tables say: summaries over groups, intervals over tasks, sentences made of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from sanity.data.probing import GROUPS, WIDER
from sanity.evals.sparse_probing import counted, over_groups
from sanity.experiments.findings import arm_words, reported_tables
from sanity.experiments.grid import stack
from sanity.experiments.sparse_probing import ProbingTables
from sanity.experiments.sparse_probing_runs import (
    ALL_LATENTS,
    COMPONENTS,
    DENSE,
    DIRECTIONS,
    LATENTS,
    NEURONS,
    OTHER_RANKING,
    PERMUTED,
    ceiling,
    floors,
)
from sanity.profiles import Profile

REFERENCES = (DIRECTIONS, NEURONS, COMPONENTS)
"""Features that nobody trained, in the same protocol."""
L0 = "L0 on these texts"


def primary(tables: ProbingTables, profile: Profile) -> pd.DataFrame:
    """The task rows of the primary grid: one architecture, L0 and learning rate."""
    return _primary(tables.tasks, profile)


def _primary(rows: pd.DataFrame, profile: Profile) -> pd.DataFrame:
    grid = profile.real
    keep = (rows["architecture"] == grid.architecture) & (rows["l0_target"] == grid.l0)
    return rows[keep & (rows["learning_rate"] == grid.learning_rate)]


def summary(tables: ProbingTables, profile: Profile) -> pd.DataFrame:
    """Accuracy and AUROC over groups: one row per arm or reference, kind of features, seed and k."""
    rows = []
    arms = primary(tables, profile)
    by = ["constraint", "init", "features", "seed", "k"]
    for (constraint, init, features, seed, k), part in arms.groupby(by, sort=False):
        name = arm_words(str(constraint), str(init))
        about = {"name": name, "constraint": constraint, "init": init, "features": features}
        rows.append({**about, "seed": seed, "k": k, **_both(part)})
    for (features, seed, k), part in tables.references.groupby(["features", "seed", "k"], sort=False):
        about = {"name": features, "constraint": None, "init": None, "features": features}
        rows.append({**about, "seed": seed, "k": k, **_both(part)})
    return pd.DataFrame(rows)


def _both(part: pd.DataFrame) -> dict[str, float]:
    return {metric: over_groups(part, metric) for metric in ("accuracy", "auroc")}


def counted_words(tables: ProbingTables) -> str:
    """Over what the means of the page are taken, for captions."""
    tasks = counted(tables.sizes)
    groups = tasks["group"].nunique()
    return (
        f"mean over {groups} group{'s' if groups > 1 else ''} of the mean over their tasks "
        f"({tasks['task'].nunique()} tasks in all)"
    )


def task_counts(tables: ProbingTables) -> str:
    """How many tasks scores are means of, and how many are beside them."""
    n, every = (part["task"].nunique() for part in (counted(tables.sizes), tables.sizes))
    return f"{n}" if n == every else f"{n}, and {every - n} of the wider set, apart"


def ends(tables: ProbingTables) -> pd.DataFrame:
    """Floor of each k, and ceiling, per seed."""
    rows = []
    for seed, part in tables.floor.groupby("seed"):
        top = ceiling(tables.references[tables.references["seed"] == seed])
        rows += [{"seed": seed, "k": k, "floor": low, "ceiling": top} for k, low in floors(part).items()]
    return pd.DataFrame(rows)


def task_table(tables: ProbingTables) -> pd.DataFrame:
    """Every task: texts in each part, and on the first seed its ceiling."""
    first = tables.sizes["seed"].min()
    dense = tables.references[tables.references["features"] == DENSE].groupby("task")["accuracy"].mean()
    table = tables.sizes[tables.sizes["seed"] == first].drop(columns="seed").set_index(["group", "task"])
    made: pd.DataFrame = table.assign(ceiling=dense.reindex(table.index.get_level_values("task")).to_numpy())
    return made


def pool_table(tables: ProbingTables) -> pd.DataFrame:
    """Every pool: rows, what was removed and why, what is used, how many texts were cut."""
    numbers = [
        "rows", "of_other_half", "contradicting", "repeated", "looked_at", "overlapping", "used", "cut",
    ]  # fmt: skip
    table = tables.counts.groupby(["group", "pool"], sort=False)[numbers].sum()
    tokens = tables.texts.groupby("pool")["tokens"].sum()
    return table.assign(tokens=tokens.reindex(table.index.get_level_values("pool")).to_numpy())


def duplicate_words(tables: ProbingTables) -> str:
    """How many duplicates there were."""
    n = tables.counts[["repeated", "contradicting", "overlapping", "looked_at", "used", "cut"]].sum()
    return (
        f"Before anything was divided, {n['repeated']:,} texts that open like another one of their class "
        f"were removed, and {n['contradicting']:,} that stand under two labels; of the {n['looked_at']:,} "
        f"candidates that were then looked at, {n['overlapping']:,} shared a run of tokens with a text taken "
        f"before. {n['used']:,} texts are used; {n['cut'] / n['used']:.0%} of them are longer than the "
        "window and cut."
    )


def group_scores(tables: ProbingTables, profile: Profile, k: int) -> pd.DataFrame:
    """Accuracy of every arm and reference with k features in every group, mean over tasks and seeds."""
    arms = primary(tables, profile)
    arms = arms[(arms["features"] == LATENTS) & (arms["k"] == k)]
    pairs = zip(arms["constraint"].astype(str), arms["init"].astype(str), strict=True)
    named = arms.assign(name=[arm_words(constraint, init) for constraint, init in pairs])
    others = tables.references
    untrained = (others["k"] == k) & others["features"].isin(REFERENCES)
    others = others[untrained | (others["features"] == DENSE)]
    rows = stack([named, others.assign(name=others["features"], constraint=None, init=None)])
    by = ["name", "constraint", "init", "group"]
    return rows.groupby(by, sort=False, dropna=False)["accuracy"].mean().reset_index()


def leads(tables: ProbingTables, profile: Profile, k: int) -> pd.DataFrame:
    """The trained arm's lead over every other arm and reference, seed by seed, with an interval over tasks.

    Columns: name, constraint, init, seed, lead, low, high. Within a seed, tasks are drawn anew with
    replacement inside each group (95 %, percentile): what other tasks of the same kind might have shown.
    """
    arms = primary(tables, profile)
    arms = arms[(arms["features"] == LATENTS) & (arms["k"] == k)]
    references = tables.references[tables.references["k"] == k]
    rows: list[dict[str, Any]] = []
    for seed, part in arms.groupby("seed"):
        wide = {
            (str(c), str(i)): one.set_index(["group", "task"])["accuracy"]
            for (c, i), one in part.groupby(["constraint", "init"], sort=False)
        }
        trained = wide.pop(("trained", "iso"))
        others: dict[str, tuple[pd.Series, Any, Any]] = {
            arm_words(c, i): (values, c, i) for (c, i), values in wide.items()
        }
        same_seed = references[references["seed"] == seed]
        for features in REFERENCES:
            values = same_seed[same_seed["features"] == features].set_index(["group", "task"])["accuracy"]
            others[features] = (values, None, None)
        for name, (values, constraint, init) in others.items():
            low, high = interval_over_tasks(trained - values)
            about = {"name": name, "constraint": constraint, "init": init, "seed": seed}
            rows.append({**about, "lead": _mean_of_groups(trained - values), "low": low, "high": high})
    return pd.DataFrame(rows)


def _groups(differences: pd.Series) -> list[np.ndarray]:
    by_group = differences[differences.index.get_level_values("group") != WIDER].groupby("group")
    return [part.to_numpy(dtype=np.float64) for _, part in by_group]


def _mean_of_groups(differences: pd.Series) -> float:
    return float(np.mean([part.mean() for part in _groups(differences)]))


def interval_over_tasks(differences: pd.Series, *, draws: int = 2_000) -> tuple[float, float]:
    """A 95 % percentile interval of the mean over groups; NaN where a group has a single task.

    `differences` has one value per (group, task).
    """
    parts = _groups(differences)
    if min(map(len, parts)) < 2:
        return float("nan"), float("nan")
    if all(np.ptp(part) == 0 for part in parts):
        same = float(np.mean([part.mean() for part in parts]))
        return same, same

    def mean(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
        value: np.ndarray = np.mean([sample.mean(axis=axis) for sample in samples], axis=0)
        return value

    found = scipy_stats.bootstrap(
        parts, mean, method="percentile", n_resamples=draws, vectorized=True, rng=0
    ).confidence_interval
    return float(found.low), float(found.high)


def headline(tables: ProbingTables, profile: Profile, ks: Sequence[int] = (1, 5)) -> str:
    """The trained arm between floor and ceiling, and the best of the others, one sentence per k."""
    scores, bounds = summary(tables, profile), ends(tables)
    sentences = []
    for k in ks:
        at = scores[(scores["k"] == k) & scores["features"].isin([LATENTS, *REFERENCES])]
        means = at.groupby("name", sort=False)["accuracy"].mean()
        trained, others = means["trained"], means.drop("trained")
        arms = others.drop(list(REFERENCES))
        low, high = (bounds[bounds["k"] == k][end].mean() for end in ("floor", "ceiling"))
        share = (trained - low) / (high - low)
        sentences.append(
            f"With {k} feature{'s' if k > 1 else ''}, the trained SAE reaches {trained:.3f}, {share:.0%} of "
            f"the way from permuted labels ({low:.3f}) to the dense probe ({high:.3f}); the best baseline is "
            f"{arms.idxmax()} with {arms.max():.3f}, the untrained SAE has {means['untrained']:.3f}, and "
            + ", ".join(f"{name} {means[name]:.3f}" for name in REFERENCES)
            + "."
        )
    return "\n\n".join(sentences)


def reference_words(tables: ProbingTables, profile: Profile, k: int = 1) -> str:
    """Whether features that nobody trained keep up with the trained SAE, seed by seed."""
    found = leads(tables, profile, k)
    sentences = []
    for name in REFERENCES:
        part = found[found["name"] == name]
        ahead = int((part["lead"] > 0).sum())
        sentences.append(
            f"over {name} it is ahead on {ahead} of {len(part)} seeds, by {part['lead'].mean():+.3f} on "
            f"average ({part['lead'].min():+.3f} to {part['lead'].max():+.3f})"
        )
    what = "one latent" if k == 1 else f"{k} latents"
    return f"The trained SAE with {what}: {'; '.join(sentences)}."


def spread_words(tables: ProbingTables, profile: Profile, k: int = 1) -> str:
    """How wide the intervals over tasks are beside the differences."""
    found = leads(tables, profile, k)
    half = float(((found["high"] - found["low"]) / 2).median())
    n = counted(tables.sizes[tables.sizes["seed"] == tables.sizes["seed"].min()])
    return (
        f"A task has about {n['test'].median():.0f} test texts, so a single accuracy near 0.7 has a "
        f"standard error of about {np.sqrt(0.21 / n['test'].median()):.2f}. Over the {len(n)} tasks of one "
        f"seed, a lead with k = {k} is known to about ±{half:.3f} (half a 95 % interval, tasks drawn anew)."
    )


def control_words(tables: ProbingTables, profile: Profile) -> str:
    """Whether the floor is the same for every arm."""
    rows = summary(tables, profile)
    rows = rows[rows["features"] == PERMUTED]
    by_arm = rows.groupby("name")["accuracy"].mean()
    return (
        "The floor is measured on raw neurons and used for all. On each arm's own latents permuted labels "
        f"give {by_arm.min():.3f} to {by_arm.max():.3f}, mean {by_arm.mean():.3f}."
    )


def variants_table(tables: ProbingTables, profile: Profile) -> pd.DataFrame:
    """The protocol's variants side by side: accuracy of arms and references, mean over seeds."""
    rows = summary(tables, profile)
    other = [
        {"name": name, "features": OTHER_RANKING, "k": k, **_both(part)}
        for (name, _, k), part in tables.other_ranking.groupby(["features", "seed", "k"], sort=False)
    ]
    rows = stack([rows, pd.DataFrame(other)])
    plain = rows["features"].isin([LATENTS, *REFERENCES])
    rows = rows.assign(variant=rows["features"].mask(plain, "by difference"))
    rows["variant"] = rows["variant"].replace({OTHER_RANKING: "in standard deviations", DENSE: ALL_LATENTS})
    rows = rows[rows["k"].isin([1, 5]) | (rows["variant"] == ALL_LATENTS)]
    rows = rows[rows["variant"] != PERMUTED]
    columns: dict[str, pd.Series] = {}
    for (variant, k), part in rows.groupby(["variant", "k"], sort=False):
        name = "all features" if variant == ALL_LATENTS else f"{variant!s}, k = {k!s}"
        found = part.groupby("name", sort=False)["accuracy"].mean()
        columns[name] = found.combine_first(columns[name]) if name in columns else found
    order = list(dict.fromkeys(rows["name"]))
    return pd.DataFrame({L0: reached_l0(tables, profile), **columns}).reindex(order).rename_axis("features")


def reached_l0(tables: ProbingTables, profile: Profile) -> pd.Series:
    """Active latents per token of the labelled texts, of every arm of the primary grid, mean over seeds."""
    facts = _primary(tables.facts, profile)
    pairs = zip(facts["constraint"].astype(str), facts["init"].astype(str), strict=True)
    names = [arm_words(constraint, init) for constraint, init in pairs]
    return facts.groupby(names, sort=False)["l0"].mean()


def ranking_words(tables: ProbingTables, profile: Profile) -> str:
    """What the other ranking changes for the trained SAE and for random directions."""
    table = variants_table(tables, profile)
    said = []
    for k in (1, 5):
        plain, scaled = f"by difference, k = {k}", f"in standard deviations, k = {k}"
        parts = [
            f"{name} goes from {float(table[plain][name]):.3f} to {float(table[scaled][name]):.3f}"
            for name in ("trained", DIRECTIONS)
        ]
        said.append(f"with k = {k}, {' and '.join(parts)}")
    return f"Ranked in standard deviations, {'; '.join(said)}."


def beside_paper(tables: ProbingTables, profile: Profile, folder: Path | None = None) -> pd.DataFrame:
    """The paper's Gemma layer 12 numbers (BatchTopK) beside ours: accuracy, and share of the trained lead.

    The share is (arm - 0.5) / (trained - 0.5) for the paper, with our own floor for ours.
    """
    said = reported_tables(folder)
    said = said[(said["layer"] == 12) & (said["architecture"] == "BatchTopK")].set_index(["variant", "init"])
    ours = summary(tables, profile)
    ours = ours[ours["features"] == LATENTS]
    bounds = ends(tables).groupby("k")["floor"].mean()
    columns = {}
    for k in (1, 5):
        theirs = said[f"sparse_probing_top{k}"]
        mine = ours[ours["k"] == k].groupby(["constraint", "init"], sort=False)["accuracy"].mean()
        floor = bounds[k]
        columns[f"top {k}, paper"] = theirs
        columns[f"top {k}, ours"] = mine
        columns[f"share, top {k}, paper"] = (theirs - 0.5) / (theirs["trained", "iso"] - 0.5)
        columns[f"share, top {k}, ours"] = (mine - floor) / (mine["trained", "iso"] - floor)
    table = pd.DataFrame(columns).rename_axis(["arm", "init"])
    return table.rename(index=lambda name: name.replace("_", " "))


def cost_words(tables: ProbingTables) -> str:
    """What probing takes: once per language model, and per SAE."""
    seconds = tables.facts["seconds"]
    texts = next(result for result in tables.found if "counts.parquet" in result.files)
    return (
        f"Reading {tables.texts['tokens'].sum():,} tokens of {len(tables.texts):,} texts took "
        f"{texts.seconds:.0f} s once for all arms; after that an SAE took {seconds.mean():.1f} s on one "
        f"thread: {tables.tasks['task'].nunique()} tasks, {tables.tasks['k'].nunique() - 1} numbers of "
        "latents, two rankings, dense probes, and permuted labels."
    )


def ordered_groups(found: pd.DataFrame) -> list[str]:
    """The concept groups that are there, in the paper's order."""
    present = set(found["group"])
    return [group for group in (*GROUPS, WIDER) if group in present]


def group_words(found: pd.DataFrame) -> str:
    """In which groups the trained SAE is ahead of what nobody trained; `found` is from `group_scores`."""
    found = counted(found)
    wide = found.pivot_table(index="group", columns="name", values="accuracy", sort=False)
    sentences = []
    for group in ordered_groups(found):
        row = wide.loc[group]
        others = row[list(REFERENCES)]
        sentences.append(
            f"{group}: trained {row['trained']:.2f}, {others.idxmax()} {others.max():.2f}, untrained "
            f"{row['untrained']:.2f}, dense probe {row[DENSE]:.2f}"
        )
    ahead = [g for g in ordered_groups(found) if wide.loc[g, "trained"] > wide.loc[g, list(REFERENCES)].max()]
    return (
        "With one feature, the trained SAE is ahead of the best features that nobody trained in "
        f"{len(ahead)} of {len(wide)} groups ({'; '.join(sentences)})."
    )


def growth_words(tables: ProbingTables, profile: Profile) -> str:
    """How accuracy grows from the smallest k to the largest."""
    rows = summary(tables, profile)
    rows = rows[rows["features"].isin([LATENTS, *REFERENCES])]
    wide = rows.pivot_table(index="name", columns="k", values="accuracy", sort=False)
    ks = sorted(int(k) for k in rows["k"].unique())
    first, last = ks[0], ks[-1]
    spread = {k: wide[k].max() - wide[k].min() for k in (first, last)}
    top = {k: wide[k].idxmax() for k in ks}
    return (
        f"From k = {first} to k = {last} the trained SAE goes from {float(wide[first]['trained']):.3f} to "
        f"{float(wide[last]['trained']):.3f}; the distance from the worst to the best row goes from "
        f"{spread[first]:.3f} to {spread[last]:.3f}. The best row is "
        + ", ".join(f"{name!s} at k = {k}" for k, name in top.items())
        + "."
    )


def wider_words(tables: ProbingTables, profile: Profile, k: int = 1) -> str:
    """The wider set of tasks, which no metric of the ledger counts."""
    found = group_scores(tables, profile, k)
    wider = found[found["group"] == WIDER].set_index("name")["accuracy"]
    tasks = tables.sizes[tables.sizes["group"] == WIDER]["task"].nunique()
    named = ", ".join(f"{name} {value:.3f}" for name, value in wider.items())
    return f"**{tasks} tasks of the wider set, k = {k}.** {named}."
