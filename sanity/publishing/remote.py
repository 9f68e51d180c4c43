"""The repository's own remote: where launch buttons, downloads and the Colab cell point.

Only a remote on a known public host counts. A local path, an unknown host or no remote at all gives
pages without buttons: a button that leads nowhere is worse than none.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from sanity.engine.machine import git
from sanity.engine.store import home
from sanity.errors import BadInputError

HOSTS = {"github.com": "gh", "gitlab.com": "gl", "bitbucket.org": "git", "codeberg.org": "git"}
"""Known hosts and the name of each one's provider at mybinder.org."""

COLAB_CELL = """\
# In Colab: fetch the repository that this notebook came from, and install its package. Elsewhere: nothing.
import sys

if "google.colab" in sys.modules:
    import os
    import subprocess

    REPOSITORY, REF = "", ""
    checkout = "/content/sae-sanity"
    if not os.path.exists(f"{checkout}/book/claims.yml"):
        if not REPOSITORY:
            raise ValueError(
                "Write the https address of this notebook's repository between the first quotes after "
                "REPOSITORY above (and a branch or commit between the second), and run this cell again."
            )
        subprocess.run(["rm", "-rf", checkout], check=True)
        subprocess.run(["git", "clone", "--quiet", REPOSITORY, checkout], check=True)
    if REF:
        subprocess.run(["git", "-C", checkout, "fetch", "--quiet", "origin", REF], check=True)
        subprocess.run(["git", "-C", checkout, "checkout", "--quiet", "FETCH_HEAD"], check=True)
    # Colab's own torch and numpy stay where they are recent enough.
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", checkout], check=True)
    os.chdir(f"{checkout}/book")
"""
"""The first cell of every chapter; it can run again at any time. `write_address` fills in the repository, and
`fill_colab_cell` that and the commit, which no committed file can name."""
_ADDRESS = re.compile(r'REPOSITORY, REF = (\\?")[^"\\]*\\?", \\?"[^"\\]*\\?"')


@dataclasses.dataclass(frozen=True)
class Remote:
    """A repository on a known host; `url` is https, without credentials and without `.git`."""

    host: str
    path: str

    @property
    def url(self) -> str:
        """The repository's page, for example `https://github.com/owner/name`."""
        return f"https://{self.host}/{self.path}"


def parse_remote(text: str) -> Remote | None:
    """The remote that a URL of git's names, or `None` for a local path or an unknown host.

    >>> parse_remote("git@github.com:owner/name.git").url
    'https://github.com/owner/name'
    >>> parse_remote("https://user:secret@github.com/owner/name").url
    'https://github.com/owner/name'
    >>> parse_remote("/srv/git/name.git") is None
    True
    """
    scp_like = re.fullmatch(r"(?:[\w.-]+@)?([\w.-]+):(?!/)(.+)", text.strip())
    if scp_like and "://" not in text:
        host, path = scp_like.groups()
    else:
        try:
            parts = urlsplit(text.strip())
            host, path = parts.hostname or "", parts.path
        except ValueError:
            return None
        if parts.scheme not in ("http", "https", "ssh", "git+ssh"):
            return None
    path = path.strip("/").removesuffix(".git")
    if host.lower() not in HOSTS or not re.fullmatch(r"[\w.-]+(/[\w.-]+)+", path):
        return None
    return Remote(host.lower(), path)


def find_remote(root: Path) -> Remote | None:
    """The remote of the checkout at `root`: the current branch's, else `origin`, else any known one."""
    branch = git(root, "symbolic-ref", "--short", "HEAD")
    names = [git(root, "config", f"branch.{branch}.remote"), "origin", *git(root, "remote").split()]
    for name in dict.fromkeys(n for n in names if n):
        # The configured text, not what `insteadOf` rules of this machine make of it.
        remote = parse_remote(git(root, "config", "--get", f"remote.{name}.url"))
        if remote is not None:
            return remote
    return None


def published_ref(root: Path) -> str:
    """The commit that links should name, or the branch while that commit is not on any remote yet."""
    if git(root, "branch", "--remotes", "--contains", "HEAD"):
        return git(root, "rev-parse", "HEAD")
    return git(root, "symbolic-ref", "--short", "HEAD") or "main"


def buttons(remote: Remote | None, ref: str, path: str, download: str) -> list[dict[str, Any]]:
    """The header buttons of the notebook at `path` in the repository: launch, and download from `download`.

    In the form that sphinx-book-theme's `header_buttons` have. Colab opens only what is on GitHub; without a
    remote there is nothing to launch.
    """
    saved = {
        **_link("", download, "fas fa-download", "Download notebook"),
        "label": "download-notebook-button",
    }
    if remote is None:
        return [saved]
    where, path = quote(ref, safe=""), quote(path)
    spec = {
        "gh": remote.path,
        "gl": quote(remote.path, safe=""),
        "git": quote(remote.url, safe=""),
    }[HOSTS[remote.host]]
    binder = f"https://mybinder.org/v2/{HOSTS[remote.host]}/{spec}/{where}?urlpath=lab/tree/{path}"
    launch = [_link("Binder", binder, "_static/images/logo_binder.svg", "Launch on Binder")]
    if remote.host == "github.com":
        colab = f"https://colab.research.google.com/github/{remote.path}/blob/{where}/{path}"
        launch.insert(0, _link("Colab", colab, "_static/images/logo_colab.png", "Launch on Colab"))
    return [
        {
            "type": "group",
            "tooltip": "Launch this chapter",
            "icon": "fas fa-rocket",
            "buttons": launch,
            "label": "launch-buttons",
        },
        saved,
        {**_link("", remote.url, "fas fa-code-branch", "Repository"), "label": "source-repository-button"},
    ]


def fill_colab_cell(source: str, remote: Remote | None, ref: str) -> str:
    """`source`, a cell or the text of a notebook, with the Colab cell's address filled in."""
    if remote is None:
        return source
    return _ADDRESS.sub(
        lambda found: f"REPOSITORY, REF = {found[1]}{remote.url}{found[1]}, {found[1]}{ref}{found[1]}", source
    )


def write_address(root: Path | None = None) -> str:
    """Write the checkout's own remote into the first cell of every chapter, for Colab; gives the address.

    Raises `BadInputError` where there is no remote on a known host.
    """
    root = root or home()
    remote = find_remote(root)
    if remote is None:
        raise BadInputError(
            f"{root} has no remote on {', '.join(HOSTS)}: add one with `git remote add origin ADDRESS`"
        )
    for path in sorted([*(root / "book").glob("*.ipynb"), *(root / "book").glob("*.py")]):
        path.write_text(fill_colab_cell(path.read_text("utf-8"), remote, ""), encoding="utf-8", newline="\n")
    return remote.url


def _link(text: str, url: str, icon: str, tooltip: str) -> dict[str, Any]:
    return {"type": "link", "text": text, "url": url, "icon": icon, "tooltip": tooltip}
