"""Checks that anybody's architecture, constraint, init, source or eval can be put through.

Each raises `ContractError` with what does not hold; none needs the network, a language model or more than
seconds. `check_sae` for finished autoencoders is `sanity.check_sae`.

>>> from sanity.baselines import SoftFrozenDecoder
>>> check_constraint(SoftFrozenDecoder(cosine=0.5))
"""

from sanity.testing.arms import check_architecture, check_constraint, check_init
from sanity.testing.contract import ContractError
from sanity.testing.evals import check_eval
from sanity.testing.sources import check_source

__all__ = [
    "ContractError",
    "check_architecture",
    "check_constraint",
    "check_eval",
    "check_init",
    "check_source",
]
