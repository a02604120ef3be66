"""Prompts with images: pieces, servers, request ids, and models that take none."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe._core.images import MAX_BYTES, opened, sendable
from helmframe._schema import CONTENT
from helmframe.errors import CapabilityError, ImageError
from helmframe.models.model import ImagePrompt, PromptImage
from tests.models.openai_server import Server, serving
from tests.pictures import encoded, noise, png, reply, sent_images, sent_parts, write_mmmu, write_pope


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        made.reply = lambda asked: reply("A")
        yield made


def frame(pictures: list[Any], questions: list[str] | None = None) -> pl.DataFrame:
    asked = questions or [f"What is picture {number}?" for number in range(len(pictures))]
    return pl.DataFrame({"input": asked, "references": ["a"] * len(asked), "picture": pictures})


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def prompt(text: str, *places: str, question: int | None = None) -> ImagePrompt:
    images = tuple(PromptImage(at, lambda: b"") for at in places)
    return ImagePrompt(text, images, len(text) if question is None else question)


def shape(pieces: list[Any]) -> list[str]:
    return [piece if isinstance(piece, str) else f"[{piece.at}]" for piece in pieces]


def test_an_image_replaces_its_first_placeholder_in_the_question() -> None:
    text = "<image 1> Look: <image 1> and <image 1>"
    made = prompt(text, "<image 1>", question=len("<image 1> and <image 1>"))
    assert shape(made.pieces(text)) == ["<image 1> Look: ", "[<image 1>]", " and <image 1>"]


def test_images_without_a_placeholder_come_before_the_question() -> None:
    text = "Answer. What is it? <image 2>"
    made = prompt(text, "<image 1>", "<image 2>", "<image 3>", question=len("What is it? <image 2>"))
    assert shape(made.pieces(text)) == ["Answer. ", "[<image 1>]", "[<image 3>]", "What is it? ", "[<image 2>]"]


def test_servers_receive_the_bytes_as_they_are(server: Server) -> None:
    jpeg = encoded(3, (50, 40), "JPEG")
    hf.scenario(frame([png(1), jpeg]), images="picture").generate(hf.models.http(server.url, "m")).score()
    assert {asked.route for asked in server.asked} == {"chat/completions"}
    sent = {image for asked in server.asked for image in sent_images(asked)}
    assert sent == {("image/png", png(1)), ("image/jpeg", jpeg)}


def test_formats_that_servers_do_not_accept_are_sent_as_png(server: Server) -> None:
    plan = hf.scenario(frame([encoded(1, (20, 20), "BMP")]), images="picture")
    plan.generate(hf.models.http(server.url, "m")).score()
    ((kind, data),) = sent_images(server.asked[0])
    assert kind == "image/png"
    assert opened(data).size == (20, 20)


def test_mmmu_has_helms_prompt(server: Server, tmp_path: Path) -> None:
    question = {
        "question": "Compare <image 1> with <image 2>.",
        "options": ["same", "<image 3>"],
        "answer": "A",
        **{f"image_{place}": png(place) for place in (1, 2, 3)},
    }
    write_mmmu(tmp_path, {"Art": [question]})
    plan = hf.scenario("mmmu", data=tmp_path).where(subject="Art")
    assert plan.generate(hf.models.http(server.url, "m")).score().value("exact_match") == 1.0
    # HELM: instructions, instance_prefix, question with its images, options, output_prefix.rstrip()
    start = "Answer the multiple choice question by just giving the letter of the correct answer.\n"
    assert sent_parts(server.asked[0]) == [
        f"{start}Compare ",
        digest(png(1)),
        " with ",
        digest(png(2)),
        ".\nA. same\nB. ",
        digest(png(3)),
        "\nAnswer:",
    ]


def test_pope_has_helms_prompt(server: Server, tmp_path: Path) -> None:
    write_pope(tmp_path, [png(0)])
    hf.scenario("pope", data=tmp_path).generate(hf.models.http(server.url, "m")).score()
    start = "Answer the multiple choice question by just giving the letter of the correct answer.\n"
    question = "Is there a cat in picture 0?\nA. Yes\nB. No\nAnswer:"
    assert sent_parts(server.asked[0]) == [start, digest(png(0)), question]


def test_a_conversation_has_its_image_in_the_last_message(server: Server) -> None:
    plan = hf.scenario(frame([png(1)]), images="picture").adapt(chat_template=True, system="Be brief.")
    plan.generate(hf.models.http(server.url, "m")).score()
    system, user = server.asked[0].body["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    assert [part["type"] for part in user["content"]] == ["image_url", "text"]


def test_completions_are_cached_by_the_content_of_images(server: Server, tmp_path: Path) -> None:
    model = hf.models.http(server.url, "m")
    write_pope(tmp_path / "one", [png(0), png(1)])
    write_pope(tmp_path / "two", [png(0), png(7)])
    hf.scenario("pope", data=tmp_path / "one").generate(model).score()
    assert len(server.asked) == 2
    hf.scenario("pope", data=tmp_path / "one").generate(model).score()
    assert len(server.asked) == 2
    hf.scenario("pope", data=tmp_path / "two").generate(model).score()  # the second picture is another one
    assert len(server.asked) == 3


def test_perturbed_images_are_other_requests(server: Server) -> None:
    plan = hf.scenario(frame([noise(1, 32), noise(2, 32)]), images="picture")
    results = plan.perturb("image_blur(radius=[1.0, 3.0])").generate(hf.models.http(server.url, "m")).score()
    rows = results.completions.collect()
    assert rows["request_id"].n_unique() == len(server.asked) == rows.height == 6
    assert len({data for asked in server.asked for _, data in sent_images(asked)}) == 6


def test_a_damaged_image_is_the_error_of_its_row(server: Server) -> None:
    pictures = [png(1), b"<svg xmlns='http://www.w3.org/2000/svg'/>", png(2)[:60], b""]
    results = hf.scenario(frame(pictures), images="picture").generate(hf.models.http(server.url, "m")).score()
    errors = results.errors()
    assert len(server.asked) == 1
    assert errors["instance_id"].to_list() == ["id1", "id2", "id3"]
    assert errors["error"].str.starts_with("ImageError: The image").all()


def test_a_bomb_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)
    for side in (32, 40, 60):  # just above the limit, and where Pillow warns or raises
        with pytest.raises(ImageError, match=r"pixels|too large"):
            opened(png(1, (side, side)))
    with pytest.raises(ImageError, match="bytes; the limit"):
        opened(b"x" * (MAX_BYTES + 1))


def test_only_listed_formats_are_decoded() -> None:
    buffer = io.BytesIO()
    from PIL import Image

    Image.new("RGB", (8, 8)).save(buffer, format="EPS")
    with pytest.raises(ImageError, match="SVG isn't supported"):
        sendable(buffer.getvalue())


def test_a_model_of_text_is_an_error_before_the_first_request() -> None:
    called: list[str] = []

    def model(prompt: str) -> str:
        called.append(prompt)
        return "a"

    with pytest.raises(CapabilityError, match="takes text only"):
        hf.scenario(frame([png(1)]), images="picture").generate(model)
    content = [{"type": "image", "text": None, "media": {"name": "a", "data": png(1)}}]
    rows = pl.DataFrame(
        {"input": ["?"], "references": ["a"], "content": [content]}, schema_overrides={"content": CONTENT}
    )
    with pytest.raises(CapabilityError, match="takes text only"):
        hf.scenario(rows).generate(model).score()
    assert called == []


def test_options_after_images_are_not_scored(server: Server, tmp_path: Path) -> None:
    write_pope(tmp_path, [png(0)])
    plan = hf.scenario("pope", data=tmp_path).adapt(method="multiple_choice_separate_original")
    with pytest.raises(CapabilityError, match="after images"):
        plan.generate(hf.models.http(server.url, "m")).score()
    assert server.asked == []


def test_few_shot_examples_with_images_are_refused(server: Server, tmp_path: Path) -> None:
    write_pope(tmp_path, [png(0)])
    with pytest.raises(CapabilityError, match=r"adapt\(shots=0\)"):
        hf.scenario("pope", data=tmp_path).adapt(shots=2).generate(hf.models.http(server.url, "m")).score()


def test_content_parts_of_a_frame_reach_a_server(server: Server) -> None:
    content = [{"type": "image", "text": None, "media": {"name": "cat.png", "data": png(5)}}]
    rows = pl.DataFrame(
        {"input": ["?"], "references": ["A"], "content": [content]}, schema_overrides={"content": CONTENT}
    )
    assert hf.scenario(rows).generate(hf.models.http(server.url, "m")).score().value("exact_match") == 1.0
    assert sent_parts(server.asked[0])[0] == digest(png(5))


def test_other_media_than_images_are_an_error(server: Server) -> None:
    content = [{"type": "audio", "text": None, "media": {"name": "cat.wav", "data": b"RIFF"}}]
    rows = pl.DataFrame(
        {"input": ["?"], "references": ["A"], "content": [content]}, schema_overrides={"content": CONTENT}
    )
    with pytest.raises(CapabilityError, match="contains other media"):
        hf.scenario(rows).generate(hf.models.http(server.url, "m")).score()


def test_results_have_references_and_no_bytes(server: Server, tmp_path: Path) -> None:
    pictures = [noise(number, 100) for number in range(4)]
    results = hf.scenario(frame(pictures), images="picture").generate(hf.models.http(server.url, "m")).score()
    stored = b"".join(
        file.read_bytes() for file in Path(str(results.path)).rglob("*.parquet") if "images" not in file.parts
    )
    assert digest(pictures[0]).encode() in stored or results.completions.collect()["blocks"].null_count() == 0
    assert not any(data[100:400] in stored for data in pictures)
    assert len(stored) < sum(map(len, pictures))
