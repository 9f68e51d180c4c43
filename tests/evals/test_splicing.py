"""Losses of a small causal model, made on the spot, with known splices in it."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
import torch
from torch.nn import functional

from sanity.errors import BadInputError
from sanity.evals import LossRecovered, loss_recovered

HOOK = "blocks.0.hook_resid_post"
VOCAB, WIDTH = 11, 6


class Averager:
    """Below the hook: embedding plus running mean. Above: an MLP of activation plus running mean."""

    def __init__(self) -> None:
        g = torch.Generator().manual_seed(0)
        self.embedding = 2 * torch.randn(VOCAB, WIDTH, generator=g)
        self.hidden = torch.randn(WIDTH, 16, generator=g)
        self.out = torch.randn(16, VOCAB, generator=g)
        self.lower, self.upper, self.largest = 0, 0, 0

    def residual(self, tokens: torch.Tensor, hook: str) -> torch.Tensor:
        assert hook == HOOK
        self.lower += 1
        return self.with_running_mean(self.embedding[tokens]) + 3.0

    def logits_from(self, residual: torch.Tensor, hook: str) -> torch.Tensor:
        self.upper += 1
        self.largest = max(self.largest, residual.shape[0] * residual.shape[1])
        return (self.with_running_mean(residual) @ self.hidden / 3).tanh() @ self.out

    def log_p(self, residual: torch.Tensor) -> torch.Tensor:
        return torch.log_softmax(Averager().logits_from(residual, HOOK), -1)

    @staticmethod
    def with_running_mean(x: torch.Tensor) -> torch.Tensor:
        return x + x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]


class Linear:
    """Reconstruction = scale * x, through latents x and -x."""

    def __init__(self, scale: float, width: int = WIDTH) -> None:
        self.scale = scale
        self.W_dec = torch.cat([torch.eye(width), -torch.eye(width)])

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * (x @ self.W_dec.T).relu()

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return z @ self.W_dec


SAES = {"identity": Linear(1.0), "mean": Linear(0.0), "half": Linear(0.5)}


def tokens(n: int = 7, context: int = 9) -> torch.Tensor:
    return torch.randint(VOCAB, (n, context), generator=torch.Generator().manual_seed(1))


def setting(model: Averager) -> tuple[torch.Tensor, float]:
    flat = model.residual(tokens(), HOOK).flatten(0, 1)
    return flat.mean(0), math.sqrt(WIDTH / float((flat - flat.mean(0)).square().sum(1).mean()))


def measured(model: Averager | None = None, **options: object) -> dict[str, LossRecovered]:
    model = model or Averager()
    centre, factor = setting(model)
    given: dict[str, Any] = {"centre": centre, "factor": factor, "mean": centre} | options
    return loss_recovered(model, SAES, tokens(), hook=HOOK, **given)


@pytest.mark.parametrize("leave_first", [False, True])
def test_identity_reaches_the_ceiling_and_the_mean_the_floor(leave_first: bool) -> None:
    results = measured(leave_first=leave_first)
    for name, expected in (("identity", 1.0), ("mean", 0.0)):
        for score in (results[name].cross_entropy, results[name].kl_divergence):
            assert score.normalised() == pytest.approx(expected, abs=1e-5)
    half = results["half"].kl_divergence
    assert 0.1 < half.normalised() < 1
    assert half.ceiling == 0.0
    assert not half.higher_is_better


@pytest.mark.parametrize("leave_first", [False, True])
def test_the_floor_does_not_depend_on_what_the_sae_is_given(leave_first: bool) -> None:
    """One reconstruction, by an SAE of raw and by one of centred activations, as releases come in both."""
    model = Averager()
    first = int(leave_first)
    mean = model.residual(tokens(), HOOK)[:, first:].flatten(0, 1).mean(0)

    class Raw(Linear):
        def decode(self, z: torch.Tensor) -> torch.Tensor:
            return 0.5 * (super().decode(z) - mean) + mean

    def losses(sae: Linear, centre: torch.Tensor) -> LossRecovered:
        given: dict[str, Any] = {"hook": HOOK, "factor": 1.0, "leave_first": leave_first}
        return loss_recovered(model, {"x": sae}, tokens(), centre=centre, **given)["x"]

    raw, centred = losses(Raw(1.0), torch.zeros(WIDTH)), losses(Linear(0.5), mean)
    for a, b in (
        (raw.cross_entropy, centred.cross_entropy),
        (raw.kl_divergence, centred.kl_divergence),
    ):
        assert (a.value, a.floor, a.ceiling) == pytest.approx((b.value, b.floor, b.ceiling), rel=1e-5)
    ablated = measured(mean=mean, leave_first=leave_first)["half"].cross_entropy.floor
    assert raw.cross_entropy.floor == pytest.approx(ablated, rel=1e-5)


def test_losses_are_those_of_their_definition() -> None:
    model = Averager()
    centre, _ = setting(model)
    clean = model.residual(tokens(), HOOK)
    spliced = (clean - centre) * 0.5 + centre
    targets = tokens()[:, 1:]
    p, q = model.log_p(clean)[:, :-1], model.log_p(spliced)[:, :-1]
    result = measured()["half"]
    ce = functional.nll_loss(q.flatten(0, 1), targets.flatten())
    kl = functional.kl_div(q.flatten(0, 1), p.flatten(0, 1), log_target=True, reduction="batchmean")
    assert result.cross_entropy.value == pytest.approx(float(ce), rel=1e-5)
    assert result.kl_divergence.value == pytest.approx(float(kl), rel=1e-5)
    unspliced = functional.nll_loss(p.flatten(0, 1), targets.flatten())
    assert result.cross_entropy.ceiling == pytest.approx(float(unspliced), rel=1e-6)


def test_the_first_position_is_left_alone_and_left_out_on_request() -> None:
    model = Averager()
    centre, _ = setting(model)
    clean = model.residual(tokens(), HOOK)
    spliced = (clean - centre) * 0.5 + centre
    spliced[:, 0] = clean[:, 0]
    q = model.log_p(spliced)[:, 1:-1]
    ce = functional.nll_loss(q.flatten(0, 1), tokens()[:, 2:].flatten())
    result = measured(leave_first=True)["half"]
    assert result.cross_entropy.value == pytest.approx(float(ce), rel=1e-5)
    assert result.per_document["tokens"].tolist() == [7] * 7


def test_a_model_in_bfloat16_is_read_in_float32() -> None:
    seen: list[torch.dtype] = []

    class Half(Averager):
        def residual(self, tokens: torch.Tensor, hook: str) -> torch.Tensor:
            return super().residual(tokens, hook).bfloat16()

        def logits_from(self, residual: torch.Tensor, hook: str) -> torch.Tensor:
            seen.append(residual.dtype)
            return super().logits_from(residual.float(), hook)

    centre, factor = setting(Averager())
    result = loss_recovered(Half(), SAES, tokens(), hook=HOOK, centre=centre, factor=factor)
    assert set(seen) == {torch.bfloat16}
    # Reading in bfloat16 would move the reconstruction by a rounding of every activation.
    assert result["identity"].kl_divergence.value == pytest.approx(0.0, abs=1e-6)


def test_the_size_of_batches_changes_nothing_but_the_memory() -> None:
    model = Averager()
    small, large = measured(model, tokens_per_batch=20), measured(tokens_per_batch=10_000)
    assert model.largest == 18
    for name in SAES:
        pd.testing.assert_frame_equal(
            small[name].per_document, large[name].per_document, rtol=1e-5, atol=1e-6
        )
        assert small[name].cross_entropy.value == pytest.approx(large[name].cross_entropy.value)


def test_reference_passes_are_shared() -> None:
    model = Averager()
    centre, factor = setting(model)
    before = model.lower
    loss_recovered(model, SAES, tokens(), hook=HOOK, centre=centre, factor=factor, mean=centre)
    assert (model.lower - before, model.upper) == (1, len(SAES) + 2)


def test_tables_by_document_average_to_the_scores() -> None:
    by_sequence = measured()["half"]
    owners = torch.tensor([5, 5, 9, 2, 2, 2, 9])
    by_document = measured(documents=owners)["half"]
    per_token = owners[:, None].repeat(1, 9)
    per_token[0, 4:] = 77
    by_token = measured(documents=per_token)["half"]
    assert by_sequence.cross_entropy.unit == "sequence"
    assert by_document.cross_entropy.unit == "document"
    assert by_document.per_document["document"].tolist() == [2, 5, 9]
    assert by_document.per_document["tokens"].tolist() == [24, 16, 16]
    assert by_token.per_document["tokens"].tolist() == [24, 11, 16, 5]
    for result, n in ((by_sequence, 7), (by_document, 3), (by_token, 4)):
        table = result.per_document
        for score in (result.cross_entropy, result.kl_divergence):
            weighted = (table[score.metric] * table["tokens"]).sum() / table["tokens"].sum()
            assert score.value == pytest.approx(weighted)
            assert score.n == n
    sequences = by_sequence.per_document["cross_entropy_floor"].to_numpy()
    floors = by_document.per_document.set_index("document")["cross_entropy_floor"]
    assert floors[5] == pytest.approx(sequences[:2].mean())


def test_impossible_splices_are_refused() -> None:
    model = Averager()
    centre, factor = setting(model)

    def run(**changes: object) -> object:
        given = {"saes": SAES, "sequences": tokens(), "centre": centre, "factor": factor} | changes
        return loss_recovered(model, hook=HOOK, **given)  # type: ignore[arg-type]

    class Broken(Linear):
        def decode(self, z: torch.Tensor) -> torch.Tensor:
            return super().decode(z) / 0

    for changes, words in (
        ({"saes": {"wide": Linear(1.0, 8)}}, "SAE 'wide' is 8 wide and centre 6"),
        ({"saes": {}}, "no SAE"),
        ({"saes": {"broken": Broken(1.0)}}, "the reconstruction of shape .* NaN or infinite"),
        ({"saes": {"wide": Linear(1.0, 8)}, "centre": torch.zeros(8)}, "centre is 8 wide and the activation"),
        ({"sequences": tokens(3, 1)}, "nothing to predict"),
        ({"sequences": tokens(3, 2), "leave_first": True}, "at least 3 tokens"),
        ({"factor": 0.0}, "factor is 0.0"),
        ({"mean": torch.zeros(8)}, "mean is 8 wide and the activation"),
        ({"mean": centre.numpy()}, "mean=a numpy ndarray"),
        ({"sequences": tokens()[0]}, r"sequences=a torch Tensor of torch.int64 \[9\]"),
        ({"sequences": tokens().float()}, "wanted is a Tensor of whole numbers"),
        ({"centre": centre * math.nan}, "centre of shape"),
        ({"documents": torch.arange(3)}, r"documents has shape \[3\]"),
    ):
        with pytest.raises(BadInputError, match=words):
            run(**changes)
    model.embedding[3, 2] = math.inf
    with pytest.raises(BadInputError, match=f"activation at {HOOK} .* first at"):
        run()
