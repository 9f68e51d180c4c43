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
# # Lazy training
#
# *How far do directions turn while a sparse autoencoder is trained, and what do the cones of a soft-frozen decoder
# still allow?*

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
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from sanity import figures
from sanity.evals import expected_max_cosine, smallest_cosine
from sanity.evals.cone import EDGE
from sanity.experiments import lazy_training
from sanity.experiments.kept_tables import kept_tables
from sanity.figures.style import line_above
from sanity.models import Constraint
from sanity.publishing import Markdown, count, open_chapter, span

page = open_chapter("lazy_training", profile)
figures.house_style()
read, grid = page.read, page.profile.grid
toy, real, cones = (
    grid(name) for name in ("synthetic_recovery", "real_activations", "lazy_training_cones_real")
)
lazy = lazy_training.fields_of(page.profile)
hook, source = page.profile.place_of(real.sources[0]), page.profile.source_named(real.sources[0])
page.banner()

# %% [markdown]
# The paper explains its soft-frozen baseline by *lazy training*: after 10 % of the steps explained variance has almost
# its final value while decoder directions still have cosines near 0.8 to their random start, so that good scores need
# no learned directions (Appendix D) {cite}`korznikov2026sanity`. It shows the first tenth of one training. This chapter
# shows the whole of it, with both sides of the autoencoder; sweeps the cone from frozen to free, next to a control
# without any features; asks what a cone can *reach*, which is not what the paper's bound is about; and tests the lazy
# regime itself, which is defined for smooth models {cite}`chizat2019lazy`, in a form that holds where supports switch.

# %% tags=["hide-input"]
sizes = f"{real.d_sae[0]:,}; {toy.d_sae[0]:,} in the worlds"
settings = [
    ("language model", "Gemma-2-2B layer 12", f"{source.subject}, {hook}", "the profile's first hook"),
    (
        "architecture",
        "JumpReLU",
        " and ".join(dict.fromkeys(figures.ARCHITECTURE_NAMES[one.architectures[0]] for one in (real, toy))),
        "the primary grids",
    ),
    ("L0", "160", f"{real.l0[0]}; {toy.l0[0]} in the worlds", "the primary grids"),
    ("latents", "73,728", sizes, "budget"),
    ("tokens seen", "500 M", f"{real.steps * real.batch_size:,}", "budget"),
    (
        "learning rate",
        "2e-4",
        f"{real.learning_rates[0]:g}; {toy.learning_rates[0]:g} in the worlds",
        "fewer steps",
    ),
    ("shown of the training", "the first 10 %", "all of it", "a training has an end"),
    (
        "seeds followed",
        "not stated",
        len(lazy.followed_seeds),
        "the other seeds are read at 10 % and at the end",
    ),
    ("tau", "0.8", f"{len(cones.arms)} from frozen (1) to free (-1)", "from a hard constraint to none"),
    ("steps of the sweep", "all", f"{cones.steps:,}; {toy.steps:,} in the worlds", "budget"),
    ("seeds of the sweep", "not stated", len(cones.seeds), "budget"),
]
page.parameters(settings)

# %% [markdown]
# ## Cosine to the start, over the whole training
#
# Decoder row $j$ starts at $w_j(0)$, a random unit vector, and the encoder row along it; with $w_j(t)$ after $t$ steps,
# the figure shows $\cos(w_j(t), w_j(0))$ over latents. The paper looks at 5 % and at 10 % of the steps, which are marked.

# %%
cosines = lazy_training.table(
    read, "following", "cosines"
)  # quantiles over latents, by step, side and frequency
curves = lazy_training.table(read, "following", "curve")  # one row per recorded step of the same trainings
marks = {"5 %": 20, "10 %": 10, "50 %": 2, "end": 1}


def at_mark(table, mark):
    """The rows at a share of the steps, at each place."""
    last = table.groupby("world_or_hook")["step"].transform("max")
    return table[table["step"] == last // marks[mark]].assign(steps=mark)


marked = pd.concat([at_mark(cosines, mark) for mark in marks])
everyone = marked[marked["group"] == "all"]
turned = everyone.pivot_table("q50", "steps", ["world_or_hook", "side"], sort=False)
explained = pd.concat([at_mark(curves, mark) for mark in marks]).pivot_table(
    "ev_batch", "steps", "world_or_hook", sort=False
)

# %% tags=["hide-input"]
places = list(dict.fromkeys(cosines["world_or_hook"]))
where = {place: f"in the world with {place} probabilities" for place in toy.sources} | {hook: f"on `{hook}`"}
turning = " ".join(
    f"The median decoder direction {where[place]} has a cosine of {turned.at['10 %', (place, 'decoder')]:.2f} "
    f"to its start after a tenth of the steps and {turned.at['end', (place, 'decoder')]:.2f} at the end "
    f"(encoder {turned.at['end', (place, 'encoder')]:.2f}); explained variance is {explained.at['10 %', place]:.2f} at "
    f"a tenth and {explained.at['end', place]:.2f} at the end."
    for place in places
)
page.figure(
    figures.cosine_trajectories(cosines, curves),
    finding="At the end the median decoder direction has a cosine to its start of "
    + ", ".join(
        f"{turned.at['end', (place, 'decoder')]:.2f} {where[place].replace('`', '')}" for place in places
    ),
    alt=f"Cosine of decoder and encoder directions to their start against the share of the steps. {turning}",
    caption="Trained arm, first followed seed. Quantiles over all latents "
    f"({toy.d_sae[0]:,} in the worlds, {real.d_sae[0]:,} on {source.subject}). Green: explained variance of the next batch. "
    f"{toy.steps:,} steps of {toy.batch_size:,} samples in the worlds, {real.steps:,} of {real.batch_size:,} tokens on the "
    "language model; the learning rate falls over the last fifth. 1 is unmoved; 0 (dotted) is what unrelated directions have.",
    data=(cosines, "lazy_cosines"),
)

# %% tags=["hide-input"]
papers = {"5 %": ("near 1", "0.80"), "10 %": ("near 0.8", "0.82"), "end": ("not shown", "0.86")}
summary = pd.DataFrame({"paper: cosine": {mark: papers.get(mark, ("", ""))[0] for mark in marks}})
summary["paper: EV"] = [papers.get(mark, ("", ""))[1] for mark in marks]
for place in places:
    for side in ("decoder", "encoder"):
        summary[f"{figures.place_name(place)}: {side}"] = turned[place, side]
    summary[f"{figures.place_name(place)}: EV"] = explained[place]
page.table(
    summary.rename_axis("steps"),
    caption="Median cosine to init over latents (mean over followed seeds), and explained variance of the next batch, where "
    "the paper looks and later. The paper's column is for JumpReLU on Gemma-2-2B layer 12, L0 = 160, 500 million tokens.",
)

# %% tags=["hide-input"]
spread = everyone[everyone["side"] == "decoder"].assign(width=lambda t: t["q95"] - t["q05"])
spread = spread[spread["steps"] == "end"].groupby("world_or_hook")["width"].mean()
widths = "; ".join(f"{spread[place]:.2f} {where[place]}" for place in places)
Markdown(f"{turning} At the end, from the 5 % to the 95 % quantile, latents differ by {widths}.")

# %% [markdown]
# A mean over latents mixes those that are trained often with those that hardly are. Below they are split by how often
# they are active at the end, on a linear axis.

# %%
ends = marked[(marked["steps"] == "end") & (marked["group"] != "all")]
by_frequency = ends.pivot_table("q50", "group", ["world_or_hook", "side"], sort=False)

# %% tags=["hide-input"]
page.figure(
    figures.trajectories_by_frequency(cosines),
    alt="Median cosine to init of latents that are active rarely and often. Decoder, at the end: "
    + "; ".join(
        f"{where[place]} " + ", ".join(f"{group} {value:.2f}" for group, value in column.dropna().items())
        for (place, side), column in by_frequency.items()
        if side == "decoder"
    ),
    caption="The same runs. Latents are grouped by the share of held-out samples in which they are active at the end; "
    "numbers of latents in the legends. Lines: medians.",
)

# %% tags=["hide-input"]
page.table(
    by_frequency.set_axis(
        [f"{figures.place_name(place)}: {side}" for place, side in by_frequency.columns], axis=1
    ).rename_axis("latents"),
    caption="Median cosine to init at the end, by how often latents are active.",
)

# %% [markdown]
# ## From frozen to free
#
# A soft-frozen decoder keeps every row within cosine $\tau$ of its start. $\tau = 1$ is the frozen decoder, 0 a
# half-space, and $-1$ the trained arm, so that the paper's 0.8 is one point of a curve. A constraint that
# *binds* holds latents on the edge of their cone. To see how much of that comes from features, the sweep is repeated on
# Gaussian noise of the same covariance, where there are none.


# %%
def with_tau(scores):
    """The smallest cosine to init that each arm's constraint allows, as a column."""
    return scores.assign(tau=[smallest_cosine(Constraint.named(name)) for name in scores["constraint"]])


worlds = read.scores("lazy_training_cones", "lazy_training_cones_noise")
activations = read.scores("lazy_training_cones_real", "lazy_training_cones_real_noise")
sweep = with_tau(pd.concat([worlds, activations], ignore_index=True))

full = read.scores("real_activations", "lazy_training_noise")  # full budget, several seeds
along = read.curves("real_activations", "lazy_training_noise")
cones_only = full["constraint"].isin(["frozen_decoder", "soft_frozen_decoder", "trained"]) & (
    full["init"] == "iso"
)
primary = with_tau(full[cones_only & (full["world_or_hook"] == hook)])


def at_the_papers_tau(scores):
    """What tau = 0.8 costs and leaves, between frozen and free; means over seeds."""
    mean = scores.groupby(["trained_on_noise", "metric", "tau"])["value"].mean()
    frozen, ev, free = (mean.get((False, "explained_variance", tau)) for tau in (1.0, 0.8, -1.0))
    held, released = (mean.get((True, "explained_variance", tau), np.nan) for tau in (0.8, -1.0))
    return {
        "EV, frozen": frozen,
        "EV, tau 0.8": ev,
        "EV, trained": free,
        "share of the way": (ev - frozen) / (free - frozen),
        "gained by releasing": free - ev,
        "gained by releasing, noise": released - held,
        "on the edge": mean.get((False, "share_on_edge", 0.8)),
        "on the edge, noise": mean.get((True, "share_on_edge", 0.8)),
        "cosine to init": mean.get((False, "cosine_to_init", 0.8)),
        "cosine to init, noise": mean.get((True, "cosine_to_init", 0.8)),
        "trained: cosine to init": mean.get((False, "cosine_to_init", -1.0)),
        "trained: cosine to init, noise": mean.get((True, "cosine_to_init", -1.0)),
        "recovered": mean.get((False, "recovery", 0.8)),
        "within reach": mean.get((False, "reachable_recovery", 0.8)),
        "trained: recovered": mean.get((False, "recovery", -1.0)),
    }


papers_tau = pd.DataFrame(
    {
        f"world ({toy.steps:,} steps)": at_the_papers_tau(sweep[sweep["world_or_hook"] != hook]),
        f"activations ({cones.steps:,} steps)": at_the_papers_tau(sweep[sweep["world_or_hook"] == hook]),
        f"activations, primary grid ({real.steps:,} steps)": at_the_papers_tau(primary),
    }
).astype(float)

# %% tags=["hide-input"]
page.figure(
    figures.tau_sweep(sweep, primary, hook=hook),
    finding=f"A cone of cosine 0.8 gives {papers_tau.iloc[:, -1]['share of the way']:.0%} of the way from frozen to trained; {papers_tau.iloc[:, -1]['on the edge']:.0%} of the latents end at its edge, {papers_tau.iloc[:, -1]['on the edge, noise']:.0%} on noise",
    alt="Explained variance, recovery and distance from the start against the cone's tau. "
    + " ".join(
        f"{name}: tau = 0.8 is {column['share of the way']:.0%} of the way from the frozen to the trained arm's explained "
        f"variance; {column['on the edge']:.0%} of the latents end on the edge, {column['on the edge, noise']:.0%} on noise."
        for name, column in papers_tau.items()
    ),
    caption=f"World with constant probabilities ({toy.steps:,} steps) and real activations ({cones.steps:,} steps), "
    f"{count(len(cones.seeds), 'seed')}. Diamonds: the primary grid of the chapter on real activations, {real.steps:,} steps, "
    f"one per seed ({len(real.seeds)}). Grey and open: Gaussian noise of equal covariance. Blue, dashed: share of features "
    "to which some cone reaches with cosine 0.8, each for itself: a ceiling. Vertical line: the paper's tau.",
    data=(sweep, "lazy_taus"),
)

# %% tags=["hide-input"]
moved = {
    "explained_variance": "explained variance",
    "recovery": "features recovered",
    "ce_recovered": "cross-entropy recovered",
    "share_on_edge": "latents on the edge",
    "cosine_to_init": "cosine to init",
}
trained_on = sweep["trained_on_noise"].map({True: ", Gaussian noise", False: ""})
by_tau = sweep.assign(where=sweep["world_or_hook"].replace(dict.fromkeys(toy.sources, "world")) + trained_on)
by_tau = by_tau.pivot_table(
    index=["tau", "where"], columns="metric", values="value", sort=False
).reset_index()
page.slider(
    by_tau,
    along="tau",
    rows="where",
    shown={metric: name for metric, name in moved.items() if metric in by_tau},
    start=0.8,
    say=lambda tau: {1.0: "1, frozen", -1.0: "-1, free"}.get(tau, f"{tau:g}"),
    caption="The same at a tau of your own: mean over seeds.",
)

# %% tags=["hide-input"]
page.table(
    papers_tau.rename_axis(""),
    caption="At tau = 0.8, between the frozen decoder and the trained arm: explained variance (EV), share of latents on the "
    "edge of their cone and mean cosine to init, each next to the same arm on Gaussian noise of equal covariance, at as many "
    "steps and on the same seeds; in the world, the share of features recovered, and of those within reach of some cone.",
)

# %% [markdown]
# On noise, too, latents move: they drift. Only what goes beyond that can come from structure other than the covariance. The
# share on the edge and the mean cosine end near the same value on both, so they cannot show it. Two more numbers can, seed
# by seed on the primary grid: when half of the latents have reached the edge,
# and how much explained variance releasing the cone gains, on activations and on noise. Where the trained arm's own
# cosines stay above $\tau$, the constraint does not bind, and the soft-frozen arm is the trained one under another name.

# %%
held = along[(along["constraint"] == "soft_frozen_decoder") & (along["world_or_hook"] == hook)]
on_edge = held[held["cosine_to_init_q50"] <= 0.8 + EDGE]
first = on_edge.groupby(["trained_on_noise", "seed"])["samples_seen"].min() / held["samples_seen"].max()
ev = primary[primary["metric"] == "explained_variance"].pivot_table(
    index=["trained_on_noise", "seed"], columns="tau", values="value"
)
release = pd.DataFrame(
    {"half on the edge after": first.reindex(ev.index), "gained by releasing": ev[-1.0] - ev[0.8]}
)
release = release.unstack("trained_on_noise").rename(columns={False: "activations", True: "noise"})


# %% tags=["hide-input"]
def shown(name: str, on: str) -> str:
    """The number of every seed that was run; an edge that was not reached has none."""
    ran = release["gained by releasing", on].notna()
    return ", ".join("never" if np.isnan(value) else f"{value:.3f}" for value in release.loc[ran, (name, on)])


both_ways = "; ".join(
    f"{name} {shown(name, 'activations')} on activations and {shown(name, 'noise')} on noise"
    for name in release.columns.unique(0)
)
Markdown(
    f"By seed, as a share of the training (the nearest recorded step) and in explained variance: {both_ways}. A share that is as large on noise is no "
    "sign of features: Adam moves every weight by about the learning rate. What releasing gains beyond noise is judged in "
    "[the verdicts](verdicts.html)."
)

# %% [markdown] tags=["if-shown"]
# ### Do latents become more useful as the cone opens?
#
# The same arms, asked what their latents are good for: predicting a latent's activity from its highest contexts, and probing
# with one latent or five. Few profiles run this, so it may be a run that is kept with the book.

# %%
uses = {
    "autointerp_auroc": "AUROC",
    "autointerp_auroc_token_matched": "AUROC, same word",
    "sparse_probing_top1": "sparse probing, k = 1",
    "sparse_probing_top5": "sparse probing, k = 5",
}
controls = kept_tables("controls")
useful = read.scores("latents_over_tau") if "latents_over_tau" in page.profile.grids else pd.DataFrame()
from_controls = useful.empty and controls is not None
useful = controls.of("scores", "latents_over_tau") if from_controls else useful
useful = with_tau(useful[useful["metric"].isin(uses)]) if len(useful) else useful

# %% tags=["hide-input"]
if len(useful):
    gained = {
        uses[metric]: (part.loc[part["tau"] == -1, "value"].mean() - part.loc[part["tau"] == 1, "value"].mean(),
                       part.loc[part["tau"] == 0.8, "value"].mean() - part.loc[part["tau"] == 1, "value"].mean())
        for metric, part in useful.groupby("metric", sort=False)
    }  # fmt: skip
    gain_words = "; ".join(
        f"{name} {free:+.3f} from frozen to trained, {held:+.3f} at 0.8"
        for name, (free, held) in gained.items()
    )
page.figure(
    figures.latents_over_tau(useful, labels=uses),
    finding=f"From the frozen to the trained decoder latents gain at most {max(free for free, _ in gained.values()):.3f} in use",
    alt=f"Interpretability and sparse probing against tau. {gain_words}.",
    caption=f"Real activations, {useful['samples'].max():,.0f} tokens, {useful['d_sae'].max():,} latents, "
    f"{count(useful['seed'].nunique(), 'seed')}. Dashed: the metric's floor. {gain_words[:1].upper()}{gain_words[1:]}."
    + (f" Imported: {controls.words}." if from_controls else ""),
    data=(useful, "latents_over_tau"),
) if len(useful) else None

# %% [markdown]
# ## What a cone contains, and what it reaches
#
# The paper bounds the probability that a given direction lies inside one of $m$ cones by $m e^{-d \tau^2 / 2}$, which is
# below what a floating-point number can hold; in logarithms it can be computed, and so can the exact probability. But a
# latent need not lie *on* a feature to serve it. A latent whose cone has half-angle $\theta = \arccos\tau$ can turn
# by $\theta$ towards any direction, so that the best of $m$ reaches
#
# ```{math}
# :label: eq-reach
# \mathbb{E} \cos\bigl(\max(0, \min_j \alpha_j - \theta)\bigr),
# ```
#
# with $\alpha_j$ the angles of the anchors to that direction, whose law is known exactly.

# %%
exact = lazy_training.table(read, "geometry", "exact")
simulated = lazy_training.table(read, "geometry", "simulated")
at_tau = exact[exact["tau"] == 0.8].set_index("size")
at_tau["nearest_anchor"] = [
    expected_max_cosine(d, m) for d, m in zip(at_tau["d_in"], at_tau["d_sae"], strict=True)
]

# %% tags=["hide-input"]
gemma, own = at_tau.loc["gemma-2-2b"], at_tau.loc["toy"]
reached = "; ".join(
    f"{size} {at_tau.at[size, 'cone_reach']:.2f} (unturned {at_tau.at[size, 'nearest_anchor']:.2f})"
    for size in ("toy", "gemma-2-2b", "llama-3-8b")
)
reach = (
    f"The paper's bound for Gemma-2-2B is 10^{gemma['log10_cone_bound']:.1f}, the exact probability "
    f"10^{gemma['log10_any_cap']:.1f}. What the best cone can reach of an arbitrary direction: {reached}. In the paper's "
    f"synthetic world some cone reaches {own['reachable_share']:.1%} of all directions to a cosine of 0.8."
)
page.figure(
    figures.cone_laws(exact, simulated),
    finding=f"A cone seldom contains a direction, and often reaches it: {at_tau.at['toy', 'cone_reach']:.2f} in the synthetic world, {at_tau.at['gemma-2-2b', 'cone_reach']:.2f} at Gemma's size",
    alt="Left: best cosine that cones reach to an arbitrary direction against tau, at several sizes. Right: log10 of the "
    f"probability that some cone contains the direction. {reach}",
    caption="Left, lines: exact; dots and bars: mean and 5-95 % range of "
    f"{lazy.simulated_draws} simulated directions per size. Right, solid: exact; dashed: the paper's bound. "
    "Vertical line: the paper's tau. d: width, m: latents.",
    data=(exact, "lazy_cones"),
)

# %% tags=["hide-input"]
Markdown(reach)

# %% tags=["hide-input"]
columns = {
    "d_in": "d",
    "d_sae": "m",
    "log10_one_bound": "bound, one vector (log10)",
    "log10_cone_bound": "bound, all m (log10)",
    "log10_one_cap": "exact, one vector (log10)",
    "log10_any_cap": "exact, all m (log10)",
    "nearest_anchor": "expected nearest anchor",
    "cone_reach": "best cosine in reach",
    "reachable_share": "directions reached at 0.8",
}
page.table(
    at_tau[list(columns)].rename(columns=columns).astype({"d": "Int64", "m": "Int64"}),
    caption="At tau = 0.8. Bound: the paper's. Exact: the probability of the cap on the sphere, for one cone and for "
    "the union of m. Nearest anchor: the isotropic null of the largest of m cosines. The last column is the share of all "
    "directions to which some cone reaches with the cosine that counts as recovered.",
)

# %% [markdown]
# ## Is it the lazy regime?
#
# Training is lazy, in the sense of Chizat, Oyallon and Bach, when the trained model is its own first-order expansion in
# the parameters about the start, and its tangent kernel stays. An autoencoder that *selects* latents has no such expansion,
# since supports jump. On a fixed support $S(x)$ it has:
#
# ```{math}
# :label: eq-held
# f_S(\theta; x) = b_{dec} + \sum_{j \in S(x)} \bigl(\langle w_j, x - b_{dec} \rangle + b_j\bigr)\, d_j .
# ```
#
# So there are three questions. Do supports stay (Jaccard overlap with those at the start)? Does the first-order model do
# what the trained one does, with the supports of the start, or with the final ones? And does the tangent kernel stay?

# %%
asked = curves[curves["seed"] == lazy.followed_seeds[0]].dropna(
    subset=["jaccard"]
)  # asked at some of the steps
laziness = pd.concat([at_mark(asked, mark) for mark in ("10 %", "end")]).set_index(["world_or_hook", "steps"])
laziness = laziness.loc[places]

# %% tags=["hide-input"]
page.figure(
    figures.laziness_trajectories(curves),
    finding="Training is not lazy: at the end supports overlap with those of the start by "
    + span(*laziness.xs("end", level="steps")["jaccard"].agg(["min", "max"]), ".0%"),
    alt="Overlap of supports, explained variance of first-order models, and change of the tangent kernel along the "
    "training. "
    + " ".join(
        f"At the end, {where[place]}, supports overlap by {row['jaccard']:.0%} with those at init (chance "
        f"{row['jaccard_chance']:.0%}), the first-order model explains {row['first_order_start']:.2f} of the variance with the "
        f"supports of init and {row['first_order_end']:.2f} with the final ones, where the trained one explains {row['ev']:.2f}, "
        f"and the kernel has changed by {row['kernel_change']:.2f} of its norm."
        for place, row in laziness.xs("end", level="steps").iterrows()
    ),
    caption=f"Trained arm, first followed seed, {lazy.laziness_samples} held-out samples; tangent kernel of both matrices and "
    f"the encoder's biases on {lazy.kernel_samples} of them (relative Frobenius change, and cosine with the kernel at "
    "the start). Dotted in the first row: overlap of the supports of different samples.",
    data=(curves, "lazy_curves"),
)

# %% tags=["hide-input"]
columns = {
    "cosine_decoder": "decoder's cosine to init",
    "jaccard": "overlap of supports",
    "jaccard_chance": "overlap by chance",
    "ev": "EV, own supports",
    "held_start": "EV, supports of init",
    "first_order_start": "EV, first order, supports of init",
    "first_order_end": "EV, first order, final supports",
    "kernel_change": "kernel: relative change",
    "kernel_alignment": "kernel: cosine",
}
page.table(
    laziness[list(columns)]
    .rename(columns=columns)
    .rename(index=figures.place_name, level=0)
    .rename_axis(["", "steps"]),
    caption="The same at a tenth of the steps and at the end: mean cosine of decoder rows to their start, Jaccard overlap of "
    "supports with those at init, explained variance (EV) of the trained weights and of the first-order model on given "
    "supports, and the tangent kernel.",
)

# %% [markdown]
# ### The scale of the output
#
# A scale makes training lazy: the larger $\alpha$ is in a model $\alpha\,(h(w) - h(w_0))$, the less its weights need to
# move. The synthetic world is small enough to train such models by plain gradient descent, to which the theory
# applies (Adam's steps do not shrink with the gradient). Each scale is trained twice: with the supports held as they are
# at the start, where the theory holds, and with supports that switch.

# %%
scaled = lazy_training.table(read, "scaling", "scaled")
ordinary = laziness.loc[(toy.sources[0], "end")]  # the training above, with Adam and not centred
measures = {  # of a scaled run, and the same of the ordinary one
    "cosine_decoder": ("decoder's cosine to init", "cosine_decoder"),
    "jaccard": ("overlap of supports with init", "jaccard"),
    "kernel_change": ("kernel: relative change", "kernel_change"),
    "predicted": ("change predicted, first order", "predicted_start"),
    "explained_variance": ("explained variance", "ev"),
}
held = scaled["held"].map({True: "held as at init", False: "switching"})
scales = scaled.assign(supports=held).set_index(["supports", "alpha"])[list(measures)].sort_index()
less = (scaled["kernel_change"] < ordinary["kernel_change"]).sum()

# %% tags=["hide-input"]
figure, axes = plt.subplots(2, 3, figsize=(8.2, 5.4), layout="constrained")
axes[-1, -1].set_visible(False)
for ax, (measure, (title, usual)) in zip(axes.flat, measures.items(), strict=False):
    lowest = -1.0 if measure in ("predicted", "explained_variance") else 0.0
    for is_held, colour, line, label in (
        (True, "#0072B2", ("o", "-"), "supports held"),
        (False, "#D55E00", ("s", "--"), "supports switch"),
    ):
        part = scaled[scaled["held"] == is_held].sort_values("alpha")
        look = {"marker": line[0], "linestyle": line[1], "markersize": 4, "label": label}
        line_above(ax, part["alpha"], part[measure], lowest=lowest, colour=colour, **look)
    level = max(ordinary[usual], lowest)
    ax.axhline(level, color="#000000", linestyle="-.", linewidth=1.2, label="ordinary training")
    if ordinary[usual] < lowest:
        at = ("axes fraction", "data")
        ax.annotate(f"↓ {ordinary[usual]:.2f}", (0.02, level), xycoords=at, va="bottom", fontsize="x-small")
    ax.set_xscale("log")
    ax.set_title(title, fontsize="small")
    if measure == "kernel_change":
        ax.set_yscale("log")
    else:
        ax.set_ylim(lowest - 0.1, 1.05)
figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
figure.supxlabel(
    "scale alpha of the output; arrow: a value below -1, at its deepest with the number", fontsize="small"
)
ranges = " ".join(
    f"With supports {name}, from alpha = {part.index[0]:g} to {part.index[-1]:g} the overlap with the supports of init goes "
    f"from {part['jaccard'].iloc[0]:.2f} to {part['jaccard'].iloc[-1]:.2f}, the kernel's relative change from "
    f"{part['kernel_change'].iloc[0]:.2f} to {part['kernel_change'].iloc[-1]:.2f}, the share of the output's change that the "
    f"first-order model predicts from {part['predicted'].iloc[0]:.3f} to {part['predicted'].iloc[-1]:.3f}, and explained "
    f"variance from {part['explained_variance'].iloc[0]:.2f} to {part['explained_variance'].iloc[-1]:.2f}."
    for name, part in ((name, scales.loc[name]) for name in held.unique())
)
page.figure(
    figure,
    alt=f"Five measures against the output scale. {ranges}",
    caption=f"World with constant probabilities, TopK, {lazy.scaling_steps} steps of gradient descent on "
    f"{lazy.scaling_batch} samples each. Explained variance is that of the centred model, whose start is 0. Dash-dotted: the "
    "ordinary training of the same world (Adam, not centred) at its end.",
    data=(scaled, "lazy_scales"),
)

# %% tags=["hide-input"]
last = {name: ordinary[usual] for name, (_, usual) in measures.items()}
page.table(
    pd.concat([scales, pd.DataFrame(last, index=[("ordinary training", "")])])
    .rename_axis(["supports", "alpha"])
    .rename(columns={name: title for name, (title, _) in measures.items()}),
    caption="The same numbers: scaled runs, and the ordinary training at its end.",
)

# %% tags=["hide-input"]
Markdown(
    f"The ordinary training has an overlap of {ordinary['jaccard']:.2f} and a kernel change of "
    f"{ordinary['kernel_change']:.2f}: {less} of the {len(scaled)} scaled runs change their kernel less."
)

# %% [markdown]
# Where two latents are nearly tied, any move of the weights, however small, exchanges them, and the output jumps by as
# much as their directions differ. A larger scale makes the movements smaller, and multiplies what each switch does. An
# argument from small movements to small changes of the output needs the supports to be held.

# %% [markdown] tags=["if-shown"]
# ## Encoder against decoder, and seed against seed
#
# If trained directions were near their random start, latents of two seeds would be as unlike as random ones. Each latent
# is compared with the nearest of another seed, and with the one that it is matched to one to one. Chance depends on how
# anisotropic a dictionary is, so there are three nulls: isotropic directions (exact), directions with the covariance of
# the data, and directions with the second moments of the other dictionary itself.

# %%
pairs = lazy_training.table(read, "alignment", "pairs")  # a row per latent of the first seed
compared = ["nearest", "matched", "null_activations", "null_dictionary", "encoder_decoder_cosine"]
nulls, medians = {}, pd.DataFrame()
if len(pairs):
    medians = pairs.groupby(["world_or_hook", "constraint"], sort=False)[compared].median()
    widths = pairs.groupby("world_or_hook")[["d_in", "d_sae"]].first()
    nulls = {place: expected_max_cosine(int(d), int(m)) for place, (d, m) in widths.T.items()}
    medians.insert(2, "null_isotropic", medians.index.get_level_values("world_or_hook").map(nulls))

at_hook = (
    medians.xs(hook, level="world_or_hook") if len(pairs) and hook in medians.index.unique(0) else medians[:0]
)
shared_words = "; ".join(
    f"{Constraint.named(arm).label}: the nearest latent of another seed has a median cosine of {row['nearest']:.2f} "
    f"({row['null_dictionary']:.2f} for random directions of equal second moments)"
    for arm, row in at_hook.iterrows()
)

# %% tags=["hide-input"]
page.figure(
    figures.quantile_bars(
        pairs,
        columns={
            "nearest": ("nearest", "#000000"),
            "matched": ("one to one", "#0072B2"),
            "null_activations": ("null, the data's covariance", "#E69F00"),
            "null_dictionary": ("null, the dictionary's second moments", "#999999"),
        },
        nulls={place: (value, "isotropic") for place, value in nulls.items()},
        xlabel="cosine of a latent's decoder direction to another seed's",
    ),
    finding=shared_words,
    alt="Largest cosines between latents of two seeds, by arm, with nulls. Medians: "
    + "; ".join(
        f"{Constraint.named(arm).label} {where[place]} {row['nearest']:.2f} (one to one {row['matched']:.2f}, null of "
        f"equal second moments {row['null_dictionary']:.2f}, isotropic chance {row['null_isotropic']:.2f})"
        for (place, arm), row in medians.iterrows()
    ),
    caption=f"Latents of one seed (at most {lazy.matched_latents:,}) against all of another; seeds "
    f"{' / '.join(dict.fromkeys(pairs['seeds']))}. Dot: median over latents; thick: 25-75 %; thin: 5-95 %. Dotted line: "
    "expected largest cosine of as many isotropic directions.",
    data=(pairs, "lazy_seeds"),
) if len(pairs) else None

# %% tags=["hide-input"]
page.table(
    medians.rename(
        columns={
            "null_isotropic": "null: isotropic",
            "null_activations": "null: the data's covariance",
            "null_dictionary": "null: the dictionary's second moments",
            "encoder_decoder_cosine": "encoder and decoder",
        }
    )
    .rename(index=figures.place_name, level=0)
    .rename_axis(["", "arm"]),
    caption="Medians over latents: cosine to the nearest and to the one-to-one matched latent of another seed, the same for "
    "random directions (isotropic, with the data's covariance, with the dictionary's second moments), and cosine of a "
    "latent's encoder to its decoder direction.",
) if len(pairs) else None

# %% tags=["hide-input"]
page.figure(
    figures.quantile_bars(
        pairs,
        columns={"encoder_decoder_cosine": ("encoder and decoder", "")},
        nulls=dict.fromkeys(nulls, (0.0, "unrelated")),
        xlabel="cosine of a latent's encoder direction to its decoder direction",
    ),
    alt="Cosine of encoder and decoder directions by arm. Medians: "
    + "; ".join(
        f"{Constraint.named(arm).label} {where[place]} {value:.2f}"
        for (place, arm), value in medians["encoder_decoder_cosine"].items()
    ),
    caption="The same latents. All arms start tied, with cosine 1. A frozen decoder's encoder was fitted to random directions; "
    "a frozen encoder's decoder was fitted to what random directions select.",
) if len(pairs) else None

# %% [markdown]
# ## Can the metrics be trusted?
#
# What their [validity gates](metric_validity.ipynb) say, which corrupt each metric's own reference in steps.

# %% tags=["hide-input"]
page.gates("explained_variance", "recovery", "cosine_to_init")

# %% [markdown]
# ## What could be wrong
#
# - Cosines to init depend on the learning rate, the budget and the size: a longer training turns directions further. The
#   paper's own runs have 500 million tokens and JumpReLU; the curves here are those of the profile above.
# - The start is calibrated and tied (encoder along the decoder). The paper does not say how its encoders start.
# - The first-order model holds supports; it is one way among several to ask for laziness of a model that is not smooth.
#   The tangent kernel leaves the decoder's bias out and moves decoder rows freely, though training keeps them unit.
# - The cone's reach is for one direction at a time. A latent cannot turn to two features at once, so the share within
#   reach is a ceiling, and no prediction, of recovery.
# - Gradient descent at the output scales has one step size, few steps and random batches. How far the runs with supports
#   that switch fall at large scales depends on these; that they do not settle does not, for the jumps remain.
# - Gaussian noise of equal covariance is one control for drift. It has no features, and no sparse structure either.
# - Every arm of the sweep, on noise as on samples, is brought to its L0 by one offset to its thresholds, set on held-out
#   samples of its own: on activations every fifth window of the held-out text, which is not scored. Cosines and recovery
#   do not depend on it.
# - Adam moves every weight by about the learning rate whatever the gradient's size. How far directions turn is in part
#   a fact about the optimiser, which gradient descent at the output scales above does not share.
# - One-to-one matching and nearest latents read decoder directions only; two seeds may share a subspace without sharing
#   any direction.

# %% tags=["hide-input"]
# The short answer on top of the page.
of_hook = papers_tau.iloc[:, -1]
page.number("real.ev.trained", of_hook["EV, trained"])
page.answer(
    f"On the language model the median decoder direction keeps a cosine of "
    f"{turned.at['10 %', (hook, 'decoder')]:.2f} to its start after a tenth of the training and "
    f"{turned.at['end', (hook, 'decoder')]:.2f} at its end. A cone of cosine 0.8 holds {of_hook['on the edge']:.0%} of the latents "
    f"at its edge ({of_hook['on the edge, noise']:.0%} on noise without features). Releasing it gains "
    f"{of_hook['gained by releasing']:.3f} of explained variance, and {of_hook['gained by releasing, noise']:.3f} on noise.",
    sure=f"{count(len(real.seeds), 'seed')} of the sweep's end points, {len(lazy.followed_seeds)} followed closely. That releasing gains "
    f"beyond noise: {page.verdict('releasing-the-cone-gains-beyond-noise')}.",
    scale=f"{figures.ARCHITECTURE_NAMES[real.architectures[0]]}, {real.d_sae[0]:,} latents, {real.steps * real.batch_size:,} tokens "
    f"at {hook} of {source.subject}; the paper has 73,728 latents and 500 million tokens.",
)

# %% tags=["hide-input"]
page.provenance(seeds=sorted({*lazy.followed_seeds, *cones.seeds, *real.seeds}))
