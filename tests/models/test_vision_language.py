"""Image-text-to-text checkpoints: a tiny LLaVA with random weights, loaded by `hf.models.local`."""

from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import CapabilityError
from helmframe.models import vision_language
from helmframe.models.model import Completion, ImagePrompt, Model, PromptImage, Seeded
from tests.pictures import TEMPLATE, noise, png, write_vision_model

MAX_TOKENS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vision_model(tmp_path_factory.mktemp("vision") / "tiny-llava")


@pytest.fixture
def model(folder: Path) -> Model:
    return hf.models.local(str(folder), device="cpu")


def prompt(text: str, *pictures: bytes) -> ImagePrompt:
    images = tuple(PromptImage(f"<image {place}>", partial(bytes, data)) for place, data in enumerate(pictures, 1))
    return ImagePrompt(text, images, len(text))


def texts(model: Model, *prompts: Any, **decoding: Any) -> list[str]:
    completions = model.generate(list(prompts), {"max_tokens": MAX_TOKENS, **decoding})
    assert all(isinstance(completion, Completion) for completion in completions), completions
    return [completion.text for completion in completions]  # type: ignore[union-attr]


def test_a_checkpoint_with_a_vision_tower_takes_images(model: Model) -> None:
    assert model.images
    assert not hf.models.oracle().images


def test_a_batch_gives_what_single_prompts_give(model: Model) -> None:
    prompts = [prompt("Hi?", png(1)), prompt("What is <image 1>, at length?", noise(2, 40)), prompt("Hi?", png(90))]
    together = texts(model, *prompts)
    assert together == [texts(model, each)[0] for each in prompts]
    assert len(set(together)) > 1


def test_completions_are_those_of_transformers_generate(model: Model, folder: Path) -> None:
    import torch
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    (folder.parent / "one.png").write_bytes(noise(3, 30))
    picture = Image.open(folder.parent / "one.png")
    processor: Any = AutoProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]
    turns = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Who is this?"}]}]
    text = processor.apply_chat_template(turns, add_generation_prompt=True)
    inputs = processor(text=text, images=picture, return_tensors="pt")
    network: Any = AutoModelForImageTextToText.from_pretrained(folder)
    with torch.no_grad():
        tokens = network.generate(**inputs, max_new_tokens=MAX_TOKENS, do_sample=False)
    theirs = processor.tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert texts(model, prompt("Who is this?", noise(3, 30))) == [theirs]


def test_images_change_completions(model: Model) -> None:
    found = {texts(model, prompt("Who is this?", noise(number, 30)))[0] for number in range(8)}
    assert len(found) > 1


def test_seeds_of_prompts_not_batches_decide_samples(model: Model) -> None:
    pictured: Any = prompt("Who is this?", png(1))
    seeded = [Seeded(pictured, seed) for seed in (1, 2, 1)]
    first, second, third = texts(model, *seeded, temperature=1.0)
    assert first == third != second
    assert texts(model, seeded[1], temperature=1.0) == [second]


def test_stop_strings_limits_and_tokens(model: Model) -> None:
    whole = texts(model, prompt("Who is this?", noise(5, 30)))[0]
    (ended,) = model.generate([prompt("Who is this?", noise(5, 30))], {"max_tokens": MAX_TOKENS, "stop": [whole[1]]})
    assert isinstance(ended, Completion)
    assert ended.finish_reason == "stop"
    assert ended.text.split(whole[1])[0] == whole.split(whole[1])[0]
    (none,) = model.generate([prompt("Who is this?", png(1))], {"max_tokens": 0})
    assert isinstance(none, Completion)
    assert (none.text, none.output_tokens) == ("", 0)
    assert none.prompt_tokens is not None
    assert none.prompt_tokens > len("Who is this?") + 3  # an image has four tokens


def test_a_damaged_image_is_the_error_of_its_prompt(model: Model) -> None:
    good = prompt("Who is this?", png(1))
    responses = model.generate([prompt("Who?", b"nothing"), good], {"max_tokens": MAX_TOKENS})
    assert isinstance(responses[0], hf.errors.ImageError)
    assert isinstance(responses[1], Completion)
    assert responses[1].text == texts(model, good)[0]


def test_large_batches_are_run_in_parts(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [prompt(f"Who is {number}?", png(number)) for number in range(7)]
    whole = texts(model, *prompts)
    monkeypatch.setitem(vision_language.MAX_ROWS, "cpu", 2)
    assert texts(model, *prompts) == whole


def test_a_plan_over_images_and_texts(model: Model) -> None:
    frame = pl.DataFrame(
        {"input": ["Who?", "What?", "Hm?"], "references": ["a"] * 3, "picture": [png(1), None, noise(1, 20)]}
    )
    plan = hf.scenario(frame, images="picture", decoding={"max_tokens": 4, "stop": []}).perturb("image_noise(std=0.5)")
    results = plan.generate(model).score()
    rows = results.completions.collect()
    assert rows["error"].null_count() == rows.height == 6
    assert rows["request_id"].n_unique() == 5  # the row without an image stays the same


def test_the_chat_template_takes_conversations(model: Model) -> None:
    frame = pl.DataFrame({"input": ["Who?"], "references": ["a"], "picture": [png(1)]})
    plan = hf.scenario(frame, images="picture", decoding={"max_tokens": 4, "stop": []})
    plain = plan.adapt(input_prefix="", output_prefix="").generate(model).score()
    chat = plan.adapt(input_prefix="", output_prefix="", chat_template=True).generate(model).score()
    assert plain.completions.collect()["completion"].to_list() == chat.completions.collect()["completion"].to_list()


def test_a_checkpoint_without_a_chat_template_is_an_error(tmp_path: Path) -> None:
    folder = write_vision_model(tmp_path / "bare")
    (folder / "chat_template.jinja").unlink()
    for name in ("processor_config.json", "tokenizer_config.json"):
        assert TEMPLATE not in (folder / name).read_text()
    bare = hf.models.local(str(folder))
    with pytest.raises(CapabilityError, match="has no chat template"):
        bare.generate([prompt("Who?", png(1))], {})
