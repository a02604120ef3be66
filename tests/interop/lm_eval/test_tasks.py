"""Tasks of lm-eval as scenarios: names, prompts, few-shot examples, filters, groups and limits of templates."""

import json
import math
import re
from pathlib import Path
from random import Random
from typing import Any

import pytest

import helmframe as hf
from helmframe.cli.app import main
from helmframe.errors import ArgumentError, SpecError, UnknownNameError
from helmframe.interop.lm_eval.templates import template
from helmframe.metrics.lm_eval import AGGREGATIONS, filtered

BASE = """
dataset_path: json
dataset_kwargs: {data_files: {train: data/train.jsonl, test: data/test.jsonl}}
training_split: train
test_split: test
"""
CHOICE = """
include: base_yaml
task: toy_choice
tag: [toy_tag, other]
output_type: multiple_choice
description: "Questions about {{topic}}.\\n\\n"
doc_to_text: "Question: {{question.strip()}}\\nAnswer:"
doc_to_choice: "{{choices}}"
doc_to_target: "{{choices.index(gold)}}"
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}, {metric: acc_norm}]
"""
GENERATED = """
include: base_yaml
task: toy_text
tag:
  - toy_tag
doc_to_text: question
doc_to_target: gold
num_fewshot: 2
generation_kwargs: {until: ["\\n", "Question:"], max_gen_toks: 7}
filter_list:
  - {name: strict, filter: [{function: regex, regex_pattern: "#### (\\\\w+)"}, {function: take_first}]}
  - {name: loose, filter: [{function: remove_whitespace}, {function: take_first}]}
metric_list: [{metric: exact_match, ignore_case: true, ignore_punctuation: true}]
"""
WORD = """
include: base_yaml
task: toy_word
output_type: loglikelihood
doc_to_text: "{{question.strip()}} It is"
doc_to_target: "{{' ' + gold}}"
metric_list: [{metric: perplexity}, {metric: acc, aggregation: mean}]
"""
ROLLING = """
include: base_yaml
task: toy_rolling
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "Title: {{question}}"
"""
VOTES = """
include: base_yaml
task: toy_votes
doc_to_text: question
doc_to_target: gold
repeats: 4
generation_kwargs: {do_sample: true, temperature: 0.5}
filter_list:
  - {name: first, filter: [{function: take_first}]}
  - {name: vote, filter: [{function: remove_whitespace}, {function: majority_vote}, {function: take_first}]}
  - {name: two, filter: [{function: take_first_k, k: 2}, {function: majority_vote}, {function: take_first}]}
metric_list: [{metric: exact_match}]
"""
GROUP = """
group: toy_group
task:
  - {task: toy_choice, num_fewshot: 1}
  - {task: toy_choice_two}
aggregate_metric_list: [{metric: acc, weight_by_size: false}]
"""
TRAIN = [{"question": f"Train {n}?", "choices": ["a", "b"], "gold": "ab"[n % 2], "topic": "x"} for n in range(6)]
TEST = [
    # columns with the names of ours stay the document's
    {"question": f" Test {n}? ", "choices": ["red", "green"], "gold": "red", "topic": "colors", "split": "val", "id": n}
    for n in range(4)
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a folder of task files and their documents, and configure it."""
    folder = tmp_path / "tasks"
    (folder / "data").mkdir(parents=True)
    for name, rows in (("train", TRAIN), ("test", TEST)):
        (folder / "data" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    files = {
        "base_yaml": BASE,
        "choice.yaml": CHOICE,
        "text.yaml": GENERATED,
        "group.yaml": GROUP,
        "two.yaml": CHOICE.replace("toy_choice", "toy_choice_two") + "num_fewshot: 1\n",
        "code.yaml": "include: base_yaml\ntask: toy_code\nprocess_docs: !function utils.process\n",
        "py.yaml": "task: toy_class\nclass: !function utils.Task\n",
        "word.yaml": WORD,
        "rolling.yaml": ROLLING,
        "votes.yaml": VOTES,
        "binary.yaml": CHOICE.replace("toy_choice", "toy_binary")
        .replace("[toy_tag, other]", "labels")
        .replace(
            "[{metric: acc, aggregation: mean, higher_is_better: true}, {metric: acc_norm}]",
            "[{metric: f1}, {metric: mcc}, {metric: exact_match}, {metric: acc_mutual_info}, {metric: brier_score}]",
        ),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.setenv("HELMFRAME_LM_EVAL_TASKS", str(folder))
    return folder


def prompts(plan: hf.Plan) -> list[str]:
    table = plan.requests().collect().sort("row_index")
    texts: list[str] = table["prompt"].unique(maintain_order=True).to_list()
    return texts


@pytest.mark.usefixtures("folder")
def test_tasks_groups_and_tags_are_listed() -> None:
    listed = hf.list_scenarios("lm_eval")
    assert listed.select("name", "kind", "tasks").rows() == [
        ("lm_eval:labels", "tag", 1),
        ("lm_eval:other", "tag", 2),
        ("lm_eval:toy_binary", "task", 0),
        ("lm_eval:toy_choice", "task", 0),
        ("lm_eval:toy_choice_two", "task", 0),
        ("lm_eval:toy_class", "class", 0),
        ("lm_eval:toy_code", "task", 0),
        ("lm_eval:toy_group", "group", 0),
        ("lm_eval:toy_rolling", "task", 0),
        ("lm_eval:toy_tag", "tag", 3),
        ("lm_eval:toy_text", "task", 0),
        ("lm_eval:toy_votes", "task", 0),
        ("lm_eval:toy_word", "task", 0),
    ]


@pytest.mark.usefixtures("folder")
def test_options_are_scored_after_the_rendered_prompt() -> None:
    plan = hf.scenario("lm_eval:toy_choice")
    requests = plan.requests().collect().sort("row_index", "reference_index")
    assert requests["prompt"][0] == "Questions about colors.\n\nQuestion: Test 0?\nAnswer:"
    assert requests["continuation"].to_list()[:2] == [" red", " green"]
    results = plan.generate(hf.models.oracle()).score()
    assert results.metric_names == ["option_accuracy", "option_accuracy_per_character"]
    assert results.value("option_accuracy") == 1.0
    assert plan.where(question=" Test 2? ").instances().collect()["row_index"].to_list() == [2]
    instances = plan.instances().collect()
    assert instances.select("split", "data_split").unique().rows() == [("test", "val")]


@pytest.mark.usefixtures("folder")
def test_examples_are_sampled_one_document_after_the_other() -> None:
    plan = hf.scenario("lm_eval:toy_text")
    stream, expected = Random(1234), []
    for row in TEST:
        shots = [TRAIN[index] for index in stream.sample(range(6), 2)]
        expected.append("".join(f"{shot['question']} {shot['gold']}\n\n" for shot in shots) + str(row["question"]))
    assert prompts(plan) == expected
    assert prompts(plan.limit(2)) == expected[:2]
    assert prompts(plan.adapt(shots=0))[0] == TEST[0]["question"]


@pytest.mark.usefixtures("folder")
def test_perturbations_change_only_the_fields_of_the_document() -> None:
    plan = hf.scenario("lm_eval:toy_choice").limit(1).perturb("uppercase")
    assert prompts(plan) == [
        "Questions about colors.\n\nQuestion: Test 0?\nAnswer:",
        "Questions about colors.\n\nQuestion: TEST 0?\nAnswer:",
    ]


@pytest.mark.usefixtures("folder")
def test_filters_and_options_of_the_task_score_completions() -> None:
    plan = hf.scenario("lm_eval:toy_text")
    completions = iter([" RED. ", "#### red", "so #### Red!", "green"])
    results = plan.generate(lambda prompt: next(completions)).score()
    by_filter = {
        name: results.scores.filter(metric=f"lm_eval_exact_match(filter='{name}')").collect()["score"].to_list()
        for name in ("strict", "loose")
    }
    assert sum(by_filter["loose"]) == 1.0
    assert sum(by_filter["strict"]) == 2.0
    decoding = json.loads(plan.requests().collect()["decoding"][0])
    assert decoding == {"max_tokens": 7, "stop": ["\n", "Question:"], "temperature": 0.0}


class Scored:
    """A model whose log-probabilities are minus the lengths of texts, with those that are greedy."""

    def __init__(self, *greedy: str) -> None:
        self.greedy = greedy

    def loglikelihood(self, pairs: list[tuple[str, str]]) -> list[tuple[float, bool]]:
        """Return the log-probability of each pair, and whether it is greedy."""
        return [(-len(context + text) / 10, text in self.greedy) for context, text in pairs]


@pytest.mark.usefixtures("folder")
def test_the_target_is_scored_after_the_prompt() -> None:
    plan = hf.scenario("lm_eval:toy_word").adapt(shots=1)
    requests = plan.requests().collect().sort("row_index")
    shot = TRAIN[Random(1234).sample(range(6), 1)[0]]
    # as in lm-eval, the delimiter comes before a target that starts with a space
    assert requests["prompt"][0] == f"{shot['question']} It is  {shot['gold']}\n\nTest 0? It is"
    assert requests["continuation"].to_list() == [" red"] * 4
    results = plan.adapt(shots=0).generate({"model": Scored(" red")}).score()
    assert results.metric_names == ["text_perplexity", "lm_eval_score(filter='none', name='acc')"]
    assert results.value("text_perplexity") == pytest.approx(math.exp(len("Test 0? It is red") / 10))
    assert results.value("lm_eval_score(filter='none', name='acc')") == 1.0
    silent = plan.generate({"silent": lambda_scores()}).score()
    (reason,) = silent.scores.filter(metric="lm_eval_score(filter='none', name='acc')").collect()["reason"].unique()
    assert "whether the continuation is greedy" in reason


def lambda_scores() -> Any:
    """Return a model that doesn't report whether continuations are greedy."""

    class Silent:
        def loglikelihood(self, pairs: list[tuple[str, str]]) -> list[float]:
            return [-1.0 for _ in pairs]

    return Silent()


@pytest.mark.usefixtures("folder")
def test_whole_texts_are_weighted_by_their_words_and_bytes() -> None:
    plan = hf.scenario("lm_eval:toy_rolling")
    requests = plan.requests().collect().sort("row_index")
    texts = [f"Title: {row['question']}" for row in TEST]
    assert requests.select("prompt", "continuation").rows() == [("", text) for text in texts]
    results = plan.generate({"model": Scored()}).score()
    total = sum(len(text) / 10 for text in texts)
    words, n_bytes = (sum(map(count, texts)) for count in (lambda text: len(re.split(r"\s+", text)), len))
    word, byte, bits = results.metric_names
    assert word == "lm_eval_aggregate(filter='none', higher_is_better=False, name='word_perplexity')"
    assert results.value(word) == pytest.approx(math.exp(total / words))
    assert results.value(byte) == pytest.approx(math.exp(total / n_bytes))
    assert results.value(bits) == pytest.approx(total / n_bytes / math.log(2))
    assert results.manifest["metrics"][word]["higher_is_better"] is False
    changed = plan.perturb("uppercase").requests().collect()["continuation"]
    assert changed.filter(changed.str.contains("TEST"))[0] == "Title:  TEST 0? "


@pytest.mark.usefixtures("folder")
def test_several_outputs_are_voted_on() -> None:
    plan = hf.scenario("lm_eval:toy_votes").limit(1)
    texts = iter(["blue", "red", " red", "blue"])
    results = plan.generate(lambda prompt: next(texts), n=4).score()
    assert results.completions.collect().height == 4
    values = {name: results.value(name) for name in results.metric_names}
    assert values == {
        "lm_eval_score(filter='first', name='exact_match')": 0.0,
        "lm_eval_score(filter='vote', name='exact_match')": 0.0,
        "lm_eval_score(filter='two', name='exact_match')": 0.0,
    }
    votes = iter(["red", "blue", " red ", "blue?"])
    voted = plan.generate(lambda prompt: next(votes)).score()
    assert [voted.value(name) for name in voted.metric_names] == [1.0, 1.0, 1.0]
    few = plan.generate(lambda prompt: "red", n=1).score()
    (reason,) = few.scores.filter(metric="lm_eval_score(filter='two', name='exact_match')").collect()["reason"]
    assert "take_first_k needs 2 outputs" in reason


@pytest.mark.usefixtures("folder")
def test_aggregations_of_options_are_those_of_scikit_learn() -> None:
    class Likes:
        """A model that prefers green for the third document only."""

        def loglikelihood(self, pairs: list[tuple[str, str]]) -> list[tuple[float, bool]]:
            return [
                (-1.0 if ("green" in text) == ("Test 2" in context) else -2.0 - bool(context), text == " red")
                for context, text in pairs
            ]

    results = hf.scenario("lm_eval:toy_binary").generate({"model": Likes()}).score()
    values = {name.partition("name=")[2] or name: results.value(name) for name in results.metric_names}
    requests = results.completions.filter(row_index=0).collect()
    assert sorted(requests.select("request_mode", "suffix").unique().rows()) == [
        ("calibration", ""), ("original", "Questions about colors.\n\nQuestion: Test 0?\nAnswer:"),
    ]  # fmt: skip
    assert values["'f1')"] == 0.0  # of the label 1, which is never right
    assert values["'mcc')"] == 0.0
    assert values["'exact_match')"] == 1.0
    assert values["option_brier"] == pytest.approx((3 * 2 * 0.1192029**2 + 2 * 0.8807971**2) / 4, abs=1e-6)
    assert values["option_accuracy_calibrated"] == 0.75


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("f1", [(1, 1), (1, 0), (0, 1), (1, 1)], 2 / 3),
        ("matthews_corrcoef", [(1, 1), (1, 0), (0, 1), (1, 1), (0, 0), (0, 0)], 1 / 3),
        ("matthews_corrcoef", [(0, 0), (1, 1), (2, 1), (2, 2)], 7 / 10),
        ("median", [3.0, 1.0, 2.0, 9.0], 3.0),
        ("nanmean", [1.0, float("nan"), 2.0], 1.5),
        ("perplexity", [-1.0, -3.0], math.exp(2)),
        ("weighted_perplexity", [(-6.0, 4), (-2.0, 4)], math.e),
        ("bits_per_byte", [(-6.0, 8)], 6 / 8 / math.log(2)),
        ("brier_score", [(0, [0.7, 0.2, 0.1])], 0.14),
    ],
)
def test_aggregations_are_those_of_lm_eval(name: str, values: list[Any], expected: float) -> None:
    assert AGGREGATIONS[name](values) == pytest.approx(expected, abs=1e-12)


@pytest.mark.usefixtures("folder")
def test_a_hostile_pattern_of_a_template_is_bounded() -> None:
    with pytest.raises(SpecError, match="takes more than 1 s"):
        template("{{ text|regex_replace('(a+)+b', '') }}", "toy").render({"text": "a" * 5_000 + "!"})


@pytest.mark.usefixtures("folder")
def test_a_group_is_one_scenario_with_a_subset_for_each_task() -> None:
    plan = hf.scenario("lm_eval:toy_group")
    results = plan.generate(hf.models.oracle()).score()
    assert results.table(metrics="option_accuracy")["n"].to_list() == [8]
    assert results.table(by="lm_eval_subtask", metrics="option_accuracy")["lm_eval_subtask"].to_list() == [
        "toy_choice", "toy_choice_two",
    ]  # fmt: skip
    assert results.manifest["scenarios"]["toy_group"]["main"]["mean"] == "macro"
    assert len(hf.scenario("lm_eval:toy_tag").requests().collect()["scenario"].unique()) == 3


def test_a_task_is_a_file_too(folder: Path) -> None:
    by_name = hf.scenario("lm_eval:toy_choice").requests().collect()["prompt"].to_list()
    assert hf.scenario(f"lm_eval:{folder / 'choice.yaml'}").requests().collect()["prompt"].to_list() == by_name
    assert hf.scenario(str(folder / "choice.yaml")).requests().collect()["prompt"].to_list() == by_name


@pytest.mark.usefixtures("folder")
def test_a_plan_of_a_task_round_trips_through_yaml_and_reads_nothing_before_it_must(folder: Path) -> None:
    (folder / "data" / "test.jsonl").unlink()
    plan = hf.scenario("lm_eval:toy_choice").limit(1).adapt(shots=1)
    assert hf.Plan.from_yaml(plan.to_yaml()) == plan
    with pytest.raises(hf.HelmframeError, match="not found"):
        plan.requests().collect()


@pytest.mark.usefixtures("folder")
def test_a_task_runs_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", "lm_eval:toy_choice", "--model", "oracle()"])
    assert "toy_choice" in capsys.readouterr().out


@pytest.mark.usefixtures("folder")
def test_unknown_names_functions_and_classes_are_typed_errors() -> None:
    with pytest.raises(UnknownNameError, match=r"lm-eval task 'toy_choise'.*\n?.*Did you mean 'toy_choice'"):
        hf.scenario("lm_eval:toy_choise")
    with pytest.raises(ArgumentError, match=r"function utils\.process \(process_docs\).*trust_remote_code=True"):
        hf.scenario("lm_eval:toy_code")
    with pytest.raises(ArgumentError, match=r"function utils\.Task \(class\).*trust_remote_code=True"):
        hf.scenario("lm_eval:toy_class")


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in text %}{% for b in text %}{% for c in text %}{% endfor %}{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for i in range(9) recursive %}{{ loop(range(9)) }}{% endfor %}",
        "{{ 'a' * 10**9 }}",
        "{{ ['a'] * 999999999 }}",
        "{{ 10**10**9 }}",
        "{{ 'x'|center(999999999) }}",
        "{{ 'x'.ljust(999999999) }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '{:999999999d}'.format(1) }}",
        "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x]|join %}{% endfor %}",
        "{% set ns = namespace(x='aa') %}{% for i in range(60) %}{% set ns.x = ns.x.replace('a', 'aa') %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{{ range(10**9)|list }}",
        "{% include 'secret' %}",
        "{{ missing }}",
        "{{ 1 / 0 }}",
        "{% for %}",
    ],
)
def test_hostile_templates_are_refused_or_bounded(source: str) -> None:
    with pytest.raises(SpecError, match="toy: the template"):
        template(source, "toy").render({"text": "abc" * 1_000})


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{choices[0]}} of {{choices|length}}", "x of 2"),
        ("{% for c in choices %}{{loop.index}}{{c}}{{'' if loop.last else ', '}}{% endfor %}", "1x, 2y"),
        ("{{question ~ 1 ~ choices[1]}}\n", "Why?1y\n"),
        ("{{question|regex_replace('h.', 'o')}} {{choices|join('/')}}", "Wo? x/y"),
        ("{{['A','B'][label]}}{% if label == 1 %}!{% endif %}", "B!"),
    ],
)
def test_templates_render_as_in_lm_eval(source: str, expected: str) -> None:
    document: dict[str, Any] = {"question": "Why?", "choices": ["x", "y"], "label": 1}
    assert template(source, "toy").render(document) == expected


@pytest.mark.parametrize(
    ("steps", "choices", "response", "expected"),
    [
        ([("regex", {"regex_pattern": "(-?[0-9.]+)", "group_select": -1}), ("take_first", {})], [], "1 or 2.5", "2.5"),
        ([("regex", {"regex_pattern": "(a)|(b)"}), ("take_first", {})], [], "xb", "b"),
        ([("regex", {}), ("take_first", {})], [], "18", "[invalid]"),
        ([("multi_choice_regex", {"ignore_case": True}), ("take_first", {})], ["Red", "Redder"], "it is redder", "(B)"),
        ([("multi_choice_regex", {"fallback": "?"}), ("take_first", {})], ["Red", "Blue"], "answer: B", "(B)"),
        ([("lowercase", {}), ("map", {"mapping_dict": {"a": "1"}}), ("take_first", {})], [], "A", "1"),
        ([("remove_whitespace", {}), ("take_first", {})], [], " a ", "a"),
    ],
)
def test_filters_are_those_of_lm_eval(
    steps: list[tuple[str, dict[str, Any]]], choices: list[str], response: str, expected: str
) -> None:
    assert filtered([response], steps, choices) == expected
