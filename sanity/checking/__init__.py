"""A reader's own SAE against its random baselines: adapters, matched nulls, and the test for one SAE."""

from sanity.checking.check import Check
from sanity.checking.given import GivenSAE
from sanity.checking.loading import given_of, load_given
from sanity.checking.report import Report
from sanity.checking.request import SIZES, Request
from sanity.checking.target import source_of

__all__ = ["SIZES", "Check", "GivenSAE", "Report", "Request", "given_of", "load_given", "source_of"]
