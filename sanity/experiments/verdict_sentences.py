"""The prose of the chapter `verdicts`: sentences made of the numbers in its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from sanity import profiles
from sanity.claims import Ledger, Result
from sanity.claims.schema import Value
from sanity.experiments.findings import LABELS, arm_words
from sanity.experiments.verdicts import along, gaps, profiles_that_test, usable
from sanity.profiles import Profile
from sanity.stats import interaction, minimum_margin

WORDS_FOR = {"layer": "layer", "L0": "L0", "width": "number of latents"}


def overall(judged: Sequence[Result], profile: Profile) -> str:
    """How the comparisons came out, and what so few seeds can be expected to show."""
    compared = [r for r in judged if not isinstance(r.claim, Value) and r.verdict.n_seeds]
    if not compared:
        return f"No comparison has a result at the profile `{profile.name}` yet."
    counts = pd.Series([r.verdict.verdict for r in compared]).value_counts()
    single = sum(r.verdict.n_seeds == 1 for r in compared)
    undecided = int(counts.get("inconclusive", 0))
    few = min(r.verdict.n_seeds for r in compared if r.verdict.n_seeds > 1 or single == len(compared))
    sentences = [
        f"{len(compared)} comparison{'s' if len(compared) > 1 else ''} of the ledger "
        f"{'have' if len(compared) > 1 else 'has'} scores at the profile `{profile.name}`: "
        + ", ".join(f"{n} *{word}*" for word, n in counts.items())
        + "."
    ]
    if single:
        sentences.append(f"On a single seed: {single}; there is a number then, without an interval.")
    if few > 1:
        margin = minimum_margin(few, sd=1.0)
        sentences.append(
            f"With {few} seeds, arms that are truly equal are found equivalent four times in five only where "
            f"the margin is at least {margin:.1f} SDs of their paired differences."
        )
    if undecided:
        sentences.append(
            "*Inconclusive* is the ordinary outcome of few seeds. It says that this run cannot tell, and is "
            "neither a match nor a difference."
        )
    return " ".join(sentences)


def label(metric: str, ledger: Ledger, failed: Mapping[str, str]) -> str:
    """A metric's name for a figure, marked where its verdicts are turned off."""
    name = ledger.metrics[metric].label
    return f"{name} (FAILED its validity gate)" if metric in failed else name


def places(shares: pd.DataFrame, metrics: Mapping[str, str]) -> str:
    """Where the trained arm and the best of the others stand, by metric and architecture."""
    parts = []
    for (metric, architecture), part in shares.groupby(["metric", "architecture"], sort=False):
        trained = part.loc[part["constraint"] == "trained", "share"]
        others = part[part["constraint"] != "trained"].sort_values("share")
        if len(others) and len(trained):
            best = others.iloc[-1]
            parts.append(
                f"{LABELS[str(architecture)]}, {metrics[str(metric)]}: trained {trained.iloc[0]:.2f}, "
                f"{arm_words(best['constraint'], best['init'])} {best['share']:.2f}"
            )
    return "; ".join(parts) + "." if parts else ""


def strips(sweep: pd.DataFrame) -> str:
    """Which verdict holds from which margin on."""
    parts = []
    for claim, part in sweep.groupby("claim", sort=False):
        rows = part.sort_values("margin")
        begins = rows[rows["verdict"] != rows["verdict"].shift()]
        steps = [
            f"{word} from a margin of {margin:.1%}" if number else word
            for number, (word, margin) in enumerate(zip(begins["verdict"], begins["margin"], strict=True))
        ]
        parts.append(f"`{claim}`: {', '.join(steps)}")
    return "; ".join(parts) + "." if parts else "No comparison has scores."


def needs(power: pd.DataFrame) -> str:
    """How many of the comparisons have the seeds that their margin needs."""
    known = power.dropna(subset=["seeds_needed"])
    if known.empty:
        return "No comparison has the two seeds that it takes to see any spread, so nothing can be planned."
    enough = known[known["seeds"] >= known["seeds_needed"]]
    safely = known[known["seeds"] >= known["seeds_needed_high"]]
    hardest = known.sort_values("seeds_needed_high").iloc[-1]
    unknown = len(power) - len(known)
    words = (
        f"At the observed SD {len(enough)} of {len(known)} comparisons have the seeds that their margin "
        f"needs, at the SD's upper limit {len(safely)}. The most demanding is `{hardest['claim']}`, whose "
        f"margin of {hardest['margin']:.0%} takes {hardest['seeds_needed']:.0f} seeds at the observed SD and "
        f"{hardest['seeds_needed_high']:.0f} at its upper limit, against {hardest['seeds']} at hand."
    )
    if unknown:
        words += (
            f" {unknown} more have a single seed or no spread at all, from which no number can be worked out."
        )
    return words


def best_of_several(table: pd.DataFrame, ledger: Ledger) -> str:
    """What the correction for choosing the best changes."""
    parts = []
    for row in table.to_dict("records"):
        start = f"*{ledger.metrics[row['metric']].label}*: the best of {row['baselines']}"
        if row["seeds"] < 2:
            parts.append(f"{start} is the {row['best']}, on a single seed.")
            continue
        parts.append(
            f"{start} is the {row['best']}, behind by {row['gap']:.4f} [{row['plain_low']:.4f}, "
            f"{row['plain_high']:.4f}] had it been named in advance, and by [{row['low']:.4f}, "
            f"{row['high']:.4f}] after the choice. Were all equal, noise alone would make the best of them "
            f"seem {row['optimism']:.4f} better than it is."
        )
    return "\n\n".join(parts) or "No comparison of this kind has scores."


def dependence(factor: str, scores: pd.DataFrame, profile: Profile) -> str:
    """Whether the trained arm's lead depends on `factor`, or why that cannot be said here."""
    name = WORDS_FOR[factor]
    tables = gaps(along(scores, factor, profile), factor)
    tested = {arm: part for arm, table in tables.items() if (part := usable(table)) is not None}
    if tested:
        return f"**{name[0].upper()}{name[1:]}.** " + " ".join(
            _tested(arm, part, factor) for arm, part in tested.items()
        )
    others = profiles_that_test(factor, [profiles.load(other) for other in profiles.names()])
    where = (
        f"It can be at: {', '.join(f'`{other}`' for other in others)}."
        if others
        else "No profile can yet: it takes two or more seeds at two or more values."
    )
    reason = _why_not(tables, name)
    return f"**{name[0].upper()}{name[1:]}.** It cannot be tested at this profile: {reason} {where}"


def _tested(arm: str, table: pd.DataFrame, factor: str) -> str:
    found = interaction(table, numeric=factor != "layer", log=factor != "layer")
    leads = ", ".join(f"{gap:+.3f} at {level}" for level, gap in found.gaps.items())
    words = f"Over the {arm} the trained arm leads by {leads} ({found.n_seeds} seeds; p = {found.p_value:.2g}"
    if found.slope is not None and found.slope_interval is not None:
        low, high = found.slope_interval
        words += f"; {found.slope:+.3f} [{low:.3f}, {high:.3f}] per doubling"
    return words + ")."


def _why_not(tables: Mapping[str, pd.DataFrame], name: str) -> str:
    if not tables:
        return f"the primary grid has one {name}."
    levels = max((list(table.columns) for table in tables.values()), key=len)
    leads = "; ".join(
        f"over the {arm} " + ", ".join(f"{table[level].dropna().mean():+.3f} at {level}" for level in table)
        for arm, table in tables.items()
    )
    seeds = int(np.min([table.notna().sum().min() for table in tables.values()]))
    return (
        f"there are {len(levels)} values, but {seeds} seed at some of them. For what one seed is worth, the "
        f"trained arm leads {leads}."
    )
