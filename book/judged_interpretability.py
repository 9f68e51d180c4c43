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
# # Judged interpretability
#
# *Can a language model say what a latent fires on, well enough that the description alone tells further
# contexts from others?*
#
# This is the paper's measure of interpretability {cite}`korznikov2026sanity`. A judge reads up to fifteen of a
# latent's strongest contexts and writes a description. Then it is shown fifty contexts in which the latent fires, at
# all strengths, and fifty others, and says from the description which are which. The score is the accuracy: 0.5 by
# chance, 1 at best. The paper reports 0.90 for trained latents and 0.88 (0.87 in its abstract) for the soft-frozen
# decoder, and about 30 % of the frozen encoder's latents above 0.7.
#
# Such a score is a statement about two things at once, the latent and the judge. So here a judge first has to show
# that it can judge: on excerpts whose concepts are known, and with nothing of any autoencoder in it. A judge that
# fails is shown with its numbers, and no claim of this book rests on them.

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
from IPython.display import Markdown, display

from sanity import figures
from sanity.experiments import judged_interpretability as judged
from sanity.experiments import judged_interpretability_findings as findings
from sanity.experiments import metric_validity
from sanity.publishing import open_chapter

page = open_chapter("judged_interpretability", profile)
figures.house_style()
grid = page.profile.judging
page.banner()

# %% tags=["hide-input"]
found = judged.tables(page.profile)
for judge in found:
    page.keep(judge.found)
Markdown(findings.configured_words(found))

# %% tags=["hide-input"]
findings.parameter_rows(page.profile, found[0])

# %% [markdown]
# ## The protocol
#
# The paper does not print its prompts; these are ours, word for word. Words in braces are filled in. Contexts to
# describe and contexts to classify come from different documents. The contexts of a question stand in random order.
# Line breaks inside a context are shown as ↵, so that lists stay lists.
#
# An answer that cannot be read is met with one reminder. A second one counts as no answer, which is worth one half,
# what a coin would have been worth: counted as wrong, a judge's silence would push a latent below chance. Where more
# than a tenth of the contexts have no answer there is no score at all.
#
# A judge behind an endpoint writes its answers at temperature 0. A judge on this machine is not asked to write when it
# classifies: the probabilities of Yes and No after the question are compared.

# %% tags=["hide-input"]
Markdown(findings.prompts_text())

# %% [markdown]
# ## Can the judge judge?
#
# Six concepts whose truth is known: three are sources of text (code, medical abstracts, customers' reviews), three can
# be seen (a year, a question mark, a sum of money). Half of the excerpts have the concept. Each judge gets them with
# the right descriptions, and again with another concept's.

# %% tags=["hide-input"]
page.figure(
    figures.judge_gates({judge.spec.label: judge.concepts for judge in found}, needed=0.5 + grid.gate_margin),
    alt="Accuracy of each judge on known concepts, with right descriptions and with others'. "
    + " ".join(
        f"{judge.spec.model} {'passes' if judge.passed else 'does not pass'}: {judge.why}." for judge in found
    ),
    caption="Accuracy on excerpts with known concepts, half of which have the concept: filled with the right "
    "description, hollow with another concept's. "
    + "; ".join(
        f"{judge.spec.model}: {int(judge.concepts['contexts'].iloc[0])} excerpts per concept"
        for judge in found
    )
    + ". Dotted: chance; dash-dotted: what the mean needs; dashed: always right.",
    data=(
        pd.concat([judge.concepts.assign(judge=judge.spec.label) for judge in found], ignore_index=True),
        "judge_gates",
    ),
)

# %% tags=["hide-input"]
Markdown(findings.gate_words(found, margin=grid.gate_margin))

# %% [markdown]
# The same excerpts show what the score does when descriptions go wrong: a growing share of the questions is asked with
# another concept's description, and a draw takes as many questions, with replacement. All draws are of the same answers
# about the same excerpts: their spread does not cover another set of excerpts. A judge that can judge falls from its
# accuracy to chance; one that cannot has nothing to fall from.

# %% tags=["hide-input"]
graded = judged.graded(page.profile)
page.table(
    graded.groupby("level")["value"]
    .agg(["mean", "min", "max"])
    .rename_axis("share of wrong descriptions")
    .rename(columns={"mean": "accuracy", "min": "lowest draw", "max": "highest draw"}),
    caption=f"Accuracy of {graded['judge'].iloc[0]} on known concepts, {graded['seed'].nunique()} draws of "
    f"{graded['n'].iloc[0]} questions each, out of the same answers. Chance is 0.5.",
)

# %% [markdown]
# ## What the judges make of latents

# %% tags=["hide-input"]
Markdown(findings.result_words(found))

# %% tags=["hide-input"]
for judge in found:
    if judge.latents.empty:
        continue
    state = "passed its gate" if judge.passed else "FAILED its gate and is not used"
    table = findings.summary_rows(judge)
    display(
        page.figure(
            figures.judged_latents(judge.latents),
            alt=findings.arms_words(judge),
            caption=f"Judge: {judge.spec.label}, which {state}. A dot is a latent: the accuracy with which its contexts are "
            "told from others by its own description (filled) and by another latent's (hollow); bars are means. "
            "Contexts without a usable answer count one half. "
            f"{len(judge.latents)} latents in all, {int(judge.latents['contexts'].median())} contexts each. "
            "Dotted: chance; dashed: always right.",
            data=(judge.latents, f"judged_latents_{found.index(judge)}"),
        ),
        page.table(table.set_index("arm"), caption=f"The same by arm ({judge.spec.model}, which {state})."),
    )

# %% tags=["hide-input"]
Markdown(
    "\n".join(
        f"- `{judge.spec.model}` gives no score for {arm}: {why}."
        for judge in found
        for arm, why in judge.silent
    )
    or "Every arm that was asked about has a score."
)

# %% tags=["hide-input"]
agreement = findings.agreement_rows(found)
(
    Markdown("One judge alone was asked: what another would have said is not known.")
    if agreement.empty
    else page.table(
        agreement.set_index("judges"),
        caption="Pairs of judges on the latents that both were asked about: difference of the accuracies, and Spearman's "
        "correlation over latents.",
    )
)

# %% [markdown]
# ## Descriptions, questions and answers

# %% tags=["hide-input"]
for judge in found:
    if not judge.latents.empty:
        display(
            page.table(
                findings.description_rows(judge).set_index("arm"),
                caption=f"Descriptions by {judge.spec.model}, of the first latents drawn of each arm. Accuracy: with its own "
                "description, and with another latent's.",
            )
        )
    display(
        page.table(
            findings.question_rows(judge).set_index("about"),
            caption=f"Questions to {judge.spec.model} and its answers, as they were asked and answered",
            folded=True,
        )
    )

# %% [markdown]
# ## With a judge of your own
#
# Any endpoint that speaks OpenAI's chat completions will do, also a server on your own machine (vLLM, llama.cpp,
# Ollama). It is named by the environment; the key is read from there alone, and is written nowhere: not into logs, the
# answers on disk, the results' keys or this page.
#
# | variable | meaning | if not set |
# |---|---|---|
# | `SANITY_JUDGE_URL` | base address, up to and with `/v1` | no endpoint |
# | `SANITY_JUDGE_MODEL` | model; several, separated by commas, repeat the measurement; without an address, a folder with a language model | the bundled model alone |
# | `SANITY_JUDGE_KEY` | the key (`OPENAI_API_KEY` counts for `api.openai.com` only) | none is sent |
# | `SANITY_JUDGE_BUDGET_TOKENS` | most tokens of all runs together | 2,000,000 |
# | `SANITY_JUDGE_BUDGET_MONEY` | most money of all runs together | no limit |
# | `SANITY_JUDGE_PRICE_PROMPT`, `SANITY_JUDGE_PRICE_ANSWER` | price per million tokens | 0 |
# | `SANITY_JUDGE_REQUESTS_PER_MINUTE`, `SANITY_JUDGE_TOKENS_PER_MINUTE` | rate limits | 60, 100,000 |
# | `SANITY_JUDGE_CONCURRENCY`, `SANITY_JUDGE_TIMEOUT`, `SANITY_JUDGE_ATTEMPTS` | calls at once, seconds, tries | 4, 60, 5 |
#
# ```shell
# export SANITY_JUDGE_URL=https://api.openai.com/v1 SANITY_JUDGE_MODEL=...
# export SANITY_JUDGE_PRICE_PROMPT=0.15 SANITY_JUDGE_PRICE_ANSWER=0.60 SANITY_JUDGE_BUDGET_MONEY=2
# sanity judge --dry-run     # what it may cost; nothing is asked
# sanity judge               # the gate first, then the latents; interrupted, the same command goes on
# ```
#
# Every answer is kept on disk by the content of its question as soon as it comes, so that nothing is paid twice. What
# a step may cost is told before its first call, and a step that the budget cannot hold is not begun. A judge behind an
# endpoint that fails its gate is not asked about latents.

# %% tags=["hide-input"]
prices = findings.example_prices()
page.table(
    findings.cost_table(page.profile, prices).set_index("what"),
    caption=f"What the paper's protocol may cost at {prices.prompt:g} per million prompt tokens and {prices.answer:g} per "
    "million answer tokens (an example, unless you set your own): 200 latents per arm, 15 + 100 contexts of "
    f"{page.profile.interpretability.window} tokens, and as many again with another latent's description.",
)

# %% tags=["hide-input"]
Markdown(f"{findings.tokens_words()} {findings.spending_words(page.profile)}")

# %% [markdown]
# ## Can the metric be trusted?
#
# What its [validity gate](metric_validity.ipynb) says, which corrupts the metric's own reference in grades.

# %% tags=["hide-input"]
Markdown(metric_validity.note(page.profile, ["autointerp_judge"]))

# %% [markdown]
# ## What could be wrong
#
# - A score depends on the judge, and not in the same way for every arm: a judge that knows words well favours latents
#   that fire on one token. The chapter on interpretability without a judge tells how much is token identity.
# - The gate's concepts are easy and few, and its draws repeat one set of excerpts: how much its numbers would move with
#   another set is not known. Passing it says that a judge follows descriptions, and not that it is sensitive
#   to differences of a few hundredths between arms.
# - Descriptions by one judge, read by the same judge: what it cannot put into words it cannot be credited for. The paper
#   has a second model classify.
# - The contexts come from one corpus of limited size. Rare latents, and latents of what the corpus does not hold, are not asked
#   about.
# - Temperature 0 does not make an endpoint repeat itself for ever: models behind a name change. The answers on disk, with
#   the name that the endpoint gave, are what these scores rest on.
# - The floor is one half for every arm. What latents score with another's description is a control and can lie below:
#   that description can fit contexts in which the latent itself is silent.
# - Seeds divide the text and draw the latents anew, as in the chapter without a judge. The text, the judge and its seed
#   are the same for all.
# - "Other contexts" are drawn at random, so a broad description (prose, code) gets far. Harder negatives would lower all
#   scores.

# %% tags=["hide-input"]
page.provenance(seeds=sorted({seed for judge in found for seed in judge.amount.seeds}))
