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

from sanity import claims, figures
from sanity.claims.schema import Scope
from sanity.evals import METRICS
from sanity.evals.corrupted_truth import KINDS
from sanity.experiments import scrambling
from sanity.experiments.verdicts import verdict_tables
from sanity.publishing import Markdown, count, open_chapter, span
from sanity.stats import gates as gates_of

page = open_chapter("metric_validity", profile)
figures.house_style()
page.banner()

# %% [markdown]
# A metric that does not fall when its own reference is spoiled decides nothing about sparse autoencoders {cite}`korznikov2026sanity`,
# however many seeds it is read on. Here every metric of the ledger passes a gate before any verdict may rest on it. The
# gate takes what the metric itself calls right, its *own reference*, corrupts it step by step, and asks four things:
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

# %% tags=["hide-input"]
grades = {name: page.profile.eval_named(name).grades for name in ("reconstruction", "loss", "recovery")}
levels, n_seeds, samples = grades["recovery"].levels, len(grades["recovery"].seeds), grades["recovery"].size
page.parameters(
    [
        ("gate of a metric", "none", "this page", "a score must be worth something before it decides"),
        ("levels of corruption", "none", ", ".join(f"{level:g}" for level in levels), "0 intact, 1 complete"),
        ("seeds", "none", n_seeds, "each draws corruption and evaluation again"),
        ("samples of a synthetic world", "none", f"{samples:,}", f"budget of the profile {profile}"),
        ("held-out activations", "none", f"{grades['reconstruction'].size:,}", "for explained variance"),
        (
            "held-out tokens",
            "none",
            f"{grades['loss'].size:,}",
            "for cross-entropy and KL, drawn again by seed",
        ),
    ]
)


# %% tags=["hide-input"]
def label(metric: str) -> str:
    """A metric in words, whether or not somebody declared it."""
    more = {"same_latents": "latent activations themselves"}
    return METRICS[metric].label if metric in METRICS else more.get(metric, metric.replace("_", " "))


# %% [markdown]
# Every eval corrupts its own reference in steps (`page.read.graded()`); a metric is gated by the corruption of what it
# says it measures. The rule is the same for all and stands in `sanity/stats/validity.py`.

# %%
readings = page.read.graded()
verdicts = verdict_tables(page.profile)
gates = verdicts.gates
page.keep(verdicts.found)
page.publish(gates, claims.GATE_TABLE)
own = readings[
    readings["kind"] == readings["metric"].map(lambda name: METRICS[name].gate if name in METRICS else None)
]
state = {metric: claims.gate_state(gates, [metric]) for metric in dict.fromkeys(gates["metric"])}

# %% [markdown]
# ## The gate

# %% tags=["hide-input"]
by_state = {
    word: [m for m, s in state.items() if s == word] for word in ("passed", "failed", "not available")
}
failed = gates[gates["state"] == "failed"]
summary = (
    f"Of {len(state)} metrics, **{len(by_state['passed'])} pass** their gate. "
    + (
        "**Failed:** " + "; ".join(f"*{label(row.metric)}* ({row.place}: {row.reason})" for row in failed.itertuples())
        + ". Their numbers are shown wherever they appear, and every verdict on them is turned off. "
        if len(failed)
        else "None fails. "
    )
    + f"For {len(by_state['not available'])} there is no gate."
)  # fmt: skip
Markdown(summary)

# %% tags=["hide-input"]
labels = {metric: label(metric) for metric in dict.fromkeys(own["metric"])}
page.figure(
    figures.graded_readings(
        own, labels=labels, states={metric: state.get(metric, "not available") for metric in labels}
    ),
    finding=f"{len(by_state['passed'])} of {len(state)} metrics pass their gate, {len(by_state['failed'])} fail",
    alt="Every metric against graded corruption of its own reference. " + summary.replace("*", ""),
    caption="Each metric's share between floor and ceiling while its own reference is corrupted: mean (dots) and every "
    f"one of its seeds (lines; {n_seeds} for synthetic worlds). A colour per world or hook.",
    data=(own, "graded_readings"),
)

# %% tags=["hide-input"]
percent = lambda share: "–" if pd.isna(share) else f"{share:.0%}"  # noqa: E731
run = gates[gates["state"] != "not available"]
page.table(
    pd.DataFrame(
        {
            "metric": run["metric"].map(label),
            "world or hook": run["place"],
            "gate": run["state"],
            "rho": run["monotone"].map("{:.2f}".format),
            "range": run["range"].map("{:.3g}".format),
            "of floor to ceiling": run["share"].map(percent),
            "reseed SD": run["reseed_noise"].map("{:.2g}".format),
            "false alarms": run["false_alarm_rate"].map(percent),
            "levels × seeds": [
                f"{a:.0f} × {b:.0f}" for a, b in zip(run["levels"], run["seeds"], strict=True)
            ],
            "units": run["n"].map("{:,.0f}".format),
            "why": run["reason"],
        }
    ).set_index("metric"),
    caption="The gate in numbers. rho: Spearman, 1 is falling with every corruption. Range: what complete corruption costs, "
    "in the metric's units and as a share of floor to ceiling. Reseed SD: at a fixed level. False alarms: share of "
    "same-level comparisons of reseeds that the paired t-test calls different; with fewer than five seeds none is made.",
)

# %% tags=["hide-input"]
page.table(
    gates.loc[gates["state"] == "not available", ["metric", "reason"]].assign(
        metric=lambda t: t["metric"].map(label)
    ),
    caption="Metrics without a gate, and why.",
    folded=True,
)

# %% [markdown]
# ## Do the metrics follow the truth?
#
# In the synthetic worlds the right dictionary is known. It is given a tied encoder (the *oracle*: true directions as
# decoder and as encoder, one scalar fitted), and corrupted in four ways. Metrics that do not read what a corruption
# touches stay level, which is no fault: exchanging decoder rows leaves the dictionary what it was. Explained variance
# speaks of the activation, so this turns nothing off; what it says of the truth is a finding.

# %%
truth = readings[readings["kind"].isin(KINDS)]
means = truth[truth["kind"] == "mixed"].pivot_table(
    index=["place", "level"], columns="metric", values="value", sort=False
)

# %% tags=["hide-input"]
sentences = []
for place, part in means.groupby("place", sort=False):
    intact, random = part.iloc[0], part.iloc[-1]
    order = (
        "in the order of the corruption"
        if part["explained_variance"].is_monotonic_decreasing
        else "out of order"
    )
    sentences.append(
        f"With **{place}** probabilities, the true dictionary under its tied encoder explains "
        f"{intact['explained_variance']:.3f} of the variance and a random dictionary {random['explained_variance']:.3f}: the "
        f"whole of the truth is worth {intact['explained_variance'] - random['explained_variance']:.3f}, {order}. Recovery "
        f"falls from {intact['recovery']:.0%} to {random['recovery']:.0%}, the F1 of detection from "
        f"{intact['detection_f1']:.2f} to {random['detection_f1']:.2f} of a ceiling of 1."
    )
truth_words = " ".join(sentences)
shown = [
    "explained_variance",
    "recovery",
    "frequency_weighted_recovery",
    "mean_max_cosine",
    "mean_matched_cosine",
]
page.figure(
    figures.truth_against_corruption(
        truth, labels={m: label(m) for m in [*shown, "detection_f1"]}, kinds=KINDS
    ),
    finding="The whole of the truth is worth "
    + span(
        *(
            means.groupby("place")["explained_variance"].first()
            - means.groupby("place")["explained_variance"].last()
        ).agg(["min", "max"])
    )
    + " of explained variance under a tied encoder",
    alt="Metrics of the synthetic worlds against four corruptions of the true dictionary. "
    + truth_words.replace("*", ""),
    caption=f"Share between floor and ceiling, mean of {count(n_seeds, 'seed')}, {samples:,} samples each; one row of panels per "
    "world. TopK, the encoder tied to the corrupted decoder (in the third column: to the decoder before).",
    data=(truth, "truth_corrupted"),
)

# %% tags=["hide-input"]
Markdown(truth_words)

# %% [markdown]
# The same conditions as the gate's, asked of every metric about every corruption of the truth:

# %%
followed = pd.DataFrame(
    [
        {"world": place, "corruption": kind, **gate.row()}
        for (place, kind), part in truth[truth["ceiling"].notna()].groupby(["place", "kind"], sort=False)
        for gate in gates_of(
            part,
            higher_is_better={
                m: METRICS[m].direction == "higher" for m in METRICS if METRICS[m].direction != "none"
            },
        ).values()
    ]
)

# %% tags=["hide-input"]
shares = followed["share"].map(percent)
wide = followed.assign(text=shares.where(followed["state"] == "passed", "(" + shares + ")")).pivot_table(
    index="metric", columns=["world", "corruption"], values="text", aggfunc="first", sort=False
)
wide.columns = [": ".join(column) for column in wide.columns]
page.table(
    wide.rename(index=label).fillna(""),
    caption="Share of floor to ceiling that complete corruption costs, in brackets where one of the four conditions does "
    "not hold.",
    folded=True,
)

# %% [markdown]
# ## What each metric reads
#
# Encoder and decoder of finished autoencoders are scrambled, and every score is watched. This shows an
# evaluation-time dependence, **no more**: it says which weights enter the score on the day it is measured. It does not
# say from which of them the score's quality came. A frozen decoder's encoder was *fitted* to random directions, so a
# metric that reads encoders alone still sees, through training, the decoder.

# %%
chosen = scrambling.chosen(page.read.plan)
tables = [result.table("scrambled") for result in page.read.results([cell for _, _, cell in chosen])]
scrambled = pd.concat(
    [table.assign(place=run.place) for (run, _, _), table in zip(chosen, tables, strict=True)],
    ignore_index=True,
).drop_duplicates(["place", "sae", "scramble", "metric"])
changed = scrambling.changes(scrambled)
reads = scrambling.reads(changed)

# %% tags=["hide-input"]
parts = ["encoder", "decoder", "latent biases"]
groups = reads[parts].apply(
    lambda row: " and ".join(f"the {p}" for p in parts if row[p]) or "none of these", axis=1
)
reads_words = ". ".join(
    f"With {touched}: " + ", ".join(f"*{label(metric)}*" for metric in names.index)
    for touched, names in groups.groupby(groups)
)
reads_words = f"What moves when a part is scrambled. {reads_words}."
page.figure(
    figures.scramble_matrix(changed, labels={m: label(m) for m in dict.fromkeys(changed["metric"])}),
    alt="Change of every score under every scramble. " + reads_words.replace("*", ""),
    caption="Change of each score as a share of floor to ceiling (active latents: of their own number), the largest over "
    "a trained arm and the true dictionary in every synthetic world, and a trained arm at every hook. Below 0.005: ≈ 0; a "
    "dash: not tried.",
    data=(changed, "scrambled_scores"),
)

# %% tags=["hide-input"]
same = reads.loc["same_latents", parts]
Markdown(
    f"{reads_words}\n\nSparse probing and both interpretability scores are functions of latent activations alone, so they can "
    f"read no more than {' and '.join(f'the {p}' for p in parts if same[p])}: scrambling "
    f"{' and '.join(f'the {p}' for p in parts if not same[p]) or 'nothing'} leaves every activation as it is. Where such a "
    "score hardly moves although every activation does, other latents have served it as well. Causal editing puts "
    "reconstructions back into the model, and reads what explained variance reads."
)

# %% [markdown]
# ## How far encoder and decoder belong together
#
# Next to what is read, where it points: the cosine of each latent's encoder and decoder directions, and of both to the
# direction at which the decoder started. An encoder that stays near the random directions it was paired with has been
# fitted to them.

# %%
turned = page.read.scores("real_activations", evals=["directions"])
turned = turned[turned["seed"] == turned["seed"].min()]
names = {
    "encoder_decoder_cosine": "encoder to decoder",
    "encoder_cosine_to_init": "encoder to start",
    "cosine_to_init": "decoder to start",
}
cosines = turned[turned["metric"].isin(names)].pivot_table(
    index=["world_or_hook", "constraint", "init"], columns="metric", values="value", sort=False
)[list(names)].rename(columns=names)  # fmt: skip

# %% tags=["hide-input"]
page.publish(cosines.reset_index(), "alignment")
arms = [(place, figures.arm_words(constraint, init)) for place, constraint, init in cosines.index]
page.table(
    cosines.set_axis(pd.MultiIndex.from_tuples(arms, names=["hook", "arm"])).map("{:.3f}".format),
    caption="Means over latents, first seed of the primary grid.",
)

# %% [markdown]
# ## Every metric's floor and ceiling
#
# The floor is chance on the task, the same for every arm; the ceiling is a reference for the task, and never the score
# of a trained arm. In words as each eval declares them, and as the evals gave them on this page.


# %%
def ends(values: pd.Series) -> str:
    """The range of some values in words, empty for none."""
    known = values.dropna().astype(float)
    low, high = (f"{end:.3g}" for end in (known.min(), known.max())) if len(known) else ("", "")
    return low if low == high else f"{low} to {high}"


def range_words(metric: str) -> str:
    """The range of which margins are shares: measured on pilot seeds, and where, or declared."""
    if METRICS[metric].range is None:
        return "none"
    reach, where = verdicts.choices[""].reach(Scope(), metric)
    return f"{reach:.3g}" + (f", measured in {where}" if where else "")


measured = own.groupby("metric")[["floor", "ceiling"]].agg(ends)
scales = pd.DataFrame(
    [
        {
            "metric": METRICS[name].label,
            "gate": state[name],
            "floor": METRICS[name].floor,
            "measured floor": measured["floor"].get(name, ""),
            "ceiling": METRICS[name].ceiling,
            "measured ceiling": measured["ceiling"].get(name, ""),
            "range for margins": range_words(name),
            "better": {"higher": "higher", "lower": "lower", "none": "neither"}[METRICS[name].direction],
        }
        for name in state
    ]
)

# %% tags=["hide-input"]
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
# - A metric that fails at one hook or in one world is turned off everywhere: a margin needs a scale that always holds.
# - Where a gate is not available, verdicts stand as they are, and say so.
# - The scrambled arms have the first architecture of their grid. Where that is TopK, the number of active latents is
#   held by its rule and cannot show what it reads.

# %% tags=["hide-input"]
# The short answer on top of the page.
page.answer(
    f"Of {len(state)} metrics {len(by_state['passed'])} pass their gate, and for {len(by_state['not available'])} there is none. "
    + (
        f"Failed: {', '.join(map(label, by_state['failed']))}; every verdict on it is turned off."
        if by_state["failed"]
        else "None fails."
    ),
    sure=f"every metric is corrupted at {len(levels)} levels on {count(n_seeds, 'seed')}; the bars were fixed before any metric was held "
    "against them. A gate shows that a metric sees this corruption, and no more.",
    scale=f"{samples:,} samples of each synthetic world, {grades['reconstruction'].size:,} held-out activations, "
    f"{grades['loss'].size:,} tokens for the losses.",
)

# %% tags=["hide-input"]
page.provenance(seeds=grades["recovery"].seeds)
