"""A judge of latents: the paper's protocol, by comparing texts or by a language model here or elsewhere."""

from __future__ import annotations

from sanity.evals.judging import protocol
from sanity.evals.judging.asking import (
    MOST_UNANSWERED,
    UNANSWERED_CREDIT,
    Answerer,
    Asker,
    Classified,
    Judge,
    JudgeSpec,
)
from sanity.evals.judging.budget import (
    Prices,
    Spending,
    Usage,
    count_tokens,
    estimate,
    estimate_protocol,
)
from sanity.evals.judging.cache import Answer, AnswerCache
from sanity.evals.judging.client import EndpointJudge, open_endpoint
from sanity.evals.judging.describing import Corpus, described
from sanity.evals.judging.errors import BudgetError, JudgeError
from sanity.evals.judging.gate import (
    CONCEPTS,
    FLOOR_MARGIN,
    GATE_MARGIN,
    Excerpt,
    GateReport,
    gate_verdict,
    graded_accuracy,
    registry_excerpts,
    run_gate,
)
from sanity.evals.judging.interpretability import JudgedInterpretability
from sanity.evals.judging.local import LocalJudge, open_local
from sanity.evals.judging.matching import TextMatcher, open_matcher
from sanity.evals.judging.planted import planted_accuracy
from sanity.evals.judging.protocol import Conversation, Message
from sanity.evals.judging.scoring import (
    METRIC,
    SAME_WORD,
    Judged,
    LatentTexts,
    judge_latents,
    latent_texts,
    texts_of,
)
from sanity.evals.judging.settings import MATCHER, Endpoint, Key, endpoint_from, judges_called, model_names

__all__ = [
    "CONCEPTS",
    "FLOOR_MARGIN",
    "GATE_MARGIN",
    "MATCHER",
    "METRIC",
    "MOST_UNANSWERED",
    "SAME_WORD",
    "UNANSWERED_CREDIT",
    "Answer",
    "AnswerCache",
    "Answerer",
    "Asker",
    "BudgetError",
    "Classified",
    "Conversation",
    "Corpus",
    "Endpoint",
    "EndpointJudge",
    "Excerpt",
    "GateReport",
    "Judge",
    "JudgeError",
    "JudgeSpec",
    "Judged",
    "JudgedInterpretability",
    "Key",
    "LatentTexts",
    "LocalJudge",
    "Message",
    "Prices",
    "Spending",
    "TextMatcher",
    "Usage",
    "count_tokens",
    "described",
    "endpoint_from",
    "estimate",
    "estimate_protocol",
    "gate_verdict",
    "graded_accuracy",
    "judge_latents",
    "judges_called",
    "latent_texts",
    "model_names",
    "open_endpoint",
    "open_local",
    "open_matcher",
    "planted_accuracy",
    "protocol",
    "registry_excerpts",
    "run_gate",
    "texts_of",
]
