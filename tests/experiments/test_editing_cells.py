"""The cells of causal editing on a tiny model: from RAVEL's files to scores, figures and sentences."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from sanity import figures
from sanity.claims import SCORE_COLUMNS
from sanity.engine.computing import compute, results
from sanity.engine.store import LocalStore
from sanity.errors import BadInputError
from sanity.experiments import (
    causal_editing,
    causal_editing_findings,
    causal_editing_masks,
    causal_editing_runs,
)
from sanity.profiles import Profile, load
from sanity.subject import load_subject

LETTERS = "<abcdefghijklmnopqrstuvwxyz0123456789. "
TEMPLATES = {"One": ("in %s ", "at %s "), "Two": ("q7%s ", "j%s ")}


@pytest.fixture(scope="module")
def ravel(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RAVEL's files about cities of one letter, with what the tiny model says about them."""
    folder = tmp_path_factory.mktemp("ravel")
    subject = load_subject(tiny_llama, backend="nnsight")
    values: dict[str, dict[str, str]] = {letter: {} for letter in LETTERS[1:37]}
    for attribute, templates in TEMPLATES.items():
        for name in values:
            tokens = torch.tensor([subject.tokenizer(templates[0] % name)["input_ids"]])
            values[name][attribute] = LETTERS[int(subject.logits(tokens)[0, -1].argmax())]
    files = {
        "entity_attributes": values,
        "attribute_to_prompts": TEMPLATES,
        "entity_to_split": {name: ("test" if i % 2 else "train") for i, name in enumerate(values)},
        "prompt_to_split": {t: "train" for several in TEMPLATES.values() for t in several},
    }
    for name, content in files.items():
        (folder / f"ravel_city_{name}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def profile(tiny_llama: Path, ravel: Path, tmp_path_factory: pytest.TempPathFactory) -> Profile:
    text = tmp_path_factory.mktemp("text")
    for i in range(20):
        (text / f"{i:02}.txt").write_text(f"story {i}. " + " ".join(["the cat sat on a mat"] * 12))
    smoke = load("smoke")
    place = smoke.models[0].model_dump() | {
        "subject": str(tiny_llama),
        "backend": "nnsight",
        "hook": "blocks.1.hook_resid_post",
        "d_model": 32,
        "context": 16,
        "sources": [str(text)],
        "train_tokens": 960,
        "heldout_tokens": 320,
        "shard_tokens": 320,
    }
    grid = smoke.real.model_dump() | {
        "d_sae": 64,
        "l0": 4,
        "steps": 20,
        "batch_size": 64,
        "loss_tokens": 64,
        "seeds": [0, 1],
        "sweeps": [],
        "other_learning_rates": [],
        "learning_rate_arms": [],
        "arms": [arm.model_dump() for arm in smoke.editing.arms],
    }
    editing = smoke.editing.model_dump() | {
        "facts": str(ravel),
        "attributes": ["One", "Two"],
        "pairs": [{"target": "One", "keep": ["Two"]}],
        "seeds": [0, 1],
        "least_known": 3,
        "least_range": 0.0,
        "rotation_rank": 8,
        "rotation_steps": 20,
        "exact": ["raw neurons", "PCA"],
        "exact_seeds": [0],
        "scored_pairs": 10,
        "sizes": [4, 8],
        "grades": [0.0, 0.5, 1.0],
        "prompts": 8,
        "steps": 3,
    }
    return load("smoke", models=[place], real=grid, editing=editing)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return LocalStore(tmp_path_factory.mktemp("editing"))


@pytest.fixture(scope="module")
def tables(profile: Profile, store: LocalStore) -> causal_editing.EditingTables:
    return causal_editing.tables(profile, store)


def test_every_arm_and_seed_has_every_score_on_one_scale(tables: causal_editing.EditingTables) -> None:
    ends = tables.ends
    assert len(ends) == 2
    assert (ends["nothing_cause"] == 0).all()
    assert (ends["nothing_isolation"] == 1).all()
    rows = causal_editing._scores(tables.edits, ends.assign(separated=True))
    assert {*SCORE_COLUMNS, "subject", "d_sae"} <= set(rows.columns)
    assert len(rows) == 2 * 2 * 6
    one = rows[rows["metric"] == "ravel_disentanglement"]
    assert (one["floor"] >= 0.5).all()
    assert one.groupby("seed")["ceiling"].nunique().eq(1).all()
    mean = rows.pivot_table(index=["constraint", "seed"], columns="metric", values="value")
    half = (mean["ravel_cause"] + mean["ravel_isolation"]) / 2
    assert mean["ravel_disentanglement"].tolist() == pytest.approx(half.tolist())


def test_without_range_there_is_no_score(
    tables: causal_editing.EditingTables, profile: Profile, store: LocalStore
) -> None:
    none = causal_editing._scores(tables.edits, causal_editing._ends(tables.edits, 1.0))
    assert none.empty
    rows, found = causal_editing.scores(profile, store)
    assert len(rows) == (2 * 2 * 6 if tables.ends["separated"].all() else 0)
    assert len(found) == len(causal_editing.cells(profile))


def test_the_ceiling_is_corrupted_in_grades_on_several_seeds(profile: Profile, store: LocalStore) -> None:
    graded = causal_editing.graded(profile, store)
    assert list(graded.columns) == ["metric", "level", "seed", "value", "floor", "ceiling", "n"]
    assert len(graded) == 3 * 3
    assert set(graded["metric"]) == {"ravel_disentanglement"}


def test_what_was_measured_is_kept_when_a_run_is_killed(
    profile: Profile, tables: causal_editing.EditingTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends after two of its masks, and the next one measures only the others."""
    (model,) = profile.models
    planned = causal_editing.plan(profile, model)
    cells = [cell for cell in [*planned.exact, *planned.arms] if cell.config.seed == 0]
    assert len({cell.company for cell in cells}) == 1
    fresh = LocalStore(tmp_path)
    calls: list[str] = []
    measure = causal_editing_runs._measure

    def dies(task: object, prepared: object) -> object:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append("once")
        return measure(task, prepared)  # type: ignore[arg-type]

    compute([planned.asked, *(needed for cell in cells for _, needed in cell.inputs)], fresh)
    tasks = [fresh.start(c, {n: fresh.get(i.key) for n, i in c.inputs}) for c in cells]  # type: ignore[misc]
    monkeypatch.setattr(causal_editing_runs, "_measure", dies)
    with pytest.raises(KeyboardInterrupt):
        causal_editing_runs.edit_facts.run(tasks)
    kept = [task for task in tasks if (task.scratch / "done.json").exists()]
    assert len(kept) == 2
    before = [(task.scratch / "done.json").read_bytes() for task in kept]

    def counts(task: object, prepared: object) -> object:
        calls.append("again")
        return measure(task, prepared)  # type: ignore[arg-type]

    monkeypatch.setattr(causal_editing_runs, "_measure", counts)
    again = [fresh.start(c, {n: fresh.get(i.key) for n, i in c.inputs}) for c in cells]  # type: ignore[misc]
    causal_editing_runs.edit_facts.run(again)
    assert calls.count("again") == len(cells) - 2
    assert [(task.scratch / "done.json").read_bytes() for task in kept] == before
    # And in any company the numbers are the same.
    for task, cell in zip(again, cells, strict=True):
        rows = json.loads((task.scratch / "done.json").read_text())["tables"]["edits"]
        at = (tables.edits["seed"] == 0) & (tables.edits["through"] == rows[0]["through"])
        if rows[0]["through"] == "arm":
            at &= tables.edits["constraint"] == rows[0]["constraint"]
        assert tables.edits[at]["cause"].tolist() == [row["cause"] for row in rows], cell.label


def test_figures_and_sentences_are_made(tables: causal_editing.EditingTables, profile: Profile) -> None:
    edits, ends = causal_editing_findings.pair_of(tables, "One", "Two")
    for figure in (figures.edits_by_arm(edits, ends), figures.edits_by_size(edits, ends)):
        assert len(figure.axes) == 3
    words = causal_editing_findings
    judged = dataclasses.replace(
        tables, scores=causal_editing._scores(tables.edits, tables.ends.assign(separated=True))
    )
    assert "a floor of" in words.floor_words(judged)
    assert words.beside_paper(judged).loc[("trained", "iso")].notna().any()
    assert "PCA" in words.exact_words(tables)
    assert "One of" in words.known_words(tables)
    assert len(words.template_table(tables)) == 2
    assert "rotation" in words.ends_table(tables)
    assert "ahead of the floor" in words.ends_words(tables, profile)
    assert "determine" in words.determined_words(tables, profile)
    assert len(causal_editing_masks.arm_table(tables)) == 2 * 2 * 2 + 2
    assert "of the pairs" in causal_editing_masks.control_words(tables)
    assert f"{profile.editing.steps} steps" in words.fitted_words(tables, profile)
    assert words.refused_words(tables) == ""
    assert "s of one processor core" in words.cost_words(tables)


def test_every_arm_has_a_mask_of_its_own_with_the_error_term(
    profile: Profile, tables: causal_editing.EditingTables, store: LocalStore
) -> None:
    cell = causal_editing.plan(profile, profile.models[0]).arms[0]
    (found,) = results([cell], store)
    fitted = found.table("mask").pivot(index="latent", columns="with_error", values="logit")
    assert fitted.notna().all(axis=None)
    assert not fitted[False].equals(fitted[True])
    edits = found.table("edits")
    for with_error in (False, True):
        (size,) = edits[(edits["what"] == "mask") & edits["with_error"].eq(with_error)]["size"]
        assert size == (fitted[with_error] > 0).sum()
    assert (edits["l0"] == 4).all()  # the arm is a TopK of 4
    assert not (
        tables.edits["through"].isin(["raw neurons", "PCA"]) & tables.edits["with_error"].eq(True)
    ).any()


def test_a_mask_is_held_against_no_latent_and_as_many_at_random(tables: causal_editing.EditingTables) -> None:
    arms = tables.edits["through"] == "arm"
    score = {"mask": 0.6, "no latent": 0.55, "random latents": 0.58}
    planted = tables.edits.assign(disentanglement=tables.edits["what"].map(score).fillna(0.3))
    ahead = causal_editing_masks.gains(dataclasses.replace(tables, edits=planted))
    assert len(ahead) == 2 * 2  # arms, with and without the error term
    assert ahead["minus_random"].tolist() == pytest.approx([0.02] * 4)
    # With the error term no latent swapped is doing nothing, which is one half.
    assert ahead.groupby("with_error")["minus_no_latent"].first().tolist() == pytest.approx([0.05, 0.1])
    assert ahead["converged"].all()
    worse = planted["disentanglement"].mask(
        arms & planted["what"].eq("random latents") & planted["constraint"].eq("frozen_decoder"), 0.61
    )
    failed = dataclasses.replace(tables, edits=planted.assign(disentanglement=worse))
    assert causal_editing_masks.gains(failed)["converged"].sum() == 2
    assert causal_editing_masks.gain_table(failed)["fit"].tolist().count("not converged") == 2
    assert "by: frozen decoder" in causal_editing_masks.gain_words(failed)
    assert "trained" not in causal_editing_masks.gain_words(failed)


def test_a_pair_that_too_little_is_known_of_is_refused_and_the_run_goes_on(
    profile: Profile, store: LocalStore
) -> None:
    editing = profile.editing.model_dump() | {"least_known": 99}
    strict = profile.model_copy(update={"editing": type(profile.editing).model_validate(editing)})
    tables = causal_editing.tables(strict, store)
    (refused,) = tables.refused.to_dict("records")
    assert (refused["target"], refused["keep"], refused["needed"]) == ("One", "Two", 99)
    assert 3 <= refused["remaining"] < 99
    assert tables.scores.empty
    assert causal_editing.scores(strict, store)[0].empty
    assert causal_editing.graded(strict, store).empty
    words, masks = causal_editing_findings, causal_editing_masks
    assert f"refused: {refused['remaining']} remain, 99 are needed" in words.refused_words(tables)
    assert words.ends_table(tables)["range"].tolist() == [f"refused: {refused['remaining']} remain"]
    assert "No pair" in words.ends_words(tables, strict)
    for say in (
        words.exact_words,
        words.floor_words,
        words.cost_words,
        masks.control_words,
        masks.gain_words,
    ):
        assert isinstance(say(tables), str)
    assert words.pair_of(tables, "One", "Two")[0].empty


def test_other_facts_in_the_same_folder_are_other_cells(
    profile: Profile, ravel: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "facts"
    shutil.copytree(ravel, folder)
    editing = profile.editing.model_dump() | {"facts": str(folder)}
    moved = profile.model_copy(update={"editing": type(profile.editing).model_validate(editing)})
    asked = causal_editing.plan(moved, moved.models[0]).asked.key
    assert causal_editing.plan(moved, moved.models[0]).asked.key == asked
    changed = folder / "ravel_city_entity_attributes.json"
    changed.write_text(changed.read_text().replace('"One": "', '"One": "x', 1))
    assert causal_editing.plan(moved, moved.models[0]).asked.key != asked


def test_an_attribute_that_is_not_asked_about_is_refused(profile: Profile, tmp_path: Path) -> None:
    editing = profile.editing.model_dump() | {"attributes": ["One", "Colour"]}
    wrong = profile.model_copy(update={"editing": type(profile.editing).model_validate(editing)})
    with pytest.raises(
        BadInputError, match=r"asks for no attribute 'Colour' of a city: choose among One, Two"
    ):
        compute([causal_editing.plan(wrong, wrong.models[0]).asked], LocalStore(tmp_path))
