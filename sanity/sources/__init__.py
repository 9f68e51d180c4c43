"""Where activations come from: synthetic worlds, hooks in language models, and noise like either."""

from sanity.sources.base import OpenedSource, Pace, Source
from sanity.sources.circuit import SyntheticCircuit
from sanity.sources.hook import Hook, harvests_of
from sanity.sources.hook_reading import LanguageModelHook
from sanity.sources.inits import SignedBasis, TrueFeatures
from sanity.sources.layers import Layers
from sanity.sources.layers_changed import OneLayer, ShuffledLayers
from sanity.sources.mlp import MLP, MLPHook
from sanity.sources.noise import Noise
from sanity.sources.run import Budget, RunSpec, Snapshot
from sanity.sources.streamed import StreamedHook, StreamedMLP
from sanity.sources.world import World

__all__ = [
    "MLP",
    "Budget",
    "Hook",
    "LanguageModelHook",
    "Layers",
    "MLPHook",
    "Noise",
    "OneLayer",
    "OpenedSource",
    "Pace",
    "RunSpec",
    "ShuffledLayers",
    "SignedBasis",
    "Snapshot",
    "Source",
    "StreamedHook",
    "StreamedMLP",
    "SyntheticCircuit",
    "TrueFeatures",
    "World",
    "harvests_of",
]
