"""Whether the processes of a cluster can compute what a client asks: the same package, one cell, one card."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sanity.engine.machine import commit
from sanity.errors import BadInputError

CARD = "GPU"
"""What a worker with a graphics card offers, as `--resources GPU=1`."""


@dataclass(frozen=True)
class Edition:
    """Which source of this package a process runs."""

    source: str
    """Digest of all its files."""
    words: str

    @classmethod
    @functools.cache
    def here(cls) -> Edition:
        """That of this process."""
        folder, state = Path(__file__).resolve().parents[1], hashlib.sha256()
        for path in sorted(p for p in folder.rglob("*") if p.suffix in (".py", ".yaml")):
            state.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
        version = importlib.metadata.version("sae-sanity")
        return cls(
            state.hexdigest()[:12], f"version {version}, commit {commit()}, source {state.hexdigest()[:8]}"
        )


def other_edition(wanted: Edition) -> str:
    """What is wrong with this process for a client that runs `wanted`; nothing where it runs the same."""
    here = Edition.here()
    if here.source == wanted.source:
        return ""
    return (
        f"runs another edition of the package ({here.words}) than this process ({wanted.words}): install "
        "the same on every machine, and start it again"
    )


def unfit(wanted: Edition, dask_worker: Any) -> str:
    """The same of a worker, whose process is to be a cell's own, and its card, too."""
    threads = dask_worker.state.nthreads
    if threads > 1:
        return (
            f"has {threads} threads, and cells share a process badly: start it with --nthreads 1, and with "
            "--nworkers as many as it has cores"
        )
    if _offers_card(dask_worker) and (many := _cards_here()) > 1:
        return (
            f"sees {many} graphics cards, and cells would all take the first: start a worker for each card, "
            "with CUDA_VISIBLE_DEVICES=0, CUDA_VISIBLE_DEVICES=1 and so on"
        )
    return other_edition(wanted)


def card_seen(dask_worker: Any) -> tuple[str, str] | None:
    """On a worker that offers a card: its host, and which card that is; None on others."""
    if not _offers_card(dask_worker) or not _cards_here():
        return None
    import torch

    return socket.gethostname(), str(torch.cuda.get_device_properties(0).uuid)


def refuse_shared_cards(seen: Mapping[str, tuple[str, str] | None]) -> None:
    """Refuse workers that compute on one and the same card; `seen` is `card_seen` of each."""
    owners: dict[tuple[str, str], str] = {}
    for worker, card in seen.items():
        if card is None:
            continue
        if card in owners:
            raise BadInputError(
                f"the workers {owners[card]} and {worker} use the same graphics card of {card[0]}: start "
                "each with CUDA_VISIBLE_DEVICES naming a card of its own"
            )
        owners[card] = worker


def _offers_card(dask_worker: Any) -> bool:
    return bool(dask_worker.state.total_resources.get(CARD))


def _cards_here() -> int:
    import torch

    return torch.cuda.device_count()
