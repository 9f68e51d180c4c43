"""Do sparse autoencoders beat random baselines? Models, baselines and evals to find out.

The names below are loaded when they are first used: `import sanity` itself loads neither torch nor
transformers, transformer-lens or nnsight.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sanity.data.synthetic import SyntheticSpec as SyntheticSpec
    from sanity.data.synthetic import SyntheticWorld as SyntheticWorld
    from sanity.evals.score import Score as Score
    from sanity.experiments.evaluating import evaluate as evaluate
    from sanity.models import Arm as Arm
    from sanity.models import Autoencoder as Autoencoder
    from sanity.models import check_sae as check_sae
    from sanity.models import load_sae as load_sae
    from sanity.models import train as train
    from sanity.models import train_sharded as train_sharded
    from sanity.publishing.checks import check as check
    from sanity.subject import load_subject as load_subject

_HOMES = {
    "Arm": "sanity.models",
    "Autoencoder": "sanity.models",
    "Score": "sanity.evals.score",
    "SyntheticSpec": "sanity.data.synthetic",
    "SyntheticWorld": "sanity.data.synthetic",
    "check": "sanity.publishing.checks",
    "check_sae": "sanity.models",
    "evaluate": "sanity.experiments.evaluating",
    "load_sae": "sanity.models",
    "load_subject": "sanity.subject",
    "train": "sanity.models",
    "train_sharded": "sanity.models",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sanity' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
