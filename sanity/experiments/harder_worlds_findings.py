"""What the tables of `harder_worlds` say, in sentences and small tables made of their numbers."""

from __future__ import annotations

from itertools import combinations

import pandas as pd
from scipy.stats import kendalltau

from sanity.experiments.findings import arm_words
from sanity.profiles.worlds import WorldsGrid

ARM = ["constraint", "init"]
# Differences below these are ties: an EV difference that reseeding makes, and a share that is none.
EV_TIE, RECOVERY_TIE = 0.002, 0.005
# What a reader may take for a match in explained variance, and what is none in recovery.
NEAR_EV, NEAR_RECOVERY = 0.02, 0.05
SHOWN = {
    "explained_variance": "EV",
    "recovery": "recovered",
    "frequency_weighted_recovery": "weighted by frequency",
    "mean_matched_cosine": "MCC",
    "detection_f1": "F1",
    "uniqueness": "uniqueness",
    "dead_latents": "dead",
    "l0": "L0",
}


def noise_words(grid: WorldsGrid) -> str:
    """What the true features alone can explain where samples hold noise; nothing where no world does."""
    noisy = [world for world in grid.worlds if world.noise]
    if not noisy:
        return ""
    parts = (
        f"in {world.name} {world.noise / (1 + world.noise):.0%} of the variance is noise, so that the exact "
        f"features alone explain {1 / (1 + world.noise):.2f}"
        for world in noisy
    )
    return f" ({'; '.join(parts)})"


def arm_means(scores: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds: one row per world and arm, one column per metric, by its name in tables."""
    rows = scores[scores["metric"].isin(SHOWN)]
    wide = rows.pivot_table(index=["world_or_hook", *ARM], columns="metric", values="value", sort=False)
    wide = wide[[name for name in SHOWN if name in wide.columns]].rename(columns=SHOWN)
    arms = [arm_words(str(c), str(i)) for _, c, i in wide.index.to_flat_index()]
    named = wide.reset_index().drop(columns=ARM).rename(columns={"world_or_hook": "world"})
    return named.assign(arm=arms).set_index(["world", "arm"])


def orders(scores: pd.DataFrame) -> pd.DataFrame:
    """Per world: the arms from best to worst by EV and by recovery, and how far the two orders agree.

    `tau` is Kendall's tau-b between the arms' means. Of the pairs of arms that recovery tells apart, `wrong`
    have the higher EV at the lower recovery; `blind` are pairs that EV tells apart and recovery does not.
    """
    rows = []
    for world, part in arm_means(scores).groupby(level="world", sort=False):
        means = part.droplevel("world")
        ev, found = means["EV"], means["recovered"]
        wrong = blind = told = 0
        for a, b in combinations(means.index, 2):
            by_ev = _sign(ev[a] - ev[b], EV_TIE)
            by_recovery = _sign(found[a] - found[b], RECOVERY_TIE)
            told += by_recovery != 0
            wrong += by_ev * by_recovery < 0
            blind += by_recovery == 0 and by_ev != 0
        rows.append(
            {
                "world": world,
                "by explained variance": " > ".join(ev.sort_values(ascending=False).index),
                "by recovery": " > ".join(found.sort_values(ascending=False).index),
                "tau": float(kendalltau(ev, found).statistic),
                "told apart": told,
                "wrong": wrong,
                "blind": blind,
            }
        )
    return pd.DataFrame(rows).set_index("world")


def _sign(difference: float, tie: float) -> int:
    return 0 if abs(difference) < tie else (1 if difference > 0 else -1)


def order_words(scores: pd.DataFrame) -> str:
    """Whether explained variance ranks the arms as recovery does."""
    table = orders(scores)
    told, wrong, blind = (int(table[column].sum()) for column in ("told apart", "wrong", "blind"))
    faultless = int(((table["wrong"] == 0) & (table["blind"] == 0)).sum())
    sentence = (
        f"Over {len(table)} worlds, recovery tells {told} pairs of arms apart; explained variance has "
        f"{wrong} of them the wrong way round. {blind} more pairs differ in explained variance and not in "
        f"recovery. The two orders agree in every pair in {faultless or 'none'} of the worlds."
    )
    if wrong:
        names = ", ".join(str(name) for name in table.index[table["wrong"] > 0])
        sentence += f" Pairs are reversed in: {names}."
    return sentence


def match_words(scores: pd.DataFrame, judged: str = "soft_frozen_decoder") -> str:
    """How far an arm is from the trained one, world by world: in EV, and in recovery."""
    means = arm_means(scores)
    name = arm_words(judged, "iso")
    gaps = []
    for world, part in means.groupby(level="world", sort=False):
        arms = part.droplevel("world")
        if name in arms.index and "trained" in arms.index:
            ev, found = (float(arms[c].loc["trained"] - arms[c].loc[name]) for c in ("EV", "recovered"))
            gaps.append((str(world), ev, found))
    if not gaps:
        return f"No world has both a trained and a {name} arm here."
    sentences = [f"{world} {ev:+.3f} and {_points(found)}" for world, ev, found in gaps]
    evs, founds = [ev for _, ev, _ in gaps], [found for *_, found in gaps]
    hidden = [world for world, ev, found in gaps if abs(ev) < NEAR_EV and abs(found) > NEAR_RECOVERY]
    words = (
        f"Trained less {name}, in explained variance and in features recovered: {'; '.join(sentences)}. "
        f"The gap in explained variance lies between {min(evs):+.3f} and {max(evs):+.3f}, "
        f"the one in recovery between {_points(min(founds))} and {_points(max(founds))}."
    )
    if hidden:
        words += (
            f" In {', '.join(hidden)} the two explain the same variance within {NEAR_EV:g}, "
            f"and differ in recovery by more than {100 * NEAR_RECOVERY:g} points."
        )
    return words


def _points(share: float) -> str:
    return f"{100 * share:+.1f} points"


def absorption_words(absorption: pd.DataFrame) -> str:
    """Whether a parent's latent falls silent when a child is active."""
    if absorption.empty:
        return "No arm recovered a parent that was seen both alone and with a child: nothing to ask."
    parts = []
    for (constraint, init), part in absorption.groupby(ARM, sort=False):
        alone, with_child = (float(part[c].mean()) for c in ("missed_alone", "missed_with_child"))
        parts.append(
            f"{arm_words(str(constraint), str(init))}: silent in {alone:.1%} of the samples in which the "
            f"parent is alone and in {with_child:.1%} of those with a child "
            f"({_points(with_child - alone)}, {part['parents'].mean():.0f} parents)"
        )
    return "A recovered parent's own latent is, for " + "; for ".join(parts) + "."


def comparison_table(comparison: pd.DataFrame) -> pd.DataFrame:
    """Per score: largest difference to sae-lens over all arms and worlds, by either reading."""
    rows = []
    for score, part in comparison.groupby("score", sort=False):
        rows.append(
            {
                "score": score,
                "autoencoders": len(part),
                "largest difference, same reading": (part["by_their_reading"] - part["sae_lens"]).abs().max(),
                "largest difference, our reading": (part["ours"] - part["sae_lens"]).abs().max(),
                "sae-lens, range": f"{part['sae_lens'].min():.3f} to {part['sae_lens'].max():.3f}",
            }
        )
    return pd.DataFrame(rows).set_index("score")


def misfit_table(scores: pd.DataFrame, misfits: pd.DataFrame) -> pd.DataFrame:
    """The first world's arms with a dictionary that fits, and with those that do not; on the same seeds."""
    first = scores[scores["world_or_hook"] == scores["world_or_hook"].iloc[0]]
    same = first["constraint"].isin(set(misfits["constraint"])) & first["seed"].isin(set(misfits["seed"]))
    fitting = first[same].assign(world_or_hook="fitting")
    table = arm_means(pd.concat([fitting, misfits], ignore_index=True))
    return table.rename_axis(index={"world": "dictionary"})


def misfit_words(scores: pd.DataFrame, misfits: pd.DataFrame) -> str:
    """What a wrong L0 or a wrong size does to the trained arm, in EV and in recovery."""
    if misfits.empty:
        return "This profile has no dictionaries that do not fit."
    table = misfit_table(scores, misfits).xs("trained", level="arm")
    fitting = table.loc["fitting"]
    parts = [
        f"{name} {row['EV'] - fitting['EV']:+.3f} and {_points(row['recovered'] - fitting['recovered'])}"
        for name, row in table.drop("fitting").iterrows()
    ]
    tau = float(kendalltau(table["EV"], table["recovered"]).statistic)
    best, found = table["EV"].idxmax(), table["recovered"].idxmax()
    chosen = (
        "the same that explained variance would choose"
        if best == found
        else f"explained variance would choose *{best}*"
    )
    return (
        f"The fitting dictionary has EV {fitting['EV']:.3f} and recovers {fitting['recovered']:.1%}. Against "
        f"it, in explained variance and in features recovered: {'; '.join(parts)}. The most features are "
        f"recovered by *{found}*; {chosen}. Kendall's tau of the two orders is {tau:.2f}."
    )
