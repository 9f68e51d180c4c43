"""What the scores of interpretability say, in sentences and tables made of their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from sanity.evals.interpretability import METRICS, Context
from sanity.experiments.findings import arm_words, lead_words, mean_of
from sanity.experiments.interpretability import FREQUENCY_MATCHED, InterpretabilityTables
from sanity.stats import hierarchical_bootstrap, t_interval

NAMES: Mapping[str, str] = {
    "autointerp_auroc": "AUROC",
    "autointerp_auroc_strong": "AUROC, strongest quarter",
    "autointerp_auroc_token_matched": "AUROC, same word",
    "autointerp_auroc_source_matched": "AUROC, same source",
    "autointerp_auroc_shuffled": "AUROC, another's description",
    FREQUENCY_MATCHED: "AUROC, equal frequencies",
    "autointerp_lookup_auroc": "AUROC of a word list",
    "autointerp_purity": "lexical purity",
    "autointerp_ngram_f1": "F1 of the best n-gram",
    "autointerp_ngram_recall": "recall of the best n-gram",
    "autointerp_intruder": "intruders found",
}
"""Metric -> its name on the page."""

L0 = "L0 on this text"

Examples = list[tuple[str, str, list[Context]]]

_COLUMN = {metric: column for column, metric in METRICS.items()}


def arms_in(scores: pd.DataFrame) -> list[tuple[str, str]]:
    """The arms that have scores, in order."""
    if scores.empty:
        return []
    return list(dict.fromkeys(zip(scores["constraint"], scores["init"], strict=True)))


def lead(scores: pd.DataFrame, metric: str) -> str:
    """The trained arm's lead over each baseline in one metric, where it has scores."""
    if ("trained", "iso") not in arms_in(scores[scores["metric"] == metric] if len(scores) else scores):
        return f"The trained arm has no score in {NAMES[metric]}, so there is no lead to tell."
    return lead_words(scores, metric, NAMES[metric])


def score_table(scores: pd.DataFrame, counts: pd.DataFrame) -> pd.DataFrame:
    """Every metric of every arm, mean over seeds, with floors in the first row; first the L0 on this text."""
    rows: dict[str, dict[str, float]] = {"floor (chance)": {}}
    for constraint, init in arms_in(scores):
        mine = counts[(counts["constraint"] == constraint) & (counts["init"] == init)]
        rows[arm_words(constraint, init)] = {L0: float(mine["l0"].mean())}
    for metric, name in NAMES.items():
        part = scores[scores["metric"] == metric]
        if part.empty:
            continue
        rows["floor (chance)"][name] = float(part["floor"].mean())
        for constraint, init in arms_in(scores):
            value = mean_of(scores, metric, constraint=constraint, init=init)
            rows[arm_words(constraint, init)][name] = value
    table = pd.DataFrame(rows).T.rename_axis("arm")
    return table[sorted(table, key=lambda name: name != L0)]


def remaining_words(scores: pd.DataFrame) -> str:
    """How much of each arm's margin over chance is left once controls are matched."""
    parts = []
    for constraint, init in arms_in(scores):
        arm = {"constraint": constraint, "init": init}
        plain, word, source = (
            mean_of(scores, f"autointerp_auroc{end}", **arm) - 0.5
            for end in ("", "_token_matched", "_source_matched")
        )
        if plain > 0:
            parts.append(
                f"{arm_words(constraint, init)} {plain:+.3f}, of which {word / plain:.0%} against the same "
                f"word and {source / plain:.0%} against the same source"
            )
    return "Above chance: " + "; ".join(parts) + "." if parts else "No arm is above chance."


def lookup_words(scores: pd.DataFrame) -> str:
    """What a list of words does where the sentence encoder is asked."""
    parts = []
    for constraint, init in arms_in(scores):
        arm = {"constraint": constraint, "init": init}
        found = [mean_of(scores, m, **arm) for m in ("autointerp_lookup_auroc", "autointerp_auroc")]
        parts.append(f"{arm_words(constraint, init)} {found[0]:.3f} against {found[1]:.3f}")
    return (
        "AUROC of a word list that was counted on the examples, against that of the description's embedding: "
        + "; ".join(parts)
        + "."
    )


def count_words(counts: pd.DataFrame) -> str:
    """How many latents are alive, can be asked about, and were drawn; and which arms have none."""
    parts, none = [], []
    for (constraint, init), part in counts.groupby(["constraint", "init"], sort=False):
        name = arm_words(str(constraint), str(init))
        none += [
            f"{name}, seed {row.seed}: {row.why_none}" for row in part[part["sampled"] == 0].itertuples()
        ]
        some = part[part["sampled"] > 0]
        if len(some):
            alive, eligible, drawn = (some[c].mean() for c in ("alive", "eligible", "sampled"))
            parts.append(f"{name} {alive:,.0f} alive, {eligible:,.0f} eligible, {drawn:,.0f} drawn")
    words = f"Latents per SAE, mean over seeds: {'; '.join(parts)}."
    return words + "".join(f"\n\nNot scored: {one}." for one in none)


def gate_words(graded: pd.DataFrame, metrics: Sequence[str]) -> str:
    """What each metric reads on its known concepts, intact and with nothing left of them."""
    parts = []
    for metric in metrics:
        part = graded[(graded["metric"] == metric) & graded["reference"]]
        levels = part.groupby("level")["value"].mean()
        if len(levels):
            falls = "falling at every step" if levels.is_monotonic_decreasing else "not falling at every step"
            parts.append(
                f"{NAMES[metric]} ({part['kind'].iloc[0]}) from {levels.iloc[0]:.2f} to "
                f"{levels.iloc[-1]:.2f}, {falls}"
            )
    return "; ".join(parts) + "."


def concept_words(graded: pd.DataFrame) -> str:
    """What known concepts score, as a measure of what the encoder can see; empty where none was graded."""
    reached = concept_ceiling(graded)
    if not reached:
        return ""
    words = "For scale, latents made to fire exactly where something known is the case score: " + (
        "; ".join(f"a {kind} {value:.2f}" for kind, value in reached.items()) + "."
    )
    if reached.get("word", 1.0) < reached.get("topic", 0.0):
        words += (
            " The encoder does not see a single word as well as it sees a topic: of latents that fire on "
            f"one word no more than about {reached['word']:.2f} can be expected on average."
        )
    return words


def concept_ceiling(graded: pd.DataFrame, metric: str = "autointerp_auroc") -> dict[str, float]:
    """Kind of concept -> the mean score of intact concepts of that kind."""
    intact = graded[(graded["metric"] == metric) & (graded["level"] == graded["level"].min())]
    return {str(kind): float(part["value"].mean()) for kind, part in intact.groupby("kind", sort=False)}


def quantile_table(latents: pd.DataFrame, metric: str = "autointerp_auroc") -> pd.DataFrame:
    """Quantiles over the latents of all seeds, per arm, and the share above 0.7."""
    rows = []
    for (constraint, init), part in latents.groupby(["constraint", "init"], sort=False):
        values = part[_COLUMN[metric]].dropna()
        quantiles = {f"{q:.0%}": float(values.quantile(q)) for q in (0.05, 0.25, 0.5, 0.75, 0.95)}
        rows.append(
            {
                "arm": arm_words(str(constraint), str(init)),
                **quantiles,
                "share above 0.7": float((values > 0.7).mean()),
                "latents": len(values),
            }
        )
    return pd.DataFrame(rows).set_index("arm")


def interval_table(
    latents: pd.DataFrame, scores: pd.DataFrame, metric: str = "autointerp_auroc"
) -> pd.DataFrame:
    """Mean over seeds per arm, with its t-interval over seeds, and one from redrawing seeds and latents.

    The second redraws latents within seeds, too; with a few seeds it is too narrow, and shown for comparison.
    Empty with fewer than two seeds.
    """
    rows = []
    for constraint, init in arms_in(scores):
        mine = latents[(latents["constraint"] == constraint) & (latents["init"] == init)]
        units = mine[["seed", "latent"]].assign(value=mine[_COLUMN[metric]]).dropna()
        means = units.groupby("seed")["value"].mean().to_numpy()
        if len(means) < 2:
            continue
        low, high = t_interval(means)
        nested = hierarchical_bootstrap(units, levels=("seed", "latent"))
        rows.append(
            {
                "arm": arm_words(constraint, init),
                "mean": float(means.mean()),
                "95 % from": low,
                "to": high,
                "redrawing latents, from": nested.low,
                "to ": nested.high,
            }
        )
    return pd.DataFrame(rows).set_index("arm") if rows else pd.DataFrame()


def example_rows(place: InterpretabilityTables, shown: int, contexts: int = 4) -> Examples:
    """The first latents drawn from each arm on the first seed: arm, scores in words, strongest contexts."""
    rows: Examples = []
    for about, drawn in place.contexts:
        table = place.latents
        for column in ("constraint", "init", "seed"):
            table = table[table[column] == about[column]]
        for i in range(min(shown, len(drawn))):
            latent = drawn[i]
            score = table[table["latent"] == latent.latent].iloc[0]
            matched = score["token_matched"]
            words = (
                f"{latent.latent}: fires on {latent.frequency:.2%} of tokens; AUROC {score['auroc']:.2f}, "
                f"same word {'–' if pd.isna(matched) else f'{matched:.2f}'}, "
                f"word list {score['lookup']:.2f}, "
                f"purity {score['purity']:.2f}, best n-gram “{score['rule']}” (F1 {score['ngram_f1']:.2f})"
            )
            rows.append((arm_words(about["constraint"], about["init"]), words, latent.top(contexts)))
    return rows
