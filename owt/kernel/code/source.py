"""Program text to something callable.

What a text is, is decided by parsing it, never by trying it:

    explicit    it binds `fn_name` at its top level: a module of its own, whose `fn_name` is called
    expression  it is one expression; *terse* if its leftmost name is a method of pipes, is called and
                is unknown in the session: then it is read as if `pipe().` stood before it
    cell        anything else that parses, as Python or after IPython's transform

`Sources.prepare` parses and compiles, runs nothing of the text, and remembers; `Sources.load`,
`Sources.run_cell` and `Sources.run_cell_async` run it.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from threading import RLock
from types import ModuleType
from typing import Any

from owt.errors import UNREADABLE, BadRequest, NoSuchFunction, shortened
from owt.kernel.code.prepared import Cell, Explicit, Expression, Prepared, awaits, compiled_cell, futures
from owt.kernel.code.program import Program, filename_of, show
from owt.kernel.code.syntax import (
    bound_names,
    free_names,
    leftmost_call,
    parse_text,
    syntax_fault,
)
from owt.kernel.code.texts import RecentTexts, Text

EXPRESSIONS = 512
OTHERS = 128

_OF_THE_CALL = frozenset({"request", "state"})
_BUILTINS = frozenset(dir(builtins))
_ABSENT = object()


class Sources:
    """The texts that one kernel knows, and the modules that it has loaded from them.

    `namespace` is the session's; `injected` are the names that all code has without import, added to
    `namespace` where it lacks them; `pipe_methods` are the names that make an expression terse;
    `transform` is the IPython shell's `transform_cell`. Safe to use from several threads.

    Modules of explicit code live until they are forgotten, 512 expressions and 128 cells are remembered.
    """

    def __init__(
        self,
        namespace: dict[str, Any],
        injected: Mapping[str, Any],
        pipe_methods: frozenset[str],
        transform: Callable[[str], str],
    ) -> None:
        self._namespace = namespace
        self._injected = dict(injected)
        self._heads = pipe_methods - _BUILTINS - self._injected.keys()
        self._transform = transform
        # IPython puts its own `open`, `exit` and `quit` into a fresh namespace.
        self._first = {name: value for name, value in namespace.items() if self._usual(name)}
        self._loaded: dict[str, Text] = {}
        self._expressions = RecentTexts(EXPRESSIONS)
        self._others = RecentTexts(OTHERS)
        self._future = 0
        self._lock = RLock()
        self._share()

    def prepare(self, code: str, fn_name: str) -> Prepared:
        """What `code` is when `fn_name` is to be called. Runs nothing of it.

        Raises `SyntaxFault` for text that is neither Python nor an IPython cell.
        """
        text = self._loaded.get(code)
        if text is not None:
            explicit = text.explicit.get(fn_name)
            if explicit is not None:
                return explicit
        with self._lock:
            text = text or self._expressions.find(code) or self._others.find(code)
            if text is not None:
                found = text.explicit.get(fn_name) if fn_name in text.binds else text.other
                if found is not None:
                    return found
            try:
                return self._prepare(code, fn_name, text)
            except UNREADABLE as error:
                raise syntax_fault(error, code) from error

    def cell(self, code: str) -> Cell:
        """`code` as a notebook's cell, whatever else it could be: what cells that have run took from
        `__future__` counts for it, too, as in IPython. Raises `SyntaxFault`."""
        try:
            source, tree, _ = parse_text(code, self._transform)
            return compiled_cell(code, source, tree, self._future)
        except UNREADABLE as error:
            raise syntax_fault(error, code) from error

    def load(self, prepared: Explicit | Expression) -> Any:
        """Run what was prepared, unless it ran before: what to call or, if not callable, the answer.

        For explicit code, its function, always callable. For an expression, its value: in the
        session's namespace, each time, if it uses a name that the session knows; otherwise in a
        module of its own, and only once if it is callable and was made without looking at `request`
        or `state`. Raises what the code raises, and `BadRequest` if explicit code ran and did not
        bind its function after all.
        """
        if isinstance(prepared, Expression):
            return self._evaluate(prepared)
        program = prepared.program
        module = program.module or self._run(program)
        function = module.__dict__.get(prepared.fn_name, _ABSENT)
        if callable(function):
            return function
        problem = (
            f"the code binds it to {shortened(function)}, which cannot be called"
            if function is not _ABSENT
            else "the code names it at its top level, but ran without binding it"
        )
        there = [name for name in sorted(prepared.binds) if callable(module.__dict__.get(name))]
        raise BadRequest("fn_name", problem, prepared.fn_name, hint=_offer("The code defines", there))

    def run_cell(self, cell: Cell) -> Any:
        """The value of a cell that does not await: of its last expression, else None."""
        self._share()
        self._future |= futures(cell.body)
        if cell.body is not None:
            exec(cell.body, self._namespace)
        return None if cell.last is None else eval(cell.last, self._namespace)

    async def run_cell_async(self, cell: Cell) -> Any:
        """The value of any cell, awaiting what it awaits at its top level."""
        self._share()
        self._future |= futures(cell.body)
        value = None
        for code in filter(None, (cell.body, cell.last)):
            value = eval(code, self._namespace)
            if awaits(code):
                value = await value
        return None if cell.last is None else value

    def named(self, fn_name: str) -> Callable[..., Any]:
        """The session's function of this name. Raises `NoSuchFunction`, which lists those there are."""
        found = self._namespace.get(fn_name, _ABSENT)
        if callable(found):
            return found  # type: ignore[no-any-return]
        problem = "the session has no such function"
        if found is not _ABSENT:
            problem = f"the session binds it to {shortened(found)}, which cannot be called"
        there = [
            name
            for name, value in sorted(self._namespace.items())
            if callable(value) and not name.startswith("_") and not self._usual(name)
        ]
        raise NoSuchFunction("fn_name", problem, fn_name, hint=_offer("The session has", there))

    def forget(self, code: str) -> None:
        """Drop what was made of `code`; the next call prepares and loads it again."""
        with self._lock:
            for texts in (self._loaded, self._expressions, self._others):
                text = texts.pop(code, None)
                if text is not None:
                    text.drop()

    def _prepare(self, code: str, fn_name: str, text: Text | None) -> Prepared:
        source, tree, expression = parse_text(code, self._transform)
        text = text or Text(frozenset(bound_names(tree)))
        if fn_name in text.binds:
            other = next(iter(text.explicit.values()), None)
            if other is not None:
                explicit = replace(other, fn_name=fn_name)
            else:
                filename = filename_of("explicit", code)
                compiled = compile(tree, filename, "exec", dont_inherit=True)
                show(filename, source)
                explicit = Explicit(fn_name, text.binds, Program(code, compiled))
            text.explicit[fn_name] = explicit
            if code not in self._loaded and code not in self._expressions:
                self._others.keep(code, text)
            return explicit
        if expression is not None:
            # Top-level await makes it a cell, and any other fault shows up there again.
            with suppress(SyntaxError):
                text.other = self._expression(code, source, expression)
        if text.other is None:
            text.other = compiled_cell(code, source, tree)
        if code not in self._loaded:
            self._others.pop(code, None)
            (self._expressions if isinstance(text.other, Expression) else self._others).keep(code, text)
        return text.other

    def _expression(self, code: str, source: str, expression: ast.expr) -> Expression:
        filename = filename_of("expression", code)
        plain = compiled = compile(ast.Expression(expression), filename, "eval", dont_inherit=True)
        head = None
        match leftmost_call(expression):
            case ast.Call(func=ast.Name(id=name)) as call if name in self._heads:
                head = name
                call.func = _after_pipe(name, call)
                compiled = compile(ast.Expression(expression), filename, "eval", dont_inherit=True)
        show(filename, source)
        free = free_names(plain)
        usual = frozenset(filter(self._usual, free))
        # What reads this call's request while it is evaluated is of no use to the next call.
        keeps = _OF_THE_CALL.isdisjoint(free_names(plain, lambdas=False))
        return Expression(Program(code, compiled, keeps=keeps), plain, head, free - usual, usual)

    def _evaluate(self, expression: Expression) -> Any:
        namespace = self._namespace
        if namespace.keys().isdisjoint(expression.free) and not any(map(self._changed, expression.usual)):
            return expression.program.value(self._given)
        self._share()
        return eval(expression.plain if expression.head in namespace else expression.program.code, namespace)

    def _run(self, program: Program) -> ModuleType:
        self._pin(program.text)
        try:
            module = program.run(self._given)
        except BaseException:
            # Its lines stay for the traceback until other texts crowd it out.
            with self._lock:
                text = self._loaded.pop(program.text, None)
                if text is not None:
                    self._others.keep(program.text, text)
            raise
        # Another thread's attempt may have failed, and unpinned it, since.
        self._pin(program.text)
        return module

    def _pin(self, code: str) -> None:
        with self._lock:
            text = self._expressions.pop(code, None) or self._others.pop(code, None)
            if text is not None:
                self._loaded[code] = text

    def _usual(self, name: str) -> bool:
        return name in _BUILTINS or name in self._injected or name == "get_ipython"

    def _changed(self, name: str) -> bool:
        """Whether the session has given a builtin or an injected name a meaning of its own."""
        value = self._namespace.get(name, _ABSENT)
        return (
            value is not _ABSENT
            and value is not self._injected.get(name, _ABSENT)
            and value is not getattr(builtins, name, _ABSENT)
            and value is not self._first.get(name, _ABSENT)
        )

    def _given(self) -> dict[str, Any]:
        """The first globals of a module: the injected names, and what IPython's transform writes."""
        shell = self._namespace.get("get_ipython")
        return self._injected if shell is None else {**self._injected, "get_ipython": shell}

    def _share(self) -> None:
        """Give the session the injected names that it lacks; `%reset` takes them away."""
        for name, value in self._injected.items():
            if name not in self._namespace:
                self._namespace[name] = value


def _after_pipe(name: str, at: ast.expr) -> ast.expr:
    """`pipe().name`, where `at` is in the text."""
    pipe = ast.copy_location(ast.Name("pipe", ast.Load()), at)
    start = ast.copy_location(ast.Call(pipe, [], []), at)
    return ast.copy_location(ast.Attribute(start, name, ast.Load()), at)


def _offer(start: str, names: list[str], limit: int = 20) -> str:
    if not names:
        return f"{start} no functions"
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"{start}: {', '.join(names[:limit])}{more}"
