"""The identity of a Python object that is used as a model: a hash of its code, values and weights."""

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
# methods whose stores are the initial state of an object, not changes by a call
_BUILDERS = frozenset({"__init__", "__new__", "__post_init__", "__setstate__", "__set_name__", "__init_subclass__"})


def identity(value: object) -> str:
    """Return a sha256 (hex) of an object, which is equal as long as a call runs the same code on the same state.

    The hash covers code, defaults, closures and the globals that the code names. It follows functions, methods,
    partials, objects and classes, except those of installed packages. Torch modules, tensors and arrays are hashed by
    content, and plain values by value, unless the code assigns to their name (counters, caches). Everything else, also
    lists and dicts, is hashed by identity, so a function may fill a list without another hash.

    These changes are not detected: values inside a list or dict that change in place, elements beyond the first 10,000,
    and objects that are reached only by a name computed at run time.

    The hash is valid in this process only. Torch is never imported.
    """
    return _Walk(values=True).digest_of(value)


def code_identity(value: object) -> str:
    """Return a sha256 (hex) of an object's code, as `identity` does, but without values and weights."""
    return _Walk(values=False).digest_of(value)


def is_torch_module(value: object) -> bool:
    """Return whether a value is a torch module; torch is not imported for this."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


@dataclass
class _Seen:
    """The names that the walked code uses and assigns; complete once a walk adds none."""

    names: set[str] = field(default_factory=set)
    stored: set[str] = field(default_factory=set)

    def size(self) -> tuple[int, int]:
        return len(self.names), len(self.stored)


class _Walk:
    """A depth-first walk through the objects that an object reaches.

    An object that is reached again is represented by its position in the walk. All walked code decides which methods
    matter, and which values are counters. So the walk is repeated until it finds no new name, which is usually the
    second walk; the last walk counts.
    """

    def __init__(self, *, values: bool) -> None:
        self.values = values
        self.seen = _Seen()
        self.contents: dict[int, str] = {}

    def digest_of(self, value: object) -> str:
        while True:
            before = self.seen.size()
            self.positions: dict[int, int] = {}
            self.temporaries: list[object] = []  # kept alive, because ids of freed bound methods are reused
            digest = self.of(value, 0)
            if self.seen.size() == before:
                return digest

    def of(self, value: object, depth: int) -> str:
        """Return the hash of an object and the objects that it reaches."""
        if isinstance(value, _SCALARS):
            return _hash("scalar", type(value).__name__, repr(value)) if self.values else ""
        if id(value) in self.positions:
            return f"seen {self.positions[id(value)]}"
        self.positions[id(value)] = len(self.positions)
        self.temporaries.append(value)
        if depth > MAX_DEPTH:
            return self.token(value)
        return _hash(type(value).__qualname__, *self.parts(value, depth + 1))

    def parts(self, value: Any, depth: int) -> Iterator[str]:
        if isinstance(value, types.FunctionType):
            yield from self.function(value, depth)
        elif isinstance(value, types.MethodType):
            yield from (self.of(value.__func__, depth), self.of(value.__self__, depth))
        elif isinstance(value, functools.partial):
            yield from (self.of(member, depth) for member in (value.func, *value.args))
            yield from (
                part for key, member in sorted(value.keywords.items()) for part in (key, self.of(member, depth))
            )
        elif isinstance(value, staticmethod | classmethod):
            yield self.of(value.__func__, depth)
        elif isinstance(value, property):
            yield from (self.of(member, depth) for member in (value.fget, value.fset) if member is not None)
        elif isinstance(value, functools.cached_property):
            yield self.of(value.func, depth)
            self.seen.stored.add(str(value.attrname))
        elif isinstance(value, types.BuiltinMethodType):
            yield value.__qualname__
            if value.__self__ is not None and not isinstance(value.__self__, types.ModuleType):
                yield self.of(value.__self__, depth)
        elif isinstance(value, type):
            yield from self.of_class(value, depth)
        elif isinstance(value, tuple | frozenset):
            parts = [self.of(member, depth) for member in value]
            yield from parts if isinstance(value, tuple) else sorted(parts)
        elif isinstance(value, list | dict | set):
            yield self.token(value)
            yield from self.inside(value, depth)
        elif isinstance(value, types.ModuleType):
            yield value.__name__
            yield from self.module(value, depth)
        elif "__wrapped__" in _dict(value):  # lru_cache and its like
            yield self.of(_dict(value)["__wrapped__"], depth)
        else:
            yield from self.instance(value, depth)

    def function(self, function: types.FunctionType, depth: int) -> Iterator[str]:
        code = _code(function.__code__)
        yield function.__module__ or ""
        yield code.digest
        is_followed = not _installed_file(function.__code__.co_filename)
        if is_followed:
            self.seen.names |= code.names
            if function.__name__ not in _BUILDERS:
                self.seen.stored |= code.stored
        yield from (self.of(default, depth) for default in function.__defaults__ or ())
        for name, value in sorted((function.__kwdefaults__ or {}).items()):
            yield from (name, self.of(value, depth))
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # an empty cell
                continue
            yield from self.named(name, value, depth)
        if is_followed:
            for name in sorted(code.globals & function.__globals__.keys()):
                yield from self.named(name, function.__globals__[name], depth)
        if "__wrapped__" in _dict(function):
            yield self.of(_dict(function)["__wrapped__"], depth)

    def named(self, name: str, value: object, depth: int) -> Iterator[str]:
        """Yield the hash of a value under its name in the code; skip plain values that the code assigns."""
        yield name
        if name not in self.seen.stored or _has_content(value) or isinstance(value, types.FunctionType):
            yield self.of(value, depth)

    def of_class(self, cls: type, depth: int) -> Iterator[str]:
        yield f"{cls.__module__}.{cls.__qualname__}"
        for base in cls.__mro__:
            if _installed_class(base):
                continue
            for name, value in sorted(vars(base).items()):
                is_code = isinstance(value, _CODE) or "__wrapped__" in _dict(value)
                implicit = name == "forward" or (name.startswith("__") and name.endswith("__"))
                if is_code and (implicit or name in self.seen.names):
                    yield from (name, self.of(value, depth))
                elif isinstance(value, _SCALARS) and not name.startswith("__"):
                    yield from self.named(name, value, depth)

    def module(self, module: types.ModuleType, depth: int) -> Iterator[str]:
        if not _installed_file(getattr(module, "__file__", None)):
            for name in sorted(self.seen.names & vars(module).keys()):
                yield from self.named(name, vars(module)[name], depth)

    def instance(self, instance: object, depth: int) -> Iterator[str]:
        if _has_content(instance):
            yield self.content(instance)
            if is_torch_module(instance):
                yield from self.torch_module(instance, depth)
        elif _installed_class(type(instance)):
            yield self.token(instance)
            yield from self.inside([*_attributes(instance).values()], depth)
        else:
            yield self.of(type(instance), depth)
            for name, value in sorted(_attributes(instance).items()):
                yield from self.named(name, value, depth)

    def torch_module(self, root: Any, depth: int) -> Iterator[str]:
        """Yield the code, hooks and switches that determine a module's output besides its weights."""
        for path, module in root.named_modules():
            is_followed = not _installed_class(type(module))
            yield self.of(type(module), depth) if is_followed else type(module).__qualname__
            for name, value in sorted(vars(module).items()):
                if name in ("_forward_hooks", "_forward_pre_hooks"):
                    parts = [self.of(hook, depth) for hook in value.values()]
                elif name == "training":  # a function may put its model into evaluation mode
                    parts = []
                elif (
                    name == "forward" or isinstance(value, bool | str) or (is_followed and isinstance(value, _SCALARS))
                ):
                    parts = [*self.named(name, value, depth)]
                else:
                    parts = []
                if parts:
                    yield from (path, name, *parts)

    def inside(self, container: list[Any] | dict[Any, Any] | set[Any], depth: int) -> Iterator[str]:
        """Yield the hashes of weights and functions in a container; other elements may change."""
        values = list(container.values() if isinstance(container, dict) else container)
        for value in values[:MAX_ELEMENTS]:
            if _has_content(value) or isinstance(value, types.FunctionType | types.MethodType):
                yield self.of(value, depth)

    def token(self, value: object) -> str:
        return f"object {_token(value)}" if self.values else ""

    def content(self, value: Any) -> str:
        if not self.values:
            return ""
        if id(value) not in self.contents:
            self.contents[id(value)] = weights_digest(value) if is_torch_module(value) else _array_digest(value)
        return self.contents[id(value)]


def weights_digest(module: Any) -> str:
    """Return a sha256 (hex) of a torch module's state: names, shapes, types and bytes of its tensors."""
    hasher = hashlib.sha256()
    first_names: dict[tuple[Any, ...], str] = {}
    for name, value in module.state_dict().items():
        hasher.update(f"\0{name}\0".encode())
        if not hasattr(value, "data_ptr"):
            hasher.update(repr(value).encode())
            continue
        # tied weights are hashed once
        storage = (str(value.device), value.data_ptr(), tuple(value.shape), tuple(value.stride()), str(value.dtype))
        hasher.update(first_names.setdefault(storage, name).encode())
        if first_names[storage] == name:
            _update(hasher, value)
    return hasher.hexdigest()


def _array_digest(array: Any) -> str:
    hasher = hashlib.sha256()
    _update(hasher, array)
    return hasher.hexdigest()


def _update(hasher: Any, array: Any) -> None:
    hasher.update(f"{array.dtype}{tuple(array.shape)}".encode())
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(array, torch.Tensor):
        if array.is_meta or array.layout != torch.strided:
            hasher.update(f"object {_token(array)}".encode())
            return
        array = array.detach().cpu().contiguous().reshape(-1)
        array = (array.dequantize() if array.is_quantized else array).view(torch.uint8).numpy()
    elif array.dtype.hasobject:
        hasher.update(f"object {_token(array)}".encode())
        return
    if array.size:
        hasher.update(memoryview(array if array.flags.c_contiguous else array.copy("C")).cast("B"))


def _has_content(value: object) -> bool:
    """Return whether a value is a torch module, a tensor or an array, which training changes in place."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is not None and isinstance(value, torch.nn.Module | torch.Tensor):
        return True
    return numpy is not None and isinstance(value, numpy.ndarray)


def _dict(value: object) -> dict[str, Any]:
    attributes = getattr(value, "__dict__", {})
    return attributes if isinstance(attributes, dict) else {}


def _attributes(value: object) -> dict[str, Any]:
    attributes = dict(_dict(value))
    for cls in type(value).__mro__:
        slots = vars(cls).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and isinstance(vars(cls).get(name), types.MemberDescriptorType):
                try:
                    attributes[name] = vars(cls)[name].__get__(value)
                except AttributeError:  # an empty slot
                    continue
    return attributes


@dataclass(frozen=True)
class _Code:
    """The hash, the read globals, all names, and the assigned names of a code object and its nested code objects."""

    digest: str
    globals: frozenset[str]
    names: frozenset[str]
    stored: frozenset[str]


_CODE = (types.FunctionType, staticmethod, classmethod, property, functools.cached_property)
_READS = ("LOAD_GLOBAL", "LOAD_NAME")
_STORES = ("STORE_GLOBAL", "STORE_NAME", "STORE_ATTR")


@functools.lru_cache(maxsize=4096)
def _code(code: types.CodeType) -> _Code:
    nested = [_code(constant) for constant in code.co_consts if isinstance(constant, types.CodeType)]
    plain = [constant for constant in code.co_consts if not isinstance(constant, types.CodeType)]
    constants = [repr(constant) for constant in plain if not isinstance(constant, frozenset)]
    constants += [repr(sorted(map(repr, constant))) for constant in plain if isinstance(constant, frozenset)]
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
        *(inner.digest for inner in nested),
    )
    return _Code(
        digest,
        frozenset(reads).union(*(inner.globals for inner in nested)),
        frozenset(code.co_names).union(*(inner.names for inner in nested)),
        frozenset(stores).union(*(inner.stored for inner in nested)),
    )


@functools.lru_cache(maxsize=1)
def _installed_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    package = str(Path(__file__).parents[1])
    return tuple({package, *(paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib"))})


def _installed_file(file: str | None) -> bool:
    """Return whether a file belongs to Python or an installed package, which don't change during a process."""
    return file is None or file.startswith(("<frozen", *_installed_folders())) or "site-packages" in file


def _installed_class(cls: type) -> bool:
    module = sys.modules.get(cls.__module__)
    if cls.__module__ == "__main__":  # a script or notebook of the user
        return False
    file = getattr(module, "__file__", None)
    if module is None:
        return not any(isinstance(member, types.FunctionType) for member in vars(cls).values())
    return _installed_file(file)


_TOKENS: dict[int, tuple[int, Callable[[], object]]] = {}
_next_token = itertools.count()


def _token(value: object) -> int:
    """Return a unique number of this object; `id()` may be reused for a new object once this object is freed."""
    key = id(value)
    entry = _TOKENS.get(key)
    if entry is not None and entry[1]() is value:
        return entry[0]
    number = next(_next_token)
    try:
        _TOKENS[key] = number, weakref.ref(value, functools.partial(_forget, key, number))
    except TypeError:  # lists, dicts and others without weak references stay alive
        _TOKENS[key] = number, lambda: value
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
