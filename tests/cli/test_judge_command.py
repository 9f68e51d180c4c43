"""`sanity judge --dry-run`: what a judge may cost, without asking it."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from sanity.cli import app


@pytest.fixture(autouse=True)
def no_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "MODEL", "KEY", "PRICE_PROMPT", "PRICE_ANSWER"):
        monkeypatch.delenv(f"SANITY_JUDGE_{name}", raising=False)


def test_without_an_endpoint_it_says_how_to_name_one() -> None:
    done = CliRunner().invoke(app, ["judge", "--dry-run"])
    assert done.exit_code == 0
    assert re.search(r"^minilm +this machine +21 +200 +0 ", done.stdout, re.M)
    assert "Nothing was asked" in done.stdout
    assert "set SANITY_JUDGE_URL and SANITY_JUDGE_MODEL" in done.stdout


def test_calls_tokens_and_money_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANITY_JUDGE_URL", "https://judge.example/v1")
    monkeypatch.setenv("SANITY_JUDGE_MODEL", "big")
    monkeypatch.setenv("SANITY_JUDGE_PRICE_PROMPT", "2")
    done = CliRunner().invoke(app, ["judge", "--dry-run", "--json", "--price-answer", "10"])
    big, bundled = json.loads(done.stdout)["judges"]
    # 20 latents of 7 arms on 3 seeds: a description and twice ten questions each; and the gate.
    assert big["calls"] == 20 * 21 * (1 + 2 * 10) + 6 * 2 * 4
    assert big["money"] == pytest.approx((2 * big["prompt_tokens"] + 10 * big["answer_tokens"]) / 1e6)
    assert (bundled["kind"], bundled["calls"], bundled["money"]) == ("matcher", 0, 0.0)


def test_a_key_that_would_travel_unencrypted_is_one_line_and_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SANITY_JUDGE_URL", "http://judge.example/v1")
    monkeypatch.setenv("SANITY_JUDGE_KEY", "sk-secret")
    done = CliRunner().invoke(app, ["judge", "--dry-run"])
    assert done.exit_code == 1
    assert "unencrypted to judge.example" in done.stderr
    assert "sk-secret" not in done.output
