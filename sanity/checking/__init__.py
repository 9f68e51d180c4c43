"""A reader's own SAE against its random baselines: adapters, matched nulls, and the test for one SAE."""

from sanity.checking.request import SIZES
from sanity.checking.target import source_of

__all__ = ["SIZES", "source_of"]
