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
# # Interpretability without a judge
#
# *Can one say what a latent fires on, is it more than a word, and do trained latents do better than random ones?*

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
from sanity.evals import METRICS
from sanity.evals.interpretability import Context
from sanity.experiments import equal_frequencies
from sanity.publishing import Markdown, ahead, count, open_chapter
from sanity.publishing.page import Html
from sanity.stats import hierarchical_bootstrap, t_interval

page = open_chapter("interpretability", profile)
figures.house_style()
grid = page.profile.grid("interpretability")
asked = page.profile.eval_named("interpretability")
place, drawn, seeds = page.profile.place_of(grid.sources[0]), asked.drawn, count(len(grid.seeds), "seed")
page.banner()

# %% [markdown]
# The paper lets a language model describe 200 latents from their strongest contexts, and another one guess from the
# description in which contexts they fire: trained latents score 0.90 and soft-frozen ones 0.88, where 0.5 is
# chance {cite}`korznikov2026sanity`. A judge costs money, changes from version to version, and may be right for the wrong reason.
# This chapter asks the same question without one.
#
# | score | what is asked | chance |
# |---|---|---|
# | AUROC | the mean embedding of the 15 strongest contexts in one half of the documents ranks contexts of the other half: is one in which the latent fires above one in which it does not? | 0.5 |
# | the same, strongest quarter | only the strongest quarter of the activating contexts is asked about | 0.5 |
# | the same, same word | each activating context is held against silent ones that hold the word on which the latent fires most | 0.5 |
# | the same, same source | each is held against silent ones from the same source (news, code, reviews ...) | 0.5 |
# | AUROC of a word list | contexts ranked by nothing but which words they hold, by how often the latent fired on each | 0.5 |
# | lexical purity | share of the 15 strongest activations that fall on one word | as many random tokens |
# | best n-gram | the rule "fires on this word (or these two, three)" that fits best in one half, tried in the other | 0 |
# | intruders found | four strong contexts of different documents and a silent one: is the silent one least like the others? | 0.2 |
#
# Embeddings are those of a sentence encoder (all-MiniLM-L6-v2, {cite}`reimers2019sentence`), centred on the mean of all contexts. The token on
# which a latent fires is not marked for it, since silent contexts have none.

# %% tags=["hide-input"]
((_, prepared), *_) = [found for found in page.read.prepared("contexts") if found[0].place == place]
text = prepared.json("text")
page.parameters(
    [
        ("latents per SAE", "200 at random among the alive", f"up to {drawn.latents}",
         "drawn in one order for all arms of a seed"),
        ("alive", "frequency of 1e-6 or more", "the same, counts below",
         "below a million tokens any activation is enough"),
        ("asked about", "alive", f"{drawn.fewest} contexts with and {drawn.fewest} without activation in each half",
         "fewer would say too little"),
        ("text", "OpenWebText", ", ".join(text["tokens_by_source"]), "unseen by the SAEs, and not used for probing"),
        ("tokens, contexts, documents", "not stated",
         f"{text['tokens']:,}; {text['windows']:,}; {text['documents']:,}",
         "the held-out text of the other chapters, read on"),
        ("tokens per context", "not stated", f"up to {drawn.window}", "of one document"),
        ("description from", "up to 15 top contexts", f"{asked.examples} top contexts",
         "half of the documents, divided by every seed in its own way"),
        ("tested on", "50 activating, 50 random", "all contexts of the other half", "nothing is drawn at random there"),
        ("judge", "two language models", "none", "the next chapter has one"),
        ("seeds", "not stated", len(grid.seeds),
         "paired across arms: each has its own SAEs, its own division of one text, its own draw of latents"),
    ]
)  # fmt: skip


# %%
def named(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the first hook, with the names of their arms."""
    here = rows[rows["world_or_hook"] == place]
    return here.assign(
        arm=[figures.arm_words(*arm) for arm in zip(here["constraint"], here["init"], strict=True)]
    )


counts = named(page.read.facts("interpretability", "contexts"))
numbers = [name for name in ("alive", "eligible", "sampled", "l0") if name in counts]
per_arm = counts.groupby("arm", sort=False)[numbers].mean()

# %% tags=["hide-input"]
page.table(
    per_arm.rename(columns={"sampled": "drawn", "l0": "L0 on this text"}),
    caption=f"Latents that fire at all on this text, that can be asked about, and that were drawn, mean over {seeds}; and "
    f"active latents per token of it, where {grid.l0[0]} was meant.",
)

# %% tags=["hide-input"]
refused = counts.dropna(subset="refused") if "refused" in counts else counts[:0]
Markdown(
    "\n".join(f"- Not scored: {row.arm}, seed {row.seed} ({row.refused})." for row in refused.itertuples())
) if len(refused) else None

# %% [markdown]
# ## How predictable are latents from their examples?
#
# The table of scores has a row for every SAE and metric. One metric compares SAEs with each other and comes from
# a cell of its own: the AUROC as if the latents of all arms fired equally often.

# %%
compared = [one for one in equal_frequencies.scored(page.read.plan) if one[0] == "interpretability"]
found = page.read.results([cell for *_, cell in compared])
matched = [
    result.table("scores").assign(experiment=experiment, world_or_hook=hook)
    for (experiment, hook, _), result in zip(compared, found, strict=True)
]
everywhere = pd.concat([page.read.scores("interpretability"), *matched], ignore_index=True)
scores = named(everywhere)
latents = named(page.read.table("latents", "interpretability"))
page.publish(everywhere, "interpretability_scores")

# %% [markdown]
# Arms are compared seed by seed: the arms of a seed saw the same batches in training, and are asked about the same latents
# in the same division of the text, wherever they have them.

# %%
means = scores.pivot_table(index="arm", columns="metric", values="value", sort=False)
by_seed = scores.pivot_table(index=["metric", "seed"], columns="arm", values="value", sort=False)
trained = by_seed.get("trained", float("nan"))
lead = by_seed.rsub(trained, axis=0).drop(columns="trained", errors="ignore")
leads = lead.groupby("metric", sort=False).agg(["mean", "min", "max"])

# %% tags=["hide-input"]
# Every metric with one name: where they stand next to each other, without what all have in common.
labels = {name: METRICS[name].label.removeprefix("held-out example ") for name in means}
controls = {"autointerp_auroc_token_matched": "same word", "autointerp_auroc_source_matched": "same source"}
ranked = ["autointerp_auroc", "autointerp_auroc_strong", *controls]
lexical = ["autointerp_lookup_auroc", "autointerp_purity", "autointerp_ngram_f1", "autointerp_intruder"]
order = list(dict.fromkeys(zip(scores["constraint"], scores["init"], strict=True)))
where = (
    f"{figures.ARCHITECTURE_NAMES[grid.architectures[0]]}, L0 = {grid.l0[0]}, {seeds}, up to {drawn.latents} latents per "
    f"SAE, {text['tokens']:,} unseen tokens"
)


def lead_words(metric: str) -> str:
    """By how much the trained arm leads each other one."""
    of_metric = lead.loc[metric].dropna(axis=1, how="all")
    parts = [
        f"{ahead(arm, gap.mean())} ({gap.min():+.3f} to {gap.max():+.3f})" for arm, gap in of_metric.items()
    ]
    return f"In {METRICS[metric].label} (mean and range of trained minus baseline, paired by seed, {seeds}): {'; '.join(parts)}."


page.figure(
    figures.arms_by_metric(
        scores,
        metrics={name: labels[name] for name in ranked if name in labels},
        order=order,
    ),
    finding=f"AUROC: trained {means.loc['trained', 'autointerp_auroc']:.2f}, untrained {means['autointerp_auroc'].get('untrained', float('nan')):.2f}, chance 0.50",
    alt="AUROC of held-out contexts for every arm. " + lead_words("autointerp_auroc"),
    caption=f"AUROC of held-out contexts, against all silent contexts and against matched ones. {where}. "
    "Dotted: 0.5, chance; dashed: 1, every context ranked.",
    data=(latents.drop(columns=["word", "rule", "arm"]), "interpretability_latents"),
)

# %% tags=["hide-input"]
page.table(
    leads.stack(0, future_stack=True)
    .apply(lambda row: f"{row['mean']:+.3f} ({row['min']:+.3f} to {row['max']:+.3f})", axis=1)
    .unstack("arm")[list(lead.columns)]
    .rename(index=labels),
    caption=f"The trained arm's lead over each baseline in every score: mean and range of the differences paired by seed "
    f"({seeds}).",
)

# %% [markdown]
# How much of an arm's margin over chance is left once silent contexts are matched, by the word or by the source? And how
# high could it be? Made-up latents that fire exactly where something known is the case (below) give the scale.

# %%
above = (means[["autointerp_auroc", *controls]] - 0.5).rename(columns=controls)
plain = above.pop("autointerp_auroc")
graded = page.read.graded("interpretability")
concepts = graded[graded["place"] == place]
intact = concepts[(concepts["level"] == 0) & (concepts["metric"] == "autointerp_auroc")]
scale = intact.groupby("kind", sort=False)["value"].mean()

# %% tags=["hide-input"]
page.table(
    above.div(plain.where(plain > 0), axis=0).map("{:.0%}".format).assign(above=plain.map("{:+.3f}".format)),
    caption="How much of the AUROC above 0.5 (the last column) is left against silent contexts with the same word, and from "
    "the same source.",
)

# %% tags=["hide-input"]
Markdown(
    "For scale, latents made to fire exactly where something known is the case have an AUROC of "
    + "; ".join(f"{value:.2f} (a {kind})" for kind, value in scale.items())
    + f". Of latents that fire on one word no more than about {scale.get('word', float('nan')):.2f} can be expected on average."
    if len(scale)
    else "There is too little text for known concepts to tell how high a score could be."
)

# %% [markdown]
# ## How much of it is the identity of words?
#
# A latent that fires on one word is predictable, and uninteresting: a list of words would do. So the same contexts are
# ranked by a word list that was counted on the examples, and the strongest activations are looked at.

# %% tags=["hide-input"]
page.figure(
    figures.arms_by_metric(
        scores,
        metrics={name: labels[name] for name in lexical if name in labels},
        order=order,
    ),
    finding=f"A word list alone reaches {means.loc['trained', 'autointerp_lookup_auroc']:.2f} for trained latents, a description {means.loc['trained', 'autointerp_auroc']:.2f}",
    alt="Scores of word identity for every arm. " + lead_words("autointerp_lookup_auroc"),
    caption=f"How far words alone go, and how many intruders the encoder finds. {where}. Dotted: chance.",
)

# %% tags=["hide-input"]
Markdown(
    "AUROC of a word list that was counted on the examples, and of the description's embedding: "
    + "; ".join(
        f"{arm} {row['autointerp_lookup_auroc']:.3f} and {row['autointerp_auroc']:.3f}"
        for arm, row in means.iterrows()
    )
    + "."
)

# %% tags=["hide-input"]
floors = scores.groupby("metric")["floor"].mean().rename("floor (chance)")
page.table(
    pd.concat([floors.to_frame().T[means.columns], means]).rename(columns=labels).rename_axis("arm"),
    caption=f"Every score, mean over {seeds}. “Another's description” gives each latent the description of another one "
    "of the same SAE. “Equal frequencies” weights latents as if all arms fired equally often.",
)

# %% [markdown] tags=["if-shown"]
# ## How sure is a mean?
#
# Verdicts rest on differences paired by seed. Two intervals of the plain mean: over seeds, and from redrawing seeds and
# the latents in them, which with so few seeds is too narrow.

# %%
rows = []
for arm, part in latents.groupby("arm", sort=False):
    units = part[["seed", "latent"]].assign(value=part["auroc"]).dropna()
    of_seeds = units.groupby("seed")["value"].mean().to_numpy()
    if len(of_seeds) > 1:
        low, high = t_interval(of_seeds)
        nested = hierarchical_bootstrap(units, levels=("seed", "latent"))
        rows.append((arm, of_seeds.mean(), low, high, nested.low, nested.high))
intervals = pd.DataFrame(rows, columns=["arm", "mean", "95 % from", "to", "redrawing latents, from", "to "])

# %% tags=["hide-input"]
page.table(
    intervals.set_index("arm"),
    caption="AUROC: mean over seeds with its 95 % t-interval, and the nested bootstrap.",
) if len(intervals) else None

# %% [markdown]
# ## From latent to latent
#
# A mean hides how different latents are. Latents of one SAE are no independent repetitions (the unit of replication is
# the training seed), so the spread below is a description and no uncertainty.

# %% tags=["hide-input"]
page.figure(
    figures.score_quantiles(
        latents,
        columns={"auroc": "AUROC", "token_matched": "AUROC (same word)", "lookup": "AUROC of a word list"},
        order=order,
    ),
    alt="Spread of the scores over the latents of every arm: medians, quartiles, and where 90 % of latents lie.",
    caption=f"Latents of all seeds together: {len(latents):,} in all. Dotted: chance.",
)

# %%
by_arm = latents.groupby("arm", sort=False)["auroc"]
quantiles = by_arm.quantile([0.05, 0.25, 0.5, 0.75, 0.95]).unstack().rename(columns="{:.0%}".format)
quantiles["share above 0.7"], quantiles["latents"] = (
    by_arm.agg(lambda auroc: (auroc > 0.7).mean()),
    by_arm.count(),
)

# %% tags=["hide-input"]
page.table(
    quantiles,
    caption="Quantiles of the AUROC over latents. The paper reports that about 30 % of the frozen encoder's latents are "
    "judged above 0.7; the column here is of another score, and cannot be compared with a judge's accuracy.",
)

# %% [markdown]
# ## What latents fire on
#
# Not chosen: the first latents in the one random order in which they were drawn for all arms of the first seed. The
# same number in two arms of one seed shares its random start.

# %% tags=["hide-input"]
first = latents[latents["seed"] == grid.seeds[0]].set_index(["arm", "latent"])
examples = named(page.read.table("examples", "interpretability"))
shown = []
for (arm, latent), part in examples[examples["seed"] == grid.seeds[0]].groupby(["arm", "latent"], sort=False):
    row = first.loc[(arm, latent)]
    same_word = "–" if pd.isna(row["token_matched"]) else f"{row['token_matched']:.2f}"
    about = (
        f"{latent}: fires on {row['frequency']:.2%} of tokens; AUROC {row['auroc']:.2f}, same word {same_word}, "
        f"word list {row['lookup']:.2f}, purity {row['purity']:.2f}, best n-gram “{row['rule']}” (F1 {row['ngram_f1']:.2f})"
    )
    contexts = [
        Context(one.window, one.document, one.source, tuple(one.pieces), tuple(one.activations))
        for one in part.itertuples()
    ]
    shown.append((arm, about, contexts))
Html(
    figures.examples_html(
        shown,
        caption=f"The first {asked.shown} latents drawn from every arm (seed {grid.seeds[0]}), with their strongest "
        "contexts in the examples' half. The deeper the mark, the stronger the activation; the strongest of a context "
        "is underlined.",
    )
)

# %% tags=["hide-input"]
page.quiz(
    examples[examples["seed"] != grid.seeds[0]] if len(grid.seeds) > 1 else examples,
    latents.rename(columns={"auroc": "score"}),
    others=[
        name for name in ("soft-frozen decoder", "frozen decoder", "untrained") if name in set(latents["arm"])
    ],
    judge="A sentence encoder that takes the more predictable latent",
    caption="Which latent is trained? Each question shows the strongest contexts of two latents, one of the trained arm and "
    "one of another; the deeper the mark, the stronger the activation. Your accuracy and that of the score on this page "
    "come at the end. They are latents of other seeds than those in the table above.",
)

# %% [markdown]
# ## With a language model as judge
#
# The paper's own protocol, with a description written by a language model and tested by another, has a chapter of its
# own: {doc}`judged_interpretability`. It asks about the first of the latents drawn here, in the same contexts.

# %% [markdown]
# ## What these scores are worth
#
# None of the arms was used to choose or tune a score. Instead, latents are made up that fire exactly where something
# known is the case (a source, a word, a word within one source), and then corrupted in steps: a share of the activations
# is moved to random tokens. A score should fall from step to step, and end at chance.

# %%
own = concepts[concepts["kind"] == concepts["metric"].map(lambda name: METRICS[name].gate)]
falls = own.pivot_table(index=["metric", "kind"], columns="level", values="value", sort=False)
steady = [row.is_monotonic_decreasing for _, row in falls.iterrows()]

# %% tags=["hide-input"]
gated = {name: labels[name] for name in labels if name in set(own["metric"])}
words = "; ".join(
    f"{labels[m]} from {row.iloc[0]:.2f} to {row.iloc[-1]:.2f}" for (m, _), row in falls.iterrows()
)
page.figure(
    figures.known_concepts(concepts, metrics=gated),
    alt=f"Scores of known concepts against how far they are corrupted. From intact to fully corrupted: {words}.",
    caption=f"Mean over concepts; bars: range over {concepts['seed'].nunique()} draws. Strong lines: the kind of concept "
    "that a score is gated by. Dotted: chance; dashed: 1.",
    data=(concepts, "interpretability_graded"),
) if gated else Markdown(
    "There is too little text for known concepts: the scores of this page are not gated."
)

# %% tags=["hide-input"]
page.table(
    falls.rename(index=labels, columns="{:.0%}".format).assign(**{"falls at every step": steady}),
    caption="Every score on the concepts that it is gated by, from intact to fully corrupted.",
)

# %% [markdown] tags=["if-shown"]
# ## Other layers and models

# %% tags=["hide-input"]
others = everywhere[(everywhere["world_or_hook"] != place) & (everywhere["metric"] == "autointerp_auroc")]
page.table(
    others.groupby(["subject", "world_or_hook", "constraint", "init"], sort=False)["value"]
    .agg(["mean", "min", "max"])
    .rename_axis(["model", "hook", "arm", "init"]),
    caption="AUROC at the other hooks: mean, least and most over seeds.",
) if len(others) else None

# %% [markdown]
# ## Can the metric be trusted?
#
# What the [validity gates](metric_validity.ipynb) say of the two scores that the ledger names, which corrupt each
# metric's own reference in steps.

# %% tags=["hide-input"]
page.gates("autointerp_auroc", "autointerp_auroc_token_matched")

# %% [markdown]
# ## What could be wrong
#
# - A sentence encoder reads topics well, single words less well and grammar hardly: a latent for commas after
#   subordinate clauses would score 0.5 here and be perfectly clear to a reader. Low scores are not proof of nonsense.
# - Fifteen strongest contexts describe the strongest activations. Most activations are weak, and tested as well: the
#   strongest quarter, shown apart, is the kinder question.
# - Where a dictionary has few latents, each fires often, in a good part of all contexts. Those of wider dictionaries fire
#   less often, and may be more specific.
# - Every seed divides the text and draws latents in its own way, but the text itself is one for all seeds and arms. What
#   another text would show is not covered, and the gate's known concepts are looked at in one division only.
# - Arms are brought to one L0 on other text. What they reach on these contexts stands in the table of scores: an arm
#   with more active latents has latents that fire more often.
# - Matching by word leaves out activating contexts whose word occurs in no silent context: those of the purest latents.
#   The column *token_covered* of the data says how many.
# - The longer a context, the less the encoder sees of a single word in it (see the known words above). Shorter contexts
#   would show more of words and less of topics.
# - A context is counted as silent if the latent fires nowhere in it, and activating however weakly it fires.
# - The text is a mix of a few sources. A latent that only tells them apart is at chance against the same source.

# %% tags=["hide-input"]
taken = sum(
    page.read.facts("interpretability", one)["seconds"].mean() for one in ("contexts", "interpretability")
)
Markdown(
    f"Cost: {taken:.1f} s per SAE (contexts and scores), and once per hook the reading of unseen text and the embedding "
    f"of {text['windows']:,} contexts."
)

# %% tags=["hide-input"]
# The short answer on top of the page.
auroc = means["autointerp_auroc"]
baselines = auroc.drop([name for name in ("trained", "untrained") if name in auroc])
share = (auroc.get("untrained", float("nan")) - 0.5) / (auroc["trained"] - 0.5)
page.answer(
    "Latents can be predicted from their examples, in every arm: AUROC "
    f"{auroc['trained']:.3f} trained, {baselines.min():.3f} to {baselines.max():.3f} for the baselines, "
    f"{auroc.get('untrained', float('nan')):.3f} untrained, 0.5 by chance. An untrained dictionary has {share:.0%} of the trained arm's lead "
    "over chance.",
    sure=f"{page.verdict('auroc-soft-frozen')}; {page.verdict('auroc-untrained')}.",
    scale=f"{where}, at {place} of {page.profile.source_named(grid.sources[0]).subject}.",
)

# %% tags=["hide-input"]
page.provenance(seeds=grid.seeds, hashes={"text of the contexts": text["text_hash"]})
