"""The strict reader of YAML files (safe, in UTF-8, without repeated keys), and the folder of our own."""

from functools import cache
from pathlib import Path
from typing import Any

from helmframe.errors import SourceMissingError, SpecError


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


def read_yaml(path: Path, name: str | None = None) -> Any:
    """Return the content of a YAML file.

    Args:
        path: The file.
        name: The file's name in errors; default its last part.

    Raises:
        SpecError: The file can't be read, isn't YAML in UTF-8, or repeats a key.
    """
    name = path.name if name is None else name
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError.at(name, "", f"can't be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise SpecError.at(name, "", f"the file must be UTF-8 text (invalid byte at position {error.start}).") from None
    return parse_yaml(text, name)


def parse_yaml(text: str, name: str) -> Any:
    """Return the content of a text in YAML; `name` is its name in errors.

    Raises:
        SpecError: The text isn't YAML, or repeats a key.
    """
    import yaml

    try:
        return yaml.load(text, Loader=_loader())  # noqa: S506 - a safe loader
    # constructors of dates and numbers raise other errors
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise SpecError.at(
            name, "", f"invalid YAML{_location(error)}. Check the brackets, quotes and indentation."
        ) from None


def _location(error: Exception) -> str:
    """Return ` in line 2, column 1: …` from an error of the reader."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
    return f"{where}: {str(problem or error).strip().partition(chr(10))[0].rstrip('.')}"


@cache
def _loader() -> Any:
    import yaml

    # The reader in C is about ten times as fast; PyYAML is not always built with it.
    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        """A loader that raises for a repeated key; PyYAML's ignores the first."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value in keys:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} is repeated", key.start_mark
                    )
                keys.add(str(key.value))
            mapping: dict[Any, Any] = super().construct_mapping(node, deep)
            return mapping

    return Loader
