"""Providers: each server receives its own key, and a refused parameter costs one request and no completion."""

import itertools
import json
import os
import socket
import subprocess
import time
import venv
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import helmframe as hf
from helmframe.models import endpoint_client, event_loop, http
from tests.acceptance.figures import shown
from tests.models.openai_server import Asked, Reply, Server, refusal, serving

N = 8
LETTERS = "ABCD"
QUESTIONS = pl.DataFrame(
    {
        "q": [f"Which letter has number {number % 4}?" + " " * number for number in range(N)],
        "options": [["one", "two", "three", "four"]] * N,
        "right": [LETTERS[number % 4] for number in range(N)],
    }
)
# Every parameter that a server may refuse, with a value that each request contains; `n` is never sent.
DECODING = {
    "max_tokens": 50, "temperature": 0.7, "top_p": 0.9, "stop": ["#", "##"], "seed": 3, "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
}  # fmt: skip
REFUSED = [*DECODING, "logprobs", "top_k"]
# Name → the condition that a value meets, and the server's message.
VALUES: dict[str, tuple[Any, str]] = {
    "temperature": (lambda value: value == 1, "Unsupported value: 'temperature' does not support 0.7. Only 1 is."),
    "max_tokens": (lambda value: value <= 20, "max_tokens is too large: 50. This model supports at most 20 tokens."),
    "top_p": (lambda value: value == 1, "top_p must be 1 for this model."),
    "stop": (lambda value: len(value) < 2, "'stop': at most 1 stop sequence is supported."),
}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Remove keys of this machine, shorten pauses, and close connections afterwards."""
    for name in [name for name in os.environ if name.endswith("API_KEY")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("helmframe.models.retries.FIRST_PAUSE", 0.01)
    yield
    client = endpoint_client._clients.pop(event_loop.loop(), None)
    if client is not None:
        event_loop.run(client.aclose())


def plan_of(models: Any, **decoding: Any) -> hf.Plan:
    plan = hf.scenario(QUESTIONS, input="q", choices="options", answer="right", name="letters")
    return plan.adapt(shots=0).generate(models, **decoding)


def letter(asked: Asked) -> Reply:
    """Return a letter that depends on the prompt, with tokens and log-probabilities as OpenAI counts them."""
    prompt = asked.body["messages"][-1]["content"]
    text = LETTERS[len(prompt) % 4]
    token = {"token": text, "logprob": -0.25, "bytes": list(text.encode()), "top_logprobs": []}
    usage = {"prompt_tokens": len(prompt), "completion_tokens": 1, "total_tokens": len(prompt) + 1}
    details = {"prompt_tokens_details": {"cached_tokens": len(prompt) // 2}}
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
        "logprobs": {"content": [token]},
    }
    head = {"id": "1", "object": "chat.completion", "created": 1, "model": asked.body["model"]}
    return Reply({**head, "choices": [choice], "usage": {**usage, **details}})


def refusing(accepts: Mapping[str, Any], *, status: int = 400, with_param: bool = False) -> Any:
    """Return a server's reply function that refuses the first parameter whose value it does not accept.

    Args:
        accepts: Name → a function of the value; None refuses every value. Or with a message: (function, message).
        status: The status of a refusal.
        with_param: Whether the field `param` names the parameter; else only the message does.
    """

    def reply(asked: Asked) -> Reply:
        for name, rule in accepts.items():
            accepted, message = rule if isinstance(rule, tuple) else (rule, f"Unsupported parameter: '{name}'")
            if name in asked.body and not (accepted is not None and accepted(asked.body[name])):
                error = {"message": "Invalid request" if with_param else message, "type": "invalid_request_error"}
                return Reply({"error": {**error, **({"param": name} if with_param else {})}}, status)
        return letter(asked)

    return reply


def wasted(server: Server, model: Any) -> tuple[int, int, set[str]]:
    """Run a plan; return the wasted requests, the failed requests, and the parameters in the manifest."""
    before = len(server.asked)
    results = plan_of(model, **DECODING).score(fresh=True)
    sent = len(server.asked) - before
    entry = results.manifest["models"][model.name]
    return sent - N, results.errors().height, set(entry.get("refused", {}))


def test_2_each_refused_parameter_costs_one_request_and_no_completion() -> None:
    worst = failed = listed = runs = 0
    with serving() as server:
        for name, status, with_param in itertools.product(REFUSED, (400, 422), (True, False)):
            server.reply = refusing({name: None}, status=status, with_param=with_param)
            model = http(server.url, f"{name}-{status}-{with_param}", chat=True, extra={"top_k": 3})
            lost, errors, refused = wasted(server, model)
            worst, failed, runs = max(worst, lost), failed + errors, runs + 1
            listed += refused == {name}
        assert not any("n" in asked.body for asked in server.asked)
    shown("2", f"wasted requests per refused parameter, at most, in {runs} runs", worst, 1)
    shown("2", "failed requests", failed, 0)
    shown("2", "runs whose manifest lists the parameter", f"{listed}/{runs}", "all")
    assert (worst, failed, listed) == (1, 0, runs)


def test_2_a_refused_value_costs_one_request_and_no_completion() -> None:
    with serving() as server:
        for name, rule in VALUES.items():
            server.reply = refusing({name: rule})
            model = http(server.url, f"{name}-value", chat=True, extra={"top_k": 3})
            assert wasted(server, model) == (1, 0, {name}), name
            if name == "max_tokens":
                assert server.asked[-1].body["max_tokens"] == 20
    shown("2", f"refused values of {', '.join(VALUES)}: wasted requests each", 1, 1)


def test_2_two_refused_parameters_cost_at_most_two_requests() -> None:
    worst = failed = listed = runs = 0
    with serving() as server:
        for pair in itertools.combinations(REFUSED, 2):
            server.reply = refusing(dict.fromkeys(pair))
            model = http(server.url, "-".join(pair), chat=True, extra={"top_k": 3})
            lost, errors, refused = wasted(server, model)
            worst, failed, runs = max(worst, lost), failed + errors, runs + 1
            listed += refused == set(pair)
    shown("2", f"wasted requests for two refused parameters, at most, in {runs} runs", worst, 2)
    shown("2", "failed requests", failed, 0)
    shown("2", "runs whose manifest lists both", f"{listed}/{runs}", "all")
    assert (worst, failed, listed) == (2, 0, runs)


def test_2_one_error_may_name_several_parameters() -> None:
    names = ("seed", "temperature", "top_p")
    with serving() as server:

        def reply(asked: Asked) -> Reply:
            present = [name for name in names if name in asked.body]
            return refusal(422, f"Extra inputs are not permitted: {', '.join(present)}") if present else letter(asked)

        server.reply = reply
        lost, errors, refused = wasted(server, http(server.url, "several", chat=True))
    shown("2", "wasted requests for three parameters that one error names", lost, len(names))
    assert lost <= len(names)
    assert (errors, refused) == (0, set(names))


def test_2_judges_and_translators_use_the_same_path() -> None:
    texts = {"j": "Fine. <score>1</score>", "t": "Welcher Buchstabe?"}
    with serving() as server, serving() as other:
        server.reply = letter

        def reply(asked: Asked) -> Reply:
            refused = refusing({"temperature": None})(asked)
            message = {"role": "assistant", "content": texts[asked.body["model"]]}
            return refused if refused.status == 400 else Reply({"choices": [{"message": message}]})

        other.reply = reply
        judge = hf.judge(http(other.url, "j", chat=True), "safety")
        german = hf.perturbations.translate(translator=http(other.url, "t", chat=True), language="German")
        plan = plan_of(http(server.url, "m", chat=True)).perturb(german).metrics("exact_match", judge)
        results = plan.score()
        sent = {name: [asked.body for asked in other.asked if asked.body["model"] == name] for name in texts}
    refused = {name: sum("temperature" in body for body in bodies) for name, bodies in sent.items()}
    text = "the server rejects temperature=0.0; its default temperature is used"
    shown("2", "wasted requests of judge and translator", refused, "1 each")
    assert refused == {"j": 1, "t": 1}
    assert results.manifest["judges"]["j"]["refused"] == {"temperature": text}
    assert results.manifest["perturbation_models"]["t"]["refused"] == {"temperature": text}
    assert {f"j: {text}", f"t: {text}"} <= set(repr(results).splitlines())
    verdicts = results.verdicts.collect()
    assert (verdicts.height, verdicts["error"].null_count()) == (2 * N, 2 * N)


def test_4_three_servers_three_keys_one_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hf.configure(store=tmp_path)
    keys = {name: f"sk-canary-{name}-0123456789abcdef" for name in ("one", "two", "three")}
    others = {"HELMFRAME_API_KEY": "sk-canary-local-0123456789", "OPENAI_API_KEY": "sk-canary-openai-0123456789"}
    for name, key in keys.items():
        monkeypatch.setenv(f"{name.upper()}_SERVER_KEY", key)
    for variable, key in others.items():
        monkeypatch.setenv(variable, key)
    with ExitStack() as stack:
        servers = {name: stack.enter_context(serving()) for name in keys}
        for server in servers.values():
            server.reply = letter
        models = {
            name: http(server.url, "m", chat=True, key_env=f"{name.upper()}_SERVER_KEY")
            for name, server in servers.items()
        }
        plan = plan_of(models, temperature=0)
        first = plan.score()
        counts = [len(server.asked) for server in servers.values()]
        second = plan.score()
        resent = sum(len(server.asked) for server in servers.values()) - sum(counts)
        seen = {name: received(server) for name, server in servers.items()}
    canaries = {*keys.values(), *others.values()}
    wrong = sum(canary in text for name, text in seen.items() for canary in canaries - {keys[name]})
    stored = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    shown("4", "requests with the key of another server", wrong, 0)
    shown("4", "requests of the second run", resent, 0)
    assert counts == [N, N, N]
    assert all(seen[name].count(f"Bearer {key}") == N for name, key in keys.items())
    assert (wrong, resent) == (0, 0)
    assert not any(canary.encode() in stored or canary in repr([models, first, plan]) for canary in canaries)
    assert_frame_equal(first.table(), second.table())


@pytest.mark.parametrize("provider", ["openai", "litellm_proxy"])
def test_4_litellm_gives_the_same_table(provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hf.configure(store=tmp_path)
    key, other = "sk-canary-litellm-0123456789", "sk-canary-other-0123456789"
    with serving() as server:
        server.reply = letter
        for variable, value in {"API_KEY": key, "API_BASE": server.url}.items():
            monkeypatch.setenv(f"{provider.upper()}_{variable}", value)
        monkeypatch.setenv("MISTRAL_API_KEY", other)
        direct = plan_of({"m": http(server.url, "m", chat=True)}, temperature=0).score()
        before = len(server.asked)
        plan = plan_of({"m": f"litellm:{provider}/m"}, temperature=0)
        through = plan.score()
        sent = len(server.asked) - before
        plan.score()
        resent = len(server.asked) - before - sent
        text = received(server, before)
    columns = ["completion", "logprob", "finish_reason", "prompt_tokens", "cached_prompt_tokens", "output_tokens"]
    tables = [results.completions.sort("instance_id").select(columns).collect() for results in (direct, through)]
    stored = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    shown(
        "4",
        f"litellm:{provider}/m: scores and completions equal to those of the server",
        f"{through.table().equals(direct.table())}",
        "True",
    )
    shown("4", f"litellm:{provider}/m: requests of the second run", resent, 0)
    assert_frame_equal(through.table(), direct.table())
    assert_frame_equal(*tables)
    assert (sent, resent) == (N, 0)
    assert text.count(key) == N
    assert other not in text
    assert key.encode() not in stored


def test_4_litellm_refuses_parameters_as_servers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-litellm-0123456789")
    with serving() as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        for pair in itertools.combinations([*DECODING, "logprobs"], 2):
            server.reply = refusing(dict.fromkeys(pair))
            lost, errors, refused = wasted(server, hf.model(f"litellm:openai/{'-'.join(pair)}"))
            assert lost <= 2, pair
            assert (errors, refused) == (0, set(pair)), pair
    shown("4", "litellm: failed requests for two refused parameters", 0, 0)


def received(server: Server, start: int = 0) -> str:
    """Return the text of all requests: their headers and bodies."""
    return repr([(asked.headers, asked.body) for asked in server.asked[start:]])


# The key of the proxy, which refuses weak ones.
PROXY_KEY = "sk-Zp3kV9qTn7Lw2xRb8mYc4dHf6sJg1aEu"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start litellm's proxy in an environment of its own, in front of a local server; return its address."""
    folder = tmp_path_factory.mktemp("proxy")
    venv.create(folder / "venv", with_pip=True)
    binaries = folder / "venv" / "bin"
    install = [str(binaries / "pip"), "install", "--quiet", "--disable-pip-version-check", "litellm[proxy]"]
    subprocess.run(install, check=True, timeout=600)
    with serving() as server:
        server.reply = letter
        parameters = {"model": "openai/m", "api_base": server.url, "api_key": "sk-unused"}
        config = {
            "model_list": [{"model_name": "m", "litellm_params": parameters}],
            "general_settings": {"master_key": PROXY_KEY},
        }
        (folder / "config.yaml").write_text(json.dumps(config))
        port = free_port()
        options = {"config": folder / "config.yaml", "host": "127.0.0.1", "port": port}
        command = [str(binaries / "litellm"), *(text for name in options for text in (f"--{name}", str(options[name])))]
        with (folder / "log").open("w") as log:
            environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            try:
                url = f"http://127.0.0.1:{port}"
                wait_for_proxy(url, process, folder / "log")
                yield url
            finally:
                process.terminate()
                process.wait(30)


def wait_for_proxy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + 180
    while time.monotonic() < ends:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            if httpx.get(f"{url}/health/liveliness", timeout=2).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    raise TimeoutError(log.read_text()[-2000:])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_4_litellms_own_proxy_gives_the_same_table(proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hf.configure(store=tmp_path)
    monkeypatch.setenv("LITELLM_PROXY_API_BASE", proxy)
    monkeypatch.setenv("LITELLM_PROXY_API_KEY", PROXY_KEY)
    monkeypatch.setenv("PROXY_KEY", PROXY_KEY)
    direct = plan_of({"m": http(f"{proxy}/v1", "m", chat=True, key_env="PROXY_KEY")}, temperature=0).score()
    plan = plan_of({"m": "litellm:litellm_proxy/m"}, temperature=0)
    through, second = plan.score(), plan.score()
    generated = [results.manifest["counts"]["generated"] for results in (direct, through, second)]
    shown("4", "litellm's own proxy: requests of a server, of litellm:, and of its second run", generated, [N, N, 0])
    assert_frame_equal(through.table(), direct.table())
    texts = [results.completions.sort("instance_id").collect()["completion"].to_list() for results in (direct, through)]
    assert texts[0] == texts[1]
    assert set(texts[0]) == set(LETTERS)
    assert generated == [N, N, 0]
