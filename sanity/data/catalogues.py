"""The same messages in five languages, from compiled gettext catalogues: text for language identification.

The English original is the key of every entry of a catalogue. Messages with mark-up, placeholders, plural
forms or a context are left out, and so are those that some language leaves as they are.
"""

from __future__ import annotations

import functools
import gettext
import re
import struct
from pathlib import Path

from sanity import assets
from sanity.errors import CorruptFileError

ASSET = "django-catalogues"
TRANSLATIONS = ("de", "es", "fr", "nl")
LANGUAGES = ("en", *TRANSLATIONS)

# Beyond plain sentences: placeholders, mark-up, a context (\x04), several lines.
_NOT_PLAIN = re.compile(r"[%{}<>\x04\n]")
_SHORTEST, _WORDS = 15, 3


def read_catalogue(path: Path) -> dict[str, str]:
    """Original -> translation of one compiled catalogue (.mo), its header and plural forms left out.

    Raises `CorruptFileError` for anything else.
    """
    try:
        with path.open("rb") as file:
            # gettext answers for one original at a time; all of them are only in what it keeps for itself.
            entries = vars(gettext.GNUTranslations(file))["_catalog"]
    except (OSError, ValueError, LookupError, struct.error) as error:
        raise CorruptFileError(f"{path} cannot be read ({error}): fetch the asset {ASSET} again") from error
    return {original: said for original, said in entries.items() if isinstance(original, str) and original}


@functools.cache
def parallel_messages() -> dict[str, dict[str, str]]:
    """English message -> language -> the message, for those that all five languages have.

    Raises `AssetError` when the catalogues have not been fetched.
    """
    root = assets.path(ASSET)
    found: dict[str, dict[str, str]] = {}
    for name in sorted(path.name for path in (root / "fr").glob("*.mo")):
        catalogues = {language: read_catalogue(root / language / name) for language in TRANSLATIONS}
        for message in sorted(set.intersection(*(set(entries) for entries in catalogues.values()))):
            versions = {"en": message, **{lang: entries[message] for lang, entries in catalogues.items()}}
            if message not in found and _usable(versions):
                found[message] = versions
    return found


def _usable(versions: dict[str, str]) -> bool:
    """Whether the sentences of all languages differ, and hold nothing but words."""
    texts = list(versions.values())
    return len(set(texts)) == len(texts) and all(
        len(text) >= _SHORTEST and len(text.split()) >= _WORDS and not _NOT_PLAIN.search(text)
        for text in texts
    )
