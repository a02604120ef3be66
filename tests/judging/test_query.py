"""A plan that feeds a plan: what a model makes of the texts is asked, kept and resumed like any request."""

from itertools import count

import polars as pl
import pytest

import helmframe as hf
from helmframe._plan import spec_of
from helmframe.errors import ArgumentError, NotAModelError, PlanError

QUESTIONS = pl.DataFrame({"input": ["who?", "when?"], "references": [["a"], ["b"]]})


NUMBERS = count()


class Translator:
    """Shouts, and remembers what it was asked."""

    def __init__(self, *, fails: str = "") -> None:
        self.number = next(NUMBERS)  # no other test's answers are its own
        self.asked: list[str] = []
        self.fails = fails

    def generate(self, prompts: list[str]) -> list[str]:
        self.asked += prompts
        if any(self.fails and self.fails in each for each in prompts):
            raise ValueError("no")
        return [each.rpartition("\n\n")[2].upper() + "\n" for each in prompts]


def answer(prompt: str) -> str:
    return prompt


def plan(translator: object) -> hf.Plan:
    said = hf.perturbations.translate(translator=translator, language="French")
    number = next(NUMBERS)

    def model(prompt: str) -> str:
        return "A" if "WHO" in prompt and number >= 0 else "x"

    return hf.scenario(QUESTIONS, references="references").perturb(said).generate(model)


def shared(translator: Translator) -> hf.Model:
    return hf.model(translator, name="shouter", version="1")


def test_a_run_asks_the_translator_once_and_scores_against_its_references() -> None:
    translator = Translator()
    scores = plan(translator).score().rows(metric="exact_match")
    found = dict(scores.filter(pl.col("perturbation") != "original").select("instance_id", "exact_match").iter_rows())
    assert found == {"id0": 1.0, "id1": 0.0}
    texts = [each.rpartition("\n\n")[2] for each in translator.asked]
    assert sorted(texts) == ["a", "b", "when?", "who?"]
    assert all("into French" in each for each in translator.asked)


def test_cached_completions_need_no_request() -> None:
    first, second = Translator(), Translator()
    before = plan(shared(first)).score().value("exact_match")
    after = plan(shared(second)).score().value("exact_match")
    assert (len(first.asked), second.asked, before) == (4, [], after)


def test_reading_asks_nobody_and_shows_what_is_there() -> None:
    translator = Translator()
    said = plan(shared(translator))
    assert said.variants().collect()["perturbation"].unique().to_list() == ["original"]
    assert "translate(language='French'" in said.explain()
    assert said.results().scores.collect().height == 0
    assert translator.asked == []
    said.score()
    assert said.variants().collect()["perturbed_input"].to_list() == ["who?", "WHO?", "when?", "WHEN?"]
    assert said.requests().collect().height == 4


def test_several_models_get_the_same_translations() -> None:
    translator = Translator()
    said = plan(translator).generate({"one": answer, "two": str.upper})
    assert said.score().completions.collect().height == 8
    assert len(translator.asked) == 4


def test_failed_queries_are_skipped_and_sent_again_by_the_next_run(caplog: pytest.LogCaptureFixture) -> None:
    broken = hf.model(Translator(fails="when?").generate, name="shouter", version="1", batch=1)
    results = plan(broken).score()
    assert results.completions.filter(pl.col("perturbation") != "original").collect().height == 1
    assert "1 of 4 requests failed. First error: ValueError: no" in caplog.text
    mended = Translator()
    again = plan(hf.model(mended.generate, name="shouter", version="1", batch=1)).score()
    assert again.completions.filter(pl.col("perturbation") != "original").collect().height == 2
    assert len(mended.asked) == 1


def test_its_requests_count_for_the_budget() -> None:
    translator = Translator()
    plan(translator).score(max_requests=3)
    assert len(translator.asked) <= 3


def test_an_invalid_translator_raises_when_the_plan_is_built() -> None:
    with pytest.raises(NotAModelError):
        hf.scenario("sampler").perturb(hf.perturbations.translate(translator=3, language="French"))


def test_two_translators_with_the_same_name_are_distinguished() -> None:
    said = [hf.perturbations.translate(translator=Translator(), language="French") for _ in range(2)]
    with pytest.raises(ArgumentError, match="Name their models"):
        hf.scenario("sampler").perturb(said)
    models = [hf.model(Translator(), name=name) for name in "ab"]
    named = [hf.perturbations.translate(translator=model, language="French") for model in models]
    assert len(spec_of(hf.scenario("sampler").perturb(named)).perturbations) == 2


def test_a_translator_by_name_goes_through_yaml_and_an_object_does_not() -> None:
    named = hf.scenario("sampler").perturb("translate(translator='echo()', language='French')")
    assert hf.Plan.from_yaml(named.to_yaml()) == named
    said = hf.scenario("sampler").perturb(hf.perturbations.translate(translator=answer, language="French"))
    with pytest.raises(PlanError, match=r"the model of perturbation .*translator='answer'.* is an object"):
        said.to_yaml()
    assert "translator=''answer''" in repr(said)
