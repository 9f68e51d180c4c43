"""Small settings for families of transformers' causal language models, over those that most share."""

from __future__ import annotations

from typing import Any

SHARED: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
_PLAIN = (
    "apertus arcee bert biogpt bloom cohere cohere2 ernie4_5 exaone4 gemma gemma2 gemma3_text glm glm4 "
    "gpt_bigcode granite helium llama mistral mixtral nemotron olmo olmo2 olmo3 persimmon "
    "phi phi3 qwen2 qwen3 seed_oss smollm3 stablelm starcoder2 falcon_mamba mamba recurrent_gemma xglm"
)
FAMILIES: dict[str, dict[str, Any]] = {
    **{family: {} for family in _PLAIN.split()},
    "codegen": {"rotary_dim": 4, "n_ctx": 64},
    "falcon": {"multi_query": True, "head_dim": None},
    "gpt_neo": {
        "num_layers": 3,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1], [["global"], 1]],
        "window_size": 4,
    },
    "gpt2": {"num_key_value_heads": None},
    "gpt_neox": {"num_key_value_heads": None},
    "gptj": {"rotary_dim": 4, "n_inner": 48},
    "mamba2": {"num_heads": 8, "n_groups": 1, "state_size": 8},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 3, "max_seq_len": 64},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "openai-gpt": {"num_key_value_heads": None},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "qwen2_moe": {"moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "num_experts": 4},
    "qwen3_moe": {"moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2},
    "gpt_oss": {"num_local_experts": 4},
    "rwkv": {"context_length": 64, "attention_hidden_size": 32},
}
"""By the name of the family in transformers; `None` leaves a shared setting out."""


def settings_of(family: str) -> dict[str, Any]:
    """What `AutoConfig.for_model` is given for a tiny model."""
    return {name: value for name, value in (SHARED | FAMILIES[family]).items() if value is not None}
