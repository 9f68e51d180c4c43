"""Every answer of a judge on disk, one JSON file each, named by the hash of what was asked.

A file holds the request (model, messages, limits; no address and no key), the answer, and a checksum. It is
written whole or not at all, so a killed run never pays twice for an answer.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sanity.engine.config import canonical_json
from sanity.engine.files import read_json, write_atomically
from sanity.errors import CorruptFileError, SanityError

log = logging.getLogger("sanity")


@dataclass(frozen=True)
class Answer:
    """What a judge said."""

    text: str
    log_odds: float | None = None
    """Of the first choice over the second, where the judge's probabilities are known."""
    model: str = ""
    """As the endpoint names the model that answered."""
    prompt_tokens: int = 0
    answer_tokens: int = 0
    finish: str = ""
    """Why it ended, as the endpoint says: "stop", or "length" where it was cut off."""


class AnswerCache:
    """Answers below `folder`, by the content of the request."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, request: Mapping[str, Any]) -> Path:
        """Where the answer to `request` is kept."""
        name = hashlib.sha256(canonical_json(request).encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.json"

    def get(self, request: Mapping[str, Any]) -> Answer | None:
        """The answer to `request`; a damaged file is named in the log and counts as none."""
        path = self.path(request)
        if not path.exists():
            return None
        try:
            entry = read_json(path)
            answer: Any = entry["answer"]
            if entry["sha256"] != _checksum(entry["request"], answer):
                raise CorruptFileError(f"{path} does not match its own checksum")
            return Answer(**answer)
        except (SanityError, OSError, RecursionError, KeyError, TypeError) as error:
            log.warning("a judge's answer in %s is damaged (%s); it is asked for again", path, error)
            return None

    def put(self, request: Mapping[str, Any], answer: Answer) -> None:
        """Keep the answer to `request`."""
        plain = asdict(answer)
        entry = {"request": request, "answer": plain, "sha256": _checksum(request, plain)}
        write_atomically(self.path(request), json.dumps(entry, indent=1))


def _checksum(request: Any, answer: Any) -> str:
    return hashlib.sha256(canonical_json([request, answer]).encode()).hexdigest()
