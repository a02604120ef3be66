"""The reference page of errors: the tree, what each means, and the messages of some mistakes."""

import inspect
from typing import Any

import helmframe as hf
from helmframe import errors
from helmframe.models.budget import FIRST_REQUESTS
from tools.reference.markdown import block, code, page, paragraphs

# A mistake → the code that makes it. The page shows the error.
MISTAKES = {
    "A misspelled name": 'hf.scenario("sampler").metrics("exact_mach")',
    "A misspelled argument": 'hf.scenario("sampler").perturb("typos(probb=.1)")',
    "An invalid value": 'hf.scenario("sampler").sample(0)',
    "A condition that matches nothing": 'hf.scenario("sampler").where(subject="musik").instances()',
    "No model": 'hf.scenario("sampler").score()',
    "Something that isn't a model": "hf.model(42)",
    "A model that can't do what the plan needs": (
        'hf.scenario("sampler").adapt(method="multiple_choice_separate_original").generate(len)'
    ),
}


def error_page() -> str:
    """Return the page."""
    kinds = [kind for kind in vars(errors).values() if _is_error(kind)]
    builtins = {kind: next(base for base in kind.__mro__ if base.__module__ == "builtins") for kind in kinds}
    sections = [
        part
        for kind in kinds
        for part in (
            f"### {code(kind.__name__)}",
            *paragraphs(inspect.getdoc(kind) or ""),
            f"It is also a {code(builtins[kind].__name__)}.",
        )
    ]
    examples = [
        part for title, line in MISTAKES.items() for part in (f"### {title}", block(line, "python"), _error(line))
    ]
    return page(
        "Errors",
        "Every error that helmframe raises on purpose is a `HelmframeError`, and also the built-in error that fits. "
        "Its message states what is wrong, where, and what to write instead.",
        block((errors.__doc__ or "").partition("\n\n")[2].partition("\n\nEach")[0].strip()),
        "## Errors of requests",
        "A failed request is a row with `error`, not an exception. The next run sends it again. "
        "`results.errors()` lists failed requests by message.",
        f"A model stops if its first {FIRST_REQUESTS} requests fail with one permanent error: a server's error such as "
        "404, or an exception of the model's function. Transient errors, such as 429, a timeout or a lost connection, "
        "are retried and don't count. All other requests of the model become rows with the same error. Other models of "
        "the run continue. The results name the stopped model first, with the line that resumes the run.",
        "A model that doesn't load, such as a name that its server doesn't list, stops at its first request. The error "
        "is raised if no other model of the run is left.",
        "## All errors",
        *sections,
        "## Messages",
        *examples,
    )


def _is_error(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Exception) and kind.__module__ == errors.__name__


def _error(line: str) -> str:
    names: dict[str, Any] = {"hf": hf}
    try:
        eval(line, names)  # noqa: S307 - our own lines
    except errors.HelmframeError as error:
        return block(f"{type(error).__name__}: {error}")
    raise AssertionError(f"no error: {line}")
