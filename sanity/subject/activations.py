"""Activations on disk: safetensors shards under one manifest, opened, checked and read in order.

A folder that `harvest` has filled holds

    manifest.json              what was read where, the shards with their SHA-256, the factor; written last
    statistics.safetensors     mean [d] and second moment E[x x^T] [d, d] of what is stored, in float64
    shard-00000.safetensors    activations [rows, d], tokens [sequences, context], document ids if given
    shard-00000.json           the shard's size and SHA-256, by which an interrupted harvest goes on
    harvest.json               what the folder is for, so that two harvests never mix

Nothing in it depends on where the folder is.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from typing_extensions import override

from sanity.engine.config import digest
from sanity.engine.files import read_sealed, sha256_once
from sanity.errors import BadInputError, CorruptFileError

HARVEST = "harvest.json"
MANIFEST = "manifest.json"
STATISTICS = "statistics.safetensors"


@dataclass(frozen=True, eq=False)
class Normalisation:
    """Centre and one factor: what an SAE is given is (x - centre) * factor."""

    centre: Float[Tensor, " d_in"]
    factor: float

    def apply(self, x: Float[Tensor, "*any d_in"]) -> Float[Tensor, "*any d_in"]:
        """(x - centre) * factor, in the precision of `centre`."""
        return (x.to(self.centre) - self.centre) * self.factor

    def on(self, device: str | torch.device) -> Normalisation:
        """The same, in float32 on a device."""
        return replace(self, centre=self.centre.to(device, torch.float32))


@dataclass(frozen=True, eq=False)
class JointNormalisation(Normalisation):
    """The same of inputs and targets side by side, with a factor each; `factor` is that of the inputs."""

    factors: Float[Tensor, " d_joint"]

    def apply(self, x: Float[Tensor, "*any d_joint"]) -> Float[Tensor, "*any d_joint"]:
        """(x - centre) * factors."""
        return (x.to(self.centre) - self.centre) * self.factors

    @override
    def on(self, device: str | torch.device) -> JointNormalisation:
        """The same, in float32 on a device."""
        return replace(
            self,
            centre=self.centre.to(device, torch.float32),
            factors=self.factors.to(device, torch.float32),
        )


@dataclass(frozen=True, eq=False)
class Shard:
    """Some whole sequences, in the order in which they were given."""

    activations: Float[Tensor, "rows d_in"]
    """As stored: raw, a row per kept position, sequence after sequence."""
    tokens: Int[Tensor, "n context"]
    """int32 ids of all positions, also of a first one that was dropped."""
    documents: Int[Tensor, "*any"] | None
    """int32 ids as given to `harvest`: per sequence [n] or per token [n, context]."""
    joint: Float[Tensor, "rows d_joint"] | None = None
    """The activations with the targets that were harvested with them, side by side."""


class ActivationStore:
    """A finished harvest.

    Opening it checks that every file is there and has its size; a file's SHA-256 is checked when it is
    first read in a session.

    Attributes
    ----------
    n_tokens, n_sequences, context, d_in
        Rows of activations, sequences, tokens per sequence (a dropped first one counted), width.
    widths
        Of the activations, and of each kind of target that was harvested with them (see `subject.mlp`).
    hook, drop_first, dtype
        Where the activations were read, whether first positions were left out, and the storage type.
    mean [d_in], covariance [d_in, d_in]
        Of the raw activations as stored; accumulated in float64, given as float32.
    factor
        sqrt(d_in / E||x - mean||^2): (x - mean) * factor has mean square norm d_in.
    key
        Names model weights, text, hook and storage; the same wherever the folder is.

    Raises
    ------
    BadInputError
        There is no finished harvest in `folder`.
    CorruptFileError
        A file is missing, cut short or damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not os.path.isfile(self.folder / MANIFEST):  # also False for a name that is too long
            raise BadInputError(
                f"{self.folder} holds no finished harvest: run the harvest again, it goes on where it stopped"
            )
        manifest: dict[str, Any] = read_sealed(self.folder / MANIFEST, unsealed=True)
        self.manifest = manifest
        try:
            of = manifest["of"]
            self.hook: str = of["hook"]
            self.context: int = of["context"]
            self.d_in: int = of["d_in"]
            self.widths: tuple[int, ...] = tuple(of.get("widths", [self.d_in]))
            self.drop_first: bool = of["drop_first"]
            self.dtype: torch.dtype = getattr(torch, of["dtype"])
            self.n_sequences: int = manifest["n_sequences"]
            self.n_tokens: int = manifest["n_tokens"]
            self.factor: float = manifest["factor"]
            self._shards: list[dict[str, Any]] = manifest["shards"]
            self._statistics_record: dict[str, Any] = manifest["statistics"]
            self.key = "activations-" + digest([of, manifest["tokens_sha256"], self.n_sequences])
            for record in (self._statistics_record, *self._shards):
                check_size(self.folder, record)
            whole = sum(self.shard_sizes) == self.n_tokens and self.factor > 0
        except (KeyError, TypeError, AttributeError) as error:
            raise CorruptFileError(
                f"{self.folder}/{MANIFEST} lacks {error}: delete it and run the harvest again"
            ) from error
        if not whole:
            raise CorruptFileError(
                f"{self.folder}/{MANIFEST} does not name every shard: delete it and run the harvest again"
            )

    @property
    def shard_sizes(self) -> list[int]:
        """Rows of each shard."""
        return [int(record["rows"]) for record in self._shards]

    @property
    def mean(self) -> Float[Tensor, " d_in"]:
        """Mean of the raw activations."""
        return self._statistics["mean"][: self.d_in].float()

    @cached_property
    def covariance(self) -> Float[Tensor, "d_in d_in"]:
        """Covariance of the raw activations."""
        return self.joint_moments[1][: self.d_in, : self.d_in].float()

    @property
    def joint_moments(self) -> tuple[Float[Tensor, " d_joint"], Float[Tensor, "d_joint d_joint"]]:
        """Mean and covariance of activations and targets together, raw, in float64."""
        mean = self._statistics["mean"]
        return mean, self._statistics["second_moment"] - torch.outer(mean, mean)

    @property
    def normalisation(self) -> Normalisation:
        """Centring by this store's mean and scaling by its factor."""
        return Normalisation(self.mean, self.factor)

    def shard(self, index: int) -> Shard:
        """One shard, checked; `CorruptFileError` if it is not what was harvested."""
        tensors = read_tensors(self.folder, self._shards[index])
        joint = tensors["activations"]
        alone = joint if joint.shape[1] == self.d_in else joint[:, : self.d_in]
        return Shard(alone, tensors["tokens"], tensors.get("documents"), joint)

    def shards(self) -> Iterator[Shard]:
        """All shards in order, one in memory at a time."""
        return (self.shard(index) for index in range(len(self._shards)))

    def rows(
        self,
        chunk: int = 8192,
        *,
        n: int | None = None,
        normalisation: Normalisation | None = None,
        joint: bool = False,
    ) -> Iterator[Float[Tensor, "rows d_in"]]:
        """The first `n` activations (all by default) in order, `chunk` at a time; the last may be shorter.

        Raw and in the storage type, or as `normalisation` makes them. For held-out activations that is the
        normalisation of the *training* store. With `joint`, activations and targets side by side.
        """
        left = self.n_tokens if n is None else min(n, self.n_tokens)
        waiting: list[Tensor] = []
        for shard in self.shards():
            if left <= 0:
                break
            read = shard.joint if joint and shard.joint is not None else shard.activations
            waiting.append(read[:left])
            left -= len(waiting[-1])
            while sum(map(len, waiting)) >= chunk or (left == 0 and waiting):
                joined = torch.cat(waiting)
                yield normalisation.apply(joined[:chunk]) if normalisation else joined[:chunk].clone()
                waiting = [joined[chunk:]] if len(joined) > chunk else []

    @cached_property
    def _statistics(self) -> dict[str, Tensor]:
        return read_tensors(self.folder, self._statistics_record)


def scale_factor(mean: Float[Tensor, " d"], second_moment: Float[Tensor, "d d"], what: str) -> float:
    """sqrt(d / E||x - mean||^2), from float64 moments; refuses data that do not vary."""
    mean_square = float(second_moment.trace())
    variance = mean_square - float(mean @ mean)
    # Below this share of the mean square, what is left is rounding.
    if not variance > 1e-12 * mean_square:
        raise BadInputError(
            f"{what} have zero variance: every row is the same, so there is nothing to learn; check the text "
            "and the hook"
        )
    return math.sqrt(len(mean) / variance)


def check_size(folder: Path, record: Mapping[str, Any]) -> None:
    """Raise `CorruptFileError` if the file of `record` is missing or has another size than it had."""
    path = folder / record["file"]
    found = path.stat().st_size if path.is_file() else None
    if found != record["bytes"]:
        state = "is missing" if found is None else f"has {found} bytes instead of {record['bytes']}"
        raise CorruptFileError(f"{path} {state}: {_WAY_OUT}")


def check_content(folder: Path, record: Mapping[str, Any]) -> None:
    """Raise `CorruptFileError` if the file of `record` is not what was written; hashes it once a session."""
    check_size(folder, record)
    path = folder / record["file"]
    if sha256_once(path) != record["sha256"]:
        raise CorruptFileError(f"{path} is damaged (its SHA-256 is not the recorded one): {_WAY_OUT}")


def record_of(path: Path) -> dict[str, Any]:
    """Name, size and SHA-256 of a file that has just been written."""
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256_once(path)}


def read_tensors(folder: Path, record: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors in the file of `record`, after its check."""
    check_content(folder, record)
    try:
        tensors: dict[str, Tensor] = load_file(folder / record["file"])
    except SafetensorError as error:
        raise CorruptFileError(f"{folder / record['file']} cannot be read ({error}): {_WAY_OUT}") from error
    return tensors


_WAY_OUT = "it is not used; run the harvest again, which rebuilds it and keeps the other shards"
