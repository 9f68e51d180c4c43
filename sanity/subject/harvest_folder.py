"""The folder of one harvest: what it is for, which of its shards are whole, and what is written last."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from sanity.engine.files import disk_errors, read_sealed, remove, replacing, write_sealed
from sanity.errors import BadInputError, CorruptFileError
from sanity.subject.activations import (
    HARVEST,
    MANIFEST,
    STATISTICS,
    check_content,
    read_tensors,
    record_of,
    scale_factor,
)

log = logging.getLogger("sanity")

Record = dict[str, Any]


@dataclass(frozen=True)
class HarvestFolder:
    """Where the activations at one hook of a language model are kept; see `sanity.subject.activations`."""

    folder: Path
    hook: str
    model: str
    widths: tuple[int, ...]
    """Of what is read of a token: of its input, and of its targets where the subject has some."""

    def open(self, about: Record) -> None:
        """Claim the folder for this harvest, or check that it is the one that was begun there."""
        of = {**about, "hook": self.hook, **({"widths": list(self.widths)} if len(self.widths) > 1 else {})}
        with disk_errors(self.folder):
            for left in self.folder.glob(".*.part"):
                remove(left)  # cut short when an earlier process was killed
            found = self._begun()
            if found is None:
                write_sealed(self.folder / HARVEST, of)
                return
        wrong = [name for name in of if found.get(name) != of[name]]
        if wrong:
            differences = ", ".join(f"{name} {found.get(name)!r} instead of {of[name]!r}" for name in wrong)
            raise BadInputError(
                f"{self.folder} holds a harvest of something else ({differences}): choose another folder, or "
                "delete it"
            )

    def _begun(self) -> Record | None:
        """What was begun in the folder; None for nothing, also when nobody can tell any more."""
        path = self.folder / HARVEST
        if not path.exists():
            remove(path)  # a dead link
            return None
        try:
            return read_sealed(path, unsealed=True)
        except CorruptFileError as error:
            log.warning("%s; its shards could be anything's, and are computed again", error)
            for left in (path, *self.folder.glob("shard-*")):
                remove(left)
            return None

    def intact_shards(self) -> dict[int, Record]:
        """The records of the shards that are whole; damaged ones are named, and will be computed again."""
        intact: dict[int, Record] = {}
        for path in sorted(self.folder.glob("shard-*.json")):
            try:
                record: Record = read_sealed(path, unsealed=True)
                check_content(self.folder, record)
                intact[int(path.stem.removeprefix("shard-"))] = record
            except (CorruptFileError, KeyError) as error:
                log.warning("a shard is computed again: %s", error)
                remove(path)
        return intact

    def other_text(self, record: Record) -> BadInputError:
        """What is raised for a shard that was computed of another text."""
        return BadInputError(
            f"{self.folder / record['file']} holds activations of another text than the one given: choose "
            "another folder, or delete it"
        )

    def write_shard(self, index: int, tensors: dict[str, Tensor], about: Mapping[str, Any]) -> Record:
        """Write a shard and then its record, which says what else it is."""
        path = self.folder / f"shard-{index:05d}.safetensors"
        record = _write_tensors(path, tensors) | dict(about)
        write_sealed(path.with_suffix(".json"), record)
        return record

    def finish(self, records: Sequence[Record], tokens_sha256: str) -> None:
        """Add up the shards' sums in their order, and write the statistics and, last, the manifest."""
        n, d = sum(record["rows"] for record in records), sum(self.widths)
        mean, second = torch.zeros(d, dtype=torch.float64), torch.zeros(d, d, dtype=torch.float64)
        for record in records:
            tensors = read_tensors(self.folder, record)
            mean += tensors["sum"]
            second += tensors["sum_of_squares"]
        mean, second = mean / n, second / n
        what, d_in = f"the activations of {self.model} at {self.hook}", self.widths[0]
        factor = scale_factor(mean[:d_in], second[:d_in, :d_in], what)
        statistics = _write_tensors(self.folder / STATISTICS, {"mean": mean, "second_moment": second})
        manifest = {
            "model": self.model,
            "of": read_sealed(self.folder / HARVEST, unsealed=True),
            "n_sequences": sum(record["sequences"] for record in records),
            "n_tokens": n,
            "tokens_sha256": tokens_sha256,
            "factor": factor,
            "statistics": statistics,
            "shards": records,
        }
        write_sealed(self.folder / MANIFEST, manifest)


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> Record:
    """Write a safetensors file whole or not at all; its name, size and SHA-256."""
    with replacing(path) as temporary:
        save_file(tensors, temporary)
    return record_of(path)
