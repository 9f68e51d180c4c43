"""What judges' tables say, in sentences and tables for the chapter."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pandas as pd

from sanity.evals.judging import (
    FLOOR_MARGIN,
    MOST_UNANSWERED,
    Prices,
    count_tokens,
    endpoint_from,
    estimate_protocol,
    protocol,
)
from sanity.experiments.findings import arm_words
from sanity.experiments.judged_interpretability import JudgeTables, chosen, summary
from sanity.experiments.judged_interpretability_cells import expected_usage, plan_judges
from sanity.profiles import Profile

PAPER_ARMS = 6
"""Arms of one of the paper's settings: the trained SAE and five frozen variants."""


def configured_words(found: Sequence[JudgeTables]) -> str:
    """Who judges here, and whether a judge of the reader's own is among them."""
    named = [judge for judge in found if judge.spec.kind == "endpoint"]
    names = ", ".join(f"`{judge.spec.model}`" for judge in found)
    if named:
        return f"Judges on this page: {names}; {len(named)} of them behind an endpoint."
    return (
        "**No judge was configured for this run** (`SANITY_JUDGE_URL` is not set): the page shows what "
        f"a model on this machine does, {names}, and nothing else."
    )


def gate_words(found: Sequence[JudgeTables], *, margin: float) -> str:
    """Which judges passed their gate, and with what numbers."""
    sentences = []
    for judge in found:
        n = int(judge.concepts["contexts"].sum())
        verdict = "**passes**" if judge.passed else "**does not pass**"
        sentences.append(
            f"`{judge.spec.model}` {verdict} on {n} excerpts of {len(judge.concepts)} concepts: {judge.why}."
            + _ranking_words(judge.concepts)
        )
    return "\n\n".join(
        [
            f"A judge passes with a mean accuracy of {0.5 + margin:.2f} or more with the right descriptions, "
            f"{0.5 + FLOOR_MARGIN:.2f} or less with others', and at most {MOST_UNANSWERED:.0%} unusable "
            "answers.",
            *sentences,
        ]
    )


def _ranking_words(concepts: pd.DataFrame) -> str:
    """Whether a judge fails for its bias alone: what its log odds would have ranked rightly."""
    ranked = concepts["ranked"].dropna()
    if ranked.empty:
        return ""
    return (
        f" It said yes to {concepts['said_yes'].mean():.0%} of them. Its log odds of yes over no, whatever "
        f"their threshold, rank the excerpts with an AUROC of {ranked.mean():.2f} (chance 0.5)."
    )


def result_words(found: Sequence[JudgeTables]) -> str:
    """What can be concluded from the judges' scores."""
    judge = chosen(found)
    if judge is None:
        return (
            "**No judge able to judge was at hand at this profile.** The scores below are those of a judge "
            "that failed its gate. They are shown because they were measured, they say nothing about the "
            "arms, and no claim of this book is judged by them."
        )
    others = [other.spec.model for other in found if other.passed and other is not judge]
    more = f" {', '.join(f'`{name}`' for name in others)} repeat them below." if others else ""
    return f"Claims are judged by the scores of `{judge.spec.model}`, the first judge that passed.{more}"


def arms_words(judge: JudgeTables) -> str:
    """The mean accuracy of every arm, with own and with others' descriptions, as the text of a figure."""
    table = summary(judge)
    if table.empty:
        return f"{judge.spec.model} gave no score."
    parts = [
        f"{arm_words(str(row['constraint']), str(row['init']))} {row['accuracy']:.2f} "
        f"(shuffled {row['shuffled descriptions']:.2f}, {row['latents']} latents)"
        for row in table.to_dict("records")
    ]
    failed = "" if judge.passed else ", a judge that failed its gate"
    return f"Mean accuracy by {judge.spec.model}{failed}: {'; '.join(parts)}."


def summary_rows(judge: JudgeTables) -> pd.DataFrame:
    """`summary` with arms as readers see them."""
    table = summary(judge)
    names = [
        arm_words(str(c), str(i)) for c, i in zip(table.pop("constraint"), table.pop("init"), strict=True)
    ]
    table.insert(0, "arm", names)
    return table


def parameter_rows(profile: Profile, judge: JudgeTables) -> pd.DataFrame:
    """The protocol's numbers: the paper's, ours, and why they differ."""
    amount, grid = judge.amount, profile.judging
    budget = f"the budget of the profile {profile.name}"
    answered = "log-probabilities of Yes and No" if judge.spec.kind == "local" else "generated, temperature 0"
    rows = [
        ("judge", "two language models, not named here", judge.spec.label, "what is at hand"),
        ("latents per arm and seed", "200", f"{amount.latents}", budget),
        ("drawn from", "alive (frequency >= 1e-6)", "alive, firing in enough contexts", "held-out contexts"),
        ("contexts to describe", "up to 15", f"up to {amount.examples}", budget),
        ("contexts to classify", "50 + 50", f"up to {amount.contexts} + {amount.contexts}", budget),
        ("contexts in one question", "not stated", f"{judge.spec.texts_per_question}", "cost"),
        ("answers", "not stated", answered, "the same answer every time"),
        ("tokens per context", "not stated", profile.interpretability.window, "as without a judge"),
        ("arms", "trained and frozen variants", len(amount.arms), budget),
        ("seeds", "not stated", len(amount.seeds), budget),
        (
            "excerpts per known concept",
            "none",
            f"{amount.gate_contexts} + {amount.gate_contexts}",
            "the gate",
        ),
        ("margin of the gate", "none", f"{grid.gate_margin:g}", "half of the way from chance to 1"),
    ]
    return pd.DataFrame(rows, columns=["", "paper", "here", "why"]).set_index("").astype(str)


def prompts_text() -> str:
    """Every prompt of the protocol, verbatim, as Markdown."""
    parts = {
        "To describe: system": protocol.DESCRIBE_SYSTEM,
        "To describe: question": protocol.DESCRIBE,
        "To describe: reminder after an unusable answer": protocol.DESCRIBE_REMINDER,
        "To classify: system": protocol.CLASSIFY_SYSTEM,
        "To classify one text: question": protocol.CLASSIFY_ONE,
        "To classify one text: reminder": protocol.CLASSIFY_ONE_REMINDER,
        "To classify several texts: question": protocol.CLASSIFY_MANY,
        "To classify several texts: reminder": protocol.CLASSIFY_MANY_REMINDER,
    }
    blocks = [f"**{name}**\n\n````text\n{text}\n````" for name, text in parts.items()]
    return f"Protocol version {protocol.VERSION}.\n\n" + "\n\n".join(blocks)


def cost_table(profile: Profile, prices: Prices) -> pd.DataFrame:
    """What a judge behind an endpoint may cost: the paper's protocol, and what this profile would ask."""
    window = round(4.5 * profile.interpretability.window)
    rows: list[dict[str, Any]] = []
    for name, latents in (
        ("the paper's protocol, one arm", 200),
        (f"the paper's protocol, {PAPER_ARMS} arms", 200 * PAPER_ARMS),
    ):
        for size in (1, profile.judging.texts_per_question):
            usage = estimate_protocol(
                latents=latents,
                examples=15,
                contexts=100,
                context_characters=window,
                texts_per_question=size,
            )
            rows.append(
                {
                    "what": f"{name}, {size} context{'s' if size > 1 else ''} in a question",
                    "calls": f"{usage.calls:,}",
                    "prompt tokens": f"{usage.prompt_tokens:,}",
                    "answer tokens": f"{usage.answer_tokens:,}",
                    "money": f"{prices.of(usage.prompt_tokens, usage.answer_tokens):,.2f}",
                }
            )
    return pd.DataFrame(rows)


def spending_words(profile: Profile) -> str:
    """What the judges of this run may cost, for those behind an endpoint."""
    endpoint = endpoint_from()
    if endpoint is None:
        return ""
    parts = [
        f"`{judge.spec.model}`: {expected_usage(profile, judge).words(endpoint.prices)}"
        for judge in plan_judges(profile)
        if judge.spec.kind == "endpoint"
    ]
    return f"At the profile `{profile.name}` the judges of this run may cost: {'; '.join(parts)}."


def example_prices() -> Prices:
    """The user's prices where they are given, and an example otherwise."""
    endpoint = endpoint_from()
    if endpoint is not None and endpoint.prices != Prices():
        return endpoint.prices
    return Prices(0.15, 0.60)


def description_rows(judge: JudgeTables, *, per_arm: int = 3) -> pd.DataFrame:
    """A few latents of each arm with the judge's descriptions and accuracies."""
    if judge.latents.empty:
        return pd.DataFrame()
    some = judge.latents.groupby(["constraint", "init"], sort=False).head(per_arm)
    return pd.DataFrame(
        {
            "arm": [arm_words(str(c), str(i)) for c, i in zip(some["constraint"], some["init"], strict=True)],
            "latent": some["latent"],
            "description": some["description"].replace("", "(no usable answer)"),
            "accuracy": some["accuracy"],
            "with another's": some["shuffled"],
        }
    )


def question_rows(judge: JudgeTables, *, each: int = 2) -> pd.DataFrame:
    """A few questions of each kind with the judge's answers, as they were asked and answered."""
    parts = [judge.gate_transcript.assign(about=lambda t: "known concept: " + t["concept"])]
    if not judge.transcript.empty:
        parts.append(judge.transcript.assign(about=lambda t: "latent " + t["latent"].astype(str)))
    rows = pd.concat(parts, ignore_index=True)
    some = rows.groupby(rows["question"] + rows["about"].str.split().str[0], sort=False).head(each)
    return pd.DataFrame(
        {
            "about": some["about"],
            "description": some["question"].map(
                {"describe": "asked for", "own": "its own", "right": "right", "shuffled": "another's"}
            ),
            "question": some["prompt"],
            "answer": some["answer"],
            "reminded": some["reminded"].map({True: "yes", False: "no"}),
        }
    )


def agreement_rows(found: Sequence[JudgeTables]) -> pd.DataFrame:
    """How far two judges agree on the latents that both were asked about: a row per pair of judges."""
    latent = ["subject", "world_or_hook", "constraint", "init", "seed", "latent"]
    asked = [judge for judge in found if not judge.latents.empty]
    rows: list[dict[str, Any]] = []
    for one, other in combinations(asked, 2):
        both = one.latents.merge(other.latents, on=latent, suffixes=("", " other"))
        if len(both) > 2:
            rows.append(
                {
                    "judges": f"{one.spec.model}, {other.spec.model}",
                    "latents": len(both),
                    "mean difference": (both["accuracy"] - both["accuracy other"]).mean(),
                    "rank correlation": _rank_correlation(both["accuracy"], both["accuracy other"]),
                    "passed": ", ".join("yes" if judge.passed else "no" for judge in (one, other)),
                }
            )
    return pd.DataFrame(rows)


def _rank_correlation(a: pd.Series, b: pd.Series) -> float:
    """Spearman's; NaN where a judge gave all latents the same."""
    return float("nan") if min(a.nunique(), b.nunique()) < 2 else float(a.corr(b, method="spearman"))


def tokens_words() -> str:
    """How tokens are counted before the first call."""
    text = "x" * 3000
    return (
        f"Tokens are estimated without the judge's tokenizer, {count_tokens(text) / len(text):.2f} per "
        "character: high for prose, up to a fifth low for code."
    )
