"""Every family in the table is run as transformers runs it, or refused in words that name the way out."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from families import FAMILIES, settings_of
from letter_model import save_letter_model
from torch import Tensor

from sanity.errors import BadInputError
from sanity.subject import load_subject
from sanity.subject.families import NOT_EDITABLE, TESTED

BACKENDS = ("transformer_lens", "nnsight")
# Tuples of two and of three, lists, alibi, a backend that answers with other numbers, no causal attention.
QUICK = ("gpt_neo", "rwkv", "bloom", "openai-gpt", "cohere", "bert")
HOOK = "blocks.1.hook_resid_post"
LOCK = Path(__file__).parents[2] / "requirements.lock"
LOCKED = next(
    line.split("==")[1].split()[0]
    for line in LOCK.read_text("utf-8").splitlines()
    if line.startswith("transformers==")
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny model, by family."""
    letters = [*(chr(ord("0") + i) for i in range(60)), "<end>"]

    def folder(family: str) -> Path:
        place = tmp_path_factory.mktemp(family)
        return save_letter_model(
            place, family, letters=letters, end="<end>", scale=2.0, **settings_of(family)
        )

    return folder


def test_the_table_and_the_settings_name_the_same_families() -> None:
    assert TESTED.keys() == FAMILIES.keys()
    assert set(QUICK) < TESTED.keys()
    assert TESTED.keys() > NOT_EDITABLE


@pytest.mark.parametrize(
    "family",
    [family if family in QUICK else pytest.param(family, marks=pytest.mark.slow) for family in FAMILIES],
)
def test_families_run_or_are_refused_in_words(
    family: str, made: Callable[[str], Path], tokens: Tensor
) -> None:
    folder = made(family)
    for backend in BACKENDS:
        if backend not in TESTED[family]:
            way_out = f'backend="{TESTED[family][0]}" can run it' if TESTED[family] else "another family"
            with pytest.raises(BadInputError, match=way_out) as caught:
                load_subject(folder, backend=backend)
            assert "\n" not in str(caught.value)
            continue
        try:
            subject = load_subject(folder, backend=backend)  # with its self-test
        except BadInputError as refusal:
            # The table is of the locked versions; others may break a family, which then must be said.
            if version("transformers") == LOCKED or "can run it" not in str(refusal):
                raise
            continue
        assert len(subject.logits(tokens)) == len(tokens)
        gain = torch.ones(subject.d_model, requires_grad=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            residual = subject.residual(tokens, HOOK)
            (slope,) = torch.autograd.grad(subject.logits_from(residual * gain, HOOK)[0, -1, 3], gain)
        assert float(slope.abs().max()) > 0
        if family in NOT_EDITABLE:
            with pytest.raises(BadInputError, match="cannot be run on from the middle"):
                subject.editable(tokens, HOOK, 4)
        else:
            assert len(subject.editable(tokens, HOOK, 4)) == len(tokens)
