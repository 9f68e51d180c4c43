"""Checkpoints of an arm in training: everything that the rest of its run depends on, to the bit.

A checkpoint is a folder `step-0000001234` that appears by one rename, after its files and the hashes of
them have reached the disk. The one before is removed only then, so a kill at any moment leaves one that is
complete. A damaged checkpoint, or one of another run, is refused and named.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from sanity.engine.config import Json
from sanity.engine.files import read_json, remove
from sanity.errors import BadInputError
from sanity.models.checkpoint import load_tensors, verified, write_folder
from sanity.models.controller import Controller
from sanity.models.gradients import Weights
from sanity.models.learner import Learner
from sanity.models.start import Start

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
_STATE, _TENSORS = "state.json", "state.safetensors"


@dataclass(eq=False)
class Checkpoint:
    """A checkpoint: what was read, or what is to be written."""

    state: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @classmethod
    def of(cls, learner: Learner) -> Checkpoint:
        """All of a learner, as it is now; its own tensors, not copies."""
        named = learner.weights.by_name()
        tensors = {"directions": learner.anchor, "last_fired": learner.last_fired}
        tensors |= {f"weights.{name}": value for name, value in named.items() if value is not learner.anchor}
        if learner.encoder_anchor is not learner.anchor:
            tensors["encoder_directions"] = learner.encoder_anchor
        if learner.optimiser is not None:
            for name in learner.learns:
                moments = learner.optimiser.state.get(named[name], {})
                tensors |= {f"{name}.{moment}": value for moment, value in moments.items()}
        state = {
            "step": learner.step,
            "tokens": learner.tokens,
            "threshold": learner.threshold,
            "controller": None if learner.controller is None else asdict(learner.controller),
            "curve": learner.curve,
            "stacked_with": learner.stacked_with,
        }
        return cls(state, tensors)

    @property
    def step(self) -> int:
        """Updates that had been made."""
        return int(self.state["step"])

    def on(self, device: torch.device) -> Checkpoint:
        """The same on another device."""
        return Checkpoint(self.state, {name: value.to(device) for name, value in self.tensors.items()})

    def start(self) -> Start:
        """What a learner begins with."""
        anchor, controller = self.tensors["directions"], self.state["controller"]
        weights = Weights(
            W_enc_t=self.tensors["weights.W_enc"],
            W_dec=self.tensors.get("weights.W_dec", anchor),
            b_enc=self.tensors["weights.b_enc"],
            b_dec=self.tensors["weights.b_dec"],
            log_threshold=self.tensors.get("weights.threshold"),
            W_skip=self.tensors.get("weights.W_skip"),
        )
        return Start(
            directions=anchor,
            encoder_directions=self.tensors.get("encoder_directions"),
            weights=weights,
            threshold=float(self.state["threshold"]),
            controller=None if controller is None else Controller(**controller),
        )

    def into(self, learner: Learner) -> None:
        """Put counters, the curve and the optimiser's moments back."""
        learner.step, learner.tokens = self.step, int(self.state["tokens"])
        learner.curve = list(self.state["curve"])
        learner.stacked_with = list(self.state.get("stacked_with", []))
        learner.last_fired = self.tensors["last_fired"]
        named = learner.weights.by_name()
        if learner.optimiser is not None and f"{learner.learns[0]}.step" in self.tensors:
            for name in learner.learns:
                moments = {moment: self.tensors[f"{name}.{moment}"] for moment in _MOMENTS}
                learner.optimiser.state[named[name]] = moments


class CheckpointTimer:
    """When to write a checkpoint: every so many seconds, or as often as costs little of the time."""

    SHARE = 0.02
    """Of the time, for checkpoints."""
    FIRST_S = 1.0
    """Until the first, whose cost nobody knows."""

    def __init__(self, every_s: float | None) -> None:
        self._every_s = every_s
        self._wait = self.FIRST_S if every_s is None else every_s
        self._saved = time.monotonic()

    def due(self) -> bool:
        """Whether it is time."""
        return time.monotonic() - self._saved >= self._wait

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Around the writing of one, which is timed."""
        began = time.monotonic()
        yield
        self._saved = time.monotonic()
        if self._every_s is None:
            self._wait = (self._saved - began) * (1 / self.SHARE - 1)


def save_progress(folder: Path, saved: Checkpoint, identity: Mapping[str, Json]) -> None:
    """Write a checkpoint into `folder`, and remove the one before."""
    state = {"identity": identity, **saved.state}

    def fill(where: Path) -> None:
        save_file({name: value.cpu().contiguous() for name, value in saved.tensors.items()}, where / _TENSORS)
        (where / _STATE).write_text(json.dumps(state), encoding="utf-8")

    newest = write_folder(folder / f"step-{saved.step:010d}", fill)
    for older in folder.glob("*step-*"):
        if older != newest:
            remove(older)


def load_progress(folder: Path, identity: Mapping[str, Json]) -> Checkpoint | None:
    """The last checkpoint in `folder`, or None when there is none.

    Raises `CorruptFileError` for a damaged one, `BadInputError` for one of another run.
    """
    found = sorted(folder.glob("step-*")) if os.path.isdir(folder) else []
    if not found:
        return None
    newest = found[-1]
    verified(newest)
    state = read_json(newest / _STATE)
    _same_run(newest, state.get("identity"), identity)
    return Checkpoint(state, load_tensors(newest / _TENSORS))


def _same_run(folder: Path, found: object, wanted: Mapping[str, Json]) -> None:
    known = found if isinstance(found, dict) else {}
    # Through JSON, so that what was written is compared with what would be written.
    asked = json.loads(json.dumps(wanted))
    different = sorted(name for name in asked.keys() | known.keys() if asked.get(name) != known.get(name))
    if different:
        told = "; ".join(f"{name} {known.get(name)!r}, not {asked.get(name)!r}" for name in different)
        raise BadInputError(
            f"{folder} is a checkpoint of another run ({told}): "
            "give this run another folder, or delete that one"
        )
