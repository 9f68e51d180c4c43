"""What tests of checks share: where their SAEs are read, a tag, and how SAELens would keep an SAE."""

from __future__ import annotations

import json
from pathlib import Path

from sanity.models import Autoencoder, save_sae

HOOK = "blocks.1.hook_resid_post"
TAG = "<script>window.ran = 1</script><img src=x onerror=window.ran=1>"
SIZE = {"tokens": 2048, "held_out": 4096}


def as_saelens(sae: Autoencoder, folder: Path, **metadata: object) -> Path:
    """Keep an SAE as SAELens does, without what we add."""
    save_sae(sae, folder)
    (folder / "manifest.json").unlink()
    config = json.loads((folder / "cfg.json").read_text())
    del config["sanity"]
    (folder / "cfg.json").write_text(json.dumps(config | {"metadata": metadata}))
    return folder
