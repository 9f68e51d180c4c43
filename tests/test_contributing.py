"""CONTRIBUTING.md says how to add things: its code is run here, from a class to a verdict."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from tiny_profile import story_texts, tiny_text

from sanity.claims import read_ledger
from sanity.engine.naming import import_modules
from sanity.engine.store import LocalStore
from sanity.evals import METRICS, Eval
from sanity.experiments.analyses import analysis_modules
from sanity.experiments.verdicts import verdict_tables
from sanity.models import Architecture, Constraint
from sanity.profiles import read_profile


@pytest.fixture(scope="module")
def blocks(repository: Path) -> dict[str, list[tuple[str, str]]]:
    """Heading -> its blocks of code: (language, text)."""
    text = (repository / "CONTRIBUTING.md").read_text(encoding="utf-8")
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    found = zip(parts[1::2], parts[2::2], strict=True)
    return {
        title.split(":")[0]: re.findall(r"```(\w+)\n(.*?)```", body, flags=re.DOTALL) for title, body in found
    }


@pytest.fixture(autouse=True)
def as_found(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is declared here is forgotten afterwards, but for what the package declares when asked."""
    analysis_modules()
    for family in (Architecture, Constraint, Eval):
        monkeypatch.setattr(family, "known", dict(family.known))
    metrics = dict(METRICS)
    yield
    METRICS.clear()
    METRICS.update(metrics)


def from_file(code: str, folder: Path, name: str) -> ModuleType:
    """The code as a module of its own, from a file, as somebody would add it."""
    path = folder / f"{name}.py"
    path.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def python(blocks: list[tuple[str, str]]) -> str:
    return "\n".join(text for language, text in blocks if language == "python")


@pytest.mark.parametrize(
    "title", ["An architecture", "A constraint", "An eval with metrics, floor, ceiling and gate"]
)
def test_one_class_and_its_check(
    blocks: dict[str, list[tuple[str, str]]], title: str, tmp_path: Path
) -> None:
    from_file(python(blocks[title]), tmp_path, "added_by_a_reader")


def test_a_new_eval_is_planned_scored_gated_judged_and_shown(
    blocks: dict[str, list[tuple[str, str]]],
    tmp_path: Path,
    tiny_llama: Path,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, title in (
        ("added_constraint", "A constraint"),
        ("added_eval", "An eval with metrics, floor, ceiling and gate"),
    ):
        definition = next(text for language, text in blocks[title] if language == "python")
        from_file(definition, tmp_path, name)
    grid, entry = (text for language, text in blocks["A chapter with a claim"] if language == "yaml")
    # The same on a small world and on a letter model, each with a gate and a verdict of its own.
    grid = grid.replace("sources: constant", "sources: [constant, letters]")
    tiny = tiny_text(tiny_llama, story_texts(tmp_path / "text"))
    profile = read_profile("tiny", tiny.replace("grids:\n", f"grids:\n  {grid}", 1), only=["crowding"])
    claim, hook = yaml.safe_load(entry), "blocks.1.hook_resid_post"
    on_letters = {**claim, "id": "on-letters", "scope": {**claim["scope"], "world_or_hook": hook}}

    book = yaml.safe_load((repository / "book" / "claims.yml").read_text(encoding="utf-8"))
    ledger_file = tmp_path / "claims.yml"
    ledger_file.write_text(yaml.safe_dump({**book, "claims": [claim, on_letters]}), encoding="utf-8")
    store = LocalStore(tmp_path / "store")
    found = verdict_tables(profile, store, ledger=read_ledger(ledger_file), compute_missing=True)

    assert found.missing == 0
    gates = found.gates[found.gates["metric"] == "crowding"].set_index("place")
    assert dict(gates["state"]) == {"constant": "passed", hook: "passed"}, list(gates["reason"])
    assert [result["id"] for result in found.results] == [claim["id"], "on-letters"]
    for place, result in zip(("constant", hook), found.results, strict=True):
        assert result["n_seeds"] == 2
        assert result["verdict"] in ("equivalent", "inconclusive", "trained better", "baseline better")
        crowding = found.scores["metric"].eq("crowding") & found.scores["world_or_hook"].eq(place)
        scores = found.scores[crowding].set_index("constraint")["value"]
        assert set(scores.index) == {"trained", "half_frozen_decoder", "untrained"}
        assert scores.nunique() == len(scores) == 3 * 2, "each SAE has a value of its own"
        lead = scores["trained"].mean() - scores["untrained"].mean()
        assert result["value"] == pytest.approx(lead)

    # The chapter's cell, as a reader's notebook would run it.
    from sanity import publishing
    from sanity.claims import verdict_words
    from sanity.experiments.reading import Reader
    from sanity.publishing.page import ChapterPage

    page = ChapterPage("crowding", profile, tmp_path)
    monkeypatch.setattr(ChapterPage, "read", Reader(profile, store))
    monkeypatch.setattr(ChapterPage, "gates", lambda self, *metrics: metrics)
    words = {result["id"]: verdict_words(result) for result in found.results}
    monkeypatch.setattr(ChapterPage, "verdict", lambda self, claim: words[claim])
    monkeypatch.setattr(publishing, "open_chapter", lambda name, profile: page)
    exec(python(blocks["A chapter with a claim"]), {"profile": "tiny"})


@pytest.mark.parametrize("room", ["models", "baselines", "evals"])
def test_a_file_that_is_put_into_a_room_is_known(
    room: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_known.py").write_text(
        "from dataclasses import dataclass\n"
        "from typing import ClassVar\n"
        "from sanity.models import Constraint\n"
        "@dataclass(frozen=True)\n"
        "class HalfKnown(Constraint):\n"
        "    name: ClassVar[str] = 'half_known'\n"
    )
    package = importlib.import_module(f"sanity.{room}")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    try:
        import_modules(f"sanity.{room}")
        assert Constraint.class_named("half_known").__module__ == f"sanity.{room}.half_known"
    finally:
        sys.modules.pop(f"sanity.{room}.half_known", None)
