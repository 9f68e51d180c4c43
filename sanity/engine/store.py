"""Where results are kept, a folder or an object store, and which of them are missing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sanity.engine.cells import Cell, Result, in_order
from sanity.engine.config import digest
from sanity.engine.files import folder_named, free_space_words
from sanity.engine.local_store import KEPT_DAMAGED, LocalStore, SupersededError
from sanity.engine.remote_store import RemoteStore
from sanity.errors import BadInputError, SanityError

__all__ = ["KEPT_DAMAGED", "LocalStore", "SupersededError", "home", "missing", "open_store", "require"]


def home() -> Path:
    """The project's folder: `SANITY_HOME`, else a checkout around here, else the package's own, else here.

    Raises `BadInputError` when `SANITY_HOME` names no folder.
    """
    if named := os.environ.get("SANITY_HOME"):
        folder = folder_named(named, "SANITY_HOME")
        if not folder.is_dir():
            raise BadInputError(f"SANITY_HOME={named} is not a folder: name the project's own, or unset it")
        return folder
    here, own = Path.cwd().resolve(), Path(__file__).resolve().parents[2]
    # Not every folder with a table of contents is this book.
    folders = (here, *here.parents, own)
    return next((folder for folder in folders if (folder / "book" / "claims.yml").exists()), here)


def open_store(root: Path | str | None = None) -> LocalStore:
    """The store at `root`, else at `SANITY_STORE`, else in `_build/store` of the project's folder.

    An address such as `s3://bucket/runs` names an object store; what is read of it, and what is computed for
    it, is kept in the project's folder, too.
    """
    if named := root or os.environ.get("SANITY_STORE"):
        if "://" in str(named):
            return RemoteStore(str(named), home() / "_build" / "stores" / digest(str(named)))
        return LocalStore(folder_named(named, "SANITY_STORE"))
    return LocalStore(home() / "_build" / "store")


def missing(cells: Sequence[Cell], store: LocalStore, *, verify: bool = False) -> list[Cell]:
    """The cells (inputs included, in order) that have no sound result in `store`.

    With `verify`, every byte of what exists is read; a damaged result is moved aside, named in the
    log, and counted as missing, so that it is computed again and never used.
    """
    ordered = in_order(cells)
    store.look_up([cell.key for cell in ordered])
    return [cell for cell in ordered if not store.sound(cell, verify=verify)]


def require(cell: Cell, store: LocalStore) -> Result:
    """The result of `cell`, which must have been computed."""
    result = store.get(cell.key)
    if result is None:
        raise SanityError(
            f"no result for {cell.label} (key {cell.key}) in {store.where}: compute it first. "
            + free_space_words(store.root)
        )
    return result
