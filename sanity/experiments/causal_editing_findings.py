"""What the tables of causal editing say, in sentences and tables made of their numbers."""

from __future__ import annotations

from typing import Any

import pandas as pd

from sanity.experiments.causal_editing import METRICS, RUN, EditingTables
from sanity.experiments.findings import arm_words, reported_tables
from sanity.profiles import Profile


def known_words(tables: EditingTables) -> str:
    """How many facts the subject knows, attribute by attribute, with the best template."""
    parts = []
    for attribute, part in tables.templates.groupby("attribute", sort=False):
        best = part.sort_values("known_train").iloc[-1]
        known, asked = best["known_train"] + best["known_test"], best["asked_train"] + best["asked_test"]
        parts.append(f"{attribute} of {known} of {asked}")
    return (
        f"Of {tables.choice['entities']} entities it knows, with the best template, " + "; ".join(parts) + "."
    )


def template_table(tables: EditingTables) -> pd.DataFrame:
    """Every template tried, how many entities it is answered for, and what it is used for."""
    uses: dict[tuple[str, str], list[str]] = {}
    for attribute, chosen in tables.choice["templates"].items():
        for use, several in (("fitting", chosen["fit"]), ("testing", chosen["test"])):
            for template in several:
                uses.setdefault((attribute, template), []).append(use)
    table = tables.templates
    return pd.DataFrame(
        {
            "attribute": table["attribute"],
            "template": table["template"],
            "known, fitting": _of(table["known_train"], table["asked_train"]),
            "known, testing": _of(table["known_test"], table["asked_test"]),
            "used for": [
                " and ".join(uses.get((a, t), ["–"]))
                for a, t in zip(table["attribute"], table["template"], strict=True)
            ],
        }
    ).set_index("attribute")  # fmt: skip


def _of(known: pd.Series, asked: pd.Series) -> list[str]:
    return [f"{k} of {n}" for k, n in zip(known, asked, strict=True)]


def determined_words(tables: EditingTables) -> str:
    """Which attribute determines which among the entities asked."""
    pairs = tables.choice["determines"]
    if not pairs:
        return "Among these entities no attribute determines another."
    said = "; ".join(f"{one} determines {other}" for one, other in pairs)
    return f"Among these entities, {said}."


def ends_table(tables: EditingTables) -> pd.DataFrame:
    """Per ordered pair: what both trivial edits and the rotation reach (means over seeds)."""
    rows = []
    for (target, keep), part in tables.ends.groupby(["target", "keep"], sort=False):
        facts = tables.facts[(tables.facts["target"] == target) & (tables.facts["keep"] == keep)].iloc[0]
        row: dict[str, Any] = {
            "changed": target,
            "kept": keep,
            "cities for fitting": facts["train_entities"],
            "cities for testing": facts["test_entities"],
            "unseen template": "yes" if facts["unseen_templates"] else "no",
            "do nothing": part["nothing_disentanglement"].mean(),
            "swap everything": part["everything_disentanglement"].mean(),
            "rotation": part["ceiling_disentanglement"].mean(),
            "its cause": part["ceiling_cause"].mean(),
            "its isolation": part["ceiling_isolation"].mean(),
            "range": "yes" if bool(part["separated"].all()) else "no range",
        }
        rows.append(row)
    return pd.DataFrame(rows).set_index(["changed", "kept"])


def ends_words(tables: EditingTables, profile: Profile) -> str:
    """Whether the ceiling separates the pairs."""
    table = ends_table(tables)
    least = profile.editing.least_range
    without = [f"{target} from {keep}" for target, keep in table.index[table["range"] != "yes"].to_list()]
    gap = table["rotation"] - table[["do nothing", "swap everything"]].max(axis=1)
    said = (
        f"The learned rotation is ahead of the floor by {gap.min():.2f} to {gap.max():.2f}."
        if len(gap) > 1
        else f"The learned rotation is ahead of the floor by {gap.iloc[0]:.2f}."
    )
    if without:
        return (
            f"{said} It does not separate {', '.join(without)} by {least:g}: no verdict is drawn from there."
        )
    return f"{said} That is more than the {least:g} asked for, so that a verdict can be drawn."


def exact_words(tables: EditingTables) -> str:
    """What a mask reaches through dictionaries that lose nothing, against the ceiling."""
    edits = tables.edits
    masks = edits[(edits["what"] == "mask") & edits["through"].ne("arm") & edits["with_error"].eq(False)]
    if masks.empty:
        return ""
    parts, above = [], []
    for name, rows in masks.groupby("through", sort=False):
        both = rows.merge(tables.ends, on=RUN)
        own, ceiling = both["disentanglement"].mean(), both["ceiling_disentanglement"].mean()
        parts.append(f"{name} {own:.3f}")
        if own > ceiling:
            above.append(str(name))
    said = f"A mask of its own through a basis that loses nothing reaches: {', '.join(parts)}."
    if above:
        said += (
            f" That of {' and '.join(above)} is above the rotation: on so few cities and steps it is no "
            "upper bound, and shares of the way to it are to be read with that in mind."
        )
    return said


def arm_table(tables: EditingTables) -> pd.DataFrame:
    """Every mask, seed by seed: cause, isolation and their mean, with and without the error term."""
    masks = tables.edits[tables.edits["what"] == "mask"]
    rows = []
    for part in masks.to_dict("records"):
        named = part["through"] != "arm"
        rows.append(
            {
                "changed": part["target"],
                "kept": part["keep"],
                "through": part["through"] if named else arm_words(part["constraint"], part["init"]),
                "seed": part["seed"],
                "error term": "kept" if part["with_error"] else "dropped",
                "latents swapped": f"{part['mask_size']:.0f} of {part['active']:.0f}",
                **{column: part[column] for column in METRICS.values()},
            }
        )
    return pd.DataFrame(rows).set_index(["changed", "kept", "through", "seed"])


def floor_words(tables: EditingTables) -> str:
    """Where every arm stands against doing nothing."""
    if tables.scores.empty:
        return ""
    sentences = []
    for suffix, how in (("", "dropped"), ("_with_error", "kept")):
        rows = tables.scores[tables.scores["metric"] == f"ravel_disentanglement{suffix}"]
        mean = rows.groupby(["constraint", "init"], sort=False)[["value", "floor", "ceiling"]].mean()
        above = [arm_words(*map(str, arm)) for arm in mean.index[mean["value"] > mean["floor"]]]
        values = ", ".join(
            f"{arm_words(*map(str, arm))} {value:.3f}"
            for arm, value in mean["value"].items()
            if isinstance(arm, tuple)
        )
        better = (
            "every arm is above it"
            if len(above) == len(mean)
            else f"only {', '.join(above)} above it"
            if above
            else "no arm is above it: each does worse than leaving the city alone"
        )
        sentences.append(
            f"With the error term {how}, disentanglement is {values}, between a floor of "
            f"{mean['floor'].mean():.3f} and a ceiling of {mean['ceiling'].mean():.3f}; {better}."
        )
    return " ".join(sentences)


def control_words(tables: EditingTables) -> str:
    """What the reconstruction alone does, and what as many random latents do, for the trained arm."""
    edits = tables.edits
    trained = (
        edits[(edits["constraint"] == "trained") & edits["with_error"].eq(False)]
        if "constraint" in edits
        else edits[:0]
    )
    if trained.empty:
        return "No trained arm was edited."
    means = trained.groupby("what")[list(METRICS.values())].mean().T.to_dict()
    none, every, mask, random = (
        {part: float(value) for part, value in means[what].items()}
        for what in ("no latent", "all latents", "mask", "random latents")
    )
    return (
        "Through the trained arm's reconstruction, without swapping anything, the kept answers survive in "
        f"{none['isolation']:.0%} of the pairs: what is missing there is lost to the "
        "reconstruction, not to the edit. Swapping every latent changes the target in "
        f"{every['cause']:.0%}, the mask in {mask['cause']:.0%}, and as many "
        f"other latents of like frequency in {random['cause']:.0%}, with isolation "
        f"{mask['isolation']:.0%} and {random['isolation']:.0%}."
    )


def cost_words(tables: EditingTables) -> str:
    """What an arm costs, measured while the run was made."""
    arms = tables.facts[tables.facts["through"] == "arm"]
    per_arm = arms["cpu_seconds"].mean()
    return (
        f"Fitting and scoring one mask through one SAE took {per_arm:.0f} s of one processor core on average "
        f"({len(arms)} masks); all of this chapter's cells took {tables.facts['cpu_seconds'].sum():.0f} s of "
        "it, without loading the language model."
    )


def beside_paper(tables: EditingTables) -> pd.DataFrame:
    """The paper's disentanglement on its three places, and ours."""
    reported = reported_tables()
    columns = {}
    for (model, layer, architecture), part in reported.groupby(
        ["model", "layer", "architecture"], sort=False
    ):
        columns[f"{model} L{layer} {architecture}"] = part.set_index(["variant", "init"])[
            "ravel_disentanglement"
        ]
    rows = tables.scores
    for suffix, name in (("", "ours"), ("_with_error", "ours, error term kept")):
        part = rows[rows["metric"] == f"ravel_disentanglement{suffix}"] if len(rows) else rows
        if len(part):
            columns[name] = part.groupby(["constraint", "init"], sort=False)["value"].mean()
    return pd.DataFrame(columns).rename_axis(["arm", "init"]).rename(index=lambda n: n.replace("_", " "))


def pair_of(tables: EditingTables, target: str, keep: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Edits and ends of one ordered pair of attributes, at the first place."""
    place = [column for column in RUN if column in ("subject", "world_or_hook")]
    first = tables.ends[place].iloc[0]
    found = []
    for table in (tables.edits, tables.ends):
        keep_rows = (table["target"] == target) & (table["keep"] == keep)
        for column in place:
            keep_rows &= table[column] == first[column]
        found.append(table[keep_rows])
    return found[0], found[1]
