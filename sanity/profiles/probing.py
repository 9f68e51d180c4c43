"""Sparse probing: which texts, how many of them, which k."""

from __future__ import annotations

from typing import Literal

from sanity.profiles.entry import Entry, Positive


class ProbingGrid(Entry):
    """Sparse probing: which texts, how many of them, which k."""

    pools: tuple[str, ...] = ("groups",)
    """Names of pools of labelled text; "groups" are the paper's five concept groups, "wider" all others."""
    per_class: Positive = 80
    """Texts of each class, as far as there are so many without duplicates."""
    window: Positive = 32
    """Tokens of a text that are read."""
    ks: tuple[Positive, ...] = (1, 2, 5, 16)
    permutations: Positive = 100
    """Permutations of the labels behind the floor."""
    gate_seeds: tuple[int, ...] = (1000, 1001, 1002, 1003, 1004)
    """Divisions of the texts on which the metric itself is tested; none of them is judged."""
    storage_dtype: Literal["float32", "bfloat16", "float16"] = "float16"
    sweep: bool = False
    """Whether the arms of the sweeps over architectures and L0s are probed, too."""
