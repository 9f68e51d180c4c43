"""The errors a user of the package may meet: each names the thing that is wrong and the way out."""

from __future__ import annotations


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
