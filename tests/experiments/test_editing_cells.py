"""The eval `causal_editing` on a tiny model: from RAVEL's files to scores, gates and figures."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from letter_model import LETTERS

from sanity import figures
from sanity.engine.cells import Cell, Result, Task
from sanity.engine.computing import compute
from sanity.engine.store import LocalStore, require
from sanity.errors import BadInputError
from sanity.evals import Candidate, Setting
from sanity.evals.base import GRADED_COLUMNS
from sanity.evals.causal_editing import PARTS, CausalEditing
from sanity.experiments.planner import plan_grids
from sanity.experiments.reading import Reader
from sanity.experiments.steps import refer_eval, score_saes
from sanity.profiles import Profile, load
from sanity.subject import load_subject

TEMPLATES = {"One": ("in %s ", "at %s "), "Two": ("q7%s ", "j%s "), "Three": ("k%s ", "z%s ")}
GRID = "causal_editing"


@pytest.fixture(scope="module")
def ravel(letters_and_text: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RAVEL's files about cities of one letter: the tiny model knows One and Two, and nothing of Three."""
    folder = tmp_path_factory.mktemp("ravel")
    subject = load_subject(letters_and_text[0], backend="nnsight")
    values: dict[str, dict[str, str]] = {letter: {} for letter in LETTERS[1:37]}
    for attribute, templates in TEMPLATES.items():
        for name in values:
            said = set()
            for template in templates:
                tokens = torch.tensor([subject.tokenizer(template % name)["input_ids"]])
                said.add(LETTERS[int(subject.logits(tokens)[0, -1].argmax())])
            tokens = torch.tensor([subject.tokenizer(templates[0] % name)["input_ids"]])
            answer = LETTERS[int(subject.logits(tokens)[0, -1].argmax())]
            values[name][attribute] = answer if attribute != "Three" else min(set("abc") - said)
    files = {
        "entity_attributes": values,
        "attribute_to_prompts": TEMPLATES,
        "entity_to_split": {name: ("test" if i % 2 else "train") for i, name in enumerate(values)},
        "prompt_to_split": {t: "train" for several in TEMPLATES.values() for t in several},
    }
    for name, content in files.items():
        (folder / f"ravel_city_{name}.json").write_text(json.dumps(content))
    return folder


def made(letters_and_text: tuple[Path, Path], ravel: Path, **fields: Any) -> Profile:
    """Two arms and two seeds at a hook of the tiny model, and an eval with some fields changed."""
    model, text = letters_and_text
    hook = {
        "kind": "hook",
        "subject": str(model),
        "backend": "nnsight",
        "hook": "blocks.1.hook_resid_post",
        "d_model": 32,
        "text": str(text),
        "train_tokens": 960,
        "held_out_tokens": 320,
        "context": 16,
        "shard_tokens": 320,
    }
    grid = {
        "sources": "tiny",
        "architectures": "topk",
        "l0": 4,
        "d_sae": 64,
        "arms": ["trained", "frozen_decoder"],
        "seeds": [0, 1],
        "learning_rates": 0.001,
        "batch_size": 64,
        "steps": 20,
        "evals": GRID,
    }
    editing = {
        "facts": str(ravel),
        "attributes": ["One", "Two", "Three"],
        "pairs": [{"target": "One", "keep": ["Three"]}, {"target": "One", "keep": ["Two"]}],
        "least_known": 3,
        "least_range": -1.0,
        "rotation_rank": 8,
        "rotation_steps": 20,
        "scored_pairs": 10,
        "control_pairs": 6,
        "dropped_seeds": None,
        "sizes": [4, 8],
        "grades": {"levels": [0.0, 0.5, 1.0], "seeds": [1000, 1001, 1002], "size": 10},
        "prompts": 8,
        "steps": 3,
        **fields,
    }
    return load("smoke", sources={"tiny": hook}, grids={GRID: grid}, evals={GRID: editing})


@pytest.fixture(scope="module")
def profile(letters_and_text: tuple[Path, Path], ravel: Path) -> Profile:
    return made(letters_and_text, ravel)


@pytest.fixture(scope="module")
def reader(profile: Profile, store: LocalStore) -> Reader:
    return Reader(profile, store)


@pytest.fixture(scope="module")
def edits(reader: Reader) -> pd.DataFrame:
    """Every edit: those of arms and those of references."""
    of_references = [
        result.table("edits").assign(world_or_hook=shared.place, seed=shared.seed)
        for shared, result in reader.references(GRID)
    ]
    return pd.concat([reader.table("edits", GRID), *of_references], ignore_index=True)


def test_every_arm_and_seed_has_every_score_on_one_scale(reader: Reader) -> None:
    scores = reader.scores(GRID)
    assert len(scores) == 2 * 2 * 6
    assert set(scores["metric"]) == set(CausalEditing.metrics)
    one = scores[scores["metric"] == "ravel_disentanglement"]
    assert (one["floor"] >= 0.5).all()
    assert one.groupby("seed")["ceiling"].nunique().eq(1).all()
    mean = scores.pivot_table(index=["constraint", "seed"], columns="metric", values="value")
    half = (mean["ravel_cause"] + mean["ravel_isolation"]) / 2
    assert mean["ravel_disentanglement"].tolist() == pytest.approx(half.tolist())
    for _, references in reader.references(GRID):
        ends = references.table("pairs").set_index("keep").loc["Two"]
        assert (ends["nothing_cause"], ends["nothing_isolation"]) == (0, 1)


def test_scores_are_those_of_the_mask(reader: Reader, edits: pd.DataFrame) -> None:
    masks = edits[(edits["what"] == "mask") & (edits["through"] == "arm")]
    name = masks["with_error"].map({True: "", False: "_error_dropped"})
    for part in PARTS:
        scores = reader.scores(GRID).set_index(["constraint", "seed", "metric"])["value"]
        for (_, row), suffix in zip(masks.iterrows(), name, strict=True):
            assert scores[row["constraint"], row["seed"], f"ravel_{part}{suffix}"] == row[part]


def test_one_decision_on_the_range_is_made_for_all_seeds(reader: Reader) -> None:
    for run in reader.runs(GRID):
        inputs = dict(run.scored[GRID].inputs)
        assert inputs["references"].key == inputs[f"references.{run.run.arm.seed}"].key
        assert inputs["references.0"].key != inputs["references.1"].key


def inputs_of(reader: Reader, cell: Cell) -> dict[str, Result]:
    return dict(zip(dict(cell.inputs), reader.results([needed for _, needed in cell.inputs]), strict=True))


def test_an_autoencoder_from_anywhere_is_scored_like_a_run(reader: Reader) -> None:
    run, sae = reader.saes(GRID)[0]
    inputs = inputs_of(reader, run.scored[GRID])
    alone = {name: result for name, result in inputs.items() if not name.startswith("references.")}
    setting = Setting(run.scored_on, 0, 64, "cpu", alone)
    one = reader.profile.eval_named(GRID)
    (found,) = one.score([Candidate(sae)], one.open(setting), setting)
    kept = reader.scores(GRID)
    kept = kept[(kept["seed"] == 0) & (kept["constraint"] == run.run.arm.constraint.spelled)]
    assert {s.metric: s.value for s in found.scores} == kept.set_index("metric")["value"].to_dict()
    # Without range there is no score, and the SAE says why; what was measured is there all the same.
    strict = dataclasses.replace(one, least_range=1.0)
    (without,) = strict.score([Candidate(sae)], strict.open(setting), setting)
    assert not without.scores
    assert "in no pair is the learned rotation ahead of the floor by 1" in without.refused
    assert without.tables["edits"].equals(found.tables["edits"])


def test_a_planted_dictionary_is_corrupted_in_steps_on_several_seeds(reader: Reader) -> None:
    graded = reader.graded(GRID)
    assert set(GRADED_COLUMNS) <= set(graded)
    assert set(graded["metric"]) == {name for name, one in CausalEditing.metrics.items() if one.gate}
    assert len(graded) == 2 * 3 * 3
    assert set(graded["kind"]) == {CausalEditing.metrics["ravel_disentanglement"].gate}


def started(store: LocalStore, cells: Sequence[Cell]) -> list[Task]:
    compute([needed for cell in cells for _, needed in cell.inputs], store)
    return [store.start(cell, {n: require(i, store) for n, i in cell.inputs}) for cell in cells]


def test_what_was_measured_is_kept_when_a_run_is_killed(
    profile: Profile, edits: pd.DataFrame, reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends after one of its masks, and the next one measures only the other."""
    cells = [run.scored[GRID] for run in plan_grids(profile).grid(GRID) if run.run.arm.seed == 0]
    assert len({cell.company for cell in cells}) == 1
    assert reader.store is not None
    fresh = LocalStore(tmp_path)
    shutil.copytree(reader.store.root / "results", fresh.root / "results", dirs_exist_ok=True)
    for cell in cells:
        shutil.rmtree(fresh.root / "results" / cell.key)
    calls: list[str] = []
    measure = CausalEditing._edited

    def dies(*given: Any) -> dict[str, Any]:
        if calls:
            raise KeyboardInterrupt
        calls.append("once")
        return measure(*given)

    tasks = started(fresh, cells)
    monkeypatch.setattr(CausalEditing, "_edited", dies)
    with pytest.raises(KeyboardInterrupt):
        score_saes.run(tasks)
    (kept,) = [file for task in tasks for file in task.scratch.glob("pair-*.json")]
    before = kept.read_bytes()

    def counts(*given: Any) -> dict[str, Any]:
        calls.append("again")
        return measure(*given)

    monkeypatch.setattr(CausalEditing, "_edited", counts)
    again = started(fresh, cells)
    score_saes.run(again)
    assert calls.count("again") == len(cells) - 1
    assert before in [(task.scratch / kept.name).read_bytes() for task in again]
    # And in any company the numbers are the same.
    for task in again:
        found = pd.read_parquet(task.folder / "edits.parquet")
        constraint = task.config.run.arm.constraint.name
        at = (edits["seed"] == 0) & edits["constraint"].eq(constraint)
        assert edits[at]["cause"].tolist() == found["cause"].tolist()


def test_figures_are_made(edits: pd.DataFrame, reader: Reader) -> None:
    ends = pd.concat([result.table("pairs") for _, result in reader.references(GRID)]).dropna(subset="floor")
    for figure in (figures.edits_by_arm(edits, ends), figures.edits_by_size(edits, ends)):
        assert len(figure.axes) == 3


def test_every_arm_has_a_mask_of_its_own_with_the_error_term(edits: pd.DataFrame, reader: Reader) -> None:
    mask = reader.table("mask", GRID)
    mask = mask[(mask["constraint"] == "trained") & (mask["seed"] == 0)]
    fitted = mask.pivot(index="latent", columns="with_error", values="logit")
    assert fitted.notna().all(axis=None)
    assert not fitted[False].equals(fitted[True])
    trained = edits[edits["constraint"].eq("trained") & (edits["seed"] == 0)]
    for with_error in (False, True):
        (size,) = trained[(trained["what"] == "mask") & trained["with_error"].eq(with_error)]["size"]
        assert size == (fitted[with_error] > 0).sum()
    assert (trained["l0"] == 4).all()  # the arm is a TopK of 4
    exact = edits[edits["through"].isin(["raw neurons", "PCA"])]
    assert set(exact["seed"]) == {0}
    assert not exact["with_error"].eq(True).any()


def test_a_pair_that_too_little_is_known_of_is_refused_and_the_others_go_on(
    edits: pd.DataFrame, reader: Reader
) -> None:
    for _, references in reader.references(GRID):
        pairs = references.table("pairs").set_index("keep")
        assert "knows Three of no entity for fitting" in pairs.loc["Three", "refused"]
        assert (pairs.loc["Three", "remaining"], pairs.loc["Three", "needed"]) == (0, 3)
        assert pairs.loc["Two", "refused"] == ""
        assert pairs.loc["Two", "train_entities"] >= 3
    assert set(edits["keep"]) == {"Two"}


def test_where_every_pair_is_refused_the_refusal_is_the_result(reader: Reader, tmp_path: Path) -> None:
    run, sae = reader.saes(GRID)[0]
    (shared, _), *_ = reader.references(GRID)
    one = dataclasses.replace(reader.profile.eval_named(GRID), least_known=99)
    store, config = LocalStore(tmp_path), dataclasses.replace(shared.cell.config, eval=one)
    inputs = inputs_of(reader, shared.cell)
    task = store.start(dataclasses.replace(shared.cell, config=config), inputs)
    refer_eval.run([task])
    references = store.put(task, seconds=0.0)
    pairs = references.table("pairs").set_index("keep")
    assert 3 <= pairs.loc["Two", "remaining"] < 99
    assert pairs.loc["Two", "needed"] == 99
    setting = Setting(run.scored_on, 0, 64, "cpu", {**inputs, "references": references})
    (found,) = one.score([Candidate(sae)], one.open(setting), setting)
    assert not found.scores
    assert "at least 99 are needed" in found.refused
    assert one.grade(task, setting).empty


def test_other_facts_in_the_same_folder_are_other_cells(
    letters_and_text: tuple[Path, Path], ravel: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "facts"
    shutil.copytree(ravel, folder)

    def asked() -> str:
        return plan_grids(made(letters_and_text, folder)).prepared[0].cell.key

    before = asked()
    assert asked() == before
    changed = folder / "ravel_city_entity_attributes.json"
    changed.write_text(changed.read_text().replace('"One": "', '"One": "x', 1))
    assert asked() != before


def test_what_cannot_be_asked_is_refused_in_words(
    letters_and_text: tuple[Path, Path], ravel: Path, tmp_path: Path
) -> None:
    wrong = made(letters_and_text, ravel, attributes=["One", "Colour"])
    with pytest.raises(BadInputError, match=r"no attribute 'Colour' of a city: choose among One, Two"):
        compute([plan_grids(wrong).prepared[0].cell], LocalStore(tmp_path))
    with pytest.raises(BadInputError, match="'One' and \\['One'\\] make none"):
        made(letters_and_text, ravel, pairs=[{"target": "One", "keep": ["One"]}])
    with pytest.raises(BadInputError, match="`pairs` name no attribute"):
        plan_grids(made(letters_and_text, ravel, pairs=[]))
