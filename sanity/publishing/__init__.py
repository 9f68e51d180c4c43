"""From a profile's name to HTML pages: chapters are run, staged and built; every page says what made it."""

from sanity.publishing.answers import cards
from sanity.publishing.display import Markdown, code
from sanity.publishing.page import open_chapter
from sanity.publishing.report import ReportPage
from sanity.publishing.reproduce import build_book, cost_words, reproduce_book
from sanity.publishing.words import ahead, count, span

__all__ = [
    "Markdown",
    "ReportPage",
    "ahead",
    "build_book",
    "cards",
    "code",
    "cost_words",
    "count",
    "open_chapter",
    "reproduce_book",
    "span",
]
