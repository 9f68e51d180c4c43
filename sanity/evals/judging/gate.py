"""Whether a judge can judge: concepts whose truth is known, described rightly and wrongly.

Nothing here depends on any autoencoder. Excerpts come from labelled sources (code, medical abstracts,
reviews) or hold what a regular expression finds (a year, a question, a sum of money), so it is known which
fit. A judge passes when it recognises them with the right descriptions and not with others'.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch

from sanity.errors import BadInputError
from sanity.evals.base import graded_row
from sanity.evals.drawing import derangement
from sanity.evals.judging.asking import MOST_UNANSWERED, Judge, Transcript, credit
from sanity.evals.judging.protocol import VERSION
from sanity.evals.judging.scoring import CHANCE, METRIC
from sanity.evals.score import Score

if TYPE_CHECKING:
    import pandas as pd

GATE_MARGIN = 0.25
"""How far above chance the accuracy with right descriptions has to be: half of the range."""
FLOOR_MARGIN = 0.1
"""How far above chance the accuracy with others' descriptions may be."""

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
SHUFFLED_KIND = "shuffled"
"""What graded corruption of the gate's questions is called."""
_WORDS = 22
_CHARACTERS = 130


@dataclass(frozen=True)
class Excerpt:
    """A few lines of a document, and where they are from."""

    source: str
    text: str


@dataclass(frozen=True)
class Concept:
    """Something that an excerpt has or has not."""

    name: str
    description: str
    holds: Callable[[Excerpt], bool]


def _from(source: str) -> Callable[[Excerpt], bool]:
    return lambda excerpt: excerpt.source == source


def _has(pattern: str) -> Callable[[Excerpt], bool]:
    compiled = re.compile(pattern)
    return lambda excerpt: compiled.search(excerpt.text) is not None


CONCEPTS = (
    Concept("code", "computer program code or markup", _from("code")),
    Concept("medicine", "medical reports about patients, diseases and treatment", _from("medicine")),
    Concept("reviews", "customers' reviews of products, shops or restaurants", _from("reviews")),
    Concept("year", "texts that name a particular year, such as 1987", _has(r"\b(1[5-9]|20)\d\d\b")),
    Concept("question", "texts with a question mark in them", _has(r"\?")),
    Concept("money", "texts that name a sum of money in dollars", _has(r"\$ ?\d")),
)
SOURCE_NAMES = ("code", "medicine", "reviews", "stories", "news", "speeches")


def excerpts_from(documents: Mapping[str, Iterable[str]], *, per_source: int, seed: int) -> list[Excerpt]:
    """One excerpt of about 22 words from each of the first `per_source` long enough texts of every source."""
    found: list[Excerpt] = []
    for number, (source, texts) in enumerate(documents.items()):
        generator = torch.Generator().manual_seed(1_000_003 * seed + number)
        cut = (_excerpt(text, generator) for text in texts)
        found += [Excerpt(source, text) for text in islice((t for t in cut if t), per_source)]
    return found


def registry_excerpts(*, per_source: int = 150, seed: int = 0) -> list[Excerpt]:
    """Excerpts of the default text, with the name of their source."""
    from sanity.data import SOURCES

    def texts(name: str) -> Iterator[str]:
        return (document.text for document in SOURCES[name].documents(seed=seed))

    return excerpts_from({name: texts(name) for name in SOURCE_NAMES}, per_source=per_source, seed=seed)


def _excerpt(text: str, generator: torch.Generator) -> str | None:
    words = list(re.finditer(r"\S+", text))
    if len(words) < 2 * _WORDS:
        return None
    first = int(torch.randint(len(words) - _WORDS, (1,), generator=generator))
    return text[words[first].start() : words[first + _WORDS - 1].end()][:_CHARACTERS]


@dataclass(frozen=True)
class GateReport:
    """How a judge did where the truth is known."""

    concepts: pd.DataFrame
    """A row per concept: accuracy with the right and with another's description."""
    items: pd.DataFrame
    """A row per concept and excerpt: truth, and the credit with either description."""
    transcript: pd.DataFrame

    def verdict(self, *, margin: float = GATE_MARGIN) -> tuple[bool, str]:
        """Whether the judge passed, and why not."""
        return gate_verdict(self.concepts, margin=margin)


def run_gate(
    judge: Judge,
    excerpts: Sequence[Excerpt],
    *,
    n: int,
    seed: int,
    concepts: Sequence[Concept] = CONCEPTS,
) -> GateReport:
    """Ask `judge` about `n` excerpts that have each concept and `n` that have not.

    Raises `BadInputError` when there are too few excerpts of a kind.
    """
    import pandas as pd

    drawn = [_draw(concept, excerpts, n, seed * 1009 + i) for i, concept in enumerate(concepts)]
    others = derangement(len(concepts), torch.Generator().manual_seed(seed))
    transcript = Transcript()
    said = {}
    for kind, given in (("right", range(len(concepts))), ("shuffled", others)):
        said[kind] = judge.classify(
            [(concepts[g].description, texts) for g, (texts, _) in zip(given, drawn, strict=True)]
        )
        for concept, found in zip(concepts, said[kind], strict=True):
            for asked in found.asked:
                transcript.add(asked, concept=concept.name, question=kind)
    rows, items = [], []
    for i, (concept, (_, truth)) in enumerate(zip(concepts, drawn, strict=True)):
        right, other = said["right"][i], said["shuffled"][i]
        missing = [v is None for v in (*right.verdicts, *other.verdicts)]
        rows.append(
            {
                "concept": concept.name,
                "description": concept.description,
                "accuracy": credit(right.verdicts, truth),
                "shuffled": credit(other.verdicts, truth),
                "ranked": _auroc(right.log_odds, truth),
                "said_yes": sum(v is True for v in right.verdicts) / len(truth),
                "unanswered": sum(missing) / len(missing),
                "contexts": len(truth),
            }
        )
        items += [
            {
                "concept": concept.name,
                "fits": true,
                "right": credit([right.verdicts[k]], [true]),
                "shuffled": credit([other.verdicts[k]], [true]),
            }
            for k, true in enumerate(truth)
        ]
    return GateReport(pd.DataFrame(rows), pd.DataFrame(items), pd.DataFrame(transcript.rows))


def _draw(concept: Concept, excerpts: Sequence[Excerpt], n: int, seed: int) -> tuple[list[str], list[bool]]:
    """`n` excerpts with the concept and `n` without, in random order."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(excerpts), generator=generator).tolist()
    kinds = {
        wanted: [excerpts[i].text for i in order if concept.holds(excerpts[i]) is wanted]
        for wanted in (True, False)
    }
    if min(map(len, kinds.values())) < n:
        raise BadInputError(
            f"the concept {concept.name!r} needs {n} excerpts with it and {n} without, but there are "
            f"{len(kinds[True])} and {len(kinds[False])}: read more documents, or ask for fewer"
        )
    both = [(text, wanted) for wanted, texts in kinds.items() for text in texts[:n]]
    mixed = [both[i] for i in torch.randperm(2 * n, generator=generator).tolist()]
    return [text for text, _ in mixed], [wanted for _, wanted in mixed]


def _auroc(log_odds: Sequence[float | None], truth: Sequence[bool]) -> float:
    """How well the log odds rank the excerpts (chance 0.5); NaN where the judge's are not known."""
    from sklearn.metrics import roc_auc_score

    if any(odds is None for odds in log_odds):
        return float("nan")
    return float(roc_auc_score(list(truth), [float(odds or 0.0) for odds in log_odds]))


def gate_verdict(concepts: pd.DataFrame, *, margin: float = GATE_MARGIN) -> tuple[bool, str]:
    """Whether a judge passed, from the rows of `GateReport.concepts`, and the reason in words."""
    right, shuffled = float(concepts["accuracy"].mean()), float(concepts["shuffled"].mean())
    missing = float(concepts["unanswered"].mean())
    numbers = f"accuracy {right:.2f} with right descriptions and {shuffled:.2f} with shuffled ones"
    if missing > MOST_UNANSWERED:
        return False, f"{missing:.0%} of its answers could not be used ({MOST_UNANSWERED:.0%} are allowed)"
    if right < 0.5 + margin:
        return False, f"{numbers}; {0.5 + margin:.2f} is needed with right ones"
    if shuffled > 0.5 + FLOOR_MARGIN:
        return False, f"{numbers}; it answers well without looking at the description"
    return True, numbers


def graded_accuracy(
    items: pd.DataFrame, *, seeds: Sequence[int], levels: Sequence[float] = LEVELS
) -> pd.DataFrame:
    """Accuracy on known concepts as more and more questions come with another concept's description.

    At `level` 0 all descriptions are right, at 1 none is. Both answers to every question are known, so this
    asks nothing again. A seed draws questions, with replacement, and which of them are corrupted: a bootstrap
    of the same answers about the same excerpts. The spread over seeds is what chance in the choice among
    these questions does; what another set of excerpts would do is not covered. Columns: metric, level, seed,
    value, floor, ceiling, n.
    """
    import pandas as pd

    right, shuffled = items["right"].to_numpy(), items["shuffled"].to_numpy()
    rows = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        drawn, order = rng.integers(len(items), size=len(items)), rng.permutation(len(items))
        for level in levels:
            corrupted = order < round(level * len(items))
            value = float(np.where(corrupted, shuffled[drawn], right[drawn]).mean())
            score = Score(METRIC, value, CHANCE, 1.0, True, len(items), "question", VERSION)
            rows.append(graded_row(score, SHUFFLED_KIND, level, seed))
    return pd.DataFrame(rows)
