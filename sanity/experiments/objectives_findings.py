"""What the tables of `objectives` say, in sentences and small tables made of their numbers."""

from __future__ import annotations

import pandas as pd

from sanity.experiments.findings import LABELS

# Below these a change is nothing to speak of: what reseeding does to EV, and a share of the features.
SMALL_EV, SMALL_RECOVERY = 0.005, 0.05


def gain_table(gains: pd.DataFrame) -> pd.DataFrame:
    """One row per architecture and aim: the end of the budget, the gain over plain, and equal EV."""
    rows = []
    for (architecture, aim), part in gains.groupby(["architecture", "aim"], sort=False):
        row = {
            "architecture": LABELS[str(architecture)],
            "aim": aim,
            "EV": part["explained_variance"].mean(),
            "EV gain": part["ev_gain"].mean(),
            "recovered": part["recovery"].mean(),
            "gain": part["recovery_gain"].mean(),
            "gain, least": part["recovery_gain"].min(),
            "gain, most": part["recovery_gain"].max(),
            "dead": part["dead_latents"].mean(),
            "equal EV": part["equal_ev"].mean(),
            "recovered there": part["recovery_at_equal_ev"].mean(),
            "plain there": part["plain_at_equal_ev"].mean(),
        }
        rows.append(row)
    return pd.DataFrame(rows).set_index(["architecture", "aim"])


def gain_words(gains: pd.DataFrame) -> str:
    """Which aims help, which harm, and what explained variance says about it; per architecture."""
    sentences = []
    for architecture, table in gain_table(gains).groupby(level="architecture", sort=False):
        arms = table.droplevel("architecture")
        plain, others = arms.loc["plain"], arms.drop("plain")
        better = others[others["gain, least"] > SMALL_RECOVERY]
        worse = others[others["gain, most"] < -SMALL_RECOVERY]
        rest = others.drop([*better.index, *worse.index])
        words = f"**{architecture}.** Plain: EV {plain['EV']:.3f}, {plain['recovered']:.1%} recovered."
        for found, direction in ((better, "more"), (worse, "fewer")):
            if len(found):
                words += f" Clearly {direction} on every seed: {_listed(found)}."
        if len(rest):
            words += (
                f" Not {'' if len(rest) == len(others) else 'so '}clearly either way "
                f"({100 * SMALL_RECOVERY:g} points on every seed): {', '.join(map(str, rest.index))}, "
                f"{_points(rest['gain'].min())} to {_points(rest['gain'].max())} on average."
            )
        silent = others[(others["gain"].abs() > SMALL_RECOVERY) & (others["EV gain"].abs() < SMALL_EV)]
        if len(silent):
            names = ", ".join(map(str, silent.index))
            words += f" Explained variance moves by less than {SMALL_EV:g} under: {names}."
        sentences.append(words)
    return "\n\n".join(sentences)


def _listed(table: pd.DataFrame) -> str:
    named = (
        f"{name} {_points(row['gain'])} with {row['EV gain']:+.3f} in EV" for name, row in table.iterrows()
    )
    return "; ".join(named)


def _points(share: float) -> str:
    return f"{100 * share:+.1f} points"


def agreement_words(agreement: pd.DataFrame) -> str:
    """What it says about a latent that another seed has it too."""
    sentences = []
    for architecture, part in agreement.groupby("architecture", sort=False):
        mean = part[["shared", "chance", "true_if_shared", "true_if_not"]].mean()
        if not mean["shared"] > 0:
            sentences.append(f"{LABELS[str(architecture)]}: no latent is shared between seeds.")
            continue
        sentences.append(
            f"{LABELS[str(architecture)]}: {mean['shared']:.1%} of the latents are shared "
            f"({mean['chance']:.1e} by chance). "
            f"{mean['true_if_shared']:.1%} of these are true features, and "
            f"{mean['true_if_not']:.1%} of the others."
        )
    return " ".join(sentences) or "One seed alone has nothing to agree with."
