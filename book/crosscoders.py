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
# # Across seeds, and crosscoders
#
# *What is the null of "another seed finds the same latents", and of "this latent is shared between layers"?*

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
from sklearn.metrics import roc_auc_score

from sanity import figures
from sanity.evals.across_seeds import SHARED
from sanity.evals.crosscoding import BALANCED, EXCLUSIVE
from sanity.experiments import separate_layers
from sanity.publishing import Markdown, count, open_chapter

page = open_chapter("crosscoders", profile)
figures.house_style()
read = page.read
seeds, real, toy = (page.profile.grid(name) for name in ("across_seeds", "crosscoders", "crosscoders_toy"))
layers, world = (page.profile.source_named(grid.sources[0]) for grid in (real, toy))
page.banner()

# %% [markdown]
# The paper leaves crosscoders out and calls their null an open challenge {cite}`korznikov2026sanity`. A null is what
# a score would be if what it is taken for were not there. So it follows from the claim:
#
# | claim | what would look the same without it | null |
# |---|---|---|
# | latents are *there to be found*: another seed finds them | dictionaries that are alike because activations are anisotropic | Gaussian directions with the second moments of the dictionaries; SAEs trained on Gaussian noise |
# | | directions that are close because there are many | the exact order statistics of isotropic directions |
# | | a subspace that whoever reconstructs has to use | untrained and frozen dictionaries of both seeds |
# | a crosscoder's latent is *shared*: one cause in several layers | a decoder that has equal norms from its random start | an untrained, a frozen decoder |
# | | latents that serve two layers for reasons of their own | the layers shuffled across tokens |
# | | two dictionaries of one residual stream, alike by themselves | separate SAEs, their latents paired |
# | a latent is *exclusive* to one of two models | what training has not yet moved | the same model twice; a randomly initialised twin |
#
# A crosscoder {cite}`lindsey2024crosscoders` reads several layers by an encoder each and writes them by a decoder each.
# With the layers' activations one behind the other it is one SAE: the sum of the encoders is one encoder, and the
# decoders are blocks of the columns of `W_dec`. So it is trained here by the same code, on another source. Every
# layer is centred and scaled to an equal share, and decoder rows have length one as a whole.

# %% tags=["hide-input"]
here = page.profile.source_named(seeds.sources[0])
pd.DataFrame(
    [
        ("activations", f"{here.where} of {here.subject}", layers.where, f"layers of {world.blocks[0]} dimensions"),
        ("training samples", f"{seeds.steps * seeds.batch_size:,}", f"{real.steps * real.batch_size:,}", f"{toy.steps * toy.batch_size:,}"),
        ("latents; L0", f"{seeds.d_sae[0]:,}; {seeds.l0[0]}", f"{real.d_sae[0]:,}; {real.l0[0]}", f"{toy.d_sae[0]:,}; {toy.l0[0]}"),
        ("features", "unknown", "unknown", f"{world.spec.n_features:,}, {world.spec.exclusive:.0%} of them in one layer only"),
        ("seeds", len(seeds.seeds), len(real.seeds), len(toy.seeds)),
    ],
    columns=["", "across seeds", "crosscoders", "a world of two layers"],
).set_index("").astype(str)  # fmt: skip

# %% [markdown]
# ## Across seeds
#
# Latents of a seed are matched one to one with those of the next (Hungarian, {cite}`paulo2025sparse`). A frozen
# decoder is there to be compared with in what it *explains*: its directions are drawn again by every seed, so that two
# seeds share none by construction. What seeds could share by anisotropy alone is taken off in the second panel.

# %%
found = read.scores("across_seeds", "across_seeds_noise")
page.publish(found, "across_seeds")
found["arm"] = [figures.arm_words(c, i) for c, i in zip(found["constraint"], found["init"], strict=True)]
found.loc[found["trained_on_noise"], "arm"] += ", on noise"
shown = ["seed_mcc", "seed_mcc_beyond_null", "seed_shared", "seed_nearest", "seed_subspace"]
by_arm = found.pivot_table(index="arm", columns="metric", values=["value", "floor"], sort=False)
means, floors = by_arm["value"][shown], by_arm["floor"][shown]

# %% tags=["hide-input"]
text = found[~found["trained_on_noise"]]
page.figure(
    figures.arms_by_metric(
        text,
        metrics={"seed_mcc": "matched cosine (MCC)", "seed_mcc_beyond_null": "MCC beyond anisotropy", "seed_subspace": "leading subspace"},
        order=list(dict.fromkeys(zip(text["constraint"], text["init"], strict=True))),
    ),
    finding=f"Matched latents of trained SAEs have a mean cosine of {means.loc['trained', 'seed_mcc']:.2f} between seeds; their "
    f"anisotropy alone gives {floors.loc['trained', 'seed_mcc']:.2f}",
    alt="Agreement of latents between seeds by arm. Matched cosine, and beyond the null of equal second moments: "
    + "; ".join(f"{arm} {row['seed_mcc']:.3f}, {row['seed_mcc_beyond_null']:+.3f}" for arm, row in means.iterrows()),
    caption=f"{figures.ARCHITECTURE_NAMES[seeds.architectures[0]]}, L0 = {seeds.l0[0]}, {seeds.d_sae[0]:,} latents, "
    f"{count(len(seeds.seeds), 'seed')}. One dot per seed and the next one; pairs share seeds, so "
    "the dots are not independent. MCC: mean cosine of the matched pairs; its floor differs by arm (table). Subspace: overlap of "
    "the leading quarters of the dimensions of what the latents write, on held-out activations.",
)  # fmt: skip

# %% tags=["hide-input"]
names = {
    "seed_mcc": "MCC", "seed_mcc_beyond_null": "beyond null", "seed_shared": f"matched above {SHARED:g}",
    "seed_nearest": "nearest cosine", "seed_subspace": "subspace",
}  # fmt: skip
table = means.rename(columns=names)
table.insert(1, "null of equal second moments", floors["seed_mcc"])
table.insert(5, "exact isotropic null", floors["seed_nearest"])
page.table(
    table,
    caption="Means over pairs of seeds. Null of equal second moments: the MCC of Gaussian directions with those of the two "
    "dictionaries. Exact isotropic null: the expected largest cosine of as many random directions. Untrained (cov): "
    "directions drawn with the covariance of the activations. On noise: trained on Gaussian noise of that covariance.",
)

# %% [markdown]
# By how much the trained arm leads, seed by seed. The rows *on noise* ask what activations have beyond
# their covariance.

# %%
pair = found.set_index(["metric", "arm", "seed"])["value"].sort_index()
leads = []
for arm in [name for name in means.index if name != "trained"]:
    for metric in ("seed_mcc", "seed_mcc_beyond_null", "seed_subspace"):
        lead = (pair[metric, "trained"] - pair[metric, arm]).dropna()
        leads.append(
            {"over": arm, "metric": names[metric], "mean": lead.mean(), "min": lead.min(), "max": lead.max()}
        )
leads = pd.DataFrame(leads)

# %% tags=["hide-input"]
wide = leads.set_index(["over", "metric"])[["mean", "min", "max"]].apply(
    lambda row: f"{row['mean']:+.3f} ({row['min']:+.3f} to {row['max']:+.3f})", axis=1
)
page.table(wide.unstack(), caption="The trained arm's lead between the same seeds: mean (least to most).")

# %% [markdown]
# ### At several budgets, and by frequency

# %%
snapshots = read.scores("across_seeds_budgets")
same = (
    text["constraint"].isin(snapshots["constraint"])
    & text["seed"].isin(snapshots["seed"])
    & (text["init"] == "iso")
)
along = pd.concat([snapshots, text[same]])
over_samples = along.pivot_table(index=["constraint", "samples"], columns="metric", values="value")[shown]
untrained = means.loc["untrained", shown]
pairs = read.table("pairs", "across_seeds")
pairs["fires on"] = pd.cut(
    pairs["frequency"],
    [-1, 0, 0.003, 0.03, 1],
    labels=["nothing", "to 0.3 %", "to 3 %", "more of the tokens"],
)
by_frequency = pairs.groupby(["constraint", "init", "fires on"], observed=True)["matched"].agg(
    ["median", "size"]
)

# %% tags=["hide-input"]
page.table(
    over_samples.rename(columns=names).rename(index="{:,}".format, level=1).rename_axis(["arm", "samples seen"]),
    caption=f"Agreement between seeds along training (seeds {', '.join(map(str, sorted(set(along['seed']))))} and the next). Before it: "
    + ", ".join(f"{names[name]} {value:.3f}" for name, value in untrained.items()) + " (untrained).",
)  # fmt: skip

# %% tags=["hide-input"]
trained_rows = by_frequency.loc[
    [key for key in by_frequency.index if key[:2] == ("trained", "iso")]
].droplevel([0, 1])
page.table(
    trained_rows.rename(columns={"median": "median matched cosine", "size": "latents, all seeds"}),
    caption="The trained arm: matched cosines by how often a latent fires on held-out tokens.",
)

# %% [markdown]
# ### Where the truth is known
#
# Do seeds that agree agree on features? In a synthetic world each latent can be held against the true features.

# %%
in_toy = ["across_seeds_toy"] if "across_seeds_toy" in page.profile.grids else []
toy_seeds, truth = read.scores(*in_toy), read.table("pairs", *in_toy)
agreed = pd.DataFrame()
if in_toy:
    truth["true"], truth["shared"] = truth["feature_cosine"] > 0.8, truth["matched"] >= SHARED
    arm = ["world_or_hook", "constraint"]
    agreed = truth.groupby(arm, sort=False)[["shared", "true"]].mean()
    agreed["true if shared"] = truth[truth["shared"]].groupby(arm)["true"].mean()
    agreed["true if not"] = truth[~truth["shared"]].groupby(arm)["true"].mean()
    mcc = toy_seeds.pivot_table(index=arm, columns="metric", values="value")
    agreed = agreed.join(mcc[["seed_mcc", "seed_mcc_beyond_null", "seed_subspace"]].rename(columns=names))

# %% tags=["hide-input"]
page.table(
    agreed.rename(index=figures.place_name, level=0).rename_axis(["world", "arm"]),
    caption=f"Latents of one seed: the share with a partner of cosine {SHARED:g} in the next, the share within 0.8 of a true "
    "feature, and that share among latents that are shared and among the others. A dash: there are none.",
) if in_toy else Markdown(
    f"At the profile `{profile}` every seed has a world of its own: there is nothing to agree on."
)

# %% [markdown]
# ## Crosscoders: a world of two layers
#
# Half of the features of this world are in both layers, in directions that have nothing to do with each other; the others
# are in one. A latent is called by its decoder norms: *exclusive*, where one layer has nine tenths of their sum, *balanced*,
# where every layer has nearly an equal share. And the layers are asked whether they *agree* about it: each layer by itself
# gives the latent's activations (the other layer's input says nothing), and the two are correlated over samples. For layers
# of unrelated samples that is zero, whatever the dictionary.

# %%
crossed = pd.concat(
    [read.scores("crosscoders_toy"), read.scores("crosscoders"), separate_layers.table(read, "scores")]
)
page.publish(crossed, "crosscoders")
metrics = [
    "explained_variance",
    "least_layer_ev",
    "recovery",
    "exclusive_latents",
    "balanced_latents",
    "layer_agreement",
    "layer_cosine",
]


PAIRED = {
    "crosscoders": "crosscoder, trained",
    "separate_layers_cosine": "separate SAEs, paired by cosine",
    "separate_layers_activations": "separate SAEs, paired by activations",
}


def arms_at(*places):
    """Mean scores of every arm at some sources, paired separate SAEs among them."""
    rows = crossed[crossed["world_or_hook"].isin(places) & crossed["metric"].isin(metrics)].copy()
    rows["arm"] = [figures.arm_words(c, i) for c, i in zip(rows["constraint"], rows["init"], strict=True)]
    apart = rows["experiment"].str.startswith("separate_layers")
    rows.loc[apart, "arm"] = rows.loc[apart, "experiment"].map(PAIRED)
    by = rows.pivot_table(index=["world_or_hook", "arm"], columns="metric", values="value", sort=False)
    return by[[name for name in metrics if name in by]]


words = {
    "explained_variance": "EV", "least_layer_ev": "EV, worse layer", "recovery": "recovered", "exclusive_latents": "exclusive",
    "balanced_latents": "balanced", "layer_agreement": "agreement", "layer_cosine": "cosine of layers",
}  # fmt: skip
in_world = arms_at("layered world", "shuffled world")

# %% tags=["hide-input"]
page.table(
    in_world.rename(columns=words).rename_axis(["", "arm"]),
    caption=f"{count(len(toy.seeds), 'seed')}, means. EV of both layers and of the worse one; features recovered (cosine above 0.8 to "
    f"the joined feature); of the latents that fire, exclusive: at least {EXCLUSIVE:.0%} of the norms in one layer; balanced: "
    f"at least {BALANCED:.0%} of an equal share in each; agreement of the layers, averaged over latents. Frozen decoder "
    "(truth): the true features as decoder. The soft-frozen decoder is held near its start in each layer by itself.",
)

# %% [markdown]
# The latents that recovered a feature can be told apart by its kind. Which reading tells a shared feature from an exclusive
# one, and which calls latents shared where nothing is?

# %%
latents = read.table("latents", "crosscoders_toy", evals=["crosscoding"])
latents = latents[(latents["frequency"] > 0) & (latents["seed"] == toy.seeds[0]) & (latents["init"] == "iso")]
latents["kind"] = latents["feature_layer"].where(latents["feature_cosine"] > 0.8)
latents["panel"] = latents["world_or_hook"] + " " + latents["constraint"]
known = latents[latents["kind"].notna()]
tells = {
    arm: {
        "recovered": f"{len(some):,}",
        "by norms": roc_auc_score(some["kind"] < 0, 1 - (2 * some["share_0"] - 1).abs()),
        "by agreement": roc_auc_score(some["kind"] < 0, some["agreement"]),
    }
    for arm, some in known.groupby("constraint", sort=False)
    if (some["kind"] < 0).nunique() == 2
}

# %% tags=["hide-input"]
panels = {
    "layered world trained": "trained", "layered world frozen_decoder": "frozen decoder",
    "shuffled world trained": "trained, layers shuffled",
}  # fmt: skip
page.figure(
    figures.norms_and_agreement(latents, {k: v for k, v in panels.items() if (latents["panel"] == k).any()}),
    alt="First layer's share of the decoder norms against the agreement of the layers, latent by latent. Medians of agreement: "
    + "; ".join(
        f"{title} {latents.loc[latents['panel'] == name, 'agreement'].median():.2f}"
        for name, title in panels.items()
    ),
    caption="Latents that fire, first seed. Coloured: latents within 0.8 of a true feature, by where that is; grey: the others. "
    "Dotted: no agreement.",
    data=(latents[["panel", "latent", "frequency", "share_0", "agreement", "kind"]], "crosscoder_latents"),
)

# %% tags=["hide-input"]
page.table(
    pd.DataFrame(tells).T.rename_axis("arm"),
    caption="Latents of the first seed that recovered a feature, and how well balanced norms and agreement tell shared features "
    "from exclusive ones (area under the ROC curve; 0.5: at random).",
) if tells else Markdown("No arm recovered features of both kinds on the first seed.")

# %% [markdown]
# ## Crosscoders: two layers of a language model
#
# The layers of one residual stream share a basis, so here separate SAEs can be alike without a crosscoder. Two are trained
# on the same tokens, their latents paired one to one by the cosine of their decoders or by the correlation of their
# activations, and each pair is scored as one latent of a crosscoder (its encoders summed, one scalar fitted).

# %%
on_layers = arms_at("two layers", "shuffled layers")
by_layer = pd.concat([read.table("layers", "crosscoders"), separate_layers.table(read, "layers")])
permuted = by_layer[(by_layer["world_or_hook"] == "two layers") & (by_layer["constraint"] == "trained")]
permuted = permuted.groupby(["experiment", "layer"], sort=False)[["explained_variance", "permuted"]].mean()

# %% tags=["hide-input"]
page.table(
    on_layers.rename(columns=words).rename_axis(["", "arm"]),
    caption=f"{layers.where}; {count(len(real.seeds), 'seed')}, means; columns as above. Cosine of layers: of a latent's decoder "
    "directions in the two layers.",
)

# %% tags=["hide-input"]
page.table(
    permuted.rename(columns={"explained_variance": "EV", "permuted": "EV, decoders of other latents"})
    .rename(index=PAIRED, level=0)
    .rename_axis(["arm", "layer"]),
    caption="Layer by layer, and with each layer's decoders handed to other latents: what is left would not need this latent's "
    "own decoder.",
)

# %% [markdown]
# Explained variance says nothing of what the model does with a layer. So each crosscoder reads both layers, its reconstruction
# of one replaces that layer's activation, and the model runs on. One layer at a time: a later layer's reconstruction
# overwrites what an earlier one has passed on, and both at once are the later one alone.

# %%
in_place = pd.concat([read.scores("crosscoders_loss"), read.scores("crosscoders_loss_separate")])
spliced = pd.DataFrame()
if len(in_place):
    page.publish(in_place, "crosscoder_losses")
    in_place["arm"] = [figures.arm_words(row.constraint, row.init) for row in in_place.itertuples()]
    apart = in_place["experiment"] == "crosscoders_loss_separate"
    in_place.loc[apart, "arm"] = "SAE of this layer alone"
    spliced = in_place.pivot_table(
        index=["world_or_hook", "arm"], columns="metric", values="value", sort=False
    ).reindex(columns=["kl_recovered", "ce_recovered", "kl_divergence"])

# %% tags=["hide-input"]
page.table(
    spliced.rename(
        columns={"kl_recovered": "KL recovered", "ce_recovered": "CE recovered", "kl_divergence": "KL (nats)"}
    ).rename_axis(["", "arm"]),
    caption=f"The model with one layer reconstructed, means over {count(len(real.seeds), 'seed')}: from the layer's mean in its place (0) to "
    "the untouched activation (1). An SAE of one layer has as many latents, at the same L0, for that layer alone.",
) if len(spliced) else Markdown(f"At the profile `{profile}` no losses are measured.")

# %% [markdown]
# ## Two models
#
# A crosscoder of two models is asked to whom a latent belongs. Between a model and itself nothing can be exclusive. Between
# a model and its randomly initialised twin nothing that either has *computed* can be shared; but both read the same tokens,
# and a latent for a token has one cause in both. Thresholds of norms are those of {cite}`minder2025crosscoders` and others.

# %%
two_models = arms_at("model twice", "random twin", "shuffled layers")

# %% tags=["hide-input"]
page.table(
    two_models.rename(columns=words).rename_axis(["", "arm"]),
    caption="Both models at the earlier hook; next to them the two layers shuffled across tokens, where nothing at all is shared. "
    "Columns as above.",
)

# %% [markdown]
# ## Can the metrics be trusted?
#
# What their [validity gates](metric_validity.ipynb) say, which corrupt each metric's own reference in steps: a dictionary
# next to itself for seeds, the true dictionary of the layered world for crosscoders. A metric that rises as the truth is
# replaced by random directions does not measure what its name says. Agreement is graded in a world whose features are all
# shared, as layers cannot agree about what only one of them has.

# %% tags=["hide-input"]
page.gates(
    *shown,
    "least_layer_ev",
    "exclusive_latents",
    "balanced_latents",
    "layer_agreement",
    "kl_recovered",
    "ce_recovered",
)

# %% [markdown]
# ## What could be wrong
#
# - Each seed is compared with the next, so that every seed takes part in two pairs: intervals over pairs may be too narrow, by
#   a factor of two at worst (where all variance comes from single seeds). Differences near a margin decide nothing.
# - Latents that hardly trained are still near their random start, and count. More training raises agreement: see the budgets.
# - A matched cosine reads decoders only. Two seeds may have the same latents by what they detect and not by what they write.
# - The null of equal second moments takes from a dictionary what it knows of the covariance, and of nothing else; SAEs trained on
#   noise are the null of the whole procedure.
# - The crosscoder's rows have length one over all layers and TopK selects by it. Lindsey et al. sum the layers' norms instead,
#   which favours latents of several layers; shares of exclusive latents are not comparable between the two.
# - All latents begin balanced, here as in most crosscoders. With so short a training few can have become exclusive: a low share is
#   what norms say after this budget, not what a longer one would.
# - A random twin shares its tokens with the model. It is no null for token identity; layers shuffled across tokens are.
# - Losses in a layer's place are of few tokens, and one layer is replaced at a time. Crosscoder and separate SAE have one L0: the
#   crosscoder spends it on both layers at once, and also reads from both.
# - One pair of early layers of one small model. Distant layers share less.

# %% tags=["hide-input"]
# The short answer on top of the page.
trained = means.loc["trained"]
agree = {
    place: on_layers.loc[(place, "trained"), "layer_agreement"] for place in ("two layers", "shuffled layers")
}
still = on_layers.loc[("two layers", "untrained")]
page.answer(
    f"Two seeds share {trained['seed_shared']:.1%} of their latents. Matched latents have a mean cosine of "
    f"{trained['seed_mcc']:.3f}, where the anisotropy of the dictionaries alone gives {floors.loc['trained', 'seed_mcc']:.3f} and "
    f"training on noise {means.loc['trained, on noise', 'seed_mcc']:.3f}. Decoder norms call {still['balanced_latents']:.0%} of an "
    "*untrained* crosscoder's latents shared between layers, so they show no sharing. Layers agree about a latent by "
    f"{agree['two layers']:.2f} on average, and by {abs(agree['shuffled layers']):.2f} where their tokens are shuffled.",
    sure=f"seeds beyond noise: {page.verdict('seeds-agree-beyond-noise')}; agreement of layers beyond shuffled ones: "
    f"{page.verdict('crosscoder-agreement-has-a-cause')}; a crosscoder next to paired SAEs: "
    f"{page.verdict('crosscoder-beats-paired-saes')}; a learned next to a soft-frozen crosscoder in the later layer's place: "
    f"{page.verdict('soft-frozen-crosscoder-kl')}.",
    scale=f"{here.subject}; seeds: {seeds.d_sae[0]:,} latents, {seeds.steps * seeds.batch_size:,} tokens seen; crosscoders: "
    f"{real.d_sae[0]:,} latents, {real.steps * real.batch_size:,} tokens seen.",
)

# %% tags=["hide-input"]
page.provenance(seeds=seeds.seeds)
