"""What arms take of memory while they train, counted once: for the parts of a call, for stacks, for plans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sanity.engine.machine import in_parts
from sanity.engine.workers import memory_for_results
from sanity.errors import BadInputError
from sanity.models.arm import Arm
from sanity.models.hyperparameters import Training

CARD_SHARE = 0.8
"""Of a card's free memory, for arms; the rest is for batches, probes and what the allocator cannot join."""
CARD_BYTES = 140 * 10**9
"""Of the card that costs are told for where there is none here: an H200."""


@dataclass(frozen=True)
class Footprint:
    """Bytes that an arm takes at most."""

    label: str
    latents: int
    made: int
    """Before its first step: weights and anchors."""
    kept: int
    """Between its steps. In a stack, whose arms step together, in them: then all that it ever takes."""
    passing: int
    """Within its own steps alone."""

    @property
    def whole(self) -> int:
        """While it takes a step."""
        return self.kept + self.passing

    def refusal(self, room: float) -> BadInputError:
        """That it does not fit into `room` bytes, and what would."""
        return BadInputError(
            f"{self.label} needs {self.whole / 1e9:.3g} GB of memory while it trains, and "
            f"{max(0.0, room) / 1e9:.3g} GB are there for it: at this width and batch "
            f"{max(0, int(self.latents * room / self.whole)):,} latents fit, or use smaller batches"
        )


def footprint(
    arm: Arm,
    training: Training,
    *,
    d_in: int,
    d_out: int | None = None,
    batch: int,
    stacked: bool,
    size: int = 4,
    latents: int | None = None,
) -> Footprint:
    """What an arm takes; `d_out` for transcoders, `size` of a number, `latents` where it holds some of them.

    Stacked: weights and anchors twice, since the stack has copies; two moments of both matrices, which may be
    in bf16; gradients. By itself: moments and gradients of what learns. And of a step a column of
    pre-activations for each latent, with one of scratch for the selection, one for the auxiliary loss, and
    64 bytes for each entry that is selected.

    Measured on a processor (width 256, 8,192 latents, batch 1,024, the growth of the process): .6 to 1.1
    times as much by themselves, 1.1 to 1.2 times in a stack without the card's kernels, which work in place.
    """
    settings, learns = arm.objective.settings(training), arm.constraint.learns
    row = d_in + (d_out or d_in)
    made = row + (row if d_out else d_in)
    learning = d_in * ("W_enc" in learns) + (d_out or d_in) * ("W_dec" in learns)
    of_entries = min(4.0, 16 * arm.architecture.l0 / arm.d_sae)
    columns = int(batch * (2 + bool(settings.auxiliary) + of_entries))
    of_moments = row if settings.moments == "bf16" else 2 * row
    kept = 2 * made + of_moments + row + columns if stacked else made + 2 * learning
    passing = 0 if stacked else learning + columns
    each = size * (latents or arm.d_sae)
    return Footprint(arm.label, latents or arm.d_sae, each * made, each * kept, each * passing)


def parts_that_fit(needs: Sequence[Footprint], room: float) -> list[slice]:
    """Neighbours in as few parts as fit into `room` bytes; `BadInputError` where a single arm does not."""
    for need in needs:
        if need.whole > room:
            raise need.refusal(room)
    return in_parts([need.kept for need in needs], room - max(need.passing for need in needs))


def room_for_arms(device: str | torch.device, *, taken: int = 0, planned: bool = False) -> float:
    """Bytes that arms may take together, next to `taken` by the data that they learn from.

    Of a card most of what is free; `planned`, of all that it has. On a processor what all results may take
    that are computed at the same time.
    """
    device = torch.device(device)
    if device.type != "cuda":
        return memory_for_results() - taken
    here = torch.cuda.is_available()
    if planned:
        return CARD_SHARE * ((torch.cuda.mem_get_info(device)[1] if here else CARD_BYTES) - taken)
    return CARD_SHARE * (free_on_card(device) - taken)


def free_on_card(device: torch.device) -> int:
    """Bytes of the card that nobody uses, those that PyTorch keeps for later included."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept
