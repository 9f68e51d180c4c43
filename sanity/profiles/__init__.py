"""Profiles: how much of everything a run does, as data.

`smoke` is for tests, `quick` for a laptop, `overnight` for a laptop's night, `gpu` and `paper` for a
graphics card; each is one YAML file
beside this module, validated when it is loaded.
"""

from sanity.profiles.entry import ArmNames, World
from sanity.profiles.schema import LanguageModel, Profile, RealGrid, Sweep, ToyGrid, load, names

__all__ = [
    "ArmNames",
    "LanguageModel",
    "Profile",
    "RealGrid",
    "Sweep",
    "ToyGrid",
    "World",
    "load",
    "names",
]
