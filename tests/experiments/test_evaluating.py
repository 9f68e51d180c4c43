"""`sanity.evaluate`: any SAE object, scored as a grid scores it."""

from __future__ import annotations

import pytest
import torch
from tiny_profile import tiny_profile

import sanity
from sanity.engine.store import LocalStore
from sanity.errors import BadInputError
from sanity.experiments.reading import Reader
from sanity.models import TopK
from sanity.sources import World


class Given:
    """The least that an SAE is."""

    def __init__(self, sae: sanity.Autoencoder) -> None:
        self.W_dec, self.encode, self.decode = sae.W_dec, sae.encode, sae.decode


def test_any_object_scores_as_its_cell_does(store: LocalStore) -> None:
    profile = tiny_profile(only=["synthetic_recovery"])
    reader = Reader(profile, store)
    scores = reader.scores("synthetic_recovery", evals=["reconstruction", "recovery"])
    run, sae = reader.saes("synthetic_recovery")[0]
    own = scores[(scores["architecture"] == "topk") & (scores["world_or_hook"] == run.place)]
    own = own[(own["constraint"] == "trained") & (own["seed"] == 0)].set_index("metric")["value"]
    source = profile.source_named("constant")
    found = sanity.evaluate(Given(sae), source, ["recovery"], store=store)
    # Samples are drawn in batches of another size here: the same world, another draw.
    value = found.set_index("metric")["value"]
    assert value["recovery"] == own["recovery"]
    assert value["detection_f1"] == pytest.approx(own["detection_f1"], abs=0.05)
    assert set(found["eval"]) == {"recovery"}
    assert set(found["sae"]) == {"Given"}


def test_what_cannot_be_scored_is_refused_in_words(store: LocalStore) -> None:
    sae = Given(sanity.Autoencoder(torch.eye(12), torch.eye(12), torch.zeros(12), torch.zeros(12), TopK(2)))
    with pytest.raises(BadInputError, match="12 wide, and"):
        sanity.evaluate(sae, World(), store=store)
    source = tiny_profile().source_named("constant")
    with pytest.raises(BadInputError, match="no language model"):
        sanity.evaluate(sae, source, ["loss"], store=store)
    with pytest.raises(BadInputError, match="no eval is called 'beauty'"):
        sanity.evaluate(sae, source, ["beauty"], store=store)
    with pytest.raises(BadInputError, match="cannot be used as an SAE"):
        sanity.evaluate(object(), source, store=store)
