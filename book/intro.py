# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Do sparse autoencoders beat random baselines?
#
# *A sanity check of sparse autoencoders, rebuilt and recomputed.*

# %% tags=["remove-cell"]
# In Colab: fetch the repository that this notebook came from, and install its package. Elsewhere: nothing.
import sys

if "google.colab" in sys.modules:
    import os
    import subprocess

    REPOSITORY, REF = "", ""
    checkout = "/content/sae-sanity"
    if not os.path.exists(f"{checkout}/book/claims.yml"):
        if not REPOSITORY:
            raise ValueError(
                "Write the https address of this notebook's repository between the first quotes after "
                "REPOSITORY above (and a branch or commit between the second), and run this cell again."
            )
        subprocess.run(["rm", "-rf", checkout], check=True)
        subprocess.run(["git", "clone", "--quiet", REPOSITORY, checkout], check=True)
    if REF:
        subprocess.run(["git", "-C", checkout, "fetch", "--quiet", "origin", REF], check=True)
        subprocess.run(["git", "-C", checkout, "checkout", "--quiet", "FETCH_HEAD"], check=True)
    # Colab's own torch and numpy stay where they are recent enough.
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", checkout], check=True)
    os.chdir(f"{checkout}/book")

# %% tags=["parameters"]
profile = "demo"

# %% tags=["hide-input"]
import pandas as pd

from sanity import claims, figures
from sanity.experiments.verdicts import verdict_tables
from sanity.publishing import Markdown, cards, open_chapter

page = open_chapter("intro", profile)
figures.house_style()
page.banner()

# %% tags=["hide-input"]
found = verdict_tables(page.profile)
table, gates, rows = found.claims, found.gates, {row["id"]: row for row in found.results}
judged = [row for row in found.results if row["verdict"] != "open"]
state = gates.groupby("metric", sort=False)["state"].agg(claims.worst_state)
page.keep(found.found)

# %% [markdown]
# ## How much of what training adds does a baseline have?
#
# Sparse autoencoders (SAEs) are the standard instrument for taking a language model's activations apart into parts that
# people can read ([](background)). A recent paper asks whether they pass a sanity check {cite}`korznikov2026sanity`: on data
# whose true parts are known they find **9 % of them at 71 % explained variance**, and *baselines*, whose encoder or decoder
# stays random, "match" trained ones in interpretability (0.87 against 0.90), sparse probing (0.69 against 0.72) and causal
# editing (0.73 against 0.72).
#
# A match of raw scores says little where an untrained dictionary, or chance, scores nearly as much. So the figure asks what
# share of the trained arm's lead each baseline has: 0 is an untrained dictionary (filled) or the metric's floor (hollow),
# 100 % the trained arm.

# %% tags=["hide-input"]
METRICS = {  # metric -> where it is measured, at that grid's first setting
    "recovery": "synthetic_recovery",  # by the run that is kept at the paper's size
    "explained_variance": "real_activations",
    "ce_recovered": "real_activations",
    "kl_recovered": "real_activations",
    "autointerp_auroc": "interpretability",
    "autointerp_judge": "judged_interpretability",
    "sparse_probing_top1": "sparse_probing",
    "sparse_probing_top5": "sparse_probing",
    "ravel_disentanglement": "causal_editing",
}
ARMS = [("soft_frozen_decoder", "iso"), ("frozen_decoder", "iso"), ("frozen_decoder", "cov")]
ARMS += [("frozen_encoder", "iso"), ("untrained", "iso")]
judged_in = {  # where claims on a metric were judged by a run that is kept with the book
    (one.scope.experiment, metric): found.judged_by[one.id]
    for one in found.ledger.claims
    for metric in METRICS
    if found.judged_by[one.id] and getattr(one, "metric", "") == metric
}
shares = claims.lead_table(
    {metric: (where, found.choices[judged_in.get((where, metric), "")]) for metric, where in METRICS.items()},
    ARMS,
)

# %% tags=["hide-input"]
labels = {
    name: found.ledger.metrics[name].label
    for name in METRICS
    if len(shares) and name in set(shares["metric"])
}
if "recovery" in labels:
    kept_in = judged_in.get(("synthetic_recovery", "recovery"), "")
    labels["recovery"] = "features recovered, paper's size" if kept_in else "features recovered, synthetic"
telling = shares[shares["tells"]] if len(shares) else shares
over = (
    telling[telling["over"] == "untrained"].set_index(["metric", "constraint", "init"])["share"]
    if len(shares)
    else {}
)


def share_words(constraint: str, init: str = "iso") -> str:
    """An arm's shares over untrained, on the metrics that can tell."""
    known = [
        (labels[metric], over[metric, constraint, init])
        for metric in labels
        if (metric, constraint, init) in over
    ]
    return ", ".join(f"{share:z.0%} in {label}" for label, share in known)


def span_words(constraint: str, init: str = "iso") -> str:
    """From the least to the most of an arm's shares, over the metrics that can tell."""
    known = [share for (_, *arm), share in over.items() if arm == [constraint, init]]
    ends = dict.fromkeys(f"{end:z.0%}" for end in (min(known), max(known))) if known else ["nothing known"]
    return " to ".join(ends)


mute = shares[~shares["tells"]].drop_duplicates("metric") if len(shares) else shares
mute_words = "; ".join(f"{labels[row.metric]} ({row.why_not})" for row in mute.itertuples())
told = [labels[name] for name in labels if name not in set(mute["metric"])] if len(shares) else []
finding = (
    f"{len(told)} of {len(labels)} metrics can tell what training adds; on them a soft-frozen decoder has "
    f"{span_words('soft_frozen_decoder')} of it, a frozen decoder {span_words('frozen_decoder')}, and with the data's covariance "
    f"{span_words('frozen_decoder', 'cov')}"
    if told
    else f"None of {len(labels)} metrics can tell here what training adds"
)
page.figure(
    figures.shares_of_lead(shares, labels=labels),
    finding=f"{finding}.",
    alt=f"Share of the trained arm's lead of every baseline. {finding}. Soft-frozen decoder: {share_words('soft_frozen_decoder')}. "
    f"Frozen decoder: {share_words('frozen_decoder')}. Metrics that cannot tell: {mute_words or 'none'}.",
    caption="Filled: over an untrained dictionary. Hollow: over the metric's floor (chance). Diamonds: the paper's printed scores over "
    "chance, Gemma-2-2B layer 12, BatchTopK. Bars: 90 % intervals over seeds (Fieller), missing where there is nothing to "
    f"divide by. Grey ground: the metric cannot tell, because training adds no more than two margins there or the metric failed its "
    f"validity gate. {' or '.join(map(str, sorted(set(shares['seeds']) - {0})))} seeds."
    + (f" Features recovered: imported, run {kept_in}." if "recovery" in labels and kept_in else ""),
    data=(shares, "shares_of_lead"),
) if len(shares) else Markdown("No arm has been scored at this profile yet.")

# %% tags=["hide-input"]
Markdown(f"What cannot tell, and why: {mute_words}." if len(mute) else "")

# %% [markdown]
# ## Five claims
#
# Of every claim there is one comparison and one margin, declared in `book/claims.yml`.

# %% tags=["hide-input"]
HEADLINES = (
    "toy-variable-batchtopk-recovery",
    "headline-soft-frozen-matches-everywhere",
    "real-soft-frozen-ev",
    "probing-best-frozen",
    "ravel-soft-frozen",
)
cards(
    [
        (
            f"{rows[name]['verdict']}" + (", fragile" if rows[name]["fragile"] else ""),
            rows[name]["statement"],
            claims.verdict_words(rows[name]).partition(" ")[2]
            if rows[name]["value"] is None
            else claims.verdict_words(rows[name]),
        )
        for name in HEADLINES
    ]
)

# %% [markdown]
# ## Every claim
#
# A verdict is *trained better*, *baseline better*, *equivalent* (the 90 % interval of the difference lies inside the
# margin), *inconclusive* (too few seeds to tell, which is never rounded up to "the baselines match") or *no range* (the
# metric cannot tell anything apart here). *Equivalent* stands only where the same metric shows, on the same seeds, that the
# trained arm is ahead of an untrained dictionary by more than twice the margin, and of an SAE of a random transformer where
# one was run. Otherwise the claim is undecided: what training adds is too small for the metric to say who matches.
#
# A printed value is judged only at the sizes at which it was printed; any other comparison is judged at any size, and the
# table says where that was another scale. A metric that failed its validity gate ([](metric_validity)) keeps its number and
# loses its verdicts. [](verdicts) shows how sure each verdict is, and what another margin would make of it.

# %% tags=["hide-input"]
page.publish(table, "claims")

# %% tags=["hide-input"]
blind = sum(row["blind"] for row in judged)
fragile = [row["id"] for row in judged if row["fragile"]]
flips = "; ".join(f"`{name}` at {rows[name]['flips_at']:.1%}" for name in fragile)
counts = ", ".join(
    f"{n} *{verdict}*" for verdict, n in pd.Series([row["verdict"] for row in judged]).value_counts().items()
)
used = sorted({name for name in found.judged_by.values() if name})
imported = "; ".join(f"*{name}*, {found.imports[name]}" for name in used)
missing = f"**{found.missing} tables of scores are not computed yet.** " if found.missing else ""
Markdown(
    f"{missing}Of {page.number('claims.total', len(rows))} claims, {page.number('claims.judged', len(judged))} are judged at the profile "
    f"`{page.profile.name}` ({counts or 'none'}); {len(rows) - len(judged)} are open here. Their margins were declared beforehand, "
    f"but only **{blind} of the {len(judged)}** judged ones were set blind: {len(judged) - blind} were set after trial results "
    f"were known (of all {len(rows)}, {sum(row['blind'] for row in found.results)} are blind). "
    f"**{page.number('claims.fragile', len(fragile))} verdicts are fragile**: a margin a fifth smaller or larger would change them"
    + (f" ({flips})" if fragile else "")
    + (f".\n\nImported runs that judge claims: {imported}" if imported else "")
    + f".\n\nOf {len(state)} metrics, **{(state == 'passed').sum()} pass** their validity gate, "
    f"**{(state == 'failed').sum()} fail** it, and for {(state == 'not available').sum()} there is none."
)

# %% tags=["hide-input", "full-width"]
columns = (
    "claim, paper, the paper's own numbers, ours, margin or range, verdict, fragile, share of the trained lead, seeds, "
    "profile and scale, in detail, stands, validity gate"
)
shown = (table["verdict"] != "open") | (table["in detail"] == "validity gate failed")
page.table(
    table.loc[shown, columns.split(", ")].reset_index(drop=True),
    caption=f"Claims that a result speaks to, at the profile {page.profile.name}; those on a metric that failed its validity "
    "gate with their number, and without a verdict. The paper's own numbers: what its printed pair would be worth at the "
    "margin here, two numbers without an interval. Intervals: 90 % where they decide an equivalence, otherwise 95 %.",
)

# %% tags=["hide-input"]
page.table(
    table.loc[
        ~shown, ["claim", "where", "paper", "the paper's own numbers", "ours", "in detail", "scale"]
    ].reset_index(drop=True),
    caption="Claims that are open at this profile, and what was measured at another scale.",
    folded=True,
)

# %% tags=["hide-input"]
page.table(
    table[["claim", "margin or range", "would change our mind"]],
    caption="What would change our mind, claim by claim, and the margin or expected range (not blind: set after trial results "
    "were known).",
    folded=True,
)

# %% tags=["hide-input"]
reasons = gates.assign(label=[found.ledger.metrics[name].label for name in gates["metric"]])
page.table(
    reasons.loc[reasons["state"] != "passed", ["label", "place", "state", "reason"]].reset_index(drop=True),
    caption="Metrics that failed their gate, whose numbers are shown and whose verdicts are turned off, and metrics "
    "without a gate.",
    folded=True,
)

# %% tags=["hide-input"]
sweep = claims.margin_sweep(claims.comparisons(found.choices, found.judged_by))
sweep = sweep.drop_duplicates(["claim", "margin"])
page.slider(
    sweep.assign(claim=sweep["claim"].map(table.set_index("id")["claim"])),
    along="margin",
    rows="claim",
    shown={"verdict": "verdict at this margin"},
    say="{:.2%}".format,
    start=0.1,
    colours=figures.VERDICT_COLOURS,
    caption="Your own margin, as a share of each metric's range: move it, and the claims above take the colour of their "
    "verdict at that margin.",
) if len(sweep) else Markdown("")

# %% [markdown]
# ## The paper's own tables, read again
#
# The paper's Tables 2 to 4 print raw scores. Raw scores of probing and editing start at chance, so we read them as
# shares of the *trained* arm's margin over chance, (arm − floor) / (trained − floor). Where the trained arm itself is
# barely above chance there is nothing to divide by, and the table says so. The last column of the first table names
# which of five baselines supplied each "match" of the abstract: it is not the same one.

# %% tags=["hide-input"]
page.table(claims.headline_pairs(), caption="The abstract's pairs, and where each comes from.")

# %% tags=["hide-input"]
reread = claims.reread_tables()
page.publish(reread, "paper_tables_reread")

# %% tags=["hide-input"]
page.table(reread, caption="Tables 2 to 4, cell by cell.", folded=True)

# %% [markdown]
# ## Where to go
#
# Start with [](anatomy): the whole check from scratch, with an SAE and its frozen twins trained in front of you.
#
# Where the truth is known:
#
# - [](synthetic_recovery): the paper's worlds, with curves, floors and ceilings.
# - [](harder_worlds): features that are correlated, nested, rare or noisy, and dictionaries of the wrong size.
# - [](objectives): what objectives other than reconstruction buy in recovery.
# - [](lazy_training): how far directions move, and what a cone leaves free.
#
# On a real language model:
#
# - [](real_activations): what the baselines reconstruct, and their gap against training.
# - [](interpretability) and [](judged_interpretability): what latents stand for, without and with a judge.
# - [](sparse_probing): what few latents tell of a text.
# - [](causal_editing): facts changed through chosen latents.
#
# What it is worth:
#
# - [](metric_validity): whether the metrics see what they are said to measure.
# - [](verdicts): every arm between floor and ceiling, every comparison at every margin, and the seeds it takes.
# - [](reproduce): two commands, what they cost, and every computed cell.
#
# Terms and symbols are in the [](glossary) and the [](notation); the package is in the [](api).

# %% tags=["hide-input"]
# The short answer on top of the page.
for_all = rows["headline-soft-frozen-matches-everywhere"]
page.answer(
    f"{finding}. The paper's sentence, that baselines match, holds for raw scores; most metrics behind it could not have seen a "
    "difference."
    if len(told) * 2 < len(labels)
    else f"{finding}.",
    sure=f"one baseline on all three downstream metrics: {claims.verdict_words(for_all)}. {len(judged)} of {len(rows)} claims are "
    f"judged, {len(judged) - blind} of them at margins that were not blind, and {len(fragile)} verdicts are fragile.",
    scale=f"{page.profile.about}. The paper: Gemma-2-2B and Llama-3-8B, 73,728 and 131,072 latents, 500 million tokens.",
)

# %% tags=["hide-input"]
page.provenance()
