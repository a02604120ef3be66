"""Jinja templates of task files, rendered in a sandbox with limits of steps, calls, size and time of patterns.

A template of a file and the text of a row are hostile: neither reaches Python objects, and each rendering ends.

Source: lm-eval 0.4.13, `utils.py` `apply_template`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import StrictUndefined, TemplateError, nodes
from jinja2.sandbox import SandboxedEnvironment
from jinja2.visitor import NodeTransformer

from helmframe._core.safe_text import bounded_pattern
from helmframe.errors import SpecError

# The limits of one rendering: items of loops, calls, characters of the result and of any text in it.
STEPS, CALLS, CHARACTERS = 200_000, 20_000, 4_000_000
_PATTERN = 1_000  # characters of a regular expression
_POWER = 64  # the largest exponent
# Methods and filters that make a text of any width.
_WIDE = {"center", "ljust", "rjust", "zfill", "expandtabs", "indent", "format", "format_map", "wordwrap", "truncate"}


class _LimitError(Exception):
    """An error for a template that exceeds a limit."""


class _Budget:
    """The remaining steps and calls of one rendering."""

    def __init__(self) -> None:
        self.steps, self.calls = STEPS, CALLS

    def step(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise _LimitError(f"its loops have more than {STEPS:,} steps")

    def call(self) -> None:
        self.calls -= 1
        if self.calls < 0:
            raise _LimitError(f"it has more than {CALLS:,} calls")


_budget: ContextVar[_Budget] = ContextVar("_budget")


class _Environment(SandboxedEnvironment):
    """A sandbox without loaders and imports, whose loops, calls and operators are counted."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def call(__self, __context: Any, __obj: Any, /, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as in Jinja
        _budget.get().call()
        name, owner = getattr(__obj, "__name__", ""), getattr(__obj, "__self__", None)
        if name in _WIDE:
            _check_widths((*args, owner), kwargs)
        elif name == "replace" and isinstance(owner, str):
            _check_replaced(owner, *args)
        elif name == "join" and args:
            _check_sizes(args[0], owner)
        return super().call(__context, __obj, *args, **kwargs)

    def wrap_str_format(self, value: Any) -> Any:
        wrapped = super().wrap_str_format(value)
        if wrapped is not None:
            _check_widths((value.__self__,), {})
        return wrapped

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        _budget.get().call()
        if operator == "**" and (abs(right) > _POWER or abs(left) > CHARACTERS):
            raise _LimitError("a power is too large")
        if operator == "*":
            for one, other in ((left, right), (right, left)):
                if isinstance(one, int) and hasattr(other, "__len__") and one * len(other) > CHARACTERS:
                    raise _LimitError("a repeated text is too long")
        if operator == "+" and hasattr(left, "__len__") and hasattr(right, "__len__"):
            _check_sizes((left, right))
        if operator == "%" and isinstance(left, str):
            _check_widths(re.findall(r"\d+", left), {})
        return super().call_binop(context, operator, left, right)


def _check_widths(args: Any, kwargs: Mapping[str, Any]) -> None:
    """Raise if an argument, or a number in a text argument, is a width that no prompt has."""
    for value in (*args, *kwargs.values()):
        numbers = [value] if isinstance(value, int) else re.findall(r"\d{6,}", value) if isinstance(value, str) else []
        if any(int(number) > CHARACTERS for number in numbers):
            raise _LimitError("a width is too large")


def _check_sizes(values: Any, separator: Any = "") -> None:
    """Raise if the texts or lists, joined, are too long."""
    sizes = (
        [len(value) if hasattr(value, "__len__") else 20 for value in values]
        if isinstance(values, list | tuple)
        else []
    )
    if sum(sizes) + len(sizes) * len(separator or "") > CHARACTERS:
        raise _LimitError("a joined text is too long")


def _check_replaced(text: Any, old: Any = "", new: Any = "", *_: Any) -> None:
    """Raise if the text is too long after the replacement."""
    text, old, new = str(text), str(old), str(new)
    if len(text) + (text.count(old) if old else len(text) + 1) * len(new) > CHARACTERS:
        raise _LimitError("a replaced text is too long")


def _joined(values: Any) -> str:
    """Return the operands of the operator ~ as one text."""
    texts = [str(value) for value in values]
    _check_sizes(texts)
    return "".join(texts)


class _Counting(NodeTransformer):
    """Let loops count their items, and the operator ~ check the size of its result."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - as in Jinja
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, "_counted", [], [], None, None, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - as in Jinja
        self.generic_visit(node)
        return nodes.Filter(nodes.List(node.nodes), "_joined", [], [], None, None, lineno=node.lineno)


def _counted(values: Any) -> Iterator[Any]:
    """Yield the items of a loop, and count them."""
    budget = _budget.get()
    for value in values:
        budget.step()
        yield value


def _regex_replace(text: Any, pattern: str, repl: str, count: int = 0) -> str:
    """Return a text with a pattern replaced: a filter that lm-eval adds to Jinja."""
    if len(pattern) > _PATTERN:
        raise _LimitError("a regular expression is too long")
    return bounded_pattern(pattern).sub(repl, str(text), count=count)


def _checked_filter(function: Callable[..., Any], check: Callable[..., None] | None = None) -> Callable[..., Any]:
    first = 1 if hasattr(function, "jinja_pass_arg") else 0  # Jinja passes its own object first

    def checked(*args: Any, **kwargs: Any) -> Any:
        _budget.get().call()
        _check_widths(args[first:], kwargs)
        if check is not None:
            check(*args[first:], **{name: value for name, value in kwargs.items() if name in ("old", "new")})
        return function(*args, **kwargs)

    if hasattr(function, "jinja_pass_arg"):
        setattr(checked, "jinja_pass_arg", function.jinja_pass_arg)  # noqa: B010 - an attribute of Jinja
    return checked


@lru_cache(maxsize=1)
def _environment() -> _Environment:
    environment = _Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    environment.globals.pop("lipsum", None)
    for name in ("center", "indent", "format", "wordwrap", "truncate", "batch", "slice"):
        environment.filters[name] = _checked_filter(environment.filters[name])
    for name, check in (("replace", _check_replaced), ("join", _check_sizes)):
        environment.filters[name] = _checked_filter(environment.filters[name], check)
    environment.filters["regex_replace"] = _regex_replace
    environment.filters["_joined"] = _joined
    environment.filters["_counted"] = _counted
    return environment


class Template:
    """A compiled template. Texts are trusted no more than templates: they are inserted, and never compiled."""

    def __init__(self, source: str, where: str) -> None:
        self.source, self._where = source, where
        environment = _environment()
        try:
            tree = environment.parse(source)
            self._compiled = environment.from_string(_Counting().visit(tree))
        except (TemplateError, RecursionError) as error:
            self._fail(error)

    def render(self, document: Mapping[str, Any]) -> str:
        """Return the text of a document.

        Raises:
            SpecError: The template fails, or exceeds a limit. The message has the place and the reason.
        """
        token = _budget.set(_Budget())
        try:
            pieces: list[str] = []
            size = 0
            for piece in self._compiled.generate(**document):
                size += len(piece)
                if size > CHARACTERS:
                    raise _LimitError(f"it renders more than {CHARACTERS:,} characters")
                pieces.append(piece)
        except (TemplateError, _LimitError, RecursionError) as error:
            self._fail(error)
        except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError, re.error) as error:
            self._fail(error)
        finally:
            _budget.reset(token)
        return "".join(pieces)

    def _fail(self, error: BaseException) -> NoReturn:
        reason = str(error).partition("\n")[0][:200].rstrip(".") or type(error).__name__
        shown = self.source if len(self.source) <= 80 else self.source[:80] + "…"
        raise SpecError.at(self._where, "", f"the template {shown!r} fails: {reason}.") from None


@lru_cache(maxsize=4096)
def template(source: str, where: str) -> Template:
    r"""Return the compiled template of a source; `where` names the task and key in errors.

    >>> template("Question: {{question.strip()}}\\nAnswer:", "arc").render({"question": " Why? "})
    'Question: Why?\\nAnswer:'
    """
    return Template(source, where)
