"""What a check found: tables, and all of it as plain data."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from sanity.checking.comparing import (
    BEATS,
    GIVEN,
    HEADLINES,
    MATCHED,
    compare,
    equivalence_curves,
    summarise,
)
from sanity.checking.request import BASELINES, EPOCHS, EVALS, LEARNING_RATE, CheckedArm
from sanity.claims import failed_metrics, gate_table
from sanity.engine.cells import Result
from sanity.engine.files import read_json, replacing, write_atomically
from sanity.engine.machine import provenance
from sanity.errors import BadInputError
from sanity.evals.metric import METRICS
from sanity.experiments.plans import Plan
from sanity.experiments.reading import Reader, stack
from sanity.models import JumpReLU
from sanity.sources import RunSpec

if TYPE_CHECKING:
    from sanity.checking.check import Check

TABLES = ("scores", "comparisons", "summary", "curves", "examples", "gates")


@dataclass(frozen=True, eq=False)
class Report:
    """What a check found.

    Attributes
    ----------
    facts
        What was checked, where, on what; what could not be matched; how to do it again. Plain data.
    scores
        A row per arm, seed and metric. `arm` is "given SAE" or the null's name.
    comparisons
        A row per metric and null; see `sanity.checking.comparing.compare`.
    summary
        A row per metric: `answer`, and which nulls match.
    curves
        Equivalence at every margin.
    examples
        The strongest contexts of a few latents of each arm.
    gates
        The validity gates of the metrics on this hook and text.
    """

    facts: dict[str, Any]
    scores: pd.DataFrame
    comparisons: pd.DataFrame
    summary: pd.DataFrame
    curves: pd.DataFrame
    examples: pd.DataFrame
    gates: pd.DataFrame
    found: Sequence[Result] = ()
    """What it was made from, for provenance; not kept with the report."""

    @property
    def headline(self) -> pd.DataFrame:
        """The rows of `summary` by which the check answers."""
        return self.summary[self.summary["metric"].isin(HEADLINES)].reset_index(drop=True)

    @property
    def matched(self) -> bool:
        """Whether a null matches the given SAE in a headline metric."""
        return bool((self.headline["answer"] == MATCHED).any())

    @property
    def answer(self) -> str:
        """The answer in plain words."""
        rows = self.headline
        beats = rows[rows["answer"] == BEATS]
        parts = [f"beats every null in {_listed(list(beats['label']))}" if len(beats) else ""]
        matched = rows[rows["answer"] == MATCHED]
        for nulls, part in matched.groupby("matched_by", sort=False):
            parts.append(f"is matched or beaten in {_listed(list(part['label']))} by {nulls}")
        open_ = rows[~rows["answer"].isin([BEATS, MATCHED])]
        parts.append(
            f"cannot be told from its nulls yet in {_listed(list(open_['label']))}" if len(open_) else ""
        )
        said = "; it ".join(part for part in parts if part) or "was asked nothing that has a better side"
        return f"{self.facts['name']} {said}."

    def to_json(self) -> dict[str, Any]:
        """Everything but the examples, as plain data."""
        tables = {
            n: json.loads(getattr(self, n).to_json(orient="records"))
            for n in ("summary", "comparisons", "scores")
        }
        return {"answer": self.answer, "matched": self.matched, **self.facts, **tables}

    def save(self, folder: Path) -> Path:
        """Write `check.json` and the tables as parquet; `Report.load` reads them."""
        for name in TABLES:
            with replacing(folder / f"{name}.parquet") as path:
                getattr(self, name).to_parquet(path, index=False)
        write_atomically(folder / "check.json", json.dumps(self.to_json(), indent=1))
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Report:
        """What `save` wrote."""
        folder = Path(folder)
        if not (folder / "check.json").is_file():
            raise BadInputError(f"{folder} holds no report of a check: give the folder that was --out")
        facts = dict(read_json(folder / "check.json"))
        drop = ("answer", "matched", "summary", "comparisons", "scores")
        tables: dict[str, Any] = {name: pd.read_parquet(folder / f"{name}.parquet") for name in TABLES}
        return cls({name: value for name, value in facts.items() if name not in drop}, **tables)


def _listed(labels: Sequence[str]) -> str:
    *first, last = labels
    return f"{', '.join(first)} and {last}" if first else last


def make_report(
    check: Check,
    plan: Plan,
    arms: Mapping[RunSpec, CheckedArm],
    fits: Sequence[Mapping[str, Any]],
    *,
    seconds: float,
) -> Report:
    """Read a check's scores, and compare."""
    reader = Reader(plan, check.store)
    scores = _table("scores", reader, plan, arms)
    examples = _table("examples", reader, plan, arms)
    measured = {name: METRICS[name] for name in scores["metric"].unique() if name in METRICS}
    gates = gate_table(reader.graded(), metrics=measured)
    compared = compare(scores, failed_metrics(gates), several=len(check.givens) > 1)
    return Report(
        facts_of(check, fits, seconds),
        scores,
        compared,
        summarise(compared),
        equivalence_curves(compared),
        examples[examples["seed"] == 0] if len(examples) else examples,
        gates,
        list(reader.found),
    )


def _table(name: str, reader: Reader, plan: Plan, arms: Mapping[RunSpec, CheckedArm]) -> pd.DataFrame:
    """A table that evals keep next to each SAE's scores, with the arm's name and the eval's."""
    asked = [(run, one, cell) for run in plan.runs for one, cell in run.scored.items()]
    found = reader.results([cell for *_, cell in asked])
    return stack(
        [
            result.table(name).assign(arm=arms[run.run].name, kind=arms[run.run].kind, eval=one)
            for (run, one, _), result in zip(asked, found, strict=True)
            if f"{name}.parquet" in result.files
        ]
    )


def facts_of(check: Check, fits: Sequence[Mapping[str, Any]], seconds: float) -> dict[str, Any]:
    """What was checked, where and on what, as plain data."""
    first, size = check.givens[0], check.size
    return {
        "name": check.name,
        "saes": [
            {"name": one.name, "library": one.library, "weights": one.weights, "notes": list(one.notes),
             "fit": dict(fit), "d_sae": one.d_sae, "d_in": one.d_in}
            for one, fit in zip(check.givens, fits, strict=True)
        ],
        "config": json.loads(json.dumps(dict(first.config), default=str)),
        "model": check.model,
        "hook": check.hook,
        "named_hook": first.hook,
        "text": list(check.request.text),
        "architecture": first.recipe_at(fits[0]["l0"]).label,
        "tokens": size.tokens,
        "tokens_seen": EPOCHS * size.tokens,
        "held_out_tokens": size.held_out,
        "seeds": check.request.seeds,
        "baselines": list(check.baselines),
        "evals": list(check.request.evals),
        "given": GIVEN,
        "not_matched": not_matched(check),
        "seconds": round(seconds, 1),
        "minutes_asked": check.request.minutes,
        "command": command(check),
        "provenance": provenance(threads=1),
    }  # fmt: skip


def not_matched(check: Check) -> list[str]:
    """In which ways the nulls differ from the given SAE, and what that means for the reading."""
    first, size = check.givens[0], check.size
    said = first.config.get("training_tokens") or (first.config.get("metadata") or {}).get("training_tokens")
    trained = (
        f"{said:,} tokens" if isinstance(said, int) else "a number of tokens that its folder does not say"
    )
    found = [
        f"Training data: the given SAE saw {trained}; nulls saw {size.tokens:,} tokens of this text "
        f"{EPOCHS} times. A lead may be a lead in training, and not in kind; nulls that match it all the "
        "same do so at a disadvantage. --tokens gives them more, --baselines trained adds an ordinary SAE "
        "with the same little training.",
        f"Optimiser: nulls train with AdamW at {LEARNING_RATE:g} and this package's schedule.",
    ]
    if isinstance(first.recipe, JumpReLU) and first.config.get("architecture") == "gated":
        found.append("Architecture: a gated SAE is a JumpReLU at inference; its nulls train as such.")
    if left := sorted(set(check.request.baselines) - set(check.baselines)):
        found.append(
            f"Left out, since the SAE is an object with a decoder of its own code: {', '.join(left)}."
        )
    if "random_model" in check.baselines:
        found.append(
            "Activations: the null that is trained on a random model is scored on that model's activations."
        )
    if len(check.givens) == 1:
        found.append(
            "Seeds: one given SAE is one seed. What is said is about this SAE and not about its recipe; "
            "--paths takes several seeds of a recipe."
        )
    return found


def command(check: Check) -> str:
    """The command that makes this check again."""
    asked = check.request
    paths = [one.path or one.name for one in check.givens]
    words = ["sanity", "check", *paths]
    words += ["--model", str(check.model), "--hook", str(check.hook), "--tokens", str(check.size.tokens)]
    words += ["--seeds", str(asked.seeds)]
    if asked.text != ("registry",):
        words += [word for name in asked.text for word in ("--text", name)]
    if asked.baselines != BASELINES:
        words += ["--baselines", ",".join(asked.baselines)]
    if asked.evals != EVALS:
        words += ["--evals", ",".join(asked.evals)]
    if asked.scale is not None:
        words += ["--scale", asked.scale]
    return shlex.join(words)
