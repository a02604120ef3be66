"""Verdicts on values with intervals: pass, fail, or undecided."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
import polars as pl

from helmframe._core.registry import render
from helmframe.errors import ArgumentError, NotComparableError
from helmframe.stats.failures import ERRORS_ALLOWED, check_errors
from helmframe.stats.intervals import clopper_pearson
from helmframe.stats.power import POWER
from helmframe.stats.sequential import OWN_INSTANCES, POPULATIONS

PASS, FAIL, UNDECIDED = "pass", "fail", "undecided"
# 2 is the exit status of usage errors
EXIT_CODES = {PASS: 0, FAIL: 1, UNDECIDED: 3}
# Closer to the line than this share of the interval, no useful number of instances would decide.
_ON_THE_LINE = 1e-3


@dataclass(frozen=True, repr=False)
class Gate:
    """The result of `gate`: one verdict, and its rows.

    `verdict` is "fail" if a row fails, else "undecided" if a row is undecided, else "pass". `exit_code` is the exit
    status of `helmframe gate` for it. `criterion` describes the condition, and `table` has verdict and n_needed of
    every row.

    >>> import helmframe as hf
    >>> results = hf.scenario("sampler").where(subject="music").generate(hf.models.oracle()).score()
    >>> result = results.gate(at_least=0.7)
    >>> result.verdict, result.exit_code
    ('pass', 0)
    """

    table: pl.DataFrame
    criterion: str
    verdict: str

    @property
    def exit_code(self) -> int:
        """Return 0 for pass, 1 for fail, 3 for undecided."""
        return EXIT_CODES[self.verdict]

    def __repr__(self) -> str:
        return str(render(self, "text"))

    def _repr_html_(self) -> str:
        return str(render(self, "html"))


def gate(
    table: pl.DataFrame,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    margin: float | None = None,
    equivalent: float | None = None,
    higher_is_better: Mapping[str, bool] | None = None,
    strict: bool = False,
    errors: str = "refuse",
    ci: float = 0.95,
    population: str = "population",
) -> Gate:
    """Check every row's interval against a line: at least, at most, not worse by more than a margin, or equivalent.

    An interval on the good side of the line passes, and one on the other side fails. An interval that includes the line
    is undecided; n_needed instances would decide it with power 80 % if the true value is the estimate. A row exactly on
    the line fails in at most (1 − ci)/2 of runs, 2.5 %, and a better one less often. Near 0 and 1, Wilson's interval
    misses more often on one side, so its rows get the exact Clopper–Pearson interval at the same effective number of
    instances. For comparisons the joint intervals count, with a continuity correction of half an instance for
    fractions, so this holds for all rows together. For a table with several rows, compute its intervals at
    ci = 1 − 0.05 / rows.

    With `equivalent`, a row passes if its interval at 2 · ci − 1 (90 %) is within ±margin: two one-sided tests at 5 %.
    All rows must pass, so the chance of passing with a row outside is at most 5 %, without a correction for their
    number.

    >>> from helmframe.stats.table import table
    >>> scores = pl.DataFrame({"instance_id": range(10), "score": [1, 1, 1, 0, 1, 1, 0, 1, 1, 1]})
    >>> result = gate(table(scores), at_least=0.7)
    >>> result.verdict, result.exit_code, result.table["n_needed"].item()
    ('undecided', 3, 260)

    Args:
        table: A table of `hf.stats.table` (with `at_least` or `at_most`), or of `hf.stats.compare` (with `margin`).
        at_least: The smallest value that passes.
        at_most: The largest value that passes, for metrics that are better when lower.
        margin: How much worse side a may be than side b; at least 0.
        equivalent: How much sides a and b may differ, to either side, for a table of `hf.stats.compare` with
            `equivalence=…`; more than 0.
        higher_is_better: A dict of metric → direction, for a comparison; default True.
        strict: Whether "undecided" counts as "fail".
        errors: The action if more than 1 % of a row's requests failed: "refuse", or "drop" (they do not count). The
            failures of a comparison are already treated. "worst" needs the scores: `results.gate(errors="worst")`.
        ci: The level of the table's intervals.
        population: "population" (that the instances are sampled from) or "benchmark" (the table's own instances, whose
            mean is known once all of them have run), as in `results.gate`.

    Returns:
        A `Gate`; its table adds line, low, high (of the value, or of how much better a is), verdict, n_needed (null if
        the row is decided, or the value is on the line).

    Raises:
        ArgumentError: If not exactly one of at_least, at_most, margin and equivalent is set, it isn't a finite number
            or the margin is negative, or the table lacks columns or rows; or the table's intervals are about another
            population.
        NotComparableError: If more than 1 % of the requests of a row failed, with "refuse"; or any of them, with
            `population="benchmark"`.

    Source: Piaggio et al. 2012, JAMA 308:2594 (non-inferiority by an interval); Bloom 1995, Evaluation Review 19:547
        (n_needed: the gap to the line as the minimum detectable effect).
    """
    if [at_least, at_most, margin, equivalent].count(None) != 3:
        raise ArgumentError(
            "gate(): exactly one of at_least, at_most, margin and equivalent must be set. Write at_least=0.3, "
            "at_most=0.1, margin=0.02, or equivalent=0.02."
        )
    if not 0 < ci < 1:
        raise ArgumentError(f"ci={ci!r}: ci must be between 0 and 1, such as 0.95.")
    check_errors(errors)
    check_population(population)
    alone = population == "benchmark"
    _check_intervals(table, alone=alone)
    if equivalent is not None:
        return _gate_of_equivalence(table, equivalent, strict=strict, errors=errors, ci=ci, alone=alone)
    if margin is not None:
        if not (margin >= 0 and isfinite(margin)):
            raise ArgumentError(f"gate(margin={margin!r}): margin must be a number ≥ 0, such as 0.02.")
        _check_columns(table, "hf.stats.compare", ["metric", "difference", "joint_low", "joint_high", "n"])
        if alone:
            check_known(table, errors)
            table = _known(table, "difference", ("joint_low", "joint_high"))
        rows, line = _gains(table, higher_is_better or {}), -margin
    else:
        threshold = at_most if at_least is None else at_least
        assert threshold is not None
        if not isfinite(threshold):
            argument = "at_most" if at_least is None else "at_least"
            raise ArgumentError(f"gate({argument}={threshold!r}): {argument} must be a finite number, such as 0.3.")
        _check_columns(table, "hf.stats.table", ["metric", "value", "ci_low", "ci_high", "n"])
        _check_failures(table, errors)
        if alone:
            check_known(table, errors)
        table = _known(table, "value", ("ci_low", "ci_high")) if alone else _with_exact_ends(table, ci)
        rows, line = table.with_columns(got="value", low="ci_low", high="ci_high"), float(threshold)
        if at_least is None:
            rows, line = _negate(rows), -line
    judged = rows.with_columns(
        line=pl.lit(float(line)), verdict=_verdict(line, strict=strict), n_needed=_instances_needed(line, ci)
    )
    if at_most is not None:
        judged = _negate(judged)
    judged = judged.drop("got")
    criterion = (
        f"not worse by more than {margin:g}" if margin is not None
        else f"at least {at_least:g}" if at_least is not None
        else f"at most {at_most:g}"
    )  # fmt: skip
    return _gate_of(judged, criterion, strict=strict, alone=alone)


def _gate_of(judged: pl.DataFrame, criterion: str, *, strict: bool, alone: bool) -> Gate:
    """Return the gate of rows with their verdicts."""
    verdicts = set(judged["verdict"])
    verdict = next(outcome for outcome in (FAIL, UNDECIDED, PASS) if outcome in verdicts)
    criterion += ", undecided counts as fail" * strict + ", over this benchmark's own instances only" * alone
    return Gate(judged, criterion, verdict)


def _gate_of_equivalence(
    table: pl.DataFrame, margin: float, *, strict: bool, errors: str, ci: float, alone: bool
) -> Gate:
    """Return the gate of differences that must be within ±margin.

    A row passes by its own interval at 2 · ci − 1, and fails if its joint interval, at ci, is outside.
    """
    if not (margin > 0 and isfinite(margin)):
        raise ArgumentError(f"gate(equivalent={margin!r}): equivalent must be a number > 0, such as 0.02.")
    needed = ["metric", "difference", "joint_low", "joint_high", "n", "equivalence_low", "equivalence_high"]
    if "equivalence_low" not in table.columns and "difference" in table.columns:
        raise ArgumentError(
            f"gate(equivalent={margin:g}): the table has no test of equivalence. Write hf.stats.compare(…, "
            f"equivalence={margin:g})."
        )
    _check_columns(table, "hf.stats.compare", needed)
    if alone:
        check_known(table, errors)
        ends = ("equivalence_low", "equivalence_high", "joint_low", "joint_high")
        table = _known(table, "difference", ends)
    correction = _correction(table)
    low = (pl.col("equivalence_low") - correction).clip(lower_bound=pl.min_horizontal("equivalence_low", -1.0))
    high = (pl.col("equivalence_high") + correction).clip(upper_bound=pl.max_horizontal("equivalence_high", 1.0))
    rows = table.with_columns(got="difference", low=low, high=high, line=pl.lit(float(margin)))
    is_in = (pl.col("low") >= -margin) & (pl.col("high") <= margin)
    is_out = (pl.col("joint_low") - correction > margin) | (pl.col("joint_high") + correction < -margin)
    unsure = FAIL if strict else UNDECIDED
    verdict = pl.when(is_out).then(pl.lit(FAIL)).when(is_in).then(pl.lit(PASS)).otherwise(pl.lit(unsure))
    nearest = pl.when(pl.col("got") < 0).then(-margin).otherwise(margin)
    judged = rows.with_columns(
        verdict=verdict,
        # both ends are one-sided, so their level is ci
        n_needed=pl.when(~is_in & ~is_out).then(_instances_to_reach(nearest, 2 * ci - 1)),
    )
    return _gate_of(judged.drop("got"), f"equivalent within ±{margin:g}", strict=strict, alone=alone)


def check_population(population: str) -> None:
    """Raise if `population` is not one of `POPULATIONS`."""
    if population not in POPULATIONS:
        raise ArgumentError.unknown_value(f"gate(population={population!r})", population, POPULATIONS)


def check_known(table: pl.DataFrame, errors: str) -> None:
    """Raise if a request failed, so that the mean over all instances is unknown, unless `errors` treats failures."""
    failed = int(table["n_error"].sum()) if errors == "refuse" and "n_error" in table.columns else 0
    if failed:
        raise NotComparableError(
            f"gate(population='benchmark'): {failed:,} requests failed, so the mean over all instances is unknown. "
            "Rerun them, or write errors='worst' or errors='drop'."
        )


def _check_intervals(table: pl.DataFrame, *, alone: bool) -> None:
    """Raise if the table's intervals are about the other population, and not about the requested one."""
    if "interval" not in table.columns:
        return
    is_own, is_stopped = table.select(
        own=pl.col("interval").cast(pl.String).str.contains(OWN_INSTANCES, literal=True).fill_null(value=False).any(),
        stopped=_is_stopped().any(),
    ).row(0)
    if is_own and not alone:
        raise ArgumentError(
            "gate(): the intervals of this table are about this benchmark's own instances only. Write "
            "population='benchmark', or results.gate(…) for the population that they are sampled from."
        )
    if is_stopped and alone and not is_own:
        raise ArgumentError(
            "gate(population='benchmark'): the run stopped early, so the mean over all instances is unknown. Write "
            "results.gate(…, population='benchmark')."
        )


def _is_stopped() -> pl.Expr:
    """Return whether a row's interval is that of a run that stopped early."""
    return (
        pl.col("interval")
        .cast(pl.String)
        .str.contains(r"\(anytime|early stopping|stopped early")
        .fill_null(value=False)
    )


def _known(rows: pl.DataFrame, value: str, ends: Sequence[str]) -> pl.DataFrame:
    """Return the rows with the value of all of a benchmark's instances as both ends of its interval.

    Rows of a run that stopped early have an interval of this mean already.
    """
    if "interval" not in rows.columns:
        rows = rows.with_columns(interval=pl.lit(None, dtype=pl.String))
    known_ends = {end: pl.when(_is_stopped()).then(end).otherwise(value) for end in ends}
    label = pl.when(_is_stopped()).then("interval").otherwise(pl.lit("known: all instances of this benchmark ran"))
    return rows.with_columns(**known_ends, interval=label)


def _with_exact_ends(table: pl.DataFrame, ci: float) -> pl.DataFrame:
    """Return the table with the exact interval in place of Wilson's, which misses more often on one side near 0 and 1.

    The effective number of instances n is that of Wilson's interval: the ends are the roots of a quadratic equation, so
    low · high = p²/(1 + z²/n) and (1 − low)(1 − high) = (1 − p)²/(1 + z²/n).
    """
    if "interval" not in table.columns:
        return table
    from scipy.special import ndtri

    is_wilson = table["interval"].cast(pl.String).str.contains("Wilson").fill_null(value=False).to_numpy()
    if not is_wilson.any():
        return table
    p, low, high = (table[name].cast(pl.Float64).to_numpy() for name in ("value", "ci_low", "ci_high"))
    upper = p >= 0.5
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(upper, p**2 / (low * high), (1 - p) ** 2 / ((1 - low) * (1 - high)))
        n = float(ndtri((1 + ci) / 2)) ** 2 / (ratio - 1)
    exact_low, exact_high = clopper_pearson(p * n, n, ci)
    name = pl.col("interval").str.replace("modified Wilson", "Clopper–Pearson at the effective n")
    wilson = pl.Series(is_wilson & np.isfinite(exact_low) & np.isfinite(exact_high))
    return table.with_columns(
        ci_low=pl.when(wilson).then(pl.Series(exact_low)).otherwise("ci_low"),
        ci_high=pl.when(wilson).then(pl.Series(exact_high)).otherwise("ci_high"),
        interval=pl.when(wilson).then(name.str.replace("Wilson", "Clopper–Pearson")).otherwise("interval"),
    )


def _check_failures(table: pl.DataFrame, errors: str) -> None:
    """Raise if more requests of a row failed than `errors` allows."""
    if errors == "worst":
        raise ArgumentError(
            "gate(errors='worst'): a table has no scores of failed requests. Write results.gate(…, errors='worst'), or "
            "errors='drop'."
        )
    if errors == "drop" or "n_error" not in table.columns:
        return
    # a table made by hand may lack n_completions
    n = pl.col("n_completions") if "n_completions" in table.columns else pl.col("n") + pl.col("n_error")
    shares = table.with_columns(share=pl.col("n_error") / n).filter(pl.col("share") > ERRORS_ALLOWED)
    for row in shares.head(1).iter_rows(named=True):
        keys = [name for name in table.columns if table.schema[name] == pl.String and name != "interval"]
        where = ", ".join(f"{name} {row[name]!r}" for name in keys if row[name])
        raise NotComparableError(
            f"gate(): {row['share']:.1%} of the requests failed ({where}). Rerun them, or write errors='drop'."
        )


def _gains(table: pl.DataFrame, higher_is_better: Mapping[str, bool]) -> pl.DataFrame:
    """Return how much better a is than b, and its joint interval.

    A score interval of a difference gets a continuity correction of half an instance: if few pairs differ, it misses
    more often on one side.
    """
    correction = _correction(table)
    low = (pl.col("joint_low") - correction).clip(lower_bound=pl.min_horizontal("joint_low", -1.0))
    high = (pl.col("joint_high") + correction).clip(upper_bound=pl.max_horizontal("joint_high", 1.0))
    up = pl.col("metric").replace_strict(higher_is_better, default=True, return_dtype=pl.Boolean)
    return table.with_columns(
        got=pl.when(up).then("difference").otherwise(-pl.col("difference")),
        low=pl.when(up).then(low).otherwise(-high),
        high=pl.when(up).then(high).otherwise(-low),
        joint_low=low,
        joint_high=high,
    )


def _correction(table: pl.DataFrame) -> pl.Expr:
    """Return the continuity correction of half an instance for score intervals, else 0."""
    is_score = pl.col("interval").str.starts_with("Tango") if "interval" in table.columns else pl.lit(value=False)
    return pl.when(is_score.fill_null(value=False)).then(0.5 / pl.col("n")).otherwise(0.0)


def _negate(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with their signs flipped; twice is the identity."""
    line = [-pl.col("line")] if "line" in rows.columns else []
    return rows.with_columns(-pl.col("got"), *line, low=-pl.col("high"), high=-pl.col("low"))


def _verdict(line: float, *, strict: bool) -> pl.Expr:
    unsure = FAIL if strict else UNDECIDED
    return (
        pl.when(pl.col("high") < line).then(pl.lit(FAIL)).when(pl.col("low") >= line).then(pl.lit(PASS))
        .otherwise(pl.lit(unsure))
    )  # fmt: skip


def _instances_needed(line: float, ci: float) -> pl.Expr:
    """Return the n at which the line is (z₁₋α/2 + z_power) standard errors away, for rows that aren't decided."""
    open_ = (pl.col("low") < line) & (pl.col("high") >= line)
    return pl.when(open_).then(_instances_to_reach(pl.lit(line), ci))


def _instances_to_reach(line: pl.Expr, ci: float) -> pl.Expr:
    """Return the n at which the line is far enough away; an interval's end is z₁₋α/2 away. Null on the line."""
    from scipy.special import ndtri

    z = float(ndtri((1 + ci) / 2))
    share = (z + float(ndtri(POWER))) / z
    gap = (pl.col("got") - line).abs()
    half = pl.when(pl.col("got") >= line).then(pl.col("got") - pl.col("low")).otherwise(pl.col("high") - pl.col("got"))
    needed = (pl.col("n") * (share * half / gap) ** 2).ceil()
    return pl.when(gap > _ON_THE_LINE * half).then(needed).cast(pl.Int64)


def _check_columns(table: pl.DataFrame, source: str, columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise ArgumentError(f"gate(): the table has no column {missing[0]!r}. Pass a table of {source}.")
    if not table.height:
        raise ArgumentError("gate(): the table has no rows. Pass a table with at least one score.")
