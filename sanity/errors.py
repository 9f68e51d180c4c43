"""The errors a user of the package may meet: each names the thing that is wrong and the way out."""

from __future__ import annotations


def reason_of(error: Exception) -> str:
    """Class and first line of a library's error (and the next, where one announces it), for one of ours."""
    first, *others = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    told = f"{first} {others[0]}" if first.endswith(":") and others else first
    return f"{type(error).__name__}: {told}"


class SanityError(Exception):
    """Base of every error that the package raises on purpose; `sanity` commands print it as one line."""


class BadInputError(SanityError, ValueError):
    """An argument, configuration or file given by the user cannot be used as it is."""


class AssetError(SanityError):
    """A pinned wheel or hub file is missing, has the wrong hash, or cannot be fetched."""


class CorruptFileError(SanityError):
    """A stored shard, checkpoint or result does not match its own manifest."""


class StorageError(SanityError):
    """The disk is full, or the folder cannot be written."""
