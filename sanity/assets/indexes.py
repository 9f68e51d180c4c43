"""Where this machine takes packages from: pip's settings, and nothing else that pip is configured for.

pip's mirror, certificate and proxy count for every step that installs; uv by itself does not read them.
Where pip puts packages by habit (`--user`, `--target`, constraints) counts for none.

Set-up runs this file before anything is installed: `python sanity/assets/indexes.py COMMAND...`.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Mapping

KEPT = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_OFFLINE",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "keyring-provider": "UV_KEYRING_PROVIDER",
    "retries": "UV_HTTP_RETRIES",
    "cache-dir": "",
    "no-cache-dir": "",
    "disable-pip-version-check": "",
    "config-file": "",
}
"""Settings of pip that say where packages come from and how they are reached, with uv's variable for each."""


def without_habits(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` with only those of pip's variables that say where packages come from."""
    return {name: value for name, value in environment.items() if not name.startswith("PIP_") or _kept(name)}


def for_installing(environment: Mapping[str, str], listing: str) -> dict[str, str]:
    """An environment in which pip and uv take packages from the same places; what is set for uv stays.

    `listing` is what `pip config list` prints.
    """
    settings = _settings(listing)
    found = {name: value for name, value in environment.items() if not name.startswith("PIP_")}
    found |= {f"PIP_{name.upper().replace('-', '_')}": value for name, value in settings.items()}
    found |= {"PIP_CONFIG_FILE": os.devnull, "PIP_USER": "0"}
    # Since 24.2 pip trusts what the system trusts.
    found.setdefault("UV_SYSTEM_CERTS", "true")
    if "extra-index-url" in settings:
        found.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")  # to pip all indexes are alike
    for name, value in settings.items():
        if name == "find-links":
            value = ",".join(value.split())
        if KEPT[name].startswith("UV_"):
            found.setdefault(KEPT[name], value)
        elif KEPT[name]:
            found[KEPT[name]] = value
    return found


def _settings(listing: str) -> dict[str, str]:
    """The settings that are kept, by name; the environment's come first, then those of `pip install`."""
    found: dict[int, dict[str, str]] = {0: {}, 1: {}, 2: {}}
    for line in listing.splitlines():
        where, _, value = line.partition("=")
        section, _, name = where.rpartition(".")
        rank = {"global": 0, "install": 1, ":env:": 2}.get(section)
        if rank is not None and name in KEPT and name != "config-file":
            found[rank][name] = " ".join(str(ast.literal_eval(value)).split())
    return {name: value for settings in found.values() for name, value in settings.items() if value}


def _kept(variable: str) -> bool:
    return variable.removeprefix("PIP_").lower().replace("_", "-") in KEPT


if __name__ == "__main__":
    said = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, encoding="utf-8", check=True
    ).stdout
    os.execvpe(sys.argv[1], sys.argv[1:], for_installing(os.environ, said))
