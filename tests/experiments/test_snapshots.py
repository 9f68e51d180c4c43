"""SAEs on the way: what is kept at a share of the steps is the run as its curve had it there."""

from __future__ import annotations

import pandas as pd
import pytest
from tiny_profile import tiny_profile

from sanity.claims import rises
from sanity.engine.store import LocalStore
from sanity.experiments.reading import Reader
from sanity.sources import Snapshot


@pytest.fixture(scope="module")
def reader(store: LocalStore) -> Reader:
    return Reader(tiny_profile(only=["trajectory", "synthetic_recovery"]), store)


def test_snapshots_are_on_the_curve_of_the_whole_run(reader: Reader) -> None:
    scores = reader.scores("trajectory")
    assert sorted(scores["samples"].unique()) == [3 * 64, 15 * 64, 30 * 64]
    whole = reader.curves("synthetic_recovery")
    run = ["world_or_hook", "architecture", "constraint", "init", "seed"]
    whole = whole.set_index([*run, "samples_seen"])["recovery"]
    found = scores[scores["metric"] == "recovery"]
    for row in found[found["samples"] < 30 * 64].to_dict("records"):
        assert row["value"] == pytest.approx(whole[(*(row[name] for name in run), row["samples"])], abs=1e-12)
    turned = scores[(scores["metric"] == "cosine_to_init") & (scores["constraint"] == "trained")]
    means = turned.groupby("samples")["value"].mean()
    assert means.is_monotonic_decreasing
    assert means.iloc[0] < 1


def test_the_end_is_the_usual_run_and_what_is_on_the_way_has_keys_of_its_own(reader: Reader) -> None:
    runs = reader.runs("trajectory")
    ends = [run for run in runs if not isinstance(run.run, Snapshot)]
    usual = {run.trained.key for run in reader.runs("synthetic_recovery")}
    assert len(ends) * 3 == len(runs)
    assert {run.trained.key for run in ends} <= usual
    keys = {cell.key for run in runs for cell in (run.trained, *run.scored.values())}
    assert len(keys) == len(runs) * (1 + 3)
    assert "after 50% of its steps" in next(run.run.label for run in runs if run.run.steps == 15)


def test_a_metric_rises_where_its_gain_is_shown_over_seeds() -> None:
    values = {
        "recovery": ([0.1, 0.12, 0.11], [0.5, 0.53, 0.49]),
        "detection_f1": ([0.3, 0.5, 0.4], [0.5, 0.3, 0.42]),
    }
    values["dead_latents"] = ([0.9, 0.8, 0.85], [0.1, 0.12, 0.1])
    rows = [
        {"metric": metric, "seed": seed, "samples": samples, "value": value}
        for metric, ends in values.items()
        for samples, some in zip((50, 1000), ends, strict=True)
        for seed, value in enumerate(some)
    ]
    table = rises(pd.DataFrame(rows)).set_index("metric")
    assert table["rises"].to_dict() == {"recovery": True, "detection_f1": False, "dead_latents": True}
    assert table.loc["dead_latents", "gain"] == pytest.approx(0.7433, abs=1e-4)
    assert {"5%", "100%"} <= set(table.columns)
    single = rises(pd.DataFrame(rows)[lambda t: t["seed"] == 0])
    assert single["rises"].isna().all()
