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
#
# The paper explains its soft-frozen baseline by *lazy training*: after 10 % of the steps explained variance has almost
# its final value while decoder directions still have cosines near 0.8 to their random start, so that good scores need
# no learned directions (Appendix D) {cite}`korznikov2026sanity`. It shows the first tenth of one training. This chapter
# shows the whole of it, with both sides of the autoencoder; sweeps the cone from frozen to free, beside a control
# without any features; asks what a cone can *reach*, which is not what the paper's bound is about; and tests the lazy
# regime itself, which is defined for smooth models {cite}`chizat2019lazy`, in a form that holds where supports switch.

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

from sanity import figures
from sanity.evals import expected_max_cosine
from sanity.experiments import lazy_training, metric_validity
from sanity.experiments import lazy_training_findings as findings
from sanity.publishing import open_chapter

page = open_chapter("lazy_training", profile)
figures.house_style()
lazy, toy, real, model = page.profile.lazy, page.profile.toy, page.profile.real, page.profile.models[0]
d_sae = model.d_sae or real.d_sae
page.banner()

# %% tags=["hide-input"]
tables = lazy_training.tables(page.profile)
page.keep(tables.found)
page.publish(tables.scores, "lazy_scores")
findings.settings_table(page.profile)

# %% [markdown]
# ## Cosine to the start, over the whole training
#
# Decoder row $j$ starts at $w_j(0)$, a random unit vector, and the encoder row along it; with $w_j(t)$ after $t$ steps,
# the figure shows $\cos(w_j(t), w_j(0))$ over latents. The paper's two places, 5 % and 10 % of the steps, are marked.

# %% tags=["hide-input"]
places = list(dict.fromkeys(tables.cosines["world_or_hook"]))
page.figure(
    figures.cosine_courses(tables.cosines, tables.curves),
    alt="Cosine of decoder and encoder directions to their start against the share of the steps. "
    + " ".join(findings.course_words(tables.cosines, tables.curves, place) for place in places),
    caption="Trained arm, first followed seed. Quantiles over all latents "
    f"({toy.d_sae:,} in the worlds, {d_sae:,} on {model.subject}). Green: explained variance of the next batch. "
    f"{toy.steps:,} steps of {toy.batch_size:,} samples in the worlds, {real.steps:,} of {real.batch_size:,} tokens on the "
    "language model; the learning rate falls over the last fifth. 1 is unmoved; 0 (dotted) is what unrelated directions have.",
    data=(tables.cosines, "lazy_cosines"),
)

# %% tags=["hide-input"]
page.table(
    findings.course_table(tables.cosines, tables.curves),
    caption="Median cosine to init over latents, and explained variance of the next batch, at the places that the paper "
    "shows and later. The paper's column is for JumpReLU on Gemma-2-2B layer 12, L0 = 160, 500 million tokens.",
)

# %% tags=["hide-input"]
Markdown("\n\n".join(findings.course_words(tables.cosines, tables.curves, place) for place in places))

# %% [markdown]
# A mean over latents mixes those that are trained often with those that hardly are. Below they are split by how often
# they are active at the end, on a linear axis.

# %% tags=["hide-input"]
page.figure(
    figures.courses_by_frequency(tables.cosines),
    alt="Median cosine to init of latents that are active rarely and often. "
    + " ".join(findings.frequency_words(tables.cosines, place) for place in places),
    caption="The same runs. Latents are grouped by the share of held-out samples in which they are active at the end; "
    "numbers of latents in the legends. Lines: medians.",
)

# %% tags=["hide-input"]
Markdown("\n\n".join(findings.frequency_words(tables.cosines, place) for place in places))

# %% [markdown]
# ## From frozen to free
#
# A soft-frozen decoder keeps every row within cosine $\tau$ of its start. $\tau = 1$ is the frozen decoder, 0 a
# half-space, and $-1$ the trained arm, so that the paper's 0.8 is one point of a dose-response curve. A constraint that
# *binds* holds latents on the edge of their cone. To see whether features pull them there, the sweep is repeated on
# Gaussian noise of the same covariance, where there are none.

# %% tags=["hide-input"]
hook = model.hook
page.figure(
    figures.tau_sweep(tables.sweep, tables.primary, tables.loss, hook=hook),
    alt="Explained variance, recovery and distance from the start against the cone's tau. "
    + findings.tau_words(tables.sweep, "constant")
    + " "
    + findings.tau_words(tables.sweep, hook),
    caption=f"World with constant probabilities ({toy.steps:,} steps) and real activations ({lazy.real_steps:,} steps), "
    f"{len(lazy.cone_seeds)} seed(s). Diamonds: the primary grid of the chapter on real activations, {real.steps:,} steps, "
    f"one per seed ({len(real.seeds)}). Grey and open: Gaussian noise of equal covariance. Blue, dashed: share of features "
    "to which some cone reaches with cosine 0.8, each for itself: a ceiling. Vertical line: the paper's tau.",
    data=(tables.sweep, "lazy_taus"),
)

# %% tags=["hide-input"]
Markdown(
    "\n\n".join(
        [
            *(findings.tau_words(tables.sweep, place) for place in ("constant", hook)),
            findings.primary_words(tables.primary, real.steps),
        ]
    )
)

# %% [markdown]
# The share on the edge is to be read against the noise at the same number of steps, on which it depends: what noise
# does to latents is drift, and only the difference can be due to structure beyond the covariance. The mean cosine
# cannot take its place: once the cone holds latents back, it lies near $\tau$ whatever they are trained on. Where the
# trained arm's own cosines stay above $\tau$, the constraint does not bind, and the soft-frozen arm is the trained
# one under another name.

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

# %% tags=["hide-input"]
page.figure(
    figures.cone_laws(tables.exact, tables.simulated),
    alt="Left: best cosine that cones reach to an arbitrary direction against tau, at several sizes. Right: log10 of the "
    "probability that some cone contains the direction. " + findings.reach_words(tables.exact),
    caption="Left, lines: exact; dots and bars: mean and 5-95 % range of "
    f"{lazy.simulated_draws} simulated directions per size. Right, solid: exact; dashed: the paper's bound. "
    "Vertical line: the paper's tau. d: width, m: latents.",
    data=(tables.exact, "lazy_cones"),
)

# %% tags=["hide-input"]
Markdown(findings.reach_words(tables.exact))

# %% tags=["hide-input"]
page.table(
    findings.cone_table(tables.exact),
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

# %% tags=["hide-input"]
page.figure(
    figures.laziness_courses(tables.curves),
    alt="Overlap of supports, explained variance of first-order models, and change of the tangent kernel along the "
    "training. " + " ".join(findings.laziness_words(tables.curves, place) for place in places),
    caption=f"Trained arm, first followed seed, {lazy.laziness_samples} held-out samples; tangent kernel of both matrices and "
    f"the encoder's biases on {lazy.kernel_samples} of them (relative Frobenius change, and cosine with the kernel at "
    "the start). Dotted in the first row: overlap of the supports of different samples.",
    data=(tables.curves, "lazy_curves"),
)

# %% tags=["hide-input"]
Markdown("\n\n".join(findings.laziness_words(tables.curves, place) for place in places))

# %% [markdown]
# ### The scale of the output
#
# What makes a training lazy is a scale: of a model $\alpha\,(h(w) - h(w_0))$ the weights need to move the less, the larger
# $\alpha$ is. The synthetic world is small enough to train such models by plain gradient descent, to which the theory
# applies (Adam's steps do not shrink with the gradient). Each scale is trained twice: with the supports held as they are
# at the start, where the theory holds, and with supports that switch.

# %% tags=["hide-input"]
ordinary = tables.curves[
    (tables.curves["world_or_hook"] == "constant") & (tables.curves["seed"] == lazy.course_seeds[0])
]
ordinary = ordinary.dropna(subset=["jaccard"]).sort_values("step").iloc[-1]
page.figure(
    figures.output_scales(tables.scaled, ordinary),
    alt="Five measures against the output scale. " + findings.scale_words(tables.scaled, ordinary),
    caption=f"World with constant probabilities, TopK, {lazy.scaling_steps} steps of gradient descent on "
    f"{lazy.scaling_batch} samples each. Explained variance is that of the centred model, whose start is 0. Dash-dotted: the "
    "ordinary training of the same world (Adam, not centred) at its end.",
    data=(tables.scaled, "lazy_scales"),
)

# %% tags=["hide-input"]
Markdown(findings.scale_words(tables.scaled, ordinary))

# %% [markdown]
# Where two latents are nearly tied, any move of the weights, however small, exchanges them, and the output jumps by as
# much as their directions differ. A larger scale makes the movements smaller, and multiplies what each switch does. An
# argument from small movements to small changes of the output needs the supports to be held.

# %% [markdown]
# ## Encoder against decoder, and seed against seed
#
# If trained directions were near their random start, latents of two seeds would be as unlike as random ones. Each latent
# is compared with the nearest of another seed, and with the one that it is matched to one to one. Chance depends on how
# anisotropic a dictionary is, so there are three nulls: isotropic directions (exact), directions with the covariance of
# the data, and directions with the second moments of the other dictionary itself.

# %% tags=["hide-input"]
seed_places = list(dict.fromkeys(tables.seeds["world_or_hook"]))
sizes = tables.seeds.drop_duplicates("world_or_hook").set_index("world_or_hook")[["d_in", "d_sae"]]
page.figure(
    figures.quantile_bars(
        tables.seeds,
        columns={
            "nearest": ("nearest", "#000000"),
            "matched": ("one to one", "#0072B2"),
            "null_activations": ("null, the data's covariance", "#E69F00"),
            "null_dictionary": ("null, the dictionary's second moments", "#999999"),
        },
        nulls={
            place: (
                expected_max_cosine(int(sizes.at[place, "d_in"]), int(sizes.at[place, "d_sae"])),
                "isotropic",
            )
            for place in seed_places
        },
        xlabel="cosine of a latent's decoder direction to another seed's",
    ),
    alt="Largest cosines between latents of two seeds, by arm, with nulls. "
    + " ".join(findings.seed_words(tables.seeds, place) for place in seed_places),
    caption=f"Latents of one seed (at most {lazy.matched_latents:,}) against all of another; seeds "
    f"{' / '.join(dict.fromkeys(tables.seeds['seeds']))}. Dot: median over latents; thick: 25-75 %; thin: 5-95 %. Dotted line: "
    "expected largest cosine of as many isotropic directions.",
    data=(tables.seeds, "lazy_seeds"),
) if seed_places else Markdown(f"The profile `{profile}` trains no arm on two seeds.")

# %% tags=["hide-input"]
Markdown("\n\n".join(findings.seed_words(tables.seeds, place) for place in seed_places))

# %% tags=["hide-input"]
page.figure(
    figures.quantile_bars(
        tables.seeds,
        columns={"encoder_decoder_cosine": ("encoder and decoder", "")},
        nulls=dict.fromkeys(seed_places, (0.0, "unrelated")),
        xlabel="cosine of a latent's encoder direction to its decoder direction",
    ),
    alt="Cosine of encoder and decoder directions by arm. " + findings.tied_words(tables.seeds),
    caption="The same latents. All arms start tied, with cosine 1. A frozen decoder's encoder was fitted to random directions; "
    "a frozen encoder's decoder was fitted to what random directions select.",
) if seed_places else Markdown("")

# %% [markdown]
# ## Can the metrics be trusted?
#
# What their [validity gates](metric_validity.ipynb) say, which corrupt each metric's own reference in grades.

# %% tags=["hide-input"]
Markdown(metric_validity.note(page.profile, ["explained_variance", "recovery", "cosine_to_init"]))

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
# - Every arm of the sweep, on noise as on samples, is brought to its L0 by one offset to its thresholds, and that offset
#   is set on the very held-out samples that the arm is then scored on. It is one number per arm, found without regard to
#   the reconstruction; cosines, recovery and the share on the edge do not depend on it.
# - Adam moves every weight by about the learning rate whatever the gradient's size. How far directions turn is in part
#   a fact about the optimiser, which gradient descent at the output scales above does not share.
# - One-to-one matching and nearest latents read decoder directions only; two seeds may share a subspace without sharing
#   any direction.

# %% tags=["hide-input"]
page.provenance(seeds=sorted({*lazy.course_seeds, *lazy.cone_seeds, *real.seeds}))
