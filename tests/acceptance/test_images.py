"""Images from a bucket reach a server byte by byte, and an image-text-to-text model; memory stays bounded."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.figures import shown
from tests.demo import ROOT
from tests.models.openai_server import Asked, Reply, refusal, serving
from tests.pictures import noise, reply, sent_images, write_pope, write_vision_model
from tests.s3_server import BUCKET, S3Server

INSTANCES = 200
SIDE = 600  # of a picture of noise, whose PNG has about a megabyte
FIRST = 100  # instances, after which the peak of memory hardly grows
MOST_MEGABYTES = 100


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    return [noise(number, SIDE) for number in range(INSTANCES)]


@pytest.fixture(scope="module")
def bucket(s3_server: S3Server, pictures: Sequence[bytes], tmp_path_factory: pytest.TempPathFactory) -> str:
    """POPE in a bucket, in the Hub's layout."""
    root = tmp_path_factory.mktemp("pope")
    write_pope(root, pictures, row_group_size=100)
    s3_server.filesystem().put(f"{root}/pope/", f"{BUCKET}/pictures/pope/", recursive=True)
    return f"s3://{BUCKET}/pictures"


def run(s3: S3Server, store: Path, *arguments: str) -> dict[str, Any]:
    # two arenas: otherwise each thread's has freed memory of its own, which isn't in use
    environment = {**os.environ, **s3.environment, "HELMFRAME_STORE": str(store), "MALLOC_ARENA_MAX": "2"}
    command = [sys.executable, "-m", "tests.acceptance.images_child", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def test_6_a_server_receives_the_bytes_of_the_bucket(
    s3_server: S3Server, bucket: str, pictures: Sequence[bytes], tmp_path: Path
) -> None:
    digests = {hashlib.sha256(data).hexdigest(): number for number, data in enumerate(pictures)}
    equal: list[int] = []

    def check(asked: Asked) -> Reply:
        """Reply with the right answer if the image is that of the question, byte by byte."""
        ((kind, data),) = sent_images(asked)
        (question,) = [part["text"] for part in asked.body["messages"][0]["content"][1:] if part["type"] == "text"][-1:]
        number = digests.get(hashlib.sha256(data).hexdigest())
        if number is None:  # a perturbed image, which is a new PNG
            return reply("A") if kind == "image/png" else refusal(400, "no image")
        if asked.route != "chat/completions" or f"picture {number}?" not in question:
            return refusal(400, "another question's image")
        equal.append(number)
        return reply("A" if number % 2 else "B")

    with serving() as server:
        server.reply = check
        figures = run(s3_server, tmp_path / "store", bucket, "http", server.url, str(FIRST))
        requests = len(server.asked)
        server.asked.clear()
        run(s3_server, tmp_path / "store", bucket, "http", server.url, str(FIRST))
        again = len(server.asked)
    megabytes = sum(map(len, pictures)) / 1e6
    shown("6", f"images from a bucket that a server receives byte by byte, of {INSTANCES}", len(set(equal)), INSTANCES)
    shown("6", f"peak of memory for {megabytes:.0f} MB of images, server, in MB", figures["peak"], "none")
    shown("6", f"of these megabytes, added after {FIRST} images", figures["megabytes"], MOST_MEGABYTES)
    assert sorted(equal) == list(range(INSTANCES))
    assert figures["accuracy"] == 1.0
    assert figures["errors"] == 0
    assert figures["completions"] == figures["distinct"] == requests == 2 * INSTANCES
    assert figures["changed"] == INSTANCES
    assert again == 0
    assert figures["megabytes"] < MOST_MEGABYTES


def test_6_an_image_text_to_text_model_runs_them(s3_server: S3Server, bucket: str, tmp_path: Path) -> None:
    folder = write_vision_model(tmp_path / "tiny-llava")
    figures = run(s3_server, tmp_path / "store", bucket, "local", str(folder), str(FIRST))
    shown(
        "6",
        f"images from a bucket that a local model completes, of {INSTANCES}",
        figures["completions"] // 2,
        INSTANCES,
    )
    shown("6", "peak of memory for the same images, local model, in MB", figures["peak"], "none")
    shown("6", f"of these megabytes, added after {FIRST} images", figures["megabytes"], MOST_MEGABYTES)
    assert figures["completions"] == figures["distinct"] == 2 * INSTANCES
    assert figures["errors"] == 0
    assert figures["megabytes"] < MOST_MEGABYTES
