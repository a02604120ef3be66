import json
import re
from pathlib import Path

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError
from helmframe.views.report import report_html
from helmframe.views.report_rows import disagreements, worsened, worst


def fails(prompt: str) -> str:
    raise RuntimeError(f"no <b>answer</b> to {prompt[:3]}")


def sampled() -> hf.Plan:
    return hf.scenario("sampler").where(subject=["music", "biology"]).limit(4)


def texts(html: str) -> str:
    return re.sub(r"<[^>]*>", "\n", html)


def test_a_report_holds_the_numbers_of_the_tables(tmp_path: Path) -> None:
    models = {"good": hf.models.oracle(), "bad": hf.models.noisy(0.3)}
    results = sampled().perturb(["typos", "gender"]).generate(models).score()
    path = results.report(tmp_path / "report.html", title="two models")
    assert isinstance(path, Path)
    html = path.read_text(encoding="utf-8")
    assert "<h1>two models</h1>" in html
    values = [f"{value:.3f}" for value in results.table(metrics="exact_match")["value"]]
    assert [value for value in values if f'<td class="number">{value}</td>' not in html] == []
    for title in ("Findings", "All scores", "Robustness and fairness", "Comparisons", "Disagreements between models",
                  "Worst instances", "Scores changed by perturbations", "Plan and manifest"):  # fmt: skip
        assert f">{title}</h2>" in html
    assert "Failed requests" not in html
    assert str(tmp_path) not in html
    assert html.count("<picture>") == 7
    assert "scenario: sampler" in html
    assert json.dumps(results.manifest["versions"]["polars"]).replace('"', "&#34;") in html


def test_a_report_of_one_model_leaves_out_what_there_is_not() -> None:
    html = report_html(sampled().generate(hf.models.noisy(0.5)).score())
    for title in ("Robustness", "Comparisons", "Disagreements", "changed by perturbations"):
        assert title not in html
    assert "Worst instances" in html


def test_the_report_lists_failed_requests_and_the_reason_for_no_comparison() -> None:
    results = sampled().generate({"fails": fails, "bad": hf.models.noisy(0.3)}).score()
    html = report_html(results)
    assert "RuntimeError: no &lt;b&gt;answer&lt;/b&gt; to" in html
    assert "of the requests of &#39;fails&#39; failed" in html


def test_the_report_shows_tokens_and_cost_if_a_price_is_known() -> None:
    model = hf.model(lambda prompt: hf.models.Completion("A", prompt_tokens=1000, output_tokens=10), name="<m>")
    plan = hf.scenario("sampler").where(subject="music").limit(3).generate(model)
    assert "cost of this run" not in report_html(plan.score())
    html = report_html(plan.score(fresh=True, prices={"<m>": (2, 8)}))
    cells = ["model", "&lt;m&gt;", "sampler", "3", "0", "3,000", "30", "$0.0062", "$0.0062", "user"]
    assert "".join(f"<td>{cell}</td>" for cell in cells) in re.sub(r"<td[^>]*>", "<td>", html).replace("\n", "")


def test_all_failed_is_a_report_too() -> None:
    assert "No instance has a score." in report_html(sampled().generate(hf.model(fails, name="fails")).score())


def test_models_disagree_where_their_scores_differ() -> None:
    frame = pl.DataFrame({"q": ["one", "two", "three"], "a": ["one", "two", "three"]})
    models = {"right": hf.models.oracle(), "says two": lambda _: "two"}
    found = disagreements(hf.scenario(frame, input="q", references="a").generate(models).score())
    assert found is not None
    assert found.text == "Models score differently on 2 of 3 original instances."
    assert [each.input for each in found.instances] == ["one", "three"]
    assert [(each.keys, each.score, each.text) for each in found.instances[0].completions] == [
        (["right"], "1.000", "one"),
        (["says two"], "0.000", "two"),
    ]


def test_the_worst_are_those_with_the_lowest_mean_and_tell_what_was_changed() -> None:
    frame = pl.DataFrame({"q": ["Never right", "Sometimes right"], "a": ["x", "SOMETIMES RIGHT"]})
    plan = hf.scenario(frame, input="q", references="a").perturb("uppercase").metrics("exact_match")
    results = plan.generate(hf.model(lambda prompt: prompt.split("Question: ")[-1].split("\n")[0], name="says")).score()
    section = worst(results)
    assert [each.right for each in section.instances] == ["x", "SOMETIMES RIGHT"]
    _, loud = section.instances[1].completions
    assert loud.change == [("Sometimes", "SOMETIMES"), (" ", " "), ("right", "RIGHT")]


def test_worsened_completions_are_those_with_a_lower_score() -> None:
    frame = pl.DataFrame({"q": ["is it Red", "is it blue"], "a": ["yes", "yes"]})
    plan = hf.scenario(frame, input="q", references="a").perturb("lowercase").metrics("exact_match")
    found = worsened(plan.generate(hf.model(lambda prompt: "yes" if "Red" in prompt else "no", name="m")).score())
    assert found is not None
    assert found.text == "1 of 2 completions of perturbed inputs score worse than the original, 0 score better."
    assert [(row["completion"], row["perturbed_completion"], row["score"]) for row in found.rows] == [
        ("yes", "no", "1.000 → 0.000")
    ]


def test_a_folder_is_no_report(tmp_path: Path) -> None:
    results = sampled().generate(hf.models.oracle()).score()
    with pytest.raises(ArgumentError, match=r"is a folder. Write the path of a file: report\('.*report.html'\)"):
        results.report(tmp_path)


def test_a_metric_that_is_better_when_lower_turns_the_order() -> None:
    frame = pl.DataFrame({"q": ["short", "long"], "a": ["s", "l"]})
    plan = hf.scenario(frame, input="q", references="a").metrics("num_completion_words_in_this_report")
    model = hf.model(lambda prompt: "a b c d" if "long" in prompt else "a", name="m")
    section = worst(plan.generate(model).score())
    assert [each.input for each in section.instances] == ["long", "short"]


@hf.metric("num_completion_words_in_this_report", level="output", unit="words", higher_is_better=False)
def num_completion_words_in_this_report() -> pl.Expr:
    """Words of the output."""
    return pl.col("output").str.count_matches(r"\S+").cast(pl.Float64)
