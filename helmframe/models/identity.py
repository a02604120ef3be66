"""What a Python object that answers is made of, as one hash: code, values and weights it reaches in this process."""

import dis
import functools
import hashlib
import itertools
import sys
import sysconfig
import types
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAX_DEPTH = 60
MAX_ELEMENTS = 10_000
_SCALARS = (str, bytes, int, float, complex, bool, type(None), type(Ellipsis))
# what these store is the object's first state, not something that a call changes
_BUILDERS = frozenset({"__init__", "__new__", "__post_init__", "__setstate__", "__set_name__", "__init_subclass__"})


def identity(given: object) -> str:
    """sha256 (hex) over what the object reaches: equal as long as a call would run the same code on the same state.

    Followed: code, defaults, closures and the globals that the code names, through functions, methods, partials,
    objects and classes that are not installed packages; torch modules, tensors and arrays by content; plain values by
    value, unless the code reached stores to their name (counters, caches). Everything else, lists and dicts too, counts
    as one and the same object whatever it holds, so a function may fill a list without becoming another. Not seen:
    values inside a list or dict changed in place, elements of one beyond the first 10,000, and what is reached only by
    a name computed at run time.

    It means something in this process only, and never imports torch.
    """
    return _Walk(values=True).digest_of(given)


def code_identity(given: object) -> str:
    """sha256 (hex) over the code alone that the object reaches: what `identity` sees, without values and weights."""
    return _Walk(values=False).digest_of(given)


def is_torch_module(given: object) -> bool:
    """Whether it is a torch module; False without a look where nobody has imported torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(given, torch.nn.Module)


@dataclass
class _Seen:
    """What the code reached so far names and stores; complete once a walk adds nothing."""

    names: set[str] = field(default_factory=set)
    stored: set[str] = field(default_factory=set)

    def size(self) -> tuple[int, int]:
        return len(self.names), len(self.stored)


class _Walk:
    """Depth first through what is reached; an object met again is its place in the walk.

    Which methods matter and which values are counters depends on all the code reached, so the walk is repeated until it
    has met every name (mostly twice), and the last one counts.
    """

    def __init__(self, *, values: bool) -> None:
        self.values = values
        self.seen = _Seen()
        self.contents: dict[int, str] = {}

    def digest_of(self, given: object) -> str:
        while True:
            before = self.seen.size()
            self.places: dict[int, int] = {}
            self.kept: list[object] = []  # temporary objects (bound methods) must live on, or their id is used again
            found = self.of(given, 0)
            if self.seen.size() == before:
                return found

    def of(self, given: object, depth: int) -> str:
        """The hash of one object and what it reaches."""
        if isinstance(given, _SCALARS):
            return _hash("scalar", type(given).__name__, repr(given)) if self.values else ""
        if id(given) in self.places:
            return f"seen {self.places[id(given)]}"
        self.places[id(given)] = len(self.places)
        self.kept.append(given)
        if depth > MAX_DEPTH:
            return self.token(given)
        return _hash(type(given).__qualname__, *self.parts(given, depth + 1))

    def parts(self, given: Any, depth: int) -> Iterator[str]:
        if isinstance(given, types.FunctionType):
            yield from self.function(given, depth)
        elif isinstance(given, types.MethodType):
            yield from (self.of(given.__func__, depth), self.of(given.__self__, depth))
        elif isinstance(given, functools.partial):
            yield from (self.of(each, depth) for each in (given.func, *given.args))
            yield from (part for key, each in sorted(given.keywords.items()) for part in (key, self.of(each, depth)))
        elif isinstance(given, staticmethod | classmethod):
            yield self.of(given.__func__, depth)
        elif isinstance(given, property):
            yield from (self.of(each, depth) for each in (given.fget, given.fset) if each is not None)
        elif isinstance(given, functools.cached_property):
            yield self.of(given.func, depth)
            self.seen.stored.add(str(given.attrname))
        elif isinstance(given, types.BuiltinMethodType):
            yield given.__qualname__
            if given.__self__ is not None and not isinstance(given.__self__, types.ModuleType):
                yield self.of(given.__self__, depth)
        elif isinstance(given, type):
            yield from self.of_class(given, depth)
        elif isinstance(given, tuple | frozenset):
            parts = [self.of(each, depth) for each in given]
            yield from parts if isinstance(given, tuple) else sorted(parts)
        elif isinstance(given, list | dict | set):
            yield self.token(given)
            yield from self.inside(given, depth)
        elif isinstance(given, types.ModuleType):
            yield given.__name__
            yield from self.module(given, depth)
        elif "__wrapped__" in _dict(given):  # lru_cache and its like
            yield self.of(_dict(given)["__wrapped__"], depth)
        else:
            yield from self.instance(given, depth)

    def function(self, given: types.FunctionType, depth: int) -> Iterator[str]:
        code = _code(given.__code__)
        yield given.__module__ or ""
        yield code.digest
        mine = not _installed_file(given.__code__.co_filename)
        if mine:
            self.seen.names |= code.names
            if given.__name__ not in _BUILDERS:
                self.seen.stored |= code.stored
        yield from (self.of(each, depth) for each in given.__defaults__ or ())
        for name, value in sorted((given.__kwdefaults__ or {}).items()):
            yield from (name, self.of(value, depth))
        for name, cell in zip(given.__code__.co_freevars, given.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not filled yet
                continue
            yield from self.named(name, value, depth)
        if mine:
            for name in sorted(code.globals & given.__globals__.keys()):
                yield from self.named(name, given.__globals__[name], depth)
        if "__wrapped__" in _dict(given):
            yield self.of(_dict(given)["__wrapped__"], depth)

    def named(self, name: str, value: object, depth: int) -> Iterator[str]:
        """A value under the name that the code has for it; what the code itself stores there is left out."""
        yield name
        if name not in self.seen.stored or _has_content(value) or isinstance(value, types.FunctionType):
            yield self.of(value, depth)

    def of_class(self, given: type, depth: int) -> Iterator[str]:
        yield f"{given.__module__}.{given.__qualname__}"
        for each in given.__mro__:
            if _installed_class(each):
                continue
            for name, value in sorted(vars(each).items()):
                is_code = isinstance(value, _CODE) or "__wrapped__" in _dict(value)
                implicit = name == "forward" or (name.startswith("__") and name.endswith("__"))
                if is_code and (implicit or name in self.seen.names):
                    yield from (name, self.of(value, depth))
                elif isinstance(value, _SCALARS) and not name.startswith("__"):
                    yield from self.named(name, value, depth)

    def module(self, given: types.ModuleType, depth: int) -> Iterator[str]:
        if not _installed_file(getattr(given, "__file__", None)):
            for name in sorted(self.seen.names & vars(given).keys()):
                yield from self.named(name, vars(given)[name], depth)

    def instance(self, given: object, depth: int) -> Iterator[str]:
        if _has_content(given):
            yield self.content(given)
            if is_torch_module(given):
                yield from self.torch_module(given, depth)
        elif _installed_class(type(given)):
            yield self.token(given)
            yield from self.inside([*_attributes(given).values()], depth)
        else:
            yield self.of(type(given), depth)
            for name, value in sorted(_attributes(given).items()):
                yield from self.named(name, value, depth)

    def torch_module(self, given: Any, depth: int) -> Iterator[str]:
        """What else than weights makes a module answer: code, hooks (steering), switches (adapters on or off)."""
        for place, module in given.named_modules():
            mine = not _installed_class(type(module))
            yield self.of(type(module), depth) if mine else type(module).__qualname__
            for name, value in sorted(vars(module).items()):
                if name in ("_forward_hooks", "_forward_pre_hooks"):
                    parts = [self.of(each, depth) for each in value.values()]
                elif name == "training":  # a function may well put its model into eval mode itself
                    parts = []
                elif name == "forward" or isinstance(value, bool | str) or (mine and isinstance(value, _SCALARS)):
                    parts = [*self.named(name, value, depth)]
                else:
                    parts = []
                if parts:
                    yield from (place, name, *parts)

    def inside(self, given: list[Any] | dict[Any, Any] | set[Any], depth: int) -> Iterator[str]:
        """The weights and functions in a container; its other elements may come and go."""
        values = list(given.values() if isinstance(given, dict) else given)
        for value in values[:MAX_ELEMENTS]:
            if _has_content(value) or isinstance(value, types.FunctionType | types.MethodType):
                yield self.of(value, depth)

    def token(self, given: object) -> str:
        return f"object {_token(given)}" if self.values else ""

    def content(self, given: Any) -> str:
        if not self.values:
            return ""
        if id(given) not in self.contents:
            self.contents[id(given)] = weights_digest(given) if is_torch_module(given) else _array_digest(given)
        return self.contents[id(given)]


def weights_digest(module: Any) -> str:
    """sha256 (hex) of a torch module's state: names, shapes, types and bytes of its tensors."""
    hasher = hashlib.sha256()
    known: dict[tuple[Any, ...], str] = {}
    for name, value in module.state_dict().items():
        hasher.update(f"\0{name}\0".encode())
        if not hasattr(value, "data_ptr"):
            hasher.update(repr(value).encode())
            continue
        # tied weights are read once
        place = (str(value.device), value.data_ptr(), tuple(value.shape), tuple(value.stride()), str(value.dtype))
        hasher.update(known.setdefault(place, name).encode())
        if known[place] == name:
            _update(hasher, value)
    return hasher.hexdigest()


def _array_digest(given: Any) -> str:
    hasher = hashlib.sha256()
    _update(hasher, given)
    return hasher.hexdigest()


def _update(hasher: Any, given: Any) -> None:
    hasher.update(f"{given.dtype}{tuple(given.shape)}".encode())
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(given, torch.Tensor):
        if given.is_meta or given.layout != torch.strided:
            hasher.update(f"object {_token(given)}".encode())
            return
        given = given.detach().cpu().contiguous().reshape(-1)
        given = (given.dequantize() if given.is_quantized else given).view(torch.uint8).numpy()
    elif given.dtype.hasobject:
        hasher.update(f"object {_token(given)}".encode())
        return
    if given.size:
        hasher.update(memoryview(given if given.flags.c_contiguous else given.copy("C")).cast("B"))


def _has_content(given: object) -> bool:
    """Whether it is a torch module, a tensor or an array: what training changes in place."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is not None and isinstance(given, torch.nn.Module | torch.Tensor):
        return True
    return numpy is not None and isinstance(given, numpy.ndarray)


def _dict(given: object) -> dict[str, Any]:
    found = getattr(given, "__dict__", {})
    return found if isinstance(found, dict) else {}


def _attributes(given: object) -> dict[str, Any]:
    found = dict(_dict(given))
    for each in type(given).__mro__:
        slots = vars(each).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and isinstance(vars(each).get(name), types.MemberDescriptorType):
                try:
                    found[name] = vars(each)[name].__get__(given)
                except AttributeError:  # a slot not filled yet
                    continue
    return found


@dataclass(frozen=True)
class _Code:
    """One code object and those nested in it: hash, global names read, all names, and names stored to."""

    digest: str
    globals: frozenset[str]
    names: frozenset[str]
    stored: frozenset[str]


_CODE = (types.FunctionType, staticmethod, classmethod, property, functools.cached_property)
_READS = ("LOAD_GLOBAL", "LOAD_NAME")
_STORES = ("STORE_GLOBAL", "STORE_NAME", "STORE_ATTR")


@functools.lru_cache(maxsize=4096)
def _code(code: types.CodeType) -> _Code:
    nested = [_code(each) for each in code.co_consts if isinstance(each, types.CodeType)]
    constants = [repr(each) for each in code.co_consts if not isinstance(each, types.CodeType | frozenset)]
    constants += [repr(sorted(map(repr, each))) for each in code.co_consts if isinstance(each, frozenset)]
    reads, stores = set(), set()
    for instruction in dis.get_instructions(code):
        if instruction.opname in _READS:
            reads.add(str(instruction.argval))
        elif instruction.opname in _STORES or (
            instruction.opname == "STORE_DEREF" and instruction.argval in code.co_freevars
        ):
            stores.add(str(instruction.argval))
    digest = _hash(
        code.co_code.hex(),
        *constants,
        *code.co_names,
        *code.co_varnames,
        *code.co_freevars,
        code.co_exceptiontable.hex(),
        *(each.digest for each in nested),
    )
    return _Code(
        digest,
        frozenset(reads).union(*(each.globals for each in nested)),
        frozenset(code.co_names).union(*(each.names for each in nested)),
        frozenset(stores).union(*(each.stored for each in nested)),
    )


@functools.lru_cache(maxsize=1)
def _installed_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    own = str(Path(__file__).parents[1])
    return tuple({own, *(paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib"))})


def _installed_file(file: str | None) -> bool:
    """Whether a file belongs to Python or an installed package, which nobody edits while a process runs."""
    return file is None or file.startswith(("<frozen", *_installed_folders())) or "site-packages" in file


def _installed_class(given: type) -> bool:
    module = sys.modules.get(given.__module__)
    if given.__module__ == "__main__":  # a script or notebook: no file, or one of the user's
        return False
    file = getattr(module, "__file__", None)
    if module is None:
        return not any(isinstance(each, types.FunctionType) for each in vars(given).values())
    return _installed_file(file)


_TOKENS: dict[int, tuple[int, Callable[[], object]]] = {}
_next_token = itertools.count()


def _token(given: object) -> int:
    """A number for this object alone; `id()` would be used again for a new object once this one is gone."""
    key = id(given)
    known = _TOKENS.get(key)
    if known is not None and known[1]() is given:
        return known[0]
    number = next(_next_token)
    try:
        _TOKENS[key] = number, weakref.ref(given, functools.partial(_forget, key, number))
    except TypeError:  # lists, dicts and the like: kept alive
        _TOKENS[key] = number, lambda: given
    return number


def _forget(key: int, number: int, _: object) -> None:
    if _TOKENS.get(key, (None,))[0] == number:
        del _TOKENS[key]


def _hash(*parts: str) -> str:
    hasher = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        hasher.update(len(data).to_bytes(8, "big"))
        hasher.update(data)
    return hasher.hexdigest()
