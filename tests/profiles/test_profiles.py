"""Profiles: they load, they refuse what they cannot use, and quick keeps within half an hour."""

from __future__ import annotations

import functools
import itertools
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from sanity import assets, profiles
from sanity.claims.schema import ArmOf, Comparison
from sanity.engine.cells import Cell, in_order
from sanity.engine.computing import _calls, total_cost
from sanity.engine.config import digest
from sanity.errors import BadInputError
from sanity.experiments import plan
from sanity.experiments.planner import plan_grids
from sanity.experiments.verdicts import book_ledger
from sanity.profiles.grids import inherited


@functools.cache
def planned(name: str) -> list[Cell]:
    """A profile's cells: thousands at the larger scales, so listed once."""
    return plan(profiles.load(name))


def test_all_load_and_are_named_from_small_to_large() -> None:
    assert profiles.names() == [
        "demo",
        "smoke",
        "quick",
        "calibration",
        "controls",
        "synthetic",
        "overnight",
        "card",
        "gpu",
        "paper",
    ]
    for name in profiles.names():
        assert profiles.load(name).name == name


def test_the_papers_scale_is_the_papers() -> None:
    paper = profiles.load("paper")
    blocks = paper.grids["real_activations"]
    subjects = [
        (paper.sources[source].subject, d_sae)
        for block in blocks
        for source, d_sae in itertools.product(block.sources, block.d_sae)
    ]
    assert subjects == [("gemma-2-2b", 73728), ("gemma-2-2b", 73728), ("llama-3-8b", 131072)]
    assert all(block.steps * block.batch_size == pytest.approx(5e8, rel=1e-4) for block in blocks)
    compared = [*blocks, *paper.grids["real_activations_sweep"]]
    swept = {l0 for block in compared if "batchtopk" in block.architectures for l0 in block.l0}
    assert swept == {80, 115, 160, 225, 320}
    worlds = [paper.source_named(name) for name in paper.grid("synthetic_recovery").sources]
    assert [(world.spec.d_in, world.spec.n_features, world.spec.expected_l0) for world in worlds] == [
        (100, 3200, 20.0)
    ] * 2


def test_quick_has_the_seven_arms_on_three_seeds() -> None:
    profile = profiles.load("quick")
    grid = profile.grid("real_activations")
    assert (grid.architectures, grid.d_sae) == (("topk",), (2304,))
    assert (len(grid.seeds), len(grid.arms)) == (3, 7)
    rates = {*grid.learning_rates, *profile.grid("real_activations_rates").learning_rates}
    assert len(rates) == 2


@pytest.mark.parametrize("name", ["smoke", "quick"])
def test_no_two_references_share_a_gate(name: str) -> None:
    graded = [(one.eval, one.place, one.source.subject) for one in plan_grids(profiles.load(name)).graded]
    assert {one for one in graded if graded.count(one) > 1} == set()


@pytest.mark.parametrize("name", ["smoke", "quick"])
def test_the_readme_says_what_a_profile_is_planned_to_take(repository: Path, name: str) -> None:
    rows = (repository / "README.md").read_text(encoding="utf-8").splitlines()
    (row,) = (row for row in rows if row.startswith("| `make reproduce") and name in row)
    said = re.search(r"(\d+) minutes as planned, ([0-9.]+) GB of disk", row)
    assert said, row
    cost = total_cost(planned(name))
    assert cost.seconds / 60 == pytest.approx(float(said[1]), rel=0.1)
    assert cost.disk_bytes / 1e9 == pytest.approx(float(said[2]), rel=0.1)


def test_the_readme_leads_to_chapters_that_are_there(repository: Path) -> None:
    """Not to all: a new one needs its notebook, a line of `_toc.yml` and its claims, and no more."""
    named = set(re.findall(r"\(book/(\w+\.py)\)", (repository / "README.md").read_text(encoding="utf-8")))
    assert "anatomy.py" in named
    assert named <= {chapter.name for chapter in (repository / "book").glob("*.py")}


def test_pilot_seeds_are_the_ledgers_and_are_never_judged(repository: Path) -> None:
    pilots = book_ledger(repository / "book" / "claims.yml").pilot_seeds
    for name in profiles.names():
        profile = profiles.load(name)
        pilot_grids = [grid for grid in profile.grids if grid.endswith("_pilots")]
        piloted = {s for grid in pilot_grids for block in profile.grids[grid] for s in block.seeds}
        judged = {
            seed
            for grid, blocks in profile.grids.items()
            if grid not in pilot_grids
            for block in blocks
            for seed in block.seeds
        }
        assert piloted <= pilots
        assert not judged & pilots
        usual = [size for block in profile.grids.get("real_activations", ()) for size in block.d_sae]
        widths = profile.grids.get("real_activations_widths", ())
        assert all(not set(block.d_sae) & set(usual) for block in widths)


def test_demo_shows_any_chapter_in_about_a_minute() -> None:
    grids = plan_grids(profiles.load("demo"))
    for grid in profiles.load("demo").grids:
        cells = [cell for run in grids.grid(grid) for cell in (run.trained, *run.scored.values())]
        assert total_cost(in_order(cells)).seconds <= 80, grid


def test_overnight_runs_the_nulls_and_asks_no_gate_of_a_random_transformer() -> None:
    nulls = plan_grids(profiles.load("overnight"))
    probed = {run.trained.key for run in nulls.grid("sparse_probing")}
    random, noise = nulls.grid("random_transformer"), nulls.grid("trained_on_noise")
    assert {run.run.arm.seed for run in random} == {run.run.arm.seed for run in noise} == {0, 1, 2}
    for run in (*random, *noise, *nulls.grid("latents_over_tau")):
        assert {"interpretability", "sparse_probing"} <= run.scored.keys()
        assert run.trained.key not in probed or run.run.arm.seed == 0
    assert {run.run.columns()["subject"] for run in random} == {"smollm2-135m with random weights"}
    assert all(run.scored_on == random[0].run.source for run in random)
    assert all(run.scored_on != run.run.source and run.run.columns()["trained_on_noise"] for run in noise)
    assert not any(one.source.is_control for one in nulls.graded)
    arms = {run.run.arm.constraint.spelled for run in nulls.grid("interpretability")}
    assert {"frozen_both", "untrained"} <= arms


def test_quick_is_planned_for_about_half_an_hour() -> None:
    assert total_cost(planned("quick")).seconds <= 28 * 60


def test_card_needs_no_hub_and_asks_all_that_quick_asks() -> None:
    cells = planned("card")
    needed = set().union(*(assets.needed(cell.config) for cell in cells))
    assert needed
    assert all(assets.asset(name).default for name in needed)
    evals = {
        name: {type(c.config.eval) for c in planned(name) if hasattr(c.config, "eval")}
        for name in ("card", "quick")
    }
    assert evals["card"] == evals["quick"]
    arms = [c.config.arm for c in cells if hasattr(c.config, "arm") and c.config.arm.d_sae == 16384]
    assert {arm.architecture.name for arm in arms} == {"topk", "batchtopk", "jumprelu"}
    assert {arm.seed for arm in arms} == set(range(5))
    assert total_cost(cells).seconds < 3600


def test_on_a_card_every_stream_is_passed_once() -> None:
    """By arms of all rates and objectives: a call for each source, budget and, where orders differ, seed."""
    trained = [cell for cell in planned("card") if cell.function.name == "train"]
    streams = {
        digest([run.source, run.budget, None if run.source.one_order else run.arm.seed])
        for run in (cell.config for cell in trained)
    }
    assert len(_calls(trained)) == len(streams) == 75
    assert len(trained) == 390
    same = [{cell.config.arm.learning_rate for cell in call} for call in _calls(trained)]
    assert max(map(len, same)) > 1


def test_plans_list_every_cell_once_with_its_inputs_first() -> None:
    for name in profiles.names():
        seen: set[str] = set()
        for cell in planned(name):
            assert all(needed.key in seen for _, needed in cell.inputs)
            assert cell.key not in seen
            assert cell.cost.seconds > 0
            seen.add(cell.key)


def test_an_unknown_profile_is_refused_with_those_that_exist() -> None:
    with pytest.raises(
        BadInputError,
        match=r"'fast'.*demo, smoke, quick, calibration, controls, synthetic, overnight, card, gpu, paper",
    ):
        profiles.load("fast")


def test_an_unknown_parameter_is_named() -> None:
    with pytest.raises(BadInputError, match="speed"):
        profiles.load("smoke", speed="high")


def test_a_sparsity_larger_than_the_dictionary_is_refused() -> None:
    grid = profiles.load("smoke").grid("synthetic_recovery").model_dump() | {"l0": 257, "d_sae": 256}
    with pytest.raises(BadInputError, match="L0 of 257 does not fit into d_sae 256"):
        profiles.load("smoke", only=["synthetic_recovery"], grids={"synthetic_recovery": grid})


def test_an_unknown_source_or_eval_of_a_grid_is_named() -> None:
    grid = profiles.load("smoke").grid("synthetic_recovery").model_dump()
    for wrong in ({"sources": "elsewhere"}, {"evals": "taste"}):
        with pytest.raises(BadInputError, match=next(iter(wrong.values()))):
            profiles.load("smoke", grids={"synthetic_recovery": grid | wrong})


def test_grids_that_are_like_each_other_are_refused() -> None:
    with pytest.raises(BadInputError, match="like each other: b -> a -> b"):
        inherited({"a": {"like": "b"}, "b": {"like": "a"}})


HOOK = """
about: it
sources:
  text: {{kind: hook, subject: smollm2-135m, hook: blocks.1.hook_resid_post, d_model: 576, text: registry,
    train_tokens: 4096, held_out_tokens: 1024, {source}}}
  noise: {{kind: noise, like: text}}
grids:
  one: {{sources: text, architectures: topk, l0: 4, d_sae: 64, learning_rates: 0.1, batch_size: 8, steps: 2,
    {block}}}
evals: {{reconstruction: {{}}}}
{more}
"""


def own(path: Path, *, source: str = "", block: str = "", more: str = "") -> profiles.Profile:
    path.write_text(HOOK.format(source=source, block=block, more=more), encoding="utf-8")
    return profiles.load(str(path))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"source": "context: 2048"}, "held_out_tokens 1024 are not one window of 2048"),
        ({"source": "context: 8192"}, "train_tokens 4096 are not one window"),
        ({"source": "context: 0"}, "context"),
        ({"source": "shard_tokens: 1e30"}, "shard_tokens"),
        ({"more": "sources: {}"}, "given twice"),
        ({"more": "name: other"}, "names itself 'other'"),
        ({"more": "pace: {tokens_per_second: 0}"}, "tokens_per_second"),
        ({"more": "pace: {tokens_per_second: .inf}"}, "tokens_per_second"),
        ({"more": "analyses: 3"}, "analyses"),
        ({"block": "seeds: [0, 1, 0]"}, "0 is named twice"),
        ({"block": "seeds: []"}, "seeds"),
        ({"block": "seeds: -1"}, "seeds"),
        ({"block": "seeds: 18446744073709551616"}, "seeds"),
        ({"block": "arms: []"}, "arms"),
        ({"block": "arms: [trained, trained]"}, "'trained' is named twice"),
        ({"block": "objectives: []"}, "objectives"),
        ({"block": "training: {warmup: -3}"}, "warmup"),
        ({"block": "scored_on: elsewhere"}, "elsewhere"),
        ({"block": "evals: [reconstruction, reconstruction]"}, "named twice"),
    ],
)
def test_entries_that_do_not_fit_together_are_named(
    tmp_path: Path, given: dict[str, str], words: str
) -> None:
    assert own(tmp_path / "fine.yaml").name == "fine"
    with pytest.raises(BadInputError, match=words):
        own(tmp_path / "my.yaml", **given)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("learning_rates: 0.1", "learning_rates: .nan", "learning_rates"),
        ("learning_rates: 0.1", "learning_rates: .inf", "learning_rates"),
        ("learning_rates: 0.1", "learning_rates: 1.0e9", "learning_rates"),
        ("learning_rates: 0.1", "learning_rates: []", "learning_rates"),
        ("d_sae: 64", "d_sae: 1000000000000", "d_sae"),
        ("d_sae: 64", "d_sae: 1.5", "d_sae"),
        ("l0: 4", "l0: []", "l0"),
        ("batch_size: 8", "batch_size: -8", "batch_size"),
        ("steps: 2", "steps: 1000000000000000000000", "steps"),
        ("sources: text, arch", "sources: [], arch", "sources"),
        ("sources: text, arch", "sources: [text, text], arch", "'text' is named twice"),
        ("architectures: topk", "architectures: []", "architectures"),
        ("like: text", "like: noise", "like itself"),
        ("like: text", "like: nothing", "'nothing', which is no source"),
        ("one: {{", "two: []\n  one: {{", "two has no blocks"),
        ("one: {{", "two: {{like: none}}\n  one: {{", "'none'"),
        ("one: {{", "two: text\n  one: {{", "a block is a mapping"),
        ("{{reconstruction: {{}}}}", "{{reconstruction: {{speed: 3}}}}", "speed"),
        ("{{reconstruction: {{}}}}", "{{taste: {{}}}}", "taste"),
        ("hook_resid_post, d_model", "hook_mlp_out, d_model", "hook"),
        ("text: registry", "text: []", "text"),
    ],
)
def test_numbers_and_names_that_make_no_sense_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, words: str
) -> None:
    assert old in HOOK
    monkeypatch.setitem(globals(), "HOOK", HOOK.replace(old, new))
    with pytest.raises(BadInputError, match=words):
        own(tmp_path / "my.yaml")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("blocks.1.hook", "blocks.3.hook", "has no hook 'blocks.3.hook_resid_post': it has 3 blocks"),
        ("d_model: 32", "d_model: 64", "32 wide"),
        ("context: 8", "context: 4096", "at most"),
    ],
)
def test_a_source_is_held_against_its_model(
    tmp_path: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, words: str
) -> None:
    text = HOOK.replace("smollm2-135m", str(tiny_llama)).replace("d_model: 576", "d_model: 32")
    text = text.replace("train_tokens: 4096", "train_tokens: 8192").replace(
        "held_out_tokens: 1024", "held_out_tokens: 4096"
    )
    monkeypatch.setitem(globals(), "HOOK", text.replace("{source}", "context: 8"))
    assert own(tmp_path / "fine.yaml").source_named("text").d_in == 32
    monkeypatch.setitem(globals(), "HOOK", HOOK.replace(old, new))
    with pytest.raises(BadInputError, match=words):
        own(tmp_path / "my.yaml").source_named("text")


@pytest.mark.parametrize("name", ['"; touch X; "', "$(touch X)", "<b>x", "-x", ".hidden", "a\nb", "é"])
def test_a_name_that_is_no_plain_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInputError, match="profile"):
        own(tmp_path / f"{name}.yaml".replace("/", ""))
    with pytest.raises(BadInputError, match="no profile is called"):
        profiles.load(name)


def test_a_width_that_only_the_harvest_shows_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    source = profiles.load("smoke").source_named("smollm2")
    harvested = SimpleNamespace(d_in=640)
    monkeypatch.setattr("sanity.sources.hook.harvests_of", lambda inputs: (harvested, harvested))
    with pytest.raises(BadInputError, match="640 wide: d_model cannot be 576"):
        source.open({}, batch_size=8, seed=0, device="cpu")


@pytest.mark.parametrize("name", ["smoke", "quick", "card"])
def test_arms_that_a_claim_compares_have_the_same_seeds(name: str, repository: Path) -> None:
    plan_of = plan_grids(profiles.load(name))
    ledger = book_ledger(repository / "book" / "claims.yml")

    def seeds(claim: Comparison, arm: ArmOf) -> set[int]:
        experiment = arm.experiment or claim.scope.experiment
        place = arm.world_or_hook or claim.scope.world_or_hook
        return {
            run.run.arm.seed
            for run in plan_of.grid(experiment or "")
            if run.run.arm.constraint.spelled == arm.constraint
            and run.run.arm.init.spelled == arm.init
            and place in (None, run.place)
        }

    for claim in ledger.claims:
        if isinstance(claim, Comparison):
            judged, against = seeds(claim, claim.judged), seeds(claim, claim.against)
            assert not judged or not against or judged == against, claim.id
