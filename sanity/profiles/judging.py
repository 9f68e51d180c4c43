"""Auto-interpretability with a language model as judge."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sanity.profiles.entry import ArmNames, Entry, Positive


class JudgeAmount(Entry):
    """How much a judge is asked."""

    arms: tuple[ArmNames, ...]
    """Of those in the primary grid."""
    seeds: tuple[int, ...] = (0,)
    latents: Annotated[int, Field(ge=2)] = 200
    """Per arm and seed, the first ones drawn; fewer where fewer were drawn."""
    examples: Annotated[int, Field(ge=1, le=15)] = 15
    """Strongest contexts that a description is made from."""
    contexts: Positive = 50
    """Activating contexts to recognise, and as many others."""
    gate_contexts: Annotated[int, Field(ge=2)] = 20
    """Excerpts that have a known concept, and as many that have not, for each concept of the gate."""


class JudgingGrid(Entry):
    """Auto-interpretability with a language model as judge."""

    bundled: tuple[str, ...] = ("smollm2-135m",)
    """Judges that need no endpoint: known subjects, or folders with a language model."""
    by_bundled: JudgeAmount = JudgeAmount(arms=(ArmNames(constraint="trained"),))
    """What those are asked."""
    by_named: JudgeAmount = JudgeAmount(arms=(ArmNames(constraint="trained"),))
    """What judges are asked that the environment names (SANITY_JUDGE_MODEL)."""
    texts_per_question: Positive = 10
    """Contexts that a judge behind an endpoint classifies in one call; a local one has one at a time."""
    gate_margin: Annotated[float, Field(gt=0, lt=0.5)] = 0.25
    """How far above chance a judge has to be where the truth is known."""
    reseeds: Annotated[int, Field(ge=2)] = 12
    """Draws of the graded corruption of known descriptions, all from the same answers."""
    seed: int = 0
    """Of excerpts, and passed on to endpoints. With an arm's own seed added: of its latents' silent contexts,
    of the order of contexts, and of who gets whose description."""
