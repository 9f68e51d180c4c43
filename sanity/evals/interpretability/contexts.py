"""What a latent fires on: contexts from unseen documents, shared by every way of scoring interpretability.

A `Pool` is a fixed set of windows of text, the same for every SAE at a place. `collect_contexts` runs an SAE
over the pool's activations once, counts which latents are alive, draws some of them at random, and keeps
where in the pool these fire. A latent's contexts are then windows of the pool:

>>> contexts = collect_contexts(sae, pool, activations, n=200, fewest=10, seed=0)     # doctest: +SKIP
>>> contexts.counts.sampled, contexts.counts.eligible, contexts.counts.alive          # doctest: +SKIP
>>> for latent in contexts:                                                           # doctest: +SKIP
...     shown = latent.top(15)                          # to describe it: strongest first, part "examples"
...     firing = latent.spread(50)                      # to test it: evenly over strengths, part "test"
...     silent = latent.silent(50, seed=0)              # windows of part "test" in which it never fires
...     shown[0].text, shown[0].strength, shown[0].marked("<<", ">>")

Documents, never windows, are divided into the parts "examples" and "test", so that what a description was
made from and what it is tested on never share a document. `divided` divides the same windows by another
seed; stored contexts remember their own division. The latents are drawn by one seeded order of all numbers,
so two arms with the same seed are asked about the same latents wherever both are eligible.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sanity.evals.interpretability.windows import Pool

Part = Literal["examples", "test"]

ALIVE_FREQUENCY = 1e-6
"""The paper's bar: a latent is alive when it fires on at least this share of the tokens."""


@dataclass(frozen=True)
class Context:
    """One window of text as one latent sees it."""

    window: int
    """Its number in the pool."""
    document: int
    source: str
    pieces: tuple[str, ...]
    """The tokens as text; together they are the window's text."""
    activations: tuple[float, ...]
    """Of the latent, one per token; 0 where it does not fire."""

    @property
    def text(self) -> str:
        """The window as running text."""
        return "".join(self.pieces)

    @property
    def strength(self) -> float:
        """The largest activation in the window; 0 where the latent never fires."""
        return max(self.activations)

    @property
    def peak(self) -> int:
        """Which token has the largest activation."""
        return self.activations.index(self.strength)

    def marked(self, opening: str = "<<", closing: str = ">>", *, above: float = 0.0) -> str:
        """The text with runs of tokens whose activation is over `above` put between two marks."""
        out, inside = [], False
        for piece, activation in zip(self.pieces, self.activations, strict=True):
            if (activation > above) != inside:
                out.append(closing if inside else opening)
                inside = not inside
            out.append(piece)
        return "".join(out) + (closing if inside else "")


@dataclass(frozen=True)
class Counts:
    """How many latents there are, how many could be asked about, and on how much text."""

    d_sae: int
    alive: int
    """Latents that fire on at least `ALIVE_FREQUENCY` of the pool's tokens."""
    rare: int
    """Alive latents with fewer than `fewest` activating windows in one of the parts."""
    dense: int
    """Latents with fewer than `fewest` windows without activation in one of the parts."""
    eligible: int
    sampled: int
    fewest: int
    tokens: int
    windows: int
    documents: int
    l0: float
    """Active latents per token of the pool, all of the SAE's latents counted."""


@dataclass(frozen=True, eq=False)
class LatentContexts:
    """One latent and the windows of the pool."""

    pool: Pool
    latent: int
    frequency: float
    """Share of the pool's tokens on which it fires."""
    peaks: Float[Tensor, " windows"]
    """Its largest activation in each window; 0 where it never fires."""
    entries: tuple[Tensor, Tensor, Tensor]
    """Window, position in the window, and value of every activation, ordered by window and position."""

    def firing(self, part: Part = "test") -> Int[Tensor, " n"]:
        """Numbers of the windows of `part` in which it fires, the strongest first."""
        found = torch.nonzero((self.peaks > 0) & self.pool.is_in(part))[:, 0]
        return found[self.peaks[found].argsort(descending=True, stable=True)]

    def silent_windows(self, part: Part = "test") -> Int[Tensor, " n"]:
        """Numbers of the windows of `part` in which it never fires."""
        return torch.nonzero((self.peaks == 0) & self.pool.is_in(part))[:, 0]

    def top(self, n: int, part: Part = "examples") -> list[Context]:
        """The `n` windows in which it fires most strongly (all if there are fewer), the strongest first."""
        return [self.context(int(window)) for window in self.firing(part)[:n]]

    def spread(self, n: int, part: Part = "test") -> list[Context]:
        """`n` activating windows (all if there are fewer) evenly over the order of strength, strongest first.

        One from the middle of each of `n` equal slices: no draw, so the same for every reader.
        """
        found = self.firing(part)
        if len(found) > n:
            found = found[((torch.arange(n) + 0.5) * len(found) / n).long()]
        return [self.context(int(window)) for window in found]

    def silent(self, n: int, part: Part = "test", *, seed: int) -> list[Context]:
        """`n` windows at random (all if there are fewer) among those in which it never fires."""
        found = self.silent_windows(part)
        drawn = torch.randperm(len(found), generator=generator_for(seed, self.latent))[:n]
        return [self.context(int(window)) for window in found[drawn]]

    def context(self, window: int) -> Context:
        """One window of the pool as this latent sees it."""
        windows, positions, values = self.entries
        low, high = torch.searchsorted(windows, torch.tensor([window, window + 1])).tolist()
        pieces = self.pool.pieces[window]
        activations = [0.0] * len(pieces)
        for position, value in zip(positions[low:high].tolist(), values[low:high].tolist(), strict=True):
            activations[position] = value
        return Context(
            window,
            int(self.pool.documents[window]),
            self.pool.sources[window],
            pieces,
            tuple(activations),
        )


@dataclass(frozen=True, eq=False)
class DrawnContexts:
    """Where in a pool some latents of one SAE fire. Iterate over it for a `LatentContexts` per latent."""

    pool: Pool
    latents: Int[Tensor, " n"]
    """Their numbers in the SAE, in the order in which they were drawn."""
    starts: Int[Tensor, " n_plus_1"]
    """Entries of latent i are `starts[i]` to `starts[i + 1]`."""
    windows: Int[Tensor, " entries"]
    positions: Int[Tensor, " entries"]
    values: Float[Tensor, " entries"]
    counts: Counts

    def __len__(self) -> int:
        return len(self.latents)

    def __iter__(self) -> Iterator[LatentContexts]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int) -> LatentContexts:
        part = slice(int(self.starts[i]), int(self.starts[i + 1]))
        return LatentContexts(
            self.pool,
            int(self.latents[i]),
            (part.stop - part.start) / self.pool.n_tokens,
            self.peaks[i],
            (self.windows[part], self.positions[part], self.values[part]),
        )

    @cached_property
    def owner(self) -> Int[Tensor, " entries"]:
        """Which of the latents each entry belongs to: 0 to n - 1."""
        return torch.repeat_interleave(torch.arange(len(self)), self.starts.diff())

    @cached_property
    def peaks(self) -> Float[Tensor, "n windows"]:
        """The largest activation of each latent in each window; 0 where it never fires."""
        out = torch.zeros(len(self) * len(self.pool))
        return out.scatter_reduce_(0, self._cells, self.values, "amax").view(len(self), -1)

    @cached_property
    def peak_positions(self) -> Int[Tensor, "n windows"]:
        """Where in the window that is (the first place of several), -1 where the latent never fires."""
        out = torch.full((len(self) * len(self.pool),), self.pool.length, dtype=torch.long)
        at_peak = self.values == self.peaks.flatten()[self._cells]
        out.scatter_reduce_(0, self._cells[at_peak], self.positions[at_peak], "amin")
        return torch.where(out == self.pool.length, -1, out).view(len(self), -1)

    @property
    def _cells(self) -> Tensor:
        return self.owner * len(self.pool) + self.windows

    def tensors(self) -> dict[str, Tensor]:
        """What to store; with `asdict(counts)` and the pool, `restore` makes it whole again.

        `test` is how the pool was divided for these contexts, which may be another way than its own.
        """
        return {
            "test": self.pool.test.to(torch.uint8),
            "latents": self.latents.int(),
            "starts": self.starts,
            "windows": self.windows.int(),
            "positions": self.positions.to(torch.int16),
            "values": self.values,
        }

    @classmethod
    def restore(cls, pool: Pool, tensors: dict[str, Tensor], counts: dict[str, Any]) -> DrawnContexts:
        """The inverse of `tensors`; the windows of `pool` are divided as they were for these contexts."""
        wide = {name: value if name == "values" else value.long() for name, value in tensors.items()}
        own = replace(pool, test=wide.pop("test").bool())
        return cls(own, **wide, counts=Counts(**counts))

    def facts(self) -> dict[str, Any]:
        """The counts as plain data."""
        return asdict(self.counts)

    @classmethod
    def build(
        cls,
        pool: Pool,
        latents: Int[Tensor, " n"],
        entries: tuple[Tensor, Tensor, Tensor, Tensor],
        counts: Counts,
    ) -> DrawnContexts:
        """From entries (index into `latents`, window, position, value) in any order."""
        owner, windows, positions, values = entries
        order = ((owner * len(pool) + windows) * pool.length + positions).argsort()
        starts = torch.zeros(len(latents) + 1, dtype=torch.long)
        starts[1:] = torch.bincount(owner, minlength=len(latents)).cumsum(0)
        return cls(pool, latents, starts, windows[order], positions[order], values[order].float(), counts)


def generator_for(seed: int, salt: int) -> torch.Generator:
    """Draws that depend on `seed` and, independently, on what they are for."""
    return torch.Generator().manual_seed(1_000_003 * seed + salt)
