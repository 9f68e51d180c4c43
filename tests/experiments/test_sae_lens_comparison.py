"""The comparison with sae-lens is a choice of the profile: asked for, it needs the library."""

from __future__ import annotations

import pytest

from sanity.errors import BadInputError
from sanity.experiments import sae_lens_comparison
from sanity.experiments.planner import plan_grids
from sanity.experiments.plans import Plan
from sanity.profiles import read_profile

PROFILE = """
about: one small world
sources:
  constant: {kind: world, spec: {d_in: 12, n_features: 48, expected_l0: 3.0}, held_out: 512}
grids:
  worlds:
    sources: constant
    architectures: topk
    l0: 3
    d_sae: 48
    arms: [trained, untrained]
    seeds: [0, 1]
    learning_rates: 0.003
    batch_size: 64
    steps: 4
    evals: [reconstruction]
"""
ASKED = "analyses: {sae_lens_comparison: {grids: [worlds]}}"


def planned(text: str) -> Plan:
    return plan_grids(read_profile("small", text))


def installed(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    monkeypatch.setattr(sae_lens_comparison, "sae_lens_version", lambda: version)


@pytest.mark.parametrize("version", ["6.0.0", None])
def test_not_asked_for_plans_nothing_whether_installed_or_not(
    monkeypatch: pytest.MonkeyPatch, version: str | None
) -> None:
    installed(monkeypatch, version)
    assert sae_lens_comparison.cells(planned(PROFILE)) == []


def test_asked_for_plans_a_cell_for_each_sae_of_the_first_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "6.0.0")
    cells = sae_lens_comparison.cells(planned(PROFILE + ASKED))
    assert [cell.config.run.arm.seed for cell in cells] == [0, 0]
    assert {cell.config.sae_lens for cell in cells} == {"6.0.0"}


def test_asked_for_and_not_installed_is_one_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed(monkeypatch, None)
    with pytest.raises(BadInputError, match=r"not installed: install it \(pip install sae-lens\), or"):
        sae_lens_comparison.cells(planned(PROFILE + ASKED))
