"""Metrics that the book's ledger names, for tests that load nothing that declares them."""

from __future__ import annotations

from sanity.evals.metric import METRICS, Metric, declare

ELSEWHERE = {
    "autointerp_judge": Metric(
        "judged interpretability (accuracy)", "higher", 0.5, "0.5: shuffled descriptions",
        "1: every context classified",
    ),
    "autointerp_auroc": Metric(
        "held-out example AUROC", "higher", 0.5, "0.5: shuffled examples", "1: every context ranked"
    ),
    "autointerp_auroc_token_matched": Metric(
        "held-out example AUROC (same word)", "higher", 0.5,
        "0.5: chance among contexts that hold the same word", "1: every context ranked",
    ),
    "sparse_probing_top1": Metric(
        "sparse probing accuracy (top 1)", "higher", 0.5,
        "permuted labels, the selection of latents included", "dense probe on the residual stream",
    ),
    "sparse_probing_top5": Metric(
        "sparse probing accuracy (top 5)", "higher", 0.5,
        "permuted labels, the selection of latents included", "dense probe on the residual stream",
    ),
    "ravel_disentanglement": Metric(
        "RAVEL disentanglement", "higher", 0.5, "the better of doing nothing and swapping everything",
        "a learned rotation (DAS style)",
    ),
    "log10_cone_bound": Metric(
        "log10 of the paper's bound on hitting a cone", "none", None, "none", "none",
        ungated="it is computed from a formula and measures nothing",
    ),
    "cone_reach": Metric(
        "largest cosine that the best of m cones can reach", "none", None, "none", "none",
        ungated="it is computed from a formula and measures nothing",
    ),
}  # fmt: skip


def declare_missing() -> None:
    """Declare those that nothing has declared yet."""
    declare({name: metric for name, metric in ELSEWHERE.items() if name not in METRICS})
