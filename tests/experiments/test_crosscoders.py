"""Crosscoders from a profile: hooks of one pass, a random twin, separate SAEs, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from letter_model import LETTERS, save_letter_model

from sanity.data import LayeredSpec
from sanity.engine.cells import Result
from sanity.engine.computing import compute
from sanity.engine.store import LocalStore
from sanity.errors import BadInputError
from sanity.evals import Loss
from sanity.evals.crosscoding import crosscoding_scores
from sanity.evals.drawing import spread_windows
from sanity.evals.scrambles import tied_autoencoder
from sanity.experiments import separate_layers
from sanity.experiments.reading import Reader
from sanity.experiments.separate_layers import joined
from sanity.models import TopK, load_sae
from sanity.profiles import Profile, read_profile
from sanity.sources import Hook, LanguageModelHook, Layers, OneLayer, Pace, Source, World, harvests_of
from sanity.subject import ActivationStore, Subject, harvest

PROFILE = """
about: tiny
sources:
  first: HOOK0
  second: HOOK1
  random: HOOKR
  layers: {kind: layers, hooks: [first, second]}
  shuffled: {kind: shuffled layers, of: layers}
  twin: {kind: layers, hooks: [first, random]}
  twice: {kind: layers, hooks: [first, first]}
  layer 0: {kind: one layer, of: layers}
  layer 1: {kind: one layer, of: layers, index: 1}
  twin 1: {kind: one layer, of: twin, index: 1}
  toy: {kind: layered world, spec: {d_in: 24, n_features: 48, expected_l0: 2.0}, held_out: 1024}
  toy 0: {kind: one layer, of: toy}
  toy 1: {kind: one layer, of: toy, index: 1}
grids:
  crosscoders:
    - sources: layers
      architectures: topk
      l0: 4
      d_sae: 64
      arms: [trained, soft_frozen_blocks, untrained, untrained/cov]
      seeds: 0
      learning_rates: 0.003
      batch_size: 64
      steps: 30
      evals: [reconstruction, crosscoding]
    - {like: crosscoders, sources: [shuffled, twin, twice], arms: trained}
    - {like: crosscoders, sources: toy, arms: [trained, frozen_decoder/truth], l0: 2, d_sae: 48}
  separate:
    - {like: crosscoders, sources: [layer 0, layer 1], arms: trained, evals: reconstruction}
    - {like: crosscoders, sources: [toy 0, toy 1], arms: trained, l0: 2, d_sae: 48, evals: reconstruction}
  losses:
    - {like: crosscoders, sources: layers, arms: [trained, untrained], scored_on: layer 0, evals: loss}
    - {like: crosscoders, sources: layers, arms: [trained, untrained], scored_on: layer 1, evals: loss}
    - {like: crosscoders, sources: twin, arms: trained, scored_on: twin 1, evals: loss}
  losses_separate: {like: crosscoders, sources: layer 1, arms: trained, evals: loss}
evals:
  loss: {tokens: 96, grades: {levels: [0.0, 0.5, 1.0], seeds: [0, 1], size: 64}}
  crosscoding: {grades: {levels: [0.0, 0.5, 1.0], seeds: [0, 1], size: 256}}
"""


ONE = "about: x\nsources:\n  a: {{kind: one layer, of: {}}}\n"
GRID = """
  layers: {kind: layers, hooks: [first, second]}
grids:
  g:
    sources: layers
    architectures: topk
    l0: 4
    d_sae: 64
    learning_rates: 0.003
    batch_size: 64
    steps: 3
    evals: crosscoding
"""


def hook(model: Path, text: Path, at: int, **more: object) -> str:
    entry = {
        "kind": "hook", "subject": str(model), "hook": f"blocks.{at}.hook_resid_post", "d_model": 32,
        "context": 16, "text": str(text), "train_tokens": 1600, "held_out_tokens": 480, "shard_tokens": 400,
    }  # fmt: skip
    return json.dumps(entry | more)


@pytest.fixture(scope="module")
def profile(letters_and_text: tuple[Path, Path]) -> Profile:
    made = PROFILE
    for name, entry in {"0": {"at": 0}, "1": {"at": 1}, "R": {"at": 0, "random_weights": True}}.items():
        made = made.replace(f"HOOK{name}", hook(*letters_and_text, **entry))  # type: ignore[arg-type]
    return read_profile("tiny", made)


@pytest.fixture(scope="module")
def reader(profile: Profile, store: LocalStore) -> Reader:
    reader = Reader(profile, store)
    compute([*reader.plan.cells, *separate_layers.cells(reader.plan)], store)
    return reader


def opened_inputs(reader: Reader, place: str) -> tuple[Source, dict[str, Result]]:
    """A source of the profile, and what it needs to be opened."""
    run = next(run for run in reader.plan.runs if run.place == place)
    names, cells = zip(*run.trained.inputs, strict=True)
    return run.run.source, dict(zip(names, reader.results(cells), strict=True))


def test_hooks_of_a_model_are_read_in_one_call_and_those_of_its_twin_in_another(profile: Profile) -> None:
    cells = [
        cell
        for name in ("layers", "twin")
        for cell in profile.source_named(name).cells("cpu", Pace()).values()
    ]
    companies = {cell.key: cell.company for cell in cells}
    assert len(companies) == 6
    assert len(set(companies.values())) == 2
    paid = profile.source_named("layers").cells("cpu", Pace())
    assert paid["0.train"].cost.seconds < paid["1.train"].cost.seconds, "the deeper hook's pass reads both"


def test_a_call_that_was_broken_off_goes_on_and_leaves_the_same_files(
    profile: Profile, reader: Reader, store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells, here = list(profile.source_named("layers").cells("cpu", Pace()).values()), LocalStore(tmp_path)
    loads: list[str] = []
    load, texts = LanguageModelHook.load, iter((harvest, None, harvest, harvest))

    def counted(self: LanguageModelHook, device: str) -> Subject:
        loads.append(self.hook)
        return load(self, device)

    def broken(*given: Any, **named: Any) -> ActivationStore:
        if (reading := next(texts)) is None:
            raise BadInputError("broken off")
        return reading(*given, **named)

    monkeypatch.setattr(LanguageModelHook, "load", counted)
    monkeypatch.setattr("sanity.sources.hook_reading.harvest", broken)
    with pytest.raises(BadInputError, match="broken off"):
        compute(cells, here)
    assert here.list() == []
    kept = {path.stat().st_ino for path in tmp_path.rglob("shard-*.safetensors")}
    compute(cells, here)
    assert len(loads) == 2, "once for all hooks and texts of a call"
    assert kept
    assert kept <= {path.stat().st_ino for path in (tmp_path / "results").rglob("shard-*.safetensors")}
    for cell in cells:
        one, other = here.get(cell.key), store.get(cell.key)
        assert one is not None
        assert other is not None
        assert one.files == other.files


@pytest.mark.parametrize(("grid", "layer"), [("losses", 0), ("losses", 1), ("losses_separate", 1)])
def test_losses_are_those_of_the_model_with_one_layer_reconstructed(
    reader: Reader, grid: str, layer: int
) -> None:
    """Against the model edited by hand, at every held-out window that the eval drew."""
    planned = next(
        run
        for run in reader.plan.runs
        if (run.grid, run.place, run.run.arm.constraint.name) == (grid, f"layer {layer}", "trained")
    )
    (result, kept), source = reader.results([planned.scored["loss"], planned.trained]), planned.scored_on
    assert isinstance(source, OneLayer)
    assert isinstance(source.of, Layers)
    inputs = dict(
        zip(
            (n for n, _ in planned.trained.inputs),
            reader.results([c for _, c in planned.trained.inputs]),
            strict=True,
        )
    )
    stores = [harvests_of(some) for some in source.of.inputs_by_hook(inputs)]
    hooks = [one.at.hook for one in source.of.hooks]
    sae, model = load_sae(kept.folder("sae")), source.of.hooks[0].at.load("cpu")
    tokens, _ = spread_windows(stores[0][1], 96, among=source.of.hooks[layer].scored(stores[0][1]))
    scaled = [
        (model.residual(tokens, hook) - store.mean) * store.factor
        for hook, (store, _) in zip(hooks, stores, strict=True)
    ]
    own = [scaled[layer]] if grid == "losses_separate" else scaled
    made = torch.split(sae.reconstruct(torch.cat(own, -1).flatten(0, 1)), 32, dim=1)
    store = stores[layer][0]
    put = (made[layer if len(own) > 1 else 0] / store.factor + store.mean).view_as(scaled[0])

    def edit(found: torch.Tensor) -> torch.Tensor:
        return torch.cat([found[:, :1], put[:, 1:]], dim=1)

    logits = model.logits_with(tokens, hooks[layer], edit)[:, 1:-1]
    wanted = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 2:].flatten().long())
    scores = result.table("scores").set_index("metric")
    assert float(scores.loc["cross_entropy", "value"]) == pytest.approx(float(wanted), rel=1e-5)
    assert int(scores.loc["cross_entropy", "d_in"]) == 32


def test_losses_by_layer_have_rows_and_gates_of_their_own(reader: Reader) -> None:
    found = reader.scores("losses")
    by_layer = found[found["metric"] == "kl_divergence"].set_index(["world_or_hook", "constraint"])["floor"]
    assert set(by_layer.index.get_level_values(0)) == {"layer 0", "layer 1", "twin 1"}
    assert by_layer["layer 0", "trained"] == by_layer["layer 0", "untrained"]
    assert by_layer["layer 0", "trained"] != by_layer["layer 1", "trained"]
    graded = reader.graded()
    mine = graded[(graded["eval"] == "loss") & (graded["metric"] == "kl_recovered")]
    assert set(mine["place"]) == {"layer 0", "layer 1"}  # a random twin is a control
    assert mine[mine["level"] == 0]["value"].to_numpy() == pytest.approx(1.0, abs=1e-4)
    assert mine[mine["level"] == 1]["value"].to_numpy() == pytest.approx(0.0, abs=1e-4)
    assert "one at a time" in Loss().why_not(reader.plan.profile.source_named("layers"))
    assert "no language model" in Loss().why_not(World())


def test_layers_are_the_same_tokens_side_by_side(reader: Reader) -> None:
    source, inputs = opened_inputs(reader, "layers")
    assert isinstance(source, Layers)
    opened = source.open(inputs, batch_size=64, seed=3, device="cpu")
    for i, one in enumerate(source.hooks):
        alone = one.open(
            {n.removeprefix(f"{i}."): r for n, r in inputs.items() if n[0] == str(i)},
            batch_size=64, seed=3, device="cpu",
        )  # fmt: skip
        columns = slice(32 * i, 32 * (i + 1))
        assert torch.equal(opened.stream.batch(7)[:, columns], alone.stream.batch(7))
        assert torch.equal(opened.sample[:, columns], alone.sample)
        assert torch.equal(torch.cat(list(opened.batches()))[:, columns], torch.cat(list(alone.batches())))
        assert torch.allclose(
            opened.stream.covariance()[columns, columns], alone.stream.covariance(), atol=0.1
        )
    narrow = OneLayer(source, 1).open(inputs, batch_size=64, seed=3, device="cpu")
    assert torch.equal(narrow.stream.batch(2), opened.stream.batch(2)[:, 32:])


def test_every_crosscoder_is_scored_and_controls_are_not_graded(reader: Reader) -> None:
    scores = reader.scores("crosscoders")
    assert scores.groupby(["world_or_hook", "constraint", "init", "metric"]).size().eq(1).all()
    by = scores.set_index(["metric", "world_or_hook", "constraint", "init"])["value"]
    assert by["balanced_latents", "layers", "untrained", "iso"] > 0.9
    assert by["exclusive_latents", "twice", "trained", "iso"] == 0
    assert by["exclusive_latents", "toy", "frozen_decoder", "truth"] > 0.2
    assert [one.place for one in reader.plan.graded if one.eval == "crosscoding"] == ["toy"]
    latents = reader.table("latents", "crosscoders", evals=["crosscoding"])
    assert set(latents.loc[latents["world_or_hook"] == "toy", "feature_layer"]) <= {-1, 0, 1}


def test_separate_saes_are_paired_and_scored_like_crosscoders(reader: Reader) -> None:
    asked = separate_layers.scored(reader.plan)
    assert {(name, place) for name, place, _ in asked} == {
        (f"separate_layers_{by}", place) for by in ("cosine", "activations") for place in ("layers", "toy")
    }
    for _, _, cell in asked:
        (found,) = reader.results([cell])
        assert found.table("scores")["seed"].eq(0).all()


def test_pairing_finds_the_partner_by_activations_where_directions_do_not_tell() -> None:
    """Two true dictionaries in bases of their own, one in another order: what they do says who is who."""
    source = World(LayeredSpec(d_in=48, n_features=40, expected_l0=2.0, exclusive=0.0), held_out=4096)
    opened = source.open({}, batch_size=256, seed=0, device="cpu")
    assert opened.truth is not None
    halves = opened.truth.world.features.split(24, 1)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    x = opened.calibration
    parts = x.split(24, 1)
    saes = [
        tied_autoencoder(torch.nn.functional.normalize(W, dim=1), TopK(2), part.contiguous())
        for W, part in ((halves[0], parts[0]), (halves[1][order], parts[1]))
    ]
    made = {by: joined(saes, x, by=by, seed=0) for by in ("cosine", "activations")}
    features = opened.truth.world.features
    assert torch.allclose(made["activations"].W_dec, features, atol=1e-5)
    assert torch.allclose(made["cosine"].W_dec.norm(dim=1), torch.ones(40), atol=1e-5)
    ev = {
        by: crosscoding_scores(sae, lambda: [opened.sample], (24, 24))[0][0].value for by, sae in made.items()
    }
    assert ev["activations"] > ev["cosine"] + 0.2


def test_other_widths_get_equal_shares(letters_and_text: tuple[Path, Path], tmp_path: Path) -> None:
    wide = save_letter_model(tmp_path / "wide", "gpt2", n_embd=48)
    text = letters_and_text[1]
    made = _layers(hook(letters_and_text[0], text, 0), hook(wide, text, 0, d_model=48))
    reader = Reader(read_profile("wide", made), LocalStore(tmp_path / "store"))
    assert "layer_cosine" not in set(reader.scores("g")["metric"])
    source, inputs = opened_inputs(reader, "layers")
    x = source.open(inputs, batch_size=1024, seed=0, device="cpu").stream.batch(0)
    assert source.blocks == (32, 48)
    assert float(x[:, :32].square().sum(1).mean()) == pytest.approx(40, rel=0.1)
    assert float(x[:, 32:].square().sum(1).mean()) == pytest.approx(40, rel=0.1)


def test_layers_that_do_not_belong_together_are_refused(
    letters_and_text: tuple[Path, Path], tmp_path: Path, profile: Profile
) -> None:
    first = profile.source_named("first")
    assert isinstance(first, Hook)
    with pytest.raises(BadInputError, match="two hooks or more"):
        Layers((first,))
    other = hook(*letters_and_text, at=1, train_tokens=800)
    with pytest.raises(BadInputError, match="in train_tokens"):
        read_profile("t", _layers(hook(*letters_and_text, at=0), other)).source_named("layers")
    with pytest.raises(BadInputError, match="is none"):
        read_profile("t", _layers(hook(*letters_and_text, at=0), "{kind: world}")).source_named("layers")
    with pytest.raises(BadInputError, match="made of each other"):
        read_profile(
            "t",
            "about: x\nsources: {a: {kind: one layer, of: b}, b: {kind: shuffled layers, of: a}}\ngrids: {}",
        )
    with pytest.raises(BadInputError, match="no source"):
        read_profile("t", ONE.format("c") + "grids: {}")
    spelled_otherwise = save_letter_model(tmp_path / "other", letters="<" + LETTERS[:0:-1])
    made = _layers(hook(*letters_and_text, at=0), hook(spelled_otherwise, letters_and_text[1], 0))
    with pytest.raises(BadInputError, match="share a tokenizer"):
        Reader(read_profile("t", made), LocalStore(tmp_path / "store")).scores("g")


def _layers(first: str, second: str) -> str:
    return f"about: x\nsources:\n  first: {first}\n  second: {second}{GRID}"
