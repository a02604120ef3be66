"""The decorator that registers a metric, metrics as values, their names and calls, and the table of all metrics."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import polars as pl

from helmframe._core.registry import Registry
from helmframe._core.specs import Call, Expression, Pairs, check_length, frozen
from helmframe._schema import COMPLETIONS, READ, ROW_COLUMNS
from helmframe.errors import ArgumentError, CapabilityError, UnknownNameError
from helmframe.metrics.judge import Judge
from helmframe.metrics.row_functions import Constant, column_parameters, group_expression, row_expression

LEVELS = ("output", "instance", "set")
OUTPUTS = "outputs"  # a metric with this need needs k outputs of each request
BASE = "metric"  # the argument with the metric whose scores an instance metric joins


@dataclass(frozen=True)
class Metric:
    """A metric: a registered one with its arguments, or the user's own expression or function.

    Attributes:
        name: The name in tables, with arguments.
        function: The function that returns the expression or the score.
        level: The unit of one value: a completion ("output"), all completions of an instance ("instance"), or any group
            of instances ("set").
        unit: "fraction", or the name of the unit.
        higher_is_better: The direction; None if there is none.
        low: The smallest value; None if unbounded or unknown.
        high: The largest value; None if unbounded or unknown.
        source: The source of the definition.
        needs: The columns that a value requires.
        helm: HELM's names of the metric.
        lm_eval: lm-eval's names of the metric.
        packages: The packages that the metric needs.
        no_value: The reason in tables for a missing value.
        arguments: The arguments of the call.
        k: The smallest number of outputs of each request that the metric needs.
        registered: Whether a name in a plan is enough to find the metric.
        check: Raises if computing the metric is impossible here.
        smooth: Whether intervals are by jackknife, not by bootstrap.
        correctness: Whether 1 means a correct output and 0 a wrong one.
        partial: Whether one usable output is enough for a value.

    >>> METRICS["exact_match"].unit, METRICS["exact_match"].higher_is_better
    ('fraction', True)
    """

    name: str
    function: Callable[..., Any]
    level: str = "output"
    unit: str = ""
    higher_is_better: bool | None = None
    low: float | None = None
    high: float | None = None
    source: str = ""
    needs: tuple[str, ...] = ()
    helm: tuple[str, ...] = ()
    lm_eval: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    no_value: str = "no value"
    arguments: tuple[tuple[str, Any], ...] = ()
    k: int = 0
    registered: bool = True
    check: Callable[..., None] | None = None
    smooth: bool = True
    correctness: bool = False
    partial: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that a plain function takes; empty for a function that returns an expression."""
        return column_parameters(self.function)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Return the arguments that a call may have, with their defaults."""
        parameters = inspect.signature(self.function).parameters
        return {name: parameter.default for name, parameter in parameters.items() if name not in self.columns}

    @property
    def base(self) -> "Metric | None":
        """Return the metric whose scores this metric joins: `exact_match` for `maj@8`."""
        name = dict(self.arguments).get(BASE, self.parameters.get(BASE))
        if name is None:
            return None
        base = _resolve(str(name))
        if base.level != "output":
            raise ArgumentError(f"{self.name}: metric={name!r} has level {base.level!r}, and must have level 'output'.")
        shared = tuple((key, value) for key, value in self.arguments if key in base.parameters)
        if not shared:
            return base
        # two metrics may pass different arguments, so their columns need different names
        return replace(base, name=f"{base.name} of {self.name}", arguments=(*base.arguments, *shared))

    def check_usable(self) -> None:
        """Raise if computing the metric is impossible here, or if an argument is missing.

        >>> METRICS["exact_match"].check_usable()
        """
        if self.check is not None:
            names = inspect.signature(self.check).parameters
            self.check(**{key: value for key, value in self.arguments if key in names})

    def expression(self) -> pl.Expr:
        """Return the metric's expression: numbers, or structs of score and reason for a plain function.

        Raises:
            ArgumentError: The function does not return an expression.

        >>> chars = Metric("chars", lambda: pl.col("output").str.len_chars())
        >>> pl.DataFrame({"output": ["Paris"]}).select(chars.expression()).item()
        5
        """
        arguments = dict(self.arguments)
        if self.columns:
            lift = group_expression if self.level == "set" else row_expression
            return lift(self.function, self.columns, arguments)
        expression: object = self.function(**arguments)
        if not isinstance(expression, pl.Expr):
            raise ArgumentError(
                f"Metric {self.name!r} returned {expression!r}. It must return a Polars expression over `output`, or "
                "take the columns that it reads as parameters: def chars(output): return len(output)."
            )
        return expression

    def __str__(self) -> str:
        return self.name


METRICS: Registry[Metric] = Registry("metric", "Add one with @hf.metric.", packages=["helmframe.metrics"])


def metric(
    name: str,
    *,
    level: str = "output",
    unit: str = "fraction",
    higher_is_better: bool | None = True,
    range: tuple[float | None, float | None] | None = None,
    source: str = "",
    needs: Sequence[str] = (),
    helm: str | Sequence[str] = (),
    lm_eval: str | Sequence[str] = (),
    packages: Sequence[str] = (),
    no_value: str = "no value",
    check: Callable[..., None] | None = None,
    smooth: bool = True,
    correctness: bool = False,
    partial: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as a metric, and return the function unchanged.

    The function returns a Polars expression over `hf.schema("read")` and the scenario's own columns. Alternatively, it
    is a plain function whose positional parameters are columns. A plain function is called once per row (level
    "output"), with lists of an instance's values ("instance"), or with whole columns as `pl.Series` ("set"). Per row,
    it may return a pair of the number and the reason for it, which is stored in the column `reason` of scores.
    Parameters that are keyword-only or have a default are arguments of the metric: `"iou_set_match(separator=',')"`.

    A metric that reads `gold`, one correct reference, is computed for each correct reference. The best value counts.

    Metrics of level "output" have one value per row, which is null for a null output. Each is also available as
    `name@k`, the best of an instance's first k outputs. Metrics of level "instance" aggregate the rows of one instance,
    in the order of `output_index`. If the name ends in `@k` or `^k`, the function gets the argument `k`. An argument
    `metric` adds the column `score`, which contains the scores of that metric. Metrics of level "set" aggregate the
    rows of any group.

    Args:
        name: The name in plans and tables.
        level: "output", "instance" or "set".
        unit: "fraction" for values between 0 and 1, which get intervals for fractions; or the name of the unit.
        higher_is_better: The direction, for worst cases and comparisons; None if there is none.
        range: The smallest and the largest value. The default is 0 and 1 for fractions.
        source: The source of the definition.
        needs: The columns that a value requires. If one of them is null, the score is null and `reason` contains
            the column's name. "outputs" stands for k outputs of each request.
        helm: HELM's names of the metric.
        lm_eval: lm-eval's names of the metric.
        packages: The packages that the metric needs besides helmframe's own (`helmframe[metrics]`), checked when a plan
            is built.
        no_value: The text in the column `reason` for a value that is missing although no needed column is null.
        check: A function that raises if computing the metric is impossible here. It is called before the first request
            and before scoring, with those arguments of the metric that it has as parameters.
        smooth: False for a set metric that puts rows into bins or quantiles. Its intervals are by bootstrap, because
            skipping one row moves other rows; all other intervals are by jackknife.
        correctness: True if a score of 0 means a wrong output and 1 a correct one. `Results.wrong()` lists the wrong
            outputs. Not needed for a Boolean expression that is better when higher.
        partial: True if a metric of level "instance" has a value as soon as one output has what it needs. By default
            all outputs must have it.

    Raises:
        ArgumentError: The name is missing or taken, or the level is invalid.

    >>> @metric("exclamations", unit="marks", range=(0, None), higher_is_better=None)
    ... def exclamations(output: str) -> int:
    ...     return output.count("!")
    >>> name_or_metric("exclamations")
    'exclamations'
    >>> METRICS.remove("exclamations")
    """
    if not isinstance(name, str):
        raise ArgumentError.no_name("hf.metric", name)
    if level not in LEVELS:
        raise ArgumentError(f"@metric(level={level!r}): level must be 'output', 'instance' or 'set'.")
    check_free_of_columns(name)
    low, high = range or ((0.0, 1.0) if unit == "fraction" else (None, None))

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        entry = Metric(
            name,
            function,
            level,
            unit,
            higher_is_better,
            low,
            high,
            source=source,
            needs=tuple(needs),
            helm=_names(helm),
            lm_eval=_names(lm_eval),
            packages=tuple(packages),
            no_value=no_value,
            check=check,
            smooth=smooth,
            correctness=correctness,
            partial=partial,
        )
        METRICS.add(name, entry)
        return function

    return register


def name_or_metric(value: object) -> str | Metric:
    """Return a plan's value for a metric: its validated name, or the metric if it has no registered name.

    Args:
        value: A name, a call (`"iou_set_match(separator=',')"`), a registered function, your own function whose
            parameters are columns, or a Polars expression with a name.

    Raises:
        UnknownNameError: No metric has that name.
        ArgumentError: The metric has no such argument, or the value isn't a metric.

    >>> name_or_metric("maj@8(metric='f1_score')")
    "maj@8(metric='f1_score')"
    """
    if isinstance(value, str | Call):
        return _resolve(str(value)).name
    if isinstance(value, Metric):
        return value.name if value.registered else value
    if isinstance(value, pl.Expr):
        return _expression_metric(value)
    if callable(value):
        for name in METRICS:
            if METRICS[name].function is value:
                return name
        return _function_metric(value)
    raise ArgumentError(
        f"metrics({value!r}): a metric must be a name, a Polars expression with a name "
        "(pl.col('output').str.len_chars().alias('chars')), or a function whose parameters are column names."
    )


def with_objects(name: str, arguments: Mapping[str, Any], shown: str) -> Metric:
    """Return a registered metric with arguments that are objects, such as functions. A plan with it has no YAML form.

    Args:
        name: The registered name.
        arguments: Hashable values by argument.
        shown: The name in tables.

    Raises:
        ArgumentError: `shown` is the name of another metric, or of a column.
    """
    if shown != name:
        _free(shown)
    return replace(METRICS[name], name=shown, arguments=tuple(sorted(arguments.items())), registered=False)


def flatten_metrics(values: Sequence[object]) -> tuple[str | Metric, ...]:
    """Return the plan's values for metrics that are passed one by one or in lists.

    >>> flatten_metrics(["exact_match", ["f1_score", "exact_match@5"]])
    ('exact_match', 'f1_score', 'exact_match@5')
    """
    return tuple(
        name_or_metric(element)
        for value in values
        for element in (value if isinstance(value, Sequence) and not isinstance(value, str) else [value])
    )


def resolve_metrics(names: Sequence[str | Metric]) -> list[Metric]:
    """Return the metrics with these names. `exact_match@5` is the best of an instance's first five outputs.

    Raises:
        UnknownNameError: No metric has that name.
        ArgumentError: The metric has no such argument.
    """
    return [name if isinstance(name, Metric) else _resolve(name) for name in names]


def is_binary(metric: Metric) -> bool:
    """Return whether the metric's values are 0 or 1 by the type of its expression; False if the type is unknown."""
    if metric.level != "output":
        return False
    try:
        return _is_boolean(metric)
    except TypeError:  # an argument without a hash
        return _is_boolean.__wrapped__(metric)


def check_number(metric: Metric, columns: Mapping[str, pl.DataType]) -> None:
    """Check that the values of an expression over these columns are numbers or Booleans, if the type is known.

    Raises:
        ArgumentError: They are neither.
    """
    dtype = _dtype(metric, columns)
    if dtype is None or dtype.is_numeric() or dtype in (pl.Boolean, pl.Null):
        return
    raise ArgumentError(
        f"Metric {metric.name!r} returns {dtype}, but a score must be a number or a Boolean. Compare the value, "
        f"measure it or convert it: (pl.col('output') == 'yes').alias({metric.name!r}), ….str.len_chars(), "
        "….cast(pl.Float64, strict=False)."
    )


def manifest_entry(metric: Metric) -> dict[str, Any]:
    """Return the metric's entry in a manifest."""
    binary = is_binary(metric)
    entry: dict[str, Any] = {
        "level": metric.level,
        "unit": metric.unit,
        "higher_is_better": metric.higher_is_better,
        "range": [0.0, 1.0] if binary else [metric.low, metric.high],
        "correctness": metric.correctness or (binary and metric.higher_is_better is True),
    }
    if isinstance(metric.function, Judge):
        entry["judge"] = metric.function.manifest_entry()
    classifier = dict(metric.arguments).get("classifier")
    return entry | ({} if classifier is None else {"classifier": str(classifier)})


# -- private ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _is_boolean(metric: Metric) -> bool:
    return _dtype(metric, READ.schema) == pl.Boolean


def _dtype(metric: Metric, columns: Mapping[str, pl.DataType]) -> pl.DataType | None:
    """Return the type of the metric's values over these columns; None if it is unknown."""
    golds = {name.replace("_output", "_gold"): dtype for name, dtype in READ.schema.items() if name.endswith("_output")}
    try:
        frame = pl.LazyFrame(schema={**golds, **columns})
        return frame.select(value=metric.expression()).collect_schema()["value"]
    except (ArgumentError, pl.exceptions.PolarsError):
        return None


def _names(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _resolve(text: str) -> Metric:
    """Return the metric for a name or call."""
    name, call, arguments = _parse(text)
    at = re.fullmatch(r"(.+?)([@^])([^@^]*)", name)
    if name in METRICS or not at:
        return _with_arguments(METRICS[_alias(name)], arguments, name if name in METRICS else _alias(name))
    stem, sign, k = at.groups()
    if not re.fullmatch(r"[1-9]\d*", k) or set("@^") & set(stem):
        templates = [registered for registered in METRICS if registered.endswith(("@k", "^k"))]
        raise UnknownNameError.among("metric", text, templates, hint="name@k needs a number: 'exact_match@5'.")
    template = _alias(f"{stem}{sign}k")
    if template in METRICS:
        entry = METRICS[template]
        outputs = int(k) if OUTPUTS in entry.needs else 0
        return replace(
            _with_arguments(entry, (*arguments, ("k", int(k))), name), name=template[:-1] + k + call, k=outputs
        )
    if sign == "^":
        raise UnknownNameError.among("metric", text, METRICS, hint=METRICS.hint)
    base = _with_arguments(METRICS[_alias(stem)], arguments, stem)
    if base.level != "output":
        raise ArgumentError(
            f"Metric {text!r}: {stem} has level {base.level!r}. Only metrics of level 'output' support @k."
        )
    return Metric(
        f"{_alias(stem)}@{k}{call}", best, "instance", base.unit, base.higher_is_better, base.low, base.high,
        base.source, (OUTPUTS, *base.needs), packages=base.packages, no_value=base.no_value, check=base.check,
        arguments=frozen({"k": int(k), BASE: base.name}), k=int(k),
        correctness=bool(manifest_entry(base)["correctness"]),
    )  # fmt: skip


def best(*, k: int, metric: str) -> pl.Expr:
    """Return the best of the first k scores under `metric`; null if one is missing."""
    first = pl.col("score").head(k)
    value = first.min() if _resolve(metric).higher_is_better is False else first.max()
    return pl.when((first.len() == k) & first.is_not_null().all()).then(value)


def _parse(text: str) -> tuple[str, str, Pairs]:
    """Return the name, the normalised call and the arguments of a text such as `iou_set_match(separator=',')`."""
    check_length(text)
    shape = re.fullmatch(r"([\w.\-@^]+)\s*(\(.*\))?", text.strip(), re.DOTALL)
    if not shape:
        raise ArgumentError(f"Metric {text!r} is not a name or a call. Write name or name(key=value).")
    call = Call.parse(f"_{shape[2]}") if shape[2] and shape[2].strip("() ") else Call("_")
    return shape[1], str(call)[1:], call.arguments


def _with_arguments(entry: Metric, arguments: Pairs, shown: str) -> Metric:
    lacking = [package for package in entry.packages if find_spec(package) is None]
    if lacking:
        raise CapabilityError(f"Metric {shown!r} needs {' and '.join(lacking)}: pip install 'helmframe[metrics]'.")
    for name, _ in arguments:
        if name not in entry.parameters:
            raise ArgumentError.unknown_argument(f"{shown}()", name, entry.parameters)
    bare = [(name, value) for name, value in arguments if name != "k" or not entry.name.endswith(("@k", "^k"))]
    name = str(Call(entry.name, tuple(bare)))
    resolved = replace(entry, name=name, arguments=arguments)
    direction = dict(arguments).get("higher_is_better")  # of a metric whose direction depends on the task
    if direction is not None:
        resolved = replace(resolved, higher_is_better=bool(direction))
    if inspect.Parameter.empty not in {value for key, value in entry.parameters.items() if key not in dict(arguments)}:
        resolved.base  # noqa: B018 - an unknown name raises now
        if arguments:
            resolved.expression()  # an invalid value raises now
        return resolved
    missing = [key for key, value in entry.parameters.items() if value is inspect.Parameter.empty]
    example = shown[:-1] + "5" if shown.endswith(("@k", "^k")) else f"{shown}({'=…, '.join(missing)}=…)"
    raise ArgumentError(f"Metric {shown!r} needs {', '.join(missing)}. Write {example!r}.")


def _alias(name: str) -> str:
    """Return the registered name for a name of HELM's or lm-eval's that only one metric has; else the name itself."""
    if name in METRICS:
        return name
    for tool in ("helm", "lm_eval"):
        names = [registered for registered in METRICS if name in getattr(METRICS[registered], tool)]
        if len(names) == 1:
            return names[0]
    return name


def _expression_metric(expression: pl.Expr) -> Metric:
    try:
        name = expression.meta.output_name()
    except pl.exceptions.PolarsError:
        name = ""
    if (
        not expression.meta.has_multiple_outputs()
        and name
        and name not in expression.meta.root_names()
        and name != "literal"
    ):
        metric = Metric(_free(name), Constant(Expression.of(expression)), registered=False)
        check_number(metric, READ.schema)
        return metric
    raise ArgumentError(f"metrics({expression}): the expression needs a name of its own: ….alias('chars').")


def _function_metric(function: Callable[..., Any]) -> Metric:
    name = getattr(function, "__name__", "")
    if not name.isidentifier():
        raise ArgumentError(f"metrics({function!r}): the function needs a name. Define it with def.")
    if not column_parameters(function):
        raise ArgumentError(
            f"metrics({name}): the parameters must name the columns that the function reads: "
            f"def {name}(output, gold): …"
        )
    # a bool gets the intervals of fractions; the range of a number is unknown
    yes_or_no = inspect.signature(function).return_annotation in (bool, "bool")
    kind: dict[str, Any] = (
        {"unit": "fraction", "higher_is_better": True, "low": 0.0, "high": 1.0, "correctness": True}
        if yes_or_no
        else {}
    )
    return Metric(_free(name), function, **kind, registered=False)


def _free(name: str) -> str:
    if name in METRICS:
        raise ArgumentError(f"A metric named {name!r} already exists. Choose another name.")
    check_free_of_columns(name)
    return name


def check_free_of_columns(name: str) -> None:
    """Raise if the name is a column of `Results.rows()`, in which each metric is a column too."""
    if name in COMPLETIONS.key or name in ROW_COLUMNS:
        raise ArgumentError(
            f"Metric name {name!r} isn't allowed, because tables have a column of that name. Choose another name."
        )


def list_metrics() -> pl.DataFrame:
    """Return all metrics, one row each: their names here, in HELM and in lm-eval, and the meaning of their values.

    Metrics of level "output" are also available as `name@k`, the best of k outputs.

    Returns:
        name; level; unit; direction of better values ("higher", "lower" or "neither"); low and high, the range; needs,
        the needed columns; arguments with defaults; helm and lm_eval, the names there; source; what, the first sentence
        of the description.

    >>> list_metrics().filter(name="exact_match").select("level", "unit", "direction", "low", "high").row(0)
    ('output', 'fraction', 'higher', 0.0, 1.0)
    """
    return pl.DataFrame(
        [_row(METRICS[name]) for name in METRICS], schema_overrides={"low": pl.Float64, "high": pl.Float64}
    )


def _row(metric: Metric) -> dict[str, Any]:
    direction = {True: "higher", False: "lower", None: "neither"}[metric.higher_is_better]
    arguments = ", ".join(_argument(name, value) for name, value in metric.parameters.items())
    what = " ".join((inspect.getdoc(metric.function) or "").split("\n\n")[0].split())
    return {
        "name": metric.name, "level": metric.level, "unit": metric.unit, "direction": direction, "low": metric.low,
        "high": metric.high, "needs": ", ".join(metric.needs), "arguments": arguments, "helm": ", ".join(metric.helm),
        "lm_eval": ", ".join(metric.lm_eval), "source": metric.source, "what": what,
    }  # fmt: skip


def _argument(name: str, value: Any) -> str:
    return name if value is inspect.Parameter.empty else f"{name}={value!r}"
