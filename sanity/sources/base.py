"""What a source of activations is, and what it is when it is open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from sanity.engine.cells import Cell, Result
from sanity.engine.naming import FamilyMember
from sanity.errors import BadInputError
from sanity.models import Stream

if TYPE_CHECKING:
    from sanity.data.circuit import CircuitStream
    from sanity.data.synthetic import SyntheticStream
    from sanity.subject import ActivationStore

FIRST_HELD_OUT_STEP = 2**31
"""Drawn streams are evaluated on batches from the far end of their steps, where training never arrives."""
FIRST_CALIBRATION_STEP = 2**31 + 2**30


@dataclass(frozen=True)
class Pace:
    """What costs are estimated by: how fast this kind of machine is, on two cores."""

    seconds_per_product: float = 1e-11
    """Training, per sample x latent x width: the matrix products."""
    seconds_per_latent: float = 3e-9
    """Training, per sample x latent: selection, and what else does not depend on the width."""
    tokens_per_second: float = 1900.0
    """A language model's forward pass up to the hook."""
    edits_per_second: float = 60.0
    """Prompts run on from an edit at the hook, forward, on one thread."""

    def training_seconds(self, *, samples: int, d_sae: int, d_in: int) -> float:
        """What training one arm is expected to take."""
        return 1.0 + samples * d_sae * (d_in * self.seconds_per_product + self.seconds_per_latent)


@dataclass(frozen=True, eq=False)
class OpenedSource:
    """A source that is ready to be read, for one seed and batch size.

    Attributes
    ----------
    stream
        What arms are trained on: centred, and scaled so that E||x||^2 = d_in.
    sample [n, d_in]
        Held-out activations in the same scale, for what is measured along training.
    calibration [n, d_in]
        Held-out activations on which L0 is matched.
    batches
        All held-out activations in the same scale, part by part, for scores.
    truth
        The stream whose samples come with the features that made them; None where nobody knows these.
    kept, held_out
        A language model's activations on disk, for training and held out; None for drawn samples.
    pairs
        Where arms are transcoders: all held-out inputs with their targets, part by part. `sample`,
        `calibration` and `batches` are inputs; `sample_targets` belong to `sample`.
    circuit
        Where the true features of inputs and targets are known, and the map between them.
    """

    stream: Stream
    sample: Float[Tensor, "n d_in"]
    calibration: Float[Tensor, "m d_in"]
    batches: Callable[[], Iterator[Tensor]]
    truth: SyntheticStream | None = None
    kept: ActivationStore | None = None
    held_out: ActivationStore | None = None
    pairs: Callable[[], Iterator[tuple[Tensor, Tensor]]] | None = None
    sample_targets: Float[Tensor, "n d_out"] | None = None
    circuit: CircuitStream | None = None

    def targets(self) -> Iterator[Tensor]:
        """What is to be reconstructed of `batches`: these themselves, or the targets of a transcoder."""
        return self.batches() if self.pairs is None else (target for _, target in self.pairs())


@dataclass(frozen=True)
class Source(FamilyMember, family="source"):
    """Where batches of activations come from. A new one is a subclass with a `name`."""

    threads: ClassVar[int | None] = None
    """On how many threads its arms train best, beside others; None: on all."""
    one_order: ClassVar[bool] = False
    """Whether arms of all seeds see the same batches, so that they can share them."""

    @property
    def d_in(self) -> int:
        """Width of the activations."""
        raise BadInputError(f"{type(self).__name__} does not say how wide its activations are: define d_in")

    @property
    def d_out(self) -> int | None:
        """Width of the targets, where arms are transcoders; None where they are SAEs."""
        return None

    @property
    def blocks(self) -> tuple[int, ...]:
        """Widths of the layers or models whose activations stand one behind the other; they sum to `d_in`."""
        return (self.d_in,)

    @property
    def scored_samples(self) -> int:
        """About how many held-out samples an SAE is scored on, by which costs are told."""
        return int(getattr(self, "held_out", 16_384))

    @property
    def subject(self) -> str | None:
        """The language model that they are read from; None where there is none."""
        return None

    @property
    def is_control(self) -> bool:
        """Whether it is there to be compared with: no metric's gate is asked of it."""
        return False

    @property
    def where(self) -> str:
        """The world or hook in words, for labels."""
        return self.spelled

    @property
    def buffer_bytes(self) -> int:
        """Memory that it takes while arms are trained on it, where that is more than a batch."""
        return 0

    def reading_seconds(self, samples: int, pace: Pace) -> float:
        """What giving so many samples is expected to take, once for all arms that see them together."""
        return 0.0

    def redrawn(self, seed: int) -> Source:
        """The same kind of source drawn from another seed; what is not drawn stays what it is."""
        return self

    def columns(self) -> dict[str, object]:
        """What a tidy row says of the data that it is about."""
        return {"subject": self.subject, "d_in": self.d_in}

    def cells(self, device: str, pace: Pace) -> dict[str, Cell]:
        """What has to be computed before it can be opened, by the name under which `open` wants it."""
        return {}

    def open(self, inputs: Mapping[str, Result], *, batch_size: int, seed: int, device: str) -> OpenedSource:
        """The source, ready to be read; `inputs` are the results of `cells`."""
        raise BadInputError(f"{type(self).__name__} cannot be opened: define open")


def held_out_rows(
    stream: Stream, n: int, *, first_step: int = FIRST_HELD_OUT_STEP
) -> Float[Tensor, "n d_in"]:
    """`n` samples of a drawn stream that no training step draws."""
    batches = -(-n // stream.batch_size)
    return torch.cat([stream.batch(first_step + i) for i in range(batches)])[:n]
