"""Bad commands: each says one clear line on stderr and leaves with 1 or 2. To add some, add rows to `table`.

A row is what is typed after `sanity`, and the environment.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from torture.workplace import PROFILE
from typer.testing import CliRunner

from sanity.cli import app

Row = tuple[str, Mapping[str, str]]

PROFILES = {
    "empty": b"",
    "list": b"- a\n- b\n",
    "cut": b"about: x\ngrids: {a: {sources: [",
    "latin": "about: sch\xf6n\n".encode("latin-1"),
    "deep": b"[" * 20_000,
    "tag": b"about: !!python/object/apply:os.system ['true']\n",
    "unknown": b"about: x\nnonsense: 3\n",
    "no-grids": b"about: x\n",
    "no-source": b"about: x\ngrids: {synthetic_recovery: {sources: nowhere}}\n",
    "nan": b"about: x\ngrids: {synthetic_recovery: {learning_rates: .nan}}\n",
}


def table(folder: Path) -> list[Row]:
    """All rows; `folder` is for what has to lie on a disk."""
    (folder / "file").touch()
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "home").mkdir()
    for name, content in PROFILES.items():
        (folder / f"{name}.yaml").write_bytes(content)
    (folder / "yaml-folder.yaml").mkdir()
    tiny = folder / "tiny.yaml"
    tiny.write_text(PROFILE.replace("STEPS", "2"))
    odd = [folder / "file", folder / "loop", folder / ("n" * 300), folder / "file" / "deep"]
    odd_names = [*map(str, odd), "~nobody-of-that-name/x"]
    home = {"SANITY_HOME": str(folder / "home")}
    asking = ("plan", "claims", "clean", "book", "reproduce", "train", "harvest")
    return [
        *((f"plan -p {folder / name}.yaml", home) for name in [*PROFILES, "yaml-folder", "nothing"]),
        *((f"{command} -p huge", home) for command in asking if command != "clean"),
        *((f"{command} --no-such-option", home) for command in asking),
        *((f"plan -p {tiny}", {"SANITY_HOME": name}) for name in [*odd_names, str(folder / "typo")]),
        *((f"plan -p {tiny}", {**home, "SANITY_STORE": name}) for name in odd_names),
        *((f"train -p {tiny}", {**home, "SANITY_STORE": name}) for name in odd_names),
        (f"book -p {tiny}", home),
        (f"reproduce -p {tiny}", home),
        ("fetch nothing", home),
        *(("fetch sotu", {**home, "SANITY_CACHE": name}) for name in odd_names),
        *(
            (f"judge -p {tiny}", {**home, "SANITY_JUDGE_URL": url, "SANITY_JUDGE_MODEL": "m"})
            for url in BAD_URLS
        ),
        ("nonsense", home),
    ]


BAD_URLS = ["ftp://x", "http://", "localhost", "http://x:99999", "http://u:p@x/v1", "https://x/v1?key=1"]


def fault(row: Row) -> str:
    """What is wrong with how a command is refused; "" when it is one clear line."""
    typed, environment = row
    done = CliRunner().invoke(app, typed.split(), env={"SANITY_STORE": None, **environment})
    if done.exit_code == 2 and "Traceback" not in done.stderr:
        return "" if "Error" in done.stderr or "No such" in done.stderr else f"says only {done.stderr!r}"
    said = [line for line in done.stderr.splitlines() if line.startswith("sanity: ")]
    if done.exit_code != 1 or len(said) != 1 or len(said[0]) < 30:
        return f"leaves with {done.exit_code}, {done.exception!r}, and says {done.stderr[-500:]!r}"
    return ""


def check_all(folder: Path) -> Counter[str]:
    """Type every command; the numbers by command."""
    folder = folder / "commands"
    folder.mkdir()
    counts, faults = Counter[str](), dict[str, str]()
    for typed, environment in table(folder):
        before = set(os.listdir(folder))
        counts[typed.partition(" ")[0]] += 1
        if found := fault((typed, environment)):
            faults[f"{typed} {dict(environment)}"] = found
        if made := set(os.listdir(folder)) - before:
            faults[f"{typed} {dict(environment)}"] = f"makes {made}"
    assert not faults, "\n".join(f"{words} {found}" for words, found in faults.items())
    return counts
