"""Results in an object store: each a few objects named by their SHA-256, and a manifest that arrives last.

    manifests/KEY.json       what a `LocalStore` keeps as results/KEY/manifest.json
    objects/KEY/SHA256       its files

So whoever reads sees a whole result or none, also while two write the same. There are no leases: `leases` are
a scheduler's where there is one. A folder of this machine keeps what was read, and attempts with their
checkpoints: an attempt goes on where it was on the machine that began it, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from typing_extensions import override

from sanity.engine.cells import Result, Task
from sanity.engine.files import disk_errors, is_intact, remove, write_atomically
from sanity.engine.local_store import LocalStore
from sanity.engine.objects import Objects
from sanity.engine.results import MANIFEST, checked_manifest, read_manifest
from sanity.errors import CorruptFileError


def _manifest(key: str) -> str:
    return f"manifests/{key}.json"


class RemoteStore(LocalStore):
    """Results below an address such as `s3://bucket/runs`, read and written through the folder `root`."""

    def __init__(self, url: str, root: Path) -> None:
        super().__init__(root)
        self.objects = Objects(url)
        self._looked_up: dict[str, bytes] = {}

    @property
    @override
    def where(self) -> str:
        return self.objects.url

    @override
    def look_up(self, keys: Iterable[str]) -> None:
        names = {_manifest(key): key for key in keys if key not in self._known}
        self._looked_up = {names[name]: text for name, text in self.objects.read_many(names).items()}

    @override
    def get(self, key: str) -> Result | None:
        if key not in self._known:
            text = self._looked_up.pop(key, None) or self.objects.read(_manifest(key))
            if text is None and not self._send(key):
                return None
            if text is not None:
                self._keep_manifest(key, text)
            folder = self._folder(key)
            self._known[key] = _RemoteResult(folder, checked_manifest(folder, key), self.objects)
        return self._known[key]

    @override
    def list(self) -> list[str]:
        return sorted(name.removesuffix(".json") for name in self.objects.sizes("manifests"))

    @override
    def size(self, key: str) -> int:
        """Bytes of a result in the object store."""
        return sum(self.objects.sizes(f"objects/{key}").values())

    @override
    def remove(self, key: str) -> None:
        """Delete a result for good, its manifest first."""
        self.objects.remove(_manifest(key))
        for name in self.objects.sizes(f"objects/{key}"):
            self.objects.remove(f"objects/{key}/{name}")
        remove(self._folder(key))
        self._known.pop(key, None)

    @override
    def sweep(self) -> None:
        """The same here; and find out that the object store cannot be written now, not after hours."""
        super().sweep()
        self.objects.write("writable", b"")

    @override
    def _publish(self, task: Task) -> None:
        key = task.cell.key
        if self.objects.read(_manifest(key)) is None:
            remove(self._folder(key))  # a copy of what is gone there
        super()._publish(task)

    @override
    def _set_aside(self, key: str) -> Path:
        self.objects.remove(_manifest(key))
        return super()._set_aside(key)

    def _send(self, key: str) -> bool:
        """Send a result that is whole here, files first; False where there is none.

        Whoever was killed between computing and sending sends it the next time.
        """
        folder = self._folder(key)
        if not folder.exists():
            return False
        try:
            manifest = read_manifest(folder, key)
            for name, facts in manifest["files"].items():
                if not is_intact(folder / name, facts["sha256"]):
                    raise CorruptFileError(f"{folder / name} is damaged")
        except CorruptFileError:  # or it was only ever read in part
            remove(folder)
            return False
        for name, facts in manifest["files"].items():
            self.objects.send(folder / name, _object(key, facts))
        self.objects.write(_manifest(key), (folder / MANIFEST).read_bytes())
        return True

    def _keep_manifest(self, key: str, text: bytes) -> None:
        path = self._folder(key) / MANIFEST
        if not path.is_file() or path.read_bytes() != text:
            write_atomically(path, text)

    def _folder(self, key: str) -> Path:
        return self.root / "results" / key


def _object(key: str, facts: Mapping[str, Any]) -> str:
    return f"objects/{key}/{facts['sha256']}"


class _RemoteResult(Result):
    """A result whose files are fetched when they are first asked for, and checked as they arrive."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any], objects: Objects) -> None:
        super().__init__(folder, manifest)
        self._objects = objects

    @override
    def local(self, name: str) -> Path:
        if name in self.files and name not in self._verified:
            self._fetch(name, kept=is_intact(self.root / name, self.files[name]["sha256"]))
        return super().local(name)

    @override
    def folder(self, name: str) -> Path:
        for file in (file for file in self.files if file.startswith(f"{name}/")):
            path = self.root / file
            self._fetch(file, kept=path.is_file() and path.stat().st_size == self.files[file]["bytes"])
        return super().folder(name)

    @override
    def verify(self) -> None:
        """Whether every object is there in its size; its content is checked whenever it is fetched."""
        there = self._objects.sizes(f"objects/{self.key}")
        for name, facts in self.files.items():
            if there.get(facts["sha256"]) != facts["bytes"]:
                raise CorruptFileError(
                    f"{self._objects.url}/{_object(self.key, facts)} ({name}) is missing or cut short"
                )
            if (path := self.root / name).exists() and not is_intact(path, facts["sha256"]):
                remove(path)  # it is fetched again

    def _fetch(self, name: str, *, kept: bool) -> None:
        if not kept:
            with disk_errors(self.root):
                facts = self.files[name]
                self._objects.fetch(_object(self.key, facts), self.root / name, facts["sha256"])
