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
#
# "Our baselines match" is a statement about sameness, and a small difference between two numbers does not make it:
# what is needed is a margin below which a difference would not matter, fixed before the scores are seen, and enough
# repetitions to show that the difference lies below it. This chapter puts every score of the book on one scale, judges
# every comparison of the ledger (`book/claims.yml`), and shows what another margin, more seeds, or a baseline named in
# advance would have changed.

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

from sanity import claims, figures
from sanity.experiments import metric_validity, verdict_sentences, verdicts
from sanity.publishing import open_chapter

page = open_chapter("verdicts", profile)
figures.house_style()
page.banner()

# %% [markdown]
# ## The rules
#
# One *seed* is one initial matrix, one order of the data and, where an evaluation draws something, one draw of it: which
# samples of a synthetic world are held out, how the labelled texts are divided, which half of the documents describes
# latents and which tests them, which latents are asked about, which pairs of entities are swapped. All arms share it.
# What is not drawn is the same for all seeds: the language model, the synthetic worlds, the held-out text, the labelled
# texts, and in causal editing the entities, with their division into those for fitting and those for testing. For each
# seed $s$ the two arms of a comparison give one difference on the raw score,
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
# | inconclusive | neither |
# | no range | the metric's own range is within reseed noise, or within two margins; or none of the arms is above the metric's floor |
# | open | no result, a result at another scale than an expected value was claimed for, or a metric that failed its validity gate ([](metric_validity)) |
#
# "Trained" stands for the judged arm and "baseline" for the one that it is held against. Two seeds can give a verdict
# if they agree well enough; one cannot.

# %%
gathered = verdicts.gather(page.profile)
gates, behind = metric_validity.gate_table(page.profile)
failed = claims.failed_metrics(gates)
page.keep([*gathered.found, *behind])
page.publish(gathered.scores, claims.SCORE_TABLE)

# %% tags=["hide-input"]
ledger = claims.read_ledger()
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

# %% tags=["hide-input"]
shares = verdicts.shares(gathered.scores, ledger, page.profile)
page.publish(shares.astype({"subject": str}), "places_between")
for name, part in shares.groupby("world_or_hook", sort=False):
    labels = {m: verdict_sentences.label(m, ledger, failed) for m in dict.fromkeys(part["metric"])}
    toy = part["subject"].isna().all()
    where = f"the world with {name} probabilities" if toy else f"{part['subject'].iloc[0]}, {name}"
    level = page.profile.toy.l0 if toy else page.profile.real.l0
    seeds = sorted(set(part["seeds"]))
    display(
        page.figure(
            figures.places_between(part, metrics=labels),
            alt=f"Every arm between floor and ceiling, {where}. " + verdict_sentences.places(part, labels),
            caption=f"{where[0].upper()}{where[1:]}: {part['d_sae'].iloc[0]:,} latents, L0 = {level}. Mean over seeds "
            f"({' or '.join(map(str, seeds))}) and its 95 % t-interval; hollow: a single seed, which has none.",
        )
    )

# %% [markdown]
# ## What can be concluded

# %% tags=["hide-input"]
judged = claims.judge(page.profile, gathered.scores, gates=gates)
table = claims.claims_table(judged, profile=profile, gates=gates)
Markdown(verdict_sentences.overall(judged, page.profile) + "\n\n" + metric_validity.summary(gates, ledger))

# %% tags=["hide-input"]
pairs = table[[r.means is not None for r in judged]].rename(
    columns={"ours": "other against judged: difference"}
)
page.table(
    pairs[
        [
            "id",
            "claim",
            "other against judged: difference",
            "seeds",
            "margin or range",
            "verdict",
            "in detail",
            "validity gate",
        ]
    ].set_index("id"),
    caption="The comparisons of the ledger that have scores. Interval: 95 %, over seeds.",
)

# %% [markdown]
# ## With another margin
#
# A reader with a stricter or a laxer idea of "the same" finds their own verdict here. The black mark is the margin that
# the ledger declared.

# %% tags=["hide-input"]
choice = claims.chosen(
    gathered.scores, ledger, primary=claims.primary_grid(page.profile), failed_gates=failed
)
compared = claims.comparisons(choice)
sweep = verdicts.margin_sweep(compared)
page.figure(
    figures.verdict_strips(sweep),
    alt="The verdict on every comparison as a function of the margin. " + verdict_sentences.strips(sweep),
    caption="The verdict at every margin from 0.5 to 45 % of the metric's range. Where a difference is certain, a wide "
    "enough margin still turns it into an equivalence; where nothing is certain, no margin helps.",
    data=(sweep, "margin_sweep"),
)

# %% [markdown]
# ## How many seeds it takes
#
# For every comparison on a metric that has not failed its gate, the spread of its paired differences says within which margin the seeds at hand would show equal
# arms to be equal four times in five, and how many seeds the declared margin takes. That spread is itself known from a
# few numbers only, so the same is given for its upper limit (80 %, one-sided): plan on that one.

# %% tags=["hide-input"]
standing = [one for one in compared if one.gate_failure is None]
power = verdicts.power_table(standing)
Markdown(verdict_sentences.needs(power))

# %% tags=["hide-input"]
if power["smallest_margin"].notna().any():
    display(
        page.figure(
            figures.smallest_margins(power),
            alt="The smallest margin that each comparison can meet. " + verdict_sentences.needs(power),
            caption="The smallest margin within which equal arms are found equivalent with 80 % power (5 % level) and the "
            "seeds at hand: at the observed SD (dot) and at its upper limit (bar). Black: the declared margin. Right: "
            "seeds at hand, and those that the declared margin needs at either SD.",
            data=(power, "power"),
        )
    )

# %% tags=["hide-input"]
page.table(
    power.set_index("claim")
    .astype(object)
    .map(lambda v: f"{v:.2g}" if isinstance(v, float) else v)
    .replace("nan", "–"),
    caption="In shares of each metric's range: the SD of the paired differences, the smallest difference that is detected, "
    "and the smallest margin that is met, with a power of 80 % and the seeds at hand.",
    folded=True,
)

# %% [markdown]
# ## The best of five
#
# The paper names, for each metric, the best of five frozen variants. The best of five equal arms looks better than any
# of them is. The correction takes the largest of all five statistics under the same sign flips of whole seeds, and
# widens the side of the interval that the choice has favoured.

# %% tags=["hide-input"]
best = verdicts.best_of_table(standing)
page.publish(best, "best_of_several")
Markdown(verdict_sentences.best_of_several(best, ledger))

# %% [markdown]
# ## Does the lead depend on layer, L0 or width?
#
# A test that succeeds at one layer and fails at another does not show that the layers differ. Here the lead itself is
# compared between levels, seed by seed.

# %% tags=["hide-input"]
Markdown(
    "Explained variance failed its validity gate, so its leads are not compared."
    if "explained_variance" in failed
    else "\n\n".join(
        verdict_sentences.dependence(factor, gathered.scores, page.profile) for factor in verdicts.FACTORS
    )
)

# %% [markdown]
# ## What could be wrong
#
# - Seeds tell what a *re-run* would give: same model, same place, same text, same code. Nothing on this page says how
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
page.provenance(seeds=sorted(set(gathered.scores["seed"])))
