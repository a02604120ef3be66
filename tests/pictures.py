"""Pictures for tests, scenarios in the Hub's layout, and a tiny image-text-to-text checkpoint."""

import base64
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.models.openai_server import Asked, Reply

HUB_IMAGE = pl.Struct({"bytes": pl.Binary, "path": pl.String})


def png(number: int, size: tuple[int, int] = (40, 30)) -> bytes:
    """A picture in one colour of its own, with a frame."""
    return encoded(number, size, "PNG")


def encoded(number: int, size: tuple[int, int], form: str, **options: Any) -> bytes:
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", size, (number * 37 % 256, number * 91 % 256, number % 256))
    ImageDraw.Draw(picture).rectangle((5, 5, size[0] - 6, size[1] - 6), outline=(255, 255, 255))
    buffer = io.BytesIO()
    picture.save(buffer, format=form, **options)
    return buffer.getvalue()


def noise(number: int, side: int) -> bytes:
    """A picture of noise, whose PNG has about 3·side² bytes."""
    from PIL import Image

    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=0)
    return buffer.getvalue()


def write_pope(root: Path, pictures: Sequence[bytes], row_group_size: int = 100) -> None:
    """POPE as the Hub has it, with one question per picture."""
    rows = pl.DataFrame(
        {
            "id": [str(number) for number in range(len(pictures))],
            "question": [f"Is there a cat in picture {number}?" for number in range(len(pictures))],
            "answer": ["yes" if number % 2 else "no" for number in range(len(pictures))],
            "image_source": [f"COCO_{number:04}" for number in range(len(pictures))],
            "category": ["popular"] * len(pictures),
            "image": [{"bytes": data, "path": None} for data in pictures],
        },
        schema_overrides={"image": HUB_IMAGE},
    )
    folder = root / "pope"
    folder.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(folder / "test-00000-of-00001.parquet", row_group_size=row_group_size)


def write_mmmu(root: Path, rows: Mapping[str, Sequence[Mapping[str, Any]]], split: str = "validation") -> None:
    """MMMU as the Hub has it: subject → rows, whose missing images are null."""
    for subject, questions in rows.items():
        full = [
            {
                "id": f"validation_{subject}_{number}",
                "question_type": "multiple-choice",
                **question,
                "options": repr(question["options"]),
                **{
                    f"image_{place}": {"bytes": question[f"image_{place}"], "path": f"{place}.png"}
                    if f"image_{place}" in question
                    else None
                    for place in range(1, 8)
                },
            }
            for number, question in enumerate(questions)
        ]
        frame = pl.DataFrame(full, schema_overrides={f"image_{place}": HUB_IMAGE for place in range(1, 8)})
        folder = root / "mmmu" / subject
        folder.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(folder / f"{split}-00000-of-00001.parquet")


def sent_images(request: Asked) -> Iterator[tuple[str, bytes]]:
    """The media type and the bytes of each image of a request."""
    for part in request.body["messages"][-1]["content"]:
        if part["type"] == "image_url":
            head, _, data = part["image_url"]["url"].partition(";base64,")
            yield head.removeprefix("data:"), base64.b64decode(data, validate=True)


def sent_parts(request: Asked) -> list[str]:
    """The parts of a request: texts, and the sha256 of images."""
    return [
        part["text"]
        if part["type"] == "text"
        else hashlib.sha256(base64.b64decode(part["image_url"]["url"].partition(",")[2])).hexdigest()
        for part in request.body["messages"][-1]["content"]
    ]


def reply(text: str) -> Reply:
    """A completion of /chat/completions."""
    return Reply({"choices": [{"index": 0, "message": {"content": text}, "finish_reason": "stop"}]})


# As LLaVA's: content in parts.
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %} {% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def write_vision_model(folder: Path, seed: int = 0) -> Path:
    """A LLaVA with random weights that a test runs in a moment; its completions depend on the image."""
    import torch
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    from tests.models.tiny import CHARACTERS, tokenizer

    words = tokenizer(TEMPLATE)
    words.add_special_tokens({"additional_special_tokens": ["<image>"], "pad_token": "<end>"})
    words.model_max_length = 4096
    image_token = words.convert_tokens_to_ids("<image>")
    text = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=4096, bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=28, patch_size=14
    )
    torch.manual_seed(seed)
    config = LlavaConfig(text_config=text, vision_config=vision, image_token_index=image_token)
    model: Any = LlavaForConditionalGeneration(config)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() > 1:
                weights.mul_(8)  # random weights choose between tokens decidedly
    assert len(words) == len(CHARACTERS) + 2
    processor: Any = LlavaProcessor(  # type: ignore[no-untyped-call]
        image_processor=CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
        tokenizer=words,
        patch_size=14,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
