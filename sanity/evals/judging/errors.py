"""What can go wrong with a judge, in words."""

from __future__ import annotations

from sanity.errors import SanityError


class JudgeError(SanityError):
    """The judge cannot be reached, refuses, or sends what cannot be read; answers it gave are kept."""


class BudgetError(JudgeError):
    """The next call would cost more than what is left of the budget; answers it gave are kept."""
