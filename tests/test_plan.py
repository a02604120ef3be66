"""The sentence: frozen, comparable, checked as it is said; order does not matter; a list is a grid."""

import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import helmframe as hf
from helmframe._core.specs import NamedValues
from helmframe._pipeline import plan_tasks
from helmframe._plan import spec_of
from helmframe._schema import COMPLETIONS, INSTANCES, REQUESTS, SCORES, VARIANTS, Table
from helmframe.errors import (
    ArgumentError,
    CapabilityError,
    NotAModelError,
    PlanError,
    SourceError,
    SourceMissingError,
    SpecError,
    UnknownNameError,
)

SAMPLER = hf.scenario("sampler")
MUSIC = SAMPLER.where(subject="music")


def says_a(prompt: str) -> str:
    return "A"


def holds(frame: pl.LazyFrame, table: Table) -> bool:
    schema = frame.collect_schema()
    return all(schema.get(column.name) == column.dtype for column in table.columns)


def test_a_verb_leaves_the_plan_as_it_was() -> None:
    plan = MUSIC.perturb("typos")
    before = plan.to_yaml()
    plan.perturb("lowercase").adapt(shots=0).metrics("f1_score").limit(3).generate(says_a)
    assert plan.to_yaml() == before


def test_a_plan_can_not_be_edited() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec_of(MUSIC).outputs = 3  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        MUSIC._spec = spec_of(MUSIC)  # type: ignore[misc]


def test_plans_are_equal_and_hash_alike_when_they_say_the_same() -> None:
    music = SAMPLER.where(subject="music")
    one = music.perturb(hf.perturbations.typos(prob=0.1)).adapt(shots=2, trials=3).generate(says_a)
    two = SAMPLER.where(subject="music").perturb("typos(prob=.1)").adapt(trials=3).adapt(shots=2).generate(says_a)
    assert one == two
    assert len({one, two}) == 1
    assert one != two.adapt(shots=1)


def test_the_order_of_verbs_does_not_matter() -> None:
    one = SAMPLER.generate(says_a).adapt(shots=1).perturb("typos").limit(4).where(subject="music")
    two = SAMPLER.where(subject="music").limit(4).perturb("typos").adapt(shots=1).generate(says_a)
    assert one == two


def test_where_accumulates_and_perturb_replaces() -> None:
    plan = MUSIC.where("length(input) < 60").perturb("typos").perturb("lowercase")
    assert len(spec_of(plan).filters) == 2
    assert [variant.name for variant in spec_of(plan).perturbations] == ["lowercase"]


def test_frames_with_equal_rows_make_equal_plans() -> None:
    rows = {"q": ["1+1?"], "a": ["2"]}
    plans = [hf.scenario(pl.DataFrame(rows), input="q", references="a") for _ in range(2)]
    assert plans[0] == plans[1]


ROWS = pl.DataFrame({"q": ["1+1?"], "a": ["2"]})


@pytest.mark.parametrize(
    ("say", "error", "message"),
    [
        (lambda: hf.scenario("samplr"), UnknownNameError, "Did you mean 'sampler'"),
        (
            lambda: hf.scenario(ROWS, inputs="q"),  # type: ignore[call-arg]
            TypeError,
            r"scenario\(\) got an unexpected keyword argument 'inputs'",
        ),
        (lambda: hf.scenario("sampler", input="q"), ArgumentError, r"rows only\. Remove it, or write hf\.scen"),
        (lambda: hf.scenario("gone.csv", input="q"), SourceMissingError, r"scenario 'gone\.csv': .*gone\.csv: bucket"),
        (
            lambda: hf.scenario(["faq.tsv"]),
            SpecError,
            r"a file of rows isn't a spec\. Write hf\.scenario\('faq\.tsv', input=…, references=…\) in Python\.",
        ),
        (lambda: SAMPLER.where(subject=[]), ArgumentError, "the list must have at least one value"),
        (lambda: SAMPLER.where(row_index=hf.between(5, 1)), ArgumentError, "low must be at most high"),
        (
            lambda: SAMPLER.where(pl.col("input")).instances(),
            ArgumentError,
            "must be true or false for each",
        ),
        (lambda: SAMPLER.perturb("typos+canonical"), ArgumentError, "'canonical' is a list of perturbations and must"),
        (lambda: SAMPLER.generate(SAMPLER), NotAModelError, "it is a plan, which runs models"),
        (lambda: SAMPLER.generate(says_a).score(priority="high"), ArgumentError, "priority must be an integer"),  # type: ignore[arg-type]
        (lambda: hf.Plan.from_yaml({"scenario": "sampler"}), SpecError, "not dict"),  # type: ignore[arg-type]
        (lambda: SAMPLER.where(subjekt="music"), ArgumentError, "Did you mean 'subject'"),
        (lambda: SAMPLER.where(subject="musik"), ArgumentError, "Did you mean 'music'"),
        (lambda: SAMPLER.where(3), ArgumentError, "write column=value"),  # type: ignore[arg-type]
        (lambda: SAMPLER.perturb("typoes"), UnknownNameError, "Did you mean 'typos'"),
        (lambda: SAMPLER.perturb("typos(probb=.1)"), ArgumentError, "Did you mean 'prob'"),
        (lambda: SAMPLER.perturb("typos(prob=2)"), ArgumentError, "between 0 and 1"),
        (lambda: SAMPLER.perturb(str.lower), ArgumentError, "by @hf.perturbation"),  # type: ignore[arg-type]
        (
            lambda: SAMPLER.generate(hf.models.oracle(), temperature="hot"),  # type: ignore[arg-type]
            ArgumentError,
            "temperature must be a number",
        ),
        (lambda: SAMPLER.generate(hf.models.oracle(), temperature=[0, -1]), ArgumentError, "temperature must be ≥ 0"),
        (lambda: SAMPLER.generate(hf.models.oracle(), top_p=2), ArgumentError, "top_p must be between 0 and 1"),
        (
            lambda: SAMPLER.generate(hf.models.oracle(), stop=["a", 3]),  # type: ignore[list-item]
            ArgumentError,
            "stop must be text, or a list of texts",
        ),
        (lambda: SAMPLER.adapt(max_tokens=3), ArgumentError, r"Write \.generate\(model, max_tokens=3\)"),  # type: ignore[call-arg]
        (lambda: SAMPLER.generate(hf.models.echo(), max_token=3), ArgumentError, "Did you mean 'max_tokens'"),
        (lambda: hf.compare(SAMPLER, SAMPLER), ArgumentError, r"Write plan\.score\(\)"),  # type: ignore[arg-type]
        (lambda: SAMPLER.metrics("exact_mach"), UnknownNameError, "Did you mean 'exact_match'"),
        (lambda: SAMPLER.metrics(pl.col("output").alias("m_text")), ArgumentError, "'m_text' returns String"),
        (lambda: SAMPLER.metrics("classification_macro_f1@2"), ArgumentError, "has level 'set'"),
        (lambda: SAMPLER.adapt(shotz=3), ArgumentError, "Did you mean 'shots'"),  # type: ignore[call-arg]
        (lambda: SAMPLER.adapt(shots="five"), ArgumentError, "must be int"),  # type: ignore[arg-type]
        (lambda: SAMPLER.adapt(method="generaton"), UnknownNameError, "Did you mean 'generation'"),
        (lambda: SAMPLER.generate(3), NotAModelError, "A model is"),
        (lambda: SAMPLER.generate([says_a, says_a]), ArgumentError, "two models have the name 'says_a'"),
        (lambda: SAMPLER.generate(says_a, temperature=0.7), CapabilityError, "doesn't support temperature"),
        (lambda: SAMPLER.sample(0), ArgumentError, "n must be an integer ≥ 1"),
        (lambda: SAMPLER.sample(3, order="random"), ArgumentError, "order must be 'helm' or 'keyed'"),
        (lambda: SAMPLER.sample(3, like="run"), ArgumentError, "like must be results"),  # type: ignore[arg-type]
        (lambda: SAMPLER.sample(3, like={"sampler": []}), ArgumentError, "a list of 1 to 3 instance ids"),
        (lambda: SAMPLER.sample(1, like={"sampler": ["a", "b"]}), ArgumentError, "a list of 1 to 1 instance ids"),
        (lambda: SAMPLER.sample(3, order="helm", like={"sampler": ["a"]}), ArgumentError, "Remove order"),
        (lambda: SAMPLER.score(), PlanError, r"Add one: \.generate\(my_function\)"),
        (lambda: MUSIC.generate(says_a).metrics("exact_match@5").score(), PlanError, "n=5"),
        (lambda: hf.Plan.from_yaml("scenario: sampler\nwere: {}"), SpecError, "Did you mean 'where'"),
    ],
)
def test_errors_state_what_to_write_instead(say, error, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=message):
        say()


def test_each_reader_gives_the_table_of_its_stage() -> None:
    plan = MUSIC.limit(2).perturb("typos").generate(says_a)
    assert holds(plan.instances(), INSTANCES)
    assert holds(plan.variants(), VARIANTS)
    assert holds(plan.requests(), REQUESTS)
    assert holds(plan.completions(), COMPLETIONS)
    assert holds(plan.score().scores, SCORES)


def test_prompts_can_be_read_without_a_model() -> None:
    prompt = MUSIC.limit(1).adapt(shots=1).requests().collect()["prompt"][0]
    assert prompt.startswith("The following are multiple choice questions (with answers) about music.\n\nQuestion: ")
    assert prompt.endswith("\nAnswer:")


SKY = pl.DataFrame({"input": ["The sky is"], "choices": [["blue", "green"]], "answer": [0]})
METHODS = (
    "multiple_choice_separate_original",
    "multiple_choice_separate_calibrated",
    "multiple_choice_joint",
    "generation",
)


class Rater:
    def generate(self, prompts: list[str]) -> list[str]:
        raise AssertionError(prompts)

    def loglikelihood(self, pairs: list[tuple[str, str]]) -> list[float]:
        raise AssertionError(pairs)


@pytest.mark.parametrize("method", METHODS)
def test_prompts_without_a_model_are_those_of_a_model_that_takes_all(method: str) -> None:
    plan = hf.scenario(SKY, input="input", choices="choices", answer="answer").perturb("lowercase").adapt(method=method)
    alone = plan.requests().collect()
    assert_frame_equal(alone.drop("model"), plan.generate(Rater()).requests().collect().drop("model"))
    scores = "separate" in method
    assert alone["continuation"].null_count() == (0 if scores else alone.height)
    if scores:
        assert alone.filter(perturbation="original", reference_index=1)["continuation"].to_list()[0] == " green"


def test_a_whole_text_is_a_request_without_a_model() -> None:
    rows = pl.DataFrame({"input": ["The sky is blue."], "references": [[""]]})
    requests = hf.scenario(rows).adapt(method="language_modeling").requests().collect()
    assert requests.select("prompt", "continuation").rows() == [("", "The sky is blue.")]


@pytest.mark.parametrize("metrics", [["pass"], ["exact_match@5"], ["toxic_frac"]])
def test_prompts_need_nothing_that_metrics_need(metrics: list[str]) -> None:
    assert MUSIC.limit(1).metrics(*metrics).requests().collect().height == 1


@pytest.mark.shared
def test_every_spec_with_data_gives_prompts_without_a_model(shared: Path) -> None:
    read = 0
    for name in hf.list_scenarios()["name"]:
        try:
            rows = hf.scenario(name, data=shared / "scenarios").limit(1).requests().collect()
        except SourceMissingError:
            continue
        assert rows.height > 0, name
        assert rows["prompt"].null_count() == 0, name
        read += 1
    assert read >= 40


def test_repr_is_the_sentence_and_asks_no_model() -> None:
    def explodes(prompt: str) -> str:
        raise AssertionError(prompt)

    assert "scenario: sampler" in repr(MUSIC.generate(explodes))


def test_explain_counts_without_asking() -> None:
    def explodes(prompt: str) -> str:
        raise AssertionError(prompt)

    text = MUSIC.perturb(["typos", "lowercase"]).generate(explodes).explain()
    assert "32 instances" in text
    assert "96 variants" in text
    assert "0 cached" in text
    assert "unsupported parameters are not sent: max_tokens" in text


def test_explain_counts_what_the_store_has() -> None:
    plan = MUSIC.limit(4).generate(says_a)
    plan.score()
    assert "4 distinct requests: 4 cached, 0 to send" in plan.explain()


def test_results_gives_what_is_there_and_asks_nothing() -> None:
    asked: list[str] = []

    def model(prompt: str) -> str:
        asked.append(prompt)
        return "A"

    MUSIC.limit(2).generate(model).score()
    results = MUSIC.limit(5).generate(model).results()
    assert len(asked) == 2
    assert results.table()["n"].unique().to_list() == [2]
    assert "2 of 5 planned completions are available" in repr(results)


def test_a_list_is_a_grid_of_settings() -> None:
    results = MUSIC.limit(3).adapt(shots=[0, 2]).generate({"a": says_a, "o": hf.models.oracle()}).score()
    table = results.table(metrics="exact_match")
    assert table.select("model", "setting").rows() == [
        ("a", "shots=0"),
        ("a", "shots=2"),
        ("o", "shots=0"),
        ("o", "shots=2"),
    ]
    assert results.value(model="o", setting="shots=2") == 1.0


def test_a_dict_is_a_grid_with_names() -> None:
    prompts = {"plain": "Answer.", "letter": "Answer with the letter of the right option, please."}
    plan = MUSIC.limit(2).adapt(instructions=prompts, shots=0).generate(hf.models.oracle())
    results = plan.score()
    names = ["instructions=plain", "instructions=letter"]
    assert results.table(metrics="exact_match")["setting"].to_list() == names
    assert list(results.manifest["settings"].values()) == [{"instructions": text} for text in prompts.values()]
    heads = results.requests.select("setting", pl.col("prompt").str.split("\n").list.first()).unique().collect()
    assert dict(heads.rows()) == dict(zip(names, prompts.values(), strict=True))
    again = hf.Plan.from_yaml(MUSIC.limit(2).adapt(instructions=prompts, shots=0).to_yaml())
    assert again.explain() == MUSIC.limit(2).adapt(instructions=prompts, shots=0).explain()
    assert pickle.loads(pickle.dumps(NamedValues(prompts))).names == ("plain", "letter")


def test_a_dict_of_decoding_values_is_a_grid_with_names() -> None:
    plan = MUSIC.limit(1).generate(hf.models.oracle(), temperature={"greedy": 0.0, "warm": 0.7}, stop={"line": ["\n"]})
    settings = plan.requests().collect().select("setting", "decoding").unique().sort("setting").rows()
    assert settings == [
        ("stop=line,temperature=greedy", '{"max_tokens": 1, "stop": ["\\n"], "temperature": 0.0}'),
        ("stop=line,temperature=warm", '{"max_tokens": 1, "stop": ["\\n"], "temperature": 0.7}'),
    ]


def test_a_long_value_of_a_grid_has_a_short_distinct_label() -> None:
    texts = [f"Read the question carefully, and then answer it {how}." for how in ("briefly", "with a letter")]
    plan = MUSIC.limit(1).adapt(instructions=texts, shots=0)
    names = plan.generate(hf.models.oracle()).score().table(metrics="exact_match")["setting"].to_list()
    assert len(set(names)) == 2
    assert max(map(len, names)) < 60


@pytest.mark.parametrize(
    ("field", "expected"),
    [("num_fewshot", "'shots'"), ("max_train_instances", "'shots'"), ("system_prompt", "'system'")],
)
def test_words_of_other_tools_have_a_suggestion(field: str, expected: str) -> None:
    with pytest.raises(ArgumentError, match=f"Did you mean {expected}"):
        hf.scenario("sampler").adapt(**{field: 5})  # type: ignore[arg-type]


def test_rows_are_a_scenario_in_every_usual_form(tmp_path: Path) -> None:
    rows = [{"q": "Capital of France?", "a": "Paris"}, {"q": "2 + 2?", "a": "4"}]
    frame = pl.DataFrame(rows)
    files = [tmp_path / f"faq.{suffix}" for suffix in ("csv", "tsv", "parquet", "jsonl", "json")]
    frame.write_csv(files[0])
    frame.write_csv(files[1], separator="\t")
    frame.write_parquet(files[2])
    frame.write_ndjson(files[3])
    frame.write_json(files[4])
    columns: dict[str, Any] = {"input": "q", "references": "a"}
    sources: list[Any] = [rows, frame.to_dict(as_series=False), frame, *files, str(files[0])]
    for source in sources:
        plan = hf.scenario(source, **columns)
        assert plan.instances().collect()["input"].to_list() == ["Capital of France?", "2 + 2?"], source
        assert plan.generate(lambda prompt: "Paris").score().value("quasi_exact_match") == 0.5
    assert hf.scenario(files[0], **columns).instances().collect()["scenario"][0] == "faq"


def test_a_file_of_rows_that_is_missing_or_broken_has_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError, match=r"gone\.csv"):
        hf.scenario(tmp_path / "gone.csv", input="q", references="a")
    (tmp_path / "broken.parquet").write_bytes(b"no rows")
    with pytest.raises(SourceError, match=r"broken\.parquet"):
        hf.scenario(tmp_path / "broken.parquet", input="q", references="a")
    with pytest.raises(ArgumentError, match="don't make a table"):
        hf.scenario({"q": ["a", "b"], "a": ["x"]}, input="q", references="a")


def test_a_dict_of_data_sets_has_splits() -> None:
    class Rows:
        """A data set, as the package datasets has it."""

        def __init__(self, *rows: dict[str, str]) -> None:
            self._rows = rows

        def to_polars(self) -> pl.DataFrame:
            return pl.DataFrame(self._rows)

    splits = {"train": Rows({"q": "1 + 1?", "a": "2"}), "validation": Rows({"q": "2 + 2?", "a": "4"})}
    plan = hf.scenario(splits, input="q", references="a")
    assert plan.where(split="valid").instances().collect()["input"].to_list() == ["2 + 2?"]


def test_a_stop_list_is_one_value_not_a_grid() -> None:
    plan = MUSIC.limit(1).generate(says_a, stop=["\n", "."])
    assert plan.score().table()["model"].unique().to_list() == ["says_a"]
    assert plan.requests().collect()["decoding"].unique().to_list() == [
        '{"max_tokens": 1, "stop": ["\\n", "."], "temperature": 0.0}'
    ]


def test_several_scenarios_in_one_sentence() -> None:
    frame = hf.scenario(["sampler"]).limit(1).generate(hf.models.oracle())
    assert frame.score().value("exact_match") == 1.0


def test_two_parts_in_one_plan_equal_the_two_single_plans() -> None:
    noisy = hf.models.noisy(0.5)
    both = SAMPLER.where(subject=["music", "biology"]).perturb("typos").generate(noisy).score()
    single = [SAMPLER.where(subject=each).perturb("typos").generate(noisy).score() for each in ("biology", "music")]
    key = list(SCORES.key)
    one = both.scores.collect().sort(key)
    two = pl.concat([each.scores.collect() for each in single]).sort(key)
    assert_frame_equal(one, two)


def test_the_table_does_not_depend_on_how_rows_are_filtered() -> None:
    noisy = hf.models.noisy(0.5)
    plan = SAMPLER.where(subject="music").perturb("typos").generate(noisy)
    later = SAMPLER.where(pl.col("subject") == "music").perturb("typos").generate(noisy)
    assert_frame_equal(plan.score().table(), later.score().table())


def test_a_sample_may_name_its_instances() -> None:
    ids = SAMPLER.where(subject=["music", "biology"]).limit(3).instances().collect()["instance_id"].to_list()
    plan = SAMPLER.sample(4, like={"sampler": ids[4:] + ids[:2]})
    assert plan.instances().collect()["instance_id"].to_list() == sorted([*ids[:2], *ids[4:]], key=ids.index)
    assert hf.Plan.from_yaml(plan.to_yaml()) == plan
    assert "like:" in repr(plan)
    assert "chosen 4 per scenario" in str(plan.generate(hf.models.oracle()).explain())
    with pytest.raises(ArgumentError, match="lacks 2 of the 4 instances"):
        plan.where(subject="music").instances().collect()
    with pytest.raises(ArgumentError, match="no instance of scenario 'everyday' was chosen"):
        hf.scenario("everyday").sample(4, like={"sampler": ids[:4]}).instances().collect()


def test_a_perturbation_of_an_instance_is_the_same_in_every_sample() -> None:
    few = MUSIC.limit(3).perturb("typos").variants().collect()
    all_of_them = SAMPLER.perturb("typos").variants().collect()
    joined = few.join(all_of_them, on=["instance_id", "perturbation"], suffix="_all")
    assert joined.height == 6
    assert joined["perturbed_input"].equals(joined["perturbed_input_all"])


def test_the_train_pool_is_not_cut_by_a_filter_on_the_question() -> None:
    short = MUSIC.where("length(input) < 45").requests().collect()
    assert short["shot_ids"].list.len().unique().to_list() == [5]


def test_media_passes_through_to_a_model_that_takes_it_and_is_refused_by_one_that_does_not() -> None:
    image = {"type": "image", "text": None, "media": {"name": "cat.png", "data": b"\x89PNG"}}
    frame = pl.DataFrame(
        {"id": [1], "input": ["What is this?"], "answer": ["a cat"], "content": [[image]]},
        schema_overrides={"content": INSTANCES.schema["content"]},
    )
    plan = hf.scenario(frame, input="input", references="answer")
    replayed = plan.generate(hf.models.replay(pl.DataFrame({"instance_id": ["id0"], "completion": ["a cat"]}))).score()
    assert replayed.value("exact_match") == 1.0
    kept = replayed.completions.collect()["blocks"][0].to_list()[-1]["content"]
    assert kept[0]["media"] == {"name": "cat.png", "data": b"\x89PNG"}
    with pytest.raises(CapabilityError, match="takes text only"):
        plan.generate(says_a).score()


@pytest.mark.parametrize(
    ("say", "problem"),
    [
        (lambda plan: plan.sample(3, seed="abc"), r"sample\(seed='abc'\): seed must be an integer"),
        (lambda plan: plan.generate(hf.models.oracle(), n="3"), r"generate\(n='3'\): n must be an integer ≥ 1"),
        (
            lambda plan: plan.generate(hf.models.oracle()).score(max_requests="3"),
            "max_requests='3': max_requests must be a number ≥ 0",
        ),
        (
            lambda plan: plan.generate(hf.models.oracle()).score(until=0.03),
            r"until=0.03: until must be a stopping rule: hf.precise",
        ),
        (
            lambda plan: hf.scenario(["sampler", {"input": "a"}]),
            r"scenario\(list\): the argument must be a name, a path",
        ),
        (lambda plan: plan.where("input + 1 > 2"), r"explicit type casts.\nColumns: subject, row_index"),
    ],
)
def test_an_argument_of_the_wrong_type_raises_with_what_to_write(say: Callable[[hf.Plan], Any], problem: str) -> None:
    with pytest.raises(ArgumentError, match=problem):
        say(hf.scenario("sampler"))


def test_helms_rules_are_the_default_of_each_step() -> None:
    plan = hf.scenario("sampler", compat="helm").sample(2).perturb(["typos", "keyboard"])
    assert spec_of(plan).sampling == spec_of(hf.scenario("sampler").sample(2, order="helm")).sampling
    assert [variant.compat for variant in spec_of(plan).perturbations] == ["helm", None]  # HELM has no such noise
    keyed = hf.scenario("sampler", compat="helm").sample(2, order="keyed")
    assert spec_of(keyed).sampling == spec_of(hf.scenario("sampler").sample(2)).sampling


def test_the_outputs_that_are_scored_can_be_set() -> None:
    plan = hf.scenario("sampler", compat="helm").adapt(scored_outputs="all").generate(hf.models.oracle())
    assert plan_tasks(spec_of(plan))[0].settings[0].adapter.scored_outputs == "all"
    with pytest.raises(ArgumentError, match=r"adapt\(scored_outputs='likeliest'\)"):
        hf.scenario("sampler").adapt(scored_outputs="likeliest")
