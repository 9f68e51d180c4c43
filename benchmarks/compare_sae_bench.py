"""Explained variance, cross-entropy recovered and KL recovered: ours beside sae-bench's core eval.

    python -m benchmarks.compare_sae_bench [--results _build/store/results]

takes a trained TopK SAE and its held-out text from a store of results, asks both on the same windows, and
writes `sae_bench.json` and `SAE_BENCH.md`. `make benchmarks/envs/sae-bench/stamp` makes the environment of
the peer.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.sae_bench_report import report
from sanity.engine.files import read_json, write_atomically
from sanity.errors import AssetError, SanityError
from sanity.evals import LossRecovered, explained_variance, loss_recovered
from sanity.models import load_sae, save_sae
from sanity.models.autoencoder import Autoencoder
from sanity.subject import ActivationStore, Subject, load_subject
from sanity.subject.loading import prepare

HERE = Path(__file__).resolve().parent
PYTHON = HERE / "envs" / "sae-bench" / "bin" / "python"
LABEL = "topk-32 trained (iso) seed 0 lr 0.001"
WINDOWS, BATCH = 12, 4


@dataclass(frozen=True)
class Inputs:
    """What both are asked about."""

    subject: Subject
    hook: str
    sae: Autoencoder
    """Takes (activation - centre) * factor."""
    folded: Autoencoder
    """The same for raw activations."""
    centre: Tensor
    factor: float
    tokens: Tensor
    """Windows with one token more than the peer is given: sae-bench's KL counts the last position."""

    @property
    def bos(self) -> int:
        """The first token of every window, which is nowhere else in them."""
        return int(self.tokens[0, 0])


def find_inputs(results: Path, label: str) -> Inputs:
    """The SAE with this label from a store of results, with the text it was never trained on."""
    for manifest in sorted(results.glob("*/manifest.json")):
        record: dict[str, Any] = dict(read_json(manifest))
        place, _, arm = record["label"].partition(": ")
        if arm == label and record["recipe"]["function"].endswith(":train_on_activations"):
            break
    else:
        raise AssetError(f"{results} holds no SAE {label!r}: run 'make reproduce PROFILE=quick' first")
    needed = record["recipe"]["inputs"]
    kept, held_out = (
        ActivationStore(results / needed[name] / "activations") for name in ("train", "held_out")
    )
    every = torch.cat([shard.tokens for shard in held_out.shards()]).long()
    tokens = every[torch.linspace(0, len(every) - 1, WINDOWS).round().long()]
    if int((tokens == tokens[0, 0]).sum()) != WINDOWS or bool((tokens[:, 0] != tokens[0, 0]).any()):
        raise SanityError(
            "the first token of the windows is somewhere else in them too: choose other windows"
        )
    sae = load_sae(manifest.parent / "sae")
    folded = sae.fold_normalisation(kept.mean, kept.factor)
    subject = load_subject("smollm2-135m")
    return Inputs(subject, place, sae, folded, kept.mean, kept.factor, tokens)


def ask_peer(given: Inputs) -> dict[str, Any]:
    """sae-bench's numbers for all readings.

    It can only ablate to zero. An SAE that always gives the mean makes its "with SAE" the mean ablation.
    """
    if not PYTHON.exists():
        raise AssetError(f"there is no {PYTHON}: 'make benchmarks/envs/sae-bench/stamp' makes it")
    constant = dataclasses.replace(
        given.folded,
        W_enc=torch.zeros_like(given.folded.W_enc),
        b_enc=torch.zeros_like(given.folded.b_enc),
        b_dec=given.centre.to(given.folded.b_dec),
    )

    def reading(sae: str, ignore: bool, keep: bool, variance: bool) -> dict[str, Any]:
        ignored = [given.bos] if ignore else []
        return {"sae": sae, "ignore_tokens": ignored, "keep_ignored": keep, "variance": variance}

    request = {
        "model": str(prepare("smollm2-135m")),
        "hook": given.hook,
        "batch": BATCH,
        "readings": {
            "all": reading("sae", False, False, True),
            "all, mean": reading("mean", False, False, False),
            "kept first": reading("sae", True, True, True),
            "kept first, mean": reading("mean", True, True, False),
            "as it comes": reading("sae", True, False, False),
        },
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_sae(given.folded, folder / "sae")
        save_sae(constant, folder / "mean")
        save_file({"tokens": given.tokens[:, :-1].contiguous()}, folder / "tokens.safetensors")
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        done = subprocess.run(
            [str(PYTHON), str(HERE / "peers" / "sae_bench_core.py"), str(folder)],
            env={**os.environ, "HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled"},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if done.returncode:
            raise SanityError(f"sae-bench ended with {done.returncode}:\n{done.stderr[-3000:]}")
        answers: dict[str, Any] = read_json(folder / "answers.json")
    return answers


def ask_ours(given: Inputs) -> dict[str, dict[str, float]]:
    """Our losses for the same readings, in sae-bench's names."""
    zero, raw = torch.zeros_like(given.centre), 1.0
    return {
        "zero": _losses(given, given.folded, zero, raw, leave_first=False),
        "mean": _losses(given, given.sae, given.centre, given.factor, leave_first=False),
        "ours": _losses(given, given.sae, given.centre, given.factor, leave_first=True),
    }


def _losses(
    given: Inputs, sae: Autoencoder, centre: Tensor, factor: float, *, leave_first: bool
) -> dict[str, float]:
    def measured(tokens: Tensor) -> LossRecovered:
        return loss_recovered(
            given.subject,
            {"sae": sae},
            tokens,
            hook=given.hook,
            centre=centre,
            factor=factor,
            leave_first=leave_first,
            tokens_per_batch=BATCH * tokens.shape[1],
        )["sae"]

    # Cross-entropy predicts the peer's tokens; the divergence needs its last position too, so one more token.
    short, long = measured(given.tokens[:, :-1]), measured(given.tokens)
    entropy, divergence = short.cross_entropy, long.kl_divergence
    return {
        "ce_loss_without_sae": float(entropy.ceiling or 0.0),
        "ce_loss_with_sae": entropy.value,
        "ce_loss_with_ablation": entropy.floor,
        "ce_loss_score": entropy.normalised(),
        "kl_div_with_sae": divergence.value,
        "kl_div_with_ablation": divergence.floor,
        "kl_div_score": divergence.normalised(),
        "kl_div_score without the last position": short.kl_divergence.normalised(),
    }


@torch.no_grad()
def variances(given: Inputs, *, leave_first: bool) -> dict[str, float]:
    """Our explained variance, and on our activations what sae-bench's two formulas come to, in float64."""
    tokens = given.tokens[:, :-1]
    batches = []
    for rows in torch.split(tokens, BATCH):
        x = given.subject.residual(rows, given.hook)[:, int(leave_first) :].flatten(0, 1)
        batches.append((x, given.folded.reconstruct(x)))
    x, x_hat = (torch.cat(parts) for parts in zip(*batches, strict=True))
    residual = float((x.double() - x_hat.double()).square().sum(1).mean())
    square = x.double().square()
    legacy = [
        1 - (part - hat).double().square().sum(1) / (part - part.mean(0)).double().square().sum(1)
        for part, hat in batches
    ]
    return {
        "ours": float(explained_variance(x, x_hat)),
        "residual": residual,
        "per_batch": len(batches[0][0]),
        "formula": 1 - residual / float(square.sum(1).mean() - square.mean() ** 2),
        "legacy": float(torch.cat(legacy).mean()),
        "formula_at_twice_the_scale": 1
        - 4 * residual / float(4 * square.sum(1).mean() - (4 * square.mean()) ** 2),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=HERE.parent / "_build" / "store" / "results")
    parser.add_argument("--label", default=LABEL)
    parser.add_argument("--out", type=Path, default=HERE)
    args = parser.parse_args()
    given = find_inputs(args.results, args.label)
    start = time.process_time()
    ours = ask_ours(given)
    variance = {"all": variances(given, leave_first=False), "kept first": variances(given, leave_first=True)}
    seconds = time.process_time() - start
    answers = ask_peer(given)
    about = {
        "sae": args.label,
        "hook": given.hook,
        "windows": WINDOWS,
        "positions": given.tokens.shape[1] - 1,
    }
    raw = {"about": about, "ours": ours, "variance": variance, "peer": answers, "cpu_s": seconds}
    write_atomically(args.out / "sae_bench.json", json.dumps(raw, indent=1) + "\n")
    write_atomically(args.out / "SAE_BENCH.md", report(raw))
    print(report(raw))


if __name__ == "__main__":
    main()
