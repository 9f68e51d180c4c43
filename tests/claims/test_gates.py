"""From readings of corrupted references to gates, and from gates to verdicts that are turned off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sanity.claims import (
    SCORE_COLUMNS,
    Ledger,
    claims_table,
    evaluate_all,
    failed_metrics,
    gate_state,
    gate_table,
    result_rows,
    worst_state,
)
from sanity.errors import BadInputError
from sanity.evals.metric import Metric
from sanity.experiments.verdicts import book_ledger

CLAIM = "real-frozen-decoder-ev"
PRIMARY = {"real_activations": {"world_or_hook": "layer 1", "architecture": "topk", "l0_target": 16}}


def gates(**states: str) -> pd.DataFrame:
    rows = [
        {"metric": metric, "place": "layer 1", "state": state, "reason": f"it is {state}"}
        for metric, state in states.items()
    ]
    return pd.DataFrame(rows, columns=["metric", "place", "state", "reason"])


@pytest.fixture(scope="module")
def ledger(repository: Path) -> Ledger:
    return book_ledger(repository / "book" / "claims.yml")


@pytest.fixture
def scores() -> pd.DataFrame:
    """Explained variance of a trained and a frozen arm, far apart."""
    usual = {
        "experiment": "real_activations", "world_or_hook": "layer 1", "metric": "explained_variance",
        "architecture": "topk", "floor": 0.0, "ceiling": 1.0, "n": 100, "unit": "sample",
        "learning_rate": 1e-3, "l0_target": 16,
    }  # fmt: skip
    arms = {("trained", "iso"): [0.80, 0.81, 0.79], ("frozen_decoder", "cov"): [0.40, 0.42, 0.41]}
    frames = [
        pd.DataFrame({"value": values, "seed": range(3)}).assign(constraint=c, init=i, **usual)
        for (c, i), values in arms.items()
    ]
    return pd.concat(frames, ignore_index=True)[list(SCORE_COLUMNS)]


# ------------------------------------------------------------------------------------- readings become gates


def readings(metric: str = "quality", kind: str = "mixed", *, sees: bool = True, **more: Any) -> pd.DataFrame:
    """How a metric reads its reference at five levels on five seeds; one that does not see it is noise."""
    rows = []
    for seed in range(5):
        for level in (0.0, 0.25, 0.5, 0.75, 1.0):
            seen = 1 - level if sees else (7 * seed + 11 * round(4 * level)) % 5 / 5
            value = seen + 0.001 * seed
            rows.append({"metric": metric, "kind": kind, "level": level, "seed": seed, "value": value})
    usual = {"floor": 0.0, "ceiling": 1.0, "n": 50, "eval": "own", "place": "layer 1", "subject": "model"}
    return pd.DataFrame(rows).assign(**(usual | more))


QUALITY = {"quality": Metric("quality", "higher", 1.0, "none", "all", gate="mixed", reference="the truth")}


def state_of(graded: pd.DataFrame, **more: Any) -> list[str]:
    return gate_table(graded, metrics=QUALITY, **more)["state"].tolist()


def test_a_metric_is_gated_by_the_corruption_that_it_declares_and_no_other() -> None:
    row = gate_table(readings(), metrics=QUALITY).iloc[0]
    assert (row["metric"], row["place"], row["state"], row["reference"]) == (
        "quality", "layer 1", "passed", "the truth",
    )  # fmt: skip
    assert row["monotone"] > 0.9
    blind = readings(kind="silenced", sees=False)
    assert state_of(pd.concat([readings(), blind])) == ["passed"]
    assert state_of(blind) == ["not available"]
    assert state_of(readings(sees=False)) == ["failed"]


def test_every_place_and_eval_has_a_gate_of_its_own() -> None:
    frames = [
        readings(),
        readings(place="layer 2", sees=False),
        readings(eval="other"),
        readings(subject="another model", sees=False),
    ]
    table = gate_table(pd.concat(frames), metrics=QUALITY)
    assert table[["place", "eval", "state"]].to_numpy().tolist() == [
        ["layer 1", "own", "passed"],
        ["layer 2", "own", "failed"],
        ["layer 1", "other", "passed"],
        ["layer 1", "own", "failed"],
    ]


def test_of_alternative_evals_the_first_that_counts_is_read() -> None:
    first, second = readings(eval="first", sees=False), readings(eval="second")
    both, order = pd.concat([second, first]), [["first", "second"]]
    assert state_of(both, alternatives=order) == ["failed"]
    assert state_of(second, alternatives=order) == ["passed"]
    given_up = pd.concat([second, first.assign(counts=False)])
    assert state_of(given_up, alternatives=order) == ["passed"]
    assert state_of(given_up.assign(counts=False), alternatives=order) == ["failed"]


def test_a_metric_without_a_gate_says_why() -> None:
    quantity = Metric("amount", "none", None, "none", "none", ungated="it is matched")
    table = gate_table(readings(), metrics=QUALITY | {"amount": quantity})
    assert table["state"].tolist() == ["passed", "not available"]
    assert table["reason"].iloc[1] == "gate not available: it is matched"
    nothing = gate_table(pd.DataFrame(), metrics=QUALITY)
    assert nothing["reason"].tolist() == [
        "gate not available: no reference of it is corrupted at this profile"
    ]


# ------------------------------------------------------------------------------- gates turn verdicts off


@pytest.mark.parametrize(
    ("state", "verdict"),
    [("passed", "trained better"), ("not available", "trained better"), ("failed", "open")],
)
def test_only_a_failed_gate_turns_a_verdict_off(
    ledger: Ledger, scores: pd.DataFrame, state: str, verdict: str
) -> None:
    table = gates(explained_variance=state)
    found = evaluate_all(ledger, scores, primary=PRIMARY, failed_gates=failed_metrics(table))
    rows = {row["id"]: row for row in result_rows(found, profile="quick", gates=table)}
    row = rows[CLAIM]
    assert (row["verdict"], row["gate"], row["profile"]) == (verdict, state, "quick")
    assert row["value"] == pytest.approx(0.39)
    shown = claims_table(found, profile="quick", gates=table).set_index("id")
    assert shown.loc[CLAIM, "validity gate"] == state
    assert "+0.39" in str(shown.loc[CLAIM, "ours"])
    if state == "failed":
        assert row["qualifier"] == "validity gate failed"
        assert "layer 1: it is failed" in row["words"]


def test_without_gates_nothing_is_turned_off_and_no_gate_is_claimed(
    ledger: Ledger, scores: pd.DataFrame
) -> None:
    results = evaluate_all(ledger, scores, primary=PRIMARY)
    assert next(r for r in results if r.claim.id == CLAIM).verdict.verdict == "trained better"
    assert "validity gate" not in claims_table(results)
    assert gate_state(gates(), ["explained_variance"]) == "not available"


def test_a_claim_on_several_metrics_is_as_good_as_its_worst_gate(ledger: Ledger) -> None:
    claim = ledger.claim("headline-soft-frozen-matches-everywhere")
    names = list(claim.model_dump()["metrics"])
    table = gates(**{names[0]: "passed", names[1]: "failed"})
    assert gate_state(table, names) == "failed"
    assert gate_state(table, names[:1]) == "passed"
    assert gate_state(table, [names[0], names[2]]) == "not available"
    assert worst_state([]) == "not available"


def test_a_failure_at_one_place_of_two_is_enough_and_both_are_named() -> None:
    table = pd.concat(
        [gates(recovery="failed"), gates(recovery="passed"), gates(recovery="failed", l0="passed")]
    )
    assert failed_metrics(table) == {"recovery": "layer 1: it is failed; layer 1: it is failed"}
    assert gate_state(table, ["recovery"]) == "failed"


def test_a_table_that_is_none_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"lacks the columns:? place, reason"):
        failed_metrics(gates().drop(columns=["place", "reason"]))
    with pytest.raises(BadInputError, match="state is 'maybe'; there are: failed, not available, passed"):
        gate_state(gates(recovery="maybe"), ["recovery"])
