"""Which way metrics are better."""

from collections.abc import Iterable, Mapping

from helmframe.errors import ArgumentError


def metric_directions(metrics: Iterable[str], higher_is_better: Mapping[str, bool]) -> dict[str, bool]:
    """Whether higher is better, of each of these metrics.

    Raises:
        ArgumentError: a metric of which it is not told.
    """
    for metric in sorted(set(metrics)):
        if metric not in higher_is_better:
            raise ArgumentError(
                f"which way is {metric!r} better? Say higher_is_better={{{metric!r}: True}}, or False if lower is."
            )
    return {metric: higher_is_better[metric] for metric in set(metrics)}
