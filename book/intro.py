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
# Sparse autoencoders (SAEs) are the standard instrument for taking a language model's activations apart into
# parts that people can read. A recent paper asks whether they pass a sanity check {cite}`korznikov2026sanity`:
# train them on data whose true parts are known, and hold them against *baselines* whose encoder or decoder stays
# random. Its answer is uncomfortable: **9 % of the true features at 71 % explained variance**, and baselines that
# "match" in interpretability (0.87 against 0.90), sparse probing (0.69 against 0.72) and causal editing (0.73
# against 0.72).
#
# This book reproduces the check, runs it on your machine, and asks more of it: what is each score worth between
# a floor and a ceiling, what does each baseline really hold fixed, and how sure can one be.

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
from sanity import claims, figures
from sanity.experiments.verdicts import verdict_tables
from sanity.publishing import Markdown, open_chapter

page = open_chapter("intro", profile)
page.banner()

# %% [markdown]
# ## What was claimed, and what we find
#
# One row per claim: the paper's and our own, each with one comparison and one margin declared beforehand in
# `book/claims.yml`. *Ours* gives a comparison as the paper prints its pairs, the other arm against the judged one, and
# then their difference (judged minus other) with the interval over seeds that decides it: 90 % for an equivalence, 95 %
# else. A verdict is *trained better*, *baseline better*, *equivalent* (the difference is shown to lie within the margin),
# *inconclusive* (too few seeds to tell, which is never rounded up to "the baselines match") or *no range* (the metric
# cannot tell anything apart here). *Equivalent* stands only where the same metric shows, on the same seeds, that the
# trained arm is ahead of an untrained dictionary by more than twice the margin, and of an SAE of a random transformer
# where one was run (*control not run* where none was). Else the verdict is *equivalent, but so is an untrained
# dictionary*, and the claim is undecided: what training adds lies within the margin, so that the metric cannot say
# who matches. *Lead still rising* means that the arms were still moving apart when training ended.
#
# A printed value is judged only at the sizes at which it was printed, and so is a claim about the course of training;
# any other comparison is judged at any, and the table says where that was another scale than the paper's. *The paper's own
# numbers* are what its printed pair would be worth at the margin here: two numbers without an interval, and no verdict. A metric that failed its *validity gate* (it does not follow corruptions of
# its own reference, [](metric_validity)) keeps its number and loses its verdicts; where there is no gate for a metric,
# the table says that it is not available. How sure each verdict is, and what another margin would make of it, is shown in
# [](verdicts).

# %%
found = verdict_tables(page.profile)
table, gates = found.claims, found.gates
judged = table[table["verdict"] != "open"]
state = gates.groupby("metric", sort=False)["state"].agg(claims.worst_state)
page.keep(found.found)

# %% tags=["hide-input"]
page.publish(table, "claims")

# %% tags=["hide-input"]
counts = ", ".join(f"{n} *{verdict}*" for verdict, n in judged["verdict"].value_counts().items())
missing = f"**{found.missing} tables of scores are not computed yet.** " if found.missing else ""
Markdown(
    f"{missing}Of {len(table)} claims, {len(judged)} are judged at the profile `{page.profile.name}` ({counts or 'none'}); "
    f"{len(table) - len(judged)} are open here. Scale: {page.profile.about}.\n\n"
    f"Of {len(state)} metrics, **{(state == 'passed').sum()} pass** their validity gate, "
    f"**{(state == 'failed').sum()} fail** it, and for {(state == 'not available').sum()} there is none."
)

# %% tags=["hide-input"]
reasons = gates.assign(label=[found.ledger.metrics[name].label for name in gates["metric"]])
page.table(
    reasons.loc[reasons["state"] != "passed", ["label", "place", "state", "reason"]].reset_index(drop=True),
    caption="Metrics that failed their gate, whose numbers are shown and whose verdicts are turned off, and metrics "
    "without a gate.",
    folded=True,
)

# %% tags=["hide-input", "full-width"]
columns = "claim, paper, the paper's own numbers, ours, seeds, profile and scale, verdict, in detail, stands, validity gate"
shown = (table["verdict"] != "open") | (table["in detail"] == "validity gate failed")
page.table(
    table.loc[shown, columns.split(", ")].reset_index(drop=True),
    caption=f"Claims that a result speaks to, at the profile {page.profile.name}; those on a metric that failed its validity "
    "gate with their number, and without a verdict.",
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
    caption="What would change our mind, claim by claim, and the margin or expected range (“not blind”: set after "
    "trial results were known).",
    folded=True,
)

# %% tags=["hide-input"]
failed = claims.failed_metrics(gates)
choice = claims.chosen(found.scores, found.ledger, primary=found.primary, failed_gates=failed)
sweep = claims.margin_sweep(claims.comparisons(choice)).drop_duplicates(["claim", "margin"])
page.slider(
    sweep.assign(claim=sweep["claim"].map(table.set_index("id")["claim"])),
    along="margin",
    rows="claim",
    shown={"verdict": "verdict at this margin"},
    say="{:.1%}".format,
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

# %% tags=["hide-input"]
page.provenance()
