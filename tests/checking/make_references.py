"""Makes `references/`: tiny SAEs saved by other libraries' own code, with what those libraries compute.

Run in an environment of each library's own, since they do not fit together with this package's:

    pip install eai-sparsify==1.3.3 && python make_references.py sparsify
    pip install dictionary-learning==0.1.0 && python make_references.py dictionary_learning

Each folder holds what the library writes, and `expected.safetensors`: x [8, d_in], z [8, d_sae] and
x_hat [8, d_in].
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).parent / "references"
D_IN, D_SAE, K = 6, 20, 3


def fresh(name):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def randomised(module, seed):
    """Every parameter moved, so that no bias is zero and no row of length one."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for value in module.parameters():
            value += 0.3 * torch.randn_like(value)
    return module


def keep(folder, x, z, x_hat):
    tensors = {"x": x, "z": z, "x_hat": x_hat}
    save_file(
        {name: value.detach().contiguous() for name, value in tensors.items()},
        folder / "expected.safetensors",
    )


def make_sparsify():
    from sparsify import SparseCoder, SparseCoderConfig

    root = fresh("sparsify")
    (root / "config.json").write_text(json.dumps({"model": "HuggingFaceTB/SmolLM2-135M-Instruct"}))
    for seed, hook in enumerate(("layers.1", "layers.10")):
        torch.manual_seed(seed)
        coder = randomised(SparseCoder(D_IN, SparseCoderConfig(num_latents=D_SAE, k=K)), seed)
        coder.save_to_disk(root / hook)
        x = torch.randn(8, D_IN)
        top, where, _ = coder.encode(x)
        keep(root / hook, x, torch.zeros(8, D_SAE).scatter(1, where, top), coder(x).sae_out)
    transcoder = SparseCoder(D_IN, SparseCoderConfig(num_latents=D_SAE, k=K, transcode=True))
    transcoder.save_to_disk(fresh("sparsify_transcoder"))


def make_dictionary_learning():
    from dictionary_learning.dictionary import (
        AutoEncoder,
        AutoEncoderNew,
        GatedAutoEncoder,
        JumpReluAutoEncoder,
    )
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
    from dictionary_learning.trainers.top_k import AutoEncoderTopK

    torch.manual_seed(0)
    made = [
        AutoEncoder(D_IN, D_SAE), AutoEncoderNew(D_IN, D_SAE), GatedAutoEncoder(D_IN, D_SAE),
        JumpReluAutoEncoder(D_IN, D_SAE), AutoEncoderTopK(D_IN, D_SAE, K), BatchTopKSAE(D_IN, D_SAE, K),
        MatryoshkaBatchTopKSAE(D_IN, D_SAE, K, [8, 12]),
    ]  # fmt: skip
    for seed, ae in enumerate(made):
        kind = type(ae).__name__
        randomised(ae, seed)
        if kind in ("BatchTopKSAE", "MatryoshkaBatchTopKSAE"):
            ae.threshold.fill_(0.4)
        folder = fresh(f"dictionary_learning_{kind}")
        torch.save(ae.state_dict(), folder / "ae.pt")
        trainer = {"dict_class": kind, "activation_dim": D_IN, "dict_size": D_SAE, "layer": 8,
                   "lm_name": "EleutherAI/pythia-70m", "submodule_name": "resid_post_layer_8"}  # fmt: skip
        if hasattr(ae, "k"):
            trainer["k"] = int(ae.k)
        (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"io": "out"}}))
        x = torch.randn(8, D_IN)
        z = ae.encode(x)
        keep(folder, x, z, ae.decode(z))


if __name__ == "__main__":
    {"sparsify": make_sparsify, "dictionary_learning": make_dictionary_learning}[sys.argv[1]]()
