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
# # Sparse probing
#
# *Can a handful of latents tell what a text is about, and can they do it better than features that nobody trained?*
#
# A logistic probe answers a yes-or-no question about a text (*is it in French? is it about an athlete?*) from the
# k latents whose means differ most between yes and no. The paper reports 0.72 for its trained SAE and 0.69 for the
# best frozen baseline at k = 1 {cite}`korznikov2026sanity`, by the protocol of SAEBench
# {cite}`karvonen2025saebench`. A probe reads latent *activations* only: the decoder is never used.
#
# Two things decide what such a number is worth. Its **floor** is the whole procedure on permuted labels, the choice of
# latents included. Its **ceiling** is a probe on all dimensions of the residual stream. And beside the arms stand
# features that no one trained, in the same protocol: random directions, raw neurons, and principal components.

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
import pandas as pd
from IPython.display import Markdown

from sanity import figures
from sanity.claims import read_ledger
from sanity.experiments import metric_validity, sparse_probing
from sanity.experiments import sparse_probing_findings as findings
from sanity.publishing import open_chapter

page = open_chapter("sparse_probing", profile)
figures.house_style()
grid, real = page.profile.probing, page.profile.real
page.banner()

# %% tags=["hide-input"]
(tables, *other_places) = sparse_probing.tables(page.profile)
for place in (tables, *other_places):
    page.keep(place.found)
summary, ends = findings.summary(tables, page.profile), findings.ends(tables)
probed = summary[summary["features"].isin([sparse_probing.LATENTS, *findings.REFERENCES])]
pd.DataFrame(
    [
        (
            "concept groups",
            "five",
            len([g for g in findings.ordered_groups(tables.counts) if g in findings.GROUPS]),
            "profession, product and sentiment, language, programming language, news topic",
        ),
        (
            "yes-or-no tasks",
            "not stated",
            findings.task_counts(tables),
            "one class against the others, in equal numbers",
        ),
        (
            "texts per class",
            "thousands (SAEBench)",
            f"up to {grid.per_class}",
            f"budget of the profile {profile}",
        ),
        ("tokens read of a text", "128 (SAEBench)", grid.window, f"budget of the profile {profile}"),
        (
            "division",
            "train, test",
            "50 % train, 20 % validation, 30 % test",
            "latents ranked and probes fitted on the first, strength chosen on the second, scored on the third",
        ),
        (
            "latents of a text",
            "mean over tokens",
            "mean over tokens",
            "as in SAEBench; the first position is left out, as in training",
        ),
        ("k", "1 and 5", ", ".join(map(str, grid.ks)), "how the score grows with k"),
        ("regularisation", "not stated", "C = 0.001 to 10", "features in standard deviations"),
        ("floor", "0.5", f"{grid.permutations} permutations", "measured, selection included"),
        ("ceiling", "none", "dense probe", "on all dimensions of the residual stream"),
        (
            "seeds",
            "not stated",
            len(real.seeds),
            "each seed has its own SAEs, and its own division of the texts, shared by all arms",
        ),
    ],
    columns=["", "paper", "here", "why"],
).set_index("").astype(str)

# %% [markdown]
# ## The texts
#
# They come from the labelled tables of the `sae-probes` package {cite}`kantamneni2025useful`, only from the half of their rows that no autoencoder
# here is trained on, and from software catalogues that hold the same messages in five languages (the same message
# never stands in two parts of a division, in whatever language). Three of the package's tables set news
# against source code and are not used; a fourth names three of its four news topics wrongly, and is used under the right
# names.

# %% tags=["hide-input"]
page.table(
    findings.pool_table(tables),
    caption="Rows of every pool of texts: kept for the autoencoders' own text, under two labels, repeated, looked at, "
    "sharing 13 tokens with a text taken before; texts used, those of them cut at the window, and tokens read.",
)

# %% tags=["hide-input"]
Markdown(findings.duplicate_words(tables))

# %% tags=["hide-input"]
page.table(
    findings.task_table(tables),
    caption="Every task: texts in each part on the first seed, and the accuracy of the dense probe (mean over seeds).",
    folded=True,
)

# %% [markdown]
# ## Between floor and ceiling

# %%
page.publish(tables.tasks.drop(columns=["latent"]), "sparse_probing_tasks")

# %% tags=["hide-input"]
page.figure(
    figures.probing_by_arm(probed, ends, ks=[1, 5]),
    alt="Accuracy of every arm and of untrained features with one and with five features. "
    + findings.headline(tables, page.profile, ks=[1]),
    caption=f"Test accuracy, {findings.counted_words(tables)}. {figures.ARCHITECTURE_NAMES[real.architecture]}, L0 = {real.l0}, {len(real.seeds)} seeds. "
    "Squares: features that nobody trained. Dotted: permuted labels, selection included; dashed: dense probe.",
    data=(summary, "sparse_probing_summary"),
)

# %% tags=["hide-input"]
Markdown(findings.headline(tables, page.profile))

# %% tags=["hide-input"]
Markdown(
    findings.reference_words(tables, page.profile)
    + "\n\n"
    + findings.reference_words(tables, page.profile, k=5)
)

# %% [markdown]
# Random directions are dense projections of the residual stream, as many as there are latents, without any
# threshold: the probe picks the one among them that happens to point along the difference of the classes. The
# *untrained* arm has random directions too, but keeps only the few largest projections of each token.
#
# ## How sure is a lead?
#
# Verdicts (next chapters) rest on seeds. Within a seed there is a second source of noise: other tasks of the same
# kinds might have favoured other arms.

# %% tags=["hide-input"]
lead = findings.leads(tables, page.profile, k=1)
ledger = read_ledger()
fraction, full = (
    ledger.claim("probing-frozen-decoder").margin.fraction,
    ledger.metrics["sparse_probing_top1"].range,
)
page.figure(
    figures.probing_leads(lead, margin=fraction * full),
    alt="The trained arm's lead in accuracy with one latent over every baseline and over untrained features. "
    + findings.reference_words(tables, page.profile),
    caption="k = 1. One dot per seed: difference of the means over groups, paired by task; bar: 95 % percentile interval, "
    "tasks drawn anew inside each group (2,000 draws). Grey: the ledger's margin, "
    f"{fraction:.0%} of the range {full:g}.",
    data=(lead, "sparse_probing_leads"),
)

# %% tags=["hide-input"]
Markdown(findings.spread_words(tables, page.profile) + " " + findings.control_words(tables, page.profile))

# %% [markdown]
# ## Group by group

# %% tags=["hide-input"]
by_group = findings.group_scores(tables, page.profile, k=1)
groups = [group for group in findings.ordered_groups(by_group) if group in findings.GROUPS]
page.figure(
    figures.probing_by_group(by_group, groups=groups, ceiling=findings.DENSE),
    alt="Accuracy with one feature in each concept group, for every arm and for untrained features. "
    + findings.group_words(by_group),
    caption="k = 1, mean over the tasks of a group and over seeds. Dotted: 0.5; dashed: the dense probe of the group.",
    data=(by_group, "sparse_probing_groups"),
)

# %% tags=["hide-input"]
Markdown(findings.group_words(by_group))

# %% [markdown]
# ## Against the number of latents

# %% tags=["hide-input"]
page.figure(
    figures.probing_by_k(probed, ends),
    alt="Accuracy and AUROC against the number of features, one line per arm. "
    + findings.growth_words(tables, page.profile),
    caption=f"Mean over groups, line: mean over {len(real.seeds)} seeds, band: their range. Dotted lines with squares: features that "
    "nobody trained. Grey dotted: chance, grey dashed: dense probe.",
)

# %% tags=["hide-input"]
Markdown(findings.growth_words(tables, page.profile))

# %% [markdown]
# ## Variants of the protocol
#
# SAEBench ranks latents by the plain difference of class means, which favours latents with large activations. Ranked in
# standard deviations instead, latents that fire rarely count as much. The last column is a probe on all features at
# once: all latents of an arm, or all dimensions of the residual stream.

# %% tags=["hide-input"]
page.table(
    findings.variants_table(tables, page.profile),
    caption="Active latents per token of these texts, where "
    f"{real.l0} was meant; accuracy under variants of the protocol, mean over groups and seeds: ranked by the difference of class means "
    "(as everywhere else on this page), ranked in standard deviations, and all features at once.",
)

# %% tags=["hide-input"]
Markdown(findings.ranking_words(tables, page.profile))

# %% [markdown]
# ## Beside the paper's table
#
# The paper's Gemma-2-2B layer 12 (BatchTopK, 73,728 latents, L0 = 160). Accuracies depend on the tasks; the columns to
# compare are the shares of the trained arm's lead over chance.

# %% tags=["hide-input"]
findings.beside_paper(tables, page.profile).style.format(precision=2, na_rep="–")

# %% [markdown]
# ## Other places, other texts

# %% tags=["hide-input"]
Markdown(
    "\n\n".join(
        [
            f"**{other.model.subject}, {other.model.hook}.** {findings.headline(other, page.profile)}"
            for other in other_places
        ]
        + ([findings.wider_words(tables, page.profile)] if "wider" in grid.pools else [])
    )
    or f"The profile `{profile}` reads one place in one model, and the five concept groups only."
)

# %% [markdown]
# ## What it costs

# %% tags=["hide-input"]
Markdown(findings.cost_words(tables))

# %% [markdown]
# ## Can the metrics be trusted?
#
# What their [validity gates](metric_validity.ipynb) say, which corrupt each metric's own reference in grades.

# %% tags=["hide-input"]
Markdown(metric_validity.note(page.profile, ["sparse_probing_top1", "sparse_probing_top5"]))

# %% [markdown]
# ## What could be wrong
#
# - A task with few and short texts is noisy (how noisy is said above); the tasks of a group share texts, so they are not
#   independent either, and the interval over tasks is if anything too narrow.
# - Language identification rests on software messages: short, and the same in every language.
# - Programming languages are told from the last lines of a file, professions from the end of a passage about a person,
#   because texts are cut to the window.
# - A mean over tokens washes out latents that fire once in a text, and favours dense features; that is SAEBench's choice,
#   shared by all arms.
# - The dense probe is fitted on as few texts as the sparse ones. With more texts the ceiling would rise.
# - Seeds divide the labelled texts anew, but the texts themselves are one set for all seeds and arms.
# - Arms are brought to one L0 on other text. What they reach on these texts stands in the table of variants.
# - Nothing here says how another model's latents would compare. A small model's knowledge of languages other than
#   English, for one, is shallow.
# - A high score says that a concept is *linearly there* along some latent. It does not say that the latent stands for it.

# %% tags=["hide-input"]
page.provenance(seeds=real.seeds)
