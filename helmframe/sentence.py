"""A plan as YAML: the sentence's verbs as keys, their arguments as values, one to one for named parts.

scenario: mmlu
where: [{subject: philosophy}, "length(input) < 500"]
sample: {n: 50, seed: 0}
perturb: {variants: [typos(prob=0.1)], seeds: 1}
adapt: {shots: 5}
generate: {model: {SmolLM2: models/SmolLM2-135M-Instruct}, temperature: 0.0}
metrics: [exact_match]
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import yaml

from helmframe.errors import PlanError, SpecError
from helmframe.specs import Between, Call, Condition, Equals, Pairs, Sample, ScenarioSpec, Sql, thawed

VERBS = ("scenario", "data", "where", "sample", "perturb", "adapt", "generate", "metrics")
Step = tuple[str, tuple[Any, ...], dict[str, Any]]


class Chain(Protocol):
    """A variant of a plan, as far as it is written."""

    @property
    def name(self) -> str: ...
    @property
    def seeds(self) -> int: ...


class Named(Protocol):
    """A model of a plan, as far as it is written."""

    @property
    def name(self) -> str: ...
    @property
    def source(self) -> object: ...


class Sentence(Protocol):
    """The fields of a plan."""

    @property
    def scenarios(self) -> tuple[ScenarioSpec, ...]: ...
    @property
    def filters(self) -> tuple[Condition, ...]: ...
    @property
    def sampling(self) -> Sample | None: ...
    @property
    def perturbations(self) -> Sequence[Chain]: ...
    @property
    def adapter(self) -> Pairs: ...
    @property
    def models(self) -> Sequence[Named]: ...
    @property
    def decoding(self) -> Pairs: ...
    @property
    def outputs(self) -> int: ...
    @property
    def scored(self) -> tuple[str, ...]: ...
    @property
    def data(self) -> str | None: ...


def written(plan: Sentence, *, objects: bool = False) -> str:
    """The plan as YAML.

    Args:
        plan: the plan.
        objects: True names objects (a frame, a function, an expression) in angle brackets, for people to read; False
            refuses them.

    Raises:
        PlanError: it holds an object; names it.
    """

    def named(what: str, shown: str) -> str:
        if not objects:
            raise PlanError(
                f"{what} is an object and has no place in YAML. Bind it when you read the plan: give it a name first."
            )
        return f"<{shown}>"

    said: dict[str, Any] = {}
    names = [
        named(f"scenario {spec.scenario!r}", spec.scenario) if spec.frame else _scenario(spec)
        for spec in plan.scenarios
    ]
    said["scenario"] = names[0] if len(names) == 1 else names
    if plan.data is not None:
        said["data"] = plan.data
    if plan.filters:
        said["where"] = [_condition(each) or named(f"where({each})", str(each)) for each in plan.filters]
    if plan.sampling is not None:
        said["sample"] = {"n": plan.sampling.n, "seed": plan.sampling.seed, "order": plan.sampling.order}
    if plan.perturbations:
        seeds = plan.perturbations[0].seeds
        said["perturb"] = {"variants": [each.name for each in plan.perturbations], "seeds": seeds}
    if plan.adapter:
        said["adapt"] = {key: thawed(value) for key, value in plan.adapter}
    generate: dict[str, Any] = {}
    if plan.models:
        generate["model"] = {
            each.name: _model(each) or named(f"model {each.name!r}", each.name) for each in plan.models
        }
    if plan.outputs != 1:
        generate["n"] = plan.outputs
    generate |= {key: thawed(value) for key, value in plan.decoding}
    if generate:
        said["generate"] = generate
    if plan.scored:
        said["metrics"] = list(plan.scored)
    return yaml.safe_dump(said, sort_keys=False, allow_unicode=True, width=110)


def steps(text: str | Path) -> Iterator[Step]:
    """The verbs that a YAML plan says, in order, as (verb, arguments, keyword arguments).

    Raises:
        SpecError: not YAML, an unknown verb, or no scenario; names file and key.
    """
    file = str(text) if isinstance(text, Path) else "plan"
    try:
        said = yaml.safe_load(text.read_text(encoding="utf-8") if isinstance(text, Path) else text)
    except (yaml.YAMLError, OSError) as error:
        raise SpecError.at(file, "", f"no plan: {error}") from None
    if not isinstance(said, dict) or "scenario" not in said:
        raise SpecError.at(file, "scenario", "a plan is a mapping that starts with 'scenario: NAME'.")
    for key in said:
        if key not in VERBS:
            raise SpecError.unknown_key(file, str(key), VERBS)
    data = {"data": said["data"]} if "data" in said else {}
    yield "scenario", (said["scenario"],), data
    for condition in _list(said.get("where", [])):
        if isinstance(condition, Mapping):
            yield "where", (), {key: _value(value) for key, value in condition.items()}
        else:
            yield "where", (condition,), {}
    if "sample" in said:
        sample = _mapping(file, "sample", said["sample"])
        if sample.get("order") == "first":
            yield "limit", (sample["n"],), {}
        else:
            yield "sample", (), dict(sample)
    if "perturb" in said:
        variants = said["perturb"]
        if isinstance(variants, Mapping):
            yield "perturb", (variants.get("variants", []),), {"seeds": variants.get("seeds", 1)}
        else:
            yield "perturb", (variants,), {}
    if "adapt" in said:
        yield "adapt", (), dict(_mapping(file, "adapt", said["adapt"]))
    if "generate" in said:
        yield "generate", (), dict(_mapping(file, "generate", said["generate"]))
    if "metrics" in said:
        yield "metrics", tuple(_list(said["metrics"])), {}


def _scenario(spec: ScenarioSpec) -> str:
    """The name of a spec that ships with helmframe, else its path."""
    origin = Path(spec.origin)
    return spec.scenario if origin.parent.parent.name == "specs" and origin.stem == spec.scenario else spec.origin


def _condition(condition: Condition) -> Any:
    match condition:
        case Equals(column, values):
            return {column: values[0] if len(values) == 1 else list(values)}
        case Between(column, low, high):
            return {column: {"between": [low, high]}}
        case Sql(text):
            return text
    return None


def _model(model: Named) -> str | None:
    return str(model.source) if isinstance(model.source, str | Call) else None


def _value(value: Any) -> Any:
    if isinstance(value, Mapping) and set(value) == {"between"}:
        return Between("", *value["between"])
    return value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _mapping(file: str, key: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SpecError.at(file, key, f"should be a mapping, not {value!r}.")
    return value
