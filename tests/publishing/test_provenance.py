"""Provenance: read from the results' own manifests, complete, and safe to show."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from sanity.engine.cells import Cell, Task, computes
from sanity.engine.computing import results
from sanity.engine.store import LocalStore
from sanity.errors import BadInputError
from sanity.profiles import load
from sanity.publishing import open_chapter
from sanity.publishing.page import ChapterPage
from sanity.publishing.provenance import provenance, provenance_html, with_inputs


@computes("test_provenance.echo", version=1)
def echo(task: Task) -> None:
    task.save_json("answer", {"seen": sorted(task.inputs)})


def trained(seed: int) -> Cell:
    text = echo.cell({"model_sha256": "ab12", "text_hash": "cd34", "seed": 5}, label="activations")
    return echo.cell(
        {"arm": {"seed": seed}, "seeds": [seed, 9], "flag": True}, inputs={"text": text}, label="sae"
    )


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def test_facts_come_from_results_and_from_what_they_rest_on(store: LocalStore) -> None:
    found = with_inputs(results([trained(1), trained(2)], store), store.get)
    assert len(found) == 3
    facts = provenance(profile="smoke", results=found, seeds=[7], hashes={"extra": "ef56"}, seconds=2.0)
    assert facts["seeds"] == [1, 2, 5, 7, 9]
    assert facts["hashes"] == {"extra": "ef56", "model": "ab12", "text": "cd34"}
    assert facts["results"]["count"] == 3
    assert facts["seconds"]["page"] == 2.0
    assert facts["seconds"]["results"] == pytest.approx(sum(r.seconds for r in found), abs=0.1)
    assert facts["commits_of_results"] == [found[0].manifest["provenance"]["commit"]]
    assert facts["versions"]["torch"]
    assert "threads" in facts["hardware_of_results"][0]


def test_the_digest_tells_results_apart_and_not_their_order(store: LocalStore) -> None:
    one, two = results([trained(1), trained(2)], store)
    digest = [
        provenance(profile="p", results=r)["results"]["digest"] for r in ([one, two], [two, one], [one])
    ]
    assert digest[0] == digest[1] != digest[2]


def test_the_block_shows_every_fact_and_escapes_it(store: LocalStore) -> None:
    found = results([trained(1)], store)
    block = provenance_html(provenance(profile="<smoke>", results=found, hashes={"model": "ab12"}))
    assert "&lt;smoke&gt;" in block
    assert "<smoke>" not in block
    for words in ("Commit", "Seeds", "1, 9", "Hash of model", "ab12", "Hardware", "GiB", "Duration", "torch"):
        assert words in block


@pytest.fixture
def page(tmp_path: Path) -> ChapterPage:
    return ChapterPage("toy", load("smoke"), tmp_path)


def test_a_published_table_is_kept_and_linked(page: ChapterPage, tmp_path: Path) -> None:
    link = page.publish(pd.DataFrame({"arm": ["trained"], "ev": [0.5]}), "toy_arms")
    assert 'href="data/toy_arms.parquet"' in link.html
    assert "1 rows, 2 columns" in str(link)
    kept = pd.read_parquet(tmp_path / "_build" / "results" / "smoke" / "toy_arms.parquet")
    assert kept.ev[0] == 0.5
    page.publish(pd.DataFrame({"arm": ["other"], "ev": [0.6]}), "toy_arms")
    assert pd.read_parquet(tmp_path / "_build" / "results" / "smoke" / "toy_arms.parquet").ev[0] == 0.6


@pytest.mark.parametrize("name", ["../toy", "a b", "Toy", ""])
def test_a_table_name_that_could_not_be_a_file_is_refused(page: ChapterPage, name: str) -> None:
    with pytest.raises(BadInputError, match="published under a name"):
        page.publish(pd.DataFrame({"ev": [0.5]}), name)


def test_results_that_a_chapter_asked_for_are_in_its_block(page: ChapterPage) -> None:
    page.results([trained(3)])
    facts = page.facts(seeds=[40])
    assert {3, 5, 9, 40} <= set(facts["seeds"])
    assert facts["results"]["count"] == 2
    assert "40" in page.provenance(seeds=[40]).html


def test_the_banner_names_the_profile_and_what_it_leaves_out(page: ChapterPage) -> None:
    assert "<strong>smoke</strong>" in page.banner().html
    for item in page.profile.left_out:
        assert item.split("'")[0] in page.banner().html


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(BadInputError, match="no profile is called 'tiny'"):
        open_chapter("toy", "tiny")
