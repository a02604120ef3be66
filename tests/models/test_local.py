"""Folders, names and pairs as models: found, checked, fingerprinted, loaded once."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants

from helmframe.errors import ArgumentError, NotAModelError, SourceBrokenError, SourceMissingError
from helmframe.models import Answer, local
from helmframe.models.local import folder_digest
from helmframe.models.model import Model, digest
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
    given = model.ask([prompt], {"max_tokens": 5})[0]
    assert isinstance(given, Answer)
    return given.text


def test_a_folder_answers_as_the_model_it_holds(made: Path) -> None:
    assert answer(from_any(made)) == answer(from_any((tiny.gpt2(), tiny.tokenizer())))


def test_a_folder_is_named_and_durable(made: Path) -> None:
    model = from_any(made)
    assert (model.name, model.durable, model.window, model.chat) == ("tiny", True, 128, None)
    assert model.takes == frozenset({"max_tokens", "temperature", "top_p", "top_k", "seed", "stop"})


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
        SourceMissingError, match=f"looked at: no/such, such, {tmp_path}/no/such, {tmp_path}/such, and the hub"
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


def test_a_path_found_nowhere_is_not_asked_from_the_hub(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError, match="no model at"):
        from_any(tmp_path / "such")


def test_a_file_is_refused(made: Path) -> None:
    with pytest.raises(NotAModelError, match="is a file"):
        from_any(made / "config.json")


@pytest.mark.parametrize(
    ("file", "message"),
    [("config.json", "no config.json"), ("model.safetensors", "no weights"), ("tokenizer.json", "no a tokenizer")],
)
def test_a_folder_that_lacks_something_is_refused(folder: Path, file: str, message: str) -> None:
    (folder / file).unlink()
    with pytest.raises(NotAModelError, match=message):
        from_any(folder)


def test_an_encoder_decoder_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "is_encoder_decoder": True}))
    with pytest.raises(NotAModelError, match="encoder-decoder"):
        from_any(folder)


def test_a_folder_takes_no_version(made: Path) -> None:
    with pytest.raises(ArgumentError, match="remembered by its content"):
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
    assert one.ask.__self__._engine is other.ask.__self__._engine  # type: ignore[attr-defined]


def test_another_checkpoint_in_the_same_folder_answers_anew(folder: Path) -> None:
    first = from_any(folder)
    before = answer(first), first.fingerprint()
    tiny.saved(folder, tiny.gpt2(seed=1))
    second = from_any(folder)
    assert (answer(second), second.fingerprint()) != before


def test_a_folder_changed_after_the_fingerprint_is_not_asked_under_it(folder: Path) -> None:
    tiny.saved(folder, tiny.gpt2(seed=2))
    model = from_any(folder)
    model.fingerprint()
    tiny.saved(folder, tiny.gpt2(seed=3))
    with pytest.raises(SourceBrokenError, match="changed since the run began"):
        answer(model)


def test_weights_that_can_not_be_read_are_an_error_with_the_folder(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(SourceBrokenError, match="can't be loaded by transformers"):
        answer(from_any(folder))


def test_a_checkpoint_that_lacks_weights_is_refused(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["transformer.h.0.attn.c_attn.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SourceBrokenError, match="lacks weights"):
        answer(from_any(folder))


def test_a_pair_is_asked_again_after_one_optimiser_step() -> None:
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
    with pytest.raises(NotAModelError, match="str is no tokenizer"):
        from_any((tiny.gpt2(), "tokenizer"))


def test_a_pair_the_wrong_way_round_is_refused() -> None:
    pair: tuple[Any, Any] = (tiny.tokenizer(), tiny.gpt2())
    with pytest.raises(NotAModelError, match=r"give \(model, tokenizer\)"):
        from_any(pair)


def test_nothing_is_printed_while_loading(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tiny.saved(folder, tiny.llama(seed=5))
    answer(from_any(folder))
    assert capfd.readouterr() == ("", "")


def test_a_folder_is_asked_through_its_queue(made: Path) -> None:
    model = from_any(made)
    found = queue_of(model, model.fingerprint()).ask(["a", "b"], {"max_tokens": 2}, labels=lambda _: {})
    assert sum(outcome.answer is not None for batch in found for outcome in batch) == 2


def test_the_engine_last_used_lives_on() -> None:
    assert local._recent.maxlen == 1


@pytest.mark.model
def test_the_demo_model_knows_the_capital_of_france() -> None:
    given = from_any(demo_model()).ask(["The capital of France is", "The opposite of hot is"], {"max_tokens": 2})
    assert [each.text for each in given if isinstance(each, Answer)] == [" Paris.", " cold."]
