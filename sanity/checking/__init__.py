"""A reader's own SAE against its random baselines: adapters, matched nulls, and the test for one SAE."""

from sanity.checking.given import GivenSAE
from sanity.checking.loading import load_given

__all__ = ["GivenSAE", "load_given"]
