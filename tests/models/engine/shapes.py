"""Tiny random models of many architectures, with windows, chunks and limits of RoPE shorter than the prompts."""

from typing import Any

from tests.models.tiny import built_once

WORDS = 70  # of the tokenizer in tests/models/tiny.py
WINDOW = 16
TRAINED = 32

_WORDS = {"vocab_size": WORDS, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
_SMALL = {
    **_WORDS,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
}
_GPT = {**_WORDS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
_FALCON = {name: value for name, value in _SMALL.items() if name not in ("head_dim", "num_key_value_heads")}
_SLIDING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
_EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}


def _rope(kind: str, **more: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **more}}


_LONG = _rope("longrope", short_factor=[1.0] * 4, long_factor=[9.0] * 4, original_max_position_embeddings=TRAINED)

# Name → (model type, what its configuration says).
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", _SMALL),
    "llama, tied": ("llama", {**_SMALL, "tie_word_embeddings": True}),
    "llama, linear RoPE": ("llama", {**_SMALL, **_rope("linear", factor=4.0)}),
    "llama, dynamic RoPE": ("llama", {**_SMALL, "max_position_embeddings": TRAINED, **_rope("dynamic", factor=4.0)}),
    "llama, yarn": ("llama", {**_SMALL, **_rope("yarn", factor=4.0, original_max_position_embeddings=TRAINED)}),
    "llama 3": (
        "llama",
        {
            **_SMALL,
            **_rope(
                "llama3",
                factor=4.0,
                low_freq_factor=1.0,
                high_freq_factor=4.0,
                original_max_position_embeddings=TRAINED,
            ),
        },
    ),
    "gpt2": ("gpt2", _GPT),
    "gpt_neox": ("gpt_neox", _SMALL),
    "gptj": ("gptj", {**_GPT, "rotary_dim": 8}),
    "gpt_neo": (
        "gpt_neo",
        {
            **_WORDS,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": WINDOW,
            "max_position_embeddings": 128,
        },
    ),
    "gpt_bigcode": ("gpt_bigcode", _GPT),
    "codegen": ("codegen", {**_GPT, "rotary_dim": 8, "n_ctx": 128}),
    "opt": ("opt", {**_SMALL, "ffn_dim": 48, "word_embed_proj_dim": 32}),
    "opt, projected": ("opt", {**_SMALL, "ffn_dim": 48, "word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    "qwen2": ("qwen2", _SMALL),
    "qwen2, sliding": ("qwen2", {**_SMALL, **_SLIDING, "use_sliding_window": True}),
    "qwen2_moe": ("qwen2_moe", {**_SMALL, **_EXPERTS, "shared_expert_intermediate_size": 16}),
    "qwen3": ("qwen3", _SMALL),
    "qwen3_moe": ("qwen3_moe", {**_SMALL, **_EXPERTS}),
    "gemma": ("gemma", _SMALL),
    "gemma2": ("gemma2", {**_SMALL, **_SLIDING, "query_pre_attn_scalar": 8}),
    "gemma3_text": ("gemma3_text", {**_SMALL, **_SLIDING, "query_pre_attn_scalar": 8}),
    "mistral": ("mistral", {**_SMALL, "sliding_window": None}),
    "mistral, sliding": ("mistral", {**_SMALL, "sliding_window": WINDOW}),
    "mixtral": ("mixtral", {**_SMALL, **_EXPERTS, "sliding_window": None}),
    "phi": ("phi", _SMALL),
    "phi3": ("phi3", {**_SMALL, "sliding_window": None}),
    "phi3, longrope": (
        "phi3",
        {**_SMALL, **_LONG, "sliding_window": None, "original_max_position_embeddings": TRAINED},
    ),
    "falcon": ("falcon", {**_FALCON, "new_decoder_architecture": False, "multi_query": True, "alibi": False}),
    "falcon, alibi": ("falcon", {**_FALCON, "new_decoder_architecture": False, "multi_query": False, "alibi": True}),
    "bloom": ("bloom", {**_WORDS, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "mpt": ("mpt", {**_WORDS, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 128}),
    "stablelm": ("stablelm", _SMALL),
    "starcoder2": ("starcoder2", {**_SMALL, "sliding_window": None}),
    "cohere": ("cohere", _SMALL),
    "cohere2": ("cohere2", {**_SMALL, **_SLIDING}),
    "granite": ("granite", {**_SMALL, "logits_scaling": 3.0, "embedding_multiplier": 2.0}),
    "olmo": ("olmo", _SMALL),
    "olmo2": ("olmo2", _SMALL),
    "olmoe": ("olmoe", {**_SMALL, **_EXPERTS}),
    "exaone4": ("exaone4", {**_SMALL, **_SLIDING}),
    "smollm3": ("smollm3", {**_SMALL, "no_rope_layers": [1, 0]}),
    "gpt_oss": ("gpt_oss", {**_SMALL, **_SLIDING, **_EXPERTS}),
    "deepseek_v3": (
        "deepseek_v3",
        {
            **_SMALL,
            "num_key_value_heads": 4,
            "q_lora_rank": 16,
            "kv_lora_rank": 8,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 8,
            "v_head_dim": 8,
            "n_routed_experts": 4,
            "n_group": 1,
            "topk_group": 1,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "first_k_dense_replace": 1,
        },
    ),
    "llama4_text, chunks": (
        "llama4_text",
        {
            **_SMALL,
            **_EXPERTS,
            "intermediate_size_mlp": 48,
            "attention_chunk_size": WINDOW,
            "layer_types": ["chunked_attention", "full_attention"],
            "no_rope_layers": [1, 0],
        },
    ),
    "xglm": ("xglm", {**_WORDS, "d_model": 32, "ffn_dim": 48, "num_layers": 2, "attention_heads": 4}),
    "ctrl": ("ctrl", {**_WORDS, "n_embd": 32, "dff": 48, "n_layer": 2, "n_head": 4, "n_positions": 128}),
    "olmo3": ("olmo3", {**_SMALL, **_SLIDING}),
    "glm": ("glm", _SMALL),
    "glm4": ("glm4", _SMALL),
    "helium": ("helium", _SMALL),
    "nemotron": ("nemotron", _SMALL),
    "persimmon": ("persimmon", _SMALL),
    "arcee": ("arcee", _SMALL),
    "seed_oss": ("seed_oss", _SMALL),
    "granitemoe": ("granitemoe", {**_SMALL, **_EXPERTS}),
    "biogpt": ("biogpt", _SMALL),
    "mamba": ("mamba", {**_WORDS, "hidden_size": 32, "state_size": 8, "num_hidden_layers": 2}),
    "mamba2": (
        "mamba2",
        {
            **_WORDS,
            "hidden_size": 32,
            "state_size": 8,
            "num_hidden_layers": 2,
            "num_heads": 8,
            "head_dim": 8,
            "n_groups": 1,
            "chunk_size": 8,
        },
    ),
    "rwkv": ("rwkv", {**_WORDS, "hidden_size": 32, "num_hidden_layers": 2, "context_length": 128}),
    "recurrent_gemma": (
        "recurrent_gemma",
        {**_SMALL, "num_hidden_layers": 3, "lru_width": 32, "attention_window_size": WINDOW},
    ),
    "jamba": (
        "jamba",
        {
            **_SMALL,
            **_EXPERTS,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "mamba_d_state": 8,
            "use_mamba_kernels": False,
        },
    ),
    "falcon_h1": (
        "falcon_h1",
        {**_SMALL, "mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 8},
    ),
    "lfm2": ("lfm2", {**_SMALL, "layer_types": ["conv", "full_attention"]}),
    "qwen3_next": (
        "qwen3_next",
        {
            **_SMALL,
            **_EXPERTS,
            "shared_expert_intermediate_size": 16,
            "layer_types": ["linear_attention", "full_attention"],
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
        },
    ),
}


@built_once
def made(name: str) -> Any:
    """The model of that name: random weights, so large that each token matters to those after it."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, said = SHAPES[name]
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **said))  # type: ignore[no-untyped-call]
    model.eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    return model
