"""Tiny random models and a tokenizer of single characters, made in a moment."""

import copy
import functools
import itertools
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec

P = ParamSpec("P")

CHARACTERS = string.ascii_letters + string.digits + " \n.,:?!"


def built_once(build: Callable[P, Any]) -> Callable[P, Any]:
    """Build a model once per process, and return a copy of it that a test may change."""
    cached: Callable[..., Any] = functools.cache(build)

    @functools.wraps(build)
    def copied(*args: P.args, **keywords: P.kwargs) -> Any:
        return copy.deepcopy(cached(*args, **keywords))

    return copied


def tokenizer(chat_template: str | None = None) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<end>": 0, **{character: place + 1 for place, character in enumerate(CHARACTERS)}}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    inner.decoder = decoders.Fuse()
    made: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=inner, eos_token="<end>", model_max_length=128
    )
    made.chat_template = chat_template
    return made


@built_once
def gpt2(seed: int = 0) -> Any:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=len(CHARACTERS) + 1, n_embd=32, n_layer=2, n_head=4, n_positions=128, bos_token_id=0, eos_token_id=0
    )
    return _sharp(GPT2LMHeadModel, config, seed, torch)


@built_once
def llama(seed: int = 0, vocabulary: int = len(CHARACTERS) + 1) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        bos_token_id=0,
        eos_token_id=0,
    )
    return _sharp(LlamaForCausalLM, config, seed, torch)


@built_once
def t5(seed: int = 0) -> Any:
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    kind: Any = T5Config  # some of what it takes has no types
    config = kind(
        vocab_size=len(CHARACTERS) + 1, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, n_positions=128,
        pad_token_id=0, eos_token_id=0, decoder_start_token_id=0,
    )  # fmt: skip
    return _sharp(T5ForConditionalGeneration, config, seed, torch)


@built_once
def bart(seed: int = 0) -> Any:
    import torch
    from transformers import BartConfig, BartForConditionalGeneration

    kind: Any = BartConfig
    config = kind(
        vocab_size=len(CHARACTERS) + 1, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=128,
        bos_token_id=0, pad_token_id=0, eos_token_id=0, decoder_start_token_id=0, forced_bos_token_id=0,
        forced_eos_token_id=None,
    )  # fmt: skip
    return _sharp(BartForConditionalGeneration, config, seed, torch)


def saved(folder: Path, model: Any, chat_template: str | None = None) -> Path:
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)
    tokenizer(chat_template).save_pretrained(folder)
    return folder


def gpt2_folder(folder: Path) -> Path:
    """A tiny random GPT-2 that reads any text, byte by byte, as a folder in transformers format."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model, byte_tokenizer = _gpt2_of_bytes()
    model.save_pretrained(folder)
    byte_tokenizer.save_pretrained(folder)
    return folder


@functools.cache
def _gpt2_of_bytes() -> tuple[Any, Any]:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    vocabulary = {byte: place for place, byte in enumerate(["<end>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    inner = Tokenizer(models.BPE(vocabulary, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    config = GPT2Config(
        n_layer=2, n_embd=32, n_head=2, n_positions=1024, vocab_size=len(vocabulary), bos_token_id=0, eos_token_id=0
    )
    torch.manual_seed(0)
    made: Any = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>")  # type: ignore[no-untyped-call]
    return GPT2LMHeadModel(config), made


def _sharp(kind: Any, config: Any, seed: int, torch: Any) -> Any:
    """Larger weights, so that a prompt matters to what follows it."""
    torch.manual_seed(seed)
    model = kind(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    return model


# As Qwen3's: the assistant's turn opens its reasoning, unless it is switched off.
THINKING_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% if enable_thinking is defined and enable_thinking is false %}"
    "<think></think>{% else %}<think>{% endif %}{% endif %}"
)


def thinker_folder(folder: Path, thoughts: int, answer: str = "B", window: int = 4096) -> Path:
    """A model whose next token depends on the last one only: <think>, `thoughts` tokens, </think>, the answer, the end.

    Some of the thoughts end a line.
    """
    import torch
    from tokenizers import AddedToken
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    words = tokenizer(THINKING_TEMPLATE)
    words.model_max_length = window
    tags = ("<think>", "</think>")
    texts = [f"so {number},{chr(10) if number % 9 == 0 else ' '}" for number in range(thoughts)]
    words.add_tokens([AddedToken(text, special=False, normalized=False) for text in (*tags, *texts)])
    chain = [*words.convert_tokens_to_ids([tags[0], *texts, tags[1], answer]), words.eos_token_id]
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=128,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=window,
        bos_token_id=None,
        eos_token_id=words.eos_token_id,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    directions = torch.nn.functional.normalize(torch.randn(len(words), config.hidden_size), dim=-1)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(directions)
        model.lm_head.weight.zero_()
        for token, following in itertools.pairwise(chain):
            model.lm_head.weight[following] = 4 * directions[token]
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
