"""What a disk, a power cut or a hand does to a file: each takes the path and a source of chance."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path, random.Random], None]


def flip(path: Path, chance: random.Random) -> None:
    """One bit."""
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def cut(path: Path, chance: random.Random) -> None:
    """The end is missing."""
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(1, len(content))])


def empty(path: Path, chance: random.Random) -> None:
    """As after a power cut."""
    path.write_bytes(b"")


def zero(path: Path, chance: random.Random) -> None:
    """As after a power cut, on other file systems."""
    path.write_bytes(bytes(path.stat().st_size))


def lose(path: Path, chance: random.Random) -> None:
    """The file is gone."""
    path.unlink()


def dead_link(path: Path, chance: random.Random) -> None:
    """A link to nothing is in its place."""
    path.unlink()
    path.symlink_to(path.with_name("nothing"))


def loop(path: Path, chance: random.Random) -> None:
    """A link to itself is in its place."""
    path.unlink()
    path.symlink_to(path)


def folder(path: Path, chance: random.Random) -> None:
    """A folder is in its place."""
    path.unlink()
    path.mkdir()


def parent_is_file(path: Path, chance: random.Random) -> None:
    """A file is where the folder was that it lay in."""
    shutil.rmtree(path.parent)
    path.parent.write_bytes(b"")


def edit(path: Path, chance: random.Random) -> None:
    """Somebody changes one value of a JSON object, or takes it out; a file of another kind is flipped."""
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        content = None
    if not content or not isinstance(content, dict):
        flip(path, chance)
        return
    value, names = content, list(content)
    name = chance.choice(names)
    while isinstance(value[name], dict) and value[name]:
        value, name = value[name], chance.choice(list(value[name]))
    if chance.random() < 0.5:
        del value[name]
    else:
        old = value[name]
        value[name] = old + 1 if isinstance(old, int | float) else [] if isinstance(old, list) else f"{old}x"
    os.replace(_written(path, content), path)


def _written(path: Path, content: object) -> Path:
    new = path.with_name("edited")
    new.write_text(json.dumps(content))
    return new


DAMAGES: dict[str, Damage] = {
    one.__name__: one for one in (flip, cut, empty, zero, lose, dead_link, loop, folder, edit)
}
"""Of one file; `parent_is_file` hits its neighbours, too."""
