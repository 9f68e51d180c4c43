"""A profile of one's own: a file with a model, a hook and a text that are not the book's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny_profile import story_texts
from typer.testing import CliRunner

from sanity import profiles
from sanity.cli import app
from sanity.errors import BadInputError
from sanity.experiments import plan
from sanity.experiments.readiness import needed

OWN = """
based_on: smoke
about: my model
sources:
  smollm2:
    {kind: hook, subject: model, hook: blocks.1.hook_resid_post, d_model: 32, text: texts,
     train_tokens: 512, held_out_tokens: 256, context: 32, shard_tokens: 256}
grids:
  causal_editing: null
  real_activations:
    {sources: smollm2, architectures: topk, l0: 4, d_sae: 64, learning_rates: 0.003, batch_size: 64,
     steps: 3, evals: reconstruction}
"""


@pytest.fixture
def own(tmp_path: Path, tiny_llama: Path) -> Path:
    """my.v2.yaml, with the folders that it names next to it."""
    shutil.copytree(tiny_llama, tmp_path / "model")
    story_texts(tmp_path / "texts")
    (tmp_path / "my.v2.yaml").write_text(OWN, encoding="utf-8")
    return tmp_path / "my.v2.yaml"


def test_only_what_a_file_names_differs_from_what_it_is_based_on(own: Path) -> None:
    mine, smoke = profiles.load(str(own)), profiles.load("smoke")
    assert mine.name == "my.v2"
    assert mine.about == "my model"
    assert mine.evals == smoke.evals
    gone = smoke.grids.keys() - mine.grids.keys()
    assert "causal_editing" in gone
    assert all(name.startswith("causal_editing") for name in gone)
    assert mine.left_out == smoke.left_out
    assert {name for name in mine.grids if mine.grids[name] != smoke.grids[name]} >= {"real_activations"}
    assert mine.grids["synthetic_recovery"] == smoke.grids["synthetic_recovery"]
    assert mine.sources["smollm2"].subject == str(own.parent / "model")
    assert mine.sources["smollm2"].text == (str(own.parent / "texts"),)
    assert needed(plan(profiles.load(str(own), only=["real_activations"], analyses={}))) == set()


def test_a_file_is_trained_on_from_wherever_it_is_named(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANITY_STORE", str(own.parent / "store"))
    monkeypatch.chdir(own.parent / "texts")
    profile = profiles.load("../my.v2.yaml", only=["real_activations"], analyses={})
    monkeypatch.setattr("sanity.profiles.load", lambda _: profile)
    done = CliRunner().invoke(app, ["train", "--profile", "../my.v2.yaml", "--json"])
    assert done.exit_code == 0, done.output
    assert [row["label"] for row in json.loads(done.stdout)] == [
        "blocks.1.hook_resid_post: topk-4 trained (iso) seed 0 lr 0.003"
    ]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("smoke.yaml", OWN, "rename it"),
        ("mine.yaml", "based_on: huge", "'huge'; there are: "),
    ],
)
def test_a_file_that_cannot_be_told_apart_or_completed_is_refused(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(BadInputError, match=said):
        profiles.load(str(tmp_path / name))
