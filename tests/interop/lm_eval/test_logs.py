"""lm-eval's samples as tables."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import SourceBrokenError, SourceMissingError

STAMP = "2026-11-24T14-11-20.509040"
ABOUT = {
    "model_name": "org/two",
    "configs": {"sums": {"doc_to_text": "Q: {{question}}", "generation_kwargs": {"until": ["\n"]}, "num_fewshot": 0}},
    "n-shot": {"sums": 2},
}


def option_line(number: int, question: str, right: int, logprobs: list[float]) -> dict[str, Any]:
    """As lm-eval 0.4.13 logs a multiple-choice document."""
    options = ["1", "2", "3"]
    best = logprobs.index(max(logprobs))
    return {
        "doc_id": number,
        "doc": {"question": question, "choices": options, "answer": right},
        "target": str(right),
        "arguments": {
            f"gen_args_{place}": {"arg_0": f"Q: {question}\nA:", "arg_1": f" {option}"}
            for place, option in enumerate(options)
        },
        "resps": [[[str(each), "False"]] for each in logprobs],
        "filtered_resps": [[str(each), "False"] for each in logprobs],
        "filter": "none",
        "metrics": ["acc", "acc_norm", "perplexity"],
        "acc": float(best == right),
        "acc_norm": float(best == right),
        "perplexity": [1.0, 2.0],
    }


def text_line(number: int, question: str, target: str, said: str, filtered: str, score: float) -> dict[str, Any]:
    return {
        "doc_id": number,
        "doc": {"question": question},
        "target": target,
        "arguments": {"gen_args_0": {"arg_0": f"Q: {question}\nA:", "arg_1": {"until": ["\n"]}}},
        "resps": [[said]],
        "filtered_resps": [said],
        "filter": filtered,
        "metrics": ["exact_match"],
        "exact_match": score,
    }


def logged(folder: Path, task: str, lines: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"results_{STAMP}.json").write_text(json.dumps(ABOUT))
    file = folder / f"samples_{task}_{STAMP}.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in lines))
    return file


def test_options_are_rows_with_log_probabilities(tmp_path: Path) -> None:
    lines = [option_line(0, "1+1?", 1, [-2.0, -0.5, -3.0]), option_line(1, "0+1?", 0, [-2.0, -0.5, -3.0])]
    logged(tmp_path, "sums", lines)
    results = hf.read_lm_eval(tmp_path)
    rows = results.completions.collect()
    assert rows.select("instance_id", "input", "reference_index", "continuation", "logprob").row(1) == (
        *("0", "1+1?", 1),
        *(" 2", -0.5),
    )
    assert rows["references"].to_list()[0] == [
        {"text": text, "correct": correct, "tags": []} for text, correct in (("1", False), ("2", True), ("3", False))
    ]
    assert rows.select("model", "scenario", "shots_used").unique().row(0) == ("org/two", "sums", 2)
    assert results.metric_names == ["option_accuracy", "option_accuracy_per_character"]
    assert results.value("option_accuracy") == 0.5
    assert results.rescore("exact_match").value("exact_match") == 0.5


def test_the_wrong_answers_of_an_intact_log_of_options_are_listed(tmp_path: Path) -> None:
    lines = [option_line(0, "1+1?", 1, [-2.0, -0.5, -3.0]), option_line(1, "0+1?", 0, [-2.0, -0.5, -3.0])]
    logged(tmp_path, "sums", lines)
    results = hf.read_lm_eval(tmp_path)
    assert results.rows()["option_accuracy"].to_list() == [1.0] * 3 + [0.0] * 3
    assert results.wrong()["input"].to_list() == ["0+1?"]
    assert results.worst_outputs(n=5)["input"].to_list() == ["0+1?", "1+1?"]


def test_an_older_log_that_lists_no_metrics_has_its_scores(tmp_path: Path) -> None:
    line = option_line(0, "1+1?", 1, [-2.0, -0.5, -3.0])
    older = {name: value for name, value in line.items() if name not in ("metrics", "filter", "perplexity")}
    logged(tmp_path, "sums", [older | {"doc_hash": "a", "prompt_hash": "b", "target_hash": "c"}])
    results = hf.read_lm_eval(tmp_path)
    assert results.metric_names == ["option_accuracy", "option_accuracy_per_character"]
    assert results.value("option_accuracy") == 1.0


def test_filters_of_the_same_answers_are_metrics_of_one_row(tmp_path: Path) -> None:
    lines = [text_line(number, f"{number}+1?", f"{number + 1}", "2", "strict", 1.0 - number) for number in (0, 1)]
    lines += [text_line(number, f"{number}+1?", f"{number + 1}", "2", "none", 0.5) for number in (0, 1)]
    results = hf.read_lm_eval(logged(tmp_path, "sums", lines))
    assert results.completions.collect().select("instance_id", "completion").rows() == [("0", "2"), ("1", "2")]
    assert results.scores.select("instance_id", "metric", "score").collect().rows() == [
        *(("0", "exact_match,strict", 1.0), ("0", "exact_match", 0.5)),
        *(("1", "exact_match,strict", 0.0), ("1", "exact_match", 0.5)),
    ]
    assert results.completions.select("decoding").first().collect().item() == '{"until": ["\\n"]}'


def test_instances_pair_with_ours_by_their_content(tmp_path: Path) -> None:
    logged(
        tmp_path, "sums", [option_line(0, "1+1?", 1, [-2.0, -0.5, -3.0]), option_line(1, "0+1?", 0, [-2.0, -0.5, -3.0])]
    )
    theirs = hf.read_lm_eval(tmp_path).rescore("exact_match")
    frame = pl.DataFrame({"q": ["0+1?", "9+1?", "1+1?"], "c": [["1", "2", "3"]] * 3, "a": [0, 0, 1]})
    plan = hf.scenario(frame, input="q", choices="c", answer="a", name="mine").adapt(shots=0)
    ours = plan.generate("oracle()").metrics("exact_match").score()
    table = hf.compare(ours, theirs, axis=["model", "prompt", "decoding"])
    assert table.select("scenario", "n", "value_a", "value_b").row(0) == ("mine", 2, 1.0, 0.5)


def test_two_runs_of_one_task_and_model_are_two_settings(tmp_path: Path) -> None:
    for name in ("first", "second"):
        logged(tmp_path / name, "sums", [option_line(0, "1+1?", 1, [-2.0, -0.5, -3.0])])
    settings = hf.read_lm_eval(tmp_path).completions.select(pl.col("setting").unique()).collect().to_series()
    assert sorted(settings) == ["", "run=2"]


def test_a_broken_line_raises_with_its_number(tmp_path: Path) -> None:
    file = logged(tmp_path, "sums", [option_line(0, "1+1?", 1, [-2.0, -0.5, -3.0])])
    with file.open("a") as lines:
        lines.write('{"doc_id": 1, "doc"')
    with pytest.raises(SourceBrokenError, match=r"line 2 isn't valid JSON: JSONDecodeError"):
        hf.read_lm_eval(tmp_path)


@pytest.mark.parametrize("shots", ["[" * 400 + "]" * 400, '"5"', "null", "2.5"])
def test_a_number_of_shots_that_is_no_integer_is_unknown(tmp_path: Path, shots: str) -> None:
    logged(tmp_path, "sums", [option_line(0, "1+1?", 1, [-2.0, -0.5, -3.0])])
    file = tmp_path / f"results_{STAMP}.json"
    file.write_text(file.read_text().replace('{"sums": 2}', f'{{"sums": {shots}}}'))
    assert hf.read_lm_eval(tmp_path).completions.collect()["shots_used"].to_list() == [None] * 3


def test_a_folder_without_samples_raises(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError, match="--log_samples"):
        hf.read_lm_eval(tmp_path)
