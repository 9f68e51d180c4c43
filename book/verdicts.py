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
# # Verdicts
#
# *How sure can one be of any of this?*

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
import numpy as np
import pandas as pd

from sanity import claims, figures, profiles
from sanity.experiments.planner import runs_of
from sanity.experiments.verdicts import verdict_tables
from sanity.models import Architecture
from sanity.publishing import Markdown, open_chapter, span
from sanity.stats import interaction, minimum_margin, t_interval

page = open_chapter("verdicts", profile)
figures.house_style()
page.banner()

# %% [markdown]
# "Our baselines match" is a statement about sameness, and a small difference between two numbers does not make it:
# what is needed is a margin below which a difference would not matter, fixed before the scores are seen, and enough
# repetitions to show that the difference lies below it. This chapter puts every score of the book on one scale, judges
# every comparison of the ledger (`book/claims.yml`), and shows what another margin, more seeds, or a baseline named in
# advance would have changed.

# %% [markdown]
# ## The rules
#
# One *seed* is one initial matrix, one order of the data and, where an evaluation draws something, one draw of it: which
# samples of a synthetic world are held out, how the labelled texts are divided, which half of the documents describes
# latents and which tests them, which latents are asked about, which pairs of entities are swapped. All arms share it.
# What is not drawn is the same for all seeds: the language model, the synthetic worlds (at the paper's size each seed has its
# own), the held-out text, the labelled texts, and in causal editing the entities, with their division into those for fitting
# and those for testing. For each seed $s$ the two arms of a comparison give one difference on the raw score,
#
# ```{math}
# :label: eq-difference
# \delta_s = \mathrm{score}_s(\text{judged}) - \mathrm{score}_s(\text{against}),
# ```
#
# in which the floor cancels. Seeds are the only replicates: latents, prompts and data sets are nested inside them.
# With a margin $\Delta$, a share of the metric's range,
#
# | verdict | rule |
# |---|---|
# | trained better, baseline better | the two-sided paired $t$-test sees a difference, and the 90 % interval is not inside $\pm\Delta$ |
# | equivalent | the 90 % interval of the mean difference lies inside $\pm\Delta$ (two one-sided tests); a difference may be detectable all the same, and is then named |
# | equivalent, but so is an untrained dictionary, or an SAE of a random transformer | the same, and the trained arm is not shown to be ahead of that control by more than $2\Delta$ (below) |
# | inconclusive | neither; or equivalent where no untrained dictionary was run on these seeds |
# | no range | the metric's own range is within reseed noise, or within two margins; or none of the arms is above the metric's floor; or the metric does not rise along training (below) |
# | open | no result, a result at another scale than an expected value (or a training trajectory) was claimed for, or a metric that failed its validity gate ([](metric_validity)) |
#
# "Trained" stands for the judged arm and "baseline" for the one that it is held against. Two seeds can give a verdict
# if they agree well enough; one cannot.
#
# Sameness needs a metric that could have seen a difference. A validity gate shows that it sees *something*; whether it sees
# what training adds is asked of two **controls**, on the same seeds and in the same setting: an untrained dictionary, and,
# for what is said of latents, an SAE trained on the activations of a transformer with random weights. The lower end of the
# 90 % interval of the trained arm's lead over each has to lie above $2\Delta$; at the margin $\Delta$ an "equivalent" then
# leaves more than half of what training adds intact. Comparisons with a control itself are exempt, and so are expected
# values. Few profiles run a random transformer: where a kept run has it at the same size, that one serves, marked
# *imported*; elsewhere the verdicts say *control not run*.

# %%
found = verdict_tables(page.profile, compute_missing=True)
scores, gates, table, ledger = found.scores, found.gates, found.claims, found.ledger
failed = claims.failed_metrics(gates)
page.keep(found.found)

# %% tags=["hide-input"]
page.publish(scores, "all_scores")

# %% tags=["hide-input"]
page.table(
    claims.ledger_metrics(ledger)[["label", "direction", "range", "floor", "ceiling"]],
    caption="Every metric with its floor and ceiling, and the range of which margins are taken until pilot seeds have measured it.",
    folded=True,
)

# %% [markdown]
# ## Every arm between floor and ceiling
#
# The figures show $(\mathrm{score} - \mathrm{floor}) / (\mathrm{ceiling} - \mathrm{floor})$. The floor is chance on the same
# task, the same for every arm; the ceiling is a reference for the task and never the trained score. An untrained
# dictionary is an arm like any other. No verdict is read off here: arms of one seed go up and down together, so
# intervals that overlap may belong to arms that differ on every seed.

# %%
real = ["real_activations", "real_activations_sweep", "interpretability", "judged_interpretability"]
real += ["sparse_probing", "causal_editing"]
shown = ["recovery", "frequency_weighted_recovery", "mean_max_cosine", "mean_matched_cosine", "detection_f1"]
shown += ["explained_variance", "ce_recovered", "kl_recovered", "autointerp_judge", "autointerp_auroc"]
shown += [
    "autointerp_auroc_token_matched",
    "sparse_probing_top1",
    "sparse_probing_top5",
    "ravel_disentanglement",
]
l0 = {
    "synthetic_recovery": found.primary["synthetic_recovery"]["l0_target"],
    **dict.fromkeys(real, found.primary["real_activations"]["l0_target"]),
}
rows = scores[
    scores["metric"].isin(shown)
    & (scores["l0_target"] == scores["experiment"].map(l0))
    & scores["ceiling"].notna()
    & ~scores["seed"].isin(ledger.pilot_seeds)
]
rows = rows.assign(share=(rows["value"] - rows["floor"]) / (rows["ceiling"] - rows["floor"]).astype(float))


def end(which: int):
    return lambda shares: t_interval(shares.to_numpy())[which] if len(shares) > 1 else np.nan


where = ["subject", "world_or_hook", "d_sae", "architecture", "constraint", "init", "metric"]
by_arm = rows.groupby(where, sort=False, dropna=False)["share"]
shares = by_arm.agg(share="mean", low=end(0), high=end(1), seeds="size").reset_index()


def label_with_gate(metric: str) -> str:
    """A metric's label, and that it failed its gate where it did."""
    return ledger.metrics[metric].label + (" (FAILED its validity gate)" if metric in failed else "")


# %% tags=["hide-input"]
page.publish(shares.astype({"subject": str}), "places_between")
for name, part in shares.groupby("world_or_hook", sort=False):
    labels = {metric: label_with_gate(metric) for metric in shown if metric in set(part["metric"])}
    subject = part["subject"].iloc[0]
    where = f"the world with {name} probabilities" if pd.isna(subject) else f"{subject}, {name}"
    trained = part[part["constraint"] == "trained"].set_index(["architecture", "metric"])["share"]
    others = (
        part[part["constraint"] != "trained"]
        .sort_values("share")
        .drop_duplicates(["architecture", "metric"], keep="last")
    )
    leaders = "; ".join(
        f"{Architecture.class_named(one.architecture).title}, {labels[one.metric]}: trained "
        f"{trained[one.architecture, one.metric]:.2f}, {figures.arm_words(one.constraint, one.init)} {one.share:.2f}"
        for one in others.sort_index().itertuples()
        if (one.architecture, one.metric) in trained.index
    )
    opening = f"The{where[3:]}" if pd.isna(subject) else where  # a model's name is written as it is
    level = l0["synthetic_recovery" if pd.isna(subject) else "real_activations"]
    seeds = sorted(set(part["seeds"]))
    display(
        page.figure(
            figures.places_between(part, metrics=labels),
            finding=f"{opening}: the best baseline beats the trained arm in {sum(trained.get((one.architecture, one.metric), 2) < one.share for one in others.itertuples())} of {len(others)} cases",
            alt=f"Every arm between floor and ceiling, {where}. The trained arm and the best of the others: {leaders}.",
            caption=f"{opening}: {part['d_sae'].iloc[0]:,} latents, L0 = {level}. Mean over seeds "
            f"({' or '.join(map(str, seeds))}) and its 95 % t-interval; hollow: a single seed, which has none.",
        )
    )

# %% [markdown]
# ## What can be concluded

# %% tags=["hide-input"]
compared = pd.DataFrame(found.results).dropna(subset=["means"]).set_index("id")
outcomes = pd.crosstab(compared["verdict"], compared["n_seeds"].rename("seeds"))
page.table(outcomes, caption="How many comparisons came to each verdict, by the number of seeds.")

# %% tags=["hide-input"]
few = compared.loc[compared["n_seeds"] > 1, "n_seeds"]
state = gates.groupby("metric", sort=False)["state"].agg(claims.worst_state)
power_words = (
    ""
    if few.empty
    else (
        f"With {few.min()} seeds, arms that are truly equal are found equivalent four times in five only where the margin is "
        f"at least {minimum_margin(int(few.min()), sd=1.0):.1f} SDs of their paired differences. "
    )
)
Markdown(
    f"{len(compared)} comparisons of the ledger have scores at the profile `{page.profile.name}`, {(compared['n_seeds'] == 1).sum()} of "
    f"them on a single seed, which gives a number without an interval. {power_words}*Inconclusive* is the ordinary outcome "
    "of few seeds. It says that this run cannot tell, and is neither a match nor a difference.\n\n"
    f"Of {len(state)} metrics, **{(state == 'passed').sum()} pass** their validity gate, "
    f"**{(state == 'failed').sum()} fail** it, and for {(state == 'not available').sum()} there is none ([metric validity](metric_validity.html))."
)

# %% tags=["hide-input"]
pairs = table[table["id"].isin(compared.index)]
columns = [
    "id",
    "claim",
    "ours",
    "seeds",
    "margin or range",
    "verdict",
    "fragile",
    "share of the trained lead",
]
page.table(
    pairs[[*columns, "in detail", "validity gate"]].set_index("id"),
    caption="The comparisons of the ledger that have scores. Interval over seeds: 90 % where it decides an equivalence, "
    "otherwise 95 %. Fragile: the nearest margin, within a fifth of the declared one, that would change the verdict. Share of "
    "the trained lead: how much of the distance to the trained arm the other arm covers.",
)

# %% [markdown]
# ## Would these metrics see a difference?
#
# By how much the trained arm is ahead of each control, metric by metric. Where that is not shown to be more than twice the
# margin, everything that training adds is of the size of what the margin lets pass, and no match on that metric counts.

# %%
comparisons = claims.comparisons(found.choices, found.judged_by)  # each in the run that judged it
sensitivity = claims.sensitivity_table(comparisons)

# %% tags=["hide-input"]
page.publish(sensitivity, "assay_sensitivity")
leads = sensitivity.assign(
    experiment=sensitivity["experiment"].str.replace("_", " "),
    metric=[ledger.metrics[name].label for name in sensitivity["metric"]],
    shown=[
        "control not run" if not seeds else "yes" if shown else "no"
        for seeds, shown in zip(sensitivity["seeds"], sensitivity["shown"], strict=True)
    ],
)
page.table(
    leads.rename(columns={"low": "90 % from", "high": "to", "shown": "shown to exceed it"}).set_index(
        "metric"
    ),
    caption="The trained arm's lead over the controls, in the metric's better direction, with its 90 % interval over seeds.",
)

# %% [markdown] tags=["if-shown"]
# ### What a network without training has, and noise
#
# An SAE finds latents in whatever it is trained on. One that is trained on the activations of a transformer with random
# weights, or on Gaussian noise of the same covariance, and then reads real text, shows how much of a score needs no feature of
# a trained model at all.

# %%
nulls = {name: one for name, one in ledger.controls.items() if one.arm.experiment}
read_on = {one.arm.experiment: one.label.removeprefix("an ") for one in nulls.values()}
asked = sorted({metric for one in nulls.values() for metric in one.metrics})
null_rows = scores[scores["experiment"].isin(read_on) & scores["metric"].isin(asked)]
usual = scores["constraint"].isin(["trained", "untrained"]) & scores["metric"].isin(null_rows["metric"])
setting = ["architecture", "l0_target", "learning_rate", "d_sae", "samples", "seed"]
usual &= scores[setting].apply(tuple, axis=1).isin(set(null_rows[setting].itertuples(index=False, name=None)))
usual &= scores["experiment"].isin(["interpretability", "judged_interpretability", "sparse_probing"]) & (
    scores["init"] == "iso"
)

# %% tags=["hide-input"]
if len(null_rows):
    both = pd.concat([scores[usual], null_rows])
    both["of"] = [
        f"{figures.arm_words(row.constraint, row.init)}, {read_on[row.experiment]}" if row.experiment in read_on
        else figures.arm_words(row.constraint, row.init)
        for row in both.itertuples()
    ]  # fmt: skip
    page.publish(both.drop(columns="of"), "nulls")
    values = both.groupby(["metric", "of"], sort=False)["value"].agg(["mean", "min", "max"])
    told = values.apply(
        lambda row: f"{row['mean']:.3f} ({row['min']:.3f} to {row['max']:.3f})", axis=1
    ).unstack("of")
    told.insert(0, "floor", both.groupby("metric")["floor"].mean().map("{:.2f}".format))
whose = sorted(set(null_rows["imported"].dropna())) if "imported" in null_rows else []
page.table(
    told.rename(index=label_with_gate).rename_axis(index=None),
    caption="Means over seeds, and their range. "
    + (f"Imported: {', '.join(whose)}, at the size and on the seeds of this run." if whose else ""),
) if len(null_rows) else None

# %% [markdown] tags=["if-shown"]
# ### Do they rise along training?
#
# A metric that does not rise along one arm's own training (the 90 % interval of what it gains holds 0) cannot rank arms
# either: no comparison is decided on it. This is how each moves from the first snapshot of the trained arm to its end, in the run
# that has most seeds of them.

# %%
kept_scores = {name: choice.scores for name, choice in found.choices.items() if name}
snapshots, snapshots_from = claims.trajectory(scores, kept_scores)
risen = claims.rises(snapshots) if len(snapshots) else pd.DataFrame()

# %% tags=["hide-input"]
if len(risen):
    page.publish(risen, "trajectory")
    risen["metric"] = [ledger.metrics[name].label for name in risen["metric"]]
    risen["rises"] = risen["rises"].map({True: "yes", False: "no"}.get).fillna("one seed cannot tell")
page.table(
    risen,
    caption="The trained arm after shares of its samples, means over seeds; gain: from the first share to the end, in the "
    "metric's better direction, with its 90 % interval."
    + (f" Imported: {snapshots_from}." if snapshots_from else ""),
) if len(risen) else None

# %% [markdown]
# ## With another margin
#
# A reader with a stricter or a laxer idea of "the same" finds their own verdict here. The black mark is the margin that
# the ledger declared. A wider margin also asks more of the controls: in the lighter green, arms are equivalent, and an
# untrained dictionary is, too.

# %%
sweep = claims.margin_sweep(comparisons)
steps = sweep[sweep["verdict"] != sweep.groupby("claim")["verdict"].shift()]

# %% tags=["hide-input"]
if len(sweep):
    changes = steps.assign(
        words=steps["verdict"] + " from a margin of " + steps["margin"].map("{:.1%}".format)
    )
    words = changes.groupby("claim", sort=False)["words"].agg(", ".join)
    display(
        page.figure(
            figures.verdict_strips(sweep),
            finding=f"{sum(row['fragile'] for row in found.results)} verdicts would change with a margin a fifth smaller or larger",
            alt="The verdict on every comparison as a function of the margin. "
            + "; ".join(f"{claim}: {how}" for claim, how in words.items()),
            caption="The verdict at every margin from 0.5 to 45 % of the metric's range. Where a difference is certain, a wide "
            "enough margin still turns it into an equivalence; where nothing is certain, no margin helps.",
            data=(sweep, "margin_sweep"),
        )
    )

# %% tags=["hide-input"]
page.slider(
    sweep.drop_duplicates(["claim", "margin"]),
    along="margin",
    rows="claim",
    shown={"verdict": "verdict at this margin"},
    say="{:.2%}".format,
    start=0.1,
    colours=figures.VERDICT_COLOURS,
    caption="Your own margin, as a share of each metric's range: move it, and every comparison is judged again.",
) if len(sweep) else Markdown("No comparison has scores yet.")

# %% [markdown]
# ## How many seeds it takes
#
# For every comparison on a metric that has not failed its gate, the spread of its paired differences says within which
# margin so many seeds would show equal arms to be equal four times in five, and how many seeds the declared margin takes.
# That spread is itself known from a few numbers only, so the same is given for its upper limit (80 %, one-sided): plan on
# that one.

# %%
standing = [one for one in comparisons if one.gate_failure is None]
power = claims.power_table(standing)
known = power.dropna(subset=["seeds_needed"])
enough = {
    "at the observed SD": (known["seeds"] >= known["seeds_needed"]).sum(),
    "at its upper limit": (known["seeds"] >= known["seeds_needed_high"]).sum(),
}

# %% tags=["hide-input"]
if len(known):
    hardest = known.sort_values("seeds_needed_high").iloc[-1]
    display(
        page.figure(
            figures.smallest_margins(power),
            finding=f"{enough['at the observed SD']} of {len(known)} comparisons have the seeds that their margin needs",
            alt=f"The smallest margin that each comparison can meet. Of {len(known)} comparisons, "
            f"{' and '.join(f'{n} {how}' for how, n in enough.items())} have the seeds that their margin needs.",
            caption="The smallest margin within which equal arms are found equivalent with 80 % power (5 % level) and as many "
            "seeds as there are: at the observed SD (dot) and at its upper limit (bar). Black: the declared margin. Right: "
            "the seeds there are, and those that the declared margin needs at either SD.",
            data=(power, "power"),
        ),
        Markdown(
            f"Of {len(known)} comparisons, {' and '.join(f'{n} {how}' for how, n in enough.items())} have the seeds that their "
            f"margin needs. The most demanding is `{hardest['claim']}`, whose margin of {hardest['margin']:.0%} takes "
            f"{hardest['seeds_needed']:.0f} seeds at the observed SD and {hardest['seeds_needed_high']:.0f} at its limit; there are {hardest['seeds']}. "
            + (
                f"{len(power) - len(known)} more have a single seed or no spread at all, from which no number can be worked out."
                if len(power) > len(known)
                else ""
            )
        ),
    )

# %% tags=["hide-input"]
page.table(
    power.rename(
        columns={
            "sd": "SD",
            "sd_high": "SD, upper limit",
            "detectable": "smallest difference seen",
            "smallest_margin_high": "the same at the SD's limit",
            "seeds_needed_high": "seeds needed at the SD's limit",
        }
    )
    .set_index("claim")
    .astype(object)
    .map(lambda v: f"{v:.2g}" if isinstance(v, float) else v)
    .replace("nan", "–"),
    caption="In shares of each metric's range: the SD of the paired differences, the smallest difference that is detected, "
    "and the smallest margin that is met, with a power of 80 % and as many seeds as there are.",
    folded=True,
)

# %% [markdown]
# ## The best of five
#
# The paper names, for each metric, the best of five frozen variants. The best of five equal arms looks better than any
# of them is. The correction takes the largest of all five statistics under the same sign flips of whole seeds, and
# widens the side of the interval that the choice has favoured. *Optimism* is how much better the best of
# several equal arms would seem than it is, through noise alone.

# %%
best = claims.best_of_table(standing)
best.insert(2, "label", [ledger.metrics[name].label for name in best["metric"]])
interval = "{:.4f} [{:.4f}, {:.4f}]".format
lags = pd.DataFrame(
    {
        "metric": best["label"],
        "best of": best["baselines"],
        "which": best["best"],
        "seeds": best["seeds"],
        "behind, had it been named in advance": [
            interval(*row) for row in best[["gap", "plain_low", "plain_high"]].to_numpy(float)
        ],
        "behind, after the choice": [interval(*row) for row in best[["gap", "low", "high"]].to_numpy(float)],
        "optimism": best["optimism"],
    }
)

# %% tags=["hide-input"]
page.publish(best, "best_of_several")
page.table(
    lags,
    caption="How far the best baseline is behind the judged arm, with 95 % intervals; without one on a single seed.",
    digits=4,
)

# %% [markdown]
# ## Does the lead depend on layer, L0 or width?
#
# A test that succeeds at one layer and fails at another does not show that the layers differ. Here the lead of the trained
# arm in explained variance is itself compared between levels, seed by seed. That takes two or more seeds at two or more
# levels; with fewer, the leads are shown and not tested.

# %%
grids = ["real_activations", "real_activations_sweep", "real_activations_widths"]
factors = {"layer": "world_or_hook", "L0": "l0_target", "width": "d_sae"}
runs = scores[scores["experiment"].isin(grids) & (scores["metric"] == "explained_variance")]
runs = runs[~runs["seed"].isin(ledger.pilot_seeds)]
dependence = []
for factor, column in factors.items():
    for arm, lead in claims.leads(claims.along(runs, column), column).items():
        row = {"factor": factor, "over the": figures.arm_words(*arm)}
        row["lead"] = ", ".join(f"{gap:+.3f} at {level}" for level, gap in lead.mean().items())
        row["seeds"] = lead.notna().sum().min()
        if (part := claims.paired_levels(lead)) is not None:
            tested = interaction(part, numeric=factor != "layer", log=factor != "layer")
            row |= {"p": f"{tested.p_value:.2g}", "tested seeds": tested.n_seeds}
            if tested.slope is not None:
                row["per doubling"] = (
                    f"{tested.slope:+.3f} [{tested.slope_interval.low:.3f}, {tested.slope_interval.high:.3f}]"
                )
        dependence.append(row)

# %%
# Which profiles could test it: the same, on what they plan.
possible = {}
for other in map(profiles.load, profiles.names()):
    blocks = [block for grid in grids for block in other.grids.get(grid, ())]
    if not blocks:
        continue
    planned = pd.DataFrame(
        {"world_or_hook": place, **run.columns(), "value": 0.0}
        for block in blocks
        for place, run in runs_of(other, block)
    ).drop_duplicates()
    possible[other.name] = {
        factor: len(planned) > 0
        and any(
            claims.paired_levels(lead) is not None
            for lead in claims.leads(claims.along(planned, column), column).values()
        )
        for factor, column in factors.items()
    }

# %% tags=["hide-input"]
lost = (
    "Explained variance failed its validity gate, so nothing follows from its leads. "
    if "explained_variance" in failed
    else ""
)
display(
    page.table(
        pd.DataFrame(
            dependence, columns=["factor", "over the", "lead", "seeds", "tested seeds", "p", "per doubling"]
        )
        .astype(object)
        .fillna(""),
        caption=f"{lost}The trained arm's lead in explained variance by level, the fewest seeds of a level, and the test that "
        "the lead is the same at all levels (p), with its change per doubling; empty where it cannot be tested.",
    ),
    page.table(
        pd.DataFrame(possible).map({True: "yes", False: "no"}.get).rename_axis("can be tested at"),
        caption="Which profiles have two or more seeds at two or more levels.",
    ),
)

# %% [markdown]
# ## What could be wrong
#
# - Seeds tell what a *re-run* would give: same model, same layer and hook, same text, same code. Nothing on this page says how
#   another language model would come out, or other text: intervals leave out the noise of what all seeds share (see the
#   rules).
# - The $t$-interval takes the differences to be about normal, which two or three numbers cannot show. The sign-flip test
#   needs no such assumption, and cannot reach 5 % below six seeds.
# - Most margins were set after trial results were known to whoever set them: the front page marks these as not blind.
#   The strips above are the answer to anyone who finds a margin too kind.
# - An equivalence of the trained and the soft-frozen arm says little where the trained directions have hardly left their
#   start: then no constraint was active. The column *in detail* says so where it is the case.
# - Claims share arms and seeds, so their verdicts are not independent, and each is at the 5 % level by itself. One in
#   twenty true nulls among them would be called a difference.
# - Claims about the second half of training hold the end, where the learning rate has fallen to zero, against the
#   middle, where it has not: a part of what is gained is owed to the fall.
# - Arms are scored at one L0, to which one offset brings their thresholds (within 2 %). Where that could not be had, the
#   scores say which L0 it was.
# - Choosing the learning rate by the trained arm would favour it. All arms share one rate here; their own best rates are
#   in [](real_activations).

# %% tags=["hide-input"]
# The short answer on top of the page.
judged = [row for row in found.results if row["verdict"] != "open"]
blind = sum(row["blind"] for row in judged)
fragile = [row["id"] for row in judged if row["fragile"]]
page.answer(
    f"Of {page.number('claims.total', len(found.results))} claims {page.number('claims.judged', len(judged))} are judged at this "
    f"profile: {', '.join(f'{n} {word}' for word, n in pd.Series([row['verdict'] for row in judged]).value_counts().items())}. "
    f"{page.number('claims.fragile', len(fragile))} of these verdicts are fragile: a margin a fifth smaller or larger would "
    "change them.",
    sure=f"{blind} of the {len(judged)} judged margins are blind, {len(judged) - blind} were set after trial results were known. "
    f"A comparison has {span(compared['n_seeds'].min(), compared['n_seeds'].max(), '.0f')} seeds.",
    scale=f"{page.profile.about}.",
)

# %% tags=["hide-input"]
page.provenance(seeds=sorted(set(scores["seed"])))
