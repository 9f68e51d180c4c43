"""The pinned assets: every wheel and file with its SHA-256, every hub repository with its commit.

The pins are data, in `pins.yaml`, which also says how to move one.
"""

from __future__ import annotations

from sanity.assets.packaged import PackagedFile, packaged
from sanity.assets.records import Asset, HubAsset, WheelAsset


class _Pins(PackagedFile):
    from_wheels: tuple[WheelAsset, ...]
    from_the_hub: tuple[HubAsset, ...]


def _assets_by_name() -> dict[str, Asset]:
    pins = packaged("assets/pins.yaml", _Pins)
    found: tuple[Asset, ...] = (*pins.from_wheels, *pins.from_the_hub)
    return {asset.name: asset for asset in found}


ASSETS = _assets_by_name()
"""Every asset by its name; the default ones are fetched by `sanity fetch` without names."""
