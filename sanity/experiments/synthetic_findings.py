"""What the tables of `synthetic_recovery` say, in sentences and small tables made of their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from sanity.evals import log_any_above, recovery_by_frequency
from sanity.experiments.findings import LABELS, arm_words, mean_of

DICTIONARIES = {
    "iso": "random directions",
    "signed basis": "signed basis",
    "truth": "the true features",
    "principal components": "principal components",
}


def ladder_words(untrained: pd.DataFrame, reported: pd.DataFrame) -> str:
    """Whether a signed basis beats the truth under each rule, beside what the paper reports."""
    sentences = []
    for world, part in untrained.groupby("world_or_hook", sort=False):
        ev = part.set_index(["dictionary", "rule"])["explained_variance"]
        basis, truth = ev["signed basis", "batchtopk"], ev["truth", "batchtopk"]
        basis_k, truth_k = ev["signed basis", "topk"], ev["truth", "topk"]
        said = reported[
            (reported["probability_model"] == world)
            & reported["architecture"].str.lower().isin(["batchtopk", "jumprelu"])
        ]["explained_variance"].dropna()
        printed = f" The paper's trained BatchTopK and JumpReLU reach {_range(said)}." if len(said) else ""
        sentences.append(
            f"With **{world}** probabilities, a random orthonormal basis and its negative, 200 directions "
            f"that know nothing of the 3,200 features, explain {basis:.3f} of the variance under one "
            f"threshold, and the true features {truth:.3f}.{printed} "
            f"With TopK it is {basis_k:.3f} against {truth_k:.3f}: {_order(truth_k - basis_k)}."
        )
    return "\n\n".join(sentences)


def _order(lead: float) -> str:
    return "the truth is ahead" if lead > 0 else "the truth is behind"


def _range(values: pd.Series) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f}"


def reference_table(scores: pd.DataFrame, references: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A metric of the first seed: untrained, trained, and the true dictionary under each named encoder."""
    rows: dict[str, pd.DataFrame] = {
        "random directions, tied encoder": scores[scores["constraint"] == "untrained"],
        "signed basis, tied encoder": references[references["init"] == "signed_basis"],
        "truth, tied encoder": _of(references, "untrained"),
        "truth, trained encoder": _of(references, "frozen_decoder"),
        "trained from the truth": _of(references, "trained"),
        "trained from random directions": scores[scores["constraint"] == "trained"],
    }
    table = {}
    for name, part in rows.items():
        first = part[(part["metric"] == metric) & (part["seed"] == scores["seed"].min())]
        table[name] = first.set_index(["world_or_hook", "architecture"])["value"]
    order = list(dict.fromkeys(zip(scores["world_or_hook"], scores["architecture"], strict=True)))
    frame = pd.DataFrame(table).reindex(order).T
    # One dictionary, one encoder and one threshold are one SAE, whatever its training would be called.
    for world, architecture in order:
        if architecture in ("jumprelu", "matryoshka") and (world, "batchtopk") in order:
            for name in ("signed basis, tied encoder", "truth, tied encoder"):
                frame.loc[name, (world, architecture)] = frame.loc[name, (world, "batchtopk")]
    frame.columns = frame.columns.set_names(["world", "architecture"])
    return frame.rename(columns=LABELS, level=1).rename_axis("dictionary and encoder")


def _of(references: pd.DataFrame, constraint: str) -> pd.DataFrame:
    return references[(references["init"] == "truth") & (references["constraint"] == constraint)]


def rule_words(scores: pd.DataFrame, references: pd.DataFrame) -> str:
    """Does recovery follow whether the truth explains more than a signed basis does?"""
    ev = reference_table(scores, references, "explained_variance")
    lead = ev.loc["truth, trained encoder"] - ev.loc["signed basis, tied encoder"]
    weighted = reference_table(scores, references, "frequency_weighted_recovery")
    found = weighted.loc["trained from random directions"]
    both = pd.DataFrame({"lead": lead, "found": found}).rename_axis(["world", "architecture"]).reset_index()
    parts = [
        f"{row['architecture']}, {row['world']}: {row['lead']:+.3f} and {row['found']:.1%}"
        for _, row in both.sort_values("lead").iterrows()
    ]
    rank = float(spearmanr(both["lead"], both["found"]).statistic) if len(both) > 2 else float("nan")
    return (
        "Explained variance of the truth with a trained encoder less that of the untrained signed basis, and "
        "what share of the activations belongs to features that training from random directions recovers: "
        f"{'; '.join(parts)}. Rank correlation over these {len(both)} cells: {rank:.2f}."
    )


def collapse_table(geometry: pd.DataFrame) -> pd.DataFrame:
    """What the latents that fire span: trained arms, mean over seeds."""
    trained = geometry[geometry["constraint"] == "trained"].copy()
    trained["per dimension"] = trained["directions"] / trained["d_in"]
    named = {
        "directions": "latents that fire",
        "per dimension": "per dimension",
        "activations_of_2d": "activations of the 2d busiest",
        "rank": "rank",
        "participation_ratio": "participation ratio",
        "antipodal_share": "with an opposite",
        "axes": "axes",
        "axis_cosine": "cosine between axes",
        "random_axis_cosine": "of random axes",
    }
    table = trained.groupby(["world_or_hook", "architecture"], sort=False)[list(named)].mean()
    table.index = pd.MultiIndex.from_tuples(
        [(world, LABELS[architecture]) for world, architecture in table.index],
        names=["world", "architecture"],
    )
    return table.rename(columns=named)


def collapse_words(geometry: pd.DataFrame) -> str:
    """What each architecture collapses to, world by world, held against the hypothesis of a signed basis."""
    trained = geometry[geometry["constraint"] == "trained"]
    sentences = []
    for world, part in trained.groupby("world_or_hook", sort=False):
        words = []
        for architecture, arm in part.groupby("architecture", sort=False):
            mean = arm[["directions", "d_in", "d_sae", "antipodal_share", "axis_cosine"]].mean()
            words.append(
                f"{LABELS[str(architecture)]} uses {mean['directions']:.0f} of {mean['d_sae']:.0f} latents "
                f"({mean['directions'] / mean['d_in']:.1f} per dimension; {mean['antipodal_share']:.0%} have "
                f"an opposite; axes at a mean |cosine| of {mean['axis_cosine']:.3f})"
            )
        sentences.append(f"With **{world}** probabilities: {'; '.join(words)}.")
    random = float(trained["random_axis_cosine"].mean())
    return (
        "\n\n".join(sentences)
        + f"\n\nA signed basis has 2 latents per dimension, all with an opposite, and axes at 0; independent "
        f"random directions have no opposites here and axes at {random:.3f}."
    )


def variant_table(
    scores: pd.DataFrame, rates: pd.DataFrame, auxiliary: pd.DataFrame, metrics: Sequence[str]
) -> pd.DataFrame:
    """The trained arms of the first seed at every learning rate and with the auxiliary loss."""
    seed = scores["seed"].min()
    base = scores[(scores["constraint"] == "trained") & (scores["seed"] == seed)]
    parts = [_named(base, ""), _named(rates, ""), _named(auxiliary, ", auxiliary loss")]
    rows = pd.concat([part for part in parts if len(part)])
    rows = rows[rows["metric"].isin(metrics)]
    wide = rows.pivot_table(
        index=["world_or_hook", "architecture", "learning_rate", "variant"], columns="metric", values="value"
    )[list(metrics)].reset_index()
    wide["architecture"] = wide["architecture"].map(LABELS)
    wide["run"] = [
        f"lr {rate:g}{variant}" for rate, variant in zip(wide["learning_rate"], wide["variant"], strict=True)
    ]
    wide = wide.rename(columns={"world_or_hook": "world"}).drop(columns=["learning_rate", "variant"])
    return wide.set_index(["world", "architecture", "run"]).rename_axis(columns=None)


def _named(scores: pd.DataFrame, variant: str) -> pd.DataFrame:
    return scores.assign(variant=variant) if len(scores) else scores


def variant_words(table: pd.DataFrame) -> str:
    """The best recovery of each architecture over what was tried, and at which explained variance."""
    parts = []
    for (world, architecture), part in table.groupby(level=[0, 1], sort=False):
        if len(part) < 2:
            continue
        runs = part.reset_index()
        best = runs.iloc[int(runs["recovery"].to_numpy().argmax())]
        ev = runs["explained_variance"]
        parts.append(
            f"{architecture}, {world}: at best {best['recovery']:.1%} ({best['run']}, EV "
            f"{best['explained_variance']:.3f}; EV over all runs {ev.min():.3f} to {ev.max():.3f})"
        )
    return "; ".join(parts) + "." if parts else "Only one setting was tried at this profile."


def frequency_table(features: pd.DataFrame, *, threshold: float = 0.8, bins: int = 14) -> pd.DataFrame:
    """Recovery by how often features were seen: one row per architecture and bin of frequency."""
    import torch

    rows = []
    for name, part in features.groupby("architecture", sort=False):
        table = recovery_by_frequency(
            torch.tensor(part["max_cosine"].to_numpy(dtype=np.float64)),
            torch.tensor(part["probability"].to_numpy(dtype=np.float64)),
            threshold=threshold,
            bins=bins,
        )
        edges = np.append(table["p_low"].to_numpy(), table["p_high"].iloc[-1])
        which = np.clip(np.searchsorted(edges, part["probability"], side="right") - 1, 0, len(table) - 1)
        seen = part["times_seen"].groupby(which).mean()
        rows.append(table.assign(architecture=name, times_seen=seen.reindex(range(len(table))).to_numpy()))
    return pd.concat(rows, ignore_index=True)


def halfway_words(table: pd.DataFrame) -> str:
    """How often a feature must be seen before half of its kind are recovered."""
    parts = []
    for name, part in table.groupby("architecture", sort=False):
        above = part[part["recovered"] >= 0.5]
        parts.append(
            f"{LABELS[str(name)]} at about {above['times_seen'].iloc[0]:,.0f}"
            if len(above)
            else f"{LABELS[str(name)]} nowhere"
        )
    return "Half of the features are recovered from so many sightings on: " + "; ".join(parts) + "."


def null_sweep(d: int, m: int, bars: np.ndarray) -> np.ndarray:
    """The exact share of features that the best of m random directions in d dimensions meets, per bar."""
    return np.exp([log_any_above(d, m, float(bar)) for bar in bars])


def matching_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Recovery by other measures: trained and untrained arms, and the floors."""
    named = {
        "recovery": "recovered (max cosine)",
        "mean_max_cosine": "mean max cosine",
        "mean_matched_cosine": "one to one (MCC)",
        "uniqueness": "uniqueness",
        "detection_f1": "F1 as detectors",
        "span_recovery_2": "in a plane of two",
        "subspace_overlap": "leading subspace",
        "pursuit_explained_variance": "EV by pursuit",
    }
    rows: list[dict[str, Any]] = []
    for (world, architecture), part in scores.groupby(["world_or_hook", "architecture"], sort=False):
        for constraint in ("trained", "untrained"):
            arm = part[part["constraint"] == constraint]
            values = {name: mean_of(arm, metric) for metric, name in named.items()}
            rows.append(
                {"world": world, "architecture": LABELS[str(architecture)], "arm": constraint, **values}
            )
    floors = scores.groupby("metric")["floor"].mean()
    rows.append(
        {"world": "", "architecture": "", "arm": "floor"} | {n: floors[metric] for metric, n in named.items()}
    )
    return pd.DataFrame(rows).set_index(["world", "architecture", "arm"])


def frozen_words(scores: pd.DataFrame) -> str:
    """Is a frozen decoder's EV near the trained one's, with zero recovery?"""
    sentences = []
    for world, part in scores.groupby("world_or_hook", sort=False):
        ev = {c: mean_of(part, "explained_variance", constraint=c) for c in dict.fromkeys(part["constraint"])}
        found = {c: mean_of(part, "recovery", constraint=c) for c in ev}
        if "frozen_decoder" not in ev:
            continue
        share = (ev["frozen_decoder"] - ev["untrained"]) / (ev["trained"] - ev["untrained"])
        sentences.append(
            f"With {world} probabilities a frozen decoder recovers {found['frozen_decoder']:.1%} and "
            f"explains {ev['frozen_decoder']:.3f}, where the untrained arm has {ev['untrained']:.3f} and the "
            f"trained one {ev['trained']:.3f}: {share:.0%} of what training gains."
        )
        soft = "soft_frozen_decoder"
        if soft in ev:
            sentences.append(
                f"The {arm_words(soft, 'iso')} one recovers {found[soft]:.1%} at {ev[soft]:.3f}, although "
                "none of its latents may leave the cone of cosine 0.8 around a random direction."
            )
    return " ".join(sentences)


def leaving_words(curves: pd.DataFrame) -> str:
    """Where training that starts at the truth has gone by its end."""
    parts = []
    for (world, architecture), part in curves.groupby(["world_or_hook", "architecture"], sort=False):
        line = part.dropna(subset=["recovery"]).sort_values("samples")
        begun, ended = line.iloc[0], line.iloc[-1]
        parts.append(
            f"{LABELS[str(architecture)]}, {world}: explained variance "
            f"{begun['explained_variance_held_out']:.3f} to {ended['explained_variance_held_out']:.3f}, mean "
            f"max cosine 1 to {ended['mean_max_cosine']:.3f}, {ended['dead_latents_held_out']:.0%} of the "
            "latents silent"
        )
    return (
        f"After {int(curves['samples'].max()):,} samples that began at the true features: {'; '.join(parts)}."
    )


def provenance_words(facts: Mapping[str, Any]) -> str:
    """Where tables that were made elsewhere come from."""
    cpu = facts["cpu"]
    return (
        f"**Not run by this page.** {facts['about']} {len(facts['runs'])} runs of {facts['samples'][-1]:,} "
        f"samples on {cpu['cores']} cores ({cpu['model']}), {facts['seconds'] / 3600:.1f} hours in all; "
        f"finished {facts['finished']}, commit `{', '.join(facts['commits'])}`, torch "
        f"{facts['versions']['torch']}, configuration `{facts['configuration']}`."
    )
