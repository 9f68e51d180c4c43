"""Links from the first use of a term on a page to the glossary, set while pages are staged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_KEPT = re.compile(
    r"(`[^`]*`|\{[a-z:]+\}`[^`]*`|\$[^$]*\$|!?\[[^\]]*\]\([^)]*\)|<[^>]*>|\*\*[^*]*\*\*|https?://\S+)"
)
"""What a link may not stand in: code, roles, formulas, links, HTML, bold text, addresses."""


def terms_of(glossary: str) -> list[str]:
    """The terms of a page's `{glossary}` block, the longest first, so that none hides in another."""
    block = re.search(r"```\{glossary\}\n(.*?)```", glossary, re.DOTALL)
    found = re.findall(r"(?m)^(\S.*)$", block[1]) if block else []
    return sorted(found, key=len, reverse=True)


class Linker:
    """Links each term once per page: give it the Markdown of the page, piece by piece."""

    def __init__(self, terms: Iterable[str]) -> None:
        self._left = {term: re.compile(rf"\b{re.escape(term)}(?:s|es)?\b", re.IGNORECASE) for term in terms}

    def link(self, markdown: str) -> str:
        """`markdown` with a `{term}` role around the first use of every term that has none yet."""
        return "\n".join(self._lines(markdown))

    def _lines(self, markdown: str) -> Iterator[str]:
        fenced = False
        for line in markdown.split("\n"):
            fence = re.match(r"\s*(```|:::)", line)
            fenced = fenced != bool(fence)
            plain = fenced or fence or re.match(r"\s*(#|\||[$<]|\*\S|\([a-z-]+\)=)", line)
            yield line if plain else self._line(line)

    def _line(self, line: str) -> str:
        for term, pattern in list(self._left.items()):
            pieces = _KEPT.split(line)
            for at in range(0, len(pieces), 2):
                if found := pattern.search(pieces[at]):
                    role = f"{{term}}`{found[0]} <{term}>`"
                    pieces[at] = pieces[at][: found.start()] + role + pieces[at][found.end() :]
                    line = "".join(pieces)
                    del self._left[term]
                    break
        return line
