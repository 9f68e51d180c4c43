"""What the language model loses when an SAE's reconstruction replaces the activation at a hook.

Two losses in nats per predicted token: cross-entropy on the text, and the KL divergence from the unspliced
model's distribution to the spliced one's. Both carry their own scale, so that `score.normalised()` is the
share recovered: the floor replaces the activation by its mean, the ceiling leaves the model alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sanity.engine.arguments import checked
from sanity.engine.progress import track
from sanity.errors import BadInputError
from sanity.evals.inputs import SparseAutoencoder, reconstructed, require_finite, require_width
from sanity.evals.score import Score

# Rows of log-probabilities compared at a time: their temporaries stay small whatever the batch.
_ROWS = 64


@runtime_checkable
class SplicedModel(Protocol):
    """The part of a subject model that is needed here."""

    def residual(self, tokens: Tensor, hook: str) -> Tensor:
        """Activations [batch, pos, d_model] at `hook`."""

    def logits_from(self, residual: Tensor, hook: str) -> Tensor:
        """Logits [batch, pos, vocab] of the model run on from the activations at `hook`."""


@dataclass(frozen=True, eq=False)
class LossRecovered:
    """Losses with one SAE spliced in, each between mean ablation (floor) and no splice (ceiling)."""

    cross_entropy: Score
    kl_divergence: Score
    per_document: pd.DataFrame
    """A row per document: document, tokens, and means over its tokens of cross_entropy and kl_divergence,
    of both with `_floor`, and of cross_entropy_ceiling (the divergence's ceiling is 0)."""


@dataclass(eq=False)
class SAEInPlace:
    """An SAE, or a transcoder, as an "autoencoder" of several activations side by side, raw and centred."""

    sae: Any
    factors: Float[Tensor, " d_all"]
    """By which activations are scaled for it."""
    reads: slice
    """The columns that it reads."""
    writes: slice
    """The columns that are replaced by what it makes of them; the others stay."""

    @property
    def W_dec(self) -> Float[Tensor, "d_all d_all"]:
        """The axes."""
        return torch.zeros(len(self.factors), len(self.factors)).to(self.sae.W_dec)

    def encode(self, x: Float[Tensor, "batch d_all"]) -> Float[Tensor, "batch d_all"]:
        """Nothing is done."""
        return x

    def decode(self, z: Float[Tensor, "batch d_all"]) -> Float[Tensor, "batch d_all"]:
        """The reconstruction, or what the transcoder makes of its input in the output's place."""
        factors, made = self.factors.to(z), z.clone()
        read = z[:, self.reads] * factors[self.reads]
        made[:, self.writes] = reconstructed(self.sae, read) / factors[self.writes]
        return made


@checked
@torch.no_grad()
def loss_recovered(
    subject: SplicedModel,
    saes: Mapping[str, SparseAutoencoder],
    sequences: Int[Tensor, "n context"],
    *,
    hook: str,
    centre: Float[Tensor, " d_in"],
    factor: float,
    mean: Float[Tensor, " d_model"] | None = None,
    leave_first: bool = False,
    documents: Int[Tensor, "*any"] | None = None,
    tokens_per_batch: int = 1024,
) -> dict[str, LossRecovered]:
    """Cross-entropy and KL divergence with each of `saes` spliced in at `hook`, by name.

    The layers below the hook and the two reference passes are run once for all SAEs. At most two batches of
    logits are held at a time: 8 * `tokens_per_batch` * vocab bytes.

    Parameters
    ----------
    centre, factor
        The SAEs read (activation - centre) * factor, as the stream gave it: zeros and 1 for SAEs of raw
        activations.
    mean
        What mean ablation, the floor, puts in place of the activation, whatever the SAEs are given. By
        default the mean over these sequences, which costs another pass of the layers below the hook.
    leave_first
        Keep the first position's activation as it is, in the splices and in mean ablation, and leave its
        prediction out: for SAEs that were trained without first positions.
    documents
        Which document a sequence [n], or each token [n, context], belongs to; a prediction counts for the
        document of the predicted token. Without it every sequence is a document of its own.

    Raises
    ------
    BadInputError
        For widths that do not fit, sequences too short to predict from, and values that are not finite.
    """
    first = int(leave_first)
    _check(saes, centre, factor, sequences, first)
    groups, labels = _groups(sequences, documents, first)
    per_batch = max(1, tokens_per_batch // sequences.shape[1])
    if mean is None:
        mean = _mean(subject, torch.split(sequences, per_batch), hook, first)
    require_finite("mean", mean)
    sums = {name: _Sums(len(labels)) for name in ("unspliced", "mean ablated", *(f"sae {s}" for s in saes))}
    starts = range(0, len(sequences), per_batch)
    for start in track(starts, description=f"splicing {len(saes)} SAEs at {hook}", unit="batch"):
        rows = slice(start, start + per_batch)
        residual = subject.residual(sequences[rows], hook)
        require_width("centre", len(centre), residual.shape[-1], f"the activation at {hook}")
        require_width("mean", len(mean), residual.shape[-1], f"the activation at {hook}")
        require_finite(f"the activation at {hook}", residual)
        targets, group = sequences[rows, first + 1 :].to(residual.device), groups[rows]
        reference: Tensor | None = None
        for (_, total), changed in zip(
            sums.items(), _spliced(residual, saes, centre, factor, mean, first), strict=True
        ):
            logits = subject.logits_from(changed, hook)[:, first:-1]
            if reference is None:
                reference = torch.log_softmax(logits.float(), -1)
            total.add(group, *_losses(logits, targets, reference))
            del logits
    unit = "sequence" if documents is None else "document"
    return {name: _result(name, sums, labels, unit) for name in saes}


def _spliced(
    residual: Float[Tensor, "batch pos d_in"],
    saes: Mapping[str, SparseAutoencoder],
    centre: Float[Tensor, " d_in"],
    factor: float,
    mean: Float[Tensor, " d_in"],
    first: int,
) -> Iterator[Float[Tensor, "batch pos d_in"]]:
    """The activation as it is, the mean, and each SAE's reconstruction of it, from position `first` on."""
    yield residual.clone()  # the model may work in place
    # A model in bfloat16 is read and written in float32, as its activations were when they were harvested.
    read = residual[:, first:].to(torch.promote_types(residual.dtype, torch.float32))
    centre = centre.to(read)
    ablated = residual.clone()
    ablated[:, first:] = mean.to(residual)
    yield ablated
    x = ((read - centre) * factor).flatten(0, 1)
    for sae in saes.values():
        changed = residual.clone()
        changed[:, first:] = (reconstructed(sae, x) / factor + centre).view_as(read).to(residual)
        yield changed


def _losses(
    logits: Float[Tensor, "batch pos vocab"],
    targets: Int[Tensor, "batch pos"],
    reference: Float[Tensor, "batch pos vocab"],
) -> tuple[Float[Tensor, "batch pos"], Float[Tensor, "batch pos"]]:
    """Cross-entropy, and KL divergence from the log-probabilities `reference`, of each prediction."""
    cross_entropy, divergence = [], []
    parts = zip(
        torch.split(logits.flatten(0, 1), _ROWS),
        torch.split(targets.flatten(), _ROWS),
        torch.split(reference.flatten(0, 1), _ROWS),
        strict=True,
    )
    for part, target, expected in parts:
        log_p = torch.log_softmax(part.float(), -1)
        cross_entropy.append(-log_p.gather(-1, target.long()[:, None])[:, 0])
        divergence.append((expected.exp() * (expected - log_p)).sum(-1))
    return torch.cat(cross_entropy).view(targets.shape), torch.cat(divergence).view(targets.shape)


def _mean(
    subject: SplicedModel, batches: Sequence[Int[Tensor, "batch context"]], hook: str, first: int
) -> Float[Tensor, " d_in"]:
    """Mean activation over the positions that are replaced."""
    sums, positions = [], 0
    for batch in batches:
        found = subject.residual(batch, hook)[:, first:]
        require_finite(f"the activation at {hook}", found)
        sums.append(found.double().sum((0, 1)))
        positions += found.shape[0] * found.shape[1]
    return (torch.stack(sums).sum(0) / positions).float()


class _Sums:
    """Losses summed over the predictions of each document, in float64."""

    def __init__(self, documents: int) -> None:
        self.tokens = torch.zeros(documents, dtype=torch.float64)
        self.cross_entropy = torch.zeros(documents, dtype=torch.float64)
        self.divergence = torch.zeros(documents, dtype=torch.float64)

    def add(
        self,
        group: Int[Tensor, "batch pos"],
        cross_entropy: Float[Tensor, "batch pos"],
        divergence: Float[Tensor, "batch pos"],
    ) -> None:
        where = group.flatten()
        self.tokens += torch.bincount(where, minlength=len(self.tokens))
        self.cross_entropy.index_add_(0, where, cross_entropy.flatten().cpu().double())
        self.divergence.index_add_(0, where, divergence.flatten().cpu().double())


def _result(
    name: str, sums: Mapping[str, _Sums], labels: Int[Tensor, " documents"], unit: str
) -> LossRecovered:
    own, floor, ceiling = sums[f"sae {name}"], sums["mean ablated"], sums["unspliced"]
    tokens = own.tokens
    columns = {
        "cross_entropy": own.cross_entropy,
        "kl_divergence": own.divergence,
        "cross_entropy_floor": floor.cross_entropy,
        "kl_divergence_floor": floor.divergence,
        "cross_entropy_ceiling": ceiling.cross_entropy,
    }
    mean = {column: float(values.sum() / tokens.sum()) for column, values in columns.items()}
    n = len(labels)

    def score(metric: str, ceiling: float) -> Score:
        return Score(
            metric, mean[metric], mean[f"{metric}_floor"], ceiling, False, n=n, unit=unit, version="1"
        )

    frame = pd.DataFrame({column: (values / tokens).numpy() for column, values in columns.items()})
    frame.insert(0, "document", labels.numpy())
    frame.insert(1, "tokens", tokens.long().numpy())
    return LossRecovered(
        cross_entropy=score("cross_entropy", mean["cross_entropy_ceiling"]),
        kl_divergence=score("kl_divergence", 0.0),
        per_document=frame,
    )


def _groups(
    sequences: Int[Tensor, "n context"], documents: Int[Tensor, "*any"] | None, first: int
) -> tuple[Int[Tensor, "n predictions"], Int[Tensor, " documents"]]:
    """The document of each prediction, as an index into the documents' own labels."""
    n, context = sequences.shape
    if documents is None:
        documents = torch.arange(n)
    if documents.shape not in ((n,), (n, context)):
        raise BadInputError(
            f"documents has shape {list(documents.shape)} for sequences of shape {[n, context]}: "
            "give one per sequence or one per token"
        )
    per_token = documents.cpu().view(n, -1).expand(n, context)
    labels, groups = torch.unique(per_token[:, first + 1 :], return_inverse=True)
    return groups, labels


def _check(
    saes: Mapping[str, SparseAutoencoder],
    centre: Float[Tensor, " d_in"],
    factor: float,
    sequences: Int[Tensor, "n context"],
    first: int,
) -> None:
    n, context = sequences.shape
    if not n or context < first + 2:
        raise BadInputError(
            f"sequences of shape {[n, context]} hold nothing to predict: "
            f"give at least one sequence of at least {first + 2} tokens"
        )
    if not saes:
        raise BadInputError("no SAE was given to splice in: give at least one, by name")
    for name, sae in saes.items():
        require_width(f"the SAE {name!r}", sae.W_dec.shape[1], len(centre), "centre")
    require_finite("centre", centre)
    if not 0 < factor < float("inf"):
        raise BadInputError(f"factor is {factor}: it must be positive and finite")
