"""What a slider and the quiz are made from: values by step, pairs by seed, and no HTML of anybody else's."""

from __future__ import annotations

import json
import re
from typing import Any

import pandas as pd
import pytest

from sanity.errors import BadInputError
from sanity.publishing.quiz import points_on_all, questions_of
from sanity.publishing.widgets import quiz_html, slider_html

HOSTILE = "</script><script>alert(1)</script>"


def data_of(html: str) -> Any:
    (found,) = re.findall(r'<script type="application/json">(.*?)</script>', html)
    return json.loads(found)


def test_a_slider_has_every_value_at_its_step_and_row() -> None:
    table = pd.DataFrame(
        {"tau": [0.8, 0.8, -1.0], "arm": ["a", HOSTILE, "a"], "ev": [0.25, 1 / 3, float("nan")], "word": "x"}
    )
    html = slider_html(
        table, along="tau", rows="arm", shown={"ev": "EV", "word": HOSTILE}, caption=HOSTILE, start=0.7
    )
    found = data_of(html)
    assert found["steps"] == ["-1.0", "0.8"]
    assert found["rows"] == ["a", HOSTILE]
    assert found["values"] == [[[None, "x"], [None, None]], [[0.25, "x"], [0.3333, "x"]]]
    assert 'value="1"' in html
    assert html.count("<script") == 1


def test_two_values_for_one_place_are_refused() -> None:
    table = pd.DataFrame({"tau": [0.8, 0.8], "arm": ["a", "a"], "ev": [0.1, 0.2]})
    with pytest.raises(BadInputError, match=r"one row for each tau and arm; 0\.8 and a is"):
        slider_html(table, along="tau", rows="arm", shown={"ev": "EV"}, caption="c")


def contexts(arm: str, seed: int, latents: list[int]) -> pd.DataFrame:
    rows = [
        {"arm": arm, "seed": seed, "latent": latent, "window": w, "document": 0, "source": "s",
         "pieces": [f"{arm}-{latent}", HOSTILE], "activations": [1.0 + w, 0.0]}
        for latent in latents
        for w in range(2)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def examples() -> pd.DataFrame:
    arms = [
        contexts(arm, seed, [5 + seed, 9]) for arm in ("trained", "frozen", "untrained") for seed in (1, 2)
    ]
    return pd.concat(arms, ignore_index=True)


@pytest.fixture
def latents(examples: pd.DataFrame) -> pd.DataFrame:
    scores = {"trained": 0.8, "frozen": 0.6, "untrained": 0.8}
    found = examples[["arm", "seed", "latent"]].drop_duplicates()
    return found.assign(score=found["arm"].map(scores))


def test_pairs_are_of_one_seed_and_one_place_in_the_draw(
    examples: pd.DataFrame, latents: pd.DataFrame
) -> None:
    asked = questions_of(examples, latents, others=["frozen", "untrained"], each=3, seed=0)
    assert sorted(one.other for one in asked) == ["frozen"] * 3 + ["untrained"] * 3
    for one in asked:
        own, against = (one.first, one.second) if one.trained_is_first else (one.second, one.first)
        (number,) = set(re.findall(r"trained-(\d+)", own))
        assert set(re.findall(rf"{one.other}-(\d+)", against)) == {number}
        assert "<script" not in own
        assert "title=" not in own  # activations would tell arms apart
        assert one.judge == (1.0 if one.other == "frozen" else 0.5)
    # One latent of every seed comes before the second of any.
    frozen = {
        m
        for one in asked
        if one.other == "frozen"
        for m in re.findall(r"frozen-(\d+)", one.first + one.second)
    }
    assert {"6", "7", "9"} == frozen
    assert {one.trained_is_first for one in asked} == {True, False}
    assert asked == questions_of(examples, latents, others=["frozen", "untrained"], each=3, seed=0)


def test_the_judge_is_asked_about_every_pair(latents: pd.DataFrame) -> None:
    assert sorted(points_on_all(latents, ["frozen", "untrained", "absent"])) == [0.5] * 4 + [1.0] * 4


def test_the_quiz_holds_its_key_as_data(examples: pd.DataFrame, latents: pd.DataFrame) -> None:
    asked = questions_of(examples, latents, others=["frozen"], each=2, seed=1)
    html = quiz_html(asked, caption=HOSTILE, judge=HOSTILE, all_pairs=[1.0])
    assert [one["trained"] for one in data_of(html)["key"]] == [
        "A" if q.trained_is_first else "B" for q in asked
    ]
    assert html.count("<script") == 1
