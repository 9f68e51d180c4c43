"""Every kernel once on a small case before it is trusted: compilers and cards differ, and a run goes on."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from sanity.errors import reason_of
from sanity.models.card import plain
from sanity.models.card.entries import Entries
from sanity.models.card.plain import Adam, Columns

log = logging.getLogger("sanity")

NAMES = ("best", "above", "weighted_sums", "products", "latent_gradients", "move_rows")


def tried(kernels: Any, device: torch.device | str, d: int, dtype: torch.dtype = torch.float32) -> Any:
    """The kernels that give what their twins give for rows of `d` on this device; for others the twins."""
    chosen: dict[str, Any] = {}
    for name in NAMES:
        try:
            ours, theirs = (_outcome(name, getattr(of, name), device, d, dtype) for of in (kernels, plain))
            for one, other in zip(ours, theirs, strict=True):
                off = 1e-4 if one.is_floating_point() else 0.0
                torch.testing.assert_close(one, other, rtol=off, atol=off)
            chosen[name] = getattr(kernels, name)
        except Exception as error:
            log.warning(
                "the kernel %s does not work on this card (%s): plain PyTorch stands in, and is slower",
                name,
                reason_of(error),
            )
            chosen[name] = getattr(plain, name)
    return SimpleNamespace(**chosen)


def _outcome(name: str, operation: Any, device: Any, d: int, dtype: torch.dtype) -> list[Tensor]:
    """What an operation gives on the small case."""
    draw = torch.Generator().manual_seed(0)

    def some(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw).to(device, dtype)

    rows, width = 6, 20
    flat = torch.stack([torch.randperm(width, generator=draw)[:5] + width * row for row in range(rows)])
    found = Entries.of(flat.view(1, -1).to(device), rows, width)
    if name == "best":
        over = some(1, rows, 4096)
        found_best = [(of, operation(of, many)) for of in (over, over.bfloat16()) for many in (3, 200)]
        return [of.gather(2, latents).sort(2).values for of, (latents, _) in found_best]
    if name == "above":
        pre, limits = some(2, rows, 4099), (some(2, 4099) + 2, some(2, rows), 2000)
        return [*operation(pre, *limits), *operation(pre.bfloat16(), *limits)]
    if name == "weighted_sums":
        return [operation(found.spans, found.latents, some(rows * 5), some(width, d))]
    if name == "products":
        return [operation(found, some(rows, d), some(width, d))]
    if name == "latent_gradients":
        latents, order = found.latents.sort(stable=True)
        starts = torch.searchsorted(latents, torch.arange(width + 1, device=device))
        columns = Columns(starts, latents, *[found.rows[order]] * 2, *(some(rows * 5) for _ in range(4)))
        return list(vars(operation(columns, some(width, d), some(rows, d), some(rows, d))).values())
    weight, anchor = (torch.nn.functional.normalize(some(2, width, d), dim=2) for _ in range(2))
    moments, bound = (some(2, width, d), some(2, width, d).square()), torch.tensor([-1.0, 0.8], device=device)
    numbers = some(2).abs() / 10, some(2).abs(), torch.tensor([True, True], device=device)
    adam = Adam(0.9, 0.999, 1e-8, 0.01, *numbers, torch.tensor([7], device=device))
    halves = moments[0].bfloat16(), moments[1].bfloat16()
    operation(weight, some(2, width, d), moments, adam, anchor, bound, decoder=True)
    again = weight.clone()  # how moments in bf16 are rounded hangs on the last bit
    operation(again, some(2, width, d), halves, adam, anchor, bound, decoder=True)
    parted, fresh = weight.clone(), (some(2, width, d), some(2, width, d).square())
    blocks = 2 if d % 2 == 0 else 1
    operation(parted, some(2, width, d), fresh, adam, anchor, bound, decoder=True, blocks=blocks)
    return [weight, *moments, again, parted]
