"""A plan as YAML: one to one for named parts, strict, and only ever data."""

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import helmframe as hf
from helmframe._core.yaml import specs_root
from helmframe._plan import Plan, spec_of
from helmframe._plan_yaml import foreign_effects
from helmframe.errors import HelmframeError, PlanError, SpecError, UnknownNameError
from helmframe.perturbations.call import call

SAMPLER = hf.scenario("sampler")

texts = st.text(max_size=20)
# what YAML's own words, numbers, marks and tags look like
hostile = st.sampled_from(
    [
        *(
            "no",
            "null",
            "~",
            "1e3",
            "0x1",
            "2020-01-01",
            "- a",
            "a: b",
            "# a",
            "{a",
            "[",
            "&a",
            "*a",
            "!!python/name:os",
        ),
        *(
            "<<",
            "'",
            '"',
            "''",
            "\\",
            "\n",
            "\r\n",
            " a ",
            "\t",
            "\x00",
            "\x85",
            "\u2028",
            "\ufeff",
            "😀",
            "---",
            "...",
        ),
    ]
)
words = texts | hostile
numbers = st.integers(-(10**20), 10**20) | st.floats(allow_nan=False)
scalars = st.none() | st.booleans() | numbers | words
perturbations = st.lists(
    st.sampled_from(
        [
            "lowercase",
            "typos",
            "space",
            "rerun",
            "typos(prob=1e-05)",
            "lowercase+typos(prob=0.1)",
            "space(max_spaces=2)",
        ]
    ),
    max_size=3,
)
adapters = st.fixed_dictionaries(
    {},
    optional={
        "shots": st.integers(0, 9) | st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True),
        "trials": st.integers(1, 3),
        "instructions": words | st.lists(words, min_size=1, max_size=2, unique=True),
        "answer_pattern": st.sampled_from([None, "is (.)", "\n(\\w+): *'"]),
        "sample_train": st.booleans(),
    },
)
warmth = st.integers(0, 2**64 - 1) | st.floats(min_value=0, allow_nan=False)
decodings = st.fixed_dictionaries(
    {},
    optional={
        "temperature": warmth | st.lists(warmth, min_size=1, max_size=2, unique=True),
        "stop": st.lists(words, max_size=2)
        | st.lists(st.lists(words, max_size=2), min_size=1, max_size=2, unique_by=tuple),
        "max_tokens": st.none() | st.integers(1, 99),
    },
)
toys = st.sampled_from(["oracle()", "echo()", "noisy(accuracy=0.5)", "noisy(accuracy=0.25, by='instance', seed=7)"])


@st.composite
def plans(draw: Any) -> Plan:
    plan = SAMPLER
    if draw(st.booleans()):
        plan = plan.where(subject=draw(st.sampled_from(["music", ["music", "biology"], ["arithmetic"]])))
    if draw(st.booleans()):
        plan = plan.where("length(input) < 500 AND input <> 'a: b'")
    match draw(st.sampled_from(["all", "sample", "limit", "helm"])):
        case "sample":
            plan = plan.sample(draw(st.integers(1, 99)), seed=draw(st.integers(-9, 9)))
        case "limit":
            plan = plan.limit(draw(st.integers(1, 99)))
        case "helm":
            plan = plan.sample(draw(st.integers(1, 99)), order="helm")
    plan = plan.perturb(draw(perturbations), seeds=draw(st.integers(1, 4))).adapt(**draw(adapters))
    if draw(st.booleans()):
        models = draw(st.dictionaries(words, toys, min_size=1, max_size=2))
        named = {name: model for name, model in models.items() if name.strip()} or "oracle()"
        plan = plan.generate(named, n=draw(st.none() | st.integers(1, 5)), **draw(decodings))
    return plan.metrics(*draw(st.sampled_from([(), ("exact_match",), ("f1_score", "exact_match@1")])))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(plan=plans())
def test_a_plan_of_named_parts_comes_back_as_it_was(plan: Plan) -> None:
    assert Plan.from_yaml(plan.to_yaml()) == plan


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(instructions=words, value=words, stop=st.lists(words, max_size=3))
def test_any_text_survives(instructions: str, value: str, stop: list[str]) -> None:
    said = SAMPLER.adapt(instructions=instructions, input_prefix=value)
    plan = said.generate({f"_{value}": "oracle()"}, stop=stop)
    assert Plan.from_yaml(plan.to_yaml()) == plan


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.recursive(scalars, lambda each: st.lists(each, max_size=3) | st.dictionaries(scalars, each, max_size=3)))
@pytest.mark.parametrize("verb", ["scenario", "data", "sample", "limit", "perturb", "adapt", "generate", "metrics"])
def test_anything_under_a_verb_is_a_plan_or_an_error_of_ours(verb: str, said: Any) -> None:
    import yaml

    if verb == "generate" and not isinstance(said, list | dict):
        said = None  # a name would be looked for on the hub
    text = yaml.safe_dump({"scenario": "sampler", verb: said})
    try:
        Plan.from_yaml(text)
    except HelmframeError as error:
        assert str(error)  # noqa: PT017 - what is tested is that nothing else is raised


def test_the_yaml_is_the_sentence() -> None:
    plan = (
        SAMPLER.where(subject="music")
        .where("length(input) < 500")
        .sample(3, seed=2)
        .perturb(["typos", "lowercase+typos(prob=.1)"], seeds=3)
        .adapt(shots=[0, 5])
        .generate({"right": "oracle()"}, n=2, temperature=0.7, stop=["\n"])
        .metrics("exact_match")
    )
    assert plan.to_yaml() == (
        "scenario: sampler\n"
        "where:\n"
        "- {subject: music}\n"
        "- length(input) < 500\n"
        "sample: {n: 3, seed: 2, order: keyed}\n"
        "perturb:\n"
        "  variants: [typos, lowercase+typos(prob=0.1)]\n"
        "  seeds: 3\n"
        "adapt:\n"
        "  shots: [0, 5]\n"
        "generate:\n"
        "  model: {right: oracle()}\n"
        "  n: 2\n"
        '  stop:\n  - "\\n"\n'
        "  temperature: 0.7\n"
        "metrics: [exact_match]\n"
    )


def test_a_range_comes_back() -> None:
    plan = SAMPLER.where(row_index=hf.between(2, 5))
    assert "row_index:\n    between: [2, 5]" in plan.to_yaml()
    assert Plan.from_yaml(plan.to_yaml()) == plan


def test_several_scenarios_come_back() -> None:
    plan = hf.scenario(["sampler", "gsm8k"], data="s3://bucket/evals")
    assert Plan.from_yaml(plan.to_yaml()) == plan


def test_a_spec_of_ones_own_comes_back_by_its_path(tmp_path: Path) -> None:
    file = tmp_path / "specs" / "scenarios" / "sampler.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(Path(spec_of(SAMPLER).scenarios[0].origin).read_text(encoding="utf-8"), encoding="utf-8")
    plan = hf.scenario(file)
    assert Plan.from_yaml(plan.to_yaml()) == plan
    assert Plan.from_yaml(plan.to_yaml()) != SAMPLER


def test_a_plan_goes_through_a_file(tmp_path: Path) -> None:
    plan = SAMPLER.limit(2).generate("echo()")
    plan.to_yaml(tmp_path / "plan.yaml")
    assert Plan.from_yaml(tmp_path / "plan.yaml") == plan
    assert Plan.from_yaml(str(tmp_path / "plan.yaml")) == plan


def test_numpy_numbers_are_numbers() -> None:
    import numpy as np

    plan = SAMPLER.generate("oracle()", temperature=np.float64(0.5))
    assert Plan.from_yaml(plan.to_yaml()) == plan


def test_short_forms_say_the_same() -> None:
    short = (
        "scenario: sampler\nwhere: {subject: music}\nsample: 3\nperturb: typos\ngenerate: oracle()\nmetrics: f1_score"
    )
    plan = SAMPLER.where(subject="music").sample(3).perturb("typos").generate("oracle()").metrics("f1_score")
    assert Plan.from_yaml(short) == plan


def test_a_list_of_models_is_a_grid() -> None:
    plan = Plan.from_yaml("scenario: sampler\ngenerate: [oracle(), echo()]")
    assert [model.name for model in spec_of(plan).models] == ["oracle", "echo"]


@pytest.mark.parametrize(
    ("plan", "named"),
    [
        (SAMPLER.generate({"mine": lambda prompt: "A"}), "model 'mine'"),
        (SAMPLER.generate(hf.models.replay({"a": "b"})), "model 'replay'"),
        (SAMPLER.generate(hf.model(hf.models.oracle(), name="right", version="1")), "model 'right'"),
        (SAMPLER.where(pl.col("input").str.len_chars() < 50), "where("),
        (
            hf.scenario(pl.DataFrame({"q": ["1+1"], "a": ["2"]}), input="q", references="a", name="sums"),
            "scenario 'sums'",
        ),
    ],
)
def test_an_object_is_refused_and_named(plan: Plan, named: str) -> None:
    with pytest.raises(PlanError) as error:
        plan.to_yaml()
    assert named in str(error.value)
    assert repr(plan)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("", "plan: must be a mapping, such as {scenario: NAME}, not None."),
        ("limit: 2", "plan: scenario: is missing"),
        ("scenario: mine\nversion: 1\ninstances: SELECT 1", "plan: instances: this file is a scenario, not a plan."),
        ("scenario: sampler\ngenerate: {modell: echo()}", "unknown key 'generate.modell'. Did you mean 'model'?"),
        ("scenario: sampler\nwere: {}", "plan: unknown key 'were'. Did you mean 'where'?"),
        ("scenario: sampler\nlimit: 2\nlimit: 3", "the key 'limit' is repeated"),
        ("scenario: 3", "plan: scenario: must be a name or a list of names, not 3."),
        ("scenario: sampler\nwhere: 3", "plan: where: must be a mapping"),
        ("scenario: sampler\nwhere: {subject: {betwen: [1, 2]}}", "plan: where.subject: must be a value"),
        ("scenario: sampler\nwhere: {self: 3}", "plan: where: "),
        ("scenario: sampler\nwhere: {subject: musik}", "plan: where: where(subject='musik') matches no instance"),
        ("scenario: sampler\nsample: {n: 5, sed: 1}", "plan: unknown key 'sample.sed'. Did you mean 'seed'?"),
        ("scenario: sampler\nsample: {n: true}", "plan: sample.n: must be an integer, not True."),
        ("scenario: sampler\nsample: {seed: 1}", "plan: sample.n: is missing."),
        ("scenario: sampler\nlimit: 2\nsample: 2", "plan: limit: sample is set too"),
        ("scenario: sampler\nperturb: [3]", "plan: perturb: must be a name or a list of names, not [3]."),
        ("scenario: sampler\nperturb: {variant: typos}", "unknown key 'perturb.variant'. Did you mean 'variants'?"),
        ("scenario: sampler\nperturb: {variants: typos, seeds: a}", "plan: perturb.seeds: must be an integer"),
        ("scenario: sampler\nperturb: typos(prob=3)", "plan: perturb: "),
        ("scenario: sampler\nadapt: [shots]", "plan: adapt: must be a mapping, such as {shots: 5}, not ['shots']."),
        ("scenario: sampler\nadapt: {shotz: 3}", "Did you mean 'shots' or"),
        ("scenario: sampler\nadapt: {shots: {a: {b: 1}}}", "plan: adapt.shots: must be text, a number"),
        ("scenario: sampler\nadapt: &a {shots: [*a]}", "plan: invalid YAML: the aliases"),
        ("scenario: sampler\ngenerate: {temperature: 1}", "plan: generate.model: is missing."),
        ("scenario: sampler\ngenerate: {model: {a: 3}}", "plan: generate.model.a: must be text, not 3."),
        ("scenario: sampler\ngenerate: {model: oracle(), n: a}", "plan: generate.n: must be an integer"),
        ("scenario: sampler\ngenerate: oracle(x=1)", "plan: generate: oracle() has no argument 'x'"),
        ("scenario: sampler\nmetrics: 3", "plan: metrics: must be a name or a list of names, not 3."),
        ("scenario: sampler\nlimit: 2020-99-99", "plan: invalid YAML"),
        ("[" * 3000, "plan: invalid YAML"),
        ("nowhere.yaml", "nowhere.yaml: can't be read: No such file or directory."),
    ],
)
def test_errors_name_file_and_key(said: str, message: str) -> None:
    with pytest.raises(SpecError) as error:
        Plan.from_yaml(said)
    assert message in str(error.value)


def test_a_spec_beside_the_plan_is_found_from_any_folder(tmp_path: Path) -> None:
    sampler = (specs_root() / "scenarios" / "sampler.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(sampler.replace("scenario: sampler", "scenario: mine"), encoding="utf-8")
    (tmp_path / "plan.yaml").write_text("scenario: mine.yaml\nlimit: 1")
    (spec,) = spec_of(Plan.from_yaml(tmp_path / "plan.yaml")).scenarios
    assert spec.origin == str(tmp_path / "mine.yaml")


def test_the_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text("scenario: sampler\nlimit: a")
    with pytest.raises(SpecError) as error:
        Plan.from_yaml(file)
    assert str(error.value).startswith(f"{file}: limit: ")


def test_a_binary_file_raises(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="the file must be UTF-8 text"):
        Plan.from_yaml(file)


@pytest.mark.parametrize("said", ["perturb: typoz", "metrics: exact_mach", "scenario: samplr"])
def test_an_unknown_name_has_near_ones(said: str) -> None:
    text = said if said.startswith("scenario") else f"scenario: sampler\n{said}"
    with pytest.raises(UnknownNameError, match="Did you mean"):
        Plan.from_yaml(text)


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.mkdir", "!!python/name:os.system", "!!python/object:os.system"]
)
def test_nothing_in_a_plan_is_run(tag: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="invalid YAML"):
        Plan.from_yaml(f"scenario: {tag} ['{tmp_path}/made']")
    assert not (tmp_path / "made").exists()


def test_calls_are_written_with_their_arguments() -> None:
    plan = SAMPLER.perturb(call("typos", prob=0.1))
    assert plan.to_yaml() == "scenario: sampler\nperturb: [typos(prob=0.1)]\n"


def test_helms_rules_are_written_and_read() -> None:
    plan = hf.scenario("sampler", compat="helm").where(subject="music").sample(2)
    assert "compat: helm" in plan.to_yaml()
    assert Plan.from_yaml(plan.to_yaml()) == plan
    with pytest.raises(SpecError, match=r"scenario\(compat='helmm'\): compat must be 'helm'\. Did you mean 'helm'"):
        Plan.from_yaml("scenario: sampler\ncompat: helmm")


def test_a_json_schema_is_a_mapping_or_text_in_yaml() -> None:
    plan = SAMPLER.generate(hf.models.echo(), json_schema={"type": "object", "required": ["b", "a"]})
    assert Plan.from_yaml(plan.to_yaml()) == plan
    text = "{scenario: sampler, generate: {model: echo(), json_schema: {type: object, required: [b, a]}}}"
    assert Plan.from_yaml(text) == plan.generate("echo()")
    suite = hf.suite(SAMPLER).generate("echo()", json_schema={"type": "object", "required": ["b", "a"]})
    assert suite.plans == (plan.generate("echo()"),)
    grid = SAMPLER.generate("echo()", json_schema=[{"title": "Person"}, None])
    assert Plan.from_yaml(grid.to_yaml()) == grid


FOREIGN = {
    "run the Python code of the checkpoint org/name": "local(model='org/name', trust_remote_code=True)",
    "run the Python code of the checkpoint org/v": "vllm(model='org/v', trust_remote_code=True)",
    "pass worker_extension_cls='os.path' to vLLM": "vllm(model='org/v', worker_extension_cls='os.path')",
    "send the environment variable MY_KEY to example.org": (
        "http(url='http://example.org/v1', name='m', key_env='MY_KEY')"
    ),
    "send the environment variable OPENAI_API_KEY to 10.0.0.1": (
        "batch(model='m', url='http://10.0.0.1/v1', key_env='OPENAI_API_KEY')"
    ),
    "send the environment variable GROQ_API_KEY to api.openai.com": (
        "batch(model='openai:gpt-4.1', key_env='GROQ_API_KEY')"
    ),
    "send the environment variable A to 10.0.0.2": "batch(model='http://10.0.0.2/v1#m', key_env='A')",
    "make an invalid call with trust_remote_code, key_env or vllm": "local('x', trust_remote_code=True)",
}


@pytest.mark.parametrize("effect", FOREIGN)
def test_a_plan_with_code_or_a_foreign_key_needs_trust(effect: str, tmp_path: Path) -> None:
    text = FOREIGN[effect]
    nested = f"judge(model={text!r}, template='safety')"
    for content in (
        {"generate": text},
        {"generate": {"model": {"a": text}}},
        {"metrics": [nested]},
        {"perturb": [text]},
    ):
        plan = {"scenario": "sampler", **content}
        assert foreign_effects(plan) == [effect]
        file = tmp_path / "plan.yaml"
        file.write_text(yaml.safe_dump(plan))
        with pytest.raises(PlanError, match=re.escape(effect)):
            Plan.from_yaml(file)
        for suite in ({"plans": [plan]}, {"suite": "plan.yaml", "generate": text}):
            (tmp_path / "suite.yaml").write_text(yaml.safe_dump(suite))
            with pytest.raises(PlanError, match=r"If you trust the file, write hf\.suite\(path, trusted=True\)"):
                hf.suite(str(tmp_path / "suite.yaml"))


def test_a_plan_with_a_server_can_be_trusted_and_is_then_the_same(tmp_path: Path) -> None:
    plan = SAMPLER.generate(hf.models.http("http://example.org/v1", "m", key_env="MY_KEY"))
    with pytest.raises(PlanError, match=r"Plan\.from_yaml\(path, trusted=True\), or --trust-files"):
        Plan.from_yaml(plan.to_yaml())
    assert Plan.from_yaml(plan.to_yaml(tmp_path / "plan.yaml"), trusted=True) == plan
    suite = hf.suite(plan)
    assert type(suite).from_yaml(suite.to_yaml(), trusted=True) == suite
    assert hf.suite(str(tmp_path / "plan.yaml"), trusted=True).plans == (plan,)


@pytest.mark.parametrize(
    "text",
    [
        "http(url='http://localhost:8000/v1', name='m', key_env='MY_KEY')",
        "http(url='https://api.openai.com/v1', name='m', key_env='OPENAI_API_KEY')",
        "batch(model='openai:gpt-4.1', key_env='OPENAI_API_KEY')",
        "local(model='org/name', trust_remote_code=False)",
        "vllm(model='org/name', dtype='bfloat16')",
        "openai:gpt-4.1",
        "http://example.org/v1#m",
        "oracle()",
    ],
)
def test_other_models_need_no_trust(text: str) -> None:
    assert foreign_effects({"generate": text, "metrics": ["exact_match"]}) == []


def test_the_python_files_of_a_checkpoint_are_listed(tmp_path: Path) -> None:
    (tmp_path / "modeling.py").write_text("import os\n")
    text = f"local(model='{tmp_path}', trust_remote_code=True)"
    assert foreign_effects(text) == [f"run the Python code of the checkpoint {tmp_path} (modeling.py (10 bytes))"]


def test_effects_are_shown_without_invisible_characters() -> None:
    with pytest.raises(PlanError) as refused:
        Plan.from_yaml("{scenario: sampler, generate: \"local(model='a\\u202eb\\x1b[2J', trust_remote_code=True)\"}")
    assert "a⟨U+202E⟩b⟨U+001B⟩[2J" in str(refused.value)
