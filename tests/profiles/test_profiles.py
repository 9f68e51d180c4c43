"""Profiles: they load, they refuse what they cannot use, and quick keeps within half an hour."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from sanity import profiles
from sanity.claims import read_ledger
from sanity.engine.cells import Cell
from sanity.engine.computing import total_cost
from sanity.errors import BadInputError
from sanity.experiments import plan

# Stages of the ledger whose chapters are still to be written keep their share of the half hour.
STAGES = {"setup", "harvest", "arms", "toy", "downstream", "verdicts", "own_sae", "book"}


@functools.cache
def planned(name: str) -> list[Cell]:
    """A profile's cells: thousands at the larger scales, so listed once."""
    return plan(profiles.load(name))


def test_all_load_and_are_named_from_small_to_large() -> None:
    assert profiles.names() == ["smoke", "quick", "overnight", "gpu", "paper"]
    for name in profiles.names():
        assert profiles.load(name).name == name


def test_the_papers_scale_is_the_papers() -> None:
    paper = profiles.load("paper")
    assert [(m.subject, m.d_sae) for m in paper.models] == [
        ("gemma-2-2b", 73728),
        ("gemma-2-2b", 73728),
        ("llama-3-8b", 131072),
    ]
    assert paper.real.steps * paper.real.batch_size == pytest.approx(5e8, rel=1e-4)
    swept = {l0 for s in paper.real.sweeps if s.architecture == "batchtopk" for l0 in s.l0}
    assert swept | {paper.real.l0} == {80, 115, 160, 225, 320}
    worlds = [w.model_dump() for w in paper.toy.worlds]
    assert all((w["d_in"], w["n_features"], w["expected_l0"]) == (100, 3200, 20.0) for w in worlds)


def test_quick_has_the_seven_arms_on_three_seeds() -> None:
    grid = profiles.load("quick").real
    assert (grid.architecture, grid.d_sae, len(grid.seeds), len(grid.arms)) == ("topk", 2304, 3, 7)
    assert len({grid.learning_rate, *grid.other_learning_rates}) == 3


def test_pilot_seeds_are_the_ledgers_and_are_never_judged(repository: Path) -> None:
    pilots = read_ledger(repository / "book" / "claims.yml").pilot_seeds
    for name in profiles.names():
        grid = profiles.load(name).real
        judged = {*grid.seeds, *(s for more in (*grid.sweeps, *grid.widths) for s in more.seeds)}
        assert set(grid.pilot_seeds) <= pilots
        assert not judged & pilots
        assert all(width.d_sae != grid.d_sae for width in grid.widths)


def test_the_ledger_of_quick_sums_to_less_than_half_an_hour() -> None:
    ledger = profiles.load("quick").ledger
    assert set(ledger) == STAGES
    assert sum(ledger.values()) <= 27 * 60


def test_what_quick_plans_agrees_with_its_ledger() -> None:
    ledger = profiles.load("quick").ledger
    for stage in ("harvest", "arms", "toy", "downstream"):
        assert total_cost(c for c in planned("quick") if c.stage == stage).seconds <= ledger[stage], stage


def test_plans_list_every_cell_once_with_its_inputs_first() -> None:
    for name in profiles.names():
        seen: set[str] = set()
        for cell in planned(name):
            assert all(needed.key in seen for _, needed in cell.inputs)
            assert cell.key not in seen
            assert cell.cost.seconds > 0
            seen.add(cell.key)


def test_an_unknown_profile_is_refused_with_those_that_exist() -> None:
    with pytest.raises(BadInputError, match=r"'fast'.*smoke, quick, overnight, gpu, paper"):
        profiles.load("fast")


def test_an_unknown_parameter_is_named() -> None:
    with pytest.raises(BadInputError, match="speed"):
        profiles.load("smoke", speed="high")


def test_a_sparsity_larger_than_the_dictionary_is_refused() -> None:
    toy = profiles.load("smoke").toy.model_dump() | {"l0": 257}
    with pytest.raises(BadInputError, match="L0 of 257 does not fit into d_sae 256"):
        profiles.load("smoke", toy=toy)
