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

HOSTS = {"github.com": "gh", "gitlab.com": "gl", "bitbucket.org": "git", "codeberg.org": "git"}
"""Known hosts and the name of each one's provider at mybinder.org."""

_RAW = {
    "github.com": "{url}/raw/{ref}/{path}",
    "gitlab.com": "{url}/-/raw/{ref}/{path}?inline=false",
    "bitbucket.org": "{url}/raw/{ref}/{path}",
    "codeberg.org": "{url}/raw/commit/{ref}/{path}",
}

COLAB_CELL = """\
# In Colab: install the package from the repository this notebook came from. Elsewhere: nothing.
import sys

if "google.colab" in sys.modules:
    import json
    import os
    import re
        import urllib.parse
    import urllib.request

    REMOTE, COMMIT = "", ""
    if not REMOTE:
        api = "http://{COLAB_JUPYTER_IP}:{KMP_TARGET_PORT}/api/sessions".format_map(os.environ)
        opened = urllib.parse.unquote(json.load(urllib.request.urlopen(api))[0]["path"])
        REMOTE, COMMIT = re.search(r"(https://github\\.com/[^/]+/[^/]+)/blob/([^/]+)/", opened).groups()
    subprocess.run(["git", "clone", "--quiet", REMOTE, "/content/sae-sanity"], check=True)
    subprocess.run(["git", "-C", "/content/sae-sanity", "checkout", "--quiet", COMMIT], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "/content/sae-sanity"], check=True)
    os.chdir("/content/sae-sanity/book")
"""
"""The first cell of every chapter. Colab opens a chapter from its repository, where no commit can name
itself, so the cell asks Colab which file it has opened; copies made by `fill_colab_cell` say it outright."""


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


def buttons(remote: Remote | None, ref: str, path: str) -> list[dict[str, Any]]:
    """The header buttons of the notebook at `path` in the repository: launch and download; or none.

    In the form that sphinx-book-theme's `header_buttons` have. Colab opens only what is on GitHub.
    """
    if remote is None:
        return []
    where = {"url": remote.url, "ref": quote(ref, safe=""), "path": quote(path)}
    spec = {
        "gh": remote.path,
        "gl": quote(remote.path, safe=""),
        "git": quote(remote.url, safe=""),
    }[HOSTS[remote.host]]
    binder = (
        f"https://mybinder.org/v2/{HOSTS[remote.host]}/{spec}/{where['ref']}?urlpath=lab/tree/{where['path']}"
    )
    launch = [_link("Binder", binder, "_static/images/logo_binder.svg", "Launch on Binder")]
    if remote.host == "github.com":
        colab = f"https://colab.research.google.com/github/{remote.path}/blob/{where['ref']}/{where['path']}"
        launch.insert(0, _link("Colab", colab, "_static/images/logo_colab.png", "Launch on Colab"))
    download = _link(".ipynb", _RAW[remote.host].format_map(where), "fas fa-download", "Download notebook")
    return [
        {
            "type": "group",
            "tooltip": "Launch this chapter",
            "icon": "fas fa-rocket",
            "buttons": launch,
            "label": "launch-buttons",
        },
        {**download, "text": "", "label": "download-notebook-button"},
        {**_link("", remote.url, "fas fa-code-branch", "Repository"), "label": "source-repository-button"},
    ]


def fill_colab_cell(source: str, remote: Remote | None, commit: str) -> str:
    """`source` with the Colab cell's `REMOTE, COMMIT` filled in; unchanged without a remote."""
    if remote is None:
        return source
    return source.replace('REMOTE, COMMIT = "", ""', f'REMOTE, COMMIT = "{remote.url}", "{commit}"')


def _link(text: str, url: str, icon: str, tooltip: str) -> dict[str, Any]:
    return {"type": "link", "text": text, "url": url, "icon": icon, "tooltip": tooltip}
