"""Causal editing: on questions whose answers are known functions of the activation, and on a tiny model."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd
import pytest
import torch
from letter_model import LETTERS, save_letter_model
from torch import Tensor, nn

from sanity.data.facts import TEST, TRAIN, Facts
from sanity.errors import BadInputError
from sanity.evals.causal_editing.choosing import Choice, answers, choose_templates, shares_known
from sanity.evals.causal_editing.choosing import make_task as task_of
from sanity.evals.causal_editing.dictionaries import (
    matched_in_frequency,
    neurons,
    principal_components,
    read,
    sae_dictionary,
)
from sanity.evals.causal_editing.eval import CausalEditing
from sanity.evals.causal_editing.fitting import FitSettings, fit_mask, fit_rotation
from sanity.evals.causal_editing.questions import AskedTemplate, ask
from sanity.evals.causal_editing.scoring import (
    PARTS,
    graded_dictionary,
    largest,
    masked_edits,
    mean_scores,
    reach,
    scored_pairs,
    with_range,
)
from sanity.evals.causal_editing.seen_entities import SEEN, SeenEntities, divided
from sanity.evals.causal_editing.tasks import (
    EditingTask,
    SplitQuestions,
    TooFewKnownError,
    make_side,
    swap_all,
)
from sanity.evals.causal_editing.tasks import edited as edit_scores
from sanity.models import Autoencoder, TopK
from sanity.subject import EditablePrompts, Subject, load_subject

WIDTH, VALUES = 16, 5


class Linear(EditablePrompts):
    """Prompts whose answer is the largest of five units of what is put in place."""

    def __init__(self, first: int) -> None:
        object.__setattr__(self, "first", first)

    def logits(self, edited: Tensor, rows: Tensor) -> Tensor:
        return 4 * edited[:, self.first : self.first + VALUES]  # type: ignore[attr-defined, no-any-return]


def readable(n: int, attribute: str, first: int, x: Tensor, values: Tensor) -> AskedTemplate:
    return AskedTemplate(
        attribute=attribute,
        template=f"{attribute} of %s",
        entities=tuple(f"e{i}" for i in range(n)),
        answers=values,
        greedy=values,
        found=x,
        groups=(Linear(first),),
        group=torch.zeros(n, dtype=torch.long),
        row=torch.arange(n),
    )


def side(n: int, seed: int) -> SplitQuestions:
    """Units 0 to 4 hold the country, 5 to 9 the initial, the rest noise."""
    generator = torch.Generator().manual_seed(seed)
    country, initial = (torch.randint(0, VALUES, (n,), generator=generator) for _ in range(2))
    x = 0.1 * torch.randn(n, WIDTH, generator=generator)
    rows = torch.arange(n)
    x[rows, country] += 1
    x[rows, VALUES + initial] += 1
    return make_side(
        [readable(n, "country", 0, x, country)],
        {"initial": [readable(n, "initial", VALUES, x, initial)]},
        least=5,
        where="here",
    )


@pytest.fixture(scope="module")
def task() -> EditingTask:
    return EditingTask("country", ("initial",), side(40, 0), side(30, 1))


def pairs(task: EditingTask) -> tuple[Tensor, Tensor]:
    return scored_pairs(task, 60, seed=0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


FITTING = FitSettings(steps=40, prompts=32, learning_rate=0.1)


def test_the_mask_finds_the_units_that_hold_the_attribute(task: EditingTask) -> None:
    swap = read(neurons(WIDTH), task)
    logits = fit_mask(task, swap, fitting=FITTING, generator=seeded())
    chosen = set(swap.latents[logits > 0].tolist())
    assert set(range(VALUES)) <= chosen
    assert not chosen & set(range(VALUES, 2 * VALUES))
    for with_error in (False, True):
        found = edit_scores(task.test, swap.edit_only(logits > 0, with_error=with_error), *pairs(task))
        assert (found.cause, found.isolation, found.disentanglement) == (1, 1, 1)
    found = masked_edits(
        task, neurons(WIDTH), pairs(task), fitting=FITTING, seed=0, sizes=(2, 5, 99), controls=40
    )
    rows = pd.DataFrame(found["edits"])
    assert set(rows.loc[rows["what"] == "mask", "pairs"]) == {len(pairs(task)[0])}
    assert set(rows.loc[rows["what"] != "mask", "pairs"]) == {40}
    by = rows.set_index(["what", "size"])["disentanglement"]
    assert by["largest", 2] < by["largest", 5]
    assert 99 not in rows["size"].tolist()
    # The same number of latents at random, other ones: worse than those that were learned.
    random = rows[rows["what"] == "random latents"].iloc[0]
    assert random["disentanglement"] < 0.8
    assert random["size"] == min(len(chosen), WIDTH - len(chosen))


def test_the_mask_is_the_same_for_the_same_seed_and_l1_makes_it_smaller(task: EditingTask) -> None:
    swap = read(neurons(WIDTH), task)
    once, again = (fit_mask(task, swap, fitting=FITTING, generator=seeded(3)) for _ in range(2))
    assert torch.equal(once, again)
    costly = FitSettings(steps=40, prompts=32, learning_rate=0.1, l1=1.0)
    assert int((fit_mask(task, swap, fitting=costly, generator=seeded(3)) > 0).sum()) < int((once > 0).sum())


def test_the_largest_latents_are_among_those_that_were_fitted(task: EditingTask) -> None:
    """A latent that no city fitted on activates keeps the logit that it started with."""
    swap = read(neurons(WIDTH), task)
    silent = torch.arange(WIDTH) >= WIDTH - 4
    logits = torch.linspace(-1, -0.1, WIDTH).masked_fill(silent, 0.0)
    quiet = dataclasses.replace(swap, frequency=swap.frequency.masked_fill(silent, 0.0))
    chosen = largest(quiet, logits, 3)
    assert chosen.nonzero()[:, 0].tolist() == [WIDTH - 7, WIDTH - 6, WIDTH - 5]
    never = dataclasses.replace(neurons(WIDTH), encode=lambda x: x.masked_fill(silent, 0.0))
    found = masked_edits(task, never, pairs(task), fitting=FITTING, seed=0, sizes=(12, 13))["edits"]
    assert {row["size"] for row in found if row["what"] == "largest"} == {12}


def test_the_rotation_finds_the_subspace(task: EditingTask) -> None:
    fitting = FitSettings(steps=60, prompts=32, learning_rate=0.05)
    basis = fit_rotation(task, rank=VALUES, fitting=fitting, generator=seeded())
    torch.testing.assert_close(basis.T @ basis, torch.eye(VALUES), atol=1e-5, rtol=0)
    ends = reach(task, basis, pairs(task))
    assert ends.floor == 0.5
    assert ends.rotation.disentanglement > 0.95
    assert ends.row()["ceiling_disentanglement"] - ends.row()["floor"] > 0.4
    graded = pd.DataFrame(
        graded_dictionary(task, basis, levels=(0.0, 0.5, 1.0), seeds=(1, 2, 3), n_pairs=50, fitting=FITTING)
    )
    means = graded.groupby("level")["value"].mean()
    assert means.is_monotonic_decreasing
    assert means[0.0] > means[1.0] + 0.1  # a random basis of 16 is a model of the units, if a poor one
    assert graded["seed"].nunique() == 3
    readings = graded.pivot(index=["level", "seed"], columns="metric", values="value")
    assert readings["ravel_disentanglement"].equals(readings["ravel_disentanglement_error_dropped"])
    assert means[0.0] > graded["ceiling"].mean() - 0.05  # a mask finds the planted directions
    with pytest.raises(BadInputError, match="rank 17 does not fit into 16"):
        fit_rotation(task, rank=17, fitting=fitting, generator=seeded())


def do_nothing(asked: AskedTemplate, base: Tensor, source: Tensor) -> Tensor:
    """The base's own residual."""
    return asked.found[base]


def test_both_trivial_edits_score_one_half_when_reconstruction_is_exact(task: EditingTask) -> None:
    for edit, cause in ((do_nothing, 0), (swap_all, 1)):
        found = edit_scores(task.test, edit, *pairs(task))
        assert (found.cause, found.isolation, found.disentanglement) == (cause, 1 - cause, 0.5)
    covariance = torch.eye(WIDTH) + 0.1
    for exact in (neurons(WIDTH), principal_components(torch.ones(WIDTH), covariance)):
        swap = read(exact, task)
        for latents, cause in ((torch.zeros(WIDTH).bool(), 0), (torch.ones(WIDTH).bool(), 1)):
            found = edit_scores(task.test, swap.edit_only(latents, with_error=False), *pairs(task))
            assert (found.cause, found.isolation) == (cause, 1 - cause)


def test_an_inexact_reconstruction_does_not_unless_the_error_is_added(task: EditingTask) -> None:
    sae = random_sae()
    swap = read(sae_dictionary(sae, centre=torch.zeros(WIDTH), factor=1.0), task)
    none = torch.zeros(len(swap.latents)).bool()
    assert edit_scores(task.test, swap.edit_only(none, with_error=True), *pairs(task)).disentanglement == 0.5
    assert edit_scores(task.test, swap.edit_only(none, with_error=False), *pairs(task)).disentanglement < 0.5


def test_pairs_that_agree_in_an_attribute_would_spoil_the_half(task: EditingTask) -> None:
    """Why only pairs that differ in every attribute are scored."""
    test = task.test
    n = len(test.entities)
    initial = test.others["initial"][0].answers
    alike = (initial[:, None] == initial[None, :]) & (
        test.target[0].answers[:, None] != test.target[0].answers[None, :]
    )
    base, source = alike.nonzero().T
    assert edit_scores(test, swap_all, base, source).disentanglement == 1.0  # isolated by luck
    assert not (test.allowed & alike).any()
    drawn = torch.stack(test.draw(3 * n, generator=seeded()), 1)
    assert bool(test.allowed[drawn[:, 0], drawn[:, 1]].all())
    assert len(drawn.unique(dim=0)) == 3 * n  # different ones as long as there are enough


def random_sae(*, dead: bool = False, d_in: int = WIDTH) -> Autoencoder:
    generator = torch.Generator().manual_seed(4)
    W_dec = nn.functional.normalize(torch.randn(24, d_in, generator=generator), dim=1)
    bias = torch.full((24,), -100.0) if dead else torch.zeros(24)
    return Autoencoder(W_dec.T.clone(), W_dec, bias, torch.zeros(d_in), TopK(k=3))


def test_a_swap_through_an_sae_is_decode_of_the_mixed_latents(task: EditingTask) -> None:
    """Against the same edit written out with encode and decode, in the SAE's own coordinates."""
    sae, centre, factor = random_sae(), torch.full((WIDTH,), 0.05), 3.0
    swap = read(sae_dictionary(sae, centre=centre, factor=factor), task)
    generator = seeded(7)
    mask = torch.rand(len(swap.latents), generator=generator) > 0.5
    full = torch.zeros(24)
    full[swap.latents[mask]] = 1
    asked = task.test.target[0]
    base, source = pairs(task)
    z = sae.encode((asked.found - centre) * factor)
    mixed = z[base] * (1 - full) + z[source] * full
    plain = sae.decode(mixed) / factor + centre
    error = asked.found - (sae.decode(z) / factor + centre)
    found = swap.edit_only(mask, with_error=False)(asked, base, source)
    torch.testing.assert_close(found, plain, atol=1e-5, rtol=1e-5)
    found = swap.edit_only(mask, with_error=True)(asked, base, source)
    torch.testing.assert_close(found, plain + error[base], atol=1e-5, rtol=1e-5)


def test_random_latents_are_others_of_like_frequency(task: EditingTask) -> None:
    swap = read(sae_dictionary(random_sae(), centre=torch.zeros(WIDTH), factor=1.0), task)
    order = swap.frequency.argsort()
    chosen = torch.zeros(len(order), dtype=torch.bool)
    chosen[order[-3:]] = True
    random = matched_in_frequency(swap, chosen, generator=seeded())
    assert int(random.sum()) == 3
    assert not bool((random & chosen).any())
    assert float(swap.frequency[random].mean()) > float(swap.frequency[~chosen].mean())
    everything = torch.ones_like(chosen)
    assert int(matched_in_frequency(swap, everything, generator=seeded()).sum()) == 0


def test_a_pair_has_range_where_the_mean_over_seeds_has_it() -> None:
    ends = {"target": "country", "floor": 0.5}
    seeds = [
        pd.DataFrame(
            [
                {**ends, "keep": "initial", "ceiling_disentanglement": initial},
                {**ends, "keep": "language", "ceiling_disentanglement": language},
                {"target": "country", "keep": "hemisphere", "refused": "unknown"},
            ]
        )
        for initial, language in ((0.55, 0.75), (0.8, 0.4))
    ]
    for one in seeds:
        found = with_range(one, pd.concat(seeds), 0.15)
        assert found["separated"].tolist() == [True, False, False]
    unknown = seeds[0][["target", "keep", "refused"]]
    assert not with_range(unknown, unknown, 0.0)["separated"].any()


def test_scores_are_means_over_pairs_with_range() -> None:
    masks = {"one": (0.6, 40), "two": (0.8, 20), "none": (0.1, 10)}
    edits = pd.DataFrame(
        [
            {"target": "t", "keep": keep, "what": what, "with_error": with_error, "pairs": n}
            | dict.fromkeys(PARTS, value + 0.1 * with_error if what == "mask" else 0.0)
            for keep, (value, n) in masks.items()
            for what in ("mask", "random latents")
            for with_error in (False, True)
        ]
    )
    pairs = pd.DataFrame(
        [
            {"target": "t", "keep": keep, "separated": keep != "none", "floor": floor}
            | {f"ceiling_{part}": 0.9 for part in PARTS}
            for keep, floor in (("one", 0.5), ("two", 0.6), ("none", 0.9))
        ]
    )
    by = {score.metric: score for score in mean_scores(edits, pairs, version="2")}
    assert set(by) == set(CausalEditing.metrics)
    one, cause = by["ravel_disentanglement_error_dropped"], by["ravel_cause"]
    assert (one.value, one.floor, one.ceiling) == pytest.approx((0.7, 0.55, 0.9))
    assert (one.n, one.unit, one.version) == (60, "pair", "2")
    assert (cause.value, cause.floor, cause.ceiling) == pytest.approx((0.8, 0.0, 0.9))
    assert mean_scores(edits, pairs.assign(separated=False), version="2") == []


def test_what_cannot_be_edited_is_refused_in_words(task: EditingTask) -> None:
    dead = sae_dictionary(random_sae(dead=True), centre=torch.zeros(WIDTH), factor=1.0, name="the dead one")
    with pytest.raises(BadInputError, match="no latent of the dead one is active on any of 40 entities"):
        read(dead, task)

    class Bent:
        W_dec = torch.eye(WIDTH)
        encode = staticmethod(torch.relu)
        decode = staticmethod(torch.tanh)

    with pytest.raises(BadInputError, match="decode of Bent is not latents @ W_dec"):
        sae_dictionary(Bent(), centre=torch.zeros(WIDTH), factor=1.0)
    with pytest.raises(BadInputError, match="13 wide and the decoder 16"):
        sae_dictionary(random_sae(), centre=torch.zeros(13), factor=1.0)
    with pytest.raises(BadInputError, match="learns nothing"):
        FitSettings(steps=0, prompts=2, learning_rate=0.1)


# ------------------------------------------------------------------------------- on a tiny language model

NAMES = (*"abcdefghijklmnopqrstuvwxyz", "xy", "yz")


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Subject]:
    """A model of three layers whose tokens are letters, in both backends."""
    folder = save_letter_model(
        tmp_path_factory.mktemp("letters"), seed=1, scale=6, max_position_embeddings=24
    )
    return {backend: load_subject(folder, backend=backend) for backend in ("transformer_lens", "nnsight")}


TEMPLATES = {"one": ("in %s ", "at the %s "), "two": ("q7%s ", "4%s ")}


@pytest.fixture(scope="module")
def facts(subjects: dict[str, Subject]) -> Facts:
    """What the tiny model says when it is asked with the first templates: it knows all of it."""
    subject = subjects["transformer_lens"]
    values: dict[str, dict[str, str]] = {name: {} for name in NAMES}
    for attribute, templates in TEMPLATES.items():
        for name in NAMES:
            tokens = torch.tensor([subject.tokenizer(templates[0] % name)["input_ids"]])
            values[name][attribute] = LETTERS[int(subject.logits(tokens)[0, -1].argmax())]
    split = {name: TEST if i % 3 == 0 else TRAIN for i, name in enumerate(NAMES)}
    return Facts("letter", values, TEMPLATES, split, {}, "the alphabet")


HOOK = "blocks.0.hook_resid_pre"


def choice_of(facts: Facts) -> dict[str, Choice]:
    return {a: Choice(t[:1], t[:1]) for a, t in facts.templates.items()}


def make_task(subject: Subject, facts: Facts, **more: Any) -> EditingTask:
    options: dict[str, Any] = {
        "target": "one", "others": ["two"], "hook": HOOK, "most_tokens": 1, "least": 3, **more
    }  # fmt: skip
    return task_of(subject, facts, options.pop("choice", choice_of(facts)), **options)


def test_swapping_everything_below_the_model_is_asking_about_the_source(
    subjects: dict[str, Subject], facts: Facts
) -> None:
    """At the embedding of a one-token entity a full swap leaves nothing of the base."""
    task = make_task(subjects["transformer_lens"], facts)
    some = scored_pairs(task, 12, seed=0)
    for edit, cause in ((do_nothing, 0), (swap_all, 1)):
        found = edit_scores(task.test, edit, *some)
        assert (found.cause, found.isolation, found.disentanglement) == (cause, 1 - cause, 0.5)


@pytest.mark.parametrize("template", ["7% of %s is ", "100%d in %s, 7 % "])
def test_a_template_is_text_but_for_the_entity(
    subjects: dict[str, Subject], facts: Facts, template: str
) -> None:
    asked = ask(subjects["nnsight"], facts, "one", template, NAMES, hook=HOOK, most_tokens=1)
    assert set(asked.entities) <= set(NAMES)
    assert len(asked.entities) >= 3


def test_backends_give_the_same_edits(subjects: dict[str, Subject], facts: Facts) -> None:
    hook = "blocks.1.hook_resid_post"
    lens, sight = (make_task(subjects[b], facts, hook=hook) for b in ("transformer_lens", "nnsight"))
    base, source = scored_pairs(lens, 12, seed=0)
    dictionary = sae_dictionary(random_sae(d_in=32), centre=torch.zeros(32), factor=1.0)
    logits = []
    for task in (lens, sight):
        swap = read(dictionary, task)
        asked = task.test.target[0]
        edit = swap.edit_only(swap.frequency > swap.frequency.median(), with_error=True)
        logits.append(asked.logits(edit(asked, base, source), base))
    torch.testing.assert_close(*logits, atol=1e-4, rtol=1e-4)
    fits = [
        fit_mask(t, read(dictionary, t), fitting=FitSettings(3, 8, 0.1), generator=seeded())
        for t in (lens, sight)
    ]
    torch.testing.assert_close(*fits, atol=1e-3, rtol=1e-3)


def test_entities_of_several_tokens_are_edited_at_their_last(
    subjects: dict[str, Subject], facts: Facts
) -> None:
    subject = subjects["transformer_lens"]
    asked = ask(subject, facts, "one", "in %s ", NAMES, hook=HOOK, most_tokens=2)
    assert set(asked.entities[-2:]) == {"xy", "yz"}
    assert len(asked.groups) == 2
    at = [asked.entities.index(name) for name in ("a", "xy", "b")]
    which = torch.tensor(at)
    mixed = asked.logits(asked.found[which], which)
    assert torch.equal(mixed.argmax(-1), asked.greedy[which])
    assert bool(asked.known.all())
    # The residual at the last token of "xy", before any block, is that of "y".
    torch.testing.assert_close(asked.found[at[1]], asked.only(["y"]).found[0])


def test_templates_are_chosen_on_training_entities_alone(subjects: dict[str, Subject], facts: Facts) -> None:
    answered = answers(subjects["nnsight"], facts, ["one", "two"], hook=HOOK, most_tokens=1, templates=2)
    assert len(answered) > 40
    shares = shares_known(answered).set_index(["attribute", "template"])
    assert (shares.loc[[("one", "in %s "), ("two", "q7%s ")]].eval("known_train == asked_train")).all()
    chosen = choose_templates(answered, fit=1, test=1)
    assert chosen["one"].fit == ("in %s ",)
    # No other template is half as good: it is tested on what it was fitted on, and says so.
    assert chosen["one"].test == ("in %s ",)
    assert set(chosen["one"].fit) & set(chosen["one"].test)
    flattered = answered.assign(known=answered["known"] | answered["split"].eq(TEST))
    assert choose_templates(flattered, fit=1, test=1) == chosen
    both = choose_templates(answered.assign(known=True), fit=1, test=1)
    assert not set(both["one"].fit) & set(both["one"].test)
    given = {t: s for of in TEMPLATES.values() for t, s in zip(of, (TEST, TRAIN), strict=True)}
    divided = choose_templates(answered, fit=1, test=1, template_split=given)
    assert (divided["one"].fit, divided["one"].test) == (("at the %s ",), ("in %s ",))


def test_templates_are_dropped_before_a_pair_is_refused(subjects: dict[str, Subject], facts: Facts) -> None:
    """With their second templates the letters are unknown; with the first alone all are known."""
    subject = subjects["nnsight"]
    answered = answers(subject, facts, ["one", "two"], hook=HOOK, most_tokens=1, templates=2)
    both = {a: Choice(t, t) for a, t in facts.templates.items()}
    task = make_task(subject, facts, choice=both, answered=answered)
    assert {asked.template for asked in task.asked} == {"in %s ", "q7%s "}
    with pytest.raises(TooFewKnownError) as refusal:
        make_task(subject, facts, choice=both, answered=answered, least=99)
    assert refusal.value.least == 99
    assert len(task.train.entities) <= refusal.value.remaining < 99


def test_too_few_known_facts_are_counted_and_refused(subjects: dict[str, Subject], facts: Facts) -> None:
    subject = subjects["nnsight"]
    with pytest.raises(
        BadInputError, match=r"knows one and two of only \d+ entities for fitting .* at least 99"
    ):
        make_task(subject, facts, least=99)
    wrong = {name: {**of, "one": "<"} for name, of in facts.values.items()}
    nothing = Facts("letter", wrong, TEMPLATES, facts.entity_split, {}, "nonsense")
    with pytest.raises(BadInputError, match="knows one and two of only 0 entities"):
        make_task(subject, nothing)
    answered = answers(subject, nothing, ["one"], hook=HOOK, most_tokens=1, templates=1)
    with pytest.raises(BadInputError, match="knows one and two of only 0 entities"):
        make_task(subject, nothing, answered=answered)
    same = {name: {**of, "one": "q"} for name, of in facts.values.items()}
    with pytest.raises(BadInputError, match=r"needed|no two"):
        make_task(subject, Facts("letter", same, TEMPLATES, facts.entity_split, {}, "same"))


def test_questions_that_cannot_be_put_are_refused(subjects: dict[str, Subject], facts: Facts) -> None:
    subject = subjects["nnsight"]
    long = Facts(
        "letter", facts.values, {"one": ("in the middle of nowhere is %s ",)}, facts.entity_split, {}, "x"
    )
    with pytest.raises(BadInputError, match=r"makes 30 tokens with 'a', and .* reads 24 at most"):
        ask(subject, long, "one", long.templates["one"][0], NAMES, hook=HOOK, most_tokens=1)
    with pytest.raises(BadInputError, match="takes more than 1 tokens"):
        ask(subject, facts, "one", "in %s ", ["xy", "yz"], hook=HOOK, most_tokens=1)
    with pytest.raises(BadInputError, match="no attribute 'colour' of a letter"):
        ask(subject, facts, "colour", "in %s ", NAMES, hook=HOOK, most_tokens=1)
    with pytest.raises(BadInputError, match="changes one attribute and keeps others"):
        make_task(subject, facts, others=["one"])
    with pytest.raises(BadInputError, match="templates were chosen for one, two"):
        make_task(subject, facts, target="three")


def test_seen_entities_are_divided_by_pairs_and_not_by_entities(task: EditingTask) -> None:
    one = divided(task, 0.7, seed=0)
    both = one.train.allowed & one.test.allowed
    assert not bool(both.any())
    assert bool(((one.train.allowed | one.test.allowed) == task.train.allowed).all())
    assert one.train.entities == one.test.entities == task.train.entities
    # both directions of a pair are on one side: else the answer to one would give away the other
    assert bool((one.train.allowed == one.train.allowed.T).all())
    assert 0.4 < float(one.train.allowed.sum() / task.train.allowed.sum()) < 0.9
    again, other = divided(task, 0.7, seed=0), divided(task, 0.7, seed=1)
    assert bool((again.train.allowed == one.train.allowed).all())
    assert not bool((other.train.allowed == one.train.allowed).all())


def test_metrics_on_seen_entities_have_names_of_their_own() -> None:
    seen = SeenEntities.metrics
    assert {name.removesuffix(SEEN) for name in seen} == set(CausalEditing.metrics)
    assert not seen.keys() & CausalEditing.metrics.keys()
    with pytest.raises(BadInputError, match="fitted_share"):
        SeenEntities(fitted_share=1.0)
