"""The lazy-training analysis: cones, supports, cosines to init."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sanity.profiles.entry import Entry, Positive

Cosine = Annotated[float, Field(ge=-1, le=1)]


class LazyGrid(Entry):
    """The lazy-training analysis: cones, supports, cosines to init."""

    course_seeds: tuple[int, ...] = (0,)
    """Seeds whose whole training is followed; the others are read at a tenth of their steps only."""
    probe_points: Positive = 90
    """Log-spaced steps at which cosines to init are read."""
    laziness_points: Positive = 10
    """How many of these also read supports, the first-order model and the tangent kernel."""
    laziness_samples: Positive = 256
    kernel_samples: Positive = 96
    taus: tuple[Cosine, ...] = (1.0, 0.95, 0.9, 0.8, 0.6, 0.3, 0.0, -1.0)
    """The sweep: 1 is the frozen decoder, -1 the trained arm."""
    gaussian_taus: tuple[Cosine, ...] = (0.9, 0.8, 0.6, 0.0, -1.0)
    """The part of the sweep that is repeated on Gaussian noise of the same covariance."""
    cone_seeds: tuple[int, ...] = (0,)
    real_steps: Positive = 200
    """Steps of the sweep on real activations."""
    loss_tokens: Positive | None = None
    """Held-out tokens for cross-entropy and KL of the sweep; none where it is left out."""
    output_scales: tuple[Annotated[float, Field(gt=0)], ...] = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
    """Factors on the output of the centred model of Chizat et al."""
    scaling_steps: Positive = 600
    scaling_batch: Positive = 256
    simulated_draws: Positive = 100
    """Directions per size in the simulation of what cones reach."""
    matched_latents: Positive = 4096
    """Latents of one seed, at most, that are matched one to one with those of another."""
