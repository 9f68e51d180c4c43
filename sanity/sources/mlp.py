"""An MLP in a language model, input and output: what transcoders are trained on, and two nulls of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor
from typing_extensions import override

from sanity.engine.cells import Result
from sanity.sources.base import OpenedSource
from sanity.sources.hook import Hook, harvests_of, rows_of, spread_rows
from sanity.sources.hook_reading import LanguageModelHook
from sanity.subject import MLPStream, MLPSubject, joint_normalisation
from sanity.subject.mlp import OUTPUTS, part_of, shuffled

PLACES = {"mlp": "{}", "shuffled": "{}, outputs of other tokens", "random": "{}, weights drawn at random"}
"""How an MLP is called in tables, by its outputs."""


@dataclass(frozen=True)
class MLPHook(LanguageModelHook):
    """A language model and the MLP at which it is read; its hook is `blocks.K.mlp.hook_in`."""

    @override
    def load(self, device: str) -> MLPSubject:
        return MLPSubject(super().load(device), self.hook)


@dataclass(frozen=True)
class MLP(Hook):
    """What an MLP is given, and what it makes of it, of the same tokens: from one pass of the model.

    As a `Hook` it is the MLP's input: whatever reads latents reads them there.
    """

    outputs: Literal["mlp", "shuffled", "random"] = "mlp"
    """Targets: those of the MLP; of another token (input and output then have nothing to do with each other);
    of the same MLP with weights drawn at random (an untrained function)."""
    name: ClassVar[str] = "mlp"

    @property
    @override
    def d_out(self) -> int:
        return self.d_model

    @property
    @override
    def where(self) -> str:
        return PLACES[self.outputs].format(super().where)

    @property
    @override
    def is_control(self) -> bool:
        return super().is_control or self.outputs != "mlp"

    @property
    @override
    def bytes_per_token(self) -> int:
        return 3 * super().bytes_per_token

    @override
    def open(self, inputs: Mapping[str, Result], *, batch_size: int, seed: int, device: str) -> OpenedSource:
        plain = super().open(inputs, batch_size=batch_size, seed=seed, device=device)
        kept, held_out = harvests_of(inputs)
        stream = MLPStream(kept, outputs=self.outputs, batch_size=batch_size, seed=seed, device=device)
        scale, d_in = joint_normalisation(kept), kept.d_in
        part = part_of(kept, OUTPUTS[self.outputs])
        scored = self.scored(held_out)

        def pairs() -> Iterator[tuple[Tensor, Tensor]]:
            for rows in rows_of(held_out, scored, scale, joint=True):
                targets = shuffled(rows[:, part]) if self.outputs == "shuffled" else rows[:, part]
                yield rows[:, :d_in].contiguous(), targets.contiguous()

        sample = spread_rows(held_out, scored, scale, joint=True)
        targets = sample[:, part].contiguous()
        return OpenedSource(
            stream,
            sample[:, :d_in].contiguous(),
            plain.calibration,
            lambda: (x for x, _ in pairs()),
            kept=kept,
            held_out=held_out,
            pairs=pairs,
            sample_targets=shuffled(targets) if self.outputs == "shuffled" else targets,
        )
