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
from sanity import figures
from sanity.claims import paper_tables
from sanity.evals import METRICS
from sanity.publishing import Markdown, ahead, count, open_chapter

page = open_chapter("real_activations", profile)
figures.house_style()
grid = page.profile.grid("real_activations")
source = page.profile.source_named(grid.sources[0])
architecture, l0, d_sae = grid.architectures[0], grid.l0[0], grid.d_sae[0]
page.banner()

# %% [markdown]
# The paper's Section 4 trains sparse autoencoders on the residual stream of Gemma-2-2B and Llama-3-8B, and
# next to each one *baselines*, in which a part that training would learn stays random {cite}`korznikov2026sanity`:
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

# %% tags=["hide-input"]
# What the arms were trained on; the same for every arm of a grid.
run, trained = page.read.trained("real_activations")[0]
data = trained.json("data")
text = page.read.results([dict(run.trained.inputs)["train"]])[0].json("text")
ours = source.text.sources[0].name != "openwebtext"
budget = "as in the paper" if profile == "paper" else f"the budget of the profile {profile}"
page.parameters(
    [
        ("language model", "Gemma-2-2B; Llama-3-8B", source.subject, "weights that need no hub" if ours else "the paper's own"),
        ("layer and hook", "layers 12 and 19; 16", source.where, "not the same share of the depth" if ours else "one of the paper's"),
        ("text", "OpenWebText", ", ".join(text["tokens_by_source"]), "sources in tokens below"),
        ("unique training tokens", "500 M", f"{data['tokens_unique']:,}", budget),
        ("tokens seen", "500 M", f"{data['tokens_seen']:,}", budget),
        ("epochs", "1", f"{data['epochs']:.1f}", "follows from the two"),
        ("held-out tokens", "not stated", f"{data['tokens_held_out']:,}", "other documents; L0 is matched on windows of them that are not scored"),
        ("latents", "73,728; 131,072", f"{d_sae:,}", budget),
        ("expansion", "32", f"{d_sae / source.d_in:g}", budget),
        ("architecture", "BatchTopK, JumpReLU", figures.ARCHITECTURE_NAMES[architecture],
         "TopK has the same L0 in every arm" if architecture == "topk" else "as in the paper's tables"),
        ("L0", "80 to 320", l0, f"{l0 / source.d_in:.1%} of the width; {80 / 2304:.1%} to {320 / 2304:.1%} on Gemma there"),
        ("learning rate", "2e-4", f"{grid.learning_rates[0]:g}", f"{grid.steps:,} steps; other rates below"),
        ("batch", "4098 (printed)", grid.batch_size, "most likely 4096 there"),
        ("seeds", "not stated", len(grid.seeds), "paired across arms"),
    ]
)  # fmt: skip

# %% tags=["hide-input"]
sources = ", ".join(f"{name} {n:,}" for name, n in text["tokens_by_source"].items())
Markdown(
    f"The training text has {text['documents']:,} documents ({sources} tokens). Documents, not windows, are divided "
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
everywhere = page.read.scores("real_activations")
page.publish(everywhere, "real_scores")
scores = everywhere[everywhere["world_or_hook"] == source.where]

# %% [markdown]
# The baselines are compared with the trained arm seed by seed: all arms of a seed saw the same batches and began with
# the same Gaussian matrix.

# %%
shown = ["explained_variance", "ce_recovered", "kl_recovered"]
by_seed = scores[scores["metric"].isin(shown)].pivot_table(
    index=["metric", "seed"], columns=["constraint", "init"], values="value", sort=False
)
lead = by_seed.sub(by_seed[("trained", "iso")], axis=0).mul(-1).drop(columns=("trained", "iso"))
leads = lead.groupby("metric", sort=False).agg(["mean", "min", "max"]).stack([0, 1], future_stack=True)
leads = leads.rename_axis(["metric", "constraint", "init"]).reset_index()
leads["arm"] = [figures.arm_words(c, i) for c, i in zip(leads["constraint"], leads["init"], strict=True)]
leads["metric"] = leads["metric"].map(lambda name: METRICS[name].label)

# %% tags=["hide-input"]
spliced = scores[scores["metric"] == "ce_recovered"]
scored_tokens = scores.loc[scores["metric"] == "explained_variance", "n"].max()
first = leads[leads["metric"] == METRICS["explained_variance"].label]
words = "; ".join(ahead(row.arm, row["mean"]) for _, row in first.iterrows())
page.figure(
    figures.arms_by_metric(
        scores,
        metrics={name: METRICS[name].label for name in shown},
        order=list(dict.fromkeys(zip(scores["constraint"], scores["init"], strict=True))),
    ),
    finding=f"In explained variance {words}",
    alt=f"Reconstruction scores of every arm. In explained variance {words}.",
    caption=f"{figures.ARCHITECTURE_NAMES[architecture]}, L0 = {l0}, {d_sae:,} latents, "
    f"{count(len(grid.seeds), 'seed')}. Explained variance on {scored_tokens:,.0f} held-out tokens, the losses on "
    f"{page.profile.eval_named('loss').tokens:,} of them, from "
    f"{' or '.join(f'{n:g}' for n in sorted(set(spliced['n'])))} documents. "
    "0 is the mean (or mean ablation), 1 the activation itself.",
)

# %% tags=["hide-input"]
page.table(
    leads.pivot_table(index="arm", columns="metric", values=["mean", "min", "max"], sort=False)
    .swaplevel(axis=1).sort_index(axis=1, level=0, sort_remaining=False).map("{:+.3f}".format),
    caption=f"The trained arm's lead over each baseline: mean, least and most of the differences paired by seed "
    f"({count(len(grid.seeds), 'seed')}).",
)  # fmt: skip

# %% [markdown]
# ## The lead against training
#
# A difference at the end of one budget says little about another. The left panel follows every arm, the right one
# the trained arm's lead. Where tokens are repeated (epochs in the table above), the right end of the curves mixes more
# training with more repetition, and with the fall of the learning rate over the last fifth; held-out *documents* show
# whether repetition costs anything.

# %%
curves = page.read.curves("real_activations")
here = curves[curves["world_or_hook"] == source.where]

# %% [markdown]
# The soft-frozen decoder is the trained arm until the first latent reaches the edge of its cone: until then both have the
# same weights, bit for bit.

# %%
drawn = here[(here["init"] == "iso") & (here["architecture"] == architecture)]
along = drawn.pivot_table(
    index=["seed", "samples_seen"], columns="constraint", values="explained_variance_held_out"
).dropna(subset=["trained", "soft_frozen_decoder"])
apart = along["trained"] - along["soft_frozen_decoder"]
seen = apart.index.get_level_values("samples_seen")
steps_seen = seen.to_series(index=apart.index)
same_until, apart_from = (
    steps_seen[apart == 0].groupby("seed").max(),
    steps_seen[apart != 0].groupby("seed").min(),
)
halfway, at_end = apart[seen <= seen.max() / 2].groupby("seed").last(), apart.groupby("seed").last()

# %% tags=["hide-input"]
parting_words = (
    f"Soft-frozen equals trained exactly up to {same_until.min() / 1000:.0f} thousand tokens, and no longer at "
    f"{apart_from.max() / 1000:.0f} thousand; the gap is {halfway.mean():.3f} at half of the tokens and {at_end.mean():.3f} at the end"
    + (": it still rises." if at_end.mean() > halfway.mean() else ".")
    if len(apart_from)
    else "Soft-frozen equals trained exactly all the way: no latent reaches the edge of its cone."
)

# %% tags=["hide-input"]
page.figure(
    figures.gap_against_tokens(
        here, metric="explained_variance_held_out", name="held-out explained variance"
    ),
    finding=parting_words,
    alt="Held-out explained variance against tokens seen for every arm, and the trained arm's lead over each.",
    caption=f"Held-out explained variance (about {min(4096, data['tokens_held_out']):,} held-out tokens, spread over all "
    f"documents) against tokens seen, repeats counted: {data['tokens_unique']:,} unique tokens, "
    f"{data['epochs']:.1f} epochs. Line: mean over {count(len(grid.seeds), 'seed')}; band: their range.",
    data=(curves, "real_curves"),
)

# %% [markdown]
# ## Each arm at its own learning rate
#
# A shared learning rate can favour one arm. Here every arm that was trained at all rates is shown at each of them and
# at its best, on the first seed. (A lead that vanishes at each arm's own best rate would be a fact about optimisers.)
# The best is chosen on the same held-out tokens on which it is shown, for all arms alike. A best rate at either end of
# those tried may not be the best there is.

# %%
rates = page.read.scores("real_activations", "real_activations_rates", evals=["reconstruction"])
rates = rates[(rates["metric"] == "explained_variance") & (rates["seed"] == grid.seeds[0])]
rates = rates[rates["world_or_hook"] == source.where]
wide = rates.pivot_table(index=["constraint", "init"], columns="learning_rate", values="value", sort=False)
tried = wide.sort_index(axis=1).dropna()
table = tried.assign(best=tried.max(axis=1), at=tried.idxmax(axis=1).map("{:g}".format))

# %% tags=["hide-input"]
table.index = [figures.arm_words(*arm) for arm in table.index]
page.table(
    table.rename(columns=lambda c: c if isinstance(c, str) else f"rate {c:g}").rename_axis("arm"),
    caption="Explained variance at each learning rate, the best of them, and at which it is; first seed.",
)

# %% [markdown]
# ## Other architectures and sparsities

# %%
swept = page.read.scores("real_activations", "real_activations_sweep", evals=["reconstruction"])
swept = swept[(swept["seed"] == grid.seeds[0]) & (swept["world_or_hook"] == source.where)]
about = ["architecture", "constraint", "init", "seed", "l0_target"]
achieved = swept.pivot_table(index=about, columns="metric", values="value", sort=False).reset_index()
best_at = achieved.groupby(["architecture", "l0_target"])["explained_variance"].idxmax()
top = achieved.loc[best_at, "constraint"]

# %% tags=["hide-input"]
page.figure(
    figures.against_l0(achieved, metric="explained_variance", name="explained variance"),
    finding=f"The trained arm explains most in {(top == 'trained').sum()} of {len(top)} combinations of architecture and L0",
    alt="Explained variance against achieved L0, one panel per architecture, one line per arm.",
    caption="Held-out explained variance against the L0 that each arm really has on held-out tokens. First seed. "
    "Where arms end at a different L0 they are to be compared at the same place on the horizontal axis, and not target by "
    "target.",
    data=(swept, "real_sweep"),
)

# %% [markdown]
# ## Next to the paper's tables
#
# The paper's Tables 2 to 4, at its scale (73,728 and 131,072 latents, L0 = 160, 500 M tokens). The column to
# compare is the *share* of the trained arm's explained variance that a baseline reaches; absolute values differ
# with width, sparsity and budget.

# %%
tables = paper_tables()
printed = (
    tables[tables["metric"] == "explained_variance"]
    .pivot_table(
        index=["variant", "init"], columns=["model", "layer", "architecture"], values="mean", sort=False
    )
    .rename_axis(["arm", "init"])
)
printed.columns = [f"{model} L{layer} {architecture}" for model, layer, architecture in printed.columns]
ev = (
    scores[scores["metric"] == "explained_variance"]
    .groupby(["constraint", "init"], sort=False)["value"]
    .mean()
)
shares = printed.assign(ours=ev.rename_axis(["arm", "init"]))
shares = shares / shares.loc[("trained", "iso")]

# %% tags=["hide-input"]
page.table(
    shares,
    caption="Explained variance as a share of the trained arm's, in the paper's Tables 2 to 4 and here.",
    digits=2,
)

# %% [markdown] tags=["if-shown"]
# ## Other layers and models

# %% tags=["hide-input"]
others = everywhere[
    (everywhere["world_or_hook"] != source.where) & (everywhere["metric"] == "explained_variance")
]
arms = ["subject", "world_or_hook", "constraint", "init"]
page.table(
    others.groupby(arms, sort=False)["value"]
    .agg(["mean", "min", "max"])
    .rename_axis(["model", "hook", "arm", "init"]),
    caption="Explained variance at the other hooks: mean, least and most over seeds.",
) if len(others) else None

# %% [markdown]
# ## Can the metrics be trusted?
#
# What their [validity gates](metric_validity.ipynb) say, which corrupt each metric's own reference in steps.

# %% tags=["hide-input"]
page.gates(*shown)

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
# The short answer on top of the page.
soft = ("soft_frozen_decoder", "iso")
ev_by_seed = by_seed.loc["explained_variance"]
gap = (ev_by_seed["trained", "iso"] - ev_by_seed[soft]).mean()
at_best = table["best"]
best_gap = at_best[figures.arm_words("trained", "iso")] - at_best.get(figures.arm_words(*soft), float("nan"))
page.answer(
    f"The trained SAE explains {page.number('real.ev.trained', ev_by_seed['trained', 'iso'].mean()):.3f} of the variance, "
    f"{page.number('real.ev.lead_over_soft_frozen', gap):.3f} more than a soft-frozen decoder. {parting_words} "
    f"With each arm at its own best learning rate the gap is {best_gap:.3f}.",
    sure=f"{page.verdict('real-soft-frozen-ev')}; {page.verdict('real-frozen-decoder-ev')}.",
    scale=f"{figures.ARCHITECTURE_NAMES[architecture]}, {d_sae:,} latents, L0 = {l0}, {data['tokens_seen']:,} tokens seen, at "
    f"{source.where} of {source.subject}.",
)

# %% tags=["hide-input"]
page.provenance(seeds=grid.seeds, hashes={"training text": text["text_hash"]})
