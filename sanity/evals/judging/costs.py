"""What judges take: questions and tokens by the protocol, and seconds by the kind of judge."""

from __future__ import annotations

from sanity.engine.cells import Cost
from sanity.evals.judging.asking import JudgeSpec
from sanity.evals.judging.budget import Usage, estimate_protocol

# What the small language model takes on two cores: seconds per prompt token, per description, and to load.
_TOKEN_SECONDS, _DESCRIPTION_SECONDS, LOAD_SECONDS = 1 / 700, 2.0, 3.0
# What the text matcher takes: seconds per latent.
_MATCHED_SECONDS = 0.006


def usage_of(spec: JudgeSpec, **asked: int) -> Usage:
    """Calls and tokens of a judge for what `estimate_protocol` is `asked`; comparing texts takes none."""
    if spec.kind == "matcher":
        return Usage()
    return estimate_protocol(texts_per_question=spec.texts_per_question, **asked)


def cost_of(spec: JudgeSpec, usage: Usage, *, descriptions: int) -> Cost:
    """Seconds on this machine, or of waiting for an endpoint at its default rate of a call a second."""
    if spec.kind == "endpoint":
        return Cost(2.0 + usage.calls, disk_bytes=10_000 + 2 * usage.tokens)
    if spec.kind == "matcher":
        return Cost(0.5 + descriptions * _MATCHED_SECONDS, disk_bytes=10_000 + 1_000 * descriptions)
    # What the questions about one description have in common is run once: about 0.6 of their tokens.
    seconds = 0.4 * usage.prompt_tokens * _TOKEN_SECONDS + descriptions * _DESCRIPTION_SECONDS
    return Cost(seconds, disk_bytes=10_000 + 2 * usage.tokens, memory_bytes=3 * 10**9)
