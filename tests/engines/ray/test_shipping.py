"""What a replica gets: what can't travel is told before anything starts, and credentials never travel."""

import os
import pickle
import threading
from pathlib import Path

import pytest

import helmframe as hf
from helmframe import config
from helmframe.engines.ray.shipping import Parcel, pack, unpack
from tests.models.tiny import gpt2_folder


def letters(prompt: str) -> str:
    return "ABCD"[len(prompt) % 4]


def plan() -> hf.Plan:
    return hf.scenario("sampler")


def parcel(model: hf.Model, folder: Path) -> Parcel:
    return Parcel([], model, model.fingerprint(), folder, folder, fresh=False, prices={}, priority=0)


def test_an_unpicklable_plan_raises_before_anything_starts(tmp_path: Path) -> None:
    lock = threading.Lock()

    def locked(prompt: str) -> str:
        with lock:
            return "A"

    with pytest.raises(hf.HelmframeError, match=r"Can't send model 'locked' to workers: .*lock(?s:.*)first call"):
        plan().generate(locked).score(engine="ray")
    assert not (tmp_path / "store" / "runs").exists()


def test_a_credential_in_the_plan_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "canary-0123456789")
    key = os.environ["SOME_API_KEY"]
    with pytest.raises(hf.HelmframeError, match="contains a credential") as caught:
        plan().generate({"keyed": lambda prompt: key[:1]}).score(engine="ray")
    assert "canary" not in str(caught.value)


def test_credentials_of_configure_raise_before_a_ray_run() -> None:
    hf.configure(s3_key="AKIACANARY", s3_secret="canary-secret", store="s3://bucket/store")
    with pytest.raises(hf.HelmframeError, match="AWS_ACCESS_KEY_ID"):
        plan().generate(letters).score(engine="ray")


def test_settings_travel_without_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HELMFRAME_API_KEY", "canary-of-a-server")
    hf.configure(s3_key="AKIACANARY", s3_secret="canary-secret", s3_region="eu-north-1")
    data = pack(parcel(hf.model(letters), tmp_path))
    assert b"eu-north-1" in data
    for secret in (b"canary-of-a-server", b"AKIACANARY", b"canary-secret"):
        assert secret not in data
    with pytest.raises(hf.HelmframeError, match="Credentials are never sent to another process"):
        pickle.dumps(config.Secret("x"))


@pytest.mark.parametrize("said", ["http://localhost:1/v1#name", "openai:gpt-4.1", "noisy(accuracy=0.5)", "echo()"])
def test_a_model_that_has_a_name_is_the_same_there(said: str, tmp_path: Path) -> None:
    model = hf.model(said, name="mine", timeout=3)
    there = unpack(pack(parcel(model, tmp_path))).model
    assert (there.name, there.timeout, there.batch, there.workers) == ("mine", 3, model.batch, model.workers)
    assert there.fingerprint() == model.fingerprint()


def test_a_function_keeps_its_options(tmp_path: Path) -> None:
    there = unpack(pack(parcel(hf.model(letters, name="l", version="2", workers=3), tmp_path))).model
    assert (there.name, there.version, there.workers, there.durable) == ("l", "2", 3, True)
    assert list(there.generate(["abc"], {})) == ["D"]


def test_a_model_is_looked_for_where_the_sender_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpt2_folder(tmp_path / "models" / "tiny")
    monkeypatch.setenv("HELMFRAME_MODELS", str(tmp_path / "models"))
    data = pack(parcel(hf.model("tiny"), tmp_path))
    monkeypatch.delenv("HELMFRAME_MODELS")
    there = unpack(data)
    assert there.model.fingerprint() == there.fingerprint
