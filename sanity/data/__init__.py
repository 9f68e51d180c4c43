"""What models read, and synthetic worlds whose features are known.

`text` packs documents of `sources` into windows of tokens; `probing` and `probing_texts` hold labelled text,
`facts` and `facts_ravel` questions. `synthetic` holds the paper's worlds, `worlds` harder ones,
`layered` worlds of several layers, and `gaussian` noise of a given covariance.
"""

from sanity.data.circuit import Circuit, CircuitSpec, CircuitStream, circuit_of
from sanity.data.dependence import Correlation, Hierarchy
from sanity.data.documents import Document, Source
from sanity.data.gaussian import GaussianStream
from sanity.data.hub import HubText
from sanity.data.layered import LayeredSpec
from sanity.data.local import TextFolder
from sanity.data.places import SyntheticBatch
from sanity.data.probing import Pool, named_pools
from sanity.data.sources import SOURCES, Speeches, Tables
from sanity.data.synthetic import SyntheticSpec, SyntheticStream, SyntheticWorld
from sanity.data.text import TextSpec, Windows, named_sources, sequences, window_blocks
from sanity.data.worlds import HarderSpec, HarderWorld, Zipf, world_of

__all__ = [
    "SOURCES",
    "Circuit",
    "CircuitSpec",
    "CircuitStream",
    "Correlation",
    "Document",
    "GaussianStream",
    "HarderSpec",
    "HarderWorld",
    "Hierarchy",
    "HubText",
    "LayeredSpec",
    "Pool",
    "Source",
    "Speeches",
    "SyntheticBatch",
    "SyntheticSpec",
    "SyntheticStream",
    "SyntheticWorld",
    "Tables",
    "TextFolder",
    "TextSpec",
    "Windows",
    "Zipf",
    "circuit_of",
    "named_pools",
    "named_sources",
    "sequences",
    "window_blocks",
    "world_of",
]
