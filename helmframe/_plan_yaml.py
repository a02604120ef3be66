"""A plan as YAML: the sentence's verbs as keys, their arguments as values, one to one for named parts.

scenario: mmlu                                    # or a list; a name, or the path of a spec
compat: helm                                      # HELM's rules for the whole plan
where: [{subject: philosophy}, {year: {between: [1990, 1999]}}, "length(input) < 500"]
sample: {n: 50, seed: 0}                          # or a number; or limit: 50
perturb: {variants: [typos(prob=0.1)], seeds: 3}  # or a name, or a list of names
adapt: {shots: [0, 5]}                            # a list is a grid
generate: {model: {SmolLM2: models/SmolLM2-135M-Instruct}, temperature: 0.0}    # model: a name, a list, or {name: name}
metrics: [exact_match]
"""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from helmframe._core.specs import Between, Call, Condition, Equals, Expression, ScenarioSpec, Sql, thawed
from helmframe._core.yaml import parse_yaml, read_yaml
from helmframe._pipeline import PlanSpec
from helmframe.errors import PlanError, SpecError
from helmframe.metrics.judge import Judge
from helmframe.metrics.protocol import Metric
from helmframe.models.model import Model
from helmframe.scenarios.catalogue import find_scenario, scenario_names

VERBS = ("scenario", "data", "compat", "where", "sample", "limit", "perturb", "adapt", "generate", "metrics")
# The keys of a SQL condition that says which rows HELM's scenario has.
_NARROWING = {"sql", "narrows"}


class Step(NamedTuple):
    """One verb as a YAML plan says it, and in which file."""

    verb: str
    arguments: tuple[Any, ...]
    more: dict[str, Any]
    file: str


def written(plan: PlanSpec, *, objects: bool = False) -> str:
    """Return the plan as YAML; `objects` as for `_words`.

    Raises:
        PlanError: The plan holds an object; names it.
    """
    return _dumped(_plain(_words(plan, objects=objects)))


def written_suite(plans: Sequence[PlanSpec]) -> str:
    """Return the plans as the YAML of a suite.

    Raises:
        PlanError: A plan holds an object; names it.
    """
    return _dumped({"plans": [_plain(_words(plan, objects=False)) for plan in plans]})


def _words(plan: PlanSpec, *, objects: bool) -> dict[str, Any]:
    """Return the keys and values of a plan's YAML.

    Args:
        plan: the plan.
        objects: True names objects (a frame, a function, an expression) in angle brackets, for people to read; False
            refuses them.

    Raises:
        PlanError: it holds an object; names it.
    """

    def named(what: str, shown: str, say: str) -> str:
        if not objects:
            raise PlanError(
                f"{what} is an object and has no place in YAML. Write the plan without it, and say it again where the "
                f"plan is read: Plan.from_yaml(path).{say}."
            )
        return f"<{shown}>"

    scenarios = [_scenario(each) or named(f"scenario {each.scenario!r}", each.scenario, "…") for each in plan.scenarios]
    said: dict[str, Any] = {"scenario": scenarios[0] if len(scenarios) == 1 else scenarios}
    if plan.data is not None:
        said["data"] = plan.data
    if plan.compat is not None:
        said["compat"] = plan.compat
    if plan.filters:
        said["where"] = [
            _condition(each) or named(f"where({_shown(each)})", _shown(each), f"where({_shown(each)})")
            for each in plan.filters
        ]
    if plan.sampling is not None:
        n, seed, order = plan.sampling.n, plan.sampling.seed, plan.sampling.order
        said |= {"limit": n} if order == "first" else {"sample": {"n": n, "seed": seed, "order": order}}
    if plan.perturbations:
        variants = [
            named(f"the model of perturbation {each.name!r}", each.name, f"perturb({each.name})")
            if each.objects
            else each.name
            for each in plan.perturbations
        ]
        seeds = plan.perturbations[0].seeds
        said["perturb"] = variants if seeds == 1 else {"variants": variants, "seeds": seeds}
    if plan.adapter:
        said["adapt"] = {key: thawed(value) for key, value in plan.adapter}
    generate: dict[str, Any] = {}
    if plan.models:
        generate["model"] = {
            each.name: _model(each) or named(f"model {each.name!r}", each.name, f"generate({each.name})")
            for each in plan.models
        }
    if plan.outputs:
        generate["n"] = plan.outputs
    generate |= {key: thawed(value) for key, value in plan.decoding}
    if generate:
        said["generate"] = generate
    if plan.metrics:
        said["metrics"] = [
            _metric(each) or named(f"metric {each}", str(each), f"metrics({each})") for each in plan.metrics
        ]
    return said


def steps(said: str | Path) -> Iterator[Step]:
    """The verbs that a YAML plan says, the scenario first.

    Args:
        said: the text, or its file: a `Path`, or a text that is a file's name and ends in .yaml or .yml.

    Raises:
        SpecError: no such file, not YAML, an unknown or missing key, a wrong type; names file and key.
    """
    file, plan = read_plan(said)
    if "scenario" not in plan:
        raise SpecError.at(file, "scenario", "is missing; a plan is a mapping that starts with 'scenario: NAME'.")
    if "instances" in plan:
        raise SpecError.at(
            file,
            "instances",
            f"this is a scenario, not a plan. A plan of it is another file: 'scenario: {file}', 'generate: MODEL'.",
        )
    _known(file, "", plan, VERBS)
    options: dict[str, Any] = {key: _text(file, key, plan[key]) for key in ("data", "compat") if key in plan}
    named = _texts(file, "scenario", plan["scenario"])
    scenarios = _beside(file, named) if isinstance(named, str) else [_beside(file, name) for name in named]
    yield Step("scenario", (scenarios,), options, file)
    for condition in _list(plan.get("where", [])):
        if isinstance(condition, str):
            yield Step("where", (condition,), {}, file)
        elif isinstance(condition, dict) and condition.keys() == _NARROWING:
            text, narrows = _text(file, "where.sql", condition["sql"]), condition["narrows"]
            if not isinstance(narrows, bool):
                raise SpecError.at(file, "where.narrows", f"should be true or false, not {narrows!r}.")
            yield Step("where", (Sql(text, narrows),), {}, file)
        else:
            equals = _mapping(file, "where", condition, "column: value, or SQL as text")
            yield Step("where", (), {key: _equal(file, f"where.{key}", value) for key, value in equals.items()}, file)
    if "sample" in plan and "limit" in plan:
        raise SpecError.at(file, "limit", "there is a sample already; say one of the two.")
    if "sample" in plan:
        sample = {"n": plan["sample"]} if isinstance(plan["sample"], int) else plan["sample"]
        sample = _mapping(file, "sample", sample, "n: 50, seed: 0")
        _known(file, "sample", sample, ("n", "seed", "order"))
        checked: dict[str, Any] = {"n": _whole(file, "sample.n", sample.get("n"))}
        if "seed" in sample:
            checked["seed"] = _whole(file, "sample.seed", sample["seed"])
        if "order" in sample:
            checked["order"] = _text(file, "sample.order", sample["order"])
        yield Step("sample", (), checked, file)
    if "limit" in plan:
        yield Step("limit", (_whole(file, "limit", plan["limit"]),), {}, file)
    if "perturb" in plan:
        yield _perturb(file, plan["perturb"])
    if "adapt" in plan:
        yield Step("adapt", (), _values(file, "adapt", _mapping(file, "adapt", plan["adapt"], "shots: 5")), file)
    if "generate" in plan:
        yield _generate(file, plan["generate"])
    if "metrics" in plan:
        names = _texts(file, "metrics", plan["metrics"])
        yield Step("metrics", (names,) if isinstance(names, str) else tuple(names), {}, file)


def _beside(file: str, name: str) -> str:
    """A spec's file named as seen from the plan's folder, where it is not there as seen from this one."""
    near = Path(file).parent / name
    return str(near) if name.endswith((".yaml", ".yml")) and not Path(name).exists() and near.is_file() else name


# -- out ---------------------------------------------------------------------------------------------------------------


def _dumped(value: Any) -> str:
    """Return the value as YAML; texts of more than plain characters are quoted, as other styles change some of them."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """A dumper with representers of its own."""

    def represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')

    Dumper.add_representer(str, represent)
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)


def _scenario(spec: ScenarioSpec) -> str | None:
    """The name that finds this spec again, else its path; None for a frame."""
    if spec.frame is not None:
        return None
    name = Path(spec.origin).stem
    return name if name in scenario_names() and find_scenario(name).origin == spec.origin else spec.origin


def _condition(condition: Condition) -> Any:
    match condition:
        case Equals(column, values):
            return {column: values[0] if len(values) == 1 else list(values)}
        case Between(column, low, high):
            return {column: {"between": [low, high]}}
        case Sql(text, narrows):
            return {"sql": text, "narrows": True} if narrows else text
    return None


def _shown(condition: Condition) -> str:
    return str(condition.expr) if isinstance(condition, Expression) else str(condition)


def _model(model: Model) -> str | None:
    """A folder or name as it was said, a mock model as a call; None for an object, or a mock model that holds one."""
    source = model.source
    if isinstance(source, Call) and model.version is None and "content" not in dict(source.arguments):
        return str(source) if source.arguments else f"{source}()"
    return source if isinstance(source, str) else None


def _metric(said: object) -> str | None:
    """A metric's name, or a judge as a call; None for one that holds an object."""
    if isinstance(said, str):
        return said
    judge = said.function if isinstance(said, Metric) else None
    return judge.text or None if isinstance(judge, Judge) else None


def _plain(value: Any) -> Any:
    """The value in Python's own types: YAML takes no subclasses of them, such as NumPy's floats."""
    if isinstance(value, Mapping):
        return {_plain(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    for kind in (str, bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    if value is None or isinstance(value, datetime.date):
        return value
    raise PlanError(f"{value!r} ({type(value).__name__}) has no place in YAML.")


# -- in ----------------------------------------------------------------------------------------------------------------


def read_plan(source: str | Path) -> tuple[str, dict[str, Any]]:
    """Return the name that errors have for a YAML text or file, and its mapping.

    Raises:
        SpecError: There is no such file, or it isn't YAML.
    """
    if isinstance(source, Path):
        return str(source), _mapping(str(source), "", read_yaml(source, str(source)), "scenario: NAME")
    if not isinstance(source, str):
        raise SpecError.at("plan", "", f"a text of YAML, or its file, not {type(source).__name__}.")
    if source.strip().endswith((".yaml", ".yml")) and ":" not in source:
        return read_plan(Path(source.strip()))
    return "plan", _mapping("plan", "", parse_yaml(source, "plan"), "scenario: NAME")


def _perturb(file: str, said: Any) -> Step:
    if not isinstance(said, Mapping):
        return Step("perturb", (_texts(file, "perturb", said),), {}, file)
    said = _mapping(file, "perturb", said, "variants: [typos], seeds: 1")
    _known(file, "perturb", said, ("variants", "seeds"))
    seeds = {"seeds": _whole(file, "perturb.seeds", said["seeds"])} if "seeds" in said else {}
    return Step("perturb", (_texts(file, "perturb.variants", said.get("variants")),), seeds, file)


def _generate(file: str, said: Any) -> Step:
    said = _mapping(file, "generate", said if isinstance(said, Mapping) else {"model": said}, "model: org/name")
    model = said.pop("model", None)
    if isinstance(model, Mapping):
        model = {name: _text(file, f"generate.model.{name}", each) for name, each in model.items()}
    else:
        model = _texts(file, "generate.model", model)
    n = {"n": _whole(file, "generate.n", said.pop("n"))} if "n" in said else {}
    return Step("generate", (model,), {**n, **_values(file, "generate", said)}, file)


def _equal(file: str, key: str, value: Any) -> Any:
    """The value of a condition: one, a list of them, or {between: [low, high]}."""
    if isinstance(value, Mapping):
        ends = value.get("between")
        if set(value) != {"between"} or not isinstance(ends, list) or len(ends) != 2:
            raise SpecError.at(
                file, key, f"should be a value, a list of values, or {{between: [low, high]}}: {value!r}."
            )
        return Between("", *ends)
    return value


def _known(file: str, key: str, said: Mapping[str, Any], known: Sequence[str]) -> None:
    for each in said:
        if each not in known:
            raise SpecError.unknown_key(file, f"{key}.{each}" if key else each, known)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _mapping(file: str, key: str, value: Any, example: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(each, str) for each in value):
        raise SpecError.at(file, key, f"should be a mapping, such as {{{example}}}, not {value!r}.")
    return dict(value)


def _values(file: str, key: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """Each a value, a list of values (a grid), or a list of such lists."""
    for name, value in said.items():
        if not _is_value(value, depth=2):
            raise SpecError.at(file, f"{key}.{name}", f"should be text, a number, true, false, or a list: {value!r}.")
    return dict(said)


def _is_value(value: Any, depth: int) -> bool:
    if isinstance(value, list):
        return depth > 0 and all(_is_value(each, depth - 1) for each in value)
    return value is None or isinstance(value, str | int | float)


def _text(file: str, key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise SpecError.at(file, key, f"should be text, not {value!r}.")
    return value


def _texts(file: str, key: str, value: Any) -> str | list[str]:
    """A name, or a list of names."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        problem = "is missing." if value is None else f"should be a name or a list of names, not {value!r}."
        raise SpecError.at(file, key, problem)
    return value


def _whole(file: str, key: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        problem = "is missing." if value is None else f"should be a whole number, not {value!r}."
        raise SpecError.at(file, key, problem)
    return value
