"""Tab completion of names in IPython and notebooks, enabled by `%load_ext helmframe`."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from helmframe._suite import suite_names
from helmframe.metrics.protocol import METRICS
from helmframe.perturbations.catalogue import PRESETS
from helmframe.perturbations.registry import PERTURBATIONS
from helmframe.scenarios.catalogue import scenario_names

# function whose argument is typed → names that it accepts
_NAMES: Mapping[str, Callable[[], Sequence[str]]] = {
    "scenario": scenario_names,
    "suite": suite_names,
    "perturb": lambda: sorted([*PERTURBATIONS, *PRESETS]),
    "metrics": lambda: list(METRICS),
}
_TYPED = re.compile(rf"\b({'|'.join(_NAMES)})\((?:[^()]*[\[,])?\s*[\"']([\w@]*)$")


def names_for(typed: str) -> tuple[str, list[str]]:
    """Return the unfinished name at the end of the typed text, and the names that complete it.

    >>> names_for('hf.suite("li')
    ('li', ['lite'])
    """
    match = _TYPED.search(typed)
    if match is None:
        return "", []
    return match[2], [name for name in _NAMES[match[1]]() if name.startswith(match[2])]


def load_ipython_extension(shell: Any) -> None:
    """Enable completion of the names of scenarios, suites, perturbations and metrics in an IPython shell.

    `%load_ext helmframe` calls it.

    >>> from IPython.core.completer import provisionalcompleter
    >>> from IPython.core.interactiveshell import InteractiveShell
    >>> shell = InteractiveShell()
    >>> _ = shell.run_line_magic("load_ext", "helmframe")
    >>> with provisionalcompleter():
    ...     [completion.text for completion in shell.Completer.completions('hf.suite("li', 12)]
    ['lite']
    """
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
