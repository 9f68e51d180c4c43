"""From a table of gates to verdicts that are turned off, on the pages and on the command line."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from sanity.claims import (
    GATE_TABLE,
    SCORE_COLUMNS,
    SCORE_TABLE,
    failed_metrics,
    gate_state,
    judge,
    read_ledger,
    stored_gates,
    verdicts,
    worst_state,
)
from sanity.claims.reporting import claims_table
from sanity.errors import BadInputError
from sanity.profiles import Profile, load

CLAIM = "real-frozen-decoder-ev"


def gates(**states: str) -> pd.DataFrame:
    rows = [
        {"metric": metric, "place": "layer 1", "state": state, "reason": f"it is {state}"}
        for metric, state in states.items()
    ]
    return pd.DataFrame(rows, columns=["metric", "place", "state", "reason"])


@pytest.fixture
def profile() -> Profile:
    return load("quick")


@pytest.fixture
def scores(profile: Profile) -> pd.DataFrame:
    """Explained variance of a trained and a frozen arm, far apart."""
    grid = profile.real
    usual = {
        "experiment": "real_activations", "world_or_hook": profile.models[0].hook, "metric":
        "explained_variance", "architecture": grid.architecture, "floor": 0.0, "ceiling": 1.0, "n": 100,
        "unit": "sample", "learning_rate": grid.learning_rate, "l0_target": grid.l0,
    }  # fmt: skip
    arms = {("trained", "iso"): [0.80, 0.81, 0.79], ("frozen_decoder", "cov"): [0.40, 0.42, 0.41]}
    frames = [
        pd.DataFrame({"value": values, "seed": range(3)}).assign(constraint=c, init=i, **usual)
        for (c, i), values in arms.items()
    ]
    return pd.concat(frames, ignore_index=True)[list(SCORE_COLUMNS)]


@pytest.mark.parametrize(
    ("state", "verdict"),
    [("passed", "trained better"), ("not available", "trained better"), ("failed", "open")],
)
def test_only_a_failed_gate_turns_a_verdict_off(
    profile: Profile, scores: pd.DataFrame, state: str, verdict: str
) -> None:
    table = gates(explained_variance=state)
    results = {result.claim.id: result for result in judge(profile, scores, gates=table)}
    found = results[CLAIM].verdict
    assert found.verdict == verdict
    assert found.value == pytest.approx(0.39)
    shown = claims_table(list(results.values()), profile="quick", gates=table).set_index("id")
    assert shown.loc[CLAIM, "validity gate"] == state
    assert "+0.39" in str(shown.loc[CLAIM, "ours"])
    if state == "failed":
        assert found.qualifier == "validity gate failed"
        assert "layer 1: it is failed" in found.words


def test_without_gates_nothing_is_turned_off_and_no_gate_is_claimed(
    profile: Profile, scores: pd.DataFrame
) -> None:
    results = judge(profile, scores)
    assert next(r for r in results if r.claim.id == CLAIM).verdict.verdict == "trained better"
    assert "validity gate" not in claims_table(results)
    assert gate_state(gates(), ["explained_variance"]) == "not available"


def test_a_claim_on_several_metrics_is_as_good_as_its_worst_gate(profile: Profile) -> None:
    claim = read_ledger().claim("headline-soft-frozen-matches-everywhere")
    names = claim.model_dump()["metrics"]
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


def test_the_command_line_reads_the_table_that_the_chapter_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path, scores: pd.DataFrame
) -> None:
    monkeypatch.setenv("SANITY_HOME", str(tmp_path))
    (tmp_path / "book").symlink_to(repository / "book")
    folder = tmp_path / "_build" / "results" / "quick"
    folder.mkdir(parents=True)
    scores.to_parquet(folder / f"{SCORE_TABLE}.parquet")

    def row() -> dict[str, object]:
        return next(row for row in verdicts("quick") if row["id"] == CLAIM)

    assert stored_gates("quick").empty
    assert (row()["verdict"], row()["gate"]) == ("trained better", "not available")
    gates(explained_variance="failed").to_parquet(folder / f"{GATE_TABLE}.parquet")
    assert (row()["verdict"], row()["qualifier"], row()["gate"]) == ("open", "validity gate failed", "failed")
    assert row()["value"] == pytest.approx(0.39)
    gates(explained_variance="passed").to_parquet(folder / f"{GATE_TABLE}.parquet")
    assert (row()["verdict"], row()["gate"]) == ("trained better", "passed")


def test_a_table_that_is_none_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"lacks the column\(s\) place, reason"):
        failed_metrics(gates().drop(columns=["place", "reason"]))
    with pytest.raises(BadInputError, match="state is 'maybe'; there are: failed, not available, passed"):
        gate_state(gates(recovery="maybe"), ["recovery"])
