"""Objects below one address, such as `s3://bucket/runs`: the few operations that a store needs of them.

Every one is a single request that happens or does not; fsspec knows how, for each kind of object store.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from sanity.engine.files import replacing, sha256_of
from sanity.errors import BadInputError, CorruptFileError, SanityError, StorageError, reason_of


class Objects:
    """The objects whose names start with `url`.

    Raises `BadInputError` for an address that nothing here can open. Every method raises one `StorageError`
    where the object store refuses or does not answer.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        self.url = url.rstrip("/")
        try:
            self._files, self._root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except ImportError as error:
            raise BadInputError(
                f"{url} needs another package ({reason_of(error)}): pip install 'sae-sanity[cluster]' brings "
                "s3fs for s3://"
            ) from error
        except Exception as error:
            raise BadInputError(
                f"{url!r} is no address of an object store ({reason_of(error)}): name one such as "
                "s3://bucket/runs, or a folder"
            ) from error

    def read(self, name: str) -> bytes | None:
        """The bytes of an object; None where there is none."""
        with self._errors("read"):
            try:
                found: bytes = self._files.cat_file(self._path(name))
            except FileNotFoundError:
                return None
        return found

    def read_many(self, names: Iterable[str]) -> dict[str, bytes]:
        """The objects among `names` that are there, read side by side where the object store lets us."""
        paths = {self._path(name): name for name in names}
        with self._errors("read"):
            found: Mapping[str, bytes] = self._files.cat(list(paths), on_error="omit") if paths else {}
        return {paths[path]: data for path, data in found.items()}

    def write(self, name: str, data: bytes) -> None:
        """Write an object: all of it, or nothing."""
        with self._errors("write"):
            self._files.pipe_file(self._path(name), data)

    def send(self, path: Path, name: str) -> None:
        """Write a file as an object."""
        with self._errors("write"):
            self._files.put_file(str(path), self._path(name))

    def fetch(self, name: str, path: Path, sha256: str) -> None:
        """Read an object into a file, which then has this SHA-256; else it is a `CorruptFileError`."""
        with replacing(path) as temporary:
            try:
                with self._errors("read"):
                    self._files.get_file(self._path(name), str(temporary))
                whole = sha256_of(temporary) == sha256
            except FileNotFoundError:
                whole = False
            if not whole:
                raise CorruptFileError(
                    f"{self.url}/{name} is missing, damaged or cut short: delete it and run again; only the "
                    "result that it belongs to is computed again"
                )

    def sizes(self, below: str) -> dict[str, int]:
        """The objects whose names start with `below`/, with their bytes."""
        with self._errors("list"):
            found = self._files.find(self._path(below), detail=True)
        start = len(self._path(below)) + 1
        return {str(path)[start:]: int(facts["size"]) for path, facts in found.items()}

    def remove(self, name: str) -> None:
        """Delete an object; none there is fine."""
        with self._errors("delete"), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextlib.contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """Whatever a library says of an object store, as one error; reading what is not there is none."""
        try:
            yield
        except SanityError:
            raise
        except FileNotFoundError as error:
            if doing == "read":
                raise
            raise self._unusable(doing, error) from error
        except Exception as error:  # each library for object stores has errors of its own
            raise self._unusable(doing, error) from error

    def _unusable(self, doing: str, error: Exception) -> StorageError:
        refused = isinstance(error, PermissionError) or type(error).__name__ == "NoCredentialsError"
        why = f"no permission to {doing} there" if refused else f"cannot {doing} there"
        return StorageError(
            f"{self.url}: {why} ({reason_of(error)}). Give credentials that may read, write, list and delete "
            "(for s3:// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL or a profile), or set "
            "SANITY_STORE elsewhere, and run again; what was computed before is kept."
        )
