"""What is fetched and read of a checkpoint's files: weights as safetensors, or as torch saves them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import helmframe as hf
from helmframe._core import cache_files
from helmframe.errors import ArgumentError, NotAModelError, SourceBrokenError, SourceMissingError
from helmframe.models import Completion
from helmframe.models.local_files import find_checkpoint
from helmframe.models.protocol import from_any
from tests.hub_server import hub_server
from tests.models import tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.saved(tmp_path / "tiny", tiny.gpt2())


def answer(model: Any) -> str:
    given = from_any(model).generate(["Who? "], {"max_tokens": 5})[0]
    assert isinstance(given, Completion)
    return given.text


class Mine:
    """What torch's own files may hold, and safetensors can't: a call that is made when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self.trace,)


def pickled(folder: Path, **more: object) -> Path:
    """The folder with its weights as torch saves them."""
    from safetensors.torch import load_file

    file = folder / "model.safetensors"
    torch.save({**load_file(file), **more}, folder / "pytorch_model.bin")
    file.unlink()
    return folder


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("opnai:gpt-4.1", "unknown provider 'opnai'. Did you mean 'openai:gpt-4.1'?"),
        ("vlm:org/name", "Did you mean 'vllm:org/name'?"),
        ("localhost:18000/v1#m", "the scheme is missing. Did you mean 'http://localhost:18000/v1#m'?"),
        ("127.0.0.1:80#m", "Did you mean 'http://127.0.0.1:80#m'?"),
    ],
)
def test_a_misspelt_address_is_suggested(name: str, suggestion: str) -> None:
    with pytest.raises(NotAModelError) as raised:
        find_checkpoint(name)
    assert str(raised.value).partition("\n")[0].endswith(suggestion)


@pytest.mark.parametrize(
    ("name", "advice"),
    [("gpt-4", "'openai:gpt-4'"), ("claude-3-opus", "'anthropic:claude-3-opus'"), ("org/name", None)],
)
def test_a_name_that_is_not_found_may_be_a_model_of_a_provider(
    name: str, advice: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*_: object) -> None:
        raise OSError("offline")

    monkeypatch.setattr("helmframe.models.local_files.fetch", fetch)
    with pytest.raises(SourceMissingError) as raised:
        find_checkpoint(name)
    line = f"\nFor a model of a provider, write its provider: {advice}."
    assert str(raised.value).endswith(line if advice else "offline")


def test_weights_that_torch_saved_are_read_and_nothing_in_them_is_run(folder: Path, tmp_path: Path) -> None:
    assert answer(pickled(folder)) == answer((tiny.gpt2(), tiny.tokenizer()))
    tiny.saved(folder, tiny.gpt2(seed=1))
    with pytest.raises(SourceBrokenError, match="Weights only load failed"):
        answer(pickled(folder, mine=Mine(tmp_path / "ran")))
    assert not (tmp_path / "ran").exists()


ASKS = """\
from helmframe.models.local_files import find_checkpoint
from helmframe.models.protocol import from_any
model = from_any("some/hub")
print(model.state())
print(model.generate(["Who? "], {"max_tokens": 5})[0].text)
print(*sorted(file.name for file in model.generate.__self__.checkpoint.folder.iterdir()))
"""


@pytest.mark.parametrize("only_torchs", [False, True])
def test_a_hub_model_is_fetched_with_one_kind_of_weights(folder: Path, tmp_path: Path, *, only_torchs: bool) -> None:
    torch.save(tiny.gpt2().state_dict(), folder / "pytorch_model.bin")
    if only_torchs:
        (folder / "model.safetensors").unlink()
    plain = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    with hub_server({"some/hub": folder}) as hub:
        done = subprocess.run(
            [sys.executable, "-c", ASKS],
            env={
                **plain,
                "HF_ENDPOINT": hub.endpoint,
                "HF_HOME": str(tmp_path / "home"),
                "HF_HUB_DISABLE_TELEMETRY": "1",
            },
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    state, said, names = done.stdout.splitlines()
    assert state.startswith("by the model's configuration, prompts are packed")
    assert said == answer((tiny.gpt2(), tiny.tokenizer()))
    assert ("pytorch_model.bin" in names, "model.safetensors" in names) == (only_torchs, not only_torchs)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cache_files, "_root", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "gguf"


def llama() -> Any:
    """A tiny random model of bytes."""
    return tiny.llama(vocabulary=258)


def written(path: Path, model: Any) -> Path:
    """The model as a GGUF file, as llama.cpp's converter writes it."""
    import numpy as np
    from gguf import GGUFWriter, TokenType
    from tokenizers import pre_tokenizers

    config = model.config
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    words = ["<end>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "ab"]
    writer.add_token_list(words)
    writer.add_token_types([TokenType.CONTROL, *[TokenType.NORMAL] * (len(words) - 1)])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)

    def add(name: str, tensor: Any, heads: int = 0) -> None:
        array = tensor.detach().numpy().astype(np.float32)
        if heads:  # llama.cpp rotates neighbours, transformers halves
            array = array.reshape(heads, 2, array.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(array.shape)
        writer.add_tensor(name, np.ascontiguousarray(array))

    add("token_embd.weight", model.model.embed_tokens.weight)
    add("output_norm.weight", model.model.norm.weight)
    add("output.weight", model.lm_head.weight)
    for place, layer in enumerate(model.model.layers):
        start, attention, mlp = f"blk.{place}", layer.self_attn, layer.mlp
        add(f"{start}.attn_q.weight", attention.q_proj.weight, config.num_attention_heads)
        add(f"{start}.attn_k.weight", attention.k_proj.weight, config.num_key_value_heads)
        add(f"{start}.attn_v.weight", attention.v_proj.weight)
        add(f"{start}.attn_output.weight", attention.o_proj.weight)
        add(f"{start}.attn_norm.weight", layer.input_layernorm.weight)
        add(f"{start}.ffn_norm.weight", layer.post_attention_layernorm.weight)
        add(f"{start}.ffn_gate.weight", mlp.gate_proj.weight)
        add(f"{start}.ffn_up.weight", mlp.up_proj.weight)
        add(f"{start}.ffn_down.weight", mlp.down_proj.weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def text(model: Any, prompt: str = "The cat") -> Any:
    return model.generate([prompt], {"max_tokens": 12, "temperature": 0})[0][0]


def test_a_file_answers_as_the_model_it_was_written_from(tmp_path: Path, cache: Path) -> None:
    import torch

    original = llama()
    path = written(tmp_path / "tiny-f32.gguf", original)
    model = from_any(path)
    (folder,) = cache.iterdir()
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([[5, 6, 7, 8, 9, 10]])
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids).logits, original(ids).logits)
    assert (model.name, model.durable, model.window) == ("tiny-f32", True, 128)
    assert model.count_tokens is not None
    assert model.count_tokens(["ab ü"]) == [4]
    assert "tokenizer.ggml.pre" in model.note
    assert text(model) != ""
    # once: the second time the folder is there, whatever the file is called
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    again = from_any(str(path.rename(tmp_path / "other.gguf")))
    assert ((folder / "model.safetensors").stat().st_mtime_ns, len(list(cache.iterdir()))) == (stamp, 1)
    assert (again.fingerprint(), text(again)) == (model.fingerprint(), text(model))


def test_a_guessed_tokenizer_is_warned_of_once_and_explained(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path / "tiny.gguf", llama())
    model = from_any(path)
    from_any(path)
    warned = [each.getMessage() for each in caplog.records if "tokenizer.ggml.pre" in each.getMessage()]
    assert len(warned) == 1
    assert "put the model's tokenizer.json next to the file" in warned[0]
    assert "tokenizer.ggml.pre" in hf.scenario("sampler").limit(1).adapt(shots=0).generate(model).explain()


def test_it_may_be_loaded_in_another_type(tmp_path: Path) -> None:
    path = written(tmp_path / "tiny.gguf", llama())
    plain, low = from_any(path), hf.models.local(path, dtype="bfloat16")
    assert (low.name, low.fingerprint() != plain.fingerprint()) == ("tiny", True)
    assert "computes in bfloat16" in low.note
    with pytest.raises(ArgumentError, match=r"local\(revision=…\): revision isn't supported for GGUF files"):
        hf.models.local(path, revision="v1")


def test_a_tokenizer_beside_the_file_is_the_one_used(tmp_path: Path, cache: Path) -> None:
    from tests.models.tiny import gpt2_folder

    path = written(gpt2_folder(tmp_path / "a") / "tiny.gguf", llama())
    model = from_any(path)
    (folder,) = cache.iterdir()
    assert (folder / "tokenizer.json").read_bytes() == (path.parent / "tokenizer.json").read_bytes()
    assert "tokenizer.ggml.pre" not in model.note


def test_it_is_found_under_the_models_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_MODELS", str(tmp_path))
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    with pytest.raises(SourceBrokenError, match=r"transformers can't convert .*x\.gguf: "):
        from_any("x.gguf")


def test_a_missing_file_raises_with_the_searched_paths(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError, match=r"No model found at '.*none\.gguf'\. Searched: "):
        hf.scenario("sampler").generate(str(tmp_path / "none.gguf"))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"PK\x03\x04")
    with pytest.raises(NotAModelError, match="isn't a GGUF file"):
        from_any(tmp_path / "x.gguf")


def test_what_broke_off_leaves_nothing_behind(tmp_path: Path, cache: Path) -> None:
    path = written(tmp_path / "tiny.gguf", llama())
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(SourceBrokenError, match="transformers can't convert"):
        from_any(path)
    assert list(cache.iterdir()) == []


IMPORT_TWICE = """
import threading, time
from concurrent.futures import ThreadPoolExecutor
from helmframe.models.local_load import packages

with ThreadPoolExecutor(2) as pool:
    first = pool.submit(packages)
    time.sleep(0.2)
    second = pool.submit(packages)
print(first.result()[1].AutoTokenizer, second.result()[1].AutoTokenizer)
"""

# As transformers does it: the module that is being imported is replaced by another.
REPLACES_ITSELF = """
import sys, time, types
time.sleep(0.5)
sys.modules[__name__] = types.SimpleNamespace(AutoTokenizer="complete", __spec__=__spec__)
"""


def test_two_threads_that_import_transformers_get_the_complete_module(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("")
    (tmp_path / "transformers.py").write_text(REPLACES_ITSELF)
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_TWICE],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "complete complete\n", done.stderr
