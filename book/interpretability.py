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
#
# The paper lets a language model describe 200 latents from their strongest contexts, and another one guess from the
# description in which contexts they fire: trained latents score 0.90 and soft-frozen ones 0.88, where 0.5 is
# chance {cite}`korznikov2026sanity`. A judge costs money, changes, and is kind: it may be right for the wrong reason.
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
import pandas as pd
from IPython.display import Markdown

from sanity import figures
from sanity.experiments import interpretability, interpretability_findings, metric_validity
from sanity.publishing import open_chapter
from sanity.publishing.page import Html

page = open_chapter("interpretability", profile)
figures.house_style()
grid, real = page.profile.interpretability, page.profile.real
page.banner()

# %% tags=["hide-input"]
(place, *other_places) = interpretability.tables(page.profile)
for one in (place, *other_places):
    page.keep(one.found)
scores, latents, counts, text = place.scores, place.latents, place.counts, place.text
order = interpretability_findings.arms_in(scores)
seeds = f"{len(real.seeds)} seed{'s' if len(real.seeds) > 1 else ''}"
pd.DataFrame(
    [
        (
            "latents per SAE",
            "200 at random among the alive",
            f"up to {grid.latents}",
            "drawn in one order for all arms of a seed",
        ),
        (
            "alive",
            "frequency of 1e-6 or more",
            "the same, counts below",
            "below a million tokens any activation is enough",
        ),
        (
            "asked about",
            "alive",
            f"{grid.fewest} contexts with and {grid.fewest} without activation in each half",
            "fewer say nothing",
        ),
        (
            "text",
            "OpenWebText",
            ", ".join(text["tokens_by_source"]),
            "unseen by the SAEs, and not used for probing",
        ),
        (
            "tokens, contexts, documents",
            "not stated",
            f"{text['tokens']:,}; {text['windows']:,}; {text['documents']:,}",
            "the held-out text of the other chapters, read on",
        ),
        ("tokens per context", "not stated", f"up to {grid.window}", "of one document"),
        (
            "description from",
            "up to 15 top contexts",
            f"{grid.examples} top contexts",
            "half of the documents, divided anew by every seed",
        ),
        (
            "tested on",
            "50 activating, 50 random",
            "all contexts of the other half",
            "within a half nothing more is drawn",
        ),
        ("judge", "two language models", "none", "the next chapter has one"),
        (
            "seeds",
            "not stated",
            len(real.seeds),
            "paired across arms: each has its own SAEs, its own division of one text, its own draw of latents",
        ),
    ],
    columns=["", "paper", "here", "why"],
).set_index("").astype(str)

# %% tags=["hide-input"]
Markdown(interpretability_findings.count_words(counts))

# %% [markdown]
# ## How predictable are latents from their examples?

# %%
page.publish(
    pd.concat([one.scores for one in (place, *other_places)], ignore_index=True), "interpretability_scores"
)

# %% tags=["hide-input"]
ranked = {
    name: interpretability_findings.NAMES[name]
    for name in (
        "autointerp_auroc",
        "autointerp_auroc_strong",
        "autointerp_auroc_token_matched",
        "autointerp_auroc_source_matched",
    )
}
where = (
    f"{figures.ARCHITECTURE_NAMES[real.architecture]}, L0 = {real.l0}, {seeds}, up to {grid.latents} latents per SAE, "
    f"{text['tokens']:,} unseen tokens"
)
page.figure(
    figures.arms_by_metric(scores, metrics=ranked, order=order),
    alt="AUROC of held-out contexts for every arm. "
    + interpretability_findings.lead(scores, "autointerp_auroc"),
    caption=f"AUROC of held-out contexts, against all silent contexts and against matched ones. {where}. "
    "Dotted: 0.5, chance; dashed: 1, every context ranked.",
    data=(latents.drop(columns=["word", "rule"], errors="ignore"), "interpretability_latents"),
)

# %% tags=["hide-input"]
Markdown(
    "\n\n".join(
        [
            interpretability_findings.lead(scores, "autointerp_auroc"),
            interpretability_findings.lead(scores, "autointerp_auroc_token_matched"),
            interpretability_findings.remaining_words(scores),
            interpretability_findings.concept_words(place.graded),
        ]
    )
)

# %% [markdown]
# ## How much of it is the identity of words?
#
# A latent that fires on one word is predictable, and uninteresting: a list of words would do. So the same contexts are
# ranked by a word list that was counted on the examples, and the strongest activations are looked at.

# %% tags=["hide-input"]
lexical = {
    name: interpretability_findings.NAMES[name]
    for name in ("autointerp_lookup_auroc", "autointerp_purity", "autointerp_ngram_f1", "autointerp_intruder")
}
page.figure(
    figures.arms_by_metric(scores, metrics=lexical, order=order),
    alt="Scores of word identity for every arm. "
    + interpretability_findings.lead(scores, "autointerp_lookup_auroc"),
    caption=f"How far words alone go, and how many intruders the encoder finds. {where}. Dotted: chance.",
)

# %% tags=["hide-input"]
Markdown(
    "\n\n".join(
        [
            interpretability_findings.lookup_words(scores),
            interpretability_findings.lead(scores, "autointerp_purity"),
            interpretability_findings.lead(scores, "autointerp_intruder"),
        ]
    )
)

# %% tags=["hide-input"]
page.table(
    interpretability_findings.score_table(scores, counts),
    caption=f"Every score, mean over {seeds}. “L0 on this text”: active latents per token of the contexts, where "
    f"{real.l0} was meant. “Another's description” gives each latent the description of another one "
    "of the same SAE. “Equal frequencies” weights latents as if all arms fired equally often.",
)

# %% tags=["hide-input"]
intervals = interpretability_findings.interval_table(latents, scores)
page.table(
    intervals,
    caption="AUROC: mean over seeds with its 95 % t-interval, and the interval from redrawing seeds and the latents in "
    "them, which with so few seeds is too narrow. Verdicts rest on differences paired by seed.",
) if len(intervals) else Markdown("One seed gives no interval.")

# %% [markdown]
# ## From latent to latent
#
# A mean hides how different latents are. Latents of one SAE are no independent repetitions (the unit of replication is
# the training seed), so the spread below is a description and no uncertainty.

# %% tags=["hide-input"]
page.figure(
    figures.score_quantiles(
        latents,
        columns={"auroc": "AUROC", "token_matched": "AUROC, same word", "lookup": "AUROC of a word list"},
        order=order,
    ),
    alt="Spread of the scores over the latents of every arm: medians, quartiles, and where 90 % of latents lie.",
    caption=f"Latents of all seeds together: {len(latents):,} in all. Dotted: chance.",
)

# %% tags=["hide-input"]
page.table(
    interpretability_findings.quantile_table(latents),
    caption="Quantiles of the AUROC over latents. The paper reports that about 30 % of the frozen encoder's latents are "
    "judged above 0.7; the column beside is this score's, and not to be compared with a judge's accuracy.",
)

# %% [markdown]
# ## What latents fire on
#
# Not chosen: the first latents in the one random order in which they were drawn for all arms of the first seed. The
# same number in two arms of one seed shares its random start.

# %% tags=["hide-input"]
Html(
    figures.examples_html(
        interpretability_findings.example_rows(place, grid.shown),
        caption=f"The first {grid.shown} latents drawn from every arm (seed {real.seeds[0]}), with their strongest "
        "contexts in the examples' half. The deeper the mark, the stronger the activation; the strongest of a context "
        "is underlined.",
    )
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
# known is the case (a source, a word, a word within one source), and then spoilt: a share of the activations is moved to
# random tokens. A score should fall from step to step, and end at chance.

# %% tags=["hide-input"]
gated = [name for name in interpretability_findings.NAMES if name in set(place.graded["metric"])]
page.figure(
    figures.known_concepts(
        place.graded, metrics={name: interpretability_findings.NAMES[name] for name in gated}
    ),
    alt="Scores of known concepts against how much of them is spoilt. "
    + interpretability_findings.gate_words(place.graded, gated),
    caption="Mean over concepts; bars: range over "
    f"{place.graded['seed'].nunique()} draws. Strong lines: the kind of concept that a score is meant to see. "
    "Dotted: chance; dashed: 1.",
    data=(place.graded, "interpretability_graded"),
) if gated else Markdown(
    "There is too little text for known concepts: the scores of this page are not gated."
)

# %% tags=["hide-input"]
Markdown(
    "From intact to spoilt: " + interpretability_findings.gate_words(place.graded, gated) if gated else ""
)

# %% [markdown]
# ## Other places

# %% tags=["hide-input"]
Markdown(
    "\n\n".join(
        f"**{one.model.subject}, {one.model.hook}.** "
        + interpretability_findings.lead(one.scores, "autointerp_auroc")
        for one in other_places
        if len(one.scores)
    )
    or f"The profile `{profile}` reads one place in one model."
)

# %% [markdown]
# ## Can the metric be trusted?
#
# What the [validity gates](metric_validity.ipynb) say of the two scores that the ledger names, which corrupt each
# metric's own reference in grades.

# %% tags=["hide-input"]
Markdown(metric_validity.note(page.profile, ["autointerp_auroc", "autointerp_auroc_token_matched"]))

# %% [markdown]
# ## What could be wrong
#
# - A sentence encoder reads topics well, single words less well and grammar hardly: a latent for commas after
#   subordinate clauses would score 0.5 here and be perfectly clear to a reader. Low scores are not proof of nonsense.
# - Fifteen strongest contexts describe the strongest activations. Most activations are weak, and tested as well: the
#   strongest quarter, shown apart, is the kinder question.
# - Where a dictionary has few latents, each fires often, in a good part of all contexts. Those of wider dictionaries fire
#   less often, and may be more specific.
# - Seeds divide one text anew and draw latents anew, but the text itself is one for all seeds and arms. What another
#   text would show is not covered, and the gate's known concepts are looked at in one division only.
# - Arms are brought to one L0 on other text. What they reach on these contexts stands in the table of scores: an arm
#   with more active latents has latents that fire more often.
# - Matching by word leaves out activating contexts whose word occurs in no silent context: those of the purest latents.
#   The column *token_covered* of the data says how many.
# - The longer a context, the less the encoder sees of a single word in it (see the known words above). Shorter contexts
#   would show more of words and less of topics.
# - A context is counted as silent if the latent fires nowhere in it, and activating however weakly it fires.
# - The text is a mix of a few sources. A latent that only tells them apart is at chance against the same source.

# %% tags=["hide-input"]
seconds = counts["seconds"].mean()
Markdown(
    f"Cost: {seconds:.1f} s per SAE (contexts and scores), and once per place the reading of unseen text and the embedding "
    f"of {text['windows']:,} contexts."
)

# %% tags=["hide-input"]
page.provenance(seeds=real.seeds, hashes={"text of the contexts": text["text_hash"]})
