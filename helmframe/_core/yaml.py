"""The strict and bounded readers of YAML and JSON, and the folder of our own files.

Files of others are untrusted: nested, aliased, long and damaged texts raise, within limits of memory and time.
"""

import codecs
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from helmframe._core.safe_text import error_text, valid_unicode
from helmframe.errors import HelmframeError, SourceBrokenError, SourceMissingError, SpecError

# The limits of a YAML text: bytes, lists and mappings inside each other, values (aliases expanded), and directives.
_LONGEST_YAML = 4 << 20
_MOST_DEPTH = 100
_MOST_NODES = 200_000
_MOST_DIRECTIVES = 100
# Characters of a number; base 60 takes quadratic time.
_LONGEST_NUMBER = 40
# The limits of a JSON value that is read as a whole: bytes, and values; short texts can't have too many values.
LONGEST_JSON = 32 << 20
_MOST_VALUES = 1_000_000
_SHORT_JSON = 4 << 20
_CHUNK = 1 << 20  # bytes of a JSON file that are read at once
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
# An escape of one half of a surrogate pair without the other half.
_LONE_SURROGATE = re.compile(
    r"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD])[c-fC-F])"
)
# The errors of code that meets a value of another structure than it expects.
_STRUCTURE_ERRORS = (
    ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError,
    pl.exceptions.PolarsError, pl.exceptions.PanicException,
)  # fmt: skip


@cache
def specs_root() -> Path:
    """Return the folder of helmframe's own specs and packaged data: in the package, or next to it in a checkout.

    Raises:
        SourceMissingError: The installation is incomplete.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "specs", package.parent / "specs"):
        if (folder / "scenarios").is_dir():
            return folder
    raise SourceMissingError(f"helmframe's specs are missing from {package}. Install helmframe again.")


@contextmanager
def reading(name: object, form: str, kind: type[HelmframeError] = SourceBrokenError) -> Iterator[None]:
    """Raise errors of the block, which reads data of another program or person, as errors of the data.

    Args:
        name: The file, or the part of it that the block reads.
        form: The expected format, such as "in Inspect's format".
        kind: The class of the error.

    Raises:
        HelmframeError: The block met a value of another structure than it expects.
    """
    try:
        yield
    except HelmframeError:
        raise
    except _STRUCTURE_ERRORS as error:
        raise kind(f"{name} isn't {form}: {error_text(error).rstrip('.')}.") from None


# -- YAML --------------------------------------------------------------------------------------------------------------


def read_yaml(path: Path, name: str | None = None) -> Any:
    """Return the content of a YAML file.

    Args:
        path: The file.
        name: The file's name in errors; default its last part.

    Raises:
        SpecError: The file can't be read, isn't YAML in UTF-8, repeats a key, or exceeds a limit.
    """
    name = path.name if name is None else name
    return parse_yaml(read_spec_text(path, name), name)


def read_spec_text(path: Path, name: str, longest: int = _LONGEST_YAML) -> str:
    """Return the text of a file that is at most `longest` bytes long.

    Raises:
        SpecError: The file can't be read, isn't UTF-8, or is longer.
    """
    try:
        with path.open("rb") as file:
            data = file.read(longest + 1)
    except (OSError, ValueError) as error:  # a path with a NUL byte is a ValueError
        raise SpecError.at(name, "", f"can't be read: {getattr(error, 'strerror', None) or error}.") from None
    return spec_text(data, name, longest)


def spec_text(data: bytes, name: str, longest: int = _LONGEST_YAML) -> str:
    """Return the bytes of a file as text; the arguments and errors are those of `read_spec_text`."""
    if len(data) > longest:
        raise SpecError.at(name, "", f"is larger than {longest >> 20} MB.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SpecError.at(name, "", f"the file must be UTF-8 text (invalid byte at position {error.start}).") from None


def parse_yaml(
    text: str,
    name: str,
    *,
    unique_keys: bool = True,
    tags: Mapping[str, Callable[[str], Any]] | None = None,
) -> Any:
    """Return the content of a text in YAML.

    Args:
        text: The text.
        name: Its name in errors.
        unique_keys: Whether a repeated key is an error; if not, the last value counts.
        tags: Functions that return the value of a scalar with a tag, such as `!function`.

    Raises:
        SpecError: The text isn't YAML, repeats a key, or exceeds a limit.
    """
    import yaml

    try:
        _check_yaml(text)
        loader = _loader(unique_keys)(text)
        loader.tag_functions = tags or {}
        try:
            node = loader.get_single_node()
            if "&" in text and "*" in text:
                _check_aliases(node)
            return None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    # constructors of dates and numbers raise other errors
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise SpecError.at(
            name, "", f"invalid YAML{_location(error)}. Check the brackets, quotes and indentation."
        ) from None


def _check_yaml(text: str) -> None:
    """Check a text before it is composed, which recurses in C for each level and takes about 1 KB for each value.

    Raises:
        ValueError: The text exceeds a limit.
        YAMLError: The text isn't YAML.
    """
    if len(text) > _LONGEST_YAML:
        raise ValueError(f"the text is longer than {_LONGEST_YAML:,} characters")
    if text.count("%TAG") > _MOST_DIRECTIVES:
        raise ValueError(f"the text has more than {_MOST_DIRECTIVES} %TAG directives")
    # upper bounds: a level of blocks takes a column, but a list in a mapping none; a level of brackets takes a bracket
    columns = max(map(len, re.findall(r"^[ \-?:]+", text, re.MULTILINE)), default=0)
    depth_bound = 2 * (columns + 1) + text.count("[") + text.count("{")
    if depth_bound <= _MOST_DEPTH and len(text) <= _MOST_NODES:
        return
    import yaml

    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=_base_loader())):
        if isinstance(event, yaml.events.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.events.CollectionEndEvent):
            depth -= 1
        if depth > _MOST_DEPTH:
            raise ValueError(f"the text is nested more than {_MOST_DEPTH} levels deep")
        if number > _MOST_NODES:
            raise ValueError(f"the text has more than {_MOST_NODES:,} values")


def _check_aliases(root: Any) -> None:
    """Check the size and depth of a document with all its aliases and merge keys expanded.

    Raises:
        ValueError: The document contains itself, or exceeds a limit.
    """
    import yaml

    measures: dict[int, tuple[int, int]] = {}  # by node: its values, aliases expanded, and its depth

    def measure(node: Any, level: int) -> tuple[int, int]:
        if isinstance(node, yaml.ScalarNode) or node is None:
            return 1, 0
        if level > _MOST_DEPTH:
            raise ValueError(f"the aliases are nested more than {_MOST_DEPTH} levels deep, or contain themselves")
        if id(node) not in measures:
            inner = chain.from_iterable(node.value) if isinstance(node, yaml.MappingNode) else node.value
            parts = [measure(part, level + 1) for part in inner]
            measures[id(node)] = 1 + sum(size for size, _ in parts), 1 + max((deep for _, deep in parts), default=0)
        size, depth = measures[id(node)]
        if size > _MOST_NODES or level + depth > _MOST_DEPTH:
            raise ValueError(f"the aliases expand to more than {_MOST_NODES:,} values or {_MOST_DEPTH} levels")
        return size, depth

    measure(root, 0)


def _location(error: Exception) -> str:
    """Return ` in line 2, column 1: …` from an error of the reader."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
    return f"{where}: {str(problem or error).strip().partition(chr(10))[0].rstrip('.')}"


def _base_loader() -> Any:
    import yaml

    # The reader in C is about ten times as fast; PyYAML is not always built with it.
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def _loader(unique_keys: bool) -> Any:
    import yaml

    class Loader(_base_loader()):  # type: ignore[misc]
        """A loader that raises for a repeated key, for which PyYAML ignores the first value, and for a long number."""

        tag_functions: Mapping[str, Callable[[str], Any]] = {}

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in keys and (unique_keys or key.value == "<<"):
                        raise _error(key, f"the key {key.value!r} is repeated")
                    keys.add(key.value)
            mapping: dict[Any, Any] = super().construct_mapping(node, deep)
            return mapping

        def construct_number(self, node: yaml.ScalarNode) -> int | float:
            if len(node.value) > _LONGEST_NUMBER:
                raise _error(node, f"the number has more than {_LONGEST_NUMBER} characters")
            is_integer = node.tag.endswith(":int")
            value: int | float = self.construct_yaml_int(node) if is_integer else self.construct_yaml_float(node)
            if is_integer and not -(2**63) <= value < 2**64:
                raise _error(node, "the integer has more than 64 bits")
            return value

        def construct_tag(self, node: yaml.Node) -> Any:
            if node.tag in self.tag_functions:
                return self.tag_functions[node.tag](str(self.construct_scalar(node)))
            return self.construct_undefined(node)

    def _error(node: yaml.Node, problem: str) -> Exception:
        return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)

    Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_number)
    Loader.add_constructor("tag:yaml.org,2002:float", Loader.construct_number)
    Loader.add_constructor(None, Loader.construct_tag)
    return Loader


# -- JSON --------------------------------------------------------------------------------------------------------------


def decode_json(data: str | bytes) -> Any:
    """Return the value of a JSON text. NaN and Infinity are values too, and lone surrogates become U+FFFD.

    Raises:
        ValueError: The text isn't JSON in UTF-8, is nested too deeply, or is too long.
    """
    if len(data) > LONGEST_JSON:
        raise ValueError(f"it is longer than {LONGEST_JSON >> 20} MB")
    text = (data if isinstance(data, str) else data.decode("utf-8")).removeprefix("\ufeff")
    if len(text) > _SHORT_JSON:
        _check_values(text)
    try:
        return _with_valid_texts(json.loads(text), text, 0, len(text))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: Path) -> Any:
    """Return the value in a JSON file.

    Raises:
        SourceMissingError: The file doesn't exist.
        SourceBrokenError: The file isn't JSON in UTF-8, is nested too deeply, or is too long.
    """
    try:
        with path.open("rb") as file:
            return decode_json(file.read(LONGEST_JSON + 1))
    except FileNotFoundError:
        raise SourceMissingError(f"{path} not found.") from None
    except ValueError as error:
        raise SourceBrokenError(f"{path} isn't valid JSON: {error}") from None
    except OSError as error:
        raise SourceBrokenError(f"{path} can't be read: {error.strerror or error}.") from None


def iter_json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the number and the value of each line of a file in JSON Lines, except for empty lines.

    Raises:
        SourceBrokenError: A line isn't JSON in UTF-8, is nested too deeply, or is too long.
    """
    number = 0
    try:
        with path.open("rb") as file:
            while line := file.readline(LONGEST_JSON + 1):
                number += 1
                if not line.isspace():
                    yield number, decode_json(line)
    except ValueError as error:
        raise SourceBrokenError(f"{path}: line {number} isn't valid JSON: {error_text(error)}.") from None
    except OSError as error:
        if isinstance(error, HelmframeError):
            raise
        raise SourceBrokenError(f"{path} can't be read: {error.strerror or error}.") from None


def iter_json_items(file: BinaryIO, key: str | None = None) -> Iterator[Any]:
    """Yield the elements of a list in a JSON file, one at a time, so that the file may be larger than memory.

    Args:
        file: The file, opened in binary mode.
        key: The key of the list in an object; None for a file that is a list. A value that isn't a list is the only
            element, and a missing key has none.

    Raises:
        SourceBrokenError: The file isn't JSON, is truncated, or an element is nested too deeply or too long.
    """
    name = getattr(file, "name", "the file")
    try:
        yield from _JsonStream(file).items(key)
    except (ValueError, RecursionError) as error:
        problem = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise SourceBrokenError(f"{name} isn't complete JSON: {problem}.") from None


class _JsonStream:
    """A reader of the elements of a list in a JSON file, which decodes one element at a time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = json.JSONDecoder()
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._text, self._at, self._ended = "", 0, False
        self._position = 0  # of the start of the text in the file, in characters

    def items(self, key: str | None) -> Iterator[Any]:
        """Yield the elements of the list, as `iter_json_items` does."""
        if self._peek() == "\ufeff":
            self._at += 1
        if key is None:
            yield from self._elements()
            return
        for name in self._keys():
            if name == key:
                if self._peek() == "[":
                    yield from self._elements()
                else:
                    yield self._value()
                return
            if self._peek() == "[":  # may be larger than memory
                for _ in self._elements():
                    pass
            else:
                self._value()

    def _elements(self) -> Iterator[Any]:
        self._expect("[")
        if self._peek() == "]":
            self._at += 1
            return
        while True:
            yield self._value()
            if self._expect(",]") == "]":
                return

    def _keys(self) -> Iterator[str]:
        """Yield the keys of an object; the consumer reads the value of each."""
        self._expect("{")
        if self._peek() == "}":
            self._at += 1
            return
        while True:
            name = self._value()
            if not isinstance(name, str):
                raise self._invalid("a key must be a text")
            self._expect(":")
            yield name
            if self._expect(",}") == "}":
                return

    def _value(self) -> Any:
        """Decode the next value; if the text ends inside it, read on."""
        self._peek()
        while True:
            if len(self._text) - self._at > _SHORT_JSON:
                _check_values(self._text[self._at :])
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                unterminated = error.msg.startswith("Unterminated string")
                if self._ended and (unterminated or error.pos >= len(self._text)):
                    raise self._invalid("the file ends too early", len(self._text)) from None
                if self._ended or (not unterminated and error.pos < len(self._text) - _LONGEST_TOKEN):
                    raise self._invalid(error.msg, error.pos) from None
            else:
                if end < len(self._text) or self._ended:  # a number at the end may go on
                    value = _with_valid_texts(value, self._text, self._at, end)
                    self._at = end
                    return value
            self._read_on()

    def _peek(self) -> str:
        """Return the next character that isn't a space, without consuming it."""
        while True:
            match = _SPACES.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                raise self._invalid("the file ends too early", self._at)
            self._read_on()

    def _expect(self, characters: str) -> str:
        """Consume the next character, which must be one of these."""
        character = self._peek()
        if character not in characters:
            raise self._invalid(f"{' or '.join(characters)} is missing", self._at)
        self._at += 1
        return character

    def _read_on(self) -> None:
        """Read as much again as the unfinished value has, at least a chunk."""
        rest = self._text[self._at :]
        if sys.getsizeof(rest) > LONGEST_JSON:
            raise self._invalid(f"an element is longer than {LONGEST_JSON >> 20} MB")
        data = self._file.read(max(_CHUNK, len(rest)))
        self._position += self._at
        self._text, self._at, self._ended = rest + self._decode(data, not data), 0, not data

    def _invalid(self, problem: str, at: int | None = None) -> ValueError:
        return ValueError(f"{problem} at character {self._position + (self._at if at is None else at) + 1:,}")


_SPACES = re.compile(r"[ \t\n\r]*")
_LONGEST_TOKEN = 20  # characters of a literal or an escape that the end of a text may cut


def _check_values(text: str) -> None:
    """Check the number of values in a long JSON text.

    Raises:
        ValueError: The text has too many.
    """
    signs = ",[{"
    if sum(map(text.count, signs)) > _MOST_VALUES:
        plain = _STRING.sub("", text)
        if sum(map(plain.count, signs)) > _MOST_VALUES:
            raise ValueError(f"it has more than {_MOST_VALUES:,} values")


def _with_valid_texts(value: Any, text: str, start: int, end: int) -> Any:
    """Return a value of a JSON text without lone surrogates, which only escapes can produce."""
    if text.find("\\u", start, end) < 0:
        return value
    if text.find("\\ud", start, end) < 0 and text.find("\\uD", start, end) < 0:
        return value
    return _valid(value) if _LONE_SURROGATE.search(text, start, end) else value


def _valid(value: Any) -> Any:
    if isinstance(value, str):
        return valid_unicode(value)
    if isinstance(value, list):
        return [_valid(item) for item in value]
    if isinstance(value, dict):
        return {_valid(key): _valid(item) for key, item in value.items()}
    return value
