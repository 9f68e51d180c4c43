"""Launch buttons and downloads: the checkout's own remote or nothing, and never a credential."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanity.engine import machine
from sanity.errors import BadInputError
from sanity.publishing.buttons import keep_apart
from sanity.publishing.remote import (
    COLAB_CELL,
    Remote,
    buttons,
    fill_colab_cell,
    find_remote,
    parse_remote,
    published_ref,
    write_address,
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
    made = buttons(remote, "abc/1", "book/a b.ipynb", "notebooks/a b.ipynb")
    flat = [item for button in made for item in button.get("buttons", [button])]
    return {item["tooltip"]: item["url"] for item in flat}


def test_github_gets_colab_binder_and_download() -> None:
    assert links(Remote("github.com", "owner/name")) == {
        "Launch on Colab": "https://colab.research.google.com/github/owner/name/blob/abc%2F1/book/a%20b.ipynb",
        "Launch on Binder": "https://mybinder.org/v2/gh/owner/name/abc%2F1?urlpath=lab/tree/book/a%20b.ipynb",
        "Download notebook": "notebooks/a b.ipynb",
        "Repository": "https://github.com/owner/name",
    }


def test_other_hosts_get_what_works_there() -> None:
    gitlab = links(Remote("gitlab.com", "group/sub/name"))
    assert "Launch on Colab" not in gitlab
    assert gitlab["Launch on Binder"].startswith("https://mybinder.org/v2/gl/group%2Fsub%2Fname/abc%2F1?")
    codeberg = links(Remote("codeberg.org", "owner/name"))
    assert "https%3A%2F%2Fcodeberg.org%2Fowner%2Fname" in codeberg["Launch on Binder"]


def test_without_a_remote_a_notebook_can_still_be_downloaded() -> None:
    assert links(None) == {"Download notebook": "notebooks/a b.ipynb"}


@pytest.fixture
def colab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Runs a cell in a made-up Colab, where everything is real but pip, which installs nothing."""
    run = subprocess.run

    def quick(command: list[str], **options: Any) -> Any:
        return None if command[1:3] == ["-m", "pip"] else run(command, **options)

    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr("subprocess.run", quick)
    monkeypatch.chdir(tmp_path)
    return lambda source: exec(compile(source.replace("/content", str(tmp_path)), "cell", "exec"), {})


@pytest.fixture
def published(checkout: Path) -> Path:
    """A repository with a branch whose name has a slash, and a commit that no branch is at."""
    (checkout / "book").mkdir()
    for branch in ("trunk", "feature/x"):
        git(checkout, "checkout", "-B", branch)
        (checkout / "book" / "claims.yml").write_text(branch, encoding="utf-8")
        git(checkout, "add", ".")
        git(checkout, "commit", "-m", branch)
    git(checkout, "config", "uploadpack.allowAnySHA1InWant", "true")
    git(checkout, "commit", "--allow-empty", "-m", "later")
    git(checkout, "checkout", "trunk")
    return checkout


def filled(repository: Path, ref: str) -> str:
    cell = fill_colab_cell(COLAB_CELL, Remote("github.com", "owner/name"), ref)
    return cell.replace("https://github.com/owner/name", repository.as_uri())


@pytest.mark.parametrize("ref", ["", "trunk", "feature/x", "commit"])
def test_the_colab_cell_can_run_again_for_any_ref(
    published: Path, colab: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory, ref: str
) -> None:
    branch = "trunk" if ref == "trunk" or not ref else "feature/x"
    if ref == "commit":
        ref = machine.git(published, "rev-parse", "feature/x~1")
    for _ in range(2):
        colab(filled(published, ref))
        assert Path("claims.yml").read_text(encoding="utf-8") == branch  # it has changed to the book's folder
    colab(filled(published, "trunk"))  # another chapter, from another branch
    assert Path("claims.yml").read_text(encoding="utf-8") == "trunk"
    colab(COLAB_CELL)  # a copy that knows no address
    assert Path("claims.yml").exists()


def test_a_clone_that_was_cut_short_is_made_again(
    published: Path, colab: Callable[[str], None], tmp_path: Path
) -> None:
    (tmp_path / "sae-sanity" / ".git").mkdir(parents=True)
    colab(filled(published, ""))
    assert Path("claims.yml").exists()


def test_a_cell_without_address_asks_for_it_in_one_sentence(colab: Callable[[str], None]) -> None:
    with pytest.raises(ValueError, match="https address of this notebook's repository"):
        colab(COLAB_CELL)


def test_colab_cell_does_nothing_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.run", lambda *_a, **_k: pytest.fail("something was run"))
    names: dict[str, Any] = {}
    exec(compile(COLAB_CELL, "cell", "exec"), names)
    assert set(names) <= {"__builtins__", "sys"}


def test_without_a_remote_the_cell_is_left_alone() -> None:
    assert fill_colab_cell(COLAB_CELL, None, "abc123") == COLAB_CELL


def test_the_address_is_written_into_cells_of_notebooks_and_their_pairs(
    checkout: Path, repository: Path
) -> None:
    (checkout / "book").mkdir()
    for name in ("anatomy.ipynb", "anatomy.py"):
        shutil.copy(repository / "book" / name, checkout / "book")
    with pytest.raises(BadInputError, match="git remote add"):
        write_address(checkout)
    for owner in ("first", "fork"):
        git(
            checkout,
            "remote",
            *(["set-url"] if owner == "fork" else ["add"]),
            "origin",
            f"git@github.com:{owner}/n",
        )
        assert write_address(checkout) == f"https://github.com/{owner}/n"
        line = f'REPOSITORY, REF = "https://github.com/{owner}/n", ""'
        assert line in (checkout / "book" / "anatomy.py").read_text(encoding="utf-8")
        cells = json.loads((checkout / "book" / "anatomy.ipynb").read_text(encoding="utf-8"))["cells"]
        assert sum(line in "".join(cell["source"]) for cell in cells) == 1


@pytest.mark.parametrize(("staged", "folder"), [({}, "unrun"), ({"intro": []}, "html")])
def test_a_plain_jupyter_book_does_not_write_into_the_books_pages(
    tmp_path: Path, staged: dict[str, Any], folder: str
) -> None:
    app = types.SimpleNamespace(outdir=tmp_path / "html")
    keep_apart(app, types.SimpleNamespace(sanity_buttons=staged))
    assert app.outdir == tmp_path / folder
