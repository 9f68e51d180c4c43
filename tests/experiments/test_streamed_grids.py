"""Activations that never lie on a disk: one forward for all arms, memory that is planned, bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_profile import tiny_profile

from sanity.engine.cells import in_order
from sanity.engine.computing import compute, total_cost
from sanity.engine.store import LocalStore
from sanity.errors import BadInputError
from sanity.experiments.planner import plan_grids
from sanity.experiments.reading import Reader
from sanity.profiles import Profile
from sanity.sources import Hook, StreamedHook
from sanity.sources.streamed import PASS_BYTES, UNKNOWN_BYTES, model_bytes, require_room
from sanity.subject import ForwardStream, weights_bytes
from sanity.testing import check_source

STREAMED = {"streamed": True, "buffer_tokens": 320}
BLOCKS = {
    "sources": "letters", "architectures": ["topk", "batchtopk"], "l0": [3, 5], "d_sae": 64,
    "arms": ["trained", "frozen_decoder/cov"], "seeds": [0, 1], "learning_rates": [0.001, 0.002],
    "batch_size": 64, "steps": 40, "evals": ["reconstruction"],
}  # fmt: skip
OBJECTIVES = {
    "objectives": ["plain", "even_encoder"],
    "arms": "trained",
    "architectures": "batchtopk",
    "l0": 3,
}


def streamed(letters_and_text: tuple[Path, Path], *, arms: bool = True, **hook: Any) -> Profile:
    grids = {"real_activations": BLOCKS if arms else {**BLOCKS, "architectures": "topk", "arms": "trained"}}
    return tiny_profile(*letters_and_text, hook={**STREAMED, **hook}, grids=grids)


def test_one_forward_serves_all_arms_seeds_rates_and_l0s(
    letters_and_text: tuple[Path, Path], store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[ForwardStream] = []
    begin = ForwardStream.__init__

    def noted(self: ForwardStream, *args: Any, **given: Any) -> None:
        begin(self, *args, **given)
        made.append(self)

    monkeypatch.setattr(ForwardStream, "__init__", noted)
    reader = Reader(streamed(letters_and_text), store)
    scores = reader.scores("real_activations")
    assert len(reader.plan.runs) == 32
    ev = scores[scores["metric"] == "explained_variance"]
    assert len(ev) == 32
    assert ev["value"].between(-0.5, 1.0).all()
    epochs = 40 * 64 / (100 * 15)  # steps, over windows of 16 tokens without the first
    pools = 100 / (320 // 16)
    (trained,) = [stream for stream in made if stream.passes]
    assert trained.passes == -(-int(epochs * pools * 100) // 100)
    kept = store.get(reader.plan.runs[0].trained.inputs[1][1].key)
    assert kept is not None
    on_disk = sum(facts["bytes"] for facts in kept.files.values())
    assert on_disk < 1600 * 32 * 4 / 2, "tokens and a sample are kept, not the activations"
    _, result = reader.trained("real_activations")[0]
    assert result.json("data")["tokens_unique"] == 100 * 15


def test_the_same_arms_learn_as_much_as_over_the_disk(
    letters_and_text: tuple[Path, Path], store: LocalStore
) -> None:
    found = {}
    for name in (True, False):
        hook = STREAMED if name else {}
        only = {"real_activations": {**BLOCKS, "arms": "trained", "architectures": "topk", "l0": 5}}
        scores = Reader(tiny_profile(*letters_and_text, hook=hook, grids=only), store).scores(
            "real_activations"
        )
        found[name] = scores[scores["metric"] == "explained_variance"]["value"].mean()
    assert found[True] == pytest.approx(found[False], abs=0.05)


def test_a_streamed_hook_is_a_source(letters_and_text: tuple[Path, Path], store: LocalStore) -> None:
    source = streamed(letters_and_text).source_named("letters")
    assert isinstance(source, StreamedHook)
    cells = source.cells("cpu", streamed(letters_and_text).pace)
    compute(list(cells.values()), store)
    check_source(source, {name: r for name, cell in cells.items() if (r := store.get(cell.key)) is not None})


def test_the_plan_says_memory_and_pays_the_forward_once(letters_and_text: tuple[Path, Path]) -> None:
    plan = plan_grids(streamed(letters_and_text))
    training = [cell for cell in in_order(plan.cells) if cell.stage == "train"]
    source = training[0].config.source
    assert {cell.company for cell in training} == {training[0].company}
    others = tiny_profile(*letters_and_text, hook=STREAMED, grids={"real_activations": BLOCKS | OBJECTIVES})
    assert len({run.trained.company for run in plan_grids(others).runs}) == 1
    assert all(cell.cost.memory_bytes > source.buffer_bytes for cell in training)
    forward = 40 * 64 * source.at.depth / plan.profile.pace.tokens_per_second
    without = sum(cell.cost.seconds - forward for cell in training)
    assert len(training) > 1
    assert total_cost(training).seconds == pytest.approx(without + forward, abs=0.05)


def test_hooks_on_disk_keep_their_keys(letters_and_text: tuple[Path, Path]) -> None:
    plain = tiny_profile(*letters_and_text, only=["real_activations"]).source_named("letters")
    assert type(plain) is Hook
    other = streamed(letters_and_text).source_named("letters")
    pace = streamed(letters_and_text).pace
    assert other.cells("cpu", pace)["held_out"].key == plain.cells("cpu", pace)["held_out"].key
    assert other.cells("cpu", pace)["train"].key != plain.cells("cpu", pace)["train"].key


def test_a_buffer_that_leaves_no_room_is_refused_before_anything_is_trained(
    letters_and_text: tuple[Path, Path], store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_grids(streamed(letters_and_text, arms=False, buffer_tokens=640))
    source = plan.runs[0].run.source
    assert isinstance(source, StreamedHook)
    half = model_bytes(source.at) + 390 * 32 * 4
    monkeypatch.setattr("sanity.sources.streamed.memory_bytes", lambda: 2 * half)
    with pytest.raises(BadInputError, match=r"buffer of 640 tokens .*buffer_tokens of at most 390$"):
        compute([plan.runs[0].trained], store)


def test_on_a_card_a_buffer_is_held_against_what_is_free(
    letters_and_text: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = streamed(letters_and_text).source_named("letters")
    assert isinstance(source, StreamedHook)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("sanity.sources.streamed.free_on_card", lambda _: 2 * source.buffer_bytes)
    require_room(source, [source], "cuda")
    monkeypatch.setattr("sanity.sources.streamed.free_on_card", lambda _: 2 * source.buffer_bytes - 2)
    with pytest.raises(BadInputError, match="buffer_tokens of at most 319"):
        require_room(source, [source], "cuda")


def test_a_model_takes_what_is_known_of_it(letters_and_text: tuple[Path, Path]) -> None:
    source = streamed(letters_and_text).source_named("letters")
    assert isinstance(source, StreamedHook)
    weights = sum(path.stat().st_size for path in letters_and_text[0].glob("*.safetensors"))
    assert model_bytes(source.at) == PASS_BYTES + weights
    assert model_bytes(replace(source.at, dtype="bfloat16")) == PASS_BYTES + weights // 2
    assert weights_bytes("llama-3-8b", "bfloat16") in range(15 * 10**9, 17 * 10**9)
    assert weights_bytes("llama-3-8b", "float32") in range(30 * 10**9, 34 * 10**9)
    assert model_bytes(replace(source.at, subject="nobody")) == PASS_BYTES + UNKNOWN_BYTES


def test_what_cannot_be_streamed_is_refused(letters_and_text: tuple[Path, Path]) -> None:
    with pytest.raises(BadInputError, match="say streamed: true, too"):
        tiny_profile(*letters_and_text, hook={"buffer_tokens": 640})
