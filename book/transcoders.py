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
# # Transcoders
#
# *Latents of a transcoder are said to compute what an MLP computes. What must a null do to match that claim?*

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

from sanity import figures
from sanity.data import CircuitStream, circuit_of
from sanity.evals import METRICS, explained_variance, map_scores, true_transcoder
from sanity.models import Objective
from sanity.publishing import Markdown, count, open_chapter

page = open_chapter("transcoders", profile)
figures.house_style()
grid, toy = page.profile.grid("transcoders"), page.profile.grid("transcoders_circuit")
source, circuit = page.profile.source_named(grid.sources[0]), page.profile.source_named(toy.sources[0])
seeds = count(len(grid.seeds), "seed")
page.banner()

# %% [markdown]
# A sparse autoencoder (SAE) says what is in an activation. A transcoder reads one place of a model, the input of an MLP, and
# writes to another, its output {cite}`dunefsky2024transcoders`: its latents are read as the *steps of a computation*. The
# paper leaves transcoders out and calls their null an open challenge {cite}`korznikov2026sanity`. This chapter derives
# nulls from the claim, trains them on the same batches, and adds a synthetic circuit whose map is known.

# %% [markdown]
# With input $x$ and target $t = \mathrm{MLP}(x)$ of the same token, both centred and scaled to a mean square of 1 per
# dimension, a transcoder is
#
# ```{math}
# :label: eq-transcoder
# z = \mathrm{select}(x W_\mathrm{enc} + b_\mathrm{enc}), \qquad
# \hat t = z W_\mathrm{dec} + b_\mathrm{dec}\;(+\; x W_\mathrm{skip}),
# ```
#
# trained on $\lVert \hat t - t \rVert^2$ by the same code as the SAEs of this book: the same architectures, constraints,
# sparse gradients and pairing by seed. Encoder and decoder live in two spaces, so that they do not start tied. The affine
# skip is that of {cite}`paulo2025transcoders`.
#
# | the claim needs | null or reference | what it leaves out |
# |---|---|---|
# | learned directions to write | frozen and soft-frozen decoder | directions stay at, or near, a random start |
# | learned directions to read | frozen encoder | the same for what is read |
# | a function of the input | outputs of other tokens | input and target have nothing to do with each other |
# | more than a linear function | the best affine map; skip alone, trained | everything that is not linear |
# | *this* function | the MLP with weights drawn at random | training: this function is untrained |
# | fewer, better parts than there are | the MLP's own neurons, the largest as many as latents are active | nothing: an upper reference in what it computes |

# %% tags=["hide-input"]
pd.DataFrame(
    [
        ("model, MLP", source.at.subject, page.profile.place_of(grid.sources[0])),
        ("input", "ln2.hook_normalized", "what the module `mlp` is given: the same, times the norm's gain"),
        ("latents; L0", "many times the width", f"{grid.d_sae[0]:,}; {grid.l0[0]} ({figures.ARCHITECTURE_NAMES[grid.architectures[0]]})"),
        ("training tokens; samples seen", "tens of millions and more", f"{source.train_tokens:,}; {grid.steps * grid.batch_size:,}"),
        ("held-out tokens", "not stated", f"{source.held_out_tokens:,}"),
        ("learning rate; batch; seeds", "", f"{grid.learning_rates[0]:g}; {grid.batch_size}; {len(grid.seeds)}"),
    ],
    columns=["", "usual", "here"],
).set_index("")  # fmt: skip

# %%
MLP_GRIDS = {
    "transcoders": "",
    "transcoders_skip": "",
    "transcoders_shuffled": ", outputs of other tokens",
    "transcoders_random_mlp": ", MLP with drawn weights",
}
scores = page.read.scores(*MLP_GRIDS)


def named(rows: pd.DataFrame, grids: dict[str, str]) -> pd.DataFrame:
    """The rows with a name for each arm: constraint, skip, and what is different about its targets."""
    names = [
        figures.arm_words(row.constraint, row.init)
        + (
            ""
            if row.objective == "plain" or row.constraint == "skip_only"
            else f" + {Objective.named(row.objective).label}"
        )
        + grids[row.experiment]
        for row in rows.itertuples()
    ]
    return rows.assign(arm=names)


scores = named(scores, MLP_GRIDS)
page.publish(scores, "transcoder_scores")
means = scores.pivot_table(index="arm", columns="metric", values="value", sort=False)

# %% [markdown]
# ## What an MLP's output owes to latents
#
# Explained variance of the target has the mean as its floor. But an MLP is linear in part, and for that part nobody needs
# latents: so the second column counts from the best affine map of the input, fitted by least squares to the training
# tokens. Above 0 is what only a nonlinear function of the input can explain.

# %%
facts = page.read.facts("transcoders", "beyond_affine")
drawn = page.read.facts("transcoders_random_mlp", "beyond_affine")
affine, affine_drawn = (one["affine_explained_variance"].mean() for one in (facts, drawn))
ev, beyond = means["explained_variance"], means["beyond_affine"]

# %% tags=["hide-input"]
COLOURS = {
    "trained": "#000000",
    "soft-frozen": "#0072B2",
    "frozen decoder": "#56B4E9",
    "frozen encoder": "#D55E00",
}
looks = {
    arm: (
        next((colour for name, colour in COLOURS.items() if arm.startswith(name)), "#117733"),
        "D" if "skip" in arm else "s" if "," in arm else "o",
    )
    for arm in means.index
}
best = ev.drop(index=[arm for arm in ev.index if "," in arm]).idxmax()
words = (
    f"The best affine map of the input explains {affine:.3f} of the MLP's output. "
    + "; ".join(f"{arm}: {ev[arm]:.3f}, and {beyond[arm]:+.3f} beyond the affine map" for arm in means.index)
    + f" (means over {seeds})."
)
OWN = "the MLP's own neurons"
page.figure(
    figures.dots_by_metric(
        scores,
        metrics={name: METRICS[name].label for name in ("explained_variance", "beyond_affine")},
        looks=looks,
    ),
    finding=f"The best affine map explains {affine:.2f} of the MLP's output, the trained transcoder {ev['trained']:.2f}, as many of "
    f"the MLP's own neurons {ev[OWN]:.2f}",
    alt=f"Explained variance of the MLP's output, and the share explained of what an affine map leaves. {words}",
    caption=f"{figures.ARCHITECTURE_NAMES[grid.architectures[0]]}, {grid.d_sae[0]:,} latents, L0 = {grid.l0[0]}, {seeds}. "
    "Left: from the mean (0) to the target (1). Right: from the best affine map (0) to the target (1). Arms with drawn weights "
    "are scored on the targets that they were trained on, those on outputs of other tokens on the true ones.",
    data=(scores, "transcoder_scores_by_arm"),
)

# %% tags=["hide-input"]
Markdown(words)

# %%
by_seed = scores.pivot_table(index="seed", columns=["metric", "arm"], values="value", sort=False)


def lead(metric: str, arm: str, other: str) -> str:
    """By how much one arm is ahead of another, paired by seed."""
    if (metric, arm) not in by_seed or (metric, other) not in by_seed:
        return "not run"
    gap = (by_seed[metric, arm] - by_seed[metric, other]).dropna()
    return f"{gap.mean():+.3f} ({gap.min():+.3f} to {gap.max():+.3f})"


others = [arm for arm in means.index if arm != "trained"]
leads = pd.DataFrame(
    {
        METRICS[m].label: {arm: lead(m, "trained", arm) for arm in others}
        for m in ("explained_variance", "beyond_affine")
    }
)

# %% tags=["hide-input"]
page.table(
    leads.rename_axis("over"),
    caption=f"The trained transcoder's lead over each other arm: mean and range of differences paired by seed ({seeds}).",
)

# %% [markdown]
# ## Is it *this* function?
#
# The same inputs, and the same MLP with every weight drawn from a Gaussian of its own mean and variance. Nobody trained this
# function; whatever a transcoder of it explains is owed to the inputs, and to what any such MLP does.

# %% tags=["hide-input"]
random_arm = "trained, MLP with drawn weights"
Markdown(
    f"Of the drawn MLP's output the best affine map explains {affine_drawn:.3f} (of the trained one's: {affine:.3f}), and a "
    f"transcoder {ev[random_arm]:.3f} (trained MLP: {ev['trained']:.3f}). Trained minus drawn, paired by seed: explained variance "
    f"{lead('explained_variance', 'trained', random_arm)}; beyond the affine map {lead('beyond_affine', 'trained', random_arm)}."
)

# %% [markdown]
# ## In the MLP's place
#
# The model is run on with the transcoder's estimate instead of the MLP's output, everything else as it is. Floor: the mean of
# the output; ceiling: the MLP itself.

# %%
place = means[[name for name in ("ce_recovered", "kl_recovered") if name in means]].dropna(how="all")
raw = means[[name for name in ("cross_entropy", "kl_divergence") if name in means]].dropna(how="all")
ends = scores[scores["metric"] == "cross_entropy"][["floor", "ceiling"]].astype(float).mean()

# %% tags=["hide-input"]
page.table(
    place.join(raw).rename(columns={"ce_recovered": "CE recovered", "kl_recovered": "KL recovered", "cross_entropy": "CE (nats)",
                                    "kl_divergence": "KL (nats)"}),
    caption=f"Losses with each arm in the MLP's place, mean over {seeds}. Cross-entropy of the model: {ends['ceiling']:.3f} nats; "
    f"with the mean of this MLP's output: {ends['floor']:.3f}: one MLP of many costs {ends['floor'] - ends['ceiling']:.3f}.",
)  # fmt: skip

# %% [markdown]
# ## Are the latents any different to read?
#
# The judge-free score of {doc}`interpretability`: held-out contexts ranked by their likeness to a latent's strongest examples.
# A transcoder's latents read the MLP's input, whatever they are trained to write. So this is asked of transcoders of the MLP,
# of the drawn MLP, and of outputs of other tokens, all on the same text.

# %%
LATENT_GRIDS = {
    "transcoders_latents": "",
    "transcoders_latents_random_mlp": ", MLP with drawn weights",
    "transcoders_latents_shuffled": ", outputs of other tokens",
}
latents = named(page.read.scores(*LATENT_GRIDS), LATENT_GRIDS)
page.publish(latents, "transcoder_latents")
READ = ("autointerp_auroc", "autointerp_auroc_token_matched", "autointerp_purity")
known = latents[latents["metric"].isin(READ)] if len(latents) else latents
read = known.pivot_table(index="arm", columns="metric", values="value", sort=False) if len(known) else known

# %% tags=["hide-input"]
page.table(
    read.rename(columns={name: METRICS[name].label for name in READ}),
    caption=f"Interpretability without a judge of latents at the MLP's input, mean over {seeds}. 0.5 is chance for both AUROCs.",
) if len(read) else Markdown("There is too little text at this profile for a latent to be asked about.")

# %% [markdown]
# ## A circuit whose map is known
#
# Features in, a known map, features out: each output feature is the ReLU of the sum of its own input features, less a threshold
# (`sanity/data/circuit.py`). A latent that computes one must *write* its direction and *read* its input features'. Both are
# known, and so is when it should fire. Does explained variance tell whether the map was found?

# %%
toy_scores = named(page.read.scores("transcoders_circuit"), {"transcoders_circuit": ""})
page.publish(toy_scores, "transcoder_circuit")
TOY = ("explained_variance", "beyond_affine", "features_written", "maps_recovered", "firing_f1")
found = toy_scores[toy_scores["metric"].isin(TOY)].pivot_table(
    index="arm", columns="metric", values="value", sort=False
)[list(TOY)]

# %% [markdown]
# For scale, the true map itself under the same rule: each latent reads the direction of its input features and writes its
# output feature, with one scale for all.

# %%
stream = CircuitStream(circuit_of(circuit.spec), batch_size=circuit.held_out, seed=0)
true = true_transcoder(stream.circuit, toy.l0[0])
x, computed = stream.sample(2**31)
t, made = stream.targets(2**31), true.reconstruct(x)
made = made - made.mean(0)
scale = float((t * made).sum() / (made * made).sum())
truth = {score.metric: score.value for score in map_scores(true, stream.circuit, x, computed > 0)}
truth["explained_variance"] = explained_variance(t, scale * made).value
toy_affine = page.read.facts("transcoders_circuit", "beyond_affine")["affine_explained_variance"].mean()
truth["beyond_affine"] = 1 - (1 - truth["explained_variance"]) / (1 - toy_affine)
found.loc["the true map, its own encoder"] = pd.Series(truth)

# %% tags=["hide-input"]
trained_toy, truth_row = found.loc["trained"], found.loc["the true map, its own encoder"]
toy_words = "; ".join(
    f"{arm}: explained variance {row['explained_variance']:.3f}, maps recovered {row['maps_recovered']:.1%}, F1 of firing "
    f"{row['firing_f1']:.3f}"
    for arm, row in found.iterrows()
)
page.figure(
    figures.dots_by_metric(
        toy_scores,
        metrics={name: METRICS[name].label.replace(" that a latent", "\nthat a latent").replace(" of a latent", "\nof a latent")
                 for name in ("explained_variance", "maps_recovered", "firing_f1")},
        looks={arm: (next((c for n, c in COLOURS.items() if arm.startswith(n)), "#999999"), "o") for arm in found.index[:-1]},
    ),
    finding=f"Trained, a transcoder recovers {trained_toy['maps_recovered']:.0%} of the maps at an explained variance of "
    f"{trained_toy['explained_variance']:.2f}",
    alt=f"Explained variance, maps recovered and F1 of firing of transcoders of a synthetic circuit. {toy_words}",
    caption=f"{circuit.spec.n_out} output features in {circuit.spec.d_out} dimensions, each of {circuit.spec.reads} of "
    f"{circuit.spec.world.n_features} input features; {toy.d_sae[0]} latents, L0 = {toy.l0[0]}, "
    f"{toy.steps * toy.batch_size:,} samples, {count(len(toy.seeds), 'seed')}.",
    data=(toy_scores, "transcoder_circuit_by_arm"),
)  # fmt: skip

# %% tags=["hide-input"]
page.table(
    found.rename(columns={name: METRICS[name].label for name in TOY}),
    caption=f"Means over {count(len(toy.seeds), 'seed')}. The best affine map of the inputs explains {toy_affine:.3f}.",
)

# %% tags=["hide-input"]
pairs = [
    (a, b)
    for a in found.index
    for b in found.index
    if found.loc[a, "explained_variance"] > found.loc[b, "explained_variance"] + 0.002
    and found.loc[a, "maps_recovered"] < found.loc[b, "maps_recovered"] - 0.005
]
Markdown(
    f"{toy_words}. "
    + (
        "Explained variance puts "
        + "; ".join(f"{a} above {b}" for a, b in pairs)
        + ", and recovery of the map the other way round: here it hides the map."
        if pairs
        else "No two arms have the higher explained variance with the fewer maps: within one architecture it does not hide the map."
    )
    + f" The true map under its own encoder explains {truth_row['explained_variance']:.3f}, and the trained arm "
    f"{trained_toy['explained_variance']:.3f} with {trained_toy['maps_recovered']:.1%} of the map."
)

# %% [markdown]
# ## Can the metrics be trusted?

# %% tags=["hide-input"]
page.gates("explained_variance", "beyond_affine", "features_written", "maps_recovered", "firing_f1")

# %% [markdown]
# ## What could be wrong
#
# - One model, one MLP, one sparsity, and a training that a transcoder in use would call a start. Gaps between arms grow with
#   the budget, and a verdict here is a point on a curve.
# - All arms share one learning rate. The skip starts at 0 and learns at the same rate, so that it may be behind the least
#   squares that it should end at: *skip alone* shows by how much. The claim about affine maps was first a comparison with that
#   arm. Where both lie below the map itself, which is this metric's 0, that decides nothing: the claim is held against the map.
# - Drawn weights keep each matrix's mean and variance and nothing else: another way to draw is another null. Heap et al. draw
#   whole transformers {cite}`heap2025sparse`.
# - The largest neurons are the upper reference in what they compute, and not in what so few can explain: they were
#   not trained to be sparse. They are as many as latents at an equal L0, and a neuron may be negative.
# - Losses in the MLP's place are measured on few tokens, and have no gate of their own at this MLP. Interpretability has
#   none here, either: known concepts are graded in {doc}`interpretability`.
# - The circuit's features do not depend on each other, and each input feature is read once. Its true map is the sparsest
#   one by construction; that of an MLP need not be.
# - A transcoder may explain the MLP on its own inputs and not compute its function elsewhere. Nothing here leaves the
#   distribution of the text.

# %% tags=["hide-input"]
# The short answer on top of the page.
page.answer(
    f"The best affine map of the input explains {affine:.3f} of the MLP's output without any latent, the trained transcoder "
    f"{ev['trained']:.3f}. Of what that map leaves, the transcoder explains {beyond['trained']:+.3f}"
    f"{', less than nothing' if beyond['trained'] < 0 else ''}. Of an MLP with drawn weights a "
    f"transcoder explains {ev[random_arm]:.3f}.",
    sure=f"more than an affine map: {page.verdict('transcoder-beyond-affine')}. {seeds}, paired (mean and range): beyond the "
    "affine map, trained minus soft-frozen decoder "
    f"{lead('beyond_affine', 'trained', 'soft-frozen decoder')}, minus frozen decoder "
    f"{lead('beyond_affine', 'trained', 'frozen decoder')}.",
    scale=f"{grid.d_sae[0]:,} latents, L0 = {grid.l0[0]}, {grid.steps * grid.batch_size:,} tokens, at "
    f"{page.profile.place_of(grid.sources[0])} of {source.at.subject}.",
)

# %% tags=["hide-input"]
page.provenance(seeds=grid.seeds)
