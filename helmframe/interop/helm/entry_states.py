"""What becomes of each of HELM's run entries here: a plan, or why it is skipped."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from helmframe._core.specs import ScenarioSpec
from helmframe.errors import HelmframeError, SourceError, UnknownScenarioError
from helmframe.interop.helm.draft import Draft
from helmframe.interop.helm.entries import Entry, EntryState
from helmframe.interop.helm.plans import drafts_of
from helmframe.interop.helm.scenario_lookup import scenario_index
from helmframe.scenarios.query import open_query

logger = logging.getLogger("helmframe.interop.helm")

_SHOWN = 5


def entry_states(entries: Iterable[Entry]) -> Iterator[EntryState]:
    """Return the state of each distinct entry, whichever model it names.

    The states are "plan"; "scenario not here"; "rows missing", in the data root that is configured; and "unsupported",
    where the scenario is here and helmframe doesn't support an argument. `reason` is the error.
    """
    scenarios_by_name = scenario_index()
    scenarios: dict[ScenarioSpec, str | None] = {}
    rows: dict[Draft, str | None] = {}
    for entry in dict.fromkeys(entries):
        try:
            drafts = dict.fromkeys(draft.without_models() for draft in drafts_of(entry, scenarios_by_name))
            for draft in drafts:
                if draft.spec not in scenarios:
                    scenarios[draft.spec] = _unreadable(draft.spec)
                if draft not in rows:
                    rows[draft] = scenarios[draft.spec] or draft.missing_rows()
        except UnknownScenarioError as error:
            yield EntryState(entry, "scenario not here", str(error))
            continue
        except HelmframeError as error:
            yield EntryState(entry, "unsupported", str(error))
            continue
        reason = next((rows[draft] for draft in drafts if rows[draft]), None)
        yield EntryState(entry, "rows missing", reason) if reason else EntryState(entry, "plan")


def skipped_text(skipped: Sequence[EntryState]) -> str:
    """Return how many entries were skipped and why; at most five names of each kind."""
    lines = []
    for state, with_arguments in (("scenario not here", False), ("rows missing", True)):
        names = Counter(
            str(entry_state.entry) if with_arguments else entry_state.entry.name
            for entry_state in skipped
            if entry_state.state == state
        )
        if names:
            shown = ", ".join(name for name, _ in names.most_common(_SHOWN))
            more = f", … ({len(names):,} in all)" if len(names) > _SHOWN else ""
            lines.append(f"  {state}: {names.total():,} entries: {shown}{more}")
    total = f"{len(skipped):,} run entries are skipped."
    return "\n".join([total, *lines, "helmframe list helm-entries --conf-paths FILE lists each of them."])


def warn_skipped(skipped: Sequence[EntryState]) -> None:
    """Log which entries were skipped."""
    if skipped:
        logger.warning("%s", skipped_text(skipped))


def _unreadable(spec: ScenarioSpec) -> str | None:
    """Return why a scenario's rows can't be read; None if they can."""
    try:
        with open_query(spec):
            return None
    except SourceError as error:
        return str(error)
