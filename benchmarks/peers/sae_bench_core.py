"""sae-bench's core eval on tokens, a model and SAEs that are given: run in benchmarks/envs/sae-bench.

    python sae_bench_core.py FOLDER

reads FOLDER/request.json and FOLDER/tokens.safetensors, and writes FOLDER/answers.json. Every number comes
from `sae_bench.evals.core.main.run_evals`; the explained variance of sae-lens, which has another formula, is
asked for as well. The store of activations is replaced by one that hands out the given windows.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from sae_bench.evals.core.eval_config import CoreEvalConfig
from sae_bench.evals.core.main import run_evals
from sae_lens import SAE
from sae_lens.evals import get_sparsity_and_variance_metrics
from sae_lens.training.activation_scaler import ActivationScaler
from safetensors.torch import load_file
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions import convert_llama_weights
from transformers import AutoModelForCausalLM


class Windows:
    """In place of `ActivationsStore`: the given windows in their order, from the start after a reset."""

    def __init__(self, tokens: torch.Tensor, batch: int) -> None:
        self.tokens, self.store_batch_size_prompts, self.context_size = tokens, batch, tokens.shape[1]
        self.given = 0

    def get_batch_tokens(self, batch: int) -> torch.Tensor:
        """The next `batch` windows."""
        self.given += batch
        return self.tokens[self.given - batch : self.given]

    def reset_input_dataset(self) -> None:
        """Back to the first window."""
        self.given = 0


def hooked(folder: str) -> HookedTransformer:
    """A Llama from a local folder, unprocessed, as sae-bench loads its models.

    `from_pretrained_no_processing` takes the names on its own list only, so its steps are taken here.
    """
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    c = plain.config
    width = c.hidden_size // c.num_attention_heads
    config = HookedTransformerConfig(
        n_layers=c.num_hidden_layers,
        d_model=c.hidden_size,
        d_head=width,
        n_heads=c.num_attention_heads,
        n_key_value_heads=c.num_key_value_heads,
        d_mlp=c.intermediate_size,
        d_vocab=c.vocab_size,
        n_ctx=512,
        eps=c.rms_norm_eps,
        act_fn=c.hidden_act,
        normalization_type="RMS",
        final_rms=True,
        gated_mlp=True,
        positional_embedding_type="rotary",
        rotary_dim=width,
        rotary_base=c.rope_parameters["rope_theta"],
        rotary_adjacent_pairs=False,
        original_architecture="LlamaForCausalLM",
        device="cpu",
        dtype=torch.float32,
    )
    model = HookedTransformer(config)
    weights = convert_llama_weights(plain, config)
    model.load_and_process_state_dict(
        weights, fold_ln=False, center_writing_weights=False, center_unembed=False, fold_value_biases=False
    )
    return model.eval()


def loaded(folder: Path, hook: str) -> Any:
    """An SAE as sae-lens loads it, with the fields that sae-bench looks for."""
    sae = SAE.load_from_disk(folder, device="cpu")
    for fields in (sae.cfg, sae.cfg.metadata):
        fields.hook_name = hook
        fields.hook_layer = int(hook.split(".")[1])
        fields.hook_head_index = None
    return sae


def main(folder: Path) -> None:
    """Answer every reading of the request."""
    request = json.loads((folder / "request.json").read_text("utf-8"))
    tokens = load_file(folder / "tokens.safetensors")["tokens"]
    batch: int = request["batch"]
    n_batches = len(tokens) // batch
    model = hooked(request["model"])
    answers: dict[str, Any] = {}
    for name, reading in request["readings"].items():
        start = time.process_time()
        sae = loaded(folder / reading["sae"], request["hook"])
        ignored = set(reading["ignore_tokens"])
        config = CoreEvalConfig(
            batch_size_prompts=batch,
            n_eval_reconstruction_batches=n_batches,
            n_eval_sparsity_variance_batches=n_batches,
            compute_kl=True,
            compute_ce_loss=True,
            compute_variance_metrics=reading["variance"],
            exclude_special_tokens_from_reconstruction=reading["keep_ignored"],
        )
        found, _ = run_evals(sae, Windows(tokens, batch), model, config, ignore_tokens=ignored)
        answers[name] = {key: value for part in found.values() for key, value in part.items()}
        if reading["variance"]:
            variance, _ = get_sparsity_and_variance_metrics(
                sae,
                model,
                Windows(tokens, batch),
                ActivationScaler(),
                n_batches=n_batches,
                compute_l2_norms=False,
                compute_sparsity_metrics=False,
                compute_variance_metrics=True,
                compute_featurewise_density_statistics=False,
                eval_batch_size_prompts=batch,
                model_kwargs={},
                ignore_tokens=list(ignored),
            )
            answers[name]["sae_lens_explained_variance"] = variance["explained_variance"]
        answers[name]["cpu_s"] = time.process_time() - start
    versions = {name: version(name) for name in ("sae-bench", "sae-lens", "transformer-lens", "torch")}
    found = {"versions": versions, "readings": answers}
    (folder / "answers.json").write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
