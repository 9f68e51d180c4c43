"""Sparse probing: what few latents tell of a text."""

from sanity.evals.sparse_probing.eval import (
    ALL_LATENTS,
    DIRECTIONS,
    LATENTS,
    OTHER_RANKING,
    PERMUTED,
    REFERENCES,
    SparseProbing,
)
from sanity.evals.sparse_probing.protocol import (
    DENSE,
    Probing,
    ceiling,
    counted,
    dense_probes,
    floors,
    over_groups,
    sparse_probes,
)

__all__ = [
    "ALL_LATENTS",
    "DENSE",
    "DIRECTIONS",
    "LATENTS",
    "OTHER_RANKING",
    "PERMUTED",
    "REFERENCES",
    "Probing",
    "SparseProbing",
    "ceiling",
    "counted",
    "dense_probes",
    "floors",
    "over_groups",
    "sparse_probes",
]
