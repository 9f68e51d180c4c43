"""What the tables of causal editing say, in sentences and tables made of their numbers."""

from __future__ import annotations

from typing import Any

import pandas as pd

from sanity.experiments.causal_editing import RUN, EditingTables
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


def refused_words(tables: EditingTables) -> str:
    """The pairs that the subject knows too little of; empty where there are none."""
    if tables.refused.empty:
        return ""
    parts = [
        f"{one['target']} while {one['keep']} stays (refused: {one['remaining']} remain, {one['needed']} are "
        "needed)"
        for one in tables.refused.to_dict("records")
    ]
    return f"Too few cities are known for editing {'; '.join(parts)}."


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


def determined_words(tables: EditingTables, profile: Profile) -> str:
    """Which attribute determines which among the entities asked, and what that means for the pairs edited."""
    pairs = {(one, other) for one, other in tables.choice["determines"]}
    said = (
        "Among these entities, " + "; ".join(f"{one} determines {other}" for one, other in sorted(pairs))
        if pairs
        else "Among these entities no attribute determines another"
    )
    bound: list[str] = []
    free: list[str] = []
    for pair in profile.editing.pairs:
        for kept in pair.keep:
            tied = (pair.target, kept) in pairs or (kept, pair.target) in pairs
            (bound if tied else free).append(f"{pair.target} while {kept} stays")
    sentences = [said + "."]
    if bound:
        sentences.append(
            f"Changing {'; '.join(bound)} asks for a city that cannot exist, because one of the two "
            "determines the other: such a pair says little about an edit that moves only one of them."
        )
    if free:
        sentences.append(f"Neither determines the other in changing {'; '.join(free)}.")
    return " ".join(sentences)


ATTRIBUTE_WORDS = {
    "initial": "The first letter of its name (initial) is a fact about a string and not about a place; a "
    "dictionary may separate it from geography more easily than one geographic fact from another.",
    "hemisphere": "A template that gives the same answer for every city knows the hemisphere of one half of "
    "the earth.",
    "Latitude": "Of a latitude the model's answer counts by its first token, which may be its first digit.",
}


def attribute_words(profile: Profile) -> str:
    """What to know about the attributes asked for."""
    return " ".join(words for name, words in ATTRIBUTE_WORDS.items() if name in profile.editing.attributes)


def fitted_words(tables: EditingTables, profile: Profile) -> str:
    """On how many cities, and in how many steps, masks and rotation are fitted."""
    grid = profile.editing
    if tables.facts.empty:
        return f"Masks are fitted in {grid.steps} steps, rotations in {grid.rotation_steps}."
    few, many = (int(find(tables.facts["train_entities"])) for find in (min, max))
    cities = f"{few}" if few == many else f"{few} to {many}"
    return (
        f"The masks are fitted on {cities} cities in {grid.steps} steps of {grid.prompts} prompts, the "
        f"rotations on the same cities in {grid.rotation_steps}."
    )


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
            "questions, fitting and testing": f"{facts['templates_fitted']}, {facts['templates_tested']}",
            "unseen template": "yes" if facts["unseen_templates"] else "no",
            "do nothing": part["nothing_disentanglement"].mean(),
            "swap everything": part["everything_disentanglement"].mean(),
            "rotation": part["ceiling_disentanglement"].mean(),
            "its cause": part["ceiling_cause"].mean(),
            "its isolation": part["ceiling_isolation"].mean(),
            "range": "yes" if bool(part["separated"].all()) else "no range",
        }
        rows.append(row)
    for one in tables.refused.to_dict("records"):
        rows.append(
            {"changed": one["target"], "kept": one["keep"], "range": f"refused: {one['remaining']} remain"}
        )
    return pd.DataFrame(rows).set_index(["changed", "kept"])


def ends_words(tables: EditingTables, profile: Profile) -> str:
    """Whether the ceiling separates the pairs."""
    if tables.ends.empty:
        return "No pair of attributes is known of enough cities to be edited."
    table = ends_table(tables).dropna(subset=["rotation"])
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
    masks = edits[(edits["what"] == "mask") & edits["through"].ne("arm")]
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
        if len(above) < len(mean) - 1:
            sentences.append(
                "Of two arms that are not above it neither is called better: their difference says which one "
                "does more damage."
            )
    return " ".join(sentences)


def cost_words(tables: EditingTables) -> str:
    """What an arm costs, measured while the run was made."""
    if tables.facts.empty:
        return "Nothing was fitted."
    arms = tables.facts[tables.facts["through"] == "arm"]
    per_arm = arms["cpu_seconds"].mean()
    return (
        f"Fitting and scoring the two masks of one SAE took {per_arm:.0f} s of one processor core on average "
        f"({len(arms)} of them); all of this chapter's cells took {tables.facts['cpu_seconds'].sum():.0f} s "
        "of it, without loading the language model."
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
    if tables.ends.empty:
        return tables.edits, tables.ends
    place = [column for column in RUN if column in ("subject", "world_or_hook")]
    first = tables.ends[place].iloc[0]
    found = []
    for table in (tables.edits, tables.ends):
        keep_rows = (table["target"] == target) & (table["keep"] == keep)
        for column in place:
            keep_rows &= table[column] == first[column]
        found.append(table[keep_rows])
    return found[0], found[1]
