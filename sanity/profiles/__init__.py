"""Profiles: how much of everything a run does, as data.

`demo` is for a first look, `smoke` for tests, `quick` for a laptop, `overnight` for its night, `synthetic`
for the paper's synthetic worlds alone, `gpu` and `paper` for a graphics card; each is one YAML file next to
this module, validated when it is loaded.
"""

from sanity.profiles.grids import GridBlock, named_arm
from sanity.profiles.schema import Profile, built, load, name_of, names, read_profile

__all__ = ["GridBlock", "Profile", "built", "load", "name_of", "named_arm", "names", "read_profile"]
