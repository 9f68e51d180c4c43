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
# # Harder worlds
#
# *Does what the synthetic world shows still hold when features are correlated, nested, rare or noisy?*

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
from sanity.experiments import sae_lens_comparison
from sanity.publishing import Markdown, count, open_chapter, span
from sanity.stats import compared_orders

page = open_chapter("harder_worlds", profile)
figures.house_style()
grid = page.profile.grid("harder_worlds")
sources = {name: page.profile.source_named(name) for name in grid.sources}
first = next(iter(sources.values()))
held_out = first.held_out
page.banner()

# %% [markdown]
# The paper names one limit of its synthetic experiment itself: its features are independent. Language is not like
# that. Topics make features occur together, "Paris" never occurs without "city", few features are frequent and most
# are rare, and no activation is an exact sum. This chapter trains the trained arm and the paper's baselines on worlds
# with each of these, and asks two questions of every world: *does explained variance rank the arms as recovery does?*
# And: *does the soft-frozen decoder match the trained one, in either?*
#
# The paper's sentence, that explained variance tells little of recovery, compares architectures. So the same is asked
# *between* architectures, and between dictionaries that do not fit: half or double the number of active latents
# {cite}`chanin2025sparse`, half or double the number of latents. On language models nobody knows which fits.

# %% [markdown]
# ## The worlds
#
# All are built on {eq}`eq-world`: unit features drawn uniformly on the sphere, lognormal coefficients. The definitions of
# frequency, correlation and hierarchy are those of SynthSAEBench {cite}`chanin2026synthsaebench`, and its library makes
# worlds with the same joint frequencies (tested); our features are not made orthogonal, and noise is ours.
#
# | world | what is different |
# |---|---|
# | independent | nothing: the paper's constant world |
# | Zipf | the feature of rank $r$ is active in proportion to $1/r$, between two bounds |
# | correlated | a Gaussian copula of low rank: features share hidden causes, each keeps its own frequency |
# | hierarchy | a child can be active only when its parent is, and only one child of a parent at a time |
# | noisy | white noise of a fifth of the features' variance |
# | all but hierarchy | Zipf, correlated and noisy at once |
#
# Mean and covariance of every world are known exactly, so that samples are centred and scaled without estimation.

# %% tags=["hide-input"]
architecture = figures.ARCHITECTURE_NAMES[grid.architectures[0]]
page.parameters(
    [
        ("width d", "100", first.d_in, "scale"),
        ("true features, latents", "3200", grid.d_sae[0], "one latent per feature, as in the paper"),
        ("active features, L0", "20", grid.l0[0], "on average; Zipf worlds come near it"),
        (
            "architecture",
            "BatchTopK, JumpReLU",
            architecture,
            "the one that recovers the features of the paper's world",
        ),
        ("samples", "not stated", f"{grid.steps * grid.batch_size:,}", "chosen to show the transition"),
        ("batch; learning rate", "not stated", f"{grid.batch_size}; {grid.learning_rates[0]:g}", "scale"),
        ("seeds", "not stated", len(grid.seeds), "scale"),
    ]
)

# %%
scores = page.read.scores("harder_worlds")
page.publish(scores, "harder_worlds_scores")
SHOWN = {
    "explained_variance": "EV",
    "recovery": "recovered",
    "frequency_weighted_recovery": "weighted by frequency",
    "mean_matched_cosine": "MCC",
    "detection_f1": "F1",
    "uniqueness": "uniqueness",
    "dead_latents": "dead",
    "l0": "L0",
}


def arm_means(rows: pd.DataFrame, place: str = "world") -> pd.DataFrame:
    """Means over seeds: a row per world and arm, a column per metric."""
    arms = [figures.arm_words(c, i) for c, i in zip(rows["constraint"], rows["init"], strict=True)]
    wide = rows.assign(arm=arms).pivot_table(
        index=["world_or_hook", "arm"], columns="metric", values="value", sort=False
    )
    return wide[list(SHOWN)].rename(columns=SHOWN).rename_axis(index={"world_or_hook": place})


means = arm_means(scores)

# %% [markdown]
# ## Within one architecture, does explained variance rank arms as recovery does?
#
# Arms are ordered by both in every world. Arms that recover less than half a point are left out: random directions that
# never move leave nothing to rank. Differences below 0.002 in explained variance (about what another seed changes) and
# below half a point of recovery count as ties. Of the pairs that recovery tells apart, *wrong* are those
# with the higher explained variance at the lower recovery; *blind* are pairs that differ in explained variance and not in
# recovery.

# %%
EV_TIE, RECOVERY_TIE = 0.002, 0.005


def order_of(ev: pd.Series, recovered: pd.Series) -> dict:
    """The two orders of some dictionaries, from best to worst, and on how many pairs they disagree."""
    return {
        "by explained variance": " > ".join(ev.sort_values(ascending=False).index),
        "by recovery": " > ".join(recovered.sort_values(ascending=False).index),
        **compared_orders(ev, recovered, score_tie=EV_TIE, truth_tie=RECOVERY_TIE),
    }


able = means[means["recovered"] >= RECOVERY_TIE]
by_world = {world: part.droplevel("world") for world, part in able.groupby(level="world", sort=False)}
orders = pd.DataFrame(
    {world: order_of(part["EV"], part["recovered"]) for world, part in by_world.items() if len(part) > 1}
).T.rename_axis("world")

# %% tags=["hide-input"]
if len(orders):
    told, wrong, blind = (int(orders[column].sum()) for column in ("told apart", "wrong", "blind"))
    reversed_in = ", ".join(orders.index[orders["wrong"] > 0])
    order_words = (
        f"Among the arms that can recover something ({len(able)} of {len(means)} over {means.index.unique('world').size} "
        f"worlds), recovery tells {told} pairs apart; explained variance has {wrong} of them the wrong way round"
        f"{f' (in {reversed_in})' if wrong else ''}, and tells {blind} pairs apart whose recovery is the same. "
    )
    if told and not wrong:
        order_words += (
            "So within one architecture explained variance ranks these arms rightly: evidence against the paper's reading, as "
            "far as it is about arms of one architecture."
        )
    elif wrong:
        order_words += "So even within one architecture explained variance does not always rank arms rightly."
else:
    order_words = "In no world do two arms recover anything: there is nothing to rank."
noisy = {name: world.spec.noise for name, world in sources.items() if world.spec.noise}
noise_words = "; ".join(
    f"in {name} {noise / (1 + noise):.0%} of the variance is noise, so that the exact features alone explain "
    f"{1 / (1 + noise):.2f}"
    for name, noise in noisy.items()
)
page.figure(
    figures.recovery_against_variance(scores),
    finding=order_words.partition(". ")[0] if len(orders) else order_words,
    alt=f"Features recovered against explained variance, one panel per world, one colour per arm. {order_words}",
    caption=f"{architecture}, {count(len(grid.seeds), 'seed')}, one dot per arm and seed; the grey line joins the arms' means. "
    f"Explained variance on {held_out:,} held-out samples; recovered: cosine above 0.8 to some latent, "
    f"{grid.d_sae[0]:,} features. Floors: 0 for both (the mean; what as many random directions recover). Ceiling: 1"
    f"{f' ({noise_words})' if noisy else ''}.",
    data=(scores, "harder_worlds_by_arm"),
)

# %% tags=["hide-input"]
Markdown(order_words)

# %% tags=["hide-input"]
order_caption = (
    "From best to worst, by the means over seeds. tau: Kendall's tau-b of the two orders. Told apart: pairs whose recovery "
    f"differs by {RECOVERY_TIE:.1%} or more; wrong: those of them with the lower recovery at the higher explained variance "
    f"(by {EV_TIE:g} or more); blind: pairs that differ in explained variance and not in recovery."
)
page.table(
    orders.assign(tau=orders["tau"].astype(float).round(2)) if len(orders) else orders,
    caption=f"Arms that recover half a point or more. {order_caption}",
)

# %% [markdown]
# ## Does the soft-frozen decoder match?

# %%
both = means[["EV", "recovered"]].unstack("arm")
if ("EV", "soft-frozen decoder") in both:
    gap = pd.DataFrame({c: both[c]["trained"] - both[c]["soft-frozen decoder"] for c in ("EV", "recovered")})
    hidden = gap.index[(gap["EV"].abs() < 0.02) & (gap["recovered"].abs() > 0.05)]
else:
    gap, hidden = pd.DataFrame(), []

# %% tags=["hide-input"]
Markdown(
    "Trained minus soft-frozen decoder, in explained variance and in features recovered: "
    + "; ".join(
        f"{world} {row['EV']:+.3f} and {100 * row['recovered']:+.1f} points" for world, row in gap.iterrows()
    )
    + f". The gap in explained variance lies between {gap['EV'].min():+.3f} and {gap['EV'].max():+.3f}, the one in recovery "
    f"between {100 * gap['recovered'].min():+.1f} and {100 * gap['recovered'].max():+.1f} points."
    + (
        f" In {', '.join(hidden)} the two explain the same variance within 0.02, and differ in recovery by more than 5 points."
        if len(hidden)
        else ""
    )
    if len(gap)
    else f"The profile `{profile}` has no soft-frozen arm in these worlds."
)

# %% tags=["hide-input"]
page.table(
    means.round(3),
    caption=f"Means over {count(len(grid.seeds), 'seed')}. Weighted by frequency: share of all activations that belong to "
    "recovered features. MCC: mean cosine of features and latents matched one to one. F1: of each feature's nearest "
    "latent as its detector. Uniqueness: different features that are nearest to some latent, per latent. Dead: active "
    f"in none of {held_out:,} held-out samples.",
)

# %% [markdown] tags=["if-shown"]
# ## What becomes of parents
#
# Where a child never comes without its parent, one latent for "parent and child" explains both with one active latent
# instead of two. The parent's own latent may then fall silent just when the child is there: *absorption*
# {cite}`chanin2024absorption`. It can be asked of parents that an arm recovered.

# %%
absorption = page.read.table("absorption", "harder_worlds")

# %% tags=["hide-input"]
if len(absorption):
    missed = absorption.groupby(["constraint", "init"], sort=False)[
        ["missed_alone", "missed_with_child", "parents"]
    ].mean()
    absorption_words = "A recovered parent's own latent is silent, for " + "; for ".join(
        f"{figures.arm_words(*arm)}: in {row['missed_alone']:.1%} of the samples in which the parent is alone and in "
        f"{row['missed_with_child']:.1%} of those with a child "
        f"({100 * (row['missed_with_child'] - row['missed_alone']):+.1f} points, {row['parents']:.0f} parents)"
        for arm, row in missed.iterrows()
    )
    shown = page.figure(
        figures.misses_of_parents(absorption),
        finding="With a child present, a recovered parent's own latent is silent more often by "
        f"{span(*(100 * (missed['missed_with_child'] - missed['missed_alone'])).agg(['min', 'max']), '.1f')} points",
        alt=f"How often a recovered parent's latent is silent, without and with a child. {absorption_words}.",
        caption="World with a hierarchy. One pair of dots per seed: the share of a recovered parent's activations in "
        f"which its nearest latent is silent, averaged over parents ({held_out:,} held-out samples). The distance "
        "between the two is absorption: 0 is none, 1 is all.",
        data=(absorption, "harder_worlds_absorption"),
    )
else:
    absorption_words, shown = "", None
shown

# %% tags=["hide-input"]
Markdown(f"{absorption_words}.") if absorption_words else None

# %% [markdown]
# ## Dictionaries that do not fit
#
# The first world again, with the wrong number of active latents or the wrong number of latents. More of either lets an
# autoencoder reconstruct more, whatever becomes of the features.

# %%
misfits = page.read.scores("harder_worlds_misfits")
named = [
    f"an L0 of {l0}" if l0 != grid.l0[0] else f"{d_sae:,} latents"
    for l0, d_sae in zip(misfits["l0_target"], misfits["d_sae"], strict=True)
]
fitting = scores[(scores["world_or_hook"] == grid.sources[0]) & scores["seed"].isin(misfits["seed"])]
fitting = fitting[fitting["constraint"].isin(misfits["constraint"])].assign(world_or_hook="fitting")
fits = arm_means(pd.concat([fitting, misfits.assign(world_or_hook=named)]), "dictionary")
trained = fits.xs("trained", level="arm")
moved = trained - trained.loc["fitting"]

# %% tags=["hide-input"]
fit = trained.loc["fitting"]
best, found = trained["EV"].idxmax(), trained["recovered"].idxmax()
misfit_words = (
    f"The fitting dictionary (an L0 of {grid.l0[0]}, {grid.d_sae[0]:,} latents) has EV {fit['EV']:.3f} and recovers "
    f"{fit['recovered']:.1%}. Against it, in explained variance and in features recovered: "
    + "; ".join(
        f"{name} {row['EV']:+.3f} and {100 * row['recovered']:+.1f} points"
        for name, row in moved.drop("fitting").iterrows()
    )
    + f". The most features are recovered by *{found}*; explained variance would choose *{best}*. Kendall's tau of the two "
    f"orders is {trained['EV'].corr(trained['recovered'], method='kendall'):.2f}."
)
page.figure(
    figures.misfit_moves(trained),
    finding=f"The most features are recovered by {found}; explained variance would choose {best}",
    alt=f"Features recovered against explained variance of trained dictionaries that fit or do not. {misfit_words.replace('*', '')}",
    caption=f"Trained arms on the independent world ({architecture}): the dictionary that fits, and an arrow from it to each "
    f"that does not ({count(misfits['seed'].nunique(), 'seed')}). Each is measured at its own L0.",
    data=(fits.reset_index(), "harder_worlds_misfits"),
)

# %% tags=["hide-input"]
Markdown(misfit_words)

# %% tags=["hide-input"]
page.table(
    fits.round(3),
    caption=f"Independent world, {count(misfits['seed'].nunique(), 'seed')} for the misfits. Each arm has the L0 of its own "
    "dictionary. With half the latents no more than half of the features can each have one.",
)

# %% [markdown]
# ## Between architectures, and between sizes, does it still?
#
# This is the comparison that the paper's sentence is about. The trained arms of [](synthetic_recovery) are ranked in the
# same way across architectures, together with an untrained signed basis of the space where the profile has one (twice as
# many latents as dimensions, recovering nothing), and the dictionaries of the section above across sizes.

# %%
papers = page.read.scores("synthetic_recovery", "synthetic_recovery_references")
ends = papers[
    (papers["constraint"] == "trained") & (papers["init"] == "iso") | (papers["init"] == "signed_basis")
]
named = [
    figures.ARCHITECTURE_NAMES[one] + (" on a signed basis" if init == "signed_basis" else "")
    for one, init in zip(ends["architecture"], ends["init"], strict=True)
]
ends = ends.assign(dictionary=named).pivot_table(
    index=["world_or_hook", "dictionary"], columns="metric", values="value", sort=False
)
across = {
    f"architectures, {world} probabilities": order_of(
        *(part.droplevel(0)[c] for c in ("explained_variance", "recovery"))
    )
    for world, part in ends.groupby(level="world_or_hook", sort=False)
}
across["dictionaries of other sizes"] = order_of(trained["EV"], trained["recovered"])
across = pd.DataFrame(across).T.rename_axis("between")

# %% tags=["hide-input"]
across_words = "; ".join(
    f"between {name} explained variance has {row['wrong']} of the {row['told apart']} pairs that recovery tells apart the "
    f"wrong way round, and tells {row['blind']} apart whose recovery is the same"
    for name, row in across.iterrows()
)
wrong, told = int(across["wrong"].sum()), int(across["told apart"].sum())
Markdown(
    f"{across_words[0].upper()}{across_words[1:]}. "
    + (
        f"So between architectures and sizes it ranks {wrong} of {told} pairs the wrong way round: what explained variance says "
        "depends on what is compared."
        if wrong
        else "Here, too, it ranks them rightly."
    )
)

# %% tags=["hide-input"]
page.table(across.assign(tau=across["tau"].astype(float).round(2)), caption=order_caption)

# %% [markdown] tags=["if-shown"]
# ## The same autoencoders, scored by sae-lens
#
# MCC, uniqueness and F1 are scores of SynthSAEBench, too. Its library reads the three a little differently:
#
# - it takes *absolute* cosines, so that a latent opposite to a feature stands for it; ours are signed, because
#   coefficients are positive;
# - its F1 asks every *latent* how well it detects the feature nearest to it, and dead latents count 0; ours asks of
#   every *feature* how well its nearest latent detects it, so that a feature that no latent is near counts, too.
#
# We compute both readings, and give the library the same autoencoders, loaded from the same files, and the same samples.

# %%
compared = sae_lens_comparison.chosen(page.read.plan) if sae_lens_comparison.sae_lens_version() else []
comparison = pd.concat(
    [
        pd.DataFrame({"score": []}),
        *(r.table("scores") for r in page.read.results([cell for _, cell in compared])),
    ]
)

# %% tags=["hide-input"]
if len(comparison):
    off = {
        "largest difference, same reading": (comparison["by_their_reading"] - comparison["sae_lens"]).abs(),
        "largest difference, our reading": (comparison["ours"] - comparison["sae_lens"]).abs(),
    }
    by_score = comparison.groupby("score", sort=False)
    side = pd.DataFrame(
        {name: values.groupby(comparison["score"], sort=False).max() for name, values in off.items()}
    )
    side = side.map("{:.1e}".format)
    side.insert(0, "autoencoders", by_score.size())
    side["sae-lens, range"] = by_score["sae_lens"].agg(lambda v: f"{v.min():.3f} to {v.max():.3f}")
    shown = page.table(
        side,
        caption="Every arm of every world (first seed), scored by both. Same reading: absolute cosines, F1 over latents. "
        "Our reading: signed cosines, F1 over features. Explained variance, L0 and dead latents have one reading.",
    )
else:
    shown = None
shown

# %% [markdown]
# ## Can the metrics be trusted?
#
# What their [validity gates](metric_validity.ipynb) say, which corrupt each metric's own reference in steps.

# %% tags=["hide-input"]
page.gates("explained_variance", "recovery", "mean_matched_cosine", "detection_f1")

# %% [markdown]
# ## What could be wrong
#
# - Frequencies, strength of correlation, shape of the trees and loudness of the noise are choices. Another choice makes
#   another world; what is shown is that a conclusion holds or breaks in *these*.
# - One budget and one learning rate serve all worlds and arms. Recovery is a late transition in the paper's world: an arm that
#   recovers less here may only be later.
# - Features that are rare in the Zipf worlds were seen rarely, and count as much as frequent ones in plain recovery.
#   The column weighted by frequency does the opposite.
# - TopK has the same L0 on every sample although the number of active features varies, the more so where they are
#   correlated.
# - A soft-frozen latent may turn 36.9 degrees, far enough to meet most features of a world this small.
# - The two orders are compared by means over few seeds; ties are set by fixed bounds, which are named.

# %% tags=["hide-input"]
# The short answer on top of the page.
page.answer(
    (
        f"Explained variance ranks arms of one architecture {'rightly' if not len(orders) or not orders['wrong'].sum() else 'wrongly at times'}"
        f" ({int(orders['wrong'].sum()) if len(orders) else 0} of {int(orders['told apart'].sum()) if len(orders) else 0} pairs "
        f"the wrong way round), and architectures and sizes less well ({wrong} of {told} pairs)."
        + (
            f" Trained minus soft-frozen decoder: {span(gap['EV'].min(), gap['EV'].max())} in explained variance, "
            f"{span(100 * gap['recovered'].min(), 100 * gap['recovered'].max(), '.0f')} points in recovery."
            if len(gap)
            else ""
        )
    ),
    sure=f"means over {count(len(grid.seeds), 'seed')}; orders of few arms, so no interval.",
    scale=f"{len(sources)} worlds with {grid.d_sae[0]:,} features in {first.d_in} dimensions, {architecture}, "
    f"{grid.steps * grid.batch_size:,} samples.",
)

# %% tags=["hide-input"]
page.provenance(seeds=grid.seeds)
