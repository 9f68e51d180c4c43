"""Kill and resume: the same bits as a run that was left alone, and no checkpoint of another run."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from sanity.baselines import FrozenDecoder, FrozenEncoder, SoftFrozenDecoder, Untrained
from sanity.errors import BadInputError
from sanity.models import Arm, BatchTopK, JumpReLU, ReLU, Run, TopK, Training, train
from sanity.models.resume import CheckpointTimer

SETTINGS = Training(curve_points=6, auxiliary=0.1, auxiliary_k=4, dead_after_tokens=100)
ARMS = [
    Arm(TopK(3), 24, learning_rate=1e-2),
    Arm(BatchTopK(3), 24, SoftFrozenDecoder(), learning_rate=1e-2),
    Arm(JumpReLU(3.0), 24, FrozenDecoder()),
    Arm(ReLU(3.0), 24, FrozenEncoder()),
    Arm(TopK(3), 24, Untrained()),
]


class Interrupted(RuntimeError):
    """Stands for whatever ends a process."""


def interrupt_at(stream: Any, step: int) -> Any:
    """The stream, until it fails."""
    failing = dataclasses.replace(stream)

    def batch(wanted: int) -> torch.Tensor:
        if wanted == step:
            raise Interrupted
        result: torch.Tensor = stream.batch(wanted)
        return result

    failing.batch = batch
    return failing


def bits(run: Run) -> list[bytes]:
    sae = run.sae
    tensors = [sae.W_enc, sae.W_dec, sae.b_enc, sae.b_dec, run.initial_directions]
    tensors += [] if sae.threshold is None else [sae.threshold]
    return [tensor.contiguous().numpy().tobytes() for tensor in tensors]


def assert_same(found: list[Run], expected: list[Run]) -> None:
    for a, b in zip(found, expected, strict=True):
        assert bits(a) == bits(b), a.arm.label
        assert a.curve.equals(b.curve), a.arm.label


def test_an_interrupted_run_ends_with_the_same_bits(stream: Any, tmp_path: Path) -> None:
    expected = train(ARMS, stream, steps=16, training=SETTINGS)
    for step in (5, 6, 12):
        with pytest.raises(Interrupted):
            train(
                ARMS,
                interrupt_at(stream, step),
                steps=16,
                training=SETTINGS,
                folder=tmp_path,
                checkpoint_every_s=0,
            )
    # Arms that stand at different steps join each other.
    late = next(tmp_path.glob("topk-3-trained*"))
    for child in late.iterdir():
        child.rename(tmp_path / "aside")
    late.rmdir()
    assert_same(train(ARMS, stream, steps=16, training=SETTINGS, folder=tmp_path), expected)
    # All is done: nothing is drawn any more.
    again = train(ARMS, interrupt_at(stream, 0), steps=16, training=SETTINGS, folder=tmp_path)
    assert_same(again, expected)
    assert again[0].folder is not None
    assert [path.name for path in again[0].folder.iterdir()] == ["step-0000000016"]


SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
import torch
torch.set_num_threads({threads})
from small_stream import SmallStream
from test_resuming import ARMS, SETTINGS
from sanity.models import train

class SlowStream(SmallStream):
    "The same batches, late enough that there is time to kill whoever trains on them."
    def batch(self, step):
        time.sleep(0.02)
        return super().batch(step)

train(ARMS[:4], SlowStream(), steps=60, training=SETTINGS, folder=Path({folder!r}), checkpoint_every_s=0.05)
"""


def test_a_killed_process_loses_nothing(stream: Any, tmp_path: Path) -> None:
    script = SCRIPT.format(
        tests=str(Path(__file__).parent), folder=str(tmp_path), threads=torch.get_num_threads()
    )
    seen: set[str] = set()
    for delay in (0.0, 0.13):
        process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
        began = time.monotonic()
        while not {path.name for path in tmp_path.glob("*/step-*")} - seen:
            assert process.poll() is None
            assert time.monotonic() - began < 300
            time.sleep(0.01)
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        seen = {path.name for path in tmp_path.glob("*/step-*")}
        assert seen != {"step-0000000060"}
    found = train(ARMS[:4], stream, steps=60, training=SETTINGS, folder=tmp_path)
    assert_same(found, train(ARMS[:4], stream, steps=60, training=SETTINGS))


def trained(stream: Any, folder: Path, **changes: Any) -> list[Run]:
    arguments: dict[str, Any] = {"steps": 4, "training": SETTINGS, "folder": folder, **changes}
    return train(ARMS[:1], stream, **arguments)


def test_a_checkpoint_of_another_run_is_refused(stream: Any, tmp_path: Path) -> None:
    folder = trained(stream, tmp_path)[0].folder
    with pytest.raises(BadInputError, match=r"another run .stream"):
        trained(dataclasses.replace(stream, seed=1), tmp_path)
    with pytest.raises(BadInputError, match=r"another run .steps 4, not 5"):
        trained(stream, tmp_path, steps=5)
    with pytest.raises(BadInputError, match=r"another run .training"):
        trained(stream, tmp_path, training=Training(beta1=0.8))
    with pytest.raises(BadInputError, match=r"another run .precision"):
        trained(stream, tmp_path, precision="bf16")
    assert folder is not None
    other = Arm(TopK(3), 24, learning_rate=2e-2)
    taken = train([other], stream, steps=4, training=SETTINGS, folder=tmp_path)[0].folder
    assert taken is not None
    assert taken != folder


@pytest.mark.parametrize("name", ["state.json", "state.safetensors", "manifest.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_checkpoint_is_named_and_trained_anew(
    stream: Any, tmp_path: Path, name: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    expected = trained(stream, tmp_path)
    folder = expected[0].folder
    assert folder is not None
    path = folder / "step-0000000004" / name
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    else:
        middle = len(content) // 2
        content[middle] ^= 1
        path.write_bytes(content if damage == "flipped" else content[:middle])
    assert_same(trained(stream, tmp_path), expected)
    assert "step-0000000004" in caplog.text


def test_a_checkpoint_that_was_being_written_is_ignored(stream: Any, tmp_path: Path) -> None:
    expected = trained(stream, tmp_path / "a")
    place = tmp_path / "b" / Path(str(expected[0].folder)).name
    (place / ".step-0000000002.99.part").mkdir(parents=True)
    (place / ".step-0000000002.99.part" / "state.json").write_text(json.dumps({"half": True})[:5])
    assert_same(trained(stream, tmp_path / "b"), expected)
    assert [path.name for path in place.iterdir()] == ["step-0000000004"]


STOPPED = """
import sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
import torch
torch.set_num_threads({threads})
from small_stream import SmallStream
from test_resuming import ARMS, SETTINGS
from sanity.models import train
from sanity.models.resume import CheckpointTimer

CheckpointTimer.FIRST_S = {first_s}

class SlowStream(SmallStream):
    def batch(self, step):
        time.sleep(0.05)
        print(step, flush=True)
        return super().batch(step)

train(ARMS[:2], SlowStream(), steps=60, training=SETTINGS, folder=Path({folder!r}))
"""


@pytest.mark.parametrize(("how", "first_s"), [(signal.SIGTERM, 1e6), (signal.SIGKILL, 0.2)])
def test_a_short_run_that_is_ended_has_made_progress(
    stream: Any, tmp_path: Path, how: signal.Signals, first_s: float
) -> None:
    script = STOPPED.format(
        tests=str(Path(__file__).parent),
        folder=str(tmp_path),
        threads=torch.get_num_threads(),
        first_s=first_s,
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) < 30:
            pass
        process.send_signal(how)
        process.stdout.read()
    assert process.returncode == (143 if how is signal.SIGTERM else -signal.SIGKILL)
    reached = [int(path.name.removeprefix("step-")) for path in tmp_path.glob("*/step-*")]
    assert len(reached) == 2
    assert (30 if how is signal.SIGTERM else 1) <= min(reached) <= max(reached) < 60
    found = train(ARMS[:2], stream, steps=60, training=SETTINGS, folder=tmp_path)
    assert_same(found, train(ARMS[:2], stream, steps=60, training=SETTINGS))


def test_checkpoints_take_a_fiftieth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now, saving = 0.0, 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    pace = CheckpointTimer(None)
    for _ in range(100_000):
        now += 0.01
        if pace.due():
            with pace.saving():
                now += 0.05
            saving += 0.05
    assert 0.015 < saving / now <= 0.0201
