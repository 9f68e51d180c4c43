"""Broken YAML in each of the four places where people write it: one error of ours, which names the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sanity import profiles
from sanity.claims import read_ledger
from sanity.engine.yamlfile import parse_yaml
from sanity.errors import BadInputError
from sanity.publishing.chapters import read_chapters
from sanity.publishing.site import read_settings

READERS: dict[str, Callable[[Path], object]] = {
    "my.yaml": lambda path: profiles.load(str(path)),
    "_toc.yml": lambda path: read_chapters(path.parent),
    "_config.yml": read_settings,
    "claims.yml": read_ledger,
}
BROKEN = {
    "empty": b"",
    "a comment": b"# nothing\n",
    "a list": b"- root: intro\n",
    "a text": b"about",
    "a number for a name": b"1: 2\n",
    "cut": b"root: [1, 2",
    "cut in a quote": b'about: "half',
    "not UTF-8": "about: élan\n".encode("latin-1"),
    "UTF-16": "about: it\n".encode("utf-16"),
    "a zero byte": b"about: \0\n",
    "deep lists": b"about: " + b"[" * 20_000,
    "deep mappings": b"about: " + b"{a: " * 5000,
    "deep and closed": b"about: " + b"[" * 3000 + b"]" * 3000,
    "twice": b"about: a\nabout: b\n",
    "a list for a name": b"? [1, 2]\n: 3\n",
    "no such day": b"about: 2026-02-31\n",
    "an object": b"about: !!python/object/apply:os.getcwd []\n",
    "an unknown anchor": b"about: *there\n",
    "huge": b"about: " + b"x" * (5 * 2**20),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("name", READERS)
def test_broken_yaml_is_one_error_that_names_the_file(tmp_path: Path, name: str, broken: str) -> None:
    file = tmp_path / name
    file.write_bytes(BROKEN[broken])
    with pytest.raises(BadInputError, match=name.removesuffix(".yaml")) as caught:
        READERS[name](file)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("place", ["a folder", "nothing"])
def test_what_is_no_file_is_named(tmp_path: Path, name: str, place: str) -> None:
    if place == "a folder":
        (tmp_path / name).mkdir()
    with pytest.raises(BadInputError, match=name):
        READERS[name](tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "field"),
    [
        ("_toc.yml", "format: jb-book\n", "root"),
        ("_toc.yml", "root: [a]\n", "root"),
        ("_toc.yml", "root: a\nchapters: b\n", "chapters"),
        ("_toc.yml", "root: a\nparts: [1]\n", "parts.0"),
        ("_config.yml", "sphinx: [1]\n", "sphinx"),
        ("_config.yml", "sphinx: {config: 3}\n", "sphinx.config"),
        (
            "claims.yml",
            "pilot_seeds: 3\nexperiments: []\nscales: {}\nmargins: {}\nclaims: []\n",
            "experiments",
        ),
        (
            "claims.yml",
            "pilot_seeds: [-1]\nexperiments: {}\nscales: {}\nmargins: {}\nclaims: []\n",
            "pilot_seeds",
        ),
        ("my.yaml", "about: it\nsources: []\ngrids: {}\n", "sources"),
        ("my.yaml", "about: it\nsources: {}\ngrids: []\n", "grids"),
    ],
)
def test_a_field_that_is_of_another_kind_is_named(
    tmp_path: Path, name: str, content: str, field: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(BadInputError, match=field):
        READERS[name](tmp_path / name)


def test_what_is_well_is_read() -> None:
    assert parse_yaml("\ufeffa: &x {b: 1}\nc: {<<: *x, d: 2}\n".encode(), "here") == {
        "a": {"b": 1},
        "c": {"b": 1, "d": 2},
    }
