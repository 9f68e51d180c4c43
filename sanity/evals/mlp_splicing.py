"""Losses with a transcoder in an MLP's place: what the MLP puts out is replaced, what passes it by stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sanity.evals.scrambles import MeanMixture
from sanity.evals.splicing import LossRecovered, SAEInPlace, loss_recovered
from sanity.subject import ActivationStore, MLPSubject, joint_normalisation


@dataclass(eq=False)
class MLPInPlace:
    """A language model spliced at the output of one MLP, next to which its input is given: [output, input].

    It remembers the residual stream that passes the MLP by, of the sequences that it was asked for last.
    """

    subject: MLPSubject
    passing: Tensor | None = None

    def residual(self, tokens: Int[Tensor, "batch pos"], hook: str) -> Float[Tensor, "batch pos two_d"]:
        """The MLP's output and its input, side by side."""
        x, out, after = self.subject.read(tokens)
        self.passing = after - out
        return torch.cat([out, x], dim=-1)

    def logits_from(
        self, residual: Float[Tensor, "batch pos two_d"], hook: str
    ) -> Float[Tensor, "batch pos vocab"]:
        """Logits of the model run on with another output of the MLP."""
        assert self.passing is not None
        out = residual[..., : self.subject.d_model]
        return self.subject.logits_from(self.passing + out, self.subject.after)


def losses_in_place(
    subject: MLPSubject,
    kept: ActivationStore,
    transcoders: Mapping[str, Any],
    tokens: Int[Tensor, "n context"],
    **more: Any,
) -> dict[str, LossRecovered]:
    """`loss_recovered` with each transcoder in the MLP's place; floor: the mean of its output."""
    scale, d = joint_normalisation(kept), subject.d_model
    centre, factors = (torch.cat([one[d : 2 * d], one[:d]]) for one in (scale.centre, scale.factors))
    output, read = slice(0, d), slice(d, 2 * d)
    saes = {
        name: MeanMixture(2 * d, one.level, one.device)
        if isinstance(one, MeanMixture)
        else SAEInPlace(one, factors, read, output)
        for name, one in transcoders.items()
    }
    hook = subject.hooks[0].replace("hook_in", "hook_out")
    return loss_recovered(
        MLPInPlace(subject), saes, tokens, hook=hook, centre=centre, factor=1.0, mean=centre, **more
    )
