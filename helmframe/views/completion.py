"""Names at the Tab key, once `%load_ext helmframe` is said in IPython or a notebook."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from helmframe.interop.suites import suite_names
from helmframe.metrics.protocol import METRICS
from helmframe.perturbations.catalogue import PRESETS
from helmframe.perturbations.registry import PERTURBATIONS
from helmframe.scenarios.catalogue import scenario_names

# the word whose argument is being typed → the names it takes
_NAMES: Mapping[str, Callable[[], Sequence[str]]] = {
    "scenario": scenario_names,
    "suite": suite_names,
    "perturb": lambda: sorted([*PERTURBATIONS, *PRESETS]),
    "metrics": lambda: list(METRICS),
}
_TYPED = re.compile(rf"\b({'|'.join(_NAMES)})\((?:[^()]*[\[,])?\s*[\"']([\w@]*)$")


def names_for(typed: str) -> tuple[str, list[str]]:
    """The start of a name at the end of what is typed, and the names that go on from it.

    >>> names_for('hf.suite("li')
    ('li', ['lite'])
    """
    found = _TYPED.search(typed)
    if found is None:
        return "", []
    return found[2], [name for name in _NAMES[found[1]]() if name.startswith(found[2])]


def load_ipython_extension(shell: Any) -> None:
    """Complete the names of scenarios, suites, perturbations and metrics in this shell."""
    from IPython.core.completer import SimpleCompletion, context_matcher

    @context_matcher()  # type: ignore[untyped-decorator]
    def helmframe_names(context: Any) -> dict[str, Any]:
        start, names = names_for(context.text_until_cursor)
        return {
            "completions": [SimpleCompletion(name, type="name") for name in names],
            "matched_fragment": start,
            "suppress": bool(names),
        }

    shell.Completer.custom_matchers.append(helmframe_names)
