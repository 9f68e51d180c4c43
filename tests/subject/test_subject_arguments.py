"""What a subject, a harvest and a stream are given: other shapes and kinds are named, not failed on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sanity.errors import BadInputError
from sanity.subject import ActivationStore, ActivationStream, Subject, harvest

HOOK = "blocks.1.hook_resid_post"

CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "tokens=a numpy ndarray": lambda subject, t: subject.logits(t.numpy()),
    r"torch.int64 \[12\]": lambda subject, t: subject.logits(t[0]),
    "torch.float32": lambda subject, t: subject.residual(t.float(), HOOK),
    r"tokens=\[\[": lambda subject, t: subject.residual(t.tolist(), HOOK),
    "hook=1": lambda subject, t: subject.residual(t, 1),
    "residual=a torch Tensor": lambda subject, t: subject.logits_from(torch.zeros(12, 32), HOOK),
    "edit=None": lambda subject, t: subject.logits_with(t, HOOK, None),
    "returned ndarray": lambda subject, t: subject.logits_with(t, HOOK, lambda x: x.numpy()),
    "position=2.5": lambda subject, t: subject.editable(t, HOOK, 2.5),
}


@pytest.mark.parametrize("words", CALLS)
def test_a_subject_names_what_is_wrong(words: str, llama: Subject, tokens: torch.Tensor) -> None:
    with pytest.raises(BadInputError, match=words):
        CALLS[words](llama, tokens)


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("sequences=a numpy", {"sequences": np.zeros((2, 8), dtype=int)}),
        ("shard_tokens=2.5", {"shard_tokens": 2.5}),
        ("shard_tokens=0 .* at least 1", {"shard_tokens": 0}),
        ("dtype='float32'", {"dtype": "float32"}),
        ("batch_tokens='many'", {"batch_tokens": "many"}),
        ("folder=7", {"folder": 7}),
        ("subject='smollm2'", {"subject": "smollm2"}),
        ("drop_first='no'", {"drop_first": "no"}),
    ],
)
def test_a_harvest_names_what_is_wrong(
    words: str, changes: dict[str, Any], llama: Subject, tokens: torch.Tensor, tmp_path: Path
) -> None:
    given: dict[str, Any] = {
        "subject": llama,
        "sequences": tokens,
        "hook": HOOK,
        "folder": tmp_path / "out",
        **changes,
    }
    with pytest.raises(BadInputError, match=words):
        harvest(**given)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "changes",
    [{"batch_size": 2.5}, {"batch_size": "8"}, {"seed": 2**65}, {"seed": -1}, {"device": "tpu:7"}],
    ids=str,
)
def test_a_stream_names_what_is_wrong(
    changes: dict[str, Any], llama: Subject, tokens: torch.Tensor, tmp_path: Path
) -> None:
    store: ActivationStore = harvest(llama, tokens, hook=HOOK, folder=str(tmp_path / "out"))
    with pytest.raises(BadInputError, match=next(iter(changes))):
        ActivationStream(store, **{"batch_size": 8, "seed": 0, **changes})
