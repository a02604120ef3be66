"""How the models of a run answered: the way they chose, and how much of the time waited for them they were busy."""

import logging
from collections.abc import Mapping
from typing import Any

from helmframe.models.model import Model
from helmframe.models.scheduler import busy_of

logger = logging.getLogger("helmframe.engines")


class Working:
    """Watches models, each with its fingerprint, from when it is made."""

    def __init__(self, fingerprints: Mapping[Model, str]) -> None:
        self._busy = {model: busy_of(fingerprint) for model, fingerprint in fingerprints.items()}
        self._before = {model: busy.seconds for model, busy in self._busy.items()}

    def noted(self) -> dict[str, dict[str, Any]]:
        """By name, of each model that answered since.

        Returns:
            busy (share of the seconds waited in which it answered), waited (s), and state (how it answers), if it
            tells.
        """
        found = {}
        for model, busy in self._busy.items():
            seconds = busy.seconds.since(self._before[model])
            if not seconds.share:
                continue
            logger.info("%s was busy %.0f %% of %.1f s", model.name, 100 * seconds.share, seconds.waited)
            state = {} if model.state is None else {"state": model.state()}
            found[model.name] = {"busy": round(seconds.share, 3), "waited": round(seconds.waited, 1), **state}
        return found


def working_notes(manifest: Mapping[str, Any]) -> list[str]:
    """A line for each model and judge that told a run how it answers; none for runs of before that was kept."""
    asked = {**manifest.get("judges", {}), **manifest.get("models", {})}
    return [
        f"{name}: busy {about['busy']:.0%} of the {about['waited']:,.1f} s that its answers were waited for; "
        f"{about['state']}"
        for name, about in asked.items()
        if "state" in about
    ]
