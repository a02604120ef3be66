"""Two-turn scenarios end to end: a real chat server, a run killed between the turns, and the demo model."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.scenarios.mirror import mirror
from tests.acceptance.figures import shown
from tests.demo import ROOT, demo_model
from tests.models.openai_server import Asked, Reply, Server, serving

pytestmark = pytest.mark.shared

QUESTIONS = "fastchat/llm_judge/data/mt_bench"
CHILD = """
import json, sys
import helmframe as hf

model = hf.models.http(sys.argv[1], "m")
results = hf.scenario("mt_bench", data=sys.argv[2]).generate(model).score()
print(json.dumps({"counts": results.manifest["counts"], "table": results.table(by="turn").to_dicts()}))
"""


@pytest.fixture(scope="module")
def rows(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with MT-Bench and CoQA, mirrored from their raw layouts."""
    root, raw = tmp_path_factory.mktemp("rows"), shared / "raw"
    references = raw / "mt_bench" / QUESTIONS / "reference_answer" / "gpt-4.jsonl"
    mirror(
        "mt_bench",
        to=root,
        source=str(raw / "mt_bench"),
        layout=f"{QUESTIONS}/question.jsonl",
        select=f"SELECT turns AS prompt, category, answers AS reference FROM rows LEFT JOIN (SELECT question_id AS id, "
        f"choices[1].turns AS answers FROM read_json('{references}')) ON id = question_id ORDER BY question_id",
    )
    # the raw file has one question per row, with the name of its story in the id
    files = tmp_path_factory.mktemp("coqa") / "validation"
    files.mkdir()
    name = "requests.jsonl.gz"
    (files / name).write_bytes((raw / "coqa" / "oe_eval_tasks" / "coqa" / "bpb_0shot" / name).read_bytes())
    mirror(
        "coqa",
        to=root,
        source=str(files.parent),
        layout="{split}/requests.jsonl",
        select="SELECT any_value(doc.source) AS source, any_value(doc.story) AS story, "
        "list(doc.question ORDER BY doc_id) AS questions, {'input_text': list(label[1] ORDER BY doc_id)} AS answers "
        r"FROM rows GROUP BY regexp_replace(doc.id, '_turn\d+', '') ORDER BY min(doc_id)",
    )
    return root


class Bot:
    """The replies of a chat server. The server pauses after `limit` replies to second turns."""

    def __init__(self, server: Server, limit: int | None = None) -> None:
        self.seen: list[list[dict[str, str]]] = []
        self.paused = threading.Event()
        self._limit, self._lock = limit, threading.Lock()
        self._resume = threading.Event()
        server.reply = self.reply

    def reply(self, request: Asked) -> Reply:
        messages = request.body["messages"]
        with self._lock:
            self.seen.append(messages)
            second = sum(len(seen) == 3 for seen in self.seen)
        if self._limit is not None and second > self._limit:
            self.paused.set()
            self._resume.wait(120)
        text = f"reply to {messages[-1]['content']!r:.40} after {len(messages) - 1} messages"
        return Reply({"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]})

    def release(self) -> None:
        self._resume.set()

    def turns(self) -> Counter[int]:
        """Return the number of requests of each turn."""
        return Counter((len(messages) + 1) // 2 for messages in self.seen)


def start(url: str, rows: Path, store: Path) -> "subprocess.Popen[str]":
    environment = {**os.environ, "HELMFRAME_STORE": str(store), "HELMFRAME_PROGRESS": "0"}
    command = [sys.executable, "-c", CHILD, url, str(rows)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def finished(url: str, rows: Path, store: Path) -> dict[str, Any]:
    with start(url, rows, store) as process:
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    result: dict[str, Any] = json.loads(out)
    return result


def test_6_a_run_killed_between_the_turns_resumes_without_the_first(rows: Path, tmp_path: Path) -> None:
    with serving() as server:
        undisturbed_bot = Bot(server)
        undisturbed = finished(server.url, rows, tmp_path / "undisturbed")
        assert undisturbed_bot.turns() == {1: 80, 2: 80}
        for messages in undisturbed_bot.seen:
            roles = [message["role"] for message in messages]
            assert roles == ["user", "assistant", "user"][: len(messages)]
            assert len(messages) == 1 or messages[1]["content"].endswith("after 0 messages")

        killed = Bot(server, limit=20)
        with start(server.url, rows, tmp_path / "store") as process:
            assert killed.paused.wait(60)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        assert process.returncode == -signal.SIGKILL
        killed.release()
        assert killed.turns()[1] == 80
        assert killed.turns()[2] < 80

        resumed = Bot(server)
        again = finished(server.url, rows, tmp_path / "store")
        shown("6", "requests of turn 1 after kill -9 during turn 2, sent again of 80", resumed.turns()[1], 0)
        shown(
            "6", "requests of turn 2, before the kill and after it", f"{killed.turns()[2]} + {resumed.turns()[2]}", 80
        )
        assert resumed.turns()[1] == 0
        assert 0 < resumed.turns()[2] <= 80
        assert again["table"] == undisturbed["table"]
        assert again["counts"]["planned"] == 160
        assert again["counts"]["failed"] == 0

        last = Bot(server)
        assert finished(server.url, rows, tmp_path / "store")["counts"]["cached"] == 160
        shown("6", "requests of a third run", len(last.seen), 0)
        assert last.seen == []


def test_6_coqa_scores_every_turn_and_a_failed_turn_fails_its_successors(rows: Path) -> None:
    plan = hf.scenario("coqa", data=rows).limit(4)
    instances = plan.instances().collect()
    results = plan.generate(hf.models.oracle()).score()
    by_turn = results.table(by="turn", metrics="f1_score").sort("turn")
    shown("6", f"F1 of a model that knows the answers, over {instances.height} turns", results.value("f1_score"), 1.0)
    assert results.value("f1_score") == 1.0
    assert by_turn["n"].to_list() == instances.group_by("turn").len().sort("turn")["len"].to_list()

    def stops(prompt: str) -> str:
        if prompt.count("Answer:") == 4:
            raise ValueError("enough")
        return "yes"

    failed = plan.generate(stops).score().errors()
    causes = failed["error"].value_counts().sort("count")
    shown("6", "errors of a model that fails in turn 4", dict(causes.iter_rows()), "20 of turn 4")
    assert dict(causes.iter_rows()) == {
        "ValueError: enough": instances.filter(turn=4).height,
        "turn 4 failed": instances.filter(pl.col("turn") > 4).height,
    }


@pytest.mark.model
def test_6_the_demo_model_reads_its_own_completions(rows: Path) -> None:
    plan = hf.scenario("mt_bench", data=rows).where(category="writing").limit(2)
    results = plan.generate(str(demo_model()), max_tokens=8, temperature=0.0).score()
    pairs = results.rows().select("conversation", "turn", "prompt", "completion").sort("conversation", "turn")
    assert pairs["turn"].to_list() == [1, 2, 1, 2]
    for first, second in zip(pairs.iter_rows(named=True), pairs.slice(1).iter_rows(named=True), strict=False):
        if second["turn"] == 2:
            assert f"<|im_start|>assistant\n{first['completion'].strip()}<|im_end|>" in second["prompt"]
    shown("6", "SmolLM2's second turns whose prompt has its first completion", "2/2", "2/2")
