"""Layers and MLPs that never lie on a disk: the rows that a disk would hold, from one pass of each model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sanity.engine.cells import Cell
from sanity.engine.computing import compute
from sanity.engine.store import LocalStore, require
from sanity.errors import BadInputError
from sanity.models import Arm, PairedStream, TopK, train
from sanity.profiles.sources import HookEntry, MLPEntry
from sanity.sources import Hook, Layers, OneLayer, OpenedSource, Pace, ShuffledLayers, Source, StreamedMLP
from sanity.sources.streamed import model_bytes
from sanity.subject import ForwardStream
from sanity.subject.interface import LoadedSubject
from sanity.testing import check_source

KINDS = ["layers", "twin", "mlp", "random"]
WINDOWS, CONTEXT, WIDTH = 40, 16, 32
EPOCH = WINDOWS * (CONTEXT - 1)


class Sources:
    """Sources on a tiny model, streamed or not."""

    def __init__(self, model: Path, text: Path, store: LocalStore) -> None:
        self._given = {
            "subject": str(model), "text": str(text), "d_model": WIDTH, "context": CONTEXT,
            "train_tokens": WINDOWS * CONTEXT, "held_out_tokens": 10 * CONTEXT, "shard_tokens": 160,
        }  # fmt: skip
        self._store = store

    def hook(self, layer: int, *, buffer_tokens: int | None = 10**6, **more: Any) -> Hook:
        made = HookEntry(
            kind="hook",
            hook=f"blocks.{layer}.hook_resid_post",
            **_buffer(buffer_tokens),
            **self._given,
            **more,
        ).made(_nothing)
        assert isinstance(made, Hook)
        return made

    def made(self, kind: str, buffer_tokens: int | None = 10**6) -> Source:
        if kind in ("mlp", "random", "shuffled"):
            return MLPEntry(
                kind="mlp", hook="blocks.1.mlp.hook_in", outputs=kind, **_buffer(buffer_tokens), **self._given
            ).made(_nothing)
        first = self.hook(0, buffer_tokens=buffer_tokens)
        if kind == "twin":
            return Layers((first, self.hook(1, buffer_tokens=buffer_tokens, random_weights=True)))
        return Layers((first, self.hook(1, buffer_tokens=buffer_tokens)))

    def results(self, source: Source) -> dict[str, Any]:
        cells: dict[str, Cell] = source.cells("cpu", Pace())
        compute(list(cells.values()), self._store)
        return {name: require(cell, self._store) for name, cell in cells.items()}

    def opened(self, source: Source, *, batch_size: int = 60) -> OpenedSource:
        return source.open(self.results(source), batch_size=batch_size, seed=0, device="cpu")


def _buffer(tokens: int | None) -> dict[str, Any]:
    return {} if tokens is None else {"streamed": True, "buffer_tokens": tokens}


def _nothing(name: str) -> Source:
    raise AssertionError(name)


@pytest.fixture(scope="module")
def sources(letters_and_text: tuple[Path, Path], store: LocalStore) -> Sources:
    return Sources(*letters_and_text, store)


def epoch(opened: OpenedSource) -> Tensor:
    """Every row of an epoch, with its target where it has one, in an order that they have by themselves."""
    stream = opened.stream
    assert EPOCH % stream.batch_size == 0
    steps = range(EPOCH // stream.batch_size)
    rows = torch.cat([stream.batch(step) for step in steps])
    if isinstance(stream, PairedStream):
        rows = torch.cat([rows, torch.cat([stream.targets(step) for step in steps])], 1)
    return rows[rows[:, 0].argsort()]


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_is_what_the_disk_would_hold(kind: str, sources: Sources) -> None:
    streamed, on_disk = (sources.opened(sources.made(kind, tokens)) for tokens in (10**6, None))
    assert isinstance(streamed.stream, ForwardStream)
    assert not isinstance(on_disk.stream, ForwardStream)
    torch.testing.assert_close(epoch(streamed), epoch(on_disk), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        streamed.stream.covariance(), on_disk.stream.covariance(), rtol=1e-3, atol=1e-3
    )
    if isinstance(streamed.stream, PairedStream) and isinstance(on_disk.stream, PairedStream):
        found, wanted = streamed.stream.target_covariance(), on_disk.stream.target_covariance()
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
    for one, other in zip(streamed.targets(), on_disk.targets(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["layers", "mlp"])
def test_it_is_a_source_like_any_other(kind: str, sources: Sources) -> None:
    source = sources.made(kind)
    check_source(source, sources.results(source))


def test_one_pass_of_each_model_reads_all_of_its_hooks(
    sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[tuple[int, int]] = []
    before = LoadedSubject.residuals

    def noted(self: LoadedSubject, tokens: Tensor, hooks: Any) -> Any:
        passed.append((len(tokens), len(hooks)))
        return before(self, tokens, hooks)

    source = sources.made("layers", 10**6)
    opened = sources.opened(source)
    assert opened.stream.d_in == 2 * WIDTH, "known before a model is loaded"
    monkeypatch.setattr(LoadedSubject, "residuals", noted)
    epoch(opened)
    of_both = [one for one in passed if one[1] == 2]  # a model that is loaded is tried at single hooks
    assert of_both == [(WINDOWS, 2)], "all windows in one pass, for both hooks"


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("kind", ["layers", "mlp"])
def test_training_that_was_interrupted_ends_with_the_same_bits(
    kind: str, sources: Sources, tmp_path: Path
) -> None:
    source, arm = sources.made(kind, 160), Arm(TopK(k=3), d_sae=48)
    (whole,) = train([arm], sources.opened(source).stream, steps=14)
    stream = sources.opened(source).stream
    batch = stream.batch

    def breaks(step: int) -> Tensor:
        if step == 9:
            raise Interrupted
        return batch(step)

    stream.batch = breaks  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        train([arm], stream, steps=14, folder=tmp_path, checkpoint_every_s=0.0)
    assert list(tmp_path.rglob("*.safetensors"))
    (resumed,) = train([arm], sources.opened(source).stream, steps=14, folder=tmp_path)
    assert torch.equal(whole.sae.W_dec, resumed.sae.W_dec)
    assert torch.equal(whole.sae.W_enc, resumed.sae.W_enc)


def test_memory_and_passes_are_planned(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    layers, twin, mlp = (sources.made(kind, 320) for kind in ("layers", "twin", "mlp"))
    rows = 320 * 2 * WIDTH * 4
    model = model_bytes(sources.hook(1).at)
    assert layers.buffer_bytes == mlp.buffer_bytes == rows + model
    assert twin.buffer_bytes == rows + 2 * model
    assert layers.one_order
    assert not sources.made("layers", None).one_order
    deeper = sources.hook(1)
    assert layers.reading_seconds(1000, Pace()) == deeper.reading_seconds(1000, Pace())
    assert twin.reading_seconds(1000, Pace()) > deeper.reading_seconds(1000, Pace())
    results = sources.results(layers)
    monkeypatch.setattr("sanity.sources.streamed.memory_bytes", lambda: 2 * (model + rows // 2))
    with pytest.raises(
        BadInputError, match=r"buffer of 320 tokens at .* with .*buffer_tokens of at most 160$"
    ):
        layers.open(results, batch_size=60, seed=0, device="cpu")


def test_what_cannot_be_streamed_is_refused(sources: Sources) -> None:
    with pytest.raises(
        BadInputError, match=r"outputs of other tokens, are paired on disk.*leave streamed out"
    ):
        sources.made("shuffled")
    layers, mlp = sources.made("layers"), sources.made("mlp")
    for kind in (ShuffledLayers, OneLayer):
        with pytest.raises(BadInputError, match=r"is not made of what is streamed: leave streamed out"):
            kind(layers)
    assert isinstance(mlp, StreamedMLP)
    with pytest.raises(BadInputError, match="an MLP that is streamed is read alone"):
        Layers((sources.hook(0), mlp))
    with pytest.raises(BadInputError, match=r"differs .* in buffer_tokens: give both one"):
        Layers((sources.hook(0), sources.hook(1, buffer_tokens=None)))
