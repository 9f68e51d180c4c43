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
# # Do the metrics measure anything?
#
# *Before a score decides between arms: does it see what it is said to measure, and what does it look at?*
#
# A metric that cannot tell a thing from its ruin decides nothing about sparse autoencoders {cite}`korznikov2026sanity`,
# however many seeds it is read on. Here every metric of the ledger passes a gate before any verdict may rest on it. The
# gate takes what the metric itself calls right, its *own reference*, corrupts it in grades, and asks four things:
#
# | condition | bar | why |
# |---|---|---|
# | it falls as the corruption rises | Spearman's $\rho$ at least 0.8 over levels and reseeds, and beyond chance at 1 % | a metric with a threshold falls in one step: 0.87 on five levels |
# | it has range | complete corruption costs at least a fifth of the way from floor to ceiling | two margins of a tenth; below that all scores are "equivalent" |
# | the range stands out of noise | more than four SDs over reseeds | the rule by which verdicts refuse a range |
# | no false alarms | the verdicts' paired $t$-test, at 5 %, calls at most 15 % of reseeds of one thing different | three times nominal: a few reseeds give a coarse share |
#
# The bars were fixed before any metric was held against them. What trained and random arms score takes no part: that
# contrast is what the metrics are to judge, and finding no difference there may be right.

# %% tags=["remove-cell"]
# In Colab: install the package from the repository this notebook came from. Elsewhere: nothing.
import sys

if "google.colab" in sys.modules:
    import json
    import os
    import re
    import subprocess
    import urllib.parse
    import urllib.request

    REMOTE, COMMIT = "", ""
    if not REMOTE:
        api = "http://{COLAB_JUPYTER_IP}:{KMP_TARGET_PORT}/api/sessions".format_map(os.environ)
        opened = urllib.parse.unquote(json.load(urllib.request.urlopen(api))[0]["path"])
        REMOTE, COMMIT = re.search(r"(https://github\.com/[^/]+/[^/]+)/blob/([^/]+)/", opened).groups()
    subprocess.run(["git", "clone", "--quiet", REMOTE, "/content/sae-sanity"], check=True)
    subprocess.run(["git", "-C", "/content/sae-sanity", "checkout", "--quiet", COMMIT], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "/content/sae-sanity"], check=True)
    os.chdir("/content/sae-sanity/book")

# %% tags=["parameters"]
profile = "quick"

# %% tags=["hide-input"]
from IPython.display import Markdown

from sanity import claims, figures
from sanity.experiments import metric_validity
from sanity.publishing import open_chapter

page = open_chapter("metric_validity", profile)
figures.house_style()
page.banner()

# %% tags=["hide-input"]
import pandas as pd

grid, ledger = page.profile.validity, claims.read_ledger()
pd.DataFrame(
    [
        ("gate of a metric", "none", "this page", "a score must be worth something before it decides"),
        (
            "levels of corruption",
            "none",
            ", ".join(f"{level:g}" for level in grid.levels),
            "0 intact, 1 complete",
        ),
        ("seeds", "none", len(grid.seeds), "each draws corruption and evaluation anew"),
        ("samples of a synthetic world", "none", f"{grid.samples:,}", f"budget of the profile {profile}"),
        ("held-out activations", "none", f"{grid.rows:,}", "for explained variance"),
        ("held-out tokens", "none", f"{grid.tokens:,}", "for cross-entropy and KL, drawn anew by seed"),
    ],
    columns=["", "paper", "here", "why"],
).set_index("").astype(str)

# %%
tables = metric_validity.tables(page.profile)
gates, behind = metric_validity.gate_table(page.profile)
page.keep([*tables.found, *behind])
page.publish(gates, claims.GATE_TABLE)

# %% [markdown]
# ## The gate

# %% tags=["hide-input"]
Markdown(metric_validity.summary(gates, ledger))

# %% tags=["hide-input"]
readings = metric_validity.gated_readings(page.profile, tables.graded)
labels = {m: metric_validity.label_of(m, ledger) for m in ledger.metrics if m in set(readings["metric"])}
page.figure(
    figures.graded_readings(
        readings, labels=labels, states={m: claims.gate_state(gates, [m]) for m in labels}
    ),
    alt="Every metric against graded corruption of its own reference. "
    + metric_validity.summary(gates, ledger).replace("*", ""),
    caption=f"Each metric's place between floor and ceiling while its own reference is corrupted: mean (dots) and every "
    f"one of its seeds (lines; {len(grid.seeds)} for the metrics of this page). A colour per place.",
    data=(readings, "graded_readings"),
)

# %% tags=["hide-input"]
page.table(
    metric_validity.gate_numbers(gates, ledger),
    caption="The gate in numbers. rho: Spearman, 1 is falling with every corruption. Range: what complete corruption costs, "
    "in the metric's units and as a share of floor to ceiling. Reseed SD: at a fixed level. False alarms: share of "
    "same-level comparisons of reseeds that the paired t-test calls different; with fewer than five seeds none is made.",
)

# %% [markdown]
# ## Do the metrics follow the truth?
#
# In the synthetic worlds the right dictionary is known. It is given a tied encoder (the *oracle*: true directions as
# decoder and as encoder, one scalar fitted), and corrupted in four ways. Metrics that do not read what a corruption
# touches stay level, which is no fault: exchanging decoder rows leaves the dictionary what it was. Explained variance
# speaks of the activation, so this turns nothing off; what it says of the truth is a finding.

# %% tags=["hide-input"]
shown = (
    "explained_variance recovery frequency_weighted_recovery mean_max_cosine mean_matched_cosine detection_f1"
)
truth = tables.graded[tables.graded["kind"].isin(metric_validity.KINDS)]
page.figure(
    figures.truth_against_corruption(
        truth,
        labels={m: metric_validity.label_of(m, ledger) for m in shown.split()},
        kinds=metric_validity.KINDS,
    ),
    alt="Metrics of the synthetic worlds against four corruptions of the true dictionary. "
    + metric_validity.truth_words(truth).replace("*", ""),
    caption=f"Place between floor and ceiling, mean of {len(grid.seeds)} seeds, {grid.samples:,} samples each; one row of "
    "panels per world. TopK, the encoder tied to the corrupted decoder (in the third column: to the decoder before).",
    data=(truth, "truth_corrupted"),
)

# %% tags=["hide-input"]
Markdown(metric_validity.truth_words(truth))

# %% tags=["hide-input"]
followed = metric_validity.truth_followed(tables.graded, ledger)
page.table(
    metric_validity.followed_table(followed, ledger),
    caption="The same four conditions, asked of every metric about every corruption of the truth: share of floor to "
    "ceiling that complete corruption costs, in brackets where one of the four does not hold.",
    folded=True,
)

# %% [markdown]
# ## What each metric reads
#
# Encoder and decoder of finished autoencoders are scrambled, and every score is watched. This shows an
# evaluation-time dependence, **no more**: it says which weights enter the score on the day it is measured. It does not
# say from which of them the score's quality came. A frozen decoder's encoder was *fitted* to random directions, so a
# metric that reads encoders alone still sees, through training, the decoder.

# %% tags=["hide-input"]
changed = metric_validity.changes(tables.scrambled)
reads = metric_validity.reads(changed)
page.figure(
    figures.scramble_matrix(
        changed,
        labels={m: metric_validity.label_of(m, ledger) for m in dict.fromkeys(changed["metric"])},
    ),
    alt="Change of every score under every scramble. "
    + metric_validity.reads_words(reads, ledger).replace("*", ""),
    caption="Change of each score as a share of floor to ceiling (active latents: of their own number), the largest over "
    "a trained arm and the true dictionary in every synthetic world, and a trained arm at every place. Below 0.005: ≈ 0; a dash: not tried.",
    data=(changed, "scrambled_scores"),
)

# %% tags=["hide-input"]
Markdown(metric_validity.reads_words(reads, ledger) + "\n\n" + metric_validity.task_reads_words(reads))

# %% [markdown]
# ## How far encoder and decoder belong together
#
# Beside what is read, where it points: the cosine of each latent's encoder and decoder directions, and of both to the
# direction at which the decoder started. An encoder that stays near the random directions it was paired with has been
# fitted to them.

# %% tags=["hide-input"]
page.publish(tables.alignment, "alignment")
page.table(
    metric_validity.alignment_table(tables.alignment),
    caption="Means over latents, first seed of the primary grid.",
)

# %% [markdown]
# ## Every metric's floor and ceiling
#
# The floor is chance on the task, the same for every arm; the ceiling is a reference for the task, and never the score
# of a trained arm. In words from the ledger (`book/claims.yml`), and as the evals gave them on this page.

# %% tags=["hide-input"]
scales = metric_validity.scales(gates, readings, ledger)
page.publish(scales, "metric_scales")
page.table(
    scales.set_index("metric"),
    caption="Floors and ceilings, where they come from, and what was measured; the range of which margins are taken.",
)

# %% [markdown]
# ## What could be wrong
#
# - A gate that is passed says that the metric follows *this* corruption. It does not say that what it measures is what a
#   reader means by its name.
# - Explained variance and the recovered losses are gated by moving the activation to its mean, which they follow almost
#   by their definition. The gate finds a broken implementation or a place without range there, and little else.
# - Levels, bars and corruptions are choices. The bars are in `sanity/stats/validity.py` with their reasons; the numbers
#   above let a reader put them elsewhere.
# - False alarms are counted among reseeds, by a test that takes reseeds as its units: noise of almost any shape passes.
#   What would fail is a test that took latents or prompts for replicates, which no verdict of this book does.
# - One failure at one place turns a metric off everywhere, for a margin cannot be held on a scale that sometimes holds.
# - Where a gate is not available, verdicts stand as they are, and say so.
# - The scrambled arms have the first architecture of their grid. Where that is TopK, the number of active latents is
#   held by its rule and cannot show what it reads.

# %% tags=["hide-input"]
page.provenance(seeds=grid.seeds)
