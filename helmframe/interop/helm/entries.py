"""HELM's run entries (`mmlu:subject=philosophy,model=openai/gpt2`) and .conf files."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from helmframe._core.checks import is_integer
from helmframe._core.specs import check_length, credential_error
from helmframe._plan_yaml import foreign_effects, refuse_effects
from helmframe.config import find_credential
from helmframe.errors import ArgumentError, SpecError

ArgumentValue: TypeAlias = str | int | float

_EXAMPLE = 'entries: [{description: "mmlu:subject=philosophy,model=org/name", priority: 1}]'


@dataclass(frozen=True)
class Entry:
    """One run entry: the scenario's HELM name, its arguments, and its priority and groups in a .conf file."""

    name: str
    arguments: tuple[tuple[str, ArgumentValue], ...]
    priority: int = 1
    groups: tuple[str, ...] = ()

    def __str__(self) -> str:
        arguments = ",".join(f"{key}={value}" for key, value in self.arguments)
        return f"{self.name}:{arguments}" if arguments else self.name


class EntryState(NamedTuple):
    """The state of a run entry: "plan", or the reason for having no plan; `reason` is the error."""

    entry: Entry
    state: str
    reason: str = ""


def parse_entry(text: str, priority: int = 1, groups: Sequence[str] = ()) -> Entry:
    """Return the run entry that a text specifies; values that are numbers become numbers.

    The text is split at the first colon, at commas, and at the first equals sign of each argument.

    >>> parse_entry("mmlu:subject=philosophy,max_train_instances=0").arguments
    (('subject', 'philosophy'), ('max_train_instances', 0))

    Raises:
        ArgumentError: The text has no name, or an argument has no value, two values or a credential.

    Source: HELM `run_entry.py`, `object_spec.py`.
    """
    check_length(text)
    name, _, rest = text.strip().partition(":")
    if not name:
        raise ArgumentError(f"run entry {text!r}: the scenario is missing. Write name:key=value,key=value.")
    arguments = []
    for argument in _split_arguments(rest) if rest else ():
        key, equals, value = argument.strip().partition("=")
        if not equals or not key:
            raise ArgumentError(f"run entry {text!r}: {argument!r} must be key=value.")
        if find_credential(key, value) is not None:
            raise credential_error(f"run entry {name!r}", key)
        arguments.append((key, _value(value)))
    # some of HELM's own files repeat an argument
    values = dict(arguments)
    for key, repeated in arguments:
        if values[key] != repeated:
            raise ArgumentError(f"run entry {text!r}: {key} has two values. Remove one.")
    return Entry(name, tuple(arguments), priority, tuple(groups))


def _split_arguments(text: str) -> list[str]:
    """Return the arguments between commas; commas inside parentheses belong to a value: noisy(accuracy=0.6, seed=1).

    A comma is inside parentheses if the next parenthesis after it closes.
    """
    arguments, end, inside = [], len(text), False
    for index in range(len(text) - 1, -1, -1):
        if text[index] in "()":
            inside = text[index] == ")"
        elif text[index] == "," and not inside:
            arguments.append(text[index + 1 : end])
            end = index
    return [text[:end], *reversed(arguments)]


def read_conf(path: str | Path, *, allow_substitution: bool = False, trusted: bool = False) -> list[Entry]:
    """Return the entries of a HELM .conf file (HOCON).

    Args:
        path: The file.
        allow_substitution: Whether the file may include other files and addresses, and read environment variables.
        trusted: Whether the models of its entries may run code and receive environment variables as keys.

    Raises:
        SpecError: The file is missing, isn't HOCON, has invalid `entries`, or needs `allow_substitution`. The message
            has the file and, for `include` and `${…}`, the line.
        ArgumentError: The text of an entry is invalid.
        PlanError: The file needs `trusted`.
    """
    from pyhocon import ConfigFactory
    from pyhocon.config_parser import NO_SUBSTITUTION
    from pyhocon.exceptions import ConfigException
    from pyparsing import ParseBaseException

    try:
        text = Path(path).read_text(encoding="utf-8")
        if allow_substitution:
            conf = ConfigFactory.parse_string(text, str(Path(path).parent))
        else:
            _refuse_include(path, text)
            conf = ConfigFactory.parse_string(text, resolve=False, unresolved_value=NO_SUBSTITUTION)
            _refuse_substitution(path, text, conf)
    except OSError as error:
        raise SpecError.at(path, "", f"can't be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise SpecError.at(path, "", f"the file must be UTF-8 text (invalid byte at position {error.start}).") from None
    except RecursionError:
        raise SpecError.at(path, "", f"its lists and objects are nested too deeply. Write: {_EXAMPLE}") from None
    except (ConfigException, ParseBaseException) as error:
        raise SpecError.at(path, "", f"invalid HOCON: {_first_line(error)}\nWrite: {_EXAMPLE}") from None
    rows = conf.get("entries", None) if isinstance(conf, Mapping) else None
    if not isinstance(rows, list):
        raise SpecError.at(path, "entries", f"must be a list. Write: {_EXAMPLE}")
    entries = [_entry(path, f"entries[{index}]", row) for index, row in enumerate(rows)]
    if not trusted:
        effects = foreign_effects([value for entry in entries for _, value in entry.arguments])
        refuse_effects(path, effects, "hf.suite(path, trusted=True)")
    return entries


# Each place where pyhocon may read `include`: a superset, because strings and comments may have the text too.
_INCLUDE = re.compile(r"\binclude\s*(?:\"|(?:required|url|file|package|classpath)\s*\()", re.IGNORECASE)
# A line that is a comment as a whole, in a file without strings of several lines.
_COMMENT = re.compile(r"^[ \t]*#[^\r\n]*", re.MULTILINE)
_ALLOW = (
    "If you trust the file, write hf.suite(path, allow_substitution=True), or --allow-substitution on the command line."
)


def _refuse_include(path: str | Path, text: str) -> None:
    """Raise if a file may include another, before it is parsed: the parser reads the other file at once."""
    plain = text if '"""' in text else _COMMENT.sub(lambda match: " " * len(match[0]), text)
    match = _INCLUDE.search(plain)
    if match is not None:
        raise SpecError.at(path, "", f"line {_line(text, match.start())}: include isn't allowed. {_ALLOW}")


def _refuse_substitution(path: str | Path, text: str, conf: object) -> None:
    """Raise if a parsed file has `${…}` or `+=`, which pyhocon resolves from environment variables too."""
    substitution = next(_substitutions(conf), None)
    if substitution is not None:
        added = re.search(rf"{re.escape(substitution.variable)}[\s\"]*\+=", text)
        # the parser expands tabs, and has no position of `+=`
        line = (
            _line(substitution.instring, substitution.loc) if substitution.instring in (text, text.expandtabs()) else 0
        )
        line = line or _line(text, added.start() if added else 0)
        raise SpecError.at(
            path,
            "",
            f"line {line}: ${{{substitution.variable!r:.80}}} isn't allowed: it may be an environment variable. "
            f"Write the value. {_ALLOW}",
        )


def _substitutions(value: object) -> Iterator[Any]:
    """Yield the references in a parsed file that aren't resolved."""
    from pyhocon.config_tree import ConfigSubstitution, ConfigValues

    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, ConfigSubstitution):
            yield item
        elif isinstance(item, ConfigValues):
            stack += [item.overridden_value, *item.tokens]
        elif isinstance(item, Mapping):
            stack += item.values()
        elif isinstance(item, list):
            stack += item


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _entry(path: str | Path, key: str, row: object) -> Entry:
    """Return the entry of one row of `entries`."""
    allowed = ("description", "priority", "groups")
    if not isinstance(row, Mapping) or not isinstance(row.get("description", None), str):
        raise SpecError.at(path, key, f"must be {{description: …, priority: 1}}. Write: {_EXAMPLE}")
    for field in row:
        if field not in allowed:
            raise SpecError.unknown_key(path, f"{key}.{field}", allowed)
    priority, groups = row.get("priority", 1), row.get("groups", [])
    if not is_integer(priority):
        raise SpecError.at(path, f"{key}.priority", f"must be an integer, not {priority!r}.")
    if not isinstance(groups, list):
        raise SpecError.at(path, f"{key}.groups", f"must be a list of names, not {groups!r}.")
    return parse_entry(row["description"], priority, [str(group) for group in groups])


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") + "."


def _value(text: str) -> ArgumentValue:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return text
    # "nan" and "inf" are text
    return number if math.isfinite(number) else text
