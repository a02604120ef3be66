"""The errors of helmframe, from broad to narrow.

HelmframeError
├── UnknownNameError        (LookupError)      nothing with this name is registered or stored
│   └── UnknownScenarioError                   no scenario has the name or the arguments of a run entry
├── ArgumentError           (ValueError)       an argument has an invalid value
│   └── NoInstancesError                       a condition matches no instance of the scenario's rows
├── SpecError               (ValueError)       a spec file is wrong; names file and key
│   └── RepeatedKeyError                       two rows have the same row_index or instance_id
├── PlanError               (ValueError)       the plan is incomplete, contradicts itself or can't be executed
├── CapabilityError         (ValueError)       the plan needs what the model can't do
├── NotAModelError          (TypeError)        a value can't be used as a model
├── AnswerError             (TypeError)        a model returned completions of the wrong type or number
├── NotComparableError      (ValueError)       two results differ in more than the axis compared
├── SourceError             (OSError)          a scenario's rows can't be read; names scenario and address
│   ├── SourceMissingError  (FileNotFoundError)
│   ├── SourceDeniedError   (PermissionError)
│   └── SourceBrokenError                      unreadable, truncated, or not what the spec says
├── StoreError              (OSError)          the store can't be read or written
├── SandboxError            (RuntimeError)     programs can't run in a sandbox here, or are not allowed to
└── GroupedError            (ExceptionGroup)   parts of a run that ran at the same time failed with different errors

HelmframeWarning            (UserWarning)      a number needs care in its interpretation

Each message has what is wrong, where, and what to write instead.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import Self


class HelmframeError(Exception):
    """Base of every error raised on purpose by helmframe."""


class HelmframeWarning(UserWarning):
    """A number needs care in its interpretation."""


class UnknownNameError(HelmframeError, LookupError):
    """Nothing with this name is registered or stored."""

    @classmethod
    def among(cls, kind: str, name: object, names: Iterable[str], *, hint: str = "") -> Self:
        """Return `no metric is called 'exact_mach'. Did you mean 'exact_match'?` with known names and a hint."""
        return cls(f"no {kind} is called {name!r}.{_did_you_mean(name, names)}{_and(hint)}")


class UnknownScenarioError(UnknownNameError):
    """No scenario has the name or the arguments of a run entry."""


class ArgumentError(HelmframeError, ValueError):
    """An argument has an invalid value."""

    @classmethod
    def unknown_argument(cls, where: str, name: str, names: Iterable[str]) -> "ArgumentError":
        """Return `typos() has no argument 'probb'. Did you mean 'prob'?` with the known arguments."""
        return cls(f"{where} has no argument {name!r}.{_did_you_mean(name, names)}")

    @classmethod
    def unknown_value(cls, where: str, value: object, values: Iterable[str], *, hint: str = "") -> Self:
        """Return `where(subject='philosphy') matches … Did you mean 'philosophy'?` with known values."""
        return cls(f"{where}.{_did_you_mean(value, values)}{_and(hint)}")

    @classmethod
    def no_name(cls, decorator: str, argument: object) -> "ArgumentError":
        """Return `@hf.metric needs a name, as text: write @hf.metric("shouted").`"""
        name = getattr(argument, "__name__", "name")
        return cls(f'@{decorator} needs a name, as text: write @{decorator}("{name}").')


class NoInstancesError(ArgumentError):
    """A condition matches no instance of the scenario's rows."""


class SpecError(HelmframeError, ValueError):
    """A spec file is wrong."""

    @classmethod
    def at(cls, file: object, key: str, problem: str) -> "SpecError":
        """Return `specs/scenarios/mmlu.yaml: splits.dev: 'trian' is no split …`."""
        return cls(f"{file}: {key}: {problem}" if key else f"{file}: {problem}")

    @classmethod
    def unknown_key(cls, file: object, key: str, keys: Iterable[str]) -> "SpecError":
        """Return `specs/scenarios/mmlu.yaml: unknown key 'metric'. Did you mean 'metrics'?`"""
        return cls(f"{file}: unknown key {key!r}.{_did_you_mean(key.rpartition('.')[2], keys)}")


class RepeatedKeyError(SpecError):
    """Two rows of a scenario have the same row_index or instance_id."""


class PlanError(HelmframeError, ValueError):
    """The plan is incomplete, contradicts itself or can't be executed."""


class CapabilityError(HelmframeError, ValueError):
    """The plan needs what the model can't do."""

    @classmethod
    def no_log_probabilities(cls, model: str, scenario: str) -> "CapabilityError":
        """Return the error that a scenario needs log-probabilities of texts from the model."""
        return cls(
            f"model {model!r} gives no log-probabilities of texts, and scenario {scenario!r} asks for them. Give an "
            "object with .loglikelihood(pairs) beside .generate, or a local model; or ask otherwise: "
            ".adapt(method='multiple_choice_joint') or 'generation'."
        )

    @classmethod
    def no_generation(cls, model: str, scenario: str) -> "CapabilityError":
        """Return the error that a scenario needs a model that generates text."""
        return cls(
            f"model {model!r} generates no text, it only says how likely texts are, and scenario {scenario!r} asks for "
            "text. Give an object with .generate(prompts) too; or, where there are options, ask otherwise: "
            ".adapt(method='multiple_choice_separate_original')."
        )

    @classmethod
    def no_token_log_probabilities(cls, model: str, metric: str) -> "CapabilityError":
        """Return the error that a metric needs log-probabilities of generated tokens."""
        return cls(
            f"model {model!r} gives no log-probabilities of what it generates, and metric {metric!r} needs them. Give "
            "a local model, a server with logprobs, or a function that answers with hf.models.Completion(text, "
            "token_logprobs=…); or use another metric, such as exact_match."
        )

    @classmethod
    def no_chat_template(cls, model: str) -> "CapabilityError":
        """Return the error that the model has no chat template."""
        return cls(f"adapt(chat_template=True): model {model!r} has no chat template; leave it out.")


class NotAModelError(HelmframeError, TypeError):
    """A value can't be used as a model."""

    @classmethod
    def of(cls, value: object, why: str = "") -> "NotAModelError":
        """Return the error that a value is no model, with the reason and what a model is."""
        reason = f": {why}" if why else ""
        return cls(
            f"{type(value).__name__} is no model{reason}.\n"
            "A model is a function str -> str or list[str] -> list[str] (async too), an object with "
            ".generate(prompts, **decoding),\n"
            "a folder with a checkpoint and tokenizer in transformers format, a (model, tokenizer) pair, "
            "a name 'org/name' of such a folder,\n"
            "a server's 'http://host:port/v1#name', 'vllm:org/name', or a model object of lm-eval or Inspect."
        )


class AnswerError(HelmframeError, TypeError):
    """A model returned completions of the wrong type or number."""


class NotComparableError(HelmframeError, ValueError):
    """Two results differ in more than the axis compared."""


class SourceError(HelmframeError, OSError):
    """A scenario's rows can't be read; the message names scenario and address."""


class SourceMissingError(SourceError, FileNotFoundError):
    """No such bucket, folder or file."""


class SourceDeniedError(SourceError, PermissionError):
    """The credentials are wrong, missing, or not allowed to read this address."""


class SourceBrokenError(SourceError):
    """The file at the address is unreadable, truncated, or has other columns than the spec declares."""


class StoreError(HelmframeError, OSError):
    """The store can't be read or written."""


class SandboxError(HelmframeError, RuntimeError):
    """Programs can't run in a sandbox here, or are not allowed to."""


def near(name: object, names: Iterable[str], n: int = 3) -> list[str]:
    """Return the names most like `name`, best first."""
    by_lower = {text.lower(): text for text in names}
    return [by_lower[match] for match in difflib.get_close_matches(str(name).lower(), by_lower, n=n, cutoff=0.6)]


class GroupedError(HelmframeError, ExceptionGroup[Exception]):
    """Parts of a run that ran at the same time failed with different errors; `exceptions` holds them."""

    def derive(self, excs: Sequence[Exception]) -> "GroupedError":  # type: ignore[override]
        """Return a group of some of the exceptions, for `except*`."""
        return GroupedError(self.message, excs)


def _did_you_mean(name: object, choices: Iterable[str]) -> str:
    names = sorted(str(choice) for choice in choices)
    close = near(name, names)
    suggestion = f" Did you mean {' or '.join(repr(choice) for choice in close)}?" if close else ""
    shown = ", ".join(names[:40]) + (f", … ({len(names)} in all)" if len(names) > 40 else "")
    return f"{suggestion}\nKnown: {shown}." if names else suggestion


def _and(hint: str) -> str:
    return f"\n{hint}" if hint else ""
