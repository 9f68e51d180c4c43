"""Imported runs: which claims they judge, and what their pilot seeds are used for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sanity.claims import (
    GATE_TABLE_COLUMNS,
    ImportedRun,
    Ledger,
    claims_table,
    evaluate_all,
    result_rows,
    with_imported,
    with_references,
)
from sanity.experiments.verdicts import book_ledger
from sanity.stats import ALIKE_RANDOM

CLAIM = "soft-frozen-recovers-in-the-toy"
PLACE = {"experiment": "synthetic_recovery", "world_or_hook": "constant", "architecture": "topk"}
SIZE = {"subject": None, "d_in": 100, "n_features": 3200, "d_sae": 3200, "samples": 10_000}
AT = {"sparse_probing": {"world_or_hook": "constant", "architecture": "topk", "l0_target": 20}}
GATES = pd.DataFrame(columns=[*GATE_TABLE_COLUMNS])


@pytest.fixture(scope="module")
def ledger(repository: Path) -> Ledger:
    return book_ledger(repository / "book" / "claims.yml")


def rows(
    constraint: str, values: list[float], *, seeds: list[int] | None = None, **more: Any
) -> pd.DataFrame:
    frame = pd.DataFrame({"value": values, "seed": seeds or list(range(len(values)))})
    fixed = {
        "constraint": constraint, "init": "iso", "metric": "recovery", "floor": 0.0, "ceiling": 1.0, "n": 9,
        "unit": "feature", "learning_rate": 3e-4, "l0_target": 20,
    }  # fmt: skip
    return frame.assign(**{**fixed, **PLACE, **SIZE, **more})


def frame(judged: list[float], **more: Any) -> pd.DataFrame:
    against = [value / 10 for value in judged]
    return pd.concat(
        [rows("soft_frozen_decoder", judged, **more), rows("frozen_decoder", against, **more)],
        ignore_index=True,
    )


def run(scores: pd.DataFrame) -> ImportedRun:
    return ImportedRun("elsewhere", "commit 1", scores, GATES, {})


def found(ledger: Ledger, own: pd.DataFrame, *runs: ImportedRun) -> Any:
    results = with_imported(evaluate_all(ledger, own), ledger, runs)
    return next(one for one in results if one.claim.id == CLAIM)


def test_an_imported_run_judges_what_the_own_one_is_too_small_for(ledger: Ledger) -> None:
    small = frame([0.5, 0.52, 0.51], d_in=40)
    one = found(ledger, small, run(frame([0.9, 0.92, 0.91])))
    assert (one.imported, one.elsewhere) == ("elsewhere", "")
    assert one.means is not None
    assert one.means[0] == pytest.approx(0.91)
    shown = claims_table([one], profile="quick").iloc[0]
    assert shown["profile and scale"] == "imported: elsewhere, same scale"
    (row,) = result_rows([one], profile="quick", gates=GATES)
    assert (row["profile"], row["imported"]) == ("elsewhere", "elsewhere")


def test_arms_of_a_kept_run_are_compared_on_the_seeds_they_share(ledger: Ledger) -> None:
    """It may hold the frozen arms on fewer seeds than others, by its plan; an own run that does is broken."""
    uneven = pd.concat([frame([0.9, 0.92]), rows("soft_frozen_decoder", [0.1], seeds=[2])], ignore_index=True)
    small = frame([0.5, 0.52, 0.51], d_in=40)
    one = found(ledger, small, run(uneven))
    assert (one.imported, one.verdict.n_seeds) == ("elsewhere", 2)
    assert one.means is not None
    assert one.means[0] == pytest.approx(0.91)
    assert "not paired" in found(ledger, uneven).verdict.words
    apart = pd.concat(
        [rows("soft_frozen_decoder", [0.9]), rows("frozen_decoder", [0.1], seeds=[1])], ignore_index=True
    )
    assert found(ledger, small, run(apart)).imported == ""


def test_one_seed_that_decides_nothing_gives_way_to_a_run_with_several(ledger: Ledger) -> None:
    own, several = frame([0.5]), run(frame([0.9, 0.92, 0.91]))
    assert found(ledger, own).verdict.verdict == "inconclusive"
    assert found(ledger, own, several).imported == "elsewhere"
    assert found(ledger, own, run(frame([0.9]))).imported == "", "one seed is no better than another"


def test_own_scores_of_the_right_scale_are_never_replaced(ledger: Ledger) -> None:
    one = found(ledger, frame([0.5, 0.52, 0.51]), run(frame([0.9, 0.92, 0.91])))
    assert one.imported == ""
    assert one.means is not None
    assert one.means[0] == pytest.approx(0.51)


def test_an_imported_run_of_another_scale_replaces_nothing(ledger: Ledger) -> None:
    small = frame([0.5, 0.52, 0.51], d_in=40)
    one = found(ledger, small, run(frame([0.9, 0.92, 0.91], d_in=60)))
    assert one.imported == ""


def test_the_first_run_that_can_judge_a_claim_does(ledger: Ledger) -> None:
    first, second = run(frame([0.9, 0.92, 0.91])), ImportedRun("later", "", frame([0.1, 0.2, 0.3]), GATES, {})
    assert found(ledger, frame([0.5, 0.5], d_in=40), first, second).imported == "elsewhere"


def test_imported_pilot_seeds_serve_experiments_that_have_none(ledger: Ledger) -> None:
    pilots = frame([0.5, 0.52, 0.51], seeds=list(ledger.pilot_seeds), ceiling=0.6)
    own = frame([0.5, 0.52, 0.51])
    together = with_references(own, ledger, [run(pd.concat([pilots, frame([0.1, 0.2, 0.3])]))])
    assert set(together["seed"]) == {0, 1, 2, *ledger.pilot_seeds}
    assert len(together) == len(own) + len(pilots)
    one = found(ledger, together)
    assert one.verdict.margin == pytest.approx(0.6 * one.claim.margin.fraction)
    assert one.range_from == "elsewhere"
    assert "measured in elsewhere" in claims_table([one])["margin or range"].iloc[0]
    assert with_references(together, ledger, [run(pilots)]) is together


def test_an_imported_control_of_the_same_size_is_what_an_equivalence_is_held_against(ledger: Ledger) -> None:
    probing = {"experiment": "sparse_probing", "metric": "sparse_probing_top1", "d_sae": 2304}
    own = pd.concat(
        [
            rows("trained", [0.80, 0.82, 0.81], **probing),
            rows("frozen_decoder", [0.79, 0.82, 0.80], init="cov", **probing),
            rows("untrained", [0.5, 0.52, 0.51], **probing),
        ]
    )
    control = probing | {"experiment": "random_transformer", "world_or_hook": "of drawn weights"}
    for values, size, word in (
        ([0.79, 0.80, 0.80], {}, ALIKE_RANDOM),
        ([0.50, 0.51, 0.50], {}, "equivalent"),
        ([0.79, 0.80, 0.80], {"d_sae": 16384}, "equivalent"),  # of another size: it says nothing here
    ):
        together = with_references(own, ledger, [run(rows("trained", values, **(control | size)))])
        (one,) = [
            r for r in evaluate_all(ledger, together, primary=AT) if r.claim.id == "probing-frozen-decoder"
        ]
        assert one.verdict.verdict == word
        assert ("imported: elsewhere" in one.verdict.words) is (not size)
        assert ("control not run" in one.verdict.qualifier) is bool(size)
