"""Folders, names and pairs as models: found, checked, fingerprinted, loaded once."""

import importlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from huggingface_hub import constants

import helmframe as hf
from helmframe._core import cache_files
from helmframe._core.cache_files import digest
from helmframe.errors import (
    ArgumentError,
    CapabilityError,
    NotAModelError,
    SourceBrokenError,
    SourceMissingError,
    UnknownNameError,
)
from helmframe.models import Completion, local, local_files, local_load, local_model
from helmframe.models.local_files import folder_digest
from helmframe.models.model import Model, Prompt, Response, Seeded
from helmframe.models.protocol import from_any
from helmframe.models.scheduler import queue_of
from tests.demo import demo_model
from tests.models import tiny

TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.saved(tmp_path_factory.mktemp("models") / "org" / "tiny", tiny.gpt2())


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    copy = tmp_path / "org" / "tiny"
    copy.mkdir(parents=True)
    for file in made.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def answer(model: Model, prompt: str = "Who? ") -> str:
    given = model.generate([prompt], {"max_tokens": 5})[0]
    assert isinstance(given, Completion)
    return given.text


def test_a_folder_answers_as_the_model_it_holds(made: Path) -> None:
    assert answer(from_any(made)) == answer(from_any((tiny.gpt2(), tiny.tokenizer())))


def test_a_folder_is_named_and_durable(made: Path) -> None:
    model = from_any(made)
    assert (model.name, model.durable, model.window, model.chat) == ("tiny", True, 128, None)
    assert model.takes == frozenset(
        {"max_tokens", "temperature", "top_p", "top_k", "seed", "stop", "reasoning", "json_schema"}
    )


def test_the_samples_of_a_prompt_share_a_call_and_depend_on_their_seeds() -> None:
    pair = from_any((tiny.gpt2(), tiny.tokenizer()))
    calls: list[list[Seeded]] = []

    def together(prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> Sequence[Response]:
        assert "seed" not in decoding
        calls.append([prompt for prompt in prompts if isinstance(prompt, Seeded)])
        return pair.generate(prompts, decoding)

    questions = pl.DataFrame({"q": ["Who?", "Where?"], "a": ["A", "B"]})

    def sampled(model: Model) -> dict[tuple[str, int], str]:
        plan = hf.scenario(questions, input="q", references="a").generate(model, n=4, temperature=1.0, max_tokens=6)
        rows = plan.completions().collect()
        return {(row["input"], row["output_index"]): row["completion"] for row in rows.iter_rows(named=True)}

    found = sampled(replace(pair, name="together", generate=together))
    assert len(found) == 8
    assert [len(call) for call in calls] == [8]  # one call for all samples of both prompts
    assert len({each.text for each in calls[0]}) == 2
    assert len({each.seed for each in calls[0]}) == 4
    assert found == sampled(replace(pair, name="apart", seeded=False))


def test_a_name_is_looked_for_in_the_working_folder(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made.parents[1])
    assert from_any("org/tiny").name == "org/tiny"


def test_a_name_without_its_organisation_is_found(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made.parent)
    assert from_any("geclm/tiny").name == "geclm/tiny"


@pytest.mark.parametrize("parent", [0, 1])
def test_a_name_is_looked_for_under_helmframe_models(made: Path, monkeypatch: pytest.MonkeyPatch, parent: int) -> None:
    monkeypatch.setenv("HELMFRAME_MODELS", str(made.parents[parent]))
    assert from_any("org/tiny").durable


def test_a_name_found_nowhere_lists_the_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_MODELS", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(
        SourceMissingError, match=f"Searched: no/such, such, {tmp_path}/no/such, {tmp_path}/such, and the Hub"
    ):
        from_any("no/such")


def test_a_hub_model_is_known_by_name_and_commit(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    cache = tmp_path / "cache" / "models--some--hub"
    shutil.copytree(made, cache / "snapshots" / commit)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    model = from_any("some/hub")
    assert (model.name, model.durable, model.window) == ("some/hub", True, 128)
    assert model.fingerprint() == digest("hub", "some/hub", commit)
    assert answer(model) == answer(from_any(made))


def test_a_missing_path_is_not_requested_from_the_hub(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError, match="No model found at"):
        from_any(tmp_path / "such")


def test_a_file_is_refused(made: Path) -> None:
    with pytest.raises(NotAModelError, match="is a file"):
        from_any(made / "config.json")


@pytest.mark.parametrize(
    ("file", "message"),
    [("config.json", "no config.json"), ("model.safetensors", "no weights"), ("tokenizer.json", "no tokenizer")],
)
def test_a_folder_that_lacks_something_is_refused(folder: Path, file: str, message: str) -> None:
    (folder / file).unlink()
    with pytest.raises(NotAModelError, match=message):
        from_any(folder)


def test_a_folder_takes_no_version(made: Path) -> None:
    with pytest.raises(ArgumentError, match="identified by its content"):
        from_any(made, name="mine", version="1")


def test_the_window_is_the_smaller_of_model_and_tokenizer(folder: Path) -> None:
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 64}))
    assert from_any(folder).window == 64
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 1e30}))
    assert from_any(folder).window == 128


def test_tokens_are_counted_and_the_template_applied_without_loading_weights(folder: Path) -> None:
    tiny.tokenizer(TEMPLATE).save_pretrained(folder)
    (folder / "model.safetensors").write_bytes(b"not read")
    model = from_any(folder)
    assert model.chat is not None
    assert model.count_tokens is not None
    assert model.chat is not None
    assert list(model.count_tokens(["abc", ""])) == [3, 1]
    assert model.chat([{"role": "user", "content": "hi"}]) == "hi"


def test_equal_folders_have_one_fingerprint_and_any_file_edited_another(made: Path, folder: Path) -> None:
    before = from_any(folder).fingerprint()
    assert before == from_any(made).fingerprint()
    config = folder / "generation_config.json"
    config.write_text(config.read_text() + " ")
    assert from_any(folder).fingerprint() != before


def test_what_a_trainer_leaves_is_not_part_of_the_fingerprint(folder: Path) -> None:
    before = folder_digest(folder)
    (folder / "README.md").write_text("hello")
    (folder / "optimizer.pt").write_bytes(b"1")
    (folder / "checkpoint-1").mkdir()
    assert folder_digest(folder) == before


def test_a_file_replaced_by_one_of_equal_size_and_time_is_seen(folder: Path) -> None:
    file = folder / "config.json"
    before, stat = folder_digest(folder), file.stat()
    other = folder / "other"
    other.write_bytes(file.read_bytes().replace(b"gelu_new", b"gelu_old"))
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(file)
    assert folder_digest(folder) != before


def test_weights_are_loaded_once_for_one_content(made: Path, folder: Path) -> None:
    one, other = from_any(made), from_any(folder)
    answer(one), answer(other)
    assert one.generate.__self__._loaded is other.generate.__self__._loaded  # type: ignore[attr-defined]


def test_another_checkpoint_in_the_same_folder_answers_anew(folder: Path) -> None:
    first = from_any(folder)
    before = answer(first), first.fingerprint()
    tiny.saved(folder, tiny.gpt2(seed=1))
    second = from_any(folder)
    assert (answer(second), second.fingerprint()) != before


@pytest.fixture
def new_process(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """A function that forgets what this process knows of files, and lists from then on the files that are read."""
    monkeypatch.setattr(local_files, "LARGE", 0)
    monkeypatch.setattr(cache_files, "RECENT", -1)
    own = local_files._hashed

    def forgotten() -> list[str]:
        read: list[str] = []

        def hashed(path: Path) -> str:
            read.append(path.name)
            return own(path)

        monkeypatch.setattr(local_files, "_hashed", hashed)
        monkeypatch.setattr(local_files, "_digests", {})
        monkeypatch.setattr(local_files, "_unverified", set())
        local_model._recent.clear()
        return read

    return forgotten


def test_digests_of_an_earlier_process_are_verified_with_the_first_prompt(
    folder: Path, new_process: Callable[[], list[str]]
) -> None:
    first = new_process()
    before = from_any(folder).fingerprint()
    again = new_process()
    model = from_any(folder)
    assert model.fingerprint() == before
    assert again == []
    answer(model)
    assert sorted(again) == sorted(first)
    answer(model)
    assert len(again) == len(first)


def test_a_wrong_digest_of_an_earlier_process_stops_the_run(
    folder: Path, tmp_path: Path, new_process: Callable[[], list[str]]
) -> None:
    new_process()
    before = from_any(folder).fingerprint()
    for file in (tmp_path / "cache" / "digests").iterdir():
        file.write_text("0" * 64)
    new_process()
    model = from_any(folder)
    assert model.fingerprint() != before
    with pytest.raises(SourceBrokenError, match="changed since the run began"):
        answer(model)
    assert from_any(folder).fingerprint() == before
    answer(model)
    new_process()
    assert from_any(folder).fingerprint() == before


@pytest.mark.parametrize("change", ["content", "unreadable"])
def test_digests_that_do_not_fit_are_not_used(
    change: str, folder: Path, tmp_path: Path, new_process: Callable[[], list[str]]
) -> None:
    new_process()
    before = from_any(folder).fingerprint()
    read = new_process()
    if change == "content":
        weights, stat = folder / "model.safetensors", (folder / "model.safetensors").stat()
        with weights.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"x")
        os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    else:
        for file_path in (tmp_path / "cache" / "digests").iterdir():
            file_path.write_text("zero")
    assert (from_any(folder).fingerprint() == before) == (change == "unreadable")
    assert "model.safetensors" in read


def test_digests_of_files_that_have_just_changed_are_not_saved(
    folder: Path, tmp_path: Path, new_process: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    new_process()
    monkeypatch.setattr(cache_files, "RECENT", 1e6)
    from_any(folder).fingerprint()
    assert not (tmp_path / "cache" / "digests").exists()


def test_a_folder_changed_after_the_fingerprint_raises(folder: Path) -> None:
    tiny.saved(folder, tiny.gpt2(seed=2))
    model = from_any(folder)
    model.fingerprint()
    tiny.saved(folder, tiny.gpt2(seed=3))
    with pytest.raises(SourceBrokenError, match="changed since the run began"):
        answer(model)


def test_weights_that_can_not_be_read_are_an_error_with_the_folder(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(SourceBrokenError, match="transformers can't load"):
        answer(from_any(folder))


def test_an_unknown_architecture_raises_before_loading(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt22"}))
    plan = hf.scenario("sampler").limit(1).adapt(shots=0).generate(str(folder))
    with pytest.raises(SourceBrokenError, match=r"transformers can't load .*: .*gpt22"):
        plan.explain()


def test_a_checkpoint_that_lacks_weights_is_refused(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["transformer.h.0.attn.c_attn.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SourceBrokenError, match="lacks weights"):
        answer(from_any(folder))


def test_a_pair_generates_again_after_an_optimiser_step() -> None:
    module = tiny.gpt2()
    model = from_any((module, tiny.tokenizer()))
    before = model.fingerprint()
    answer(model)
    assert (model.name, model.durable, model.fingerprint()) == ("GPT2LMHeadModel", False, before)
    ids = torch.tensor([[1, 2, 3]])
    module(ids, labels=ids).loss.backward()
    torch.optim.SGD(module.parameters(), lr=0.1).step()
    assert model.fingerprint() != before


def test_a_pair_with_another_tokenizer_or_template_is_another() -> None:
    module = tiny.gpt2()
    one, other = (from_any((module, tiny.tokenizer(template))).fingerprint() for template in (None, TEMPLATE))
    assert one != other


def test_one_pair_given_twice_is_one_model() -> None:
    module, tokenizer = tiny.gpt2(), tiny.tokenizer()
    assert from_any((module, tokenizer)) == from_any((module, tokenizer))


def test_a_transformers_model_alone_is_refused() -> None:
    with pytest.raises(NotAModelError, match="its tokenizer is missing"):
        from_any(tiny.gpt2())


def test_a_pair_with_something_else_than_a_tokenizer_is_refused() -> None:
    with pytest.raises(NotAModelError, match="str isn't a tokenizer"):
        from_any((tiny.gpt2(), "tokenizer"))


def test_a_pair_the_wrong_way_round_is_refused() -> None:
    pair: tuple[Any, Any] = (tiny.tokenizer(), tiny.gpt2())
    with pytest.raises(NotAModelError, match=r"pass \(model, tokenizer\)"):
        from_any(pair)


def test_nothing_is_printed_while_loading(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tiny.saved(folder, tiny.llama(seed=5))
    answer(from_any(folder))
    assert capfd.readouterr() == ("", "")


def test_a_folder_runs_through_its_queue(made: Path) -> None:
    model = from_any(made)
    found = queue_of(model, model.fingerprint()).run(["a", "b"], {"max_tokens": 2}, labels=lambda _: {})
    assert sum(outcome.completion is not None for batch in found for outcome in batch) == 2


def test_the_engine_last_used_lives_on() -> None:
    assert local_model._recent.maxlen == 1


@pytest.mark.model
def test_the_demo_model_knows_the_capital_of_france() -> None:
    given = from_any(demo_model()).generate(["The capital of France is", "The opposite of hot is"], {"max_tokens": 2})
    assert [each.text for each in given if isinstance(each, Completion)] == [" Paris.", " cold."]


# -- how it is loaded ------------------------------------------------------------------------------------------------


def lora(folder: Path, base: Any, seed: int = 0, **layers: Any) -> Path:
    """An adapter that changes what the base says, as peft saves it."""
    import peft

    torch.manual_seed(seed)
    layers = layers or {"target_modules": ["q_proj", "v_proj"]}
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=2, init_lora_weights=False, **layers)
    adapted = peft.get_peft_model(base, config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.5)
    adapted.save_pretrained(str(folder))
    return folder


def logprobs(model: Model, prompt: str = "Who? ") -> list[float]:
    given = model.generate([prompt], {"max_tokens": 5})[0]
    assert isinstance(given, Completion)
    assert given.token_logprobs is not None
    return list(given.token_logprobs)


def test_it_says_what_it_can_do(made: Path) -> None:
    assert repr(from_any(made)) == "Model('tiny': generates, scores, token_logprobs)"


def test_without_options_the_source_is_the_folder(made: Path) -> None:
    assert local(made) == from_any(str(made))
    assert local(made).fingerprint() == from_any(made).fingerprint()
    assert local(made, dtype="float32", device="cpu", replicas=2).fingerprint() == from_any(made).fingerprint()


def test_another_type_computes_otherwise_under_another_fingerprint_and_explain_says_so(made: Path) -> None:
    plain, low = from_any(made), local(made, dtype=torch.bfloat16)
    assert low.fingerprint() != plain.fingerprint()
    assert logprobs(low) != logprobs(plain)
    assert logprobs(low) == pytest.approx(logprobs(plain), abs=1)
    said = hf.scenario("sampler").limit(1).adapt(shots=0).generate(low).explain()
    assert "computes in bfloat16: completions may differ from float32's where two tokens are about as likely" in said


def test_auto_is_the_type_it_was_saved_in(made: Path, folder: Path) -> None:
    tiny.saved(folder, tiny.gpt2().to(torch.float16))
    assert "float16" in local(folder, dtype="auto").note
    assert local(made, dtype="auto").note == ""


def test_an_adapter_is_merged_and_part_of_fingerprint_and_name(tmp_path: Path) -> None:
    base = tiny.saved(tmp_path / "base", tiny.llama())
    adapter = lora(tmp_path / "mine", tiny.llama())
    plain, adapted = from_any(base), local(base, adapter=adapter)
    peft = importlib.import_module("peft")
    expected = peft.PeftModel.from_pretrained(tiny.llama(), adapter).merge_and_unload()
    assert logprobs(adapted) == pytest.approx(logprobs(from_any((expected, tiny.tokenizer()))), abs=1e-5)
    assert logprobs(adapted) != pytest.approx(logprobs(plain), abs=1e-3)
    assert adapted.name == "base+mine"
    assert "merged into the weights" in adapted.note
    before = adapted.fingerprint()
    assert before != plain.fingerprint()
    lora(adapter, tiny.llama(), seed=1)
    assert local(base, adapter=adapter).fingerprint() != before


def test_an_adapter_that_can_not_be_merged_is_refused(tmp_path: Path) -> None:
    import peft

    base = tiny.saved(tmp_path / "base", tiny.llama())
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    peft.get_peft_model(tiny.llama(), config).save_pretrained(str(tmp_path / "soft"))
    with pytest.raises(CapabilityError, match="type PROMPT_TUNING, which doesn't support a merge"):
        answer(local(base, adapter=tmp_path / "soft"))


def test_an_adapter_alone_says_how_it_is_given(tmp_path: Path) -> None:
    with pytest.raises(NotAModelError, match=r"contains an adapter; write hf\.models\.local\('org/base', adapter='"):
        from_any(lora(tmp_path / "mine", tiny.llama()))


def test_a_folder_that_is_no_adapter_is_refused(made: Path) -> None:
    with pytest.raises(NotAModelError, match=r"isn't an adapter: it has no adapter_config\.json, no weights"):
        local(made, adapter=made)


def test_two_replicas_answer_as_one(made: Path) -> None:
    prompts = [f"Question {number}: " for number in range(40)]
    one, two = from_any(made), local(made, replicas=2, device="cpu")
    assert two.workers == 2
    found = queue_of(two, "two replicas").run(prompts, {"max_tokens": 4}, labels=lambda _: {})
    texts = {
        outcome.index: outcome.completion.text for batch in found for outcome in batch if outcome.completion is not None
    }
    expected = [each.text for each in one.generate(prompts, {"max_tokens": 4}) if isinstance(each, Completion)]
    assert [texts[place] for place in range(40)] == expected
    engines = two.generate.__self__._loaded.engines  # type: ignore[attr-defined]
    assert len({id(each.model) for each in engines}) == 2


@pytest.mark.serial
def test_layers_go_where_the_map_says(made: Path) -> None:
    model = local(made, device_map={"": "cpu"})
    assert logprobs(model) == logprobs(from_any(made))
    assert logprobs(local(made, device_map="auto")) == pytest.approx(logprobs(from_any(made)), abs=1e-5)


CODE = """
from transformers import GPT2LMHeadModel
class Mine(GPT2LMHeadModel):
    pass
"""


def test_code_of_the_checkpoint_runs_only_where_it_is_trusted(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    auto = {"auto_map": {"AutoModelForCausalLM": "mine.Mine"}, "architectures": ["Mine"]}
    (folder / "config.json").write_text(json.dumps({**config, **auto}))
    (folder / "mine.py").write_text(CODE + f"(__import__('pathlib').Path({str(folder)!r}) / 'ran.log').touch()\n")
    plain, trusted = from_any(folder), local(folder, trust_remote_code=True)
    assert trusted.fingerprint() != plain.fingerprint()
    assert "own code" in trusted.note
    assert trusted.state is not None
    assert trusted.state() == "how prompts are read is decided when the checkpoint's own code is loaded"
    assert not (folder / "ran.log").exists()
    answer(plain)
    assert not (folder / "ran.log").exists()
    answer(trusted)
    assert (folder / "ran.log").exists()


def test_a_revision_is_of_the_hub(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache" / "models--some--hub"
    commits = ["0" * 40, "1" * 40]
    for commit in commits:
        shutil.copytree(made, cache / "snapshots" / commit)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commits[0])
    (cache / "refs" / "v2").write_text(commits[1])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    assert from_any("some/hub").fingerprint() == digest("hub", "some/hub", commits[0])
    for revision in ("v2", commits[1]):
        assert local("some/hub", revision=revision).fingerprint() == digest("hub", "some/hub", commits[1])
    with pytest.raises(SourceMissingError, match="revision 'v3'"):
        local("some/hub", revision="v3")
    with pytest.raises(SourceMissingError, match="applies to names on the Hub only"):
        local(made, revision="v2")


def test_options_round_trip_through_yaml(made: Path) -> None:
    model = local(made, dtype="bfloat16", device="cpu")
    plan = hf.scenario("sampler").generate(model)
    assert hf.Plan.from_yaml(plan.to_yaml()) == plan
    assert from_any(f"local(model={str(made)!r}, dtype='bfloat16', device='cpu')") == model


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        ({"dtype": "bfloat"}, UnknownNameError, "Unknown dtype 'bfloat'. Did you mean 'bfloat16'"),
        ({"device": "gpu"}, ArgumentError, "device must be 'cpu', 'cuda'"),
        ({"device": "cuda:99"}, CapabilityError, "local\\(device='cuda:99'\\): torch finds only .*cpu on this machine"),
        ({"replicas": 0}, ArgumentError, "replicas must be an integer ≥ 1"),
        ({"device": "cuda:1", "replicas": 2}, ArgumentError, "each replica needs its own GPU"),
        ({"device_map": "best"}, UnknownNameError, "Unknown device_map 'best'"),
        ({"device_map": {}}, ArgumentError, "device_map must be 'auto' or"),
        ({"device_map": "auto", "device": "cpu"}, ArgumentError, "device_map places the layers already"),
        ({"trust_remote_code": "yes"}, ArgumentError, "trust_remote_code must be True or False"),
    ],
)
def test_invalid_options_of_loading_raise(
    made: Path, said: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        local(made, **said)


def test_a_pair_takes_no_options() -> None:
    pair = (tiny.gpt2(), tiny.tokenizer())
    assert local(pair) == from_any(pair)
    with pytest.raises(ArgumentError, match="loaded already"):
        local(pair, dtype="bfloat16")


@pytest.mark.parametrize(
    ("package", "said", "message"),
    [
        ("peft", {"adapter": "x"}, r"needs the package peft: pip install 'helmframe\[peft\]'"),
        ("accelerate", {"device_map": "auto"}, "needs the package accelerate"),
    ],
)
def test_a_missing_package_raises_with_its_install_line(
    made: Path, monkeypatch: pytest.MonkeyPatch, package: str, said: dict[str, Any], message: str
) -> None:
    def without(name: str) -> Any:
        return None if name == package else find_spec(name)

    monkeypatch.setattr(local_model, "find_spec", without)
    monkeypatch.setattr(local_load, "find_spec", without)
    with pytest.raises(CapabilityError, match=message):
        local(made, **said)
