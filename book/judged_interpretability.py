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
# *Can a judge say in words what a latent fires on, well enough that the words alone tell further contexts from
# others?*

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
from itertools import combinations

import pandas as pd
from IPython.display import display

from sanity import figures
from sanity.evals.judging import (
    FLOOR_MARGIN,
    MOST_UNANSWERED,
    Prices,
    count_tokens,
    endpoint_from,
    estimate_protocol,
    gate_verdict,
    protocol,
)
from sanity.publishing import Markdown, code, count, open_chapter
from sanity.stats import t_interval

page = open_chapter("judged_interpretability", profile)
figures.house_style()
page.banner()

# %% [markdown]
# This is the paper's measure of interpretability {cite}`korznikov2026sanity`. A judge reads up to fifteen of a
# latent's strongest contexts and writes a description. Then it is shown fifty contexts in which the latent fires, at
# all strengths, and fifty others, and says from the description which are which. The score is the accuracy: 0.5 by
# chance, 1 at best. The paper reports 0.90 for trained latents and 0.88 (0.87 in its abstract) for the soft-frozen
# decoder, and about 30 % of the frozen encoder's latents above 0.7.
#
# Such a score is a statement about two things at once, the latent and the judge. So here a judge first has to show
# that it can judge: on excerpts whose concepts are known, and with nothing of any autoencoder in it. A judge that
# fails is shown with its numbers, and no claim of this book rests on them.
#
# **The bundled judge is no language model.** It is a small text matcher: its description of a latent is a list of words
# that stand out in the latent's strongest contexts, and it reads that list back, as text, by how like its words are to
# those of a context. Nothing but the words passes from describing to reading, as in the paper's protocol. What it cannot do
# is generalise: it finds no phrase for what words have in common, follows no syntax, and sees no meaning that a sentence
# encoder of 22 million weights does not see. A latent whose meaning is a list of words gets its due from it; one whose
# meaning has to be *understood* does not, in any arm. So its scores are not to be laid next to the paper's 0.90; arms
# are compared within it. A language model can take its place, behind the same gate: the last section says how.
#
# Judges that the environment names come first, then the bundled one. What each makes of known concepts is its gate, and
# it is computed before any latent is asked about. The bundled judge was built on other concepts than the gate's.

# %%
grids = ["judged_interpretability_named", "judged_interpretability"]
names = {grid: page.profile.grid(grid).evals[0] for grid in grids}
asked = {
    grid: one
    for grid, name in names.items()
    if (one := page.profile.eval_named(name).in_environment()) is not None
}
gates = {grid: page.read.prepared(names[grid])[0][1] for grid in asked}
concepts, gate_transcript = (
    pd.concat([gate.table(name).assign(experiment=grid) for grid, gate in gates.items()], ignore_index=True)
    for name in ("concepts", "transcript")
)
rows = []
for grid, one in asked.items():
    for spec in one.judges:
        known = concepts[(concepts["experiment"] == grid) & (concepts["judge"] == spec.label)]
        passed, why = gate_verdict(known, margin=one.gate_margin)
        rows.append({"experiment": grid, "judge": spec.label, "model": spec.model, "kind": spec.kind, "passes": passed, "why": why,
                     "excerpts": known["contexts"].sum(), "right descriptions": known["accuracy"].mean(),
                     "others'": known["shuffled"].mean(), "said yes": known["said_yes"].mean(),
                     "ranked": known["ranked"].mean(), "unanswered": known["unanswered"].mean()})  # fmt: skip
judges = pd.DataFrame(rows)
judges["claims rest on it"] = judges["passes"] & (judges["passes"].cumsum() == 1)

# %% tags=["hide-input"]
models = ", ".join(code(model) for model in judges["model"])
behind = (judges["kind"] == "endpoint").sum()
Markdown(
    f"Judges on this page: {models}; {behind} of them behind an endpoint."
    if behind
    else "**No language model was asked in this run** (`SANITY_JUDGE_URL` is not set): the page shows what a judge on this "
    f"machine does, {models}, and nothing else."
    if (judges["kind"] == "matcher").all()
    else f"Judges on this page: {models}, all on this machine."
)

# %% tags=["hide-input"]
# Of the first judge on this page; the others are asked the same questions.
ANSWERS = {
    "matcher": "yes to the better half, by likeness",
    "local": "log-probabilities of Yes and No",
    "endpoint": "generated, temperature 0",
}
grid, one = next(iter(asked.items()))
spec, block, budget = one.judges[0], page.profile.grid(grid), f"the budget of the profile {profile}"
pd.DataFrame(
    [
        ("judge", "two language models, not named here", spec.label, "what is available"),
        ("latents per arm and seed", "200", f"{one.latents}", budget),
        ("drawn from", "alive (frequency >= 1e-6)", "alive, firing in enough contexts", "held-out contexts"),
        ("contexts to describe", "up to 15", f"up to {one.examples}", budget),
        ("contexts to classify", "50 + 50", f"up to {one.contexts} + {one.contexts}", budget),
        ("contexts of the same word", "none", f"up to {one.same_word} + {one.same_word}", "is it more than the word?"),
        ("contexts in one question", "not stated", f"{spec.texts_per_question or 'all of a description'}", "cost"),
        ("answers", "not stated", ANSWERS[spec.kind], "the same answer every time"),
        ("tokens per context", "not stated", one.drawn.window, "as without a judge"),
        ("arms", "trained and frozen variants", len(block.arms), budget),
        ("seeds", "not stated", len(block.seeds), budget),
        ("excerpts per known concept", "none", f"{one.gate_contexts} + {one.gate_contexts}", "the gate"),
        ("margin of the gate", "none", f"{one.gate_margin:g}", "half of the way from chance to 1"),
    ],
    columns=["", "paper", "here", "why"],
).set_index("").astype(str)  # fmt: skip

# %% [markdown]
# ## The protocol
#
# Contexts to describe and contexts to classify come from different documents. The contexts of a question stand in
# random order, half of them activating.
#
# **A second reading** asks for contexts of the same word: the others are then not drawn at random, but hold the word on
# which the latent fires in an activating context, while the latent is silent. A description that only names the word is at
# chance there. Latents with too few such contexts have no score of this kind.
#
# **The text matcher** takes the words that stand out among the marked ones, or among the texts around them, against how
# common they are in the whole corpus (a log-likelihood ratio; at most eight words, and only those that stand out more
# than the best of as many random words would). A context fits by *late interaction*: each word piece of the description
# looks for its most similar word piece in the context (the cosine of their vectors from the sentence encoder, 1 for the very
# same piece), and the rarer a piece is, the more it counts. The better half of a question's contexts get a Yes. That half
# of them are activating is knowledge that a language model, which is asked freely, does not use.
#
# **A language model** is asked in words. The paper does not print its prompts; these are ours, word for word. Words in
# braces are filled in. Line breaks inside a context are shown as ↵, so that lists stay lists.
#
# An answer that cannot be read is met with one reminder. A second one counts as no answer, which is worth one half,
# what a coin would have been worth: counted as wrong, a judge's silence would push a latent below chance. Where more
# than a tenth of the contexts have no answer there is no score at all.
#
# A judge behind an endpoint writes its answers at temperature 0. A judge on this machine is not asked to write when it
# classifies: the probabilities of Yes and No after the question are compared.

# %% tags=["hide-input"]
prompts = {
    "To describe: system": protocol.DESCRIBE_SYSTEM,
    "To describe: question": protocol.DESCRIBE,
    "To describe: reminder after an unusable answer": protocol.DESCRIBE_REMINDER,
    "To classify: system": protocol.CLASSIFY_SYSTEM,
    "To classify one text: question": protocol.CLASSIFY_ONE,
    "To classify one text: reminder": protocol.CLASSIFY_ONE_REMINDER,
    "To classify several texts: question": protocol.CLASSIFY_MANY,
    "To classify several texts: reminder": protocol.CLASSIFY_MANY_REMINDER,
}
Markdown(
    f"Protocol version {protocol.VERSION}.\n\n"
    + "\n\n".join(f"**{name}**\n\n````text\n{text}\n````" for name, text in prompts.items())
)

# %% [markdown]
# ## Can the judge judge?
#
# Six concepts whose truth is known: three are sources of text (code, medical abstracts, customers' reviews), three can
# be seen (a year, a question mark, a sum of money). Half of the excerpts have the concept. Each judge gets them with
# the right descriptions, which people wrote, and again with another concept's.

# %% tags=["hide-input"]
needed = 0.5 + one.gate_margin
page.figure(
    figures.judge_gates(
        {judge: part for (_, judge), part in concepts.groupby(["experiment", "judge"], sort=False)},
        needed=needed,
    ),
    alt="Accuracy of each judge on known concepts, with right descriptions and with others'. "
    + " ".join(
        f"{row.model} {'passes' if row.passes else 'does not pass'}: {row.why}."
        for row in judges.itertuples()
    ),
    caption="Accuracy on excerpts with known concepts, half of which have the concept: filled with the right "
    "description, hollow with another concept's. "
    + "; ".join(f"{row.model}: {row.excerpts} excerpts" for row in judges.itertuples())
    + ". Dotted: chance; dash-dotted: what the mean needs; dashed: always right.",
    data=(concepts, "judge_gates"),
)

# %% tags=["hide-input"]
page.table(
    judges.set_index("judge")[
        [
            "passes",
            "excerpts",
            "right descriptions",
            "others'",
            "unanswered",
            "said yes",
            "ranked",
            "why",
            "claims rest on it",
        ]
    ],
    caption=f"A judge passes with a mean accuracy of {needed:.2f} or more with the right descriptions, "
    f"{0.5 + FLOOR_MARGIN:.2f} or less with others', and at most {MOST_UNANSWERED:.0%} unusable answers. Said yes: to what "
    "share of the excerpts. Ranked: the AUROC of its log odds of yes over no, whatever their threshold (chance 0.5), where "
    "they are known.",
)

# %% [markdown]
# The same excerpts show what the score does when descriptions go wrong: a growing share of the questions is asked with
# another concept's description, and a draw takes as many questions, with replacement. All draws are of the same answers
# about the same excerpts: their spread does not cover another set of excerpts. A judge that can judge falls from its
# accuracy to chance; one that cannot has nothing to fall from.

# %%
counting = judges[judges["claims rest on it"]] if judges["passes"].any() else judges[:1]
shown = counting.iloc[0]
everything = page.read.graded(names[shown["experiment"]])
everything = everything[everything["place"] == everything["place"].iloc[0]]
graded = everything[everything["kind"] == "shuffled"]
steps = graded.groupby("level")["value"].agg(["mean", "min", "max"])

# %% tags=["hide-input"]
page.table(
    steps.rename_axis("share of wrong descriptions").rename(
        columns={"mean": "accuracy", "min": "lowest draw", "max": "highest draw"}
    ),
    caption=f"Accuracy of {graded['judge'].iloc[0]} on known concepts, {graded['seed'].nunique()} draws of "
    f"{graded['n'].iloc[0]} questions each, out of the same answers. Chance is 0.5.",
)

# %% tags=["hide-input"]
draws = pd.concat(
    [gate.table("redraws").assign(experiment=grid) for grid, gate in gates.items()], ignore_index=True
)
means = draws.groupby(["judge", "draw"], sort=False)[["accuracy", "shuffled"]].mean()
spread = means.groupby("judge", sort=False)["accuracy"].agg(["size", "mean", "min", "max"])
page.table(
    spread.rename(columns={"size": "draws", "mean": "accuracy", "min": "lowest", "max": "highest"}),
    caption="How much the gate moves with other excerpts: mean accuracy over the concepts with the right descriptions, of "
    "draws from the same documents. The first draw decides; the others decide nothing.",
)

# %% [markdown]
# The text matcher is also put through all of its work where the truth is known: made-up latents that fire on a topic, on a
# word, or on a word within a topic are described and recognised like those of an autoencoder, and each of their activations is
# moved elsewhere with a rising probability. Among contexts of the same word, a latent that fires on a word everywhere has no
# control, and one that fires on a word within a topic has to be told by the topic.

# %% tags=["hide-input"]
planted = everything[everything["kind"] != "shuffled"]
readings = {
    "autointerp_judge": "own description",
    "autointerp_judge_shuffled": "another's",
    "autointerp_judge_same_word": "same word",
}
page.table(
    planted.assign(reading=planted["metric"].map(readings)).pivot_table(
        index=["kind", "level"], columns="reading", values="value"
    )[[name for name in readings.values() if name in set(planted["metric"].map(readings))]],
    caption=f"Accuracy of {shown['judge']} on latents whose meaning is known, means of {planted['seed'].nunique()} draws. "
    "Level: the share of activations that were moved elsewhere. Chance is 0.5.",
) if len(planted) else Markdown(
    "The judge that counts is no text matcher, or the text is too little: no latents were made up."
)

# %% [markdown]
# ## What the judges make of latents
#
# Claims are judged by the scores of the first judge that passed (the last column above). Where none did, the scores below
# are those of judges that failed their gate. They are shown because they were measured, they say nothing about the arms,
# and no claim of this book is judged by them.


# %%
def interval_words(values: pd.Series) -> str:
    """The 95 % interval of a mean over seeds; a dash for one seed."""
    values = values.dropna()
    return "{:.3f} to {:.3f}".format(*t_interval(values)) if len(values) > 1 else "-"


latents = page.read.table("latents", *asked)
transcript = page.read.table("transcript", *asked)
by_judge = ["experiment", "judge"]
if len(latents):
    latents["arm"] = [
        figures.arm_words(*arm) for arm in zip(latents["constraint"], latents["init"], strict=True)
    ]
    latents = latents.merge(judges[[*by_judge, "passes", "model"]], on=by_judge)
    per_seed = latents.groupby([*by_judge, "arm", "seed"], sort=False)[
        ["accuracy", "shuffled", "same_word"]
    ].mean()
    over_seeds = per_seed.groupby([*by_judge, "arm"], sort=False)
    summary = over_seeds.mean()
    summary.insert(1, "95 %", over_seeds["accuracy"].agg(interval_words))
    of_arm = latents.groupby([*by_judge, "arm"], sort=False)
    summary["latents above 0.7"] = of_arm["accuracy"].agg(lambda accuracy: (accuracy > 0.7).mean())
    summary[["said yes", "unanswered"]] = of_arm[["said_yes", "unanswered"]].mean()
    summary["latents of the same word"] = of_arm["same_word"].count()
    summary["latents"], summary["seeds"] = of_arm.size(), of_arm["seed"].nunique()
    summary["contexts each"] = of_arm["contexts"].median().astype(int)
    summary = summary.reset_index()

# %% tags=["hide-input"]
for i, ((grid, judge), part) in enumerate(latents.groupby(by_judge, sort=False) if len(latents) else []):
    state = "passed its gate" if part["passes"].all() else "FAILED its gate and is not used"
    table = summary[(summary["experiment"] == grid) & (summary["judge"] == judge)].drop(columns=by_judge)
    table = table.set_index("arm").rename(
        columns={"shuffled": "shuffled descriptions", "same_word": "same word"}
    )
    words = "; ".join(
        f"{arm} {row['accuracy']:.2f} (shuffled {row['shuffled descriptions']:.2f}, {row['latents']:.0f} latents)"
        for arm, row in table.iterrows()
    )
    display(
        page.figure(
            figures.judged_latents(part),
            alt=f"Mean accuracy by {part['model'].iloc[0]}, which {state}: {words}.",
            caption=f"Judge: {judge}, which {state}. A dot is a latent: the accuracy with which its contexts are "
            "told from others by its own description (filled) and by another latent's (hollow); bars are means. "
            "Contexts without a usable answer count one half. "
            f"{len(part)} latents in all, {int(part['contexts'].median())} contexts each. "
            "Dotted: chance; dashed: always right.",
            data=(part.drop(columns=["arm", "passes", "model"]), f"judged_latents_{i}"),
        ),
        page.table(
            table,
            caption=f"The same by arm ({judge}, which {state}): means over seeds with their 95 % interval (t). Same word: among "
            "contexts that hold the word on which the latent fires elsewhere, over the latents that have enough of them.",
        ),
    )

# %% tags=["hide-input"]
said = page.read.table("judges", *asked)
silent = said[said["silent"] != ""]
Markdown(
    "\n".join(
        f"- {row.judge} gives no score for {figures.arm_words(row.constraint, row.init)}, seed {row.seed}: {row.silent}."
        for row in silent.itertuples()
    )
    or "Every arm that was asked about has a score."
)

# %% [markdown]
# Where several judges were asked, how far do they agree about the same latents?

# %%
latent = ["subject", "world_or_hook", "constraint", "init", "seed", "latent"]
pairs = []
for (_, a), (_, b) in combinations(latents.groupby(by_judge, sort=False) if len(latents) else [], 2):
    both = a.merge(b, on=latent, suffixes=("", " other"))
    if len(both) > 2:
        one_value = min(both["accuracy"].nunique(), both["accuracy other"].nunique()) < 2
        pairs.append({"judges": f"{a['judge'].iloc[0]}, {b['judge'].iloc[0]}", "latents": len(both),
                      "mean difference": (both["accuracy"] - both["accuracy other"]).mean(),
                      "rank correlation": float("nan") if one_value
                      else both["accuracy"].corr(both["accuracy other"], method="spearman"),
                      "passed": f"{a['passes'].all()}, {b['passes'].all()}"})  # fmt: skip

# %% tags=["hide-input"]
page.table(
    pd.DataFrame(pairs).set_index("judges"),
    caption="Pairs of judges on the latents that both were asked about: difference of the accuracies, and Spearman's "
    "correlation over latents.",
) if pairs else Markdown("One judge alone was asked: what another would have said is not known.")

# %% [markdown]
# ## Descriptions, questions and answers

# %% tags=["hide-input"]
if len(latents):
    some = latents.groupby([*by_judge, "arm"], sort=False).head(2)
    display(
        page.table(
            some.assign(description=some["description"].replace("", "(no usable answer)"))
            .set_index("arm")[["judge", "latent", "description", "accuracy", "shuffled"]]
            .rename(columns={"shuffled": "with another's"}),
            caption="Descriptions of the first latents drawn of each arm. Accuracy: with its own description, and with "
            "another latent's.",
        )
    )

# %% tags=["hide-input"]
said_of = [gate_transcript.assign(about="known concept: " + gate_transcript["concept"])]
if len(transcript):
    said_of.append(transcript.assign(about="latent " + transcript["latent"].astype(str)))
questions = pd.concat(said_of, ignore_index=True)
kind = questions["about"].str.split().str[0]
few = questions.groupby(
    [questions["experiment"], questions["judge"], questions["question"], kind], sort=False
).head(2)
given = {
    "describe": "asked for",
    "own": "its own",
    "right": "right",
    "shuffled": "another's",
    "same word": "its own, contexts of the same word",
}
page.table(
    few.assign(
        description=few["question"].map(given),
        question=few["prompt"],
        reminded=few["reminded"].map({True: "yes", False: "no"}),
    ).set_index("about")[["judge", "description", "question", "answer", "reminded"]],
    caption="Questions to the judges and their answers, as they were asked and answered; of the text matcher the excerpts "
    "and the words that it made of them, and the two contexts that fit a description best and least",
    folded=True,
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
# | `SANITY_JUDGE_MODEL` | model; several, separated by commas, repeat the measurement; without an address, a language model on this machine: `smollm2-135m`, `gemma3-270m` (`sanity fetch gemma3-270m`) or a folder | the text matcher alone |
# | `SANITY_JUDGE_KEY` | the key (`OPENAI_API_KEY` counts for `api.openai.com` only) | none is sent |
# | `SANITY_JUDGE_BUDGET_TOKENS` | most tokens of all runs together | 2,000,000 |
# | `SANITY_JUDGE_BUDGET_MONEY` | most money of all runs together | no limit |
# | `SANITY_JUDGE_PRICE_PROMPT`, `SANITY_JUDGE_PRICE_ANSWER` | price per million tokens | 0 |
# | `SANITY_JUDGE_REQUESTS_PER_MINUTE`, `SANITY_JUDGE_TOKENS_PER_MINUTE` | rate limits | 60, 100,000 |
# | `SANITY_JUDGE_UNENCRYPTED_HOST` | a host of your own network to which the key may go over http | none |
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

# %%
endpoint = endpoint_from()
prices = endpoint.prices if endpoint is not None and endpoint.prices != Prices() else Prices(0.15, 0.60)
window, costs = round(4.5 * one.drawn.window), []
for arms in (1, 6):  # the trained SAE, and with the five frozen variants of one of the paper's settings
    for size in (1, one.texts_per_question):
        usage = estimate_protocol(
            latents=200 * arms, examples=15, contexts=100, context_characters=window, texts_per_question=size
        )
        costs.append({"arms": arms, "contexts in a question": size, "calls": usage.calls,
                      "prompt tokens": usage.prompt_tokens, "answer tokens": usage.answer_tokens,
                      "money": prices.of(usage.prompt_tokens, usage.answer_tokens)})  # fmt: skip

# %% tags=["hide-input"]
table = pd.DataFrame(costs).set_index("arms")
page.table(
    table.assign(
        **{name: table[name].map("{:,}".format) for name in ("calls", "prompt tokens", "answer tokens")},
        money=table["money"].map("{:,.2f}".format),
    ),
    caption=f"What the paper's protocol may cost at {prices.prompt:g} per million prompt tokens and {prices.answer:g} per "
    "million answer tokens (an example, unless you set your own): 200 latents per arm, 15 + 100 contexts of "
    f"{one.drawn.window} tokens, and as many again with another latent's description.",
)

# %% tags=["hide-input"]
text = "x" * 3000
spending = [
    f"{code(spec.model)}: {one.expected(spec, len(page.read.runs(grid)))[0].words(endpoint.prices)}"
    for grid, one in asked.items()
    for spec in one.judges
    if spec.kind == "endpoint"
]
Markdown(
    f"Tokens are estimated without the judge's tokenizer, {count_tokens(text) / len(text):.2f} per character: high for prose, "
    "up to a fifth low for code."
    + (
        f" At the profile `{profile}` the judges of this run may cost: {'; '.join(spending)}."
        if spending
        else ""
    )
)

# %% [markdown]
# ## Can the metric be trusted?
#
# What its [validity gate](metric_validity.ipynb) says, which corrupts the metric's own reference in steps.

# %% tags=["hide-input"]
page.gates("autointerp_judge", "autointerp_judge_same_word")

# %% [markdown]
# ## What could be wrong
#
# - A score depends on the judge, and not in the same way for every arm: a judge that knows words well favours latents
#   that fire on one token. The chapter on interpretability without a judge tells how much is token identity.
# - The bundled judge counts words and compares them. It favours latents that fire on one rare word and is blind to what
#   takes reading. Arms whose latents differ only in what it is blind to look alike to it: an "equal" here is not one
#   for a language model, which is why claims need more than that both arms score alike.
# - A latent's strongest contexts can come from few documents. Then the words that stand out are those documents', and tell
#   nothing about contexts in others: so a description by counting errs, and so can one by reading. In the table of made-up
#   latents, topics suffer from it most.
# - Its knowledge that half of a question's contexts are activating lifts its scores over those of a judge that is asked
#   freely; it does so for every arm, and at chance it is worth nothing.
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
# - Every seed divides the text and draws the latents in its own way, as in the chapter without a judge. The text, the
#   judge and its seed are the same for all.
# - "Other contexts" are drawn at random, so a broad description (prose, code) gets far. Harder negatives would lower all
#   scores.

# %% tags=["hide-input"]
# The short answer on top of the page.
counted = summary[summary["judge"] == shown["judge"]].set_index("arm") if len(latents) else pd.DataFrame()
accuracies = "; ".join(
    f"{arm} {row['accuracy']:.2f}" + (f" (same word {row['same_word']:.2f})" if row["same_word"] > 0 else "")
    for arm, row in counted.iterrows()
)
page.answer(
    (
        f"{shown['judge']} tells contexts of a latent from others, by words alone: {accuracies}. Chance is 0.5."
        if len(counted)
        else f"No score: {shown['judge']} was asked about no latent."
    ),
    sure=f"the judge {'passes' if shown['passes'] else 'does not pass'} its own gate ({shown['why']}). Soft-frozen: "
    f"{page.verdict('judge-soft-frozen')}; among contexts of the same word {page.verdict('judge-soft-frozen-same-word')}; frozen "
    f"encoder: {page.verdict('judge-frozen-encoder')}.",
    scale=f"{one.latents} latents per arm and seed, {count(len(block.seeds), 'seed')}, up to {one.contexts} + {one.contexts} contexts of "
    f"{one.drawn.window} tokens. The judge is {'a text matcher' if shown['kind'] == 'matcher' else 'a language model'}; the "
    "paper asked large language models.",
)

# %% tags=["hide-input"]
page.provenance(seeds=sorted({seed for grid in asked for seed in page.profile.grid(grid).seeds}))
