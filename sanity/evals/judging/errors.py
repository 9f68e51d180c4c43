"""What can go wrong with a judge, in words."""

from __future__ import annotations

from sanity.errors import SanityError


class JudgeError(SanityError):
    """The judge cannot be reached, refuses, or sends what cannot be read; answers it gave are kept."""


class BudgetError(JudgeError):
    """The next call would cost more than what is left of the budget; answers it gave are kept."""


class TryLaterError(JudgeError):
    """A call that may succeed if it is made again: why, when, and whether it may have been charged."""

    def __init__(self, why: str, *, after: float | None = None, charged: bool = False) -> None:
        super().__init__(why)
        self.after = after
        self.charged = charged
