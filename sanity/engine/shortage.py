"""Memory that ran out while something was computed, in words; PyTorch's own name neither cell nor way out."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from sanity.errors import SanityError

_OF_A_CARD = re.compile(r"Tried to allocate ([\d.]+ \w+).*?of which ([\d.]+ \w+) is free", re.DOTALL)
_OF_A_PROCESSOR = re.compile(r"can't allocate memory: you tried to allocate (\d+) bytes")


@contextlib.contextmanager
def shortage_told(label: str) -> Iterator[None]:
    """Turns an error of memory in what is computed as `label` into a `SanityError` that says what to do."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if (words := _words(error)) is None:
            raise
        raise SanityError(
            f"{label}: {words}, or ask for fewer latents or smaller batches; then run again: what is "
            "finished stays, and training goes on from its last checkpoint"
        ) from error


def _words(error: Exception) -> str | None:
    """What ran out, and who else may have it; None for any other error."""
    said = str(error)
    if type(error).__name__ == "OutOfMemoryError":  # torch's; asked by name, since nothing here imports torch
        found = _OF_A_CARD.search(said)
        asked = (
            f"it asked for {found[1]} more, and {found[2]} were free" if found else said.partition("\n")[0]
        )
        return f"the graphics card is out of memory ({asked}): end what else uses the card (see nvidia-smi)"
    found = _OF_A_PROCESSOR.search(said)
    if found or isinstance(error, MemoryError):
        asked = f" (it asked for {int(found[1]) / 1e9:.3g} GB more)" if found else ""
        return f"this machine is out of memory{asked}: end what else runs here"
    return None


def give_back_card() -> None:
    """Let others have what PyTorch keeps of the card's memory for later."""
    import torch

    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
