"""Many small logistic regressions at once, and their accuracy and AUROC.

A sparse probe has at most a handful of features and a few hundred texts, but there are tens of thousands of
them: tasks x numbers of latents x strengths of regularisation x permutations. Newton's method on a batch of
problems solves them to machine precision in a dozen steps; scikit-learn fits the same one by one (tests
hold the two against each other).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import expit
from scipy.stats import rankdata

from sanity.errors import BadInputError

_STEPS, _HALVINGS, _TOLERANCE = 100, 30, 1e-8

ProbeWeights = Float[np.ndarray, "problems features_and_one"]


def fit_logistic(
    x: Float[np.ndarray, "problems rows features"],
    y: Bool[np.ndarray, "problems rows"],
    strength: Float[np.ndarray, " problems"],
    *,
    present: Bool[np.ndarray, "problems rows"] | None = None,
) -> ProbeWeights:
    """Weights, and last the intercept, of L2-regularised logistic regressions.

    Each minimises 1/2 |w|^2 + strength * sum of the log losses, the intercept unpenalised: scikit-learn's
    definition, with `strength` its C.

    Parameters
    ----------
    present
        Which rows a problem has; the others fill up a batch of problems of different sizes.
    """
    y, x = np.broadcast_to(y, x.shape[:2]), x.astype(np.float64, copy=False)
    here = np.ones(y.shape) if present is None else present.astype(np.float64)
    positives = (here * y).sum(1)
    if not np.all((positives > 0) & (positives < here.sum(1))):
        raise BadInputError(
            "a logistic regression was given training rows of one class only: a probe needs both"
        )
    if not np.isfinite(x).all():
        raise BadInputError("a logistic regression was given NaN or infinite features: check the activations")
    design = np.concatenate([x, np.ones((*x.shape[:2], 1))], axis=2)
    penalty = np.ones(design.shape[2])
    penalty[-1] = 0.0
    w = np.zeros((len(x), design.shape[2]))
    active = np.arange(len(x))
    for _ in range(_STEPS):
        d, h, c, v = design[active], here[active], strength[active], w[active]
        p = expit(np.einsum("prf,pf->pr", d, v))
        gradient = penalty * v + c[:, None] * np.einsum("prf,pr->pf", d, h * (p - y[active]))
        open_ = np.abs(gradient).max(1) > _TOLERANCE * np.maximum(1.0, c)
        if not open_.any():
            break
        active, d, h, c, v = active[open_], d[open_], h[open_], c[open_], v[open_]
        p, gradient = p[open_], gradient[open_]
        curvature = (c[:, None] * h * p * (1 - p))[:, :, None] * d
        hessian = np.matmul(d.transpose(0, 2, 1), curvature)
        hessian[:, np.arange(len(penalty)), np.arange(len(penalty))] += penalty + 1e-12
        step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
        w[active] = _shortened(d, y[active], h, c, v, step)
    return w


def _shortened(
    d: np.ndarray, y: np.ndarray, h: np.ndarray, c: np.ndarray, v: np.ndarray, step: np.ndarray
) -> np.ndarray:
    """The point after a Newton step, which is halved wherever it would raise the loss."""
    before, length = _loss(d, y, h, c, v), np.ones(len(v))
    for _ in range(_HALVINGS):
        worse = _loss(d, y, h, c, v - length[:, None] * step) > before + 1e-12 * np.abs(before)
        if not worse.any():
            break
        length[worse] /= 2
    shortened: np.ndarray = v - length[:, None] * step
    return shortened


def _loss(d: np.ndarray, y: np.ndarray, h: np.ndarray, c: np.ndarray, w: np.ndarray) -> np.ndarray:
    logits = np.einsum("prf,pf->pr", d, w)
    losses = np.logaddexp(0.0, np.where(y, -logits, logits))
    loss: np.ndarray = 0.5 * (w[:, :-1] ** 2).sum(1) + c * (h * losses).sum(1)
    return loss


def decide(
    x: Float[np.ndarray, "problems rows features"], w: ProbeWeights
) -> Float[np.ndarray, "problems rows"]:
    """The logits: above 0 the answer is yes."""
    logits: np.ndarray = np.einsum("prf,pf->pr", x, w[:, :-1]) + w[:, -1:]
    return logits


def log_loss(
    logits: Float[np.ndarray, "problems rows"],
    y: Bool[np.ndarray, "problems rows"],
    present: Bool[np.ndarray, "problems rows"],
) -> Float[np.ndarray, " problems"]:
    """Mean log loss over the rows that are present."""
    losses = np.logaddexp(0.0, np.where(y, -logits, logits))
    mean: np.ndarray = (losses * present).sum(1) / present.sum(1)
    return mean


def accuracy(
    logits: Float[np.ndarray, "problems rows"],
    y: Bool[np.ndarray, "problems rows"],
    present: Bool[np.ndarray, "problems rows"],
) -> Float[np.ndarray, " problems"]:
    """Share of the present rows on which logit > 0 agrees with the label; a logit of 0 is half right."""
    right = np.where(np.abs(logits) < 1e-12, 0.5, (logits > 0) == y)
    share: np.ndarray = (right * present).sum(1) / present.sum(1)
    return share


def auroc(
    logits: Float[np.ndarray, "problems rows"],
    y: Bool[np.ndarray, "problems rows"],
    present: Bool[np.ndarray, "problems rows"],
) -> Float[np.ndarray, " problems"]:
    """Probability that a positive row is ranked above a negative one, ties counting half."""
    # Absent rows rank below all others, so that they move every rank by the same known number.
    ranks = rankdata(np.where(present, logits, -np.inf), axis=1) - (~present).sum(1, keepdims=True)
    yes, no = (y & present).sum(1), (~y & present).sum(1)
    if not np.all((yes > 0) & (no > 0)):
        raise BadInputError("AUROC needs rows of both classes")
    area: np.ndarray = ((ranks * (y & present)).sum(1) - yes * (yes + 1) / 2) / (yes * no)
    return area
