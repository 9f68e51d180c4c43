"""From a profile's name to HTML pages: chapters are run, staged and built; every page says what made it."""

from sanity.publishing.answers import cards
from sanity.publishing.chapters import Chapter, Execution, read_chapters, run_chapters
from sanity.publishing.display import Html, Markdown, code
from sanity.publishing.log import log_to_stderr
from sanity.publishing.page import ChapterPage, open_chapter
from sanity.publishing.provenance import provenance_html
from sanity.publishing.remote import COLAB_CELL, Remote, parse_remote
from sanity.publishing.report import ReportPage
from sanity.publishing.reproduce import Build, build_book, cost_words, reproduce_book
from sanity.publishing.site import Site, build_site
from sanity.publishing.words import ahead, count, span

__all__ = [
    "COLAB_CELL",
    "Build",
    "Chapter",
    "ChapterPage",
    "Execution",
    "Html",
    "Markdown",
    "Remote",
    "ReportPage",
    "Site",
    "ahead",
    "build_book",
    "build_site",
    "cards",
    "code",
    "cost_words",
    "count",
    "log_to_stderr",
    "open_chapter",
    "parse_remote",
    "provenance_html",
    "read_chapters",
    "reproduce_book",
    "run_chapters",
    "span",
]
