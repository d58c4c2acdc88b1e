"""Compiled texts of calls, and the cache that keeps them.

    ExplicitCode        text that binds the function to call
    CompiledExpression  text that is one expression
    CompiledCell        text that runs in the session's namespace
    Program             text that is a module of its own, and the module
    CodeCache           texts that were compiled, up to a limit
"""

from __future__ import annotations
import __future__

import ast
import hashlib
import inspect
import linecache
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from threading import RLock
from types import CodeType, ModuleType
from typing import Any, Union

from msgspec import Struct

from owt.kernel.code.adaptor_files import AdaptorFolder
from owt.kernel.code.modules import import_modules
from owt.kernel.code.syntax import lines_of

FOLDER = "ipykernel_owt/"
"""Folder in the file name of every code object that is compiled from a call's text. There is no such folder;
numba and joblib know functions of notebooks by a name like this."""
FILENAME = "<adaptor "
"""Start of the rest of the file name."""

Place = tuple[str, str]
"""Path and function name of a call: another text for both is an edited one."""

_ABSENT = object()
_FUTURES = [getattr(__future__, name).compiler_flag for name in __future__.all_feature_names]


class Program:
    """Text compiled to be a module of its own and, once that has run, the module.

    The module is in `sys.modules` before its top level runs, so that dataclasses, pickles and type hints find
    it. The text's lines are in `linecache` as long as the program is in a cache.
    """

    __slots__ = (
        "_folder", "_keeps", "_lock", "_source", "_value", "code", "filename", "module", "name", "text",
        "unknown",
    )  # fmt: skip

    def __init__(
        self,
        text: str,
        code: CodeType,
        *,
        keeps: bool = True,
        source: str = "",
        folder: AdaptorFolder | None = None,
        unknown: frozenset[str] = frozenset(),
    ) -> None:
        """Create a program; `keeps` allows it to keep a callable value of its expression.

        `unknown` are names that it does not bind, and that may be names of modules. Other processes can
        import it from the `folder`, if there is one, as the Python text `source`.
        """
        self.text = text
        self.code = code
        self._keeps = keeps
        self.filename = code.co_filename
        self.name = f"owt_adaptor_{self.filename[len(FOLDER) + len(FILENAME) : -1]}"
        self._source = source
        self._folder = folder
        self.unknown = unknown
        self.module: ModuleType | None = None
        self._value: Any = _ABSENT
        self._lock = RLock()

    def run(self, new_globals: Callable[[], Mapping[str, Any]]) -> ModuleType:
        """Return the module. Its top level runs now, with `new_globals()`, unless it ran before.

        Raises whatever the top level raises; the next call then runs it again.
        """
        with self._lock:
            if self.module is None:
                self._load(new_globals)
            assert self.module is not None
            return self.module

    def value(self, new_globals: Callable[[], Mapping[str, Any]]) -> Any:
        """Return the value of a program that is an expression; a callable value is kept if the program
        `keeps`.

        A value that cannot be called is an answer, and evaluated each time. The first evaluation may load a
        model; other threads wait for it, and not for later ones.
        """
        kept, module = self._value, self.module
        if kept is not _ABSENT:
            return kept
        if module is not None:
            return self._keep(eval(self.code, module.__dict__))
        with self._lock:
            if self.module is None:
                return self._load(new_globals)
        return self.value(new_globals)

    def drop(self) -> None:
        """Remove the module and the text's lines from Python's registries."""
        module, self.module, self._value = self.module, None, _ABSENT
        if module is not None:
            self._remove(module)
        drop_lines(self.filename)

    def _keep(self, value: Any) -> Any:
        if self._keeps and is_function(value):
            self._value = value
        return value

    def _load(self, new_globals: Callable[[], Mapping[str, Any]]) -> Any:
        """Run the text in a new module, and return its value if it is an expression."""
        module = ModuleType(self.name)
        module.__file__ = self.filename.removeprefix(FOLDER)
        module.__spec__ = ModuleSpec(self.name, None, origin=module.__file__)
        module.__dict__.update(new_globals())
        if self.unknown:
            module.__dict__.update(import_modules(self.unknown))
        sys.modules[self.name] = module
        try:
            if self._folder is not None:
                self._folder.write(self.name, self._source, self.filename, module.__file__)
            value = self._keep(eval(self.code, module.__dict__))
            if self._folder is not None:
                self._folder.publish(self.name)
        except BaseException:
            self._remove(module)
            raise
        self.module = module
        return value

    def _remove(self, module: ModuleType) -> None:
        """Make the module unknown, unless another one has its name."""
        if sys.modules.get(self.name) is module:
            del sys.modules[self.name]
            if self._folder is not None:
                self._folder.remove(self.name)


def is_function(value: object) -> bool:
    """Return True if an expression's value is called. A response of werkzeug is an answer, although it can be
    called as a WSGI application."""
    response: Any = getattr(sys.modules.get("werkzeug.sansio.response"), "Response", ())
    return callable(value) and not isinstance(value, response)


class ExplicitCode(Struct, frozen=True):
    """Text that binds `fn_name`, among the names `binds`, at its top level."""

    fn_name: str
    binds: frozenset[str]
    program: Program


@dataclass(frozen=True, eq=False)
class CompiledExpression:
    """Text that is one expression.

    `plain` is its code as written. `head` is the name that makes it terse while the session does not know the
    name; `program` then is the text with `pipe()` before it. `free` are the names that it takes from outside;
    `usual` are those of them that are builtins or injected names.
    """

    program: Program
    plain: CodeType
    head: str | None
    free: frozenset[str]
    usual: frozenset[str]


@dataclass(frozen=True, eq=False)
class CompiledCell:
    """Text that runs in the session's namespace: `body`, then `last`, whose value is the answer.

    Either may be None. `awaits` is True if the text awaits at its top level. `unknown` are as in `Program`.
    """

    filename: str
    body: CodeType | None
    last: CodeType | None
    awaits: bool
    unknown: frozenset[str] = frozenset()


CompiledCode = Union[ExplicitCode, CompiledExpression, CompiledCell]


def compile_cell(
    code: str, source: str, tree: ast.Module, future: int = 0, unknown: frozenset[str] = frozenset()
) -> CompiledCell:
    """Return the cell that `code` is, from its Python text `source` and the tree of that.

    `future` are compiler flags: the features of `__future__` that the cell has without an import.
    """
    filename = filename_of("cell", code)
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | future
    body, last = None, None
    statements = tree.body
    if statements and isinstance(final := statements[-1], ast.Expr):
        statements = statements[:-1]
        last = compile(ast.Expression(final.value), filename, "eval", flags, dont_inherit=True)
    if statements:
        body = compile(ast.Module(statements, []), filename, "exec", flags, dont_inherit=True)
    register_lines(filename, source)
    return CompiledCell(filename, body, last, awaits(body) or awaits(last), unknown)


def futures(code: CodeType | None) -> int:
    """Return the features of `__future__` that this code has, as compiler flags."""
    return 0 if code is None else sum(flag for flag in _FUTURES if code.co_flags & flag)


def awaits(code: CodeType | None) -> bool:
    """Return True if the value of this code is an awaitable."""
    return code is not None and bool(code.co_flags & inspect.CO_COROUTINE)


def defines(code: CodeType | None) -> bool:
    """Return True if this code may define functions or classes."""
    return code is not None and any(isinstance(const, CodeType) for const in code.co_consts)


def filename_of(kind: str, code: str) -> str:
    """Return the file name for `code` when it is compiled as this kind."""
    digest = hashlib.sha1(f"{kind} {code}".encode(), usedforsecurity=False).hexdigest()
    return f"{FOLDER}{FILENAME}{digest[:10]}>"


def with_short_filenames(trace: str) -> str:
    """Return the text of a traceback without the folder of the file names of calls' texts."""
    return trace.replace(f'File "{FOLDER}{FILENAME}', f'File "{FILENAME}')


def register_lines(filename: str, source: str) -> None:
    """Register the lines of `source` in `linecache`, also for the `__file__` of a module.

    Without a time, the entries survive `checkcache`.
    """
    lines = lines_of(source)
    for name in (filename, filename.removeprefix(FOLDER)):
        linecache.cache[name] = (len(source), None, lines, name)


def drop_lines(filename: str) -> None:
    """Undo `register_lines`."""
    for name in (filename, filename.removeprefix(FOLDER)):
        linecache.cache.pop(name, None)


@dataclass(eq=False)
class KnownCode:
    """Compiled forms of one text: the program for calls of a name that it `binds`, and the one other form.

    If the program is loaded: the `place` that it was loaded for, the number of its last `use`, and by which
    `size`, in bytes, it has enlarged the process.
    """

    binds: frozenset[str]
    program: Program | None = None
    other: CompiledExpression | CompiledCell | None = None
    place: Place | None = None
    use: int = 0
    size: int = 0

    def form(self, fn_name: str) -> CompiledCode | None:
        """Return the form for a call of `fn_name`, or None if it is not compiled yet."""
        if fn_name not in self.binds:
            return self.other
        return None if self.program is None else ExplicitCode(fn_name, self.binds, self.program)

    def drop(self) -> None:
        """Remove the text's modules and lines from Python's registries."""
        if self.program is not None:
            self.program.drop()
        other = self.other
        if isinstance(other, CompiledExpression):
            other.program.drop()
        elif other is not None and not defines(other.body) and not defines(other.last):
            # Functions that a cell left in the session still need their lines.
            drop_lines(other.filename)


class CodeCache(OrderedDict[str, KnownCode]):
    """Known texts. Beyond `max_size`, the least recently used one is dropped."""

    def __init__(self, max_size: int) -> None:
        super().__init__()
        self._max_size = max_size

    def lookup(self, code: str) -> KnownCode | None:
        """Return what is known of `code`, and mark it as used."""
        known = self.get(code)
        if known is not None:
            self.move_to_end(code)
        return known

    def keep(self, code: str, known: KnownCode) -> None:
        """Add a text as the one used last."""
        self[code] = known
        self.move_to_end(code)
        if len(self) > self._max_size:
            self.popitem(last=False)[1].drop()
