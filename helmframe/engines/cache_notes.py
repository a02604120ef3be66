"""The first line of a run about a model: how many of its completions are cached, and why the others are not."""

from collections.abc import Callable, Sequence

from helmframe._core.specs import Call
from helmframe.models.generate import Report
from helmframe.models.model import Model


def cache_note(
    model: Model,
    cached: int | None = None,
    planned: int | None = None,
    *,
    run: str,
    resumed: Sequence[str] = (),
    fresh: bool = False,
    whole: bool = True,
) -> str:
    """Return one line about the cached completions of a model.

    Args:
        model: The model.
        cached: How many completions are cached.
        planned: How many completions are planned; None: unknown.
        run: The id of the current run.
        resumed: The ids of the runs that completions are reused from.
        fresh: Whether cached completions are generated again.
        whole: Whether these are all completions of the run, not only those of its first shard.
    """
    source = f" from run {', '.join(resumed)}" if cached and resumed and not model.durable else ""
    some = "" if whole else "the first "
    counts = "" if planned is None else f"{cached:,} of {some}{planned:,} completions cached{source}"
    again = "fresh=True generates all again" if fresh else ""
    if model.durable:
        counts = counts.replace("completions", f"completions of {model.name!r}")
        return ": ".join(filter(None, (counts, again))) + "."
    reason = (
        f"{model.name!r} is {_kind(model)} without a version, so its completions are stored with this run only. "
        f"Reuse them with score(resume={run!r})."
    )
    return ": ".join(filter(None, (counts, f"{again}; {reason}" if again else reason)))


def noting(report: Report, note: Callable[[int, int], None]) -> Report:
    """Return a report that also passes the first counts, cached and planned, to `note`."""
    planned: list[int] = []

    def report_and_note(what: str, count: int) -> None:
        report(what, count)
        if what == "planned" and not planned:
            planned.append(count)
        elif what == "cached" and len(planned) == 1:
            note(count, planned[0])
            planned.append(count)

    return report_and_note


def _kind(model: Model) -> str:
    if isinstance(model.source, Call):
        return "a mock model"
    return "a function" if hasattr(model.source, "__name__") else "an object"
