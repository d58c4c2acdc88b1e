"""Program text to something callable.

The kind of a text is decided by parsing it, never by trying it:

    explicit    it binds `fn_name`, by default `run`, at its top level: a module of its own, whose `fn_name`
                is called. Text that does not bind the name that a request gave is refused
    expression  it is one expression; *terse* if its leftmost name is a method of pipes, is called and
                is unknown in the session: then it is read as if `pipe().` stood before it
    cell        anything else that parses, as Python or after IPython's transform

`Sources.compile` parses and compiles, runs nothing of the text, and keeps the result; `Sources.load`,
`Sources.run_cell` and `Sources.run_cell_async` run it. `library_function` finds adaptors that owt ships.
"""

from __future__ import annotations

import ast
import builtins
import gc
import importlib
import itertools
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from threading import RLock
from types import ModuleType
from typing import Any

from owt.errors import UNREADABLE, BadRequest, NoSuchFunction, shortened
from owt.kernel.code.adaptor_files import AdaptorFolder
from owt.kernel.code.compiled import (
    CodeCache,
    CompiledCell,
    CompiledCode,
    CompiledExpression,
    ExplicitCode,
    KnownCode,
    Place,
    Program,
    awaits,
    compile_cell,
    filename_of,
    futures,
    register_lines,
)
from owt.kernel.code.modules import import_modules, unbound_names
from owt.kernel.code.syntax import (
    bound_names,
    free_names,
    function_names,
    leftmost_call,
    parse_text,
    syntax_fault,
)
from owt.kernel.memory_limit import resident_size, total_memory

MAX_EXPRESSIONS = 512
MAX_OTHER_TEXTS = 128
MAX_ADAPTORS = 32
"""Maximum number of explicit adaptors that are kept loaded."""
MEMORY_SHARE = 4
"""They may enlarge the process by this part of the machine's memory: a quarter."""
COLLECT_AFTER = 32 * 1024 * 1024
"""Growth of the process, in bytes, after which the memory of dropped adaptors is freed at once."""
MAX_PLACES = 256
"""Maximum number of places whose callers alternate between texts, and of replaced texts, that are known."""

_OF_THE_CALL = frozenset({"request", "state"})
_BUILTINS = frozenset(dir(builtins))
_ABSENT = object()


class Sources:
    """Known texts of one kernel, and the modules that were loaded from them. Thread-safe.

    512 expressions, 128 cells and the 32 explicit adaptors used last are kept. An explicit adaptor also
    replaces the earlier one of the same path and function name, because it is most likely an edit of it,
    unless a replaced text comes back. Adaptors of active runs are not dropped.
    """

    def __init__(
        self,
        namespace: dict[str, Any],
        injected: Mapping[str, Any],
        pipe_methods: frozenset[str],
        transform: Callable[[str], str],
        is_active: Callable[[str], bool] = lambda text: False,
        folder: AdaptorFolder | None = None,
    ) -> None:
        """Create the sources of a session with this namespace.

        `injected` are the names that all code has without an import, added to `namespace` where it lacks
        them; `pipe_methods` are the names that make an expression terse; `transform` is the IPython shell's
        `transform_cell`. `is_active(text)` is True while a run of this text has not ended. Other processes
        can import explicit code from the `folder`.
        """
        self._folder = folder
        self._namespace = namespace
        self._injected = dict(injected)
        self._heads = pipe_methods - _BUILTINS - self._injected.keys()
        self._transform = transform
        # IPython puts its own `open`, `exit` and `quit` into a new namespace.
        self._initial = {name: value for name, value in namespace.items() if self._is_usual(name)}
        self._is_active = is_active
        self._loaded: dict[str, KnownCode] = {}
        self._uses = itertools.count(1)
        self._replaced: dict[tuple[Place, int], None] = {}
        self._alternating: dict[Place, None] = {}
        self._max_size = total_memory() // MEMORY_SHARE
        self._collected_at = resident_size()
        self._expressions = CodeCache(MAX_EXPRESSIONS)
        self._others = CodeCache(MAX_OTHER_TEXTS)
        self._future = 0
        self._lock = RLock()
        self._inject()

    def compile(self, code: str, fn_name: str | None = None) -> CompiledCode:
        """Return `code` compiled for a call of `fn_name`, or of `run` if it defines that. Runs nothing of it.

        Raises `SyntaxFault` for text that is neither Python nor an IPython cell, and `BadRequest` for text
        that does not bind the given `fn_name`.
        """
        compiled = self._compiled(code, fn_name or "run")
        if fn_name is not None and not isinstance(compiled, ExplicitCode):
            names = function_names(parse_text(code, self._transform)[1])
            hint = _hint("The code defines", names, fn_name)
            if not names:
                hint += "; leave fn_name out, or, to call a function of the session, leave the code out"
            raise BadRequest("fn_name", "the code does not define it", fn_name, hint=hint)
        return compiled

    def _compiled(self, code: str, fn_name: str) -> CompiledCode:
        known = self._loaded.get(code)
        if known is not None and (compiled := known.form(fn_name)) is not None:
            known.use = next(self._uses)
            return compiled
        with self._lock:
            known = known or self._expressions.lookup(code) or self._others.lookup(code)
            if known is not None and (compiled := known.form(fn_name)) is not None:
                return compiled
            try:
                return self._compile(code, fn_name, known)
            except UNREADABLE as error:
                raise syntax_fault(error, code) from error

    def compile_cell(self, code: str) -> CompiledCell:
        """Return `code` compiled as a notebook's cell, whatever else it could be.

        As in IPython, imports from `__future__` of earlier cells apply to it. Raises `SyntaxFault`.
        """
        try:
            source, tree, _ = parse_text(code, self._transform)
            return compile_cell(code, source, tree, self._future)
        except UNREADABLE as error:
            raise syntax_fault(error, code) from error

    def load(self, compiled: ExplicitCode | CompiledExpression, place: Place | None = None) -> Any:
        """Run compiled code unless it ran before, and return what to call or, if not callable, the answer.

        Explicit code that runs now replaces that of the same `place`.

        For explicit code, the result is its function, always callable. For an expression, it is its value,
        evaluated in the session's namespace, each time, if it uses a name of the session; otherwise in a
        module of its own, and only once if it is callable and did not use `request` or `state`. Raises what
        the code raises, and `BadRequest` if explicit code ran and did not bind its function.
        """
        if isinstance(compiled, CompiledExpression):
            return self._evaluate(compiled)
        program = compiled.program
        module = program.module or self._run(program, place)
        function = module.__dict__.get(compiled.fn_name, _ABSENT)
        if callable(function):
            return function
        problem = (
            f"the code binds it to {shortened(function)}, which cannot be called"
            if function is not _ABSENT
            else "the code names it at its top level, but ran without binding it"
        )
        callables = [name for name in compiled.binds if callable(module.__dict__.get(name))]
        raise BadRequest(
            "fn_name", problem, compiled.fn_name, hint=_hint("The code defines", callables, compiled.fn_name)
        )

    def run_cell(self, cell: CompiledCell) -> Any:
        """Run a cell that does not await. Returns the value of its last expression, else None."""
        self._inject()
        self._bind_modules(cell.unknown)
        self._future |= futures(cell.body)
        if cell.body is not None:
            exec(cell.body, self._namespace)
        return None if cell.last is None else eval(cell.last, self._namespace)

    async def run_cell_async(self, cell: CompiledCell) -> Any:
        """Run any cell, and await what it awaits at its top level. Returns the value of its last
        expression."""
        self._inject()
        self._bind_modules(cell.unknown)
        self._future |= futures(cell.body)
        value = None
        for code in filter(None, (cell.body, cell.last)):
            value = eval(code, self._namespace)
            if awaits(code):
                value = await value
        return None if cell.last is None else value

    def session_function(self, fn_name: str) -> Callable[..., Any]:
        """Return the session's function of this name. Raises `NoSuchFunction`, which lists the session's."""
        function = self._namespace.get(fn_name, _ABSENT)
        if callable(function):
            return function  # type: ignore[no-any-return]
        problem = "the session has no such function"
        if function is not _ABSENT:
            problem = f"the session binds it to {shortened(function)}, which cannot be called"
        names = [
            name
            for name, value in list(self._namespace.items())
            if callable(value) and not name.startswith("_") and not self._is_usual(name)
        ]
        raise NoSuchFunction("fn_name", problem, fn_name, hint=_hint("The session has", names, fn_name))

    def forget(self, code: str) -> None:
        """Drop everything about `code`; the next call compiles and loads it again."""
        with self._lock:
            for cache in (self._loaded, self._expressions, self._others):
                known = cache.pop(code, None)
                if known is not None:
                    known.drop()

    def _compile(self, code: str, fn_name: str, known: KnownCode | None) -> CompiledCode:
        source, tree, expression = parse_text(code, self._transform)
        known = known or KnownCode(frozenset(bound_names(tree)))
        if fn_name in known.binds:
            filename = filename_of("explicit", code)
            compiled = compile(tree, filename, "exec", dont_inherit=True)
            register_lines(filename, source)
            unknown = self._unknown(unbound_names(tree))
            known.program = Program(code, compiled, source=source, folder=self._folder, unknown=unknown)
            if code not in self._loaded and code not in self._expressions:
                self._others.keep(code, known)
            return ExplicitCode(fn_name, known.binds, known.program)
        if expression is not None:
            # Top-level await makes it a cell; any other fault is raised again there.
            with suppress(SyntaxError):
                known.other = self._expression(code, source, expression)
        if known.other is None:
            known.other = compile_cell(code, source, tree, unknown=self._unknown(unbound_names(tree)))
        if code not in self._loaded:
            self._others.pop(code, None)
            is_expression = isinstance(known.other, CompiledExpression)
            (self._expressions if is_expression else self._others).keep(code, known)
        return known.other

    def _expression(self, code: str, source: str, expression: ast.expr) -> CompiledExpression:
        filename = filename_of("expression", code)
        plain = compiled = compile(ast.Expression(expression), filename, "eval", dont_inherit=True)
        head = None
        call = leftmost_call(expression)
        if call is not None and isinstance(call.func, ast.Name) and call.func.id in self._heads:
            head = call.func.id
            call.func = _after_pipe(head, call)
            compiled = compile(ast.Expression(expression), filename, "eval", dont_inherit=True)
        register_lines(filename, source)
        free = free_names(plain)
        usual = frozenset(filter(self._is_usual, free))
        # A value that depends on this call's request is of no use to the next call.
        keeps = _OF_THE_CALL.isdisjoint(free_names(plain, lambdas=False))
        free -= usual
        program = Program(code, compiled, keeps=keeps, unknown=free - {head})
        return CompiledExpression(program, plain, head, free, usual)

    def _evaluate(self, expression: CompiledExpression) -> Any:
        namespace = self._namespace
        if namespace.keys().isdisjoint(expression.free) and not any(map(self._is_changed, expression.usual)):
            return expression.program.value(self._new_globals)
        self._inject()
        self._bind_modules(expression.program.unknown)
        return eval(expression.plain if expression.head in namespace else expression.program.code, namespace)

    def _run(self, program: Program, place: Place | None) -> ModuleType:
        # Before the new one is loaded: there may be no memory for both.
        self._drop_replaced(program.text, place)
        before = resident_size()
        self._mark_loaded(program.text)
        try:
            module = program.run(self._new_globals)
        except BaseException:
            # Its lines stay for the traceback until other texts replace it.
            with self._lock:
                known = self._loaded.pop(program.text, None)
                if known is not None:
                    self._others.keep(program.text, known)
            raise
        # Since then another thread's attempt may have failed and removed the mark.
        self._mark_loaded(program.text)
        with self._lock:
            if (known := self._loaded.get(program.text)) is not None:
                known.place, known.use = place, next(self._uses)
                known.size = max(known.size, resident_size() - before)
        self._drop_oldest(program.text)
        return module

    def _drop_replaced(self, text: str, place: Place | None) -> None:
        """Drop the adaptors that `text` replaces: the earlier ones of its place."""
        if place is None:
            return
        with self._lock:
            if (place, hash(text)) in self._replaced:
                _keep(self._alternating, place)
            if place in self._alternating:
                return
            earlier = [
                other
                for other, known in self._loaded.items()
                if known.place == place and other != text and not self._is_active(other)
            ]
            for other in earlier:
                _keep(self._replaced, (place, hash(other)))
            self._drop(earlier)

    def _drop_oldest(self, newest: str) -> None:
        """Drop the adaptors used least recently, beyond the limits. Those of active runs stay."""
        with self._lock:
            size = sum(known.size for known in self._loaded.values())
            count = len(self._loaded)
            if count <= MAX_ADAPTORS and size <= self._max_size:
                return
            oldest = []
            for text, known in sorted(self._loaded.items(), key=lambda item: item[1].use):
                if count <= MAX_ADAPTORS and size <= self._max_size:
                    break
                if text != newest and not self._is_active(text):
                    oldest.append(text)
                    count, size = count - 1, size - known.size
            self._drop(oldest)

    def _drop(self, texts: list[str]) -> None:
        # The caller holds the lock.
        for text in texts:
            self._loaded.pop(text).drop()
        if texts and resident_size() - self._collected_at > COLLECT_AFTER:
            # Functions and their module refer to each other.
            gc.collect()
            self._collected_at = resident_size()

    def _mark_loaded(self, code: str) -> None:
        with self._lock:
            known = self._expressions.pop(code, None) or self._others.pop(code, None)
            if known is not None:
                self._loaded[code] = known

    def _is_usual(self, name: str) -> bool:
        return name in _BUILTINS or name in self._injected or name == "get_ipython"

    def _is_changed(self, name: str) -> bool:
        """Return True if the session has bound a builtin or an injected name to another value."""
        value = self._namespace.get(name, _ABSENT)
        return (
            value is not _ABSENT
            and value is not self._injected.get(name, _ABSENT)
            and value is not getattr(builtins, name, _ABSENT)
            and value is not self._initial.get(name, _ABSENT)
        )

    def _new_globals(self) -> dict[str, Any]:
        """Return the first globals of a module: the injected names, and the one that IPython's transform
        uses."""
        shell = self._namespace.get("get_ipython")
        return self._injected if shell is None else {**self._injected, "get_ipython": shell}

    def _unknown(self, names: set[str]) -> frozenset[str]:
        return frozenset(name for name in names if not self._is_usual(name))

    def _bind_modules(self, names: frozenset[str]) -> None:
        """Bind those names that the session lacks to the modules of these names, if there are any."""
        if names and (missing := [name for name in names if name not in self._namespace]):
            self._namespace.update(import_modules(missing))

    def _inject(self) -> None:
        """Add the injected names that the session lacks; `%reset` removes them."""
        for name, value in self._injected.items():
            if name not in self._namespace:
                self._namespace[name] = value


def _keep(known: dict[Any, None], key: object) -> None:
    known[key] = None
    if len(known) > MAX_PLACES:
        del known[next(iter(known))]


def _after_pipe(name: str, position: ast.expr) -> ast.expr:
    """Return the tree of `pipe().name`, at the place of `position`."""
    pipe = ast.copy_location(ast.Name("pipe", ast.Load()), position)
    start = ast.copy_location(ast.Call(pipe, [], []), position)
    return ast.copy_location(ast.Attribute(start, name, ast.Load()), position)


def _hint(start: str, names: Iterable[str], name: str, limit: int = 20) -> str:
    """Return the list of `names`, those that resemble `name` first."""
    names = sorted(names)
    close = get_close_matches(name, names, len(names) or 1)
    names = close + [other for other in names if other not in close]
    if not names:
        return f"{start} no functions"
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"{start}: {', '.join(names[:limit])}{more}"


def library_function(adaptor: str, fn_name: str) -> Callable[..., Any]:
    """Return the function `fn_name` of an adaptor that owt ships: of the module `owt.lib.ADAPTOR`.

    Raises `BadRequest` if there is none, and whatever importing the module raises.
    """
    lib = importlib.import_module("owt.lib")
    if adaptor not in {module.name for module in pkgutil.iter_modules(lib.__path__)}:
        hint = f"There are: {', '.join(lib.ADAPTORS)}"
        raise BadRequest("adaptor", "owt has no such adaptor", adaptor, hint=hint)
    function = getattr(importlib.import_module(f"owt.lib.{adaptor}"), fn_name, None)
    if not callable(function):
        raise BadRequest("fn_name", f"the adaptor {adaptor} has no such function", fn_name)
    return function  # type: ignore[no-any-return]
