"""The errors of helmframe, from broad to narrow.

HelmframeError
├── UnknownNameError        (LookupError)      the name isn't registered or stored
│   └── UnknownScenarioError                   no scenario has the name or the arguments of the run entry
├── ArgumentError           (ValueError)       an argument has an invalid value
│   ├── NoInstancesError                       a condition matches no instance of the scenario
│   └── NoClassifierError                      a metric needs a classifier and has none
├── SpecError               (ValueError)       a spec file is invalid; the message names file and key
│   └── RepeatedKeyError                       two rows have the same row_index or instance_id
├── PlanError               (ValueError)       the plan is incomplete, contradicts itself or isn't executable
├── CapabilityError         (ValueError)       the model lacks a capability, or an extra isn't installed
├── NotAModelError          (TypeError)        a value isn't a model
├── AnswerError             (TypeError)        a model returned completions of the wrong type or number
├── ImageError              (ValueError)       an image is damaged, too large, or has an unsupported format
├── NotComparableError      (ValueError)       two results differ in more than the compared axis
├── SourceError             (OSError)          an error in reading a scenario's rows; the message names the address
│   ├── SourceMissingError  (FileNotFoundError)
│   ├── SourceDeniedError   (PermissionError)
│   └── SourceBrokenError                      the file is unreadable, truncated, or doesn't match the spec
├── StoreError              (OSError)          an error in reading or writing the store
├── SandboxError            (RuntimeError)     programs can't run in a sandbox here, or are not allowed to
└── GroupedError            (ExceptionGroup)   concurrent tasks of a run failed with different errors

HelmframeWarning            (UserWarning)      a number needs care in its interpretation

Each message states what is wrong, where, and what to write instead. It shows control characters as code points, and
repeats at most 500 characters of an input.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Self

# Known names that a message shows.
SHOWN = 5
# A word of lm-eval, Inspect, lighteval or HELM → helmframe's words for it, which a message suggests.
OTHER_TOOLS_WORDS = {
    "acc": ("option_accuracy", "exact_match"),
    "acc_norm": ("option_accuracy_per_character", "exact_match"),
    "accuracy": ("option_accuracy", "exact_match"),
    "fewshot": ("shots",),
    "match": ("prefix_exact_match", "exact_match"),
    "max_gen_toks": ("max_tokens",),
    "max_new_tokens": ("max_tokens",),
    "max_train_instances": ("shots",),
    "n_shot": ("shots",),
    "num_fewshot": ("shots",),
    "num_outputs": ("n",),
    "num_train_trials": ("trials",),
    "pem": ("prefix_exact_match",),
    "qem": ("quasi_exact_match",),
    "stop_sequences": ("stop",),
    "system_message": ("system",),
    "system_prompt": ("system",),
    "until": ("stop",),
}
# Characters of a line of a message, and so of an input that it repeats.
LONGEST_INPUT = 500
_FIRST_LINES, _LAST_LINES = 30, 5  # of a message
# Longer names, and names among more, get no suggestion: comparing them takes long.
_LONGEST_NAME, _MOST_NAMES = 200, 5_000
# controls, formats (zero width, direction), surrogates, separators of lines, unassigned and private characters
_INVISIBLE = ("Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp")
# The functions that list all names of a kind.
_LISTINGS = {
    "judge template": "hf.list_judges()",
    "metric": "hf.list_metrics()",
    "perturbation": "hf.list_perturbations()",
    "run": "hf.runs()",
    "scenario": "hf.list_scenarios()",
    "suite": "hf.list_suites()",
    "table": "hf.schema()",
}


def show_invisible(text: str) -> str:
    r"""Return the text with each invisible character replaced by its code point, so that a terminal doesn't obey it.

    >>> show_invisible("a\u200bb\x1b[31m")
    'a⟨U+200B⟩b⟨U+001B⟩[31m'
    """
    if text.isprintable():
        return text
    import unicodedata  # late: a library of its own

    return "".join(
        f"⟨U+{ord(character):04X}⟩"
        if unicodedata.category(character) in _INVISIBLE and character not in "\n\t"
        else character
        for character in text
    )


def shorten(text: str, longest: int = LONGEST_INPUT) -> str:
    """Return the text, without its middle if it has more than `longest` characters.

    >>> shorten("a" * 1000, 40)
    'aaaaaaaaaaaaaaaaaaaa… (970 more characters) …aaaaaaaaaa'
    """
    if len(text) <= longest:
        return text
    head, tail = longest // 2, longest // 4
    return f"{text[:head]}… ({len(text) - head - tail:,} more characters) …{text[-tail:]}"


def _message(text: str) -> str:
    """Return the text of a message: lines of limited length and number, without invisible characters."""
    lines = text.split("\n")
    if len(lines) > _FIRST_LINES + _LAST_LINES + 1:
        n_hidden = len(lines) - _FIRST_LINES - _LAST_LINES
        lines = [*lines[:_FIRST_LINES], f"… ({n_hidden:,} more lines)", *lines[-_LAST_LINES:]]
    return "\n".join(shorten(show_invisible(shorten(line))) for line in lines)


class HelmframeError(Exception):
    """Base class of the errors that helmframe raises."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(_message(arg) if isinstance(arg, str) else arg for arg in args))


class HelmframeWarning(UserWarning):
    """A warning that a number needs care in its interpretation."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(_message(arg) if isinstance(arg, str) else arg for arg in args))


class UnknownNameError(HelmframeError, LookupError):
    """An error for a name that isn't registered or stored."""

    # The last line of the message, which shows Python code; the command line omits it.
    _hint = ""

    @classmethod
    def among(cls, kind: str, name: object, names: Iterable[str], *, hint: str = "") -> Self:
        """Return the error of an unknown name: `Unknown metric 'exact_mach'. Did you mean 'exact_match'?`.

        Args:
            kind: The kind of the name, such as "metric", or "metric of these scores" with the location.
            name: The unknown name.
            names: The known names.
            hint: The code to write instead.
        """
        located = re.fullmatch(r"(\w+(?: \w+){0,2}?) ((?:of|in|on|for) .+)", kind)
        problem = f"{located[1]} {name!r} {located[2]}" if located else f"{kind} {name!r}"
        choices = sorted(map(str, names))
        error = cls(f"Unknown {problem}.{_suggestion(name, choices)}{_known(choices, kind, hint)}")
        error._hint = hint
        return error

    def without_hint(self) -> str:
        """Return the message without the line that shows Python code."""
        return str(self).removesuffix(f"\n{self._hint}") if self._hint else str(self)


class UnknownScenarioError(UnknownNameError):
    """An error for a run entry whose name or arguments belong to no scenario."""


class ArgumentError(HelmframeError, ValueError):
    """An error for an argument with an invalid value."""

    @classmethod
    def unknown_argument(cls, where: str, name: str, names: Iterable[str]) -> "ArgumentError":
        """Return the error of an unknown argument: `typos() has no argument 'probb'. Did you mean 'prob'?`."""
        choices = sorted(map(str, names))
        return cls(f"{where} has no argument {name!r}.{_suggestion(name, choices)}{_known(choices)}")

    @classmethod
    def unknown_value(cls, where: str, value: object, values: Iterable[str], *, hint: str = "") -> Self:
        """Return the error of a value that isn't one of the known values.

        Args:
            where: The argument with its value, such as `sample(order='x')`. Or a sentence without its full stop, such
                as `where(subject='philosphy') matches no instance`.
            value: The unknown value.
            values: The known values.
            hint: The code to write instead.
        """
        names = sorted(map(str, values))
        before, equals, end = where.rpartition(f"={value!r}")
        argument = re.search(r"\w+$", before[-_LONGEST_NAME:]) if equals and end in ("", ")") else None
        if argument is None or not names:
            return cls(f"{where}.{_suggestion(value, names)}{_known(names, hint=hint)}")
        problem = f"{where}: {argument[0]} must be {_one_of(names)}."
        return cls(f"{problem}{_suggestion(value, names)}{_known((), hint=hint)}")

    @classmethod
    def no_name(cls, decorator: str, argument: object) -> "ArgumentError":
        """Return the error of a decorator without a name: `@hf.metric needs a name. Write @hf.metric("shouted")`."""
        name = getattr(argument, "__name__", "name")
        return cls(f'@{decorator} needs a name. Write @{decorator}("{name}").')


class NoInstancesError(ArgumentError):
    """An error for a condition that matches no instance of the scenario."""


class NoClassifierError(ArgumentError):
    """An error for a metric that needs a classifier and has none."""


class SpecError(HelmframeError, ValueError):
    """An error for an invalid spec file; the message names file and key."""

    @classmethod
    def at(cls, file: object, key: str, problem: str) -> "SpecError":
        """Return the error of a key: `mmlu.yaml: splits.dev: PROBLEM`."""
        return cls(f"{file}: {key}: {problem}" if key else f"{file}: {problem}")

    @classmethod
    def unknown_key(cls, file: object, key: str, keys: Iterable[str]) -> "SpecError":
        """Return the error of an unknown key: `mmlu.yaml: unknown key 'metric'. Did you mean 'metrics'?`."""
        choices = sorted(map(str, keys))
        return cls(f"{file}: unknown key {key!r}.{_suggestion(key.rpartition('.')[2], choices)}{_known(choices)}")


class RepeatedKeyError(SpecError):
    """An error for two rows of a scenario with the same row_index or instance_id."""


class PlanError(HelmframeError, ValueError):
    """An error for a plan that is incomplete, contradicts itself or isn't executable."""


class CapabilityError(HelmframeError, ValueError):
    """An error for a model that lacks a capability that the plan needs, or for an extra that isn't installed."""

    @classmethod
    def no_log_probabilities(cls, model: str, scenario: str) -> "CapabilityError":
        """Return the error of a scenario that needs log-probabilities of texts."""
        return cls(
            f"Model {model!r} doesn't compute log-probabilities of texts, which scenario {scenario!r} needs. Use a "
            "local model, or an object with .loglikelihood(pairs). Or let it generate: "
            ".adapt(method='multiple_choice_joint').metrics('exact_match')."
        )

    @classmethod
    def no_generation(cls, model: str, scenario: str) -> "CapabilityError":
        """Return the error of a scenario that needs a model that generates text."""
        return cls(
            f"Model {model!r} doesn't generate text, which scenario {scenario!r} needs; it only scores texts. Use an "
            "object that has .generate(prompts) too. If the scenario has options, score the options: "
            ".adapt(method='multiple_choice_separate_original')."
        )

    @classmethod
    def no_token_log_probabilities(cls, model: str, metric: str) -> "CapabilityError":
        """Return the error of a metric that needs log-probabilities of generated tokens."""
        return cls(
            f"Model {model!r} doesn't return log-probabilities of the tokens it generates, which metric {metric!r} "
            "needs. Use a local model, a server with logprobs, or a function that returns hf.models.Completion(text, "
            "token_logprobs=…). Or use another metric, such as exact_match."
        )

    @classmethod
    def no_images(cls, model: str, scenario: str, instance: str = "") -> "CapabilityError":
        """Return the error of a model that can't run a scenario with images; `instance` is the id of one with them."""
        pictured = f"instance {instance!r} of scenario {scenario!r} has" if instance else f"scenario {scenario!r} has"
        return cls(
            f"Model {model!r} takes text only, and {pictured} images. Use a server's model (hf.models.http) or an "
            "image-text-to-text checkpoint (hf.models.local)."
        )

    @classmethod
    def no_chat_template(cls, model: str) -> "CapabilityError":
        """Return the error of a model without a chat template."""
        return cls(f"adapt(chat_template=True): model {model!r} has no chat template. Remove chat_template=True.")


class NotAModelError(HelmframeError, TypeError):
    """An error for a value that isn't a model."""

    @classmethod
    def of(cls, value: object, why: str = "") -> "NotAModelError":
        """Return the error of a value that isn't a model, with the reason and what a model is."""
        named = value if isinstance(value, type) else type(value)
        name = repr(str(value)) if isinstance(value, str | Path) else named.__name__
        reason = f": {why}" if why else ""
        end = "" if reason.endswith("?") else "."
        return cls(
            f"{name} isn't a model{reason}{end}\n"
            "A model is a function str -> str or list[str] -> list[str] (sync or async), an object with "
            ".generate(prompts, **decoding),\n"
            "the folder or the name 'org/name' of a transformers checkpoint, a (model, tokenizer) pair,\n"
            "a server's 'http://host:port/v1#name', 'vllm:org/name', or a model object of lm-eval or Inspect."
        )


class AnswerError(HelmframeError, TypeError):
    """An error for completions of the wrong type or number that a model returned."""


class ImageError(HelmframeError, ValueError):
    """An image is damaged, too large, or has an unsupported format."""


class NotComparableError(HelmframeError, ValueError):
    """An error for two results that differ in more than the compared axis."""


class SourceError(HelmframeError, OSError):
    """An error in reading the rows of a scenario; the message names the address."""


class SourceMissingError(SourceError, FileNotFoundError):
    """An error for a bucket, folder or file that doesn't exist."""


class SourceDeniedError(SourceError, PermissionError):
    """An error for credentials that are wrong, missing, or not allowed to read the address."""


class SourceBrokenError(SourceError):
    """An error for a file that is unreadable, truncated, or has other columns than the spec declares."""


class StoreError(HelmframeError, OSError):
    """An error in reading or writing the store."""


class SandboxError(HelmframeError, RuntimeError):
    """An error for programs that can't run in a sandbox here, or are not allowed to."""


# The errors of a part that is missing here: rows, instances, word tables, classifiers, packages, a sandbox, or a
# capability of a model. A suite skips a plan with such an error and runs the others.
MISSING_PARTS = (
    SourceMissingError, SourceDeniedError, NoInstancesError, NoClassifierError, CapabilityError, SandboxError,
)  # fmt: skip


def near(name: object, names: Iterable[str], n: int = 3) -> list[str]:
    """Return at most `n` names that mean the same in another tool, or else are similar, the most similar first.

    A very long name has none.
    """
    texts = list(islice(names, _MOST_NAMES))
    same = [word for word in OTHER_TOOLS_WORDS.get(str(name).lower(), ()) if word in texts]
    if same:
        return same[:n]
    by_lower = {text.lower(): text for text in texts}
    if len(str(name)) > _LONGEST_NAME:
        return []
    return [by_lower[match] for match in difflib.get_close_matches(str(name).lower(), by_lower, n=n, cutoff=0.6)]


class GroupedError(HelmframeError, ExceptionGroup[Exception]):
    """An error for concurrent tasks of a run that failed with different errors, which `exceptions` contains."""

    def __new__(cls, message: str, exceptions: Sequence[Exception]) -> Self:
        return super().__new__(cls, _message(message), exceptions)

    def derive(self, excs: Sequence[Exception]) -> "GroupedError":  # type: ignore[override]
        """Return a group of these exceptions, for `except*`."""
        return GroupedError(self.message, excs)


def listed(names: Iterable[str]) -> str:
    """Return the first five names as text, and the number of names if there are more.

    >>> listed("abcdefg")
    'a, b, c, d, e, … (7 in all)'
    """
    texts = list(map(str, names))
    return ", ".join(texts[:SHOWN]) + (f", … ({len(texts)} in all)" if len(texts) > SHOWN else "")


def _suggestion(name: object, names: Sequence[str]) -> str:
    close = near(name, names)
    return f" Did you mean {_one_of(close)}?" if close else ""


def _known(names: Sequence[str], kind: str = "", hint: str = "") -> str:
    """Return the known names of a kind, or the function that lists them, and the hint, on separate lines."""
    lines = [f"Known: {listed(names)}."] if names else []
    if len(names) > SHOWN and kind in _LISTINGS:
        lines = [f"{_LISTINGS[kind]} lists all."]
    return "".join(f"\n{line}" for line in (*lines, hint) if line)


def _one_of(names: Sequence[str]) -> str:
    """Return the names as a choice: `'a', 'b' or 'c'`."""
    if len(names) > SHOWN:
        return f"one of {listed(map(repr, names))}"
    return " or ".join(filter(None, (", ".join(map(repr, names[:-1])), repr(names[-1]))))
