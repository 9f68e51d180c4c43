"""The prose of the chapter `metric_validity`: sentences made of the numbers in its tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from sanity.claims import Ledger, gate_state, read_ledger
from sanity.engine.store import LocalStore
from sanity.experiments.metric_validity.judging import gate_table
from sanity.profiles import Profile

PARTS = ("encoder", "decoder", "latent biases")
MORE_NAMES: Mapping[str, str] = {
    "same_latents": "latent activations themselves",
    "encoder_decoder_cosine": "cosine of encoder and decoder",
}


def label_of(metric: str, ledger: Ledger) -> str:
    """A metric in words, whether or not the ledger knows it."""
    known = ledger.metrics.get(metric)
    return known.label if known else MORE_NAMES.get(metric, metric.replace("_", " "))


def summary(table: pd.DataFrame, ledger: Ledger) -> str:
    """How many metrics passed, which failed and with what, and for which nothing can be said."""
    if table.empty:
        return "No validity gate has been run at this profile, so none turns a verdict off."
    states: dict[str, list[str]] = {"passed": [], "failed": [], "not available": []}
    for metric in dict.fromkeys(table["metric"]):
        states[gate_state(table, [metric])].append(str(metric))
    total = sum(map(len, states.values()))
    parts = [f"Of {total} metrics of the ledger, **{len(states['passed'])} pass** their gate."]
    if states["failed"]:
        parts.append("**Failed:**")
        parts += [f"*{label_of(metric, ledger)}* ({_reasons(table, metric)})." for metric in states["failed"]]
        parts.append("Their numbers are shown wherever they appear, and every verdict on them is turned off.")
    else:
        parts.append("None fails.")
    if states["not available"]:
        unknown = "; ".join(
            f"*{label_of(metric, ledger)}* ({_reasons(table, metric)})" for metric in states["not available"]
        )
        parts.append(f"For {len(states['not available'])} there is no gate: {unknown}.")
    return " ".join(parts)


def note(profile: Profile, metrics: Collection[str], store: LocalStore | None = None) -> str:
    """One sentence per metric for the chapters that use it: its gate's state, and why."""
    ledger = read_ledger()
    table, _ = gate_table(profile, store, ledger=ledger, metrics=metrics)
    sentences = []
    for metric in dict.fromkeys(table["metric"]):
        state = gate_state(table, [metric])
        mark = "**failed its validity gate**" if state == "failed" else f"validity gate {state}"
        sentences.append(f"*{label_of(str(metric), ledger)}*: {mark} ({_reasons(table, str(metric))}).")
    return " ".join(sentences)


def _reasons(table: pd.DataFrame, metric: str) -> str:
    """Why a metric has its state, place by place, without repeating itself."""
    rows = table[(table["metric"] == metric) & (table["state"] == gate_state(table, [metric]))]
    plain = rows["reason"].str.removeprefix("gate not available: ")
    words = [f"{place}: {why}" if place else why for place, why in zip(rows["place"], plain, strict=True)]
    return "; ".join(dict.fromkeys(words))


def truth_words(readings: pd.DataFrame) -> str:
    """What the metrics of the synthetic worlds say of the truth and of a random dictionary."""
    sentences = []
    mixed = readings[readings["kind"] == "mixed"]
    for place, part in mixed.groupby("place", sort=False):
        means = part.groupby(["metric", "level"])["value"].mean()
        ev, f1, found = (means[name] for name in ("explained_variance", "detection_f1", "recovery"))
        order = "in the order of the corruption" if ev.is_monotonic_decreasing else "out of order"
        sentences.append(
            f"With **{place}** probabilities, the true dictionary under its tied encoder explains "
            f"{ev.iloc[0]:.3f} of the variance and a random dictionary {ev.iloc[-1]:.3f}: the whole of the "
            f"truth is worth {ev.iloc[0] - ev.iloc[-1]:.3f}, {order}. Recovery falls from "
            f"{found.iloc[0]:.0%} to {found.iloc[-1]:.0%}, the F1 of detection from {f1.iloc[0]:.2f} to "
            f"{f1.iloc[-1]:.2f} of a ceiling of 1."
        )
    return " ".join(sentences)


def reads_words(reads: pd.DataFrame, ledger: Ledger) -> str:
    """With which parts each metric moves when they are scrambled, grouped."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for metric, row in reads.iterrows():
        parts = tuple(part for part in PARTS if bool(row[part]))
        groups.setdefault(parts, []).append(f"*{label_of(str(metric), ledger)}*")
    sentences = [
        f"{_joined(names)} {'moves' if len(names) == 1 else 'move'} with "
        f"{_joined([f'the {part}' for part in parts]) if parts else 'none of the parts scrambled here'}."
        for parts, names in groups.items()
    ]
    return " ".join(f"*{sentence[1].upper()}{sentence[2:]}" for sentence in sentences)


def task_reads_words(reads: pd.DataFrame) -> str:
    """What metrics can read that are functions of what was scrambled."""
    latents = [f"the {part}" for part in PARTS if bool(reads.loc["same_latents", part])]
    unread = [f"the {part}" for part in PARTS if not bool(reads.loc["same_latents", part])]
    return (
        "Sparse probing and both interpretability scores are functions of latent activations alone, so they "
        f"can read no more than {_joined(latents)}: scrambling {_joined(unread) if unread else 'nothing'} "
        "leaves every activation as it is. Where such a score hardly moves although every activation does, "
        "other latents have served it as well. Causal editing puts reconstructions back into the model, and "
        "reads what explained variance reads."
    )


def _joined(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
