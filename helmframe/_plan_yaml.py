"""Plans as YAML: the builder methods as keys, their arguments as values, one to one for named parts.

scenario: mmlu                                    # or a list; a name, or the path of a spec
compat: helm                                      # HELM's rules for the whole plan
where: [{subject: philosophy}, {year: {between: [1990, 1999]}}, "length(input) < 500"]
sample: {n: 50, seed: 0}                          # or a number; or limit: 50
perturb: {variants: [typos(prob=0.1)], seeds: 3}  # or a name, or a list of names
adapt: {shots: [0, 5]}                            # a list is a grid; a mapping {name: value} is a grid with names
generate: {model: {SmolLM2: models/SmolLM2-135M-Instruct}, temperature: 0.0}    # model: a name, a list, or {name: name}
metrics: [exact_match]
"""

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from helmframe._core.checks import is_integer
from helmframe._core.safe_text import display_labels, show_invisible
from helmframe._core.specs import Between, Call, Condition, DeferredFrame, Equals, Expression, ScenarioSpec, Sql, thawed
from helmframe._core.yaml import parse_yaml, read_yaml
from helmframe._pipeline import PlanSpec
from helmframe.adapters.adapt import LONGEST_LABEL
from helmframe.errors import ArgumentError, PlanError, SpecError, near
from helmframe.metrics.judge import Judge
from helmframe.metrics.protocol import Metric
from helmframe.models.model import Model
from helmframe.models.protocol import DECODING
from helmframe.models.providers import is_loopback, key_variable, named
from helmframe.scenarios.catalogue import scenario_file

VERBS = ("scenario", "data", "compat", "where", "sample", "limit", "perturb", "adapt", "generate", "metrics")
# The value of a field that a plan lacks, in a label.
_DEFAULT = "default"
_MOST_NAMES, _MOST_CONDITIONS = 1_000, 100  # in a list
# The keys of a SQL condition that selects the rows of HELM's scenario.
_NARROWING = {"sql", "narrows"}


class Step(NamedTuple):
    """One builder method of a YAML plan, with its arguments and its file."""

    verb: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    file: str


def dump_plan(plan: PlanSpec, *, objects: bool = False) -> str:
    """Return the plan as YAML; `objects` as for `_plan_keys`.

    Raises:
        PlanError: The plan has an object. The message has its name.
    """
    return _dump(_plain(_plan_keys(plan, objects=objects)))


def dump_suite(plans: Sequence[PlanSpec]) -> str:
    """Return the plans as the YAML of a suite.

    Raises:
        PlanError: A plan has an object. The message has its name.
    """
    return _dump({"plans": [_plain(_plan_keys(plan, objects=False)) for plan in plans]})


def _plan_keys(plan: PlanSpec, *, objects: bool) -> dict[str, Any]:
    """Return the keys and values of a plan's YAML.

    Args:
        plan: The plan.
        objects: True writes objects (a frame, a function, an expression) as names in angle brackets, for display. False
            raises.

    Raises:
        PlanError: The plan has an object. The message has its name.
    """

    def object_text(name: str, shown: str, call: str) -> str:
        if not objects:
            raise PlanError(
                f"{name} is an object, which YAML can't contain. Write the plan without it, and add it after reading: "
                f"Plan.from_yaml(path).{call}."
            )
        return f"<{shown}>"

    scenarios = [
        _scenario(spec) or object_text(f"scenario {spec.scenario!r}", spec.scenario, "…") for spec in plan.scenarios
    ]
    keys: dict[str, Any] = {"scenario": scenarios[0] if len(scenarios) == 1 else scenarios}
    if plan.data is not None:
        keys["data"] = plan.data
    if plan.compat is not None:
        keys["compat"] = plan.compat
    if plan.filters:
        keys["where"] = [
            _condition(condition)
            or object_text(f"where({_shown(condition)})", _shown(condition), f"where({_shown(condition)})")
            for condition in plan.filters
        ]
    if plan.sampling is not None:
        n, seed, order = plan.sampling.n, plan.sampling.seed, plan.sampling.order
        if order == "chosen":
            chosen = {scenario: list(ids) for scenario, ids in plan.sampling.instances}
            keys |= {"sample": {"n": n, "like": chosen}}
        else:
            keys |= {"limit": n} if order == "first" else {"sample": {"n": n, "seed": seed, "order": order}}
    if plan.perturbations:
        variants = [
            object_text(f"the model of perturbation {variant.name!r}", variant.name, f"perturb({variant.name})")
            if variant.objects
            else variant.name
            for variant in plan.perturbations
        ]
        seeds = plan.perturbations[0].seeds
        keys["perturb"] = variants if seeds == 1 else {"variants": variants, "seeds": seeds}
    if plan.adapter:
        keys["adapt"] = {key: thawed(value) for key, value in plan.adapter}
    generate: dict[str, Any] = {}
    if plan.models:
        generate["model"] = {
            model.name: _model(model) or object_text(f"model {model.name!r}", model.name, f"generate({model.name})")
            for model in plan.models
        }
    if plan.outputs:
        generate["n"] = plan.outputs
    generate |= {key: thawed(value) for key, value in plan.decoding}
    if generate:
        keys["generate"] = generate
    if plan.metrics:
        keys["metrics"] = [
            _metric(metric) or object_text(f"metric {metric}", str(metric), f"metrics({metric})")
            for metric in plan.metrics
        ]
    return keys


def plan_labels(plans: Sequence[PlanSpec]) -> list[str]:
    """Return a short label for each plan: the values that differ between them, else "plan=" and its number."""
    fields = [_label_fields(plan) for plan in plans]
    names = dict.fromkeys(name for values in fields for name in values)
    differing = [name for name in names if len({values.get(name) for values in fields}) > 1]
    shown = {
        name: display_labels((values.get(name, _DEFAULT) for values in fields), LONGEST_LABEL) for name in differing
    }
    labels = [",".join(f"{name}={shown[name][values.get(name, _DEFAULT)]}" for name in differing) for values in fields]
    if len(set(labels)) == len(labels):
        return labels
    return [",".join(filter(None, (f"plan={number}", label))) for number, label in enumerate(labels, 1)]


def _label_fields(plan: PlanSpec) -> dict[str, str]:
    """Return the fields of a plan that can distinguish it from other plans with the same scenario and model."""
    keys = _plan_keys(plan, objects=True)
    fields: dict[str, Any] = {}
    for condition in keys.pop("where", []):
        equals = condition if isinstance(condition, Mapping) and "sql" not in condition else {"where": condition}
        fields |= {
            name: "|".join(map(str, value)) if isinstance(value, list) else value for name, value in equals.items()
        }
    fields |= keys.pop("adapt", {})
    fields |= {name: value for name, value in keys.pop("generate", {}).items() if name != "model"}
    fields |= {name: value for name, value in keys.items() if name != "scenario"}
    return {name: str(value) for name, value in fields.items()}


def load_steps(source: str | Path | Mapping[str, Any], *, trusted: bool = False) -> Iterator[Step]:
    """Yield the builder methods of a YAML plan with their arguments, the scenario first.

    Args:
        source: The text, its content, or its file: a `Path`, or a text that is a file's name and ends in .yaml or .yml.
        trusted: Whether the plan may do what `foreign_effects` lists.

    Raises:
        SpecError: The file doesn't exist or isn't YAML, a key is unknown or missing, or a value has the wrong type. The
            message has file and key.
        PlanError: The plan isn't trusted, and would run code or send environment variables.
    """
    file, plan = read_plan(source)
    if not trusted:
        refuse_effects(file, foreign_effects(plan), "Plan.from_yaml(path, trusted=True)")
    if "scenario" not in plan:
        raise SpecError.at(file, "scenario", "is missing. A plan is a mapping that starts with 'scenario: NAME'.")
    if "instances" in plan:
        raise SpecError.at(
            file,
            "instances",
            f"this file is a scenario, not a plan. Write another file with 'scenario: {file}' and 'generate: MODEL'.",
        )
    _check_keys(file, "", plan, VERBS)
    options: dict[str, Any] = {key: _text(file, key, plan[key]) for key in ("data", "compat") if key in plan}
    if trusted:
        options["trust_remote_code"] = True
    names = _texts(file, "scenario", plan["scenario"])
    scenarios = _spec_path(file, names) if isinstance(names, str) else [_spec_path(file, name) for name in names]
    yield Step("scenario", (scenarios,), options, file)
    conditions = _list(plan.get("where", []))
    if len(conditions) > _MOST_CONDITIONS:
        problem = f"has {len(conditions):,} conditions; at most {_MOST_CONDITIONS} are allowed."
        raise SpecError.at(file, "where", problem)
    for condition in conditions:
        if isinstance(condition, str):
            yield Step("where", (condition,), {}, file)
        elif isinstance(condition, dict) and condition.keys() == _NARROWING:
            text, narrows = _text(file, "where.sql", condition["sql"]), condition["narrows"]
            if not isinstance(narrows, bool):
                raise SpecError.at(file, "where.narrows", f"must be true or false, not {narrows!r}.")
            yield Step("where", (Sql(text, narrows),), {}, file)
        else:
            equals = _mapping(file, "where", condition, "column: value, or SQL as text")
            yield Step("where", (), {key: _equal(file, f"where.{key}", value) for key, value in equals.items()}, file)
    if "sample" in plan and "limit" in plan:
        raise SpecError.at(file, "limit", "sample is set too. Write one of the two.")
    if "sample" in plan:
        sample = {"n": plan["sample"]} if isinstance(plan["sample"], int) else plan["sample"]
        sample = _mapping(file, "sample", sample, "n: 50, seed: 0")
        _check_keys(file, "sample", sample, ("n", "seed", "order", "like"))
        sample_options: dict[str, Any] = {"n": _whole(file, "sample.n", sample.get("n"))}
        if "seed" in sample:
            sample_options["seed"] = _whole(file, "sample.seed", sample["seed"])
        if "order" in sample:
            sample_options["order"] = _text(file, "sample.order", sample["order"])
        if "like" in sample:
            sample_options["like"] = _mapping(file, "sample.like", sample["like"], "gsm8k: [id1, id2]")
        yield Step("sample", (), sample_options, file)
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


# The arguments of vLLM that load no code.
_PLAIN_VLLM = frozenset(
    {"model", "revision", "dtype", "max_model_len", "tensor_parallel_size", "pipeline_parallel_size", "seed"}
    | {"gpu_memory_utilization", "quantization", "enforce_eager", "max_num_seqs", "swap_space", "cpu_offload_gb"}
    | {"kv_cache_dtype", "enable_prefix_caching", "max_num_batched_tokens", "enable_chunked_prefill"}
)
_MOST_FILES = 20


def foreign_effects(content: object) -> list[str]:
    """Return what the texts of a file would do beyond reading data and sending prompts, as phrases; [] if nothing.

    A file can run the Python code of a checkpoint or a task file, and send an environment variable to a server of its
    choice as the key. The key of a provider is sent to the provider, and any key to a server of this machine.

    >>> foreign_effects({"generate": "http(url='http://example.org/v1', name='m', key_env='MY_KEY')"})
    ['send the environment variable MY_KEY to example.org']
    """
    effects: dict[str, None] = {}
    seen: dict[int, object] = {}
    stack = [content]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            effects |= dict.fromkeys(_text_effects(value))
        # YAML's anchors can make rings
        elif isinstance(value, Mapping | list | tuple) and id(value) not in seen:
            seen[id(value)] = value
            inner = [*value.keys(), *value.values()] if isinstance(value, Mapping) else list(value)
            stack += reversed(inner)
    return list(effects)


def refuse_effects(file: object, effects: Sequence[str], call: str) -> None:
    """Raise if a file that isn't trusted has effects.

    Raises:
        PlanError: It has. The message lists them, and the call that trusts the file.
    """
    if effects:
        raise PlanError(
            f"{file} would {show_invisible('; '.join(effects))}. If you trust the file, write {call}, or --trust-files "
            "on the command line."
        )


def _text_effects(text: str) -> list[str]:
    scenario = re.match(r"inspect:([^@(]*\.py)\b", text.strip())
    if scenario is not None:
        return [f"run the Python file {scenario[1]}"]
    if re.search(r"trust_remote_code|key_env|vllm\s*\(", text) is None:
        return []
    try:
        call = Call.parse(text)
    except ArgumentError:
        return ["make an invalid call with trust_remote_code, key_env or vllm"]
    return _call_effects(call)


def _call_effects(call: Call) -> list[str]:
    arguments = dict(call.arguments)
    effects = [effect for value in arguments.values() for effect in foreign_effects(thawed(value))]
    model = arguments.get("model", "")
    if arguments.get("trust_remote_code"):
        effects.append(f"run the Python code of the checkpoint {model}{_python_files(str(model))}")
    key_env = arguments.get("key_env")
    if key_env is not None:
        named_model = named(str(model))
        url = str(arguments.get("url") or (named_model[0].url if named_model else model))
        if not is_loopback(url) and key_variable(url, None) != key_env:
            effects.append(f"send the environment variable {key_env} to {urlsplit(url).hostname or url}")
    if call.name == "vllm":
        effects += [
            f"pass {name}={thawed(value)!r} to vLLM"
            for name, value in call.arguments
            if name not in _PLAIN_VLLM and name != "trust_remote_code"
        ]
    return effects


def _python_files(model: str) -> str:
    """Return the Python files of a checkpoint folder, with their sizes, in brackets; "" for a name on the Hub."""
    folder = Path(model)
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else []
    if not files:
        return ""
    listed = [f"{file.relative_to(folder)} ({file.stat().st_size:,} bytes)" for file in files[:_MOST_FILES]]
    more = f", … ({len(files)} in all)" if len(files) > _MOST_FILES else ""
    return f" ({', '.join(listed)}{more})"


def _spec_path(file: str, name: str) -> str:
    """Return a spec's path; a path that exists only relative to the plan's folder is resolved against that folder."""
    near = Path(file).parent / name
    return str(near) if name.endswith((".yaml", ".yml")) and not Path(name).exists() and near.is_file() else name


# -- out ---------------------------------------------------------------------------------------------------------------


def _dump(value: Any) -> str:
    """Return the value as YAML; texts of more than plain characters are quoted, as other styles change some of them."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """A dumper whose representers are not shared."""

    def represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')

    Dumper.add_representer(str, represent)
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)


def _scenario(spec: ScenarioSpec) -> str | None:
    """Return the name that `find_scenarios` resolves to this spec, else its path; None for a frame."""
    if isinstance(spec.frame, DeferredFrame):
        return spec.frame.name
    if spec.frame is not None:
        return None
    name = Path(spec.origin).stem
    return name if str(scenario_file(name)) == spec.origin else spec.origin


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
    """Return a folder or name as written, a mock model as a call; None for a model that is or holds an object."""
    source = model.source
    if isinstance(source, Call) and model.version is None and "content" not in dict(source.arguments):
        return str(source) if source.arguments else f"{source}()"
    return source if isinstance(source, str) else None


def _metric(metric: str | Metric) -> str | None:
    """Return a metric's name, or a judge as a call; None for a metric that holds an object."""
    if isinstance(metric, str):
        return metric
    judge = metric.function
    return judge.text or None if isinstance(judge, Judge) else None


def _plain(value: Any) -> Any:
    """Return the value in built-in types: YAML doesn't support subclasses, such as NumPy's floats."""
    if isinstance(value, Mapping):
        return {_plain(key): _plain(element) for key, element in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(element) for element in value]
    for kind in (str, bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    if value is None or isinstance(value, datetime.date):
        return value
    raise PlanError(f"{value!r} is of type {type(value).__name__}, which YAML can't contain.")


# -- in ----------------------------------------------------------------------------------------------------------------


def read_plan(source: str | Path | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name of a YAML text, file or content in errors, and its mapping.

    Raises:
        SpecError: The file doesn't exist, or isn't YAML.
    """
    if isinstance(source, Path):
        return str(source), _mapping(str(source), "", read_yaml(source, str(source)), "scenario: NAME")
    if isinstance(source, Mapping):
        return "plan", _mapping("plan", "", source, "scenario: NAME")
    if not isinstance(source, str):
        raise SpecError.at("plan", "", f"must be a text in YAML or the path of a file, not {type(source).__name__}.")
    if source.strip().endswith((".yaml", ".yml")) and ":" not in source:
        return read_plan(Path(source.strip()))
    return "plan", _mapping("plan", "", parse_yaml(source, "plan"), "scenario: NAME")


def _perturb(file: str, value: Any) -> Step:
    if not isinstance(value, Mapping):
        return Step("perturb", (_texts(file, "perturb", value),), {}, file)
    value = _mapping(file, "perturb", value, "variants: [typos], seeds: 1")
    _check_keys(file, "perturb", value, ("variants", "seeds"))
    seeds = {"seeds": _whole(file, "perturb.seeds", value["seeds"])} if "seeds" in value else {}
    return Step("perturb", (_texts(file, "perturb.variants", value.get("variants")),), seeds, file)


def _generate(file: str, value: Any) -> Step:
    value = _mapping(file, "generate", value if isinstance(value, Mapping) else {"model": value}, "model: org/name")
    close = [] if "model" in value else near("model", value, n=1)
    if close:
        raise SpecError.unknown_key(file, f"generate.{close[0]}", ("model", "n", *DECODING))
    model = value.pop("model", None)
    if isinstance(model, Mapping):
        model = {name: _text(file, f"generate.model.{name}", text) for name, text in model.items()}
    else:
        model = _texts(file, "generate.model", model)
    n = {"n": _whole(file, "generate.n", value.pop("n"))} if "n" in value else {}
    # a schema is a mapping; `Plan.generate` checks it
    schema = {name: value.pop(name) for name in ("json_schema",) if name in value}
    return Step("generate", (model,), {**n, **_values(file, "generate", value), **schema}, file)


def _equal(file: str, key: str, value: Any) -> Any:
    """Return the value of a condition: a value, a list of values, or {between: [low, high]}."""
    if isinstance(value, Mapping):
        ends = value.get("between")
        if set(value) != {"between"} or not isinstance(ends, list) or len(ends) != 2:
            raise SpecError.at(file, key, f"must be a value, a list of values, or {{between: [low, high]}}: {value!r}.")
        return Between("", *ends)
    return value


def _check_keys(file: str, key: str, mapping: Mapping[str, Any], allowed: Sequence[str]) -> None:
    for name in mapping:
        if name not in allowed:
            raise SpecError.unknown_key(file, f"{key}.{name}" if key else name, allowed)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _mapping(file: str, key: str, value: Any, example: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise SpecError.at(file, key, f"must be a mapping, such as {{{example}}}, not {value!r}.")
    return dict(value)


def _values(file: str, key: str, mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return the mapping; raise if a value isn't a plain value, a list or mapping of values, or a list of lists."""
    for name, value in mapping.items():
        named = isinstance(value, Mapping) and all(isinstance(label, str) for label in value)
        if not (all(_is_value(element, 2) for element in value.values()) if named else _is_value(value, depth=2)):
            raise SpecError.at(
                file, f"{key}.{name}", f"must be text, a number, true, false, a list, or {{name: value}}: {value!r}."
            )
    return dict(mapping)


def _is_value(value: Any, depth: int) -> bool:
    if isinstance(value, list):
        return depth > 0 and all(_is_value(element, depth - 1) for element in value)
    return value is None or isinstance(value, str | int | float)


def _text(file: str, key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise SpecError.at(file, key, f"must be text, not {value!r}.")
    return value


def _texts(file: str, key: str, value: Any) -> str | list[str]:
    """Return the name, or the list of names."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        problem = "is missing." if value is None else f"must be a name or a list of names, not {value!r}."
        raise SpecError.at(file, key, problem)
    if len(value) > _MOST_NAMES:
        raise SpecError.at(file, key, f"has {len(value):,} names; at most {_MOST_NAMES:,} are allowed.")
    return value


def _whole(file: str, key: str, value: Any) -> int:
    if not is_integer(value):
        problem = "is missing." if value is None else f"must be an integer, not {value!r}."
        raise SpecError.at(file, key, problem)
    return value
