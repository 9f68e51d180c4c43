"""Launch buttons and downloads: the checkout's own remote or nothing, and never a credential."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanity.publishing.remote import (
    COLAB_CELL,
    Remote,
    buttons,
    fill_colab_cell,
    find_remote,
    parse_remote,
    published_ref,
)


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(folder), *arguments],
        check=True,
        capture_output=True,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--initial-branch=trunk")
    git(tmp_path, "commit", "--allow-empty", "-m", "begin")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://github.com/owner/name.git", "https://github.com/owner/name"),
        ("https://github.com/owner/name/", "https://github.com/owner/name"),
        ("http://github.com/owner/name", "https://github.com/owner/name"),
        ("https://user:s3cret@github.com/owner/name.git", "https://github.com/owner/name"),
        ("https://s3cret@GitHub.com/owner/name.git", "https://github.com/owner/name"),
        ("https://github.com:443/owner/name.git", "https://github.com/owner/name"),
        ("git@github.com:owner/name.git", "https://github.com/owner/name"),
        ("github.com:owner/name.git", "https://github.com/owner/name"),
        ("ssh://git@github.com:22/owner/name.git", "https://github.com/owner/name"),
        ("git@gitlab.com:group/sub/name.git", "https://gitlab.com/group/sub/name"),
        ("https://bitbucket.org/owner/name", "https://bitbucket.org/owner/name"),
        ("ssh://git@codeberg.org/owner/name.git", "https://codeberg.org/owner/name"),
    ],
)
def test_known_hosts_are_recognised_without_credentials(text: str, url: str) -> None:
    remote = parse_remote(text)
    assert remote is not None
    assert remote.url == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/srv/git/name.git",
        "../name",
        "file:///srv/git/github.com/owner/name.git",
        "git://github.com/owner/name.git",
        "https://git.example.org/owner/name.git",
        "git@localhost:owner/name.git",
        "https://github.com.evil.example/owner/name",
        "https://evil.example/github.com/owner/name",
        "https://github.com/owner",
        "https://github.com/owner/na me",
        'https://github.com/owner/"><script>',
        "C:\\repositories\\name",
        "http://[broken/owner/name",
    ],
)
def test_everything_else_gives_no_remote(text: str) -> None:
    assert parse_remote(text) is None


@given(st.text(alphabet="abcXYZ019-_.~!$%", min_size=1), st.text(alphabet="abcXYZ019-_.~!$%", min_size=1))
def test_no_user_or_password_survives(user: str, password: str) -> None:
    remote = parse_remote(f"https://{user}:{password}@github.com/owner/name.git")
    assert remote is None or remote.url == "https://github.com/owner/name"


def test_the_branch_remote_comes_before_origin(checkout: Path) -> None:
    git(checkout, "remote", "add", "origin", "https://github.com/fork/name")
    git(checkout, "remote", "add", "upstream", "git@github.com:owner/name.git")
    assert find_remote(checkout) == Remote("github.com", "fork/name")
    git(checkout, "config", "branch.trunk.remote", "upstream")
    assert find_remote(checkout) == Remote("github.com", "owner/name")


def test_a_clone_of_a_local_folder_has_no_remote(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clone = tmp_path_factory.mktemp("clones") / "clone"
    git(checkout, "clone", str(checkout), str(clone))
    assert find_remote(clone) is None
    assert find_remote(tmp_path_factory.mktemp("no-checkout")) is None


def test_links_name_the_commit_once_it_is_published_and_the_branch_before(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert published_ref(checkout) == "trunk"
    server = tmp_path_factory.mktemp("server")
    git(server, "init", "--bare")
    git(checkout, "remote", "add", "origin", str(server))
    git(checkout, "push", "origin", "trunk")
    assert len(published_ref(checkout)) == 40
    git(checkout, "commit", "--allow-empty", "-m", "not pushed")
    assert published_ref(checkout) == "trunk"


def links(remote: Remote | None) -> dict[str, str]:
    made = buttons(remote, "abc/1", "book/a b.ipynb")
    flat = [item for button in made for item in button.get("buttons", [button])]
    return {item["tooltip"]: item["url"] for item in flat}


def test_github_gets_colab_binder_and_download() -> None:
    assert links(Remote("github.com", "owner/name")) == {
        "Launch on Colab": "https://colab.research.google.com/github/owner/name/blob/abc%2F1/book/a%20b.ipynb",
        "Launch on Binder": "https://mybinder.org/v2/gh/owner/name/abc%2F1?urlpath=lab/tree/book/a%20b.ipynb",
        "Download notebook": "https://github.com/owner/name/raw/abc%2F1/book/a%20b.ipynb",
        "Repository": "https://github.com/owner/name",
    }


def test_other_hosts_get_what_works_there() -> None:
    gitlab = links(Remote("gitlab.com", "group/sub/name"))
    assert "Launch on Colab" not in gitlab
    assert gitlab["Launch on Binder"].startswith("https://mybinder.org/v2/gl/group%2Fsub%2Fname/abc%2F1?")
    assert gitlab["Download notebook"].startswith("https://gitlab.com/group/sub/name/-/raw/abc%2F1/")
    codeberg = links(Remote("codeberg.org", "owner/name"))
    assert "https%3A%2F%2Fcodeberg.org%2Fowner%2Fname" in codeberg["Launch on Binder"]


def test_no_remote_no_buttons() -> None:
    assert buttons(None, "main", "book/intro.ipynb") == []


def run_colab_cell(source: str, monkeypatch: pytest.MonkeyPatch, opened: str = "") -> list[list[str]]:
    """The commands that the cell runs in a made-up Colab that has `opened` a notebook."""
    commands: list[list[str]] = []

    class Answer:
        def read(self) -> bytes:
            return json.dumps([{"path": opened}]).encode()

    def record(command: list[str], **_: Any) -> None:
        commands.append(command)

    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setenv("COLAB_JUPYTER_IP", "127.0.0.1")
    monkeypatch.setenv("KMP_TARGET_PORT", "1")
    monkeypatch.setattr("urllib.request.urlopen", lambda _url: Answer())
    monkeypatch.setattr("subprocess.run", record)
    monkeypatch.setattr("os.chdir", lambda folder: commands.append(["cd", folder]))
    exec(compile(source, "cell", "exec"), {})
    return commands


def test_colab_cell_does_nothing_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.run", lambda *_a, **_k: pytest.fail("something was run"))
    names: dict[str, Any] = {}
    exec(compile(COLAB_CELL, "cell", "exec"), names)
    assert set(names) <= {"__builtins__", "sys"}


def test_filled_colab_cell_installs_the_remote_at_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    filled = fill_colab_cell(COLAB_CELL, Remote("gitlab.com", "owner/name"), "abc123")
    commands = run_colab_cell(filled, monkeypatch)
    assert ["git", "clone", "--quiet", "https://gitlab.com/owner/name", "/content/sae-sanity"] in commands
    assert ["git", "-C", "/content/sae-sanity", "checkout", "--quiet", "abc123"] in commands
    assert any(command[1:4] == ["-m", "pip", "install"] for command in commands)


def test_published_colab_cell_asks_colab_where_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = "fileId=https%3A//github.com/owner/name/blob/abc123/book/intro.ipynb"
    commands = run_colab_cell(COLAB_CELL, monkeypatch, opened)
    assert ["git", "clone", "--quiet", "https://github.com/owner/name", "/content/sae-sanity"] in commands
    assert ["git", "-C", "/content/sae-sanity", "checkout", "--quiet", "abc123"] in commands


def test_without_a_remote_the_cell_is_left_alone() -> None:
    assert fill_colab_cell(COLAB_CELL, None, "abc123") == COLAB_CELL
