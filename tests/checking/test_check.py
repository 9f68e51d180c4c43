"""A check as a grid: what it plans, what it finds, what it refuses, and that it goes on where it was."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from checked_saes import HOOK
from scipy import stats

import sanity
from sanity.checking.arms import PermutedDecoder, RandomLatents, RotatedDecoder
from sanity.checking.check import Check, planned
from sanity.checking.loading import given_of, load_given
from sanity.checking.report import Report
from sanity.checking.request import SIZES, Request
from sanity.engine.store import LocalStore, missing
from sanity.errors import BadInputError
from sanity.evals.reconstruction import firing_frequency
from sanity.models import Autoencoder, TopK
from sanity.sources import Hook, Pace

EVALS = ("reconstruction", "loss")
NULLS = ("frozen_decoder", "untrained", "permuted_decoder", "rotated_decoder", "random_latents")


def request(text: Path, **more: Any) -> Request:
    fields = {"baselines": NULLS, "evals": EVALS, "seeds": 2, "tokens": 2048, "text": (str(text),)}
    return Request(**{**fields, **more})


def means_of(report: Report) -> Any:
    """The given SAE's scores by metric."""
    return report.scores.query("arm == 'given SAE'").groupby("metric")["value"].mean()


@pytest.fixture(scope="module")
def report(folders: list[Path], text: Path, store: LocalStore) -> Report:
    return Check([load_given(folders[0])], request(text), store=store).run()


def test_a_trained_sae_beats_what_is_wrong_on_purpose(report: Report) -> None:
    compared = report.comparisons[report.comparisons["metric"] == "explained_variance"].set_index("null")
    assert set(compared.index) == {
        "frozen decoder", "untrained", "permuted decoder", "rotated decoder",
        "random latents of its frequencies",
    }  # fmt: skip
    assert (compared["lead"] > 0).all()
    assert (compared.loc[["permuted decoder", "rotated decoder"], "null_mean"] < 0).all()
    assert (compared["rank"] == 1).all()
    assert (compared["of"] == 3).all()
    assert compared["test"].str.contains("prediction interval").all()
    summary = report.summary.set_index("metric")
    assert summary.loc["explained_variance", "beaten"] >= 3
    assert summary.loc["explained_variance", "nulls"] == 5


def test_all_arms_have_one_l0_and_the_given_one_is_scored_once_per_seed(report: Report) -> None:
    l0 = report.scores[report.scores["metric"] == "l0"].set_index("arm")["value"]
    assert l0["given SAE"].to_numpy() == pytest.approx(4.0)
    assert l0.drop("random latents of its frequencies").to_numpy() == pytest.approx(4.0, rel=0.05)
    # Their frequencies are those on the text that nulls train on.
    assert l0["random latents of its frequencies"].to_numpy() == pytest.approx(4.0, rel=0.2)
    assert list(report.scores.loc[report.scores["arm"] == "given SAE", "seed"].unique()) == [0, 1]


def test_what_was_checked_is_said(report: Report, folders: list[Path]) -> None:
    facts = report.facts
    assert facts["saes"][0]["fit"]["scale"] == "raw"
    assert facts["architecture"] == "topk-4"
    assert any("one seed" in item for item in facts["not_matched"])
    assert str(folders[0]) in facts["command"].replace("'", "")
    assert "--tokens 2048" in facts["command"]
    assert report.answer.startswith(folders[0].name)


def test_it_is_kept_and_read_again(report: Report, tmp_path: Path) -> None:
    again = Report.load(report.save(tmp_path / "out"))
    assert again.answer == report.answer
    assert again.to_json() == report.to_json()
    with pytest.raises(BadInputError, match="no report"):
        Report.load(tmp_path)


def test_the_same_check_computes_nothing(
    report: Report, folders: list[Path], text: Path, store: LocalStore
) -> None:
    again = Check([load_given(folders[0])], request(text), store=store)
    assert planned(again)["missing"] == 0
    assert again.run().answer == report.answer


@pytest.mark.parametrize("seeds", [2, 3])
def test_several_saes_pair_with_nulls_made_of_them_and_with_no_other(
    folders: list[Path], text: Path, store: LocalStore, seeds: int
) -> None:
    """Whatever the number of the nulls' seeds: it is theirs alone."""
    nulls = ("untrained", "permuted_decoder")
    asked = request(text, baselines=nulls, evals=("reconstruction",), seeds=seeds)
    found = Check([load_given(folder) for folder in folders], asked, store=store).run()
    compared = found.comparisons.set_index(["metric", "null"]).loc["explained_variance"]
    assert [test.split()[0] for test in compared["test"]] == ["unpaired", "paired"]
    assert (compared["verdict"] == "trained better").all()
    assert list(compared["n_seeds"]) == [min(3, seeds), 3]
    ours, theirs = (
        found.scores.query("arm == @arm and metric == 'explained_variance'")["value"]
        for arm in ("given SAE", "untrained")
    )
    assert (len(ours), len(theirs)) == (3, seeds)
    known = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    assert tuple(compared.loc["untrained", ["low", "high"]]) == pytest.approx(tuple(known))


def test_nulls_on_request_are_scored_and_an_ordinary_sae_is_no_null(
    folders: list[Path], text: Path, store: LocalStore
) -> None:
    """An SAE of the same little training, one that is trained on noise, and one on a random model."""
    asked = request(text, baselines=("trained", "noise", "random_model"), seeds=1)
    found = Check([load_given(folders[0])], asked, store=store).run()
    values = found.scores.pivot_table(index="arm", columns="metric", values="value")
    assert len(values) == 4
    assert values["l0"].to_numpy() == pytest.approx(4.0)
    ordinary, noise, other = (
        values.filter(like=word, axis=0).iloc[0] for word in ("as long", "noise", "random model")
    )
    explained = [arm["explained_variance"] for arm in (ordinary, noise, other)]
    assert len(set(explained)) == 3
    assert min(explained) > 0.2
    assert abs(other["cross_entropy"] - ordinary["cross_entropy"]) > 0.02
    assert set(found.comparisons["null"]) == set(values.index) - {"given SAE"}
    assert set(found.summary["nulls"]) == {2}
    assert any("random model" in item for item in found.facts["not_matched"])


def test_an_sae_of_ours_is_recognised_in_the_scale_that_it_takes(
    trained: list[Autoencoder], model: Path, text: Path, source: Hook, store: LocalStore
) -> None:
    """Raw, as folded; and centred, as the arms of a grid are."""
    asked = request(text, baselines=("untrained",), evals=("reconstruction",))
    cells = source.cells("cpu", Pace())
    opened = source.open(
        {name: store.get(cell.key) for name, cell in cells.items()},
        batch_size=64,
        seed=0,
        device="cpu",  # type: ignore[misc]
    )
    assert opened.kept is not None
    unfolded = trained[0].fold_normalisation(-opened.kept.mean * opened.kept.factor, 1 / opened.kept.factor)
    values = []
    for sae, scale in ((trained[0], "raw"), (unfolded, "centred")):
        found = Check([given_of(sae)], asked, str(model), HOOK, store).run()
        assert found.facts["saes"][0]["fit"]["scale"] == scale
        values.append(
            found.scores.query("arm == 'given SAE' and metric == 'explained_variance'")["value"].iloc[0]
        )
    assert values[0] == pytest.approx(values[1], abs=1e-4)


class Any_SAE:
    """Nobody's class."""

    def __init__(self, sae: Autoencoder) -> None:
        self.inner, self.W_dec = sae, sae.W_dec

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner.encode(x)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return self.inner.decode(z)


def test_any_object_gives_the_same_as_its_folder(
    report: Report, trained: list[Autoencoder], model: Path, text: Path, store: LocalStore
) -> None:
    found = sanity.check(
        Any_SAE(trained[0]), str(model), HOOK, text=(str(text),), baselines=NULLS, evals=EVALS, seeds=2,
        tokens=2048, store=store,
    )  # fmt: skip
    mean = [
        one.scores.query("arm == 'given SAE'").groupby("metric")["value"].mean() for one in (found, report)
    ]
    # Where mean ablation costs a language model nothing, there is no share of it to be recovered.
    measured = mean[1].index.intersection(["explained_variance", "l0", "ce_recovered", "kl_recovered"])
    assert len(measured) >= 3
    for metric in measured:
        assert mean[0][metric] == pytest.approx(mean[1][metric], abs=1e-4)
    assert "permuted decoder" not in set(found.scores["arm"])
    assert any("permuted_decoder" in item for item in found.facts["not_matched"])


def test_nulls_without_training_are_what_they_say(
    trained: list[Autoencoder], source: Hook, store: LocalStore
) -> None:
    cells = source.cells("cpu", Pace())
    inputs = {name: store.get(cell.key) for name, cell in cells.items()}
    opened = source.open(inputs, batch_size=512, seed=0, device="cpu")  # type: ignore[arg-type]
    assert opened.kept is not None
    given = trained[0].fold_normalisation(-opened.kept.mean * opened.kept.factor, 1 / opened.kept.factor)
    longer = dataclasses.replace(given, W_dec=given.W_dec * torch.linspace(0.5, 2, 64)[:, None])
    x = opened.sample
    turned = RotatedDecoder().made(longer, opened, 0)
    assert torch.allclose(turned.W_dec.norm(dim=1), longer.W_dec.norm(dim=1))
    assert torch.equal(PermutedDecoder().made(given, opened, 1).encode(x), given.encode(x))
    random = RandomLatents().made(given, opened, 0)
    train_rows = torch.cat([opened.stream.batch(i) for i in range(16)])
    ours, theirs = (firing_frequency(sae, [train_rows]) for sae in (given, random))
    assert torch.allclose(ours, theirs, atol=2 / 512)
    assert not torch.equal(random.W_dec, RandomLatents().made(given, opened, 1).W_dec)


# -------------------------------------------------------------------------------------------- what is refused


def test_an_sae_of_other_activations_is_refused_and_not_called_beaten(
    shifted: Autoencoder, model: Path, text: Path, store: LocalStore
) -> None:
    with pytest.raises(BadInputError, match=r"does not fit.*nor does it fit another hook"):
        Check([given_of(shifted)], request(text), str(model), HOOK, store).run()


def test_an_sae_at_another_hook_is_told_where_it_fits(
    trained: list[Autoencoder], model: Path, text: Path, store: LocalStore
) -> None:
    """Raw activations differ in scale and place from hook to hook, so that it fits its own alone."""
    asked = request(text, baselines=("untrained",), evals=("reconstruction",), scale="raw")
    with pytest.raises(BadInputError, match=rf"0\.\d\d at {HOOK}"):
        Check([given_of(trained[0])], asked, str(model), "blocks.0.hook_resid_pre", store).run()


def test_dead_latents_wrong_hooks_and_odd_ones_are_refused(
    trained: list[Autoencoder], model: Path, text: Path, store: LocalStore
) -> None:
    dead = dataclasses.replace(trained[0], b_enc=trained[0].b_enc - 1e6)
    with pytest.raises(BadInputError, match="dead"):
        Check([given_of(dead)], request(text), str(model), HOOK, store).run()
    with pytest.raises(BadInputError, match="residual stream"):
        Check([given_of(trained[0])], request(text), str(model), "blocks.1.attn.hook_z", store)
    with pytest.raises(BadInputError, match="no hook"):
        Check([given_of(trained[0])], request(text), str(model), "blocks.9.hook_resid_post", store)
    with pytest.raises(BadInputError, match="--model"):
        Check([given_of(trained[0])], request(text), store=store)
    with pytest.raises(BadInputError, match="twice"):
        Check([given_of(trained[0])] * 2, request(text), str(model), HOOK, store)
    wide = Autoencoder(torch.randn(40, 50), torch.randn(50, 40), torch.zeros(50), torch.zeros(40), TopK(2))
    with pytest.raises(BadInputError, match="40 wide, and the residual stream"):
        Check([given_of(wide)], request(text), str(model), HOOK, store)


def test_a_text_that_is_too_short_and_odd_requests_are_refused(
    folders: list[Path], text: Path, store: LocalStore
) -> None:
    with pytest.raises(BadInputError, match="were asked for"):
        Check([load_given(folders[0])], request(text, tokens=10**7), store=store).run()
    for fields, keyword in (
        ({"baselines": ("permuted_decoder",), "evals": ("sparse_probing",)}, "latents alone"),
        ({"baselines": ("frozen_everything",)}, "frozen_everything"), ({"evals": ("guessing",)}, "guessing"),
        ({"baselines": ("trained", "trained/cov")}, "no null"),
        ({"seeds": 0}, "at least one"), ({"tokens": 5}, "too few"), ({"minutes": 3.0}, "not both"),
        ({"tokens": None, "minutes": -1.0}, "more than 0"),
    ):  # fmt: skip
        with pytest.raises(BadInputError, match=keyword):
            request(text, **fields)


def test_minutes_make_a_smaller_check_and_are_told(
    folders: list[Path], text: Path, store: LocalStore, caplog: pytest.LogCaptureFixture
) -> None:
    sizes = []
    for minutes in (1e-4, 0.25, 1e6):
        check = Check([load_given(folders[0])], request(text, tokens=None, minutes=minutes), store=store)
        check.__dict__["pace"] = Pace()
        sizes.append(check.size)
    assert sizes[0] == SIZES[-1]
    assert sizes[2] == SIZES[0]
    assert [size.tokens for size in sizes] == sorted(size.tokens for size in sizes)


def test_what_was_computed_before_a_kill_is_kept(
    folders: list[Path], text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second cell fails: each attempt goes on where the one before ended."""
    from sanity.engine.cells import CellFunction

    own = LocalStore(tmp_path / "results")
    asked = request(text, baselines=("untrained",), evals=("reconstruction",))
    run, calls = CellFunction.__getattribute__, []

    def sometimes(self: Any, name: str) -> Any:
        if name == "run":
            calls.append(name)
            if len(calls) % 2 == 0:
                raise KeyboardInterrupt
        return run(self, name)

    monkeypatch.setattr(CellFunction, "__getattribute__", sometimes)
    left = []
    for _ in range(20):
        check = Check([load_given(folders[1])], asked, store=own)
        try:
            check.run()
        except KeyboardInterrupt:
            left.append(len(missing(check.cells, own)))
        else:
            break
    assert len(left) >= 3
    assert left == sorted(left, reverse=True)
    assert left[-1] < left[0]
