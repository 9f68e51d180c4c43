"""From grids to verdicts on a tiny model and tiny worlds: cells, what is there of them, and the command."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from sanity import claims
from sanity.cli import app
from sanity.engine.cells import Result
from sanity.engine.store import LocalStore
from sanity.experiments import plan
from sanity.experiments.gathering import Gathering, ScoreTable, gathered, scores_before_the_end
from sanity.experiments.planner import plan_grids
from sanity.experiments.verdicts import VerdictTables, book_ledger, primary_of, verdict_cells, verdict_tables
from sanity.profiles import Profile, load

EV, LATE = "real-soft-frozen-ev", "topk-late-transition"
SMALL = {"d_sae": 48, "l0": 3, "steps": 20, "batch_size": 64, "learning_rates": 0.01}
ARMS = ["trained", "soft_frozen_decoder", "frozen_decoder"]


def profile_text(model: Path, text: Path) -> dict[str, Any]:
    """A world and a hook, with grids that the book's ledger speaks of."""
    hook = {
        "kind": "hook", "subject": str(model), "hook": "blocks.1.hook_resid_post",
        "d_model": 32, "text": str(text), "train_tokens": 1600, "held_out_tokens": 480, "context": 16,
        "shard_tokens": 400,
    }  # fmt: skip
    world = {"kind": "world", "spec": {"d_in": 12, "n_features": 48, "expected_l0": 3.0}, "held_out": 512}
    grades = {"levels": [0.0, 0.5, 1.0], "seeds": [0, 1, 2], "size": 128}
    arms = SMALL | {"architectures": "topk", "arms": ARMS, "seeds": [0, 1]}
    return {
        "about": "a test",
        "sources": {"tiny": hook, "constant": world},
        "grids": {
            "synthetic_recovery": arms | {"sources": "constant", "evals": ["reconstruction", "recovery"]},
            "real_activations": arms | {"sources": "tiny", "evals": ["reconstruction", "directions"]},
            "real_activations_pilots": {"like": "real_activations", "arms": "trained", "seeds": [1000, 1001]},
            "real_activations_widths": {"like": "real_activations", "arms": "trained", "d_sae": 24},
        },
        "evals": {
            "reconstruction": {"grades": grades},
            "recovery": {"grades": grades, "graded_l0": 3, "detail": False},
        },
    }


@pytest.fixture(scope="module", autouse=True)
def nothing_is_imported() -> Iterator[None]:
    """Runs that are kept with the book would judge what these small ones cannot."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sanity.experiments.verdicts.kept_runs", lambda **_: iter(()))
        yield


@pytest.fixture(scope="module")
def file(letters_and_text: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("profile") / "tiny.yaml"
    made.write_text(yaml.safe_dump(profile_text(*letters_and_text), sort_keys=False))
    return made


@pytest.fixture(scope="module")
def profile(file: Path) -> Profile:
    return load(str(file))


@pytest.fixture(scope="module")
def found(profile: Profile, store: LocalStore) -> VerdictTables:
    return verdict_tables(profile, store, compute_missing=True)


def require_key(store: LocalStore, key: str) -> Result:
    result = store.get(key)
    assert result is not None
    return result


def verdict_of(tables: VerdictTables, claim: str) -> dict[str, Any]:
    return next(row for row in tables.results if row["id"] == claim)


# ----------------------------------------------------------------------------------------- what is computed


def test_without_any_result_every_claim_is_open_and_nothing_is_computed(
    profile: Profile, tmp_path: Path
) -> None:
    empty = LocalStore(tmp_path)
    tables = verdict_tables(profile, empty)
    assert {row["verdict"] for row in tables.results} == {"open"}
    assert set(tables.gates["state"]) == {"not available"}
    cells = verdict_cells(plan_grids(profile))
    assert tables.missing == len(dict(cells.scores.inputs) | dict(cells.gates.inputs))
    assert empty.list() == []


def with_results(folder: Path, store: LocalStore, keys: Iterable[str]) -> LocalStore:
    """A store that has some results of another, and nothing that these were computed from."""
    made = LocalStore(folder)
    for key in keys:
        (folder / "results" / key).symlink_to(store.root / "results" / key)
    return made


def test_what_is_there_is_judged_and_the_rest_is_counted(
    profile: Profile, store: LocalStore, found: VerdictTables, tmp_path: Path
) -> None:
    synthetic = [run for run in plan_grids(profile).runs if run.grid == "synthetic_recovery"]
    keys = {cell.key for run in synthetic for cell in (run.trained, *run.scored.values())}
    part = with_results(tmp_path, store, keys)
    tables = verdict_tables(profile, part)
    read = {"synthetic_recovery", "synthetic_recovery_early", "synthetic_recovery_end"}
    assert set(tables.scores["experiment"]) == read
    assert verdict_of(tables, LATE) | {"gate": "passed"} == verdict_of(found, LATE)
    assert verdict_of(tables, EV)["verdict"] == "open"
    assert 0 < tables.missing < len(plan(profile))
    assert set(part.list()) == keys


def test_the_plan_ends_with_the_verdicts_and_what_is_read_are_their_results(
    profile: Profile, store: LocalStore, found: VerdictTables
) -> None:
    cells = verdict_cells(plan_grids(profile))
    assert [cell.key for cell in plan(profile)[-3:]] == [cell.key for cell in cells.all]
    assert {cell.key for cell in cells.all} <= set(store.list())
    assert found.missing == 0
    assert [result.key for result in found.found] == [cell.key for cell in cells.all]
    again = verdict_tables(profile, store)
    assert again.results == found.results
    pd.testing.assert_frame_equal(again.claims, found.claims)


def test_in_memory_and_from_cells_the_verdicts_are_the_same(
    profile: Profile, store: LocalStore, found: VerdictTables, tmp_path: Path
) -> None:
    own = {cell.key for cell in verdict_cells(plan_grids(profile)).all}
    results = [require_key(store, key) for key in own]
    inputs = {key for result in results for key in result.manifest["recipe"]["inputs"].values()} - own
    partly = with_results(tmp_path, store, inputs)
    tables = verdict_tables(profile, partly)
    assert (tables.missing, tables.results) == (0, found.results)
    assert set(partly.list()) == inputs


def test_an_edited_ledger_is_judged_anew_on_the_same_scores(profile: Profile, repository: Path) -> None:
    planned, ledger = plan_grids(profile), book_ledger(repository / "book" / "claims.yml")
    content = json.loads(json.dumps(ledger.content))
    content["margins"]["tenth"]["fraction"] = 0.2
    before, after = (
        verdict_cells(planned, one) for one in (ledger, claims.ledger_of(content, metrics=ledger.metrics))
    )
    assert (before.scores.key, before.gates.key) == (after.scores.key, after.gates.key)
    assert before.verdicts.key != after.verdicts.key


def test_the_command_reads_the_same_rows(
    file: Path, found: VerdictTables, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANITY_STORE", str(store.root))
    done = CliRunner().invoke(app, ["claims", "--profile", str(file), "--json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert [{k: v for k, v in row.items() if k != "missing_scores"} for row in rows] == found.results
    assert {row["missing_scores"] for row in rows} == {0}


# ------------------------------------------------------------------------------------------ what is gathered


def test_every_run_has_one_value_of_a_metric(found: VerdictTables, profile: Profile) -> None:
    assert claims.repeated(found.scores).empty
    assert {name for name in found.scores["experiment"] if not name.startswith("lazy_training")} == {
        "synthetic_recovery", "synthetic_recovery_early", "synthetic_recovery_end", "real_activations",
        "real_activations_half", "real_activations_end", "real_activations_widths",
    }  # fmt: skip
    pilots = found.scores[found.scores["seed"] >= 1000]
    assert "real_activations" in set(pilots["experiment"])
    assert "real_activations_pilots" not in set(found.scores["experiment"])
    assert set(pilots["constraint"]) == {"trained"}
    early = found.scores[found.scores["experiment"] == "synthetic_recovery_early"]
    assert len(early) == len(profile.grid("synthetic_recovery").seeds) * len(ARMS) * 2
    assert not [row["id"] for row in found.results if row["qualifier"] == "refused"]
    for claim in (EV, LATE):
        assert verdict_of(found, claim)["n_seeds"] == 2, claim


def test_what_claims_leave_out_is_the_first_of_the_grid(found: VerdictTables, profile: Profile) -> None:
    primary = primary_of(profile, found.ledger)
    hook = profile.sources["tiny"].place("tiny")
    assert primary["real_activations"] == {
        "world_or_hook": hook, "architecture": "topk", "l0_target": 3, "learning_rate": 0.01,
    }  # fmt: skip
    assert primary["synthetic_recovery_early"] == primary["synthetic_recovery"]
    assert primary["synthetic_recovery"]["world_or_hook"] == "constant"
    assert "judged_interpretability" not in primary


def test_gates_are_those_of_the_evals_of_the_plan(found: VerdictTables) -> None:
    run = found.gates[found.gates["eval"] != ""]
    assert set(run["eval"]) == {"reconstruction", "recovery"}
    assert set(run.loc[run["metric"] == "recovery", "place"]) == {"constant"}
    assert set(run.loc[run["metric"] == "explained_variance", "place"]) == {"blocks.1.hook_resid_post"}
    assert verdict_of(found, EV)["gate"] == "passed"
    unused = found.gates.loc[found.gates["metric"] == "ce_recovered", "reason"]
    assert unused.str.contains("no reference of it is corrupted at this profile").all()


def test_scores_before_the_end_are_the_curve_at_a_share_of_the_samples() -> None:
    curve = pd.DataFrame(
        {
            "samples_seen": [0, 50, 90, 200],
            "recovery": [0.0, float("nan"), 0.2, 0.9],
            "explained_variance": [0.0, 0.0, 0.0, 0.0],
            "explained_variance_held_out": [0.1, float("nan"), 0.6, 0.7],
        }
    )
    scores = pd.DataFrame(
        {
            "metric": ["recovery", "explained_variance", "l0"],
            "value": [0.9, 0.7, 4.0],
            "floor": [0.01, 0.0, 8.0],
        }
    )
    early = scores_before_the_end(scores, curve, 0.5, ["recovery", "explained_variance", "other"])
    assert early.set_index("metric")["value"].to_dict() == {"recovery": 0.2, "explained_variance": 0.6}
    assert early.set_index("metric").loc["recovery", "floor"] == 0.01
    assert scores_before_the_end(scores, curve.iloc[:0], 0.5, ["recovery"]).empty


class Kept(Result):
    """A stored result with one score, and what its eval noted."""

    def __init__(self, value: float, **facts: Any) -> None:
        super().__init__(Path(), {"files": {"facts.json": {}}})
        self._value, self._facts = value, facts

    def json(self, name: str) -> dict[str, Any]:
        return self._facts

    def table(self, name: str) -> pd.DataFrame:
        return pd.DataFrame({"metric": ["judged"], "value": [self._value]})


@pytest.mark.parametrize(
    ("named", "bundled", "judged"),
    [({}, {}, [0.9]), ({"counts": False}, {}, [0.6]), ({"counts": True}, {"counts": False}, [0.9]),
     ({"counts": False}, {"counts": False}, [])],
)  # fmt: skip
def test_of_alternative_grids_the_first_whose_scores_count_is_taken(
    named: dict[str, Any], bundled: dict[str, Any], judged: list[float]
) -> None:
    config = Gathering(
        (ScoreTable("judged", "bundled", "layer", "a", "1"), ScoreTable("judged", "named", "layer", "b", "2"),
         ScoreTable("own", "own", "layer", "c", "3")),
        {"judged": {"grids": ("named", "bundled"), "only_first": True}},
    )  # fmt: skip
    results: dict[str, Result] = {"1": Kept(0.6, **bundled), "2": Kept(0.9, **named), "3": Kept(0.1)}
    scores = gathered(config, results)
    assert scores.loc[scores["experiment"] == "judged", "value"].tolist() == judged
    assert scores.loc[scores["experiment"] == "own", "value"].tolist() == [0.1]


@pytest.mark.parametrize(("gains", "stands"), [([0.023, 0.024, 0.022], True), ([0.001, -0.002, 0.0], False)])
def test_the_claim_about_the_cone_falls_where_noise_gains_as_much(
    gains: list[float], stands: bool, repository: Path
) -> None:
    frame = pd.DataFrame({"value": gains, "seed": range(3)}).assign(
        experiment="lazy_training", world_or_hook="hook", architecture="topk", init="iso", floor=0.0,
        constraint="soft_frozen_decoder", metric="release_gain_beyond_noise", ceiling=float("nan"), n=100,
        unit="sample", learning_rate=1e-3, l0_target=32,
    )  # fmt: skip
    ledger = book_ledger(repository / "book" / "claims.yml")
    found = claims.evaluate(ledger.claim("releasing-the-cone-gains-beyond-noise"), frame, ledger)
    assert found.supported is stands
