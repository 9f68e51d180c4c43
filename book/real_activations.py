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
# # Real activations
#
# *How much of a language model's activations do the baselines reconstruct, and how does the trained
# autoencoder's lead depend on how long everyone is trained?*
#
# The paper's Section 4 trains sparse autoencoders on the residual stream of Gemma-2-2B and Llama-3-8B, and
# beside each one *baselines* that are random where it is trained {cite}`korznikov2026sanity`:
#
# | baseline | stays at its random start | learns |
# |---|---|---|
# | frozen decoder | decoder directions | encoder, biases, thresholds |
# | soft-frozen decoder | decoder directions within cosine 0.8 of their start | everything, inside that cone |
# | frozen encoder | encoder directions | their lengths, decoder directions, biases, thresholds |
# | untrained (ours) | everything | nothing |
#
# *iso* directions are uniform on the sphere, *cov* directions Gaussian with the covariance of the activations.
# All arms of a seed share the Gaussian matrix behind their start, the batches and their order. Decoder rows have
# length one in every arm.

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
from sanity.experiments import findings, metric_validity, real_activations
from sanity.publishing import open_chapter

page = open_chapter("real_activations", profile)
figures.house_style()
grid, model = page.profile.real, page.profile.models[0]
d_sae = model.d_sae or grid.d_sae
page.banner()

# %% tags=["hide-input"]
(tables, *other_places) = real_activations.tables(page.profile)
for place in (tables, *other_places):
    page.keep(place.found)
data = tables.data
budget = "as in the paper" if profile == "paper" else f"the budget of the profile {profile}"
pd.DataFrame(
    [
        (
            "language model",
            "Gemma-2-2B; Llama-3-8B",
            model.subject,
            "weights that need no hub" if model.sources == ("registry",) else "the paper's own",
        ),
        (
            "place",
            "layers 12 and 19; 16",
            model.hook,
            "not the same share of the depth" if model.sources == ("registry",) else "one of the paper's",
        ),
        ("text", "OpenWebText", ", ".join(tables.text["tokens_by_source"]), "sources in tokens below"),
        ("unique training tokens", "500 M", f"{data['tokens_unique']:,}", budget),
        ("tokens seen", "500 M", f"{data['tokens_seen']:,}", budget),
        ("epochs", "1", f"{data['epochs']:.1f}", "follows from the two"),
        (
            "held-out tokens",
            "not stated",
            f"{data['tokens_held_out']:,}",
            "other documents than those trained on",
        ),
        ("latents", "73,728; 131,072", f"{d_sae:,}", budget),
        ("expansion", "32", f"{d_sae / model.d_model:g}", budget),
        (
            "architecture",
            "BatchTopK, JumpReLU",
            figures.ARCHITECTURE_NAMES[grid.architecture],
            "TopK has the same L0 in every arm"
            if grid.architecture == "topk"
            else "as in the paper's tables",
        ),
        (
            "L0",
            "80 to 320",
            grid.l0,
            f"{grid.l0 / model.d_model:.1%} of the width; {80 / 2304:.1%} to {320 / 2304:.1%} on Gemma there",
        ),
        ("learning rate", "2e-4", f"{grid.learning_rate:g}", f"{grid.steps:,} steps; other rates below"),
        ("batch", "4098 (printed)", grid.batch_size, "most likely 4096 there"),
        ("seeds", "not stated", len(grid.seeds), "paired across arms"),
    ],
    columns=["", "paper", "here", "why"],
).set_index("").astype(str)

# %% tags=["hide-input"]
sources = ", ".join(f"{name} {n:,}" for name, n in tables.text["tokens_by_source"].items())
Markdown(
    f"The training text has {tables.text['documents']:,} documents ({sources} tokens). Documents, not windows, are divided "
    "into training and held-out text. The default language model is an *instruct* model whose weights were stored "
    "in four bits: its activations are what they are, and nothing here says how another model's would come out."
)

# %% [markdown]
# ## Reconstruction
#
# Explained variance {eq}`eq-ev` is measured on held-out documents. Cross-entropy and KL divergence are measured by
# putting the reconstruction back into the model, and shown as the share of the way from mean ablation (0) to the
# unspliced model (1).

# %%
page.publish(pd.concat([place.scores for place in (tables, *other_places)], ignore_index=True), "real_scores")

# %% tags=["hide-input"]
order = list(dict.fromkeys(zip(tables.scores["constraint"], tables.scores["init"], strict=True)))
spliced = tables.scores[tables.scores["metric"] == "ce_recovered"]
page.figure(
    figures.arms_by_metric(
        tables.scores,
        metrics={
            "explained_variance": "explained variance",
            "ce_recovered": "cross-entropy recovered",
            "kl_recovered": "KL recovered",
        },
        order=order,
    ),
    alt="Reconstruction scores of every arm. "
    + findings.lead_words(tables.scores, "explained_variance", "explained variance"),
    caption=f"{figures.ARCHITECTURE_NAMES[grid.architecture]}, L0 = {grid.l0}, d_sae = {d_sae}, "
    f"{len(grid.seeds)} seeds. Explained variance on {data['tokens_held_out']:,} held-out tokens, the losses on the "
    f"first {grid.loss_tokens:,} of them, from {' or '.join(f'{n:g}' for n in sorted(set(spliced['n'])))} document(s). "
    "0 is the mean (or mean ablation), 1 the activation itself.",
)

# %% tags=["hide-input"]
Markdown(
    "\n\n".join(
        findings.lead_words(tables.scores, metric, name)
        for metric, name in [
            ("explained_variance", "explained variance"),
            ("ce_recovered", "recovered cross-entropy"),
            ("kl_recovered", "recovered KL divergence"),
        ]
    )
)

# %% [markdown]
# ## The lead against training
#
# A difference at the end of one budget says little about another. The left panel follows every arm, the right one
# the trained arm's lead. Where tokens are repeated (epochs in the table above), the right end of the curves mixes more
# training with more repetition, and with the fall of the learning rate over the last fifth; held-out *documents* show
# whether repetition costs anything.

# %% tags=["hide-input"]
page.figure(
    figures.gap_against_tokens(
        tables.curves, metric="explained_variance_held_out", name="held-out explained variance"
    ),
    alt="Held-out explained variance against tokens seen for every arm, and the trained arm's lead over each.",
    caption="Held-out explained variance (the first "
    f"{min(real_activations.PROBE_ROWS, data['tokens_held_out']):,} held-out tokens) against tokens seen, repeats counted: "
    f"{data['tokens_unique']:,} unique tokens, {data['epochs']:.1f} epochs. Line: mean over {len(grid.seeds)} "
    "seeds; band: their range.",
    data=(tables.curves, "real_curves"),
)

# %% [markdown]
# ## Each arm at its own learning rate
#
# A shared learning rate can favour one arm. Here every arm that was trained at all rates is shown at each of them and
# at its best, on the first seed. (A lead that vanishes at each arm's own best rate would be a fact about optimisers.)
# The best is chosen on the same held-out tokens on which it is shown, for all arms alike. A best rate at either end of
# those tried may not be the best there is.

# %% tags=["hide-input"]
findings.rate_table(tables.rates).rename(index=lambda n: n.replace("_", " ")).style.format(precision=3)

# %% [markdown]
# ## Other architectures and sparsities

# %% tags=["hide-input"]
swept = real_activations.with_achieved_l0(tables.sweep[tables.sweep["seed"] == grid.seeds[0]])
page.figure(
    figures.against_l0(swept, metric="explained_variance", name="explained variance"),
    alt="Explained variance against achieved L0, one panel per architecture, one line per arm.",
    caption="Held-out explained variance against the L0 that each arm really has on held-out tokens. First seed. "
    "Where arms end at a different L0 they are to be compared at the same place on the horizontal axis, and not target by "
    "target.",
    data=(tables.sweep, "real_sweep"),
)

# %% [markdown]
# ## Beside the paper's tables
#
# The paper's Tables 2 to 4, at its scale (73,728 and 131,072 latents, L0 = 160, 500 M tokens). The column to
# compare is the *share* of the trained arm's explained variance that a baseline reaches; absolute values differ
# with width, sparsity and budget.

# %% tags=["hide-input"]
findings.shares_beside_paper(tables.scores).style.format(precision=2, na_rep="–")

# %% [markdown]
# ## Other places

# %% tags=["hide-input"]
Markdown(
    "\n\n".join(
        f"**{other.subject}, {other.hook}.** "
        + findings.lead_words(place.scores, "explained_variance", "explained variance")
        for other, place in zip(page.profile.models[1:], other_places, strict=True)
    )
    or f"The profile `{profile}` reads one place in one model."
)

# %% [markdown]
# ## Can the metrics be trusted?
#
# What their [validity gates](metric_validity.ipynb) say, which corrupt each metric's own reference in grades.

# %% tags=["hide-input"]
Markdown(metric_validity.note(page.profile, ["explained_variance", "ce_recovered", "kl_recovered"]))

# %% [markdown]
# ## What could be wrong
#
# - The budget is small, and small budgets flatter arms that start well: read the curves, not the end points.
# - The paper freezes encoder directions and does not say what became of their lengths. Here the lengths learn:
#   decoder rows have length one, and with frozen lengths nothing in that arm could scale a latent.
# - Cross-entropy and KL rest on few documents, the same for every arm and seed: intervals over seeds do not hold what
#   other documents would have changed.
# - Explained variance is dominated by the directions of largest variance. Activations are centred and scaled by one
#   factor; nothing else is normalised.
# - The soft-frozen decoder is not random: inside its cone 36 % of a direction's squared length is free.
# - Inference is conditional on one model, one layer and one mix of texts: seeds tell how much a *re-run* would
#   differ, not how much another model would.

# %% tags=["hide-input"]
page.provenance(seeds=grid.seeds, hashes={"training text": tables.text["text_hash"]})
