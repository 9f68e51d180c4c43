"""The same messages in five languages, from compiled gettext catalogues: text for language identification.

The English original is the key of every entry of a catalogue. Messages with mark-up, placeholders, plural
forms or a context are left out, and so are those that some language leaves as they are.
"""

from __future__ import annotations

import functools
import re
import struct
from pathlib import Path

from sanity import assets
from sanity.errors import CorruptFileError

ASSET = "django-catalogues"
TRANSLATIONS = ("de", "es", "fr", "nl")
LANGUAGES = ("en", *TRANSLATIONS)

_MAGIC = 0x950412DE
# Beyond plain sentences: placeholders, mark-up, a context (\x04), plural forms (\x00), several lines.
_NOT_PLAIN = re.compile(r"[%{}<>\x00\x04\n]")
_SHORTEST, _WORDS = 15, 3


def read_catalogue(path: Path) -> dict[str, str]:
    """Original -> translation of one compiled catalogue (.mo, little-endian), its header left out.

    Raises `CorruptFileError` for anything else.
    """
    data = path.read_bytes()
    try:
        magic, _, n, originals, translations = struct.unpack_from("<5I", data)
        if magic != _MAGIC:
            raise CorruptFileError(f"{path} is no compiled gettext catalogue: fetch the asset {ASSET} again")
        found = {_entry(data, originals + 8 * i): _entry(data, translations + 8 * i) for i in range(n)}
    except (struct.error, UnicodeDecodeError) as error:
        raise CorruptFileError(f"{path} is damaged ({error}): fetch the asset {ASSET} again") from error
    found.pop("", None)
    return found


def _entry(data: bytes, place: int) -> str:
    length, offset = struct.unpack_from("<2I", data, place)
    if offset + length > len(data):
        raise struct.error(f"an entry ends at byte {offset + length} of {len(data)}")
    return data[offset : offset + length].decode("utf-8")


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
    """Whether every language has a sentence of its own, without anything but words."""
    texts = list(versions.values())
    return len(set(texts)) == len(texts) and all(
        len(text) >= _SHORTEST and len(text.split()) >= _WORDS and not _NOT_PLAIN.search(text)
        for text in texts
    )
