from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sanity.claims import Ledger, ledger_of, read_ledger
from sanity.claims.schema import AllMetrics, Value, metrics_of
from sanity.errors import BadInputError
from sanity.experiments.verdicts import book_ledger


@pytest.fixture(scope="module")
def ledger(repository: Path) -> Ledger:
    return book_ledger(repository / "book" / "claims.yml")


def small() -> dict[str, Any]:
    return {
        "pilot_seeds": [1000],
        "experiments": {"early": {"grids": ["synthetic_recovery"], "at": 0.5, "metrics": ["recovery"]}},
        "scales": {"toy": {"label": "the paper's world", "d_in": 100}},
        "controls": {},
        "margins": {"tenth": {"fraction": 0.1, "why": "a rule", "blind": True}},
        "claims": [
            {
                "id": "first",
                "by": "ours",
                "statement": "a statement",
                "where": "chapter x",
                "scope": {"experiment": "synthetic_recovery"},
                "metric": "recovery",
                "judged": {"constraint": "trained"},
                "against": {"constraint": "frozen_decoder"},
                "margin": "tenth",
                "predicts": ["equivalent"],
                "overturned_by": "a result",
            }
        ],
    }


def read(tmp_path: Path, content: dict[str, Any] | str) -> Ledger:
    file = tmp_path / "claims.yml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return read_ledger(file)


def test_the_books_ledger_is_sound(ledger: Ledger) -> None:
    assert len({claim.id for claim in ledger.claims}) == len(ledger.claims) > 40
    assert {claim.by for claim in ledger.claims} == {"paper", "ours"}
    used = {metric for claim in ledger.claims for metric in metrics_of(claim)}
    headline = {"autointerp_judge", "sparse_probing_top1", "ravel_disentanglement", "explained_variance"}
    assert headline <= used <= set(ledger.metrics)
    assert ledger.pilot_seeds.isdisjoint({0, 1, 2, 3, 4})


def test_no_arm_is_called_by_a_name_of_the_code(ledger: Ledger) -> None:
    comparisons = [claim for claim in ledger.claims if not isinstance(claim, Value)]
    sides = [(c.judged, *(c.against if isinstance(c.against, tuple) else (c.against,))) for c in comparisons]
    names = {arm.label for side in sides for arm in side}
    assert set(ledger.content["called"]) == {arm.experiment for side in sides for arm in side} - {None}
    assert "trained (on Gaussian noise of the same covariance)" in names
    assert {name for name in names if "_" in name and "blocks." not in name} == set()


def test_every_margin_is_a_declared_share_and_says_why(ledger: Ledger) -> None:
    for claim in ledger.claims:
        if isinstance(claim, Value):
            assert claim.expected.why
        else:
            assert 0 < claim.margin.fraction <= 0.1
            assert claim.margin.why
            # every comparison on one metric must have a range to take the margin of
            assert all(ledger.metrics[metric].range is not None for metric in metrics_of(claim))


def test_the_literal_headline_is_one_arm_on_three_metrics(ledger: Ledger) -> None:
    claim = ledger.claim("headline-soft-frozen-matches-everywhere")
    assert isinstance(claim, AllMetrics)
    assert len(claim.metrics) == 3
    with pytest.raises(BadInputError, match="no claim is called 'nothing'"):
        ledger.claim("nothing")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"metric": "acuracy"},
            r"claim 'first', field metric: nothing imported declares acuracy; there are: .*recovery",
        ),
        ({"margin": {"fraction": 0.7, "why": "x", "blind": True}}, r"field margin.fraction: .*less than 0.5"),
        ({"margin": {"fraction": float("nan"), "why": "x", "blind": True}}, r"field margin.fraction"),
        ({"margin": "fifth"}, r"no margin is called 'fifth'; there are: tenth"),
        ({"predicts": ["matches"]}, r"claim 'first', field predicts.0"),
        ({"predicts": []}, r"claim 'first', field predicts"),
        ({"surprise": 1}, r"claim 'first', field surprise: Extra inputs"),
        ({"judged": {"constraint": "thawed"}}, r"field judged.constraint: .*'thawed'; there are: .*trained"),
        ({"judged": {"constraint": "trained", "init": "no"}}, r"field judged.init: .*no init is called 'no'"),
        ({"judged": {"constraint": "trained", "objective": "fun"}}, r"field judged.objective: .*'fun'"),
        ({"scope": {"architecture": "gated"}}, r"field scope.architecture: .*'gated'; there are: .*topk"),
        ({"judged": {"constraint": "frozen_decoder(cosine=1)"}}, r"field judged.constraint: .*unexpected"),
        (
            {
                "judged": {"constraint": "soft_frozen_decoder(cosine=0.8)"},
                "against": {"constraint": "soft_frozen_decoder"},
            },
            r"an arm is compared with itself",
        ),
        ({"judged": {"constraint": "frozen_decoder"}}, r"an arm is compared with itself"),
        ({"metric": "l0"}, r"l0 has no better side"),
        ({"scale": "moon"}, r"claim 'first', field scale: no scale is called 'moon'; there are: any, toy"),
        ({"id": "Not A Slug"}, r"claim 'Not A Slug', field id"),
        ({"kind": "guess"}, r"claim 'first', field kind"),
    ],
)
def test_a_faulty_claim_is_refused_by_name_and_field(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    content = small()
    content["claims"][0].update(change)
    with pytest.raises(BadInputError, match=words):
        read(tmp_path, content)


def test_all_faults_are_listed_at_once(tmp_path: Path) -> None:
    content = small()
    del content["claims"][0]["overturned_by"]
    content["claims"].append({"statement": "no id"})
    content["experiments"]["early"]["at"] = 2
    with pytest.raises(BadInputError) as caught:
        read(tmp_path, content)
    for words in ("field overturned_by: Field required", "claim number 2", "experiment 'early', field at"):
        assert words in str(caught.value)


def test_a_range_of_expected_values_must_rise_and_have_an_end(tmp_path: Path) -> None:
    for expected, words in (
        ({"low": 0.5, "high": 0.5}, "must be less than"),
        ({}, "at least one end"),
    ):
        content = small()
        claim = content["claims"][0]
        del claim["against"], claim["margin"]
        claim.update(kind="value", scale="toy", expected={"why": "x", "blind": True, **expected})
        with pytest.raises(BadInputError, match=f"claim 'first', field expected: .*{words}"):
            read(tmp_path, content)


def test_an_expected_value_must_say_at_which_scale_it_holds(tmp_path: Path) -> None:
    content = small()
    claim = content["claims"][0]
    del claim["against"], claim["margin"]
    claim.update(kind="value", expected={"low": 0.1, "why": "x", "blind": True})
    with pytest.raises(BadInputError, match="claim 'first', field scale: Field required"):
        read(tmp_path, content)
    claim["scale"] = "any"
    assert read(tmp_path, content).claim("first").scale == "any"
    content["scales"]["toy"]["d_in"] = 0
    with pytest.raises(BadInputError, match="scale 'toy', field d_in"):
        read(tmp_path, content)


def test_the_papers_printed_values_hold_at_its_own_sizes(ledger: Ledger) -> None:
    values = [c for c in ledger.claims if isinstance(c, Value) and c.by == "paper" and not c.exact]
    assert len(values) > 10
    assert {claim.scale for claim in values} == {"toy", "toy-long", "gemma-12"}


def test_repeated_ids_repeated_fields_and_foreign_files_are_refused(tmp_path: Path) -> None:
    content = small()
    content["claims"].append(content["claims"][0])
    with pytest.raises(BadInputError, match="'first', field id: used more than once"):
        read(tmp_path, content)
    with pytest.raises(BadInputError, match="the field 'by' is given twice"):
        read(tmp_path, yaml.safe_dump(small()).replace("  by: ours", "  by: ours\n  by: paper"))
    with pytest.raises(BadInputError, match="Field required"):
        read(tmp_path, {"claims": []})
    with pytest.raises(BadInputError, match="cannot be read as YAML"):
        read(tmp_path, "claims: [")
    with pytest.raises(BadInputError, match="there is no ledger at"):
        read_ledger(tmp_path / "elsewhere.yml")


def test_an_experiment_before_the_end_names_what_is_read(tmp_path: Path) -> None:
    content = small()
    assert read(tmp_path, content).experiments["early"].at == 0.5
    del content["experiments"]["early"]["metrics"]
    with pytest.raises(BadInputError, match=r"experiment 'early', field .*come together"):
        read(tmp_path, content)


def test_a_ledger_is_made_again_from_its_content(ledger: Ledger) -> None:
    again = ledger_of(ledger.content, metrics=ledger.metrics)
    assert again == ledger
    few = {name: ledger.metrics[name] for name in ("recovery", "explained_variance")}
    with pytest.raises(BadInputError, match="nothing imported declares"):
        ledger_of(ledger.content, metrics=few)
