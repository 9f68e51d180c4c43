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
# # Anatomy of the check
#
# *What does a sparse autoencoder learn that one with frozen directions does not?*

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
import inspect
import time

import matplotlib.pyplot as plt
import pandas as pd
import torch
from IPython.display import Code

import sanity
from sanity import figures
from sanity.baselines import FrozenDecoder, SoftFrozenDecoder, Trained, project_to_cone
from sanity.data import SyntheticStream
from sanity.evals import (
    HeldOutEVProbe,
    RecoveryProbe,
    expected_max_cosine,
    max_cosines,
    reach_of_anchors,
    reachable_cosine,
    recovery,
)
from sanity.figures.style import ARM_COLOURS, legend_below, reference
from sanity.models import TopK, Training, initial_directions, plain
from sanity.models.plain import PlainAutoencoder
from sanity.models.training import probe_steps
from sanity.publishing import Markdown, open_chapter

page = open_chapter("anatomy", profile)
figures.house_style()
torch.set_num_threads(1)  # with matrices as small as these, a second thread costs more than it saves

D_IN, N_FEATURES, L0 = 32, 512, 5
BATCH, STEPS = 512, 150 if profile in ("smoke", "demo") else 600
LEARNING_RATE = 1e-2
page.banner()

# %% [markdown]
# This page is the whole of the check, small enough to read and to change: a world whose features are known, a sparse
# autoencoder (SAE) in plain PyTorch, a training loop of a dozen lines, and two *twins* that start at the same point and
# see the same batches while their decoder may not learn {cite}`korznikov2026sanity`. It needs no stored result; all of
# it is computed here, within a minute or two. The other chapters do the same at larger sizes, with more seeds, more
# architectures and more scores.

# %% [markdown]
# ## A world with known features
#
# A sample $x$ is a sparse sum of unit vectors $f_i$, the *features*: $x = \sum_i c_i f_i$, where few of the coefficients
# are not zero. There are many more features than dimensions, so that they cannot all be orthogonal. An SAE sees $x$
# alone; we also know what it was made of.

# %%
spec = sanity.SyntheticSpec(d_in=D_IN, n_features=N_FEATURES, expected_l0=float(L0))
world = sanity.SyntheticWorld.from_spec(spec)
features = world.features  # [n_features, d_in], unit rows

stream = SyntheticStream(world, batch_size=BATCH, seed=0)
sample = stream.sample(0)  # the first batch as the world makes it
assert torch.allclose(sample.x, sample.dense_coefficients() @ features, atol=1e-5)  # [batch, d_in]
x = (sample.x - stream.centre) * stream.factor  # [batch, d_in]: mean 0 and E||x||^2 = d_in
assert torch.equal(x, stream.batch(0))  # what an SAE is given

held_out = SyntheticStream(world, batch_size=2048, seed=1).batch(0)  # [2048, d_in], never trained on

# %% tags=["hide-input"]
active = float((sample.dense_coefficients() > 0).float().sum(1).mean())
neighbours = features @ features.T - 2 * torch.eye(N_FEATURES)
Markdown(
    f"{N_FEATURES} features in {D_IN} dimensions; {active:.1f} of them are active in a sample of the first batch, on "
    f"average. The nearest neighbour of a feature has a cosine of {float(neighbours.max(1).values.mean()):.2f} to it, on "
    "average: the directions are crowded."
)

# %% [markdown]
# ## The autoencoder
#
# This is all of it: `sanity/models/plain.py`, with the five architectures of this book. The rest of the page uses TopK,
# which keeps the $k$ largest latents of each sample {cite}`gao2024scaling`.

# %% tags=["scroll-output"]
Code(inspect.getsource(plain), language="python")

# %% [markdown]
# Every twin starts at the same place. The rows of its decoder are random unit vectors, its encoder is the same matrix
# transposed, times the one number with which the first batch is reconstructed best.

# %%
arm = sanity.Arm(TopK(L0), N_FEATURES, seed=0, learning_rate=LEARNING_RATE)
W0 = initial_directions(arm, D_IN, stream.covariance)  # [d_sae, d_in]: `torch.randn` of the seed, unit rows


def fresh():
    """An SAE that has learned nothing yet."""
    sae = PlainAutoencoder(arm.architecture, W0)
    x = stream.batch(0)  # [batch, d_in]
    with torch.no_grad():
        x_hat = sae.decode(sae.encode(x))  # [batch, d_in]
        sae.W_enc *= (x * x_hat).sum() / x_hat.square().sum()
    return sae


# %% [markdown]
# ## What is measured
#
# *Explained variance* (EV) is what an experimenter sees. *Features recovered* is what only the truth can tell: the share
# of the features to which some row of the decoder has a cosine above 0.8.


# %%
@torch.no_grad()
def measured(sae):
    """Explained variance of held-out samples, share of the features recovered, mean nearest cosine."""
    x_hat = sae.decode(sae.encode(held_out))  # [2048, d_in]
    unexplained = (held_out - x_hat).square().sum() / (held_out - held_out.mean(0)).square().sum()
    nearest = (features @ sae.W_dec.T).max(1).values  # [n_features]: cosine of the nearest row
    recovered = (nearest > 0.8).float().mean()
    return {"ev": 1 - float(unexplained), "recovered": float(recovered), "cosine": float(nearest.mean())}


# %% [markdown]
# ## The training loop
#
# Adam, with a learning rate that rises over the first 2 % of the steps and falls over the last fifth. Decoder rows keep
# length 1: otherwise latents could be small and their rows long. `project`, when it is given, brings the rows back to
# where a twin allows them.

# %%
training = Training()


def train_plainly(sae, steps, look_at, project=None):
    """Train `sae` on the first batches of the stream; what was measured before each step of `look_at`."""
    adam = torch.optim.Adam([p for p in sae.parameters() if p.requires_grad], lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda s: training.learning_rate_factor(s, steps))
    curve = []
    for step in range(steps + 1):
        loss = sae.loss(stream.batch(step))  # [], of a batch [batch, d_in]
        if step in look_at:
            curve.append({"step": step, "samples": step * BATCH, "loss": loss.item(), **measured(sae)})
        if step < steps:
            adam.zero_grad()
            loss.backward()
            sae.only_turn()  # the decoder's gradient may not lengthen rows
            adam.step()
            schedule.step()
            sae.make_unit()
            if project is not None:
                project(sae.W_dec.data)
    return pd.DataFrame(curve)


# %% [markdown]
# ## One SAE and its twins
#
# - **trained**: everything learns.
# - **soft-frozen decoder**: everything learns, but after every step each decoder row goes back into a cone around its
#   random start, where its cosine to the start is at least 0.8 (the paper's choice).
# - **frozen decoder**: the rows stay at their random start. Only the encoder and the biases learn.

# %%
twins = {"trained": fresh(), "soft-frozen decoder": fresh(), "frozen decoder": fresh()}
twins["frozen decoder"].W_dec.requires_grad_(False)
project = {"soft-frozen decoder": lambda W_dec: W_dec.copy_(project_to_cone(W_dec, W0, 0.8))}

look_at = probe_steps(STEPS, training.probe_points)  # the start, then steps with growing distances
began = time.process_time()
curves = {name: train_plainly(sae, STEPS, look_at, project.get(name)) for name, sae in twins.items()}
plain_seconds = time.process_time() - began

# %%
summary = pd.DataFrame({name: measured(sae) for name, sae in {"untrained": fresh(), **twins}.items()}).T
summary["of the trained EV"] = summary["ev"] / summary["ev"]["trained"]
chance = expected_max_cosine(D_IN, N_FEATURES)  # of the nearest of d_sae random directions

# %% tags=["hide-input"]
PANELS = {"ev": "explained variance", "recovered": "features recovered"}
page.table(
    summary[["ev", "of the trained EV", "recovered", "cosine"]]
    .rename(columns={**PANELS, "cosine": "nearest cosine"})
    .rename_axis("twin"),
    caption=f"One seed, TopK with k = {L0}, {STEPS * BATCH:,} samples. Untrained: where all of them start. Explained "
    f"variance on {len(held_out):,} held-out samples. Features recovered: share of {N_FEATURES}; chance "
    f"{recovery(features, W0).floor:.3f}, ceiling 1. Nearest cosine: of the nearest decoder row to a feature, mean over "
    f"features; chance {chance:.3f}, ceiling 1.",
)

# %% tags=["hide-input"]
untrained, trained, soft, frozen = (row for _, row in summary.iterrows())
early = curves["trained"][curves["trained"]["ev"] >= 0.9 * trained.ev].iloc[0]
Markdown(
    f"**Freezing the decoder costs {1 - frozen.ev / trained.ev:.0%} of the explained variance, and takes recovery from "
    f"{trained.recovered:.0%} to {frozen.recovered:.0%}.** Even the common start, where nothing has learned, explains "
    f"{untrained.ev:.0%} of the variance: of {N_FEATURES} random directions in {D_IN} dimensions, some are near to any "
    f"sample. So explained variance by itself does not show that directions were learned. Nor does it show when: the "
    f"trained SAE had nine tenths of its final explained variance after {early.samples:,.0f} samples, and then "
    f"{early.recovered:.0%} of the features."
)

# %% tags=["hide-input"]
CONSTRAINTS = {c.label: c for c in (Trained(), SoftFrozenDecoder(0.8), FrozenDecoder())}  # the package's own
COLOURS = {name: ARM_COLOURS[constraint.name] for name, constraint in CONSTRAINTS.items()}


def against_samples(curves, draw):
    """A panel per metric, against samples seen; `draw(ax, curve, metric, name)` draws one twin."""
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.4), sharey=True, layout="constrained")
    for ax, (metric, title) in zip(axes, PANELS.items(), strict=True):
        for name, curve in curves.items():
            draw(ax, curve[curve["samples"] > 0], metric, name)
        reference(ax, 1.0, "ceiling", kind="ceiling")
        ax.set(title=title, xscale="log", xlabel="samples seen", ylim=(-0.02, 1.08))
    return figure, axes


def line(ax, curve, metric, name):
    ax.plot(curve["samples"], curve[metric], color=COLOURS[name], linewidth=2, label=name)


figure, axes = against_samples(curves, line)
reference(axes[0], untrained.ev, "untrained", kind="floor")
legend_below(figure, axes[0])
tidy = pd.concat([curve.assign(twin=name) for name, curve in curves.items()], ignore_index=True)
page.figure(
    figure,
    finding=f"A frozen decoder keeps {frozen.ev / trained.ev:.0%} of the explained variance, and {frozen.recovered / trained.recovered:.0%} of the recovery",
    alt=f"Two panels against samples seen. Explained variance ends at {trained.ev:.2f} trained, {soft.ev:.2f} with a "
    f"soft-frozen and {frozen.ev:.2f} with a frozen decoder, from {untrained.ev:.2f} untrained. Features recovered end at "
    f"{trained.recovered:.2f}, {soft.recovered:.2f} and {frozen.recovered:.2f}, from {untrained.recovered:.2f}.",
    caption=f"The three twins on the same batches of {BATCH}. Dotted: the common start, before the first step. One seed.",
    data=(tidy, "anatomy_curves"),
)

# %% [markdown]
# ## Chance
#
# With many directions in few dimensions, some row is near to every feature by luck alone. How near, is known exactly
# (`expected_max_cosine`), and it is where the frozen decoder stays.

# %% tags=["hide-input"]
nearest = {name: max_cosines(features, sae.W_dec.detach()) for name, sae in twins.items()}
figure, axes = plt.subplots(1, 3, figsize=(9.6, 2.8), sharex=True, sharey=True, layout="constrained")
for ax, (name, cosines) in zip(axes, nearest.items(), strict=True):
    ax.hist(cosines, bins=40, range=(0.2, 1.0), color=COLOURS[name])
    ax.axvline(chance, color="#555555", linestyle=":", linewidth=1.4)
    ax.axvline(0.8, color="#555555", linestyle="--", linewidth=1.4)
    ax.set(title=name, xlabel="cosine of the nearest row")
axes[0].set_ylabel("features")
top = axes[0].get_ylim()[1]
for value, word in ((chance, "chance"), (0.8, "recovered")):
    axes[0].annotate(
        word, (value, top), xytext=(-3, -2), textcoords="offset points", ha="right", va="top", fontsize=9
    )
page.figure(
    figure,
    finding=f"A frozen decoder stays at chance: its nearest rows have a cosine of {float(nearest['frozen decoder'].mean()):.2f}, trained {float(nearest['trained'].mean()):.2f}",
    alt=f"Histograms over {N_FEATURES} features of the cosine of the nearest decoder row. Means: "
    + ", ".join(f"{name} {float(cosines.mean()):.2f}" for name, cosines in nearest.items())
    + f". Chance is {chance:.2f}; recovered counts from 0.8.",
    caption=f"How near the nearest decoder row comes to each of the {N_FEATURES} features. Dotted: the mean for as many "
    f"random directions ({chance:.2f}). Dashed: 0.8, from where a feature counts as recovered.",
    data=(
        pd.DataFrame({name: cosines.numpy() for name, cosines in nearest.items()}),
        "anatomy_nearest_cosines",
    ),
)

# %% tags=["hide-input"]
within = float((reach_of_anchors(features, W0, 0.8) > 0.8).float().mean())
Markdown(
    f"The soft-frozen decoder recovers {soft.recovered:.0%}, far more than chance: its rows may turn within their cones, "
    f"and from a random start in {D_IN} dimensions these cones reach {within:.0%} of the features to a cosine above 0.8. At "
    "the size of the paper's language model SAEs they reach less: the expected best cosine to a feature is "
    f"{reachable_cosine(2304, 73_728, 0.8):.2f} there, and {reachable_cosine(D_IN, N_FEATURES, 0.8):.2f} here."
)

# %% [markdown]
# So this twin is no random dictionary, and a match with it says less than a match with a frozen one; see
# [](lazy_training).

# %% [markdown]
# ## The same, faster
#
# The other chapters train with `sanity.train`. It feeds each batch to all arms, computes gradients by hand and for the
# active latents only, and asks probes on the way. An *arm* is what we called a twin: an architecture, a constraint, a
# seed.

# %%
arms = [
    sanity.Arm(TopK(L0), N_FEATURES, constraint, seed=0, learning_rate=LEARNING_RATE)
    for constraint in CONSTRAINTS.values()
]
began = time.process_time()
runs = sanity.train(
    arms, stream, steps=STEPS, training=training, probes=[HeldOutEVProbe(held_out), RecoveryProbe(features)]
)
fast_seconds = time.process_time() - began

# %%
columns = {"held_out.explained_variance": "ev", "recovery.recovery": "recovered", "tokens": "samples"}
fast = {
    name: run.curve.rename(columns=columns).dropna(subset=["ev"])  # the steps at which probes were asked
    for name, run in zip(twins, runs, strict=True)
}
compared = ["loss", "ev", "recovered"]
difference = pd.DataFrame(
    {
        name: (curves[name].set_index("step")[compared] - fast[name].set_index("step")[compared]).abs().max()
        for name in twins
    }
).T

# %% tags=["hide-input"]
page.table(
    difference.rename(columns=PANELS).rename_axis("twin").map("{:.1e}".format),
    caption=f"Largest difference between the loop above and sanity.train, over {len(look_at)} steps from the first to the "
    f"last. The loss falls from {curves['trained']['loss'].max():.1f} to {curves['trained']['loss'].min():.1f}.",
)


# %% tags=["hide-input"]
def both(ax, curve, metric, name):
    line(ax, curve, metric, name)
    circles = {"marker": "o", "markersize": 6, "markerfacecolor": "white", "linestyle": ""}
    later = fast[name][fast[name]["samples"] > 0]  # a log axis has no place for the start
    ax.plot(later["samples"], later[metric], color=COLOURS[name], label="sanity.train", **circles)


figure, axes = against_samples(curves, both)
handles = axes[0].get_legend_handles_labels()[0][:2]
figure.legend(handles, ["the loop above", "sanity.train"], loc="outside lower center", ncols=2)
both_ways = {"the loop above": curves, "sanity.train": fast}
page.figure(
    figure,
    finding=f"Both ways give the same curves, up to {difference['ev'].max():.0e} in explained variance",
    alt="The curves of the figure above as lines, with those of sanity.train as circles on them. Largest differences: "
    f"{difference['ev'].max():.1e} in explained variance, {difference['recovered'].max():.1e} in features recovered.",
    caption="Lines: the training loop of this page. Circles: sanity.train, on the same batches from the same start. Colours "
    "as above.",
    data=(
        pd.concat(
            [
                curve[["samples", *compared]].assign(twin=name, trained_by=way)
                for way, of_twin in both_ways.items()
                for name, curve in of_twin.items()
            ],
            ignore_index=True,
        ),
        "anatomy_both_ways",
    ),
)

# %% [markdown]
# What is left between the two is rounding: they add up the same numbers in another order. Rounding can grow: where two
# latents are almost tied, the last digit decides which of them is active, and from there on two runs may part, as they
# may on two machines. The tests of this package make the same comparison in double precision for all five architectures.
#
# How much faster, depends on the number of latents. The loop above computes with all of them, `sanity.train` after the
# encoder with the active ones only.


# %%
def seconds_per_step(d_sae, steps=3 if profile == "smoke" else 20):
    """CPU seconds of a step: the loop above, and sanity.train."""
    larger = sanity.Arm(TopK(L0), d_sae, learning_rate=LEARNING_RATE)
    sae = PlainAutoencoder(larger.architecture, initial_directions(larger, D_IN, stream.covariance))
    began = time.process_time()
    train_plainly(sae, steps, look_at=())
    between = time.process_time()
    sanity.train([larger], stream, steps=steps, training=Training(curve_points=1, probe_points=1))
    return (between - began) / steps, (time.process_time() - between) / steps


timed = pd.DataFrame(
    {d_sae: seconds_per_step(d_sae) for d_sae in (N_FEATURES, 4 * N_FEATURES, 16 * N_FEATURES)},
    index=["the loop above, ms", "sanity.train, ms"],
).T.rename_axis("latents")

# %% tags=["hide-input"]
shown = (1000 * timed).assign(ratio=timed.iloc[:, 0] / timed.iloc[:, 1])
page.table(
    shown.map("{:.1f}".format),
    caption="CPU time of one step of TopK on one thread, and how many times longer the loop above takes. The three twins "
    f"of this page took {plain_seconds:.1f} s by the loop and {fast_seconds:.1f} s by sanity.train.",
)

# %% [markdown]
# ## What could be wrong
#
# - One seed, one world, one size, one architecture. The [next chapter](synthetic_recovery) has the paper's worlds, all
#   architectures, and seeds enough for intervals.
# - How much a frozen decoder explains depends on how crowded the dictionary is: with more latents per dimension, random
#   directions explain more. The numbers of this page hold for this size.
# - All twins share one learning rate, chosen so that the trained one learns quickly. A frozen one might do slightly better
#   with another.
# - The learning rate falls to zero over the last fifth of the samples: part of the final rise of the curves comes from that.
# - On a language model nobody knows the features. What can be compared there is in the chapters from
#   [](real_activations) on.

# %% tags=["hide-input"]
# The short answer on top of the page.
page.answer(
    f"Freezing the decoder costs {1 - frozen.ev / trained.ev:.0%} of the explained variance, and takes the share of true "
    f"features that are recovered from {trained.recovered:.0%} to {frozen.recovered:.0%}. So most of a score can stay where "
    f"nothing of the truth was found. A soft-frozen decoder still recovers {soft.recovered:.0%}: it is no random dictionary.",
    sure="one seed, which gives no interval. A training loop of a dozen lines and `sanity.train` agree to "
    f"{difference['ev'].max():.0e} in explained variance.",
    scale=f"TopK, {N_FEATURES} features in {D_IN} dimensions, {STEPS * BATCH:,} samples, trained on this page.",
)

# %% tags=["hide-input"]
page.provenance(seeds=[arm.seed])
