"""Sparse autoencoders: what they are, how they train, and how they are kept."""

from sanity.engine.naming import import_modules
from sanity.models.arm import (
    Arm,
    Constraint,
    Init,
    Iso,
    Objective,
    PairedStream,
    Plain,
    Probe,
    Stream,
    Trained,
)
from sanity.models.autoencoder import Autoencoder, check_sae
from sanity.models.checkpoint import load_dictionary, load_sae, save_sae
from sanity.models.hyperparameters import Training
from sanity.models.learner import Learner
from sanity.models.neurons import neurons_of
from sanity.models.sharded import train_sharded
from sanity.models.sparsity import Architecture, BatchTopK, JumpReLU, Matryoshka, ReLU, TopK
from sanity.models.start import calibrated_start, initial_directions
from sanity.models.training import Run, train
from sanity.models.transcoder import Transcoder

__all__ = [
    "Architecture",
    "Arm",
    "Autoencoder",
    "BatchTopK",
    "Constraint",
    "Init",
    "Iso",
    "JumpReLU",
    "Learner",
    "Matryoshka",
    "Objective",
    "PairedStream",
    "Plain",
    "Probe",
    "ReLU",
    "Run",
    "Stream",
    "TopK",
    "Trained",
    "Training",
    "Transcoder",
    "calibrated_start",
    "check_sae",
    "initial_directions",
    "load_dictionary",
    "load_sae",
    "neurons_of",
    "save_sae",
    "train",
    "train_sharded",
]

import_modules(__name__)
