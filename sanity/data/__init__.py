"""What models read, and worlds whose features are known; the names are loaded when they are first used.

`text` packs documents of `sources` into windows of tokens; `synthetic` holds the
paper's worlds, `worlds` harder ones, and `gaussian` noise of a given covariance.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sanity.data.gaussian import GaussianStream as GaussianStream
    from sanity.data.probing import POOLS as POOLS
    from sanity.data.probing import Pool as Pool
    from sanity.data.probing import named_pools as named_pools
    from sanity.data.probing import own_pool as own_pool
    from sanity.data.probing_texts import ProbeTask as ProbeTask
    from sanity.data.probing_texts import ProbingTexts as ProbingTexts
    from sanity.data.probing_texts import collect as collect
    from sanity.data.probing_texts import make_tasks as make_tasks
    from sanity.data.sources import SOURCES as SOURCES
    from sanity.data.sources import Document as Document
    from sanity.data.sources import HubText as HubText
    from sanity.data.sources import Source as Source
    from sanity.data.sources import Speeches as Speeches
    from sanity.data.sources import Tables as Tables
    from sanity.data.sources import TextFolder as TextFolder
    from sanity.data.sources import half_of as half_of
    from sanity.data.sources import read_table as read_table
    from sanity.data.synthetic import SyntheticBatch as SyntheticBatch
    from sanity.data.synthetic import SyntheticSpec as SyntheticSpec
    from sanity.data.synthetic import SyntheticStream as SyntheticStream
    from sanity.data.synthetic import SyntheticWorld as SyntheticWorld
    from sanity.data.text import TextSpec as TextSpec
    from sanity.data.text import Windows as Windows
    from sanity.data.text import named_sources as named_sources
    from sanity.data.text import sequences as sequences
    from sanity.data.text import window_blocks as window_blocks
    from sanity.data.worlds import Correlation as Correlation
    from sanity.data.worlds import HarderSpec as HarderSpec
    from sanity.data.worlds import HarderWorld as HarderWorld
    from sanity.data.worlds import Hierarchy as Hierarchy
    from sanity.data.worlds import Zipf as Zipf
    from sanity.data.worlds import world_of as world_of

_HOMES = {
    "sanity.data.probing": ("POOLS", "Pool", "named_pools", "own_pool"),
    "sanity.data.probing_texts": ("ProbeTask", "ProbingTexts", "collect", "make_tasks"),
    "sanity.data.gaussian": ("GaussianStream",),
    "sanity.data.sources": (
        "SOURCES",
        "Document",
        "HubText",
        "Source",
        "Speeches",
        "Tables",
        "TextFolder",
        "half_of",
        "read_table",
    ),
    "sanity.data.synthetic": ("SyntheticBatch", "SyntheticSpec", "SyntheticStream", "SyntheticWorld"),
    "sanity.data.text": ("TextSpec", "Windows", "named_sources", "sequences", "window_blocks"),
    "sanity.data.worlds": ("Correlation", "HarderSpec", "HarderWorld", "Hierarchy", "Zipf", "world_of"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'sanity.data' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)
