"""What models read, and synthetic worlds whose features are known.

`text` packs documents of `sources` into windows of tokens; `probing` and `probing_texts` hold labelled text,
`facts` and `facts_ravel` questions. `synthetic` holds the paper's worlds, `worlds` harder ones,
`layered` worlds of several layers, and `gaussian` noise of a given covariance.
"""

from sanity.data.circuit import CircuitSpec, CircuitStream, circuit_of
from sanity.data.dependence import Correlation, Hierarchy
from sanity.data.layered import LayeredSpec
from sanity.data.sources import SOURCES
from sanity.data.synthetic import SyntheticSpec, SyntheticStream, SyntheticWorld
from sanity.data.text import named_sources
from sanity.data.worlds import HarderSpec, HarderWorld, Zipf, world_of

__all__ = [
    "SOURCES",
    "CircuitSpec",
    "CircuitStream",
    "Correlation",
    "HarderSpec",
    "HarderWorld",
    "Hierarchy",
    "LayeredSpec",
    "SyntheticSpec",
    "SyntheticStream",
    "SyntheticWorld",
    "Zipf",
    "circuit_of",
    "named_sources",
    "world_of",
]
