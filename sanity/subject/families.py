"""Which families of transformers' causal language models were tried with which backend.

Each was made as a tiny model from its configuration class, saved as a folder and loaded: reading, running on
and splicing at load (`selftest`), and running on from the middle of prompts, which causal editing asks for. A
test makes them all again. Other families are tried when they are loaded.
"""

from __future__ import annotations

from collections.abc import Mapping

_BOTH = (
    "apertus arcee bloom codegen ernie4_5 exaone4 falcon falcon_mamba gemma gemma2 gemma3_text glm glm4 gpt2 "
    "gpt_bigcode gpt_neo gpt_neox gpt_oss gptj granite llama mamba mamba2 mistral mixtral mpt nemotron olmo "
    "olmo2 olmo3 olmoe opt phi phi3 qwen2 qwen2_moe qwen3 qwen3_moe recurrent_gemma rwkv seed_oss smollm3 "
    "stablelm starcoder2 xglm"
)
_NNSIGHT = "biogpt cohere cohere2 helium openai-gpt persimmon"
_NEITHER = "bert"

TESTED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(_BOTH.split(), ("transformer_lens", "nnsight")),
    **dict.fromkeys(_NNSIGHT.split(), ("nnsight",)),
    **dict.fromkeys(_NEITHER.split(), ()),
}
"""Family, as `model_type` in config.json names it -> the backends that run it as transformers does."""

NOT_EDITABLE = frozenset(["falcon_mamba", "mamba", "mamba2", "openai-gpt", "recurrent_gemma", "rwkv"])
"""Families with another memory than keys and values: `Subject.editable` refuses them in words."""
